"""Certificates of attestation keys and of endorsement keys, and the path from either to a root.

Clouds certify an AK as the key of one machine; manufacturers certify an EK as the key of one TPM (TCG EK Credential
Profile 2.5 for TPM Family 2.0). The small checks of `x509.py` are joined here for whoever wants all of them at once,
such as a registrar; the verifier has a row of its table for each.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Final, Self

from attrs import frozen
from cryptography.hazmat import asn1

from confsec.errors import DecodeError, EvidenceError
from confsec.tee import der
from confsec.tee.simulated.roots import SIMULATED_OID
from confsec.tee.x509 import (
    BASIC_CONSTRAINTS,
    EXTENDED_KEY_USAGE,
    KEY_USAGE,
    SUBJECT_ALTERNATIVE_NAME,
    Certificate,
    decode_chain,
    find_path,
    verify_certificate_signature,
    verify_extensions,
    verify_is_authority,
    verify_path_length,
    verify_root,
    verify_signs_certificates,
    verify_valid_at,
)
from confsec.tee.x509_names import decode_name

__all__ = [
    "EK_CERTIFICATE_PURPOSE",
    "GCE_INSTANCE_OID",
    "CertificatePath",
    "GceInstance",
    "verify_ak_usage",
    "verify_ek_name",
    "verify_ek_purpose",
    "verify_ek_usage",
    "verify_no_authority",
    "verify_path",
]

EK_CERTIFICATE_PURPOSE: Final = "2.23.133.8.1"
"""tcg-kp-EKCertificate (TCG EK Credential Profile 2.5, section 3.5)."""

GCE_INSTANCE_OID: Final = "1.3.6.1.4.1.11129.2.1.21"
"""The extension in which Google Compute Engine tells which instance an AK is of."""

_KNOWN: Final = (BASIC_CONSTRAINTS, EXTENDED_KEY_USAGE, KEY_USAGE, SUBJECT_ALTERNATIVE_NAME, SIMULATED_OID)
_RECURRING: Final = 16
"""How many chains are remembered when their signatures were good: a TPM's come back with each epoch."""

_DIGITAL_SIGNATURE: Final = 0
_KEY_ENCIPHERMENT: Final = 2
_KEY_AGREEMENT: Final = 4
_DIRECTORY_NAME: Final = 4
_TPM_ATTRIBUTES: Final = {
    "manufacturer": "2.23.133.2.1",
    "model": "2.23.133.2.2",
    "version": "2.23.133.2.3",
}
_EK_PROFILE: Final = "TCG EK Credential Profile 2.5"
_PATH: Final = "RFC 5280, section 6.1"


@frozen(eq=False)
class CertificatePath:
    """Certificates from a leaf to a root, each after the one that names it as its issuer."""

    certificates: tuple[Certificate, ...]
    """At least one. Whether the last one is a root is to be checked."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a chain: the leaf first, the rest in any order. Raises `DecodeError` and `LimitError`."""
        chain = decode_chain(data)
        if not chain:
            raise DecodeError("a chain has no certificate", want="at least one")
        return cls(find_path(chain[0], chain[1:]))

    @property
    def leaf(self) -> Certificate:
        """The certificate of the key."""
        return self.certificates[0]

    @property
    def root(self) -> Certificate:
        """The last certificate."""
        return self.certificates[-1]

    @property
    def expires(self) -> datetime:
        """When the first of them ends."""
        return min(each.not_after for each in self.certificates)

    def verify_complete(self) -> None:
        """Check that the path ends at a root, and not at the leaf itself. Raises `EvidenceError`."""
        if len(self.certificates) < 2 or not self.root.self_issued:
            raise EvidenceError(
                "the chain does not lead to a root", got=self.root.issuer.text, want="its certificate", section=_PATH
            )

    def verify_signatures(self) -> None:
        """Check that each certificate is signed by the next one. A root is known by its digest, and not by itself."""
        _verify_signatures(self)

    def verify_authorities(self) -> None:
        """Check that all but the leaf are authorities."""
        _verify_authorities(self)

    def verify_usage(self) -> None:
        """Check that the keys of all but the leaf are for signing certificates."""
        _verify_usage(self)

    def verify_lengths(self) -> None:
        """Check that no authority has more authorities below it than it may."""
        _verify_lengths(self)

    def verify_valid(self, at: datetime) -> None:
        """Check that all of them are valid at a time."""
        for certificate in self.certificates:
            verify_valid_at(certificate, at)

    def verify_extensions(self) -> None:
        """Check that no critical extension is unknown: an EK's alternative name is looked at by `verify_ek_name`."""
        for certificate in self.certificates:
            verify_extensions(certificate, known=_KNOWN)


# What follows from the bytes of a path alone is remembered if it was good. Paths are compared by identity.


@lru_cache(_RECURRING)
def _verify_signatures(path: CertificatePath) -> None:
    for certificate, issuer in pairwise(path.certificates):
        verify_certificate_signature(certificate, issuer)


