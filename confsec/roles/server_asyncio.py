"""uvicorn, with the limits that it lacks and without its own handling of signals."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, final

import anyio
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from confsec.backends.asgi import AsgiApp
from confsec.roles.config import RoleConfig

__all__ = ["run_server"]

_MAX_HEADER: Final = 64 << 10
"""A request's header section has at most 64 KiB."""


async def run_server(app: AsgiApp, config: RoleConfig, listener: socket.socket, close: anyio.Event) -> None:
    """Serve until `close` is set and what runs has ended, or was cut."""
    server = _Server(
        uvicorn.Config(
            app,
            loop="none",
            http=type("LimitedProtocol", (_LimitedProtocol,), {"limits": config}),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=config.keep_alive,  # type: ignore[arg-type]  # goes to call_later, which takes floats
            timeout_graceful_shutdown=config.shutdown_timeout,  # type: ignore[arg-type]  # goes to wait_for
        )
    )
    # What uvicorn has to say quotes exceptions; ours are logged by the role, without their messages.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL + 1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_close_server, server, close)
        await server.serve(sockets=[listener])
        tasks.cancel_scope.cancel()


async def _close_server(server: uvicorn.Server, close: anyio.Event) -> None:
    await close.wait()
    server.should_exit = True


class _Server(uvicorn.Server):
    """A server that leaves signals to us."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _LimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which waits for a header only so long, and reads only so much of it."""

    limits: RoleConfig
    """Set by a subclass for each server: uvicorn makes the objects."""

    _header_timer: asyncio.TimerHandle | None = None
    _header_size: int | None = None
    """How much of a header section has arrived; None while there is a request or silence."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            transport.abort()
        else:
            self._begin_header()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_header()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._header_size is None:
            self._begin_header()

    def on_headers_complete(self) -> None:
        self._end_header()
        super().on_headers_complete()
        self.cycle.transport = _HeadWithPart(self.cycle.transport, self.loop)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._header_size is not None:
            self._header_size += len(data)
            if self._header_size > _MAX_HEADER:
                self.transport.abort()

    def _begin_header(self) -> None:
        self._header_size = 0
        self._header_timer = self.loop.call_later(self.limits.header_timeout, self.transport.abort)

    def _end_header(self) -> None:
        self._header_size = None
        if self._header_timer is not None:
            self._header_timer.cancel()


@final
class _HeadWithPart(asyncio.Transport):
    """Where one answer is written. Its head waits for a part that follows at once: each packet wakes the peer up."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._head: bytes | None = b""
        """Nothing yet, then the head; None from then on."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._head == b"":
            self._head = bytes(data)
            self._loop.call_soon(self._send_head)
        else:
            head, self._head = self._head, None
            self._transport.write(head + data if head else data)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        self._send_head()
        self._transport.close()

    def _send_head(self) -> None:
        head, self._head = self._head, None
        if head:
            self._transport.write(head)
