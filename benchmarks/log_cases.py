"""What the benchmarks of logs work on: a large tree as tiles in a folder, proofs from it, and cosigned notes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final, final
from unittest.mock import patch

from attrs import frozen

from confsec.protocol import merkle
from confsec.protocol.checkpoint import Checkpoint
from confsec.protocol.merkle import leaf_hash
from confsec.protocol.note import SignedNote
from confsec.protocol.note_keys import KeyType, Signer
from confsec.protocol.tile_paths import TILE_WIDTH, Tile
from confsec.protocol.tiles import (
    TileTree,
    new_tiles,
    range_from_tiles,
    tiles_for_consistency,
    tiles_for_inclusion,
    tiles_for_root,
)
from confsec.protocol.witness_policy import WitnessPolicy

__all__ = [
    "AT",
    "LOG",
    "ORIGIN",
    "POLICY",
    "WITNESSES",
    "StoredTree",
    "cosigned",
    "hashed_by",
    "peak_memory",
]

ORIGIN: Final = "log.example/benchmark"
AT: Final = datetime(2026, 11, 28, 7, tzinfo=UTC)
LOG: Final = Signer(ORIGIN, KeyType.ED25519, b"0" * 32)
WITNESSES: Final = tuple(
    Signer(f"w{number}.example", KeyType.ED25519_COSIGNATURE, b"%d" % number * 32) for number in (1, 2, 3)
)
POLICY: Final = WitnessPolicy.decode(
    "".join(
        [
            f"log {LOG.key.encode()}\n",
            *(f"witness w{number} {each.key.encode()}\n" for number, each in enumerate(WITNESSES, 1)),
            "group g 2 w1 w2 w3\nquorum g\n",
        ]
    ).encode()
)

_PART: Final = 256 * TILE_WIDTH
"""Entries that are added at once, to keep the memory of making a tree small."""


@final
@frozen
class StoredTree:
    """A tree whose tiles are files, read one by one as a reader fetches them."""

    folder: Path
    size: int
    root: bytes

    @classmethod
    def make(cls, folder: Path, size: int) -> StoredTree:
        """Write a tree of entries whose text is their number."""
        edge: dict[Tile, bytes] = {}
        for start in range(0, size, _PART):
            stop = min(start + _PART, size)
            written = new_tiles(start, edge, (leaf_hash(cls.entry(number)) for number in range(start, stop)))
            for tile, data in written.items():
                path = folder / tile.path
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            edge = {tile: data for tile, data in {**edge, **written}.items() if tile in tiles_for_root(stop)}
        return cls(folder, size, range_from_tiles(size, edge).root)

    @staticmethod
    def entry(number: int) -> bytes:
        """Return an entry by its place."""
        return b"%d" % number

    def read(self, tiles: Iterable[Tile]) -> TileTree:
        """Read tiles and verify them."""
        return TileTree(self.size, self.root, {tile: self.bytes_of(tile) for tile in tiles})

    def bytes_of(self, tile: Tile) -> bytes:
        """Read one file."""
        return (self.folder / tile.path).read_bytes()

    def prove_inclusion(self, index: int) -> tuple[bytes, ...]:
        """Prove that an entry is in the tree, from its files."""
        return self.read(tiles_for_inclusion(index, self.size)).inclusion_proof(index)

    def prove_consistency(self, old_size: int) -> tuple[bytes, ...]:
        """Prove that the tree begins with a smaller one, from its files."""
        return self.read(tiles_for_consistency(old_size, self.size)).consistency_proof(old_size)

    def root_of(self, old_size: int) -> bytes:
        """Compute the root that the tree had at a smaller size."""
        full = {tile: Tile(tile.level, tile.index) for tile in tiles_for_root(old_size)}
        return range_from_tiles(old_size, {tile: self._cut(tile, whole) for tile, whole in full.items()}).root

    def _cut(self, tile: Tile, whole: Tile) -> bytes:
        for path in (self.folder / whole.path, *(self.folder / f"{whole.path}.p").glob("*")):
            if path.exists() and len(data := path.read_bytes()) >= tile.width * merkle.HASH_SIZE:
                return data[: tile.width * merkle.HASH_SIZE]
        raise FileNotFoundError(tile.path)


def hashed_by(work: Callable[[], object]) -> list[bytes]:
    """Return what `work` hashes with SHA-256 as part of a Merkle tree."""
    messages: list[bytes] = []

    def record(data: bytes) -> object:
        messages.append(data)
        return sha256(data)

    with patch.object(merkle, "sha256", record):
        work()
    return messages


def peak_memory(work: Callable[[], object]) -> int:
    """Return the most bytes that Python had allocated at once while it worked."""
    work()  # what is computed once, and kept, is computed now
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def cosigned(size: int, root: bytes, cosigners: int) -> bytes:
    """Return a checkpoint that the log signed, and so many witnesses."""
    note = SignedNote(Checkpoint(ORIGIN, size, root).encode()).sign(LOG)
    for witness in WITNESSES[:cosigners]:
        note = note.sign(witness, at=AT)
    return note.encode()
