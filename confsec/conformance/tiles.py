"""Vectors of the tiles of logs: the kind tiles."""

from __future__ import annotations

from typing import Final

from confsec.conformance.cases import MismatchError, check_same
from confsec.conformance.kinds import FileCase, Kind
from confsec.protocol.checkpoint import Checkpoint
from confsec.protocol.merkle import verify_inclusion
from confsec.protocol.note import SignedNote
from confsec.protocol.note_keys import NoteKey
from confsec.protocol.tile_paths import Tile, encode_entries, entries_path
from confsec.protocol.tiles import TileTree, new_tiles, tile_at, tiles_for_root

__all__ = ["KINDS", "check_tiles"]

_TILES: Final = {"tile0", "tile0_partial", "tile1_partial"}


def check_tiles(case: FileCase) -> None:
    """Check tiles and entries under the checkpoint that they belong to, or only what they are called."""
    size = case.params["tree_size"]
    for role in sorted(_TILES & case.files.keys()):
        tile = Tile.from_path(_path(case, role))
        check_same(f"the tile {role}", tile, tile_at(tile.level, tile.index, size))
    if not case.parse_only:
        _check_tree(case, _checkpoint(case, size))


def _check_tree(case: FileCase, checkpoint: Checkpoint) -> None:
    size = checkpoint.size
    given = {Tile.from_path(_path(case, role)): case.read(role) for role in sorted(_TILES & case.files.keys())}
    tree = TileTree(size, checkpoint.root, given)
    check_same("the tiles", set(given), set(tiles_for_root(size)))
    if size == 0:
        return
    bundle = case.read("entries")
    check_same("the path of the entries", _path(case, "entries"), entries_path(0, size))
    entries = tree.entries(0, bundle)
    check_same("what comes back", encode_entries(entries), bundle)
    hashes = [tree.leaf_hash(index) for index in range(size)]
    for index, leaf in enumerate(hashes):
        verify_inclusion(leaf, index, size, tree.inclusion_proof(index), checkpoint.root)
    check_same("the tiles that a log writes", new_tiles(0, {}, hashes), given)


def _checkpoint(case: FileCase, size: int) -> Checkpoint:
    note = SignedNote.decode(case.read("checkpoint"))
    note.verify([NoteKey.decode(case.params["vkey"])])
    checkpoint = Checkpoint.decode(note.text)
    check_same("origin and size", (checkpoint.origin, checkpoint.size), (case.params["origin"], size))
    return checkpoint


def _path(case: FileCase, role: str) -> str:
    """Return the path below the prefix of the log, which is the folder that holds `tile`."""
    parts = case.file(role).path.parts
    if "tile" not in parts:
        raise MismatchError(f"{role} is in no folder of tiles")
    return "/".join(parts[len(parts) - 1 - parts[::-1].index("tile") :])


KINDS: Final = (Kind(name="tiles", check=check_tiles),)
"""Tiles and bundles of entries, as the log serves them."""
