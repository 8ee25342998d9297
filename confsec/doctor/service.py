"""A service, step by step as a client meets it: each step is timed, and the first that fails says what to do.

1. The directory can be read.
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
from confsec.doctor.findings import Finding, info, ok, problem_of, warning
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
    TransportError,
    UnknownKeyError,
    VerificationError,
)
from confsec.protocol.appraisal import TrustedKeyConfig
from confsec.protocol.bhttp import Request
from confsec.protocol.directory import ServiceDirectory
from confsec.protocol.oblivious import OUTER_HEADERS
from confsec.protocol.policy import Policy
from confsec.protocol.private import INNER_AUTHORITY, PrivateResponseStarted
from confsec.protocol.session import (
    AppraisalDue,
    ClientSession,
    FleetRefused,
    FleetTrusted,
    PrivateProgress,
    Send,
    SessionEvent,
)

__all__ = ["ReadDirectory", "look_at_service"]

ReadDirectory = Callable[[], Awaitable[bytes]]
"""Reads the bytes of a directory file. Raises `ConfsecError`."""

_STEP_TIMEOUT: Final = 30.0
_MODELS: Final = "/v1/models"


async def look_at_service(
    read_directory: ReadDirectory, policy: Policy, transport: Transport, *, clock: Clock = system.now
) -> list[Finding]:
    """Go through the steps until one fails, each of at most 30 seconds. `transport` stays the caller's."""
    visit = _Visit(read_directory, policy, transport, clock)
    steps = (visit.directory, visit.relay, visit.gateway, visit.evidence, visit.node)
    for step in steps:
        if not await visit.take(step):
            break
    return visit.findings


@final
class _Visit:
    """What one visit to a service has found so far."""

    def __init__(self, read_directory: ReadDirectory, policy: Policy, transport: Transport, clock: Clock) -> None:
        self.findings: list[Finding] = []
        self._read_directory = read_directory
        self._policy = policy
        self._transport = transport
        self._clock = clock
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
        """Read the directory file."""
        data = await self._read_directory()
        try:
            self._directory = ServiceDirectory.from_toml(data.decode("utf-8"))
        except UnicodeDecodeError as exc:
            raise ConfigError("the directory is not text in UTF-8") from exc
        self._session = ClientSession(self._directory, policy=self._policy, randbytes=system.randbytes)
        keys = ", ".join(config.kem.name for config in self._directory.gateway_key_configs)
        self.findings.append(
            info(
                "service.digest",
                f"the directory's SHA-256 is {sha256(data).hexdigest()}",
                "Compare it with others': whoever wrote it chose the keys that you seal to",
            )
        )
        return f"the directory can be read; the gateway's keys: {keys}"

    async def relay(self) -> str:
        """Knock at the relay's door. It refuses what is no encapsulated request, and that is answer enough."""
        async with self._transport.stream(HttpRequest(method="GET", url=self._directory.relay_url)):
            return "the relay answers"

    async def gateway(self) -> str:
        """Fetch the fleet record."""
        (fleet,) = _sends(self._session.fetch_fleet(now=self._clock()))
        self._evidence = _sends(await self._exchange(fleet))
        return f"the gateway opens what is sealed to its key; the fleet has {len(self._evidence) // 2} nodes"

    async def evidence(self) -> str:
        """Fetch and appraise the evidence of the nodes."""
        events: list[SessionEvent] = []
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
        """Compare clocks."""
        if self._session.epoch is not None:
            self.findings.append(look_at_epoch(self._session.epoch.began, self._clock()))

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
    if isinstance(error, VerificationError) and error.hint:
        return ""  # what a policy refuses knows best why
    fitting = [todo for kind, todo in _TODO.get(step, ()) if isinstance(error, kind)]
    return fitting[0] if fitting else ""
