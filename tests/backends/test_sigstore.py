"""Bundles of Sigstore: those that others published, and those of an instance of our own."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn

import pytest
from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, strategies as st

from confsec.backends.trusted_root import open_trusted_root
from confsec.errors import (
    ConfigError,
    ConfsecError,
    DecodeError,
    LimitError,
    TransparencyError,
    VerificationError,
)
from confsec.protocol.predicates import Release
from confsec.protocol.sigstore import MAX_BUNDLE, SigstoreIdentity
from confsec.protocol.statement import PAYLOAD_TYPE, Statement
from confsec.protocol.statement_policy import StatementPolicy, StatementRule
from confsec.testing import LocalSigstore, check_any_bytes, damaged
from tests.protocol.statement_cases import AT, RELEASE
from tests.support import load_vectors, needs_packages

needs_packages("sigstore")

from confsec.backends import sigstore  # noqa: E402 - it needs the extra
from confsec.backends.sigstore import MAX_TRUSTED_ROOT, SigstoreVerifier  # noqa: E402 - as above

GITHUB = "https://token.actions.githubusercontent.com"
BEACON = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon"
WORKFLOW = f"{BEACON}/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main"
SIGNER = SigstoreIdentity("beacon", GITHUB, WORKFLOW)
ANY_WORKFLOW = SigstoreIdentity("beacon", GITHUB, f"^{BEACON}/[.]github/workflows/.*@refs/heads/main$")
STRANGER = SigstoreIdentity("stranger", GITHUB, "https://github.com/evil/evil")
OTHER_ISSUER = SigstoreIdentity("beacon", "https://accounts.google.com", WORKFLOW)

ISSUER = "https://token.example"
CAROL = SigstoreIdentity("carol", ISSUER, "carol@example.com")
RELEASES = SigstoreIdentity("releases", ISSUER, "^https://git[.]example/me/.*@refs/tags/v[0-9]+$")
INSTANCE = LocalSigstore()
VERIFIER = SigstoreVerifier(INSTANCE.trusted_root)
STATEMENT = RELEASE.to_statement(*RELEASE.subjects())
BUNDLE = INSTANCE.sign_statement(STATEMENT, issuer=ISSUER, subject=CAROL.subject, at=AT)
FILE = b"an artifact"
FILE_BUNDLE = INSTANCE.sign_artifact(FILE, issuer=ISSUER, subject=CAROL.subject, at=AT)


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail whatever asks the network, or the root that comes with sigstore-python."""

    def refuse(*args: object, **options: object) -> NoReturn:
        raise AssertionError("somebody is asked")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("sigstore._internal.tuf.TrustUpdater.__init__", refuse)


def digest(data: bytes) -> bytes:
    return sha256(data).digest()


def changed(bundle: bytes, *path: str | int, to: Any) -> bytes:
    """Return a bundle with another value at a path."""
    value = place = json.loads(bundle)
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    return json.dumps(value).encode()


# --- What others published


@pytest.fixture
def published(shared_vectors: Path) -> Path:
    return shared_vectors / "sigstore"


@pytest.fixture
def production(published: Path) -> SigstoreVerifier:
    return SigstoreVerifier.from_file(published / "trusted_root" / "production.json")


@pytest.fixture
def artifact(published: Path) -> bytes:
    return digest((published / "a.txt").read_bytes())


@pytest.fixture
def happy(published: Path) -> bytes:
    return (published / "conformance" / "happy-path-v0.3" / "bundle.sigstore.json").read_bytes()


@pytest.fixture
def envelope(published: Path) -> bytes:
    return (published / "conformance" / "happy-path-intoto-in-dsse-v3" / "bundle.sigstore.json").read_bytes()


@pytest.fixture
def envelope_signer(published: Path) -> SigstoreIdentity:
    cases = load_vectors(published / "cases.json")["cases"]
    params = next(case["params"] for case in cases if case["id"] == "happy-path-intoto-in-dsse-v3")
    return SigstoreIdentity("workflow", params["issuer"], params["identity"])


@pytest.mark.vectors
@pytest.mark.parametrize("identity", [SIGNER, ANY_WORKFLOW])
def test_a_published_signature_of_a_file_verifies(
    production: SigstoreVerifier, happy: bytes, artifact: bytes, identity: SigstoreIdentity
) -> None:
    signed = production.verify_artifact(happy, artifact, [STRANGER, identity])
    assert (signed.identity, signed.subject, signed.digest) == (identity, WORKFLOW, artifact)


