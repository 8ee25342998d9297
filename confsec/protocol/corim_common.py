"""What all parts of a CoRIM share: digests, keys, entities, validity, profiles, names of tags (draft-ietf-rats-corim).

The draft is the one of 2026 (revision 10 and later). Where a type may be extended (`$…-type-choice`), only what the
draft itself defines is read: an extension needs a profile, and somebody who knows it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, final

from attrs import field, frozen

from confsec.errors import DecodeError, VerificationError
from confsec.protocol.cbor_general import CborItem
from confsec.protocol.corim_codec import (
    BYTES,
    BYTES_TAG,
    INT,
    NO_EXTENSIONS,
    OID,
    OID_TAG,
    SECTION,
    TEXT,
    TIME_TAG,
    UINT,
    URI,
    URI_TAG,
    URI_TEXT,
    UUID,
    Codec,
    Element,
    array,
    by_type,
    identifier,
    optional,
    record,
    required,
    struct,
    tagged,
)

__all__ = [
    "CERT_THUMBPRINT_TAG",
    "COSE_KEY_TAG",
    "CRYPTO_KEY",
    "DIGEST",
    "DIGESTS",
    "KEY_THUMBPRINT_TAG",
    "MAX_CORIM",
    "PKIX_CERT_PATH_TAG",
    "PKIX_CERT_TAG",
    "PKIX_DER_CERT_TAG",
    "PKIX_KEY_TAG",
    "PROFILE",
    "TAG_ID",
    "TAG_IDENTITY",
    "VALIDITY",
    "Digest",
    "Entity",
    "TagIdentity",
    "Validity",
    "entity_codec",
    "key_contents",
    "one_of",
    "verify_validity",
]

MAX_CORIM: Final = 1 << 20
"""Bytes of the largest CoRIM that is read. Its items are counted as well: 16384 with those of all its tags."""

PKIX_KEY_TAG: Final = 554
"""A SubjectPublicKeyInfo in PEM."""

PKIX_CERT_TAG: Final = 555
"""A certificate in PEM."""

PKIX_CERT_PATH_TAG: Final = 556
"""Certificates in PEM, each certified by the next."""

COSE_KEY_TAG: Final = 558
"""A COSE_Key or COSE_KeySet."""

PKIX_DER_CERT_TAG: Final = 562
"""A certificate in DER."""

KEY_THUMBPRINT_TAG: Final = 557
"""A digest of a public key."""

CERT_THUMBPRINT_TAG: Final = 559
"""A digest of a certificate."""

_CERT_PATH_THUMBPRINT_TAG: Final = 561

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_TIME: Final = 253_402_300_799  # the last second of the year 9999


@final
@frozen
class Digest:
    """A digest and its algorithm (rule `digest`). Its length is for whoever compares it to check."""

    alg: int | str
    """ID, or name string, of the IANA registry "Named Information Hash Algorithm"."""

    val: bytes
    """The digest."""


@final
@frozen
class Validity:
    """While what is signed is warranted (rule `validity-map`). Both times are in UTC."""

    not_after: datetime
    """The last moment."""

    not_before: datetime | None = None
    """The first moment, if there is one."""


@final
@frozen
class TagIdentity:
    """What a tag is called (rule `tag-identity-map`)."""

    tag_id: str | bytes
    """Text, or a UUID of 16 bytes."""

    tag_version: int | None = None
    """The revision; None counts as 0."""


@final
@frozen
class Entity:
    """An organisation and what it did (rule `entity-map`)."""

    entity_name: str
    """Who it is."""

    role: tuple[int, ...]
    """What it did: 0 to 2 for a CoMID (tag-creator, creator, maintainer), 1 or 2 for a CoRIM (creator, signer)."""

    reg_id: str | None = None
    """A URI of the organisation."""

    extensions: Mapping[int, CborItem] = field(default=NO_EXTENSIONS)
    """Members that a profile adds."""


def verify_validity(validity: Validity | None, *, now: datetime, what: str) -> None:
    """Check that `now` lies within the time, if one is stated. Raises `VerificationError`."""
    if validity is None:
        return
    if validity.not_before is not None and now < validity.not_before:
        raise VerificationError(
            f"{what} is not valid yet", got=now, want=f"from {validity.not_before}", section=f"{SECTION}, Validity"
        )
    if now > validity.not_after:
        raise VerificationError(
            f"{what} has expired", got=now, want=f"until {validity.not_after}", section=f"{SECTION}, Validity"
        )


def key_contents(*numbers: int) -> Mapping[int, Codec[Any]]:
    """Return what stands under these tags of `$crypto-key-type-choice`, for a choice that has some of them."""
    return {number: _KEY_CONTENTS[number] for number in numbers}


def entity_codec(rule: str, roles: range) -> Codec[Entity]:
    """Make the codec of an entity whose roles are among `roles`."""
    return struct(
        Entity,
        rule,
        required(0, "entity_name", TEXT),
        optional(1, "reg_id", URI),
        required(2, "role", array(one_of(roles))),
        socket=True,
    )


def one_of(numbers: range) -> Codec[int]:
    """Make the codec of a number from a small range."""

    def read(value: CborItem, name: str) -> int:
        number = UINT.read(value, name)
        if number not in numbers:
            raise DecodeError(f"{name} is not known", got=number, want=f"{numbers.start} to {numbers.stop - 1}")
        return number

    return Codec(read, UINT.write)


def _read_time(value: CborItem, name: str) -> datetime:
    """Read seconds since 1970, which may have a fraction."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DecodeError(f"{name} is not a time", section="RFC 8949, section 3.4.2")
    if not 0 <= value <= _MAX_TIME:
        raise DecodeError(f"{name} is a time outside of the years 1970 to 9999", section="RFC 8949, section 3.4.2")
    return _EPOCH + timedelta(seconds=value)


