"""Environments and what is measured in them, as CoMID and concise evidence say it (draft-ietf-rats-corim).

An environment is named by class, instance or group. What is measured in it stands under a measurement key, or under
none, as a set of values of which each kind occurs at most once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, final

from attrs import field, fields, frozen

from confsec.errors import DecodeError
from confsec.protocol.cbor_general import CborItem, Tag
from confsec.protocol.corim_codec import (
    BOOL,
    BYTES,
    BYTES_TAG,
    INT,
    NO_EXTENSIONS,
    OID,
    OID_TAG,
    SECTION,
    TEXT,
    UEID,
    UEID_TAG,
    UINT,
    UUID,
    UUID_TAG,
    Codec,
    array,
    by_type,
    identifier,
    optional,
    required,
    sized,
    struct,
)
from confsec.protocol.corim_common import (
    CERT_THUMBPRINT_TAG,
    COSE_KEY_TAG,
    CRYPTO_KEY,
    DIGESTS,
    KEY_THUMBPRINT_TAG,
    PKIX_CERT_TAG,
    PKIX_DER_CERT_TAG,
    PKIX_KEY_TAG,
    Digest,
    key_contents,
)

__all__ = [
    "CLASS_MAP",
    "ENVIRONMENT",
    "GROUP_ID",
    "INSTANCE_ID",
    "MEASUREMENT",
    "MEASUREMENT_KEY",
    "MEASUREMENT_VALUES",
    "ClassMap",
    "Environment",
    "IntRange",
    "Measurement",
    "MeasurementKey",
    "MeasurementValues",
    "Svn",
    "Version",
]

_SVN_TAG: Final = 552
_MIN_SVN_TAG: Final = 553
_MASKED_RAW_VALUE_TAG: Final = 563
_INT_RANGE_TAG: Final = 564

MeasurementKey = int | str | Tag
"""What a measured element is called: a number, text, or an object identifier or UUID with its tag."""


@final
@frozen(kw_only=True)
class ClassMap:
    """A class of environments (rule `class-map`)."""

    class_id: Tag | None = None
    """An object identifier, a UUID, or opaque bytes."""

    vendor: str | None = None
    """Who chose the other values."""

    model: str | None = None
    """The product."""

    layer: int | None = None
    """Where in a sequence it stands."""

    index: int | None = None
    """Which of several clones it is."""


@final
@frozen(kw_only=True)
class Environment:
    """What is measured, or measures (rule `environment-map`)."""

    class_: ClassMap | None = None
    """Its class."""

    instance: Tag | None = None
    """This one of its class."""

    group: Tag | None = None
    """A group of instances."""


@final
@frozen
class Version:
    """A version (rule `version-map`)."""

    version: str
    """As text."""

    version_scheme: int | str | None = None
    """How to read it (RFC 9393, section 4.1): 16384 is semantic versioning."""


@final
@frozen
class Svn:
    """A security version number (rule `svn-type-choice`)."""

    value: int
    """The number."""

    minimum: bool = False
    """Any higher one will do as well."""

    tagged: bool = True
    """It stands under a tag; without one it is exact."""


@final
@frozen
class IntRange:
    """A range of integers, both ends included (rule `int-range`)."""

    low: int | None
    """The lowest one, or None: no bound."""

    high: int | None
    """The highest one, or None: no bound."""


@final
@frozen(kw_only=True)
class MeasurementValues:
    """What was measured, or should be (rule `measurement-values-map`)."""

    version: Version | None = None
    """The version."""

    svn: Svn | None = None
    """The security version number."""

    digests: tuple[Digest, ...] | None = None
    """Digests of one thing, each by another algorithm."""

    flags: Mapping[int, bool] | None = None
    """Modes by their numbers: 0 configured, 1 secure, 2 recovery, 3 debug, …"""

    raw_value: Tag | None = None
    """The value itself, as it stands; `masked_value` says what is to be compared."""

    raw_value_mask: bytes | None = None
    """The mask of older CoRIMs."""

    mac_addr: bytes | None = None
    """An address of 6 or 8 bytes."""

    ip_addr: bytes | None = None
    """An address of 4 or 16 bytes."""

    serial_number: str | None = None
    """The product's serial number."""

    ueid: bytes | None = None
    """A Universal Entity ID."""

    uuid: bytes | None = None
    """A UUID."""

    name: str | None = None
    """A name."""

    cryptokeys: tuple[Tag, ...] | None = None
    """Keys that the environment protects."""

    integrity_registers: Mapping[int | str, tuple[Digest, ...]] | None = None
    """Registers by index or name, such as PCRs."""

    int_range: int | IntRange | None = None
    """A number, or a range of them."""

    extensions: Mapping[int, CborItem] = field(default=NO_EXTENSIONS)
    """Values that a profile adds. Whoever compares and does not know them has to refuse."""

    @property
    def masked_value(self) -> tuple[bytes, bytes | None] | None:
        """The raw value and the bits of it that count (None: all), or None if there is no raw value."""
        match self.raw_value:
            case Tag(_, [bytes(value), bytes(mask)]):
                return value, mask
            case Tag(_, bytes(value)):
                return value, self.raw_value_mask
            case _:
                return None

    @property
    def stated(self) -> frozenset[str]:
        """The names of the values that are stated."""
        return frozenset(row for row in _ROW_NAMES if getattr(self, row) is not None)


