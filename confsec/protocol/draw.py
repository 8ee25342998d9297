"""Drawing at random without a bias: whoever sees many draws learns nothing about the one who drew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from confsec.protocol.machine import RandBytes

__all__ = ["draw", "draw_index"]

_Item = TypeVar("_Item")


def draw_index(count: int, randbytes: RandBytes) -> int:
    """Return a number from 0 to `count` - 1, each equally likely."""
    # Rejection sampling: a remainder alone would favour small numbers.
    limit = (1 << 64) - (1 << 64) % count
    while True:
        number = int.from_bytes(randbytes(8), "big")
        if number < limit:
            return number % count


def draw(items: Sequence[_Item], count: int, randbytes: RandBytes) -> list[_Item]:
    """Return `count` different items of `items`, every choice and order equally likely; all if there are fewer."""
    pool = list(items)
    drawn = min(count, len(pool))
    for place in range(drawn):
        other = place + draw_index(len(pool) - place, randbytes)
        pool[place], pool[other] = pool[other], pool[place]
    return pool[:drawn]
