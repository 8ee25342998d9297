"""Registration: only the TPM with the certified endorsement key and the AK gets a statement."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode
from hypothesis import given, strategies as st

from confsec.errors import ConfsecError, DecodeError, EvidenceError, LimitError, LocalProtocolError
from confsec.protocol import cbor
from confsec.protocol.machine import State
from confsec.tee.event_log import HashAlgorithm
from confsec.tee.simulated.issue import CRL_SIGN, Signer, basic_constraints, key_usage
from confsec.tee.simulated.roots import SIMULATED_TPM_REGISTRARS, SIMULATED_TPM_ROOTS
from confsec.tee.simulated.tpm import (
    AK_ATTRIBUTES,
    SIMULATED_REGISTRAR_KEY,
    VALID,
    SimulatedTpmMaker,
    SoftwareTpm,
    ek_alternative_name,
    published_key,
    purpose,
    simulated_registrar,
)
from confsec.tee.tpm.certificates import CertificatePath, GceInstance, verify_ek_name, verify_ek_purpose
from confsec.tee.tpm.credential import Credential, kdf_a, kdf_e, make_credential
from confsec.tee.tpm.registrar import AkRegistered, AkRegistration
from confsec.tee.tpm.statement import MAX_STATEMENT, AkStatement, SignedAkStatement, registrar_id
from confsec.tee.tpm.structures import Attributes, EccCurve, EccKey, Symmetric
from confsec.tee.x509 import Certificate, Extension
from tests.tee.tpm.refusals import gce_instance
from tests.tee.tpm.scenes import AT, MAKER, numbered, rsa_key

TPM = SoftwareTpm()
TPMS = {
    "P-256": TPM,
    "P-384": SoftwareTpm(ek_key=published_key("EK", EccCurve.P384)),
    "RSA": SoftwareTpm(ek_key=rsa_key(2048)),
}


def ek_chain(tpm: SoftwareTpm = TPM, maker: SimulatedTpmMaker = MAKER, **leaf: Any) -> bytes:
    """Return the chain of a TPM's endorsement key."""
    return maker.chain(maker.issue_ek_certificate(tpm.ek.public_key_info, **leaf))


def registration() -> AkRegistration:
    """Begin a registration."""
    return AkRegistration(simulated_registrar(), randbytes=numbered(b"registrar"))


def challenge(tpm: SoftwareTpm = TPM, *, chain: bytes | None = None) -> tuple[AkRegistration, Credential]:
    """Ask for a credential."""
    machine = registration()
    given_chain = ek_chain(tpm) if chain is None else chain
    return machine, machine.challenge(given_chain, tpm.ek.encode(), tpm.ak.encode(), now=AT)


# --- Registration -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TPMS)
def test_a_tpm_with_both_keys_is_registered(kind: str) -> None:
    tpm = TPMS[kind]
    machine, credential = challenge(tpm)
    (event,) = machine.receive_data(tpm.activate_credential(credential), now=AT)
    assert isinstance(event, AkRegistered)
    signed = SignedAkStatement.decode(event.statement.encode())
    signed.verify_signature(SIMULATED_REGISTRAR_KEY)
    leaf = CertificatePath.decode(ek_chain(tpm)).leaf
    assert AkStatement.decode(signed.statement) == AkStatement(
        ek_certificate=leaf.fingerprint, ak_name=tpm.ak.name, issued=AT
    )
    assert machine.state is State.DONE


@pytest.mark.parametrize("kind", TPMS)
def test_another_ak_opens_nothing(kind: str) -> None:
    _, credential = challenge(TPMS[kind])
    with pytest.raises(EvidenceError, match="another TPM or another AK"):
        evolve(TPMS[kind], ak_key=published_key("another AK")).activate_credential(credential)


def test_another_ek_opens_nothing() -> None:
    _, credential = challenge()
    with pytest.raises(EvidenceError, match="another TPM or another AK"):
        evolve(TPM, ek_key=published_key("another EK")).activate_credential(credential)


def test_an_ak_with_other_attributes_opens_nothing() -> None:
    _, credential = challenge()
    other = evolve(TPM, ak_attributes=AK_ATTRIBUTES & ~Attributes.RESTRICTED)
    with pytest.raises(EvidenceError):
        other.activate_credential(credential)