@pytest.mark.vectors
def test_a_published_envelope_verifies(
    production: SigstoreVerifier, envelope: bytes, artifact: bytes, envelope_signer: SigstoreIdentity
) -> None:
    signed = production.verify_envelope(envelope, [envelope_signer])
    assert signed.payload_type == PAYLOAD_TYPE
    statement = Statement.decode_foreign(signed.payload)
    assert [(each.name, each.digest) for each in statement.subjects] == [("a.txt", artifact)]
    assert production.verify_artifact(envelope, artifact, [envelope_signer]).digest == artifact
    with pytest.raises(TransparencyError, match="not about this file"):
        production.verify_artifact(envelope, digest(b"other"), [envelope_signer])


@pytest.mark.vectors
@pytest.mark.parametrize("identities", [[STRANGER], [OTHER_ISSUER], [STRANGER, OTHER_ISSUER], []])
def test_somebody_else_did_not_sign(
    production: SigstoreVerifier, happy: bytes, artifact: bytes, identities: list[SigstoreIdentity]
) -> None:
    with pytest.raises(TransparencyError, match="somebody else signed"):
        production.verify_artifact(happy, artifact, identities)


@pytest.mark.vectors
def test_another_file_was_not_signed(production: SigstoreVerifier, happy: bytes) -> None:
    with pytest.raises(VerificationError, match="digest mismatch"):
        production.verify_artifact(happy, digest(b"other"), [SIGNER])


@pytest.mark.vectors
def test_another_root_does_not_stand_by_it(published: Path, happy: bytes, artifact: bytes) -> None:
    for verifier in (SigstoreVerifier.from_file(published / "trusted_root" / "staging.json"), VERIFIER):
        with pytest.raises(VerificationError):
            verifier.verify_artifact(happy, artifact, [SIGNER])


@pytest.mark.vectors
def test_a_published_bundle_cannot_be_tampered_with(
    production: SigstoreVerifier, envelope: bytes, envelope_signer: SigstoreIdentity
) -> None:
    good = production.verify_envelope(envelope, [envelope_signer])
    payload = changed(envelope, "dsseEnvelope", "payload", to="e30=")
    for bad in (payload, changed(envelope, "dsseEnvelope", "payloadType", to="text/plain")):
        with pytest.raises(VerificationError, match="invalid signature"):
            production.verify_envelope(bad, [envelope_signer])
    for _, (bad,) in (each for each in damaged([envelope]) if len(each[1]) == 1):
        _refused_or_same(production, bad, envelope_signer, good.payload)


def _refused_or_same(verifier: SigstoreVerifier, bundle: bytes, identity: SigstoreIdentity, payload: bytes) -> None:
    """What nobody signed may change, and then the payload is what it was."""
    try:
        signed = verifier.verify_envelope(bundle, [identity])
    except ConfsecError:
        return
    assert signed.payload == payload


# --- What an instance of our own signs


def test_a_policy_believes_a_statement_that_was_signed_with_sigstore() -> None:
    rule = StatementRule(
        signers=(CAROL, RELEASES), threshold=1, subject_names=None, max_age=timedelta(days=1), newest_only=False
    )
    policy = StatementPolicy({Release.TYPE: rule}, bundles=VERIFIER)
    verified = policy.verify(BUNDLE, predicate_type=Release.TYPE, at=AT)
    assert (verified.predicate, verified.signers) == (RELEASE, (CAROL,))
    workflow = "https://git.example/me/.ci/release@refs/tags/v7"
    bundle = INSTANCE.sign_statement(STATEMENT, issuer=ISSUER, subject=workflow, at=AT)
    assert policy.verify(bundle, predicate_type=Release.TYPE, at=AT).signers == (RELEASES,)
    with pytest.raises(TransparencyError, match="too old"):
        policy.verify(BUNDLE, predicate_type=Release.TYPE, at=AT + timedelta(days=2))
    for issuer, subject in ((ISSUER, "evil@example.com"), ("https://evil.example", CAROL.subject)):
        bundle = INSTANCE.sign_statement(STATEMENT, issuer=issuer, subject=subject, at=AT)
        with pytest.raises(TransparencyError, match="somebody else signed"):
            policy.verify(bundle, predicate_type=Release.TYPE, at=AT)


