"""Binary HTTP as it arrives: any split, any cut, all steps, and nothing gathered (RFC 9292)."""

from __future__ import annotations

import gc
import sys
import weakref
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from confsec.errors import DecodeError, LimitError, LocalProtocolError, TruncatedError
from confsec.protocol.bhttp import (
    STREAM_LIMITS,
    BhttpDecoder,
    BhttpEvent,
    BhttpKind,
    BhttpLimits,
    ContentReceived,
    InformationalReceived,
    InformationalResponse,
    MessageFinished,
    Request,
    RequestHead,
    Response,
    ResponseHead,
    encode_content,
    encode_end,
    encode_request_head,
    encode_response_head,
)
from confsec.protocol.machine import State, Step
from confsec.testing import (
    MemoryWire,
    check_all_steps,
    check_any_cut,
    check_any_split,
    cut_at_random,
    seeded_randbytes,
)
from tests.protocol import bhttp_strategies as messages
from tests.support import OWN_VECTORS, load_vectors

REQUEST = Request("POST", "https", "example.com", "/x", (("a", "b"), ("c", "d" * 70)), b"content", (("e", "f"),))
RESPONSE = Response(
    200,
    (("a", "b"),),
    b"content" * 20,
    (("e", "f"),),
    (InformationalResponse(103, (("link", "</a>"),)), InformationalResponse(102)),
)
INVALID = load_vectors(OWN_VECTORS / "bhttp_invalid.json")["messages"]


def merge(events: list[BhttpEvent]) -> object:
    """Put the pieces of content together: where they are cut means nothing."""
    others = [event for event in events if not isinstance(event, ContentReceived)]
    return others, b"".join(event.data for event in events if isinstance(event, ContentReceived))


def test_all_states_and_all_steps() -> None:
    def done() -> BhttpDecoder:
        decoder = BhttpDecoder("request")
        MemoryWire(decoder).send_eof(REQUEST.encode())
        return decoder

    def finish(decoder: BhttpDecoder) -> None:
        if decoder.state is State.RECEIVING:
            decoder.receive_data(REQUEST.encode())
        decoder.receive_eof()

    check_all_steps(
        {State.RECEIVING: lambda: BhttpDecoder("request"), State.DONE: done},
        {Step.RECEIVE: lambda decoder: decoder.receive_data(b"\0"), Step.RECEIVE_EOF: finish},
    )


@pytest.mark.parametrize("indeterminate", [False, True])
def test_any_split_of_a_request_gives_the_same_events(*, indeterminate: bool) -> None:
    encoded = REQUEST.encode(indeterminate=indeterminate, padding=3)
    check_any_split(lambda: BhttpDecoder("request"), encoded, merge=merge)


@pytest.mark.parametrize("indeterminate", [False, True])
def test_any_split_of_a_response_gives_the_same_events(*, indeterminate: bool) -> None:
    encoded = RESPONSE.encode(indeterminate=indeterminate, padding=3)
    check_any_split(lambda: BhttpDecoder("response"), encoded, merge=merge)


@given(messages.requests() | messages.responses(), messages.forms(), st.text(max_size=8))
def test_random_parts_give_the_same_events(message: Request | Response, form: messages.Form, seed: str) -> None:
    kind: BhttpKind = "request" if isinstance(message, Request) else "response"
    encoded = message.encode(**form)
    cut = MemoryWire(BhttpDecoder(kind), alter=cut_at_random(seeded_randbytes(seed), longest=9))
    assert merge(cut.send_eof(encoded)) == merge(MemoryWire(BhttpDecoder(kind)).send_eof(encoded))


@given(messages.nearly_valid(), st.text(max_size=8))
def test_random_parts_of_an_invalid_message_are_refused_alike(data: bytes, seed: str) -> None:
    def outcome(**alter: Any) -> object:
        try:
            return merge(MemoryWire(BhttpDecoder("request"), **alter).send_eof(data))
        except DecodeError as exc:
            return str(exc)

    assert outcome(alter=cut_at_random(seeded_randbytes(seed), longest=5)) == outcome()


@pytest.mark.parametrize("case", [pytest.param(case, id=case["defect"]) for case in INVALID])
def test_invalid_message_is_refused_byte_by_byte(case: dict[str, Any]) -> None:
    decoder = BhttpDecoder(case["kind"])
    with pytest.raises(DecodeError) as caught:
        MemoryWire(decoder, alter=lambda data: [bytes([byte]) for byte in data]).send_eof(
            bytes.fromhex(case["encoded"])
        )
    assert caught.value.code == case["code"]
    assert decoder.state is State.FAILED


