"""What tokens say: the claims of EAT and CWT, the same in CBOR and JSON (RFC 9711, RFC 8392).

Here are the values that claims have, and the table that says of each claim its name, its number, and how its value is
written (`claim_tables.py` says what such a table does). `EAT_CLAIMS` reads and writes claims-sets.

Who reads a claims-set checks the signature first (`eat_tokens.py`), or believes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any, Final, final

from attrs import field, frozen

from confsec.errors import DecodeError, LimitError
from confsec.protocol import json_general
from confsec.protocol.cbor_general import CborItem
from confsec.protocol.claim_tables import MAX_CLAIMS, Claim, ClaimCodec, ClaimTable, ClaimValue, binary, same_in_both
from confsec.protocol.json_general import JsonItem
from confsec.protocol.wire import decode_base64url, encode_base64url

__all__ = [
    "CLAIMS",
    "EAT_CLAIMS",
    "DebugStatus",
    "DetachedDigest",
    "Measurement",
    "MeasurementResult",
    "MeasurementResults",
    "NestedToken",
    "Version",
]

_LAST_TIME: Final = 253_402_300_799  # the end of the year 9999, as far as datetime goes
_OID: Final = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]*))+")
_MAX_NAMED: Final = 256
_SUBMODS: Final = "RFC 9711, section 4.2.18"


# --- Values -----------------------------------------------------------------------------------------------------------


class DebugStatus(IntEnum):
    """Whether the device can be debugged (RFC 9711, section 4.2.9)."""

    ENABLED = 0
    DISABLED = 1
    DISABLED_SINCE_BOOT = 2
    DISABLED_PERMANENTLY = 3
    DISABLED_FULLY_AND_PERMANENTLY = 4


class MeasurementResult(IntEnum):
    """What comparing one measurement with its reference gave (RFC 9711, section 4.2.17)."""

    SUCCESS = 1
    FAIL = 2
    NOT_RUN = 3
    ABSENT = 4


@final
@frozen
class Version:
    """A version of hardware or software (RFC 9711, sections 4.2.5 and 4.2.7)."""

    version: str

    scheme: int | str | None = None
    """How versions are compared, by the registry of CoSWID; None where nobody says."""

    bare: bool = False
    """Text alone, without the array around it: examples of the standard have it."""


@final
@frozen
class Measurement:
    """A manifest or a measurement in a format of its own (RFC 9711, sections 4.2.15 and 4.2.16)."""

    content_format: int
    """A CoAP Content-Format number."""

    value: bytes = field(repr=False)
    """In that format."""


@final
@frozen
class MeasurementResults:
    """What one measurement system found (RFC 9711, section 4.2.17)."""

    system: str

    results: tuple[tuple[str | bytes, MeasurementResult], ...]
    """The name of each thing measured, and its result."""


@final
@frozen
class NestedToken:
    """A submodule with a signature of its own (RFC 9711, section 4.2.18.1.2). Not verified."""

    type: str
    """CBOR for a CWT or a bundle in CBOR, JWT, or BUNDLE for one in JSON."""

    token: bytes = field(repr=False)
    """The token as it came: CBOR, the text of a JWT, or JSON."""


@final
@frozen
class DetachedDigest:
    """A submodule whose claims-set travels elsewhere (RFC 9711, section 4.2.18.1.3)."""

    algorithm: str | int
    """A hash of COSE's registry, by name or number."""

    digest: bytes
    """Of the claims-set as it was encoded."""


# --- Codecs -----------------------------------------------------------------------------------------------------------


def _text(value: object) -> str:
    """Return text. Raises `DecodeError` for anything else."""
    if not isinstance(value, str):
        raise DecodeError("no text")
    return value


def _bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise DecodeError("neither true nor false")
    return value


def _int(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise DecodeError("no integer")
    return value


def _uint(value: object) -> int:
    if _int(value) < 0:
        raise DecodeError("a negative number")
    return _int(value)


def _time(value: object) -> int:
    """Return seconds since 1970: EAT allows no fractions (RFC 9711, section 4.3.1). Raises `DecodeError`."""
    if not 0 <= _int(value) <= _LAST_TIME:
        raise DecodeError("no time that a calendar knows")
    return _int(value)


def _unbase64(value: object) -> bytes:
    return decode_base64url(_text(value))


def _list(value: object) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise DecodeError("no array, or an empty one")
    return value


def _audience(value: object) -> str | list[str]:
    return [_text(each) for each in _list(value)] if isinstance(value, list) else _text(value)


def _uri_or_oid(value: object) -> str:
    if not _text(value) or not re.fullmatch(r"[\x21-\x7e]+", _text(value)):
        raise DecodeError("neither URI nor OID")
    return _text(value)


def _profile_from_cbor(_: ClaimTable, value: CborItem) -> str:
    """Read a profile: a URI, or the bytes of an OID (RFC 9711, section 4.3.2)."""
    return _oid_text(value) if isinstance(value, bytes) else _uri_or_oid(value)


def _profile_to_cbor(_: ClaimTable, value: str) -> CborItem:
    return _oid_bytes(value) if _OID.fullmatch(value) else _uri_or_oid(value)


def _oid_text(data: bytes) -> str:
    """Return the dotted form of the bytes of an OID (X.690, section 8.19)."""
    if not 0 < len(data) <= 64 or data[-1] & 0x80:
        raise DecodeError("no OID")
    arcs, arc = [], 0
    for position, byte in enumerate(data):
        if byte == 0x80 and arc == 0 and (position == 0 or not data[position - 1] & 0x80):
            raise DecodeError("an OID with a longer number than needed")
        arc = arc << 7 | byte & 0x7F
        if not byte & 0x80:
            arcs.append(arc)
            arc = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))