def _write_time(time: datetime) -> CborItem:
    seconds = (time - _EPOCH).total_seconds()
    return int(seconds) if seconds.is_integer() else seconds


def _check_validity(validity: Validity) -> None:
    if validity.not_before is not None and validity.not_before > validity.not_after:
        raise DecodeError("a validity ends before it begins", section=f"{SECTION}, validity-map")


def _read_digests(value: CborItem, name: str) -> tuple[Digest, ...]:
    digests = _DIGEST_LIST.read(value, name)
    if len({digest.alg for digest in digests}) != len(digests):
        # "Each entry in the digests-type MUST have a unique alg value": they are all of the same thing.
        raise DecodeError(f"{name} has two digests of one algorithm", section=f"{SECTION}, digests-type")
    return digests


def _read_cose_key(value: CborItem, name: str) -> CborItem:
    keys = value if isinstance(value, list) else [value]
    if not keys or not all(isinstance(key, dict) and 1 in key for key in keys):
        raise DecodeError(f"{name} is not a COSE_Key or COSE_KeySet", section="RFC 9052, section 7")
    return value


DIGEST: Final = record(Digest, "digest", Element("alg", by_type({int: INT, str: TEXT})), Element("val", BYTES))
"""`digest`."""

_DIGEST_LIST: Final = array(DIGEST)

DIGESTS: Final = Codec(_read_digests, _DIGEST_LIST.write)
"""`digests-type`: digests of one thing, each by another algorithm."""

_TIME: Final = tagged(TIME_TAG, Codec(_read_time, _write_time))

VALIDITY: Final = struct(
    Validity,
    "validity-map",
    optional(0, "not_before", _TIME),
    required(1, "not_after", _TIME),
    check=_check_validity,
)
"""`validity-map`."""

TAG_ID: Final = by_type({str: TEXT, bytes: UUID})
"""`$tag-id-type-choice`, and `$corim-id-type-choice` as well."""

TAG_IDENTITY: Final = struct(
    TagIdentity, "tag-identity-map", required(0, "tag_id", TAG_ID), optional(1, "tag_version", UINT)
)
"""`tag-identity-map`."""

PROFILE: Final = identifier({URI_TAG: URI_TEXT, OID_TAG: OID})
"""`$profile-type-choice`: a URI or an object identifier, with its tag."""

_KEY_CONTENTS: Final[Mapping[int, Codec[Any]]] = {
    PKIX_KEY_TAG: TEXT,
    PKIX_CERT_TAG: TEXT,
    PKIX_CERT_PATH_TAG: TEXT,
    KEY_THUMBPRINT_TAG: DIGEST,
    COSE_KEY_TAG: Codec(_read_cose_key, lambda value: value),
    CERT_THUMBPRINT_TAG: DIGEST,
    BYTES_TAG: BYTES,
    _CERT_PATH_THUMBPRINT_TAG: DIGEST,
    PKIX_DER_CERT_TAG: BYTES,
}

CRYPTO_KEY: Final = identifier(_KEY_CONTENTS)
"""`$crypto-key-type-choice`: a key, a certificate, a path, a digest of one of these, or a key identifier."""
