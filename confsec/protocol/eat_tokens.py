"""Claims with a signature around them: CWT, JWT, and bundles of claims-sets that travel apart (RFC 8392, 7519, 9711).

What comes out of a function here was signed with the key that the caller brought, and nothing more: whose key it is,
whether the token is current (`verify_current`) and what its claims are worth is for the caller to say.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from hashlib import sha256, sha384, sha512
from typing import Final, Self, final

from attrs import field, frozen

from confsec.errors import DecodeError, LimitError, UnsupportedError, VerificationError
from confsec.protocol import cbor_general, cose, jose, json_general
from confsec.protocol.cbor_general import CborItem, CborKey, Tag, as_array, as_map
from confsec.protocol.claim_tables import MAX_CLAIMS, Claims, ClaimTable, ClaimValue
from confsec.protocol.claims import EAT_CLAIMS, DetachedDigest, NestedToken
from confsec.protocol.cose import CoseSign1, sign1, verify_sign1
from confsec.protocol.jose import Jws, sign_jws, verify_jws
from confsec.protocol.json_general import JsonItem, as_object
from confsec.protocol.signatures import PublicKey, SigningKey
from confsec.protocol.wire import decode_base64url

__all__ = [
    "MAX_BUNDLE",
    "TAG_BUNDLE",
    "TAG_CWT",
    "DetachedBundle",
    "decode_cwt",
    "sign_cwt",
    "sign_jwt",
    "verify_cwt",
    "verify_detached",
    "verify_jwt",
]

TAG_CWT: Final = 61
"""The CBOR tag that may stand before a CWT (RFC 8392, section 6)."""

TAG_BUNDLE: Final = 602
"""The CBOR tag that may stand before a detached bundle (RFC 9711, section 5)."""

MAX_BUNDLE: Final = 1 << 20
"""A bundle has at most 1 MiB."""

_MAX_DETACHED: Final = 64
_HASHES: Final = {
    "SHA-256": sha256, -16: sha256,
    "SHA-384": sha384, -43: sha384,
    "SHA-512": sha512, -44: sha512,
}  # fmt: skip


# --- CWT --------------------------------------------------------------------------------------------------------------


def decode_cwt(data: bytes) -> CoseSign1:
    """Read a signed CWT, with or without the tags of CWT and COSE_Sign1. Not verified. Raises `DecodeError`."""
    item = cbor_general.decode(data, what="a CWT", limit=cose.MAX_SIGN1)
    if isinstance(item, Tag) and item.number == TAG_CWT:
        item = item.value
        if not isinstance(item, Tag):
            raise DecodeError("the tag of a CWT does not stand before a COSE message", section="RFC 8392, section 6")
    return CoseSign1.from_item(item)


def verify_cwt(
    data: bytes,
    key: PublicKey,
    *,
    table: ClaimTable = EAT_CLAIMS,
    algorithms: Collection[str] = cose.DEFAULT_ALGORITHMS,
) -> dict[str | int, ClaimValue]:
    """Check the signature of a CWT, and return its claims. Raises `DecodeError` and `VerificationError`."""
    return table.decode_cbor(verify_sign1(decode_cwt(data), key, algorithms=algorithms))


def sign_cwt(
    claims: Claims,
    key: SigningKey,
    *,
    algorithm: str,
    table: ClaimTable = EAT_CLAIMS,
    protected: Mapping[CborKey, CborItem] | None = None,
) -> bytes:
    """Sign claims as a CWT; the tag of COSE_Sign1 stands before it."""
    return sign1(table.encode_cbor(claims), key, algorithm=algorithm, protected=protected).encode()


# --- JWT --------------------------------------------------------------------------------------------------------------


def verify_jwt(
    token: str,
    key: PublicKey,
    *,
    table: ClaimTable = EAT_CLAIMS,
    algorithms: Collection[str] = jose.DEFAULT_ALGORITHMS,
) -> dict[str | int, ClaimValue]:
    """Check the signature of a JWT, and return its claims. Raises `DecodeError` and `VerificationError`."""
    return table.decode_json(verify_jws(Jws.decode(token), key, algorithms=algorithms).payload)


def sign_jwt(
    claims: Claims,
    key: SigningKey,
    *,
    algorithm: str,
    table: ClaimTable = EAT_CLAIMS,
    header: Mapping[str, JsonItem] | None = None,
) -> str:
    """Sign claims as a JWT in the compact form."""
    return sign_jws(table.encode_json(claims), key, algorithm=algorithm, header=header or {"typ": "JWT"}).encode()


# --- Detached bundles -------------------------------------------------------------------------------------------------


@final
@frozen
class DetachedBundle:
    """A token, and beside it the claims-sets of which it has the digests (RFC 9711, section 5). Not verified."""

    main_token: NestedToken
    """The token that is signed."""

    claims_sets: Mapping[str, bytes] = field(repr=False)
    """By the names of submodules, each encoded as the token is: CBOR or JSON."""

    @classmethod
    def decode_cbor(cls, data: bytes) -> Self:
        """Read a bundle in CBOR, with or without its tag. Raises `DecodeError`."""
        item = cbor_general.decode(data, what="a bundle", limit=MAX_BUNDLE)
        if isinstance(item, Tag) and item.number == TAG_BUNDLE:
            item = item.value
        token, detached = as_array(item, what="a bundle", sizes=range(2, 3))
        main = EAT_CLAIMS.from_cbor({266: {"main": token}})["submods"]["main"]
        return cls(_token(main), _detached(as_map(detached, what="the detached claims-sets")))

    @classmethod
    def decode_json(cls, data: bytes) -> Self:
        """Read a bundle in JSON. Raises `DecodeError`."""
        item = json_general.decode(data, what="a bundle", limit=MAX_BUNDLE)
        if not isinstance(item, list) or len(item) != 2:
            raise DecodeError("a bundle is not a pair", section="RFC 9711, section 5")
        main = EAT_CLAIMS.from_json({"submods": {"main": item[0]}})["submods"]["main"]
        detached = as_object(item[1], what="the detached claims-sets")
        return cls(_token(main), _detached({name: _unbase64(value) for name, value in detached.items()}))


def verify_detached(claims: Claims, bundle: DetachedBundle) -> Mapping[str, bytes]:
    """Check every claims-set of a bundle against the digest in the claims of its main token, and return them.

    `claims` come from the main token, whose signature was checked. Raises `VerificationError` for a digest that
    differs, and for a claims-set that the token has no digest of; `UnsupportedError` for another hash.
    """
    submodules = claims.get("submods", {})
    for name, data in bundle.claims_sets.items():
        stated = submodules.get(name)
        if not isinstance(stated, DetachedDigest):
            raise VerificationError("nobody signed a digest of a detached claims-set", section="RFC 9711, section 5")
        algorithm = _HASHES.get(stated.algorithm)
        if algorithm is None:
            raise UnsupportedError("a hash that we do not have", got=stated.algorithm)
        if algorithm(data).digest() != stated.digest:
            raise VerificationError(
                "a detached claims-set is not the one that was signed", section="RFC 9711, section 5"
            )
    return bundle.claims_sets


def _token(value: object) -> NestedToken:
    if not isinstance(value, NestedToken):
        raise DecodeError("a bundle has no main token", section="RFC 9711, section 5")
    return value


def _unbase64(value: JsonItem) -> bytes:
    if not isinstance(value, str):
        raise DecodeError("a detached claims-set is no text", section="RFC 9711, section 5")
    return decode_base64url(value)


def _detached(members: Mapping[CborKey, CborItem] | Mapping[str, bytes]) -> dict[str, bytes]:
    if not 0 < len(members) <= _MAX_DETACHED:
        raise LimitError("a bundle has too many claims-sets, or none", got=len(members), want=f"1 to {_MAX_DETACHED}")
    detached: dict[str, bytes] = {}
    for name, data in members.items():
        if not isinstance(name, str) or not isinstance(data, bytes) or len(data) > MAX_CLAIMS:
            raise DecodeError("a detached claims-set has no name, or is no byte string", section="RFC 9711, section 5")
        detached[name] = data
    return detached
