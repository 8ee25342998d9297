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
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
        _check(value, what)
    except RecursionError as exc:
        raise LimitError(f"{what} is nested too deeply", want=f"at most {MAX_DEPTH} levels") from exc
    except ValueError as exc:  # also what is not UTF-8
        raise DecodeError(f"{what} is not JSON", got=f"{len(data)} bytes", section="RFC 8259") from exc
    return value  # type: ignore[no-any-return] # _check has looked at every part


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


def _check(value: object, what: str, depth: int = 0) -> None:
    """Refuse deep nesting, numbers beyond all floats, and halves of surrogate pairs."""
    if depth > MAX_DEPTH:
        raise LimitError(f"{what} is nested too deeply", want=f"at most {MAX_DEPTH} levels")
    if isinstance(value, dict):
        for name, member in value.items():
            name.encode("utf-8")
            _check(member, what, depth + 1)
    elif isinstance(value, list):
        for each in value:
            _check(each, what, depth + 1)
    elif isinstance(value, str):
        value.encode("utf-8")
    elif isinstance(value, float) and not math.isfinite(value):
        raise DecodeError("a number in JSON is too large", section="RFC 8259, section 6")
