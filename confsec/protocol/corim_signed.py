"""Signed CoRIM: a COSE_Sign1 over a CoRIM whose protected headers say who signed it (draft-ietf-rats-corim).

`open_signed_corim` is the one way from such a message to its CoRIM: signature first, then the times, then the content.
Which key belongs to a signer whom one trusts is for the caller to know; a certificate in the message is only a hint.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Final, final

from attrs import field, frozen

from confsec.errors import DecodeError, UnsupportedError
from confsec.protocol import cbor_general
from confsec.protocol.cbor_general import CborItem, CborKey
from confsec.protocol.corim import Corim, verify_corim_times
from confsec.protocol.corim_codec import NO_EXTENSIONS, SECTION, TEXT, URI, optional, required, struct
from confsec.protocol.corim_common import MAX_CORIM, VALIDITY, Validity, verify_validity
from confsec.protocol.cose import (
    DEFAULT_ALGORITHMS,
    HEADER_ALGORITHM,
    HEADER_CONTENT_TYPE,
    CoseSign1,
    verify_sign1,
)
from confsec.protocol.signatures import PublicKey

__all__ = [
    "CORIM_TYPE",
    "CorimMeta",
    "CorimSigner",
    "SignedCorim",
    "SignedHeader",
    "open_signed_corim",
]

CORIM_TYPE: Final = "application/rim+cbor"
"""The media type of a CoRIM, signed or not."""

_META: Final = 8
_CWT_CLAIMS: Final = 15
_PAYLOAD_HASH_ALG: Final = 258
_PREIMAGE_CONTENT_TYPE: Final = 259
_ISS, _EXP, _NBF = 1, 4, 5
_HEADER_RULE: Final = f"{SECTION}, protected-corim-header-map"
_FAR: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


@final
@frozen
class CorimSigner:
    """Who signed, by the signer's own word (rule `corim-signer-map`)."""

    signer_name: str
    """The organisation."""

    signer_uri: str | None = None
    """A URI of it."""

    extensions: Mapping[int, CborItem] = field(default=NO_EXTENSIONS)
    """Members that a profile adds."""


@final
@frozen
class CorimMeta:
    """What is said of the signature (rule `corim-meta-map`)."""

    signer: CorimSigner
    """Who signed."""

    signature_validity: Validity | None = None
    """While the signature is good."""


@final
@frozen(kw_only=True)
class SignedHeader:
    """The protected headers of a signed CoRIM (rule `protected-corim-header-map`)."""

    meta: CorimMeta | None
    """Who signed, in CoRIM's own form."""

    cwt_issuer: str | None
    """Who signed, as a claim of a CWT (RFC 9597). At least one of the two is there."""

    cwt_validity: Validity | None
    """While the signature is good, as claims of a CWT."""

    hashed: bool
    """The payload is only the digest of a CoRIM (COSE hash envelope). We do not open these."""

    @staticmethod
    def from_map(headers: Mapping[CborKey, CborItem]) -> SignedHeader:
        """Read the headers. Raises `DecodeError`."""
        hashed = _PAYLOAD_HASH_ALG in headers
        content_type = headers.get(_PREIMAGE_CONTENT_TYPE if hashed else HEADER_CONTENT_TYPE)
        if not isinstance(headers.get(HEADER_ALGORITHM), int) or content_type != CORIM_TYPE:
            raise DecodeError("a signed CoRIM lacks alg or its content type", want=CORIM_TYPE, section=_HEADER_RULE)
        if hashed and HEADER_CONTENT_TYPE in headers:
            raise DecodeError(
                "a hash envelope has a content type of its own", section="draft-ietf-cose-hash-envelope, section 3"
            )
        if _META not in headers and _CWT_CLAIMS not in headers:
            raise DecodeError("a signed CoRIM does not say who signed it", section=_HEADER_RULE)
        issuer, validity = _read_claims(headers[_CWT_CLAIMS]) if _CWT_CLAIMS in headers else (None, None)
        meta = _read_meta(headers[_META]) if _META in headers else None
        return SignedHeader(meta=meta, cwt_issuer=issuer, cwt_validity=validity, hashed=hashed)


