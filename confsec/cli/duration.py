"""Durations on the command line, such as `30d`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, Final

import click

__all__ = ["DURATION", "Duration"]

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_MAX_DURATION: Final = 10 * 365 * 86_400


class Duration(click.ParamType[timedelta]):
    """A number with its unit."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read `90d`, `12h`, `30m` or `45s`."""
        match = re.fullmatch(r"([0-9]{1,9})([smhd])", value)
        if match is None:
            self.fail(f"{value!r} is no duration: write a whole number and s, m, h or d, as in 30d", param, ctx)
        seconds = int(match[1]) * _UNITS[match[2]]
        if seconds > _MAX_DURATION:
            self.fail(f"{value!r} is longer than ten years", param, ctx)
        return timedelta(seconds=seconds)


DURATION: Final = Duration()
"""The type of an option that takes a duration."""
