"""What all layers add to an answer: to its first token, and to the rate of its tokens.

Relay, gateway, router and nodes run as processes of their own, with node keys in software; the engine is another
process. Every answer through the layers is paired with one that the same client gets from the engine directly, right
before or after it. Everything shares one machine, the client included.
"""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter, process_time
from typing import Final, Protocol, final

import anyio
from attrs import frozen

from benchmarks.engine import chat_request, running_engine
from benchmarks.measure import Plan, ratio_of, spread_of
from benchmarks.peers import Peers
from benchmarks.report import Goal, Report, Row, at_least, at_most
from confsec.backends.api import HttpRequest, HttpResponse
from confsec.backends.http import HttpTransport
from confsec.client import Client
from confsec.demo.run import read_events
from confsec.demo.service import DemoService, DemoSettings, start_demo
from confsec.protocol.policy import UNSAFE_UNATTESTED

__all__ = ["run"]

P50_GOAL: Final = at_most(5)
P99_GOAL: Final = at_most(15)
RATE_GOAL: Final = at_least(98)

SLOW: Final = 100.0
FAST: Final = 1000.0

_DIRECT: Final = "engine directly"
_SHORT: Final = 4
_WARM_UP: Final = 3
_MANY_ROUNDS: Final = 3
"""How often many streams are asked for at once, each way."""


class _Streams(Protocol):
    """What a client and a transport have in common."""

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]: ...


@final
@frozen
class _Answer:
    """When the tokens of one answer came."""

    first: float
    """Seconds from the question to the first token."""

    rate: float
    """Tokens per second from the question to the last token, so that a late start cannot pass for speed."""


@final
@frozen
class _Pairs:
    """Answers through all layers, and as many from the engine directly."""

    layers: tuple[_Answer, ...]
    direct: tuple[_Answer, ...]


_Ask = Callable[[], Awaitable[_Answer]]


def run(plan: Plan, peers: Peers) -> Report:
    """Start everything, ask, and compare."""
    rows = anyio.run(_measure, plan)
    title = "what all layers add to an answer, over asking the engine directly"
    return Report(name="first_token", title=title, rows=tuple(rows))


async def _measure(plan: Plan) -> list[Row]:
    with running_engine() as engine, tempfile.TemporaryDirectory() as folder:
        settings = DemoSettings(engine=engine, taps=False)
        async with start_demo(Path(folder), settings) as service:
            client = Client(service.service_file, policy=UNSAFE_UNATTESTED)
            transport = HttpTransport()
            async with client, aclosing(transport):
                return await _compare(plan, _Sides(client, transport, engine), service)


@final
class _Sides:
    """Both ways to the engine."""

    def __init__(self, layers: _Streams, direct: _Streams, engine: str) -> None:
        self._layers = layers
        self._direct = direct
        self._engine = engine

    async def pairs(self, count: int, tokens: int, rate: float) -> _Pairs:
        """Ask both ways by turns, one question at a time."""
        return await self._by_turns(count, _one, tokens, rate)

    async def pairs_at_once(self, count: int, streams: int, tokens: int, rate: float) -> _Pairs:
        """Ask both ways by turns, with many questions at the same time."""
        return await self._by_turns(count, lambda ask: _at_once(ask, streams), tokens, rate)

    async def ask_layers(self, count: int) -> None:
        """Ask only through the layers, for one token each time."""
        ask, _ = self._asks(1, SLOW)
        for _ in range(count):
            await ask()

    async def _by_turns(
        self, count: int, several: Callable[[_Ask], Awaitable[list[_Answer]]], tokens: int, rate: float
    ) -> _Pairs:
        layers, direct = self._asks(tokens, rate)
        answers: dict[_Ask, list[_Answer]] = {layers: [], direct: []}
        for number in range(count):
            for ask in (layers, direct) if number % 2 else (direct, layers):
                answers[ask] += await several(ask)
        return _Pairs(tuple(answers[layers]), tuple(answers[direct]))

    def _asks(self, tokens: int, rate: float) -> tuple[_Ask, _Ask]:
        content = chat_request(tokens, rate)

        async def ask_layers() -> _Answer:
            return await _ask(self._layers, "/v1/chat/completions", content, tokens)

        async def ask_directly() -> _Answer:
            return await _ask(self._direct, f"{self._engine}/v1/chat/completions", content, tokens)

        return ask_layers, ask_directly


async def _one(ask: _Ask) -> list[_Answer]:
    return [await ask()]


async def _at_once(ask: _Ask, streams: int) -> list[_Answer]:
    answers: list[_Answer] = []

    async def keep() -> None:
        answers.append(await ask())

    async with anyio.create_task_group() as tasks:
        for _ in range(streams):
            tasks.start_soon(keep)
    return answers


