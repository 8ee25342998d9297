"""Merkle trees: our proofs against trees that are computed as the RFC defines them."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from confsec.errors import LocalProtocolError, TransparencyError
from confsec.protocol.merkle import (
    EMPTY_ROOT,
    HASH_SIZE,
    MAX_TREE_SIZE,
    CompactRange,
    consistency_root,
    inclusion_root,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
    verify_subtree_consistency,
    verify_subtree_inclusion,
)

SIZES = st.integers(1, 70)
LEAVES = [leaf_hash(b"%d" % number) for number in range(70)]
OTHER = bytes(HASH_SIZE)


def split(size: int) -> int:
    """Return the largest power of two below a size."""
    return 1 << (size - 1).bit_length() - 1


def root_of(leaves: list[bytes]) -> bytes:
    """MTH of RFC 9162, section 2.1.1."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    at = split(len(leaves))
    return node_hash(root_of(leaves[:at]), root_of(leaves[at:]))


def path(index: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of RFC 9162, section 2.1.3.1."""
    if len(leaves) == 1:
        return []
    at = split(len(leaves))
    if index < at:
        return [*path(index, leaves[:at]), root_of(leaves[at:])]
    return [*path(index - at, leaves[at:]), root_of(leaves[:at])]


def growth(size: int, leaves: list[bytes], *, known: bool = True) -> list[bytes]:
    """PROOF of RFC 9162, section 2.1.4.1."""
    if size == len(leaves):
        return [] if known else [root_of(leaves)]
    at = split(len(leaves))
    if size <= at:
        return [*growth(size, leaves[:at], known=known), root_of(leaves[at:])]
    return [*growth(size - at, leaves[at:], known=False), root_of(leaves[:at])]


def part(start: int, end: int, leaves: list[bytes], *, known: bool = True) -> list[bytes]:
    """SUBTREE_PROOF of draft-ietf-plants-merkle-tree-certs, section 4.4.1."""
    if (start, end) == (0, len(leaves)):
        return [] if known else [root_of(leaves)]
    at = split(len(leaves))
    if end <= at:
        return [*part(start, end, leaves[:at], known=known), root_of(leaves[at:])]
    if start >= at:
        return [*part(start - at, end - at, leaves[at:], known=known), root_of(leaves[:at])]
    return [*part(0, end - at, leaves[at:], known=False), root_of(leaves[:at])]


@st.composite
def subtrees(draw: st.DrawFn) -> tuple[int, int, int]:
    """Start, end and size of a tree and one of its subtrees."""
    size = draw(SIZES)
    width = draw(st.integers(1, size))
    step = 1 << (width - 1).bit_length()
    start = draw(st.integers(0, (size - width) // step)) * step
    return start, start + width, size


@given(size=SIZES, data=st.data())
def test_every_entry_is_included(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    leaves = LEAVES[:size]
    verify_inclusion(leaves[index], index, size, path(index, leaves), root_of(leaves))


@given(size=SIZES, data=st.data())
def test_an_entry_elsewhere_or_another_is_refused(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(0, size - 1).filter(lambda at: at != index) if size > 1 else st.just(1))
    leaves = LEAVES[:size]
    proof, root = path(index, leaves), root_of(leaves)
    for leaf, at, hashes, top in (
        (leaves[index], other, proof, root),
        (OTHER, index, proof, root),
        (leaves[index], index, proof, OTHER),
        (leaves[index], index, [*proof, OTHER], root),
        (leaves[index], index, proof[:-1] if proof else [OTHER], root),
    ):
        with pytest.raises(TransparencyError):
            verify_inclusion(leaf, at, size, hashes, top)


@given(old=st.integers(0, 70), more=st.integers(0, 70))
def test_growth_is_consistent(old: int, more: int) -> None:
    new = min(old + more, 70)
    proof = growth(old, LEAVES[:new]) if old else []
    verify_consistency(old, new, proof, root_of(LEAVES[:old]), root_of(LEAVES[:new]))


@given(old=SIZES, more=SIZES, data=st.data())
def test_a_log_that_changed_an_entry_is_refused(old: int, more: int, data: st.DataObject) -> None:
    new = min(old + more, 70)
    at = data.draw(st.integers(0, old - 1))
    forked = [*LEAVES[:at], OTHER, *LEAVES[at + 1 : new]]
    with pytest.raises(TransparencyError):
        verify_consistency(old, new, growth(old, forked), root_of(LEAVES[:old]), root_of(forked))


@given(old=SIZES, more=SIZES)
def test_a_proof_with_a_hash_more_or_less_is_refused(old: int, more: int) -> None:
    new = min(old + more, 70)
    proof = growth(old, LEAVES[:new])
    roots = root_of(LEAVES[:old]), root_of(LEAVES[:new])
    with pytest.raises(TransparencyError):
        verify_consistency(old, new, [*proof, OTHER], *roots)
    if proof:
        with pytest.raises(TransparencyError):
            verify_consistency(old, new, proof[:-1], *roots)


@given(subtree=subtrees())
def test_subtrees_are_part_of_their_tree(subtree: tuple[int, int, int]) -> None:
    start, end, size = subtree
    leaves, within = LEAVES[:size], LEAVES[start:end]
    verify_subtree_consistency(start, end, size, part(start, end, leaves), root_of(within), root_of(leaves))
    for index in range(start, end):
        verify_subtree_inclusion(leaves[index], index, start, end, path(index - start, within), root_of(within))
    with pytest.raises(TransparencyError):
        verify_subtree_consistency(start, end, size, part(start, end, leaves), OTHER, root_of(leaves))


@pytest.mark.parametrize("interval", [(1, 3), (2, 5), (4, 9), (3, 2), (-1, 0), (0, MAX_TREE_SIZE + 1)])
def test_other_intervals_are_no_subtrees(interval: tuple[int, int]) -> None:
    with pytest.raises(TransparencyError, match=r"no subtree|out of order"):
        verify_subtree_consistency(*interval, max(interval[1], 8), [], OTHER, OTHER)


def test_a_root_of_the_smaller_tree_that_the_proof_does_not_give_is_named() -> None:
    leaves = LEAVES[:7]
    with pytest.raises(TransparencyError, match="smaller"):
        verify_consistency(6, 7, growth(6, leaves), OTHER, root_of(leaves))
    with pytest.raises(TransparencyError, match="larger"):
        verify_consistency(6, 7, growth(6, leaves), root_of(leaves[:6]), OTHER)
    with pytest.raises(TransparencyError, match="is empty"):
        verify_consistency(6, 7, [], root_of(leaves[:6]), root_of(leaves))


def test_two_trees_of_one_size_are_a_fork() -> None:
    with pytest.raises(TransparencyError, match="forked"):
        verify_consistency(3, 3, [], root_of(LEAVES[:3]), root_of(LEAVES[1:4]))
    with pytest.raises(TransparencyError, match="not empty"):
        verify_consistency(3, 3, [OTHER], root_of(LEAVES[:3]), root_of(LEAVES[:3]))


@pytest.mark.parametrize(("roots", "proof"), [((OTHER, EMPTY_ROOT), []), ((EMPTY_ROOT, OTHER), []),
                                              ((EMPTY_ROOT, EMPTY_ROOT), [OTHER])])  # fmt: skip
def test_the_empty_tree_has_one_root_and_no_proof(roots: tuple[bytes, bytes], proof: list[bytes]) -> None:
    verify_consistency(0, 0, [], EMPTY_ROOT, EMPTY_ROOT)
    with pytest.raises(TransparencyError):
        verify_consistency(0, 0, proof, *roots)


@pytest.mark.parametrize("hashes", [[bytes(31)], [bytes(33)], [OTHER] * 65])
def test_hashes_have_one_size_and_a_tree_a_height(hashes: list[bytes]) -> None:
    with pytest.raises(TransparencyError):
        verify_inclusion(LEAVES[0], 0, MAX_TREE_SIZE, hashes, OTHER)


def test_the_highest_tree_is_climbed() -> None:
    computed, proof = LEAVES[0], [OTHER] * 64
    for sibling in proof:
        computed = node_hash(computed, sibling)
    verify_inclusion(LEAVES[0], 0, MAX_TREE_SIZE, proof, computed)


@given(sizes=st.lists(st.integers(0, 12), max_size=6))
def test_a_range_grows_to_the_same_root_however_it_is_fed(sizes: list[int]) -> None:
    grown, at = CompactRange(), 0
    for size in sizes:
        grown = grown.append(*LEAVES[at : at + size])
        at = min(at + size, len(LEAVES))
    assert grown.size == at
    assert grown.root == root_of(LEAVES[:at])
    assert grown == CompactRange(grown.size, grown.hashes)


@pytest.mark.parametrize(("size", "count"), [(3, 1), (4, 2), (-1, 0), (MAX_TREE_SIZE + 1, 1)])
def test_a_range_has_a_hash_for_each_bit_of_its_size(size: int, count: int) -> None:
    with pytest.raises(LocalProtocolError):
        CompactRange(size, (OTHER,) * count)


@given(SIZES, st.data())
def test_an_inclusion_proof_leads_to_the_root(size: int, data: st.DataObject) -> None:
    leaves = LEAVES[:size]
    index = data.draw(st.integers(0, size - 1))
    assert inclusion_root(leaves[index], index, size, path(index, leaves)) == root_of(leaves)
    assert inclusion_root(OTHER, index, size, path(index, leaves)) != root_of(leaves)
    with pytest.raises(TransparencyError, match="outside the tree"):
        inclusion_root(leaves[index], size, size, path(index, leaves))


@given(st.integers(1, 35), st.integers(0, 35))
def test_a_consistency_proof_leads_to_the_larger_root(old: int, more: int) -> None:
    smaller, larger = root_of(LEAVES[:old]), root_of(LEAVES[: old + more])
    assert consistency_root(old, old + more, growth(old, LEAVES[: old + more]), smaller) == larger


@given(st.integers(1, 35), st.integers(1, 35))
def test_a_consistency_proof_of_another_smaller_tree_leads_nowhere(old: int, more: int) -> None:
    proof = growth(old, LEAVES[: old + more])
    if old & (old - 1):  # else the smaller tree is one node, and any root is the beginning of some larger tree
        with pytest.raises(TransparencyError, match="smaller tree"):
            consistency_root(old, old + more, proof, OTHER)
    else:
        assert consistency_root(old, old + more, proof, OTHER) != root_of(LEAVES[: old + more])


@pytest.mark.parametrize(
    ("sizes", "proof", "why"),
    [
        ((0, 3), [OTHER], "no entries"),
        ((3, 2), [OTHER], "out of order"),
        ((2, 2), [OTHER], "one size is not empty"),
        ((3, 4), [], "is empty"),
    ],
)
def test_a_consistency_proof_that_leads_nowhere_is_refused(
    sizes: tuple[int, int], proof: list[bytes], why: str
) -> None:
    with pytest.raises(TransparencyError, match=why):
        consistency_root(*sizes, proof, OTHER)


def test_a_root_of_the_larger_tree_that_the_proof_does_not_give_is_named() -> None:
    with pytest.raises(TransparencyError, match="another root of the larger tree"):
        verify_consistency(3, 7, growth(3, LEAVES[:7]), root_of(LEAVES[:3]), OTHER)
