"""CoRIM and CoMID: what is read, what comes back, and what is refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from confsec.errors import ConfsecError, DecodeError, LimitError, VerificationError
from confsec.protocol.cbor_general import CborItem, Tag, encode
from confsec.protocol.comid import ConciseMidTag
from confsec.protocol.comid_measurement import IntRange, MeasurementValues, Svn
from confsec.protocol.corim import ConciseTagList, Corim, Locator, SwidTag, verify_corim_times
from confsec.protocol.corim_common import Digest, Validity, verify_validity
from confsec.protocol.corim_evidence import ConciseEvidence
from confsec.testing import check_any_bytes
from tests.protocol.corim_cases import (
    COMIDS,
    CORIMS,
    ENVIRONMENT,
    NOW,
    comid_item,
    corim,
    corim_item,
    encode_corim,
)

KEY = Tag(554, "key")
ITEMS: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 600) | st.binary(max_size=3) | st.text(max_size=3),
    lambda items: (
        st.lists(items, max_size=3)
        | st.dictionaries(st.integers(-1, 15), items, max_size=3)
        | st.builds(Tag, st.sampled_from([1, 32, 37, 111, 501, 506, 550, 552, 560, 563, 564, 571]), items)
    ),
    max_leaves=12,
)


@given(CORIMS)
def test_what_is_written_is_read_again(value: Corim) -> None:
    assert Corim.decode(value.encode()) == value


@given(COMIDS)
def test_a_comid_that_is_written_is_read_again(value: ConciseMidTag) -> None:
    data = value.encode()
    assert ConciseMidTag.decode(data) == value
    assert ConciseMidTag.decode(data).encode() == data


@pytest.mark.parametrize("decode", [Corim.decode, ConciseMidTag.decode, ConciseEvidence.decode])
@given(data=st.binary(max_size=200) | ITEMS.map(encode) | ITEMS.map(lambda item: encode(Tag(501, {0: "a", 1: [item]}))))
def test_any_bytes_give_a_value_or_an_error(decode: Callable[[bytes], object], data: bytes) -> None:
    with contextlib.suppress(ConfsecError):
        decode(data)


@given(item=ITEMS, key=st.integers(0, 15))
def test_any_value_in_place_of_a_good_one_gives_a_value_or_an_error(item: CborItem, key: int) -> None:
    for broken in (comid_item(mval={key: item}), comid_item(triples={key: item}), comid_item(**{f"m{key}": item})):
        with contextlib.suppress(ConfsecError):
            corim(broken)


@given(data=st.data())
def test_a_cut_or_changed_corim_gives_a_value_or_an_error(data: st.DataObject) -> None:
    encoded = bytearray(encode_corim(corim_item()))
    place = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(DecodeError):
        Corim.decode(bytes(encoded[:place]))
    encoded[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ConfsecError):
        Corim.decode(bytes(encoded))


def test_a_corim_says_what_it_says() -> None:
    value = corim(comid_item(mval={1: Tag(553, 2), 14: {0: [[1, b"x"]]}}), m3=Tag(32, "tag:a"))
    assert value.profile == Tag(32, "tag:a")
    triples = value.comids[0].triples
    assert triples.reference_triples is not None
    values = triples.reference_triples[0].measurements[0].mval
    assert values == MeasurementValues(svn=Svn(2, minimum=True), integrity_registers={0: (Digest(1, b"x"),)})
    assert values.stated == {"svn", "integrity_registers"}


# --- CoMID ------------------------------------------------------------------------------------------------------------

BAD_VALUES: list[tuple[CborItem, str]] = [
    ({}, "no member"),
    ([], "not a map"),
    ({"name": "x"}, "does not have"),
    ({b"name": "x"}, "does not have"),
    ({0: {1: 2}}, "lacks version"),
    ({0: {0: "1", 2: 3}}, "does not have"),
    ({0: {0: "1", 1: None}}, "of a kind"),
    ({1: -1}, "unsigned"),
    ({1: True}, "unsigned"),
    ({1: Tag(554, 1)}, "security version"),
    ({1: Tag(552, "1")}, "unsigned"),
    ({2: []}, "1 or more"),
    ({2: [[1]]}, "array of 2"),
    ({2: [[1, b"", b""]]}, "array of 2"),
    ({2: [[1, "text"]]}, "byte string"),
    ({2: [[True, b""]]}, "of a kind"),
    ({2: [[1, b"a"], [1, b"b"]]}, "two digests of one algorithm"),
    ({3: []}, "not a map"),
    ({3: {"debug": True}}, "no number"),
    ({3: {3: 1}}, "true or false"),
    ({4: b"raw"}, "none of the tags"),
    ({4: Tag(561, b"raw")}, "none of the tags"),
    ({4: Tag(560, "raw")}, "byte string"),
    ({4: Tag(563, [b"a"])}, "a value and its mask"),
    ({4: Tag(563, [b"a", "b"])}, "a value and its mask"),
    ({4: Tag(563, [b"a", b"bc"])}, "length of its raw value"),
    ({4: Tag(563, [b"a", b"b"]), 5: b"c"}, "without its raw value"),
    ({4: Tag(560, b"a"), 5: b"bc"}, "length of its raw value"),
    ({5: b"a"}, "without its raw value"),
    ({6: bytes(7)}, "6 to 8"),
    ({7: bytes(15)}, "4 to 16"),
    ({9: bytes(6)}, "7 to 33"),
    ({10: bytes(15)}, "16 to 16"),
    ({11: b"name"}, "text string"),
    ({13: []}, "1 or more"),
    ({13: [Tag(553, "key")]}, "none of the tags"),
    ({13: [Tag(558, {2: 1})]}, "COSE_Key"),
    ({13: [Tag(558, [])]}, "COSE_Key"),
    ({14: {}}, "map with members"),
    ({14: [[1, b""]]}, "map with members"),
    ({14: {-1: [[1, b""]]}}, "unsigned"),
    ({14: {b"x": [[1, b""]]}}, "of a kind"),
    ({15: "1"}, "an integer"),
    ({15: True}, "an integer"),
    ({15: Tag(564, [2, 1])}, "without any integer"),
    ({15: Tag(564, [1])}, "range of integers"),
    ({15: Tag(563, [1, 2])}, "range of integers"),
    ({15: Tag(564, [1, "2"])}, "an integer"),
]


@pytest.mark.parametrize("mval, why", BAD_VALUES)
def test_values_that_break_their_rule_are_refused(mval: CborItem, why: str) -> None:
    with pytest.raises(DecodeError, match=why):
        ConciseMidTag.decode(encode(comid_item(mval=mval or ([] if mval == [] else {}))))


def test_what_a_profile_adds_is_kept() -> None:
    value = ConciseMidTag.decode(encode(comid_item(mval={-73: Tag(60010, [2, 6]), 100: "cert"}, m7=[1])))
    assert value.extensions == {7: [1]}
    assert value.triples.reference_triples is not None
    assert value.triples.reference_triples[0].measurements[0].mval.extensions == {-73: Tag(60010, [2, 6]), 100: "cert"}


BAD_ENVIRONMENTS: list[tuple[CborItem, str]] = [
    ({}, "no member"),
    ({0: {}}, "no member"),
    ({3: 1}, "does not have"),
    ({0: {5: 1}}, "does not have"),
    ({0: {2: "model"}}, "a model and no vendor"),
    ({0: {0: Tag(551, 1)}}, "none of the tags"),
    ({0: {0: Tag(37, bytes(15))}}, "16 to 16"),
    ({0: {0: Tag(111, b"")}}, "of its size"),
    ({0: {0: Tag(111, b"\x80\x01")}}, "object identifier"),
    ({0: {0: Tag(111, b"\x2a\x83")}}, "object identifier"),
    ({0: {0: Tag(111, bytes(129))}}, "of its size"),
    ({0: {0: b"id"}}, "none of the tags"),
    ({0: {3: -1}}, "unsigned"),
    ({1: Tag(556, "path")}, "none of the tags"),
    ({1: Tag(550, bytes(34))}, "7 to 33"),
    ({2: Tag(550, bytes(33))}, "none of the tags"),
]


@pytest.mark.parametrize("environment, why", BAD_ENVIRONMENTS)
def test_environments_that_break_their_rule_are_refused(environment: CborItem, why: str) -> None:
    with pytest.raises(DecodeError, match=why):
        ConciseMidTag.decode(encode(comid_item(triples={0: [[environment, [{1: {1: 1}}]]]})))


MEASUREMENTS: CborItem = [{1: {1: 1}}]
BAD_TRIPLES: list[tuple[CborItem, str]] = [
    ({}, "no member"),
    ({0: []}, "1 or more"),
    ({0: [[ENVIRONMENT]]}, "array of 2"),
    ({0: [[ENVIRONMENT, []]]}, "1 or more"),
    ({0: [[ENVIRONMENT, [{0: 1}]]]}, "lacks mval"),
    ({0: [[ENVIRONMENT, [{0: -1, 1: {1: 1}}]]]}, "unsigned"),
    ({0: [[ENVIRONMENT, [{0: Tag(560, b""), 1: {1: 1}}]]]}, "none of the tags"),
    ({0: [[ENVIRONMENT, [{1: {1: 1}, 2: KEY}]]]}, "1 or more"),
    ({0: [[ENVIRONMENT, [{1: {1: 1}, 3: 1}]]]}, "does not have"),
    ({2: [[ENVIRONMENT, [KEY], {}]]}, "no member"),
    ({2: [[ENVIRONMENT, [KEY], {2: 1}]]}, "does not have"),
    ({3: [[ENVIRONMENT, []]]}, "1 or more"),
    ({4: [["domain", [ENVIRONMENT]]]}, "not a map"),
    ({5: [[ENVIRONMENT, [1]]]}, "not a map"),
    ({6: [[ENVIRONMENT, [bytes(15)]]]}, "16 to 16"),
    ({8: [[[ENVIRONMENT, MEASUREMENTS], []]]}, "1 or more"),
    ({8: [[[ENVIRONMENT, MEASUREMENTS], [[MEASUREMENTS, []]]]]}, "1 or more"),
    ({10: [[[[ENVIRONMENT, []]], [[ENVIRONMENT, MEASUREMENTS]]]]}, "1 or more"),
    ({10: [[[[ENVIRONMENT, MEASUREMENTS, [KEY]]], [[ENVIRONMENT, MEASUREMENTS]]]]}, "array of 2"),
    ({"x": []}, "does not have"),
]


@pytest.mark.parametrize("triples, why", BAD_TRIPLES)
def test_triples_that_break_their_rule_are_refused(triples: CborItem, why: str) -> None:
    item = comid_item()
    item[4] = triples
    with pytest.raises(DecodeError, match=why):
        ConciseMidTag.decode(encode(item))


@pytest.mark.parametrize(
    "members, why",
    [
        ({"m0": b"en"}, "text string"),
        ({"m1": {}}, "lacks tag_id"),
        ({"m1": {0: 1}}, "of a kind"),
        ({"m1": {0: "a", 1: -1}}, "unsigned"),
        ({"m1": {0: "a", 2: 1}}, "does not have"),
        ({"m2": []}, "1 or more"),
        ({"m2": [{0: "a"}]}, "lacks role"),
        ({"m2": [{0: "a", 2: [3]}]}, "not known"),
        ({"m2": [{0: "a", 1: "https://a", 2: [0]}]}, "tag 32"),
        ({"m2": [{0: "a", 1: Tag(32, "no uri"), 2: [0]}]}, "not a URI"),
        ({"m3": [{0: "a", 1: 2}]}, "not known"),
        ({"m3": [{0: "a"}]}, "lacks tag_rel"),
        ({"m4": None}, "not a map"),
    ],
)
def test_members_of_a_comid_that_break_their_rule_are_refused(members: dict[str, Any], why: str) -> None:
    with pytest.raises(DecodeError, match=why):
        ConciseMidTag.decode(encode(comid_item(**members)))


@pytest.mark.parametrize(
    "mval, masked",
    [
        ({4: Tag(560, b"ab")}, (b"ab", None)),
        ({4: Tag(560, b"ab"), 5: b"cd"}, (b"ab", b"cd")),
        ({4: Tag(563, [b"ab", b"cd"])}, (b"ab", b"cd")),
        ({1: 1}, None),
    ],
)
def test_raw_values_and_their_masks(mval: CborItem, masked: tuple[bytes, bytes | None] | None) -> None:
    triples = ConciseMidTag.decode(encode(comid_item(mval=mval))).triples
    assert triples.reference_triples is not None
    assert triples.reference_triples[0].measurements[0].mval.masked_value == masked


def test_ranges_may_have_no_bound() -> None:
    triples = ConciseMidTag.decode(encode(comid_item(mval={15: Tag(564, [None, None])}))).triples
    assert triples.reference_triples is not None
    assert triples.reference_triples[0].measurements[0].mval.int_range == IntRange(None, None)


# --- CoRIM ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "members, why",
    [
        ({"m0": bytes(15)}, "16 to 16"),
        ({"m1": []}, "1 or more"),
        ({"m1": None}, "1 or more"),
        ({"m1": [encode(comid_item())]}, "not encoded CBOR"),
        ({"m1": [Tag(506, comid_item())]}, "not encoded CBOR"),
        ({"m1": [Tag(507, encode(comid_item()))]}, "not known"),
        ({"m1": [Tag(506, encode(comid_item()) + b"\x00")]}, "after its end"),
        ({"m1": [Tag(505, encode([1]))]}, "not known"),
        ({"m1": [Tag(505, encode({1: "name"}))]}, "of a kind"),
        ({"m1": [Tag(508, encode({0: {0: "a"}, 1: [{0: "b"}]}))]}, "lacks tl_validity"),
        ({"m1": [Tag(508, encode({0: {0: "a"}, 1: [], 2: {1: Tag(1, 1)}}))]}, "1 or more"),
        ({"m2": [{}]}, "lacks href"),
        ({"m2": [{0: []}]}, "1 or more"),
        ({"m2": [{0: "https://a"}]}, "tag 32"),
        ({"m2": [{0: Tag(32, "a:b"), 1: []}]}, "1 or more"),
        ({"m2": [{0: Tag(32, "a:b"), 1: [1, 2]}]}, "byte string"),
        ({"m3": "tag:a"}, "none of the tags"),
        ({"m3": Tag(32, "a b")}, "not a URI"),
        ({"m4": {0: Tag(1, 1)}}, "lacks not_after"),
        ({"m4": {0: Tag(1, 2), 1: Tag(1, 1)}}, "ends before it begins"),
        ({"m4": {1: 1}}, "tag 1"),
        ({"m4": {1: Tag(1, "x")}}, "not a time"),
        ({"m4": {1: Tag(1, True)}}, "not a time"),
        ({"m4": {1: Tag(1, float("inf"))}}, "not a time"),
        ({"m4": {1: Tag(1, -1)}}, "outside of the years"),
        ({"m4": {1: Tag(1, 1 << 40)}}, "outside of the years"),
        ({"m5": [{0: "a", 2: [0]}]}, "not known"),
        ({"m5": [{0: "a", 2: [2]}, {0: "b", 2: [1, 2]}]}, "several signers"),
    ],
)
def test_members_of_a_corim_that_break_their_rule_are_refused(members: dict[str, Any], why: str) -> None:
    with pytest.raises(DecodeError, match=why):
        corim(**members)


@pytest.mark.parametrize("item", [corim_item(), Tag(500, Tag(501, corim_item())), Tag(502, corim_item()), None])
def test_a_corim_without_its_tag_is_refused(item: CborItem) -> None:
    with pytest.raises(DecodeError, match="does not have its tag"):
        Corim.decode(encode(item))


def test_a_corim_that_is_no_map_is_refused() -> None:
    with pytest.raises(DecodeError, match="not a map"):
        Corim.decode(encode(Tag(501, [1])))


def test_other_tags_than_comids_are_read() -> None:
    tag_list: CborItem = {0: {0: "list"}, 1: [{0: "a", 1: 2}], 2: {1: Tag(1, 1.5)}}
    value = corim(m1=[Tag(505, encode({0: "swid", 1: "name"})), Tag(508, encode(tag_list))])
    assert value.comids == ()
    assert isinstance(value.tags[0], SwidTag)
    assert value.tags[0].tag_id == "swid"
    assert isinstance(value.tags[1], ConciseTagList)
    assert value.tags[1].tl_validity.not_after == datetime(1970, 1, 1, 0, 0, 1, 500000, tzinfo=UTC)
    assert Corim.decode(value.encode()) == value


def test_a_locator_may_have_one_place_or_several() -> None:
    one, other = Tag(32, "https://a"), Tag(32, "https://b")
    value = corim(m2=[{0: one, 1: [1, b"x"]}, {0: [one, other], 1: [[1, b"x"], [7, b"y"]]}, {0: [one]}])
    assert value.dependent_rims == (
        Locator(("https://a",), (Digest(1, b"x"),)),
        Locator(("https://a", "https://b"), (Digest(1, b"x"), Digest(7, b"y"))),
        Locator(("https://a",)),
    )
    assert Corim.decode(value.encode()) == value


def test_a_corim_is_good_within_its_time_only() -> None:
    seconds = int(NOW.timestamp())
    value = corim(m4={0: Tag(1, seconds), 1: Tag(1, seconds + 1)})
    verify_corim_times(corim(), now=NOW)
    verify_corim_times(value, now=NOW)
    verify_corim_times(value, now=NOW + timedelta(seconds=1))
    with pytest.raises(VerificationError, match="has expired"):
        verify_corim_times(value, now=NOW + timedelta(seconds=1, microseconds=1))
    with pytest.raises(VerificationError, match="not valid yet"):
        verify_corim_times(value, now=NOW - timedelta(microseconds=1))


def test_a_list_of_tags_is_good_within_its_time_only() -> None:
    tag_list: CborItem = {0: {0: "list"}, 1: [{0: "a"}], 2: {1: Tag(1, 1)}}
    with pytest.raises(VerificationError, match="a list of tags in the CoRIM has expired"):
        verify_corim_times(corim(m1=[Tag(508, encode(tag_list))]), now=NOW)


def test_a_validity_without_begin_ends_all_the_same() -> None:
    verify_validity(Validity(NOW), now=NOW, what="it")
    with pytest.raises(VerificationError):
        verify_validity(Validity(NOW), now=NOW + timedelta(days=1), what="it")


# --- Limits -----------------------------------------------------------------------------------------------------------


def test_a_corim_beyond_a_mebibyte_is_refused() -> None:
    with pytest.raises(LimitError):
        Corim.decode(bytes((1 << 20) + 1))
    with pytest.raises(LimitError):
        ConciseMidTag.decode(bytes((1 << 20) + 1))


def test_items_of_all_tags_are_counted_together() -> None:
    many = comid_item(triples={0: [[ENVIRONMENT, [{1: {1: 1}}] * 2000]]})
    corim(many)
    with pytest.raises(LimitError, match="too many items"):
        corim(many, many)


def test_tags_after_the_last_item_that_is_allowed_are_refused() -> None:
    around, tag = (
        10,
        Tag(505, encode({0: "x"})),
    )  # the tag and map, two keys, the id, an array, two tags and their bytes
    full = Tag(505, encode({0: "x", 1: [0] * (16_384 - around - 5)}))
    with pytest.raises(LimitError, match="too many items"):
        Corim.decode(encode_corim(corim_item(m1=[full, tag])))
    assert len(Corim.decode(encode_corim(corim_item(m1=[full]))).tags) == 1


def test_the_largest_corims_are_read_or_refused() -> None:
    entity: CborItem = {1: {1: 1}}
    cases = [
        encode_corim(corim_item(comid_item(triples={0: [[ENVIRONMENT, [entity] * 2700]]}))),
        encode_corim(corim_item(comid_item(triples={0: [[ENVIRONMENT, [entity]]] * 1300}))),
        encode_corim(corim_item(comid_item(mval={4: Tag(560, bytes(1_000_000))}))),
        encode_corim(corim_item(comid_item(mval={2: [[number, b""] for number in range(4000)]}))),
        encode_corim(corim_item(m2=[{0: Tag(32, "a" * 1_000_000)}])),
        b"\x81" * 1_000_000,
        b"\x9a\x00\x0f\xff\xff" + b"\x01" * 1_000_000,
    ]
    for data in cases:
        check_any_bytes(Corim.decode, data)


# --- Concise evidence -------------------------------------------------------------------------------------------------


def test_concise_evidence_is_read_and_comes_back() -> None:
    item: CborItem = {
        0: {
            0: [[ENVIRONMENT, [{1: {1: 1}}]]],
            1: [[ENVIRONMENT, [KEY]]],
            2: [[ENVIRONMENT, [ENVIRONMENT]]],
            3: [[ENVIRONMENT, [ENVIRONMENT]]],
            4: [[ENVIRONMENT, [{0: "tag", 1: {24: "name", "x": 1}, 2: [KEY]}]]],
            5: [[ENVIRONMENT, [KEY]]],
        },
        1: Tag(37, bytes(16)),
        2: Tag(111, b"\x2a"),
        -1: None,
    }
    data = encode(Tag(571, item))
    evidence = ConciseEvidence.decode(data)
    assert evidence.encode() == data
    assert evidence.evidence_id == Tag(37, bytes(16))


@pytest.mark.parametrize(
    "item, why",
    [
        ({0: {0: [[ENVIRONMENT, [{1: {1: 1}}]]]}}, "does not have its tag"),
        (Tag(571, {}), "lacks triples"),
        (Tag(571, {0: {}}), "no member"),
        (Tag(571, {0: {4: [[ENVIRONMENT, [{0: "tag"}]]]}}), "lacks evidence"),
        (Tag(571, {0: {4: [[ENVIRONMENT, [{1: []}]]]}}), "evidence entry"),
        (Tag(571, {0: {4: [[ENVIRONMENT, [{1: {b"x": 1}}]]]}}), "evidence entry"),
        (Tag(571, {0: {0: [[ENVIRONMENT, [{1: {1: 1}}]]]}, 1: "id"}), "none of the tags"),
    ],
)
def test_concise_evidence_that_breaks_its_rule_is_refused(item: CborItem, why: str) -> None:
    with pytest.raises(DecodeError, match=why):
        ConciseEvidence.decode(encode(item))


@pytest.mark.vectors
def test_published_comids_come_back_to_the_byte_if_they_are_deterministic(shared_vectors: Path) -> None:
    paths = sorted((shared_vectors / "corim" / "comid").glob("*.cbor"))
    assert len(paths) >= 15
    for path in paths:
        assert ConciseMidTag.decode(path.read_bytes()).encode() == path.read_bytes(), path.name
