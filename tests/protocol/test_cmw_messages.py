"""RATS's wrapper in all its forms."""

from __future__ import annotations

import string

import pytest
from cryptography.hazmat import asn1
from hypothesis import given, strategies as st

from confsec.errors import DecodeError, LimitError, LocalProtocolError, VerificationError
from confsec.protocol import cbor_general, cmw, json_general
from confsec.protocol.cbor_general import CborItem, CborKey, Tag
from confsec.protocol.cmw_messages import (
    MAX_CMW_DEPTH,
    MAX_CMW_LABELS,
    Cmw,
    CollectionCmw,
    ConceptualMessage,
    RecordCmw,
    TagCmw,
    content_format_of_tag,
    decode_cmw,
    decode_cmw_cbor,
    decode_cmw_extension,
    decode_cmw_json,
    decode_signed_cmw,
    encode_cmw_cbor,
    encode_cmw_extension,
    encode_cmw_json,
    sign_cmw,
    tag_of_content_format,
    verify_signed_cmw,
    verify_signed_cmw_json,
)
from confsec.protocol.cose import sign1
from confsec.protocol.jose import sign_jws
from confsec.testing import check_any_bytes
from tests.protocol.token_keys import ED25519, OTHER, P256

NAMES = st.text(string.ascii_letters + string.digits, min_size=1, max_size=8)
TYPES = st.builds(lambda name, value: f'application/{name}; p="{value}"', NAMES, NAMES)
INDICATORS = st.none() | st.integers(1, 31).map(ConceptualMessage)
LABELS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6).filter(
    lambda text: text != "__cmwc_t"
)
JSON_RECORDS = st.builds(RecordCmw, TYPES, st.binary(min_size=1, max_size=8), INDICATORS)
RECORDS = st.builds(RecordCmw, TYPES | st.integers(0, 0xFFFF), st.binary(max_size=8), INDICATORS)
TAGS = st.builds(TagCmw, st.integers(0, 65024), st.binary(max_size=8))
COLLECTION_TYPES = st.none() | st.sampled_from(["tag:example.com,2024:composite", "1.3.6.1.4.1", "urn:x:y"])


def collections(inner: st.SearchStrategy[Cmw], labels: st.SearchStrategy[str | int]) -> st.SearchStrategy[Cmw]:
    items = st.dictionaries(labels, inner, min_size=1, max_size=3)
    return st.builds(CollectionCmw, items, COLLECTION_TYPES)


CBOR_CMWS: st.SearchStrategy[Cmw] = st.recursive(
    RECORDS | TAGS, lambda inner: collections(inner, LABELS | st.integers(-(1 << 64), (1 << 64) - 1)), max_leaves=6
)
JSON_CMWS: st.SearchStrategy[Cmw] = st.recursive(JSON_RECORDS, lambda inner: collections(inner, LABELS), max_leaves=6)
RECORD = RecordCmw("application/eat+cwt", b"\x23\x47", ConceptualMessage.EVIDENCE)


def nested(levels: int) -> Cmw:
    wrapped: Cmw = RECORD
    for _ in range(levels):
        wrapped = CollectionCmw({"a": wrapped})
    return wrapped


# --- both forms


@given(CBOR_CMWS)
def test_cbor_comes_back(wrapped: Cmw) -> None:
    encoded = encode_cmw_cbor(wrapped)
    assert decode_cmw_cbor(encoded) == decode_cmw(encoded) == wrapped
    assert encode_cmw_cbor(decode_cmw_cbor(encoded)) == encoded


@given(JSON_CMWS)
def test_json_comes_back_and_means_the_same_in_cbor(wrapped: Cmw) -> None:
    encoded = encode_cmw_json(wrapped)
    assert decode_cmw_json(encoded) == decode_cmw(encoded) == wrapped
    assert decode_cmw_cbor(encode_cmw_cbor(wrapped)) == wrapped


@given(st.binary(max_size=60))
def test_any_bytes_give_a_wrapper_or_our_error(data: bytes) -> None:
    check_any_bytes(decode_cmw, data)
    check_any_bytes(decode_cmw_json, data)
    check_any_bytes(decode_cmw_extension, data)
    check_any_bytes(decode_signed_cmw, data)


def test_evidence_of_our_nodes_is_a_collection() -> None:
    evidence = cmw.Evidence.of({"key-config": cmw.CmwRecord("application/ohttp-keys", b"key")})
    assert decode_cmw(evidence.encoded) == CollectionCmw({"key-config": RecordCmw("application/ohttp-keys", b"key")})


@pytest.mark.parametrize(
    "text", ["", "00", "f6", "40", "60", "80", "81 40", "84 00 40 01 00", "da 63740101 00", "da 63740200 40"]
)
def test_refuses_what_is_no_wrapper(text: str) -> None:
    with pytest.raises(DecodeError):
        decode_cmw_cbor(bytes.fromhex(text))


