"""Binary HTTP messages as values: vectors, what is refused, what is made (RFC 9292)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from confsec.errors import DecodeError, LimitError, LocalProtocolError, TruncatedError
from confsec.protocol.bhttp import (
    BhttpLimits,
    Fields,
    InformationalResponse,
    Request,
    RequestHead,
    Response,
    encode_content,
    encode_end,
    encode_informational,
    encode_request_head,
    encode_response_head,
    strip_connection_fields,
)
from confsec.testing import check_any_bytes, check_round_trip
from tests.protocol import bhttp_strategies as messages
from tests.support import OWN_VECTORS, load_vectors

SECTION_5 = load_vectors(OWN_VECTORS / "bhttp_rfc9292_section5.json")["messages"]
INVALID = load_vectors(OWN_VECTORS / "bhttp_invalid.json")["messages"]
KINDS: dict[str, type[Request | Response]] = {"request": Request, "response": Response}
GET = Request("GET", "https", "example.com", "/")


def from_json(message: dict[str, Any]) -> Request | Response:
    def fields(pairs: list[list[str]]) -> Fields:
        return tuple((name, value) for name, value in pairs)

    headers, trailers = fields(message["headers"]), fields(message["trailers"])
    content = message["content"].encode("latin-1")
    if "method" in message:
        control = (message["method"], message["scheme"], message["authority"], message["path"])
        return Request(*control, headers, content, trailers)
    informational = tuple(InformationalResponse(status, fields(pairs)) for status, pairs in message["informational"])
    return Response(message["status"], headers, content, trailers, informational)


@pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in SECTION_5])
def test_examples_of_rfc_9292(case: dict[str, Any]) -> None:
    encoded, message = bytes.fromhex(case["encoded"]), from_json(case["message"])
    assert type(message).decode(encoded) == message
    for loss in case["may_lose"]:
        assert type(message).decode(encoded[: len(encoded) - loss]) == message
    check_round_trip(type(message), encoded, canonical=False)


def test_examples_of_rfc_9292_encode_to_the_same_bytes() -> None:
    request, padded, streamed, trailers = (
        (from_json(case["message"]), bytes.fromhex(case["encoded"])) for case in SECTION_5
    )
    assert request[0].encode() == request[1]
    assert padded[0].encode(indeterminate=True, padding=10) == padded[1]
    assert streamed[0].encode(indeterminate=True) == streamed[1]
    assert trailers[0].encode() == trailers[1]


@pytest.mark.vectors
@pytest.mark.parametrize("name", ["rfc9292-section5", "martinthomson-bhttp", "confidentsecurity-bhttp"])
def test_shared_vectors(shared_vectors: Path, name: str) -> None:
    for case in load_vectors(shared_vectors / "bhttp" / f"{name}.json")["cases"]:
        encoded = bytes.fromhex(case["encoded"])
        kind = KINDS["response" if encoded[0] & 1 else "request"]
        if not case["valid"]:
            with pytest.raises(DecodeError):
                kind.decode(encoded)
            continue
        assert kind.decode(encoded) == from_json(case["decoded"]), case["name"]
        for loss in case.get("truncatable_by", []):
            assert kind.decode(encoded[:-loss]) == kind.decode(encoded), case["name"]


@pytest.mark.parametrize("case", [pytest.param(case, id=case["defect"]) for case in INVALID])
def test_invalid_message_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(DecodeError) as caught:
        KINDS[case["kind"]].decode(bytes.fromhex(case["encoded"]))
    assert caught.value.code == case["code"]


@given(messages.requests(), messages.forms(), st.integers(0, 9))
def test_request_round_trip(message: Request, form: messages.Form, padding: int) -> None:
    assert Request.decode(message.encode(padding=padding, **form)) == message


@given(messages.responses(), messages.forms(), st.integers(0, 9))
def test_response_round_trip(message: Response, form: messages.Form, padding: int) -> None:
    assert Response.decode(message.encode(padding=padding, **form)) == message


@given(messages.nearly_valid())
def test_any_bytes_give_a_message_or_an_error(data: bytes) -> None:
    check_any_bytes(Request.decode, data)
    check_any_bytes(Response.decode, data)


@given(messages.nearly_valid())
def test_whatever_is_decoded_may_be_sent(data: bytes) -> None:
    for kind in KINDS.values():
        try:
            message = kind.decode(data)
        except DecodeError:
            continue
        assert kind.decode(message.encode()) == message


@given(messages.requests(), messages.forms())
def test_truncation_leaves_out_the_empty_end_and_nothing_else(message: Request, form: messages.Form) -> None:
    whole = message.encode(indeterminate=form["indeterminate"])
    short = message.encode(indeterminate=form["indeterminate"], truncate=True)
    assert whole.startswith(short)
    assert not any(whole[len(short) :])
    if not message.trailers:
        assert len(short) < len(whole)


def test_smallest_messages() -> None:
    assert GET.encode(truncate=True).hex() == "00034745540568747470730b6578616d706c652e636f6d012f"
    assert Response(200).encode(truncate=True).hex() == "0140c8"
    assert Response(200).encode(truncate=True, indeterminate=True).hex() == "0340c8"


def test_names_in_upper_case_are_lower_cased() -> None:
    assert Response.decode(bytes.fromhex("0140c8040158015900")).headers == (("x", "Y"),)
    assert Response.decode(b"\1\x40\xc8\x0e\x0cContent-Type\0").headers == (("content-type", ""),)


def test_varints_may_be_longer_than_needed() -> None:
    assert Response.decode(bytes.fromhex("40018000 00c8 4004 4001 61 00 4001 62 4000".replace(" ", ""))) == Response(
        200, (("a", ""),), b"b"
    )
    # The terminators of an indeterminate section and of its content, in two bytes each.
    assert Response.decode(bytes.fromhex("0340c8 016100 4000 0162 4000 4000".replace(" ", ""))) == Response(
        200, (("a", ""),), b"b"
    )


def test_pseudo_fields_of_extensions_stand_in_front() -> None:
    request = Request("GET", "https", "example.com", "/", ((":protocol", "connect-udp"), ("a", "b")))
    assert Request.decode(request.encode()) == request


def test_values_are_latin_1() -> None:
    response = Response(200, (("a", "caf\xe9 \t \xff"), ("b", "")))
    assert b"caf\xe9 \t \xff" in response.encode()
    assert Response.decode(response.encode()) == response


def test_connect_has_an_authority_alone() -> None:
    request = Request("CONNECT", "", "example.com:443", "")
    assert Request.decode(request.encode()) == request


def test_other_schemes_have_rules_of_their_own() -> None:
    request = Request("GET", "coap", "me@example.com", "")
    assert Request.decode(request.encode()) == request


def test_options_of_the_whole_server() -> None:
    request = Request("OPTIONS", "https", "example.com", "*")
    assert Request.decode(request.encode()) == request


@pytest.mark.parametrize(
    ("authority", "headers", "host"),
    [
        ("example.com", (), "example.com"),
        ("", (("a", "b"), ("host", "example.com")), "example.com"),
        ("example.com", (("host", "example.com"),), "example.com"),
        ("Example.com:443", (("host", "example.COM"),), "Example.com:443"),
        ("", (), ""),
    ],
)
def test_host_is_found_in_both_places(authority: str, headers: Fields, host: str) -> None:
    request = Request("GET", "https", authority, "/", headers)
    assert Request.decode(request.encode()).host == host


def test_another_port_is_another_host() -> None:
    with pytest.raises(LocalProtocolError, match="differ"):
        Request("GET", "https", "example.com:443", "/", (("host", "example.com:80"),)).encode()


@pytest.mark.parametrize(
    "message",
    [
        Request("G T", "https", "a", "/"),
        Request("GET", "https", "a", "/\xe4"),
        Request("GET", "https", "a", "/", (("Upper", "x"),)),
        Request("GET", "https", "a", "/", (("", "x"),)),
        Request("GET", "https", "a", "/", (("a", "x\ny"),)),
        Request("GET", "https", "a", "/", (("a", "\u20ac"),)),
        Request("GET", "https", "a", "/", trailers=((":protocol", "x"),)),
        Response(100),
        Response(600),
        Response(200, informational=(InformationalResponse(200),)),
    ],
)
def test_message_that_must_not_exist_is_not_encoded(message: Request | Response) -> None:
    for indeterminate in (False, True):
        with pytest.raises(LocalProtocolError):
            message.encode(indeterminate=indeterminate)


def test_message_in_parts_is_the_message_as_a_whole() -> None:
    request = Request("POST", "https", "example.com", "/x", (("a", "b"),), b"onetwo", (("c", "d"),))
    parts = [encode_content(b"one"), encode_content(b""), encode_content(b"two"), encode_end((("c", "d"),), padding=3)]
    head = RequestHead("POST", "https", "example.com", "/x", (("a", "b"),))
    assert encode_request_head(request) == encode_request_head(head)
    assert Request.decode(b"".join([encode_request_head(request), *parts])) == request


def test_informational_responses_in_parts() -> None:
    early = InformationalResponse(103, (("link", "</a>"),))
    parts = [
        encode_informational(103, early.headers),
        encode_informational(102, first=False),
        encode_response_head(200, (("a", "b"),), first=False),
        encode_content(b"x"),
        encode_end(),
    ]
    whole = Response(200, (("a", "b"),), b"x", informational=(early, InformationalResponse(102)))
    assert b"".join(parts) == whole.encode(indeterminate=True)
    assert encode_response_head(204) + encode_end() == Response(204).encode(indeterminate=True)


@pytest.mark.parametrize(
    "encode",
    [
        lambda: encode_request_head(Request("GET", "https", "a", "x")),
        lambda: encode_informational(200),
        lambda: encode_response_head(103),
        lambda: encode_response_head(200, (("a", " b"),)),
        lambda: encode_end((("A", "b"),)),
    ],
)
def test_part_that_must_not_exist_is_not_encoded(encode: Any) -> None:
    with pytest.raises(LocalProtocolError):
        encode()


LARGE = Request("PATCH", "https", "example.com", "/path", (("aaaa", "bbbb"),), b"content", (("cc", "dd"), ("e", "")))
EXACT = {
    "max_method": 5,
    "max_scheme": 5,
    "max_authority": 11,
    "max_path": 5,
    "max_field_section": 10,
    "max_field_lines": 2,
    "max_content": 7,
    "max_padding": 4,
}


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("indeterminate", [False, True])
def test_limit_is_the_last_size_that_is_read(name: str, *, indeterminate: bool) -> None:
    encoded = LARGE.encode(padding=4, indeterminate=indeterminate)
    assert Request.decode(encoded, limits=BhttpLimits(**EXACT)) == LARGE
    with pytest.raises(LimitError):
        Request.decode(encoded, limits=BhttpLimits(**{**EXACT, name: EXACT[name] - 1}))


def test_informational_responses_are_limited() -> None:
    response = Response(200, informational=(InformationalResponse(103), InformationalResponse(103)))
    assert Response.decode(response.encode(), limits=BhttpLimits(max_informational=2)) == response
    with pytest.raises(LimitError):
        Response.decode(response.encode(), limits=BhttpLimits(max_informational=1))


def test_errors_and_representations_hold_no_content() -> None:
    marker = "s3cr3t-marker"
    message = Request("POST", "https", "example.com", f"/{marker}", (("a", marker),), marker.encode(), (("b", marker),))
    assert marker not in repr(message)
    assert marker not in repr(Response(200, (("a", marker),), marker.encode()))
    for field in (f"{marker}\n", f" {marker}"):
        with pytest.raises(LocalProtocolError) as caught:
            Response(200, (("a", field),)).encode()
        assert marker not in str(caught.value)
    with pytest.raises(TruncatedError) as truncated:
        Request.decode(message.encode()[:-1])
    assert marker not in str(truncated.value)


def test_connection_fields_are_stripped() -> None:
    fields = (
        ("connection", "close, X-Hop"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "X-Proxy"),
        ("te", "trailers"),
        ("trailer", "x-end"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("x-hop", "1"),
        ("x-proxy", "1"),
        ("x-end", "2"),
    )
    assert strip_connection_fields(fields) == (("x-end", "2"),)
    assert strip_connection_fields(iter(fields[7:])) == fields[7:]