def test_an_instance_does_not_stand_by_what_another_signed() -> None:
    other = LocalSigstore()
    with pytest.raises(VerificationError, match="does not verify"):
        SigstoreVerifier(other.trusted_root).verify_envelope(BUNDLE, [CAROL])


def test_an_envelope_with_anything_else_is_opened_and_vouches_for_no_file() -> None:
    bundle = INSTANCE.sign_envelope("text/plain", FILE, issuer=ISSUER, subject=CAROL.subject, at=AT)
    assert VERIFIER.verify_envelope(bundle, [CAROL]).payload_type == "text/plain"
    with pytest.raises(TransparencyError, match="something else"):
        VERIFIER.verify_artifact(bundle, digest(FILE), [CAROL])


def test_a_signed_file_is_no_envelope() -> None:
    assert VERIFIER.verify_artifact(FILE_BUNDLE, digest(FILE), [CAROL]).identity == CAROL
    with pytest.raises(DecodeError, match="no envelope"):
        VERIFIER.verify_envelope(FILE_BUNDLE, [CAROL])


def test_a_file_is_named_by_32_bytes() -> None:
    with pytest.raises(DecodeError, match="32 bytes"):
        VERIFIER.verify_artifact(FILE_BUNDLE, digest(FILE)[:31], [CAROL])


ENTRY = ("verificationMaterial", "tlogEntries", 0)


@pytest.mark.parametrize(
    "bundle",
    [
        changed(BUNDLE, "mediaType", to="application/vnd.dev.sigstore.bundle.v9+json"),
        changed(BUNDLE, "messageSignature", to=json.loads(FILE_BUNDLE)["messageSignature"]),
        changed(BUNDLE, "message_signature", to=json.loads(FILE_BUNDLE)["messageSignature"]),
        changed(BUNDLE, "verificationMaterial", "certificate", "rawBytes", to="AAAA"),
        changed(BUNDLE, "verificationMaterial", "tlogEntries", to=[]),
        changed(BUNDLE, *ENTRY, "integratedTime", to="x"),
        BUNDLE.replace(b'{"mediaType"', b'{"mediaType": "", "mediaType"', 1),
        BUNDLE[:-1],
        b"[]",
        b"{}",
        b"\xff",
        b'{"dsseEnvelope":' + b"[" * 100 + b"]" * 100 + b"}",
    ],
)
def test_what_is_no_bundle_cannot_be_read(bundle: bytes) -> None:
    with pytest.raises(DecodeError):
        VERIFIER.verify_envelope(bundle, [CAROL])


@pytest.mark.parametrize(
    "bundle",
    [
        changed(BUNDLE, *ENTRY, "integratedTime", to=str(int(AT.timestamp()) + 3600)),
        changed(BUNDLE, *ENTRY, "integratedTime", to=str(1 << 62)),
        changed(BUNDLE, *ENTRY, "logId", "keyId", to="AAAA"),
        changed(BUNDLE, *ENTRY, "inclusionPromise", "signedEntryTimestamp", to="AAAA"),
        changed(BUNDLE, *ENTRY, "inclusionProof", "treeSize", to="2"),
        changed(BUNDLE, *ENTRY, "inclusionProof", "checkpoint", "envelope", to="log\n1\n\n"),
        changed(BUNDLE, *ENTRY, "canonicalizedBody", to="e30="),
        changed(BUNDLE, *ENTRY, "kindVersion", "kind", to="intoto"),
        changed(BUNDLE, "dsseEnvelope", "signatures", to=[]),
        changed(BUNDLE, "dsseEnvelope", "signatures", 0, "sig", to="AAAA"),
        changed(BUNDLE, *ENTRY, to=json.loads(FILE_BUNDLE)["verificationMaterial"]["tlogEntries"][0]),
        changed(BUNDLE, "verificationMaterial", to=json.loads(FILE_BUNDLE)["verificationMaterial"]),
    ],
)
def test_what_was_tampered_with_does_not_verify(bundle: bytes) -> None:
    with pytest.raises(VerificationError, match="does not verify"):
        VERIFIER.verify_envelope(bundle, [CAROL])


