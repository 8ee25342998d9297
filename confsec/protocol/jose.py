"""Signed JSON: compact and flattened JWS, and public keys as JWK (RFC 7515, RFC 7517, RFC 8037).

What a token says of its own key (`jwk`, `jku`, `x5c`, `kid`) is never followed: the caller brings the key. The
algorithm has to be on the caller's list and to fit the key, `none` and MACs are on no list, and a critical header is
refused, since we understand none (RFC 8725 has the attacks).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final, Self, final

from attrs import field, frozen
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from confsec.errors import DecodeError, LimitError, LocalProtocolError, UnsupportedError, VerificationError
from confsec.protocol import json_general
from confsec.protocol.json_general import JsonItem, as_object
from confsec.protocol.signatures import ALGORITHMS, PublicKey, SigningKey, sign, verify_signature
from confsec.protocol.wire import decode_base64url, encode_base64url

__all__ = ["DEFAULT_ALGORITHMS", "MAX_JWS", "Jws", "VerifiedJws", "public_key_from_jwk", "sign_jws", "verify_jws"]

MAX_JWS: Final = 256 << 10
"""A token has at most 256 KiB."""

DEFAULT_ALGORITHMS: Final = frozenset({"ES256", "ES384", "ES512", "EdDSA", "Ed25519", "PS256", "PS384", "PS512"})
"""The signature algorithms of JOSE that we have."""

_MAX_HEADER: Final = 16 << 10
_SECTION: Final = "RFC 7515, section 7.1"
# Headers that change how a token is read: who does not understand them must not guess.
_REFUSED: Final = frozenset({"crit", "b64"})


@final
@frozen(kw_only=True)
class Jws:
    """A signed text, as it came: nothing of it has been checked."""

    protected: str
    """The protected header, as it was signed: base64url of a JSON object."""

    payload: str = field(repr=False)
    """What is signed, in base64url."""

    signature: bytes = field(repr=False)
    """As the algorithm writes it."""

    unprotected: Mapping[str, JsonItem] = field(factory=dict)
    """Headers that nobody signed; none in the compact form."""

    header: Mapping[str, JsonItem] = field(init=False)
    """The protected header, decoded."""

    def __attrs_post_init__(self) -> None:
        header = json_general.decode(decode_base64url(self.protected), what="the header of a JWS", limit=_MAX_HEADER)
        members = as_object(header, what="the header of a JWS")
        if members.keys() & self.unprotected.keys():
            raise DecodeError("a header is both protected and unprotected", section="RFC 7515, section 4")
        object.__setattr__(self, "header", members)

    @classmethod
    def decode(cls, token: str) -> Self:
        """Read the compact form: three parts with dots between them. Raises `DecodeError`."""
        if len(token) > MAX_JWS:
            raise LimitError("a JWS is too long", got=f"{len(token)} characters", want=f"at most {MAX_JWS}")
        parts = token.split(".")
        if len(parts) != 3:
            raise DecodeError("a JWS has the wrong number of parts", got=len(parts), want=3, section=_SECTION)
        protected, payload, signature = parts
        return cls(protected=protected, payload=_base64url(payload), signature=decode_base64url(signature))

    @classmethod
    def decode_flattened(cls, data: bytes) -> Self:
        """Read the flattened JSON form (RFC 7515, section 7.2.2). Raises `DecodeError`."""
        members = as_object(json_general.decode(data, what="a JWS", limit=MAX_JWS), what="a JWS")
        protected, payload, signature = (members.get(name) for name in ("protected", "payload", "signature"))
        if not isinstance(protected, str) or not isinstance(payload, str) or not isinstance(signature, str):
            raise DecodeError("a JWS lacks a part", want="protected, payload, signature", section=_SECTION)
        if members.keys() - {"protected", "payload", "signature", "header"}:
            raise DecodeError("a JWS has members that are not its own", section="RFC 7515, section 7.2.2")
        return cls(
            protected=protected,
            payload=_base64url(payload),
            signature=decode_base64url(signature),
            unprotected=as_object(members.get("header", {}), what="the unprotected header"),
        )

    def encode(self) -> str:
        """Write the compact form. Raises `LocalProtocolError` if there are unprotected headers."""
        if self.unprotected:
            raise LocalProtocolError("the compact form has no unprotected headers", section=_SECTION)
        return f"{self.protected}.{self.payload}.{encode_base64url(self.signature)}"

    def to_be_signed(self) -> bytes:
        """Return the bytes that the signature is over (RFC 7515, section 5.1)."""
        return f"{self.protected}.{self.payload}".encode("ascii")


@final
@frozen
class VerifiedJws:
    """What a signature was good for."""

    header: Mapping[str, JsonItem]
    """The protected header."""

    payload: bytes = field(repr=False)
    """What was signed."""


def verify_jws(jws: Jws, key: PublicKey, *, algorithms: Collection[str] = DEFAULT_ALGORITHMS) -> VerifiedJws:
    """Check a signature with a key that the caller trusts. `algorithms` are those that are allowed, by name.

    Raises `VerificationError`, and `UnsupportedError` for a critical header.
    """
    refused = sorted(_REFUSED & (jws.header.keys() | jws.unprotected.keys()))
    if refused:
        raise UnsupportedError("a critical header that we do not understand", got=", ".join(refused))
    name = jws.header.get("alg")
    row = ALGORITHMS.get(name) if isinstance(name, str) else None
    if row is None or not row.in_jose or row.name not in algorithms:
        raise VerificationError(
            "the algorithm is not allowed",
            got=name if isinstance(name, str) and len(name) < 20 else None,
            want=", ".join(sorted(algorithms)),
            section="RFC 8725, section 3.1",
        )
    verify_signature(row, key, signature=jws.signature, message=jws.to_be_signed(), curve=row.jose_curve)
    return VerifiedJws(jws.header, decode_base64url(jws.payload))


def sign_jws(payload: bytes, key: SigningKey, *, algorithm: str, header: Mapping[str, JsonItem] | None = None) -> Jws:
    """Sign a payload; the name of the algorithm goes into the protected header.

    Raises `LocalProtocolError` for an algorithm that we do not sign with, or a key of another one.
    """
    row = ALGORITHMS.get(algorithm)
    on_curve = isinstance(key, ec.EllipticCurvePrivateKey) and row is not None and key.curve.name == row.jose_curve
    if row is None or not row.in_jose or (row.jose_curve and not on_curve):
        raise LocalProtocolError("an algorithm that we do not sign with, or a key of another one", got=algorithm)
    members: dict[str, JsonItem] = {"alg": algorithm} | dict(header or {}) | {"alg": algorithm}
    protected = encode_base64url(json_general.encode(members))
    unsigned = Jws(protected=protected, payload=encode_base64url(payload), signature=b"")
    signature = sign(row, key, unsigned.to_be_signed())
    return Jws(protected=protected, payload=unsigned.payload, signature=signature)


def _base64url(text: str) -> str:
    """Return text after it was read strictly: one spelling only, so that no other text has this signature."""
    decode_base64url(text)
    return text


# --- Keys -------------------------------------------------------------------------------------------------------------

_EC_CURVES: Final[Mapping[JsonItem, ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


def public_key_from_jwk(jwk: Mapping[str, JsonItem]) -> PublicKey:
    """Read a public key that verifies signatures: EC, OKP with Ed25519, RSA (RFC 7517, section 4).

    Raises `DecodeError`, and `UnsupportedError` for other kinds. A key with private members is refused, and so is one
    that is meant for something else (`use`, `key_ops`).
    """
    if _PRIVATE & jwk.keys():
        raise DecodeError("a JWK has private members where a public key is wanted", section="RFC 7517, section 4")
    operations = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        raise DecodeError("a JWK is not meant to verify", section="RFC 7517, section 4.2")
    kty = jwk.get("kty")
    reader = _KEY_READERS.get(kty) if isinstance(kty, str) else None
    if reader is None:
        raise UnsupportedError("a JWK of another type", got=kty if isinstance(kty, str) and len(kty) < 20 else None)
    try:
        return reader(jwk)
    except ValueError as exc:
        raise DecodeError("a JWK is no such key", section="RFC 7518, section 6") from exc


def _bytes(jwk: Mapping[str, JsonItem], name: str, size: int | None = None) -> bytes:
    value = jwk.get(name)
    data = decode_base64url(value) if isinstance(value, str) else None
    if data is None or (size is not None and len(data) != size) or len(data) > _MAX_HEADER:
        raise DecodeError(f"a JWK has no such {name}", section="RFC 7518, section 6")
    return data


def _ec_key(jwk: Mapping[str, JsonItem]) -> PublicKey:
    crv = jwk.get("crv")
    curve = _EC_CURVES.get(crv) if isinstance(crv, str) else None
    if curve is None:
        raise UnsupportedError("a JWK on another curve")
    size = (curve.key_size + 7) // 8
    point = b"\x04" + _bytes(jwk, "x", size) + _bytes(jwk, "y", size)
    return ec.EllipticCurvePublicKey.from_encoded_point(curve, point)


def _okp_key(jwk: Mapping[str, JsonItem]) -> PublicKey:
    if jwk.get("crv") != "Ed25519":
        raise UnsupportedError("a JWK on another curve than Ed25519")
    return ed25519.Ed25519PublicKey.from_public_bytes(_bytes(jwk, "x", 32))


def _rsa_key(jwk: Mapping[str, JsonItem]) -> PublicKey:
    e, n = (int.from_bytes(_bytes(jwk, name), "big") for name in ("e", "n"))
    return rsa.RSAPublicNumbers(e, n).public_key()


_KEY_READERS: Final[Mapping[str, Callable[[Mapping[str, JsonItem]], PublicKey]]] = {
    "EC": _ec_key,
    "OKP": _okp_key,
    "RSA": _rsa_key,
}