@final
@frozen
class SignedCorim:
    """A signed CoRIM, as it came: nothing of it has been checked."""

    message: CoseSign1
    """The message."""

    header: SignedHeader
    """What its protected headers say."""

    @staticmethod
    def decode(data: bytes) -> SignedCorim:
        """Read the message and its headers; the payload is left alone. Raises `DecodeError` and `LimitError`."""
        message = CoseSign1.decode(data, limit=MAX_CORIM)
        if not message.tagged:
            raise DecodeError("a signed CoRIM does not have the tag of COSE_Sign1", section=f"{SECTION}, signed-corim")
        return SignedCorim(message, SignedHeader.from_map(message.headers))

    def encode(self) -> bytes:
        return self.message.encode()


def open_signed_corim(
    signed: SignedCorim, key: PublicKey, *, now: datetime, algorithms: Collection[str] = DEFAULT_ALGORITHMS
) -> Corim:
    """Check the signature of a CoRIM with a key that the caller trusts, and that everything is valid at `now`.

    Returns the CoRIM. Raises `VerificationError` for a wrong signature and for a time that is over or has not come,
    `UnsupportedError` for algorithms that we do not have and where the payload is not there, `DecodeError` for
    content that breaks the draft.
    """
    if signed.header.hashed or signed.message.payload is None:
        raise UnsupportedError("a signed CoRIM whose content travels elsewhere", section=f"{SECTION}, COSE-Sign1-corim")
    payload = verify_sign1(signed.message, key, algorithms=algorithms, understood=(_META, _CWT_CLAIMS))
    if signed.header.meta is not None:
        verify_validity(signed.header.meta.signature_validity, now=now, what="the signature of the CoRIM")
    verify_validity(signed.header.cwt_validity, now=now, what="the signature of the CoRIM")
    corim = Corim.decode(payload)
    verify_corim_times(corim, now=now)
    return corim


def _read_meta(item: CborItem) -> CorimMeta:
    if not isinstance(item, bytes):
        raise DecodeError("corim-meta is not encoded CBOR", section=_HEADER_RULE)
    return _CORIM_META.read(cbor_general.decode(item, what="corim-meta", limit=MAX_CORIM), "corim-meta")


def _read_claims(item: CborItem) -> tuple[str, Validity | None]:
    """Read issuer and times of CWT claims (rule `cwt-claims`)."""
    if not isinstance(item, dict) or not all(isinstance(key, int) for key in item):
        raise DecodeError("CWT claims are not a map with numbers as keys", section=f"{SECTION}, cwt-claims")
    issuer = TEXT.read(item.get(_ISS), "iss of CWT claims")
    begin, end = (_read_date(item[key]) if key in item else None for key in (_NBF, _EXP))
    if begin is None and end is None:
        return issuer, None
    return issuer, Validity(end or _FAR, begin)


def _read_date(item: CborItem) -> datetime:
    """Read seconds since 1970, without a tag (RFC 8392, section 2)."""
    if isinstance(item, bool) or not isinstance(item, int | float) or not math.isfinite(item):
        raise DecodeError("a time in CWT claims is not a number", section="RFC 8392, section 2")
    if not 0 <= item <= _FAR.timestamp():
        raise DecodeError("a time in CWT claims is outside of the years 1970 to 9999", section="RFC 8392, section 2")
    return datetime.fromtimestamp(item, UTC)


_CORIM_META: Final = struct(
    CorimMeta,
    "corim-meta-map",
    required(
        0,
        "signer",
        struct(
            CorimSigner,
            "corim-signer-map",
            required(0, "signer_name", TEXT),
            optional(1, "signer_uri", URI),
            socket=True,
        ),
    ),
    optional(1, "signature_validity", VALIDITY),
)
