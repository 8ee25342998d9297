"""Tiles: the files in which a log shows its tree, and the proofs that a reader computes from them (C2SP tlog-tiles).

A tile holds up to 256 neighbouring hashes of one level of the tree, and stands for the eight heights above them. So
the reader of a tree of any size fetches a handful of files, and which ones it fetches says no more than their names.

`TileTree` believes tiles only after all of them led to the root of a checkpoint. Fetching and writing is for others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hmac import compare_digest
from typing import Final, TypeAlias, final

from confsec.errors import LocalProtocolError, TransparencyError
from confsec.protocol.merkle import HASH_SIZE, MAX_TREE_SIZE, CompactRange, leaf_hash, node_hash
from confsec.protocol.tile_paths import TILE_HEIGHT, TILE_WIDTH, Tile, decode_entries

__all__ = [
    "TileTree",
    "new_tiles",
    "range_from_tiles",
    "tile_at",
    "tiles_for_consistency",
    "tiles_for_inclusion",
    "tiles_for_root",
]

_SECTION: Final = "C2SP tlog-tiles, Merkle Tree"
_PARTIAL: Final = "C2SP tlog-tiles, Partial Tiles"
_ENTRIES: Final = "C2SP tlog-tiles, Log entries"

_Span: TypeAlias = tuple[int, int]
"""Entries from the first number to before the second."""
_Node: TypeAlias = tuple[int, int]
"""The height of a full subtree over the entries, and its number among those of this height."""
_Rows: TypeAlias = list[list[bytes]]
"""The hashes of a tile, and those of each height above them that is full."""


# --- Which tiles ------------------------------------------------------------------------------------------------------


def tile_at(level: int, index: int, size: int) -> Tile:
    """Return the tile, full or partial, that a tree of `size` entries has there.

    Raises `TransparencyError` if it has none (C2SP tlog-tiles, Partial Tiles).
    """
    _require_order(0, size, MAX_TREE_SIZE)
    width = (size >> TILE_HEIGHT * level) - index * TILE_WIDTH if 0 <= level < 8 and index >= 0 else 0
    if width <= 0:
        raise TransparencyError("the tree has no such tile", got=f"level {level}, {index} of {size}", section=_PARTIAL)
    return Tile(level, index, min(width, TILE_WIDTH))


def tiles_for_root(size: int) -> tuple[Tile, ...]:
    """Return the tiles that give the root of a tree: the partial ones, the topmost first.

    They are also what a log keeps so that it can grow. Raises `TransparencyError` if no tree is so large.
    """
    return _closure((), size)


def tiles_for_inclusion(index: int, size: int) -> tuple[Tile, ...]:
    """Return the tiles that `TileTree` needs to prove that an entry is in a tree, the topmost first.

    Raises `TransparencyError` if the tree has no such entry.
    """
    return _closure(((index, index + 1), *_inclusion_spans(index, size)), size)


def tiles_for_consistency(old_size: int, new_size: int) -> tuple[Tile, ...]:
    """Return the tiles of the larger tree that `TileTree` needs to prove that it begins with the smaller one.

    The topmost come first. Raises `TransparencyError` if the tree is not larger.
    """
    return _closure(_consistency_spans(old_size, new_size), new_size)


def _closure(spans: Iterable[_Span], size: int) -> tuple[Tile, ...]:
    """Add the tiles that lead from those of some spans to the root."""
    _require_order(0, size, MAX_TREE_SIZE)
    found = set[Tile]()
    for span in (*spans, (0, size)):
        for node in _nodes(*span):
            level, index, *_ = _place(node)
            while (tile := tile_at(level, index, size)) not in found:
                found.add(tile)
                if tile.width < TILE_WIDTH:
                    break
                level, index = level + 1, index // TILE_WIDTH
    return tuple(sorted(found, key=lambda tile: (-tile.level, tile.index)))


def _inclusion_spans(index: int, size: int) -> list[_Span]:
    """Return the entries under each hash of a proof (PATH of RFC 9162, section 2.1.3.1)."""
    _require_order(0, index, size - 1)
    spans, start, end = list[_Span](), 0, size
    while end - start > 1:
        middle = _middle(start, end)
        if index < middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((start, middle))
            start = middle
    return spans[::-1]


def _consistency_spans(old_size: int, size: int) -> list[_Span]:
    """Return the entries under each hash of a proof (PROOF of RFC 9162, section 2.1.4.1)."""
    _require_order(0, old_size, size)
    if old_size == 0:
        return []
    spans, start, end = list[_Span](), 0, size
    while end != old_size:
        middle = _middle(start, end)
        if old_size <= middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((start, middle))
            start = middle
    if start:  # Else the verifier knows this hash: it is the root of the smaller tree.
        spans.append((start, end))
    return spans[::-1]


def _middle(start: int, end: int) -> int:
    """Return where the children of a node part: the left one has the largest power of two below the width."""
    return start + (1 << (end - start - 1).bit_length() - 1)


def _nodes(start: int, end: int) -> Iterator[_Node]:
    """Give the full subtrees under a node, from left to right, which is the largest first."""
    while start < end:
        height = (end - start).bit_length() - 1
        yield height, start >> height
        start += 1 << height


def _place(node: _Node) -> tuple[int, int, int, int]:
    """Return level and index of the tile that a node is in, its height above the hashes there, and its number."""
    height, number = node
    level, row = divmod(height, TILE_HEIGHT)
    index, column = divmod(number, TILE_WIDTH >> row)
    return level, index, row, column


def _require_order(low: int, middle: int, high: int) -> None:
    if not low <= middle <= high <= MAX_TREE_SIZE:
        raise TransparencyError("the tree has not so many entries", got=middle, want=f"{low} to {high}")


# --- Reading ----------------------------------------------------------------------------------------------------------


@final
class TileTree:
    """A tree of which some tiles are known, and proved.

    Takes what `tiles_for_inclusion` and its neighbours name, and checks all of it against the root of a checkpoint.
    Raises `TransparencyError` with the path of a tile that does not lead there. Memory and work are those of the tiles
    given, 511 hashes each.
    """

    __slots__ = ("_rows", "root", "size")

    def __init__(self, size: int, root: bytes, tiles: Mapping[Tile, bytes]) -> None:
        """Check the tiles of the tree with this size and root."""
        _require_order(0, size, MAX_TREE_SIZE)
        self.size: Final = size
        self.root: Final = root
        for tile in tiles:
            _require_of_tree(tile, size)
        self._rows: Final = {(tile.level, tile.index): _rows(_hashes(tile, data)) for tile, data in tiles.items()}
        # Each partial tile counts in full towards the root, and each full one has its hash in the tile above.
        self._verify_root()
        for tile in tiles:
            if tile.width == TILE_WIDTH:
                self._verify_below(tile)

    def leaf_hash(self, index: int) -> bytes:
        """Return the hash of an entry. Raises `TransparencyError` if it is not there, or its tile was not given."""
        _require_order(0, index, self.size - 1)
        return self._node((0, index))

    def inclusion_proof(self, index: int) -> tuple[bytes, ...]:
        """Return the proof that an entry is in the tree, from its sibling up (RFC 9162, section 2.1.3).

        Raises `TransparencyError` if it is not there, or a tile was not given.
        """
        return tuple(self._hash(*span) for span in _inclusion_spans(index, self.size))

    def consistency_proof(self, old_size: int) -> tuple[bytes, ...]:
        """Return the proof that the tree begins with one of `old_size` entries (RFC 9162, section 2.1.4).

        Raises `TransparencyError` if that would be larger, or a tile was not given.
        """
        return tuple(self._hash(*span) for span in _consistency_spans(old_size, self.size))

    def entries(self, index: int, bundle: bytes) -> tuple[bytes, ...]:
        """Return the entries of the bundle number `index`, whose hashes are those of its tile.

        Raises `DecodeError`, or `TransparencyError` if they are others (C2SP tlog-tiles, Log entries).
        """
        width = tile_at(0, index, self.size).width
        entries = decode_entries(bundle, width)
        for number, entry in enumerate(entries, index * TILE_WIDTH):
            if not compare_digest(leaf_hash(entry), self._node((0, number))):
                raise TransparencyError("an entry is not what the log has there", got=number, section=_ENTRIES)
        return entries

    def _verify_root(self) -> None:
        edge = [self._node(node) for node in _nodes(0, self.size)]
        if not compare_digest(CompactRange(self.size, tuple(edge)).root, self.root):
            paths = ", ".join(tile.path for tile in tiles_for_root(self.size))
            raise TransparencyError("tiles lead to another root than the checkpoint's", got=paths, section=_SECTION)

    def _verify_below(self, tile: Tile) -> None:
        """Check that a full tile is the one whose hash stands in the tile above."""
        above = self._node((TILE_HEIGHT * (tile.level + 1), tile.index))
        if not compare_digest(self._rows[tile.level, tile.index][-1][0], above):
            raise TransparencyError("a tile does not hash to the one above", got=tile.path, section=_SECTION)

    def _hash(self, start: int, end: int) -> bytes:
        """Return the hash of a node, which is full or at the right edge."""
        *left, computed = (self._node(node) for node in _nodes(start, end))
        for each in reversed(left):
            computed = node_hash(each, computed)
        return computed

    def _node(self, node: _Node) -> bytes:
        level, index, row, column = _place(node)
        rows = self._rows.get((level, index))
        if rows is None:
            path = tile_at(level, index, self.size).path
            raise TransparencyError("a tile is missing", want=path, section=_SECTION)
        return rows[row][column]


def _require_of_tree(tile: Tile, size: int) -> None:
    try:
        same = tile_at(tile.level, tile.index, size) == tile
    except TransparencyError:
        same = False
    if not same:
        raise TransparencyError("the tree has no such tile", got=f"{tile.path} of {size}", section=_PARTIAL)


def _hashes(tile: Tile, data: bytes) -> list[bytes]:
    if len(data) != tile.width * HASH_SIZE:
        raise TransparencyError(f"{tile.path} has another size", got=len(data), want=f"{tile.width} hashes")
    return [data[at : at + HASH_SIZE] for at in range(0, len(data), HASH_SIZE)]


def _rows(hashes: list[bytes]) -> _Rows:
    rows = [hashes]
    while len(row := rows[-1]) > 1:
        rows.append([node_hash(row[at], row[at + 1]) for at in range(0, len(row) - 1, 2)])
    return rows


# --- Writing ----------------------------------------------------------------------------------------------------------


def range_from_tiles(size: int, tiles: Mapping[Tile, bytes]) -> CompactRange:
    """Return what a log keeps of its tree, from tiles that hold those of `tiles_for_root`.

    Its root is what they lead to, and whoever has not just written them compares it with that of the checkpoint.
    Raises `TransparencyError` if one is missing or has another size.
    """
    edge = {tile: _edge(tile, tiles) for tile in tiles_for_root(size)}
    rows = {tile.level: _rows(hashes) for tile, hashes in edge.items()}
    places = (_place(node) for node in _nodes(0, size))
    return CompactRange(size, tuple(rows[level][row][column] for level, _, row, column in places))


def new_tiles(old_size: int, tiles: Mapping[Tile, bytes], leaf_hashes: Iterable[bytes]) -> dict[Tile, bytes]:
    """Return the tiles that are new or larger when a tree of `old_size` entries gets more, the lowest level first.

    `tiles` hold those of `tiles_for_root(old_size)`, which the caller has checked. Raises `TransparencyError` if one is
    missing or has another size (C2SP tlog-tiles, Merkle Tree).
    """
    hashes, level, written = list(leaf_hashes), 0, dict[Tile, bytes]()
    if any(len(each) != HASH_SIZE for each in hashes):
        raise LocalProtocolError("a hash has another size", want=f"{HASH_SIZE} bytes")
    _require_order(0, old_size, MAX_TREE_SIZE - len(hashes))
    while hashes:
        first, width = divmod(old_size >> TILE_HEIGHT * level, TILE_WIDTH)
        row = (_edge(Tile(level, first, width), tiles) if width else []) + hashes
        parts = [row[at : at + TILE_WIDTH] for at in range(0, len(row), TILE_WIDTH)]
        written |= {Tile(level, first + at, len(part)): b"".join(part) for at, part in enumerate(parts)}
        hashes = [_rows(part)[-1][0] for part in parts if len(part) == TILE_WIDTH]
        level += 1
    return written


def _edge(tile: Tile, tiles: Mapping[Tile, bytes]) -> list[bytes]:
    if tile not in tiles:
        raise TransparencyError("a tile is missing", want=tile.path, section=_SECTION)
    return _hashes(tile, tiles[tile])
