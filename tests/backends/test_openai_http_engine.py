"""Engines behind a base URL."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from confsec.backends.api import HttpRequest, HttpResponse
from confsec.backends.asgi import AsgiTransport, Receive, Scope, Send
from confsec.backends.engine_requests import CacheIsolation
from confsec.backends.openai_http import OpenAiHttpEngine, open_openai_http
from confsec.errors import ConfigError, ConnectError, DecodeError, DisconnectedError, EngineError, NotAllowedError
from confsec.testing import check_engine, paced_app, seeded_randbytes

pytestmark = pytest.mark.anyio

ODD_EVENTS = [b": ping\r\n\r\n", b"event: delta\nda", b'ta: {"x" : 1.0}\n\n', b"\xf0\x9f", b"\x98\x80", b"data: [DONE]"]


class Recorder:
    """An application that remembers what it was asked and answers as it was told."""

    def __init__(self, status: int = 200, parts: list[bytes] | None = None) -> None:
        self.status = status
        self.parts = parts or [b"{}"]
        self.scopes: list[Scope] = []
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        self.bodies.append(body)
        headers = [(b"content-type", b"text/event-stream"), (b"server", b"recorder"), (b"retry-after", b"7")]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        for part in self.parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})


class FailingTransport:
    """A transport on which exchanges end with an error, at the beginning or in the middle."""

    def __init__(self, at_once: Exception | None, later: Exception | None = None) -> None:
        self._at_once = at_once
        self._later = later
        self.closed = 0

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]:
        return self._stream()

    @asynccontextmanager
    async def _stream(self) -> AsyncGenerator[HttpResponse]:
        if self._at_once:
            raise self._at_once
        parts = self._parts()
        try:
            yield HttpResponse(status=200, headers=(), content=parts)
        finally:
            await parts.aclose()

    async def _parts(self) -> AsyncGenerator[bytes]:
        yield b"one"
        if self._later:
            raise self._later

    async def aclose(self) -> None:
        self.closed += 1


def post(body: bytes = b"{}", url: str = "/v1/chat/completions") -> HttpRequest:
    headers = (("content-type", "application/json"), ("authorization", "Bearer the client's"), ("user-agent", "x"))
    return HttpRequest(method="POST", url=url, headers=headers, content=body)


async def test_engine_passes_the_published_check() -> None:
    await check_engine(OpenAiHttpEngine("http://engine", AsgiTransport(paced_app(2000, 20))), model="paced")


async def test_stream_passes_byte_for_byte() -> None:
    engine = OpenAiHttpEngine("http://engine", AsgiTransport(Recorder(parts=ODD_EVENTS)))
    async with engine.stream(post()) as response:
        assert [part async for part in response.content] == ODD_EVENTS
        assert response.headers == (("content-type", "text/event-stream"), ("retry-after", "7"))


async def test_request_passes_byte_for_byte_without_what_names_the_user() -> None:
    app = Recorder()
    engine = OpenAiHttpEngine("http://engine", AsgiTransport(app), api_key="the node's")
    body = b'{ "x" : 1.0, "unknown_field": [1e400, 12345678901234567890] }'
    async with engine.stream(post(body, "/v1/messages?beta=true")):
        pass
    assert app.bodies == [body]
    assert (app.scopes[0]["path"], app.scopes[0]["query_string"]) == ("/v1/messages", b"beta=true")
    names = {name: value for name, value in app.scopes[0]["headers"] if name != b"content-length"}
    assert names == {b"host": b"engine", b"content-type": b"application/json", b"authorization": b"Bearer the node's"}


async def test_each_request_gets_a_salt_of_its_own() -> None:
    app = Recorder()
    transport = AsgiTransport(app)
    randbytes = seeded_randbytes("salt")
    engine = OpenAiHttpEngine("http://engine", transport, isolation=CacheIsolation.VLLM, randbytes=randbytes)
    for _ in range(2):
        async with engine.stream(post(b'{"model": "m"}')):
            pass
    first, second = (json.loads(body) for body in app.bodies)
    assert first["model"] == second["model"] == "m"
    assert first["cache_salt"] != second["cache_salt"]
    with pytest.raises(DecodeError):
        async with engine.stream(post(b"not json")):
            pass
    async with engine.stream(HttpRequest(method="GET", url="/v1/models")):
        pass
    assert app.bodies[2:] == [b""]


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
async def test_engines_own_errors_pass_as_answers(status: int) -> None:
    engine = OpenAiHttpEngine("http://engine", AsgiTransport(Recorder(status, [b'{"error":{}}'])))
    async with engine.stream(post()) as response:
        assert response.status == status
        assert b"".join([part async for part in response.content]) == b'{"error":{}}'
    with pytest.raises(EngineError):
        await engine.check()


async def test_path_that_is_not_allowed_never_reaches_the_engine() -> None:
    app = Recorder()
    engine = OpenAiHttpEngine("http://engine", AsgiTransport(app))
    with pytest.raises(NotAllowedError):
        async with engine.stream(HttpRequest(method="GET", url="/slots")):
            pass
    assert app.scopes == []


async def test_engine_that_is_not_there_is_an_engine_error() -> None:
    engine = OpenAiHttpEngine("http://engine", FailingTransport(ConnectError("no connection")))
    with pytest.raises(EngineError, match="connect"):
        async with engine.stream(post()):
            pass
    with pytest.raises(EngineError, match="connect"):
        await engine.check()


async def test_engine_that_goes_away_is_an_engine_error_without_a_cause() -> None:
    engine = OpenAiHttpEngine("http://engine", FailingTransport(None, DisconnectedError("gone")))
    async with engine.stream(post()) as response:
        assert await anext(response.content) == b"one"
        with pytest.raises(EngineError, match="disconnected") as caught:
            await anext(response.content)
    assert caught.value.__cause__ is caught.value.__context__ is None


async def test_closing_closes_the_transport() -> None:
    transport = FailingTransport(None)
    await OpenAiHttpEngine("http://engine", transport).aclose()
    assert transport.closed == 1


@pytest.mark.parametrize("url", ["http://engine", "http://engine/", "http://engine/v1", "http://engine/v1/"])
async def test_base_url_may_end_with_v1(url: str) -> None:
    app = Recorder()
    async with OpenAiHttpEngine(url, AsgiTransport(app)).stream(post()):
        pass
    assert app.scopes[0]["path"] == "/v1/chat/completions"


async def test_base_url_may_have_a_path_before_v1() -> None:
    app = Recorder()
    async with OpenAiHttpEngine("http://engine/llm/v1", AsgiTransport(app)).stream(post()):
        pass
    assert app.scopes[0]["path"] == "/llm/v1/chat/completions"


@pytest.mark.parametrize(
    "url", ["", "engine:8000", "ftp://engine", "http://", "http://user:secret@engine", "http://e?x=1", "unix:relative"]
)
async def test_other_base_urls_are_refused(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_openai_http(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("make", [lambda path: f"unix:{path}", lambda path: "http://127.0.0.1:1"])
async def test_nobody_listens(make: Callable[[Any], str], tmp_path: Any) -> None:
    engine = open_openai_http(make(tmp_path / "no.sock"))
    with pytest.raises(EngineError, match="connect"):
        await engine.check()
    await engine.aclose()
