"""What a witness cosigns, and what it refuses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from confsec.errors import (
    ConflictError,
    ConfsecError,
    DecodeError,
    InconsistentError,
    LimitError,
    UnknownLogError,
    UnsignedError,
)
from confsec.protocol.checkpoint import Checkpoint
from confsec.protocol.merkle import CompactRange
from confsec.protocol.note import SignedNote
from confsec.protocol.note_keys import KeyType, Signer
from confsec.protocol.wire import encode_base64
from confsec.protocol.witnessing import (
    MAX_ADD_CHECKPOINT,
    AddCheckpoint,
    Cosigned,
    Cosigner,
    WitnessedTree,
)
from tests.protocol.test_merkle import LEAVES, growth

ORIGIN = "log.example/one"
LOG = Signer(ORIGIN, KeyType.ED25519, bytes(32))
SIGNERS = (
    Signer("witness.example/w", KeyType.ED25519_COSIGNATURE, b"1" * 32),
    Signer("witness.example/w", KeyType.ML_DSA_44_COSIGNATURE, b"2" * 32),
)
COSIGNER = Cosigner(SIGNERS, {ORIGIN: [LOG.key]})
AT = datetime(2026, 11, 28, tzinfo=UTC)


def checkpoint(size: int, *, leaves: list[bytes] = LEAVES, log: Signer = LOG, origin: str = ORIGIN) -> bytes:
    text = Checkpoint(origin, size, CompactRange().append(*leaves[:size]).root).encode()
    return SignedNote(text).sign(log).encode()


def asked(old: int, new: int) -> AddCheckpoint:
    return AddCheckpoint(old, tuple(growth(old, LEAVES[:new]) if old else ()), checkpoint(new))


def grow(*sizes: int) -> Cosigned:
    cosigned = Cosigned(WitnessedTree.NOTHING, b"")
    for size in sizes:
        cosigned = COSIGNER.decide(asked(cosigned.tree.size, size), cosigned.tree, AT)
    return cosigned


@given(sizes=st.lists(st.integers(0, 40), min_size=1, max_size=5))
def test_growth_is_cosigned_and_so_is_standing_still(sizes: list[int]) -> None:
    cosigned = grow(*sorted(sizes))
    assert cosigned.tree.size == max(sizes)
    note = SignedNote.decode(checkpoint(max(sizes)) + cosigned.answer)
    found = note.verify([each.key for each in SIGNERS])
    assert [(each.key, each.time) for each in found] == [(each.key, AT) for each in SIGNERS]


def test_the_same_tree_gets_a_new_time() -> None:
    tree = grow(7).tree
    again = COSIGNER.decide(asked(7, 7), tree, AT + timedelta(hours=1))
    note = SignedNote.decode(checkpoint(7) + again.answer)
    assert note.verify([SIGNERS[0].key])[0].time == AT + timedelta(hours=1)
    assert again.tree == tree


@pytest.mark.parametrize(("old", "new"), [(6, 9), (8, 9), (0, 9)])
def test_another_old_size_is_a_conflict_that_names_the_right_one(old: int, new: int) -> None:
    with pytest.raises(ConflictError) as caught:
        COSIGNER.decide(asked(old, new), grow(7).tree, AT)
    assert caught.value.size == 7


def test_a_second_tree_of_one_size_is_a_conflict() -> None:
    forked = AddCheckpoint(7, (), checkpoint(7, leaves=LEAVES[1:]))
    with pytest.raises(ConflictError):
        COSIGNER.decide(forked, grow(7).tree, AT)


def test_a_fork_is_not_cosigned() -> None:
    forked = [bytes(32), *LEAVES[1:]]
    request = AddCheckpoint(7, tuple(growth(7, forked[:9])), checkpoint(9, leaves=forked))
    with pytest.raises(InconsistentError, match="only grow"):
        COSIGNER.decide(request, grow(7).tree, AT)
    with pytest.raises(InconsistentError):
        COSIGNER.decide(AddCheckpoint(0, (bytes(32),), checkpoint(9)), WitnessedTree.NOTHING, AT)


def test_a_larger_old_tree_makes_no_sense() -> None:
    with pytest.raises(DecodeError, match="larger"):
        COSIGNER.decide(AddCheckpoint(9, (), checkpoint(7)), grow(9).tree, AT)


def test_logs_are_known_by_origin_and_key() -> None:
    other = Signer(ORIGIN, KeyType.ED25519, b"9" * 32)
    with pytest.raises(UnknownLogError):
        COSIGNER.origin_of(AddCheckpoint(0, (), checkpoint(7, origin="log.example/two")))
    with pytest.raises(UnsignedError):
        COSIGNER.origin_of(AddCheckpoint(0, (), checkpoint(7, log=other)))
    assert COSIGNER.origin_of(asked(0, 7)) == ORIGIN


@given(
    old=st.integers(0, 2**62),
    proof=st.lists(st.binary(min_size=32, max_size=32), max_size=63),
    note=st.binary(max_size=30),
)
def test_a_request_comes_back(old: int, proof: list[bytes], note: bytes) -> None:
    request = AddCheckpoint(old, tuple(proof), note)
    assert AddCheckpoint.decode(request.encode()) == request


@pytest.mark.parametrize(
    "text", ["", "old 0", "old 00\n\nx", "old -1\n\nx", "new 0\n\nx", "old 0\nAAAA\n\nx", "old 0\n!\n\nx", "öld 0\n\nx"]
)
def test_other_text_is_no_request(text: str) -> None:
    with pytest.raises(DecodeError):
        AddCheckpoint.decode(text.encode())


@pytest.mark.parametrize(
    "text", ["x" * (MAX_ADD_CHECKPOINT + 1), "old 1\n" + (encode_base64(bytes(32)) + "\n") * 64 + "\nx"]
)
def test_what_is_too_long_is_not_read(text: str) -> None:
    with pytest.raises(LimitError):
        AddCheckpoint.decode(text.encode())


@given(st.binary(max_size=100))
def test_any_bytes_give_a_request_or_an_error(data: bytes) -> None:
    try:
        request = AddCheckpoint.decode(data)
    except ConfsecError:
        return
    assert request.encode() == data
