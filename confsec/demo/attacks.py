"""Attacks on a running service. Each plays somebody on the path, and has to be refused for the reason that it names.

An attack that is merely not possible because something is down proves nothing, so each says which error it expects, and
any other outcome counts as an attack that worked.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Final, Self, final

from attrs import evolve, frozen

from confsec.backends import system
from confsec.backends.api import HttpRequest, HttpResponse, Transport, header
from confsec.backends.http import HttpTransport
from confsec.client import Client
from confsec.demo.service import DemoService
from confsec.errors import (
    ConfsecError,
    DecryptionError,
    PeerError,
    ReplayError,
    TokenEpochError,
    TokenMissingError,
    TokenSpentError,
    TruncatedError,
    UnknownKeyError,
)
from confsec.issuer_client import IssuerClient
from confsec.protocol.appraisal import node_key_config as evidence_key_config
from confsec.protocol.bhttp import Request, Response
from confsec.protocol.bhttp_decoder import BhttpEvent, ContentReceived, ResponseHead
from confsec.protocol.chunks import ChunkSealer
from confsec.protocol.cmw import Evidence
from confsec.protocol.directory import ServiceDirectory
from confsec.protocol.fleet import FleetRecord
from confsec.protocol.hpke import setup_receiver
from confsec.protocol.kem import kem_from_id
from confsec.protocol.key_config import KeyConfig, choose_key_config
from confsec.protocol.node_keys import node_hpke_suite, node_id, node_key_config
from confsec.protocol.oblivious import OUTER_HEADERS, ObliviousExchange
from confsec.protocol.policy import UNSAFE_UNATTESTED
from confsec.protocol.private import INNER_AUTHORITY, PRIVATE_PATH
from confsec.protocol.problem import Problem
from confsec.protocol.sealed import MEDIA_TYPE_SEALED_REQUEST, MEDIA_TYPE_SEALED_RESPONSE, SealedClient, read_header
from confsec.protocol.sealed_keys import derive_request_sequence, wrap_info
from confsec.protocol.sealed_padding import pad_all
from confsec.protocol.token_http import TokenCredentials

__all__ = ["ATTACKS", "Attack", "Outcome", "Target", "run_attack"]

_X_WING: Final = 0x647A


@frozen
class Outcome:
    """What came of an attack."""

    name: str
    refused: bool
    code: str
    """The stable code of the error that refused it, or empty."""
    why: str

    def to_json(self) -> dict[str, object]:
        """Return the outcome as JSON values."""
        return {"name": self.name, "refused": self.refused, "code": self.code, "why": self.why}


@frozen
class Attack:
    """Somebody on the path who does what he should not."""

    name: str
    who: str
    """Who attacks, and how, as a sentence."""

    refusal: tuple[type[ConfsecError], ...]
    """How it has to end."""

    run: Callable[[Target], Awaitable[None]]
    """Attack. Returning is success for the attacker."""


@final
class Target:
    """A running service, as an attacker with access to its public parts meets it."""

    def __init__(self, service: DemoService, question: bytes) -> None:
        """Attack `service`, on which `question` is a chat completion request (JSON) that works."""
        self.service = service
        self.directory: ServiceDirectory = service.directory
        self.question = question
        self.transport: Transport = HttpTransport()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.transport.aclose()

    async def ask(self, transport: Transport | None = None, directory: ServiceDirectory | None = None) -> None:
        """Ask as an honest client does, over a wire that somebody may control."""
        client = Client(
            directory or self.directory,
            policy=UNSAFE_UNATTESTED,
            wallet=self.service.wallet,
            transport=transport or self.transport,
        )
        request = self.inner_request()
        async with client.stream(
            HttpRequest(method="POST", url=request.path, headers=request.headers, content=request.content)
        ) as response:
            async for _ in response.content:
                pass

    def inner_request(self, question: bytes | None = None) -> Request:
        """Return what the engine is to be asked."""
        headers = (("content-type", "application/json"),)
        content = self.question if question is None else question
        return Request("POST", "https", INNER_AUTHORITY, "/v1/chat/completions", headers=headers, content=content)

    async def node_keys(self) -> list[KeyConfig]:
        """Read the keys of the fleet, as anybody can."""
        fleet = FleetRecord.decode((await self.through("GET", "/v1/fleet")).content)
        paths = [f"/v1/evidence/{node.evidence_digest.hex()}" for node in fleet.nodes]
        return [evidence_key_config(Evidence.decode((await self.through("GET", path)).content)) for path in paths]

    def seal(self) -> bytes:
        """Seal the question to nobody in particular: for what is refused before a node hears of it."""
        stranger = node_key_config(kem_from_id(_X_WING).generate(system.randbytes))
        return SealedClient([stranger], randbytes=system.randbytes).seal(self.inner_request().encode())

    async def take_token(self) -> str:
        """Take a token out of the wallet, as the Authorization field that spends it; nothing where none is taken."""
        issuer, wallet = self.directory.issuer, self.service.wallet
        if issuer is None or wallet is None:
            return ""
        ask = IssuerClient(issuer, wallet.account, self.transport, randbytes=system.randbytes)
        taken = await wallet.take(issuer, ask)
        await wallet.settle(taken)
        return TokenCredentials(taken.token.token).encode()

    async def send_sealed(self, sealed_request: bytes, authorization: str | None = None) -> bytes:
        """Bring a sealed request to the router and return the sealed answer. Raises the error of a refusal.

        It is paid with a fresh token unless an Authorization field is given.
        """
        if authorization is None:
            authorization = await self.take_token()
        response = await self.through("POST", PRIVATE_PATH, sealed_request, authorization)
        if dict(response.headers).get("content-type") != MEDIA_TYPE_SEALED_RESPONSE:
            raise Problem.decode(response.content, status=response.status).to_error("the service")
        return response.content

    async def through(self, method: str, path: str, content: bytes = b"", authorization: str = "") -> Response:
        """Send a request through relay and gateway to the router."""
        key_config, suite = choose_key_config(self.directory.gateway_key_configs)
        exchange = ObliviousExchange(key_config, suite, randbytes=system.randbytes)
        headers = (("content-type", MEDIA_TYPE_SEALED_REQUEST),) if content else ()
        if authorization:
            headers = (*headers, ("authorization", authorization))
        body = exchange.encapsulate(
            Request(
                method,
                self.directory.router_scheme,
                self.directory.router_authority,
                path,
                headers=headers,
                content=content,
            )
        )
        return await self.post(body, exchange)

    async def post(self, body: bytes, exchange: ObliviousExchange) -> Response:
        """Send an encapsulated request to the relay and open the answer."""
        events: list[BhttpEvent] = []
        async with self.transport.stream(self.outer(body)) as response:
            exchange.receive_head(response.status, header(response.headers, "content-type") or "")
            async for part in response.content:
                events += exchange.receive_data(part)
            events += exchange.receive_eof()
        (head,) = [event for event in events if isinstance(event, ResponseHead)]
        content = b"".join(event.data for event in events if isinstance(event, ContentReceived))
        return Response(head.status, head.headers, content=content)

    def outer(self, body: bytes) -> HttpRequest:
        """Return the POST to the relay."""
        return HttpRequest(method="POST", url=self.directory.relay_url, headers=OUTER_HEADERS, content=body)


async def run_attack(attack: Attack, target: Target) -> Outcome:
    """Attack, and say whether the right thing stood in the way."""
    try:
        await attack.run(target)
    except attack.refusal as exc:
        return Outcome(attack.name, refused=True, code=exc.code, why=str(exc))
    except ConfsecError as exc:
        return Outcome(attack.name, refused=False, code=exc.code, why=f"it failed for another reason: {exc}")
    return Outcome(attack.name, refused=False, code="", why="it worked")


# --- The attacks ------------------------------------------------------------------------------------------------------


async def _swap_gateway_key(target: Target) -> None:
    """Put a key of the attacker's, under the gateway's key id, into the directory that one user gets."""
    (real, *_) = target.directory.gateway_key_configs
    swapped = evolve(real, kem_id=_X_WING, public_key=kem_from_id(_X_WING).generate(system.randbytes).public_key)
    await target.ask(directory=evolve(target.directory, gateway_key_configs=(swapped,)))


async def _change_chunk(target: Target) -> None:
    await target.ask(_Wire(target.transport, _flip_a_bit))


async def _drop_end(target: Target) -> None:
    await target.ask(_Wire(target.transport, _drop_last_part))


async def _replay(target: Target) -> None:
    recorder = _Wire(target.transport, _leave_alone)
    await target.ask(recorder)
    recorded = recorder.sent[-1]
    async with target.transport.stream(target.outer(recorded)) as response:
        if response.status != 200:
            raise PeerError("the gateway refused the same bytes a second time", status=response.status, section="")


async def _replay_sealed(target: Target) -> None:
    sealed_request = await _sealed_to_the_fleet(target)
    for _ in range(len(read_header(sealed_request).recipients) + 1):  # each candidate may run it once, and not twice
        await target.send_sealed(sealed_request)


async def _foreign_recipient(target: Target) -> None:
    await target.send_sealed(target.seal())


async def _no_token(target: Target) -> None:
    sealed_request = await _sealed_to_the_fleet(target)
    response = await target.through("POST", PRIVATE_PATH, sealed_request)
    if "www-authenticate" not in dict(response.headers):
        raise PeerError("the router did not say which token it takes", status=response.status)
    raise Problem.decode(response.content, status=response.status).to_error("the service")


async def _token_spent_twice(target: Target) -> None:
    authorization, sealed_request = await target.take_token(), await _sealed_to_the_fleet(target)
    await target.send_sealed(sealed_request, authorization)
    await target.send_sealed(sealed_request, authorization)


async def _token_for_other_bytes(target: Target) -> None:
    authorization = await target.take_token()
    await target.send_sealed(await _sealed_to_the_fleet(target), authorization)
    await target.send_sealed(await _sealed_to_the_fleet(target), authorization)


async def _token_of_another_epoch(target: Target) -> None:
    assert target.service.issuer is not None  # noqa: S101 - the demo's attacks run on a service with tokens
    authorization = TokenCredentials(target.service.issuer.old_token).encode()
    await target.send_sealed(await _sealed_to_the_fleet(target), authorization)


async def _sealed_to_the_fleet(target: Target) -> bytes:
    keys = await target.node_keys()
    return SealedClient(keys, randbytes=system.randbytes).seal(target.inner_request().encode())


async def _substitute_question(target: Target) -> None:
    """Play a candidate who knows the request secret, and has another candidate answer a question of his own."""
    rogue = kem_from_id(_X_WING).generate(system.randbytes)
    rogue_id = node_id(node_key_config(rogue))
    honest = (await target.node_keys())[0]
    client = SealedClient([honest, node_key_config(rogue)], randbytes=system.randbytes)
    sealed_request = client.seal(target.inner_request().encode())
    # What the rogue candidate does with it:
    parsed = read_header(sealed_request)
    (mine,) = [recipient for recipient in parsed.recipients if recipient.node_id == rogue_id]
    context = setup_receiver(node_hpke_suite(rogue.kem_id), rogue, mine.enc, wrap_info(rogue_id))
    request_secret = context.open(b"", mine.wrapped_secret)
    sealer = ChunkSealer(derive_request_sequence(request_secret, parsed.encode()))
    question = target.inner_request(
        b'{"messages":[{"role":"user","content":"something else"}],"max_tokens":1}'
    ).encode()
    forged = parsed.encode() + sealer.seal_final(pad_all(question, 16_384))
    answer = await target.send_sealed(forged)
    # What the client does with the honest node's answer to it:
    client.receive_data(answer)
    client.receive_eof()


ATTACKS: Final = (
    Attack(
        "swapped-gateway-key",
        "Whoever wrote one user's directory put a key of his own where the gateway's was.",
        (PeerError, DecryptionError, UnknownKeyError),
        _swap_gateway_key,
    ),
    Attack("changed-chunk", "The relay changes one bit of an answer.", (DecryptionError,), _change_chunk),
    Attack("dropped-end", "The relay keeps the end of an answer back.", (TruncatedError, DecryptionError), _drop_end),
    Attack("replay", "The relay sends an encapsulated request a second time.", (PeerError,), _replay),
    Attack(
        "replayed-sealed-request",
        "The router has every candidate run a request, and then one of them again.",
        (ReplayError,),
        _replay_sealed,
    ),
    Attack(
        "foreign-recipient",
        "A request is sealed to a key that no node of the fleet has.",
        (UnknownKeyError,),
        _foreign_recipient,
    ),
    Attack(
        "substituted-question",
        "One candidate, who knows the request secret, puts another question before another candidate.",
        (DecryptionError,),
        _substitute_question,
    ),
    Attack("no-token", "Somebody who has not paid sends a request.", (TokenMissingError,), _no_token),
    Attack(
        "token-spent-twice",
        "Somebody pays for one request twice with one token.",
        (TokenSpentError,),
        _token_spent_twice,
    ),
    Attack(
        "token-for-other-bytes",
        "Somebody pays for a second request with a token that has paid for another.",
        (TokenSpentError,),
        _token_for_other_bytes,
    ),
    Attack(
        "token-of-another-epoch",
        "Somebody pays with a token of an epoch that is over.",
        (TokenEpochError,),
        _token_of_another_epoch,
    ),
)
"""All attacks, by the name that `confsec demo --tamper` takes."""


# --- A wire in the attacker's hands -----------------------------------------------------------------------------------


_Change = Callable[[AsyncIterable[bytes]], AsyncGenerator[bytes]]


@final
class _Wire:
    """A transport that keeps what is sent, and changes the answers to private requests."""

    def __init__(self, transport: Transport, change: _Change) -> None:
        self.sent: list[bytes] = []
        self._transport = transport
        self._change = change

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]:
        return self._stream(request)

    @asynccontextmanager
    async def _stream(self, request: HttpRequest) -> AsyncGenerator[HttpResponse]:
        body = request.content if isinstance(request.content, bytes) else b""
        self.sent.append(body)
        async with self._transport.stream(request) as response:
            # A private request is the only one that is longer than its key exchange.
            change = self._change if len(body) > _LONG else _leave_alone
            yield evolve(response, content=change(response.content))

    async def aclose(self) -> None:
        """Leave the transport to its owner."""


_LONG: Final = 2048


async def _leave_alone(parts: AsyncIterable[bytes]) -> AsyncGenerator[bytes]:
    async for part in parts:
        yield part


async def _flip_a_bit(parts: AsyncIterable[bytes]) -> AsyncGenerator[bytes]:
    passed = 0
    async for part in parts:
        place = 600 - passed
        passed += len(part)
        here = 0 <= place < len(part)
        yield part[:place] + bytes([part[place] ^ 1]) + part[place + 1 :] if here else part


async def _drop_last_part(parts: AsyncIterable[bytes]) -> AsyncGenerator[bytes]:
    held = b""
    async for part in parts:
        if held:
            yield held
        held = part
