"""Appending to a log, durably and in batches: what is acknowledged is on the disk, signed, and stays.

Each batch is done in this order (`confsec.protocol.log_growth`):

1. The *commit*, one file with the entries and the signed checkpoint over them, replaces the one before. From then on
   the batch is part of the log. If the file is not the one that this writer knows, another one has been here: nothing
   is written, and what is there now is read anew.
2. Tiles and bundles are created. They follow from the commit, so whoever is killed here, or was thought dead, writes
   the same bytes later: no path ever has two contents.
3. The entries are acknowledged, and the checkpoint may go to witnesses.

So there are no two signed trees of one size, whenever the process ends. Many tasks append at once; one thread works.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, final

import anyio
import anyio.to_thread

from confsec.backends.api import Clock
from confsec.backends.group_commit import GroupCommit
from confsec.backends.log_index import LogIndex
from confsec.backends.log_session import Identify, LogSession, Place, SignedTree
from confsec.backends.log_storage import LogStorage
from confsec.backends.system import now
from confsec.errors import ConfigError, ConfsecError, LimitError, LocalProtocolError
from confsec.protocol.log_growth import MAX_BATCH
from confsec.protocol.note_keys import NoteKey, Signer
from confsec.protocol.state_admission import StateAdmission
from confsec.protocol.tile_paths import MAX_ENTRY_SIZE

__all__ = ["LogWriter"]


@final
class LogWriter:
    """The one that appends to a log. It belongs to the event loop in which it was opened."""

    def __init__(
        self,
        storage: LogStorage,
        signers: Sequence[Signer],
        index: Path,
        *,
        identify: Identify | None = None,
        rules: bytes = b"",
        state: StateAdmission | None = None,
        clock: Clock = now,
    ) -> None:
        """Append to the log in `storage`, named and signed by `signers`; `index` is a file, made when it is not there.

        A log that is not there yet begins empty. With `identify` it takes each statement once, and none that is older
        than the newest, where only that counts; `rules` stands for what that says, and changes with it. With `state` it
        takes nothing that clients would refuse. Raises `ConfigError` for keys that do not sign for one log.
        """
        if not signers or len({signer.key.name for signer in signers}) > 1:
            raise ConfigError("a log has no key, or keys of several names", want="keys of one name")
        self.origin: Final = signers[0].key.name
        """The log's name."""
        self.storage: Final = storage
        """Where its files are."""
        self._signers = tuple(signers)
        self._index = LogIndex(index, origin=self.origin, rules=rules)
        self._identify = identify
        self._state = state
        self._clock = clock
        self._refused: ConfsecError | None = None
        self._ready: LogSession | None = None
        self._commit: GroupCommit[LogSession] | None = None
        self._tree: SignedTree | None = None
        self._grew = anyio.Event()

    @property
    def keys(self) -> tuple[NoteKey, ...]:
        """The public halves of the keys that sign."""
        return tuple(signer.key for signer in self._signers)

    @property
    def tree(self) -> SignedTree:
        """The newest tree. Raises `LocalProtocolError` before `open`."""
        if self._tree is None:
            raise LocalProtocolError("the log is not open")
        return self._tree

    async def open(self) -> None:
        """Become the writer, finish what another one began, and bring the index up to date.

        Raises `BusyError` if there is another writer, or another log with this index, `ConfigError` if the log is
        signed with another key, `TransparencyError` if its files do not lead to what it has signed or acknowledged,
        and `BackendError`.
        """
        await anyio.to_thread.run_sync(self.storage.open)
        self._refused = None
        try:
            await anyio.to_thread.run_sync(self._index.lock)
            self._ready = await anyio.to_thread.run_sync(self._open_session)
            self._tree = self._ready.tree
        except BaseException:
            await self._let_go()
            raise
        self._commit = GroupCommit(self._open_session, max_group=MAX_BATCH)

    async def append(self, entry: bytes) -> int:
        """Append an entry and return its place, from 0; an entry that is there keeps its place.

        When this returns the entry is durable, and in a tree that the log has signed. Raises `LimitError` for one that
        is too long, `AlreadyLoggedError` for a statement that the log has in another envelope or that is replaced,
        what `StateAdmission.verify` raises for one that clients would refuse, `BusyError` if nothing was done, and
        `BackendError` if nobody knows: to append it again is safe. Raises what `refuse` was given.
        """
        if self._refused is not None:
            raise self._refused
        if len(entry) > MAX_ENTRY_SIZE:
            raise LimitError("an entry is too long for a log", got=len(entry), want=f"at most {MAX_ENTRY_SIZE} bytes")
        place, tree = await self._opened().do(_append, entry)
        self._see(tree)
        if isinstance(place, ConfsecError):
            raise place
        return place

    def refuse(self, error: ConfsecError) -> None:
        """Append nothing from now on, until it is opened anew, and say why."""
        self._refused = error

    async def refresh(self) -> SignedTree:
        """Look whether another writer has been here, and return the newest tree. Raises `BackendError`."""
        tree = await self._opened().do(_refresh, None)
        self._see(tree)
        return tree

    async def wait_beyond(self, size: int) -> SignedTree:
        """Wait until the tree has more entries than this, and return it."""
        while self.tree.size <= size:
            await self._grew.wait()
        return self.tree

    async def aclose(self) -> None:
        """Finish what is under way, and let another one write. Idempotent."""
        commit, self._commit = self._commit, None
        if commit is not None:
            await commit.aclose()
        await self._let_go()

    def _opened(self) -> GroupCommit[LogSession]:
        if self._commit is None:
            raise LocalProtocolError("the log is not open")
        return self._commit

    def _see(self, tree: SignedTree) -> None:
        if tree.size > self.tree.size:
            self._tree = tree
            self._grew.set()
            self._grew = anyio.Event()

    async def _let_go(self) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._index.close)
            await anyio.to_thread.run_sync(self.storage.close)

    def _open_session(self) -> LogSession:
        ready, self._ready = self._ready, None
        return ready or LogSession(
            self.storage, self._index, self._signers, identify=self._identify, clock=self._clock, state=self._state
        )


def _append(session: LogSession, entries: Sequence[bytes]) -> list[tuple[Place, SignedTree]]:
    places = session.append(entries)
    return [(place, session.tree) for place in places]


def _refresh(session: LogSession, items: Sequence[None]) -> list[SignedTree]:
    session.refresh()
    return [session.tree for _ in items]
