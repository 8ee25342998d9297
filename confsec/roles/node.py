"""The node: it opens sealed requests, asks the engine, and seals the answer as it is made.

Whoever reaches this role has a prompt in its hands, so a request's data lives in one call and goes with it. Nothing of
it is logged, counted or put into an error. A key lives for its epoch and the next one and is never written anywhere; a
turn of the epoch disturbs no request, since each holds what it needs from the moment its key was reserved.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import ClassVar, Final

import anyio
from attrs import frozen

from confsec.backends.api import Clock, Engine, Headers, HttpRequest
from confsec.backends.engine_requests import engine_request, engine_response_headers
from confsec.backends.system import now as system_now, randbytes as system_randbytes
from confsec.errors import BusyError, ConfsecError, DecodeError
from confsec.protocol.bhttp import Request, encode_content, encode_end, encode_response_head
from confsec.protocol.cmw import CMW_COLLECTION_TYPE, KEY_CONFIG_LABEL, CmwRecord, Evidence
from confsec.protocol.key_config import MEDIA_TYPE_OHTTP_KEYS, KeyConfig, encode_key_configs
from confsec.protocol.machine import RandBytes, State
from confsec.protocol.problem import PROBLEM_TYPE, Problem
from confsec.protocol.sealed import (
    MEDIA_TYPE_SEALED_REQUEST,
    MEDIA_TYPE_SEALED_RESPONSE,
    NodeKeys,
    SealedKeyReserved,
    SealedNode,
    SealedRequestOpened,
)
from confsec.roles.asgi import Exchange, Role, UnsupportedMediaTypeError, in_background, media_type
from confsec.roles.config import RoleConfig, at_least, one_of, setting
from confsec.roles.keys import kem_named

__all__ = ["Node", "NodeConfig", "unattested_evidence"]

_ANSWER_HEADERS: Final[Headers] = (
    ("content-type", MEDIA_TYPE_SEALED_RESPONSE),
    ("incremental", "?1"),
    ("cache-control", "no-store"),
)


@frozen(kw_only=True)
class NodeConfig(RoleConfig):
    """The settings of a node."""

    kem: str = setting(
        "MLKEM768-X25519", help="The KEM of the node's keys.", check=one_of("MLKEM768-X25519", "MLKEM768-P256")
    )
    epoch: int = setting(600, help="Seconds that an epoch lasts; each has a key of its own.", check=at_least(1))
    replay_limit: int = setting(
        1 << 18, help="Requests that one key opens; when there were so many, more get 503.", check=at_least(1)
    )


class Node(Role):
    """Answers sealed requests with the help of an engine."""

    name: ClassVar[str] = "node"

    def __init__(
        self,
        config: NodeConfig,
        engine: Engine,
        *,
        clock: Clock = system_now,
        randbytes: RandBytes = system_randbytes,
    ) -> None:
        """Answer with `engine`, which is closed at the end of the lifespan."""
        self._config = config
        self._engine = engine
        self._now = clock
        self._randbytes = randbytes
        self._kem = kem_named(config.kem)
        # An epoch that nothing follows ends by itself: the key is gone, and the node says that it is busy.
        self._keys = NodeKeys(replay_limit=config.replay_limit, max_age=timedelta(seconds=3 * config.epoch))
        self._evidence = b""
        super().__init__(config, {("POST", "/v1/sealed"): self._sealed, ("GET", "/v1/evidence"): self._get_evidence})

    @asynccontextmanager
    async def _lifespan(self) -> AsyncGenerator[None]:
        self.begin_epoch()
        try:
            async with in_background(self._keep_beginning_epochs):
                yield
        finally:
            self._keys.erase()
            await self._engine.aclose()

    async def check(self) -> None:
        """Raise `EngineError` if the engine cannot answer now, and `BusyError` if there is no key."""
        _ = self._keys.current
        await self._engine.check()

    def begin_epoch(self) -> None:
        """Make a new key and evidence for it; erase the key of the epoch before the last one."""
        key = self._keys.rotate(self._kem.generate(self._randbytes), self._now())
        self._evidence = unattested_evidence(key.key_config).encoded

    async def _keep_beginning_epochs(self) -> None:
        boundary = _next_epoch(self._now(), self._config.epoch)
        while True:
            await anyio.sleep(max(0.0, boundary - self._now().timestamp()))
            # Clocks differ a little. An epoch that began early would begin again at its time, and erase a live key.
            if self._now().timestamp() >= boundary:
                self.begin_epoch()
                boundary = _next_epoch(self._now(), self._config.epoch)

    async def _get_evidence(self, exchange: Exchange) -> None:
        _ = self._keys.current
        headers: Headers = (("content-type", CMW_COLLECTION_TYPE), ("cache-control", "no-cache"))
        await exchange.answer(200, headers, self._evidence)

    async def _sealed(self, exchange: Exchange) -> None:
        if media_type(exchange.headers) != MEDIA_TYPE_SEALED_REQUEST:
            raise UnsupportedMediaTypeError
        machine = SealedNode(self._keys, randbytes=self._randbytes, max_body=self._config.max_body)
        content = await _open(exchange, machine)
        try:
            await self._answer(exchange, machine, content)
        except ConfsecError as exc:
            # From here on errors go to the client alone, but for a full engine: then the router may ask another node.
            # An answer that has begun is left without its end, and the client sees that it was cut.
            if exchange.started or isinstance(exc, BusyError):
                raise
            await _answer_problem(exchange, machine, exc)

    async def _answer(self, exchange: Exchange, machine: SealedNode, content: bytes) -> None:
        """Ask the engine. Parts of its answer are sealed as they come: each token goes out at once."""
        request = _decode(content)
        async with self._engine.stream(request) as response:
            # The head goes with the first part, in one packet: nobody waits for a head.
            held = encode_response_head(response.status, engine_response_headers(response.headers))
            async for part in response.content:
                await _send(exchange, machine, held + encode_content(part))
                held = b""
            await _send(exchange, machine, held + encode_end(), last=True)


def unattested_evidence(key_config: KeyConfig) -> Evidence:
    """Return evidence that holds the key and nothing that vouches for it: there is no TEE."""
    return Evidence.of({KEY_CONFIG_LABEL: CmwRecord(MEDIA_TYPE_OHTTP_KEYS, encode_key_configs([key_config]))})


async def _open(exchange: Exchange, machine: SealedNode) -> bytes:
    """Read and open a sealed request. What this raises is told in the clear: it may say only what anybody knows."""
    async for part in exchange:
        for event in machine.receive_data(part):
            if isinstance(event, SealedKeyReserved):
                machine.open_key()
    [opened] = machine.receive_eof()
    assert isinstance(opened, SealedRequestOpened)  # noqa: S101  # the one event of the end
    return opened.content


def _decode(content: bytes) -> HttpRequest:
    """Decode what the client asks of the engine. Raises `DecodeError`, and `NotAllowedError` for another path."""
    request = Request.decode(content)
    if request.trailers:
        raise DecodeError("a request to the engine has trailers")
    return engine_request(
        HttpRequest(method=request.method, url=request.path, headers=request.headers, content=request.content)
    )


async def _send(exchange: Exchange, machine: SealedNode, data: bytes, *, last: bool = False) -> None:
    """Seal and send a part of the answer; begin with the first one."""
    begin = b""
    if not exchange.started:
        begin = machine.begin()
        await exchange.start(200, _ANSWER_HEADERS)
    if last:
        await exchange.finish(begin + machine.send_eof(data))
    else:
        await exchange.write(begin + machine.send(data))


async def _answer_problem(exchange: Exchange, machine: SealedNode, error: ConfsecError) -> None:
    """Seal an error. It is told as an answer of the engine would be."""
    assert machine.state is State.RESPONDING  # noqa: S101  # opened, and nothing was answered
    headers: Headers = (("content-type", PROBLEM_TYPE),)
    head = encode_response_head(error.status_hint, headers)
    answer = head + encode_content(Problem.of(error).encode()) + encode_end()
    await exchange.answer(200, _ANSWER_HEADERS, machine.begin() + machine.send(answer) + machine.send_eof())


def _next_epoch(now: datetime, epoch: int) -> int:
    """Return when the clock reaches the next multiple of `epoch`, in seconds since 1970: so do all nodes' at once."""
    return (int(now.timestamp()) // epoch + 1) * epoch
