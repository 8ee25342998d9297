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
        known = await anyio.to_thread.run_sync(self._storage.get, BEACON_PATH)
        while True:
            wait = self._due(known) - self._now()
            if wait > timedelta(0):
                await anyio.sleep(wait.total_seconds())
                continue  # the clock decides, not the time slept
            try:
                known = await self._begin(known)
            except ConfsecError as exc:
                _log.warning("the log %s begins no epoch: %s", self._origin, exc)
                await anyio.sleep(_RETRY)

    def _due(self, known: StoredFile | None) -> datetime:
        """Return when the next epoch may begin."""
        if known is None:
            return self._now()
        began = verify_checkpoint(known.data, self._policy, origin=self._origin).fresh_since
        seconds = self._epoch.total_seconds()
        turn = datetime.fromtimestamp((began.timestamp() // seconds + 1) * seconds, began.tzinfo)
        # Witnesses' clocks tell whole seconds.
        return max(turn, began + self._epoch / 2 + timedelta(seconds=1))

    async def _begin(self, known: StoredFile | None) -> StoredFile:
        """Have the newest tree cosigned now, and let that be the beacon if all of a quorum say that it is now."""
        begun = self._now() - timedelta(seconds=1)  # witnesses tell whole seconds
        cosigned = await self._publisher.publish()
        while cosigned.checkpoint.fresh_since < begun:
            await anyio.sleep(_RETRY)
            cosigned = await self._publisher.publish()
        with anyio.CancelScope(shield=True):
            return await anyio.to_thread.run_sync(self._storage.replace, BEACON_PATH, cosigned.note, known)
