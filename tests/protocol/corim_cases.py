"""CoRIMs for tests: small ones by hand, any by hypothesis."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from confsec.protocol.cbor_general import CborItem, Tag, encode
from confsec.protocol.comid import (
    ConciseMidTag,
    ConditionalEndorsement,
    ConditionalSeries,
    CoswidTriple,
    DomainTriple,
    KeyConditions,
    KeyTriple,
    LinkedTag,
    SeriesEntry,
    StatefulEnvironment,
    Triples,
    ValueTriple,
)
from confsec.protocol.comid_measurement import (
    ClassMap,
    Environment,
    IntRange,
    Measurement,
    MeasurementValues,
    Svn,
    Version,
)
from confsec.protocol.corim import ConciseTagList, Corim, Locator, SwidTag
from confsec.protocol.corim_codec import NO_EXTENSIONS
from confsec.protocol.corim_common import Digest, Entity, TagIdentity, Validity

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 28, tzinfo=UTC)
ENVIRONMENT: CborItem = {0: {1: "confsec", 2: "sev-snp"}}


def comid_item(*, mval: CborItem = None, triples: CborItem = None, **others: Any) -> dict[Any, Any]:
    """Return a CoMID as CBOR, around some values or some triples. Other members stand under `m` and their number."""
    values = {1: 1} if mval is None else mval
    item: dict[Any, Any] = {1: {0: "a"}, 4: triples or {0: [[ENVIRONMENT, [{1: values}]]]}}
    return item | {int(name[1:]): value for name, value in others.items()}


def corim_item(*comids: CborItem, **others: Any) -> dict[Any, Any]:
    """Return the map of a CoRIM as CBOR. Other members stand under `m` and their number."""
    item: dict[Any, Any] = {0: "b", 1: [Tag(506, encode(comid)) for comid in comids or (comid_item(),)]}
    return item | {int(name[1:]): value for name, value in others.items()}


def encode_corim(item: CborItem) -> bytes:
    return encode(Tag(501, item))


def corim(*comids: CborItem, **others: Any) -> Corim:
    return Corim.decode(encode_corim(corim_item(*comids, **others)))


# --- Any --------------------------------------------------------------------------------------------------------------


def _sized(*sizes: int) -> st.SearchStrategy[bytes]:
    return st.sampled_from(sizes).flatmap(lambda size: st.binary(min_size=size, max_size=size))


def _tagged(number: int, content: st.SearchStrategy[Any]) -> st.SearchStrategy[Tag]:
    return content.map(lambda value: Tag(number, value))


def _some(items: st.SearchStrategy[Any], *, least: int = 1) -> st.SearchStrategy[Any]:
    return st.lists(items, min_size=least, max_size=2).map(tuple)


TEXT = st.text(max_size=5)
BYTES = st.binary(max_size=5)
NUMBER = st.integers(0, (1 << 64) - 1)
ANY_NUMBER = st.integers(-(1 << 64), (1 << 64) - 1)
UUID = _sized(16)
OID = st.sampled_from([b"\x2a\x03\x04", b"\x55\x02\xc0\x00", b"\x01"])
URI = st.sampled_from(["https://a.example", "tag:a.example,2026:b", "urn:x:y"])
DIGEST = st.builds(Digest, ANY_NUMBER | TEXT, BYTES)
DIGESTS = st.lists(DIGEST, min_size=1, max_size=2, unique_by=lambda digest: digest.alg).map(tuple)
KEY = st.one_of(
    _tagged(554, TEXT),
    _tagged(555, TEXT),
    _tagged(556, TEXT),
    _tagged(557, DIGEST),
    _tagged(558, st.sampled_from([{1: 2}, [{1: "x"}]])),
    _tagged(559, DIGEST),
    _tagged(560, BYTES),
    _tagged(561, DIGEST),
    _tagged(562, BYTES),
)
EXTENSIONS = st.just(NO_EXTENSIONS) | st.just({-1: "x"}) | st.just({100: [Tag(9, None)]})
TAG_ID = TEXT | UUID
TAG_IDENTITY = st.builds(TagIdentity, TAG_ID, st.none() | NUMBER)
CLASS = st.builds(
    ClassMap,
    class_id=_tagged(111, OID) | _tagged(37, UUID) | _tagged(560, BYTES),
    vendor=TEXT,
    model=st.none() | TEXT,
    layer=st.none() | NUMBER,
    index=st.none() | NUMBER,
)
INSTANCE = _tagged(550, _sized(7, 33)) | _tagged(37, UUID) | KEY.filter(lambda key: key.number not in {556, 561})
GROUP = _tagged(37, UUID) | _tagged(560, BYTES)
ENVIRONMENTS = st.builds(Environment, class_=CLASS, instance=st.none() | INSTANCE, group=st.none() | GROUP)
MKEY = _tagged(111, OID) | _tagged(37, UUID) | NUMBER | TEXT
RANGE = st.lists(ANY_NUMBER, min_size=2, max_size=2).map(lambda bounds: IntRange(*sorted(bounds)))
VALUES = st.builds(
    MeasurementValues,
    version=st.none() | st.builds(Version, TEXT, st.none() | ANY_NUMBER | TEXT),
    svn=st.builds(Svn, NUMBER, st.booleans()) | st.builds(Svn, NUMBER, st.just(False), st.just(False)),
    digests=st.none() | DIGESTS,
    flags=st.none() | st.dictionaries(ANY_NUMBER, st.booleans(), max_size=2),
    raw_value=st.none() | _tagged(560, _sized(2)) | st.just(Tag(563, [b"ab", b"cd"])),
    mac_addr=st.none() | _sized(6, 8),
    ip_addr=st.none() | _sized(4, 16),
    serial_number=st.none() | TEXT,
    ueid=st.none() | _sized(7, 33),
    uuid=st.none() | UUID,
    name=st.none() | TEXT,
    cryptokeys=st.none() | _some(KEY),
    integrity_registers=st.none() | st.dictionaries(NUMBER | TEXT, DIGESTS, min_size=1, max_size=2),
    int_range=st.none() | ANY_NUMBER | RANGE | st.builds(IntRange, st.none(), ANY_NUMBER),
    extensions=EXTENSIONS,
)
MEASUREMENT = st.builds(Measurement, mkey=st.none() | MKEY, mval=VALUES, authorized_by=st.none() | _some(KEY))
VALUE_TRIPLE = st.builds(ValueTriple, ENVIRONMENTS, _some(MEASUREMENT))
KEY_TRIPLE = st.builds(
    KeyTriple, ENVIRONMENTS, _some(KEY), st.none() | st.builds(KeyConditions, mkey=MKEY, authorized_by=_some(KEY))
)
DOMAIN_TRIPLE = st.builds(DomainTriple, ENVIRONMENTS, _some(ENVIRONMENTS))
STATE = st.builds(StatefulEnvironment, ENVIRONMENTS, _some(MEASUREMENT))
SERIES_STATE = st.builds(StatefulEnvironment, ENVIRONMENTS, _some(MEASUREMENT, least=0), st.none() | _some(KEY))
SERIES = st.builds(
    ConditionalSeries, SERIES_STATE, _some(st.builds(SeriesEntry, _some(MEASUREMENT), _some(MEASUREMENT)))
)
TRIPLES = st.builds(
    Triples,
    reference_triples=_some(VALUE_TRIPLE),
    endorsed_triples=st.none() | _some(VALUE_TRIPLE),
    identity_triples=st.none() | _some(KEY_TRIPLE),
    attest_key_triples=st.none() | _some(KEY_TRIPLE),
    dependency_triples=st.none() | _some(DOMAIN_TRIPLE),
    membership_triples=st.none() | _some(DOMAIN_TRIPLE),
    coswid_triples=st.none() | _some(st.builds(CoswidTriple, ENVIRONMENTS, _some(TAG_ID))),
    conditional_endorsement_series_triples=st.none() | _some(SERIES),
    conditional_endorsement_triples=st.none()
    | _some(st.builds(ConditionalEndorsement, _some(STATE), _some(VALUE_TRIPLE))),
    extensions=EXTENSIONS,
)


def _entities(first: int, last: int) -> st.SearchStrategy[Any]:
    roles = st.lists(st.integers(first, last), min_size=1, max_size=1).map(tuple)
    return st.none() | _some(st.builds(Entity, TEXT, roles, st.none() | URI, EXTENSIONS))


COMIDS = st.builds(
    ConciseMidTag,
    tag_identity=TAG_IDENTITY,
    triples=TRIPLES,
    language=st.none() | TEXT,
    entities=_entities(0, 2),
    linked_tags=st.none() | _some(st.builds(LinkedTag, TAG_ID, st.integers(0, 1))),
    extensions=EXTENSIONS,
)
MOMENTS = st.integers(0, 10**15).map(lambda microseconds: EPOCH + timedelta(microseconds=microseconds))
VALIDITY = st.builds(Validity, st.just(NOW), st.none() | MOMENTS)
TAGS = (
    COMIDS
    | st.builds(ConciseTagList, tag_identity=TAG_IDENTITY, tags_list=_some(TAG_IDENTITY), tl_validity=VALIDITY)
    | TAG_ID.map(lambda tag_id: SwidTag(tag_id, {0: tag_id, "x": None}))
)
CORIMS = st.builds(
    Corim,
    id=TAG_ID,
    tags=_some(TAGS),
    dependent_rims=st.none() | _some(st.builds(Locator, _some(URI), st.none() | _some(DIGEST))),
    profile=st.none() | _tagged(32, URI) | _tagged(111, OID),
    rim_validity=st.none() | VALIDITY,
    entities=_entities(1, 1),
    extensions=EXTENSIONS,
)
