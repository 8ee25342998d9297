"""Receipts of logs: what they show, and every way in which they do not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from confsec.errors import DecodeError, LimitError, TransparencyError, UnsupportedError, VerificationError
from confsec.protocol import cbor_general
from confsec.protocol.cbor_general import CborItem
from confsec.protocol.known_issuer import HeaderClaims
from confsec.protocol.merkle import MAX_TREE_SIZE
from confsec.protocol.receipt import (
    HEADER_VDP,
    HEADER_VDS,
    MAX_PROOFS,
    MAX_RECEIPT,
    ConsistencyProof,
    InclusionProof,
    Receipt,
    verify_consistency_receipt,
    verify_inclusion_receipt,
)
from tests.protocol.receipt_cases import AT, LOG, OTHER_KEY, log, make_receipt
from tests.protocol.test_merkle import LEAVES, OTHER, growth, path, root_of

PROOF = InclusionProof(3, 1, tuple(path(1, LEAVES[:3])))
SECONDS = int(AT.timestamp())


def receipt(size: int = 5, **more: Any) -> Receipt:
    """Return a receipt of the second entry, or of something else."""
    return Receipt.decode(make_receipt(LEAVES[:size], **({"included": (1,)} | more)))


def encoded(item: CborItem) -> bytes:
    return cbor_general.encode(item)


# --- What they show


@given(st.integers(1, 40), st.data())
def test_a_receipt_shows_an_entry_and_the_root(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    shown = verify_inclusion_receipt(receipt(size, included=(index,)), LEAVES[index], LOG, at=AT)
    assert (shown.issuer, shown.root, shown.size, shown.index) == (LOG.issuer, root_of(LEAVES[:size]), size, index)


@given(st.integers(1, 30), st.integers(0, 30))
def test_a_receipt_shows_that_a_log_grew(old: int, more: int) -> None:
    grown = receipt(old + more, included=(), grown_from=(old,))
    shown = verify_consistency_receipt(grown, old, root_of(LEAVES[:old]), LOG, at=AT)
    assert (shown.root, shown.size, shown.index) == (root_of(LEAVES[: old + more]), old + more, None)


@given(st.sets(st.integers(0, 8), min_size=1, max_size=MAX_PROOFS), st.sets(st.integers(1, 9), max_size=MAX_PROOFS))
def test_what_is_read_is_written_again(included: set[int], grown_from: set[int]) -> None:
    data = make_receipt(LEAVES[:9], included=tuple(included), grown_from=tuple(grown_from))
    read = Receipt.decode(data)
    assert read.encode() == data
    assert [each.index for each in read.inclusion] == list(included)
    assert [each.old_size for each in read.consistency] == list(grown_from)


@given(st.integers(1, MAX_TREE_SIZE), st.integers(0, MAX_TREE_SIZE), st.lists(st.binary(min_size=32, max_size=32)))
def test_proofs_are_written_as_they_were_read(size: int, index: int, hashes: list[bytes]) -> None:
    inclusion = InclusionProof(size, index % size, tuple(hashes[:64]))
    assert InclusionProof.decode(inclusion.encode()) == inclusion
    consistency = ConsistencyProof(min(size, index + 1), size, tuple(hashes[:64]))
    assert ConsistencyProof.decode(consistency.encode()) == consistency


def test_one_receipt_is_about_several_entries_of_a_tree() -> None:
    both = receipt(included=(3, 1), grown_from=(2, 4))
    assert [verify_inclusion_receipt(both, LEAVES[at], LOG, at=AT).index for at in (1, 3)] == [1, 3]
    assert verify_consistency_receipt(both, 4, root_of(LEAVES[:4]), LOG, at=AT).size == 5


def test_a_root_from_one_receipt_leads_on_to_the_next() -> None:
    first = verify_inclusion_receipt(receipt(), LEAVES[1], LOG, at=AT)
    later = verify_consistency_receipt(receipt(9, grown_from=(5,)), first.size, first.root, LOG, at=AT)
    assert later.root == root_of(LEAVES[:9])


def test_a_root_may_stand_in_the_receipt() -> None:
    assert verify_inclusion_receipt(receipt(detached=False), LEAVES[1], LOG, at=AT).index == 1


def test_a_log_may_name_nobody() -> None:
    assert verify_inclusion_receipt(receipt(claims={}), LEAVES[1], log(None), at=AT).issuer is None


def test_what_a_receipt_calls_critical_is_understood() -> None:
    critical = receipt(protected={2: [15, HEADER_VDS]})
    assert verify_inclusion_receipt(critical, LEAVES[1], LOG, at=AT).index == 1
    with pytest.raises(UnsupportedError, match="critical"):
        verify_inclusion_receipt(receipt(protected={2: [99], 99: 1}), LEAVES[1], LOG, at=AT)


def test_the_size_is_not_signed() -> None:
    """Of the first entry, the same hashes are a proof in trees of three and of four entries."""
    proofs = {-1: [InclusionProof(4, 0, tuple(path(0, LEAVES[:3]))).encode()]}
    assert verify_inclusion_receipt(receipt(3, proofs=proofs), LEAVES[0], LOG, at=AT).size == 4


# --- What is refused when it is checked


@pytest.mark.parametrize("detached", [True, False])
@pytest.mark.parametrize("entry", [0, 2, 7])
def test_another_entry_is_refused(entry: int, *, detached: bool) -> None:
    with pytest.raises(TransparencyError, match="no proof of the receipt leads from here"):
        verify_inclusion_receipt(receipt(detached=detached), LEAVES[entry], LOG, at=AT)


def test_another_key_is_refused() -> None:
    with pytest.raises(TransparencyError, match="got a signature does not verify"):
        verify_inclusion_receipt(receipt(), LEAVES[1], log(LOG.issuer, OTHER_KEY), at=AT)


@pytest.mark.parametrize("name", ["https://other.example", None])
def test_another_log_with_the_same_key_is_refused(name: str | None) -> None:
    with pytest.raises(TransparencyError, match="another issuer"):
        verify_inclusion_receipt(receipt(), LEAVES[1], log(name), at=AT)


def test_an_algorithm_that_is_not_allowed_is_refused() -> None:
    with pytest.raises(TransparencyError, match="got the algorithm is not allowed"):
        verify_inclusion_receipt(receipt(), LEAVES[1], LOG, at=AT, algorithms={"EdDSA"})


@pytest.mark.parametrize("label", [4, 5])
def test_a_receipt_counts_in_its_time(label: int) -> None:
    step = timedelta(days=1 if label == 4 else -1)
    timed = receipt(claims={1: LOG.issuer, label: SECONDS + 0.5})
    verify_inclusion_receipt(timed, LEAVES[1], LOG, at=AT - step)
    with pytest.raises(VerificationError, match=r"expired|not valid yet"):
        verify_inclusion_receipt(timed, LEAVES[1], LOG, at=AT + step)


def test_an_attached_root_that_the_proof_does_not_give_is_refused() -> None:
    proofs = {-1: [InclusionProof(4, 1, tuple(path(1, LEAVES[:4]))).encode()]}
    with pytest.raises(TransparencyError, match="no proof"):
        verify_inclusion_receipt(receipt(5, proofs=proofs, detached=False), LEAVES[1], LOG, at=AT)


def test_a_proof_of_another_length_is_refused() -> None:
    proofs = {-1: [InclusionProof(5, 1, (*path(1, LEAVES[:5]), OTHER)).encode()]}
    with pytest.raises(TransparencyError, match="no proof"):
        verify_inclusion_receipt(receipt(5, proofs=proofs), LEAVES[1], LOG, at=AT)


def test_a_receipt_without_such_a_proof_shows_nothing() -> None:
    with pytest.raises(TransparencyError, match="no proof"):
        verify_inclusion_receipt(receipt(included=(), grown_from=(2,)), LEAVES[1], LOG, at=AT)
    with pytest.raises(TransparencyError, match="no proof"):
        verify_consistency_receipt(receipt(), 2, root_of(LEAVES[:2]), LOG, at=AT)


@pytest.mark.parametrize("old", [3, 4])
def test_growth_from_another_tree_is_refused(old: int) -> None:
    grown = receipt(included=(), grown_from=(old,))
    for size, root in ((old, OTHER), (2, root_of(LEAVES[:2]))):
        with pytest.raises(TransparencyError, match="no proof"):
            verify_consistency_receipt(grown, size, root, LOG, at=AT)


def test_a_log_that_changed_an_entry_cannot_show_growth() -> None:
    forked = [OTHER, *LEAVES[1:7]]
    grown = Receipt.decode(make_receipt(forked, grown_from=(3,)))
    with pytest.raises(TransparencyError, match="no proof"):
        verify_consistency_receipt(grown, 3, root_of(LEAVES[:3]), LOG, at=AT)
    assert growth(3, forked) != growth(3, LEAVES[:7])


@given(st.data())
def test_any_byte_that_changes_is_seen(data: st.DataObject) -> None:
    good = make_receipt(LEAVES[:5], included=(1,))
    at = data.draw(st.integers(0, len(good) - 1))
    bad = good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :]
    try:
        shown = verify_inclusion_receipt(Receipt.decode(bad), LEAVES[1], LOG, at=AT)
    except (DecodeError, TransparencyError, UnsupportedError):
        return
    assert shown.root == root_of(LEAVES[:5])  # what is not signed may change, as the size: the root may not


# --- What is refused when it is read


def changed(**members: Any) -> bytes:
    """Return a good receipt with other members: the signature is wrong, and nothing has looked at it yet."""
    return evolve(receipt().message, **members).encode()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (changed(tagged=False), "not tagged"),
        (changed(protected=encoded({HEADER_VDS: 1})), "by number how it is signed"),
        (changed(protected=encoded({1: "ES256", HEADER_VDS: 1})), "by number how it is signed"),
        (changed(protected=encoded({1: -7})), "of which tree"),
        (changed(protected=encoded({1: -7, HEADER_VDS: "1"})), "of which tree"),
        (changed(protected=encoded({1: -7, HEADER_VDS: True})), "of which tree"),
        (changed(payload=bytes(31)), "no root"),
        (changed(unprotected={}), "the proofs of a receipt is not a map"),
        (changed(unprotected={HEADER_VDP: []}), "is not a map"),
        (changed(unprotected={HEADER_VDP: {}}), "has no proofs, or others"),
        (changed(unprotected={HEADER_VDP: {-1: [PROOF.encode()], -3: []}}), "has no proofs, or others"),
        (changed(unprotected={HEADER_VDP: {-1: []}}), "no byte strings, or none"),
        (changed(unprotected={HEADER_VDP: {-1: [PROOF.encode(), 1]}}), "no byte strings, or none"),
        (changed(unprotected={HEADER_VDP: {-1: PROOF.encode()}}), "not an array"),
        (changed(unprotected={HEADER_VDP: {-1: [b"\xff"]}}), "a proof"),
        (changed(unprotected={HEADER_VDP: {-1: [PROOF.encode(), b""]}}), "a proof ends early"),
        (changed(protected=encoded({1: -7, HEADER_VDS: 1, 15: []})), "claims in the headers is not a map"),
        (changed(protected=encoded({1: -7, HEADER_VDS: 1, 15: {1: 7}})), "iss is no text"),
        (changed(protected=encoded({1: -7, HEADER_VDS: 1, 15: {2: None}})), "sub is no text"),
        (changed(protected=encoded({1: -7, HEADER_VDS: 1, 15: {4: True}})), "exp is no time"),
        (changed(protected=encoded({1: -7, HEADER_VDS: 1, 15: {4: float("nan")}})), "exp is no time"),
        (changed(protected=encoded({1: -7, HEADER_VDS: 1, 15: {5: "now"}})), "nbf is no time"),
    ],
)
def test_what_is_no_receipt_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(DecodeError, match=why):
        Receipt.decode(data)


@pytest.mark.parametrize(
    ("item", "why"),
    [
        ([3, 3, []], "outside its tree"),
        ([0, 0, []], "outside its tree"),
        ([-1, 0, []], "no such number"),
        ([3, True, []], "no such number"),
        ([3, "1", []], "no such number"),
        ([3, 1], "wrong number of items"),
        ([3, 1, 7], "not an array"),
        ([3, 1, [bytes(31)]], "something else than hashes"),
        ([3, 1, [bytes(32), 1]], "something else than hashes"),
        ([3, 1, [bytes(32)] * 65], "too many items"),
        ({}, "not an array"),
    ],
)
def test_what_is_no_inclusion_proof_is_refused(item: CborItem, why: str) -> None:
    with pytest.raises(DecodeError, match=why):
        InclusionProof.decode(encoded(item))


@pytest.mark.parametrize("sizes", [(0, 3), (4, 3)])
def test_what_is_no_consistency_proof_is_refused(sizes: tuple[int, int]) -> None:
    with pytest.raises(DecodeError, match="sizes out of order"):
        ConsistencyProof.decode(encoded([*sizes, []]))


def test_a_receipt_of_another_tree_is_not_supported() -> None:
    with pytest.raises(UnsupportedError, match=r"another tree: got 2, want 1 \(RFC9162_SHA256\)"):
        Receipt.decode(changed(protected=encoded({1: -7, HEADER_VDS: 2})))


def test_a_receipt_has_limits() -> None:
    with pytest.raises(LimitError, match="too many proofs"):
        Receipt.decode(changed(unprotected={HEADER_VDP: {-1: [PROOF.encode()] * (MAX_PROOFS + 1)}}))
    with pytest.raises(LimitError, match="too long"):
        Receipt.decode(changed(unprotected={HEADER_VDP: {}, 4: bytes(MAX_RECEIPT)}))
    with pytest.raises(LimitError, match="a proof is too long"):
        InclusionProof.decode(encoded([3, 1, [bytes(5000)]]))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_receipt_or_refused(data: bytes) -> None:
    try:
        Receipt.decode(data)
    except (DecodeError, UnsupportedError):
        return


def test_claims_may_be_left_out() -> None:
    assert HeaderClaims.of({}) == HeaderClaims()
    assert Receipt.decode(changed(protected=encoded({1: -7, HEADER_VDS: 1}))).claims == HeaderClaims()
