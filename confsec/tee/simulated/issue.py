"""Issue certificates and revocation lists with any content, also with what no vendor would write.

`cryptography`'s own builder refuses the serial number 0, which AMD uses, and much of what a verifier has to be tried
with. So the structures are put together here, by the declarations that `confsec.tee.x509` reads them with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from attrs import frozen
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ObjectIdentifier

from confsec.tee.der import NULL, encode_tlv
from confsec.tee.simulated.roots import SIMULATED_OID
from confsec.tee.x509 import (
    BASIC_CONSTRAINTS,
    CRL_DISTRIBUTION_POINTS,
    KEY_USAGE,
    Certificate,
    Extension,
    Name,
    RevocationList,
)
from confsec.tee.x509_names import decode_name

__all__ = [
    "CERT_SIGN",
    "CRL_SIGN",
    "SIMULATED_MARK",
    "PrivateKey",
    "Signer",
    "basic_constraints",
    "crl_distribution_point",
    "encode_oid",
    "issue_certificate",
    "issue_revocation_list",
    "key_usage",
    "make_name",
    "public_key_info",
]

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
"""What can sign here."""

CERT_SIGN: Final = 5
"""The bit keyCertSign of the key usage (RFC 5280, section 4.2.1.3)."""

CRL_SIGN: Final = 6
"""The bit cRLSign."""

SIMULATED_MARK: Final[Mapping[str, Extension]] = {SIMULATED_OID: Extension(critical=True, value=NULL)}
"""The critical extension of every simulated certificate."""

_SEQUENCE: Final = 0x30
_SET: Final = 0x31
_DIGESTS: Final[Mapping[str, tuple[hashes.HashAlgorithm, int]]] = {
    "SHA256": (hashes.SHA256(), 1),
    "SHA384": (hashes.SHA384(), 2),
    "SHA512": (hashes.SHA512(), 3),
}
"""Each with the last part of its object identifier."""


@frozen
class Signer:
    """A key that issues, with the name it issues under and the way it signs."""

    name: Name
    key: PrivateKey

    digest: str = "SHA256"
    """`SHA256`, `SHA384` or `SHA512`."""

    pss: bool = False
    """Whether an RSA key signs with RSASSA-PSS."""

    @property
    def algorithm(self) -> bytes:
        """AlgorithmIdentifier in DER."""
        _, number = _DIGESTS[self.digest]
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            return encode_tlv(_SEQUENCE, encode_oid(f"1.2.840.10045.4.3.{number + 1}"))
        if self.pss:
            return encode_tlv(_SEQUENCE, encode_oid("1.2.840.113549.1.1.10") + self._pss_parameters(number))
        return encode_tlv(_SEQUENCE, encode_oid(f"1.2.840.113549.1.1.{number + 10}") + NULL)

    def sign(self, data: bytes) -> bytes:
        """Sign `data`. The salt of RSASSA-PSS is drawn inside OpenSSL; ECDSA is deterministic (RFC 6979)."""
        digest, _ = _DIGESTS[self.digest]
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            return self.key.sign(data, ec.ECDSA(digest, deterministic_signing=True))
        pss = padding.PSS(padding.MGF1(digest), digest.digest_size)
        return self.key.sign(data, pss if self.pss else padding.PKCS1v15(), digest)

    def _pss_parameters(self, number: int) -> bytes:
        digest = encode_tlv(_SEQUENCE, encode_oid(f"2.16.840.1.101.3.4.2.{number}") + NULL)
        mask = encode_tlv(_SEQUENCE, encode_oid("1.2.840.113549.1.1.8") + digest)
        salt = asn1.encode_der(_DIGESTS[self.digest][0].digest_size)
        return encode_tlv(_SEQUENCE, encode_tlv(0xA0, digest) + encode_tlv(0xA1, mask) + encode_tlv(0xA2, salt))


def issue_certificate(
    signer: Signer,
    *,
    subject: Name,
    public_key: bytes,
    serial: int,
    valid: tuple[datetime, datetime],
    extensions: Mapping[str, Extension],
) -> Certificate:
    """Issue a certificate of version 3 for SubjectPublicKeyInfo `public_key`, valid from and until `valid`."""
    tbs = encode_tlv(
        _SEQUENCE,
        encode_tlv(0xA0, asn1.encode_der(2))
        + asn1.encode_der(serial)
        + signer.algorithm
        + signer.name.encoded
        + encode_tlv(_SEQUENCE, _time(valid[0]) + _time(valid[1]))
        + subject.encoded
        + public_key
        + encode_tlv(0xA3, _extensions(extensions)),
    )
    return Certificate.decode(_signed(signer, tbs))


def issue_revocation_list(
    signer: Signer,
    *,
    current: tuple[datetime, datetime],
    revoked: Sequence[int] = (),
    extensions: Mapping[str, Extension] | None = None,
) -> RevocationList:
    """Issue a revocation list of version 2 that is current from and until `current`."""
    entries = b"".join(encode_tlv(_SEQUENCE, asn1.encode_der(serial) + _time(current[0])) for serial in revoked)
    extensions = {"2.5.29.20": Extension(critical=False, value=asn1.encode_der(1))} | dict(extensions or {})
    tbs = encode_tlv(
        _SEQUENCE,
        asn1.encode_der(1)
        + signer.algorithm
        + signer.name.encoded
        + _time(current[0])
        + _time(current[1])
        + (encode_tlv(_SEQUENCE, entries) if entries else b"")
        + encode_tlv(0xA0, _extensions(extensions)),
    )
    return RevocationList.decode(_signed(signer, tbs))


def make_name(attributes: Sequence[tuple[str, str]]) -> Name:
    """Make a name of UTF8Strings, from object identifiers and texts."""
    relative = (
        encode_tlv(_SET, encode_tlv(_SEQUENCE, encode_oid(oid) + encode_tlv(0x0C, text.encode())))
        for oid, text in attributes
    )
    return decode_name(encode_tlv(_SEQUENCE, b"".join(relative)))


def public_key_info(key: PrivateKey) -> bytes:
    """Return the public key of `key` as SubjectPublicKeyInfo in DER."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def basic_constraints(*, ca: bool, path_length: int | None = None) -> Mapping[str, Extension]:
    """Make the extension, critical."""
    content = b"\x01\x01\xff" if ca else b""
    if path_length is not None:
        content += asn1.encode_der(path_length)
    return {BASIC_CONSTRAINTS: Extension(critical=True, value=encode_tlv(_SEQUENCE, content))}


