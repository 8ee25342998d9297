"""Roles on real sockets: uvicorn on asyncio, anycorn on trio."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import anyio
import anyio.abc
import pytest
import sniffio

from confsec.backends.api import HttpRequest
from confsec.backends.http import HttpTransport
from confsec.errors import ConfigError, ConnectError, DisconnectedError, MissingExtraError
from confsec.roles.config import RoleConfig
from confsec.roles.server import announce_on_stdout, event_loop_options, serve
from tests.roles.support import Echo, fetch, served

pytestmark = pytest.mark.anyio


async def test_running_exchange_may_finish_after_the_stop() -> None:
    echo = Echo()
    stop, announced = anyio.Event(), anyio.Event()
    where: dict[str, str] = {}

    def announce(told: dict[str, str]) -> None:
        where.update(told)
        announced.set()

    async def question() -> AsyncIterator[bytes]:
        yield b"asked before"
        await echo.entered.wait()
        stop.set()
        await anyio.sleep(0.3)
        yield b" and after"

    config = RoleConfig(shutdown_timeout=10)
    transport = HttpTransport()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(serve, echo, config, stop=stop, announce=announce))
        await announced.wait()
        assert where["role"] == "echo"
        request = HttpRequest(method="POST", url=where["url"] + "/echo", content=question())
        assert await fetch(transport, request) == (200, b"asked before and after")
        await transport.aclose()
    assert echo.draining


async def test_exchange_that_does_not_finish_is_cut() -> None:
    echo = Echo()
    transport = HttpTransport()
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks, served(echo, RoleConfig(shutdown_timeout=0.2)) as url:

            async def wait() -> None:
                with pytest.raises(DisconnectedError):
                    await fetch(transport, HttpRequest(method="GET", url=url + "/slow"))

            tasks.start_soon(wait)
            await echo.entered.wait()
    assert echo.cancelled.is_set()
    await transport.aclose()


async def test_draining_says_so_before_the_port_closes() -> None:
    echo = Echo()
    stop, announced = anyio.Event(), anyio.Event()
    where: dict[str, str] = {}

    def announce(told: dict[str, str]) -> None:
        where.update(told)
        announced.set()

    transport = HttpTransport()
    async with anyio.create_task_group() as tasks:
        config = RoleConfig(drain_time=1.0, shutdown_timeout=1.0)
        tasks.start_soon(partial(serve, echo, config, stop=stop, announce=announce))
        await announced.wait()
        stop.set()
        await anyio.sleep(0.1)
        status, body = await fetch(transport, HttpRequest(method="GET", url=where["url"] + "/healthz"))
        assert (status, json.loads(body)["state"]) == (503, "draining")
        await transport.aclose()
    with pytest.raises(ConnectError):
        await fetch(HttpTransport(), HttpRequest(method="GET", url=where["url"] + "/healthz"))


async def test_signal_stops_the_role() -> None:
    announced = anyio.Event()
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            config = RoleConfig(shutdown_timeout=0.5)
            run = partial(serve, Echo(), config, announce=lambda _: announced.set(), handle_signals=True)
            tasks.start_soon(run)
            await announced.wait()
            os.kill(os.getpid(), signal.SIGTERM)


async def test_taken_port_is_a_config_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=str(port)):
            await serve(Echo(), RoleConfig(port=port))


async def test_address_of_another_machine_is_a_config_error() -> None:
    with pytest.raises(ConfigError):
        await serve(Echo(), RoleConfig(host="192.0.2.1"))
    with pytest.raises(ConfigError):
        await serve(Echo(), RoleConfig(port=70000))


async def test_unix_socket_that_was_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "role.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    config = RoleConfig(uds=str(path), shutdown_timeout=0.5)
    async with served(Echo(), config) as uds:
        transport = HttpTransport(uds=uds)
        assert (await fetch(transport, HttpRequest(method="GET", url="http://role/healthz")))[0] == 200
        await transport.aclose()


async def test_unix_socket_in_use_and_plain_file_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "role.sock"
    with socket.socket(socket.AF_UNIX) as used:
        used.bind(str(path))
        used.listen()
        with pytest.raises(ConfigError):
            await serve(Echo(), RoleConfig(uds=str(path)))
    assert path.exists()
    path.unlink()
    path.write_text("mine")
    with pytest.raises(ConfigError):
        await serve(Echo(), RoleConfig(uds=str(path)))
    assert path.read_text() == "mine"


async def test_missing_server_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confsec.roles.server_asyncio", None)
    monkeypatch.setitem(sys.modules, "confsec.roles.server_trio", None)
    extra = {"asyncio": "server", "trio": "trio"}[sniffio.current_async_library()]
    with pytest.raises(MissingExtraError, match=rf"\[{extra}\]"):
        await serve(Echo(), RoleConfig())


async def raw(url: str, data: bytes, *, then: bytes = b"", pause: float = 0.0) -> bytes:
    """Send bytes as they are; return all that comes back until the peer closes."""
    host, port = url.removeprefix("http://").split(":")
    answer = b""
    async with await anyio.connect_tcp(host, int(port)) as stream:
        try:
            await stream.send(data)
            await anyio.sleep(pause)
            await stream.send(then)
            async for part in stream:
                answer += part
        except (anyio.BrokenResourceError, anyio.EndOfStream):
            pass
    return answer


async def test_connection_without_a_request_is_closed() -> None:
    # anycorn has one limit for this and for idle connections; uvicorn's protocol has ours.
    config = RoleConfig(header_timeout=0.2, keep_alive=0.2, shutdown_timeout=0.5)
    async with served(Echo(), config) as url:
        with anyio.fail_after(5):
            assert await raw(url, b"") == b""
            assert await raw(url, b"GET /healthz HTTP/1.1\r\nhost: x\r\n") == b""


async def test_endless_header_is_cut() -> None:
    async with served(Echo()) as url:
        with anyio.fail_after(10):
            answer = await raw(url, b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"a" * (1 << 20))
    assert b"200" not in answer[:20]


async def test_what_is_no_http_gets_400() -> None:
    async with served(Echo()) as url:
        with anyio.fail_after(10):
            answer = await raw(url, b"\x16\x03\x01 no HTTP at all\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"server:" not in answer.lower()


def test_where_a_role_listens_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    announce_on_stdout({"role": "relay", "url": "http://127.0.0.1:1"})
    assert json.loads(capsys.readouterr().out) == {"role": "relay", "url": "http://127.0.0.1:1"}


def test_uvloop_is_used_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert event_loop_options(RoleConfig(backend="trio")) == {"backend": "trio"}
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert event_loop_options(RoleConfig()) == {"backend": "asyncio"}
