"""What a log of statements takes."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from attrs import evolve

from confsec.errors import ConfsecError, DecodeError, TransparencyError, VerificationError
from confsec.protocol.dsse import Envelope
from confsec.protocol.log_admission import LogAdmission
from confsec.protocol.predicates import ModelDigests
from confsec.protocol.wire import encode_base64
from tests.protocol.statement_cases import AT, DIRECTORY, MODEL, RELEASE
from tests.protocol.test_statement_policy import CHANGED, NAME, POLICY, sealed
from tests.protocol.token_keys import OTHER, P256

ADMISSION = LogAdmission(POLICY)
ENTRY = sealed(DIRECTORY.about(NAME))


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
    spelled = json.dumps(json.loads(ENTRY) | {"unsigned": "noise"}, indent=1).encode()
    assert spelled != ENTRY
    assert ADMISSION.identify(spelled) == identity
    assert ADMISSION.identify(Envelope.decode(ENTRY).sign(P256).encode()) == identity
    assert (identity.digest, identity.issued) == (DIRECTORY.about(NAME).digest, int(AT.timestamp()))


def test_what_is_replaced_has_the_subject_of_what_replaces_it() -> None:
    first, later = ADMISSION.identify(ENTRY), ADMISSION.identify(sealed(CHANGED.about(NAME)))
    other = ADMISSION.identify(sealed(DIRECTORY.about("other.example")))
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
    policy = LogAdmission(evolve(POLICY, rules={ModelDigests.TYPE: POLICY.rules[ModelDigests.TYPE]}))
    unknown = policy.identify(ENTRY)
    assert unknown is not None
    assert unknown.subject == b""


def test_the_envelope_in_a_bundle_of_sigstore_is_read() -> None:
    bundle = {"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "dsseEnvelope": json.loads(ENTRY)}
    assert ADMISSION.identify(json.dumps(bundle).encode()) == ADMISSION.identify(ENTRY)
    for broken in (bundle | {"dsseEnvelope": 1}, {"mediaType": bundle["mediaType"]}):
        assert ADMISSION.identify(json.dumps(broken).encode()) is None
        with pytest.raises(ConfsecError):
            ADMISSION.verify(json.dumps(broken).encode(), at=AT)


def test_what_is_no_statement_has_no_identity() -> None:
    envelope = {"payload": encode_base64(b"text"), "payloadType": "text/plain", "signatures": [{"sig": "AAAA"}]}
    for entry in (b"", b"{}", json.dumps(envelope).encode()):
        assert ADMISSION.identify(entry) is None