def test_a_bundle_is_bounded() -> None:
    with pytest.raises(LimitError):
        VERIFIER.verify_envelope(BUNDLE + b" " * MAX_BUNDLE, [CAROL])


@given(st.binary())
def test_any_bytes_are_refused_with_an_error_of_ours(data: bytes) -> None:
    check_any_bytes(lambda data: VERIFIER.verify_envelope(data, [CAROL]), data)


def test_what_is_refused_is_said_in_one_short_line() -> None:
    bundle = INSTANCE.sign_artifact(FILE, issuer="https://evil.example/\x1b[2J" + "x" * 2000, subject="a@b.c", at=AT)
    with pytest.raises(TransparencyError) as caught:
        VERIFIER.verify_artifact(bundle, digest(FILE), [CAROL])
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


# --- Trusted roots


def changed_ca(*, certificates: list[dict[str, str]]) -> dict[str, Any]:
    (authority,) = json.loads(INSTANCE.trusted_root)["certificateAuthorities"]
    return {**authority, "certChain": {"certificates": certificates}}


def test_the_trusted_root_is_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "trusted_root.json"
    path.write_bytes(INSTANCE.trusted_root)
    assert SigstoreVerifier.from_file(path).verify_envelope(BUNDLE, [CAROL]).payload == STATEMENT.encode()
    with pytest.raises(ConfigError, match="No such file"):
        SigstoreVerifier.from_file(tmp_path / "nothing.json")


@pytest.mark.parametrize(
    "root",
    [
        b"", b"{}", b"[]", b"\xff",
        INSTANCE.trusted_root + b" " * MAX_TRUSTED_ROOT,
        INSTANCE.trusted_root.replace(b'{"mediaType"', b'{"mediaType": "", "mediaType"', 1),
        changed(INSTANCE.trusted_root, "mediaType", to="application/json"),
        changed(INSTANCE.trusted_root, "tlogs", to=[]),
        changed(INSTANCE.trusted_root, "certificateAuthorities", to=[]),
        changed(INSTANCE.trusted_root, "certificateAuthorities", 0, "certChain", "certificates", to=[]),
        changed(
            INSTANCE.trusted_root, "timestampAuthorities",
            to=[changed_ca(certificates=[{"rawBytes": "AAAA"}])],
        ),
    ],
)  # fmt: skip
def test_a_trusted_root_that_cannot_be_used_is_a_wrong_setting(root: bytes) -> None:
    with pytest.raises(ConfigError, match="cannot be used"):
        SigstoreVerifier(root)


def validity(start: str, end: str | None = None) -> SigstoreVerifier:
    period = {"start": start} | ({} if end is None else {"end": end})
    return SigstoreVerifier(changed(INSTANCE.trusted_root, "tlogs", 0, "publicKey", "validFor", to=period))


@pytest.mark.parametrize(
    ("start", "end"), [("2026-11-28T07:00:00Z", None), ("2020-01-01T00:00:00Z", "2026-11-28T07:00:00Z")]
)
def test_a_log_counts_while_it_is_in_service(start: str, end: str | None) -> None:
    assert validity(start, end).verify_envelope(BUNDLE, [CAROL]).payload == STATEMENT.encode()


@pytest.mark.parametrize(
    ("start", "end"), [("2026-11-28T07:00:01Z", None), ("2020-01-01T00:00:00Z", "2026-11-28T06:59:59Z")]
)
def test_a_log_does_not_count_when_it_is_not_in_service(start: str, end: str | None) -> None:
    with pytest.raises(VerificationError, match="not in service"):
        validity(start, end).verify_envelope(BUNDLE, [CAROL])


def test_a_log_that_the_root_names_otherwise_does_not_count() -> None:
    root = changed(INSTANCE.trusted_root, "tlogs", 0, "logId", "keyId", to="AAAA")
    with pytest.raises(VerificationError, match="not in service"):
        SigstoreVerifier(root).verify_envelope(BUNDLE, [CAROL])


