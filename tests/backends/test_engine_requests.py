"""What an engine may be asked, and how one request is kept from the next."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, strategies as st

from confsec.backends.api import HttpRequest
from confsec.backends.engine_requests import (
    CacheIsolation,
    engine_request,
    engine_response_headers,
    isolate,
    read_content,
)
from confsec.errors import DecodeError, LimitError, NotAllowedError
from confsec.testing import check_any_bytes, seeded_randbytes

ALLOWED = [
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/responses"),
    ("POST", "/v1/embeddings"),
    ("POST", "/v1/messages"),
    ("POST", "/v1/messages?beta=true"),
    ("POST", "/v1/messages/count_tokens"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models?limit=20"),
    ("GET", "/v1/models/confsec-tiny"),
    ("GET", "/v1/models/Qwen/Qwen3-0.6B"),
]

REFUSED = [
    ("GET", "/"),
    ("GET", "/slots"),
    ("GET", "/props"),
    ("GET", "/metrics"),
    ("GET", "/health"),
    ("GET", "/v1/chat/completions"),
    ("GET", "/v1/responses/resp_1"),
    ("GET", "/v1/stream?conv_id=1"),
    ("GET", "/v1/models/"),
    ("GET", "/v1/models/../../slots"),
    ("GET", "/v1/models/.hidden"),
    ("GET", "/v1/models/%2e%2e/slots"),
    ("GET", "/v1//models"),
    ("GET", "/v1/models#x"),
    ("GET", "/v1/models?a=b#c"),
    ("GET", "/v1/models?a=\r\nb"),
    ("GET", "/v1/models\n"),
    ("GET", "/v1/models?" + "a" * 1025),
    ("GET", "http://elsewhere/v1/models"),
    ("DELETE", "/v1/models/confsec-tiny"),
    ("POST", "/v1/chat/completions/"),
    ("POST", "/v1/chat/completions/control"),
    ("POST", "/V1/chat/completions"),
    ("POST", "/api/pull"),
    ("POST", "/slots/0?action=save"),
    ("PUT", "/v1/completions"),
    ("post", "/v1/completions"),
]


@pytest.mark.parametrize("method, url", ALLOWED)
def test_what_engines_are_for_is_let_through(method: str, url: str) -> None:
    assert engine_request(HttpRequest(method=method, url=url)).url == url


@pytest.mark.parametrize("method, url", REFUSED)
def test_everything_else_is_refused(method: str, url: str) -> None:
    with pytest.raises(NotAllowedError) as caught:
        engine_request(HttpRequest(method=method, url=url))
    assert caught.value.status_hint == 404


@pytest.mark.parametrize(
    "isolation, refused",
    [
        (CacheIsolation.NONE, set()),
        (CacheIsolation.LLAMA_CPP, set()),
        (CacheIsolation.VLLM, {"/v1/messages"}),
        (CacheIsolation.SGLANG, {"/v1/embeddings", "/v1/messages", "/v1/messages/count_tokens", "/v1/responses"}),
    ],
)
def test_path_on_which_an_engine_takes_no_salt_is_refused(isolation: CacheIsolation, refused: set[str]) -> None:
    seen = set()
    for method, url in ALLOWED:
        try:
            engine_request(HttpRequest(method=method, url=url), isolation)
        except NotAllowedError:
            seen.add(url.partition("?")[0])
    assert seen == refused


def test_refusal_does_not_repeat_what_may_be_more_than_a_path() -> None:
    with pytest.raises(NotAllowedError) as caught:
        engine_request(HttpRequest(method="GET", url="/My secret is 1234"))
    assert "1234" not in str(caught.value)


def test_header_fields_that_name_a_user_are_dropped() -> None:
    headers = (
        ("content-type", "application/json"),
        ("authorization", "Bearer sk-1"),
        ("user-agent", "OpenAI/Python 3"),
        ("x-stainless-os", "Linux"),
        ("x-conversation-id", "1"),
        ("cookie", "a=b"),
        ("accept", "text/event-stream"),
        ("anthropic-version", "2023-06-01"),
    )
    request = engine_request(HttpRequest(method="POST", url="/v1/messages", headers=headers))
    assert [name for name, _ in request.headers] == ["content-type", "accept", "anthropic-version"]


def test_response_headers_say_nothing_about_the_machine() -> None:
    headers = (("server", "llama.cpp"), ("date", "today"), ("content-type", "text/event-stream"), ("x-request-id", "1"))
    assert engine_response_headers(headers) == (("content-type", "text/event-stream"),)


def test_body_is_not_touched_where_no_isolation_is_asked_for() -> None:
    body = b'{ "a" : 1.0, "a": 1e400, nonsense'
    assert isolate(body, CacheIsolation.NONE, randbytes=seeded_randbytes("isolate")) is body


@pytest.mark.parametrize("isolation", [CacheIsolation.VLLM, CacheIsolation.SGLANG])
def test_salt_is_added_and_every_other_byte_stays(isolation: CacheIsolation) -> None:
    randbytes = seeded_randbytes("salt")
    body = b'{ "temperature" : 1.0, "seed":12345678901234567890, "x": 1E-7, "unknown":{"b":1,"a":"\\u00e9"} }\n'
    first = isolate(body, isolation, randbytes=randbytes)
    second = isolate(body, isolation, randbytes=randbytes)
    start, end = body[: body.rindex(b"}")], body[body.rindex(b"}") :]
    assert first.startswith(start + b',"cache_salt":"')
    assert first.endswith(end)
    assert len(json.loads(first)["cache_salt"]) == 44
    assert json.loads(first)["cache_salt"] != json.loads(second)["cache_salt"]


def test_salt_counts_more_than_the_one_that_the_request_brings() -> None:
    body = b'{"cache_salt":"shared","cache\\u005fsalt":"shared too"}'
    salted = isolate(body, CacheIsolation.VLLM, randbytes=seeded_randbytes("salt"))
    assert not json.loads(salted)["cache_salt"].startswith("shared")


def test_empty_object_stays_json() -> None:
    randbytes = seeded_randbytes("empty")
    assert isolate(b"{ }", CacheIsolation.LLAMA_CPP, randbytes=randbytes) == b'{ "cache_prompt":false}'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'"{}"',
        b'{"a":1',
        b'{"a":1}}',
        b'{"a":1} //',
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        b'{"a":"\xff"}',
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_body_that_we_cannot_read_is_refused_where_we_must(body: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        isolate(body, CacheIsolation.LLAMA_CPP, randbytes=seeded_randbytes("bad"))
    assert caught.value.__context__ is None  # the JSON reader's error holds the whole body


@given(st.binary())
def test_any_body_is_isolated_or_refused(body: bytes) -> None:
    check_any_bytes(lambda data: isolate(data, CacheIsolation.VLLM, randbytes=seeded_randbytes("any")), body)


@given(st.dictionaries(st.text(), st.one_of(st.integers(), st.text(), st.none(), st.lists(st.text()))))
def test_any_object_keeps_its_members(members: dict[str, object]) -> None:
    isolated = isolate(json.dumps(members).encode(), CacheIsolation.LLAMA_CPP, randbytes=seeded_randbytes("any"))
    assert json.loads(isolated) == {**members, "cache_prompt": False}


async def _parts() -> AsyncIterator[bytes]:
    yield b"one "
    yield b"two"


@pytest.mark.anyio
async def test_body_in_parts_is_joined_up_to_a_limit() -> None:
    assert await read_content(b"one") == b"one"
    assert await read_content(_parts(), limit=7) == b"one two"
    with pytest.raises(LimitError):
        await read_content(_parts(), limit=6)
    with pytest.raises(LimitError):
        await read_content(b"one two", limit=6)
