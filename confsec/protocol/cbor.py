"""CBOR in one spelling only: the core deterministic encoding of RFC 8949, section 4.2.1, on cbor2.

Our own structures use maps with text keys, arrays, byte and text strings, integers, booleans and null; nothing else is
encoded or accepted. Among text keys cbor2's length-first order and the standard's bytewise order are the same.
"""

from __future__ import annotations

from typing import Final, cast

import cbor2

from confsec.errors import DecodeError, LimitError, LocalProtocolError

__all__ = [
    "MAX_DEPTH",
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

_SECTION = "RFC 8949, section 4.2.1"


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


def _require_plain(value: object, error: type[DecodeError | LocalProtocolError], depth: int = 0) -> None:
    """Refuse tags, floats, bignums, keys that are no text, and deep nesting."""
    if depth > MAX_DEPTH:
        raise error("CBOR is nested too deeply", want=f"at most {MAX_DEPTH} levels")
    if isinstance(value, list):
        for item in value:
            _require_plain(item, error, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise error("a CBOR map has a key that is no text", got=type(key).__name__)
            _require_plain(item, error, depth + 1)
    elif isinstance(value, int):
        if not -(1 << 64) <= value < 1 << 64:
            raise error("a CBOR integer is larger than 64 bits", section="RFC 8949, section 3.1")
    elif value is not None and not isinstance(value, bytes | str):
        raise error("CBOR holds a value of a kind that we do not use", got=type(value).__name__)
