"""How things are measured against each other on a machine that others use too.

Contenders take turns in short slices, round after round, each round in another order. A ratio is made within a round,
where both had the same machine, and the median of all rounds' ratios is what counts. So a drift of the machine cancels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median, quantiles
from time import perf_counter
from typing import Final, final

from attrs import frozen

__all__ = ["FULL", "SMOKE", "Contender", "Plan", "Spread", "Timings", "measure", "ratio_of", "spread_of", "timed"]

Contender = Callable[[int], float]
"""Does its work so many times and returns the seconds that this took."""

_MAX_ITERATIONS: Final = 1 << 20


@final
@frozen(kw_only=True)
class Plan:
    """How long a benchmark measures, and how much of everything it takes."""

    rounds: int
    """How often all contenders take their turn."""

    slice_seconds: float
    """How long one turn is about to take."""

    stream_size: int
    """Bytes of a long message."""

    first_tokens: int
    """Answers from which the delay of the first token is read: the 99th percentile wants hundreds."""

    rate_answers: int
    """Answers from which the rate of tokens is read."""

    tokens: int
    """Tokens of such an answer."""

    streams: int
    """Answers at once, where there are many."""

    log_entries: int
    """Entries of a large log."""

    install: bool
    """Whether to install the core into an environment of its own, which takes a registry."""


FULL: Final = Plan(
    rounds=101,
    slice_seconds=0.015,
    stream_size=64 << 20,
    first_tokens=300,
    rate_answers=5,
    tokens=200,
    streams=32,
    log_entries=1_000_000,
    install=True,
)
"""What numbers that mean something take."""

SMOKE: Final = Plan(
    rounds=2,
    slice_seconds=0.001,
    stream_size=1 << 18,
    first_tokens=2,
    rate_answers=2,
    tokens=3,
    streams=2,
    log_entries=20_000,
    install=False,
)
"""Enough to see that everything runs. The numbers mean nothing."""

Timings = Mapping[str, Sequence[float]]
"""Seconds for one piece of work, by contender: one number for each round."""


@final
@frozen
class Spread:
    """The median of what the rounds gave, and between which numbers the middle half of them lies."""

    median: float
    low: float
    high: float


def timed(work: Callable[[], object]) -> Contender:
    """Make a contender of work that is done in this process."""

    def run(iterations: int) -> float:
        begin = perf_counter()
        for _ in range(iterations):
            work()
        return perf_counter() - begin

    return run


def measure(contenders: Mapping[str, Contender], plan: Plan) -> Timings:
    """Let all contenders take turns, and return what each took for one piece of its work."""
    iterations = {name: _iterations(run, plan.slice_seconds) for name, run in contenders.items()}
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for order in _orders(list(contenders), plan.rounds):
        for name in order:
            taken[name].append(contenders[name](iterations[name]) / iterations[name])
    return {name: tuple(seconds) for name, seconds in taken.items()}


def ratio_of(above: Sequence[float], below: Sequence[float]) -> Spread:
    """Return the ratio of two contenders' times, made within each round."""
    return spread_of([a / b for a, b in zip(above, below, strict=True)])


def spread_of(numbers: Sequence[float]) -> Spread:
    """Return the median, and the quartiles around it."""
    if len(numbers) == 1:
        return Spread(numbers[0], numbers[0], numbers[0])
    low, _, high = quantiles(numbers, n=4, method="inclusive")
    return Spread(median(numbers), low, high)


def _iterations(run: Contender, seconds: float) -> int:
    """Find out how often a contender can do its work in a slice, warming it up on the way."""
    iterations = 1
    while iterations < _MAX_ITERATIONS:
        taken = run(iterations)
        if taken * 2 >= seconds:
            return max(1, round(iterations * seconds / taken))
        iterations *= min(16, max(2, math.ceil(seconds / 2 / taken))) if taken else 16
    return iterations


def _orders(names: list[str], rounds: int) -> Iterator[list[str]]:
    """Yield an order for each round in which everyone comes first as often, and follows each neighbour as often."""
    for number in range(rounds):
        place = number % len(names)
        order = names[place:] + names[:place]
        yield order if number // len(names) % 2 == 0 else order[::-1]
