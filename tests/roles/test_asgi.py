"""What all roles share: routes, limits, health, errors as answers."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from typing import NoReturn

import anyio
import pytest

from confsec.backends.api import HttpRequest, header
from confsec.backends.asgi import AsgiTransport, Message
from confsec.errors import ConfigError, DisconnectedError
from confsec.roles.asgi import Exchange
from confsec.roles.config import RoleConfig
from tests.roles.support import Echo, fetch, read

pytestmark = pytest.mark.anyio


def get(path: str) -> HttpRequest:
    return HttpRequest(method="GET", url="http://x" + path)


def post(path: str, content: bytes | AsyncIterator[bytes] = b"") -> HttpRequest:
    return HttpRequest(method="POST", url="http://x" + path, content=content)


async def endless() -> AsyncIterator[bytes]:
    while True:
        await anyio.sleep(0)
        yield bytes(4096)


async def silent() -> AsyncIterator[bytes]:
    yield b"something"
    await anyio.sleep_forever()


@pytest.mark.parametrize(
    "request_, status, code",
    [
        (get("/nothing"), 404, "not_found"),
        (get("/echo"), 405, "method_not_allowed"),
        (get("/busy"), 503, "busy"),
        (get("/bug"), 500, "error"),
    ],
)
async def test_errors_are_problems_with_a_code(request_: HttpRequest, status: int, code: str) -> None:
    async with AsgiTransport(Echo()).stream(request_) as response:
        problem = json.loads(await read(response))
        assert response.status == status == problem["status"]
        assert problem["code"] == code
        assert header(response.headers, "content-type") == "application/problem+json"
        assert (header(response.headers, "retry-after") is not None) == (status == 503)


async def test_role_that_does_not_explain_answers_with_a_bare_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Echo, "explains_errors", False)
    for path, status in (("/nothing", 404), ("/busy", 503), ("/bug", 500)):
        assert await fetch(AsgiTransport(Echo()), get(path)) == (status, b"")


async def test_bug_is_logged_by_place_and_not_by_message(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        await fetch(AsgiTransport(Echo()), get("/bug"))
    assert "ZeroDivisionError" in caplog.text
    assert "support.py" in caplog.text
    assert "a secret prompt" not in caplog.text


async def test_health_says_ok_and_draining() -> None:
    echo = Echo()
    status, body = await fetch(AsgiTransport(echo), get("/healthz"))
    assert (status, json.loads(body)) == (200, {"role": "echo", "state": "ok"})
    echo.draining = True
    status, body = await fetch(AsgiTransport(echo), get("/healthz"))
    assert (status, json.loads(body)["state"]) == (503, "draining")


@pytest.mark.parametrize("content", [bytes(101), endless()], ids=["announced", "endless"])
async def test_body_beyond_the_limit_is_refused(content: bytes | AsyncIterator[bytes]) -> None:
    class Reader(Echo):
        async def _echo(self, exchange: Exchange) -> None:
            await exchange.answer(200, (), await exchange.read())

    content = content if isinstance(content, bytes) else endless()
    reader = Reader(RoleConfig(max_body=100))
    assert await fetch(AsgiTransport(reader), post("/echo", bytes(100))) == (200, bytes(100))
    async with AsgiTransport(reader).stream(post("/echo", content)) as response:
        assert response.status == 413
        assert json.loads(await read(response))["code"] == "limit"
        # What was not read to its end cannot carry another request.
        assert (header(response.headers, "connection") == "close") == (not isinstance(content, bytes))


async def test_too_many_exchanges_are_busy_but_health_answers() -> None:
    echo = Echo(RoleConfig(max_concurrent=1))
    transport = AsgiTransport(echo)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fetch, transport, get("/wait"))
        await echo.entered.wait()
        async with transport.stream(post("/echo")) as response:
            assert response.status == 503
            assert header(response.headers, "retry-after") == "1"
        assert (await fetch(transport, get("/healthz")))[0] == 200
        tasks.cancel_scope.cancel()
    assert (await fetch(transport, post("/echo")))[0] == 200


async def test_silent_client_is_cut_after_the_idle_timeout() -> None:
    class Reader(Echo):
        async def _echo(self, exchange: Exchange) -> None:
            await exchange.read()

    with anyio.fail_after(5):
        status, body = await fetch(AsgiTransport(Reader(RoleConfig(idle_timeout=0.1))), post("/echo", silent()))
    assert (status, json.loads(body)["code"]) == (504, "deadline")


async def test_exchange_that_moves_is_not_idle_but_ends_at_its_deadline() -> None:
    echo = Echo(RoleConfig(idle_timeout=0.2, exchange_timeout=0.5))
    with anyio.fail_after(5):
        async with AsgiTransport(echo).stream(get("/endless")) as response:
            with pytest.raises(DisconnectedError):
                await read(response)
    assert echo.cancelled.is_set()


async def test_client_that_takes_nothing_is_cut() -> None:
    echo = Echo(RoleConfig(idle_timeout=0.1))
    async with AsgiTransport(echo).stream(get("/endless")):
        with anyio.fail_after(5):
            await echo.cancelled.wait()


async def test_lifespan_is_answered() -> None:
    sent: list[Message] = []
    asked: list[Message] = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> Message:
        return asked.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await Echo()({"type": "lifespan"}, receive, send)
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_lifespan_that_fails_says_why() -> None:
    class Broken(Echo):
        def lifespan(self) -> NoReturn:
            raise ConfigError("a key is missing")

    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        sent.append(message)

    await Broken()({"type": "lifespan"}, receive, send)
    assert sent == [{"type": "lifespan.startup.failed", "message": "a key is missing"}]


async def test_other_protocols_are_not_served() -> None:
    async def never() -> Message:
        raise AssertionError("a websocket was answered")

    await Echo()({"type": "websocket"}, never, never)  # type: ignore[arg-type]
