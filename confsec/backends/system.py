"""The system's clock and randomness: the only file that touches them, so that everything else can be replayed."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime

__all__ = ["monotonic", "now", "randbytes"]


def randbytes(size: int) -> bytes:
    """Return `size` bytes from the operating system's generator."""
    return os.urandom(size)


def now() -> datetime:
    """Return the current time, aware, in UTC."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Return seconds of a clock that never goes back; only differences mean something."""
    return time.monotonic()
