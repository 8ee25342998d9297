"""Tiles of logs: what they are called, which ones a proof needs, and that nothing unproved is believed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given, settings, strategies as st

from confsec.errors import ConfsecError, DecodeError, LocalProtocolError, TransparencyError, TruncatedError
from confsec.protocol.merkle import (
    EMPTY_ROOT,
    HASH_SIZE,
    MAX_TREE_SIZE,
    CompactRange,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)
from confsec.protocol.tile_paths import (
    MAX_ENTRY_SIZE,
    TILE_WIDTH,
    Tile,
    decode_entries,
    encode_entries,
    entries_path,
)
from confsec.protocol.tiles import (
    TileTree,
    new_tiles,
    range_from_tiles,
    tile_at,
    tiles_for_consistency,
    tiles_for_inclusion,
    tiles_for_root,
)

OTHER = bytes(HASH_SIZE)
MOST = 600
LARGE = 70_000
LARGEST = MAX_TREE_SIZE


@cache
def mth(start: int, end: int) -> bytes:
    """MTH of RFC 9162, section 2.1.1, of entries whose text is their number."""
    if start == end:
        return EMPTY_ROOT
    if end - start == 1:
        return leaf_hash(b"%d" % start)
    middle = start + (1 << (end - start - 1).bit_length() - 1)
    return node_hash(mth(start, middle), mth(middle, end))


def leaves(start: int, end: int) -> list[bytes]:
    return [mth(at, at + 1) for at in range(start, end)]


def serve(tile: Tile) -> bytes:
    """Return a tile as C2SP tlog-tiles defines it, from the tree itself."""
    step = TILE_WIDTH**tile.level
    first = tile.index * TILE_WIDTH
    return b"".join(mth(at * step, (at + 1) * step) for at in range(first, first + tile.width))


def served(tiles: tuple[Tile, ...]) -> dict[Tile, bytes]:
    return {tile: serve(tile) for tile in tiles}


def every_tile(size: int) -> set[Tile]:
    """Return the tiles of a tree, by the formula of the standard."""
    found = set[Tile]()
    for level in range(8):
        full, partial = divmod(size // TILE_WIDTH**level, TILE_WIDTH)
        found |= {Tile(level, index) for index in range(full)}
        found |= {Tile(level, full, partial)} if partial else set()
    return found


def proved(size: int, tiles: tuple[Tile, ...]) -> TileTree:
    return TileTree(size, mth(0, size), served(tiles))


# --- Names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 1234067), "tile/0/x001/x234/067"),
        (Tile(0, 1234067, 12), "tile/0/x001/x234/067.p/12"),
        (Tile(7, 0, 255), "tile/7/000.p/255"),
        (Tile(1, 1000, 1), "tile/1/x001/000.p/1"),
        (Tile(0, (1 << 56) - 1, 255), "tile/0/x072/x057/x594/x037/x927/935.p/255"),
    ],
)
def test_tiles_have_the_paths_of_the_standard(tile: Tile, path: str) -> None:
    assert tile.path == path
    assert Tile.from_path(path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "", "tile/0/0", "tile/00/000", "tile/0/x000/001", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01",
        "tile/0/000.p/", "tile/0/001/000", "tile/0/x001", "tile/8/000.p/1", "tile/63/000", "tile/7/000", "/tile/0/000",
        "tile/0/000\n", "tile/0/٠٠٠", "tile/entries/000", "tile/0/" + "x999/" * 7 + "000",
        "tile/0/x999/x999/x999/x999/x999/x999/999",
    ],
)  # fmt: skip
def test_other_paths_are_refused(path: str) -> None:
    with pytest.raises(DecodeError):
        Tile.from_path(path)


@given(level=st.integers(0, 7), index=st.integers(0, 1 << 57), width=st.integers(1, TILE_WIDTH))
def test_a_tile_comes_back_from_its_path(level: int, index: int, width: int) -> None:
    index >>= 8 * level
    if (index * TILE_WIDTH + width) << 8 * level > MAX_TREE_SIZE:
        with pytest.raises(DecodeError, match="no tree"):
            Tile(level, index, width)
    else:
        assert Tile.from_path(Tile(level, index, width).path) == Tile(level, index, width)


@given(text=st.text() | st.from_regex(r"\Atile/[0-9]{1,2}/(x[0-9]{3}/){0,3}[0-9]{3}(\.p/[0-9]{1,3})?\Z"))
def test_any_path_is_a_tile_with_this_path_or_refused(text: str) -> None:
    try:
        tile = Tile.from_path(text)
    except DecodeError:
        return
    assert tile.path == text


@pytest.mark.parametrize("tile", [(-1, 0, 1), (0, -1, 1), (0, 0, 0), (0, 0, 257), (1 << 70, 0, 1), (8, 0, 1)])
def test_no_tree_has_such_tiles(tile: tuple[int, int, int]) -> None:
    with pytest.raises(DecodeError, match="no tree has this tile"):
        Tile(*tile)


def test_bundles_have_paths_like_tiles() -> None:
    assert entries_path(1234067) == "tile/entries/x001/x234/067"
    assert entries_path(0, 12) == "tile/entries/000.p/12"
    with pytest.raises(DecodeError):
        entries_path(0, 0)


# --- Bundles ----------------------------------------------------------------------------------------------------------


@given(entries=st.lists(st.binary(max_size=300), min_size=1, max_size=TILE_WIDTH))
def test_entries_come_back_from_their_bundle(entries: list[bytes]) -> None:
    assert decode_entries(encode_entries(entries), len(entries)) == tuple(entries)


@given(data=st.binary(), width=st.integers(1, TILE_WIDTH))
def test_any_bundle_is_canonical_or_refused(data: bytes, width: int) -> None:
    try:
        entries = decode_entries(data, width)
    except DecodeError:
        return
    assert encode_entries(entries) == data


def test_a_bundle_has_a_size_and_so_has_an_entry() -> None:
    assert encode_entries([bytes(MAX_ENTRY_SIZE)])[:2] == b"\xff\xff"
    for entries in ([], [b""] * 257, [bytes(MAX_ENTRY_SIZE + 1)]):
        with pytest.raises(LocalProtocolError):
            encode_entries(entries)
    for width in (0, 257):
        with pytest.raises(LocalProtocolError):
            decode_entries(b"", width)
    with pytest.raises(TruncatedError):
        decode_entries(b"\x00\x01a", 2)
    with pytest.raises(DecodeError, match="after its end"):
        decode_entries(b"\x00\x01a\x00\x00", 1)


# --- Which tiles ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 600, 65_536, LARGE])
def test_a_tree_has_the_tiles_of_the_standard(size: int) -> None:
    tiles = every_tile(size)
    for level in range(9):
        for index in range((size >> 8 * level + 8) + 2):
            there = [tile for tile in tiles if (tile.level, tile.index) == (level, index)]
            if there:
                assert tile_at(level, index, size) == there[0]
            else:
                with pytest.raises(TransparencyError, match="no such tile"):
                    tile_at(level, index, size)


def test_the_example_of_the_standard_has_three_partial_tiles() -> None:
    assert [tile.path for tile in tiles_for_root(70_000)] == ["tile/2/000.p/1", "tile/1/001.p/17", "tile/0/273.p/112"]
    assert tiles_for_root(256) == (Tile(1, 0, 1),)
    assert tiles_for_root(0) == ()


@pytest.mark.parametrize(
    ("level", "index", "size"), [(-1, 0, 5), (0, -1, 5), (1 << 70, 0, 5), (0, 0, -1), (0, 0, LARGEST + 1)]
)
def test_tiles_of_no_tree_are_refused(level: int, index: int, size: int) -> None:
    with pytest.raises(TransparencyError):
        tile_at(level, index, size)


@given(size=st.integers(1, LARGEST), data=st.data())
def test_a_proof_takes_a_handful_of_tiles_of_any_tree(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    for tiles in (tiles_for_inclusion(index, size), tiles_for_consistency(index, size), tiles_for_root(size)):
        assert len(set(tiles)) == len(tiles) <= 16
        assert all((a.level, -a.index) > (b.level, -b.index) for a, b in pairwise(tiles))
        assert set(tiles_for_root(size)) <= set(tiles)
        assert all(tile == tile_at(tile.level, tile.index, size) for tile in tiles)
    assert tile_at(0, index // TILE_WIDTH, size) in tiles_for_inclusion(index, size)
    assert len(tiles_for_inclusion(500_000, 1_000_000)) <= 5


def test_there_is_no_proof_of_what_is_not_there() -> None:
    for index, size in ((5, 5), (-1, 5), (0, 0), (0, LARGEST + 1)):
        with pytest.raises(TransparencyError):
            tiles_for_inclusion(index, size)
    for old, size in ((6, 5), (-1, 5), (0, LARGEST + 1)):
        with pytest.raises(TransparencyError):
            tiles_for_consistency(old, size)
    with pytest.raises(TransparencyError):
        tiles_for_root(-1)


# --- Reading ----------------------------------------------------------------------------------------------------------


def indexes(size: int) -> set[int]:
    """Return the entries where something may go wrong, and some others."""
    edges = {0, 255, 256, 512, size // 3, size - 1}
    return {index for index in edges if 0 <= index < size}


@pytest.mark.parametrize("sizes", [range(200), range(200, 400), range(400, MOST + 1), (65_535, 65_536, 65_793, LARGE)])
def test_proofs_from_tiles_verify(sizes: range | tuple[int, ...]) -> None:
    for size in sizes:
        root = mth(0, size)
        for index in indexes(size):
            tree = proved(size, tiles_for_inclusion(index, size))
            assert tree.leaf_hash(index) == mth(index, index + 1)
            verify_inclusion(tree.leaf_hash(index), index, size, tree.inclusion_proof(index), root)
        for old in {*indexes(size), size}:
            proof = proved(size, tiles_for_consistency(old, size)).consistency_proof(old)
            verify_consistency(old, size, proof, mth(0, old), root)


def test_all_proofs_of_a_tree_with_two_levels_verify() -> None:
    tree = proved(MOST, tuple(every_tile(MOST)))
    for at in range(MOST):
        verify_inclusion(mth(at, at + 1), at, MOST, tree.inclusion_proof(at), tree.root)
        verify_consistency(at, MOST, tree.consistency_proof(at), mth(0, at), tree.root)


@settings(max_examples=30)
@given(size=st.integers(1, LARGE), data=st.data())
def test_proofs_of_larger_trees_verify(size: int, data: st.DataObject) -> None:
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    tree = proved(size, tiles_for_inclusion(index, size))
    verify_inclusion(mth(index, index + 1), index, size, tree.inclusion_proof(index), tree.root)
    proof = proved(size, tiles_for_consistency(old, size)).consistency_proof(old)
    verify_consistency(old, size, proof, mth(0, old), tree.root)


@settings(max_examples=60)
@given(size=st.integers(1, LARGE), data=st.data())
def test_a_tile_that_was_changed_anywhere_is_named(size: int, data: st.DataObject) -> None:
    tiles = served(tiles_for_inclusion(data.draw(st.integers(0, size - 1)), size))
    tile = data.draw(st.sampled_from(sorted(tiles, key=lambda each: each.path)))
    at = data.draw(st.integers(0, len(tiles[tile]) - 1))
    changed = bytearray(tiles[tile])
    changed[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(TransparencyError) as raised:
        TileTree(size, mth(0, size), tiles | {tile: bytes(changed)})
    assert tile.path in str(raised.value) or tile.width == TILE_WIDTH
    assert "tile/" in str(raised.value)


def test_a_full_tile_that_was_changed_is_named() -> None:
    tiles = served(tiles_for_inclusion(300, MOST))
    forged = {Tile(0, 1): bytes(TILE_WIDTH * HASH_SIZE)}
    with pytest.raises(TransparencyError, match="tile/0/001"):
        TileTree(MOST, mth(0, MOST), tiles | forged)


def test_what_was_not_given_is_not_proved() -> None:
    tiles = served(tiles_for_inclusion(300, MOST))
    tree = TileTree(MOST, mth(0, MOST), tiles)
    for proof in (lambda: tree.inclusion_proof(5), lambda: tree.leaf_hash(5), lambda: tree.consistency_proof(5)):
        with pytest.raises(TransparencyError, match="tile/0/000"):
            proof()
    for tile in tiles:
        if tile.width < TILE_WIDTH:
            with pytest.raises(TransparencyError, match="a tile is missing"):
                TileTree(MOST, mth(0, MOST), {each: data for each, data in tiles.items() if each != tile})
    # The hash of a full tile stands in the one above: without it, it would lead nowhere.
    above = {each: data for each, data in served(tiles_for_inclusion(5, LARGE)).items() if each != Tile(1, 0)}
    with pytest.raises(TransparencyError, match="tile/1/000"):
        TileTree(LARGE, mth(0, LARGE), above)


def test_what_is_not_in_the_tree_is_not_proved() -> None:
    tree = proved(5, tiles_for_root(5))
    for index in (-1, 5):
        with pytest.raises(TransparencyError):
            tree.leaf_hash(index)
        with pytest.raises(TransparencyError):
            tree.inclusion_proof(index)
    for old in (-1, 6):
        with pytest.raises(TransparencyError):
            tree.consistency_proof(old)


@pytest.mark.parametrize("tile", [Tile(0, 0, 4), Tile(0, 0), Tile(0, 1, 1), Tile(1, 0, 1)])
def test_tiles_of_another_tree_are_refused(tile: Tile) -> None:
    with pytest.raises(TransparencyError, match=tile.path):
        TileTree(5, mth(0, 5), served((*tiles_for_root(5), tile)))


@pytest.mark.parametrize("data", [b"", bytes(HASH_SIZE * 4), bytes(HASH_SIZE * 5 - 1), bytes(HASH_SIZE * 6)])
def test_tiles_of_another_size_are_refused(data: bytes) -> None:
    with pytest.raises(TransparencyError, match=r"tile/0/000\.p/5"):
        TileTree(5, mth(0, 5), {Tile(0, 0, 5): data})


def test_the_empty_tree_has_its_root_and_no_tiles() -> None:
    assert TileTree(0, EMPTY_ROOT, {}).consistency_proof(0) == ()
    with pytest.raises(TransparencyError, match="another root"):
        TileTree(0, OTHER, {})
    for size in (-1, LARGEST + 1):
        with pytest.raises(TransparencyError):
            TileTree(size, EMPTY_ROOT, {})


def test_entries_are_believed_when_their_hashes_are_in_the_tree() -> None:
    tree = proved(300, tuple(every_tile(300)))
    entries = [b"%d" % number for number in range(256, 300)]
    assert tree.entries(1, encode_entries(entries)) == tuple(entries)
    with pytest.raises(TransparencyError, match="299"):
        tree.entries(1, encode_entries([*entries[:-1], b"another"]))
    with pytest.raises(DecodeError):
        tree.entries(1, encode_entries(entries[:-1]))
    with pytest.raises(TransparencyError, match="no such tile"):
        tree.entries(2, b"")


@given(size=st.integers(0, 600), root=st.binary(max_size=40), data=st.data())
def test_any_tiles_are_a_tree_or_refused(size: int, root: bytes, data: st.DataObject) -> None:
    tiles = data.draw(st.dictionaries(st.sampled_from([Tile(0, 0, 3), Tile(0, 0), Tile(1, 0, 1)]), st.binary()))
    try:
        TileTree(size, root, tiles)
    except ConfsecError:
        return
    assert (size, root) == (0, EMPTY_ROOT)


# --- Writing ----------------------------------------------------------------------------------------------------------


def check_growth(old: int, new: int, known: Mapping[Tile, bytes]) -> dict[Tile, bytes]:
    written = new_tiles(old, known, leaves(old, new))
    assert set(written) == every_tile(new) - every_tile(old)
    assert all(data == serve(tile) for tile, data in written.items())
    assert [tile.level for tile in written] == sorted(tile.level for tile in written)
    return written


@pytest.mark.parametrize("step", [1, 7, 255, 256, 257, 600])
def test_a_log_that_grows_writes_the_tiles_that_are_new(step: int) -> None:
    known, kept = dict[Tile, bytes](), CompactRange()
    for old in range(0, MOST, step):
        new = min(old + step, MOST)
        known |= check_growth(old, new, known)
        kept = kept.append(*leaves(old, new))
        known = {tile: known[tile] for tile in tiles_for_root(new)}
        assert range_from_tiles(new, known) == kept
        assert kept.root == mth(0, new)


@settings(max_examples=20)
@given(old=st.integers(0, LARGE), more=st.integers(0, 3000))
def test_a_large_log_grows_from_its_edge(old: int, more: int) -> None:
    check_growth(old, old + more, served(tiles_for_root(old)))


@pytest.mark.parametrize("size", [65_535, 65_536, LARGE])
def test_a_tree_grows_a_level(size: int) -> None:
    written = check_growth(0, size, {})
    assert range_from_tiles(size, written).root == mth(0, size)
    assert TileTree(size, mth(0, size), written).inclusion_proof(0)


def test_a_log_that_lost_its_edge_does_not_grow() -> None:
    assert new_tiles(300, {}, []) == {}
    for known in ({}, {Tile(0, 1, 44): b""}):
        with pytest.raises(TransparencyError, match=r"tile/0/001\.p/44"):
            new_tiles(300, known, leaves(300, 301))
        with pytest.raises(TransparencyError, match="tile/"):
            range_from_tiles(300, {Tile(1, 0, 1): OTHER, **known})
    with pytest.raises(LocalProtocolError):
        new_tiles(0, {}, [b""])
    with pytest.raises(TransparencyError):
        new_tiles(LARGEST, {}, [OTHER])
