"""Checkpoints under a quorum, entries that are proved, and what a reader remembers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from confsec.errors import ConfigError, ConfsecError, DecodeError, TransparencyError, VerificationError
from confsec.protocol import cbor
from confsec.protocol.checkpoint import Checkpoint
from confsec.protocol.epoch import CLOCK_DIFFERENCE
from confsec.protocol.merkle import CompactRange, leaf_hash
from confsec.protocol.note import SignedNote
from confsec.protocol.note_keys import KeyType, Signer
from confsec.protocol.tlog_proof import TlogProof
from confsec.protocol.transparency import TrustedLog, verify_checkpoint, verify_logged
from confsec.protocol.witness_policy import WitnessPolicy
from tests.protocol.test_merkle import growth, path

ORIGIN = "log.example/one"
LOG = Signer(ORIGIN, KeyType.ED25519, bytes(32))
WITNESSES = (
    Signer("w1.example", KeyType.ED25519_COSIGNATURE, b"1" * 32),
    Signer("w2.example", KeyType.ML_DSA_44_COSIGNATURE, b"2" * 32),
    Signer("w3.example", KeyType.ED25519_COSIGNATURE, b"3" * 32),
)
KNOWN = f"log {LOG.key.encode()}\n" + "".join(
    f"witness w{n} {each.key.encode()}\n" for n, each in enumerate(WITNESSES, 1)
)
POLICY = WitnessPolicy.decode(f"{KNOWN}group g 2 w1 w2 w3\nquorum g\n".encode())
AT = datetime(2026, 11, 28, 7, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
ENTRIES = [b"entry %d" % n for n in range(12)]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]


def checkpoint(size: int, leaves: Sequence[bytes] = LEAVES) -> Checkpoint:
    return Checkpoint(ORIGIN, size, CompactRange().append(*leaves[:size]).root)


def cosigned(
    text: Checkpoint, times: Sequence[datetime] = (AT, AT), *, log: Signer = LOG, by: Sequence[Signer] = WITNESSES
) -> bytes:
    note = SignedNote(text.encode()).sign(log)
    for witness, time in zip(by, times, strict=False):
        note = note.sign(witness, at=time)
    return note.encode()


def advance(log: TrustedLog, note: bytes, proof: Sequence[bytes] = (), *, at: datetime = AT) -> TrustedLog:
    return log.advance(note, proof, policy=POLICY, at=at, maximum_age=HOUR)


def grown(size: int) -> TrustedLog:
    return advance(TrustedLog(ORIGIN), cosigned(checkpoint(size)))


# --- One checkpoint


def test_a_quorum_says_since_when_and_how_fresh() -> None:
    found = verify_checkpoint(cosigned(checkpoint(7), (AT, AT - HOUR, AT - MINUTE)), POLICY, origin=ORIGIN, at=AT)
    assert found.checkpoint == checkpoint(7)
    assert found.cosigners == ("w1", "w2", "w3")
    assert found.known_since == AT - MINUTE
    assert found.fresh_since == AT - MINUTE


@pytest.mark.parametrize("count", [0, 1])
def test_without_a_quorum_nothing_is_believed(count: int) -> None:
    with pytest.raises(TransparencyError, match="no quorum"):
        verify_checkpoint(cosigned(checkpoint(7), (AT,) * count), POLICY, origin=ORIGIN)


def test_one_witness_does_not_count_twice() -> None:
    note = SignedNote.decode(cosigned(checkpoint(7), (AT,))).sign(WITNESSES[0], at=AT + MINUTE)
    with pytest.raises(TransparencyError, match="no quorum"):
        verify_checkpoint(note.encode(), POLICY, origin=ORIGIN)


def test_a_cosignature_from_later_is_not_counted() -> None:
    times = (AT, AT + CLOCK_DIFFERENCE + timedelta(seconds=1))
    verify_checkpoint(cosigned(checkpoint(7), times), POLICY, origin=ORIGIN)
    with pytest.raises(TransparencyError, match="no quorum"):
        verify_checkpoint(cosigned(checkpoint(7), times), POLICY, origin=ORIGIN, at=AT)


def test_a_stranger_is_no_witness_and_a_wrong_signature_spoils_all() -> None:
    stranger = Signer("w2.example", KeyType.ED25519_COSIGNATURE, b"9" * 32)
    with pytest.raises(TransparencyError, match="no quorum"):
        verify_checkpoint(cosigned(checkpoint(7), by=(WITNESSES[0], stranger)), POLICY, origin=ORIGIN)
    good = SignedNote.decode(cosigned(checkpoint(7), (AT,) * 3))
    other = SignedNote.decode(cosigned(checkpoint(8), (AT,) * 3))
    mixed = evolve(good, signatures=(*good.signatures[:3], other.signatures[3]))
    with pytest.raises(VerificationError, match="is wrong"):
        verify_checkpoint(mixed.encode(), POLICY, origin=ORIGIN)


def test_the_log_itself_signs() -> None:
    witnesses_only = SignedNote(checkpoint(7).encode()).sign(WITNESSES[0], at=AT).sign(WITNESSES[2], at=AT)
    with pytest.raises(TransparencyError, match="did not sign"):
        verify_checkpoint(witnesses_only.encode(), POLICY, origin=ORIGIN)
    with pytest.raises(VerificationError, match="no key that we know"):
        verify_checkpoint(cosigned(checkpoint(7), (), log=WITNESSES_LOG), POLICY, origin=ORIGIN)


WITNESSES_LOG = Signer("other.example", KeyType.ED25519, b"8" * 32)


def test_a_checkpoint_of_another_log_under_this_key_is_refused() -> None:
    other = evolve(checkpoint(7), origin="log.example/two")
    with pytest.raises(TransparencyError, match="did not sign"):
        verify_checkpoint(cosigned(other), POLICY, origin=ORIGIN)


def test_a_policy_that_asks_nobody_and_a_log_that_is_not_known() -> None:
    with pytest.raises(ConfigError, match="asks no witness"):
        verify_checkpoint(
            cosigned(checkpoint(7)), WitnessPolicy.decode(f"{KNOWN}quorum none\n".encode()), origin=ORIGIN
        )
    with pytest.raises(ConfigError, match="does not know"):
        verify_checkpoint(cosigned(checkpoint(7)), POLICY, origin="log.example/two")


# --- One entry


@given(size=st.integers(1, 12), data=st.data())
def test_an_entry_is_proved_offline(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = TlogProof(index, tuple(path(index, LEAVES[:size])), cosigned(checkpoint(size)))
    found = verify_logged(ENTRIES[index], TlogProof.decode(proof.encode()), POLICY, origin=ORIGIN)
    assert found.checkpoint.size == size
    with pytest.raises(TransparencyError, match="not in the log"):
        verify_logged(b"another", proof, POLICY, origin=ORIGIN)


# --- What a reader remembers


@given(sizes=st.lists(st.integers(0, 12), min_size=1, max_size=5))
def test_a_log_that_only_grows_is_followed(sizes: list[int]) -> None:
    log = TrustedLog(ORIGIN)
    for size in sorted(sizes):
        proof = growth(log.size, LEAVES[:size]) if log.size else []
        log = advance(log, cosigned(checkpoint(size)), proof)
    assert (log.size, log.root, log.fresh_since) == (max(sizes), checkpoint(max(sizes)).root, AT)
    assert TrustedLog.decode(log.encode()) == log


def test_a_log_never_goes_back() -> None:
    with pytest.raises(TransparencyError, match="goes back"):
        advance(grown(7), cosigned(checkpoint(6)))


def test_a_fork_is_refused_at_the_same_size_and_later() -> None:
    forked = [*LEAVES[:3], bytes(32), *LEAVES[4:]]
    with pytest.raises(TransparencyError, match="forked"):
        advance(grown(7), cosigned(checkpoint(7, forked)))
    with pytest.raises(TransparencyError, match="another root"):
        advance(grown(7), cosigned(checkpoint(9, forked)), growth(7, forked[:9]))


def test_growth_is_proved() -> None:
    with pytest.raises(TransparencyError, match="empty"):
        advance(grown(6), cosigned(checkpoint(9)))


def test_the_word_of_witnesses_grows_old() -> None:
    note = cosigned(checkpoint(7), (AT - HOUR, AT, AT - HOUR))
    advance(TrustedLog(ORIGIN), note)
    with pytest.raises(TransparencyError, match="too old"):
        advance(TrustedLog(ORIGIN), note, at=AT + timedelta(seconds=1))


def test_an_older_word_for_the_same_tree_is_refused() -> None:
    with pytest.raises(TransparencyError, match="older than what was seen"):
        advance(grown(7), cosigned(checkpoint(7), (AT - MINUTE, AT)))


@pytest.mark.parametrize(
    "change", [{"version": 2}, {"fresh_since": 1 << 37}, {"root": bytes(31)}, {"size": b""}, {"more": 1}]
)
def test_a_memory_that_cannot_be_read_is_no_empty_one(change: dict[str, cbor.CborValue]) -> None:
    value = cbor.decode(grown(7).encode(), what="a memory", limit=4096)
    assert isinstance(value, dict)
    with pytest.raises(DecodeError):
        TrustedLog.decode(cbor.encode({**value, **change}))


def test_an_empty_memory_comes_back() -> None:
    assert TrustedLog.decode(TrustedLog(ORIGIN).encode()) == TrustedLog(ORIGIN)


@given(st.binary(max_size=100))
def test_any_bytes_give_a_memory_or_an_error(data: bytes) -> None:
    try:
        TrustedLog.decode(data)
    except ConfsecError:
        return
