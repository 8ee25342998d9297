"""Vectors of CoRIM: the kinds corim, comid, coev and coserv, and the examples of the draft.

What is good is read and comes back when it is written and read again; where a profile is named whose rules we know, it
keeps to them. The keys of signed CoRIMs were not published: their headers and content are read, and the signature has
to be refused under a key that is not theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from cryptography.hazmat.primitives.asymmetric import ec

from confsec.conformance.cases import Case, CaseSkippedError, MismatchError, check_refused, check_same, unhex
from confsec.conformance.corim_coserv import decode_coserv, decode_discovery
from confsec.conformance.corim_diag import parse_diagnostic
from confsec.conformance.corim_profiles import PROFILES, check_profile
from confsec.conformance.edn import named_edn_cbor
from confsec.conformance.kinds import FileCase, Kind
from confsec.errors import DecodeError
from confsec.protocol import cbor_general
from confsec.protocol.cbor_general import CborItem, CborKey
from confsec.protocol.comid import ConciseMidTag
from confsec.protocol.comid_measurement import ENVIRONMENT, MEASUREMENT_KEY, MEASUREMENT_VALUES
from confsec.protocol.corim import Corim
from confsec.protocol.corim_codec import Codec, array
from confsec.protocol.corim_common import CRYPTO_KEY, MAX_CORIM, PROFILE
from confsec.protocol.corim_evidence import ConciseEvidence
from confsec.protocol.corim_signed import SignedCorim, SignedHeader, open_signed_corim

__all__ = [
    "KINDS",
    "SCHEMAS",
    "check_coev",
    "check_comid",
    "check_corim",
    "check_coserv",
    "check_draft_example",
]

_SIGN1: Final = 0xD2  # the tag of a COSE_Sign1 as the first byte
_NOT_THEIR_KEY: Final = ec.derive_private_key(1, ec.SECP256R1()).public_key()
_NAMES_OF_SCHEMES: Final = {"arm-cca": "cca", "psa-iot": "psa"}
_MADE_UP: Final = frozenset(
    {"intrep-rel-ae-1.diag", "intrep-rel-ev-1.diag", "intrep-rel-evs-1.diag", "intrep-rel-rv-1.diag"}
)


class _Message(Protocol):
    """What is written again."""

    def encode(self) -> bytes:
        """Write it."""
        ...


def check_corim(case: FileCase) -> None:
    """Check one CoRIM, signed or not, and the rules of its profile."""
    data = case.read("corim")
    corim = _open_signed(data) if data[:1] == bytes([_SIGN1]) else Corim.decode(data)
    check_same("what comes back", Corim.decode(corim.encode()), corim)
    stated = case.params.get("profile", case.params.get("scheme"))
    if isinstance(stated, str):
        check_profile(corim, (_NAMES_OF_SCHEMES.get(stated, stated),))
    elif corim.profile is not None and corim.profile.value in PROFILES:
        check_profile(corim, tuple({profile.name for profile in PROFILES.values()}))


def check_comid(case: FileCase) -> None:
    """Check one CoMID."""
    _check_comid(case.read("corim"))


def check_coev(case: FileCase) -> None:
    """Check concise evidence."""
    data = case.read("corim")
    evidence = ConciseEvidence.decode(data)
    check_same("what comes back", ConciseEvidence.decode(evidence.encode()), evidence)
    _check_encoding(evidence, data)


def check_coserv(case: FileCase) -> None:
    """Check a message of CoSERV against its diagnostic notation, and a discovery document against its JSON, too."""
    data = case.read("cbor")
    item = decode_discovery(data) if "json" in case.files else decode_coserv(data)
    stated = parse_diagnostic(case.read("diag").decode())
    check_same("value", cbor_general.encode(item), cbor_general.encode(stated))
    if "json" in case.files:
        check_same("JSON", _in_json(item), case.json("json"))


def check_draft_example(case: Case) -> None:
    """Check an example of the draft by the kind of structure that its name begins with."""
    data = unhex(case, "cbor")
    name = str(case.get("name", ""))
    if name in _MADE_UP:
        raise CaseSkippedError("values made up by a tool: text where a digest has bytes, identifiers of no such form")
    if name.startswith("corim"):
        corim = Corim.decode(data)
        check_same("what comes back", Corim.decode(corim.encode()), corim)
    elif name.startswith("comid"):
        _check_comid(data)
    elif name.startswith("protected-header-map"):
        SignedHeader.from_map(_map(cbor_general.decode(data, what="headers", limit=MAX_CORIM)))
    elif name.startswith("intrep"):
        _check_tuples(cbor_general.decode(data, what="tuples", limit=MAX_CORIM))
    else:
        raise CaseSkippedError("a structure that is not part of CoRIM")


def _open_signed(data: bytes) -> Corim:
    signed = SignedCorim.decode(data)
    check_same("what comes back", SignedCorim.decode(signed.encode()), signed)
    if signed.message.payload is None:
        raise CaseSkippedError("the content of this CoRIM travels elsewhere")
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    check_refused(lambda: open_signed_corim(signed, _NOT_THEIR_KEY, now=moment), code="verification")
    return Corim.decode(signed.message.payload)


def _check_comid(data: bytes) -> None:
    comid = ConciseMidTag.decode(data)
    check_same("what comes back", ConciseMidTag.decode(comid.encode()), comid)
    _check_encoding(comid, data)


def _check_encoding(message: _Message, data: bytes) -> None:
    """Check that what was in the deterministic encoding comes back to the byte."""
    item = cbor_general.decode(data, what="the encoding", limit=MAX_CORIM)
    if cbor_general.encode(item) == data:
        check_same("encoding", message.encode(), data)


# --- Environment-claims tuples, in which the draft says what a verifier has in mind -----------------------------------

_TUPLE: Final[Mapping[CborKey, Codec[Any]]] = {
    "environment": ENVIRONMENT,
    "element-id": MEASUREMENT_KEY,
    "element-claims": MEASUREMENT_VALUES,
    "authority": array(CRYPTO_KEY),
    "key-list": array(CRYPTO_KEY),
    "profile": PROFILE,
}


def _check_tuples(item: CborItem) -> None:
    """Check that what an example is made of are parts of CoMID: the tuples themselves are no message."""
    read = 0
    for key, value in _members(item):
        if key in _TUPLE:
            _TUPLE[key].read(value, str(key))
        elif key == "cmtype" and not isinstance(value, int):
            raise DecodeError("a tuple whose kind is no number")
        read += 1
    if not read:
        raise MismatchError("there is no tuple in the example")


def _members(item: CborItem) -> Iterator[tuple[CborKey, CborItem]]:
    """Yield all members with text keys, also those of tuples in lists of tuples."""
    if isinstance(item, list):
        for each in item:
            yield from _members(each)
    elif isinstance(item, dict):
        for key, value in item.items():
            if key in {"condition", "addition", "selection", "series", "element-list"}:
                yield from _members(value)
            else:
                yield key, value


def _map(item: CborItem) -> Mapping[CborKey, CborItem]:
    if not isinstance(item, dict):
        raise DecodeError("headers are not a map")
    return item


def _in_json(item: CborItem) -> object:
    """Return a discovery document as it is in JSON: words for its keys, and each list where it is a list."""
    document = _map(item)
    capabilities = document[2]
    return {
        "version": document[1],
        "capabilities": [
            {"media-type": each[1], "artifact-support": each[2]}
            for each in map(_map, capabilities if isinstance(capabilities, list) else [])
        ],
        "api-endpoints": document[3],
    }


SCHEMAS: Final = (named_edn_cbor("corim", check_draft_example),)
"""The examples of the draft."""

KINDS: Final = (
    Kind(name="corim", check=check_corim),
    Kind(name="comid", check=check_comid),
    Kind(name="coev", check=check_coev),
    Kind(name="coserv", check=check_coserv),
)
"""Structures in files."""
