"""Epochs as a witnessed log names them: an `EpochSource` that reads beacons and believes the witnesses alone."""

from __future__ import annotations

from pathlib import Path
from typing import Final, final

import anyio

from confsec.backends.api import Clock, EpochSource, Transport
from confsec.backends.log_source import Fetch, HttpLogSource
from confsec.errors import BackendError, ConfigError, ConfsecError, LocalProtocolError
from confsec.protocol.epoch import CLOCK_DIFFERENCE, Epoch
from confsec.protocol.log_root import LogRoot
from confsec.protocol.service_state import read_epoch
from confsec.protocol.tree_reader import BEACON_PATH
from confsec.roles.epochs import UnsafeLocalEpoch

__all__ = ["LogEpochs", "choose_epochs", "read_root"]

_POLLS: Final = 100
"""So many times in an epoch its end is looked for, at least."""

_LONGEST_PAUSE: Final = 2.0


@final
class LogEpochs:
    """The epochs of the fleet's log of one root."""

    def __init__(self, root: LogRoot, fetch: Fetch, *, clock: Clock) -> None:
        """Read beacons with `fetch`, as `HttpLogSource.fetch` for the log's address."""
        self._root = root
        self._fetch = fetch
        self._now = clock
        self._pause = min(root.fleet.epoch.total_seconds() / _POLLS, _LONGEST_PAUSE)

    async def current(self) -> Epoch:
        """Return the newest epoch.

        Raises `BackendError` if there is none, if it is long over, or if the log's word for it does not count: without
        a quorum of witnesses no new one begins.
        """
        epoch = await self._read()
        age = self._now() - epoch.began
        if not -CLOCK_DIFFERENCE <= age < 2 * self._root.fleet.epoch:
            raise BackendError(
                "the newest epoch is long over, or has not begun", got=f"{age}",
                want=f"within {self._root.fleet.epoch}", section="RFC 9334, section 10",
                hint="Look at the log's status: a quorum of its witnesses may be missing",
            )  # fmt: skip
        return epoch

    async def _read(self) -> Epoch:
        try:
            beacon = await self._fetch(BEACON_PATH)
            if beacon is None:
                raise BackendError("the log of fleets names no epoch yet", hint="Does it have epoch_seconds?")
            return read_epoch(beacon, self._root)
        except ConfsecError as exc:
            raise BackendError(f"no epoch can be read from the log of fleets: {exc}") from exc

    async def wait_after(self, epoch: Epoch) -> Epoch:
        """Wait until a later epoch has begun, and return the newest. Raises what `current` raises."""
        while True:
            newest = await self.current()
            if newest.began > epoch.began:
                return newest
            await anyio.sleep(self._pause)


def choose_epochs(root: LogRoot | None, transport: Transport | None, *, seconds: int, clock: Clock) -> EpochSource:
    """Return who names epochs: the log of fleets of `root`, or the operator's clock if there is none.

    Raises `LocalProtocolError` for a root without a transport: the clock does not stand in for a log.
    """
    if root is None:
        return UnsafeLocalEpoch(clock, seconds)
    if transport is None:
        raise LocalProtocolError("the epochs of a log are read over a transport")
    return LogEpochs(root, HttpLogSource(root.fleet.url, transport).fetch, clock=clock)


def read_root(path: str) -> LogRoot:
    """Read a root file. Raises `ConfigError`."""
    try:
        return LogRoot.from_toml(Path(path).read_text("utf-8"))
    except OSError as exc:
        raise ConfigError(f"the root file {path} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"the root file {path} is not text in UTF-8") from exc