def _oid_bytes(text: str) -> bytes:
    first, second, *rest = map(int, text.split("."))
    return b"".join(_base128(arc) for arc in (40 * first + second, *rest))


def _base128(number: int) -> bytes:
    digits = [number & 0x7F]
    while number := number >> 7:
        digits.append(number & 0x7F | 0x80)
    return bytes(reversed(digits))


def _words(enum: type[IntEnum]) -> ClaimCodec:
    """Make the codec of a choice: a number in CBOR, a word with hyphens in JSON."""
    by_word = {each.name.lower().replace("_", "-"): each for each in enum}
    by_number = {int(each): each for each in enum}
    words = {each: word for word, each in by_word.items()}

    def from_json(_: ClaimTable, value: JsonItem) -> IntEnum:
        if not isinstance(value, str) or value not in by_word:
            raise DecodeError("none of the words", want=", ".join(by_word))
        return by_word[value]

    def from_cbor(_: ClaimTable, value: CborItem) -> IntEnum:
        if _int(value) not in by_number:
            raise DecodeError("none of the numbers", want=", ".join(map(str, by_number)))
        return by_number[_int(value)]

    return ClaimCodec(from_cbor, from_json, lambda _, value: int(value), lambda _, value: words[value])


def _listed(codec: ClaimCodec, *, or_one: bool = False) -> ClaimCodec:
    """Make the codec of an array of values; with `or_one`, of one value or of an array of at least two."""

    def reading(read: Callable[[ClaimTable, Any], ClaimValue]) -> Callable[[ClaimTable, Any], ClaimValue]:
        def from_item(table: ClaimTable, value: Any) -> ClaimValue:
            if or_one and not isinstance(value, list):
                return read(table, value)
            if or_one and len(value) < 2:
                raise DecodeError("an array of fewer than two")
            return tuple(read(table, each) for each in _list(value))

        return from_item

    def writing(write: Callable[[ClaimTable, ClaimValue], Any]) -> Callable[[ClaimTable, ClaimValue], Any]:
        def to_item(table: ClaimTable, value: ClaimValue) -> Any:
            return [write(table, each) for each in value] if isinstance(value, tuple) else write(table, value)

        return to_item

    return ClaimCodec(
        reading(codec.from_cbor), reading(codec.from_json), writing(codec.to_cbor), writing(codec.to_json)
    )


def _oemid(value: CborItem) -> int | bytes:
    """Return who made the device: an enterprise number, an IEEE prefix, or a random id (RFC 9711, section 4.2.3)."""
    if isinstance(value, bytes):
        if len(value) not in {3, 16}:
            raise DecodeError("an OEM ID of another size", want="3 or 16 bytes")
        return value
    return _int(value)


_OEMID: Final = ClaimCodec(
    from_cbor=lambda _, value: _oemid(value),
    from_json=lambda _, value: _oemid(_unbase64(value) if isinstance(value, str) else _int(value)),
    to_cbor=lambda _, value: _oemid(value),
    to_json=lambda _, value: encode_base64url(value) if isinstance(value, bytes) else _int(value),
)


def _version(value: object) -> Version:
    match value:
        case str():
            return Version(value, bare=True)
        case [str(version)]:
            return Version(version)
        case [str(version), int() | str() as scheme] if not isinstance(scheme, bool):
            return Version(version, scheme)
        case _:
            raise DecodeError("no version")


def _version_item(value: Version) -> Any:
    if value.bare:
        return value.version
    return [value.version] if value.scheme is None else [value.version, value.scheme]


_VERSION: Final = ClaimCodec(
    from_cbor=lambda _, value: _version(value),
    from_json=lambda _, value: _version(value),
    to_cbor=lambda _, value: _version_item(value),
    to_json=lambda _, value: _version_item(value),
)


