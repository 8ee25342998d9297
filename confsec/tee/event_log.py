"""Event logs of measured boot: what firmware says it extended into the registers of a TPM or of a TD.

Three spellings are read: records with SHA-1 only, the crypto agile form that begins with "Spec ID Event03" (TCG PC
Client Platform Firmware Profile 1.06, section 10), and the log of a TD, which is of the second form, counts
measurement registers instead of PCRs, and ends in a padding of 0xFF (UEFI 2.10, section 38.4).

A log is nobody's word. Its digests count once `replay` gives the registers that hardware signed. A record's data counts
only where it is what its digest is over: `trusted` returns that and nothing else. The type of a record and every label
in it are under no digest; whoever relays the log may write there what he likes. Events of type EV_NO_ACTION extend
nothing, so all that they say is of that kind. What boot events mean is the work of `measured_boot.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from enum import IntEnum
from functools import cached_property, partial
from itertools import chain
from operator import attrgetter
from struct import Struct
from typing import Any, Final, Self

from attrs import evolve, field, frozen

from confsec.errors import DecodeError, EvidenceError, LimitError, TruncatedError
from confsec.protocol.wire import Reader

__all__ = [
    "MAX_EVENTS",
    "MAX_EVENT_LOG",
    "Event",
    "EventLog",
    "EventType",
    "HashAlgorithm",
    "TrustedData",
    "variable_parts",
]

MAX_EVENTS: Final = 4096
"""A log has at most 4096 records, the one with the table of algorithms counted. Real ones have about a hundred."""

MAX_EVENT_LOG: Final = 1 << 20
"""A log has at most 1 MiB, padding included."""

_MAX_ALGORITHMS: Final = 8
_PCRS: Final = 24
_TD_REGISTERS: Final = 5  # 0 is MRTD, 1 to 4 are RTMR0 to RTMR3
_DRTM_PCRS: Final = range(17, 23)

_SPEC_ID: Final = b"Spec ID Event03\x00"
_STARTUP_LOCALITY: Final = b"StartupLocality\x00"
_STARTUP_LOCALITIES: Final = (0, 3, 4)

_HEAD: Final = Struct("<II20sI")  # TCG_PCClientPCREvent without its data
_HEAD2: Final = Struct("<III")  # TCG_PCR_EVENT2 up to the first digest
_U16: Final = Struct("<H")
_VARIABLE_HEAD: Final = Struct("<16sQQ")  # UEFI_VARIABLE_DATA up to the name

_SECTION: Final = "TCG PC Client Platform Firmware Profile 1.06, section 10"
_CC_SECTION: Final = "UEFI 2.10, section 38.4"


class HashAlgorithm(IntEnum):
    """The hashes that we compute, by their TPM_ALG_ID (TCG Algorithm Registry, section 4)."""

    SHA1 = 0x0004
    SHA256 = 0x000B
    SHA384 = 0x000C
    SHA512 = 0x000D

    @property
    def digest_size(self) -> int:
        """How many bytes a digest has."""
        return _DIGEST_SIZES[self]

    def digest(self, data: bytes) -> bytes:
        """Hash `data`."""
        return _HASHES[self](data).digest()


# Old logs are read with SHA-1; no policy takes that bank.
_HASHES: Final[Mapping[int, Callable[[bytes], hashlib._Hash]]] = {
    HashAlgorithm.SHA1: partial(hashlib.sha1, usedforsecurity=False),
    HashAlgorithm.SHA256: hashlib.sha256,
    HashAlgorithm.SHA384: hashlib.sha384,
    HashAlgorithm.SHA512: hashlib.sha512,
}
_DIGEST_SIZES: Final[Mapping[int, int]] = {
    HashAlgorithm.SHA1: 20,
    HashAlgorithm.SHA256: 32,
    HashAlgorithm.SHA384: 48,
    HashAlgorithm.SHA512: 64,
}


class EventType(IntEnum):
    """Types of events that we use by name (TCG PC Client Platform Firmware Profile 1.06, section 10.4.1)."""

    NO_ACTION = 0x00000003
    SEPARATOR = 0x00000004
    ACTION = 0x00000005
    EVENT_TAG = 0x00000006
    S_CRTM_VERSION = 0x00000008
    IPL = 0x0000000D
    EFI_VARIABLE_DRIVER_CONFIG = 0x80000001
    EFI_VARIABLE_BOOT = 0x80000002
    EFI_BOOT_SERVICES_APPLICATION = 0x80000003
    EFI_ACTION = 0x80000007
    EFI_VARIABLE_AUTHORITY = 0x800000E0


@frozen
class Event:
    """One record of a log, as whoever relays the log wrote it."""

    register: int
    """The PCR, or the measurement register of a TD. 0xFFFFFFFF only where nothing is extended."""

    event_type: int
    """What it calls itself: a label, under no digest."""

    digests: Mapping[int, bytes]
    """What was extended, by TPM_ALG_ID: one digest for each algorithm of the log."""

    data: bytes = field(repr=False)
    """What the record says. To be trusted only as `EventLog.trusted` returns it."""

    @property
    def extends(self) -> bool:
        """Whether the digests were extended into the register."""
        return self.event_type != EventType.NO_ACTION


@frozen
class TrustedData:
    """What the digest of an event is over: these bytes were measured, by whatever name the log gives them."""

    number: int
    """The place of the event in its log, from 0."""

    register: int
    """The register that the digest went into."""

    digest: bytes
    """The digest in the bank that was asked for."""

    data: bytes | None = field(repr=False)
    """The measured bytes. None where the log does not have them: then only the digest is known."""


@frozen
class EventLog:
    """A log that keeps to its form."""

    events: tuple[Event, ...] = field(repr=False)
    """All records in order, the one with the table of algorithms included."""

    algorithms: Mapping[int, int]
    """The size of a digest in bytes by TPM_ALG_ID."""

    crypto_agile: bool
    """Whether records have a digest for each algorithm; else they have one of SHA-1."""

    of_td: bool = False
    """Whether it counts measurement registers of a TD (register i + 1 is RTMR i) instead of PCRs."""

    startup_locality: int = 0
    """Where TPM2_Startup came from, as the log has it: PCR 0 starts with this number. Wrong ones do not replay."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read the log of a TPM's firmware, as `binary_bios_measurements` has it: every byte belongs to a record."""
        return cls._decode(data, of_td=False)

    @classmethod
    def decode_ccel(cls, data: bytes) -> Self:
        """Read the log of a TD as ACPI's table CCEL leads to it, with or without its padding."""
        return cls._decode(data, of_td=True)

    @classmethod
    def _decode(cls, data: bytes, *, of_td: bool) -> Self:
        if len(data) > MAX_EVENT_LOG:
            raise LimitError("an event log is too long", got=f"{len(data)} bytes", want=f"at most {MAX_EVENT_LOG}")
        first, start = _read_event(data, 0)
        algorithms = _read_spec_id(first)
        if of_td and algorithms is None:
            raise DecodeError("the event log of a TD is not crypto agile", section=_CC_SECTION)
        events = [first]
        for event in _read_events2(data, start, algorithms, of_td=of_td) if algorithms else _read_events(data, start):
            if len(events) == MAX_EVENTS:
                raise LimitError("an event log has too many events", want=f"at most {MAX_EVENTS}")
            events.append(event)
        _check_registers(events, of_td=of_td)
        return cls(
            events=tuple(events),
            algorithms={HashAlgorithm.SHA1: 20} if algorithms is None else algorithms,
            crypto_agile=algorithms is not None,
            of_td=of_td,
            startup_locality=0 if of_td else _find_startup_locality(events),
        )

    def encode(self) -> bytes:
        """Return the log without padding."""
        rest = self.events[1:]
        return _encode_event(self.events[0]) + b"".join(
            map(_encode_event2 if self.crypto_agile else _encode_event, rest)
        )

    def of_registers(self, registers: Collection[int]) -> Self:
        """Return the log without the events that extend other registers: of those that hardware did not sign."""
        kept = tuple(event for event in self.events if not event.extends or event.register in registers)
        return evolve(self, events=kept)

    def replay(self, bank: HashAlgorithm) -> dict[int, bytes]:
        """Return what the registers that events extend hold after the last one, in one bank.

        Raises `EvidenceError` if the log has no digests of that bank.
        """
        if bank not in self._replayed:
            self._require_bank(bank)
            self._replayed[bank] = {register: self._replay(register, bank) for register in self._extending}
        return dict(self._replayed[bank])

    def extended(self, bank: HashAlgorithm, register: int) -> tuple[bytes, ...]:
        """Return the digests that went into one register, in order. Raises `EvidenceError` as `replay`."""
        self._require_bank(bank)
        return tuple(event.digests[bank] for _, event in self._extending.get(register, ()))

    def trusted(self, bank: HashAlgorithm, register: int | None = None) -> tuple[TrustedData, ...]:
        """Return what each extending event measured: the data that its digest is over, or None where there is none.

        With `register`, of that one alone. This says nothing about the hardware: compare `replay` first. Raises
        `EvidenceError` as `replay`.
        """
        self._require_bank(bank)
        wanted = self._extending if register is None else self._extending.keys() & {register}
        found = (self._trusted_of(bank, each) for each in wanted)
        return tuple(sorted(chain(*found), key=attrgetter("number")))

    @cached_property
    def _extending(self) -> dict[int, list[tuple[int, Event]]]:
        """The events that extend each register, each with its place in the log."""
        found: dict[int, list[tuple[int, Event]]] = {}
        for number, event in enumerate(self.events):
            if event.extends:
                found.setdefault(event.register, []).append((number, event))
        return found

    @cached_property
    def _replayed(self) -> dict[HashAlgorithm, dict[int, bytes]]:
        """What was replayed already: a log is the same for as long as a machine runs, so it is asked again."""
        return {}

    @cached_property
    def _found(self) -> dict[tuple[HashAlgorithm, int], tuple[TrustedData, ...]]:
        """What was found to be trusted already."""
        return {}

    def _replay(self, register: int, bank: HashAlgorithm) -> bytes:
        value, hash_ = self._initial(register, bank), _HASHES[bank]
        for _, event in self._extending[register]:
            value = hash_(value + event.digests[bank]).digest()
        return value

    def _trusted_of(self, bank: HashAlgorithm, register: int) -> tuple[TrustedData, ...]:
        if (bank, register) not in self._found:
            self._found[bank, register] = tuple(
                TrustedData(number, event.register, event.digests[bank], _measured_data(event, bank))
                for number, event in self._extending[register]
            )
        return self._found[bank, register]

    def _require_bank(self, bank: HashAlgorithm) -> None:
        if bank not in self.algorithms:
            raise EvidenceError(
                "the event log has no digests of the bank",
                got=", ".join(f"0x{each:04x}" for each in self.algorithms),
                want=f"0x{bank:04x} ({bank.name})",
                section=_SECTION,
            )

    def _initial(self, register: int, bank: HashAlgorithm) -> bytes:
        """Return what a register holds before the first event (section 3.3.3)."""
        if self.of_td:
            return bytes(bank.digest_size)
        if register in _DRTM_PCRS:
            return b"\xff" * bank.digest_size
        return (self.startup_locality if register == 0 else 0).to_bytes(bank.digest_size, "big")


