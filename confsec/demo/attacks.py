"""Attacks on a running service. Each plays somebody on the path, and has to be refused for the reason that it names.

An attack that is merely not possible because something is down proves nothing, so each says which error it expects, and
any other outcome counts as an attack that worked.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, final

from attrs import evolve

from confsec.backends import system
from confsec.backends.api import HttpRequest, HttpResponse, Transport
from confsec.demo.evidence_attacks import EVIDENCE_ATTACKS
from confsec.demo.log_attacks import LOG_ATTACKS
from confsec.demo.target import Attack, Outcome, Target, run_attack
from confsec.errors import (
    DecryptionError,
    PeerError,
    ReplayError,
    TokenEpochError,
    TokenMissingError,
    TokenSpentError,
    TruncatedError,
    UnknownKeyError,
)
from confsec.protocol.chunks import ChunkSealer
from confsec.protocol.hpke import setup_receiver
from confsec.protocol.kem import kem_from_id
from confsec.protocol.node_keys import node_hpke_suite, node_id, node_key_config
from confsec.protocol.private import PRIVATE_PATH
from confsec.protocol.problem import Problem
from confsec.protocol.sealed import SealedClient, read_header
from confsec.protocol.sealed_keys import derive_request_sequence, wrap_info
from confsec.protocol.sealed_padding import pad_all
from confsec.protocol.token_http import TokenCredentials

__all__ = ["ATTACKS", "Attack", "Outcome", "Target", "run_attack"]

_X_WING: Final = 0x647A


# --- The attacks ------------------------------------------------------------------------------------------------------


async def _swap_gateway_key(target: Target) -> None:
    """Put a key of the attacker's, under the gateway's key id, into the directory that one user gets."""
    (real, *_) = target.directory.gateway_key_configs
    swapped = evolve(real, kem_id=_X_WING, public_key=kem_from_id(_X_WING).generate(system.randbytes).public_key)
    await target.ask(service=evolve(target.directory, gateway_key_configs=(swapped,)))


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
    *EVIDENCE_ATTACKS,
    *LOG_ATTACKS,
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
