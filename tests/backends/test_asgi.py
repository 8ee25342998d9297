"""The transport in memory behaves as one over a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from confsec.backends.api import HttpRequest
from confsec.backends.asgi import AsgiTransport, Message, Receive, Scope, Send
from confsec.errors import DisconnectedError, LocalProtocolError
from tests.roles.support import Echo, fetch, read

pytestmark = pytest.mark.anyio


async def parts(*items: bytes) -> AsyncIterator[bytes]:
    for item in items:
        yield item


async def test_body_goes_there_and_back() -> None:
    transport = AsgiTransport(Echo())
    for content, answer in ((b"hello", b"hello"), (b"", b""), (parts(b"he", b"llo"), b"hello")):
        assert await fetch(transport, HttpRequest(method="POST", url="http://x/echo", content=content)) == (200, answer)
    await transport.aclose()


async def test_both_directions_stream_at_once() -> None:
    heard: list[bytes] = []

    async def questions() -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"%d" % number
            while len(heard) <= number:  # the next part comes only when the answer to this one is here
                await anyio.sleep(0.001)

    request = HttpRequest(method="POST", url="http://x/echo", content=questions())
    with anyio.fail_after(5):
        async with AsgiTransport(Echo()).stream(request) as response:
            async for part in response.content:
                heard.append(part)  # noqa: PERF401  # the other side waits for each
    assert heard == [b"0", b"1", b"2"]


async def test_application_sees_method_path_query_headers_and_client() -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        await send({"type": "http.response.start", "status": 204, "headers": [(b"X-A", b"b")]})
        await send({"type": "http.response.body"})

    request = HttpRequest(method="PUT", url="http://host:81/a%20b?c=d", headers=(("x-y", "\xe9"),), content=b"1")
    async with AsgiTransport(app, client=("127.0.0.77", 5)).stream(request) as response:
        assert (response.status, response.headers, await read(response)) == (204, (("x-a", "b"),), b"")
    [scope] = seen
    assert (scope["method"], scope["path"], scope["raw_path"], scope["query_string"]) == (
        "PUT",
        "/a b",
        b"/a%20b",
        b"c=d",
    )
    assert scope["headers"] == [(b"host", b"host:81"), (b"x-y", b"\xe9"), (b"content-length", b"1")]
    assert scope["client"] == ("127.0.0.77", 5)


async def test_slow_reader_holds_the_application_back() -> None:
    echo = Echo()
    async with AsgiTransport(echo).stream(HttpRequest(method="GET", url="http://x/endless")) as response:
        await anext(response.content)
        await anyio.wait_all_tasks_blocked()
        assert echo.written <= 2 * 16384
    assert echo.cancelled.is_set()


async def test_leaving_before_the_head_tells_the_application() -> None:
    echo = Echo()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fetch, AsgiTransport(echo), HttpRequest(method="GET", url="http://x/wait"))
        await echo.entered.wait()
        tasks.cancel_scope.cancel()
    assert echo.cancelled.is_set()


async def test_application_that_ignores_the_disconnect_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("confsec.backends.asgi._GRACE", 0.05)
    ended = anyio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    async with AsgiTransport(app).stream(HttpRequest(method="GET", url="http://x/")):
        pass
    assert ended.is_set()


async def test_disconnect_is_received_and_later_sends_go_nowhere() -> None:
    received: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "http.request"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        received.append(await receive())
        await send({"type": "http.response.body", "body": b"late", "more_body": True})
        await send({"type": "http.response.body", "body": b"later"})

    async with AsgiTransport(app).stream(HttpRequest(method="GET", url="http://x/")):
        pass
    assert received == [{"type": "http.disconnect"}]


async def test_application_that_fails_is_a_broken_connection() -> None:
    error = ValueError("of the application")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    with pytest.raises(DisconnectedError) as raised:
        await fetch(AsgiTransport(app), HttpRequest(method="GET", url="http://x/"))
    assert raised.value.__cause__ is error


async def test_incomplete_answer_raises() -> None:
    with pytest.raises(DisconnectedError):
        await fetch(AsgiTransport(Echo()), HttpRequest(method="GET", url="http://x/cut"))


async def test_body_before_head_is_refused() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.body", "body": b"x"})

    with pytest.raises(DisconnectedError) as raised:
        await fetch(AsgiTransport(app), HttpRequest(method="GET", url="http://x/"))
    assert isinstance(raised.value.__cause__, LocalProtocolError)


async def test_error_of_the_callers_body_is_the_callers() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"one"
        raise KeyError("of the caller")

    with pytest.raises(KeyError, match="of the caller"):
        await fetch(AsgiTransport(Echo()), HttpRequest(method="POST", url="http://x/echo", content=broken()))


async def test_error_inside_the_context_comes_out_as_it_is() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with AsgiTransport(Echo()).stream(HttpRequest(method="GET", url="http://x/endless")):
            raise KeyError("mine")
