"""Bundles of Sigstore, verified offline by sigstore-python (extra `sigstore`) under the trusted root of a file.

Nobody is asked anything. Roots that come with sigstore-python are not used, nor is TUF, with which it would fetch newer
ones: whoever runs this decides whom to trust, and when that changes. Times come from the bundle, signed; the clock of
this machine only keeps keys of the trusted root from counting before their time.

sigstore-python verifies the certificate, the signed times, the entry of the log and the signature. Bundles are read
strictly before that, and who signed is decided here: exactly one name in the certificate, and one issuer. So is whether
the log was in service then: sigstore-python lets each key of the root count for all times.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self, TypeVar, final

from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import (
    Certificate,
    ExtensionNotFound,
    ObjectIdentifier,
    OtherName,
    RFC822Name,
    SubjectAlternativeName,
    UniformResourceIdentifier,
    UnrecognizedExtension,
)

from confsec.errors import (
    ConfigError,
    ConfsecError,
    DecodeError,
    MissingExtraError,
    TransparencyError,
    VerificationError,
)
from confsec.protocol import json_general
from confsec.protocol.json_members import DIGEST_SIZE
from confsec.protocol.sigstore import MAX_BUNDLE, SignedArtifact, SignedBundle, SigstoreIdentity
from confsec.protocol.statement import PAYLOAD_TYPE, Statement

try:
    from sigstore.hashes import Hashed
    from sigstore.models import Bundle, TrustedRoot
    from sigstore.verify import Verifier
    from sigstore_models.bundle.v1 import Bundle as BundleMessage
    from sigstore_models.common.v1 import HashAlgorithm
    from sigstore_models.trustroot.v1 import TrustedRoot as TrustedRootMessage
except ImportError as _exc:
    raise MissingExtraError("sigstore", extra="sigstore") from _exc

__all__ = ["MAX_TRUSTED_ROOT", "SigstoreVerifier"]

MAX_TRUSTED_ROOT: Final = 1 << 20
"""A trusted root has at most 1 MiB: that of the public instance has seven thousand bytes."""

_T = TypeVar("_T")
_ISSUER: Final = ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_ISSUER_V2: Final = ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_USER_NAME: Final = ObjectIdentifier("1.3.6.1.4.1.57264.1.7")
_OIDS: Final = "Sigstore, fulcio/docs/oid-info.md"
_BUNDLE: Final = "Sigstore, sigstore_bundle.proto"
_ROOT: Final = "Sigstore, sigstore_trustroot.proto"
_CONTENT: Final = frozenset({"dsseEnvelope", "dsse_envelope", "messageSignature", "message_signature"})
_MAX_REASON: Final = 160


# It warns of what it then takes or refuses, and Python prints that where nobody has set up a log.
logging.getLogger("sigstore").addHandler(logging.NullHandler())


@final
class SigstoreVerifier:
    """Verifies bundles under one trusted root. It may be used by several threads, and keeps nothing."""

    def __init__(self, trusted_root: bytes) -> None:
        """Read a trusted root (sigstore_trustroot.proto, as JSON). Raises `ConfigError`."""
        try:
            json_general.decode(trusted_root, what="a trusted root", limit=MAX_TRUSTED_ROOT)
            message = TrustedRootMessage.from_json(trusted_root)
            root = TrustedRoot(message)
            root.get_timestamp_authorities()  # else they are first read when a bundle needs them
            self._verifier: Final = Verifier(trusted_root=root)
        except Exception as exc:
            raise ConfigError(
                "a trusted root of Sigstore cannot be used", got=_reason(exc), section=_ROOT,
                hint="Take trusted_root.json of the instance whose signers you name.",
            ) from exc  # fmt: skip
        self._logs: Final = message.tlogs

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read the trusted root of a file. Raises `ConfigError`."""
        try:
            with path.open("rb") as file:
                data = file.read(MAX_TRUSTED_ROOT + 1)
        except OSError as exc:
            raise ConfigError("the trusted root cannot be read", got=f"{path}: {exc.strerror}") from exc
        return cls(data)

    def verify_envelope(self, bundle: bytes, identities: Sequence[SigstoreIdentity]) -> SignedBundle:
        """Return the payload of a bundle's DSSE envelope, if one of `identities` signed it.

        Raises `DecodeError` and `LimitError` for what is no bundle, `TransparencyError` if somebody else signed it, and
        `VerificationError` for all else that is wrong.
        """
        message = _read(bundle)
        if message.dsse_envelope is None:
            raise DecodeError("a bundle signs a file, and no envelope", section=_BUNDLE)
        return self._verify_envelope(message, identities)

    def verify_artifact(self, bundle: bytes, digest: bytes, identities: Sequence[SigstoreIdentity]) -> SignedArtifact:
        """Check that one of `identities` signed the file with this SHA-256 digest, or a statement that it is about.

        Raises the same as `verify_envelope`.
        """
        if len(digest) != DIGEST_SIZE:
            raise DecodeError("a file has no SHA-256 digest", got=f"{len(digest)} bytes", want=f"{DIGEST_SIZE} bytes")
        message = _read(bundle)
        if message.dsse_envelope is not None:
            signed = self._verify_envelope(message, identities)
            _require_subject(signed, digest)
            return SignedArtifact(signed.identity, signed.subject, digest)
        hashed = Hashed(algorithm=HashAlgorithm.SHA2_256, digest=digest)
        signer = _Signer(identities)
        self._verify(message, lambda bundle: self._verifier.verify_artifact(hashed, bundle, signer))
        identity, subject, _ = signer.found()
        return SignedArtifact(identity, subject, digest)

    def _verify_envelope(self, message: BundleMessage, identities: Sequence[SigstoreIdentity]) -> SignedBundle:
        signer = _Signer(identities)
        payload_type, payload = self._verify(message, lambda bundle: self._verifier.verify_dsse(bundle, signer))
        identity, subject, spki = signer.found()
        return SignedBundle(identity, subject, spki, payload_type, payload)

    def _verify(self, message: BundleMessage, verify: Callable[[Bundle], _T]) -> _T:
        """Let sigstore-python verify a bundle, and check that its log was in service."""
        bundle = _parsed(lambda: Bundle(message))
        try:
            verified = verify(bundle)
            self._check_log(message, bundle.signing_certificate)
        except ConfsecError:
            raise
        except Exception as exc:  # what is in a bundle reaches the parsers of five libraries: they raise what they like
            raise VerificationError("a bundle of Sigstore does not verify", got=_reason(exc)) from exc
        return verified

    def _check_log(self, message: BundleMessage, certificate: Certificate) -> None:
        """Check that the log of the entry counted when it was made: at its time, if that is signed, or the signer's."""
        entry = message.verification_material.tlog_entries[0]
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if entry.integrated_time and entry.inclusion_promise:
            begin = end = datetime.fromtimestamp(entry.integrated_time, UTC)
        periods = [log.public_key.valid_for for log in self._logs if log.log_id.key_id == entry.log_id.key_id]
        if not any(each is None or (each.start <= end and (each.end is None or begin <= each.end)) for each in periods):
            raise VerificationError("the log of a bundle was not in service then", got=f"{begin:%Y-%m-%d %H:%M:%S} UTC")