def test_another_answer_ends_the_registration() -> None:
    machine, _ = challenge()
    with pytest.raises(EvidenceError, match="has not opened"):
        machine.receive_data(bytes(32), now=AT)
    assert machine.state is State.FAILED
    with pytest.raises(LocalProtocolError):
        machine.receive_data(bytes(32), now=AT)


def test_nobody_answers_before_the_challenge() -> None:
    with pytest.raises(LocalProtocolError):
        registration().receive_data(b"", now=AT)


def test_a_registration_is_for_one_challenge() -> None:
    machine, _ = challenge()
    with pytest.raises(LocalProtocolError):
        machine.challenge(ek_chain(), TPM.ek.encode(), TPM.ak.encode(), now=AT)


def test_an_answer_counts_once() -> None:
    machine, credential = challenge()
    answer = TPM.activate_credential(credential)
    machine.receive_data(answer, now=AT)
    with pytest.raises(LocalProtocolError):
        machine.receive_data(answer, now=AT)


@pytest.mark.parametrize(
    "chain, message",
    [
        (ek_chain(maker=SimulatedTpmMaker("another root")), "trust anchors"),
        (ek_chain(signer=Signer(MAKER.signer.name, published_key("somebody else"))), "signature"),
        (ek_chain(valid=(VALID[0], AT - timedelta(days=1))), "expired"),
        (ek_chain(extensions=basic_constraints(ca=True)), "authority"),
        (ek_chain(extensions=key_usage(0)), "another use"),
        (ek_chain(extensions=purpose("1.3.6.1.5.5.7.3.1")), "not for an endorsement key"),
        (ek_chain(extensions=ek_alternative_name(critical=False)), "nobody has to look"),
        (ek_chain(extensions={"1.2.3.4": Extension(critical=True, value=b"\x05\x00")}), "critical extension"),
        (ek_chain(evolve(TPM, ek_key=published_key("another EK"))), "another endorsement key"),
    ],
)
def test_the_certificate_has_to_be_right(chain: bytes, message: str) -> None:
    with pytest.raises(EvidenceError, match=message):
        challenge(chain=chain)


def _chain(**authority: Any) -> bytes:
    leaf = MAKER.issue_ek_certificate(TPM.ek.public_key_info)
    return leaf.encoded + MAKER.issue_authority(**authority).encoded + MAKER.root.encoded


def test_the_path_has_to_be_right() -> None:
    for chain, message in (
        (_chain(ca=False), "no authority"),
        (_chain(usage=(CRL_SIGN,)), "not for this"),
        (_chain(valid=(VALID[0], AT - timedelta(days=1))), "expired"),
    ):
        with pytest.raises(EvidenceError, match=message):
            challenge(chain=chain)
    anchored = evolve(simulated_registrar(), trust_anchors=frozenset({MAKER.intermediate.fingerprint}))
    short = ek_chain()[: -len(MAKER.root.encoded)]
    with pytest.raises(EvidenceError, match="does not lead to a root"):
        AkRegistration(anchored, randbytes=numbered(b"")).challenge(short, TPM.ek.encode(), TPM.ak.encode(), now=AT)


def test_the_path_may_not_be_too_long() -> None:
    from tests.tee.tpm.refusals import _SECOND

    leaf = MAKER.issue_ek_certificate(TPM.ek.public_key_info, signer=_SECOND[0])
    with pytest.raises(EvidenceError, match="too many authorities"):
        challenge(chain=MAKER.chain(leaf) + _SECOND[1])


@pytest.mark.parametrize(
    "attributes",
    [
        AK_ATTRIBUTES & ~Attributes.RESTRICTED,
        AK_ATTRIBUTES & ~Attributes.FIXED_TPM,
        AK_ATTRIBUTES & ~Attributes.FIXED_PARENT,
        AK_ATTRIBUTES & ~Attributes.SENSITIVE_DATA_ORIGIN,
        AK_ATTRIBUTES & ~Attributes.SIGN,
        AK_ATTRIBUTES | Attributes.DECRYPT,
    ],
)
def test_the_ak_has_to_be_one(attributes: Attributes) -> None:
    with pytest.raises(EvidenceError, match="not of the form of an attestation key"):
        challenge(evolve(TPM, ak_attributes=attributes))


