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
from attrs import field, frozen

from confsec.backends.api import Clock
from confsec.backends.group_commit import GroupCommit
from confsec.backends.log_index import LogIndex
from confsec.backends.log_storage import LogStorage, StoredFile
from confsec.backends.log_tiles import leaf_hashes, read_edge
from confsec.backends.system import now
from confsec.errors import (
    ConfigError,
    LimitError,
    LocalProtocolError,
    TransparencyError,
    VerificationError,
)
from confsec.protocol.checkpoint import Checkpoint
from confsec.protocol.log_growth import Growth, LogCommit
from confsec.protocol.merkle import EMPTY_ROOT, leaf_hash
from confsec.protocol.note import SignedNote
from confsec.protocol.note_keys import Signer
from confsec.protocol.tile_paths import MAX_ENTRY_SIZE, TILE_WIDTH

__all__ = ["CHECKPOINT_PATH", "COMMIT_PATH", "LogWriter", "SignedTree"]

COMMIT_PATH: Final = "commit"
"""Where the newest batch is written down. Readers do not need it."""

CHECKPOINT_PATH: Final = "checkpoint"
"""Where the newest cosigned checkpoint is (C2SP tlog-tiles, Checkpoints)."""


@final
@frozen
class SignedTree:
    """A tree that the log has signed, and whose files are all on the disk."""

    size: int
    root: bytes
    note: bytes = field(repr=False)
    """The checkpoint with the log's own signature."""


@final
class LogWriter:
    """The one that appends to a log. It belongs to the event loop in which it was opened."""

    def __init__(self, storage: LogStorage, signers: Sequence[Signer], index: Path, *, clock: Clock = now) -> None:
        """Append to the log in `storage`, named and signed by `signers`; `index` is a file, made when it is not there.

        A log that is not there yet begins empty. Raises `ConfigError` for keys that do not sign for one log.
        """
        if not signers or len({signer.key.name for signer in signers}) > 1:
            raise ConfigError("a log has no key, or keys of several names", want="keys of one name")
        self.origin: Final = signers[0].key.name
        """The log's name."""
        self.storage: Final = storage
        """Where its files are."""
        self._signers = tuple(signers)
        self._index = LogIndex(index)
        self._clock = clock
        self._ready: _Session | None = None
        self._commit: GroupCommit[_Session] | None = None
        self._tree: SignedTree | None = None
        self._grew = anyio.Event()

    @property
    def tree(self) -> SignedTree:
        """The newest tree. Raises `LocalProtocolError` before `open`."""
        if self._tree is None:
            raise LocalProtocolError("the log is not open")
        return self._tree

    async def open(self) -> None:
        """Become the writer, finish what another one began, and bring the index up to date.

        Raises `BusyError` if there is another writer, `ConfigError` if the log is signed with another key,
        `TransparencyError` if its files do not lead to what it has signed, and `BackendError`.
        """
        await anyio.to_thread.run_sync(self.storage.open)
        try:
            self._ready = await anyio.to_thread.run_sync(self._open_session)
            self._tree = self._ready.tree
        except BaseException:
            await self._let_go()
            raise
        self._commit = GroupCommit(self._open_session)

    async def append(self, entry: bytes) -> int:
        """Append an entry and return its place, from 0; an entry that is there keeps its place.

        When this returns the entry is durable, and in a tree that the log has signed. Raises `LimitError` for one that
        is too long, `BusyError` if nothing was done, and `BackendError` if nobody knows: to append it again is safe.
        """
        if self._commit is None:
            raise LocalProtocolError("the log is not open")
        if len(entry) > MAX_ENTRY_SIZE:
            raise LimitError("an entry is too long for a log", got=len(entry), want=f"at most {MAX_ENTRY_SIZE} bytes")
        index, tree = await self._commit.do(_append, entry)
        if self._tree is None or tree.size > self._tree.size:
            self._tree = tree
            self._grew.set()
            self._grew = anyio.Event()
        return index

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

    async def _let_go(self) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._index.close)
            await anyio.to_thread.run_sync(self.storage.close)

    def _open_session(self) -> _Session:
        ready, self._ready = self._ready, None
        return ready or _Session(self.storage, self._index, self._signers, self._clock)


