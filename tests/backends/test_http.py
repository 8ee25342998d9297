"""The transport between hops, against our own server and against peers that misbehave."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.abc
import pytest

from confsec.backends.api import HttpRequest, header
from confsec.backends.http import HttpLimits, HttpTransport
from confsec.errors import (
    ConfsecError,
    ConnectError,
    DeadlineError,
    DisconnectedError,
    LocalProtocolError,
    RemoteProtocolError,
)
from confsec.roles.config import RoleConfig
from tests.roles.support import Echo, fetch, read, served

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def opened(limits: HttpLimits | None = None, **options: str) -> AsyncGenerator[HttpTransport]:
    transport = HttpTransport(limits, **options)  # type: ignore[arg-type]
    try:
        yield transport
    finally:
        await transport.aclose()


@asynccontextmanager
async def peer(answer: bytes, *, stay: bool = False) -> AsyncGenerator[str]:
    """A server that reads something, writes `answer` and closes, or stays."""

    async def handle(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            try:
                await stream.receive()
                await stream.send(answer)
                while stay:
                    await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                pass

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, handle)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        yield f"http://127.0.0.1:{port}"
        tasks.cancel_scope.cancel()


async def parts(*items: bytes) -> AsyncIterator[bytes]:
    for item in items:
        yield item


@pytest.mark.parametrize("content", [b"hello", parts(b"he", b"", b"llo")], ids=["whole", "parts"])
async def test_body_goes_there_and_back(content: bytes | AsyncIterator[bytes]) -> None:
    async with served(Echo()) as url, opened() as transport:
        request = HttpRequest(method="POST", url=url + "/echo", content=content)
        if isinstance(content, bytes):
            assert await fetch(transport, request) == (200, b"hello")
        else:
            fresh = HttpRequest(method="POST", url=url + "/echo", content=parts(b"he", b"", b"llo"))
            assert await fetch(transport, fresh) == (200, b"hello")


async def test_answer_names_no_server_and_no_date() -> None:
    async with (
        served(Echo()) as url,
        opened() as transport,
        transport.stream(HttpRequest(method="POST", url=url + "/echo")) as response,
    ):
        assert header(response.headers, "server") is None
        assert header(response.headers, "date") is None
        assert await read(response) == b""


async def test_request_has_only_the_fields_that_it_was_given() -> None:
    echo = Echo()
    async with served(echo) as url, opened() as transport:
        await fetch(transport, HttpRequest(method="POST", url=url + "/echo", headers=(("x-a", "1"),), content=b"x"))
        assert echo.seen == [("/echo", (("host", url.removeprefix("http://")), ("x-a", "1"), ("content-length", "1")))]


async def test_connection_is_used_again() -> None:
    async with served(Echo()) as url, opened(HttpLimits(max_connections=1, pool_timeout=5)) as transport:
        for _ in range(3):
            assert await fetch(transport, HttpRequest(method="POST", url=url + "/echo", content=b"x")) == (200, b"x")
        assert len(transport._pool.connections) == 1


async def test_unix_socket_serves(tmp_path: Path) -> None:
    path = tmp_path / "role.sock"
    config = RoleConfig(uds=str(path), shutdown_timeout=0.5)
    async with served(Echo(), config) as uds, opened(uds=uds) as transport:
        assert path.stat().st_mode & 0o777 == 0o600
        assert await fetch(transport, HttpRequest(method="POST", url="http://role/echo", content=b"x")) == (200, b"x")
    assert not path.exists()


async def test_source_address_is_the_one_asked_for() -> None:
    seen: list[str] = []

    async def handle(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            seen.append(stream.extra(anyio.abc.SocketAttribute.remote_address)[0])
            await stream.receive()
            await stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, handle)
        url = f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}/"
        async with opened(source_address="127.0.0.77") as transport:
            assert await fetch(transport, HttpRequest(method="GET", url=url)) == (200, b"")
        tasks.cancel_scope.cancel()
    assert seen == ["127.0.0.77"]


async def test_nobody_listening_is_a_connect_error(free_tcp_port: int) -> None:
    async with opened() as transport:
        with pytest.raises(ConnectError):
            await fetch(transport, HttpRequest(method="GET", url=f"http://127.0.0.1:{free_tcp_port}/"))


@pytest.mark.parametrize(
    "answer, error",
    [
        (b"", DisconnectedError),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", DisconnectedError),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n", DisconnectedError),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", RemoteProtocolError),
        (b"220 mail.example ESMTP\r\n\r\n", RemoteProtocolError),
    ],
    ids=["nothing", "cut length", "cut chunks", "bad chunk", "not HTTP"],
)
async def test_broken_answer_raises(answer: bytes, error: type[ConfsecError]) -> None:
    async with peer(answer) as url, opened() as transport:
        with pytest.raises(error) as raised:
            await fetch(transport, HttpRequest(method="GET", url=url))
        assert type(raised.value) is error


async def test_silent_peer_is_a_deadline_error() -> None:
    async with peer(b"", stay=True) as url, opened(HttpLimits(read_timeout=0.1)) as transport:
        with pytest.raises(DeadlineError):
            await fetch(transport, HttpRequest(method="GET", url=url))


async def test_peer_that_takes_nothing_is_a_deadline_error() -> None:
    async def much() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1 << 20)

    with socket.create_server(("127.0.0.1", 0)) as listener:  # connections wait to be accepted, and nobody does
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        async with opened(HttpLimits(write_timeout=0.2)) as transport:
            with pytest.raises(DeadlineError):
                await fetch(transport, HttpRequest(method="POST", url=url, content=much()))


async def test_no_free_connection_is_a_connect_error() -> None:
    async with (
        served(Echo()) as url,
        opened(HttpLimits(max_connections=1, pool_timeout=0.1)) as transport,
        transport.stream(HttpRequest(method="GET", url=url + "/endless")),
    ):
        with pytest.raises(ConnectError):
            await fetch(transport, HttpRequest(method="POST", url=url + "/echo"))


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http://127.0.0.1:notaport/", "http://127.0.0.1/a b"])
async def test_url_that_cannot_be_sent_is_refused(url: str) -> None:
    async with opened() as transport:
        with pytest.raises(LocalProtocolError):
            await fetch(transport, HttpRequest(method="GET", url=url))


async def test_header_that_cannot_be_sent_is_refused() -> None:
    async with served(Echo()) as url, opened() as transport:
        for value in ("snowman ☃", "a\r\nb: c"):
            with pytest.raises(LocalProtocolError):
                await fetch(transport, HttpRequest(method="POST", url=url + "/echo", headers=(("x-a", value),)))


async def test_leaving_early_reaches_the_application() -> None:
    echo = Echo()
    async with served(echo) as url, opened() as transport:
        async with transport.stream(HttpRequest(method="GET", url=url + "/endless")) as response:
            await anext(response.content)
        with anyio.fail_after(5):
            await echo.cancelled.wait()


async def test_cancelling_before_the_head_reaches_the_application() -> None:
    echo = Echo()
    async with served(echo) as url, opened() as transport:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fetch, transport, HttpRequest(method="GET", url=url + "/wait"))
            with anyio.fail_after(5):
                await echo.entered.wait()
            tasks.cancel_scope.cancel()
        with anyio.fail_after(5):
            await echo.cancelled.wait()


async def test_slow_reader_holds_the_server_back() -> None:
    echo = Echo()
    async with (
        served(echo) as url,
        opened() as transport,
        transport.stream(HttpRequest(method="GET", url=url + "/endless")) as response,
    ):
        await anext(response.content)
        before = -1
        while before != echo.written:  # until all buffers between us are full
            before = echo.written
            await anyio.sleep(0.2)
        # What is under way stands in the buffers of two sockets and little else.
        assert echo.written < 16 << 20
