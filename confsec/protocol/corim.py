"""CoRIM: a collection of tags with what holds for all of them (draft-ietf-rats-corim), without its signature.

Three kinds of tags are known: CoMID (`comid.py`), CoTL, which lists what is active, and CoSWID (RFC 9393), of which
only the name is read. `corim_signed.py` opens what is signed; nothing of a CoRIM may be believed before that, or
before somebody has said that this file is trusted.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final, TypeVar, final

from attrs import field, frozen

from confsec.errors import DecodeError
from confsec.protocol import cbor_general
from confsec.protocol.cbor_general import CborItem, Tag
from confsec.protocol.comid import ConciseMidTag
from confsec.protocol.corim_codec import (
    NO_EXTENSIONS,
    SECTION,
    URI,
    Codec,
    array,
    optional,
    required,
    struct,
)
from confsec.protocol.corim_common import (
    DIGEST,
    MAX_CORIM,
    PROFILE,
    TAG_ID,
    TAG_IDENTITY,
    VALIDITY,
    Digest,
    Entity,
    TagIdentity,
    Validity,
    entity_codec,
    verify_validity,
)

__all__ = [
    "CORIM_TAG",
    "MANIFEST_SIGNER",
    "ConciseTag",
    "ConciseTagList",
    "Corim",
    "Locator",
    "SwidTag",
    "verify_corim_times",
]

CORIM_TAG: Final = 501
"""A CoRIM without signature."""

MANIFEST_SIGNER: Final = 2
"""The role of who signed a CoRIM; there is at most one."""

_SWID_TAG: Final = 505
_COMID_TAG: Final = 506
_COTL_TAG: Final = 508
_SWID_TAG_ID: Final = 0

_T = TypeVar("_T")


@final
@frozen
class Locator:
    """Where something else can be had that belongs to this (rule `corim-locator-map`). We fetch nothing."""

    href: tuple[str, ...]
    """URIs, each an alternative."""

    thumbprint: tuple[Digest, ...] | None = None
    """Digests of what is there."""


@final
@frozen
class SwidTag:
    """A CoSWID (RFC 9393), of which we read the name."""

    tag_id: str | bytes
    """Text, or a UUID of 16 bytes."""

    item: Mapping[cbor_general.CborKey, CborItem] = field(repr=False)
    """All of it."""


@final
@frozen(kw_only=True)
class ConciseTagList:
    """A CoTL: the tags that are active, all of them or none (rule `concise-tl-tag`)."""

    tag_identity: TagIdentity
    """What it is called."""

    tags_list: tuple[TagIdentity, ...]
    """The tags that are active."""

    tl_validity: Validity
    """While they are."""


ConciseTag = ConciseMidTag | ConciseTagList | SwidTag
"""What a CoRIM is a collection of."""


@final
@frozen(kw_only=True)
class Corim:
    """A CoRIM (rule `corim-map`)."""

    id: str | bytes
    """Text, or a UUID of 16 bytes."""

    tags: tuple[ConciseTag, ...]
    """The tags."""

    dependent_rims: tuple[Locator, ...] | None = None
    """What else belongs to it, and where it can be had."""

    profile: Tag | None = None
    """By which rules to understand it, as a URI or an object identifier. Who does not know it has to refuse."""

    rim_validity: Validity | None = None
    """While it is valid."""

    entities: tuple[Entity, ...] | None = None
    """Who made and signed it."""

    extensions: Mapping[int, CborItem] = field(default=NO_EXTENSIONS)
    """Members that a profile adds."""

    @staticmethod
    def decode(data: bytes) -> Corim:
        """Read a CoRIM under its tag 501. Raises `DecodeError`, and `LimitError` beyond 1 MiB or 16384 items."""
        item = cbor_general.decode(data, what="a CoRIM", limit=MAX_CORIM)
        if not isinstance(item, Tag) or item.number != CORIM_TAG:
            raise DecodeError("a CoRIM does not have its tag", want=CORIM_TAG, section=f"{SECTION}, corim")
        return _CORIM_MAP.read(_open_tags(item.value), "a CoRIM")

    def encode(self) -> bytes:
        return cbor_general.encode(Tag(CORIM_TAG, _CORIM_MAP.write(self)))

    @property
    def comids(self) -> tuple[ConciseMidTag, ...]:
        """The CoMIDs among the tags."""
        return tuple(tag for tag in self.tags if isinstance(tag, ConciseMidTag))


def verify_corim_times(corim: Corim, *, now: datetime) -> None:
    """Check that a CoRIM and all tag lists in it are valid at `now`. Raises `VerificationError`."""
    verify_validity(corim.rim_validity, now=now, what="the CoRIM")
    for tag in corim.tags:
        if isinstance(tag, ConciseTagList):
            verify_validity(tag.tl_validity, now=now, what="a list of tags in the CoRIM")


def _open_tags(item: CborItem) -> CborItem:
    """Decode the bytes in which each tag stands, and count their items together with those around them."""
    tags = item.get(1) if isinstance(item, dict) else None
    if not isinstance(item, dict) or not isinstance(tags, list):
        return item  # the codec says what is wrong
    left = cbor_general.MAX_ITEMS - _count(item)
    opened: list[CborItem] = []
    for tag in tags:
        if not isinstance(tag, Tag) or not isinstance(tag.value, bytes):
            raise DecodeError("a tag in a CoRIM is not encoded CBOR", section=f"{SECTION}, concise-tag-type-choice")
        value = cbor_general.decode(tag.value, what="a tag in a CoRIM", limit=MAX_CORIM, max_items=left)
        left -= _count(value)
        opened.append(Tag(tag.number, value))
    return {**item, 1: opened}


def _count(item: CborItem) -> int:
    """Count the items of what was decoded."""
    match item:
        case list():
            return 1 + sum(map(_count, item))
        case dict():
            return 1 + len(item) + sum(map(_count, item.values()))
        case Tag(_, value):
            return 1 + _count(value)
        case _:
            return 1


def _check_corim(corim: Corim) -> None:
    signers = [entity for entity in corim.entities or () if MANIFEST_SIGNER in entity.role]
    if len(signers) > 1:
        raise DecodeError(
            "a CoRIM names several signers", got=len(signers), want="at most 1", section=f"{SECTION}, corim-entity-map"
        )


def _read_tag(item: CborItem, name: str) -> ConciseTag:
    match item:
        case Tag(number, value) if number == _COMID_TAG:
            return ConciseMidTag.from_item(value)
        case Tag(number, value) if number == _COTL_TAG:
            return _TAG_LIST.read(value, "a CoTL")
        case Tag(number, dict() as value) if number == _SWID_TAG:
            return SwidTag(TAG_ID.read(value.get(_SWID_TAG_ID), "tag-id of a CoSWID"), value)
        case _:
            raise DecodeError(
                f"{name} is of a kind that is not known",
                want=f"{_SWID_TAG}, {_COMID_TAG} or {_COTL_TAG}",
                section=f"{SECTION}, concise-tag-type-choice",
            )


def _write_tag(tag: ConciseTag) -> CborItem:
    if isinstance(tag, ConciseMidTag):
        return Tag(_COMID_TAG, tag.encode())
    if isinstance(tag, ConciseTagList):
        return Tag(_COTL_TAG, cbor_general.encode(_TAG_LIST.write(tag)))
    return Tag(_SWID_TAG, cbor_general.encode(dict(tag.item)))


def _read_hrefs(item: CborItem, name: str) -> tuple[str, ...]:
    return _URIS.read(item if isinstance(item, list) else [item], name)


def _read_thumbprints(item: CborItem, name: str) -> tuple[Digest, ...]:
    several = isinstance(item, list) and all(isinstance(part, list) for part in item)
    return _DIGEST_LIST.read(item if several else [item], name)


def _write_one_or_more(codec: Codec[tuple[_T, ...]], values: tuple[_T, ...]) -> CborItem:
    written = codec.write(values)
    return written[0] if isinstance(written, list) and len(written) == 1 else written


_URIS: Final = array(URI)
_DIGEST_LIST: Final = array(DIGEST)

_LOCATOR: Final = struct(
    Locator,
    "corim-locator-map",
    required(0, "href", Codec(_read_hrefs, lambda hrefs: _write_one_or_more(_URIS, hrefs))),
    optional(1, "thumbprint", Codec(_read_thumbprints, lambda prints: _write_one_or_more(_DIGEST_LIST, prints))),
)

_TAG_LIST: Final = struct(
    ConciseTagList,
    "concise-tl-tag",
    required(0, "tag_identity", TAG_IDENTITY),
    required(1, "tags_list", array(TAG_IDENTITY)),
    required(2, "tl_validity", VALIDITY),
)

_CORIM_MAP: Final = struct(
    Corim,
    "corim-map",
    required(0, "id", TAG_ID),
    required(1, "tags", array(Codec(_read_tag, _write_tag))),
    optional(2, "dependent_rims", array(_LOCATOR)),
    optional(3, "profile", PROFILE),
    optional(4, "rim_validity", VALIDITY),
    optional(5, "entities", array(entity_codec("corim-entity-map", range(1, 3)))),
    socket=True,
    check=_check_corim,
)
