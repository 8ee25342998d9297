"""What a log of statements takes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from attrs import evolve

from confsec.errors import DecodeError, TransparencyError, VerificationError
from confsec.protocol.dsse import Envelope
from confsec.protocol.log_admission import LogAdmission
from confsec.protocol.predicates import DirectoryStatement, ModelDigests
from confsec.protocol.statement_policy import StatementPolicy
from confsec.protocol.wire import encode_base64
from tests.protocol.disguises import disguise
from tests.protocol.statement_cases import AT, DAY, DIRECTORY, MODEL, RELEASE
from tests.protocol.test_sigstore import RULE as SIGSTORE_RULE, Verifier
from tests.protocol.test_statement_policy import CHANGED, NAME, POLICY, sealed
from tests.protocol.token_keys import OTHER, P256

ADMISSION = LogAdmission(POLICY)
ENTRY = sealed(DIRECTORY.about(NAME))
END: Final = datetime(9001, 1, 1, tzinfo=UTC)


def test_a_statement_that_the_policy_believes_is_admitted() -> None:
    ADMISSION.verify(ENTRY, at=AT)
    for entry, at, error in (
        (b"no envelope", AT, DecodeError),
        (sealed(DIRECTORY.about(NAME), OTHER), AT, VerificationError),
        (sealed(DIRECTORY.about("other.example")), AT, TransparencyError),
        (ENTRY, AT + timedelta(days=2), TransparencyError),
    ):
        with pytest.raises(error):
            ADMISSION.verify(entry, at=at)


def test_a_statement_is_known_by_what_was_signed() -> None:
    identity = ADMISSION.identify(ENTRY)
    assert identity is not None
    spelled = json.dumps(json.loads(ENTRY), indent=1).encode()
    assert spelled != ENTRY
    assert ADMISSION.identify(spelled) == identity
    assert ADMISSION.identify(Envelope.decode(ENTRY).sign(P256).encode()) == identity
    assert (identity.digest, identity.issued) == (DIRECTORY.about(NAME).digest, int(AT.timestamp()))


def test_what_is_replaced_has_the_subject_of_what_replaces_it() -> None:
    first, later = ADMISSION.identify(ENTRY), ADMISSION.identify(sealed(CHANGED.about(NAME)))
    anything = {DirectoryStatement.TYPE: evolve(POLICY.rules[DirectoryStatement.TYPE], subject_names=None)}
    other = LogAdmission(StatementPolicy(anything)).identify(sealed(DIRECTORY.about("other.example")))
    assert first is not None
    assert later is not None
    assert other is not None
    assert first.subject == later.subject != other.subject
    assert first.digest != later.digest


def test_of_other_types_each_statement_counts() -> None:
    for statement in (MODEL.about(NAME), RELEASE.to_statement(*RELEASE.subjects())):
        identity = ADMISSION.identify(sealed(statement))
        assert identity is not None
        assert identity.subject == b""


def test_what_has_ended_is_known_and_what_the_policy_does_not_believe_is_not() -> None:
    assert ADMISSION.identify(sealed(evolve(DIRECTORY, issued=AT - 900 * DAY, valid_until=AT - 899 * DAY).about(NAME)))
    policy = evolve(POLICY, rules={ModelDigests.TYPE: POLICY.rules[ModelDigests.TYPE]})
    assert LogAdmission(policy).identify(ENTRY) is None
    assert ADMISSION.identify(sealed(DIRECTORY.about(NAME), OTHER)) is None


def test_a_bundle_of_sigstore_is_known_by_what_was_verified() -> None:
    verifier = Verifier()
    policy = StatementPolicy({DirectoryStatement.TYPE: SIGSTORE_RULE}, bundles=verifier)
    assert LogAdmission(policy).identify(verifier.bundle) == ADMISSION.identify(ENTRY)
    assert ADMISSION.identify(verifier.bundle) is None
    with pytest.raises(TransparencyError, match="a bundle of Sigstore does not count"):
        ADMISSION.verify(verifier.bundle, at=AT)


def test_a_signed_envelope_that_calls_itself_a_bundle_is_no_statement() -> None:
    fake = sealed(
        evolve(DIRECTORY, directory="x", issued=datetime(9000, 1, 1, tzinfo=UTC), valid_until=END).about(NAME)
    )
    disguised = disguise(ENTRY, fake)
    assert ADMISSION.identify(disguised) is None
    with pytest.raises(DecodeError, match="more than an envelope"):
        ADMISSION.verify(disguised, at=AT)


def test_what_is_no_statement_has_no_identity() -> None:
    envelope = {"payload": encode_base64(b"text"), "payloadType": "text/plain", "signatures": [{"sig": "AAAA"}]}
    for entry in (b"", b"{}", json.dumps(envelope).encode()):
        assert ADMISSION.identify(entry) is None


def test_any_change_of_the_policy_makes_an_index_another() -> None:
    changed = {name: evolve(rule, newest_only=not rule.newest_only) for name, rule in POLICY.rules.items()}
    assert ADMISSION.rules == LogAdmission(StatementPolicy(dict(POLICY.rules))).rules
    assert ADMISSION.rules != LogAdmission(StatementPolicy(changed)).rules
