"""ASGI applications in process as engines."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncGenerator

import anyio
import pytest

from confsec.backends.api import HttpRequest
from confsec.backends.asgi import Receive, Scope, Send
from confsec.backends.asgi_engine import AsgiEngine
from confsec.errors import EngineError
from confsec.testing import check_engine, paced_app

pytestmark = pytest.mark.anyio

SECRET = "my secret prompt"
CHAT = HttpRequest(method="POST", url="/v1/chat/completions", content=json.dumps({"stream": True}).encode())
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}


async def read(engine: AsgiEngine) -> bytes:
    async with engine.stream(CHAT) as response:
        return b"".join([part async for part in response.content])


async def test_engine_passes_the_published_check() -> None:
    await check_engine(AsgiEngine(paced_app(2000, 20)), model="paced")


async def test_both_directions_stream_at_once() -> None:
    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        while (message := await receive())["more_body"]:
            await send({"type": "http.response.body", "body": message["body"], "more_body": True})
        await send({"type": "http.response.body"})

    answered: list[bytes] = []
    steps: list[str] = []

    async def parts() -> AsyncGenerator[bytes]:
        for number in range(3):
            steps.append(f"asked {number}")
            yield b"%d" % number

    async with AsgiEngine(echo).stream(HttpRequest(method="POST", url="/v1/responses", content=parts())) as response:
        async for part in response.content:
            steps.append(f"answered {part.decode()}")
            answered.append(part)
    assert answered == [b"0", b"1", b"2"]
    assert steps.index("answered 0") < steps.index("asked 2")


async def test_slow_reader_holds_the_application_back() -> None:
    sent = 0

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await send(START)
        while True:
            await send({"type": "http.response.body", "body": bytes(1024), "more_body": True})
            sent += 1

    async with AsgiEngine(endless).stream(CHAT) as response:
        for taken in range(1, 20):
            await anext(response.content)
            await anyio.wait_all_tasks_blocked()
            assert sent <= taken + 1


async def test_leaving_tells_the_application() -> None:
    heard = anyio.Event()

    async def listens(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        heard.set()

    async with AsgiEngine(listens).stream(CHAT) as response:
        assert await anext(response.content) == b"one"
    assert heard.is_set()


async def test_leaving_cancels_an_application_that_does_not_listen() -> None:
    cancelled = anyio.Event()

    async def deaf(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    async with AsgiEngine(deaf).stream(CHAT) as response:
        assert response.status == 200
    assert cancelled.is_set()


@pytest.mark.parametrize("begun", [False, True])
async def test_exception_is_an_engine_error_that_says_nothing(*, begun: bool) -> None:
    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        if begun:
            await send(START)
            await send({"type": "http.response.body", "body": b"one", "more_body": True})
        raise ValueError(SECRET)

    with pytest.raises(EngineError) as caught:
        await read(AsgiEngine(fails))
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


async def test_answer_without_an_end_is_an_engine_error() -> None:
    async def stops(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"one", "more_body": True})

    async with AsgiEngine(stops).stream(CHAT) as response:
        assert await anext(response.content) == b"one"
        with pytest.raises(EngineError):
            await anext(response.content)


async def test_lifespan_surrounds_the_requests() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for _ in range(2):
                message = await receive()
                seen.append(message["type"])
                await send({"type": message["type"] + ".complete"})
        else:
            seen.append("request")
            await paced_app(math.inf, 1)(scope, receive, send)

    async with AsgiEngine(app) as engine:
        await engine.check()
    assert seen == ["lifespan.startup", "request", "lifespan.shutdown"]


async def test_application_that_knows_no_lifespan_serves_all_the_same() -> None:
    async with AsgiEngine(paced_app(math.inf, 1)) as engine:
        await engine.check()


async def test_application_that_cannot_start_is_an_engine_error() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": SECRET})

    with pytest.raises(EngineError) as caught:
        async with AsgiEngine(app):
            pass
    assert SECRET not in str(caught.value)


async def test_callers_exception_leaves_the_lifespan_as_it_is() -> None:
    with pytest.raises(LookupError, match="mine"):
        async with AsgiEngine(paced_app(math.inf, 1)):
            raise LookupError("mine")
