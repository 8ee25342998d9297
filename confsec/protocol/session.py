"""What one client knows of one service, and the exchanges that it begins.

The session speaks with peers through exchanges, each with a number. What has to be sent is an event, `Send`; what
comes back is handed in by `receive_head`, `receive_data` and `receive_eof` with the number of the exchange. The driver
moves the bytes and decides about time; the session decides whom to trust:

1. `fetch_fleet` asks for the fleet record, which is the same for everyone: under a root, for the end of the fleet's log
   first, and then for the record that its newest entry names;
2. the record asks for evidence, and for the endorsements beside it: of all nodes of whole shards, so that what is
   fetched tells nothing about what is used;
3. when both are there, `AppraisalDue` asks the driver to run the appraisal, in a thread, since it may be slow; what
   passes becomes a `TrustedKeyConfig`. A node is appraised once in an epoch;
4. `request` draws candidates anew among all trusted nodes, makes the Proof, and only then seals.

A fleet record replaces the one before when its evidence has been appraised, never in parts. To a key whose epoch, or
whose endorsements, are too old nothing is sealed.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, final
from urllib.parse import urlsplit

from attrs import define, field, frozen

from confsec.errors import ConfsecError, LocalProtocolError, PolicyError
from confsec.protocol.appraisal import TrustedKeyConfig, appraise_node
from confsec.protocol.bhttp import Request
from confsec.protocol.cmw import MAX_EVIDENCE
from confsec.protocol.directory import ServiceDirectory
from confsec.protocol.draw import draw
from confsec.protocol.epoch import CLOCK_DIFFERENCE, Epoch
from confsec.protocol.fleet import MAX_FLEET_RECORD, FleetNode, FleetRecord
from confsec.protocol.key_config import choose_key_config
from confsec.protocol.log_root import LogRoot
from confsec.protocol.machine import RandBytes
from confsec.protocol.newest_seen import NewestSeen
from confsec.protocol.oblivious import ObliviousExchange
from confsec.protocol.policy import Policy
from confsec.protocol.private import PrivateEvent, PrivateExchange
from confsec.protocol.proof import Proof, TokenUse, make_proof
from confsec.protocol.sealed_header import MAX_RECIPIENTS
from confsec.protocol.service_logs import LoggedDirectory, ServiceLogs
from confsec.protocol.session_files import FLEET_PATH, FileFetch, LogReading
from confsec.protocol.state_reader import Firsts, StateUpdate
from confsec.protocol.transparency import TrustedLog
from confsec.protocol.tree_reader import body_limit

__all__ = [
    "DEFAULT_CANDIDATES",
    "ENDORSEMENTS_PATH",
    "EVIDENCE_PATH",
    "FLEET_MAX_AGE",
    "FLEET_PATH",
    "AppraisalDue",
    "ClientSession",
    "FleetRefused",
    "FleetTrusted",
    "NodeAppraised",
    "PrivateProgress",
    "RequestSealed",
    "Send",
    "SessionEvent",
]

DEFAULT_CANDIDATES: Final = 3
"""To how many nodes a request is sealed. Each of them can read it; of more nodes, one is more likely to be free."""

FLEET_MAX_AGE: Final = timedelta(minutes=10)
"""A fleet record is asked for again after this time: as long as an epoch lasts by default."""

_MIN_EVIDENCE: Final = 64
"""Whole shards are fetched until they hold at least this many nodes, or all there are."""

EVIDENCE_PATH: Final = "/v1/evidence/"
"""Where it has evidence: the SHA-256 follows, in hex."""

ENDORSEMENTS_PATH: Final = "/v1/endorsements/"
"""Where it has what came beside that evidence: the SHA-256 of the evidence follows, in hex."""


@final
@frozen
class Send:
    """These bytes go to the relay as the body of a POST with `OUTER_HEADERS`; its answer belongs to `exchange`."""

    exchange: int
    data: bytes = field(repr=False)


@final
@frozen
class FleetTrusted:
    """A fleet record was appraised and is in use from now on."""

    trusted: tuple[TrustedKeyConfig, ...]
    """The nodes whose evidence passed."""

    refused: tuple[FleetRefused, ...]
    """The nodes whose evidence did not."""


@final
@frozen
class FleetRefused:
    """A node of the fleet record that is not trusted."""

    node_id: bytes
    error: ConfsecError


@final
@frozen
class NodeAppraised:
    """How the appraisal of one node ended."""

    node: FleetNode
    epoch: Epoch = field(repr=False)
    """The epoch that its evidence was compared with."""

    outcome: TrustedKeyConfig | ConfsecError = field(repr=False)
    """The key, trusted, or why it is not."""


@final
@frozen
class AppraisalDue:
    """Evidence and endorsements of a node are there: call `run`, best in a thread, and hand in what it returns."""

    node: FleetNode
    evidence: bytes = field(repr=False)
    endorsements: bytes = field(repr=False)
    policy: Policy = field(repr=False)
    epoch: Epoch = field(repr=False)
    root: LogRoot | None = field(default=None, repr=False)

    def run(self) -> NodeAppraised:
        """Appraise. Pure, and never raises a `ConfsecError`: that is the outcome."""
        try:
            return NodeAppraised(
                self.node,
                self.epoch,
                appraise_node(
                    self.node,
                    self.evidence,
                    self.endorsements,
                    policy=self.policy,
                    epoch=self.epoch,
                    root=self.root,
                ),
            )
        except ConfsecError as exc:
            return NodeAppraised(self.node, self.epoch, exc)


@final
@frozen
class RequestSealed:
    """A request was sealed. The Proof says what was checked before."""

    exchange: int
    proof: Proof


@final
@frozen
class PrivateProgress:
    """Something of the answer to a private request arrived and was opened."""

    exchange: int
    event: PrivateEvent


SessionEvent = Send | AppraisalDue | FleetTrusted | RequestSealed | PrivateProgress
"""What a session asks for, and what its client learns."""


@define
class _Coming:
    """A fleet record on its way to be trusted."""

    encoded: bytes
    record: FleetRecord
    epoch: Epoch
    fetched_at: datetime
    logs: ServiceLogs | None = None
    parts: dict[FleetNode, dict[str, bytes]] = field(factory=dict)
    """What has arrived of the nodes that are not appraised yet, by path."""

    fetches: dict[int, tuple[FleetNode, str]] = field(factory=dict)
    """What is under way, by exchange."""

    trusted: list[TrustedKeyConfig] = field(factory=list)
    refused: list[FleetRefused] = field(factory=list)


@frozen
class _TrustedFleet:
    """The fleet record in use."""

    encoded: bytes
    record: FleetRecord
    nodes: tuple[TrustedKeyConfig, ...]
    fetched_at: datetime
    epoch: Epoch
    logs: ServiceLogs | None = None

    def is_fresh(self, now: datetime) -> bool:
        """Tell whether requests may be sealed to its nodes now."""
        lasts = self.logs.root.fleet.epoch if self.logs else FLEET_MAX_AGE
        young = timedelta(0) <= now - self.fetched_at < min(lasts, FLEET_MAX_AGE)
        return young and all(now < node.usable_until for node in self.nodes)

    def find(self, node: FleetNode, epoch: Epoch, now: datetime) -> TrustedKeyConfig | None:
        """Return a node that was appraised before, in the same epoch and with the same evidence."""
        if self.record.beacon != epoch.beacon or node not in self.record.nodes:
            return None
        found = [each for each in self.nodes if each.node_id == node.node_id and now < each.usable_until]
        return found[0] if found else None


@final
class ClientSession:
    """One client of one service. It lives as long as the client, and has many exchanges."""

    def __init__(
        self,
        directory: ServiceDirectory | LoggedDirectory,
        *,
        policy: Policy,
        randbytes: RandBytes,
        candidates: int = DEFAULT_CANDIDATES,
        newest: NewestSeen | None = None,
    ) -> None:
        """Begin with nothing trusted. `candidates` is from 1 to 16.

        `newest` is what sessions before have seen. With a directory that is in a log, fleets are taken from theirs
        alone. Raises what `find_directory` raises.
        """
        if not 1 <= candidates <= MAX_RECIPIENTS:
            raise LocalProtocolError("a request is sealed to 1 to 16 candidates", got=candidates)
        self._logged = directory if isinstance(directory, LoggedDirectory) else None
        self._directory = directory.in_effect.directory if isinstance(directory, LoggedDirectory) else directory
        self._fleet_log: TrustedLog | None = None
        self._policy = policy
        self._randbytes = randbytes
        self._candidates = candidates
        self._numbers = 0
        self._fetches: dict[int, FileFetch] = {}
        self._private: dict[int, PrivateExchange] = {}
        self._newest = newest or NewestSeen()
        self._coming: _Coming | None = None
        self._fleet: _TrustedFleet | None = None

    def needs_fleet(self, now: datetime) -> bool:
        """Tell whether `request` needs a newer fleet record first."""
        return self._fleet is None or not self._fleet.is_fresh(now)

    @property
    def fleet_id(self) -> bytes:
        """The fleet record in use, or nothing. Compare it to see whether another fetch has replaced it."""
        return self._fleet.encoded if self._fleet else b""

    @property
    def epoch(self) -> Epoch | None:
        """The epoch of the fleet record in use."""
        return self._fleet.epoch if self._fleet else None

    @property
    def fleet_log(self) -> TrustedLog | None:
        """What to remember of the fleet's log; None where there is none, or nothing was read yet."""
        return self._fleet_log

    def forget_fleet(self) -> None:
        """Trust nothing any more, until the next fleet record. Exchanges that have begun go on."""
        self._fleet = None

    def fetch_fleet(self, *, now: datetime, fleet_log: TrustedLog | None = None) -> list[SessionEvent]:
        """Ask for the newest fleet record. A fetch that is under way is dropped.

        `fleet_log` is what is remembered of the fleet's log, if not by this session.
        """
        self._fetches.clear()
        self._coming = None
        if self._logged is None:
            return [self._begin_fetch(FLEET_PATH, MAX_FLEET_RECORD)]
        log = self._logged.root.fleet
        trusted = fleet_log or self._fleet_log or TrustedLog(log.origin)
        update = StateUpdate(
            trusted, self._logged.root.witnesses, at=now, maximum_age=log.epoch, entries=2, firsts=Firsts.NEWEST
        )
        return self._read_on(LogReading(self._logged, update))

    def request(
        self, request: Request, *, now: datetime, authorization: str = "", token_use: TokenUse = TokenUse.NONE
    ) -> list[SessionEvent]:
        """Seal one request. Only its method, path, content and a few fields (`INNER_HEADERS`) go along.

        `authorization` carries the token that pays for it, and `token_use` says to the Proof where that came from.

        Raises `LocalProtocolError` if a fleet record has to be fetched first, and `PolicyError` if a check fails.
        """
        if self._fleet is None or self.needs_fleet(now):
            raise LocalProtocolError("no fleet record is fresh enough to seal to", hint="Call fetch_fleet first")
        # 1. Candidates, drawn anew for each request among all nodes that are trusted.
        candidates = draw(self._fleet.nodes, self._candidates, self._randbytes)
        # 2. The Proof: every check that can be made passes, or the policy waives it, or nothing is sealed.
        fleet = self._fleet
        proof = make_proof(self._policy, fleet.encoded, fleet.record, candidates, token_use, logs=fleet.logs)
        # 3. Sealed to the candidates, paid for, and encapsulated.
        exchange = PrivateExchange(self._directory, candidates, randbytes=self._randbytes, authorization=authorization)
        data = exchange.encapsulate(request)
        number = self._next_number()
        self._private[number] = exchange
        return [RequestSealed(number, proof), Send(number, data)]

    def receive_head(self, exchange: int, status: int, content_type: str) -> None:
        """Take status and content type of the relay's answer. Raises `RemoteProtocolError`."""
        self._exchange(exchange).receive_head(status, content_type)

    def receive_data(self, exchange: int, part: bytes) -> list[SessionEvent]:
        """Take the next bytes of the relay's answer. After an error the exchange is over."""
        return self._progress(exchange, self._exchange(exchange).receive_data(part))

    def receive_eof(self, exchange: int, *, now: datetime) -> list[SessionEvent]:
        """End the relay's answer. Raises what its layers raise, and `PolicyError` for a fleet that is not trusted."""
        if exchange in self._private:
            events = self._progress(exchange, self._private[exchange].receive_eof())
            del self._private[exchange]
            return events
        fetch = self._fetches.pop(exchange, None)
        if fetch is None:
            raise LocalProtocolError("there is no such exchange", got=exchange)
        if fetch.reading is not None:
            return self._receive_file(fetch, fetch.reading)
        if fetch.of_record:
            return self._receive_fleet(fetch.receive_eof(), now, fetch.logs)
        # The other file of a node that was left out may come when the record is in use already.
        return self._receive_part(self._coming, exchange, fetch) if self._coming else []

    def receive_appraisal(self, appraised: NodeAppraised) -> list[SessionEvent]:
        """Take what `AppraisalDue.run` returned. One for a fleet record that was dropped meanwhile changes nothing.

        Raises the first reason why not, if it was the last one and too few nodes are trusted.
        """
        coming = self._coming
        if coming is None or appraised.node not in coming.parts or appraised.epoch != coming.epoch:
            return []
        del coming.parts[appraised.node]
        outcome = self._admit(appraised.outcome, coming.fetched_at)
        if isinstance(outcome, ConfsecError):
            coming.refused.append(FleetRefused(appraised.node.node_id, outcome))
        else:
            coming.trusted.append(outcome)
        return self._adopt_if_complete(coming)

    def abandon(self, exchange: int) -> None:
        """Forget an exchange. Its keys go with it."""
        self._private.pop(exchange, None)
        self._fetches.pop(exchange, None)

    def _admit(self, outcome: TrustedKeyConfig | ConfsecError, now: datetime) -> TrustedKeyConfig | ConfsecError:
        """Refuse a key that may not be used any more, or whose collateral is from before what was seen of others."""
        if not isinstance(outcome, TrustedKeyConfig):
            return outcome
        if now >= outcome.usable_until:  # to use it would make the record old at once, and stop all other nodes
            until = f"{outcome.usable_until:%Y-%m-%d %H:%M:%S} UTC"
            return PolicyError("what vouches for a node has ended", got=until, section="RFC 9334, section 10")
        try:
            self._newest.admit(outcome.result.collateral_numbers)
        except ConfsecError as exc:
            return exc
        return outcome

    def _read_on(self, reading: LogReading) -> list[SessionEvent]:
        """Ask for the files of the fleet's log that are wanted and not under way, or else for the record it names."""
        wanted = [path for path in reading.update.wanted if path not in reading.asked]
        reading.asked.update(wanted)
        if wanted or reading.update.wanted:
            return [self._begin_fetch(path, body_limit(path), reading) for path in wanted]
        news = reading.update.finish()
        logs = ServiceLogs(reading.directory, news.state)
        digest = logs.fleet_in_effect.digest
        self._fleet_log = news.trusted
        return [self._begin_fetch(f"{FLEET_PATH}/{digest.hex()}", MAX_FLEET_RECORD, logs=logs)]

    def _receive_file(self, fetch: FileFetch, reading: LogReading) -> list[SessionEvent]:
        """Take a file of the fleet's log."""
        content = fetch.receive_file()
        if content is None:
            reading.update.missing(fetch.path)
        else:
            reading.update.receive(fetch.path, content)
        return self._read_on(reading)

    def _receive_fleet(self, content: bytes, now: datetime, logs: ServiceLogs | None) -> list[SessionEvent]:
        record = FleetRecord.decode(content) if logs is None else logs.fleet_in_effect.check_record(content)
        if len(record.nodes) < self._policy.minimum_nodes:
            raise PolicyError(
                "the fleet is too small", got=f"{len(record.nodes)} nodes", want=self._policy.minimum_nodes
            )
        epoch = Epoch.from_beacon(record.beacon) if logs is None else logs.fleet_in_effect.epoch
        _require_age(epoch, self._policy, now)
        coming = self._coming = _Coming(content, record, epoch, now, logs)
        sends: list[SessionEvent] = []
        for node in self._whole_shards(record):
            known = self._fleet.find(node, epoch, now) if self._fleet else None
            if known is not None:
                coming.trusted.append(known)
            else:
                sends += self._begin_node(coming, node)
        return sends or self._adopt_if_complete(coming)

    def _begin_node(self, coming: _Coming, node: FleetNode) -> list[SessionEvent]:
        """Ask for evidence and endorsements of a node."""
        coming.parts[node] = {}
        sends: list[SessionEvent] = []
        for path in (EVIDENCE_PATH, ENDORSEMENTS_PATH):
            send = self._begin_fetch(path + node.evidence_digest.hex(), MAX_EVIDENCE)
            coming.fetches[send.exchange] = (node, path)
            sends.append(send)
        return sends

    def _receive_part(self, coming: _Coming, exchange: int, fetch: FileFetch) -> list[SessionEvent]:
        """Take one file. A node whose files cannot be had is left out; it does not stop the others."""
        node, path = coming.fetches.pop(exchange)
        try:
            content = fetch.receive_eof()
        except ConfsecError as exc:
            return self.receive_appraisal(NodeAppraised(node, coming.epoch, exc))
        if node not in coming.parts:
            return []  # its other file could not be had
        coming.parts[node][path] = content
        if len(coming.parts[node]) < 2:
            return []
        parts = coming.parts[node]
        root = coming.logs.root if coming.logs else None
        return [AppraisalDue(node, parts[EVIDENCE_PATH], parts[ENDORSEMENTS_PATH], self._policy, coming.epoch, root)]

    def _adopt_if_complete(self, coming: _Coming) -> list[SessionEvent]:
        """Put the record to use if enough nodes are trusted, else raise the first reason why not."""
        if coming.parts:
            return []
        self._coming = None
        if len(coming.trusted) < self._policy.minimum_nodes:
            raise coming.refused[0].error
        nodes = tuple(coming.trusted)
        self._fleet = _TrustedFleet(coming.encoded, coming.record, nodes, coming.fetched_at, coming.epoch, coming.logs)
        return [FleetTrusted(self._fleet.nodes, tuple(coming.refused))]

    def _whole_shards(self, record: FleetRecord) -> list[FleetNode]:
        """Return all nodes of shards drawn at random: what we fetch does not say which nodes we will use."""
        shards = sorted({node.shard for node in record.nodes})
        chosen: list[FleetNode] = []
        for shard in draw(shards, len(shards), self._randbytes):
            if len(chosen) >= max(_MIN_EVIDENCE, self._policy.minimum_nodes):
                break
            chosen += [node for node in record.nodes if node.shard == shard]
        return chosen

    def _begin_fetch(
        self, path: str, limit: int, reading: LogReading | None = None, *, logs: ServiceLogs | None = None
    ) -> Send:
        key_config, suite = choose_key_config(self._directory.gateway_key_configs)
        exchange = ObliviousExchange(key_config, suite, randbytes=self._randbytes)
        data = exchange.encapsulate(self._get(path, reading))
        number = self._next_number()
        self._fetches[number] = FileFetch(exchange, path, limit, reading=reading, logs=logs)
        return Send(number, data)

    def _get(self, path: str, reading: LogReading | None) -> Request:
        """Return the request for a file of the router, or of the fleet's log."""
        if reading is None:
            return Request("GET", self._directory.router_scheme, self._directory.router_authority, path)
        base = urlsplit(reading.directory.root.fleet.url)
        return Request("GET", base.scheme, base.netloc, base.path + path)

    def _progress(self, exchange: int, events: list[PrivateEvent]) -> list[SessionEvent]:
        return [PrivateProgress(exchange, event) for event in events]

    def _exchange(self, number: int) -> PrivateExchange | FileFetch:
        exchange = self._private.get(number) or self._fetches.get(number)
        if exchange is None:
            raise LocalProtocolError("there is no such exchange", got=number)
        return exchange

    def _next_number(self) -> int:
        self._numbers += 1
        return self._numbers


def _require_age(epoch: Epoch, policy: Policy, now: datetime) -> None:
    """Refuse an epoch that is too old, or has not begun. Raises `PolicyError`."""
    age = now - epoch.began
    if not -CLOCK_DIFFERENCE <= age < policy.maximum_age:
        raise PolicyError(
            "the fleet record is of another time",
            got=f"an epoch that began {int(age.total_seconds())} seconds ago",
            want=f"at most {int(policy.maximum_age.total_seconds())}",
            section="RFC 9334, section 10",
            hint="The service shows an old epoch, or one of the clocks is wrong",
        )
