"""The Oblivious Gateway (RFC 9458, section 5; chunked OHTTP): it sees requests to the router, and no addresses.

It opens encapsulated requests and passes them to the targets on its list. What fails before there are keys for an
answer is told outside by a bare status, one for all: whoever sends guesses learns nothing from it. Only a key that is
not here has a problem type of its own (section 5.3). Everything later is told inside, where the client alone reads it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import ClassVar, Final

import anyio
from attrs import frozen

from confsec.backends.api import Clock, Headers, HttpRequest, Transport
from confsec.backends.system import now as system_now, randbytes as system_randbytes
from confsec.errors import BusyError, ConfsecError, NotAllowedError, RemoteProtocolError, UnknownKeyError
from confsec.protocol.chunked_ohttp import ChunkedOhttpGateway
from confsec.protocol.machine import RandBytes
from confsec.protocol.ohttp import (
    MEDIA_TYPE_CHUNKED_REQUEST,
    MEDIA_TYPE_OHTTP_KEYS,
    MEDIA_TYPE_REQUEST,
    PROBLEM_OHTTP_KEY,
    OhttpGateway,
    ReplayWindow,
    encode_problem,
)
from confsec.protocol.problem import PROBLEM_TYPE, Problem
from confsec.roles.asgi import Exchange, Role, UnsupportedMediaTypeError, in_background, media_type
from confsec.roles.config import at_least, setting
from confsec.roles.encapsulated import ChunkedExchange, EncapsulatedExchange, OneShotExchange
from confsec.roles.hop import HopConfig, make_transport, open_hop
from confsec.roles.keys import add_fresh_keys, check_kem, read_keyring
from confsec.roles.targets import Targets, check_allow, check_target

__all__ = ["Gateway", "GatewayConfig"]

_HOP_BY_HOP: Final = frozenset(
    {"connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""Fields that belong to one connection, not to the message (RFC 9292, section 3.6)."""

_WITH_CONTENT: Final = frozenset({"PATCH", "POST", "PUT"})
"""Methods whose content means something (RFC 9110, section 9.3)."""


@frozen(kw_only=True)
class GatewayConfig(HopConfig):
    """The settings of a gateway."""

    targets: tuple[str, ...] = setting(
        help="A target and where it is: AUTHORITY=URL, as in router.example=http://127.0.0.1:8003.", check=check_target
    )
    allow: tuple[str, ...] = setting(
        (
            "POST /v1/private",
            "GET /v1/fleet",
            "GET /v1/fleet/*",
            "GET /v1/evidence/*",
            "GET /v1/endorsements/*",
            "GET /checkpoint",
            "GET /proof/*",
            "GET /tile/**",
        ),
        help="What targets may be asked: METHOD /path, or METHOD /path/* for one segment below, ** for several.",
        check=check_allow,
    )
    request_fields: tuple[str, ...] = setting(
        ("accept", "authorization", "content-type"), help="The header fields of a request that go on to the target."
    )
    keys: tuple[str, ...] = setting(
        (), help="Key files of `confsec keys`. Without any, keys are made in memory and turned over."
    )
    kems: tuple[str, ...] = setting(
        ("MLKEM768-X25519", "DHKEM(X25519, HKDF-SHA256)"),
        help="The KEMs of the keys that are made in memory, by name.",
        check=check_kem,
    )
    key_lifetime: float = setting(
        7 * 86400.0, help="Seconds that a key made in memory is published.", check=at_least(1)
    )
    key_overlap: float = setting(
        86400.0, help="Seconds that such a key still opens messages afterwards.", check=at_least(0)
    )
    replay_window: float = setting(
        3600.0, help="Seconds for which requests are remembered against replays.", check=at_least(1)
    )
    replay_capacity: int = setting(
        1_000_000, help="Requests that are remembered against replays; when full, more get 503.", check=at_least(1)
    )
    max_one_shot: int = setting(
        16 << 20, help="The largest answer in bytes to a request that is not chunked.", check=at_least(1)
    )


