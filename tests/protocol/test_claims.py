"""Claims: the same value from CBOR and JSON, and nothing that the standard does not have."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, strategies as st

from confsec.errors import DecodeError, LocalProtocolError, VerificationError
from confsec.protocol import cbor_general, json_general
from confsec.protocol.cbor_general import CborItem
from confsec.protocol.claim_tables import Claim, Claims, verify_current
from confsec.protocol.claims import (
    CLAIMS,
    EAT_CLAIMS,
    DebugStatus,
    DetachedDigest,
    Measurement,
    MeasurementResult,
    MeasurementResults,
    NestedToken,
    Version,
)
from confsec.protocol.json_general import JsonItem
from confsec.testing import check_any_bytes

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
TIME = st.integers(0, 253_402_300_799)
UEID = st.binary(min_size=7, max_size=33)
NONCE = st.binary(min_size=8, max_size=64)
VERSION = st.builds(Version, TEXT, st.none() | st.integers(0, 9) | TEXT) | st.builds(
    lambda text: Version(text, bare=True), TEXT
)
URI = st.sampled_from(["tag:example.com,2026:profile#1", "https://example.com/eat", "1.2.840.113549", "2.999.3", "0.0"])
MEASUREMENTS = st.lists(st.builds(Measurement, st.integers(0, 0xFFFF), st.binary(max_size=8)), min_size=1).map(tuple)
RESULTS = st.lists(
    st.builds(
        MeasurementResults,
        TEXT,
        st.lists(st.tuples(TEXT, st.sampled_from(MeasurementResult)), min_size=1, max_size=3).map(tuple),
    ),
    min_size=1,
    max_size=3,
).map(tuple)
NUMBER = st.integers(-90, 90) | st.floats(-90, 90)
CBOR_TOKEN = st.builds(lambda token: NestedToken("CBOR", token), st.binary(max_size=8))
JWT_TOKEN = st.builds(lambda token: NestedToken("JWT", token.encode()), TEXT)
BUNDLE = st.just(NestedToken("BUNDLE", b'[["JWT","e30.e30.AA"],{"a":"e30"}]'))
DIGEST = st.builds(DetachedDigest, st.sampled_from(["SHA-256", -16]), st.binary(max_size=32))

VALUES: dict[str | int, st.SearchStrategy[Any]] = {
    "iss": TEXT,
    "sub": TEXT,
    "aud": TEXT | st.lists(TEXT, min_size=1, max_size=3),
    "exp": TIME,
    "nbf": TIME,
    "iat": TIME,
    "cti": st.binary(min_size=1, max_size=8),
    "eat_nonce": NONCE | st.lists(NONCE, min_size=2, max_size=3).map(tuple),
    "ueid": UEID,
    "sueids": st.dictionaries(TEXT, UEID, min_size=1, max_size=3),
    "oemid": st.integers(0, 99999) | st.binary(min_size=3, max_size=3) | st.binary(min_size=16, max_size=16),
    "hwmodel": st.binary(min_size=1, max_size=32),
    "hwversion": VERSION,
    "uptime": st.integers(0, 1 << 40),
    "oemboot": st.booleans(),
    "dbgstat": st.sampled_from(DebugStatus),
    "location": st.fixed_dictionaries(
        {"latitude": NUMBER, "longitude": NUMBER}, optional={"speed": NUMBER, "age": st.integers(0, 99)}
    ),
    "eat_profile": URI,
    "bootcount": st.integers(0, 99),
    "bootseed": st.binary(min_size=1, max_size=32),
    "dloas": st.lists(st.tuples(TEXT, TEXT) | st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=2).map(tuple),
    "swname": TEXT,
    "swversion": VERSION,
    "manifests": MEASUREMENTS,
    "measurements": MEASUREMENTS,
    "measres": RESULTS,
    "intuse": TEXT | st.integers(1, 5),
}
OTHERS = st.dictionaries(
    st.text("xyz", min_size=1, max_size=3), st.integers().filter(lambda n: abs(n) < 1 << 60) | TEXT, max_size=2
)


def claims_of(inner: st.SearchStrategy[Claims]) -> st.SearchStrategy[Claims]:
    submodule = inner | CBOR_TOKEN | JWT_TOKEN | BUNDLE | DIGEST
    submods = st.dictionaries(TEXT, submodule, min_size=1, max_size=3)
    known = st.fixed_dictionaries({}, optional={**VALUES, "submods": submods})
    return st.builds(lambda others, claims: {**others, **claims}, OTHERS, known)


CLAIMS_SETS = claims_of(st.fixed_dictionaries({}, optional=VALUES))


def cbor(claims: dict[int | str | bytes, Any]) -> Claims:
    return EAT_CLAIMS.decode_cbor(cbor_general.encode(claims))


def json(claims: dict[str, Any]) -> Claims:
    return EAT_CLAIMS.decode_json(json_general.encode(claims))


@given(CLAIMS_SETS)
def test_claims_come_back_from_both_forms(claims: Claims) -> None:
    in_cbor, in_json = EAT_CLAIMS.encode_cbor(claims), EAT_CLAIMS.encode_json(claims)
    assert EAT_CLAIMS.decode_cbor(in_cbor) == EAT_CLAIMS.decode_json(in_json) == claims
    assert EAT_CLAIMS.encode_cbor(EAT_CLAIMS.decode_json(in_json)) == in_cbor


@pytest.mark.parametrize(
    "token",
    [
        NestedToken("CBOR", b"\xd2\x84"),
        NestedToken("JWT", b"e30.e30.AA"),
        NestedToken("BUNDLE", b'[["JWT","e30.e30.AA"],{"a":"e30"}]'),
    ],
    ids=["CBOR", "JWT", "bundle"],
)
def test_each_kind_of_nested_token_comes_back_from_both_forms(token: NestedToken) -> None:
    claims: Claims = {"submods": {"a": token}}
    assert EAT_CLAIMS.decode_json(EAT_CLAIMS.encode_json(claims)) == claims
    assert EAT_CLAIMS.decode_cbor(EAT_CLAIMS.encode_cbor(claims)) == claims


@given(st.binary(max_size=60))
def test_any_bytes_give_claims_or_our_error(data: bytes) -> None:
    check_any_bytes(EAT_CLAIMS.decode_cbor, data)
    check_any_bytes(EAT_CLAIMS.decode_json, data)


@given(
    st.sampled_from(CLAIMS),
    st.recursive(
        st.none() | st.booleans() | st.integers(-3, 9) | st.binary(max_size=9) | TEXT | st.floats(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.integers(0, 9) | TEXT, inner, max_size=3),
        max_leaves=6,
    ),
)
def test_any_value_of_a_claim_gives_a_value_or_our_error(claim: Claim, value: Any) -> None:
    check_any_bytes(lambda _: EAT_CLAIMS.from_cbor({claim.key: value}), b"")
    check_any_bytes(lambda _: EAT_CLAIMS.from_json({claim.name: value}), b"")


def test_table_has_the_numbers_of_the_registry() -> None:
    assert {claim.name: claim.key for claim in CLAIMS if claim.key > 200} == {
        "ueid": 256, "sueids": 257, "oemid": 258, "hwmodel": 259, "hwversion": 260, "uptime": 261, "oemboot": 262,
        "dbgstat": 263, "location": 264, "eat_profile": 265, "submods": 266, "bootcount": 267, "bootseed": 268,
        "dloas": 269, "swname": 270, "swversion": 271, "manifests": 272, "measurements": 273, "measres": 274,
        "intuse": 275,
    }  # fmt: skip
    assert len({claim.key for claim in CLAIMS}) == len({claim.name for claim in CLAIMS}) == len(CLAIMS)


@pytest.mark.parametrize(
    "defect, claims",
    [
        ("an issuer that is bytes", {1: b"joe"}),
        ("no audience", {3: []}),
        ("an audience that is a number", {3: [1]}),
        ("a time with a fraction", {6: 1.5}),
        ("a time that is true", {6: True}),
        ("a time before 1970", {6: -1}),
        ("a time after the calendar", {4: 1 << 40}),
        ("a nonce that is short", {10: bytes(7)}),
        ("a nonce that is long", {10: bytes(65)}),
        ("a nonce that is text", {10: "12345678"}),
        ("one nonce in an array", {10: [bytes(8)]}),
        ("no nonces", {10: []}),
        ("an id that is short", {256: bytes(6)}),
        ("no ids", {257: {}}),
        ("ids by number", {257: {1: bytes(7)}}),
        ("an OEM ID of four bytes", {258: bytes(4)}),
        ("an OEM ID that is text", {258: "AAAA"}),
        ("no model", {259: b""}),
        ("a version in an array of three", {260: ["1", 1, 1]}),
        ("a version with a scheme that is true", {260: ["1", True]}),
        ("a version that is a number", {260: 1}),
        ("an uptime below zero", {261: -1}),
        ("a boot that is a number", {262: 1}),
        ("a debug status that is none", {263: 5}),
        ("a debug status that is false", {263: False}),
        ("a debug status by its word", {263: "enabled"}),
        ("a place without a longitude", {264: {1: 1}}),
        ("a place with a height that is text", {264: {1: 1, 2: 1, 3: "high"}}),
        ("a place with more", {264: {1: 1, 2: 1, 10: 1}}),
        ("a place that is an array", {264: [1, 2]}),
        ("a profile with a space", {265: "a b"}),
        ("an empty profile", {265: ""}),
        ("an OID of no bytes", {265: b""}),
        ("an OID that does not end", {265: b"\x80"}),
        ("an OID with a longer number than needed", {265: b"\x2a\x80\x01"}),
        ("no submodules", {266: {}}),
        ("too many submodules", {266: {str(number): {} for number in range(257)}}),
        ("a submodule by number", {266: {1: {}}}),
        ("a submodule that is a number", {266: {"a": 1}}),
        ("a submodule with a bad claim", {266: {"a": {263: 9}}}),
        ("a digest of text", {266: {"a": ["SHA-256", "AA"]}}),
        ("a digest by a hash that is true", {266: {"a": [True, b""]}}),
        ("a nested text that is no JSON", {266: {"a": "JWT"}}),
        ("a nested text that selects nothing", {266: {"a": '["XML", "a"]'}}),
        ("no letters", {269: []}),
        ("a letter of one part", {269: [["a"]]}),
        ("a letter that is text", {269: ["a"]}),
        ("a measurement without a format", {273: [["a", b""]]}),
        ("a measurement with a format that is true", {273: [[True, b""]]}),
        ("a measurement with a format of 17 bits", {273: [[1 << 16, b""]]}),
        ("a measurement that is text", {273: [[1, ""]]}),
        ("no measurements", {273: []}),
        ("results without a system", {274: [[1, [["a", 1]]]]}),
        ("no results", {274: [["a", []]]}),
        ("a result that is none", {274: [["a", [["b", 5]]]]}),
        ("a result without a name", {274: [["a", [[1, 1]]]]}),
        ("a use that is bytes", {275: b""}),
        ("a claim by its name", {"iat": 1}),
        ("a claim by bytes", {b"iat": 1}),
    ],
)
def test_refuses_in_cbor(defect: str, claims: dict[int | str | bytes, CborItem]) -> None:
    with pytest.raises(DecodeError):
        cbor(claims)


@pytest.mark.parametrize(
    "defect, claims",
    [
        ("a nonce with padding", {"eat_nonce": "AAAAAAAAAAA="}),
        ("a nonce that is a number", {"eat_nonce": 1}),
        ("a debug status by its number", {"dbgstat": 0}),
        ("a debug status that is none", {"dbgstat": "off"}),
        ("an OEM ID that is a float", {"oemid": 1.5}),
        ("a place by numbers", {"location": {"1": 1, "2": 1}}),
        ("a profile that is a number", {"eat_profile": 1}),
        ("a submodule that is text", {"submods": {"a": "JWT"}}),
        ("a submodule that selects nothing", {"submods": {"a": ["XML", "a"]}}),
        ("a digest that is bytes in no alphabet", {"submods": {"a": ["DIGEST", ["SHA-256", "+"]]}}),
        ("a digest by a hash that is true", {"submods": {"a": ["DIGEST", [True, "AA"]]}}),
        ("a result by its number", {"measres": [["a", [["b", 1]]]]}),
        ("a result that is none", {"measres": [["a", [["b", "maybe"]]]]}),
        ("a result that is a list", {"measres": [["a", [["b", ["success"]]]]]}),
        ("a measurement that is a number", {"measurements": [[1, 1]]}),
        ("a time with a fraction", {"iat": 1.0}),
    ],
)
def test_refuses_in_json(defect: str, claims: dict[str, JsonItem]) -> None:
    with pytest.raises(DecodeError):
        json(claims)


def test_claims_that_are_not_known_are_kept_as_they_came() -> None:
    assert cbor({2394: [1, {2: b"3"}], "psa": 1}) == {2394: [1, {2: b"3"}], "psa": 1}
    assert json({"new": {"a": [1.5]}}) == {"new": {"a": [1.5]}}
    numbered: dict[str | int, object] = {2394: 1}
    with pytest.raises(LocalProtocolError, match="no name that JSON could use"):
        EAT_CLAIMS.encode_json(numbered)


def test_names_of_results_may_be_bytes_in_cbor() -> None:
    results = (MeasurementResults("a", ((b"\1", MeasurementResult.FAIL),)),)
    assert cbor({274: [["a", [[b"\1", 2]]]]}) == {"measres": results}
    assert EAT_CLAIMS.to_json({"measres": results}) == {"measres": [["a", [["AQ", "fail"]]]]}


@pytest.mark.parametrize(
    "text, data",
    [("1.2.840.113549", "2a864886f70d"), ("2.999.3", "883703"), ("0.39", "27"), ("1.0", "28"), ("2.0", "50")],
)
def test_profile_may_be_an_oid(text: str, data: str) -> None:
    assert EAT_CLAIMS.to_cbor({"eat_profile": text}) == {265: bytes.fromhex(data)}
    assert cbor({265: bytes.fromhex(data)}) == {"eat_profile": text}


def test_two_names_of_one_claim_are_not_taken_for_each_other() -> None:
    table = EAT_CLAIMS.extended([Claim("ours", 999, CLAIMS[0].codec, "theirs")])
    assert table.from_json({"theirs": "a"}) == table.from_cbor({999: "a"}) == {"ours": "a"}
    assert table.to_json({"ours": "a"}) == {"theirs": "a"}
    with pytest.raises(DecodeError, match="another profile"):
        table.from_json({"ours": "a"})
    for name in ("ours", "theirs"):
        with pytest.raises(DecodeError, match="by its name"):
            table.from_cbor({name: "a"})


def test_times_bound_a_token() -> None:
    now = datetime(2026, 11, 28, tzinfo=UTC)
    at = int(now.timestamp())
    second = timedelta(seconds=1)
    verify_current({}, now=now)
    verify_current({"nbf": at, "exp": at + 1}, now=now)
    for claims in ({"exp": at}, {"nbf": at + 1}):
        with pytest.raises(VerificationError):
            verify_current(claims, now=now)
        verify_current(claims, now=now, skew=second)
