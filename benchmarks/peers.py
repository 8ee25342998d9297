"""Peers as contenders: the programs of tests/interop, which do the same work inside their own process."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Final, Self, final

from attrs import frozen

from benchmarks.measure import Contender
from tests.interop.build import GO_SEV_GUEST, GO_TDX_GUEST, LOG_PROGRAMS
from tests.interop.log_peers import LogPeer
from tests.interop.peers import (
    ANSWER_TIMEOUT,
    PROGRAMS,
    Peer,
    PeerError,
    PeerMissingError,
    PeerSuite,
    Program,
    ToolMissingError,
    start,
)
from tests.interop.token_peers import SIGNERS, TokenPeer

__all__ = ["Appraiser", "Peers"]

APPRAISERS: Final = {"sev-snp": GO_SEV_GUEST, "tdx": GO_TDX_GUEST}
"""Who verifies evidence, by the kind of TEE."""

NOT_IN_NPM: Final = "JS ohttp-ts, ohttp-js"


@final
@frozen
class Appraiser:
    """Somebody else's verifier."""

    name: str
    peer: Peer

    def contenders(self, evidence: Mapping[str, bytes], at: datetime, *, refusal: str = "") -> dict[str, Contender]:
        """Return its two steps, alone and together. Raises `PeerError` if it does not end with `refusal`, or well."""
        fields = {"evidence": dict(evidence), "at": int(at.timestamp()), "refusal": refusal}
        self.peer.call("appraise", timeout=ANSWER_TIMEOUT, **fields)

        def step(what: str, iterations: int) -> float:
            answer = self.peer.call("bench", timeout=600, what=what, iterations=iterations, **fields)
            return float(answer["seconds"])

        return {
            f"{self.name}, verify": partial(step, "verify"),
            f"{self.name}, validate": partial(step, "validate"),
            f"{self.name}, both": lambda count: step("verify", count) + step("validate", count),
        }

    def sample(self) -> dict[str, bytes]:
        """Return the evidence that it tests itself with."""
        return {name: bytes.fromhex(value) for name, value in self.peer.call("sample")["evidence"].items()}


@final
class Peers:
    """The peers that are here, running. Empty unless they were asked for."""

    def __init__(self, *, wanted: bool) -> None:
        self.missing: dict[str, str] = {}
        """What could not be measured, and why."""
        self._wanted = wanted
        self._running: dict[str, Peer] = {}
        self._signers: dict[str, Peer] | None = None
        self._appraisers: dict[str, Peer] | None = None
        self._logs: dict[str, Peer] | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._running = self._start({program.name: program for program in PROGRAMS})
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

    def signers(self, step: str, private_key: bytes) -> dict[str, Contender]:
        """Return those who have blind signatures and do this step with the key (PKCS #8), by name."""
        if self._signers is None:
            self._signers = self._start(SIGNERS)
        return {name: _signer(TokenPeer(peer), step, private_key) for name, peer in self._signers.items()}

    def appraiser(self, tee: str) -> Appraiser | None:
        """Return the one who verifies evidence of a TEE. Why there is none goes to `missing`."""
        if self._appraisers is None:
            self._appraisers = self._start({program.name: program for program in APPRAISERS.values()})
        name = APPRAISERS[tee].name
        peer = self._appraisers.get(name)
        return None if peer is None else Appraiser(name, peer)

    def log_peer(self, program: Program) -> LogPeer | None:
        """Return the one who has logs, or parts of them. Why there is none goes to `missing`."""
        if self._logs is None:
            self._logs = self._start({program.name: program for program in LOG_PROGRAMS})
        peer = self._logs.get(program.name)
        return None if peer is None else LogPeer(peer)

    def take_missing(self) -> dict[str, str]:
        """Return what was missing since this was asked last."""
        missing, self.missing = self.missing, {}
        return missing

    def _start(self, programs: Mapping[str, Program]) -> dict[str, Peer]:
        """Start those that are wanted, and return them by the names given. The others go to `missing`."""
        running = {}
        for name, program in programs.items() if self._wanted else ():
            try:
                running[name] = self._stack.enter_context(start(program, _report))
            except (PeerMissingError, ToolMissingError) as exc:
                self.missing[name] = str(exc)
        return running


def _contender(peer: Peer, what: str, *, size: int, suite: PeerSuite | None, chunk: int) -> Contender:
    def run(iterations: int) -> float:
        if what == "stream":  # one long message for each call
            return sum(peer.bench(what, size=size, suite=suite, chunk=chunk) for _ in range(iterations))
        return peer.bench(what, size=size, suite=suite, iterations=iterations)

    return run


def _signer(peer: TokenPeer, step: str, private_key: bytes) -> Contender:
    return lambda iterations: peer.bench(step, private_key, iterations=iterations)


def _work(what: str, suite: PeerSuite | None, chunk: int) -> str:
    return ", ".join(filter(None, (what, str(suite or ""), f"chunks of {chunk // 1024} KiB" if chunk else "")))


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