def variable_parts(data: bytes) -> tuple[bytes, str, bytes]:
    """Split a UEFI_VARIABLE_DATA into GUID, name and value (section 10.2.6). Raises `DecodeError`."""
    guid, name_size, value_size = _unpack(_VARIABLE_HEAD, data, 0)
    start = _VARIABLE_HEAD.size + 2 * name_size
    if start + value_size != len(data):
        raise DecodeError("a variable has another size", got=len(data), want=start + value_size, section=_SECTION)
    try:
        return guid, data[_VARIABLE_HEAD.size : start].decode("utf-16-le"), data[start:]
    except UnicodeDecodeError as exc:
        raise DecodeError("the name of a variable is not UTF-16", section=_SECTION) from exc


# --- What a digest is over --------------------------------------------------------------------------------------------


def _measured_data(event: Event, bank: HashAlgorithm) -> bytes | None:
    """Find the part of a record's data that its digest is over. At most three parts are tried."""
    return next((part for part in _parts(event.data) if bank.digest(part) == event.digests[bank]), None)


def _parts(data: bytes) -> Iterator[bytes]:
    """Yield what may have been measured: types are labels, so each part is tried whatever the type says."""
    yield data
    # EV_EFI_VARIABLE_BOOT: firmware of the 1.0x profiles measures the value without the variable's name.
    if len(data) >= _VARIABLE_HEAD.size:
        _, name_size, value_size = _VARIABLE_HEAD.unpack_from(data)
        start = _VARIABLE_HEAD.size + 2 * name_size
        if start + value_size == len(data):
            yield data[start:]
            return
    # GRUB measures a string and writes it after "grub_cmd: " or "kernel_cmdline: ", with a NUL behind it.
    _, colon, text = data.partition(b": ")
    if colon:
        yield text.removesuffix(b"\x00")


