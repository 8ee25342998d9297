"""Keys as vectors write them: JWK, with private members, with members in hex, with uses that nobody meant.

The readers of the protocol are strict. Here only those members are handed to them that make the public key, so that a
vector tests what it is about. Private keys of vectors are published, and sign only what vectors state.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from confsec.conformance.cases import MismatchError
from confsec.protocol.jose import public_key_from_jwk
from confsec.protocol.signatures import PublicKey, SigningKey

__all__ = ["public_key_of", "signing_key_of"]

_MEMBERS: Final = {"EC": ("crv", "x", "y"), "OKP": ("crv", "x"), "RSA": ("n", "e")}
_CURVES: Final[Mapping[object, ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}


def public_key_of(key: object) -> PublicKey:
    """Return the public key that a vector states. Raises `MismatchError` if it states none."""
    jwk = _plain(key)
    return public_key_from_jwk({name: jwk[name] for name in ("kty", *_MEMBERS[jwk["kty"]])})


def signing_key_of(key: object) -> SigningKey | None:
    """Return the private key that a vector states, or None if there is none with which we sign."""
    jwk = _plain(key)
    if "d" not in jwk or jwk["kty"] == "RSA":
        return None
    secret = base64.urlsafe_b64decode(jwk["d"] + "==")
    if jwk["kty"] == "OKP":
        return ed25519.Ed25519PrivateKey.from_private_bytes(secret)
    return ec.derive_private_key(int.from_bytes(secret, "big"), _CURVES[jwk["crv"]])


def _plain(key: object) -> dict[str, Any]:
    """Return a JWK with all members in base64url."""
    if not isinstance(key, Mapping):
        raise MismatchError("the case has no key")
    jwk: dict[str, Any] = {}
    for name, value in key.items():
        if name.endswith("_hex"):
            jwk[name.removesuffix("_hex")] = base64.urlsafe_b64encode(bytes.fromhex(value)).decode().rstrip("=")
        else:
            jwk[name] = value
    jwk["kty"] = {"EC2": "EC"}.get(jwk.get("kty", ""), jwk.get("kty"))
    if any(name not in jwk for name in _MEMBERS.get(jwk["kty"], ("a type that we know",))):
        raise MismatchError("the key lacks a member")
    return jwk