def _append(session: _Session, entries: Sequence[bytes]) -> list[tuple[int, SignedTree]]:
    places = session.append(entries)
    return [(place, session.tree) for place in places]


@final
class _Session:
    """A log as one thread has it before it: what it committed, and the edge of its tree.

    After an error it is thrown away, and another one is made from what is stored.
    """

    def __init__(self, storage: LogStorage, index: LogIndex, signers: Sequence[Signer], clock: Clock) -> None:
        self._storage = storage
        self._index = index
        self._signers = signers
        self._clock = clock
        self._file = storage.get(COMMIT_PATH) or self._begin()
        commit = LogCommit.decode(self._file.data)
        checkpoint = self._verify(commit.checkpoint)
        growth = commit.grow(read_edge(storage, commit.old_size), size=checkpoint.size, root=checkpoint.root)
        self._create(growth)
        self._edge = growth.edge
        self.tree = SignedTree(checkpoint.size, checkpoint.root, commit.checkpoint)
        index.open()
        self._catch_up()

    def check(self) -> None:
        """Do nothing: a storage has no connection that could be gone."""

    def close(self) -> None:
        """Do nothing: storage and index belong to the writer."""

    def append(self, entries: Sequence[bytes]) -> list[int]:
        """Append those that are not there, and return the place of each."""
        hashes = [leaf_hash(entry) for entry in entries]
        places = self._index.find(hashes)
        new: dict[bytes, bytes] = {}
        for each, entry in zip(hashes, entries, strict=True):
            if each not in places and each not in new:
                places[each] = self._edge.size + len(new)
                new[each] = entry
        if new:
            self._commit(tuple(new.values()))
            self._index.add(self._edge.size - len(new), list(new))
        return [places[each] for each in hashes]

    def _commit(self, entries: tuple[bytes, ...]) -> None:
        growth = self._edge.append(entries)
        root = growth.edge.root
        note = self._sign(growth.edge.size, root)
        commit = LogCommit(note, self._edge.size, entries)
        self._file = self._storage.replace(COMMIT_PATH, commit.encode(), self._file)
        self._create(growth)
        self._edge = growth.edge
        self.tree = SignedTree(growth.edge.size, root, note)

    def _create(self, growth: Growth) -> None:
        """Write what follows from a commit. What is there must be the same: it may have been written before."""
        for path in self._storage.create(growth.files):
            file = self._storage.get(path)
            if file is None or file.data != growth.files[path]:
                raise TransparencyError("a file of the log has another content than its commit", got=path)

    def _begin(self) -> StoredFile:
        if self._storage.get(CHECKPOINT_PATH) is not None:
            raise TransparencyError(
                f"the log has a checkpoint, and its file `{COMMIT_PATH}` is missing",
                hint="Restore it: without it the log could sign a second tree of one size",
            )  # fmt: skip
        return self._storage.replace(COMMIT_PATH, LogCommit(self._sign(0, EMPTY_ROOT)).encode(), None)

    def _sign(self, size: int, root: bytes) -> bytes:
        note = SignedNote(Checkpoint(self._signers[0].key.name, size, root).encode())
        for signer in self._signers:
            note = note.sign(signer, at=self._clock() if signer.key.cosigns else None)
        return note.encode()

    def _verify(self, note: bytes) -> Checkpoint:
        signed = SignedNote.decode(note)
        try:
            signed.verify([signer.key for signer in self._signers])
        except VerificationError as exc:
            raise ConfigError("the log is signed with another key than this one", hint="Is it another log?") from exc
        return Checkpoint.decode(signed.text)

    def _catch_up(self) -> None:
        """Bring the index to where the log is. One that is of another tree, or ahead of it, is made anew."""
        extent, last = self._index.extent()
        if extent and (extent > self.tree.size or self._leaf_hash(extent - 1) != last):
            self._index.clear()
            extent = 0
        while extent < self.tree.size:
            tile, skip = divmod(extent, TILE_WIDTH)
            hashes = leaf_hashes(self._storage, tile, self.tree.size)[skip:]
            self._index.add(extent, hashes)
            extent += len(hashes)

    def _leaf_hash(self, index: int) -> bytes:
        tile, at = divmod(index, TILE_WIDTH)
        return leaf_hashes(self._storage, tile, self.tree.size)[at]
