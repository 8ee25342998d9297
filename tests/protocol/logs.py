"""A log of static files in memory, with witnesses that cosign whatever they are told to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from confsec.protocol.checkpoint import Checkpoint
from confsec.protocol.log_reader import LogNews, LogUpdate
from confsec.protocol.merkle import leaf_hash
from confsec.protocol.note_keys import Signer
from confsec.protocol.tile_paths import TILE_WIDTH, Tile, encode_entries, entries_path
from confsec.protocol.tiles import new_tiles, range_from_tiles, tiles_for_root
from confsec.protocol.tree_reader import TreeReader
from tests.protocol.test_transparency import AT, ORIGIN, WITNESSES, cosigned

__all__ = ["StaticLog", "entries_of", "read", "read_tree"]


def entries_of(start: int, stop: int, text: str = "entry") -> list[bytes]:
    return [f"{text} {number}".encode() for number in range(start, stop)]


class StaticLog:
    """The files of a log. It keeps partial tiles unless it is told to drop them, as a log may."""

    def __init__(self, entries: Sequence[bytes] = (), *, times: Sequence[datetime] = (AT, AT)) -> None:
        self.entries: list[bytes] = []
        self.tiles: dict[Tile, bytes] = {}
        self.files: dict[str, bytes] = {}
        self.grow(entries, times=times)

    @property
    def checkpoint(self) -> Checkpoint:
        size = len(self.entries)
        return Checkpoint(ORIGIN, size, range_from_tiles(size, self.tiles).root)

    def grow(self, entries: Sequence[bytes], *, times: Sequence[datetime] = (AT, AT)) -> None:
        old = len(self.entries)
        self.entries += entries
        new = new_tiles(old, self.tiles, map(leaf_hash, entries))
        self.tiles |= new
        self.files |= {tile.path: body for tile, body in new.items()}
        for tile in new:
            if tile.level == 0:
                first = tile.index * TILE_WIDTH
                bundle = encode_entries(self.entries[first : first + tile.width])
                self.files[entries_path(tile.index, tile.width)] = bundle
        self.sign(times)

    def sign(self, times: Sequence[datetime], by: Sequence[Signer] = WITNESSES) -> None:
        self.files["checkpoint"] = cosigned(self.checkpoint, times, by=by)

    def drop_partial(self) -> None:
        """Delete the partial tiles that are not at the edge: full ones took their places."""
        edge = {tile.path for tile in tiles_for_root(len(self.entries))}
        last = len(self.entries) // TILE_WIDTH
        edge.add(entries_path(last, len(self.entries) % TILE_WIDTH or TILE_WIDTH))
        self.files = {path: body for path, body in self.files.items() if ".p/" not in path or path in edge}

    async def fetch(self, path: str) -> bytes | None:
        return self.files.get(path)


def read(update: LogUpdate, log: StaticLog, asked: list[str] | None = None) -> LogNews:
    """Drive an update, and note what it asked for."""
    while update.wanted:
        _serve(update, log, [] if asked is None else asked)
    return update.finish()


def read_tree(reader: TreeReader, log: StaticLog) -> list[bytes]:
    while reader.wanted:
        _serve(reader, log, [])
    return [entry.data for entry in reader.finish()]


def _serve(reading: LogUpdate | TreeReader, log: StaticLog, asked: list[str]) -> None:
    path = reading.wanted[0]
    asked.append(path)
    body = log.files.get(path)
    if body is None:
        reading.missing(path)
    else:
        reading.receive(path, body)
