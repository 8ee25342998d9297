"""CoMID: what a supplier says of modules, as triples of an environment, a relation and values (draft-ietf-rats-corim).

Reference triples say what evidence should show, endorsed triples what evidence cannot show; conditional ones apply if
something else was shown; key triples name keys; domain triples say what belongs to what, or depends on it. All are
read, and none is applied here: a policy uses reference values alone (`corim_reference.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, final

from attrs import field, frozen

from confsec.protocol import cbor_general
from confsec.protocol.cbor_general import CborItem, Tag
from confsec.protocol.comid_measurement import (
    ENVIRONMENT,
    MEASUREMENT,
    MEASUREMENT_KEY,
    Environment,
    Measurement,
    MeasurementKey,
)
from confsec.protocol.corim_codec import (
    NO_EXTENSIONS,
    TEXT,
    Codec,
    Element,
    array,
    optional,
    record,
    required,
    struct,
)
from confsec.protocol.corim_common import (
    CRYPTO_KEY,
    MAX_CORIM,
    TAG_ID,
    TAG_IDENTITY,
    Entity,
    TagIdentity,
    entity_codec,
    one_of,
)

__all__ = [
    "CONDITIONAL_ENDORSEMENT",
    "DOMAIN_TRIPLES",
    "KEY_TRIPLE",
    "KEY_TRIPLES",
    "VALUE_TRIPLE",
    "ConciseMidTag",
    "ConditionalEndorsement",
    "ConditionalSeries",
    "CoswidTriple",
    "DomainTriple",
    "KeyConditions",
    "KeyTriple",
    "LinkedTag",
    "SeriesEntry",
    "StatefulEnvironment",
    "Triples",
    "ValueTriple",
]


@final
@frozen
class ValueTriple:
    """Values of an environment (rules `reference-triple-record`, `endorsed-triple-record`)."""

    environment: Environment
    """What they are values of."""

    measurements: tuple[Measurement, ...]
    """The values: of reference triples one possible state, all of it at once."""


@final
@frozen(kw_only=True)
class KeyConditions:
    """What else has to be so for a key triple to apply."""

    mkey: MeasurementKey | None = None
    """The measured element that has the keys."""

    authorized_by: tuple[Tag, ...] | None = None
    """Keys of those who asserted them."""


@final
@frozen
class KeyTriple:
    """Keys of an environment (rules `identity-triple-record`, `attest-key-triple-record`)."""

    environment: Environment
    """What has them."""

    key_list: tuple[Tag, ...]
    """The keys, or certificates, or digests of these."""

    conditions: KeyConditions | None = None
    """What else has to be so."""


@final
@frozen
class DomainTriple:
    """Domains that belong to another, or that it depends on (rules `domain-…-triple-record`)."""

    domain: Environment
    """The domain."""

    others: tuple[Environment, ...]
    """Its members, or those it depends on."""


@final
@frozen
class CoswidTriple:
    """Software tags that hold reference values of an environment (rule `coswid-triple-record`)."""

    environment: Environment
    """What they are about."""

    tag_ids: tuple[str | bytes, ...]
    """Names of CoSWID tags."""


@final
@frozen
class StatefulEnvironment:
    """An environment in a state (rule `stateful-environment-record`)."""

    environment: Environment
    """The environment."""

    claims_list: tuple[Measurement, ...]
    """What has to be so in it. In a conditional series it may be empty."""

    authorized_by: tuple[Tag, ...] | None = None
    """Keys of those who may say so: only in a conditional series."""


@final
@frozen
class ConditionalEndorsement:
    """Endorsements that apply in a state (rule `conditional-endorsement-triple-record`)."""

    conditions: tuple[StatefulEnvironment, ...]
    """All of which have to be met."""

    endorsements: tuple[ValueTriple, ...]
    """What applies then."""


@final
@frozen
class SeriesEntry:
    """A case of a conditional series (rule `conditional-series-record`)."""

    selection: tuple[Measurement, ...]
    """What has to be so."""

    addition: tuple[Measurement, ...]
    """What applies then."""


@final
@frozen
class ConditionalSeries:
    """Cases of which the first that fits applies (rule `conditional-endorsement-series-triple-record`)."""

    condition: StatefulEnvironment
    """What has to be so in all cases."""

    series: tuple[SeriesEntry, ...]
    """The cases, in order."""


@final
@frozen(kw_only=True)
class Triples:
    """All that a CoMID says (rule `triples-map`)."""

    reference_triples: tuple[ValueTriple, ...] | None = None
    """What evidence should show; each triple is one possible state."""

    endorsed_triples: tuple[ValueTriple, ...] | None = None
    """What holds and evidence does not show."""

    identity_triples: tuple[KeyTriple, ...] | None = None
    """Keys that identify a device."""

    attest_key_triples: tuple[KeyTriple, ...] | None = None
    """Keys that sign evidence."""

    dependency_triples: tuple[DomainTriple, ...] | None = None
    """What depends on what."""

    membership_triples: tuple[DomainTriple, ...] | None = None
    """What belongs to what."""

    coswid_triples: tuple[CoswidTriple, ...] | None = None
    """Which CoSWID tags hold reference values."""

    conditional_endorsement_series_triples: tuple[ConditionalSeries, ...] | None = None
    """Cases of endorsements."""

    conditional_endorsement_triples: tuple[ConditionalEndorsement, ...] | None = None
    """Endorsements that apply in a state."""

    extensions: Mapping[int, CborItem] = field(default=NO_EXTENSIONS)
    """Triples that a profile adds."""


@final
@frozen
class LinkedTag:
    """Another CoMID, and how this one stands to it (rule `linked-tag-map`)."""

    linked_tag_id: str | bytes
    """Its name."""

    tag_rel: int
    """0: this one supplements it; 1: this one replaces it, and what stands there is not to be used."""


@final
@frozen(kw_only=True)
class ConciseMidTag:
    """A CoMID (rule `concise-mid-tag`)."""

    tag_identity: TagIdentity
    """What it is called."""

    triples: Triples
    """What it says."""

    language: str | None = None
    """Of all text in it."""

    entities: tuple[Entity, ...] | None = None
    """Who made it, or what it is about."""

    linked_tags: tuple[LinkedTag, ...] | None = None
    """Other CoMIDs, and how this one stands to them."""

    extensions: Mapping[int, CborItem] = field(default=NO_EXTENSIONS)
    """Members that a profile adds."""

    @staticmethod
    def decode(data: bytes) -> ConciseMidTag:
        """Read a CoMID without its tag. Raises `DecodeError`, and `LimitError` beyond 1 MiB or 16384 items."""
        return ConciseMidTag.from_item(cbor_general.decode(data, what="a CoMID", limit=MAX_CORIM))

    @staticmethod
    def from_item(item: CborItem) -> ConciseMidTag:
        """Read a CoMID whose CBOR was decoded. Raises `DecodeError`."""
        return _CONCISE_MID_TAG.read(item, "a CoMID")

    def encode(self) -> bytes:
        return cbor_general.encode(_CONCISE_MID_TAG.write(self))


def _key_triple(rule: str) -> Codec[KeyTriple]:
    return record(
        KeyTriple,
        rule,
        Element("environment", ENVIRONMENT),
        Element("key_list", array(CRYPTO_KEY)),
        Element("conditions", _KEY_CONDITIONS, required=False),
    )


def _domain_triple(rule: str) -> Codec[DomainTriple]:
    return record(DomainTriple, rule, Element("domain", ENVIRONMENT), Element("others", array(ENVIRONMENT)))


_MEASUREMENTS: Final = array(MEASUREMENT)

VALUE_TRIPLE: Final = record(
    ValueTriple,
    "reference-triple-record",
    Element("environment", ENVIRONMENT),
    Element("measurements", _MEASUREMENTS),
)
"""`reference-triple-record`, and `endorsed-triple-record` as well."""

_KEY_CONDITIONS: Final = struct(
    KeyConditions,
    "identity-triple-record",
    optional(0, "mkey", MEASUREMENT_KEY),
    optional(1, "authorized_by", array(CRYPTO_KEY)),
    non_empty=True,
)

KEY_TRIPLE: Final = _key_triple("identity-triple-record")
"""`identity-triple-record`, and `attest-key-triple-record` as well."""

KEY_TRIPLES: Final = array(KEY_TRIPLE)
"""`[ + identity-triple-record ]`, and `[ + attest-key-triple-record ]` as well."""

DOMAIN_TRIPLES: Final = array(_domain_triple("domain-membership-triple-record"))
"""`[ + domain-membership-triple-record ]`, and `[ + domain-dependency-triple-record ]` as well."""

_STATEFUL_ENVIRONMENT: Final = record(
    StatefulEnvironment,
    "stateful-environment-record",
    Element("environment", ENVIRONMENT),
    Element("claims_list", _MEASUREMENTS),
)

CONDITIONAL_ENDORSEMENT: Final = record(
    ConditionalEndorsement,
    "conditional-endorsement-triple-record",
    Element("conditions", array(_STATEFUL_ENVIRONMENT)),
    Element("endorsements", array(VALUE_TRIPLE)),
)
"""`conditional-endorsement-triple-record`."""

# What a series is about may be any state of an environment, and may be bound to who said so.
_SERIES_CONDITION: Final = record(
    StatefulEnvironment,
    "conditional-endorsement-series-triple-record",
    Element("environment", ENVIRONMENT),
    Element("claims_list", array(MEASUREMENT, minimum=0)),
    Element("authorized_by", array(CRYPTO_KEY), required=False),
)

_TRIPLES: Final = struct(
    Triples,
    "triples-map",
    optional(0, "reference_triples", array(VALUE_TRIPLE)),
    optional(1, "endorsed_triples", array(VALUE_TRIPLE)),
    optional(2, "identity_triples", KEY_TRIPLES),
    optional(3, "attest_key_triples", KEY_TRIPLES),
    optional(4, "dependency_triples", DOMAIN_TRIPLES),
    optional(5, "membership_triples", DOMAIN_TRIPLES),
    optional(
        6,
        "coswid_triples",
        array(
            record(
                CoswidTriple,
                "coswid-triple-record",
                Element("environment", ENVIRONMENT),
                Element("tag_ids", array(TAG_ID)),
            )
        ),
    ),
    optional(
        8,
        "conditional_endorsement_series_triples",
        array(
            record(
                ConditionalSeries,
                "conditional-endorsement-series-triple-record",
                Element("condition", _SERIES_CONDITION),
                Element(
                    "series",
                    array(
                        record(
                            SeriesEntry,
                            "conditional-series-record",
                            Element("selection", _MEASUREMENTS),
                            Element("addition", _MEASUREMENTS),
                        )
                    ),
                ),
            )
        ),
    ),
    optional(10, "conditional_endorsement_triples", array(CONDITIONAL_ENDORSEMENT)),
    non_empty=True,
    socket=True,
)

_CONCISE_MID_TAG: Final = struct(
    ConciseMidTag,
    "concise-mid-tag",
    optional(0, "language", TEXT),
    required(1, "tag_identity", TAG_IDENTITY),
    optional(2, "entities", array(entity_codec("comid-entity-map", range(3)))),
    optional(
        3,
        "linked_tags",
        array(
            struct(
                LinkedTag,
                "linked-tag-map",
                required(0, "linked_tag_id", TAG_ID),
                required(1, "tag_rel", one_of(range(2))),
            )
        ),
    ),
    required(4, "triples", _TRIPLES),
    socket=True,
)