def key_usage(*bits: int) -> Mapping[str, Extension]:
    """Make the extension, critical, with these bits of the first eight set."""
    value = sum(0x80 >> bit for bit in bits)
    padding_bits = 7 - max(bits)
    return {KEY_USAGE: Extension(critical=True, value=encode_tlv(0x03, bytes((padding_bits, value))))}


def crl_distribution_point(url: str) -> Mapping[str, Extension]:
    """Make the extension with one URI."""
    name = encode_tlv(0xA0, encode_tlv(0xA0, encode_tlv(0x86, url.encode("ascii"))))
    value = encode_tlv(_SEQUENCE, encode_tlv(_SEQUENCE, name))
    return {CRL_DISTRIBUTION_POINTS: Extension(critical=False, value=value)}


def encode_oid(oid: str) -> bytes:
    """Encode an object identifier in DER."""
    return asn1.encode_der(ObjectIdentifier(oid))


def _signed(signer: Signer, tbs: bytes) -> bytes:
    signature = encode_tlv(0x03, b"\0" + signer.sign(tbs))
    return encode_tlv(_SEQUENCE, tbs + signer.algorithm + signature)


def _extensions(extensions: Mapping[str, Extension]) -> bytes:
    return encode_tlv(
        _SEQUENCE,
        b"".join(
            encode_tlv(
                _SEQUENCE,
                encode_oid(oid) + (b"\x01\x01\xff" if each.critical else b"") + encode_tlv(0x04, each.value),
            )
            for oid, each in extensions.items()
        ),
    )


def _time(at: datetime) -> bytes:
    """Encode a time: "dates through the year 2049 as UTCTime" (RFC 5280, section 4.1.2.5)."""
    if at.year < 2050:
        return encode_tlv(0x17, at.strftime("%y%m%d%H%M%SZ").encode())
    return encode_tlv(0x18, at.strftime("%Y%m%d%H%M%SZ").encode())
