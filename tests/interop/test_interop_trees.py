"""Merkle trees, proofs, tiles and whole logs: each side verifies what the other made, or refuses it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import anyio
import pytest

from confsec.backends.log_session import SignedTree
from confsec.backends.log_source import FolderLogSource, read_log
from confsec.backends.log_storage import FolderStorage
from confsec.backends.log_writer import LogWriter
from confsec.errors import ConfsecError, TransparencyError
from confsec.protocol.log_reader import LogNews, LogUpdate
from confsec.protocol.merkle import leaf_hash, verify_consistency, verify_inclusion
from confsec.protocol.note import SignedNote
from confsec.protocol.tile_paths import Tile
from confsec.protocol.tiles import TileTree, new_tiles, tiles_for_consistency, tiles_for_inclusion
from confsec.protocol.transparency import TrustedLog
from tests.interop.build import GO_LOGS, GO_TESSERA
from tests.interop.conftest import FillCell, StartPeer
from tests.interop.log_peers import MERKLE, TESSERA, X_MOD, LogPeer
from tests.interop.ours_logs import (
    AT,
    KEYS,
    LOG,
    ORIGIN,
    POLICY,
    WITNESSES,
    changed,
    entries,
    root_of,
    tile_tree,
    tiles_of,
)
from tests.interop.peers import PeerError

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

OURS_TO_THEM = "they verify ours"
THEIRS_TO_US = "we verify theirs"
LIBRARIES = {"merkle": MERKLE, "tlog": X_MOD}
SIZES = (1, 2, 3, 7, 8, 9, 255, 256, 257, 600)
ENTRIES = entries(SIZES[-1])
ROOTS = {size: root_of(ENTRIES[:size]) for size in (0, *SIZES)}

every_library = pytest.mark.parametrize("library", LIBRARIES)
every_size = pytest.mark.parametrize("size", SIZES)
every_growth = pytest.mark.parametrize(("old", "size"), [*pairwise(SIZES), (1, 600), (256, 600), (257, 257)])


@pytest.fixture
def peer(start_peer: StartPeer) -> LogPeer:
    return LogPeer(start_peer(GO_LOGS))


@pytest.fixture
def tessera(start_peer: StartPeer) -> LogPeer:
    return LogPeer(start_peer(GO_TESSERA))


def our_tree(size: int) -> TileTree:
    return tile_tree(size, ROOTS[size], tiles_of(ENTRIES[:size]))


def places(size: int) -> list[int]:
    """Return the places to prove: both ends, the middle, and where tiles end."""
    return sorted({0, size // 2, size - 1} | {place for place in (254, 255, 256, 511, 512) if place < size})


# --- Roots and proofs -------------------------------------------------------------------------------------------------


@every_library
def test_both_find_the_same_root(peer: LogPeer, fill_cell: FillCell, library: str) -> None:
    fill_cell(LIBRARIES[library], "root", f"{len(SIZES)} sizes", OURS_TO_THEM)
    assert {size: peer.tree_root(library, ENTRIES[:size]) for size in SIZES} == {size: ROOTS[size] for size in SIZES}


@every_library
@every_size
def test_both_make_the_same_inclusion_proofs(peer: LogPeer, fill_cell: FillCell, library: str, size: int) -> None:
    fill_cell(LIBRARIES[library], "inclusion", f"{len(SIZES)} sizes", THEIRS_TO_US)
    tree = our_tree(size)
    for index in places(size):
        theirs = peer.inclusion_prove(library, ENTRIES[:size], index, size)
        assert theirs == tree.inclusion_proof(index)
        verify_inclusion(leaf_hash(ENTRIES[index]), index, size, theirs, ROOTS[size])


@every_library
@every_size
def test_they_verify_our_inclusion_proofs(peer: LogPeer, fill_cell: FillCell, library: str, size: int) -> None:
    fill_cell(LIBRARIES[library], "inclusion", f"{len(SIZES)} sizes", OURS_TO_THEM)
    tree = our_tree(size)
    for index in places(size):
        peer.inclusion_verify(library, leaf_hash(ENTRIES[index]), index, size, tree.inclusion_proof(index), ROOTS[size])


@every_library
@every_growth
def test_both_make_the_same_consistency_proofs(
    peer: LogPeer, fill_cell: FillCell, library: str, old: int, size: int
) -> None:
    fill_cell(LIBRARIES[library], "consistency", f"{len(SIZES)} sizes", THEIRS_TO_US)
    theirs = peer.consistency_prove(library, ENTRIES[:size], old, size)
    assert theirs == our_tree(size).consistency_proof(old)
    verify_consistency(old, size, theirs, ROOTS[old], ROOTS[size])


@every_library
@every_growth
def test_they_verify_our_consistency_proofs(
    peer: LogPeer, fill_cell: FillCell, library: str, old: int, size: int
) -> None:
    fill_cell(LIBRARIES[library], "consistency", f"{len(SIZES)} sizes", OURS_TO_THEM)
    proof = our_tree(size).consistency_proof(old)
    peer.consistency_verify(library, old, size, proof, ROOTS[old], ROOTS[size])


@every_library
def test_both_refuse_every_wrong_inclusion_proof(peer: LogPeer, library: str) -> None:
    index, size = 270, 600
    proof, leaf, root = our_tree(size).inclusion_proof(index), leaf_hash(ENTRIES[index]), ROOTS[size]
    flipped = [(*proof[:at], changed(each, at), *proof[at + 1 :]) for at, each in enumerate(proof)]
    wrong = [
        *((leaf, index, size, each, root) for each in flipped),
        (leaf, index, size, proof[:-1], root),
        (leaf, index, size, (*proof, root), root),
        (leaf, index, size, proof[::-1], root),
        (leaf, index - 1, size, proof, root),
        (leaf, size, size, proof, root),
        (leaf, index, 512, proof, root),
        (changed(leaf, 0), index, size, proof, root),
        (leaf, index, size, proof, changed(root, -1)),
    ]
    for case in wrong:
        with pytest.raises(PeerError):
            peer.inclusion_verify(library, *case)
        with pytest.raises(TransparencyError):
            verify_inclusion(*case)


@every_library
def test_both_refuse_every_wrong_consistency_proof(peer: LogPeer, library: str) -> None:
    old, size = 257, 600
    proof, old_root, root = our_tree(size).consistency_proof(old), ROOTS[old], ROOTS[size]
    flipped = [(*proof[:at], changed(each, at), *proof[at + 1 :]) for at, each in enumerate(proof)]
    wrong = [
        *((old, size, each, old_root, root) for each in flipped),
        (old, size, proof[:-1], old_root, root),
        (old, size, (), old_root, root),
        (old, size, (*proof, root), old_root, root),
        (old, size, proof[::-1], old_root, root),
        (size, old, proof, root, old_root),
        (old, size, proof, changed(old_root, 0), root),
        (old, size, proof, old_root, changed(root, -1)),
        (old, old, (), old_root, changed(old_root, 3)),
    ]
    for case in wrong:
        with pytest.raises(PeerError):
            peer.consistency_verify(library, *case)
        with pytest.raises(TransparencyError):
            verify_consistency(*case)


# --- Tiles ------------------------------------------------------------------------------------------------------------


@every_size
def test_both_write_the_same_tiles(peer: LogPeer, fill_cell: FillCell, size: int) -> None:
    fill_cell(X_MOD, "tiles", f"{len(SIZES)} sizes", THEIRS_TO_US)
    assert peer.tiles_write(ENTRIES[:size]) == tiles_of(ENTRIES[:size])


@every_growth
def test_both_write_the_same_new_tiles_when_a_tree_grows(peer: LogPeer, old: int, size: int) -> None:
    before = new_tiles(0, {}, map(leaf_hash, ENTRIES[:old]))
    ours = new_tiles(old, before, map(leaf_hash, ENTRIES[old:size]))
    assert peer.tiles_write(ENTRIES[:size], old_size=old) == {tile.path: data for tile, data in ours.items()}


@every_growth
def test_they_prove_from_our_tiles_what_we_prove(peer: LogPeer, fill_cell: FillCell, old: int, size: int) -> None:
    fill_cell(X_MOD, "tiles", f"{len(SIZES)} sizes", OURS_TO_THEM)
    found = peer.tiles_read(tiles_of(ENTRIES[:size]), size, ROOTS[size], index=old - 1, old_size=old)
    tree = our_tree(size)
    assert found.inclusion == tree.inclusion_proof(old - 1)
    assert found.consistency == tree.consistency_proof(old)


@every_growth
def test_they_read_no_tile_that_we_do_not_ask_for(peer: LogPeer, old: int, size: int) -> None:
    wanted = {*tiles_for_inclusion(old - 1, size), *tiles_for_consistency(old, size)}
    tiles = {path: data for path, data in tiles_of(ENTRIES[:size]).items() if Tile.from_path(path) in wanted}
    found = peer.tiles_read(tiles, size, ROOTS[size], index=old - 1, old_size=old)
    assert found.read <= tiles.keys()


def test_both_refuse_a_tile_with_one_bit_changed(peer: LogPeer) -> None:
    size, index, old = 600, 270, 257
    tiles = tiles_of(ENTRIES[:size])
    read = peer.tiles_read(tiles, size, ROOTS[size], index=index, old_size=old).read
    assert len(read) == 3
    for path in read:
        spoilt = tiles | {path: changed(tiles[path], 40)}
        with pytest.raises(PeerError, match="downloaded inconsistent tile"):
            peer.tiles_read(spoilt, size, ROOTS[size], index=index, old_size=old)
        with pytest.raises(TransparencyError, match="tile"):
            tile_tree(size, ROOTS[size], {each: spoilt[each] for each in read})


def test_both_refuse_tiles_of_another_root(peer: LogPeer) -> None:
    tiles = tiles_of(ENTRIES[:600])
    with pytest.raises(PeerError, match="downloaded inconsistent tile"):
        peer.tiles_read(tiles, 600, changed(ROOTS[600], 0), index=0, old_size=1)
    with pytest.raises(TransparencyError, match="another root"):
        tile_tree(600, changed(ROOTS[600], 0), tiles)


# --- Whole logs -------------------------------------------------------------------------------------------------------


async def append_all(folder: Path, given: Sequence[bytes]) -> SignedTree:
    """Let our writer open a log, or begin it, and append entries at once. Return its newest tree."""
    writer = LogWriter(FolderStorage(folder), [LOG], folder.with_suffix(".db"))
    await writer.open()
    async with anyio.create_task_group() as group:
        for entry in given:
            group.start_soon(writer.append, entry)
    await writer.aclose()
    return writer.tree


async def grown(folder: Path, *sizes: int) -> None:
    """Grow a log of ours to each of these sizes, with the last checkpoint as its log signed it."""
    for before, size in pairwise((0, *sizes)):
        tree = await append_all(folder, ENTRIES[before:size])
        (folder / "checkpoint").write_bytes(tree.note)


async def read_cosigned(folder: Path) -> LogNews:
    """Let two witnesses cosign what the log has, unseen, and read all of it as clients do."""
    note = SignedNote.decode((folder / "checkpoint").read_bytes())
    for witness in WITNESSES[:2]:
        note = note.sign(witness, at=AT)
    (folder / "checkpoint").write_bytes(note.encode())
    update = LogUpdate(TrustedLog(ORIGIN), POLICY, at=AT, maximum_age=timedelta(hours=1))
    return await read_log(update, FolderLogSource(folder).fetch)


@pytest.mark.anyio
@pytest.mark.parametrize("sizes", [(1,), (255,), (256,), (3, 257, 600)])
async def test_they_check_a_log_that_we_grew(
    tessera: LogPeer, fill_cell: FillCell, tmp_path: Path, sizes: tuple[int, ...]
) -> None:
    fill_cell(TESSERA, "whole log", "tiles and bundles", OURS_TO_THEM)
    await grown(tmp_path / "log", *sizes)
    tessera.log_check(tmp_path / "log", ORIGIN, KEYS[0])


@pytest.mark.anyio
@pytest.mark.parametrize("sizes", [(1,), (256,), (3, 255, 600)])
async def test_we_read_a_log_that_they_grew(
    tessera: LogPeer, fill_cell: FillCell, tmp_path: Path, sizes: tuple[int, ...]
) -> None:
    fill_cell(TESSERA, "whole log", "tiles and bundles", THEIRS_TO_US)
    for before, size in pairwise((0, *sizes)):
        assert sorted(tessera.log_append(tmp_path, LOG.encode(), ENTRIES[before:size])) == list(range(before, size))
    news = await read_cosigned(tmp_path)
    assert news.trusted.root == root_of([entry.data for entry in news.entries])
    assert sorted(entry.data for entry in news.entries) == sorted(ENTRIES[: sizes[-1]])


@pytest.mark.anyio
@pytest.mark.parametrize(
    "path",
    ["checkpoint", "tile/0/000", "tile/0/002.p/88", "tile/1/000.p/2", "tile/entries/001", "tile/entries/002.p/88"],
)
async def test_both_refuse_a_log_with_one_bit_changed(tessera: LogPeer, tmp_path: Path, path: str) -> None:
    folder = tmp_path / "log"
    await grown(folder, 600)
    assert len((await read_cosigned(folder)).entries) == 600
    (folder / path).write_bytes(changed((folder / path).read_bytes(), 45))
    with pytest.raises(PeerError):
        tessera.log_check(folder, ORIGIN, KEYS[0])
    with pytest.raises(ConfsecError):
        await read_cosigned(folder)