@final
@frozen(kw_only=True)
class Measurement:
    """Values of a measured element (rule `measurement-map`)."""

    mval: MeasurementValues
    """The values."""

    mkey: MeasurementKey | None = None
    """What the element is called."""

    authorized_by: tuple[Tag, ...] | None = None
    """Keys of those who may say so."""


def _check_class(class_map: ClassMap) -> None:
    if class_map.model is not None and class_map.vendor is None:
        # "If populated, vendor MUST also be populated": a model has a name only beside its vendor's.
        raise DecodeError("a class has a model and no vendor", section=f"{SECTION}, class-map")


def _check_raw_value(values: MeasurementValues) -> None:
    """Check that a mask has a value, that there is one mask, and that it has the length of the value."""
    raw = values.masked_value
    if values.raw_value_mask is not None and (values.raw_value is None or values.raw_value.number != BYTES_TAG):
        raise DecodeError("a mask stands without its raw value", section=f"{SECTION}, measurement-values-map")
    if raw is not None and raw[1] is not None and len(raw[0]) != len(raw[1]):
        raise DecodeError(
            "a mask does not have the length of its raw value",
            got=f"{len(raw[1])} bytes",
            want=f"{len(raw[0])} bytes",
            section=f"{SECTION}, raw-value",
        )


def _read_svn(value: CborItem, name: str) -> Svn:
    if not isinstance(value, Tag):
        return Svn(UINT.read(value, name), tagged=False)
    if value.number not in {_SVN_TAG, _MIN_SVN_TAG}:
        raise DecodeError(f"{name} is not a security version number", section=f"{SECTION}, svn-type-choice")
    return Svn(UINT.read(value.value, name), minimum=value.number == _MIN_SVN_TAG)


def _write_svn(svn: Svn) -> CborItem:
    return Tag(_MIN_SVN_TAG if svn.minimum else _SVN_TAG, svn.value) if svn.tagged or svn.minimum else svn.value


def _read_flags(value: CborItem, name: str) -> Mapping[int, bool]:
    if not isinstance(value, dict):
        raise DecodeError(f"{name} is not a map", section=f"{SECTION}, flags-map")
    flags: dict[int, bool] = {}
    for key, flag in value.items():
        if not isinstance(key, int):
            raise DecodeError(f"{name} has a flag that is no number", section=f"{SECTION}, flags-map")
        flags[key] = BOOL.read(flag, name)
    return flags


def _read_masked(value: CborItem, name: str) -> CborItem:
    if not isinstance(value, list) or len(value) != 2 or not all(isinstance(part, bytes) for part in value):
        raise DecodeError(f"{name} is not a value and its mask", section=f"{SECTION}, tagged-masked-raw-value")
    return value


def _read_registers(value: CborItem, name: str) -> Mapping[int | str, tuple[Digest, ...]]:
    if not isinstance(value, dict) or not value:
        raise DecodeError(f"{name} is not a map with members", section=f"{SECTION}, integrity-registers")
    return {_REGISTER.read(key, name): DIGESTS.read(digests, name) for key, digests in value.items()}


