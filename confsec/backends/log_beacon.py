"""The beacons of a log: which of its cosigned checkpoints names the epoch, the same for everybody.

An epoch begins when a quorum has cosigned the newest tree anew, and not before half an epoch after the one before.
Without a quorum there is no new beacon, and what depends on it stops.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Final, final

import anyio
import anyio.to_thread

from confsec.backends.api import Clock
from confsec.backends.log_publisher import LogPublisher
from confsec.backends.log_storage import LogStorage, StoredFile
from confsec.errors import ConfsecError
from confsec.protocol.transparency import verify_checkpoint
from confsec.protocol.tree_reader import BEACON_PATH
from confsec.protocol.witness_policy import WitnessPolicy

__all__ = ["BeaconKeeper"]

_RETRY: Final = 1.0
"""Seconds until a beacon is tried again that no quorum cosigned."""

_WHOLE_SECOND: Final = timedelta(seconds=1)
"""Witnesses' clocks tell whole seconds: what they say may be so much less than it is."""

_log = logging.getLogger("confsec.log")


@final
class BeaconKeeper:
    """Writes a new beacon for each epoch. Run `run` in a task while the publisher is open."""

    def __init__(
        self,
        publisher: LogPublisher,
        storage: LogStorage,
        policy: WitnessPolicy,
        *,
        origin: str,
        epoch: timedelta,
        clock: Clock,
    ) -> None:
        """Begin an epoch at each multiple of `epoch` of `clock`, as nearly as the witnesses let it."""
        self._publisher = publisher
        self._storage = storage
        self._policy = policy
        self._origin = origin
        self._epoch = epoch
        self._now = clock

    async def run(self) -> None:
        """Begin epoch after epoch."""
        known = await self._read()
        due = self._due(known)
        while True:
            wait = due - self._now()
            if wait > timedelta(0):
                await anyio.sleep(wait.total_seconds())
                continue  # the clock decides, not the time slept
            try:
                await self._begin(known)
            except ConfsecError as exc:
                _log.warning("the log %s begins no epoch: %s", self._origin, exc)
                await anyio.sleep(_RETRY)
            if (newest := await self._read()) != known:  # also after an error: it may have been written
                known, due = newest, self._due(newest)

    async def _read(self) -> StoredFile | None:
        while True:
            try:
                return await anyio.to_thread.run_sync(self._storage.get, BEACON_PATH)
            except ConfsecError as exc:
                _log.warning("the beacon of the log %s cannot be read: %s", self._origin, exc)
                await anyio.sleep(_RETRY)

    def _due(self, known: StoredFile | None) -> datetime:
        """Return when the next epoch may begin."""
        if known is None:
            return self._now()
        try:
            began = verify_checkpoint(known.data, self._policy, origin=self._origin).fresh_since
        except ConfsecError as exc:
            # Clients with the policy of before may still count it, so half an epoch passes in any case.
            _log.warning("the beacon of the log %s does not count: %s", self._origin, exc)
            return self._now() + self._half
        seconds = self._epoch.total_seconds()
        # One that witnesses dated a second before a turn is the beacon of that turn.
        turns = (began + _WHOLE_SECOND).timestamp() // seconds
        turn = datetime.fromtimestamp((turns + 1) * seconds, began.tzinfo)
        return max(turn, began + self._half)

    @property
    def _half(self) -> timedelta:
        """Half an epoch, and a second more."""
        return self._epoch / 2 + _WHOLE_SECOND

    async def _begin(self, known: StoredFile | None) -> None:
        """Have the newest tree cosigned now, and let that be the beacon if all of a quorum say that it is now."""
        begun = self._now() - _WHOLE_SECOND
        cosigned = await self._publisher.publish()
        while cosigned.checkpoint.fresh_since < begun:
            await anyio.sleep(_RETRY)
            cosigned = await self._publisher.publish()
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._storage.replace, BEACON_PATH, cosigned.note, known)
