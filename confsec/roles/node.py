"""The node: it opens sealed requests, asks the engine, and seals the answer as it is made.

Whoever reaches this role has a prompt in its hands, so a request's data lives in one call and goes with it. Nothing of
it is logged, counted or put into an error. A key lives for its epoch and the next one and is never written anywhere; a
turn of the epoch disturbs no request, since each holds what it needs from the moment its key was reserved. How keys
and their evidence are made is in `node_epochs.py`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import ClassVar, Final

import anyio
import anyio.to_thread
from attrs import frozen

from confsec.backends.api import Clock, Engine, EpochSource, Headers, HttpRequest
from confsec.backends.engine_requests import engine_request, engine_response_headers
from confsec.backends.http import HttpTransport
from confsec.backends.system import now as system_now, randbytes as system_randbytes
from confsec.errors import BusyError, ConfigError, ConfsecError, DecodeError, LimitError
from confsec.protocol.bhttp import Request, encode_content, encode_end, encode_response_head
from confsec.protocol.binding import MAX_CHALLENGE, MIN_CHALLENGE
from confsec.protocol.cmw import CMW_COLLECTION_TYPE
from confsec.protocol.log_root import LogRoot
from confsec.protocol.machine import RandBytes, State
from confsec.protocol.manifest import Manifest
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
from confsec.roles.epochs import EVIDENCE_FIELD
from confsec.roles.keys import kem_named
from confsec.roles.log_epochs import choose_epochs
from confsec.roles.logged_statements import read_statements
from confsec.roles.manifests import DescribeEngine, node_manifest
from confsec.roles.node_epochs import NodeEpochs
from confsec.tee.api import Attester

__all__ = ["CHALLENGE_TYPE", "Node", "NodeConfig"]

CHALLENGE_TYPE: Final = "application/octet-stream"
"""The media type of an auditor's challenge."""

_EAT: Final = "RFC 9711, section 4.1"
_DECAPSULATIONS_AT_ONCE: Final = 8
"""So many requests wait in threads for the device that holds a key; the others wait on the event loop."""

_ANSWER_HEADERS: Final[Headers] = (
    ("content-type", MEDIA_TYPE_SEALED_RESPONSE),
    ("incremental", "?1"),
    ("cache-control", "no-store"),
)
_EVIDENCE_HEADERS: Final[Headers] = (("content-type", CMW_COLLECTION_TYPE), ("cache-control", "no-cache"))


@frozen(kw_only=True)
class NodeConfig(RoleConfig):
    """The settings of a node."""

    kem: str = setting(
        "MLKEM768-X25519",
        help="The KEM of the node's keys. Where a TPM holds half of them, it is MLKEM768-P256 always.",
        check=one_of("MLKEM768-X25519", "MLKEM768-P256"),
    )
    epoch: int = setting(600, help="Seconds that an epoch lasts; each has a key of its own.", check=at_least(1))
    root: str = setting(
        "", help="The root file of the service: its log of fleets names the epochs, and says how long they last."
    )
    statements: str = setting(
        "", help="A folder with logged statements of image and model: NAME.dsse, and NAME.proof (a tlog-proof) of each."
    )
    replay_limit: int = setting(
        1 << 18, help="Requests that one key opens; when there were so many, more get 503.", check=at_least(1)
    )
    challenge_interval: float = setting(
        5.0, help="Seconds between two answers to challenges of auditors; more get 429.", check=at_least(0)
    )


