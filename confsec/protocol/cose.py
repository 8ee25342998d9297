"""COSE_Sign1: one signature over a payload in CBOR (RFC 9052, section 4.2; algorithms in RFC 9053 and `signatures.py`).

A message is decoded, then `verify_sign1` checks it with a key that the caller trusts, and returns the payload: nothing
else of a message may be believed, and of the headers only the protected ones. Which key to take is not decided here;
`key_id` and `x5chain` are hints of whoever wrote the message. COSE_Sign, MACs and encryption are not part of this.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, Self, final

from attrs import field, frozen
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from confsec.errors import DecodeError, LocalProtocolError, UnsupportedError, VerificationError
from confsec.protocol import cbor_general
from confsec.protocol.cbor_general import CborItem, CborKey, Tag, as_array, as_map
from confsec.protocol.signatures import (
    ALGORITHMS,
    PublicKey,
    SignatureAlgorithm,
    SigningKey,
    sign,
    verify_signature,
)

__all__ = [
    "DEFAULT_ALGORITHMS",
    "HEADER_ALGORITHM",
    "HEADER_CONTENT_TYPE",
    "HEADER_CRITICAL",
    "HEADER_KEY_ID",
    "HEADER_X5CHAIN",
    "MAX_SIGN1",
    "TAG_SIGN1",
    "CoseSign1",
    "public_key_from_cose_key",
    "sign1",
    "verify_sign1",
]

TAG_SIGN1: Final = 18
"""The CBOR tag of a COSE_Sign1 (RFC 9052, section 2)."""

MAX_SIGN1: Final = 1 << 20
"""A message has at most 1 MiB, unless the caller says less."""

HEADER_ALGORITHM: Final = 1
"""Which algorithm it is: `alg` (RFC 9052, section 3.1)."""

HEADER_CRITICAL: Final = 2
"""Which headers have to be understood: `crit`."""

HEADER_CONTENT_TYPE: Final = 3
"""What the payload is: a media type, or a CoAP Content-Format number."""

HEADER_KEY_ID: Final = 4
"""A hint which key it is: `kid`."""

HEADER_X5CHAIN: Final = 33
"""Certificates, leaf first (RFC 9360, section 2)."""

DEFAULT_ALGORITHMS: Final = frozenset(ALGORITHMS)
"""All signature algorithms that we have. None of them is known to be weak."""

_SECTION: Final = "RFC 9052, section 4.2"
_HEADERS: Final = "RFC 9052, section 3"
_KEYS: Final = "RFC 9053, section 7"
_CONTEXT: Final = "Signature1"
_MAX_KEY: Final = 4096
_MAX_HEADERS: Final = 64
_BY_ID: Final = {row.cose_id: row for row in ALGORITHMS.values()}
# What a message may call critical without asking the caller: we look at these ourselves.
_UNDERSTOOD: Final = frozenset({HEADER_ALGORITHM, HEADER_CRITICAL, HEADER_CONTENT_TYPE, HEADER_KEY_ID})


@final
@frozen(kw_only=True)
class CoseSign1:
    """A signed message, as it came: nothing of it has been checked."""

    protected: bytes
    """The protected headers as they were signed: an encoded map, or nothing."""

    unprotected: Mapping[CborKey, CborItem] = field(factory=dict)
    """Headers that nobody signed."""

    payload: bytes | None = field(repr=False)
    """What is signed; None if it travels elsewhere ("detached")."""

    signature: bytes = field(repr=False)
    """As the algorithm writes it."""

    tagged: bool = True
    """Whether the tag 18 stands before it."""

    headers: Mapping[CborKey, CborItem] = field(init=False)
    """The protected headers, decoded."""

    def __attrs_post_init__(self) -> None:
        headers = _decode_protected(self.protected)
        _check_headers(headers, self.unprotected)
        object.__setattr__(self, "headers", headers)

    @classmethod
    def decode(cls, data: bytes, *, limit: int = MAX_SIGN1) -> Self:
        """Read a message with or without its tag. Raises `DecodeError`; `LimitError` beyond `limit` bytes."""
        return cls.from_item(cbor_general.decode(data, what="a COSE_Sign1", limit=limit))

    @classmethod
    def from_item(cls, item: CborItem) -> Self:
        """Read a message that was decoded as part of something else. Raises `DecodeError`."""
        tagged = isinstance(item, Tag)
        if isinstance(item, Tag):
            if item.number != TAG_SIGN1:
                raise DecodeError("a COSE message of another kind", got=f"tag {item.number}", want=TAG_SIGN1)
            item = item.value
        protected, unprotected, payload, signature = as_array(item, what="a COSE_Sign1", sizes=range(4, 5))
        if not isinstance(protected, bytes) or not isinstance(signature, bytes):
            raise DecodeError("protected headers or signature are no byte strings", section=_SECTION)
        if payload is not None and not isinstance(payload, bytes):
            raise DecodeError("a payload is neither bytes nor null", section=_SECTION)
        return cls(
            protected=protected,
            unprotected=as_map(unprotected, what="the unprotected headers"),
            payload=payload,
            signature=signature,
            tagged=tagged,
        )

    def encode(self) -> bytes:
        return cbor_general.encode(self.to_item())

    def to_item(self) -> CborItem:
        """Return the message as a part of something else."""
        item: CborItem = [self.protected, dict(self.unprotected), self.payload, self.signature]
        return Tag(TAG_SIGN1, item) if self.tagged else item

    @property
    def algorithm(self) -> int | str | None:
        """The number of the algorithm in the protected headers, or None."""
        value = self.headers.get(HEADER_ALGORITHM)
        return value if isinstance(value, int | str) else None

    @property
    def key_id(self) -> bytes | None:
        """Which key was used, by the message's own words, protected or not."""
        value = self.headers.get(HEADER_KEY_ID, self.unprotected.get(HEADER_KEY_ID))
        return value if isinstance(value, bytes) else None

    @property
    def x5chain(self) -> tuple[bytes, ...]:
        """The certificates that came with it, leaf first, each in DER (RFC 9360, section 2). Not verified."""
        value = self.headers.get(HEADER_X5CHAIN, self.unprotected.get(HEADER_X5CHAIN))
        chain = [value] if isinstance(value, bytes) else value
        return tuple(each for each in chain if isinstance(each, bytes)) if isinstance(chain, list) else ()

    def to_be_signed(self, *, external_aad: bytes = b"", detached_payload: bytes | None = None) -> bytes:
        """Return the bytes that the signature is over (RFC 9052, section 4.4).

        Raises `LocalProtocolError` if there is no payload, or one in the message and another beside it.
        """
        if (self.payload is None) == (detached_payload is None):
            raise LocalProtocolError("a payload is either in the message or beside it", section=_SECTION)
        payload = self.payload if detached_payload is None else detached_payload
        # An empty map may be written as nothing or as a0, and is signed as nothing.
        protected = self.protected if self.headers else b""
        return cbor_general.encode([_CONTEXT, protected, external_aad, payload])


