"""Reading and writing bytes: fixed integers, QUIC varints, length-prefixed vectors, strict hex and base64.

`Reader` walks over bytes that are all there; what is missing raises `TruncatedError`. `int()` and the standard
library's base64 accept more than our formats do; the functions here accept one spelling only.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from confsec.errors import DecodeError, LimitError, LocalProtocolError, TruncatedError

__all__ = [
    "MAX_VARINT",
    "Reader",
    "decode_base64",
    "decode_base64url",
    "decode_base64url_padded",
    "decode_hex",
    "encode_base64",
    "encode_base64url",
    "encode_base64url_padded",
    "encode_uint",
    "encode_varint",
    "encode_varint_vector",
    "encode_vector",
    "varint_size",
]

MAX_VARINT: Final = (1 << 62) - 1
"""The largest number a QUIC varint holds (RFC 9000, section 16)."""

_VARINT_SECTION = "RFC 9000, section 16"


class Reader:
    """Take values off the front of `data`, in order. `what` names the structure in errors."""

    __slots__ = ("_data", "_position", "_what")

    def __init__(self, data: bytes, what: str = "message") -> None:
        self._data = data
        self._position = 0
        self._what = what

    @property
    def position(self) -> int:
        """How many bytes were taken."""
        return self._position

    @property
    def remaining(self) -> int:
        """How many bytes are left."""
        return len(self._data) - self._position

    def take(self, size: int) -> bytes:
        """Take exactly `size` bytes."""
        end = self._position + size
        if end > len(self._data):
            raise TruncatedError(f"{self._what} ends early", got=f"{self.remaining} bytes", want=f"{size} bytes")
        part = self._data[self._position : end]
        self._position = end
        return part

    def rest(self) -> bytes:
        """Take all that is left."""
        return self.take(self.remaining)

    def uint(self, size: int) -> int:
        """Take a big-endian unsigned integer of `size` bytes."""
        return int.from_bytes(self.take(size), "big")

    def varint(self, *, minimal: bool = False) -> int:
        """Take a QUIC varint. With `minimal`, refuse a longer spelling than needed."""
        size = 1 << (self.peek() >> 6)
        value = int.from_bytes(self.take(size), "big") & ((1 << (8 * size - 2)) - 1)
        if minimal and size != varint_size(value):
            raise DecodeError(
                f"{self._what} has a varint that is not minimal", got=f"{size} bytes", section=_VARINT_SECTION
            )
        return value

    def peek(self) -> int:
        """Return the next byte and leave it there."""
        if not self.remaining:
            raise TruncatedError(f"{self._what} ends early", got="0 bytes", want="1 byte")
        return self._data[self._position]

    def vector(self, length_size: int, *, limit: int | None = None) -> bytes:
        """Take a vector that starts with its length in `length_size` bytes; more than `limit` bytes are refused."""
        return self._bounded(self.uint(length_size), limit)

    def varint_vector(self, *, limit: int | None = None) -> bytes:
        """Take a vector that starts with its length as a varint; more than `limit` bytes are refused."""
        return self._bounded(self.varint(), limit)

    def finish(self) -> None:
        """Refuse anything that is left over."""
        if self.remaining:
            raise DecodeError(f"{self._what} has bytes after its end", got=f"{self.remaining} bytes more")

    def _bounded(self, length: int, limit: int | None) -> bytes:
        if limit is not None and length > limit:
            raise LimitError(
                f"{self._what} has a field that is too long", got=f"{length} bytes", want=f"at most {limit}"
            )
        return self.take(length)


def encode_uint(value: int, size: int) -> bytes:
    """Encode a big-endian unsigned integer of `size` bytes."""
    try:
        return value.to_bytes(size, "big")
    except OverflowError as exc:
        raise LocalProtocolError("a number does not fit its field", got=value, want=f"{size} bytes, unsigned") from exc


def varint_size(value: int) -> int:
    """Return how many bytes the shortest varint of `value` has: 1, 2, 4 or 8."""
    if value < 0x40:
        return 1
    if value < 0x4000:
        return 2
    return 4 if value < 0x4000_0000 else 8


def encode_varint(value: int) -> bytes:
    """Encode `value` as the shortest QUIC varint."""
    if not 0 <= value <= MAX_VARINT:
        raise LocalProtocolError(
            "a number does not fit a varint", got=value, want="0 to 2^62-1", section=_VARINT_SECTION
        )
    size = varint_size(value)
    return (value | ((size.bit_length() - 1) << (8 * size - 2))).to_bytes(size, "big")


def encode_vector(data: bytes, length_size: int) -> bytes:
    """Encode `data` behind its length in `length_size` bytes."""
    return encode_uint(len(data), length_size) + data


def encode_varint_vector(data: bytes) -> bytes:
    """Encode `data` behind its length as a varint."""
    return encode_varint(len(data)) + data


def decode_hex(text: str) -> bytes:
    """Decode lower-case hex: no prefix, no spaces."""
    if not re.fullmatch(r"(?:[0-9a-f]{2})*", text):
        raise DecodeError("text is not lower-case hex", got=f"{len(text)} characters")
    return bytes.fromhex(text)


def decode_base64(text: str) -> bytes:
    """Decode base64 with padding, the standard alphabet and zero pad bits (RFC 4648, section 4)."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as exc:
        raise DecodeError("text is not base64", got=f"{len(text)} characters", section="RFC 4648, section 4") from exc
    if encode_base64(data) != text:
        raise DecodeError("base64 is not canonical", got=f"{len(text)} characters", section="RFC 4648, section 3.5")
    return data


def encode_base64(data: bytes) -> str:
    """Encode as base64 with padding (RFC 4648, section 4)."""
    return base64.b64encode(data).decode("ascii")


def decode_base64url(text: str) -> bytes:
    """Decode base64url without padding and with zero pad bits (RFC 4648, section 5)."""
    if not re.fullmatch(r"[A-Za-z0-9_-]*", text):
        raise DecodeError("text is not base64url", got=f"{len(text)} characters", section="RFC 4648, section 5")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as exc:
        raise DecodeError(
            "text is not base64url", got=f"{len(text)} characters", section="RFC 4648, section 5"
        ) from exc
    if encode_base64url(data) != text:
        raise DecodeError("base64url is not canonical", got=f"{len(text)} characters", section="RFC 4648, section 3.5")
    return data


def encode_base64url(data: bytes) -> str:
    """Encode as base64url without padding (RFC 4648, section 5)."""
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


def decode_base64url_padded(text: str) -> bytes:
    """Decode base64url with padding, as the headers of RFC 9577 have it (RFC 4648, sections 3.2 and 5)."""
    data = decode_base64url(text.rstrip("="))
    if encode_base64url_padded(data) != text:
        raise DecodeError(
            "base64url has the wrong padding", got=f"{len(text)} characters", section="RFC 4648, section 3.2"
        )
    return data


def encode_base64url_padded(data: bytes) -> str:
    """Encode as base64url with padding (RFC 4648, section 5)."""
    return base64.urlsafe_b64encode(data).decode("ascii")
