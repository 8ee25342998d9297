"""COSE receipts: a log's signature over the root of its tree, with proofs that lead to it (RFC 9942).

The tree is the one of RFC 9162 with SHA-256, whose number is 1; receipts of other trees are refused as unsupported. A
receipt of inclusion shows that an entry is in the log, one of consistency that the log only grew.

What is signed is the root and the protected headers. The sizes and the index stand beside the proofs, where nobody
signs them: they are right as far as the shape of a proof depends on them, and no further.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final, Self, TypeVar, final

from attrs import field, frozen

from confsec.errors import DecodeError, LimitError, TransparencyError, UnsupportedError, VerificationError
from confsec.protocol import cbor_general
from confsec.protocol.cbor_general import CborItem, CborKey, as_array, as_map
from confsec.protocol.cose import DEFAULT_ALGORITHMS, CoseSign1
from confsec.protocol.known_issuer import HEADER_CWT_CLAIMS, HeaderClaims, KnownIssuer
from confsec.protocol.merkle import HASH_SIZE, MAX_PROOF_HASHES, consistency_root, inclusion_root

__all__ = [
    "HEADER_RECEIPTS",
    "HEADER_VDP",
    "HEADER_VDS",
    "MAX_PROOFS",
    "MAX_RECEIPT",
    "PROOF_CONSISTENCY",
    "PROOF_INCLUSION",
    "RFC9162_SHA256",
    "ConsistencyProof",
    "InclusionProof",
    "Receipt",
    "SignedRoot",
    "verify_consistency_receipt",
    "verify_inclusion_receipt",
]

HEADER_RECEIPTS: Final = 394
"""Receipts of a message, each encoded: `receipts` (RFC 9942, section 2)."""

HEADER_VDS: Final = 395
"""Which tree it is: `vds`, for verifiable data structure. Protected."""

HEADER_VDP: Final = 396
"""The proofs: `vdp`. Not protected."""

RFC9162_SHA256: Final = 1
"""The tree of RFC 9162 with SHA-256 (RFC 9942, section 4.1)."""

PROOF_INCLUSION: Final = -1
"""Proofs of inclusion, among the proofs of this tree (RFC 9942, section 4.2)."""

PROOF_CONSISTENCY: Final = -2
"""Proofs of consistency."""

MAX_RECEIPT: Final = 65_536
"""A receipt has at most so many bytes: a proof has at most 2 KiB."""

MAX_PROOFS: Final = 8
"""A receipt has at most so many proofs of a type. Each may cost the check of a signature."""

_USAGE: Final = "RFC 9942, section 4.3"
_INCLUSION: Final = "RFC 9942, section 5.2"
_CONSISTENCY: Final = "RFC 9942, section 5.3"
_UNDERSTOOD: Final = frozenset({HEADER_CWT_CLAIMS, HEADER_VDS})
_MAX_PROOF: Final = 4096
_Proof = TypeVar("_Proof")


@final
@frozen
class InclusionProof:
    """A path from an entry to the root (RFC 9942, section 5.2)."""

    size: int
    """Of how many entries the tree is."""

    index: int
    """Which entry it is, from 0."""

    path: tuple[bytes, ...] = field(repr=False)
    """The hashes beside the way up, the lowest first. None in a tree of one entry."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a proof. Raises `DecodeError`."""
        size, index, path = _decode_proof(data, _INCLUSION)
        if not index < size:
            raise DecodeError("an inclusion proof is of an entry outside its tree", section=_INCLUSION)
        return cls(size, index, path)

    def encode(self) -> bytes:
        """Write the proof deterministically."""
        return cbor_general.encode([self.size, self.index, list(self.path)])


