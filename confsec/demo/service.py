"""The demo service: nodes, router, gateway and relay on loopback, with a tap on every wire between them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Final, final

import anyio
from attrs import field, frozen

from confsec.backends.api import HttpRequest
from confsec.backends.http import HttpTransport
from confsec.demo.processes import RoleProcess, start_role
from confsec.demo.tap import Tap, open_tap
from confsec.errors import DeadlineError, PeerError, TransportError
from confsec.protocol.directory import ServiceDirectory
from confsec.protocol.fleet import FleetRecord
from confsec.protocol.key_config import decode_key_configs

__all__ = ["ROUTER_AUTHORITY", "DemoService", "DemoSettings", "start_demo"]

ROUTER_AUTHORITY: Final = "router.confsec.invalid"
"""What requests inside the encapsulation call the router: a name that nobody resolves."""

_READY_TIMEOUT: Final = 30.0


@frozen(kw_only=True)
class DemoSettings:
    """How the demo service is made."""

    nodes: int = 3
    """How many nodes, each with an engine of its own unless `engine` names one for all."""

    epoch: int = 600
    """Seconds that an epoch lasts."""

    engine: str = ""
    """The base URL of an engine, or nothing for the embedded llama.cpp."""

    model: str = ""
    """A GGUF file for the embedded llama.cpp."""

    taps: bool = True
    """Whether wires are watched. Without taps the roles speak with each other directly."""

    backend: str = "asyncio"
    """The event loop of the roles."""


@final
@frozen
class DemoService:
    """A service that runs."""

    directory: ServiceDirectory
    """What its users need to know."""

    directory_file: Path
    """The same, as a file."""

    taps: dict[str, Tap]
    """The wires, by the name of the process that they lead to; empty without taps."""

    processes: dict[str, RoleProcess] = field(repr=False)
    """The roles: relay, gateway, router, node-1 and so on."""

    router_url: str = field(repr=False)
    """Where the router is, past its tap: the fleet record is a public file."""

    async def fleet_record(self) -> bytes:
        """Read the fleet record of the current epoch."""
        return await _fetch(f"{self.router_url}/v1/fleet")

    async def wait_for_next_epoch(self) -> None:
        """Return when the router serves another fleet record. Raises `DeadlineError` after 30 seconds."""
        before = await self.fleet_record()
        with anyio.move_on_after(_READY_TIMEOUT):
            while await self.fleet_record() == before:  # noqa: ASYNC110 - another process turns it over
                await anyio.sleep(0.1)
            return
        raise DeadlineError("no new epoch began in time", want=f"{_READY_TIMEOUT:g} s")

    def forget(self) -> None:
        """Begin to watch anew."""
        for tap in self.taps.values():
            tap.forget()


@asynccontextmanager
async def start_demo(folder: Path, settings: DemoSettings) -> AsyncGenerator[DemoService]:
    """Start all roles with their files in `folder`, wait until they serve, and stop them in the end.

    Raises `BackendError` if one of them does not start, and `DeadlineError` if they are not ready in 30 seconds.
    """
    async with AsyncExitStack() as stack:
        builder = _Builder(stack, folder, settings)
        nodes = await builder.start_nodes()
        epoch = ("--epoch", str(settings.epoch))
        router = await builder.start("router", "--unsafe-no-tokens", *epoch, *_repeat("--nodes", nodes))
        gateway = await builder.start("gateway", "--targets", f"{ROUTER_AUTHORITY}={router}")
        relay = await builder.start("relay", "--gateways", f"{gateway}/gateway")
        directory = ServiceDirectory(
            relay_url=f"{relay}/",
            gateway_key_configs=decode_key_configs(await _fetch(f"{gateway}/ohttp-keys")),
            router_origin=f"https://{ROUTER_AUTHORITY}",
        )
        directory_file = folder / "service.toml"
        await anyio.Path(directory_file).write_text(directory.to_toml())
        await _wait_for_fleet(router, settings.nodes)
        router_url = builder.processes["router"].url
        service = DemoService(directory, directory_file, builder.taps, builder.processes, router_url)
        service.forget()
        yield service


@final
class _Builder:
    """What has been started so far."""

    def __init__(self, stack: AsyncExitStack, folder: Path, settings: DemoSettings) -> None:
        self.taps: dict[str, Tap] = {}
        self.processes: dict[str, RoleProcess] = {}
        self._stack = stack
        self._folder = folder
        self._settings = settings

    async def start(self, role: str, *options: str) -> str:
        """Start a role, wait until it listens, and return the URL at which others reach it."""
        await self._spawn(role, role, *options)
        return await self._ready(role)

    async def start_nodes(self) -> list[str]:
        """Start all nodes side by side, since each loads a model."""
        options = ["--epoch", str(self._settings.epoch)]
        if self._settings.engine:
            options += ["--engine", self._settings.engine]
        if self._settings.model:
            options += ["--model", self._settings.model]
        names = [f"node-{number}" for number in range(1, self._settings.nodes + 1)]
        for name in names:
            await self._spawn("node", name, *options)
        return [await self._ready(name) for name in names]

    async def _spawn(self, role: str, name: str, *options: str) -> None:
        log = self._folder / f"{name}.log"
        process = start_role(role, "--backend", self._settings.backend, *options, log=log)
        self.processes[name] = await self._stack.enter_async_context(process)

    async def _ready(self, name: str) -> str:
        url = await self.processes[name].ready()
        if not self._settings.taps:
            return url
        self.taps[name] = await self._stack.enter_async_context(open_tap(name, url))
        return self.taps[name].url


def _repeat(option: str, values: Sequence[str]) -> list[str]:
    return [word for value in values for word in (option, value)]


async def _fetch(url: str) -> bytes:
    """Read a public file of a role."""
    transport = HttpTransport()
    try:
        async with transport.stream(HttpRequest(method="GET", url=url)) as response:
            content = b"".join([part async for part in response.content])
            if response.status != 200:
                raise PeerError(f"{url} could not be fetched", status=response.status, section="")
            return content
    finally:
        await transport.aclose()


async def _wait_for_fleet(router: str, nodes: int) -> None:
    """Wait until the router's fleet record names all nodes."""
    with anyio.move_on_after(_READY_TIMEOUT):
        while True:
            with suppress(PeerError, TransportError):
                if len(FleetRecord.decode(await _fetch(f"{router}/v1/fleet")).nodes) == nodes:
                    return
            await anyio.sleep(0.05)
    raise DeadlineError("the router did not find its nodes in time", want=f"{_READY_TIMEOUT:g} s")
