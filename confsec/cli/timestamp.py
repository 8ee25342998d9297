"""Times on the command line, such as `2026-11-28T12:00:00Z`."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

import click

__all__ = ["TIMESTAMP", "Timestamp"]

_RFC_3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


class Timestamp(click.ParamType[datetime]):
    """A time with its offset (RFC 3339, section 5.6)."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read `2026-11-28T12:00:00Z`, or with an offset, and return it in UTC."""
        try:
            if _RFC_3339.fullmatch(value):
                return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            pass  # a 13th month, or a time before the year 1
        return self.fail(f"{value!r} is no time: write it as in 2026-11-28T12:00:00Z (RFC 3339)", param, ctx)


TIMESTAMP: Final = Timestamp()
"""The type of an option that takes a time."""
