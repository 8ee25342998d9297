"""The tiles of a log, read from where it keeps them, and the proofs that follow from them.

Memory is that of the tiles of one proof, whatever the size of the tree. All of them are checked against its root.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from confsec.backends.log_storage import LogStorage
from confsec.errors import BackendError
from confsec.protocol.log_growth import LogEdge
from confsec.protocol.merkle import HASH_SIZE
from confsec.protocol.tile_paths import TILE_WIDTH, Tile, decode_entries, encode_entries, entries_path
from confsec.protocol.tiles import TileTree, tile_at, tiles_for_consistency, tiles_for_inclusion

__all__ = ["consistency_proof", "entries", "inclusion_proofs", "leaf_hashes", "read_edge"]


def read_edge(storage: LogStorage, size: int) -> LogEdge:
    """Return what the log kept when it had `size` entries. Raises `BackendError` if a file is missing."""
    tiles, path = LogEdge.files(size)
    bundle = _bundle(storage, size // TILE_WIDTH, size % TILE_WIDTH) if path else b""
    return LogEdge(size, _tiles(storage, tiles), bundle)


def consistency_proof(storage: LogStorage, old_size: int, size: int, root: bytes) -> tuple[bytes, ...]:
    """Prove that the tree of this size and root begins with one of `old_size`. Raises `TransparencyError`."""
    return TileTree(size, root, _tiles(storage, tiles_for_consistency(old_size, size))).consistency_proof(old_size)


def inclusion_proofs(
    storage: LogStorage, indexes: Sequence[int], size: int, root: bytes
) -> Mapping[int, tuple[bytes, ...]]:
    """Prove that entries are in the tree of this size and root. Raises `TransparencyError`."""
    needed = {tile for index in indexes for tile in tiles_for_inclusion(index, size)}
    tree = TileTree(size, root, _tiles(storage, needed))
    return {index: tree.inclusion_proof(index) for index in indexes}


def leaf_hashes(storage: LogStorage, index: int, size: int) -> list[bytes]:
    """Return the leaf hashes of tile number `index` in a log of `size` entries. Nothing proves them."""
    data = _tile(storage, tile_at(0, index, size))
    return [data[at : at + HASH_SIZE] for at in range(0, len(data), HASH_SIZE)]


def entries(storage: LogStorage, index: int, size: int) -> tuple[bytes, ...]:
    """Return the entries of bundle number `index` in a log of `size` entries. Nothing proves them."""
    width = tile_at(0, index, size).width
    return decode_entries(_bundle(storage, index, width), width)


def _tiles(storage: LogStorage, tiles: Iterable[Tile]) -> dict[Tile, bytes]:
    return {tile: _tile(storage, tile) for tile in tiles}


def _tile(storage: LogStorage, tile: Tile) -> bytes:
    """Return a tile, cut from the full one where the partial one is gone (C2SP tlog-tiles, Partial Tiles)."""
    file = storage.get(tile.path)
    if file is None and tile.width < TILE_WIDTH:
        file = storage.get(Tile(tile.level, tile.index).path)
    if file is None:
        raise _missing(tile.path)
    return file.data[: tile.width * HASH_SIZE]


def _bundle(storage: LogStorage, index: int, width: int) -> bytes:
    path = entries_path(index, width)
    if (file := storage.get(path)) is not None:
        return file.data
    if (file := storage.get(entries_path(index))) is not None:
        return encode_entries(decode_entries(file.data)[:width])
    raise _missing(path)


def _missing(path: str) -> BackendError:
    return BackendError(
        "a file of the log is missing", got=path,
        hint="Restore it from a copy: a log that lost a file must not go on without it",
    )  # fmt: skip
