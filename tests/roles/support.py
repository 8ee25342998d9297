"""What the tests of the roles share: serving in this process, and a role that does what a path says."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import ClassVar

import anyio

from confsec.backends.api import HttpRequest, HttpResponse, Transport, header
from confsec.errors import BusyError, ConfsecError
from confsec.roles.asgi import Exchange, Handler, Role
from confsec.roles.config import RoleConfig
from confsec.roles.server import serve


class Echo(Role):
    """Echoes, streams without end, waits, fails: what a hop may meet."""

    name: ClassVar = "echo"

    def __init__(self, config: RoleConfig | None = None) -> None:
        routes: dict[tuple[str, str], Handler] = {
            ("POST", "/echo"): self._echo,
            ("GET", "/endless"): self._endless,
            ("GET", "/wait"): self._wait,
            ("GET", "/slow"): self._slow,
            ("GET", "/cut"): self._cut,
            ("GET", "/busy"): partial(self._fail, BusyError("full")),
            ("GET", "/bug"): partial(self._fail, ZeroDivisionError("a secret prompt")),
        }
        super().__init__(config or RoleConfig(), routes)
        self.written = 0
        self.seen: list[tuple[str, tuple[tuple[str, str], ...]]] = []
        self.entered = anyio.Event()
        self.cancelled = anyio.Event()

    async def _echo(self, exchange: Exchange) -> None:
        self.seen.append((exchange.path, exchange.headers))
        self.entered.set()
        await exchange.start(
            200, (("content-type", header(exchange.headers, "content-type") or "x/y"), ("x-secret", "1"))
        )
        async for part in exchange:
            await exchange.write(part)
        await exchange.finish()

    async def _endless(self, exchange: Exchange) -> None:
        try:
            await exchange.start(200)
            while True:
                await exchange.write(bytes(16384))
                self.written += 16384
        finally:
            self.cancelled.set()

    async def _slow(self, exchange: Exchange) -> None:
        await exchange.start(200)
        await exchange.write(b"a beginning")
        await self._wait(exchange)

    async def _wait(self, exchange: Exchange) -> None:
        self.entered.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.cancelled.set()

    async def _cut(self, exchange: Exchange) -> None:
        await exchange.start(200)
        await exchange.write(b"half of ")
        raise ConfsecError("something broke")

    async def _fail(self, error: Exception, exchange: Exchange) -> None:
        raise error


@asynccontextmanager
async def served(role: Role, config: RoleConfig | None = None) -> AsyncGenerator[str]:
    """Serve `role` on a socket of this machine; yield its URL, or the path of its Unix socket."""
    stop = anyio.Event()
    announced = anyio.Event()
    where: dict[str, str] = {}

    def announce(told: dict[str, str]) -> None:
        where.update(told)
        announced.set()

    config = config or RoleConfig(shutdown_timeout=0.5)
    error: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(serve, role, config, stop=stop, announce=announce))
        await announced.wait()
        try:
            yield where.get("url") or where["uds"]
        except Exception as exc:  # noqa: BLE001  # raised again below: a task group would wrap it
            error = exc
        stop.set()
    if error is not None:
        raise error


async def read(response: HttpResponse) -> bytes:
    """Read a whole body."""
    return b"".join([part async for part in response.content])


async def fetch(transport: Transport, request: HttpRequest) -> tuple[int, bytes]:
    """Return status and body of an answer."""
    async with transport.stream(request) as response:
        return response.status, await read(response)
