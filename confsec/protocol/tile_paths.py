"""Tiles and bundles of entries: where a log serves them, and what a bundle looks like (C2SP tlog-tiles)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Self, final

from attrs import frozen

from confsec.errors import DecodeError, LocalProtocolError
from confsec.protocol.merkle import MAX_TREE_SIZE
from confsec.protocol.wire import Reader, encode_vector

__all__ = [
    "MAX_ENTRY_SIZE",
    "TILE_HEIGHT",
    "TILE_WIDTH",
    "Tile",
    "decode_entries",
    "encode_entries",
    "entries_path",
]

TILE_HEIGHT: Final = 8
"""Heights of the tree that one tile stands for."""

TILE_WIDTH: Final = 256
"""Hashes of a full tile, and entries of a full bundle."""

MAX_ENTRY_SIZE: Final = 0xFFFF
"""Bytes of the largest entry: its length is a uint16."""

_SECTION: Final = "C2SP tlog-tiles, Merkle Tree"
_ENTRIES: Final = "C2SP tlog-tiles, Log entries"
_PATH: Final = re.compile(r"tile/([0-9]{1,2})/((?:x[0-9]{3}/){0,6})([0-9]{3})(?:\.p/([0-9]{1,3}))?", re.ASCII)


@final
@frozen
class Tile:
    """Which tile: where it stands in the tree, and how many hashes it has."""

    level: int
    """Levels are eight heights apart; tiles on level 0 hold the hashes of entries."""

    index: int
    """Its number on the level."""

    width: int = TILE_WIDTH
    """How many hashes: 256, or fewer at the right edge of a tree."""

    def __attrs_post_init__(self) -> None:
        if self.level < 0 or self.index < 0 or not 0 < self.width <= TILE_WIDTH or not self._fits():
            raise DecodeError("no tree has this tile", got=f"level {self.level}, {self.index}, {self.width} wide")

    def _fits(self) -> bool:
        # The level is looked at first: a shift by a huge one would fill the memory.
        return self.level < 8 and self.index * TILE_WIDTH + self.width <= MAX_TREE_SIZE >> TILE_HEIGHT * self.level

    @classmethod
    def from_path(cls, path: str) -> Self:
        """Read a path such as `tile/0/x001/234.p/12`. Raises `DecodeError` (C2SP tlog-tiles, Merkle Tree)."""
        match = _PATH.fullmatch(path)
        if match is None:
            raise DecodeError("a path is not that of a tile", section=_SECTION)
        level, outer, inner, width = match.groups()
        tile = cls(int(level), int(re.sub("[x/]", "", outer) + inner), int(width or TILE_WIDTH))
        if tile.path != path:
            raise DecodeError("the path of a tile has another spelling", want=tile.path, section=_SECTION)
        return tile

    @property
    def path(self) -> str:
        """Where the log serves it, below its prefix (C2SP tlog-tiles, Merkle Tree)."""
        return f"tile/{self.level}/{_number(self.index, self.width)}"


def entries_path(index: int, width: int = TILE_WIDTH) -> str:
    """Return where the log serves the bundle of entries number `index` (C2SP tlog-tiles, Log entries)."""
    tile = Tile(0, index, width)
    return f"tile/entries/{_number(tile.index, tile.width)}"


def _number(index: int, width: int) -> str:
    groups = [f"{index % 1000:03}"]
    while index := index // 1000:
        groups.insert(0, f"x{index % 1000:03}")
    return "/".join(groups) + (f".p/{width}" if width < TILE_WIDTH else "")


def encode_entries(entries: Sequence[bytes]) -> bytes:
    """Encode a bundle of 1 to 256 entries of up to 65,535 bytes (C2SP tlog-tiles, Log entries)."""
    if not 0 < len(entries) <= TILE_WIDTH:
        raise LocalProtocolError("a bundle has 1 to 256 entries", got=len(entries), section=_ENTRIES)
    if any(len(entry) > MAX_ENTRY_SIZE for entry in entries):
        raise LocalProtocolError("an entry is too long", want=f"at most {MAX_ENTRY_SIZE} bytes", section=_ENTRIES)
    return b"".join(encode_vector(entry, 2) for entry in entries)


def decode_entries(data: bytes, width: int = TILE_WIDTH) -> tuple[bytes, ...]:
    """Decode a bundle of exactly `width` entries. Raises `DecodeError` (C2SP tlog-tiles, Log entries)."""
    if not 0 < width <= TILE_WIDTH:
        raise LocalProtocolError("a bundle has 1 to 256 entries", got=width, section=_ENTRIES)
    reader = Reader(data, "a bundle of entries")
    entries = tuple(reader.vector(2) for _ in range(width))
    reader.finish()
    return entries