@pytest.mark.parametrize(
    "defect, item",
    [
        ("a type that is true", [True, b""]),
        ("a type that is bytes", [b"a/b", b""]),
        ("a type without a slash", ["application", b""]),
        ("a type with an empty name", ["/b", b""]),
        ("a type with a space", ["a/b c", b""]),
        ("a parameter without a value", ["a/b; c", b""]),
        ("a quoted string that does not end", ['a/b; c="d', b""]),
        ("a type that is too long", ["a/b; c=" + "d" * 1024, b""]),
        ("a name that is too long", ["a/" + "b" * 128, b""]),
        ("a Content-Format below zero", [-1, b""]),
        ("a Content-Format of 17 bits", [1 << 16, b""]),
        ("a value that is text", ["a/b", ""]),
        ("an indicator of zero", ["a/b", b"", 0]),
        ("an indicator that nobody registered", ["a/b", b"", 32]),
        ("an indicator that is true", ["a/b", b"", True]),
        ("an indicator that is null", ["a/b", b"", None]),
        ("an empty collection", {}),
        ("a collection with nothing but a type", {"__cmwc_t": "urn:a:b"}),
        ("a type of a collection that is a wrapper", {"__cmwc_t": ["a/b", b""], "a": ["a/b", b""]}),
        ("a type of a collection that is no URI", {"__cmwc_t": "a b", "a": ["a/b", b""]}),
        ("a relative URI", {"__cmwc_t": "/a", "a": ["a/b", b""]}),
        ("a URI with a fragment", {"__cmwc_t": "http://a/#b", "a": ["a/b", b""]}),
        ("a relative OID", {"__cmwc_t": "311.1", "a": ["a/b", b""]}),
        ("an OID with a zero before a number", {"__cmwc_t": "1.03", "a": ["a/b", b""]}),
        ("a type of a collection that is too long", {"__cmwc_t": "urn:a:" + "b" * 1024, "a": ["a/b", b""]}),
        ("an empty label", {"": ["a/b", b""]}),
        ("a label that is bytes", {b"a": ["a/b", b""]}),
        ("a wrapper in it that is none", {"a": 1}),
        ("a tag in it that is none", {"a": Tag(18, b"")}),
    ],
)
def test_refuses(defect: str, item: CborItem) -> None:
    with pytest.raises(DecodeError):
        decode_cmw_cbor(cbor_general.encode(item))


@pytest.mark.parametrize(
    "defect, text",
    [
        ("a Content-Format, which JSON does not have", '[10000, "AA"]'),
        ("a type that is a float", '[1.5, "AA"]'),
        ("padding", '["a/b", "AA=="]'),
        ("another alphabet", '["a/b", "+/+/"]'),
        ("pad bits", '["a/b", "AB"]'),
        ("an empty value", '["a/b", ""]'),
        ("an indicator that is text", '["a/b", "AA", "evidence"]'),
        ("an indicator that is a float", '["a/b", "AA", 1.0]'),
        ("one item", '["a/b"]'),
        ("four items", '["a/b", "AA", 1, 2]'),
        ("an object for a record", '{"type": "a/b", "value": "AA"}'),
        ("a label twice", '{"a": ["a/b", "AA"], "a": ["a/b", "AA"]}'),
        ("text", '"a/b"'),
    ],
)
def test_refuses_in_json(defect: str, text: str) -> None:
    with pytest.raises(DecodeError):
        decode_cmw_json(text.encode())


def test_collections_are_bounded() -> None:
    assert decode_cmw_cbor(encode_cmw_cbor(nested(MAX_CMW_DEPTH))) == nested(MAX_CMW_DEPTH)
    too_deep = nested(MAX_CMW_DEPTH + 1)
    for data in (encode_cmw_cbor(too_deep), encode_cmw_json(too_deep)):
        with pytest.raises(LimitError, match="too deeply"):
            decode_cmw(data)
    labels: dict[CborKey, CborItem] = {number: [0, b""] for number in range(MAX_CMW_LABELS)}
    typed = decode_cmw_cbor(cbor_general.encode({**labels, "__cmwc_t": "1.2"}))
    assert isinstance(typed, CollectionCmw)
    assert len(typed.items) == MAX_CMW_LABELS
    for number in (-1, -2):
        labels[number] = [0, b""]
        with pytest.raises(LimitError, match="too many"):
            decode_cmw_cbor(cbor_general.encode(labels))


@pytest.mark.parametrize(
    "wrapped",
    [
        TagCmw(1, b"1"),
        RecordCmw(1, b"1"),
        RecordCmw("a/b", b""),
        CollectionCmw({1: RECORD}),
        CollectionCmw({"a": TagCmw(1, b"1")}),
    ],
)
def test_what_json_cannot_say_is_not_written(wrapped: Cmw) -> None:
    with pytest.raises(LocalProtocolError):
        encode_cmw_json(wrapped)


def test_wrapper_that_nobody_may_write_is_not_made() -> None:
    for kind in (True, -1, 1 << 16, "a", "a/b;"):
        with pytest.raises(DecodeError):
            RecordCmw(kind, b"")
    for indicator in (0, 32):
        with pytest.raises(DecodeError):
            RecordCmw("a/b", b"", ConceptualMessage(indicator))
    with pytest.raises(LimitError):
        CollectionCmw({})


