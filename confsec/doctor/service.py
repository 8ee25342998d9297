"""A service, step by step as a client meets it: each step is timed, and the first that fails says what to do.

1. The directory can be read: a file, or under a root file the entry of a log that is in effect.
2. Something answers at the relay's address.
3. The gateway opens what is sealed to its key: the fleet record comes back.
4. The evidence of the nodes is appraised: what the hardware is, what is left to assume, and which node is refused, why.
5. A node answers a private request, which asks the engine for its models. No prompt is sent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Final, final

import anyio
import anyio.to_thread

from confsec.backends import system
from confsec.backends.api import Clock, HttpRequest, Transport, header
from confsec.backends.log_source import HttpLogSource, read_log
from confsec.doctor.findings import Finding, info, ok, problem_of, warning
from confsec.doctor.logs import Remembered, log_todo, look_at_checkpoint, look_at_memory, look_at_root
from confsec.doctor.machine import look_at_epoch
from confsec.errors import (
    AppraisalError,
    BackendError,
    BusyError,
    ConfigError,
    ConfsecError,
    DeadlineError,
    DecryptionError,
    EngineError,
    PeerError,
    TransparencyError,
    TransportError,
    UnknownKeyError,
    VerificationError,
)
from confsec.protocol.appraisal import TrustedKeyConfig
from confsec.protocol.bhttp import Request
from confsec.protocol.directory import ServiceDirectory
from confsec.protocol.log_root import LogRoot
from confsec.protocol.log_state import MAX_STATE_ENTRIES
from confsec.protocol.oblivious import OUTER_HEADERS
from confsec.protocol.policy import Policy
from confsec.protocol.private import INNER_AUTHORITY, PrivateResponseStarted
from confsec.protocol.service_logs import LoggedDirectory
from confsec.protocol.session import (
    AppraisalDue,
    ClientSession,
    FleetRefused,
    FleetTrusted,
    PrivateProgress,
    Send,
    SessionEvent,
)
from confsec.protocol.state_reader import Firsts, StateUpdate
from confsec.protocol.transparency import TrustedLog
from confsec.protocol.tree_reader import CHECKPOINT_PATH
from confsec.service_reader import read_description

__all__ = ["ReadDirectory", "look_at_service", "remember_nothing"]

ReadDirectory = Callable[[], Awaitable[bytes]]
"""Reads the bytes of a directory file, or of a root file. Raises `ConfsecError`."""

_STEP_TIMEOUT: Final = 30.0
_MODELS: Final = "/v1/models"


async def remember_nothing(origin: str) -> TrustedLog:
    """Remember nothing of a log."""
    return TrustedLog(origin)


async def look_at_service(
    read_directory: ReadDirectory,
    policy: Policy,
    transport: Transport,
    *,
    remembered: Remembered = remember_nothing,
    clock: Clock = system.now,
) -> list[Finding]:
    """Go through the steps until one fails, each of at most 30 seconds. `transport` stays the caller's.

    What is `remembered` of a service's logs is asked for, and not changed.
    """
    visit = _Visit(read_directory, policy, transport, remembered, clock)
    steps = (visit.directory, visit.relay, visit.gateway, visit.evidence, visit.node)
    for step in steps:
        if not await visit.take(step):
            break
    return visit.findings


@final
class _Visit:
    """What one visit to a service has found so far."""

    def __init__(
        self,
        read_directory: ReadDirectory,
        policy: Policy,
        transport: Transport,
        remembered: Remembered,
        clock: Clock,
    ) -> None:
        self.findings: list[Finding] = []
        self._read_directory = read_directory
        self._policy = policy
        self._transport = transport
        self._remembered = remembered
        self._clock = clock
        self._root: LogRoot | None = None
        self._due: list[SessionEvent] = []
        self._directory: ServiceDirectory
        self._session: ClientSession
        self._evidence: list[Send] = []

    async def take(self, step: Callable[[], Awaitable[str]]) -> bool:
        """Take one step, and tell whether the next one makes sense."""
        name = step.__name__
        begin = system.monotonic()
        try:
            with _deadline():
                what = await step()
        except ConfsecError as exc:
            self.findings.append(problem_of(f"service.{name}", exc, _todo(name, exc)))
            return False
        self.findings.append(ok(f"service.{name}", what, milliseconds=(system.monotonic() - begin) * 1000))
        return True

    async def directory(self) -> str:
        """Read the directory: out of a log if a root names one."""
        data = await self._read_directory()
        described = read_description(data, "of the service")
        if isinstance(described, LogRoot):
            return await self._logged_directory(described)
        self._directory = described
        self._session = self._begin(described)
        keys = ", ".join(config.kem.name for config in self._directory.gateway_key_configs)
        self.findings.append(
            info(
                "service.digest",
                f"the directory's SHA-256 is {sha256(data).hexdigest()}",
                "Compare it with others': whoever wrote it chose the keys that you seal to",
            )
        )
        return f"the directory can be read; the gateway's keys: {keys}"

    async def _logged_directory(self, root: LogRoot) -> str:
        """Read the log of directories: whose word there is for it, and what is in effect."""
        self._root = root
        self.findings += look_at_root(root)
        trusted = await self._remembered(root.directory.origin)
        self.findings.append(look_at_memory(trusted))
        log, fetch = root.directory, HttpLogSource(root.directory.url, self._transport).fetch
        note = await fetch(CHECKPOINT_PATH)
        if note is not None:
            self.findings += look_at_checkpoint(
                "directory", note, root, log.origin, maximum_age=log.maximum_age, at=self._clock()
            )
        update = StateUpdate(
            trusted, root.witnesses, at=self._clock(), maximum_age=log.maximum_age, entries=MAX_STATE_ENTRIES,
            firsts=Firsts.ALL,
        )  # fmt: skip
        logged = LoggedDirectory(root, (await read_log(update, fetch)).state)
        found = logged.in_effect
        self._directory, self._session = found.directory, self._begin(logged)
        known = f"{found.known_since:%Y-%m-%d %H:%M:%S} UTC"
        return f"entry {found.index} of the log of directories is in effect, seen by a quorum since {known}"

    def _begin(self, described: ServiceDirectory | LoggedDirectory) -> ClientSession:
        return ClientSession(described, policy=self._policy, randbytes=system.randbytes)

    async def relay(self) -> str:
        """Knock at the relay's door. It refuses what is no encapsulated request, and that is answer enough."""
        async with self._transport.stream(HttpRequest(method="GET", url=self._directory.relay_url)):
            return "the relay answers"

    async def gateway(self) -> str:
        """Fetch the fleet record: under a root, the one that its log names."""
        if self._root is not None:
            return await self._logged_fleet(self._root)
        (fleet,) = _sends(self._session.fetch_fleet(now=self._clock()))
        self._evidence = _sends(await self._exchange(fleet))
        return f"the gateway opens what is sealed to its key; the fleet has {len(self._evidence) // 2} nodes"

    async def _logged_fleet(self, root: LogRoot) -> str:
        """Read the log of fleets through the gateway, and all that follows from its newest entry."""
        trusted = await self._remembered(root.fleet.origin)
        waiting = _sends(self._session.fetch_fleet(now=self._clock(), fleet_log=trusted))
        while waiting:
            events = await self._exchange(waiting.pop(0))
            waiting += _sends(events)
            self._due += [event for event in events if not isinstance(event, Send)]
        nodes = sum(isinstance(event, AppraisalDue) for event in self._due)
        return f"the gateway opens what is sealed to its key; the log of fleets has a fleet of {nodes} nodes"

    async def evidence(self) -> str:
        """Fetch and appraise the evidence of the nodes."""
        events = await self._appraise(self._due)
        for send in self._evidence:
            events += await self._appraise(await self._exchange(send))
        (fleet,) = [event for event in events if isinstance(event, FleetTrusted)]
        self.findings += map(_refused_finding, fleet.refused)
        self.findings += _attestation_findings(fleet.trusted)
        self._look_at_epoch()
        return f"{len(fleet.trusted)} nodes are trusted under the policy {self._policy.name}"

    async def node(self) -> str:
        """Ask for the engine's models, privately."""
        request = Request("GET", "https", INNER_AUTHORITY, _MODELS)
        (send,) = _sends(self._session.request(request, now=self._clock()))
        progress = [event.event for event in await self._exchange(send) if isinstance(event, PrivateProgress)]
        (started,) = [event for event in progress if isinstance(event, PrivateResponseStarted)]
        if started.status >= 500:
            raise EngineError("a node answered, and its engine did not", got=f"status {started.status}")
        return f"a node answered a private request; its engine says status {started.status} to GET {_MODELS}"

    def _look_at_epoch(self) -> None:
        """Compare clocks, and say who dates the epoch."""
        epoch = self._session.epoch
        if epoch is None:
            return
        self.findings.append(look_at_epoch(epoch.began, self._clock()))
        if epoch.witnesses:
            self.findings.append(ok("logs.epoch", f"the epoch is dated by {', '.join(epoch.witnesses)}"))

    async def _appraise(self, events: list[SessionEvent]) -> list[SessionEvent]:
        """Run the appraisals that are due, and return what came of them."""
        found: list[SessionEvent] = []
        for event in events:
            if isinstance(event, AppraisalDue):
                found += self._session.receive_appraisal(await anyio.to_thread.run_sync(event.run))
            else:
                found.append(event)
        return found

    async def _exchange(self, send: Send) -> list[SessionEvent]:
        """Carry one exchange of the session to its end."""
        url = self._directory.relay_url
        request = HttpRequest(method="POST", url=url, headers=OUTER_HEADERS, content=send.data)
        events: list[SessionEvent] = []
        async with self._transport.stream(request) as response:
            media_type = header(response.headers, "content-type") or ""
            self._session.receive_head(send.exchange, response.status, media_type)
            async for part in response.content:
                events += self._session.receive_data(send.exchange, part)
        return events + self._session.receive_eof(send.exchange, now=self._clock())