def verify_sign1(
    message: CoseSign1,
    key: PublicKey,
    *,
    external_aad: bytes = b"",
    detached_payload: bytes | None = None,
    algorithms: Collection[str] = DEFAULT_ALGORITHMS,
    algorithm: str | None = None,
    understood: Collection[CborKey] = (),
) -> bytes:
    """Check the signature of a message with a key that the caller trusts, and return the payload.

    `algorithms` are those that are allowed, by name. `algorithm` is the one that was agreed on elsewhere: it is needed
    where the protected headers name none, and has to be the same where they do. `understood` are the critical headers
    that the caller takes care of. Raises `VerificationError`, and `UnsupportedError` for a header or algorithm that we
    do not have.
    """
    _check_critical(message.headers, understood)
    row = _find_algorithm(message, algorithm)
    if row.name not in algorithms:
        raise VerificationError("the algorithm is not allowed", got=row.name, want=", ".join(sorted(algorithms)))
    to_be_signed = message.to_be_signed(external_aad=external_aad, detached_payload=detached_payload)
    verify_signature(row, key, signature=message.signature, message=to_be_signed)
    payload = message.payload if detached_payload is None else detached_payload
    if payload is None:  # pragma: no cover - to_be_signed has refused it
        raise LocalProtocolError("a message without a payload", section=_SECTION)
    return payload


