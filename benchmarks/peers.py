"""Peers as contenders: the programs of tests/interop, which do the same work inside their own process."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self, final

from benchmarks.measure import Contender
from tests.interop.peers import PROGRAMS, Peer, PeerError, PeerMissingError, PeerSuite, ToolMissingError, start

__all__ = ["Peers"]

NOT_IN_NPM: Final = "JS ohttp-ts, ohttp-js"


@final
class Peers:
    """The peers that are here, running. Empty unless they were asked for."""

    def __init__(self, *, wanted: bool) -> None:
        self.missing: dict[str, str] = {}
        """What could not be measured, and why."""
        self._wanted = wanted
        self._running: dict[str, Peer] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for program in PROGRAMS if self._wanted else ():
            try:
                self._running[program.name] = self._stack.enter_context(start(program, _report))
            except (PeerMissingError, ToolMissingError) as exc:
                self.missing[program.name] = str(exc)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def contenders(
        self, what: str, *, size: int, suite: PeerSuite | None = None, chunk: int = 0
    ) -> dict[str, Contender]:
        """Return those who do this work, by name. Why the others do not goes to `missing`."""
        found = {}
        for name, peer in self._running.items():
            contender = _contender(peer, what, size=size, suite=suite, chunk=chunk)
            try:
                contender(1)
            except PeerError as exc:
                self.missing[f"{name}, {_work(what, suite, chunk)}"] = str(exc)
            else:
                found[name] = contender
        return found

    def take_missing(self) -> dict[str, str]:
        """Return what was missing since this was asked last."""
        missing, self.missing = self.missing, {}
        return missing


def _contender(peer: Peer, what: str, *, size: int, suite: PeerSuite | None, chunk: int) -> Contender:
    def run(iterations: int) -> float:
        if what == "stream":  # one long message for each call
            return sum(peer.bench(what, size=size, suite=suite, chunk=chunk) for _ in range(iterations))
        return peer.bench(what, size=size, suite=suite, iterations=iterations)

    return run


def _work(what: str, suite: PeerSuite | None, chunk: int) -> str:
    return ", ".join(filter(None, (what, str(suite or ""), f"chunks of {chunk // 1024} KiB" if chunk else "")))


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
