"""The signature algorithms of COSE and JOSE, as one table (RFC 9053, section 2; RFC 7518, section 3).

The two differ in one point: for COSE, ES256 is ECDSA with SHA-256 on any curve; for JOSE the name fixes the curve too.
RFC 9864 adds names to COSE that fix it.

Signing is deterministic (RFC 6979 for ECDSA), so it needs no randomness. RSASSA-PSS needs a random salt and is only
verified. A signer elsewhere (a TPM, an HSM, a service) signs `to_be_signed` of a message itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias, final

from attrs import frozen
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from confsec.errors import LocalProtocolError, UnsupportedError, VerificationError
from confsec.protocol.wire import encode_uint

__all__ = [
    "ALGORITHMS",
    "MIN_RSA_BITS",
    "PublicKey",
    "SignatureAlgorithm",
    "SigningKey",
    "default_algorithm",
    "sign",
    "verify_signature",
]

PublicKey: TypeAlias = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey
"""A key that signatures are verified with."""

SigningKey: TypeAlias = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
"""A key that we sign with."""

MIN_RSA_BITS: Final = 2048
"""RSA keys have at least so many bits (RFC 8230, section 2)."""

_MAX_RSA_BITS: Final = 8192  # a verification with more takes milliseconds
_CURVES: Final = frozenset({"secp256r1", "secp384r1", "secp521r1"})


@final
@frozen
class SignatureAlgorithm:
    """A row of the table."""

    name: str
    """Its name in JOSE; in COSE's registry where JOSE has none."""

    cose_id: int
    """Its number in COSE."""

    family: str
    """ecdsa, eddsa or pss."""

    hash: hashes.HashAlgorithm | None = None
    """What is signed is its digest; None where the algorithm hashes by itself."""

    jose_curve: str = ""
    """The curve that the name stands for in JOSE. Empty where there is nothing to fix, or where JOSE lacks the name."""

    curve: str = ""
    """The curve that the name stands for in COSE, if it does."""

    in_jose: bool = True
    """Whether JOSE has it."""


_ROWS: Final = (
    SignatureAlgorithm("ES256", -7, "ecdsa", hashes.SHA256(), jose_curve="secp256r1"),
    SignatureAlgorithm("ES384", -35, "ecdsa", hashes.SHA384(), jose_curve="secp384r1"),
    SignatureAlgorithm("ES512", -36, "ecdsa", hashes.SHA512(), jose_curve="secp521r1"),
    SignatureAlgorithm("ESP256", -9, "ecdsa", hashes.SHA256(), curve="secp256r1", in_jose=False),
    SignatureAlgorithm("ESP384", -51, "ecdsa", hashes.SHA384(), curve="secp384r1", in_jose=False),
    SignatureAlgorithm("ESP512", -52, "ecdsa", hashes.SHA512(), curve="secp521r1", in_jose=False),
    SignatureAlgorithm("EdDSA", -8, "eddsa"),
    SignatureAlgorithm("Ed25519", -19, "eddsa"),
    SignatureAlgorithm("PS256", -37, "pss", hashes.SHA256()),
    SignatureAlgorithm("PS384", -38, "pss", hashes.SHA384()),
    SignatureAlgorithm("PS512", -39, "pss", hashes.SHA512()),
)

ALGORITHMS: Final[Mapping[str, SignatureAlgorithm]] = {row.name: row for row in _ROWS}
"""All that we verify, by name. EdDSA is Ed25519 here; Ed448 is not part of this version."""


def default_algorithm(key: SigningKey) -> str:
    """Return the name of the algorithm that one signs with such a key. Raises `LocalProtocolError` for other keys."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "EdDSA"
    for row in _ROWS:
        if row.jose_curve == key.curve.name:
            return row.name
    raise LocalProtocolError("a key that we do not sign with", got=key.curve.name)


def verify_signature(
    algorithm: SignatureAlgorithm, key: PublicKey, *, signature: bytes, message: bytes, curve: str = ""
) -> None:
    """Check a signature as COSE and JOSE write it: r and s of fixed size for ECDSA (RFC 9053, section 2.1).

    `curve` is the one that the key has to be on, if the caller's standard fixes it. Raises `VerificationError`.
    """
    try:
        match key:
            case ec.EllipticCurvePublicKey() if algorithm.family == "ecdsa":
                _check_curve(key.curve, curve or algorithm.curve)
                key.verify(_der_signature(key.curve, signature), message, _ecdsa(algorithm))
            case ed25519.Ed25519PublicKey() if algorithm.family == "eddsa":
                key.verify(signature, message)
            case rsa.RSAPublicKey() if algorithm.family == "pss":
                _check_rsa_size(key)
                key.verify(signature, message, _pss(algorithm), _hash(algorithm))
            case _:
                raise VerificationError("the key is not one of the algorithm", want=algorithm.name)
    except InvalidSignature as exc:
        raise VerificationError("a signature does not verify", got=algorithm.name) from exc


def sign(algorithm: SignatureAlgorithm, key: SigningKey, message: bytes) -> bytes:
    """Sign deterministically. Raises `LocalProtocolError` for a key that is not one of the algorithm."""
    match key:
        case ec.EllipticCurvePrivateKey() if algorithm.family == "ecdsa" and key.curve.name in _CURVES:
            r, s = decode_dss_signature(key.sign(message, _ecdsa(algorithm, deterministic=True)))
            size = _coordinate_size(key.curve)
            return encode_uint(r, size) + encode_uint(s, size)
        case ed25519.Ed25519PrivateKey() if algorithm.family == "eddsa":
            return key.sign(message)
        case _:
            raise LocalProtocolError(
                "the key is not one of the algorithm, or we do not sign with it", want=algorithm.name
            )


def _ecdsa(algorithm: SignatureAlgorithm, *, deterministic: bool = False) -> ec.ECDSA:
    return ec.ECDSA(_hash(algorithm), deterministic_signing=deterministic)


def _pss(algorithm: SignatureAlgorithm) -> padding.PSS:
    """Return the parameters: the salt is as long as the digest (RFC 8230, section 2; RFC 7518, section 3.5)."""
    digest = _hash(algorithm)
    return padding.PSS(padding.MGF1(digest), salt_length=digest.digest_size)


def _hash(algorithm: SignatureAlgorithm) -> hashes.HashAlgorithm:
    if algorithm.hash is None:  # pragma: no cover - no row of such a family lacks it
        raise LocalProtocolError("an algorithm without a hash", got=algorithm.name)
    return algorithm.hash


def _check_curve(curve: ec.EllipticCurve, want: str) -> None:
    if curve.name not in _CURVES:
        raise UnsupportedError("a curve that we do not verify with", got=curve.name)
    if want and curve.name != want:
        raise VerificationError("the key is on another curve", got=curve.name, want=want)


def _check_rsa_size(key: rsa.RSAPublicKey) -> None:
    if not MIN_RSA_BITS <= key.key_size <= _MAX_RSA_BITS:
        raise VerificationError(
            "an RSA key of a size that we do not take",
            got=f"{key.key_size} bits",
            want=f"{MIN_RSA_BITS} to {_MAX_RSA_BITS}",
            section="RFC 8230, section 2",
        )


def _coordinate_size(curve: ec.EllipticCurve) -> int:
    return (curve.key_size + 7) // 8


def _der_signature(curve: ec.EllipticCurve, signature: bytes) -> bytes:
    size = _coordinate_size(curve)
    if len(signature) != 2 * size:
        raise VerificationError("a signature has the wrong length", got=f"{len(signature)} bytes", want=2 * size)
    return encode_dss_signature(int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big"))