@final
@frozen
class ConsistencyProof:
    """A way from the root of a smaller tree to the one of a larger (RFC 9942, section 5.3)."""

    old_size: int
    """Of how many entries the smaller tree is."""

    new_size: int
    """Of how many entries the larger tree is."""

    path: tuple[bytes, ...] = field(repr=False)
    """The hashes of RFC 9162, section 2.1.4.1."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a proof. Raises `DecodeError`."""
        old_size, new_size, path = _decode_proof(data, _CONSISTENCY)
        if not 0 < old_size <= new_size:
            raise DecodeError("a consistency proof is of sizes out of order", section=_CONSISTENCY)
        return cls(old_size, new_size, path)

    def encode(self) -> bytes:
        """Write the proof deterministically."""
        return cbor_general.encode([self.old_size, self.new_size, list(self.path)])


@final
@frozen(kw_only=True)
class Receipt:
    """A receipt, as it came: nothing of it has been checked."""

    message: CoseSign1
    """The signature, and the headers."""

    claims: HeaderClaims
    """Who made it, and for how long it counts."""

    inclusion: tuple[InclusionProof, ...]
    """Proofs that entries are in the tree that is signed."""

    consistency: tuple[ConsistencyProof, ...]
    """Proofs that the tree that is signed only added to smaller ones."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a receipt. Raises `DecodeError`, and `UnsupportedError` for one of another tree."""
        message = CoseSign1.decode(data, limit=MAX_RECEIPT)
        if not message.tagged:
            raise DecodeError("a receipt is not tagged as COSE_Sign1", section=_USAGE)
        _check_headers(message)
        proofs = as_map(message.unprotected.get(HEADER_VDP), what="the proofs of a receipt")
        if not proofs or proofs.keys() - {PROOF_INCLUSION, PROOF_CONSISTENCY}:
            raise DecodeError("a receipt has no proofs, or others than its tree has", section="RFC 9942, section 4.2")
        return cls(
            message=message,
            claims=HeaderClaims.of(message.headers),
            inclusion=_decode_proofs(proofs, PROOF_INCLUSION, InclusionProof.decode),
            consistency=_decode_proofs(proofs, PROOF_CONSISTENCY, ConsistencyProof.decode),
        )

    def encode(self) -> bytes:
        """Write the receipt. Its signed part keeps its bytes; the rest is written deterministically."""
        return self.message.encode()


@final
@frozen
class SignedRoot:
    """A root that a log signed, as far as a receipt tells. Made by the checks of this module alone."""

    issuer: str | None
    """Who signed it."""

    root: bytes
    """The root of the tree."""

    size: int
    """Of how many entries the tree is, by a proof that fits. Not signed."""

    index: int | None = None
    """Which entry was looked for, by a proof that fits. Not signed. None where none was."""


def verify_inclusion_receipt(
    receipt: Receipt,
    leaf: bytes,
    log: KnownIssuer,
    *,
    at: datetime,
    algorithms: Collection[str] = DEFAULT_ALGORITHMS,
) -> SignedRoot:
    """Check that a receipt of `log` shows the entry with the hash `leaf` (`merkle.leaf_hash`) in its tree.

    One proof has to fit; a receipt may be about several entries of one tree. Raises `TransparencyError`,
    `VerificationError` for a receipt out of its time, and `UnsupportedError` for an algorithm that we do not have
    (RFC 9942, section 5.2.1).
    """
    found = []
    for proof in receipt.inclusion:
        with suppress(TransparencyError):  # the proof is of another entry, and another may be of this one
            root = inclusion_root(leaf, proof.index, proof.size, proof.path)
            found.append(SignedRoot(log.issuer, root, proof.size, proof.index))
    return _require_signed(receipt, found, log, at, algorithms)


def verify_consistency_receipt(
    receipt: Receipt,
    old_size: int,
    old_root: bytes,
    log: KnownIssuer,
    *,
    at: datetime,
    algorithms: Collection[str] = DEFAULT_ALGORITHMS,
) -> SignedRoot:
    """Check that a receipt of `log` shows a tree that only added to an older one, and return its root.

    That the older root is the log's, the caller knows. Raises as `verify_inclusion_receipt` does (RFC 9942, section
    5.3.1).
    """
    found = []
    for proof in receipt.consistency:
        if proof.old_size == old_size:
            with suppress(TransparencyError):  # the proof begins at another root, and another may begin at this one
                root = consistency_root(old_size, proof.new_size, proof.path, old_root)
                found.append(SignedRoot(log.issuer, root, proof.new_size))
    return _require_signed(receipt, found, log, at, algorithms)