class Gateway(Role):
    """Opens encapsulated requests and forwards them to an allow-list of targets."""

    name: ClassVar[str] = "gateway"
    explains_errors: ClassVar[bool] = False

    def __init__(
        self,
        config: GatewayConfig,
        transport: Transport | None = None,
        *,
        clock: Clock = system_now,
        randbytes: RandBytes = system_randbytes,
    ) -> None:
        """Serve what `config` says. Reads the key files. Raises `ConfigError`."""
        self._config = config
        self._targets = Targets(config.targets, config.allow)
        self._fields = frozenset(config.request_fields)
        self._transport = transport or make_transport(config)
        self._now = clock
        self._randbytes = randbytes
        self._keyring = read_keyring(config.keys)
        # Best effort: we ask for no Date, so what is older than the window may come again. Tokens are spent once, and
        # nodes remember what they opened for as long as they could open it.
        half = timedelta(seconds=config.replay_window / 2)
        self._replay = ReplayWindow(capacity=config.replay_capacity, date_tolerance=half)
        super().__init__(config, {("GET", "/ohttp-keys"): self._ohttp_keys, ("POST", "/gateway"): self._gateway})

    @asynccontextmanager
    async def _lifespan(self) -> AsyncGenerator[None]:
        if not self._config.keys:
            self._turn_over()
        try:
            async with in_background(self._keep_turning_over):
                yield
        finally:
            await self._transport.aclose()

    async def check(self) -> None:
        """Raise `BusyError` while no key is published."""
        if not self._keyring.published(self._now()):
            raise BusyError("no key is published", hint="Write a new key with `confsec keys`")

    async def _keep_turning_over(self) -> None:
        while not self._config.keys:
            await anyio.sleep(self._config.key_lifetime)
            self._turn_over()

    def _turn_over(self) -> None:
        """Make new keys. Those before them are published a little longer, so that no moment is without a key."""
        config = self._config
        add_fresh_keys(
            self._keyring,
            config.kems,
            now=self._now(),
            lifetime=timedelta(seconds=config.key_lifetime * 1.01 + 1),
            overlap=timedelta(seconds=config.key_overlap),
            randbytes=self._randbytes,
        )

    async def _ohttp_keys(self, exchange: Exchange) -> None:
        await self.check()
        headers: Headers = (("content-type", MEDIA_TYPE_OHTTP_KEYS), ("cache-control", "no-cache"))
        await exchange.answer(200, headers, self._keyring.encode_key_configs(self._now()))

    async def _gateway(self, exchange: Exchange) -> None:
        encapsulated = self._open(exchange)
        try:
            await self._forward(encapsulated)
        except ConfsecError as exc:
            if encapsulated.can_answer:
                headers: Headers = (("content-type", PROBLEM_TYPE),)
                await encapsulated.answer(exc.status_hint, headers, Problem.of(exc).encode())
            elif not exchange.started:
                await _refuse(exchange, exc)
            else:
                raise  # the answer stays without its final chunk, and the client sees that it was cut

    def _open(self, exchange: Exchange) -> EncapsulatedExchange:
        keyring, randbytes, replay, now = self._keyring, self._randbytes, self._replay, self._now()
        kind = media_type(exchange.headers)
        if kind == MEDIA_TYPE_CHUNKED_REQUEST:
            return ChunkedExchange(exchange, ChunkedOhttpGateway(keyring, randbytes=randbytes, now=now, replay=replay))
        if kind == MEDIA_TYPE_REQUEST:
            size = self._config.max_body
            machine = OhttpGateway(keyring, randbytes=randbytes, now=now, replay=replay, max_request=size)
            return OneShotExchange(exchange, machine, max_response=self._config.max_one_shot)
        raise UnsupportedMediaTypeError

    async def _forward(self, encapsulated: EncapsulatedExchange) -> None:
        head = await encapsulated.receive_head()
        url = self._targets.url_for(head)
        content = encapsulated.content() if head.method in _WITH_CONTENT else await _require_end(encapsulated)
        headers = tuple((name, value) for name, value in head.headers if name in self._fields)
        request = HttpRequest(method=head.method, url=url, headers=headers, content=content)
        async with open_hop(self._transport, request) as response:
            fields = tuple((name, value) for name, value in response.headers if name not in _HOP_BY_HOP)
            await encapsulated.forward(response.status, fields, response.content)


async def _require_end(encapsulated: EncapsulatedExchange) -> bytes:
    """Read the request to its end, which has to come now: only then it is known to be whole."""
    async for _ in encapsulated:
        raise NotAllowedError("this method has no content")
    return b""


async def _refuse(exchange: Exchange, error: ConfsecError) -> None:
    """Answer outside the encapsulation, where anybody may read it: the same bytes whatever was wrong."""
    if isinstance(error, UnknownKeyError):
        await exchange.answer(400, (("content-type", PROBLEM_TYPE),), encode_problem(PROBLEM_OHTTP_KEY))
    elif isinstance(error, RemoteProtocolError):
        await exchange.answer(400)
    else:
        raise error
