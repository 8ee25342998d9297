"""The header of a sealed request: who can open it (docs/spec/sealed-request.md, section 4).

The header is all that the router reads: the candidate nodes, and the digest for which a token is spent. It is in the
clear, and every byte of it is bound to the chunks by their keys. The chunks are in `sealed.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from itertools import pairwise
from typing import ClassVar, Final, NoReturn, Self, final

from attrs import frozen

from confsec.errors import DecodeError, LimitError, TruncatedError, UnsupportedError
from confsec.protocol.machine import Machine, State, Step, StepTable
from confsec.protocol.wire import Reader, encode_uint, encode_vector

__all__ = [
    "ENC_SIZES",
    "MAX_RECIPIENTS",
    "NODE_ID_SIZE",
    "SEALED_REQUEST_VERSION",
    "WRAPPED_SECRET_SIZE",
    "HeaderReceived",
    "Recipient",
    "SealedHeaderReader",
    "SealedRequestHeader",
    "read_header",
]

SEALED_REQUEST_VERSION: Final = 0x01
"""The one version there is. It fixes HKDF-SHA256 and AES-256-GCM."""

MAX_RECIPIENTS: Final = 16
"""How many candidate nodes one request can be sealed to."""

NODE_ID_SIZE: Final = 32
"""SHA-256 of the node's key configuration."""

WRAPPED_SECRET_SIZE: Final = 32 + 16
"""The request secret and the tag of AES-256-GCM."""

ENC_SIZES: Final[Mapping[int, int]] = {0x0050: 1088 + 65, 0x647A: 1088 + 32}
"""The KEMs of version 1 and how long their `enc` is: an ML-KEM-768 ciphertext and a P-256 or an X25519 public key."""

_SECTION = "sealed request, section 4"
_PREFIX_SIZE = 2
_RECIPIENT_PREFIX_SIZE = NODE_ID_SIZE + 2


@frozen
class Recipient:
    """One candidate node, and the request secret wrapped for it."""

    node_id: bytes
    """SHA-256 of the node's key configuration: names a node in an epoch."""

    enc: bytes
    """The encapsulated key of the HPKE context."""

    wrapped_secret: bytes
    """The request secret, sealed in that context."""

    def __attrs_post_init__(self) -> None:
        _check_size("node id", self.node_id, NODE_ID_SIZE)
        _check_enc_size(len(self.enc))
        _check_size("wrapped secret", self.wrapped_secret, WRAPPED_SECRET_SIZE)

    @classmethod
    def take(cls, reader: Reader) -> Self:
        """Take one recipient off the front of `reader`. Raises `DecodeError`."""
        node_id = reader.take(NODE_ID_SIZE)
        enc_size = _check_enc_size(reader.uint(2))
        return cls(node_id=node_id, enc=reader.take(enc_size), wrapped_secret=reader.take(WRAPPED_SECRET_SIZE))

    def encode(self) -> bytes:
        return self.node_id + encode_vector(self.enc, 2) + self.wrapped_secret