def _measurement(value: object, unwrap: Callable[[object], bytes]) -> Measurement:
    match value:
        case [int(content_format), body] if not isinstance(content_format, bool) and 0 <= content_format <= 0xFFFF:
            return Measurement(content_format, unwrap(body))
        case _:
            raise DecodeError("no pair of Content-Format and value")


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise DecodeError("no byte string")
    return value


_MEASUREMENTS: Final = _listed(
    ClaimCodec(
        from_cbor=lambda _, value: _measurement(value, _bytes),
        from_json=lambda _, value: _measurement(value, _unbase64),
        to_cbor=lambda _, value: [value.content_format, value.value],
        to_json=lambda _, value: [value.content_format, encode_base64url(value.value)],
    )
)

_RESULT: Final = _words(MeasurementResult)


def _results(table: ClaimTable, value: object, read: Callable[[ClaimTable, Any], ClaimValue]) -> MeasurementResults:
    match value:
        case [str(system), [_, *_] as results]:
            return MeasurementResults(system, tuple(_one_result(table, each, read) for each in results))
        case _:
            raise DecodeError("no pair of system and results")


def _one_result(
    table: ClaimTable, value: object, read: Callable[[ClaimTable, Any], ClaimValue]
) -> tuple[str | bytes, MeasurementResult]:
    match value:
        case [str() | bytes() as name, result]:
            return name, read(table, result)
        case _:
            raise DecodeError("no pair of name and result")


def _results_item(
    table: ClaimTable, value: MeasurementResults, write: Callable[[ClaimTable, ClaimValue], Any], *, json: bool
) -> Any:
    # JSON has no bytes, and its reader cannot know that a name was some: base64url it stays.
    names = [encode_base64url(name) if json and isinstance(name, bytes) else name for name, _ in value.results]
    results = [write(table, result) for _, result in value.results]
    return [value.system, [list(pair) for pair in zip(names, results, strict=True)]]


_MEASUREMENT_RESULTS: Final = _listed(
    ClaimCodec(
        from_cbor=lambda table, value: _results(table, value, _RESULT.from_cbor),
        from_json=lambda table, value: _results(table, value, _RESULT.from_json),
        to_cbor=lambda table, value: _results_item(table, value, _RESULT.to_cbor, json=False),
        to_json=lambda table, value: _results_item(table, value, _RESULT.to_json, json=True),
    )
)

_PLACES: Final = (
    "latitude", "longitude", "altitude", "accuracy", "altitude-accuracy", "heading", "speed", "timestamp", "age",
)  # fmt: skip


def _location(value: object, names: Mapping[Any, str]) -> dict[str, int | float]:
    """Return where the device is: WGS84, in degrees and meters (RFC 9711, section 4.2.10)."""
    if not isinstance(value, dict) or not value.keys() <= names.keys():
        raise DecodeError("no location")
    place = {names[key]: number for key, number in value.items()}
    wrong = [each for each in place.values() if isinstance(each, bool) or not isinstance(each, int | float)]
    if wrong or not {"latitude", "longitude"} <= place.keys():
        raise DecodeError("a location without latitude and longitude, or with something else than numbers")
    return place


_NUMBERS_OF_PLACES: Final = {name: number for number, name in enumerate(_PLACES, 1)}
_LOCATION: Final = ClaimCodec(
    from_cbor=lambda _, value: _location(value, dict(enumerate(_PLACES, 1))),
    from_json=lambda _, value: _location(value, {name: name for name in _PLACES}),
    to_cbor=lambda _, value: {_NUMBERS_OF_PLACES[name]: number for name, number in value.items()},
    to_json=lambda _, value: dict(value),
)


def _dloa(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) not in {2, 3}:
        raise DecodeError("no digital letter of approval")
    return tuple(_text(each) for each in value)


_DLOAS: Final = _listed(
    ClaimCodec(
        from_cbor=lambda _, value: _dloa(value),
        from_json=lambda _, value: _dloa(value),
        to_cbor=lambda _, value: list(value),
        to_json=lambda _, value: list(value),
    )
)


def _named(codec: ClaimCodec) -> ClaimCodec:
    """Make the codec of a map from names to values, at least one."""

    def mapped(change: Callable[[ClaimTable, Any], Any]) -> Callable[[ClaimTable, Any], Any]:
        def change_all(table: ClaimTable, value: Any) -> Any:
            if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
                raise DecodeError("no map from names")
            if not 0 < len(value) <= _MAX_NAMED:
                raise LimitError("a map with nothing in it, or too much", got=len(value), want=f"1 to {_MAX_NAMED}")
            return {name: change(table, each) for name, each in value.items()}

        return change_all

    return ClaimCodec(mapped(codec.from_cbor), mapped(codec.from_json), mapped(codec.to_cbor), mapped(codec.to_json))


# --- Submodules -------------------------------------------------------------------------------------------------------


