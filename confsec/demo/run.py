"""One question through the demo service, and what was seen on the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from attrs import frozen

from confsec.backends import system
from confsec.backends.api import HttpRequest
from confsec.client import Client, PrivateInfo, private_info
from confsec.demo.service import DemoService
from confsec.errors import EngineError

__all__ = [
    "CLIENT_ADDRESS",
    "Hop",
    "Timings",
    "Turn",
    "ask",
    "chat_request",
    "choose_model",
    "fetch_tokens",
    "new_client",
    "read_events",
]

CLIENT_ADDRESS: Final = "127.0.0.77"
"""The client's address: one that nobody else here has, so that it can be looked for."""

_LEADS_TO: Final = {"gateway": "router", "router": "node", "issuer-gateway": "issuer", "relay": "gateway"}
"""On which wire a role passes on what it got: what stands there in the clear, it has seen."""

_SAMPLE: Final = 24
_SAMPLES: Final = 8


@frozen(kw_only=True)
class Hop:
    """What one role saw of one question, read off its own wire and the wires that lead on from it."""

    name: str
    """issuer-gateway and issuer, while tokens were fetched; relay, gateway, router and node, for the question."""

    addresses: tuple[str, ...]
    """Where its connections came from."""

    bytes_in: int
    bytes_out: int

    first_byte_ms: float
    """When the first byte of the question came in, in milliseconds after the client began to send."""

    first_answer_ms: float
    """When the first byte went out."""

    saw_client: bool
    """Whether the client's address was there to see, as a connection's or in the bytes."""

    saw_account: bool
    """Whether the account's API key was there to read."""

    saw_token: bool
    """Whether a token was there to read."""

    saw_prompt: bool
    """Whether the prompt was there to read."""

    saw_answer: bool
    """Whether any piece of the answer was there to read."""

    def to_json(self) -> dict[str, object]:
        """Return the hop as JSON values."""
        return {
            "name": self.name,
            "addresses": list(self.addresses),
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "first_byte_ms": round(self.first_byte_ms, 3),
            "first_answer_ms": round(self.first_answer_ms, 3),
            "saw_client": self.saw_client,
            "saw_account": self.saw_account,
            "saw_token": self.saw_token,
            "saw_prompt": self.saw_prompt,
            "saw_answer": self.saw_answer,
        }


@frozen(kw_only=True)
class Timings:
    """How long it took, in milliseconds."""

    first_token_ms: float
    """From the call to the first piece of text."""

    total_ms: float
    """From the call to the end of the answer."""

    pieces: int
    """How many pieces of text came."""


@frozen(kw_only=True)
class Turn:
    """A question that was answered."""

    answer: str
    info: PrivateInfo
    hops: tuple[Hop, ...]
    timings: Timings


def new_client(service: DemoService) -> Client:
    """Return a client of the demo service. No hardware vouches for its nodes, and the policy's name says so."""
    return Client(service.service_file, policy=service.policy, wallet=service.wallet, source_address=CLIENT_ADDRESS)


async def fetch_tokens(service: DemoService, client: Client) -> tuple[Hop, ...]:
    """Have the wallet filled, and read off the wires what issuer and its gateway saw of it."""
    if service.wallet is None:
        return ()
    service.forget()
    began = system.monotonic()
    await client.fetch_tokens()
    return tuple(_hop(service, name, _Looked(began)) for name in ("issuer-gateway", "issuer"))


async def choose_model(client: Client) -> str:
    """Ask the engine which model it has. Raises `EngineError` if it names none."""
    answer = await client.request("GET", "/v1/models")
    models = answer.json()
    match models:
        case {"data": [{"id": str(model)}, *_]}:
            return model
    raise EngineError("the engine names no model", got=f"status {answer.status}")


def chat_request(model: str, prompt: str, *, max_tokens: int = 48) -> bytes:
    """Return a chat completion request that streams."""
    messages = [{"role": "user", "content": prompt}]
    return json.dumps({"model": model, "messages": messages, "stream": True, "max_tokens": max_tokens}).encode()