# --- Records ----------------------------------------------------------------------------------------------------------


def _read_event(data: bytes, position: int) -> tuple[Event, int]:
    """Read a TCG_PCClientPCREvent, and where the next one begins."""
    register, event_type, digest, size = _unpack(_HEAD, data, position)
    start = position + _HEAD.size
    event = Event(register, event_type, {HashAlgorithm.SHA1: digest}, _take(data, start, size))
    return event, start + size


def _read_events(data: bytes, position: int) -> Iterator[Event]:
    while position < len(data):
        event, position = _read_event(data, position)
        yield event


def _read_events2(data: bytes, position: int, algorithms: Mapping[int, int], *, of_td: bool) -> Iterator[Event]:
    end = len(data.rstrip(b"\xff")) if of_td else len(data)
    form = _Form.of(algorithms)
    while position < end:
        event, position = _read_event2(data, position, form)
        yield event


@frozen
class _Form:
    """How a TCG_PCR_EVENT2 looks whose digests stand in the order of the table of algorithms: nearly all do."""

    algorithms: Mapping[int, int]
    struct: Struct

    @classmethod
    def of(cls, algorithms: Mapping[int, int]) -> Self:
        return cls(algorithms, Struct("<III" + "".join(f"H{size}s" for size in algorithms.values()) + "I"))


