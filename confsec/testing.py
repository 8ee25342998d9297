"""What tests of confsec share, and what embedders need to test their own parts.

Seeded randomness and a clock that stands still take the place of the real ones; `MemoryWire` joins two machines without
a socket. The `check_…` functions ask of a value or a machine what every one of ours promises:

* `check_round_trip`: what is decoded encodes back;
* `check_any_bytes`: any bytes at all give a value or a `ConfsecError`;
* `check_all_steps`: every step in every state does what the table of steps says;
* `check_any_split`: however the input is split, the events are the same;
* `check_any_cut`: an input that ends early raises;
* `check_any_damage`: an input with a part lost, repeated, moved or changed raises.

`check_engine` asks of an inference engine what the node relies on, and `paced_app` is an engine that generates at a
steady rate, or for ever. `check_blind_signer` asks of a signer what an issuer relies on,
and `check_epoch_source` of what names epochs what routers and nodes rely on. `LocalSigstore` signs for whomever a test
wants, under a root that nobody else trusts.

They raise `AssertionError` with the place at which a promise was broken.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, Protocol, Self, TypeVar, final

import anyio

from confsec.backends.api import Engine, HttpRequest, HttpResponse, header
from confsec.backends.asgi import AsgiApp
from confsec.backends.callable_engine import callable_app
from confsec.errors import ConfsecError, LocalProtocolError, NotAllowedError, RemoteProtocolError
from confsec.protocol.machine import Machine, RandBytes, State, Step
from confsec.testing_epochs import check_epoch_source
from confsec.testing_signers import check_blind_signer
from confsec.testing_sigstore import LocalSigstore
from confsec.testing_stores import check_token_store

__all__ = [
    "EPOCH",
    "FixedClock",
    "LocalSigstore",
    "MemoryWire",
    "Receiver",
    "Value",
    "check_all_steps",
    "check_any_bytes",
    "check_any_cut",
    "check_any_damage",
    "check_any_split",
    "check_blind_signer",
    "check_engine",
    "check_epoch_source",
    "check_round_trip",
    "check_token_store",
    "cut_at_random",
    "damaged",
    "paced_app",
    "seeded_randbytes",
]

_E = TypeVar("_E")
_E_co = TypeVar("_E_co", covariant=True)
_M = TypeVar("_M", bound=Machine)

EPOCH: Final = datetime(2030, 1, 1, tzinfo=UTC)
"""Where a `FixedClock` stands unless told otherwise."""

_FEW: Final = 64
"""How many places are tried in an input that is too long to try all of them."""


class Receiver(Protocol[_E_co]):
    """The receiving half that every machine has."""

    def receive_data(self, part: bytes, /) -> Sequence[_E_co]:
        """Take the next bytes and return the events. May raise `ConfsecError`."""
        ...

    def receive_eof(self) -> Sequence[_E_co]:
        """Take the end of input and return the events. May raise `ConfsecError`."""
        ...


class Value(Protocol):
    """What every value has."""

    @classmethod
    def decode(cls, data: bytes, /) -> Self:
        """Decode. May raise `DecodeError`."""
        ...

    def encode(self) -> bytes:
        """Encode."""
        ...


def seeded_randbytes(seed: str) -> RandBytes:
    """Return a source of bytes that look random and are the same for the same seed in every run."""
    count = 0

    def randbytes(size: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.shake_256(f"{count} {seed}".encode()).digest(size)

    return randbytes


@final
class FixedClock:
    """A clock that moves only when told to. Calling it gives the time."""

    def __init__(self, now: datetime = EPOCH) -> None:
        self._now = now

    def __call__(self) -> datetime:
        return self._now

    def advance(self, by: timedelta) -> None:
        """Let time pass."""
        self._now += by


@final
class MemoryWire(Generic[_E]):
    """Carries what is sent to a receiver, at once and in memory.

    `alter` says what becomes of each message on the way: it returns the parts that arrive, none if it is lost.
    """

    def __init__(
        self, receiver: Receiver[_E], *, alter: Callable[[bytes], Sequence[bytes]] = lambda data: [data]
    ) -> None:
        self._receiver = receiver
        self._alter = alter

    def send(self, *messages: bytes) -> list[_E]:
        """Deliver the messages and return what the receiver makes of them."""
        return [event for data in messages for part in self._alter(data) for event in self._receiver.receive_data(part)]

    def send_eof(self, *messages: bytes) -> list[_E]:
        """Deliver the last messages and the end of input."""
        return self.send(*messages) + list(self._receiver.receive_eof())


def cut_at_random(randbytes: RandBytes, *, longest: int = 64) -> Callable[[bytes], list[bytes]]:
    """Return an `alter` for a wire that cuts messages into parts of random size, 1 to `longest` bytes."""

    def alter(data: bytes) -> list[bytes]:
        parts = []
        while data:
            size = 1 + int.from_bytes(randbytes(2), "big") % longest
            parts.append(data[:size])
            data = data[size:]
        return parts

    return alter


def check_round_trip(value_type: type[Value], encoded: bytes, *, canonical: bool = True) -> None:
    """Check that a value decodes and encodes to the same value; and, if `canonical`, to the same bytes."""
    value = value_type.decode(encoded)
    again = value.encode()
    assert value_type.decode(again) == value, f"{value_type.__name__} decodes to another value after encoding"
    if canonical:
        assert again == encoded, f"{value_type.__name__} encodes to other bytes than it was decoded from"


def check_any_bytes(decode: Callable[[bytes], object], data: bytes) -> None:
    """Check that decoding gives a value or a `ConfsecError`: whatever else it raises goes through."""
    with suppress(ConfsecError):
        decode(data)


def check_all_steps(machines: Mapping[State, Callable[[], _M]], verbs: Mapping[Step, Callable[[_M], object]]) -> None:
    """Check every step in every state against the machine's table.

    `machines` makes a machine in each state of the table, `verbs` takes each of its steps with good input. A step that
    the table has leads to the state that it says; any other raises and changes nothing. `State.FAILED` needs no maker.
    """
    table = next(iter(machines.values()))().STEPS
    states = {state for state, _ in table} | set(table.values())
    assert states <= set(machines), f"no machine for {states - set(machines)}"
    assert {step for _, step in table} <= set(verbs), f"no verb for {set(verbs)}"
    for step, verb in verbs.items():
        for state, make in machines.items():
            _check_step(make(), state, step, verb)
        failed = next(iter(machines.values()))()
        failed._fail()  # noqa: SLF001 - no input fails every machine, and how it failed does not matter
        _check_step(failed, State.FAILED, step, verb)


def _check_step(machine: _M, state: State, step: Step, verb: Callable[[_M], object]) -> None:
    assert machine.state is state, f"the maker of state {state} made {machine!r}"
    after = machine.STEPS.get((state, step))
    if after is not None:
        verb(machine)
        assert machine.state is after, f"{step} in {state} leads to {machine!r}"
        return
    try:
        verb(machine)
    except LocalProtocolError:
        assert machine.state is state, f"{step}, refused in {state}, leads to {machine!r}"
    else:
        raise AssertionError(f"{step} in {state} is not in the table and was not refused")


def check_any_split(
    make_receiver: Callable[[], Receiver[_E]],
    data: bytes,
    *,
    merge: Callable[[list[_E]], object] = lambda events: events,
    tail: bytes = b"",
) -> None:
    """Check that the events are the same for the input in one part, byte by byte, and cut in two at any place.

    `merge` makes event lists comparable where pieces of content may be cut differently. `tail` is sent at the end in
    all cases: for a long input whose beginning alone is worth splitting.
    """

    def events(*parts: bytes) -> object:
        return merge(MemoryWire(make_receiver()).send_eof(*parts, *([tail] if tail else [])))

    whole = events(data)
    assert events(*(data[index : index + 1] for index in range(len(data)))) == whole, "other events byte by byte"
    for cut in _places(len(data)):
        assert events(data[:cut], data[cut:]) == whole, f"other events when cut at {cut}"
        assert events(data[:cut], b"", data[cut:]) == whole, f"other events with an empty part at {cut}"


def check_any_cut(make_receiver: Callable[[], Receiver[object]], data: bytes, *, may_end: Collection[int] = ()) -> None:
    """Check that an input that ends early raises `RemoteProtocolError`, except at the places where it `may_end`."""
    for cut in {*_places(len(data)), *may_end}:
        try:
            MemoryWire(make_receiver()).send_eof(data[:cut])
        except RemoteProtocolError:
            assert cut not in may_end, f"an input that may end at {cut} was refused"
        else:
            assert cut in may_end, f"an input that ends at {cut} was not refused"


def check_any_damage(make_receiver: Callable[[], Receiver[object]], parts: Sequence[bytes]) -> None:
    """Check that the parts of a message, damaged in any way that `damaged` knows, raise `RemoteProtocolError`."""
    for what, altered in damaged(parts):
        try:
            MemoryWire(make_receiver()).send_eof(*altered)
        except RemoteProtocolError:
            continue
        raise AssertionError(f"a message with {what} was not refused")


def damaged(parts: Sequence[bytes]) -> Iterator[tuple[str, list[bytes]]]:
    """Yield the parts with one lost, repeated, swapped with the next, or changed in a bit, and what was done."""
    for index, part in enumerate(parts):
        before, after = list(parts[:index]), list(parts[index + 1 :])
        yield f"part {index} lost", before + after
        yield f"part {index} repeated", [*before, part, part, *after]
        if after and after[0] != part:
            yield f"parts {index} and {index + 1} swapped", [*before, after[0], part, *after[1:]]
        for place in _places(len(part)):
            changed = part[:place] + bytes([part[place] ^ (1 << place % 8)]) + part[place + 1 :]
            yield f"byte {place} of part {index} changed", [*before, changed, *after]


def _places(size: int) -> range | list[int]:
    """Return all indexes below `size`, or some of them, among them the first and the last, if they are too many."""
    if size <= 8 * _FEW:
        return range(size)
    return sorted({*range(_FEW), *range(0, size, size // _FEW), *range(size - _FEW, size)})


async def check_engine(engine: Engine, *, model: str = "default", limit: float = 30.0) -> None:
    """Check that an engine does what `Engine` promises, and close it.

    It has to serve chat completions of `model`, streamed and whole, two at once, each within `limit` seconds.
    """
    for check in (
        _check_answers,
        _check_refusals,
        _check_bad_body,
        _check_slow_reader,
        _check_leaving,
        _check_cancellation,
        _check_callers_error,
    ):
        with anyio.fail_after(limit):
            await check(engine, model)
            await engine.check()
    await engine.aclose()
    await engine.aclose()


def paced_app(tokens_per_second: float, tokens: int | None = None, *, token: str = " token") -> AsgiApp:
    """Return an ASGI application that answers every completion with `tokens` tokens, or without an end.

    It keeps to `tokens_per_second` from the first token on, `math.inf` for as fast as they are taken. Serve it, or
    give it to an `AsgiEngine`.
    """

    async def answer(path: str, request: dict[str, Any]) -> AsyncIterator[str]:
        start, count = anyio.current_time(), 0
        while tokens is None or count < tokens:
            await anyio.sleep_until(start + count / tokens_per_second)
            yield token
            count += 1

    return callable_app(answer, model="paced")


async def _check_answers(engine: Engine, model: str) -> None:
    async with engine.stream(_chat(model, stream=False)) as response:
        _check_head(response, "application/json")
        answer = json.loads(b"".join([part async for part in response.content]))
    assert isinstance(answer["choices"][0]["message"]["content"], str), "a whole answer has no content"
    async with engine.stream(_chat(model, stream=True)) as response:
        _check_head(response, "text/event-stream")
        _check_events([part async for part in response.content])


async def _check_refusals(engine: Engine, model: str) -> None:
    for method, url in (("GET", "/slots"), ("DELETE", "/v1/models"), ("POST", "/v1/../slots"), ("GET", "/v1//models")):
        try:
            async with engine.stream(HttpRequest(method=method, url=url)):
                raise AssertionError(f"{method} {url} was let through: use engine_request")
        except NotAllowedError:
            continue


async def _check_bad_body(engine: Engine, model: str) -> None:
    with suppress(ConfsecError):
        async with engine.stream(_post(b'{"messages": [')) as response:
            assert response.status >= 400, f"half a JSON object was answered with status {response.status}"


async def _check_slow_reader(engine: Engine, model: str) -> None:
    async with engine.stream(_chat(model, stream=True)) as slow:
        parts = [await anext(slow.content)]
        await _check_answers(engine, model)
        parts += [part async for part in slow.content]
    _check_events(parts)


async def _check_leaving(engine: Engine, model: str) -> None:
    async with engine.stream(_chat(model, stream=True)) as response:
        await anext(response.content)
    await _check_answers(engine, model)


async def _check_cancellation(engine: Engine, model: str) -> None:
    with anyio.CancelScope() as scope:
        async with engine.stream(_chat(model, stream=True)) as response:
            await anext(response.content)
            scope.cancel()
            await anyio.sleep_forever()
    await _check_answers(engine, model)


async def _check_callers_error(engine: Engine, model: str) -> None:
    error = LookupError("the caller's own")
    try:
        async with engine.stream(_chat(model, stream=True)):
            raise error
    except LookupError as exc:
        if exc is error:
            return
    raise AssertionError("the caller's own exception did not come through")


def _chat(model: str, *, stream: bool) -> HttpRequest:
    messages = [{"role": "user", "content": "Say something."}]
    return _post(json.dumps({"model": model, "messages": messages, "stream": stream, "max_tokens": 32}).encode())


def _post(content: bytes) -> HttpRequest:
    headers = (("content-type", "application/json"),)
    return HttpRequest(method="POST", url="/v1/chat/completions", headers=headers, content=content)


def _check_head(response: HttpResponse, content_type: str) -> None:
    assert response.status == 200, f"a good request was answered with status {response.status}"
    got = header(response.headers, "content-type")
    assert got is not None, "the answer has no content type"
    assert got.startswith(content_type), f"the answer's content type is {got}, not {content_type}"


def _check_events(parts: Sequence[bytes]) -> None:
    assert all(parts), "a part of an answer is empty"
    events = b"".join(parts).replace(b"\r\n", b"\n").split(b"\n\n")
    assert len(events) > 2, "a streamed answer has one event only"
    assert events[-2:] == [b"data: [DONE]", b""], "a streamed answer does not end with [DONE]"
