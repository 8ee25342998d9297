"""What the worst input that we know costs each decoder of attestation: a megabyte, or as much as its limit lets in."""

from __future__ import annotations

from collections.abc import Iterator
from time import thread_time
from typing import Final

from benchmarks.appraise import clear_caches
from benchmarks.measure import Plan
from benchmarks.peers import Peers
from benchmarks.report import Report, Row, at_most
from benchmarks.worst_inputs import worst_inputs
from confsec.errors import ConfsecError
from tests.fuzz.targets import TARGETS, Target

__all__ = ["run"]

GOAL: Final = at_most(0.05)
SHOWN: Final = 0.001
"""Decoders that take less stand in one row together, in seconds."""

_NOTES: Final = {True: "It is read to its end, though few verifiers would accept it.", False: "It is refused."}


def run(plan: Plan, peers: Peers) -> Report:
    """Give each decoder its worst inputs, and report the one that takes longest."""
    del peers  # nobody else has these decoders
    targets = [target for target in TARGETS if not target.name.startswith("verify-")]
    rows = sorted((_worst(target, repeats=5 if plan.install else 1) for target in targets), key=lambda row: -row.ours)
    slow = [row for row in rows if row.ours >= SHOWN]
    rest = rows[len(slow) :]
    if rest:
        slow.append(Row(what=f"each of {len(rest)} others", ours=rest[0].ours, unit="s", goal=GOAL))
    return Report(name="worst_case", title="the worst megabyte for each decoder, in computing time", rows=tuple(slow))


def _worst(target: Target, *, repeats: int) -> Row:
    seconds, name, accepted = max(_measured(target, repeats))
    return Row(what=f"{target.name}: {name}", ours=seconds, unit="s", goal=GOAL, note=_NOTES[accepted])


def _measured(target: Target, repeats: int) -> Iterator[tuple[float, str, bool]]:
    """Yield the shortest of some computing times for each input: the longer ones are other programs' doing."""
    for name, data in worst_inputs(target.name):
        times, accepted = [], False
        for _ in range(repeats):
            clear_caches()
            begin = thread_time()
            accepted = _accepts(target, data)
            times.append(thread_time() - begin)
        yield min(times), name, accepted


def _accepts(target: Target, data: bytes) -> bool:
    try:
        target.decode(data)
    except ConfsecError:
        return False
    return True
