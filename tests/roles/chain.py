"""A whole service in memory: client, relay, gateway, router, nodes and an engine, joined without sockets."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager

import anyio
import anyio.lowlevel

from confsec.backends.api import EpochSource, HttpRequest, HttpResponse, Transport
from confsec.backends.asgi import AsgiTransport
from confsec.client import Client
from confsec.errors import ConfsecError, ConnectError
from confsec.protocol import cbor
from confsec.protocol.directory import ServiceDirectory
from confsec.protocol.key_config import decode_key_configs
from confsec.protocol.policy import UNSAFE_UNATTESTED, Policy
from confsec.roles.asgi import Role
from confsec.roles.gateway import Gateway, GatewayConfig
from confsec.roles.node import Node, NodeConfig
from confsec.roles.relay import Relay, RelayConfig
from confsec.roles.router import Router, RouterConfig
from confsec.roles.tokens import TokenCheck
from confsec.tee.api import Attester
from tests.roles.support import fetch

CHAT = "/v1/chat/completions"


class Wire:
    """A transport that leads to roles by the host of a URL."""

    def __init__(self) -> None:
        self.roles: dict[str, Role] = {}
        self.requests: list[HttpRequest] = []

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]:
        self.requests.append(request)
        return self._stream(request)

    @asynccontextmanager
    async def _stream(self, request: HttpRequest) -> AsyncGenerator[HttpResponse]:
        role = self.roles.get(request.url.split("/")[2])
        if role is None:
            raise ConnectError("nobody is there")
        async with AsgiTransport(role, client=("203.0.113.9", 1234)).stream(request) as response:
            yield response

    async def aclose(self) -> None:
        """Nothing is pooled."""


class FakeEngine:
    """Answers with parts that a test sets, and can wait in the middle."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = parts or (b"data: hel", b"lo\n\n", b"data: [DONE]\n\n")
        self.requests: list[HttpRequest] = []
        self.error: ConfsecError | None = None
        self.broken_after: int | None = None
        self.hold: anyio.Event | None = None
        self.holding = anyio.Event()
        self.left = anyio.Event()
        self.endless = False
        self.echo = False
        self.given = 0
        self.healthy: ConfsecError | None = None

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]:
        return self._stream(request)

    @asynccontextmanager
    async def _stream(self, request: HttpRequest) -> AsyncGenerator[HttpResponse]:
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        try:
            headers = (("content-type", "text/event-stream"), ("x-machine", "secret"))
            async with aclosing(self._content(request)) as content:
                yield HttpResponse(status=200, headers=headers, content=content)
        finally:
            self.left.set()

    async def _content(self, request: HttpRequest) -> AsyncGenerator[bytes]:
        if self.echo:
            assert isinstance(request.content, bytes)
            yield request.content
            return
        for number, part in enumerate(self.parts):
            if number == 1 and self.hold is not None:
                self.holding.set()
                await self.hold.wait()
            if self.broken_after == number:
                raise ConnectError("the engine broke")
            yield part
        while self.endless:
            await anyio.lowlevel.checkpoint()
            self.given += 65536
            yield bytes(65536)

    async def check(self) -> None:
        if self.healthy is not None:
            raise self.healthy

    async def aclose(self) -> None:
        self.left.set()


async def describe_engine() -> dict[str, cbor.CborValue]:
    """Say for a manifest what a `FakeEngine` is."""
    return {"kind": "fake", "model": bytes(32)}


class Chain:
    """The parts of a service that runs. With attesters there is one for each node, and `policy` judges them."""

    def __init__(
        self,
        nodes: int,
        *,
        epoch: int,
        tokens: TokenCheck | None,
        attesters: Sequence[Attester],
        policy: Policy,
        epochs: EpochSource | None,
    ) -> None:
        self.wire = Wire()
        self.policy = policy
        self.engines = [FakeEngine() for _ in range(nodes)]
        self.relay = Relay(RelayConfig(gateways=("http://gateway/gateway",)), self.wire)
        self.gateway = Gateway(GatewayConfig(targets=("router.example=http://router",)), self.wire)
        urls = tuple(f"http://node-{number}" for number in range(nodes))
        config = RouterConfig(
            nodes=urls, unsafe_no_tokens=tokens is None, epoch=epoch, poll_interval=0.05, epoch_grace=2.0
        )
        self.router = Router(config, self.wire, policy=policy, tokens=tokens, epochs=epochs)
        each_attester: Sequence[Attester | None] = attesters or [None] * nodes
        self.nodes = [
            Node(
                NodeConfig(epoch=epoch, challenge_interval=0.2),
                engine,
                attester=attester,
                describe_engine=describe_engine if attester else None,
                epochs=epochs,
            )
            for engine, attester in zip(self.engines, each_attester, strict=True)
        ]
        self.wire.roles = {"relay": self.relay, "gateway": self.gateway, "router": self.router}
        self.wire.roles |= {f"node-{number}": node for number, node in enumerate(self.nodes)}
        self.directory: ServiceDirectory

    async def start(self, stack: AsyncExitStack) -> None:
        for role in (*self.nodes, self.router, self.gateway, self.relay):
            await stack.enter_async_context(role.lifespan())
        status, keys = await fetch(self.wire, HttpRequest(method="GET", url="http://gateway/ohttp-keys"))
        assert status == 200
        self.directory = ServiceDirectory(
            relay_url="http://127.0.0.1/",
            gateway_key_configs=decode_key_configs(keys),
            router_origin="https://router.example",
        )

    def client(self, *, candidates: int = 3) -> Client:
        return Client(self.directory, policy=self.policy, transport=ToRelay(self.wire), candidates=candidates)


class ToRelay:
    """The client's transport: every request goes to the relay."""

    def __init__(self, wire: Transport) -> None:
        self._wire = wire

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]:
        url = request.url.replace("http://127.0.0.1/", "http://relay/")
        return self._wire.stream(
            HttpRequest(method=request.method, url=url, headers=request.headers, content=request.content)
        )

    async def aclose(self) -> None:
        """Nothing is pooled."""


@asynccontextmanager
async def running_chain(
    nodes: int = 1,
    *,
    epoch: int = 600,
    tokens: TokenCheck | None = None,
    attesters: Sequence[Attester] = (),
    policy: Policy = UNSAFE_UNATTESTED,
    epochs: EpochSource | None = None,
) -> AsyncGenerator[Chain]:
    """Run a service in memory."""
    async with AsyncExitStack() as stack:
        chain = Chain(nodes, epoch=epoch, tokens=tokens, attesters=attesters, policy=policy, epochs=epochs)
        await chain.start(stack)
        yield chain
