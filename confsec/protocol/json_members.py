"""Members of JSON objects, read strictly: the names that are expected, and of each value its one spelling.

Times are RFC 3339 in UTC with whole seconds, `2026-11-28T07:00:00Z`; bytes are lower-case hex or base64.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Final

from confsec.errors import DecodeError, LimitError
from confsec.protocol.json_general import JsonItem, as_object
from confsec.protocol.wire import decode_hex

__all__ = [
    "DIGEST_SIZE",
    "digest_of",
    "encode_time",
    "hex_of",
    "list_of",
    "members_of",
    "text_of",
    "time_of",
    "uint_of",
]

DIGEST_SIZE: Final = 32
"""Bytes of a SHA-256 digest."""

_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", re.ASCII)


def members_of(value: JsonItem, what: str, names: Collection[str]) -> dict[str, JsonItem]:
    """Return an object that has these members and no others. Raises `DecodeError`."""
    members = as_object(value, what=what)
    if set(members) != set(names):
        raise DecodeError(f"{what} has other members", want=", ".join(names))
    return members


def text_of(value: JsonItem, what: str, *, limit: int, least: int = 0) -> str:
    """Return text of `least` to `limit` characters. Raises `DecodeError` and `LimitError`."""
    if not isinstance(value, str):
        raise DecodeError(f"{what} is not text")
    if len(value) > limit:
        raise LimitError(f"{what} is too long", got=f"{len(value)} characters", want=f"at most {limit}")
    if len(value) < least:
        raise DecodeError(f"{what} is too short", got=f"{len(value)} characters", want=f"at least {least}")
    return value


def uint_of(value: JsonItem, what: str, *, limit: int) -> int:
    """Return a whole number of 0 to `limit`. Raises `DecodeError`."""
    if type(value) is not int or not 0 <= value <= limit:
        raise DecodeError(f"{what} is not a whole number of this range", want=f"0 to {limit}")
    return value


def list_of(value: JsonItem, what: str, *, limit: int, least: int = 0) -> list[JsonItem]:
    """Return a list of `least` to `limit` items. Raises `DecodeError` and `LimitError`."""
    if not isinstance(value, list):
        raise DecodeError(f"{what} is not a list")
    if len(value) > limit:
        raise LimitError(f"{what} has too many items", got=len(value), want=f"at most {limit}")
    if len(value) < least:
        raise DecodeError(f"{what} has too few items", got=len(value), want=f"at least {least}")
    return value


def hex_of(value: JsonItem, what: str, *, limit: int) -> bytes:
    """Return 1 to `limit` bytes from lower-case hex. Raises `DecodeError` and `LimitError`."""
    return decode_hex(text_of(value, what, limit=2 * limit, least=2))


def digest_of(value: JsonItem, what: str) -> bytes:
    """Return a SHA-256 digest from lower-case hex. Raises `DecodeError`."""
    digest = hex_of(value, what, limit=DIGEST_SIZE)
    if len(digest) != DIGEST_SIZE:
        raise DecodeError(f"{what} is no SHA-256 digest", got=f"{len(digest)} bytes", want=f"{DIGEST_SIZE} bytes")
    return digest


def time_of(value: JsonItem, what: str) -> datetime:
    """Return a time in UTC. Raises `DecodeError` (RFC 3339, section 5.6; in-toto, field types)."""
    text = text_of(value, what, limit=20)
    try:
        time = datetime.fromisoformat(text if _TIME.fullmatch(text) else "")
    except ValueError as exc:
        raise DecodeError(
            f"{what} is no time", want="like 2026-11-28T07:00:00Z", section="RFC 3339, section 5.6"
        ) from exc
    if encode_time(time) != text:  # newer Pythons take 24:00:00 for the next day
        raise DecodeError(f"{what} is not in its one spelling", section="RFC 3339, section 5.6")
    return time


def encode_time(time: datetime) -> str:
    """Write a time in UTC with whole seconds."""
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