def test_the_name_of_the_ak_has_to_be_a_good_hash() -> None:
    with pytest.raises(EvidenceError, match="SHA-1"):
        challenge(evolve(TPM, ak_name_algorithm=HashAlgorithm.SHA1))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"attributes": TPM.ek.attributes & ~Attributes.RESTRICTED}, "form of an endorsement key"),
        ({"attributes": TPM.ek.attributes & ~Attributes.FIXED_TPM}, "form of an endorsement key"),
        ({"attributes": TPM.ek.attributes & ~Attributes.FIXED_PARENT}, "form of an endorsement key"),
        ({"attributes": TPM.ek.attributes & ~Attributes.DECRYPT}, "form of an endorsement key"),
        ({"attributes": TPM.ek.attributes | Attributes.SIGN}, "form of an endorsement key"),
        ({"symmetric": Symmetric()}, "another cipher"),
        ({"symmetric": Symmetric(0x0006, 512, 0x0043)}, "another cipher"),
        ({"symmetric": Symmetric(0x0006, 128, 0x0044)}, "another cipher"),
        ({"symmetric": Symmetric(0x0013, 128, 0x0043)}, "another cipher"),
    ],
)
def test_the_ek_has_to_be_one(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(EvidenceError, match=message):
        make_credential(evolve(TPM.ek, **changes), TPM.ak.name, b"secret", numbered(b""))


def test_the_ek_is_of_a_size_and_curve_that_we_know() -> None:
    short = SoftwareTpm(ek_key=rsa_key(1024)).ek
    with pytest.raises(EvidenceError, match="too short"):
        make_credential(short, TPM.ak.name, b"secret", numbered(b""))
    key = TPM.ek.key
    assert isinstance(key, EccKey)
    p521 = evolve(TPM.ek, key=evolve(key, curve=EccCurve.P521))
    with pytest.raises(EvidenceError, match="another curve"):
        make_credential(p521, TPM.ak.name, b"secret", numbered(b""))
    off = evolve(TPM.ek, key=evolve(key, x=bytes(32)))
    with pytest.raises(EvidenceError, match="no point"):
        make_credential(off, TPM.ak.name, b"secret", numbered(b""))
    with pytest.raises(LocalProtocolError, match="too long"):
        make_credential(TPM.ek, TPM.ak.name, bytes(33), numbered(b""))


@given(st.data())
def test_a_changed_credential_does_not_open(data: st.DataObject) -> None:
    _, credential = challenge()
    blob = bytearray(credential.id_object)
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ConfsecError):
        TPM.activate_credential(Credential(bytes(blob), credential.encrypted_secret))