def _require_signed(
    receipt: Receipt, found: Sequence[SignedRoot], log: KnownIssuer, at: datetime, algorithms: Collection[str]
) -> SignedRoot:
    """Return the first of some roots that the log signed, if the receipt is the log's and counts at this time."""
    log.require_named(receipt.claims)
    receipt.claims.verify_current(at)
    attached = receipt.message.payload
    why: VerificationError | None = None
    for candidate in found:
        # "The payload SHOULD be detached", so it may be there, and is then what the proof has to lead to.
        if attached is not None and attached != candidate.root:
            continue
        try:
            log.verify(
                receipt.message,
                detached_payload=candidate.root if attached is None else None,
                algorithms=algorithms,
                understood=_UNDERSTOOD,
            )
        except VerificationError as exc:
            why = exc
        else:
            return candidate
    raise TransparencyError(
        "no proof of the receipt leads from here to a root that the log signed", got=why and why.what,
        section="RFC 9942, section 5", hint="It is about something else, or of another log or key",
    ) from why  # fmt: skip


# --- Reading ----------------------------------------------------------------------------------------------------------


def _check_headers(message: CoseSign1) -> None:
    """Refuse what no receipt of this tree has: an `alg` that is no number, another tree, a payload that is no root."""
    if not isinstance(message.algorithm, int):
        raise DecodeError("a receipt does not say by number how it is signed", section="RFC 9942, section 5.2.1")
    tree = message.headers.get(HEADER_VDS)
    if isinstance(tree, bool) or not isinstance(tree, int):
        raise DecodeError("a receipt does not say of which tree it is", section="RFC 9942, section 5.2.1")
    if tree != RFC9162_SHA256:
        raise UnsupportedError(
            "a receipt of another tree", got=tree, want=f"{RFC9162_SHA256} (RFC9162_SHA256)",
            section="RFC 9942, section 4.1",
        )  # fmt: skip
    if message.payload is not None and len(message.payload) != HASH_SIZE:
        raise DecodeError("what a receipt signs is no root", got=f"{len(message.payload)} bytes", want=HASH_SIZE)


def _decode_proofs(
    proofs: Mapping[CborKey, CborItem], label: int, decode: Callable[[bytes], _Proof]
) -> tuple[_Proof, ...]:
    """Read the proofs of one type. There are some, or the type is not there."""
    if label not in proofs:
        return ()
    listed = as_array(proofs[label], what="the proofs of a type")
    if len(listed) > MAX_PROOFS:
        raise LimitError("a receipt has too many proofs", got=len(listed), want=f"at most {MAX_PROOFS}")
    encoded = [each for each in listed if isinstance(each, bytes)]
    if not encoded or len(encoded) < len(listed):
        raise DecodeError("the proofs of a type are no byte strings, or none", section="RFC 9942, section 4.2")
    return tuple(map(decode, encoded))


def _decode_proof(data: bytes, section: str) -> tuple[int, int, tuple[bytes, ...]]:
    item = cbor_general.decode(data, what="a proof", limit=_MAX_PROOF, max_items=MAX_PROOF_HASHES + 4)
    first, second, path = as_array(item, what="a proof", sizes=range(3, 4))
    hashes = tuple(each for each in as_array(path, what="a path") if isinstance(each, bytes) and len(each) == HASH_SIZE)
    if len(hashes) < len(as_array(path, what="a path")):
        raise DecodeError("a path has something else than hashes", want=f"{HASH_SIZE} bytes each", section=section)
    return _size(first, section), _size(second, section), hashes


def _size(value: CborItem, section: str) -> int:
    # The largest number of CBOR is that of the entries of the largest tree.
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise DecodeError("a size or an index is no such number", section=section)
    return value
