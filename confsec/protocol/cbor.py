"""CBOR in one spelling only: the core deterministic encoding of RFC 8949, section 4.2.1, on cbor2.

Our own structures use maps with text keys, arrays, byte and text strings, integers, booleans and null; nothing else is
encoded or accepted. Among text keys cbor2's length-first order and the standard's bytewise order are the same.
"""

from __future__ import annotations

from itertools import chain
from typing import Final, cast

import cbor2

from confsec.errors import DecodeError, LimitError, LocalProtocolError

__all__ = [
    "MAX_CONTAINERS",
    "MAX_DEPTH",
    "MAX_ITEMS",
    "CborValue",
    "as_array",
    "as_bytes",
    "as_map",
    "as_text",
    "as_uint",
    "decode",
    "encode",
    "to_json",
]

CborValue = int | bytes | str | bool | None | list["CborValue"] | dict[str, "CborValue"]
"""What our structures are made of."""

MAX_DEPTH: Final = 16
"""Nesting beyond this is refused: none of our structures comes near it."""

MAX_ITEMS: Final = 1 << 16
"""An encoding of more items is refused before it is decoded: a fleet record of 10,000 nodes has 40,000."""

MAX_CONTAINERS: Final = 1 << 14
"""So many of them may be arrays and maps. Those cost most to write again, and a fleet record has one for each node."""

_SECTION = "RFC 8949, section 4.2.1"
_PLAIN: Final = frozenset({bool, bytes, dict, int, list, str, type(None)})
_STRINGS: Final = (2, 3)
"""The major types whose length counts bytes that follow."""


def encode(value: CborValue) -> bytes:
    """Encode deterministically."""
    _require_plain(value, LocalProtocolError)
    return cbor2.dumps(value, canonical=True)


def decode(data: bytes, *, what: str, limit: int) -> CborValue:
    """Decode one item of at most `limit` bytes that must be encoded deterministically.

    `what` names the structure in errors. Raises `LimitError` and `DecodeError`. Encoding again and comparing refuses
    duplicate keys, long integers, indefinite lengths, other orders and trailing bytes at once.
    """
    if len(data) > limit:
        raise LimitError(f"{what} is too long", got=f"{len(data)} bytes", want=f"at most {limit}")
    if len(data) > MAX_ITEMS and _has_too_many_items(data):  # an item has at least one byte
        raise LimitError(f"{what} has too many items", want=f"at most {MAX_ITEMS}")
    try:
        value = cbor2.loads(data)
    except (cbor2.CBORDecodeError, ValueError, OverflowError, RecursionError, MemoryError, TypeError) as exc:
        raise DecodeError(f"{what} is not CBOR", got=f"{len(data)} bytes", section="RFC 8949") from exc
    _require_plain(value, DecodeError)
    if cbor2.dumps(value, canonical=True) != data:
        raise DecodeError(f"{what} is not in the deterministic encoding", section=_SECTION)
    return cast("CborValue", value)  # _require_plain has looked at every part


def to_json(value: CborValue) -> object:
    """Return a value as JSON has it: byte strings become lower-case hex."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    return value


def as_map(value: CborValue, *, what: str, keys: tuple[str, ...]) -> dict[str, CborValue]:
    """Return `value` as a map that has exactly the keys `keys`."""
    if not isinstance(value, dict) or set(value) != set(keys):
        raise DecodeError(f"{what} is not a map of its members", want=", ".join(sorted(keys)))
    return value


def as_array(value: CborValue, *, what: str, limit: int) -> list[CborValue]:
    """Return `value` as an array of at most `limit` items."""
    if not isinstance(value, list):
        raise DecodeError(f"{what} is not an array")
    if len(value) > limit:
        raise LimitError(f"{what} has too many items", got=len(value), want=f"at most {limit}")
    return value


def as_bytes(value: CborValue, *, what: str, size: int | None = None) -> bytes:
    """Return `value` as a byte string, of `size` bytes if one is given."""
    if not isinstance(value, bytes) or (size is not None and len(value) != size):
        raise DecodeError(f"{what} is not a byte string" + (f" of {size} bytes" if size is not None else ""))
    return value


def as_text(value: CborValue, *, what: str) -> str:
    """Return `value` as a text string."""
    if not isinstance(value, str):
        raise DecodeError(f"{what} is not a text string")
    return value


def as_uint(value: CborValue, *, what: str) -> int:
    """Return `value` as an unsigned integer."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise DecodeError(f"{what} is not an unsigned integer")
    return value


def _has_too_many_items(data: bytes) -> bool:
    """Count heads from one to the next, without making anything of them. What is malformed, the decoder refuses."""
    position, size = 0, len(data)
    for _ in range(MAX_ITEMS):
        if position >= size:
            return False
        initial = data[position]
        number = initial & 31
        position += 1
        if number >= 24:
            width = 1 << (number - 24) & 15
            number = int.from_bytes(data[position : position + width], "big")
            position += width
        if initial >> 5 in _STRINGS:
            position += number
    return position < size


def _require_plain(value: object, error: type[DecodeError | LocalProtocolError]) -> None:
    """Refuse tags, floats, bignums, keys that are no text, and deep nesting: level by level, in few steps."""
    level: list[object] = [value]
    containers = 0
    for _ in range(MAX_DEPTH + 1):
        kinds = set(map(type, level))
        if unknown := kinds - _PLAIN:
            name = min(kind.__name__ for kind in unknown)
            raise error("CBOR holds a value of a kind that we do not use", got=name)
        if int in kinds and not all(-(1 << 64) <= each < 1 << 64 for each in level if isinstance(each, int)):
            raise error("a CBOR integer is larger than 64 bits", section="RFC 8949, section 3.1")
        maps = [each for each in level if isinstance(each, dict)] if dict in kinds else []
        if others := set(map(type, chain.from_iterable(maps))) - {str}:
            raise error("a CBOR map has a key that is no text", got=min(kind.__name__ for kind in others))
        arrays = [each for each in level if isinstance(each, list)] if list in kinds else []
        containers += len(maps) + len(arrays)
        if containers > MAX_CONTAINERS:
            raise error("CBOR has too many arrays and maps", want=f"at most {MAX_CONTAINERS}")
        level = [*chain.from_iterable(each.values() for each in maps), *chain.from_iterable(arrays)]
        if not level:
            return
    raise error("CBOR is nested too deeply", want=f"at most {MAX_DEPTH} levels")
