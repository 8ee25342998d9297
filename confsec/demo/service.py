"""The demo service: nodes, router, gateway and relay on loopback, with a tap on every wire between them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Final, final
from urllib.parse import urlsplit

import anyio
from attrs import evolve, field, frozen

from confsec.backends.api import HttpRequest
from confsec.backends.http import HttpTransport
from confsec.demo.logs import DemoLogs, start_logs
from confsec.demo.processes import RoleProcess, start_role
from confsec.demo.tap import Tap, open_tap
from confsec.demo.tees import node_options
from confsec.demo.tokens import ISSUER_AUTHORITY, PASSPHRASE_VARIABLE, DemoIssuer, make_issuer
from confsec.errors import DeadlineError, PeerError, TransportError
from confsec.protocol.directory import IssuerEntry, ServiceDirectory
from confsec.protocol.fleet import FleetRecord
from confsec.protocol.key_config import decode_key_configs
from confsec.protocol.policy import Policy
from confsec.protocol.tlog_proof import TlogProof
from confsec.tee.demo_policy import UNSAFE_DEMO_POLICY
from confsec.wallet import Wallet

__all__ = ["ROUTER_AUTHORITY", "DemoService", "DemoSettings", "start_demo"]

ROUTER_AUTHORITY: Final = "router.confsec.invalid"
"""What requests inside the encapsulation call the router: a name that nobody resolves."""

_READY_TIMEOUT: Final = 30.0
_ISSUER_ALLOWS: Final = ("POST /v1/token-request", "GET /.well-known/private-token-issuer-directory")
_ISSUER_FIELDS: Final = ("accept", "authorization", "confsec-request-id", "content-type")


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

    tokens: bool = False
    """Whether there is an issuer, and the router takes its tokens."""

    tee: str = "simulated"
    """What the nodes attest with: `tpm`, a software TPM each, or `simulated`."""

    logs: bool = True
    """Whether directory and fleets are in logs with witnesses. Without them, a file and the router's word are all."""


