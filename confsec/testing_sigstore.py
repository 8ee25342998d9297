"""An instance of Sigstore in memory: what it takes to try a policy that names identities, without any service.

It is a certificate authority that believes whatever identity it is told, a log of certificates, and a log of signatures
whose every tree has one entry. Whoever trusts its root trusts everybody who can call it: never outside of tests.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final, final

from attrs import frozen
from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from confsec.protocol.checkpoint import Checkpoint
from confsec.protocol.dsse import pae
from confsec.protocol.merkle import leaf_hash
from confsec.protocol.statement import PAYLOAD_TYPE, Statement, encode_canonical
from confsec.protocol.wire import encode_base64, encode_uint, encode_vector

__all__ = ["LocalSigstore"]

_ORIGIN: Final = "log.sigstore.example"
_BEGAN: Final = datetime(2020, 1, 1, tzinfo=UTC)
_ENDS: Final = datetime(2100, 1, 1, tzinfo=UTC)
_CERTIFICATE_AGE: Final = timedelta(minutes=10)
_ISSUER: Final = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_ISSUER_V2: Final = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_SCT_LIST: Final = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_ECDSA: Final = ec.ECDSA(SHA256())
_VALID: Final = {"start": "2020-01-01T00:00:00Z"}


@frozen
class _Signer:
    """A key that the instance certified, for one signature."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    at: datetime

    @property
    def pem(self) -> str:
        return encode_base64(self.certificate.public_bytes(Encoding.PEM))


