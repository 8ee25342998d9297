"""Signatures on certificates, and the keys that make them (RFC 5280, section 4.1.1.2; RFC 4055; RFC 5758)."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key
from cryptography.x509 import ObjectIdentifier

from confsec.errors import DecodeError, EvidenceError, UnsupportedError
from confsec.tee.der import NULL, encode_tlv

__all__ = ["PublicKey", "algorithm_name", "load_public_key", "verify_signature"]

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
"""The kinds of keys that certify anything here."""

_SECTION: Final = "RFC 5280, section 4.1"
_CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")
_RSA_BITS: Final = (2048, 8192)
_MAX_RSA_EXPONENT: Final = 1 << 32
_RECURRING_KEYS: Final = 64
"""How many decoded public keys are remembered: those of authorities come back with each evidence."""

_RECURRING_SIGNATURES: Final = 64
"""How many right signatures are remembered: those of authorities come back, too."""

_RECURRING_SIZE: Final = 32 << 10
"""What is longer is checked each time, so what is remembered has at most 2 MiB."""


class _Algorithm(NamedTuple):
    kind: type[PublicKey]
    digest: hashes.HashAlgorithm
    pss: bool = False

    @property
    def name(self) -> str:
        if self.kind is ec.EllipticCurvePublicKey:
            scheme = "ECDSA"
        else:
            scheme = "RSASSA-PSS" if self.pss else "RSASSA-PKCS1-v1_5"
        return f"{scheme} {self.digest.name.upper()}"


def algorithm_name(algorithm: bytes) -> str:
    """Return the name of an AlgorithmIdentifier in DER: `RSASSA-PSS SHA384`. Nothing for one that is not accepted."""
    used = _ALGORITHMS.get(algorithm)
    return "" if used is None else used.name


def verify_signature(what: str, public_key_info: bytes, *, algorithm: bytes, signature: bytes, signed: bytes) -> None:
    """Check the signature of `what` over `signed`, with a SubjectPublicKeyInfo and an AlgorithmIdentifier in DER.

    Accepted are ECDSA, RSASSA-PKCS1-v1_5 and RSASSA-PSS with SHA-256, SHA-384 or SHA-512. Raises `EvidenceError`, and
    as `load_public_key`.
    """
    used = _ALGORITHMS.get(algorithm)
    if used is None or not isinstance(load_public_key(public_key_info), used.kind):
        raise EvidenceError(f"{what} is signed in a way that is not accepted", got=algorithm.hex(), section=_SECTION)
    verify = _verify_recurring if len(signed) <= _RECURRING_SIZE else _verify
    try:
        verify(public_key_info, algorithm, signature, signed)
    except InvalidSignature as exc:
        raise EvidenceError(f"the signature of {what} is wrong", section="RFC 5280, section 6.1.3") from exc


def _verify(public_key_info: bytes, algorithm: bytes, signature: bytes, signed: bytes) -> None:
    key, used = load_public_key(public_key_info), _ALGORITHMS[algorithm]
    if isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, signed, ec.ECDSA(used.digest))
    else:
        pss = padding.PSS(padding.MGF1(used.digest), used.digest.digest_size)
        key.verify(signature, signed, pss if used.pss else padding.PKCS1v15(), used.digest)


# That a signature is right follows from these bytes alone, at any time, so it may be remembered. A wrong one raises,
# and what raises is not.
_verify_recurring = lru_cache(_RECURRING_SIGNATURES)(_verify)


def _identifier(oid: str, parameters: bytes = b"") -> bytes:
    """Encode an AlgorithmIdentifier."""
    return encode_tlv(0x30, asn1.encode_der(ObjectIdentifier(oid)) + parameters)


_DIGESTS: Final = (
    (hashes.SHA256(), "2.16.840.1.101.3.4.2.1", "1.2.840.113549.1.1.11", "1.2.840.10045.4.3.2"),
    (hashes.SHA384(), "2.16.840.1.101.3.4.2.2", "1.2.840.113549.1.1.12", "1.2.840.10045.4.3.3"),
    (hashes.SHA512(), "2.16.840.1.101.3.4.2.3", "1.2.840.113549.1.1.13", "1.2.840.10045.4.3.4"),
)
"""Each with the identifiers of itself, of RSA PKCS #1 v1.5 with it, and of ECDSA with it (RFC 4055, RFC 5758)."""


def _pss_identifiers(oid: str, salt_size: int) -> tuple[bytes, ...]:
    """Encode RSASSA-PSS with one digest and a salt of its size, in the spellings that are found (RFC 4055, 3.1).

    The trailer field of 1 is the default, so DER leaves it out. Half of AMD's certificates write it all the same.
    """
    found = []
    for null in (NULL, b""):
        digest = _identifier(oid, null)
        mask = _identifier("1.2.840.113549.1.1.8", digest)
        salt = encode_tlv(0xA2, asn1.encode_der(salt_size))
        for trailer in (b"", encode_tlv(0xA3, asn1.encode_der(1))):
            parameters = encode_tlv(0x30, encode_tlv(0xA0, digest) + encode_tlv(0xA1, mask) + salt + trailer)
            found.append(_identifier("1.2.840.113549.1.1.10", parameters))
    return tuple(found)


def _algorithms() -> dict[bytes, _Algorithm]:
    """Return every AlgorithmIdentifier that is accepted, as it is spelled in DER."""
    known: dict[bytes, _Algorithm] = {}
    for digest, oid, pkcs1, ecdsa in _DIGESTS:
        known[_identifier(pkcs1, NULL)] = _Algorithm(rsa.RSAPublicKey, digest)
        known[_identifier(ecdsa)] = _Algorithm(ec.EllipticCurvePublicKey, digest)
        for identifier in _pss_identifiers(oid, digest.digest_size):
            known[identifier] = _Algorithm(rsa.RSAPublicKey, digest, pss=True)
    return known


_ALGORITHMS: Final = _algorithms()


@lru_cache(_RECURRING_KEYS)
def load_public_key(public_key_info: bytes) -> PublicKey:
    """Return a key of P-256, P-384, P-521 or RSA. It follows from these bytes alone, so it may be remembered."""
    try:
        key = load_der_public_key(public_key_info)
    except UnsupportedAlgorithm as exc:
        raise UnsupportedError("a certificate's key is of a kind that we do not have", section=_SECTION) from exc
    except ValueError as exc:
        raise DecodeError("a certificate's key is none", section=_SECTION) from exc
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return key
    if isinstance(key, rsa.RSAPublicKey) and _RSA_BITS[0] <= key.key_size <= _RSA_BITS[1]:
        # A large exponent makes each verification as slow as a signature, at the issuer's choice.
        if key.public_numbers().e < _MAX_RSA_EXPONENT:
            return key
        raise UnsupportedError("an RSA key has a public exponent of more than 32 bits")
    raise UnsupportedError("a certificate's key is of another kind", want="P-256, P-384, P-521 or RSA from 2048 bits")
