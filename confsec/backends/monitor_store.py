"""What a monitor remembers, in a folder: of each log one file, and evidence of what should not have happened.

Files are replaced as a whole and are on the disk before anything else happens. One process uses the folder at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Final, TypeVar, final

import anyio
import anyio.to_thread

from confsec.backends.log_storage import FolderStorage
from confsec.errors import BackendError, BusyError, ConfsecError
from confsec.protocol.monitor_memory import LogMemory

__all__ = ["MonitorStore"]

_T = TypeVar("_T")

_SHELF: Final = 1000
"""So many fleet records are in one folder, and are thrown away together."""

_SHELVES: Final = 3


@final
class MonitorStore:
    """The memory of one monitor."""

    def __init__(self, folder: Path) -> None:
        """Keep it in `folder`, which is made when it is opened."""
        self._folder: Final = folder
        self._storage: Final = FolderStorage(folder)
        self._lock: Final = anyio.Lock()

    async def open(self) -> None:
        """Open the folder. Raises `BusyError` if another monitor uses it, and `BackendError`."""
        try:
            await self._run(self._storage.open)
        except BusyError as exc:
            raise BusyError(f"another monitor uses {self._folder}", hint="Stop it, or give this one its own") from exc

    async def aclose(self) -> None:
        """Let another monitor use the folder. Idempotent."""
        with anyio.CancelScope(shield=True):
            await self._run(self._storage.close)

    async def read(self, log: str) -> LogMemory | None:
        """Return what is remembered of a log; None for nothing yet. Raises `BackendError`, also if it is damaged."""
        stored = await self._run(partial(self._storage.get, _path(log)))
        if stored is None:
            return None
        try:
            return LogMemory.decode(stored.data)
        except ConfsecError as exc:
            raise BackendError(
                f"what was remembered of the log {log} cannot be read: {exc}",
                hint=f"Restore {self._folder / _path(log)}; without it, a fork before now is not noticed",
            ) from exc

    async def write(self, log: str, memory: LogMemory) -> None:
        """Remember a log, durably before this returns. Raises `BackendError`."""
        await self._run(partial(self._write, _path(log), memory.encode()))

    async def keep(self, log: str, kind: str, data: bytes) -> str:
        """Keep a piece of evidence once, and return its path. Raises `BackendError`."""
        path = f"evidence/{log}-{sha256(data).hexdigest()[:16]}.{kind}"
        await self._run(partial(self._storage.create, {path: data}))
        return str(self._folder / path)

    async def keep_record(self, log: str, index: int, record: bytes) -> None:
        """Keep a copy of the fleet record of an entry. Of old ones the last 2,000 or so stay. Raises `BackendError`."""
        await self._run(partial(self._keep_record, f"records/{log}", index, record))

    def _keep_record(self, folder: str, index: int, record: bytes) -> None:
        shelf = index // _SHELF
        self._storage.create({f"{folder}/{shelf}/{index}-{sha256(record).hexdigest()}.fleet": record})
        if shelf >= _SHELVES:
            self._storage.remove([f"{folder}/{old}" for old in self._shelves(folder) if old <= shelf - _SHELVES])

    def _shelves(self, folder: str) -> list[int]:
        return [int(each.name) for each in (self._folder / folder).iterdir() if each.name.isdecimal()]

    def _write(self, path: str, data: bytes) -> None:
        self._storage.replace(path, data, self._storage.get(path))

    async def _run(self, function: Callable[[], _T]) -> _T:
        """Run a step in a thread, one at a time, and to its end."""
        async with self._lock:
            return await anyio.to_thread.run_sync(function)


def _path(log: str) -> str:
    return f"logs/{log}.cbor"
