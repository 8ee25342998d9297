"""A log as one thread has it before it: it reads what is stored, finishes what another began, and commits to batches.

Nothing here knows of tasks: `log_writer.py` brings entries from many of them, and one group after another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias, final

from attrs import field, frozen

from confsec.backends.api import Clock
from confsec.backends.log_end import LogEnd
from confsec.backends.log_index import LogIndex
from confsec.backends.log_storage import LogStorage, StorageConflictError, StoredFile
from confsec.backends.log_tiles import entries as entries_of, leaf_hashes, read_edge
from confsec.errors import ConfigError, ConfsecError, TransparencyError, VerificationError
from confsec.protocol.checkpoint import Checkpoint
from confsec.protocol.log_admission import AlreadyLoggedError, StatementIdentity
from confsec.protocol.log_growth import Growth, LogCommit, LogEdge
from confsec.protocol.merkle import EMPTY_ROOT, leaf_hash
from confsec.protocol.note import SignedNote
from confsec.protocol.note_keys import Signer
from confsec.protocol.state_admission import StateAdmission
from confsec.protocol.tile_paths import TILE_WIDTH
from confsec.protocol.tree_reader import CHECKPOINT_PATH

__all__ = ["COMMIT_PATH", "Identify", "LogSession", "Place", "SignedTree"]

COMMIT_PATH: Final = "commit"
"""Where the newest batch is written down. Readers do not need it."""

Identify = Callable[[bytes], StatementIdentity | None]
"""Tells statements apart: None for an entry that is none."""

Place: TypeAlias = int | ConfsecError
"""Where an entry stands, or why it was not appended."""

_ATTEMPTS: Final = 3


@final
@frozen
class SignedTree:
    """A tree that the log has signed, and whose files are all on the disk."""

    size: int
    root: bytes
    note: bytes = field(repr=False)
    """The checkpoint with the log's own signature."""


@final
class LogSession:
    """What was committed, and the edge of the tree. After an error it is thrown away, and another one made."""

    def __init__(
        self,
        storage: LogStorage,
        index: LogIndex,
        signers: Sequence[Signer],
        *,
        identify: Identify | None,
        clock: Clock,
        state: StateAdmission | None = None,
    ) -> None:
        self._storage = storage
        self._index = index
        self._signers = signers
        self._identify = identify
        self._clock = clock
        self._state = state
        self._file: StoredFile
        self._edge: LogEdge
        self.tree: SignedTree
        self._load(storage.get(COMMIT_PATH) or self._begin())

    def refresh(self) -> None:
        """Read what is stored if it is not what this writer knows."""
        file = self._storage.get(COMMIT_PATH)
        if file is None or file.version != self._file.version:
            self._load(file or self._begin())

    def _load(self, file: StoredFile) -> None:
        """Take over the newest commit, whoever made it, and finish it."""
        commit = LogCommit.decode(file.data)
        checkpoint = self._verify(commit.checkpoint)
        growth = commit.grow(read_edge(self._storage, commit.old_size), size=checkpoint.size, root=checkpoint.root)
        self._create(growth)
        self._file, self._edge = file, growth.edge
        self.tree = SignedTree(checkpoint.size, checkpoint.root, commit.checkpoint)
        self._index.open()
        self._catch_up()

    def check(self) -> None:
        """Do nothing: a storage has no connection that could be gone."""

    def close(self) -> None:
        """Do nothing: storage and index belong to the writer."""

    def append(self, entries: Sequence[bytes]) -> list[Place]:
        """Append those that are not there, and return the place of each, or why it has none."""
        for _ in range(_ATTEMPTS):
            batch = _Batch(self._edge.size, entries, self._index, self._identify, self._end())
            try:
                if batch.new:
                    self._commit(tuple(batch.new.values()))
            except StorageConflictError:
                # Another writer, or our own write whose answer got lost: what is there now says which.
                self.refresh()
                continue
            if batch.new:
                self._index.add(batch.size, list(batch.new), batch.identities)
            return batch.places
        raise StorageConflictError("others write this log all the time", hint="Let one of them write")

    def _end(self) -> LogEnd | None:
        return self._state and LogEnd(self._state, self._storage, self._edge.size, clock=self._clock)

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
        """Bring the index to where the log is. It is made anew if statements are told apart in another way now.

        Entries come into it after they are on the disk. So if it has more than the log, the log has lost some.
        """
        known = self._index.extent()
        extent = known.size
        if extent > self.tree.size or (extent and self._leaf_hash(extent - 1) != known.last):
            raise _lost(extent, self.tree.size)
        if not known.is_current:
            self._index.clear()
            extent = 0
        while extent < self.tree.size:
            tile, skip = divmod(extent, TILE_WIDTH)
            hashes = leaf_hashes(self._storage, tile, self.tree.size)[skip:]
            identities: list[StatementIdentity | None] = []
            if self._identify is not None:
                identities = [self._identify(each) for each in entries_of(self._storage, tile, self.tree.size)[skip:]]
            self._index.add(extent, hashes, identities)
            extent += len(hashes)

    def _leaf_hash(self, index: int) -> bytes:
        tile, at = divmod(index, TILE_WIDTH)
        return leaf_hashes(self._storage, tile, self.tree.size)[at]


