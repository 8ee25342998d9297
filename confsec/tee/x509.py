"""X.509 certificates and revocation lists, as every kind of evidence needs them (RFC 5280).

Reading is done by `cryptography.hazmat.asn1`, which takes strict DER apart as this file declares it. The certificate
reader of the same package is not used: AMD's chip certificates have the serial number 0, which it announces to refuse.
The bytes that are signed are kept exactly as they came.

The checks are small and separate, so that each verifier can make each of them a row of its table. Each of them raises
`EvidenceError`; none of them implies another. A path to a root is good only when all of them were made.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import Annotated, Final, NamedTuple, Self

from attrs import field, frozen
from cryptography.hazmat import asn1
from cryptography.x509 import ObjectIdentifier

from confsec.errors import DecodeError, EvidenceError, LimitError, UnsupportedError
from confsec.tee.der import decode, elements, encode, parse, split_elements
from confsec.tee.x509_base import (
    Extension,
    ExtensionSyntax,
    decode_extensions,
    decode_signed,
    is_pem,
    pem_blocks,
    same_algorithm,
    verify_no_critical,
    whole_bytes,
)
from confsec.tee.x509_crl import MAX_CRL, RevocationList
from confsec.tee.x509_names import MAX_NAME, GeneralName, Name, decode_general_names, decode_name
from confsec.tee.x509_signatures import PublicKey, algorithm_name, load_public_key, verify_signature

__all__ = [
    "BASIC_CONSTRAINTS",
    "CLOCK_SKEW",
    "CRL_DISTRIBUTION_POINTS",
    "EXTENDED_KEY_USAGE",
    "KEY_USAGE",
    "MAX_CERTIFICATE",
    "MAX_CHAIN",
    "MAX_CRL",
    "SUBJECT_ALTERNATIVE_NAME",
    "BasicConstraints",
    "Certificate",
    "Extension",
    "GeneralName",
    "Name",
    "PublicKey",
    "RevocationList",
    "decode_chain",
    "encode_chain",
    "find_path",
    "pem_blocks",
    "verify_certificate_signature",
    "verify_crl_current",
    "verify_crl_extensions",
    "verify_crl_issuer",
    "verify_crl_signature",
    "verify_extensions",
    "verify_is_authority",
    "verify_issuer_name",
    "verify_not_revoked",
    "verify_path_length",
    "verify_root",
    "verify_signs_certificates",
    "verify_signs_crls",
    "verify_valid_at",
]

CLOCK_SKEW: Final = timedelta(minutes=10)
"""How long before its first moment something is accepted: clocks of issuers run fast. What has ended has ended."""

MAX_CERTIFICATE: Final = 16 << 10
"""A certificate has at most 16 KiB: those of vendors have 2."""

MAX_CHAIN: Final = 10
"""At most ten certificates come together: the longest path that we know has five."""

BASIC_CONSTRAINTS: Final = "2.5.29.19"
"""RFC 5280, section 4.2.1.9."""

KEY_USAGE: Final = "2.5.29.15"
"""RFC 5280, section 4.2.1.3."""

SUBJECT_ALTERNATIVE_NAME: Final = "2.5.29.17"
"""RFC 5280, section 4.2.1.6."""

CRL_DISTRIBUTION_POINTS: Final = "2.5.29.31"
"""RFC 5280, section 4.2.1.13."""

EXTENDED_KEY_USAGE: Final = "2.5.29.37"
"""RFC 5280, section 4.2.1.12."""

_SECTION: Final = "RFC 5280, section 4.1"
_PATH: Final = "RFC 5280, section 6.1"
_RECURRING_CERTIFICATES: Final = 64
"""How many certificates are remembered: those of authorities come back with each evidence."""
_KEY_CERT_SIGN: Final = 5
_CRL_SIGN: Final = 6

# --- Structures -------------------------------------------------------------------------------------------------------


@asn1.sequence
class _Validity:
    not_before: asn1.UTCTime | asn1.GeneralizedTime
    not_after: asn1.UTCTime | asn1.GeneralizedTime


@asn1.sequence
class _TbsCertificate:
    version: Annotated[int, asn1.Explicit(0), asn1.Default(0)]
    serial: int
    signature_algorithm: asn1.TLV
    issuer: asn1.TLV
    validity: _Validity
    subject: asn1.TLV
    public_key: asn1.TLV
    issuer_id: Annotated[asn1.BitString | None, asn1.Implicit(1)]
    subject_id: Annotated[asn1.BitString | None, asn1.Implicit(2)]
    extensions: Annotated[list[ExtensionSyntax] | None, asn1.Explicit(3)]


@asn1.sequence
class _BasicConstraints:
    ca: Annotated[bool, asn1.Default(value=False)]
    path_length: int | None


# --- Values -----------------------------------------------------------------------------------------------------------


class BasicConstraints(NamedTuple):
    """Whether the subject is an authority (RFC 5280, section 4.2.1.9)."""

    ca: bool
    """It may issue certificates."""

    path_length: int | None
    """How many authorities may follow below it; None sets no limit."""


@frozen(kw_only=True)
class Certificate:
    """A certificate of version 3 (RFC 5280, section 4)."""

    encoded: bytes = field(repr=False)
    """The certificate in DER."""

    tbs: bytes = field(repr=False)
    """What is signed, as it came."""

    serial: int
    """The serial number. AMD's chip certificates have 0."""

    issuer: Name
    subject: Name

    not_before: datetime
    """The first moment."""

    not_after: datetime
    """The last moment."""

    public_key_info: bytes = field(repr=False)
    """SubjectPublicKeyInfo in DER."""

    signature_algorithm: bytes = field(repr=False)
    """AlgorithmIdentifier in DER, the same inside and outside of what is signed."""

    signature: bytes = field(repr=False)

    extensions: Mapping[str, Extension] = field(hash=False)
    """The extensions by object identifier."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a certificate in DER. Raises `DecodeError`, and `LimitError` for more than 16 KiB."""
        signed = decode_signed(data, what="a certificate", limit=MAX_CERTIFICATE)
        tbs = parse(signed.tbs, _TbsCertificate, "a certificate")
        if tbs.version != 2:
            raise DecodeError("a certificate is of another version", want=3, section=_SECTION)
        return cls(
            encoded=data,
            tbs=encode(signed.tbs),
            serial=tbs.serial,
            issuer=decode_name(encode(tbs.issuer)),
            subject=decode_name(encode(tbs.subject)),
            not_before=tbs.validity.not_before.as_datetime(),
            not_after=tbs.validity.not_after.as_datetime(),
            public_key_info=encode(tbs.public_key),
            signature_algorithm=same_algorithm(signed, tbs.signature_algorithm, "a certificate"),
            signature=whole_bytes(signed.signature, "a certificate"),
            extensions=decode_extensions(tbs.extensions, "a certificate"),
        )

    @classmethod
    def decode_pem(cls, data: bytes) -> Self:
        """Read the one certificate of a PEM file. Raises as `decode`."""
        blocks = pem_blocks(data, "CERTIFICATE", limit=MAX_CHAIN * MAX_CERTIFICATE)
        if len(blocks) != 1:
            raise DecodeError("a PEM file has another number of certificates", got=len(blocks), want=1)
        return cls.decode(blocks[0])

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the certificate: 32 bytes."""
        return sha256(self.encoded).digest()

    @property
    def public_key(self) -> PublicKey:
        """The subject's key. Raises `DecodeError`, and `UnsupportedError` for one of a kind that we do not use."""
        return load_public_key(self.public_key_info)

    @property
    def algorithm(self) -> str:
        """How it is signed: `RSASSA-PSS SHA384`, for instance. Nothing for a way that is not accepted."""
        return algorithm_name(self.signature_algorithm)

    @property
    def self_issued(self) -> bool:
        """Whether subject and issuer have one name: so it is with roots."""
        return self.subject == self.issuer

    @property
    def basic_constraints(self) -> BasicConstraints:
        """Whether the subject is an authority: not, where the extension is missing. Raises `DecodeError`."""
        extension = self.extensions.get(BASIC_CONSTRAINTS)
        if extension is None:
            return BasicConstraints(ca=False, path_length=None)
        value = decode(extension.value, _BasicConstraints, "basic constraints")
        if value.path_length is not None and (value.path_length < 0 or not value.ca):
            raise DecodeError("basic constraints with a path length that means nothing", section="RFC 5280, 4.2.1.9")
        return BasicConstraints(value.ca, value.path_length)

    @property
    def key_usage(self) -> frozenset[int] | None:
        """The bits that are set, by number; None where the extension is missing. Raises `DecodeError`."""
        extension = self.extensions.get(KEY_USAGE)
        if extension is None:
            return None
        bits = decode(extension.value, asn1.BitString, "key usage").as_bytes()
        return frozenset(index for index in range(8 * len(bits)) if bits[index // 8] & 0x80 >> index % 8)

    @property
    def extended_key_usage(self) -> frozenset[str] | None:
        """The purposes, as object identifiers; None where the extension is missing. Raises `DecodeError`."""
        extension = self.extensions.get(EXTENDED_KEY_USAGE)
        if extension is None:
            return None
        if len(extension.value) > MAX_NAME:
            raise LimitError("extended key usage is too long", got=f"{len(extension.value)} bytes")
        purposes = elements(extension.value, "extended key usage")
        return frozenset(decode(each, ObjectIdentifier, "extended key usage").dotted_string for each in purposes)

    @property
    def subject_alternative_names(self) -> tuple[GeneralName, ...]:
        """The subject's other names. Raises `DecodeError`."""
        extension = self.extensions.get(SUBJECT_ALTERNATIVE_NAME)
        return () if extension is None else decode_general_names(extension.value)

    @property
    def crl_urls(self) -> tuple[str, ...]:
        """Where the issuer says that its revocation lists are. Raises `DecodeError`."""
        extension = self.extensions.get(CRL_DISTRIBUTION_POINTS)
        return () if extension is None else _decode_distribution_points(extension.value)


# --- Files ------------------------------------------------------------------------------------------------------------


def decode_chain(data: bytes) -> tuple[Certificate, ...]:
    """Read up to ten certificates: PEM, or DER one after the other. Their order is as it came.

    Raises `DecodeError` and `LimitError`.
    """
    if len(data) > 2 * MAX_CHAIN * MAX_CERTIFICATE:
        raise LimitError("a chain of certificates is too long", got=f"{len(data)} bytes")
    blocks = pem_blocks(data, "CERTIFICATE", limit=len(data)) if is_pem(data) else split_elements(data, limit=MAX_CHAIN)
    if len(blocks) > MAX_CHAIN:
        raise LimitError("a chain has too many certificates", got=len(blocks), want=f"at most {MAX_CHAIN}")
    return tuple(_decode_certificate(block) for block in blocks)


@lru_cache(_RECURRING_CERTIFICATES)
def _decode_certificate(data: bytes) -> Certificate:
    """Read a certificate. It follows from these bytes alone, so it may be remembered."""
    return Certificate.decode(data)


def encode_chain(certificates: Sequence[Certificate]) -> bytes:
    """Return certificates in DER, one after the other."""
    return b"".join(certificate.encoded for certificate in certificates)


def find_path(leaf: Certificate, others: Collection[Certificate]) -> tuple[Certificate, ...]:
    """Return the certificates from `leaf` to a root, each after the one that names it as its issuer.

    A root is a certificate that names itself. Nothing is checked but names, and the path may end early. Where two
    certificates have the name, one whose key verifies the signature is taken: so nobody can hide it behind another.
    """
    path = [leaf]
    while not path[-1].self_issued:
        named = [other for other in others if other.subject == path[-1].issuer and other not in path]
        if not named:
            break
        path.append(named[0] if len(named) == 1 else _signer(path[-1], named))
    return tuple(path)


# --- Checks of certificates -------------------------------------------------------------------------------------------


def verify_issuer_name(certificate: Certificate, issuer: Certificate) -> None:
    """Check that a certificate names the subject of `issuer` as its issuer."""
    if certificate.issuer != issuer.subject:
        raise EvidenceError(
            "a certificate names another issuer", got=certificate.issuer.text, want=issuer.subject.text, section=_PATH
        )


def verify_certificate_signature(certificate: Certificate, issuer: Certificate) -> None:
    """Check the signature of a certificate with the key of its issuer; a root is its own."""
    verify_signature(
        f"the certificate {certificate.subject.text}",
        issuer.public_key_info,
        algorithm=certificate.signature_algorithm,
        signature=certificate.signature,
        signed=certificate.tbs,
    )


def verify_is_authority(issuer: Certificate) -> None:
    """Check that an issuer is an authority: its basic constraints say so (RFC 5280, section 4.2.1.9)."""
    if not issuer.basic_constraints.ca:
        raise EvidenceError(
            f"the issuer {issuer.subject.text} is no authority", want="cA", section="RFC 5280, section 4.2.1.9"
        )


def verify_path_length(issuer: Certificate, *, authorities_below: int) -> None:
    """Check that so many authorities, without the leaf, may stand below an issuer (RFC 5280, section 4.2.1.9)."""
    limit = issuer.basic_constraints.path_length
    if limit is not None and authorities_below > limit:
        raise EvidenceError(
            f"too many authorities below {issuer.subject.text}",
            got=authorities_below,
            want=f"at most {limit}",
            section="RFC 5280, section 4.2.1.9",
        )


def verify_signs_certificates(issuer: Certificate) -> None:
    """Check that the key of an issuer may sign certificates (RFC 5280, section 4.2.1.3)."""
    _verify_usage(issuer, _KEY_CERT_SIGN, "keyCertSign")


def verify_valid_at(certificate: Certificate, at: datetime) -> None:
    """Check that a certificate is valid at a time. Its first moment may be up to `CLOCK_SKEW` away."""
    if certificate.not_before - at > CLOCK_SKEW:
        raise EvidenceError(
            f"the certificate {certificate.subject.text} is not valid yet",
            got=f"{at:%Y-%m-%d %H:%M}",
            want=f"from {certificate.not_before:%Y-%m-%d %H:%M}",
            section=_PATH,
        )
    if at > certificate.not_after:
        raise EvidenceError(
            f"the certificate {certificate.subject.text} has expired",
            got=f"{at:%Y-%m-%d %H:%M}",
            want=f"until {certificate.not_after:%Y-%m-%d %H:%M}",
            section=_PATH,
        )


def verify_extensions(certificate: Certificate, *, known: Collection[str]) -> None:
    """Check that a certificate has no critical extension beside those that the caller looks at."""
    verify_no_critical(certificate.extensions, known, f"the certificate {certificate.subject.text}")


def verify_root(root: Certificate, trust_anchors: Collection[bytes]) -> None:
    """Check that a root is one of those trusted: its SHA-256 is among `trust_anchors`."""
    if root.fingerprint not in trust_anchors:
        raise EvidenceError(
            f"the root {root.subject.text} is not among the trust anchors",
            got=root.fingerprint.hex(),
            want=", ".join(sorted(anchor.hex() for anchor in trust_anchors)) or "nothing: no root is trusted",
            section="RFC 5280, section 6.1.1",
        )


# --- Checks of revocation lists ---------------------------------------------------------------------------------------


def verify_signs_crls(issuer: Certificate) -> None:
    """Check that the key of an issuer may sign revocation lists (RFC 5280, section 4.2.1.3)."""
    _verify_usage(issuer, _CRL_SIGN, "cRLSign")


def verify_crl_issuer(crl: RevocationList, issuer: Certificate) -> None:
    """Check that a revocation list names the subject of `issuer` as its issuer."""
    if crl.issuer != issuer.subject:
        raise EvidenceError(
            "a revocation list is of another issuer",
            got=crl.issuer.text,
            want=issuer.subject.text,
            section="RFC 5280, section 6.3",
        )


def verify_crl_signature(crl: RevocationList, issuer: Certificate) -> None:
    """Check the signature of a revocation list with the key of its issuer."""
    verify_signature(
        f"the revocation list of {crl.issuer.text}",
        issuer.public_key_info,
        algorithm=crl.signature_algorithm,
        signature=crl.signature,
        signed=crl.tbs,
    )


def verify_crl_current(crl: RevocationList, at: datetime) -> None:
    """Check that a revocation list is the current one at a time: issued, up to `CLOCK_SKEW`, and not yet due again."""
    if crl.this_update - at > CLOCK_SKEW or at > crl.next_update:
        raise EvidenceError(
            f"the revocation list of {crl.issuer.text} is not current",
            got=f"{at:%Y-%m-%d %H:%M}",
            want=f"{crl.this_update:%Y-%m-%d %H:%M} to {crl.next_update:%Y-%m-%d %H:%M}",
            section="RFC 5280, section 6.3",
        )


def verify_crl_extensions(crl: RevocationList) -> None:
    """Check that a revocation list is a plain one: a critical extension would make it partial, or another's.

    "If a CRL contains a critical CRL entry extension that the application cannot process, then the application MUST NOT
    use that CRL to determine the status of any certificates" (RFC 5280, section 5.3).
    """
    what = f"the revocation list of {crl.issuer.text}"
    verify_no_critical(crl.extensions, (), what)
    if crl.critical_entry_extensions:
        raise EvidenceError(f"{what} has an entry with a critical extension", section="RFC 5280, section 5.3")


def verify_not_revoked(certificate: Certificate, crl: RevocationList) -> None:
    """Check that a certificate is not on the list of its issuer. Which list is its issuer's, the caller has checked."""
    if crl.entry_for(certificate.serial) is not None:
        raise EvidenceError(
            f"the certificate {certificate.subject.text} is revoked",
            got=f"serial number {certificate.serial:#x}",
            section="RFC 5280, section 6.3",
        )


def _signer(certificate: Certificate, issuers: Sequence[Certificate]) -> Certificate:
    """Return the first issuer whose key verifies the signature, else the first."""
    for issuer in issuers:
        with suppress(EvidenceError, DecodeError, UnsupportedError):
            verify_certificate_signature(certificate, issuer)
            return issuer
    return issuers[0]


# --- Parts ------------------------------------------------------------------------------------------------------------


def _decode_distribution_points(data: bytes) -> tuple[str, ...]:
    """Return the URIs of all full names: [0] of DistributionPoint, in it [0] fullName (RFC 5280, 4.2.1.13)."""
    if len(data) > MAX_NAME:
        raise LimitError("distribution points are too long", got=f"{len(data)} bytes", want=f"at most {MAX_NAME}")
    urls: list[str] = []
    for point in elements(data, "a distribution point"):
        for part in elements(point, "a distribution point"):
            if part[0] != 0xA0:
                continue
            name = bytes(decode(part, asn1.TLV, "a distribution point").data)
            if name[:1] == b"\xa0":
                urls += (
                    found.value.decode("ascii", "backslashreplace")
                    for found in decode_general_names(b"\x30" + name[1:])
                    if found.tag == 6
                )
    return tuple(urls)


def _verify_usage(issuer: Certificate, bit: int, name: str) -> None:
    usage = issuer.key_usage
    if usage is None or bit not in usage:
        raise EvidenceError(
            f"the key of {issuer.subject.text} is not for this", want=name, section="RFC 5280, section 4.2.1.3"
        )
