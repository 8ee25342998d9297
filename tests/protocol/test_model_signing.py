"""What OpenSSF model signing writes, with a bundle that its own tool made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from attrs import evolve
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given, strategies as st

from confsec.errors import ConfsecError, DecodeError, VerificationError
from confsec.protocol.dsse import DsseKey, DsseSignature, Envelope
from confsec.protocol.model_signing import open_model_signing, read_model_signing
from confsec.protocol.predicates import ModelDigests
from tests.protocol.statement_cases import ALICE, AT, BOB
from tests.protocol.test_predicates import model_signing
from tests.protocol.token_keys import OTHER, P256

VECTOR = json.loads((Path(__file__).parents[1] / "recorded" / "model_signing.json").read_text())
BUNDLE = json.dumps(VECTOR["bundle"]).encode()
ENVELOPE = Envelope.decode(json.dumps(VECTOR["bundle"]["dsseEnvelope"]).encode())


def test_a_bundle_of_its_own_tool_opens_with_the_key_that_signed_it() -> None:
    model = ModelDigests.from_model_signing(open_model_signing(BUNDLE, BOB), issued=AT)
    assert [file.name for file in model.files] == ["a/b", "a-b", "config.json"]
    assert open_model_signing(ENVELOPE.encode(), BOB) == read_model_signing(BUNDLE)


@pytest.mark.parametrize("key", [ALICE, DsseKey.of("other", OTHER)])
def test_another_key_did_not_sign_it(key: DsseKey) -> None:
    with pytest.raises(VerificationError):
        open_model_signing(BUNDLE, key)


def test_another_payload_was_not_signed() -> None:
    with pytest.raises(VerificationError):
        open_model_signing(evolve(ENVELOPE, payload=ENVELOPE.payload + b" ").encode(), BOB)


def test_an_envelope_of_something_else_is_refused() -> None:
    other = Envelope("text/plain", model_signing().encode()).sign(P256)
    with pytest.raises(VerificationError, match="something else"):
        open_model_signing(other.encode(), BOB)


@pytest.mark.parametrize("signature", [b"", b"0", bytes(64), encode_dss_signature(1 << 256, 1)])
def test_a_signature_that_is_none_is_refused(signature: bytes) -> None:
    with pytest.raises(VerificationError):
        open_model_signing(evolve(ENVELOPE, signatures=(DsseSignature(signature),)).encode(), BOB)


def test_a_signature_as_dsse_has_it_is_taken_too() -> None:
    statement = model_signing()
    assert open_model_signing(statement.to_envelope().sign(P256).encode(), BOB) == statement


def test_a_bare_statement_can_be_read_and_not_opened() -> None:
    statement = model_signing()
    assert read_model_signing(statement.encode()) == statement
    with pytest.raises(DecodeError):
        open_model_signing(statement.encode(), BOB)


@pytest.mark.parametrize("around", [BUNDLE, ENVELOPE.encode()], ids=["bundle", "envelope"])
def test_a_statement_beside_an_envelope_or_a_bundle_is_none(around: bytes) -> None:
    both = json.dumps(json.loads(model_signing().encode()) | json.loads(around)).encode()
    for read in (read_model_signing, lambda data: open_model_signing(data, BOB)):
        with pytest.raises(DecodeError):
            read(both)


@given(st.binary(max_size=100))
def test_any_bytes_are_a_statement_or_an_error(data: bytes) -> None:
    with pytest.raises(ConfsecError):
        read_model_signing(data)