def sign1(
    payload: bytes,
    key: SigningKey,
    *,
    algorithm: str,
    protected: Mapping[CborKey, CborItem] | None = None,
    unprotected: Mapping[CborKey, CborItem] | None = None,
    external_aad: bytes = b"",
    detached: bool = False,
) -> CoseSign1:
    """Sign a payload; the name of the algorithm goes into the protected headers.

    Raises `LocalProtocolError` for an algorithm that we do not sign with, or a key of another one.
    """
    row = ALGORITHMS.get(algorithm)
    if row is None:
        raise LocalProtocolError("an algorithm that we do not sign with", got=algorithm)
    headers: dict[CborKey, CborItem] = {**(protected or {}), HEADER_ALGORITHM: row.cose_id}
    unsigned = CoseSign1(
        protected=cbor_general.encode(headers), unprotected=unprotected or {}, payload=payload, signature=b""
    )
    signature = sign(row, key, unsigned.to_be_signed(external_aad=external_aad))
    return CoseSign1(
        protected=unsigned.protected,
        unprotected=unsigned.unprotected,
        payload=None if detached else payload,
        signature=signature,
    )


# --- Headers ----------------------------------------------------------------------------------------------------------


def _decode_protected(protected: bytes) -> dict[CborKey, CborItem]:
    if not protected:
        return {}
    headers = cbor_general.decode(protected, what="the protected headers", limit=MAX_SIGN1)
    return as_map(headers, what="the protected headers")


def _check_headers(protected: Mapping[CborKey, CborItem], unprotected: Mapping[CborKey, CborItem]) -> None:
    """Refuse labels that are no labels or stand in both maps, and the wrong types of those that we use."""
    for headers in (protected, unprotected):
        if len(headers) > _MAX_HEADERS or any(isinstance(label, bytes) for label in headers):
            raise DecodeError("a message has too many headers, or one without a label", section=_HEADERS)
    if protected.keys() & unprotected.keys():
        raise DecodeError("a header is both protected and unprotected", section=_HEADERS)
    if HEADER_CRITICAL in unprotected:
        raise DecodeError("crit is not protected", section="RFC 9052, section 3.1")
    for label, types, name in _TYPES:
        value = protected.get(label, unprotected.get(label))
        if label in protected.keys() | unprotected.keys() and (isinstance(value, bool) or not isinstance(value, types)):
            raise DecodeError(f"the header {name} has the wrong type", section="RFC 9052, section 3.1")


_TYPES: Final[tuple[tuple[int, type | tuple[type, ...], str], ...]] = (
    (HEADER_ALGORITHM, (int, str), "alg"),
    (HEADER_CRITICAL, list, "crit"),
    (HEADER_CONTENT_TYPE, (int, str), "content type"),
    (HEADER_KEY_ID, bytes, "kid"),
    (HEADER_X5CHAIN, (bytes, list), "x5chain"),
)


def _check_critical(headers: Mapping[CborKey, CborItem], understood: Collection[CborKey]) -> None:
    """Refuse critical headers that nobody understands, or that are not there (RFC 9052, section 3.1)."""
    if HEADER_CRITICAL not in headers:
        return
    labels = as_array(headers[HEADER_CRITICAL], what="crit")
    if not labels:
        raise DecodeError("crit is empty", section="RFC 9052, section 3.1")
    for label in labels:
        if isinstance(label, bool) or not isinstance(label, int | str) or label not in headers:
            raise DecodeError("crit names a header that is not protected", section="RFC 9052, section 3.1")
        if label not in _UNDERSTOOD and label not in understood:
            raise UnsupportedError("a critical header that we do not understand", got=label)