@pytest.mark.parametrize("message", [REQUEST, RESPONSE])
@pytest.mark.parametrize("indeterminate", [False, True])
def test_any_cut_raises_except_before_a_part(message: Request | Response, *, indeterminate: bool) -> None:
    """A message cut before its headers, content or trailers is a truncated one: RFC 9292 cannot tell (section 3.8)."""
    no_trailers = evolve(message, trailers=())
    no_content = evolve(no_trailers, content=b"")
    no_headers = evolve(no_content, headers=())
    shorter = [
        part.encode(indeterminate=indeterminate, truncate=True) for part in (no_headers, no_content, no_trailers)
    ]
    encoded = message.encode(indeterminate=indeterminate)
    assert all(encoded.startswith(part) for part in shorter)
    kind: BhttpKind = "request" if isinstance(message, Request) else "response"
    check_any_cut(lambda: BhttpDecoder(kind), encoded, may_end=[len(part) for part in shorter])


@pytest.mark.parametrize("indeterminate", [False, True])
def test_message_may_end_before_each_empty_part(*, indeterminate: bool) -> None:
    empty = Request("GET", "https", "example.com", "/")
    encoded = empty.encode(indeterminate=indeterminate)
    last = len(encoded)
    check_any_cut(lambda: BhttpDecoder("request"), encoded, may_end=[last - 3, last - 2, last - 1])
    for cut in (last - 3, last - 2, last - 1):
        events = MemoryWire(BhttpDecoder("request")).send_eof(encoded[:cut])
        assert events == [RequestHead("GET", "https", "example.com", "/"), MessageFinished()]


def test_head_arrives_before_content() -> None:
    decoder = BhttpDecoder("request")
    assert decoder.receive_data(encode_request_head(REQUEST)) == [
        RequestHead(REQUEST.method, REQUEST.scheme, REQUEST.authority, REQUEST.path, REQUEST.headers)
    ]
    assert decoder.receive_data(encode_content(b"one")) == [ContentReceived(b"one")]
    assert decoder.receive_data(encode_content(b"two") + encode_content(b"three")) == [ContentReceived(b"twothree")]
    assert decoder.receive_data(encode_end((("e", "f"),), padding=1)) == []
    assert decoder.receive_eof() == [MessageFinished((("e", "f"),))]


def test_informational_responses_arrive_at_once() -> None:
    decoder = BhttpDecoder("response")
    encoded = RESPONSE.encode()
    assert decoder.receive_data(encoded[: 3 + 11]) == [InformationalReceived(103, (("link", "</a>"),))]
    events = decoder.receive_data(encoded[3 + 11 :])
    assert events == [
        InformationalReceived(102),
        ResponseHead(200, RESPONSE.headers),
        ContentReceived(RESPONSE.content),
    ]


def test_part_of_content_passes_through_uncopied() -> None:
    decoder = BhttpDecoder("response", limits=STREAM_LIMITS)
    decoder.receive_data(Response(200, content=bytes(1 << 20)).encode()[:8])
    part = bytes(1 << 16)
    [event] = decoder.receive_data(part)
    assert isinstance(event, ContentReceived)
    assert event.data is part


def test_endless_content_leaves_nothing_behind() -> None:
    decoder = BhttpDecoder("response", limits=STREAM_LIMITS)
    decoder.receive_data(encode_response_head(200))
    chunk = encode_content(bytes(5000))
    for _ in range(50):
        decoder.receive_data(chunk[:3000])
        decoder.receive_data(chunk[3000:])
        assert sum(sys.getsizeof(value) for value in vars(decoder).values()) < 3000


def test_many_tiny_chunks_are_one_event() -> None:
    decoder = BhttpDecoder("response")
    decoder.receive_data(encode_response_head(200))
    assert decoder.receive_data(encode_content(b"x") * 1000) == [ContentReceived(b"x" * 1000)]


def test_streamed_content_has_no_end_but_the_limit() -> None:
    assert STREAM_LIMITS.max_content == (1 << 62) - 1
    decoder = BhttpDecoder("response", limits=BhttpLimits(max_content=10))
    decoder.receive_data(encode_response_head(200) + encode_content(bytes(10)))
    with pytest.raises(LimitError):
        decoder.receive_data(b"\1")


def test_too_long_a_field_is_refused_before_it_arrives() -> None:
    decoder = BhttpDecoder("response")
    with pytest.raises(LimitError):
        decoder.receive_data(encode_response_head(200)[:-1] + b"\xff\xff\xff\xff\xff\xff\xff\xff")


def test_decoder_that_failed_stays_failed() -> None:
    decoder = BhttpDecoder("request")
    with pytest.raises(DecodeError):
        decoder.receive_data(b"\x09")
    with pytest.raises(LocalProtocolError):
        decoder.receive_data(b"\0")
    with pytest.raises(LocalProtocolError):
        decoder.receive_eof()


def test_end_in_the_middle_fails_the_decoder() -> None:
    decoder = BhttpDecoder("request")
    decoder.receive_data(REQUEST.encode()[:-1])
    with pytest.raises(TruncatedError):
        decoder.receive_eof()
    assert decoder.state is State.FAILED


def test_decoder_is_gone_with_its_last_reference() -> None:
    """What it holds of a message must not wait for the garbage collector."""
    gc.disable()
    try:
        decoder = BhttpDecoder("request")
        decoder.receive_data(REQUEST.encode()[:-1])
        gone = weakref.ref(decoder)
        del decoder
        assert gone() is None
    finally:
        gc.enable()
