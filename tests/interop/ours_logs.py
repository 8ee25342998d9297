"""Our side of the tests with logs of others: keys, a policy, checkpoints, trees, tiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from confsec.protocol.checkpoint import Checkpoint
from confsec.protocol.merkle import EMPTY_ROOT, CompactRange, leaf_hash
from confsec.protocol.note import SignedNote
from confsec.protocol.note_keys import KeyType, Signer
from confsec.protocol.tile_paths import Tile
from confsec.protocol.tiles import TileTree, new_tiles
from confsec.protocol.witness_policy import WitnessPolicy

__all__ = [
    "AT",
    "KEYS",
    "LOG",
    "ORIGIN",
    "POLICY",
    "WITNESSES",
    "changed",
    "checkpoint",
    "cosigned",
    "entries",
    "root_of",
    "tile_tree",
    "tiles_of",
]

ORIGIN: Final = "log.example/interop"
AT: Final = datetime(2026, 11, 28, 7, tzinfo=UTC)
LOG: Final = Signer(ORIGIN, KeyType.ED25519, b"0" * 32)
WITNESSES: Final = (
    Signer("w1.example", KeyType.ED25519_COSIGNATURE, b"1" * 32),
    Signer("w2.example", KeyType.ML_DSA_44_COSIGNATURE, b"2" * 32),
    Signer("w3.example", KeyType.ED25519_COSIGNATURE, b"3" * 32),
)
KEYS: Final = [each.key.encode() for each in (LOG, *WITNESSES)]
"""The verifier keys, the log's first."""

POLICY: Final = WitnessPolicy.decode(
    "".join(
        [
            f"log {KEYS[0]}\n",
            *(f"witness w{n} {key} https://w{n}.example/\n" for n, key in enumerate(KEYS[1:], 1)),
            "group two-of-three 2 w1 w2 w3\nquorum two-of-three\n",
        ]
    ).encode()
)


def entries(count: int) -> list[bytes]:
    return [b"entry %d" % number for number in range(count)]


def root_of(given: Sequence[bytes]) -> bytes:
    return CompactRange().append(*map(leaf_hash, given)).root if given else EMPTY_ROOT


def tiles_of(given: Sequence[bytes]) -> dict[str, bytes]:
    """Return the tiles of a tree by their paths."""
    return {tile.path: data for tile, data in new_tiles(0, {}, map(leaf_hash, given)).items()}


def tile_tree(size: int, root: bytes, tiles: Mapping[str, bytes]) -> TileTree:
    """Verify tiles that have their paths for names."""
    return TileTree(size, root, {Tile.from_path(path): data for path, data in tiles.items()})


def checkpoint(size: int) -> Checkpoint:
    return Checkpoint(ORIGIN, size, root_of(entries(size)))


def cosigned(text: Checkpoint, *, by: Sequence[Signer] = WITNESSES) -> bytes:
    """Return a checkpoint that the log signed, and these witnesses."""
    note = SignedNote(text.encode()).sign(LOG)
    for witness in by:
        note = note.sign(witness, at=AT)
    return note.encode()


def changed(data: bytes, at: int) -> bytes:
    """Return the data with one bit changed."""
    at %= len(data)
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
