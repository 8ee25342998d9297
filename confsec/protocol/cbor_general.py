"""CBOR as others write it: tags, keys that are numbers, indefinite lengths, any order (RFC 8949).

The formats of remote attestation need more than our own deterministic subset (`cbor.py`). What is read here is bounded
in bytes, items and depth before anything is made of it, a duplicate key is refused, and nothing is interpreted: a
date stays a `Tag`, since what a library makes of it may not encode back. So there is a decoder of our own; cbor2 has
neither a limit on items nor a way to leave all tags alone, and serves for encoding.

Where a signature counts, it is over the bytes that came: several encodings have the same value.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias, final

import cbor2
from attrs import frozen

from confsec.errors import DecodeError, LimitError, LocalProtocolError, TruncatedError

__all__ = ["MAX_DEPTH", "MAX_ITEMS", "CborItem", "CborKey", "Tag", "as_array", "as_map", "decode", "encode"]

MAX_DEPTH: Final = 32
"""Nesting beyond this is refused."""

MAX_ITEMS: Final = 16_384
"""One encoding has at most so many items, unless the caller says otherwise: a token has a hundred."""

_SECTION: Final = "RFC 8949, section 3"
_BREAK: Final = 0xFF
_INDEFINITE: Final = 31
_SIMPLE: Final[Mapping[int, bool | None]] = {0xF4: False, 0xF5: True, 0xF6: None}
_FLOATS: Final = {0xF9: ">e", 0xFA: ">f", 0xFB: ">d"}


@final
@frozen
class Tag:
    """A tagged item: the number, and what it stands before."""

    number: int
    value: CborItem


CborKey: TypeAlias = int | str | bytes
"""What may be the key of a map here."""

CborItem: TypeAlias = "int | bytes | str | bool | float | Tag | list[CborItem] | dict[CborKey, CborItem] | None"
"""What may be in an encoding: no `undefined`, and no simple values but true, false and null."""


def decode(data: bytes, *, what: str, limit: int, max_items: int = MAX_ITEMS, max_depth: int = MAX_DEPTH) -> CborItem:
    """Decode the one item that `data` consists of. `what` names it in errors, `limit` is in bytes.

    Raises `LimitError` and `DecodeError`.
    """
    if len(data) > limit:
        raise LimitError(f"{what} is too long", got=f"{len(data)} bytes", want=f"at most {limit}")
    decoder = _Decoder(data, what, max_items, max_depth)
    item = decoder.item(0)
    if decoder.position != len(data):
        raise DecodeError(f"{what} has bytes after its end", got=f"{len(data) - decoder.position} bytes more")
    return item


def encode(item: CborItem) -> bytes:
    """Encode deterministically (RFC 8949, section 4.2.1), but for floats, which keep 64 bits."""
    return cbor2.dumps(_for_cbor2(item))


def as_map(value: CborItem, *, what: str) -> dict[CborKey, CborItem]:
    """Return `value` as a map. Raises `DecodeError`."""
    if not isinstance(value, dict):
        raise DecodeError(f"{what} is not a map")
    return value


def as_array(value: CborItem, *, what: str, sizes: range | None = None) -> list[CborItem]:
    """Return `value` as an array with one of `sizes`. Raises `DecodeError`."""
    if not isinstance(value, list):
        raise DecodeError(f"{what} is not an array")
    if sizes is not None and len(value) not in sizes:
        want = str(sizes.start) if len(sizes) == 1 else f"{sizes.start} to {sizes.stop - 1}"
        raise DecodeError(f"{what} has the wrong number of items", got=len(value), want=want)
    return value


@final
class _Decoder:
    """Walks over the bytes once. Everything that costs memory is counted before it is made."""

    __slots__ = ("_data", "_items_left", "_max_depth", "_what", "position")

    def __init__(self, data: bytes, what: str, max_items: int, max_depth: int) -> None:
        self._data = data
        self._what = what
        self._items_left = max_items
        self._max_depth = max_depth
        self.position = 0

    def item(self, depth: int) -> CborItem:
        """Take one item."""
        self._count(depth)
        initial = self._take(1)[0]
        major, minor = initial >> 5, initial & 31
        if major == 7:
            return self._simple(initial)
        if minor == _INDEFINITE:
            return self._indefinite(major, depth)
        number = minor if minor < 24 else self._number(minor)
        return _BY_MAJOR[major](self, number, depth)

    def _count(self, depth: int) -> None:
        if depth > self._max_depth:
            raise LimitError(f"{self._what} is nested too deeply", want=f"at most {self._max_depth} levels")
        self._items_left -= 1
        if self._items_left < 0:
            raise LimitError(f"{self._what} has too many items")

    def _take(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self._data):
            left = len(self._data) - self.position
            raise TruncatedError(f"{self._what} ends early", got=f"{left} bytes", want=f"{size} bytes")
        part = self._data[self.position : end]
        self.position = end
        return part

    def _number(self, minor: int) -> int:
        if minor > 27:
            raise DecodeError(f"{self._what} has a reserved length", section=_SECTION)
        return int.from_bytes(self._take(1 << (minor - 24)), "big")

    def _simple(self, initial: int) -> CborItem:
        if initial in _SIMPLE:
            return _SIMPLE[initial]
        if initial in _FLOATS:
            form = _FLOATS[initial]
            value: float = struct.unpack(form, self._take(struct.calcsize(form)))[0]
            return value
        raise DecodeError(f"{self._what} has a simple value that nobody uses", got=f"0x{initial:02x}", section=_SECTION)

    def _text(self, size: int, depth: int) -> str:
        try:
            return self._take(size).decode("utf-8")
        except UnicodeDecodeError as exc:
            raise DecodeError(f"{self._what} has text that is not UTF-8", section="RFC 8949, section 3.1") from exc

    def _array(self, size: int, depth: int) -> list[CborItem]:
        # An array of items that are not there would cost memory if it were made at once; each item counts itself.
        return [self.item(depth + 1) for _ in range(size)]

    def _map(self, size: int, depth: int) -> dict[CborKey, CborItem]:
        pairs: dict[CborKey, CborItem] = {}
        for _ in range(size):
            self._pair(pairs, depth)
        return pairs

    def _pair(self, pairs: dict[CborKey, CborItem], depth: int) -> None:
        key = self.item(depth + 1)
        if isinstance(key, bool) or not isinstance(key, int | str | bytes):
            raise DecodeError(f"{self._what} has a key that is neither number nor string", got=type(key).__name__)
        if key in pairs:
            raise DecodeError(f"{self._what} has a key twice", section="RFC 8949, section 5.6")
        pairs[key] = self.item(depth + 1)

    def _indefinite(self, major: int, depth: int) -> CborItem:
        match major:
            case 2:
                return b"".join(self._chunks(major, depth))
            case 3:
                return "".join(self._chunks(major, depth))
            case 4:
                items: list[CborItem] = []
                while not self._at_break():
                    items.append(self.item(depth + 1))
                return items
            case 5:
                pairs: dict[CborKey, CborItem] = {}
                while not self._at_break():
                    self._pair(pairs, depth)
                return pairs
            case _:
                raise DecodeError(f"{self._what} has a number of indefinite length", section=_SECTION)

    def _chunks(self, major: int, depth: int) -> list[Any]:
        """Take the chunks of a string: each of the same major type, and of definite length."""
        chunks = []
        while not self._at_break():
            initial = self._data[self.position]
            if initial >> 5 != major or initial & 31 == _INDEFINITE:
                raise DecodeError(f"{self._what} has a chunk that is no such string", section="RFC 8949, section 3.2.3")
            chunks.append(self.item(depth + 1))
        return chunks

    def _at_break(self) -> bool:
        if self.position < len(self._data) and self._data[self.position] == _BREAK:
            self.position += 1
            return True
        if self.position == len(self._data):
            raise TruncatedError(f"{self._what} ends early", got="0 bytes", want="1 byte")
        return False


_BY_MAJOR: Final[tuple[Callable[[_Decoder, int, int], CborItem], ...]] = (
    lambda _, number, __: number,
    lambda _, number, __: -1 - number,
    lambda decoder, size, _: decoder._take(size),  # noqa: SLF001 - a table of the class's own steps
    _Decoder._text,  # noqa: SLF001 - as above
    _Decoder._array,  # noqa: SLF001 - as above
    _Decoder._map,  # noqa: SLF001 - as above
    lambda decoder, number, depth: Tag(number, decoder.item(depth + 1)),
)


def _for_cbor2(item: CborItem, depth: int = 0) -> object:
    """Return what cbor2 writes as we want it: keys in the bytewise order of their encoding."""
    if depth > MAX_DEPTH:
        raise LocalProtocolError("CBOR is nested too deeply", want=f"at most {MAX_DEPTH} levels")
    match item:
        case Tag(number, value):
            return cbor2.CBORTag(number, _for_cbor2(value, depth + 1))
        case list():
            return [_for_cbor2(each, depth + 1) for each in item]
        case dict():
            return {key: _for_cbor2(item[key], depth + 1) for key in sorted(item, key=cbor2.dumps)}
        case int() if not -(1 << 64) <= item < 1 << 64:
            raise LocalProtocolError("a CBOR integer is larger than 64 bits", section="RFC 8949, section 3.1")
        case None | bool() | int() | float() | bytes() | str():
            return item
        case _:
            raise LocalProtocolError("CBOR cannot hold such a value", got=type(item).__name__)
