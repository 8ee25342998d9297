"""Merkle trees as transparency logs have them: hashes, proofs, and what a log keeps to grow (RFC 9162, section 2.1).

A tree over n entries has one root. An inclusion proof shows that an entry is in it, a consistency proof that a larger
tree only added to a smaller one. Both exist for subtrees too (draft-ietf-plants-merkle-tree-certs, section 4), which
are the intervals of entries whose hash can be part of larger trees.

Verifying takes hashes and numbers and returns nothing: what does not fit raises `TransparencyError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from hmac import compare_digest
from typing import Final, Self, final

from attrs import field, frozen

from confsec.errors import LocalProtocolError, TransparencyError

__all__ = [
    "EMPTY_ROOT",
    "HASH_SIZE",
    "MAX_PROOF_HASHES",
    "MAX_TREE_SIZE",
    "CompactRange",
    "consistency_root",
    "inclusion_root",
    "leaf_hash",
    "node_hash",
    "verify_consistency",
    "verify_inclusion",
    "verify_subtree_consistency",
    "verify_subtree_inclusion",
]

HASH_SIZE: Final = 32
"""Bytes of a hash: SHA-256, as C2SP's logs have it."""

EMPTY_ROOT: Final = sha256(b"").digest()
"""The root of a tree without entries (RFC 9162, section 2.1.1)."""

MAX_TREE_SIZE: Final = (1 << 64) - 1
"""A tree has at most this many entries (RFC 9162, section 4.10)."""

MAX_PROOF_HASHES: Final = 64
"""No proof has more hashes: the tree is no higher, and a subtree may bring a hash of its own."""

_INCLUSION: Final = "RFC 9162, section 2.1.3.2"
_CONSISTENCY: Final = "RFC 9162, section 2.1.4.2"
_SUBTREE: Final = "draft-ietf-plants-merkle-tree-certs, section 4"


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of an entry (RFC 9162, section 2.1.1)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node from those of its children (RFC 9162, section 2.1.1)."""
    return sha256(b"\x01" + left + right).digest()


# --- Verifying --------------------------------------------------------------------------------------------------------


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that the entry with the hash `leaf` stands at `index` in the tree of `size` entries with this root.

    `proof` goes from the leaf's sibling up. Raises `TransparencyError` (RFC 9162, section 2.1.3.2).
    """
    verify_subtree_inclusion(leaf, index, 0, size, proof, root)