@final
class LocalSigstore:
    """An instance with keys of its own. What one signs, the root of another does not verify."""

    def __init__(self) -> None:
        self._authority_key: Final = ec.generate_private_key(ec.SECP256R1())
        self._certificate_log: Final = ec.generate_private_key(ec.SECP256R1())
        self._log: Final = ec.generate_private_key(ec.SECP256R1())
        self._authority: Final = self._make_authority()

    @property
    def trusted_root(self) -> bytes:
        """The trusted root of the instance, as it stands in a file."""
        chain = {"certificates": [{"rawBytes": encode_base64(self._authority.public_bytes(Encoding.DER))}]}
        authority = {
            "subject": {"organization": "example", "commonName": "ca.sigstore.example"},
            "uri": "https://ca.sigstore.example",
            "certChain": chain,
            "validFor": _VALID,
        }
        return json.dumps(
            {
                "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
                "tlogs": [_log_to_json(self._log)],
                "ctlogs": [_log_to_json(self._certificate_log)],
                "certificateAuthorities": [authority],
                "timestampAuthorities": [],
            }
        ).encode()

    def sign_statement(self, statement: Statement, *, issuer: str, subject: str, at: datetime) -> bytes:
        """Return a bundle with a statement that an identity signs at a time."""
        return self.sign_envelope(PAYLOAD_TYPE, statement.encode(), issuer=issuer, subject=subject, at=at)

    def sign_envelope(self, payload_type: str, payload: bytes, *, issuer: str, subject: str, at: datetime) -> bytes:
        """Return a bundle with an envelope of any type that an identity signs at a time."""
        signer = self._certify(issuer, subject, at)
        signature = encode_base64(signer.key.sign(pae(payload_type, payload), _ECDSA))
        envelope = {
            "payload": encode_base64(payload),
            "payloadType": payload_type,
            "signatures": [{"sig": signature}],
        }
        spec = {
            "envelopeHash": _hash_to_json(encode_canonical(envelope)),
            "payloadHash": _hash_to_json(payload),
            "signatures": [{"signature": signature, "verifier": signer.pem}],
        }
        return self._make_bundle(signer, "dsse", spec, {"dsseEnvelope": envelope})

    def sign_artifact(self, artifact: bytes, *, issuer: str, subject: str, at: datetime) -> bytes:
        """Return a bundle for a file that an identity signs at a time."""
        signer = self._certify(issuer, subject, at)
        digest = sha256(artifact).digest()
        signature = encode_base64(signer.key.sign(digest, ec.ECDSA(Prehashed(SHA256()))))
        spec = {
            "data": {"hash": _hash_to_json(artifact)},
            "signature": {"content": signature, "publicKey": {"content": signer.pem}},
        }
        message = {"messageDigest": {"algorithm": "SHA2_256", "digest": encode_base64(digest)}, "signature": signature}
        return self._make_bundle(signer, "hashedrekord", spec, {"messageSignature": message})

    def _make_bundle(self, signer: _Signer, kind: str, spec: Mapping[str, Any], content: Mapping[str, Any]) -> bytes:
        entry = self._log_entry(kind, encode_canonical({"apiVersion": "0.0.1", "kind": kind, "spec": spec}), signer.at)
        certificate = encode_base64(signer.certificate.public_bytes(Encoding.DER))
        return json.dumps(
            {
                "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
                "verificationMaterial": {"certificate": {"rawBytes": certificate}, "tlogEntries": [entry]},
                **content,
            }
        ).encode()

    def _log_entry(self, kind: str, body: bytes, at: datetime) -> dict[str, Any]:
        """Log an entry in a tree of its own, and promise that it is there: the promise has the time."""
        log_id, root, seconds = _log_id(self._log), leaf_hash(body), int(at.timestamp())
        text = Checkpoint(_ORIGIN, 1, root).encode()
        signature = encode_base64(log_id[:4] + self._log.sign(text.encode(), _ECDSA))
        promised = {"body": encode_base64(body), "integratedTime": seconds, "logID": log_id.hex(), "logIndex": 0}
        return {
            "logIndex": "0",
            "logId": {"keyId": encode_base64(log_id)},
            "kindVersion": {"kind": kind, "version": "0.0.1"},
            "integratedTime": str(seconds),
            "inclusionPromise": {
                "signedEntryTimestamp": encode_base64(self._log.sign(encode_canonical(promised), _ECDSA))
            },
            "inclusionProof": {
                "logIndex": "0",
                "rootHash": encode_base64(root),
                "treeSize": "1",
                "hashes": [],
                "checkpoint": {"envelope": f"{text}\n— {_ORIGIN} {signature}\n"},
            },
            "canonicalizedBody": encode_base64(body),
        }

    def _make_authority(self) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca.sigstore.example")])
        public = self._authority_key.public_key()
        return (
            _builder(name, name, public, _BEGAN, _ENDS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(self._authority_key, SHA256())
        )

    def _certify(self, issuer: str, subject: str, at: datetime) -> _Signer:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.UniformResourceIdentifier(subject) if "://" in subject else x509.RFC822Name(subject)
        authority = self._authority_key.public_key()
        builder = (
            _builder(x509.Name([]), self._authority.subject, key.public_key(), at, at + _CERTIFICATE_AGE)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority), critical=False)
            .add_extension(x509.SubjectAlternativeName([name]), critical=True)
            .add_extension(x509.UnrecognizedExtension(_ISSUER, issuer.encode()), critical=False)
            .add_extension(x509.UnrecognizedExtension(_ISSUER_V2, asn1.encode_der(issuer)), critical=False)
        )
        promise = self._promise(builder.sign(self._authority_key, SHA256()).tbs_certificate_bytes, at)
        promised = builder.add_extension(x509.UnrecognizedExtension(_SCT_LIST, promise), critical=False)
        return _Signer(key, promised.sign(self._authority_key, SHA256()), at)

    def _promise(self, precertificate: bytes, at: datetime) -> bytes:
        """Return the list with one signed timestamp of the log of certificates (RFC 6962, sections 3.2 and 3.3)."""
        time, no_extensions = encode_uint(int(at.timestamp()) * 1000, 8), encode_uint(0, 2)
        entry = sha256(_spki(self._authority_key)).digest() + encode_vector(precertificate, 3)
        signed = b"\0\0" + time + encode_uint(1, 2) + entry + no_extensions
        signature = b"\4\3" + encode_vector(self._certificate_log.sign(signed, _ECDSA), 2)
        timestamp = b"\0" + _log_id(self._certificate_log) + time + no_extensions + signature
        return asn1.encode_der(encode_vector(encode_vector(timestamp, 2), 2))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begins: datetime, ends: datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number())
    return builder.not_valid_before(begins).not_valid_after(ends)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _log_id(key: ec.EllipticCurvePrivateKey) -> bytes:
    return sha256(_spki(key)).digest()


def _log_to_json(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    details = {"rawBytes": encode_base64(_spki(key)), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": _VALID}
    log_id = {"keyId": encode_base64(_log_id(key))}
    return {"baseUrl": f"https://{_ORIGIN}", "hashAlgorithm": "SHA2_256", "publicKey": details, "logId": log_id}


def _hash_to_json(data: bytes) -> dict[str, str]:
    return {"algorithm": "sha256", "value": sha256(data).hexdigest()}
