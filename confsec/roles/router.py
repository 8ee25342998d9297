"""The router: it serves the fleet's keys and evidence, and leads each sealed request to a live candidate.

It lists only nodes whose evidence its own policy accepts; clients appraise it again, each under a policy of their own.
It sees tokens, candidate Node IDs and ciphertext. It reads the header of a sealed request and no more, has the token
spent before the first byte goes to a node, and draws among the candidates that live. Another one is asked only while
nothing was sent to the client; each candidate can be made to run a request once, so asking two is safe.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar, Final, final

import anyio
from attrs import evolve, frozen

from confsec.backends.api import Clock, EpochSource, Headers, HttpRequest, HttpResponse, Transport, header
from confsec.backends.log_client import LogClient
from confsec.backends.log_source import HttpLogSource
from confsec.backends.system import now as system_now, randbytes as system_randbytes
from confsec.errors import (
    BackendError,
    BusyError,
    ConfigError,
    ConfsecError,
    ConnectError,
    DecodeError,
    DisconnectedError,
    StateChangedError,
    TokenError,
    UnknownKeyError,
)
from confsec.protocol.cmw import CMW_COLLECTION_TYPE
from confsec.protocol.draw import draw
from confsec.protocol.fleet import FLEET_RECORD_TYPE
from confsec.protocol.log_root import LogRoot
from confsec.protocol.machine import RandBytes
from confsec.protocol.policy import UNSAFE_UNATTESTED, Policy
from confsec.protocol.problem import MAX_PROBLEM, Problem
from confsec.protocol.sealed import (
    MEDIA_TYPE_SEALED_REQUEST,
    MEDIA_TYPE_SEALED_RESPONSE,
    HeaderReceived,
    SealedHeaderReader,
    SealedRequestHeader,
)
from confsec.protocol.signatures import SigningKey
from confsec.protocol.wire import decode_hex
from confsec.roles.asgi import Exchange, NotFoundError, Role, UnsupportedMediaTypeError, in_background, media_type
from confsec.roles.config import at_least, setting, url
from confsec.roles.fleet import Fleet
from confsec.roles.fleet_nodes import NodeView
from confsec.roles.fleet_publisher import FleetPublisher
from confsec.roles.hop import HopConfig, content_length, keep_fields, make_transport, open_hop
from confsec.roles.log_epochs import choose_epochs
from confsec.roles.tokens import UNSAFE_NO_TOKENS, Payment, TokenCheck

__all__ = ["Router", "RouterConfig"]

_ANSWER_FIELDS: Final = frozenset({"cache-control", "content-type", "incremental"})
_ASK_ANOTHER: Final = frozenset({BusyError.code, StateChangedError.code, UnknownKeyError.code})
"""What a node says that another one may not say."""


@frozen(kw_only=True)
class RouterConfig(HopConfig):
    """The settings of a router."""

    nodes: tuple[str, ...] = setting(help="The base URLs of the nodes.", check=url)
    drained: tuple[str, ...] = setting((), help="Base URLs of nodes that get no new requests.", check=url)
    directory: str = setting(
        "",
        help="The service's directory file, for its token challenge and the issuer's keys; it is read again and again.",
    )
    token_store: str = setting(
        "", help="Where spent tokens are kept: sqlite:PATH, postgresql://…, redis://… (see docs/token-stores.md)."
    )
    token_grace: float = setting(
        300.0, help="Seconds that tokens still pay after their key's time, since clocks differ.", check=at_least(0)
    )
    unsafe_no_tokens: bool = setting(False, help="Let everybody in: nothing is paid. It has to be said.")
    policy: str = setting("", help="The policy file (TOML) that a node's evidence has to pass before it is listed.")
    unsafe_unattested: bool = setting(False, help="List nodes that show no evidence of what they run.")
    unsafe_simulated: bool = setting(False, help="List nodes whose TEE is simulated: it proves nothing about hardware.")
    epoch: int = setting(600, help="Seconds that an epoch lasts: as long as at the nodes.", check=at_least(1))
    root: str = setting("", help="The root file of the service: its log of fleets names the epochs.")
    statement_key: str = setting("", help="The key that signs fleet records (PEM, mode 0600), where there is a root.")
    log: str = setting("", help="Where to append fleet records; by default where the root says the log is.")
    fleet_records: str = setting("", help="A folder for the newest fleet records, for a router that starts anew.")
    epoch_grace: float = setting(
        10.0, help="Seconds that nodes have at the turn of an epoch to show new evidence.", check=at_least(0)
    )
    poll_interval: float = setting(2.0, help="Seconds between two questions to each node.", check=at_least(0.01))
    poll_timeout: float = setting(2.0, help="Seconds that a node has to say how it is.", check=at_least(0.01))
    retry_buffer: int = setting(
        1 << 20, help="Bytes of a request that are kept so that another node can be asked.", check=at_least(0)
    )


class Router(Role):
    """Leads sealed requests to nodes."""

    name: ClassVar[str] = "router"

    def __init__(  # noqa: PLR0913 - each is named by its caller
        self,
        config: RouterConfig,
        transport: Transport | None = None,
        *,
        policy: Policy | None = None,
        tokens: TokenCheck | None = None,
        epochs: EpochSource | None = None,
        root: LogRoot | None = None,
        statement_key: SigningKey | None = None,
        clock: Clock = system_now,
        randbytes: RandBytes = system_randbytes,
    ) -> None:
        """Route to those of `config.nodes` whose evidence `policy` accepts.

        With a `root`, its log of fleets names the epochs, and gets the record of each, signed with `statement_key`.
        Without, `epochs` names them, by default `clock`, and the fleet is shown to clients alone.

        Raises `ConfigError` if neither `tokens` nor `unsafe_no_tokens` is there, and if neither `policy` nor
        `unsafe_unattested` is: whoever reads the policy file that `config.policy` names hands it in.
        """
        if tokens is None and not config.unsafe_no_tokens:
            raise ConfigError("a router needs tokens", hint="Without any, say so: unsafe_no_tokens = true")
        if not config.nodes:
            raise ConfigError("the key nodes needs at least one node")
        if policy is None and not config.unsafe_unattested:
            raise ConfigError(
                "a router needs a policy for the evidence of its nodes",
                hint="Name a file: policy. Without evidence, say so: unsafe_unattested = true",
            )
        self._config = config
        self._tokens = tokens or UNSAFE_NO_TOKENS
        self._transport = transport or make_transport(config)
        self._randbytes = randbytes
        self._fleet = Fleet(
            config.nodes,
            self._transport,
            epochs or choose_epochs(root, self._transport, seconds=config.epoch, clock=clock),
            policy=policy or UNSAFE_UNATTESTED,
            drained=config.drained,
            interval=config.poll_interval,
            timeout=config.poll_timeout,
            grace=config.epoch_grace,
            clock=clock,
            publisher=self._make_publisher(root, statement_key, clock),
        )
        routes = {
            ("GET", "/v1/fleet"): self._get_fleet,
            ("GET", "/v1/fleet/*"): self._get_logged_fleet,
            ("GET", "/v1/evidence/*"): self._get_evidence,
            ("GET", "/v1/endorsements/*"): self._get_endorsements,
            ("GET", "/v1/nodes"): self._get_nodes,
            ("POST", "/v1/private"): self._private,
        }
        super().__init__(config, routes)

    def _make_publisher(self, root: LogRoot | None, key: SigningKey | None, clock: Clock) -> FleetPublisher | None:
        if (root is None) is not (key is None):
            raise ConfigError("root and statement_key belong together", hint="Give the router both, or neither")
        if root is None or key is None:
            return None
        config = self._config
        return FleetPublisher(
            root,
            key,
            append=LogClient(config.log or root.fleet.url, self._transport).append_cosigned,
            fetch=HttpLogSource(root.fleet.url, self._transport).fetch,
            folder=Path(config.fleet_records) if config.fleet_records else None,
            clock=clock,
        )

    @asynccontextmanager
    async def _lifespan(self) -> AsyncGenerator[None]:
        try:
            await self._fleet.begin()
            async with in_background(self._fleet.watch, self._tokens.watch):
                yield
        finally:
            await self._tokens.aclose()
            await self._transport.aclose()

    async def check(self) -> None:
        """Raise `BusyError` if no node lives."""
        self._fleet.record()

    async def _get_fleet(self, exchange: Exchange) -> None:
        headers: Headers = (("content-type", FLEET_RECORD_TYPE), ("cache-control", "no-cache"))
        await exchange.answer(200, headers, self._fleet.record())

    async def _get_logged_fleet(self, exchange: Exchange) -> None:
        await self._answer_file(exchange, self._fleet.logged_record, "max-age=86400, immutable", FLEET_RECORD_TYPE)

    async def _get_evidence(self, exchange: Exchange) -> None:
        await self._answer_file(exchange, self._fleet.evidence, "max-age=86400, immutable")

    async def _get_endorsements(self, exchange: Exchange) -> None:
        # They are refreshed while the evidence stays, so nobody may keep them for long.
        await self._answer_file(exchange, self._fleet.endorsements, "max-age=60")

    async def _answer_file(
        self,
        exchange: Exchange,
        find: Callable[[bytes], bytes | None],
        cache_control: str,
        kind: str = CMW_COLLECTION_TYPE,
    ) -> None:
        """Answer with a public file that belongs to the digest in the path."""
        try:
            content = find(decode_hex(exchange.path.rpartition("/")[2]))
        except DecodeError as exc:
            raise NotFoundError from exc
        if content is None:
            raise NotFoundError
        headers: Headers = (("content-type", kind), ("cache-control", cache_control))
        await exchange.answer(200, headers, content)

    async def _get_nodes(self, exchange: Exchange) -> None:
        """Tell the operator how the nodes are. Gateways do not ask this, so nobody else gets to see it."""
        headers: Headers = (("content-type", "application/json"), ("cache-control", "no-store"))
        await exchange.answer(200, headers, json.dumps({"nodes": self._fleet.status()}).encode())

    async def _private(self, exchange: Exchange) -> None:
        payment = Payment(self._tokens, header(exchange.headers, "authorization"))
        try:
            await self._lead(exchange, payment)
        except _RefusedError as exc:
            await exchange.refuse(evolve(exc.problem, token_state=payment.state))
        except ConfsecError as exc:
            if exchange.started:
                raise
            await exchange.refuse(Problem.of(exc, token_state=payment.state), self._challenge(exc))

    def _challenge(self, error: ConfsecError) -> Headers:
        """Return the fields that tell a client which token is taken here (RFC 9577, section 2.1)."""
        if isinstance(error, TokenError) and self._tokens.www_authenticate:
            return (("www-authenticate", self._tokens.www_authenticate),)
        return ()

    async def _lead(self, exchange: Exchange, payment: Payment) -> None:
        """Lead one request to a node.

        1. Read the header, and find the candidates that live.
        2. Have the token spent.
        3. Ask one candidate after the other, until one answers.
        4. If no node received a byte, give the token back.
        """
        if media_type(exchange.headers) != MEDIA_TYPE_SEALED_REQUEST:
            raise UnsupportedMediaTypeError
        body = _Body(exchange, self._config.retry_buffer)
        sealed_header = await body.read_header()
        candidates = self._fleet.candidates(sealed_header.node_ids)
        await payment.spend(sealed_header.digest)
        try:
            await self._ask_in_turn(draw(candidates, len(candidates), self._randbytes), exchange, body)
        finally:
            if not body.left:
                with anyio.CancelScope(shield=True):  # also when the client has gone
                    await payment.release()

    async def _ask_in_turn(self, nodes: list[NodeView], exchange: Exchange, body: _Body) -> None:
        failure: ConfsecError = BusyError("no candidate could be reached", hint="Try again in a moment")
        for node in nodes:
            try:
                await self._ask(node, exchange, body)
                return
            except ConnectError:
                node.live = False  # until it answers again
            except (BackendError, DisconnectedError, _RefusedError) as exc:
                if exchange.started or exchange.gone or not _may_ask_another(exc) or not body.whole:
                    raise
                failure = exc
        raise failure

    async def _ask(self, node: NodeView, exchange: Exchange, body: _Body) -> None:
        request = HttpRequest(
            method="POST",
            url=node.url + "/v1/sealed",
            headers=(("content-type", MEDIA_TYPE_SEALED_REQUEST), *content_length(exchange.headers)),
            content=body.again(),
        )
        async with open_hop(self._transport, request) as response:
            if response.status != 200:
                raise _RefusedError(await _read_problem(response))
            if media_type(response.headers) != MEDIA_TYPE_SEALED_RESPONSE:
                raise BackendError("a node's answer is no sealed response")
            await exchange.forward(response, keep_fields(response.headers, _ANSWER_FIELDS))


@final
class _Body:
    """The body of a sealed request, kept as far as `limit` so that it can be sent again."""

    def __init__(self, exchange: Exchange, limit: int) -> None:
        self._exchange = exchange
        self._limit = limit
        self._kept: list[bytes] = []
        self._size = 0
        self.left = False
        """A part of it has left for a node."""
        self.whole = True
        """Nothing was let go: it can be sent again."""

    async def read_header(self) -> SealedRequestHeader:
        """Read up to the end of the header. Raises `DecodeError`, `UnsupportedError` and `TruncatedError`."""
        reader = SealedHeaderReader()
        received: list[HeaderReceived] = []
        while not received:
            part = await anext(self._exchange, None)
            if part is None:
                reader.receive_eof()
            self._keep(part)
            received = reader.receive_data(part)
        return received[0].header

    async def again(self) -> AsyncIterator[bytes]:
        """Yield the body from its beginning."""
        for part in list(self._kept):
            self.left = True
            yield part
        async for part in self._exchange:
            self._keep(part)
            yield part

    def _keep(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._limit and self.left:
            self.whole = False
            self._kept.clear()
        elif self.whole:
            self._kept.append(part)


@final
class _RefusedError(ConfsecError):
    """A node answered with a problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__("a node refused the request", got=f"status {problem.status}")
        self.problem = problem


def _may_ask_another(error: ConfsecError) -> bool:
    """Return whether another node may do better. One that broke off may have run the request; another one may too."""
    return not isinstance(error, _RefusedError) or error.problem.code in _ASK_ANOTHER


async def _read_problem(response: HttpResponse) -> Problem:
    content = bytearray()
    async for part in response.content:
        content += part[: MAX_PROBLEM - len(content)]
    return Problem.decode(bytes(content), status=response.status)