def _find_algorithm(message: CoseSign1, stated: str | None) -> SignatureAlgorithm:
    """Return the algorithm of the protected headers, or the one that was agreed on; they may not differ."""
    named = message.algorithm
    row = _BY_ID.get(named) if isinstance(named, int) else None
    if named is not None and row is None:
        raise UnsupportedError("a signature algorithm that we do not have", got=named)
    wanted = ALGORITHMS.get(stated) if stated is not None else row
    if wanted is None:
        raise VerificationError("nothing signed says which algorithm it is", section="RFC 9052, section 3.1")
    if row is not None and row != wanted:
        raise VerificationError("another algorithm than agreed", got=row.name, want=wanted.name)
    return wanted


# --- Keys -------------------------------------------------------------------------------------------------------------

_EC_CURVES: Final[Mapping[CborItem, ec.EllipticCurve]] = {1: ec.SECP256R1(), 2: ec.SECP384R1(), 3: ec.SECP521R1()}
_KTY, _KEY_ALG, _KEY_OPS = 1, 3, 4
_CRV, _X, _Y = -1, -2, -3
_RSA_N, _RSA_E = -1, -2
_VERIFY: Final = 2


def public_key_from_cose_key(data: bytes) -> PublicKey:
    """Read a COSE_Key that verifies signatures: EC2 on P-256, P-384, P-521; Ed25519; RSA (RFC 9052, section 7).

    Raises `DecodeError`, and `UnsupportedError` for other kinds. A private key is refused: it has no place here.
    """
    key = as_map(cbor_general.decode(data, what="a COSE_Key", limit=_MAX_KEY), what="a COSE_Key")
    operations = key.get(_KEY_OPS, [_VERIFY])
    if not isinstance(operations, list) or _VERIFY not in operations:
        raise DecodeError("a COSE_Key is not meant to verify", section="RFC 9052, section 7.1")
    kty = key.get(_KTY)
    reader = _KEY_READERS.get(kty) if isinstance(kty, int) else None
    if reader is None:
        raise UnsupportedError("a COSE_Key of another type", got=kty if isinstance(kty, int | str) else "none")
    try:
        return reader(key)
    except ValueError as exc:
        raise DecodeError("a COSE_Key is no such key", section=_KEYS) from exc


def _ec_key(key: Mapping[CborKey, CborItem]) -> PublicKey:
    crv, x, y = key.get(_CRV), key.get(_X), key.get(_Y)
    curve = _EC_CURVES.get(crv) if isinstance(crv, int) else None
    if curve is None:
        raise UnsupportedError("a COSE_Key on another curve", got=crv if isinstance(crv, int | str) else "none")
    size = (curve.key_size + 7) // 8
    if not isinstance(x, bytes) or len(x) != size or -4 in key:
        raise DecodeError("a COSE_Key has no such x, or a private part", section=_KEYS)
    if isinstance(y, bool):
        return ec.EllipticCurvePublicKey.from_encoded_point(curve, bytes([2 + y]) + x)
    if not isinstance(y, bytes) or len(y) != size:
        raise DecodeError("a COSE_Key has no such y", section=_KEYS)
    return ec.EllipticCurvePublicKey.from_encoded_point(curve, b"\x04" + x + y)


def _okp_key(key: Mapping[CborKey, CborItem]) -> PublicKey:
    x = key.get(_X)
    if key.get(_CRV) != 6:
        raise UnsupportedError("a COSE_Key on another curve than Ed25519")
    if not isinstance(x, bytes) or -4 in key:
        raise DecodeError("a COSE_Key has no x, or a private part", section=_KEYS)
    return ed25519.Ed25519PublicKey.from_public_bytes(x)


def _rsa_key(key: Mapping[CborKey, CborItem]) -> PublicKey:
    n, e = key.get(_RSA_N), key.get(_RSA_E)
    if not isinstance(n, bytes) or not isinstance(e, bytes) or -3 in key:
        raise DecodeError("a COSE_Key has no n or e, or a private part", section="RFC 8230, section 4")
    return rsa.RSAPublicNumbers(int.from_bytes(e, "big"), int.from_bytes(n, "big")).public_key()


_KEY_READERS: Final = {1: _okp_key, 2: _ec_key, 3: _rsa_key}