def _refused_finding(refused: FleetRefused) -> Finding:
    """Say why a node is not trusted, by the ids of the checks if there were any."""
    error = refused.error
    which = ", ".join(error.codes) if isinstance(error, AppraisalError) else error.code
    what = f"node {refused.node_id.hex()[:16]} is not trusted: {error} [{which}]"
    return warning("service.refused", what, "Tell the operator. Requests go to other nodes")


def _attestation_findings(nodes: Sequence[TrustedKeyConfig]) -> Iterator[Finding]:
    """Say what vouches for the trusted nodes, and what does not."""
    platforms = sorted({node.result.platform.name for node in nodes if node.result.platform})
    if platforms:
        yield ok("service.platform", f"the hardware vouches for the nodes: {', '.join(platforms)}")
    if any(node.result.simulated for node in nodes):
        yield warning("service.simulated", "a TEE is simulated: everybody has its keys", "Send nothing that matters")
    if any(node.result.platform is None for node in nodes):
        yield warning(
            "service.unattested", "nothing vouches for the nodes", "Send nothing that the operator may not read"
        )
    assumed = sorted({assumption.value for node in nodes for assumption in node.result.assumes})
    if assumed:
        yield info(
            "service.assumes", f"left to assume: {', '.join(assumed)}", "docs/attestation.md says what that means"
        )
    ends = min((node.usable_until for node in nodes), default=None)
    if ends is not None:
        yield info("service.expires", f"the evidence can be used until {ends:%Y-%m-%d %H:%M:%S} UTC")