def _lost(known: int, size: int) -> TransparencyError:
    return TransparencyError(
        "the log's files do not have what it has acknowledged", got=f"{size} entries", want=f"the {known} of its index",
        hint="Restore its newest files. Only if the index is another log's, or of a trial, delete the index",
    )  # fmt: skip


@final
class _Batch:
    """Entries that arrived together: which of them are new, and where each stands."""

    def __init__(
        self, size: int, entries: Sequence[bytes], index: LogIndex, identify: Identify | None, end: LogEnd | None
    ) -> None:
        self.size = size
        """Where the new ones begin."""
        self.new: dict[bytes, bytes] = {}
        """By their leaf hashes, in their order."""
        self.identities: list[StatementIdentity | None] = []
        """Of those that are new, where statements are told apart."""
        self._end = end
        self._known = index.find(hashes := [leaf_hash(entry) for entry in entries])
        told: dict[bytes, StatementIdentity] = {}
        if identify is not None:
            candidates = {each: entry for each, entry in zip(hashes, entries, strict=True) if each not in self._known}
            told = {each: found for each, entry in candidates.items() if (found := identify(entry)) is not None}
        self._statements = index.find_statements([each.digest for each in told.values()])
        self._newest = index.find_newest([each.subject for each in told.values()])
        pairs = zip(hashes, entries, strict=True)
        self.places: list[Place] = [self._place(each, entry, told.get(each)) for each, entry in pairs]
        """Of all."""
        if identify is None:
            self.identities.clear()

    def _place(self, leaf: bytes, entry: bytes, identity: StatementIdentity | None) -> Place:
        if leaf in self._known:
            return self._known[leaf]
        place = self.size + len(self.new)
        if identity is not None and (known := self._refuse(identity)) is not None:
            return known
        if self._end is not None and (refused := self._end.refuse(entry)) is not None:
            return refused
        if identity is not None:
            self._statements[identity.digest] = place
            self._newest[identity.subject] = identity.issued
        self.new[leaf] = entry
        self.identities.append(identity)
        self._known[leaf] = place
        return place

    def _refuse(self, identity: StatementIdentity) -> AlreadyLoggedError | None:
        there = self._statements.get(identity.digest)
        if there is not None:
            return AlreadyLoggedError("the log has this statement, in another envelope", got=f"entry {there}")
        newest = self._newest.get(identity.subject) if identity.subject else None
        if newest is not None and newest >= identity.issued:
            return AlreadyLoggedError(
                "the log has a statement that replaces this one, or is of the same second",
                got=identity.issued, want=f"after {newest} (seconds since 1970)",
            )  # fmt: skip
        return None