# --- tags


@pytest.mark.parametrize(
    "content_format, tag",
    [
        (0, 1668546817),
        (254, 1668547071),
        (255, 1668547073),
        (30001, 1668576935),
        (64999, 1668612070),
        (65024, 1668612095),
    ],
)
def test_tag_stands_for_a_content_format(content_format: int, tag: int) -> None:
    assert tag_of_content_format(content_format) == tag == TagCmw(content_format, b"").tag
    assert content_format_of_tag(tag) == content_format


def test_no_byte_of_a_tag_is_zero() -> None:
    tags = [tag_of_content_format(number) for number in range(65025)]
    assert len(set(tags)) == 65025
    assert not any(0 in tag.to_bytes(4, "big") for tag in tags)


def test_other_tags_stand_for_nothing() -> None:
    for tag in (1668546816, 1668612096, 1668547072, 18):
        with pytest.raises(DecodeError):
            content_format_of_tag(tag)
    for number in (-1, 65025, 65535):
        with pytest.raises(LocalProtocolError):
            tag_of_content_format(number)


# --- signed


@given(CBOR_CMWS)
def test_signed_wrapper_verifies(wrapped: Cmw) -> None:
    data = sign_cmw(wrapped, ED25519, algorithm="EdDSA")
    assert verify_signed_cmw(data, ED25519.public_key()) == wrapped


def test_signature_has_to_be_by_the_key_and_algorithm() -> None:
    data = sign_cmw(RECORD, P256, algorithm="ES256")
    with pytest.raises(VerificationError, match="does not verify"):
        verify_signed_cmw(data, OTHER.public_key())
    with pytest.raises(VerificationError, match="not allowed"):
        verify_signed_cmw(data, P256.public_key(), algorithms=["EdDSA"])


def test_content_type_may_be_a_number() -> None:
    message = sign1(encode_cmw_cbor(RECORD), P256, algorithm="ES256", protected={3: 273})
    assert verify_signed_cmw(message.encode(), P256.public_key()) == RECORD


@pytest.mark.parametrize(
    "protected, unprotected, detached",
    [
        ({}, {}, False),
        ({3: "application/cmw+json"}, {}, False),
        ({}, {3: "application/cmw+cbor"}, False),
        ({3: 273}, {}, True),
    ],
)
def test_signed_wrapper_without_its_headers_or_payload_is_refused(
    protected: dict[CborKey, CborItem],
    unprotected: dict[CborKey, CborItem],
    detached: bool,  # noqa: FBT001 - a column of the table
) -> None:
    message = sign1(
        encode_cmw_cbor(RECORD),
        P256,
        algorithm="ES256",
        protected=protected,
        unprotected=unprotected,
        detached=detached,
    )
    with pytest.raises(DecodeError):
        verify_signed_cmw(message.encode(), P256.public_key())


def test_signed_wrapper_has_to_say_its_algorithm() -> None:
    protected = cbor_general.encode({3: 273})
    data = cbor_general.encode(Tag(18, [protected, {}, encode_cmw_cbor(RECORD), bytes(64)]))
    with pytest.raises(DecodeError, match="algorithm"):
        decode_signed_cmw(data)


def test_signed_json_verifies_in_both_forms() -> None:
    jws = sign_jws(encode_cmw_json(RECORD), P256, algorithm="ES256", header={"cty": "application/cmw+json"})
    members = dict(zip(("protected", "payload", "signature"), jws.encode().split("."), strict=True))
    for data in (jws.encode().encode(), json_general.encode({**members, "header": {"kid": "1"}})):
        assert verify_signed_cmw_json(data, P256.public_key()) == RECORD
        with pytest.raises(VerificationError):
            verify_signed_cmw_json(data, OTHER.public_key())
        with pytest.raises(VerificationError, match="not allowed"):
            verify_signed_cmw_json(data, P256.public_key(), algorithms=["EdDSA"])


def test_signed_json_has_to_say_what_it_is() -> None:
    jws = sign_jws(encode_cmw_json(RECORD), P256, algorithm="ES256", header={"cty": "application/json"})
    with pytest.raises(VerificationError, match="another type"):
        verify_signed_cmw_json(jws.encode().encode(), P256.public_key())
    with pytest.raises(DecodeError):
        verify_signed_cmw_json("é".encode(), P256.public_key())


# --- in certificates


@given(CBOR_CMWS)
def test_extension_comes_back(wrapped: Cmw) -> None:
    assert decode_cmw_extension(encode_cmw_extension(wrapped)) == wrapped


def test_extension_may_hold_json() -> None:
    assert decode_cmw_extension(asn1.encode_der(encode_cmw_json(RECORD).decode())) == RECORD


@pytest.mark.parametrize(
    "value", [b"", b"\x0c\x01\xff", b"\x04\x05a", b"\x05\x00", encode_cmw_extension(RECORD) + b"\0"]
)
def test_extension_that_is_no_der_is_refused(value: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_cmw_extension(value)
