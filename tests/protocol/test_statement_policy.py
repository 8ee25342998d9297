"""Which statements are believed."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from confsec.errors import (
    ConfigError,
    ConfsecError,
    DecodeError,
    LocalProtocolError,
    TransparencyError,
    VerificationError,
)
from confsec.protocol.dsse import DsseKey, Envelope
from confsec.protocol.epoch import CLOCK_DIFFERENCE
from confsec.protocol.predicates import (
    DirectoryStatement,
    ModelDigests,
    Predicate,
    Release,
    Revocation,
    RevokedItem,
    RevokedKind,
)
from confsec.protocol.signatures import SigningKey
from confsec.protocol.statement import Statement
from confsec.protocol.statement_policy import (
    StatementPolicy,
    StatementRule,
    Verified,
    VerifiedStatement,
)
from tests.protocol.statement_cases import ALICE, AT, BOB, DAY, DIRECTORY, MODEL, RELEASE, REVOCATION, STATEMENTS
from tests.protocol.token_keys import ED25519, OTHER, P256

NAME = "service.example"
RULE = StatementRule(signers=(ALICE, BOB), threshold=1, subject_names=frozenset({NAME}), max_age=DAY, newest_only=True)
ANYTHING = StatementRule(signers=(ALICE,), threshold=1, subject_names=None, max_age=None, newest_only=False)
POLICY = StatementPolicy(
    {DirectoryStatement.TYPE: RULE, Revocation.TYPE: RULE, ModelDigests.TYPE: ANYTHING, Release.TYPE: ANYTHING}
)
CHANGED = evolve(DIRECTORY, directory="version = 1\n")


def sealed(statement: Statement, *keys: SigningKey) -> bytes:
    envelope = statement.to_envelope()
    for key in keys or (ED25519,):
        envelope = envelope.sign(key)
    return envelope.encode()


def verify(
    predicate: Predicate, *keys: SigningKey, policy: StatementPolicy = POLICY, at: datetime = AT, name: str = NAME
) -> VerifiedStatement:
    return policy.verify(sealed(predicate.about(name), *keys), predicate_type=predicate.TYPE, at=at)


def revoking(kind: RevokedKind, digest: bytes) -> StatementPolicy:
    """Return the policy after a revocation that came as every statement does."""
    item = RevokedItem(kind=kind, digest=digest, reason="A test.", since=AT)
    return POLICY.with_revocation(verify(evolve(REVOCATION, revoked=(item,))))


# --- Good ones


def test_a_statement_of_the_right_signer_is_believed() -> None:
    verified = verify(DIRECTORY, P256, OTHER)
    assert verified.predicate == DIRECTORY
    assert verified.statement == DIRECTORY.about(NAME)
    assert verified.signers == (BOB,)
    assert verified.newest_only
    assert verified.names == (NAME,)
    assert "directory" in repr(verified)


def test_releases_have_several_subjects() -> None:
    envelope = sealed(RELEASE.to_statement(*RELEASE.subjects()))
    assert len(POLICY.verify(envelope, predicate_type=Release.TYPE, at=AT + 1000 * DAY).names) == 2


@pytest.mark.parametrize(("predicate", "statement"), STATEMENTS)
def test_every_type_may_have_a_rule(predicate: Predicate, statement: Statement) -> None:
    policy = StatementPolicy({predicate.TYPE: ANYTHING})
    assert policy.verify(sealed(statement), predicate_type=predicate.TYPE, at=AT).predicate == predicate


def test_nobody_else_makes_a_verified_statement() -> None:
    with pytest.raises(LocalProtocolError):
        Verified()
    with pytest.raises(LocalProtocolError):
        VerifiedStatement(
            DIRECTORY.about(NAME), DIRECTORY, signers=(ALICE,), newest_only=True, verified=object.__new__(Verified)
        )


# --- Bad ones


def test_a_stranger_is_not_believed() -> None:
    with pytest.raises(VerificationError, match="too few"):
        verify(DIRECTORY, OTHER)
    with pytest.raises(VerificationError, match="too few"):
        verify(MODEL, P256)  # he may sign directories, and no models


def test_as_many_as_the_rule_says_have_to_sign() -> None:
    policy = StatementPolicy({DirectoryStatement.TYPE: evolve(RULE, threshold=2)})
    with pytest.raises(VerificationError, match="got 1, want at least 2"):
        verify(DIRECTORY, ED25519, ED25519, policy=policy)
    assert verify(DIRECTORY, P256, ED25519, policy=policy).signers == (ALICE, BOB)


def test_a_type_without_a_rule_is_refused() -> None:
    with pytest.raises(TransparencyError, match="nobody may"):
        verify(DIRECTORY, policy=StatementPolicy({}))


def test_a_statement_of_one_type_is_not_taken_for_another() -> None:
    with pytest.raises(TransparencyError, match="another type"):
        POLICY.verify(sealed(DIRECTORY.about(NAME)), predicate_type=Revocation.TYPE, at=AT)
    with pytest.raises(DecodeError):
        POLICY.verify(
            sealed(evolve(DIRECTORY.about(NAME), predicate_type=Revocation.TYPE)),
            predicate_type=Revocation.TYPE,
            at=AT,
        )


def test_a_signed_payload_of_another_type_is_refused() -> None:
    envelope = Envelope("text/plain", DIRECTORY.about(NAME).encode()).sign(ED25519).encode()
    with pytest.raises(TransparencyError, match="something else"):
        POLICY.verify(envelope, predicate_type=DirectoryStatement.TYPE, at=AT)


def test_another_subject_is_refused() -> None:
    with pytest.raises(TransparencyError, match="about something else"):
        verify(DIRECTORY, name="other.example")


@pytest.mark.parametrize(
    ("later", "why"),
    [
        (-CLOCK_DIFFERENCE - timedelta(seconds=1), "future"),
        (DAY, "has ended"),
        (2 * DAY, "has ended"),
    ],
)
def test_a_statement_has_its_time(later: timedelta, why: str) -> None:
    with pytest.raises(TransparencyError, match=why):
        verify(DIRECTORY, at=AT + later)


@pytest.mark.parametrize("later", [-CLOCK_DIFFERENCE, timedelta(0), DAY - timedelta(seconds=1)])
def test_a_statement_counts_until_it_ends(later: timedelta) -> None:
    assert verify(DIRECTORY, at=AT + later).predicate == DIRECTORY


def test_what_has_no_end_has_an_age() -> None:
    assert verify(REVOCATION, at=AT + DAY).predicate == REVOCATION
    with pytest.raises(TransparencyError, match="too old"):
        verify(REVOCATION, at=AT + DAY + timedelta(seconds=1))


@given(st.binary(max_size=60))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ConfsecError):
        POLICY.verify(data, predicate_type=DirectoryStatement.TYPE, at=AT)


@given(st.integers(min_value=0), st.integers(1, 255))
def test_any_change_is_refused(position: int, difference: int) -> None:
    envelope = Envelope.decode(sealed(DIRECTORY.about(NAME)))
    payload = bytearray(envelope.payload)
    payload[position % len(payload)] ^= difference
    with pytest.raises(VerificationError):
        POLICY.verify(evolve(envelope, payload=bytes(payload)).encode(), predicate_type=DirectoryStatement.TYPE, at=AT)


# --- Revocations


def test_a_revoked_statement_is_refused_in_any_envelope() -> None:
    policy = revoking(RevokedKind.STATEMENT, DIRECTORY.about(NAME).digest)
    for keys in ((ED25519,), (P256,), (ED25519, P256)):
        with pytest.raises(TransparencyError, match="a statement is revoked"):
            verify(DIRECTORY, *keys, policy=policy)
    assert verify(CHANGED, policy=policy).predicate == CHANGED


def test_a_revoked_subject_is_refused() -> None:
    policy = revoking(RevokedKind.SUBJECT, DIRECTORY.subject_digest())
    with pytest.raises(TransparencyError, match="is about is revoked"):
        verify(DIRECTORY, policy=policy)


def test_a_revoked_key_counts_no_more() -> None:
    policy = revoking(RevokedKind.KEY, bytes.fromhex(ALICE.key_id))
    with pytest.raises(TransparencyError, match="revoked key"):
        verify(DIRECTORY, ED25519, policy=policy)
    assert verify(DIRECTORY, ED25519, P256, policy=policy).signers == (BOB,)


def test_a_digest_is_revoked_for_what_it_is() -> None:
    policy = revoking(RevokedKind.SUBJECT, bytes.fromhex(ALICE.key_id))
    assert verify(DIRECTORY, policy=policy).signers == (ALICE,)


def test_nothing_becomes_good_again() -> None:
    policy = revoking(RevokedKind.SUBJECT, DIRECTORY.subject_digest())
    policy = policy.with_revocation(verify(evolve(REVOCATION, revoked=())))
    with pytest.raises(TransparencyError):
        verify(DIRECTORY, policy=policy)


def test_only_a_revocation_revokes() -> None:
    with pytest.raises(LocalProtocolError):
        POLICY.with_revocation(verify(DIRECTORY))


# --- Rules and identities


@pytest.mark.parametrize(
    "members",
    [
        {"threshold": 0},
        {"threshold": 3},
        {"signers": ()},
        {"signers": (ALICE, DsseKey("bob", ALICE.spki))},
        {"signers": (ALICE, DsseKey("alice", BOB.spki))},
        {"signers": (DsseKey("^alice$", ALICE.spki),)},
        {"signers": (DsseKey("alice.*", ALICE.spki),)},
        {"subject_names": frozenset({""})},
        {"subject_names": frozenset({".*"})},
        {"subject_names": frozenset({"^service.example$"})},
    ],
)
def test_rules_that_nobody_means_are_refused(members: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        evolve(RULE, **members)


def test_a_key_may_have_a_name_with_spaces() -> None:
    key = DsseKey("Alice of the example", ALICE.spki)
    assert evolve(RULE, signers=(key,)).signers == (key,)