def _read_range(value: CborItem, name: str) -> int | IntRange:
    if not isinstance(value, Tag):
        return INT.read(value, name)
    match value:
        case Tag(number, [low, high]) if number == _INT_RANGE_TAG:
            bounds = IntRange(*(None if bound is None else INT.read(bound, name) for bound in (low, high)))
        case _:
            raise DecodeError(f"{name} is not a range of integers", section=f"{SECTION}, int-range-type-choice")
    if bounds.low is not None and bounds.high is not None and bounds.low > bounds.high:
        raise DecodeError(f"{name} is a range without any integer", section=f"{SECTION}, int-range")
    return bounds


def _write_range(value: int | IntRange) -> CborItem:
    return Tag(_INT_RANGE_TAG, [value.low, value.high]) if isinstance(value, IntRange) else value


CLASS_MAP: Final = struct(
    ClassMap,
    "class-map",
    optional(0, "class_id", identifier({OID_TAG: OID, UUID_TAG: UUID, BYTES_TAG: BYTES})),
    optional(1, "vendor", TEXT),
    optional(2, "model", TEXT),
    optional(3, "layer", UINT),
    optional(4, "index", UINT),
    non_empty=True,
    check=_check_class,
)
"""`class-map`."""

INSTANCE_ID: Final = identifier(
    {
        UEID_TAG: UEID,
        UUID_TAG: UUID,
        BYTES_TAG: BYTES,
        **key_contents(
            PKIX_KEY_TAG, PKIX_CERT_TAG, COSE_KEY_TAG, KEY_THUMBPRINT_TAG, CERT_THUMBPRINT_TAG, PKIX_DER_CERT_TAG
        ),
    }
)
"""`$instance-id-type-choice`."""

GROUP_ID: Final = identifier({UUID_TAG: UUID, BYTES_TAG: BYTES})
"""`$group-id-type-choice`."""

ENVIRONMENT: Final = struct(
    Environment,
    "environment-map",
    optional(0, "class_", CLASS_MAP),
    optional(1, "instance", INSTANCE_ID),
    optional(2, "group", GROUP_ID),
    non_empty=True,
)
"""`environment-map`."""

MEASUREMENT_KEY: Final[Codec[MeasurementKey]] = by_type(
    {Tag: identifier({OID_TAG: OID, UUID_TAG: UUID}), int: UINT, str: TEXT}
)
"""`$measured-element-type-choice`."""

_REGISTER: Final[Codec[int | str]] = by_type({int: UINT, str: TEXT})

MEASUREMENT_VALUES: Final = struct(
    MeasurementValues,
    "measurement-values-map",
    optional(
        0,
        "version",
        struct(
            Version,
            "version-map",
            required(0, "version", TEXT),
            optional(1, "version_scheme", by_type({int: INT, str: TEXT})),
        ),
    ),
    optional(1, "svn", Codec(_read_svn, _write_svn)),
    optional(2, "digests", DIGESTS),
    optional(3, "flags", Codec(_read_flags, dict)),
    optional(
        4, "raw_value", identifier({BYTES_TAG: BYTES, _MASKED_RAW_VALUE_TAG: Codec(_read_masked, lambda value: value)})
    ),
    optional(5, "raw_value_mask", BYTES),
    optional(6, "mac_addr", sized(6, 8)),
    optional(7, "ip_addr", sized(4, 16)),
    optional(8, "serial_number", TEXT),
    optional(9, "ueid", UEID),
    optional(10, "uuid", UUID),
    optional(11, "name", TEXT),
    optional(13, "cryptokeys", array(CRYPTO_KEY)),
    optional(
        14,
        "integrity_registers",
        Codec(_read_registers, lambda registers: {key: DIGESTS.write(digests) for key, digests in registers.items()}),
    ),
    optional(15, "int_range", Codec(_read_range, _write_range)),
    non_empty=True,
    socket=True,
    check=_check_raw_value,
)
"""`measurement-values-map`."""

_ROW_NAMES: Final = tuple(row.name for row in fields(MeasurementValues) if row.name != "extensions")

MEASUREMENT: Final = struct(
    Measurement,
    "measurement-map",
    optional(0, "mkey", MEASUREMENT_KEY),
    required(1, "mval", MEASUREMENT_VALUES),
    optional(2, "authorized_by", array(CRYPTO_KEY)),
)
"""`measurement-map`."""