@lru_cache(_RECURRING)
def _verify_authorities(path: CertificatePath) -> None:
    for issuer in path.certificates[1:]:
        verify_is_authority(issuer)


@lru_cache(_RECURRING)
def _verify_usage(path: CertificatePath) -> None:
    for issuer in path.certificates[1:]:
        verify_signs_certificates(issuer)


@lru_cache(_RECURRING)
def _verify_lengths(path: CertificatePath) -> None:
    for below, issuer in enumerate(path.certificates[1:]):
        verify_path_length(issuer, authorities_below=below)


def verify_path(path: CertificatePath, *, trust_anchors: Collection[bytes], at: datetime) -> None:
    """Check a path in full. Raises `EvidenceError`."""
    verify_root(path.root, trust_anchors)
    path.verify_complete()
    path.verify_signatures()
    path.verify_authorities()
    path.verify_usage()
    path.verify_lengths()
    path.verify_valid(at)
    path.verify_extensions()


# --- Leaves -----------------------------------------------------------------------------------------------------------


def verify_no_authority(leaf: Certificate) -> None:
    """Check that the certificate of a key in a TPM is not that of an authority."""
    if leaf.basic_constraints.ca:
        raise EvidenceError("the certificate of a TPM's key is that of an authority", section=_PATH)


def verify_ak_usage(leaf: Certificate) -> None:
    """Check that a certificate is for a key that signs: its key usage has digitalSignature."""
    _require_usage(leaf, {_DIGITAL_SIGNATURE}, "digitalSignature")


def verify_ek_usage(leaf: Certificate) -> None:
    """Check that a certificate is for a key that decrypts: keyEncipherment with RSA, keyAgreement with ECC."""
    _require_usage(leaf, {_KEY_ENCIPHERMENT, _KEY_AGREEMENT}, "keyEncipherment or keyAgreement")


def verify_ek_purpose(leaf: Certificate) -> None:
    """Check that an EK's certificate says that it is one: its extended key usage has tcg-kp-EKCertificate."""
    purposes = leaf.extended_key_usage or frozenset()
    if EK_CERTIFICATE_PURPOSE not in purposes:
        raise EvidenceError(
            "a certificate is not for an endorsement key",
            got=", ".join(sorted(purposes)) or "no purpose",
            want=EK_CERTIFICATE_PURPOSE,
            section=_EK_PROFILE,
        )


def verify_ek_name(leaf: Certificate) -> dict[str, str]:
    """Return manufacturer, model and version of the TPM, from the alternative name, critical where there is no other.

    Raises `EvidenceError` if one of them is missing, and `DecodeError`.
    """
    extension = leaf.extensions.get(SUBJECT_ALTERNATIVE_NAME)
    named = {} if extension is None else _directory_attributes(leaf)
    if not set(_TPM_ATTRIBUTES.values()) <= named.keys():
        raise EvidenceError("an EK's certificate does not name its TPM", want="model, version", section=_EK_PROFILE)
    # "If the subject field is empty, this extension MUST be critical" (section 3.5.7).
    if not leaf.subject.attributes and extension is not None and not extension.critical:
        raise EvidenceError("an EK's certificate has its name where nobody has to look", section=_EK_PROFILE)
    return {word: named[oid] for word, oid in _TPM_ATTRIBUTES.items()}


def _directory_attributes(leaf: Certificate) -> dict[str, str]:
    names = [name.value for name in leaf.subject_alternative_names if name.tag == _DIRECTORY_NAME]
    return dict(attribute for name in names for attribute in decode_name(name).attributes)


def _require_usage(leaf: Certificate, bits: Collection[int], name: str) -> None:
    if not set(bits) & (leaf.key_usage or frozenset()):
        raise EvidenceError(
            "a certificate is for another use of its key",
            got=", ".join(map(str, sorted(leaf.key_usage or ()))) or "none",
            want=name,
            section="RFC 5280, section 4.2.1.3",
        )


# --- Instances of Google Compute Engine -------------------------------------------------------------------------------


@frozen
class GceInstance:
    """Which instance an AK is of, in the words of its certificate (go-tpm-tools, server/instance_info.go)."""

    zone: str
    project_id: str
    instance_name: str
    production: bool
    """The infrastructure is a production one, and not Google's for tests."""

    @classmethod
    def decode(cls, leaf: Certificate) -> Self | None:
        """Read the extension; None where a certificate has none. Raises `DecodeError`."""
        extension = leaf.extensions.get(GCE_INSTANCE_OID)
        if extension is None:
            return None
        instance = der.decode(extension.value, _Instance, "the instance of an AK")
        production = _PRODUCTION in map(der.encode, instance.properties or ())
        return cls(instance.zone, instance.project_id, instance.instance_name, production)


_PRODUCTION: Final = b"\xa1\x03\x01\x01\xff"
"""[1] EXPLICIT BOOLEAN, true: isProduction."""


@asn1.sequence
class _Instance:
    zone: str
    project_number: int
    project_id: str
    instance_id: int
    instance_name: str
    properties: Annotated[list[asn1.TLV] | None, asn1.Explicit(0)]
