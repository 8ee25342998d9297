"""Reading parts of a tree from the static files of a log (C2SP tlog-tiles).

`TreeReader` says which files it needs and checks all that it is given against the root of a checkpoint, which somebody
else has verified. Fetching is for others: `confsec/backends/log_source.py` does it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Final, final

from attrs import field, frozen

from confsec.errors import ConfsecError, ForkedLogError, LimitError, LocalProtocolError, TransparencyError
from confsec.protocol.checkpoint import Checkpoint
from confsec.protocol.epoch import MAX_BEACON
from confsec.protocol.merkle import HASH_SIZE, verify_consistency
from confsec.protocol.note import MAX_NOTE
from confsec.protocol.tile_paths import (
    MAX_ENTRY_SIZE,
    TILE_WIDTH,
    Tile,
    decode_entries,
    encode_entries,
    entries_path,
)
from confsec.protocol.tiles import TileTree, tile_at, tiles_for_inclusion
from confsec.protocol.tlog_proof import MAX_TLOG_PROOF
from confsec.protocol.transparency import CosignedCheckpoint, TrustedLog
from confsec.protocol.witness_policy import MAX_POLICY

__all__ = [
    "BEACON_PATH",
    "BUNDLES_AT_ONCE",
    "CHECKPOINT_PATH",
    "MAX_ENTRIES",
    "MAX_ENTRY_BYTES",
    "LoggedEntry",
    "TreeReader",
    "advance",
    "body_limit",
    "verify_growth",
]

BEACON_PATH: Final = "beacon"
"""Where a log of fleets has the checkpoint that names the epoch."""

CHECKPOINT_PATH: Final = "checkpoint"
"""Where a log serves its newest checkpoint, below its prefix (C2SP tlog-tiles, APIs)."""

MAX_ENTRIES: Final = 4096
"""So many entries are read at once: 17 bundles at most."""

MAX_ENTRY_BYTES: Final = 64 << 20
"""The bundles that are read at once have at most 64 MiB together."""

BUNDLES_AT_ONCE: Final = MAX_ENTRY_BYTES // (TILE_WIDTH * (MAX_ENTRY_SIZE + 2))
"""So many bundles can always be read at once, however long their entries are: nobody hides by long entries."""

_SECTION: Final = "C2SP tlog-tiles, Partial Tiles"
_BUNDLES: Final = "tile/entries/"
_LIMITS: Final = (
    (CHECKPOINT_PATH, MAX_NOTE),
    (BEACON_PATH, MAX_BEACON),
    ("witnesses", MAX_POLICY),
    ("proof/", MAX_TLOG_PROOF),
    (_BUNDLES, TILE_WIDTH * (MAX_ENTRY_SIZE + 2)),
    ("tile/", TILE_WIDTH * HASH_SIZE),
)


class _State(Enum):
    """What is read: first all tiles, then all bundles. Whatever raises ends in `FAILED`."""

    TILES = "tiles"
    BUNDLES = "bundles"
    DONE = "done"
    FAILED = "failed"


@final
@frozen
class LoggedEntry:
    """An entry that is in a log, where it says. Made by `TreeReader` alone."""

    index: int
    """Its place, from 0."""

    data: bytes = field(repr=False)


def body_limit(path: str) -> int:
    """Return how many bytes the file of a log at this path may have. Raises `LocalProtocolError` for other paths."""
    for prefix, limit in _LIMITS:
        if path == prefix or (prefix.endswith("/") and path.startswith(prefix)):
            return limit
    raise LocalProtocolError("a log has no such file", got=path)


def verify_growth(old_size: int, old_root: bytes, tree: TileTree, proof: Sequence[bytes]) -> None:
    """Check with a proof from its own tiles that a tree begins with a smaller one.

    Raises `ForkedLogError`: the tiles lead to the tree's root, so the proof shows the fork to everybody, too.
    """
    try:
        verify_consistency(old_size, tree.size, proof, old_root, tree.root)
    except TransparencyError as exc:
        error = ForkedLogError(
            "the log did not only grow: its tree does not begin with the one that was seen",
            got=f"{tree.size} entries", want=f"the {old_size} entries that were seen first",
            section="RFC 9162, section 2.1.4", hint="Keep both checkpoints: their signatures show it to everybody",
        )  # fmt: skip
        error.proof = tuple(proof)
        raise error from exc


@final
class TreeReader:
    """Reads the entries from `start` to before `stop`, and `tiles` beside those that lead to them.

    Whoever drives it hands in the files that are `wanted`, in any order, until there are none.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        start: int = 0,
        stop: int = 0,
        tiles: Iterable[Tile] = (),
        max_bytes: int = MAX_ENTRY_BYTES,
    ) -> None:
        """Begin with the tiles. `checkpoint` is one that the caller believes.

        Raises `TransparencyError` if it has no such entries, and `LimitError` if they are more than `MAX_ENTRIES`.
        """
        _require_range(start, stop, checkpoint.size)
        self._checkpoint: Final = checkpoint
        self._range: Final = range(start, stop)
        self._bytes_left = max_bytes
        self._tiles: dict[Tile, bytes] = {}
        self._entries: dict[int, bytes] = {}
        self._tree: TileTree | None = None
        self._state = _State.TILES
        self._wanted = {tile.path: tile for tile in self._plan(tiles)}
        self._step()

    @property
    def wanted(self) -> tuple[str, ...]:
        """The paths of the files that are needed next, relative to the log's prefix; none at the end."""
        return tuple(self._wanted)

    def receive(self, path: str, body: bytes) -> None:
        """Take a file. Raises `DecodeError`, `LimitError` or `TransparencyError` for one that is not the log's."""
        with self._failing():
            tile = self._take(path)
            if self._state is _State.TILES:
                self._receive_tile(tile, path, body)
            else:
                self._receive_bundle(tile, path, body)
            self._step()

    def missing(self, path: str) -> None:
        """Learn that the log has no such file: a partial tile may have been replaced by the full one.

        Raises `TransparencyError` for anything else (C2SP tlog-tiles, Partial Tiles).
        """
        with self._failing():
            tile = self._take(path)
            full = self._path(tile, TILE_WIDTH)
            if path == full:
                raise TransparencyError("the log does not serve what its tree is made of", got=path, section=_SECTION)
            self._wanted[full] = tile

    @property
    def tree(self) -> TileTree:
        """The tree, as far as tiles were read. Raises `LocalProtocolError` if that is not at all, or not yet."""
        if self._tree is None or self._state is not _State.DONE:
            raise LocalProtocolError("no tree is read", got=self._state.value)
        return self._tree

    def finish(self) -> tuple[LoggedEntry, ...]:
        """Return the entries in order."""
        if self._state is not _State.DONE:
            raise LocalProtocolError("the tree is not read to its end", got=self._state.value)
        return tuple(LoggedEntry(index, self._entries[index]) for index in self._range)

    def _plan(self, tiles: Iterable[Tile]) -> Iterator[Tile]:
        """Give each tile that is needed, so that all of them lead to the root."""
        yield from tiles
        for bundle in self._bundles():
            yield from tiles_for_inclusion(bundle * TILE_WIDTH, self._checkpoint.size)

    def _bundles(self) -> range:
        entries = self._range
        return range(entries.start // TILE_WIDTH, (entries.stop - 1) // TILE_WIDTH + 1) if entries else range(0)

    def _take(self, path: str) -> Tile:
        if path not in self._wanted:
            raise LocalProtocolError("this file is not wanted", got=path)
        return self._wanted.pop(path)

    def _path(self, tile: Tile, width: int) -> str:
        if self._state is _State.TILES:
            return Tile(tile.level, tile.index, width).path
        return entries_path(tile.index, width)

    def _receive_tile(self, tile: Tile, path: str, body: bytes) -> None:
        width = tile.width if path == tile.path else TILE_WIDTH
        if len(body) != width * HASH_SIZE:
            raise TransparencyError("a tile has another size", got=f"{len(body)} bytes at {path}", section=_SECTION)
        self._tiles[tile] = body[: tile.width * HASH_SIZE]

    def _receive_bundle(self, tile: Tile, path: str, body: bytes) -> None:
        self._bytes_left -= len(body)
        if self._bytes_left < 0:
            raise LimitError("the entries are too long together", hint="Read fewer at once")
        if path != self._path(tile, tile.width):
            body = encode_entries(decode_entries(body)[: tile.width])
        entries = self._tree.entries(tile.index, body) if self._tree else ()
        self._entries |= enumerate(entries, tile.index * TILE_WIDTH)

    def _step(self) -> None:
        """Go on to what is read next, when nothing is wanted any more."""
        if self._wanted:
            return
        if self._state is _State.TILES and self._tiles:
            self._tree = TileTree(self._checkpoint.size, self._checkpoint.root, self._tiles)
            self._state = _State.BUNDLES
            bundles = (tile_at(0, bundle, self._checkpoint.size) for bundle in self._bundles())
            self._wanted = {self._path(tile, tile.width): tile for tile in bundles}
        if not self._wanted:
            self._state = _State.DONE

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except ConfsecError:
            self._state = _State.FAILED
            self._wanted.clear()
            raise


def advance(trusted: TrustedLog, cosigned: CosignedCheckpoint, reader: TreeReader) -> TrustedLog:
    """Return what is remembered after `cosigned`, whose tree `reader` has read.

    Raises `ForkedLogError` for a log that did not only grow, and what `TrustedLog.advance_to` raises.
    """
    if not 0 < trusted.size < cosigned.checkpoint.size:
        return trusted.advance_to(cosigned, ())
    proof = reader.tree.consistency_proof(trusted.size)
    verify_growth(trusted.size, trusted.root, reader.tree, proof)
    return trusted.advance_to(cosigned, proof)


def _require_range(start: int, stop: int, size: int) -> None:
    if not 0 <= start <= stop <= size:
        raise TransparencyError("the log has no such entries", got=f"{start} to {stop}", want=f"up to {size}")
    if stop - start > MAX_ENTRIES:
        raise LimitError(
            "these are more entries than are read at once", got=stop - start, want=f"at most {MAX_ENTRIES}",
            hint="Read them in parts, or only the newest",
        )  # fmt: skip