@final
@frozen
class DemoService:
    """A service that runs."""

    directory: ServiceDirectory
    """What its users need to know."""

    service_file: Path
    """What a client is given: the root file of the logs, or without logs the directory as a file."""

    taps: dict[str, Tap]
    """The wires, by the name of the process that they lead to; empty without taps."""

    processes: dict[str, RoleProcess] = field(repr=False)
    """The roles: relay, gateway, router, node-1 and so on."""

    router_url: str = field(repr=False)
    """Where the router is, past its tap: the fleet record is a public file."""

    tee: str
    """What the nodes attest with."""

    policy: Policy
    """What the demo's own clients demand. It says in its name that nothing is proved about hardware."""

    issuer: DemoIssuer | None = field(default=None, repr=False)
    """The issuer's private parts, where the service takes tokens: for the account, and for attacks."""

    wallet: Wallet | None = field(default=None, repr=False)
    """The account's wallet."""

    logs: DemoLogs | None = field(default=None, repr=False)
    """The logs, where there are any."""

    proof: TlogProof | None = field(default=None, repr=False)
    """That a quorum of witnesses saw the directory in its log."""

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
        if settings.logs:
            await builder.start_logs()
        await builder.spawn_nodes()
        if settings.tokens:
            await builder.make_issuer()  # while the nodes load their models
        nodes = await builder.nodes_ready()
        service = await builder.start_service(nodes)
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
        self._logs: DemoLogs | None = None
        self._issuer: DemoIssuer | None = None
        self._issuer_gateway: tuple[str, ...] = ()
        self._entry: IssuerEntry | None = None

    async def start(self, *command: str, environment: Mapping[str, str] | None = None) -> str:
        """Start a role, wait until it listens, and return the URL at which others reach it."""
        await self._spawn(command[0], *command, environment=environment)
        return await self._ready(command[0])

    async def start_logs(self) -> None:
        """Start the logs and their witnesses. Nobody taps their wires: all that they say is public."""
        self._logs = await start_logs(self._folder, self._spawn, self._untapped, epoch=self._settings.epoch)

    async def _untapped(self, name: str) -> str:
        return await self.processes[name].ready()

    async def spawn_nodes(self) -> None:
        """Start all nodes side by side, since each loads a model."""
        options = ["--epoch", str(self._settings.epoch)]
        if self._logs:
            options += ["--root", str(self._logs.root_file)]
        if self._settings.engine:
            options += ["--engine", self._settings.engine]
        if self._settings.model:
            options += ["--model", self._settings.model]
        tees = await node_options(self._stack, self._folder, self._settings.tee, self._node_names())
        for name, tee in zip(self._node_names(), tees, strict=True):
            await self._spawn(name, "node", *options, *tee)

    async def nodes_ready(self) -> list[str]:
        """Wait until all nodes listen, and return their URLs."""
        return [await self._ready(name) for name in self._node_names()]

    def _node_names(self) -> list[str]:
        return [f"node-{number}" for number in range(1, self._settings.nodes + 1)]

    async def make_issuer(self) -> None:
        """Make the issuer's keys and an account."""
        self._issuer = await make_issuer(self._folder, router_authority=ROUTER_AUTHORITY)

    async def start_service(self, nodes: Sequence[str]) -> DemoService:
        """Start all that stands before the nodes, from behind to front."""
        payment = await self._start_issuer(self._issuer) if self._issuer else ["--unsafe-no-tokens"]
        epoch = ("--epoch", str(self._settings.epoch))
        logged = self._logged_options()
        router = await self.start("router", *epoch, "--unsafe-simulated", *_repeat("--nodes", nodes), *payment, *logged)
        gateway = await self.start("gateway", *_repeat("--targets", self._targets(router)))
        gateways = [f"{gateway}/gateway"] + [f"/issuer={url}/gateway" for url in self._issuer_gateway]
        relay = await self.start("relay", *_repeat("--gateways", gateways))
        directory = ServiceDirectory(
            relay_url=f"{relay}/",
            gateway_key_configs=decode_key_configs(await _fetch(f"{gateway}/ohttp-keys")),
            router_origin=f"https://{ROUTER_AUTHORITY}",
            issuer=evolve(self._entry, relay_url=f"{relay}/issuer") if self._entry else None,
        )
        proof = await self._logs.publish(directory) if self._logs else None
        await _wait_for_fleet(router, self._settings.nodes)
        return DemoService(
            directory,
            await self._write_service(directory),
            self.taps,
            self.processes,
            self.processes["router"].url,
            self._settings.tee,
            UNSAFE_DEMO_POLICY,
            self._issuer,
            await self._open_wallet(),
            self._logs,
            proof,
        )

    def _logged_options(self) -> list[str]:
        if self._logs is None:
            return []
        options = ("--root", self._logs.root_file), ("--statement-key", self._logs.operator_file)
        return [*(str(word) for option in options for word in option), "--fleet-records", str(self._folder / "records")]

    def _targets(self, router: str) -> list[str]:
        """Return what the gateway reaches: the router, and the log of fleets."""
        targets = [f"{ROUTER_AUTHORITY}={router}"]
        if self._logs:
            url = self._logs.root.fleet.url
            targets.append(f"{urlsplit(url).netloc}={url}")
        return targets

    async def _write_service(self, directory: ServiceDirectory) -> Path:
        """Return the file that a client is given."""
        if self._logs:
            return self._logs.root_file
        file = self._folder / "service.toml"
        await anyio.Path(file).write_text(directory.to_toml())
        return file

    async def _start_issuer(self, issuer: DemoIssuer) -> list[str]:
        """Start the issuer and its gateway, and return the router's options for its tokens."""
        options = ("--store", str(issuer.store), "--keys", str(issuer.keys))
        url = await self.start("issuer", "serve", *options, environment={PASSPHRASE_VARIABLE: issuer.passphrase})
        targets = ("--targets", f"{ISSUER_AUTHORITY}={url}", *_repeat("--allow", _ISSUER_ALLOWS))
        await self._spawn("issuer-gateway", "gateway", *targets, *_repeat("--request-fields", _ISSUER_FIELDS))
        gateway = await self._ready("issuer-gateway")
        self._issuer_gateway = (gateway,)
        self._entry = IssuerEntry(
            relay_url=url,
            gateway_key_configs=decode_key_configs(await _fetch(f"{gateway}/ohttp-keys")),
            origin=f"https://{ISSUER_AUTHORITY}",
            token_challenge=issuer.challenge,
            token_keys=issuer.epochs,
        )
        # The router starts before the relay, whose address is in the users' directory and of no interest to it.
        directory = ServiceDirectory(
            relay_url=url,
            gateway_key_configs=self._entry.gateway_key_configs,
            router_origin=f"https://{ROUTER_AUTHORITY}",
            issuer=self._entry,
        )
        file = self._folder / "router-directory.toml"
        await anyio.Path(file).write_text(directory.to_toml())
        return ["--directory", str(file), "--token-store", f"sqlite://{self._folder / 'spent.db'}"]

    async def _open_wallet(self) -> Wallet | None:
        if self._issuer is None:
            return None
        wallet = Wallet(self._folder / "wallet.db", account=self._issuer.account)
        return await self._stack.enter_async_context(wallet)

    async def _spawn(self, name: str, *command: str, environment: Mapping[str, str] | None = None) -> None:
        log = self._folder / f"{name}.log"
        process = start_role(*command, "--backend", self._settings.backend, log=log, environment=environment)
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