class _Signer:
    """Who may have signed: sigstore-python calls it a policy, and asks it when the certificate's chain is verified."""

    def __init__(self, identities: Sequence[SigstoreIdentity]) -> None:
        self._identities = identities
        self._found: tuple[SigstoreIdentity, str, bytes] | None = None

    def verify(self, cert: Certificate) -> None:
        """Look for the identity that the certificate names. Raises `VerificationError` and `TransparencyError`."""
        issuer, subject = _issuer_of(cert), _subject_of(cert)
        for identity in self._identities:
            try:
                identity.check(issuer, subject)
            except TransparencyError:
                continue
            spki = cert.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            self._found = identity, subject, spki
            return
        raise TransparencyError(
            "somebody else signed the bundle", got=f"{subject[:_MAX_REASON]!a} of {issuer[:_MAX_REASON]!a}",
            want=", ".join(identity.subject for identity in self._identities) or "somebody",
        )  # fmt: skip

    def found(self) -> tuple[SigstoreIdentity, str, bytes]:
        """Return who signed, exactly who, and with which key. Raises `VerificationError` if nobody was asked."""
        if self._found is None:
            raise VerificationError("nobody looked at the certificate of a bundle")
        return self._found


def _read(data: bytes) -> BundleMessage:
    value = json_general.decode(data, what="a bundle", limit=MAX_BUNDLE)
    members = json_general.as_object(value, what="a bundle")
    # A oneof. With both, sigstore-python verifies one of them with the signed times of the other.
    content = members.keys() & _CONTENT
    if len(content) != 1:
        raise DecodeError("a bundle holds one envelope or one signature", got=len(content), section=_BUNDLE)
    return _parsed(lambda: BundleMessage.from_json(data))


def _parsed(parse: Callable[[], _T]) -> _T:
    try:
        return parse()
    except Exception as exc:
        raise DecodeError("a bundle of Sigstore cannot be read", got=_reason(exc), section=_BUNDLE) from exc


def _require_subject(signed: SignedBundle, digest: bytes) -> None:
    if signed.payload_type != PAYLOAD_TYPE:
        raise TransparencyError("an envelope holds something else", want=PAYLOAD_TYPE)
    if digest not in {subject.digest for subject in Statement.decode_foreign(signed.payload).subjects}:
        raise TransparencyError("a statement is not about this file", want=digest.hex())


def _issuer_of(certificate: Certificate) -> str:
    """Return the issuer of the identity. Old certificates have one extension, new ones two that say the same."""
    found = {
        read(extension)
        for oid, read in ((_ISSUER, bytes.decode), (_ISSUER_V2, _utf8_string))
        if (extension := _extension(certificate, oid)) is not None
    }
    if len(found) != 1:
        raise VerificationError("a certificate names no issuer, or two", got=len(found), want="1", section=_OIDS)
    return found.pop()


def _subject_of(certificate: Certificate) -> str:
    names = list(certificate.extensions.get_extension_for_class(SubjectAlternativeName).value)
    match names:
        case [RFC822Name(value=subject)] | [UniformResourceIdentifier(value=subject)]:
            return subject
        case [OtherName(type_id=oid, value=value)] if oid == _USER_NAME:
            return _utf8_string(value)
        case _:
            raise VerificationError("a certificate names nobody, or several", got=len(names), want="1", section=_OIDS)


def _extension(certificate: Certificate, oid: ObjectIdentifier) -> bytes | None:
    try:
        value = certificate.extensions.get_extension_for_oid(oid).value
    except ExtensionNotFound:
        return None
    return value.value if isinstance(value, UnrecognizedExtension) else value.public_bytes()


def _utf8_string(der: bytes) -> str:
    return asn1.decode_der(str, der)


def _reason(exc: Exception) -> str:
    """Return what an exception says, in one short line: it may quote what a stranger wrote."""
    said, _, _ = str(exc).partition(" [type=")  # what follows in pydantic's sentences is what was read
    text = " ".join(said.split()) or type(exc).__name__
    return ascii(text)[1:-1][:_MAX_REASON]
