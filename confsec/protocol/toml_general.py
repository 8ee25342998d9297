"""TOML as others write it, read within bounds, and text as TOML writes it (TOML, version 1.0)."""

from __future__ import annotations

import json
import tomllib
from typing import Final

from confsec.errors import ConfigError

__all__ = ["MAX_TOML", "decode", "quote"]

MAX_TOML: Final = 256 << 10
"""A file has at most so many characters: a thousand measurements have 100,000."""

_PARTS: Final = ",.\n\\[{"
"""What each part of a file of TOML begins or ends with."""

_MAX_PARTS: Final = 6 << 10
_MAX_DOTS: Final = 64


def decode(text: str, *, what: str) -> dict[str, object]:
    """Decode a file of TOML. `what` names it in errors. Raises `ConfigError`."""
    _require_short(text, what)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as exc:  # also a number of thousands of digits
        raise ConfigError(f"{what} is not TOML: {exc}") from exc


def quote(text: str) -> str:
    """Write text as a basic string. Raises `ConfigError` for what cannot be shown."""
    if not text.isprintable():
        raise ConfigError("a text has characters that cannot be shown")
    return json.dumps(text, ensure_ascii=False)


def _require_short(text: str, what: str) -> None:
    """Refuse a file that would take long to read: dotted keys cost the square of their length. Raises `ConfigError`."""
    if len(text) > MAX_TOML:
        raise ConfigError(f"{what} is too long", got=len(text), want=f"at most {MAX_TOML} characters")
    if (parts := sum(map(text.count, _PARTS))) > _MAX_PARTS:
        raise ConfigError(f"{what} has too many parts", got=parts, want=f"at most {_MAX_PARTS}")
    if any(line.count(".") > _MAX_DOTS for line in text.split("\n")):
        raise ConfigError(f"{what} has a line of too many dots", want=f"at most {_MAX_DOTS}")
