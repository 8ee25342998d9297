"""HTTP/1.1 messages become binary ones, without what belongs to a connection (RFC 9292, sections 5 and 6)."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from confsec.errors import ConfsecError, DecodeError, TruncatedError, UnsupportedError
from confsec.protocol.bhttp import InformationalResponse, Request, Response
from confsec.protocol.bhttp_http1 import request_from_http1, response_from_http1
from confsec.testing import check_any_bytes
from tests.support import OWN_VECTORS, load_vectors

SECTION_5 = [
    bytes.fromhex(case["encoded"]) for case in load_vectors(OWN_VECTORS / "bhttp_rfc9292_section5.json")["messages"]
]

REQUEST = (
    b"GET /hello.txt HTTP/1.1\r\n"
    b"User-Agent: curl/7.16.3 libcurl/7.16.3 OpenSSL/0.9.7l zlib/1.2.3\r\n"
    b"Host: www.example.com\r\n"
    b"Accept-Language: en, mi\r\n\r\n"
)
RESPONSE = (
    b"HTTP/1.1 102 Processing\r\n"
    b'Running: "sleep 15"\r\n\r\n'
    b"HTTP/1.1 103 Early Hints\r\n"
    b"Link: </style.css>; rel=preload; as=style\r\n"
    b"Link: </script.js>; rel=preload; as=script\r\n\r\n"
    b"HTTP/1.1 200 OK\r\n"
    b"Date: Mon, 27 Jul 2009 12:28:53 GMT\r\n"
    b"Server: Apache\r\n"
    b"Last-Modified: Wed, 22 Jul 2009 19:15:56 GMT\r\n"
    b'ETag: "34aa387-d-1568eb00"\r\n'
    b"Accept-Ranges: bytes\r\n"
    b"Content-Length: 51\r\n"
    b"Vary: Accept-Encoding\r\n"
    b"Content-Type: text/plain\r\n\r\n"
    b"Hello World! My content includes a trailing CRLF.\r\n"
)
CHUNKED = (
    b"HTTP/1.1 200 OK\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
    b"4\r\nThis\r\n6\r\n conte\r\n13;chunk-extension=foo\r\nnt contains CRLF.\r\n\r\n0\r\n"
    b"Trailer: text\r\n\r\n"
)


def test_examples_of_rfc_9292_give_its_bytes() -> None:
    assert request_from_http1(REQUEST).encode() == SECTION_5[0]
    assert request_from_http1(REQUEST).encode(indeterminate=True, padding=10) == SECTION_5[1]
    assert response_from_http1(RESPONSE).encode(indeterminate=True) == SECTION_5[2]
    assert response_from_http1(CHUNKED).encode() == SECTION_5[3]


def test_single_line_feeds_end_lines() -> None:
    assert request_from_http1(REQUEST.replace(b"\r\n", b"\n")) == request_from_http1(REQUEST)


def test_absolute_form_gives_scheme_and_authority() -> None:
    request = request_from_http1(b"GET http://example.com:8080/x?y HTTP/1.1\r\nHost: example.com:8080\r\n\r\n")
    assert (request.scheme, request.authority, request.path) == ("http", "example.com:8080", "/x?y")
    assert request_from_http1(b"GET http://example.com?y HTTP/1.1\r\n\r\n").path == "/?y"


def test_origin_form_has_the_scheme_of_its_connection() -> None:
    assert request_from_http1(b"OPTIONS * HTTP/1.1\r\n\r\n", scheme="http") == Request("OPTIONS", "http", "", "*")


def test_fields_of_the_connection_stay_behind() -> None:
    request = request_from_http1(
        b"POST /x HTTP/1.1\r\nHost: example.com\r\nConnection: one\r\nConnection: Two, three\r\nTwo: 2\r\none: 1\r\n"
        b"proXy-connection: four\r\nfour: 4\r\nkeep-alive: 1\r\nTE: trailers\r\ntrailer: x\r\nupgrade: h2c\r\n\r\n"
    )
    assert request.headers == (("host", "example.com"),)
    early = b"HTTP/1.1 103 \r\nConnection: one\r\none: 1\r\ntwo: 2\r\n\r\nHTTP/1.1 204 \r\nKeep-Alive: 1\r\n\r\n"
    assert response_from_http1(early) == Response(204, informational=(InformationalResponse(103, (("two", "2"),)),))


def test_content_has_its_length_or_ends_with_the_connection() -> None:
    assert request_from_http1(b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc").content == b"abc"
    assert response_from_http1(b"HTTP/1.1 200 \r\n\r\nto the end").content == b"to the end"
    assert response_from_http1(CHUNKED.replace(b"chunked", b"other, Chunked", 1)) == response_from_http1(CHUNKED)
    assert response_from_http1(b"HTTP/1.1 304 \r\nContent-Length: 9\r\n\r\n").content == b""


@pytest.mark.parametrize(
    ("data", "error"),
    [
        pytest.param(b"CONNECT test.example HTTP/1.1\r\nHost: example.com\r\n\r\n", UnsupportedError, id="connect"),
        pytest.param(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", TruncatedError, id="no chunks"),
        pytest.param(b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nabc", TruncatedError, id="short content"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n", TruncatedError, id="headers without end"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\nx", DecodeError, id="content without length"),
        pytest.param(b"GET / HTTP/1.0\r\n\r\n", DecodeError, id="version"),
        pytest.param(b"GET  / HTTP/1.1\r\n\r\n", DecodeError, id="two spaces"),
        pytest.param(b"GET / HTTP/1.1\r\nHost\r\n\r\n", DecodeError, id="no colon"),
        pytest.param(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", DecodeError, id="space before colon"),
        pytest.param(b"GET / HTTP/1.1\r\nA: b\r\n c: d\r\n\r\n", DecodeError, id="folded line"),
        pytest.param(b"GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", DecodeError, id="CR in a value"),
        pytest.param(b"POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\nabc", DecodeError, id="signed length"),
        pytest.param(
            b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", DecodeError, id="two lengths"
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
            DecodeError,
            id="length and chunks",
        ),
        pytest.param(b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", DecodeError, id="not chunked"),
        pytest.param(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", DecodeError, id="no chunk size"),
        pytest.param(
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", DecodeError, id="long chunk"
        ),
    ],
)
def test_what_is_no_request_is_refused(data: bytes, error: type[ConfsecError]) -> None:
    with pytest.raises(error):
        request_from_http1(data)


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 600 \r\n\r\n", b"HTTP/1.1 99 \r\n\r\n", b"HTTP/1.1 204 \r\n\r\nx", b"HTTP/1.1 100 \r\n\r\n"]
)
def test_what_is_no_response_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        response_from_http1(data)


@given(st.sampled_from([REQUEST, RESPONSE, CHUNKED]), st.integers(0, 300), st.binary(max_size=4))
def test_any_bytes_give_a_message_or_an_error(message: bytes, place: int, change: bytes) -> None:
    data = message[:place] + change + message[place + len(change) :]
    check_any_bytes(request_from_http1, data)
    check_any_bytes(response_from_http1, data)
