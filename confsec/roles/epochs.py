"""Epochs as routers and nodes share them. Until a witnessed log names them, the source is the operator's clock."""

from __future__ import annotations

from typing import Final, final

import anyio
import anyio.lowlevel

from confsec.backends.api import Clock
from confsec.errors import ConfigError
from confsec.protocol.epoch import Epoch

__all__ = ["EVIDENCE_FIELD", "UnsafeLocalEpoch"]

EVIDENCE_FIELD: Final = "confsec-evidence"
"""The field in which a node says beside endorsements to which evidence they belong: its SHA-256 in hex. The epoch may
turn between two fetches."""

_SHORTEST_SLEEP: Final = 0.001


@final
class UnsafeLocalEpoch:
    """An `EpochSource` that is a clock: an epoch begins at each multiple of its length, at all nodes at once.

    It proves nothing about age: whoever sets the clock can make evidence for any time, early or late.
    """

    def __init__(self, clock: Clock, seconds: int) -> None:
        """Begin an epoch every `seconds` of `clock`. Raises `ConfigError` for less than one."""
        if seconds < 1:
            raise ConfigError("an epoch lasts a second or more", got=seconds)
        self._now = clock
        self._seconds = seconds

    async def current(self) -> Epoch:
        """Return the epoch that the clock is in."""
        await anyio.lowlevel.checkpoint()
        return self._newest()

    async def wait_after(self, epoch: Epoch) -> Epoch:
        """Sleep until the clock is in a later epoch. One that is set back makes this wait until it has caught up."""
        await anyio.lowlevel.checkpoint()
        while (newest := self._newest()).began <= epoch.began:
            # Clocks differ a little, and sleep may end early: the clock decides, not the time slept.
            left = newest.began.timestamp() + self._seconds - self._now().timestamp()
            await anyio.sleep(max(left, _SHORTEST_SLEEP))
        return newest

    def _newest(self) -> Epoch:
        return Epoch.local(int(self._now().timestamp()) // self._seconds * self._seconds)
