"""How a log grows: which files a batch of entries adds, and what is written down before any of them is.

A log first commits to a batch, in one record with the entries and the checkpoint over them, and then writes the tiles
and bundles that follow from it. So every file of a log has one possible content from the moment it can be written, and
whoever was interrupted writes the same bytes again. Storing and signing is for others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Self, final

from attrs import field, frozen

from confsec.errors import DecodeError, TransparencyError
from confsec.protocol.merkle import MAX_TREE_SIZE, CompactRange, leaf_hash
from confsec.protocol.note import MAX_NOTE
from confsec.protocol.tile_paths import (
    MAX_ENTRY_SIZE,
    TILE_HEIGHT,
    TILE_WIDTH,
    Tile,
    decode_entries,
    encode_entries,
    entries_path,
)
from confsec.protocol.tiles import new_tiles, range_from_tiles, tiles_for_root
from confsec.protocol.wire import Reader, encode_uint, encode_vector

__all__ = ["MAX_BATCH", "Growth", "LogCommit", "LogEdge", "partial_folders"]

MAX_BATCH: Final = 4096
"""Entries that are committed at once."""

_MAGIC: Final = b"confsec log commit v1\n"
_MAX_COMMIT: Final = MAX_BATCH * (MAX_ENTRY_SIZE + 2) + MAX_NOTE + 64


@final
@frozen
class LogEdge:
    """What a log keeps at hand to grow: its partial tiles, and its partial bundle. At most 9 files of any tree."""

    size: int = 0
    """How many entries there are."""

    tiles: Mapping[Tile, bytes] = field(factory=dict[Tile, bytes], repr=False)
    """Those of `tiles_for_root`."""

    bundle: bytes = field(default=b"", repr=False)
    """The entries behind the last full bundle, as a bundle."""

    @staticmethod
    def files(size: int) -> tuple[tuple[Tile, ...], str]:
        """Return which tiles a log of this size keeps, and the path of its partial bundle, or nothing for none."""
        width = size % TILE_WIDTH
        return tiles_for_root(size), entries_path(size // TILE_WIDTH, width) if width else ""

    @property
    def root(self) -> bytes:
        """The root of the tree. Raises `TransparencyError` if a tile is missing or has another size."""
        return self.range.root

    @property
    def range(self) -> CompactRange:
        """The hashes of the full subtrees. Raises `TransparencyError` if a tile is missing or has another size."""
        return range_from_tiles(self.size, self.tiles)

    def append(self, entries: Sequence[bytes]) -> Growth:
        """Return the files that more entries add, and the edge behind them.

        Raises `TransparencyError` if a tile or the bundle of this edge has another size (C2SP tlog-tiles).
        """
        written = new_tiles(self.size, self.tiles, map(leaf_hash, entries))
        files = {tile.path: data for tile, data in written.items()}
        files |= (bundles := self._bundles(entries))
        size = self.size + len(entries)
        known = {**self.tiles, **written}
        partial, path = self.files(size)
        edge = LogEdge(
            size, {tile: known[tile] for tile in partial}, bundles.get(path, b"" if entries else self.bundle)
        )
        return Growth(files, edge)

    def _bundles(self, entries: Sequence[bytes]) -> dict[str, bytes]:
        first, width = divmod(self.size, TILE_WIDTH)
        whole = [*(decode_entries(self.bundle, width) if width else ()), *entries]
        parts = [whole[at : at + TILE_WIDTH] for at in range(0, len(whole), TILE_WIDTH)] if entries else []
        return {entries_path(first + at, len(part)): encode_entries(part) for at, part in enumerate(parts)}


@final
@frozen
class Growth:
    """What comes of a batch."""

    files: Mapping[str, bytes] = field(repr=False)
    """The tiles and bundles that are new, by their paths."""

    edge: LogEdge
    """What the log keeps to grow further."""


@final
@frozen
class LogCommit:
    """The newest batch of a log: what it was added to, and the signed checkpoint of the tree with it."""

    checkpoint: bytes = field(repr=False)
    """The checkpoint with the log's own signature."""

    old_size: int = 0
    """How many entries the tree had before."""

    entries: tuple[bytes, ...] = field(default=(), repr=False)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read it; the checkpoint is not looked at. Raises `DecodeError`."""
        if len(data) > _MAX_COMMIT:
            raise DecodeError("the newest batch of a log is too long", want=f"at most {_MAX_COMMIT} bytes")
        reader = Reader(data, "the newest batch of a log")
        if reader.take(len(_MAGIC)) != _MAGIC:
            raise DecodeError("the newest batch of a log is of another version", want=_MAGIC.decode().strip())
        checkpoint, old_size, count = reader.vector(4, limit=MAX_NOTE), reader.uint(8), reader.uint(4)
        if count > MAX_BATCH:
            raise DecodeError("a batch of a log has too many entries", got=count, want=f"at most {MAX_BATCH}")
        entries = tuple(reader.vector(2) for _ in range(count))
        reader.finish()
        return cls(checkpoint, old_size, entries)

    def encode(self) -> bytes:
        """Write it."""
        head = _MAGIC + encode_vector(self.checkpoint, 4) + encode_uint(self.old_size, 8)
        return b"".join([head, encode_uint(len(self.entries), 4), *(encode_vector(each, 2) for each in self.entries)])

    def grow(self, edge: LogEdge, *, size: int, root: bytes) -> Growth:
        """Return what this batch adds to the tree before it, which has to lead to the tree of the checkpoint.

        Raises `TransparencyError` if it does not.
        """
        if edge.size != self.old_size or self.old_size + len(self.entries) != size or size > MAX_TREE_SIZE:
            raise TransparencyError("the newest batch of a log does not lead to its size", got=edge.size, want=size)
        growth = edge.append(self.entries)
        if growth.edge.root != root:
            raise TransparencyError(
                "the log's files do not lead to the root that it signed", got=f"{size} entries",
                hint="They are damaged, or another log's: restore them, or start a new log under a new name",
            )  # fmt: skip
        return growth


def partial_folders(old_size: int, size: int) -> Iterator[str]:
    """Give the folders of partial tiles and bundles that became full while a log grew from one size to another.

    "MAY delete any partial tile once the corresponding full tile is available" (C2SP tlog-tiles, Partial Tiles).
    """
    level, first, end = 0, old_size // TILE_WIDTH, size // TILE_WIDTH
    yield from (f"{entries_path(index)}.p" for index in range(first, end))
    while first < end:
        yield from (f"{Tile(level, index).path}.p" for index in range(first, end))
        level, first, end = level + 1, first >> TILE_HEIGHT, end >> TILE_HEIGHT