@pytest.mark.vectors
@pytest.mark.parametrize(("end", "good"), [("2025-09-04T00:00:00Z", True), ("2025-05-01T00:00:00Z", False)])
def test_a_log_whose_times_nobody_signs_has_to_serve_while_the_certificate_holds(
    published: Path,
    end: str,
    good: bool,  # noqa: FBT001 - a column
) -> None:
    root = json.loads((published / "trusted_root" / "staging.json").read_bytes())
    folder = published / "sigstore-python"
    bundle = (folder / "staging-rekor-v2.txt.sigstore.json").read_bytes()
    log_id = json.loads(bundle)["verificationMaterial"]["tlogEntries"][0]["logId"]
    for log in root["tlogs"]:
        if log["logId"] == log_id:
            log["publicKey"]["validFor"]["end"] = end
    verifier = SigstoreVerifier(json.dumps(root).encode())
    signer = SigstoreIdentity("signer", "https://github.com/login/oauth", "jku@goto.fi")
    signed = digest((folder / "staging-rekor-v2.txt").read_bytes())
    if good:
        assert verifier.verify_artifact(bundle, signed, [signer]).subject == "jku@goto.fi"
        return
    with pytest.raises(VerificationError, match="not in service"):
        verifier.verify_artifact(bundle, signed, [signer])


# --- Whom a certificate names


OLD_ISSUER = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1"), ISSUER.encode())
NEW_ISSUER = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8"), asn1.encode_der(ISSUER))
OTHER_OLD = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1"), b"https://evil.example")
USER_NAME = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.7")
MAIL = x509.RFC822Name(CAROL.subject)


def certificate(names: list[x509.GeneralName], *extensions: x509.ExtensionType) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateBuilder(x509.Name([]), x509.Name([]), key.public_key(), 1)
    builder = builder.not_valid_before(AT).not_valid_after(AT + timedelta(minutes=10))
    for extension in (x509.SubjectAlternativeName(names), *extensions):
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, SHA256())


@pytest.mark.parametrize(
    ("names", "extensions"),
    [
        ([MAIL], [OLD_ISSUER]),
        ([MAIL], [NEW_ISSUER]),
        ([MAIL], [OLD_ISSUER, NEW_ISSUER]),
        ([x509.UniformResourceIdentifier(CAROL.subject)], [NEW_ISSUER]),
        ([x509.OtherName(USER_NAME, asn1.encode_der(CAROL.subject))], [NEW_ISSUER]),
    ],
)
def test_a_certificate_names_one_identity_of_one_issuer(
    names: list[x509.GeneralName], extensions: list[x509.ExtensionType]
) -> None:
    signer = sigstore._Signer([CAROL])
    signer.verify(certificate(names, *extensions))
    assert signer.found()[:2] == (CAROL, CAROL.subject)


@pytest.mark.parametrize(
    ("names", "extensions"),
    [
        ([MAIL], []),
        ([MAIL], [OTHER_OLD, NEW_ISSUER]),
        ([MAIL, MAIL], [NEW_ISSUER]),
        ([MAIL, x509.RFC822Name("evil@example.com")], [NEW_ISSUER]),
        ([x509.DNSName("example.com")], [NEW_ISSUER]),
        ([x509.OtherName(x509.ObjectIdentifier("1.2.3"), asn1.encode_der(CAROL.subject))], [NEW_ISSUER]),
    ],
)
def test_a_certificate_that_names_nobody_or_several_is_refused(
    names: list[x509.GeneralName], extensions: list[x509.ExtensionType]
) -> None:
    with pytest.raises(VerificationError, match="names n"):
        sigstore._Signer([CAROL]).verify(certificate(names, *extensions))


def test_nobody_is_found_before_the_certificate_was_looked_at() -> None:
    with pytest.raises(VerificationError, match="nobody looked"):
        sigstore._Signer([CAROL]).found()


# --- What is not installed


def test_without_the_extra_it_says_what_to_type() -> None:
    program = "import sys; sys.modules['sigstore'] = None; import confsec.backends.sigstore"
    finished = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert finished.returncode == 1
    assert "MissingExtraError" in finished.stderr
    assert "pip install 'confsec-protocol[sigstore]'" in finished.stderr


def test_who_has_no_trusted_root_needs_no_extra(tmp_path: Path) -> None:
    path = tmp_path / "trusted_root.json"
    path.write_bytes(INSTANCE.trusted_root)
    assert isinstance(open_trusted_root(path), SigstoreVerifier)
    program = (
        "import sys; sys.modules['sigstore'] = None; from confsec.backends.trusted_root import open_trusted_root;"
        "print(open_trusted_root(None))"
    )
    finished = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert finished.stdout == "None\n"
