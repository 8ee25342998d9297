"""Messages for the property tests of binary HTTP."""

from __future__ import annotations

from typing import TypedDict

from hypothesis import strategies as st

from confsec.protocol.bhttp import Fields, InformationalResponse, Request, Response

TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
INNER = "\t " + "".join(map(chr, [*range(0x21, 0x7F), *range(0x80, 0x100)]))


class Form(TypedDict):
    """How a message is encoded."""

    indeterminate: bool
    truncate: bool


def forms() -> st.SearchStrategy[Form]:
    return st.builds(Form, indeterminate=st.booleans(), truncate=st.booleans())


def fields() -> st.SearchStrategy[Fields]:
    names = st.sampled_from(["content-type", "accept", "x-custom"]) | st.text(TOKEN, min_size=1, max_size=70)
    values = st.text(INNER, max_size=80).map(lambda text: text.strip("\t "))
    pair = st.tuples(names.filter(lambda name: name != "host"), values)
    return st.lists(pair, max_size=4).map(tuple)


def content() -> st.SearchStrategy[bytes]:
    return st.binary(max_size=100)


def requests() -> st.SearchStrategy[Request]:
    return st.builds(
        Request,
        method=st.sampled_from(["GET", "POST", "M-SEARCH"]),
        scheme=st.sampled_from(["https", "http", "coap+tcp"]),
        authority=st.sampled_from(["", "example.com", "[2001:db8::1]:8080"]),
        path=st.sampled_from(["/", "/v1/chat/completions?a=b%20c"]),
        headers=fields(),
        content=content(),
        trailers=fields(),
    )


def responses() -> st.SearchStrategy[Response]:
    early = st.builds(InformationalResponse, status=st.integers(100, 199), headers=fields())
    return st.builds(
        Response,
        status=st.integers(200, 599),
        headers=fields(),
        content=content(),
        trailers=fields(),
        informational=st.lists(early, max_size=3).map(tuple),
    )


@st.composite
def nearly_valid(draw: st.DrawFn) -> bytes:
    """Any bytes at all, and messages with a byte changed: those come further."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=60))
    message = draw(requests() | responses())
    encoded = bytearray(message.encode(**draw(forms())))
    encoded[draw(st.integers(0, len(encoded) - 1))] = draw(st.integers(0, 255))
    return bytes(encoded)
