"""How a log grows: the same files whatever the batches, and a commit that leads to one tree."""

from __future__ import annotations

import pytest
from attrs import evolve
from hypothesis import given, settings, strategies as st

from confsec.errors import ConfsecError, DecodeError, TransparencyError
from confsec.protocol.log_growth import MAX_BATCH, Growth, LogCommit, LogEdge, partial_folders
from confsec.protocol.merkle import EMPTY_ROOT, CompactRange, leaf_hash
from confsec.protocol.tile_paths import Tile, decode_entries, encode_entries, entries_path
from confsec.protocol.tiles import TileTree, tile_at, tiles_for_inclusion, tiles_for_root

ENTRIES = [b"%d" % number for number in range(70_000)]
ROOTS = CompactRange()


def root(size: int) -> bytes:
    return ROOTS.append(*map(leaf_hash, ENTRIES[:size])).root


def grow(*sizes: int) -> tuple[dict[str, bytes], LogEdge]:
    """Return all files and the edge of a log that had these sizes."""
    files, edge = dict[str, bytes](), LogEdge()
    for size in sizes:
        growth = edge.append(ENTRIES[edge.size : size])
        files |= growth.files
        edge = growth.edge
    return files, edge


@settings(max_examples=30)
@given(sizes=st.lists(st.integers(0, 1200), min_size=1, max_size=6).map(sorted))
def test_a_log_has_the_same_tree_whatever_its_batches(sizes: list[int]) -> None:
    files, edge = grow(*sizes)
    size = sizes[-1]
    assert (edge.size, edge.root) == (size, root(size))
    tiles, bundle = LogEdge.files(size)
    assert edge.tiles == {tile: files[tile.path] for tile in tiles}
    assert edge.bundle == (files[bundle] if bundle else b"")
    once, _ = grow(size)
    assert {path: files[path] for path in once} == once
    for index in {0, size // 2, size - 1} if size else ():
        found = {tile: files[tile.path] for tile in tiles_for_inclusion(index, size)}
        tree = TileTree(size, edge.root, found)
        width = tile_at(0, index // 256, size).width
        assert tree.entries(index // 256, files[entries_path(index // 256, width)])[index % 256] == ENTRIES[index]


def test_a_large_log_keeps_a_handful_of_files_at_hand() -> None:
    files, edge = grow(65_000, 70_000)
    assert edge.root == root(70_000)
    assert {tile.path for tile in edge.tiles} == {"tile/2/000.p/1", "tile/1/001.p/17", "tile/0/273.p/112"}
    assert len(decode_entries(edge.bundle, 112)) == 112
    assert len(files["tile/0/272"]) == 8192


def test_an_edge_without_its_files_does_not_grow() -> None:
    _, edge = grow(300)
    with pytest.raises(TransparencyError, match="missing"):
        evolve(edge, tiles={}).append([b"more"])
    with pytest.raises(DecodeError):
        evolve(edge, bundle=b"").append([b"more"])


@given(
    old=st.integers(0, 1 << 40),
    entries=st.lists(st.binary(max_size=40), max_size=5).map(tuple),
    checkpoint=st.binary(max_size=200),
)
def test_a_commit_is_read_as_it_was_written(old: int, entries: tuple[bytes, ...], checkpoint: bytes) -> None:
    commit = LogCommit(checkpoint, old, entries)
    data = commit.encode()
    assert LogCommit.decode(data) == commit
    for cut in range(len(data)):
        with pytest.raises(DecodeError):
            LogCommit.decode(data[:cut])
    with pytest.raises(DecodeError):
        LogCommit.decode(data + b"\0")


@given(data=st.binary(max_size=100))
def test_any_bytes_are_a_commit_or_an_error(data: bytes) -> None:
    for each in (data, b"confsec log commit v1\n" + data):
        try:
            assert LogCommit.decode(each).encode() == each
        except ConfsecError:
            continue


def test_a_commit_has_limits() -> None:
    head = LogCommit(b"").encode()[:-4]
    with pytest.raises(DecodeError, match="too many entries"):
        LogCommit.decode(head + (MAX_BATCH + 1).to_bytes(4, "big"))
    with pytest.raises(DecodeError, match="another version"):
        LogCommit.decode(head.replace(b"v1", b"v2"))
    with pytest.raises(DecodeError, match="too long"):
        LogCommit.decode(bytes(MAX_BATCH * 65_537 + 300_000))


def test_a_commit_leads_from_the_tree_before_it_to_the_one_that_was_signed() -> None:
    _, edge = grow(300)
    commit = LogCommit(b"", 300, tuple(ENTRIES[300:310]))
    growth = commit.grow(edge, size=310, root=root(310))
    assert growth == Growth(edge.append(ENTRIES[300:310]).files, grow(310)[1])
    for other, size in ((grow(299)[1], 310), (edge, 309)):
        with pytest.raises(TransparencyError, match="does not lead to its size"):
            commit.grow(other, size=size, root=root(size))
    with pytest.raises(TransparencyError, match="root that it signed"):
        commit.grow(edge, size=310, root=root(309))
    assert LogCommit(b"").grow(LogEdge(), size=0, root=EMPTY_ROOT) == Growth({}, LogEdge())


@given(old=st.integers(0, 140_000), more=st.integers(0, 70_000))
def test_partial_files_go_when_the_full_ones_are_there(old: int, more: int) -> None:
    size = old + more
    became_full = {
        Tile(level, index).path
        for level in range(3)
        for index in range(old >> 8 * (level + 1), size >> 8 * (level + 1))
    }
    bundles = {entries_path(index) for index in range(old // 256, size // 256)}
    assert {folder.removesuffix(".p") for folder in partial_folders(old, size)} == became_full | bundles
    kept = {tile.path.rpartition("/")[0] for tile in tiles_for_root(size)}
    assert not kept & set(partial_folders(old, size))


def test_bundles_are_what_the_edge_says() -> None:
    assert grow(3)[1].bundle == encode_entries(ENTRIES[:3])