@frozen
class SealedRequestHeader:
    """Every byte before the first chunk, as a value. There is one spelling of each header."""

    recipients: tuple[Recipient, ...]
    """The candidates: 1 to 16, node ids strictly ascending."""

    def __attrs_post_init__(self) -> None:
        _check_count(len(self.recipients))
        for before, after in pairwise(self.recipients):
            _check_order(before.node_id, after.node_id)

    @property
    def node_ids(self) -> tuple[bytes, ...]:
        """The candidates' node ids, strictly ascending."""
        return tuple(recipient.node_id for recipient in self.recipients)

    @property
    def digest(self) -> bytes:
        """SHA-256 of the encoded header: the token is spent for it, and the request keys depend on it."""
        return hashlib.sha256(self.encode()).digest()

    @classmethod
    def take(cls, reader: Reader) -> Self:
        """Take a header off the front of `reader`. Raises `DecodeError`, or `UnsupportedError` for another version."""
        _check_version(reader.uint(1))
        count = _check_count(reader.uint(1))
        return cls(recipients=tuple(Recipient.take(reader) for _ in range(count)))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Decode a header with nothing behind it. Raises as `take` does."""
        reader = Reader(data, "sealed request header")
        header = cls.take(reader)
        reader.finish()
        return header

    def encode(self) -> bytes:
        prefix = encode_uint(SEALED_REQUEST_VERSION, 1) + encode_uint(len(self.recipients), 1)
        return prefix + b"".join(recipient.encode() for recipient in self.recipients)


def read_header(data: bytes) -> SealedRequestHeader:
    """Decode the header at the front of a whole sealed request. Raises as `SealedRequestHeader.take` does."""
    return SealedRequestHeader.take(Reader(data, "sealed request"))


@frozen
class HeaderReceived:
    """The whole header arrived. Nothing in it is authenticated."""

    header: SealedRequestHeader

    rest: bytes
    """What followed the header in the data received so far: the front of the chunks."""


@final
class SealedHeaderReader(Machine):
    """Read a header as it arrives, so that a candidate can be chosen before the body does.

    It refuses a bad header as soon as the field that shows it is whole, and holds no more than a header and one part.
    """

    STEPS: ClassVar[StepTable] = {
        (State.AWAITING_REQUEST, Step.RECEIVE): State.AWAITING_REQUEST,  # until the header is whole: then DONE
        (State.AWAITING_REQUEST, Step.RECEIVE_EOF): State.FAILED,
    }

    def __init__(self) -> None:
        super().__init__(State.AWAITING_REQUEST)
        self._buffer = bytearray()
        self._needed = _PREFIX_SIZE
        self._recipients_left = 0
        self._last_node_id = b""
        self._start = 0

    def receive_data(self, part: bytes) -> list[HeaderReceived]:
        """Take the next bytes. Raises `DecodeError`, or `UnsupportedError` for another version."""
        with self._step(Step.RECEIVE):
            self._buffer += part
            events = self._parse()
        if events:
            self._buffer.clear()
            self._move(State.DONE)
        return events

    def receive_eof(self) -> NoReturn:
        """End the input before the header was whole. Always raises: `TruncatedError`."""
        with self._step(Step.RECEIVE_EOF):
            raise TruncatedError("sealed request header ends early", got=f"{len(self._buffer)} bytes", section=_SECTION)

    def _parse(self) -> list[HeaderReceived]:
        while len(self._buffer) >= self._needed:
            if self._start == 0:
                self._parse_prefix()
            elif self._needed == self._start + _RECIPIENT_PREFIX_SIZE:
                self._parse_recipient_prefix()
            elif self._recipients_left:
                self._next_recipient()
            else:
                return [self._finish()]
        return []

    def _parse_prefix(self) -> None:
        """Read version and count, and ask for the front of the first recipient."""
        _check_version(self._buffer[0])
        self._recipients_left = _check_count(self._buffer[1])
        self._needed = _PREFIX_SIZE
        self._next_recipient()

    def _next_recipient(self) -> None:
        self._start = self._needed
        self._needed += _RECIPIENT_PREFIX_SIZE
        self._recipients_left -= 1

    def _parse_recipient_prefix(self) -> None:
        """Read node id and enc length, and ask for the rest of this recipient."""
        reader = Reader(bytes(self._buffer[self._start : self._needed]))
        node_id = reader.take(NODE_ID_SIZE)
        if self._last_node_id:
            _check_order(self._last_node_id, node_id)
        self._last_node_id = node_id
        self._needed += _check_enc_size(reader.uint(2)) + WRAPPED_SECRET_SIZE

    def _finish(self) -> HeaderReceived:
        header = SealedRequestHeader.decode(bytes(self._buffer[: self._needed]))
        return HeaderReceived(header=header, rest=bytes(self._buffer[self._needed :]))


def _check_version(version: int) -> None:
    if version != SEALED_REQUEST_VERSION:
        raise UnsupportedError(
            "this version of sealed request is unknown", got=version, want=SEALED_REQUEST_VERSION, section=_SECTION
        )


def _check_count(count: int) -> int:
    if count == 0:
        raise DecodeError("sealed request has no recipient", section=_SECTION)
    if count > MAX_RECIPIENTS:
        raise LimitError("sealed request has too many recipients", got=count, want=MAX_RECIPIENTS, section=_SECTION)
    return count


def _check_enc_size(size: int) -> int:
    if size not in ENC_SIZES.values():
        want = " or ".join(str(size) for size in sorted(ENC_SIZES.values()))
        raise DecodeError("enc has the length of no KEM of nodes", got=f"{size} bytes", want=want, section=_SECTION)
    return size


def _check_size(what: str, data: bytes, size: int) -> None:
    if len(data) != size:
        raise DecodeError(f"{what} has the wrong length", got=f"{len(data)} bytes", want=size, section=_SECTION)


def _check_order(before: bytes, after: bytes) -> None:
    # One order and no repetition, so that a header has one spelling and no node can be counted twice.
    if before == after:
        raise DecodeError("a node id occurs twice", got=after.hex(), section=_SECTION)
    if before > after:
        raise DecodeError("node ids are not ascending", got=after.hex(), want=f"above {before.hex()}", section=_SECTION)
