"""JSON as others write it, read strictly (RFC 8259): bounded, no key twice, nothing that is not JSON.

Python's decoder takes NaN and infinite numbers, the last of several members of one name, and halves of surrogate
pairs. Two readers of one signed text could then see different claims.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final, NoReturn, TypeAlias

from confsec.errors import DecodeError, LimitError, LocalProtocolError

__all__ = ["MAX_COMMAS", "MAX_DEPTH", "JsonItem", "as_object", "decode", "encode"]

MAX_DEPTH: Final = 32
"""Nesting beyond this is refused."""

MAX_COMMAS: Final = 16_384
"""A text with more commas is refused before it is decoded: they bound how many items there can be."""

JsonItem: TypeAlias = "int | float | str | bool | list[JsonItem] | dict[str, JsonItem] | None"
"""What JSON is made of."""

_SECTION: Final = "RFC 8259, section 4"


def decode(data: bytes, *, what: str, limit: int) -> JsonItem:
    """Decode one JSON text of at most `limit` bytes. `what` names it in errors.

    Raises `LimitError` and `DecodeError`.
    """
    if len(data) > limit:
        raise LimitError(f"{what} is too long", got=f"{len(data)} bytes", want=f"at most {limit}")
    if data.count(b",") > MAX_COMMAS:
        raise LimitError(f"{what} has too many items", want=f"at most {MAX_COMMAS} commas")
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_float=_finite,
            parse_constant=_refuse_constant,
        )
        _check_depth(value, what)
        if b"\\u" in data:  # halves of surrogate pairs, which UTF-8 does not have, can only be written as escapes
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError as exc:
        raise LimitError(f"{what} is nested too deeply", want=f"at most {MAX_DEPTH} levels") from exc
    except ValueError as exc:  # also what is not UTF-8
        raise DecodeError(f"{what} is not JSON", got=f"{len(data)} bytes", section="RFC 8259") from exc
    return value  # type: ignore[no-any-return] # it is what json.loads makes


def encode(value: JsonItem) -> bytes:
    """Encode without spaces, in UTF-8, members in their order. Raises `LocalProtocolError` for what is not JSON."""
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as exc:
        raise LocalProtocolError("JSON cannot hold such a value", section="RFC 8259") from exc


def as_object(value: JsonItem, *, what: str) -> dict[str, JsonItem]:
    """Return `value` as an object. Raises `DecodeError`."""
    if not isinstance(value, dict):
        raise DecodeError(f"{what} is not a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise DecodeError("a JSON object has a member twice", section=_SECTION)
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise DecodeError("a number in JSON is no number", got=name, section="RFC 8259, section 6")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise DecodeError("a number in JSON is too large", section="RFC 8259, section 6")
    return value


def _check_depth(value: object, what: str) -> None:
    """Go down level by level: what a document holds is looked at in few steps, however much it is."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inner = (each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list))
        level = [part for parts in inner for part in parts]
        if not level:
            return
    raise LimitError(f"{what} is nested too deeply", want=f"at most {MAX_DEPTH} levels")
