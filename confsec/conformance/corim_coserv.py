"""CoSERV: queries for reference values and endorsements, and what comes back (draft-ietf-rats-coserv).

confsec asks nobody for reference values, so this is here and not in the protocol: the messages are made of parts of
CoMID, and show that we read these. Stores of trust anchors, which are a draft of their own, are not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from confsec.errors import DecodeError
from confsec.protocol import cbor_general
from confsec.protocol.cbor_general import CborItem, Tag
from confsec.protocol.comid import CONDITIONAL_ENDORSEMENT, KEY_TRIPLE, VALUE_TRIPLE
from confsec.protocol.comid_measurement import CLASS_MAP, GROUP_ID, INSTANCE_ID, MEASUREMENT
from confsec.protocol.corim_codec import (
    BYTES,
    OID,
    OID_TAG,
    TEXT,
    Codec,
    Element,
    array,
    by_type,
    identifier,
    optional,
    record,
    required,
    struct,
)
from confsec.protocol.corim_common import CRYPTO_KEY, TAG_ID, one_of

__all__ = ["decode_coserv", "decode_discovery"]

_LIMIT: Final = 1 << 20
_DATE_TAG: Final = 0
_ARTIFACTS: Final = frozenset({"source", "collected", "rims"})
_DRAFT: Final = "draft-ietf-rats-coserv"


def decode_coserv(data: bytes) -> CborItem:
    """Check a query, with or without results, and return it as CBOR. Raises `DecodeError`."""
    item = cbor_general.decode(data, what="a CoSERV", limit=_LIMIT)
    _COSERV.read(item, "a CoSERV")
    return item


def decode_discovery(data: bytes) -> CborItem:
    """Check what a server says of itself, and return it as CBOR. Raises `DecodeError`."""
    item = cbor_general.decode(data, what="a discovery document", limit=_LIMIT)
    _DISCOVERY.read(item, "a discovery document")
    return item


def _members(**members: Any) -> Mapping[str, Any]:
    return members


def _read_date(item: CborItem, name: str) -> datetime:
    if not isinstance(item, Tag) or item.number != _DATE_TAG:
        raise DecodeError(f"{name} is not a date", section="RFC 8949, section 3.4.1")
    try:
        date = datetime.fromisoformat(TEXT.read(item.value, name))
    except ValueError as exc:
        raise DecodeError(f"{name} is not a date", section="RFC 3339") from exc
    if date.tzinfo is None:
        raise DecodeError(f"{name} has no time zone", section="RFC 3339")
    return date


def _read_query(item: CborItem, name: str) -> Any:
    """Read a query by environment, or one by the name of a manifest."""
    by_manifest = isinstance(item, dict) and 3 in item
    return (_MANIFEST_QUERY if by_manifest else _ENVIRONMENT_QUERY).read(item, name)


def _read_results(item: CborItem, name: str) -> Any:
    """Read results, which are of one kind: reference values, endorsed values, or trust anchors."""
    results = _RESULTS.read(item, name)
    kinds = [kind for kind in _KINDS if results.keys() & kind]
    if len(kinds) != 1 or not results.keys() >= kinds[0]:
        raise DecodeError(f"{name} are not of one kind", section=f"{_DRAFT}, result-set")
    return results


def _read_selector(item: CborItem, name: str) -> Any:
    selector = _SELECTOR.read(item, name)
    if len(selector) != 1:
        raise DecodeError(f"{name} selects by more than one thing", section=f"{_DRAFT}, environment-selector-map")
    return selector


def _read_endpoints(item: CborItem, name: str) -> Any:
    if not isinstance(item, dict) or not item:
        raise DecodeError(f"{name} is not a map with members", section=f"{_DRAFT}, discovery")
    return {TEXT.read(key, name): TEXT.read(value, name) for key, value in item.items()}


def _read_artifacts(item: CborItem, name: str) -> Any:
    artifacts = _TEXTS.read(item, name)
    if not _ARTIFACTS.issuperset(artifacts) or len(set(artifacts)) != len(artifacts):
        raise DecodeError(f"{name} has other words", section=f"{_DRAFT}, artifact-support")
    return artifacts


def _reading(read: Any) -> Codec[Any]:
    """Make a codec that only reads: nothing here is written."""
    return Codec(read, lambda item: item)


def _selected(codec: Codec[Any]) -> Codec[Any]:
    """Make the codec of environments, each with the state that it should be in, if one is stated."""
    row = record(
        _members,
        "environment-selector-map",
        Element("environment", codec),
        Element("measurements", array(MEASUREMENT), required=False),
    )
    return array(row)


def _quads(triple: Codec[Any]) -> Codec[Any]:
    """Make the codec of triples and of who vouches for them."""
    row = struct(_members, "quad", required(1, "authorities", array(CRYPTO_KEY)), required(2, "triple", triple))
    return array(row, minimum=0)


_TEXTS: Final = array(TEXT)

_SELECTOR: Final = struct(
    _members,
    "environment-selector-map",
    optional(0, "class", _selected(CLASS_MAP)),
    optional(1, "instance", _selected(INSTANCE_ID)),
    optional(2, "group", _selected(GROUP_ID)),
    non_empty=True,
)

_ENVIRONMENT_QUERY: Final = struct(
    _members,
    "environment-query",
    required(0, "artifact_type", one_of(range(4))),
    required(1, "environment_selector", _reading(_read_selector)),
    required(2, "result_type", one_of(range(3))),
)

_MANIFEST_QUERY: Final = struct(
    _members,
    "rim-query",
    required(
        3,
        "rim_selector",
        array(record(_members, "rim-selector-id", Element("kind", one_of(range(3))), Element("id", TAG_ID))),
    ),
)

_RESULTS: Final = struct(
    _members,
    "results",
    optional(0, "rvq", _quads(VALUE_TRIPLE)),
    optional(1, "evq", _quads(VALUE_TRIPLE)),
    optional(2, "ceq", _quads(CONDITIONAL_ENDORSEMENT)),
    optional(3, "akq", _quads(KEY_TRIPLE)),
    required(10, "expiry", _reading(_read_date)),
    optional(
        11, "source_artifacts", array(record(_members, "cbor-record", Element("type", TEXT), Element("value", BYTES)))
    ),
)

_KINDS: Final = (frozenset({"rvq"}), frozenset({"evq", "ceq"}), frozenset({"akq"}))

_COSERV: Final = struct(
    _members,
    "coserv",
    required(0, "profile", by_type({str: TEXT, Tag: identifier({OID_TAG: OID})})),
    required(1, "query", _reading(_read_query)),
    optional(2, "results", _reading(_read_results)),
)

_DISCOVERY: Final = struct(
    _members,
    "coserv-well-known-info",
    required(1, "version", TEXT),
    required(
        2,
        "capabilities",
        array(
            struct(
                _members,
                "capability",
                required(1, "media_type", TEXT),
                required(2, "artifact_support", _reading(_read_artifacts)),
            )
        ),
    ),
    required(3, "api_endpoints", _reading(_read_endpoints)),
    optional(4, "result_verification_key", array(_reading(lambda item, name: item))),
)
