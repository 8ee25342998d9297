"""Running a role: uvicorn on asyncio (with uvloop where it is installed), anycorn on trio.

Neither writes an access log, and neither sends `server` or `date`: a log of addresses is what a relay must not have,
and what names the software helps nobody but an attacker. A stop drains: /healthz says so, the port closes, what runs
may finish within `shutdown_timeout`, and the rest is cut.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import stat
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final, cast

import anyio
import anyio.abc

from confsec.backends.asgi import AsgiApp, Receive, Scope, Send
from confsec.errors import ConfigError, MissingExtraError
from confsec.roles.asgi import Role
from confsec.roles.config import RoleConfig

__all__ = ["Announce", "announce_on_stdout", "event_loop_options", "serve"]

Announce = Callable[[dict[str, str]], None]
"""Told once where a role listens: `{"role": …, "url": …}` or `{"role": …, "uds": …}`."""

_RunServer = Callable[[AsgiApp, RoleConfig, socket.socket, anyio.Event], Awaitable[None]]

_BACKLOG: Final = 2048
_SERVERS: Final = {"asyncio": ("server_asyncio", "server"), "trio": ("server_trio", "trio")}
"""By event loop: the module that runs a server on it, and the extra that installs it."""


def announce_on_stdout(where: dict[str, str]) -> None:
    """Write where a role listens as one line of JSON, for whoever started the process."""
    sys.stdout.write(json.dumps(where) + "\n")
    sys.stdout.flush()


def event_loop_options(config: RoleConfig) -> dict[str, Any]:
    """Return the arguments for `anyio.run`: the loop of `config`, uvloop if it is there."""
    if config.backend != "asyncio":
        return {"backend": config.backend}
    try:
        import_module("uvloop")
    except ImportError:
        return {"backend": "asyncio"}
    return {"backend": "asyncio", "backend_options": {"use_uvloop": True}}


async def serve(
    role: Role,
    config: RoleConfig,
    *,
    stop: anyio.Event | None = None,
    announce: Announce = announce_on_stdout,
    handle_signals: bool = False,
) -> None:
    """Serve `role` until `stop` is set, or until SIGINT or SIGTERM if `handle_signals`.

    Raises `ConfigError` where it cannot listen, and `MissingExtraError` where the server is not installed.
    """
    stop = stop or anyio.Event()
    close = anyio.Event()
    run_server = _server()
    with _listen(config) as listener:
        async with role.lifespan(), anyio.create_task_group() as tasks:
            if handle_signals:
                await tasks.start(_stop_at_signal, stop)
            tasks.start_soon(_drain, role, config, stop, close)
            announce({"role": role.name, **_address(config, listener)})
            await run_server(_without_lifespan(role), config, listener, close)
            tasks.cancel_scope.cancel()


def _server() -> _RunServer:
    module, extra = _SERVERS[_event_loop()]
    try:
        return cast("_RunServer", import_module(f"confsec.roles.{module}").run_server)
    except ImportError as exc:
        raise MissingExtraError(exc.name or module, extra=extra) from exc


def _event_loop() -> str:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return "trio"
    return "asyncio"


async def _drain(role: Role, config: RoleConfig, stop: anyio.Event, close: anyio.Event) -> None:
    await stop.wait()
    role.draining = True
    await anyio.sleep(config.drain_time)
    close.set()


async def _stop_at_signal(stop: anyio.Event, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            stop.set()


def _without_lifespan(role: Role) -> AsgiApp:
    """Return the role for a server, whose lifespan messages are answered and otherwise ignored: `serve` has one."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await role(scope, receive, send)
            return
        for kind in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})

    return app


@contextmanager
def _listen(config: RoleConfig) -> Iterator[socket.socket]:
    """Open the socket. A Unix socket is taken away again at the end."""
    where = config.uds or f"{config.host}:{config.port}"
    listener = socket.socket(socket.AF_UNIX if config.uds else _family(config.host), socket.SOCK_STREAM)
    with listener:
        try:
            _bind_unix(listener, Path(config.uds)) if config.uds else _bind_tcp(listener, config)
            listener.listen(_BACKLOG)
        except (OSError, OverflowError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else str(exc)
            raise ConfigError(f"cannot listen on {where}", got=reason, hint="Is another process there?") from exc
        listener.setblocking(False)
        try:
            yield listener
        finally:
            if config.uds:
                Path(config.uds).unlink(missing_ok=True)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _bind_tcp(listener: socket.socket, config: RoleConfig) -> None:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets have it from here
    # A peer that takes nothing more holds what is buffered for it, and servers wait for that without an end. So the
    # kernel gives such a connection up; Linux counts closed windows too.
    user_timeout = getattr(socket, "TCP_USER_TIMEOUT", None)
    if user_timeout is not None:
        listener.setsockopt(socket.IPPROTO_TCP, user_timeout, int(config.idle_timeout * 1000))
    listener.bind((config.host, config.port))


def _bind_unix(listener: socket.socket, path: Path) -> None:
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode) and not _answers(path):
        path.unlink()  # left behind by a process that was killed
    listener.bind(str(path))
    path.chmod(0o600)  # before it listens: nobody could connect until now


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == 0


def _address(config: RoleConfig, listener: socket.socket) -> dict[str, str]:
    if config.uds:
        return {"uds": config.uds}
    host, port = listener.getsockname()[:2]
    return {"url": f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"}
