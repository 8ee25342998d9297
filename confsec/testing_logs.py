"""A log in memory whose keys, and its witnesses' keys, one person holds: for tests, and to play an operator who lies.

What nobody outside could do, it does: have any tree cosigned by as many witnesses as it likes, at any time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import repeat
from typing import Final, final

from confsec.protocol.checkpoint import Checkpoint
from confsec.protocol.merkle import CompactRange, leaf_hash
from confsec.protocol.note import SignedNote
from confsec.protocol.note_keys import Signer
from confsec.protocol.tile_paths import TILE_WIDTH, encode_entries, entries_path
from confsec.protocol.tiles import TileTree, new_tiles
from confsec.protocol.tlog_proof import TlogProof
from confsec.protocol.tree_reader import CHECKPOINT_PATH

__all__ = ["MemoryLog"]


@final
class MemoryLog:
    """One log: entries, checkpoints as they were cosigned, and the files that anybody can read."""

    def __init__(
        self, origin: str, signer: Signer, witnesses: Sequence[Signer], *, entries: Sequence[bytes] = ()
    ) -> None:
        """Begin with `entries`, of which nobody knows since when they are there."""
        self.origin: Final = origin
        self.signer: Final = signer
        self.witnesses: Final = tuple(witnesses)
        self.entries: Final = list(entries)
        self.firsts: Final[dict[int, bytes]] = {}
        """The checkpoint in which witnesses first saw an entry, by its place."""

    @property
    def size(self) -> int:
        """How many entries there are."""
        return len(self.entries)

    def note(
        self, at: datetime | Sequence[datetime], *, size: int | None = None, witnesses: int | None = None
    ) -> bytes:
        """Return a checkpoint that the first `witnesses` cosigned, by default all: at one time, or one for each."""
        size = self.size if size is None else size
        root = CompactRange().append(*map(leaf_hash, self.entries[:size])).root
        note = SignedNote(Checkpoint(self.origin, size, root).encode()).sign(self.signer)
        times = repeat(at) if isinstance(at, datetime) else at
        for signer, time in zip(self.witnesses[:witnesses], times, strict=False):
            note = note.sign(signer, at=time)
        return note.encode()

    def tree(self, size: int | None = None) -> TileTree:
        """Return the tree of the first `size` entries, by default of all."""
        hashes = [leaf_hash(entry) for entry in self.entries[:size]]
        return TileTree(len(hashes), CompactRange().append(*hashes).root, new_tiles(0, {}, hashes))

    def proof(self, index: int, note: bytes, size: int) -> bytes:
        """Return the C2SP tlog-proof of an entry under a checkpoint of this size."""
        return TlogProof(index, self.tree(size).inclusion_proof(index), note).encode()

    def append(self, entry: bytes, at: datetime) -> int:
        """Append an entry that all witnesses see at `at`, and return its place."""
        self.entries.append(entry)
        self.firsts[self.size - 1] = self.note(at)
        return self.size - 1

    def files(self, at: datetime, *, note: bytes = b"") -> dict[str, bytes]:
        """Return all files by their paths, with `note` as the checkpoint, or else one cosigned at `at`."""
        hashes = [leaf_hash(entry) for entry in self.entries]
        files = {tile.path: data for tile, data in new_tiles(0, {}, hashes).items()}
        for start in range(0, self.size, TILE_WIDTH):
            bundle = self.entries[start : start + TILE_WIDTH]
            files[entries_path(start // TILE_WIDTH, len(bundle))] = encode_entries(bundle)
        files |= {f"proof/{index}": self.proof(index, first, index + 1) for index, first in self.firsts.items()}
        return files | {CHECKPOINT_PATH: note or self.note(at)}
