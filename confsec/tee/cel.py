"""Canonical event logs, in TLV (TCG Canonical Event Log Format 1.0, section 5; google/go-eventlog, `cel`).

A record is its number, a register, the digests that were extended, and the content. Every integer is big-endian. Here,
too, content may be trusted only where it is what the digest is over, and digests only below a replay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Self

from attrs import field, frozen

from confsec.errors import DecodeError, EvidenceError, LimitError
from confsec.protocol.wire import Reader
from confsec.tee.event_log import MAX_EVENT_LOG, MAX_EVENTS, HashAlgorithm

__all__ = ["CelEvent", "CelLog"]

_RECORD_NUMBER: Final = 0x00
_PCR: Final = 0x01
_DIGESTS: Final = 0x03
_TD_REGISTER: Final = 0x6C
_REGISTERS: Final = {_PCR: (0, 23), _TD_REGISTER: (0, 4)}
_SECTION: Final = "TCG Canonical Event Log Format 1.0, section 5"


@frozen(kw_only=True)
class CelEvent:
    """One record."""

    number: int
    """Its place in the log, from 0."""

    register: int
    """The PCR, or the measurement register of a TD (register i + 1 is RTMR i)."""

    of_td: bool
    """Which of the two."""

    digests: Mapping[HashAlgorithm, bytes]
    """What was extended, by the hash."""

    content: bytes = field(repr=False)
    """The content with its type and length: what the digests are over, if anything is."""

    @property
    def content_type(self) -> int:
        """What the content is, by the first byte: 4 a record of firmware, 80 one of Container-Optimized OS."""
        return self.content[0]

    def trusted(self, bank: HashAlgorithm) -> bytes | None:
        """Return the content if the digest is over it, else None."""
        return self.content if bank.digest(self.content) == self.digests.get(bank) else None


@frozen
class CelLog:
    """A log whose records are numbered without a gap."""

    events: tuple[CelEvent, ...]

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a log. Raises `DecodeError`, and `LimitError` for more than 1 MiB or 4096 records."""
        if len(data) > MAX_EVENT_LOG:
            raise LimitError("a canonical event log is too long", got=len(data), want=f"at most {MAX_EVENT_LOG}")
        reader = Reader(data, "canonical event log")
        events: list[CelEvent] = []
        while reader.remaining:
            if len(events) == MAX_EVENTS:
                raise LimitError("a canonical event log has too many records", want=f"at most {MAX_EVENTS}")
            events.append(_read_event(reader, len(events)))
        return cls(tuple(events))

    def replay(self, bank: HashAlgorithm) -> dict[int, bytes]:
        """Return what the registers hold after the last record. Raises `EvidenceError` where a digest is missing."""
        registers: dict[int, bytes] = {}
        for event in self.events:
            digest = event.digests.get(bank)
            if digest is None:
                raise EvidenceError("a record has no digest of the bank", got=event.number, want=bank.name)
            before = registers.get(event.register, bytes(bank.digest_size))
            registers[event.register] = bank.digest(before + digest)
        return registers


def _read_event(reader: Reader, number: int) -> CelEvent:
    stated = _read(reader, _RECORD_NUMBER)
    if len(stated) != 8 or int.from_bytes(stated, "big") != number:
        raise DecodeError("records are not numbered in order", got=stated.hex(), want=number, section=_SECTION)
    kind = reader.peek()
    lowest, highest = _REGISTERS.get(kind, (0, -1))
    register = int.from_bytes(_read(reader, kind), "big")
    if not lowest <= register <= highest:
        raise DecodeError("a record is of no register", got=f"{kind}: {register}", section=_SECTION)
    digests = _read_digests(_read(reader, _DIGESTS))
    start = bytes((reader.peek(),))
    content = _read(reader, start[0])
    return CelEvent(
        number=number,
        register=register,
        of_td=kind == _TD_REGISTER,
        digests=digests,
        content=start + len(content).to_bytes(4, "big") + content,
    )


def _read(reader: Reader, kind: int) -> bytes:
    """Take one field of a type."""
    found = reader.uint(1)
    if found != kind:
        raise DecodeError("a record has another field in this place", got=found, want=kind, section=_SECTION)
    return reader.vector(4)


def _read_digests(data: bytes) -> dict[HashAlgorithm, bytes]:
    """Read digests, each in a field of its own whose type is the hash."""
    reader = Reader(data, "digests of a record")
    digests: dict[HashAlgorithm, bytes] = {}
    while reader.remaining:
        algorithm = _HASHES.get(reader.peek())
        if algorithm is None or algorithm in digests:
            raise DecodeError("a record has an unknown hash, or one twice", got=reader.peek(), section=_SECTION)
        digest = _read(reader, algorithm)
        if len(digest) != algorithm.digest_size:
            raise DecodeError("a digest has another size", got=len(digest), want=algorithm.digest_size)
        digests[algorithm] = digest
    return digests


_HASHES: Final = {algorithm.value: algorithm for algorithm in HashAlgorithm}