async def _ask(side: _Streams, url: str, content: bytes, tokens: int) -> _Answer:
    """Ask once, and read the answer to its end."""
    headers = (("content-type", "application/json"),)
    request = HttpRequest(method="POST", url=url, headers=headers, content=content)
    times: list[float] = []
    events = read_events()
    begin = perf_counter()
    async with side.stream(request) as response:
        async for part in response.content:
            times += [perf_counter()] * len(events(part))
    assert response.status == 200
    assert len(times) == tokens
    return _Answer(times[0] - begin, tokens / (times[-1] - begin))


async def _compare(plan: Plan, sides: _Sides, service: DemoService) -> list[Row]:
    await sides.pairs(_WARM_UP, _SHORT, SLOW)
    spent = await _spent(plan, sides, service)
    first = await sides.pairs(plan.first_tokens, _SHORT, SLOW)
    slow = await sides.pairs(plan.rate_answers, plan.tokens, SLOW)
    fast = await sides.pairs(plan.rate_answers, 5 * plan.tokens, FAST)
    many = await sides.pairs_at_once(_MANY_ROUNDS, plan.streams, plan.tokens, SLOW)
    at_once = f"{plan.streams} streams at once"
    return [
        *_delays("one stream", first, P50_GOAL, P99_GOAL),
        _rates("one stream of 100 tokens/s", slow, RATE_GOAL),
        _rates("one stream of 1,000 tokens/s", fast),
        *_delays(at_once, many),
        _rates(f"{at_once}, of 100 tokens/s each", many),
        *spent,
    ]


async def _spent(plan: Plan, sides: _Sides, service: DemoService) -> list[Row]:
    """Return what each process computes for an answer of one token: where the delay of the first token comes from."""
    clocks = {name: _cpu_clock(process.pid) for name, process in service.processes.items()}
    before = {name: clock() for name, clock in clocks.items()}
    own = process_time()
    await sides.ask_layers(plan.first_tokens)
    spent = {"client": process_time() - own}
    for name, clock in clocks.items():
        role = name.partition("-")[0]  # any of the nodes may have answered
        spent[role] = spent.get(role, 0.0) + clock() - before[name]
    return [_spent_row(role, seconds / plan.first_tokens) for role, seconds in spent.items() if seconds]


def _cpu_clock(pid: int) -> Callable[[], float]:
    """Return a clock of the seconds that a process has computed. Linux tells them in nanoseconds."""
    place = Path(f"/proc/{pid}/schedstat")
    return lambda: int(place.read_text(encoding="ascii").split()[0]) / 1e9 if place.exists() else 0.0


def _spent_row(role: str, seconds: float) -> Row:
    note = "Computing time for an answer of one token, the operating system's part included; of all nodes together."
    return Row(what=f"computed by the {role}", ours=seconds, unit="s", note=note)


def _delays(what: str, pairs: _Pairs, p50_goal: Goal | None = None, p99_goal: Goal | None = None) -> list[Row]:
    """Return the delay of the first token: of each answer against the one that it is paired with."""
    layers = [answer.first for answer in pairs.layers]
    direct = [answer.first for answer in pairs.direct]
    added = [(ours - theirs) * 1000 for ours, theirs in zip(layers, direct, strict=True)]
    spread = spread_of(added)
    p50 = Row(
        what=f"first token, p50, {what}",
        ours=median(layers),
        unit="s",
        against=_DIRECT,
        theirs=median(direct),
        result=spread.median,
        result_unit="ms more",
        low=spread.low,
        high=spread.high,
        goal=p50_goal,
    )
    p99 = Row(
        what=f"first token, p99, {what}",
        ours=_p99(layers),
        unit="s",
        against=_DIRECT,
        theirs=_p99(direct),
        result=_p99(added),
        result_unit="ms more",
        goal=p99_goal,
        note="The 99th percentile of what each answer took longer than its pair, not the difference of percentiles.",
    )
    return [p50, p99]


def _rates(what: str, pairs: _Pairs, goal: Goal | None = None) -> Row:
    layers = [answer.rate for answer in pairs.layers]
    direct = [answer.rate for answer in pairs.direct]
    ratio = ratio_of(layers, direct)
    return Row(
        what=f"rate, {what}",
        ours=median(layers),
        unit="tokens/s",
        against=_DIRECT,
        theirs=median(direct),
        result=ratio.median * 100,
        result_unit="%",
        low=ratio.low * 100,
        high=ratio.high * 100,
        goal=goal,
    )


def _p99(numbers: Sequence[float]) -> float:
    return quantiles(numbers, n=100, method="inclusive")[98]