async def ask(
    service: DemoService,
    client: Client,
    model: str,
    prompt: str,
    on_text: Callable[[str], None] = lambda _text: None,
) -> Turn:
    """Ask one question, hand each piece of the answer to `on_text`, and read off the wires who saw what.

    Raises what `Client.stream` raises, and `EngineError` if the engine refuses the question.
    """
    service.forget()
    content = chat_request(model, prompt)
    began = system.monotonic()
    first: float | None = None
    pieces: list[str] = []
    raw = bytearray()
    request = HttpRequest(
        method="POST", url="/v1/chat/completions", headers=(("content-type", "application/json"),), content=content
    )
    async with client.stream(request) as response:
        info = private_info(response)
        events = read_events()
        async for part in response.content:
            raw += part
            for text in events(part):
                first = first or system.monotonic()
                pieces.append(text)
                on_text(text)
        if response.status != 200:
            raise EngineError("the engine refused the question", got=f"status {response.status}")
    ended = system.monotonic()
    timings = Timings(
        first_token_ms=((first or ended) - began) * 1000, total_ms=(ended - began) * 1000, pieces=len(pieces)
    )
    return Turn(
        answer="".join(pieces),
        info=info,
        hops=_hops(service, _Looked(began, json.dumps(prompt).encode(), _samples(bytes(raw)))),
        timings=timings,
    )


def read_events() -> Callable[[bytes], list[str]]:
    """Return a function that takes a stream of server-sent events part by part and returns the pieces of text in it."""
    waiting = bytearray()

    def read(part: bytes) -> list[str]:
        nonlocal waiting
        *lines, rest = (bytes(waiting) + part).split(b"\n")
        waiting = bytearray(rest)
        return [text for line in lines if (text := _text_of(line))]

    return read


def _text_of(line: bytes) -> str:
    if not line.startswith(b"data: {"):
        return ""
    match json.loads(line[6:]):
        case {"choices": [{"delta": {"content": str(text)}}, *_]}:
            return text
    return ""


@frozen
class _Looked:
    """What is looked for on the wires."""

    began: float
    prompt: bytes = b""
    answer: tuple[bytes, ...] = ()


def _hops(service: DemoService, looked: _Looked) -> tuple[Hop, ...]:
    """Read off the wires. Of the nodes, the one that answered sent the most."""
    nodes = [name for name in service.taps if name.startswith("node")]
    node = max(nodes, key=lambda name: len(service.taps[name].seen.sent))
    return tuple(_hop(service, name, looked) for name in ("relay", "gateway", "router", node))


def _hop(service: DemoService, name: str, looked: _Looked) -> Hop:
    """Say what a role saw: what came in on its wire, and what it passed on in the clear."""
    seen = service.taps[name].seen
    wires = [seen, *(service.taps[each].seen for each in service.taps if each.startswith(_LEADS_TO.get(name, "-")))]
    account = service.wallet.account.encode() if service.wallet else b""
    return Hop(
        name=name.partition("-")[0] if name.startswith("node") else name,
        addresses=tuple(sorted(seen.addresses)),
        bytes_in=len(seen.received),
        bytes_out=len(seen.sent),
        first_byte_ms=((seen.first_at or looked.began) - looked.began) * 1000,
        first_answer_ms=((seen.first_sent_at or looked.began) - looked.began) * 1000,
        saw_client=any(CLIENT_ADDRESS in wire.addresses or wire.contains(CLIENT_ADDRESS.encode()) for wire in wires),
        saw_account=bool(account) and any(wire.contains(account) for wire in wires),
        saw_token=any(wire.contains(b"PrivateToken token=") for wire in wires),
        saw_prompt=bool(looked.prompt) and any(wire.contains(looked.prompt) for wire in wires),
        saw_answer=any(wire.contains(sample) for sample in looked.answer for wire in wires),
    )


def _samples(answer: bytes) -> tuple[bytes, ...]:
    """Return pieces of the raw answer from all over it: a role that could read any of it would show one of them."""
    step = max(1, (len(answer) - _SAMPLE) // _SAMPLES)
    return tuple(answer[start : start + _SAMPLE] for start in range(0, max(1, len(answer) - _SAMPLE), step))
