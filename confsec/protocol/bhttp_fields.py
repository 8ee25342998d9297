"""Field lines of binary HTTP: reading, writing and checking header and trailer sections (RFC 9292, section 3.6).

A name is lower-case ASCII text and a value is latin-1 text: each character stands for one byte, so that any value which
HTTP allows survives the way through. What arrives in upper case is lower-cased, since names are case-insensitive.

What connection-specific fields do on a connection they cannot do here: they are legal in a binary message, and whoever
makes one from a message of another HTTP version removes them first with `strip_connection_fields`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from confsec.errors import DecodeError
from confsec.protocol.wire import encode_varint

__all__ = [
    "Fields",
    "StarvedError",
    "check_name",
    "check_pseudo_fields",
    "decode_field",
    "encode_lines",
    "strip_connection_fields",
    "take_line",
    "take_varint",
]

Fields = tuple[tuple[str, str], ...]
"""Field lines in order: lower-case names and latin-1 values."""

_SECTION = "RFC 9292, section 3.6"

# RFC 9110, section 5.1: a name is a token. RFC 9292 lets pseudo-fields of protocol extensions begin with a colon.
_NAME = re.compile(r":?[!#$%&'*+\-.^_`|~0-9a-z]+")

# RFC 9110, section 5.5, and RFC 9113, section 8.2.1: visible characters and obs-text, with spaces and tabs only between
# them. NUL, CR and LF would split the message when it is replayed over HTTP/1.1; the other controls serve nobody.
_VALUE = re.compile(rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")

_CONTROL_PSEUDO_FIELDS: Final = frozenset({":method", ":scheme", ":authority", ":path", ":status"})

# RFC 9110, section 7.6.1. Trailer is not in its list but speaks of the framing as well: it announces the trailers of
# chunked content (RFC 9112, section 7.1.2), which a binary message has in plain sight.
_CONNECTION_FIELDS: Final = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)

# Names that we meet all the time need no regular expression. The table never grows: its keys are not the peer's.
_COMMON_NAMES: Final = (
    "accept accept-encoding accept-language age authorization cache-control content-encoding content-language "
    "content-length content-type cookie date etag expires host last-modified location retry-after server "
    "set-cookie trailer user-agent vary via www-authenticate"
)
_KNOWN_NAMES: Final = {name.encode("ascii"): name for name in _COMMON_NAMES.split()}
_ENCODED_NAMES: Final = {name: encode_varint(len(encoded)) + encoded for encoded, name in _KNOWN_NAMES.items()}
_ONE_BYTE: Final = tuple(bytes([size]) for size in range(0x40))


class StarvedError(Exception):
    """Not enough bytes are here yet: they must reach as far as index `wanted`. Never leaves the decoder."""

    def __init__(self, wanted: int) -> None:
        super().__init__(wanted)
        self.wanted = wanted


def take_varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Return the varint at `at` and where it ends; raise `StarvedError` if that is behind `end`."""
    if at >= end:
        raise StarvedError(at + 1)
    first = data[at]
    if first < 0x40:
        return first, at + 1
    stop = at + (1 << (first >> 6))
    if stop > end:
        raise StarvedError(stop)
    return int.from_bytes(data[at:stop], "big") & ((1 << (8 * (stop - at) - 2)) - 1), stop


def take_line(data: bytes, at: int, end: int) -> tuple[bytes, bytes, int]:
    """Return name and value of the field line at `at`, and where it ends. The name is empty at a terminator."""
    size, at = take_varint(data, at, end)
    if not size:
        return b"", b"", at
    stop = at + size
    if stop > end:
        raise StarvedError(stop)
    size, value_at = take_varint(data, stop, end)
    value_stop = value_at + size
    if value_stop > end:
        raise StarvedError(value_stop)
    return data[at:stop], data[value_at:value_stop], value_stop


def decode_field(name: bytes, value: bytes) -> tuple[str, str]:
    """Check one field line and return it as text. Raises `DecodeError`."""
    if not _VALUE.fullmatch(value):
        raise DecodeError("a field value has forbidden bytes", got=f"{len(value)} bytes", section=_SECTION)
    return _KNOWN_NAMES.get(name) or _decode_name(name), value.decode("latin-1")


def _decode_name(name: bytes) -> str:
    text = name.decode("latin-1")
    if text.isascii():
        text = text.lower()
    check_name(text)
    return text


def check_name(name: str) -> None:
    """Refuse what is no lower-case field name. Raises `DecodeError`."""
    if not _NAME.fullmatch(name):
        raise DecodeError("a field name has forbidden bytes", got=f"{len(name)} bytes", section=_SECTION)


def check_pseudo_fields(fields: Iterable[tuple[str, str]], *, trailers: bool) -> None:
    """Refuse pseudo-fields that control data replaces, that follow other fields, or that stand in trailers."""
    regular = trailers
    for name, _ in fields:
        if name[:1] != ":":
            regular = True
        elif regular:
            raise DecodeError("a pseudo-field is not in front of the headers", section=_SECTION)
        elif name in _CONTROL_PSEUDO_FIELDS:
            raise DecodeError("a pseudo-field repeats control data", got=name, section=_SECTION)


def encode_lines(fields: Fields, *, trailers: bool) -> bytes:
    """Encode field lines one after the other, without length or terminator. Raises `DecodeError` for invalid ones."""
    check_pseudo_fields(fields, trailers=trailers)
    parts: list[bytes] = []
    for name, value in fields:
        encoded = _encode_value(value)
        size = len(encoded)
        parts += (
            _ENCODED_NAMES.get(name) or _encode_name(name),
            _ONE_BYTE[size] if size < 0x40 else encode_varint(size),
            encoded,
        )
    return b"".join(parts)


def _encode_name(name: str) -> bytes:
    check_name(name)
    return encode_varint(len(name)) + name.encode("ascii")


def _encode_value(value: str) -> bytes:
    try:
        encoded = value.encode("latin-1")
    except UnicodeEncodeError as exc:
        raise DecodeError("a field value is not latin-1", got=f"{len(value)} characters", section=_SECTION) from exc
    if not _VALUE.fullmatch(encoded):
        raise DecodeError("a field value has forbidden bytes", got=f"{len(value)} bytes", section=_SECTION)
    return encoded


def strip_connection_fields(fields: Iterable[tuple[str, str]]) -> Fields:
    """Return the fields without those that belong to one connection (RFC 9110, section 7.6.1).

    Those are the ones known to be so, and every field that a Connection or Proxy-Connection field nominates. Names
    must be in lower case.
    """
    fields = tuple(fields)
    dropped = set(_CONNECTION_FIELDS)
    for name, value in fields:
        if name in ("connection", "proxy-connection"):
            dropped.update(option.strip(" \t").lower() for option in value.split(","))
    return tuple((name, value) for name, value in fields if name not in dropped)