def verify_subtree_inclusion(
    leaf: bytes, index: int, start: int, end: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that the entry with the hash `leaf` stands at `index` in the subtree of the entries from `start` to `end`.

    Raises `TransparencyError` (draft-ietf-plants-merkle-tree-certs, section 4.3).
    """
    _require_hashes((), root)
    if not compare_digest(_inclusion_root(leaf, index, start, end, proof), root):
        raise TransparencyError("the entry is not in the log: its proof leads to another root", section=_INCLUSION)


def inclusion_root(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """Return the root to which an inclusion proof leads, for logs that sign a root and do not send it.

    It proves nothing before something says that the root is the log's. Raises `TransparencyError` for a proof of
    another length, and an index outside the tree (RFC 9162, section 2.1.3.2).
    """
    return _inclusion_root(leaf, index, 0, size, proof)


def _inclusion_root(leaf: bytes, index: int, start: int, end: int, proof: Sequence[bytes]) -> bytes:
    _require_subtree(start, end, end)
    _require_hashes(proof, leaf)
    if not start <= index < end:
        raise TransparencyError("the entry is outside the tree", got=index, want=f"{start} to {end - 1}")
    at, last, computed = index - start, end - start - 1, leaf
    for sibling in proof:
        if last == 0:
            raise TransparencyError("an inclusion proof is too long", got=len(proof), section=_INCLUSION)
        if at & 1 or at == last:
            computed = node_hash(sibling, computed)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            computed = node_hash(computed, sibling)
        at, last = at >> 1, last >> 1
    if last:
        raise TransparencyError("an inclusion proof is too short", got=len(proof), section=_INCLUSION)
    return computed


def verify_consistency(old_size: int, new_size: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Check that the tree of `new_size` entries begins with the tree of `old_size`.

    Every tree begins with the empty one, which takes no proof. Raises `TransparencyError`
    (RFC 9162, section 2.1.4.2).
    """
    verify_subtree_consistency(0, old_size, new_size, proof, old_root, new_root)


def verify_subtree_consistency(
    start: int, end: int, size: int, proof: Sequence[bytes], subtree_root: bytes, root: bytes
) -> None:
    """Check that the subtree of the entries from `start` to `end` is a part of the tree of `size` entries.

    Raises `TransparencyError` (draft-ietf-plants-merkle-tree-certs, section 4.4).
    """
    _require_subtree(start, end, size)
    _require_hashes(proof, subtree_root, root)
    if start == end:
        _require_empty(size, proof, subtree_root, root)
    elif start == 0 and end == size:
        _require_same(proof, subtree_root, root)
    else:
        part, whole = _climb(start, end - 1, size - 1, proof, subtree_root)
        _require_old_root(part, subtree_root)
        if not compare_digest(whole, root):
            raise TransparencyError(
                "a consistency proof leads to another root of the larger tree", section=_CONSISTENCY
            )


def consistency_root(old_size: int, new_size: int, proof: Sequence[bytes], old_root: bytes) -> bytes:
    """Return the root of the larger tree to which a consistency proof leads, for logs that sign it and do not send it.

    It proves nothing before something says that the root is the log's. Raises `TransparencyError` for a proof that does
    not begin at `old_root`, and for an empty tree, from which no proof leads anywhere (RFC 9162, section 2.1.4.2).
    """
    _require_subtree(0, old_size, new_size)
    _require_hashes(proof, old_root)
    if old_size == 0:
        raise TransparencyError("a consistency proof begins with no entries", section=_CONSISTENCY)
    if old_size == new_size:
        _require_same(proof, old_root, old_root)
        return old_root
    part, whole = _climb(0, old_size - 1, new_size - 1, proof, old_root)
    _require_old_root(part, old_root)
    return whole


def _climb(first: int, last: int, end: int, proof: Sequence[bytes], subtree_root: bytes) -> tuple[bytes, bytes]:
    """Compute the roots of the subtree and of the whole tree at once, from where they part."""
    while first != last and (last & 1 or last == end):
        first, last, end = first >> 1, last >> 1, end >> 1
    # Where the subtree is one full node its hash is known; else the proof begins with that of its last full node.
    if first == last:
        seed, rest = subtree_root, proof
    elif proof:
        seed, rest = proof[0], proof[1:]
    else:
        raise TransparencyError("a consistency proof is empty", section=_CONSISTENCY)
    part, whole = seed, seed
    for sibling in rest:
        if end == 0:
            raise TransparencyError("a consistency proof is too long", got=len(proof), section=_CONSISTENCY)
        if last & 1 or last == end:
            if first < last:
                part = node_hash(sibling, part)
            whole = node_hash(sibling, whole)
            while not last & 1:
                first, last, end = first >> 1, last >> 1, end >> 1
        else:
            whole = node_hash(whole, sibling)
        first, last, end = first >> 1, last >> 1, end >> 1
    if end:
        raise TransparencyError("a consistency proof is too short", got=len(proof), section=_CONSISTENCY)
    return part, whole


def _require_old_root(part: bytes, subtree_root: bytes) -> None:
    if not compare_digest(part, subtree_root):
        raise TransparencyError("a consistency proof leads to another root of the smaller tree", section=_CONSISTENCY)


def _require_empty(size: int, proof: Sequence[bytes], subtree_root: bytes, root: bytes) -> None:
    """Check what there is to check of a tree that begins with no entries: nothing is proved, and nothing is needed."""
    if proof:
        raise TransparencyError("a proof for a tree without entries is not empty", got=len(proof), section=_CONSISTENCY)
    if subtree_root != EMPTY_ROOT or (size == 0 and root != EMPTY_ROOT):
        raise TransparencyError("a tree without entries has another root", section="RFC 9162, section 2.1.1")


def _require_same(proof: Sequence[bytes], subtree_root: bytes, root: bytes) -> None:
    if proof:
        raise TransparencyError("a proof for trees of one size is not empty", got=len(proof), section=_CONSISTENCY)
    if not compare_digest(subtree_root, root):
        raise TransparencyError("the log has two trees of one size: it was forked", section=_CONSISTENCY)


def _require_subtree(start: int, end: int, size: int) -> None:
    if not 0 <= start <= end <= size <= MAX_TREE_SIZE:
        raise TransparencyError(
            "the sizes of trees are out of order", got=f"{start} to {end} in {size}", section=_SUBTREE
        )
    if start % (1 << (end - start - 1).bit_length() if end > start else 1):
        raise TransparencyError("these entries are no subtree", got=f"{start} to {end}", section=_SUBTREE)


def _require_hashes(proof: Sequence[bytes], *others: bytes) -> None:
    if len(proof) > MAX_PROOF_HASHES:
        raise TransparencyError("a proof is longer than any tree is high", want=f"at most {MAX_PROOF_HASHES} hashes")
    if any(len(each) != HASH_SIZE for each in (*others, *proof)):
        raise TransparencyError("a hash has another size", want=f"{HASH_SIZE} bytes", section=_SUBTREE)


# --- Growing ----------------------------------------------------------------------------------------------------------


@final
@frozen
class CompactRange:
    """What a log keeps of a tree so that it can append to it: the hashes of its full subtrees, from left to right.

    One for each bit that is set in the size, so at most 64, whatever the size. Compare RFC 9162, section 2.1.2.
    """

    size: int = 0
    """How many entries there are."""

    hashes: tuple[bytes, ...] = field(default=(), repr=False)
    """The hashes of the full subtrees, the largest first."""

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.size <= MAX_TREE_SIZE or len(self.hashes) != self.size.bit_count():
            raise LocalProtocolError("a range has other hashes than its size asks for", got=len(self.hashes))

    def append(self, *leaves: bytes) -> Self:
        """Return the range with more entries, given by their leaf hashes."""
        size, hashes = self.size, list(self.hashes)
        for leaf in leaves:
            computed, rest = leaf, size
            while rest & 1:
                computed = node_hash(hashes.pop(), computed)
                rest >>= 1
            hashes.append(computed)
            size += 1
        return type(self)(size, tuple(hashes))

    @property
    def root(self) -> bytes:
        """The root of the tree."""
        if not self.hashes:
            return EMPTY_ROOT
        computed = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            computed = node_hash(left, computed)
        return computed