def _submodule_from_cbor(table: ClaimTable, value: CborItem) -> ClaimValue:
    """Read one submodule: a claims-set, a token in CBOR, a selector in JSON text, or a digest."""
    match value:
        case dict():
            return table.from_cbor(value)
        case bytes():
            return NestedToken("CBOR", value)
        case str():
            return _selected(json_general.decode(value.encode(), what="a nested token", limit=MAX_CLAIMS))
        case [int() | str() as algorithm, bytes(digest)] if not isinstance(algorithm, bool):
            return DetachedDigest(algorithm, digest)
        case _:
            raise DecodeError("no submodule", section=_SUBMODS)


def _submodule_from_json(table: ClaimTable, value: JsonItem) -> ClaimValue:
    """Read one submodule: a claims-set, or an array that begins with what it is."""
    return table.from_json(value) if isinstance(value, dict) else _selected(value)


def _selected(value: JsonItem) -> NestedToken | DetachedDigest:
    match value:
        case ["JWT", str(token)]:
            return NestedToken("JWT", token.encode())
        case ["CBOR", str(token)]:
            return NestedToken("CBOR", decode_base64url(token))
        case ["BUNDLE", list(bundle)]:
            return NestedToken("BUNDLE", json_general.encode(bundle))
        case ["DIGEST", [int() | str() as algorithm, str(digest)]] if not isinstance(algorithm, bool):
            return DetachedDigest(algorithm, decode_base64url(digest))
        case _:
            raise DecodeError("no submodule", section=_SUBMODS)


def _submodule_to_cbor(table: ClaimTable, value: ClaimValue) -> CborItem:
    match value:
        case NestedToken("CBOR", token):
            return token
        case NestedToken():
            return json_general.encode(_submodule_to_json(table, value)).decode()
        case DetachedDigest(algorithm, digest):
            return [algorithm, digest]
        case _:
            return table.to_cbor(value)


def _submodule_to_json(table: ClaimTable, value: ClaimValue) -> JsonItem:
    match value:
        case NestedToken("CBOR", token):
            return ["CBOR", encode_base64url(token)]
        case NestedToken("JWT", token):
            return ["JWT", token.decode()]
        case NestedToken(_, token):
            return ["BUNDLE", json_general.decode(token, what="a bundle", limit=MAX_CLAIMS)]
        case DetachedDigest(algorithm, digest):
            return ["DIGEST", [algorithm, encode_base64url(digest)]]
        case _:
            return table.to_json(value)


_TEXT: Final = same_in_both(_text)
_UINT: Final = same_in_both(_uint)
_TIME: Final = same_in_both(_time)
_BINARY: Final = binary(range(1, 4097))
_UEID: Final = binary(range(7, 34))

CLAIMS: Final = (
    Claim("iss", 1, _TEXT),
    Claim("sub", 2, _TEXT),
    Claim("aud", 3, same_in_both(_audience)),
    Claim("exp", 4, _TIME),
    Claim("nbf", 5, _TIME),
    Claim("iat", 6, _TIME),
    # A CWT has bytes here and a JWT has text under another name, `jti`; the two are not the same claim.
    Claim("cti", 7, _BINARY),
    Claim("eat_nonce", 10, _listed(binary(range(8, 65)), or_one=True)),
    Claim("ueid", 256, _UEID),
    Claim("sueids", 257, _named(_UEID)),
    Claim("oemid", 258, _OEMID),
    Claim("hwmodel", 259, binary(range(1, 33))),
    Claim("hwversion", 260, _VERSION),
    Claim("uptime", 261, _UINT),
    Claim("oemboot", 262, same_in_both(_bool)),
    Claim("dbgstat", 263, _words(DebugStatus)),
    Claim("location", 264, _LOCATION),
    Claim(
        "eat_profile",
        265,
        ClaimCodec(
            _profile_from_cbor,
            lambda _, value: _uri_or_oid(value),
            _profile_to_cbor,
            lambda _, value: _uri_or_oid(value),
        ),
    ),
    Claim(
        "submods",
        266,
        _named(ClaimCodec(_submodule_from_cbor, _submodule_from_json, _submodule_to_cbor, _submodule_to_json)),
    ),
    Claim("bootcount", 267, _UINT),
    Claim("bootseed", 268, _BINARY),
    Claim("dloas", 269, _DLOAS),
    Claim("swname", 270, _TEXT),
    Claim("swversion", 271, _VERSION),
    Claim("manifests", 272, _MEASUREMENTS),
    Claim("measurements", 273, _MEASUREMENTS),
    Claim("measres", 274, _MEASUREMENT_RESULTS),
    Claim("intuse", 275, same_in_both(lambda value: value if isinstance(value, str) else _int(value))),
)
"""The claims of RFC 8392, section 3, and RFC 9711, section 4, with their numbers."""

EAT_CLAIMS: Final = ClaimTable(CLAIMS)
"""The table of an entity attestation token."""
