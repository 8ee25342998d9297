"""Vectors of Merkle trees: the kinds merkle-proof and merkle-tree-hashes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

from confsec.conformance.cases import CaseSkippedError, MismatchError, check_same
from confsec.conformance.kinds import FileCase, Kind
from confsec.protocol.merkle import (
    HASH_SIZE,
    CompactRange,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
    verify_subtree_consistency,
    verify_subtree_inclusion,
)

__all__ = ["KINDS", "check_merkle_proof", "check_merkle_tree_hashes"]


def check_merkle_proof(case: FileCase) -> None:
    """Check one proof, of the kind that its schema names."""
    vector = case.json("proof")
    proof = [_base64(each) for each in vector["proof"] or []]
    match case.params.get("schema"):
        case "merkle-inclusion":
            leaf, root = _hash(vector, "leafHash"), _hash(vector, "root")
            verify_inclusion(leaf, vector["leafIdx"], vector["treeSize"], proof, root)
        case "merkle-subtreeinclusion":
            leaf, root = _hash(vector, "leafHash"), _hash(vector, "root")
            verify_subtree_inclusion(leaf, vector["leafIdx"], vector["start"], vector["end"], proof, root)
        case "merkle-consistency":
            roots = _roots(case, vector)
            verify_consistency(vector["size1"], vector["size2"], proof, *roots)
        case "merkle-subtreeconsistency":
            roots = _roots(case, vector)
            verify_subtree_consistency(vector["start"], vector["end"], vector["size"], proof, *roots)
        case schema:
            raise MismatchError(f"there is no schema {schema}")


def check_merkle_tree_hashes(case: FileCase) -> None:
    """Check the hashes of every full subtree, and the root of every tree, that a list of entries gives."""
    vector = case.json("vectors")
    level = [leaf_hash(bytes.fromhex(entry)) for entry in vector["leaves"]]
    for size, root in enumerate(vector["roots"]):
        check_same(f"the root of {size} entries", CompactRange().append(*level[:size]).root.hex(), root)
    for height in range(4):
        check_same(f"level {height}", [each.hex() for each in level], vector[f"level{height}"])
        level = [node_hash(*level[at : at + 2]) for at in range(0, len(level) - 1, 2)]


def _roots(case: FileCase, vector: Mapping[str, Any]) -> tuple[bytes, bytes]:
    roots = _hash(vector, "root1"), _hash(vector, "root2")
    if case.expect == "accept" and any(len(root) != HASH_SIZE for root in roots):
        raise CaseSkippedError("its roots are no hashes: we accept 32 bytes and nothing else")
    return roots


def _hash(vector: Mapping[str, Any], name: str) -> bytes:
    return _base64(vector[name])


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as exc:
        raise MismatchError("a hash is not base64") from exc


KINDS: Final = (
    Kind(name="merkle-proof", check=check_merkle_proof),
    Kind(name="merkle-tree-hashes", check=check_merkle_tree_hashes),
)
"""Proofs in files of their own, and one tree."""
