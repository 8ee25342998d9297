"""The published check for engines finds what is wrong with one; the paced engine keeps its promises."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
import pytest
from attrs import evolve

from confsec.backends.api import HttpRequest, HttpResponse
from confsec.backends.asgi import AsgiTransport
from confsec.backends.asgi_engine import AsgiEngine
from confsec.testing import check_engine, paced_app

pytestmark = pytest.mark.anyio

Stream = Callable[[HttpRequest], AbstractAsyncContextManager[HttpResponse]]


class Engine:
    """A good engine whose `stream` a test has changed."""

    def __init__(self, change: Callable[[Stream], Stream]) -> None:
        self._engine = AsgiEngine(paced_app(math.inf, 20))
        self.stream = change(self._engine.stream)

    async def check(self) -> None:
        await self._engine.check()

    async def aclose(self) -> None:
        await self._engine.aclose()


def lets_everything_through(stream: Stream) -> Stream:
    transport = AsgiTransport(paced_app(math.inf, 20))
    return lambda request: transport.stream(evolve(request, url=f"http://engine{request.url}"))


def answers_what_it_cannot_read(stream: Stream) -> Stream:
    @asynccontextmanager
    async def changed(request: HttpRequest) -> AsyncGenerator[HttpResponse]:
        async with stream(request) as response:
            yield evolve(response, status=200)

    return changed


def loses_the_end(stream: Stream) -> Stream:
    async def without_last(parts: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        before = await anext(parts)
        async for part in parts:
            yield before
            before = part

    @asynccontextmanager
    async def changed(request: HttpRequest) -> AsyncGenerator[HttpResponse]:
        async with stream(request) as response:
            events = b'"stream": true' in request.content if isinstance(request.content, bytes) else False
            parts = without_last(response.content)
            try:
                yield evolve(response, content=parts) if events else response
            finally:
                await parts.aclose()

    return changed


def wraps_the_callers_exception(stream: Stream) -> Stream:
    @asynccontextmanager
    async def changed(request: HttpRequest) -> AsyncGenerator[HttpResponse]:
        async with stream(request) as response:
            try:
                yield response
            except LookupError as exc:
                raise LookupError("wrapped") from exc

    return changed


def serves_one_at_a_time(stream: Stream) -> Stream:
    turn = anyio.Semaphore(1)

    @asynccontextmanager
    async def changed(request: HttpRequest) -> AsyncGenerator[HttpResponse]:
        async with turn, stream(request) as response:
            yield response

    return changed


async def test_good_engine_passes() -> None:
    await check_engine(Engine(lambda stream: stream), model="paced")


@pytest.mark.parametrize(
    "change, complaint",
    [
        (lets_everything_through, "was let through"),
        (answers_what_it_cannot_read, "half a JSON object"),
        (loses_the_end, r"does not end with \[DONE\]"),
        (wraps_the_callers_exception, "did not come through"),
    ],
)
async def test_broken_engine_is_found(change: Callable[[Stream], Stream], complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        await check_engine(Engine(change), model="paced")


async def test_engine_that_a_slow_reader_stops_is_found() -> None:
    with pytest.raises(TimeoutError):
        await check_engine(Engine(serves_one_at_a_time), model="paced", limit=0.2)


@pytest.mark.parametrize("tokens", [0, 1, 7])
async def test_paced_engine_gives_as_many_tokens_as_it_was_told(tokens: int) -> None:
    engine = AsgiEngine(paced_app(math.inf, tokens, token=" x"))
    request = HttpRequest(method="POST", url="/v1/completions", content=b"{}")
    async with engine.stream(request) as response:
        answer = json.loads(b"".join([part async for part in response.content]))
    assert answer["choices"][0]["text"] == " x" * tokens


async def test_paced_engine_goes_on_for_ever_and_stops_when_left() -> None:
    engine = AsgiEngine(paced_app(math.inf, token="x" * 1000))
    request = HttpRequest(method="POST", url="/v1/chat/completions", content=b'{"stream": true}')
    async with engine.stream(request) as response:
        for _ in range(500):
            assert b"xxx" in await anext(response.content)