@pytest.mark.parametrize("name", ["SHA256", "SHA384"])
@pytest.mark.parametrize("bits", [128, 256, 384, 1024])
def test_keys_are_derived_as_others_do(name: str, bits: int) -> None:
    algorithm, digest = HashAlgorithm[name], {"SHA256": SHA256(), "SHA384": SHA384()}[name]
    found = kdf_e(algorithm, b"z", b"IDENTITY", b"u", b"v", bits)
    assert found == ConcatKDFHash(digest, bits // 8, b"IDENTITY\x00uv").derive(b"z")
    counter = {
        "algorithm": digest,
        "mode": Mode.CounterMode,
        "length": bits // 8,
        "rlen": 4,
        "llen": 4,
        "location": CounterLocation.BeforeFixed,
        "label": None,
        "context": None,
        "fixed": b"STORAGE\x00uv" + bits.to_bytes(4, "big"),
    }
    assert kdf_a(algorithm, b"key", b"STORAGE", b"u", b"v", bits) == KBKDFHMAC(**counter).derive(b"key")  # type: ignore[arg-type]


# --- Statements -------------------------------------------------------------------------------------------------------

STATEMENT = AkStatement(ek_certificate=bytes(32), ak_name=TPM.ak.name, issued=datetime(2026, 1, 1, tzinfo=UTC))
REGISTRAR = simulated_registrar()
SIGNED = SignedAkStatement.sign(STATEMENT, public_key=REGISTRAR.public_key, sign=REGISTRAR.sign)


def test_statements_read_back() -> None:
    assert AkStatement.decode(STATEMENT.encode()) == STATEMENT
    assert SignedAkStatement.decode(SIGNED.encode()) == SIGNED
    assert SIGNED.registrar == registrar_id(REGISTRAR.public_key)


def test_a_statement_is_signed_by_its_registrar() -> None:
    SIGNED.verify_signature(REGISTRAR.public_key)
    for key in (bytes(32), published_key("x").public_key().public_numbers().x.to_bytes(32, "big"), b"short"):
        with pytest.raises(EvidenceError, match="signature"):
            SIGNED.verify_signature(key)


@given(st.data())
def test_a_changed_statement_is_not_signed(data: st.DataObject) -> None:
    statement = bytearray(SIGNED.statement)
    statement[data.draw(st.integers(0, len(statement) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(EvidenceError, match="signature"):
        evolve(SIGNED, statement=bytes(statement)).verify_signature(REGISTRAR.public_key)


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"version": True},
        {"ak_name": b""},
        {"ak_name": bytes(67)},
        {"issued": 1 << 36},
        {"issued": -1},
        {"ek_certificate": bytes(31)},
        {"more": 1},
    ],
)
def test_other_statements_are_refused(changes: dict[str, cbor.CborValue]) -> None:
    good: dict[str, cbor.CborValue] = {"version": 1, "ek_certificate": bytes(32), "ak_name": b"name", "issued": 1}
    AkStatement.decode(cbor.encode(good))
    with pytest.raises(DecodeError):
        AkStatement.decode(cbor.encode({**good, **changes}))


def test_statements_are_bounded() -> None:
    for decode in (AkStatement.decode, SignedAkStatement.decode):
        with pytest.raises(LimitError):
            decode(bytes(MAX_STATEMENT + 1))


@given(st.binary(max_size=80))
def test_any_bytes_give_a_statement_or_an_error(data: bytes) -> None:
    for decode in (AkStatement.decode, SignedAkStatement.decode):
        try:
            found = decode(data)
        except ConfsecError:
            continue
        assert found.encode() == data


# --- Certificates -----------------------------------------------------------------------------------------------------


def test_simulated_roots_are_the_constants() -> None:
    assert frozenset({MAKER.root.fingerprint}) == SIMULATED_TPM_ROOTS
    assert frozenset({SIMULATED_REGISTRAR_KEY}) == SIMULATED_TPM_REGISTRARS
    assert "SIMULATED" in MAKER.root.subject.text


def test_an_instance_is_read_from_its_certificate() -> None:
    info = TPM.ak.public_key_info
    for production in (True, False):
        leaf = MAKER.issue_ak_certificate(info, extensions=gce_instance(production=production))
        assert GceInstance.decode(leaf) == GceInstance("europe-west4-a", "project", "name", production)
    assert GceInstance.decode(MAKER.issue_ak_certificate(info)) is None
    broken = {oid: evolve(each, value=each.value[:-1]) for oid, each in gce_instance(production=True).items()}
    with pytest.raises(DecodeError):
        GceInstance.decode(MAKER.issue_ak_certificate(info, extensions=broken))


def test_a_certificate_without_a_purpose_or_names_is_no_eks() -> None:
    leaf = MAKER.issue_ak_certificate(TPM.ek.public_key_info)
    for check in (verify_ek_purpose, verify_ek_name):
        with pytest.raises(EvidenceError):
            check(leaf)


@pytest.mark.vectors
def test_published_endorsement_keys_name_their_tpm(shared_vectors: Path) -> None:
    folder = shared_vectors / "tpm/ca-certs-go-tpm-tools"
    leaf = Certificate.decode_pem((folder / "uca_tpm_rsa_enc_cert.pem").read_bytes())
    assert verify_ek_name(leaf) == {"manufacturer": "id:474F4F47", "model": "vTPM", "version": "id:20160511"}
    verify_ek_purpose(leaf)