def _read_event2(data: bytes, position: int, form: _Form) -> tuple[Event, int]:
    """Read a TCG_PCR_EVENT2, and where the next one begins."""
    register, event_type, count, *digests, size = _unpack(form.struct, data, position)
    if count != len(form.algorithms):
        raise DecodeError("an event has another number of digests", got=count, want=len(form.algorithms))
    found = dict(zip(digests[::2], digests[1::2], strict=True))
    if found.keys() != form.algorithms.keys():
        found = _read_digests(data, position + _HEAD2.size, form.algorithms)
    start = position + form.struct.size
    return Event(register, event_type, found, _take(data, start, size)), start + size


def _read_digests(data: bytes, position: int, algorithms: Mapping[int, int]) -> dict[int, bytes]:
    """Read digests that stand in another order than in the table: one for each algorithm all the same."""
    digests: dict[int, bytes] = {}
    for _ in algorithms:
        (algorithm,) = _unpack(_U16, data, position)
        size = algorithms.get(algorithm)
        if size is None or algorithm in digests:
            raise DecodeError(
                "an event has a digest of an algorithm that the log does not list, or two of one",
                got=f"0x{algorithm:04x}",
                section=_SECTION,
            )
        digests[algorithm] = _take(data, position + 2, size)
        position += 2 + size
    return digests