class Node(Role):
    """Answers sealed requests with the help of an engine."""

    name: ClassVar[str] = "node"

    def __init__(
        self,
        config: NodeConfig,
        engine: Engine,
        *,
        attester: Attester | None,
        describe_engine: DescribeEngine | None = None,
        epochs: EpochSource | None = None,
        root: LogRoot | None = None,
        clock: Clock = system_now,
        randbytes: RandBytes = system_randbytes,
    ) -> None:
        """Answer with `engine`, in the TEE of `attester`; both are closed at the end of the lifespan.

        An attester of None means that nothing vouches for the node: no client seals to it that does not say
        UNSAFE_UNATTESTED. `describe_engine` says what the engine loaded, and has to with an attester. `epochs` names
        epochs; by default that is the log of fleets of `root`, and without one `clock`. Raises `ConfigError`.
        """
        if attester is not None and describe_engine is None:
            raise ConfigError("a node that attests has to say what its engine loaded", hint="Give it describe_engine")
        self._config = config
        self._engine = engine
        self._attester = attester
        self._describe_engine = describe_engine
        self._randbytes = randbytes
        # An epoch that nothing follows ends by itself: the key is gone, and the node says that it is busy.
        epoch = root.fleet.epoch if root else timedelta(seconds=config.epoch)
        self._keys = NodeKeys(replay_limit=config.replay_limit, max_age=3 * epoch)
        self._transport = HttpTransport() if root else None
        self._source = epochs or choose_epochs(root, self._transport, seconds=config.epoch, clock=clock)
        self._epochs = NodeEpochs(
            self._source,
            attester,
            kem=kem_named(config.kem),
            keys=self._keys,
            clock=clock,
            randbytes=randbytes,
            challenge_interval=config.challenge_interval,
        )
        self._devices = anyio.CapacityLimiter(_DECAPSULATIONS_AT_ONCE)
        routes = {
            ("POST", "/v1/sealed"): self._sealed,
            ("GET", "/v1/evidence"): self._get_evidence,
            ("GET", "/v1/endorsements"): self._get_endorsements,
            ("POST", "/v1/challenge"): self._answer_challenge,
        }
        super().__init__(config, routes)

    @asynccontextmanager
    async def _lifespan(self) -> AsyncGenerator[None]:
        try:
            beside = await anyio.to_thread.run_sync(read_statements, self._config.statements)
            await self._epochs.begin(await self._load_manifest(), beside=beside)
            async with in_background(self._epochs.keep):
                yield
        finally:
            with anyio.CancelScope(shield=True):
                await self._epochs.aclose()
                if self._attester is not None:
                    await self._attester.aclose()
                if self._transport is not None:
                    await self._transport.aclose()
            await self._engine.aclose()

    async def check(self) -> None:
        """Raise `EngineError` if the engine cannot answer now, and `BusyError` if there is no key."""
        _ = self._keys.current
        await self._engine.check()

    async def begin_epoch(self) -> None:
        """Make a new key and evidence for it at once; erase the key of the epoch before the last one."""
        await self._epochs.begin_epoch(await self._source.current())

    async def _load_manifest(self) -> Manifest:
        """Return what the evidence says of what is loaded; nothing where there is no evidence."""
        if self._describe_engine is None:
            return Manifest({})
        return await node_manifest(self._config, self._describe_engine)

    async def _get_evidence(self, exchange: Exchange) -> None:
        await exchange.answer(200, _EVIDENCE_HEADERS, self._epochs.shown.evidence.encoded)

    async def _get_endorsements(self, exchange: Exchange) -> None:
        shown = self._epochs.shown
        headers: Headers = (*_EVIDENCE_HEADERS, (EVIDENCE_FIELD, shown.evidence.digest.hex()))
        await exchange.answer(200, headers, shown.endorsements.encoded)

    async def _answer_challenge(self, exchange: Exchange) -> None:
        """Answer an auditor with evidence of a mode that no client seals to."""
        if media_type(exchange.headers) != CHALLENGE_TYPE:
            raise UnsupportedMediaTypeError
        evidence = await self._epochs.answer_challenge(await _read_challenge(exchange))
        headers: Headers = (("content-type", CMW_COLLECTION_TYPE), ("cache-control", "no-store"))
        await exchange.answer(200, headers, evidence)

    async def _sealed(self, exchange: Exchange) -> None:
        if media_type(exchange.headers) != MEDIA_TYPE_SEALED_REQUEST:
            raise UnsupportedMediaTypeError
        machine = SealedNode(self._keys, randbytes=self._randbytes, max_body=self._config.max_body)
        content = await self._open(exchange, machine)
        try:
            await self._answer(exchange, machine, content)
        except ConfsecError as exc:
            # From here on errors go to the client alone, but for a full engine: then the router may ask another node.
            # An answer that has begun is left without its end, and the client sees that it was cut.
            if exchange.started or isinstance(exc, BusyError):
                raise
            await _answer_problem(exchange, machine, exc)

    async def _open(self, exchange: Exchange, machine: SealedNode) -> bytes:
        """Read and open a sealed request. What this raises is told in the clear: it may say only what anybody knows."""
        async for part in exchange:
            for event in machine.receive_data(part):
                if isinstance(event, SealedKeyReserved):
                    await self._open_key(machine, event.node_id)
        [opened] = machine.receive_eof()
        assert isinstance(opened, SealedRequestOpened)  # noqa: S101  # the one event of the end
        return opened.content

    async def _open_key(self, machine: SealedNode, node_id: bytes) -> None:
        """Decapsulate: in a thread where a device holds the key, since it takes its time."""
        if self._epochs.blocks(node_id):
            await anyio.to_thread.run_sync(machine.open_key, limiter=self._devices)
        else:
            machine.open_key()

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


async def _read_challenge(exchange: Exchange) -> bytes:
    """Read 8 to 64 bytes. Raises `DecodeError` and `LimitError`."""
    challenge = b""
    async for part in exchange:
        challenge += part
        if len(challenge) > MAX_CHALLENGE:
            raise LimitError("a challenge is too long", want=f"at most {MAX_CHALLENGE} bytes", section=_EAT)
    if len(challenge) < MIN_CHALLENGE:
        raise DecodeError("a challenge is too short", want=f"at least {MIN_CHALLENGE} bytes", section=_EAT)
    return challenge