def _sends(events: list[SessionEvent]) -> list[Send]:
    return [event for event in events if isinstance(event, Send)]


@contextmanager
def _deadline() -> Generator[None]:
    try:
        with anyio.fail_after(_STEP_TIMEOUT):
            yield
    except TimeoutError as exc:
        raise DeadlineError("this took too long", want=f"at most {_STEP_TIMEOUT:g} s") from exc


_Todos = Mapping[str, Sequence[tuple[type[ConfsecError], str]]]
_TODO: Final[_Todos] = {
    "directory": (
        (ConfigError, ""),  # the error knows best
        (ConfsecError, "Ask the operator where the directory file is, and get it again"),
    ),
    "relay": ((ConfsecError, "Is the relay running, and may this machine reach it? Try: curl -i THE-RELAYS-URL"),),
    "gateway": (
        (UnknownKeyError, "The gateway has other keys by now: get the newest directory file from the operator"),
        (DecryptionError, "The directory's keys are not this gateway's: get the directory file again"),
        (BusyError, "The operator finds out which one at GET /healthz of relay, gateway, router and nodes"),
        (TransportError, "Try again. The operator finds the reason in the log of the relay"),
        (
            PeerError,
            "Does the gateway run? The operator compares relay --gateways, gateway --targets and the directory",
        ),
        (VerificationError, "The operator runs more nodes, or your policy asks for fewer"),
    ),
    "node": (
        (UnknownKeyError, "An epoch ended in between: try again"),
        (BackendError, "The operator looks at GET /healthz of the nodes, and at their engines"),
    ),
}
"""By step and error: what to do. The first that fits counts; where it is empty or none fits, the error's hint does."""


def _todo(step: str, error: ConfsecError) -> str:
    if isinstance(error, TransparencyError):
        return log_todo(error)
    if isinstance(error, VerificationError) and error.hint:
        return ""  # what a policy refuses knows best why
    fitting = [todo for kind, todo in _TODO.get(step, ()) if isinstance(error, kind)]
    return fitting[0] if fitting else ""