def _read_spec_id(event: Event) -> dict[int, int] | None:
    """Read the table of algorithms in TCG_EfiSpecIDEvent (section 10.4.5.1). None if the event is not one."""
    if event.event_type != EventType.NO_ACTION or not event.data.startswith(_SPEC_ID):
        return None
    reader = Reader(event.data[len(_SPEC_ID) :], "Spec ID Event03")
    reader.take(8)  # platform class, version of the profile, errata, size of a UINTN
    count = int.from_bytes(reader.take(4), "little")
    if not 0 < count <= _MAX_ALGORITHMS:
        raise LimitError("an event log has too few or too many algorithms", got=count, want=f"1 to {_MAX_ALGORITHMS}")
    algorithms = dict(_read_algorithm(reader) for _ in range(count))
    reader.vector(1)  # what the vendor adds
    reader.finish()
    if len(algorithms) != count:
        raise DecodeError("an event log lists an algorithm twice", section=_SECTION)
    return algorithms


def _read_algorithm(reader: Reader) -> tuple[int, int]:
    algorithm, size = (int.from_bytes(reader.take(2), "little") for _ in range(2))
    known = _DIGEST_SIZES.get(algorithm)
    if known not in {None, size} or not 0 < size <= 64:
        raise DecodeError(
            "an event log gives an algorithm another digest size",
            got=f"0x{algorithm:04x}: {size}",
            want=known or "1 to 64",
            section=_SECTION,
        )
    return algorithm, size


def _check_registers(events: list[Event], *, of_td: bool) -> None:
    """Refuse events that extend what is no register, or MRTD, which only the TDX module writes."""
    registers = range(1, _TD_REGISTERS) if of_td else range(_PCRS)
    for event in events:
        if event.extends and event.register not in registers:
            raise DecodeError(
                "an event extends a register that there is not",
                got=event.register,
                want=f"{registers.start} to {registers.stop - 1}",
                section=_CC_SECTION if of_td else _SECTION,
            )


def _find_startup_locality(events: list[Event]) -> int:
    """Return the locality in the one StartupLocality event, which stands before PCR 0 changes (section 10.4.5.3)."""
    found: list[int] = []
    measured = False
    for event in events:
        measured = measured or (event.extends and event.register == 0)
        if event.extends or not event.data.startswith(_STARTUP_LOCALITY):
            continue
        locality = event.data[len(_STARTUP_LOCALITY) :]
        if measured or found or len(locality) != 1 or locality[0] not in _STARTUP_LOCALITIES:
            raise DecodeError(
                "the startup locality is no locality, stands twice, or behind an event of PCR 0",
                got=locality[:1].hex(),
                want=", ".join(map(str, _STARTUP_LOCALITIES)),
                section=_SECTION,
            )
        found.append(locality[0])
    return found[0] if found else 0


def _encode_event(event: Event) -> bytes:
    digest = event.digests[HashAlgorithm.SHA1]
    return _HEAD.pack(event.register, event.event_type, digest, len(event.data)) + event.data


def _encode_event2(event: Event) -> bytes:
    digests = b"".join(_U16.pack(algorithm) + digest for algorithm, digest in event.digests.items())
    head = _HEAD2.pack(event.register, event.event_type, len(event.digests))
    return head + digests + len(event.data).to_bytes(4, "little") + event.data


def _unpack(form: Struct, data: bytes, position: int) -> tuple[Any, ...]:
    if position + form.size > len(data):
        raise _ends_early(data, position, form.size)
    return form.unpack_from(data, position)


def _take(data: bytes, position: int, size: int) -> bytes:
    part = data[position : position + size]
    if len(part) != size:
        raise _ends_early(data, position, size)
    return part


def _ends_early(data: bytes, position: int, size: int) -> TruncatedError:
    left = max(0, len(data) - position)
    return TruncatedError("an event log ends early", got=f"{left} bytes", want=f"{size} bytes", section=_SECTION)
