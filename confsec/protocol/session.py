"""What one client knows of one service, and the exchanges that it begins.

The session speaks with peers through exchanges, each with a number. What has to be sent is an event, `Send`; what
comes back is handed in by `receive_head`, `receive_data` and `receive_eof` with the number of the exchange. The driver
moves the bytes and decides about time; the session decides whom to trust:

1. `fetch_fleet` asks for the fleet record, which is the same for everyone;
2. the record asks for evidence: of all nodes of whole shards, so that what is fetched tells nothing about what is used;
3. each evidence is appraised; what passes becomes a `TrustedKeyConfig`;
4. `request` draws candidates anew among all trusted nodes, makes the Proof, and only then seals.

A fleet record replaces the one before when its evidence has been appraised, never in parts.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, final

from attrs import define, field, frozen

from confsec.errors import ConfsecError, LimitError, LocalProtocolError, PolicyError
from confsec.protocol.appraisal import TrustedKeyConfig, appraise_node
from confsec.protocol.bhttp import Request
from confsec.protocol.bhttp_decoder import BhttpEvent, ContentReceived, ResponseHead
from confsec.protocol.cmw import MAX_EVIDENCE
from confsec.protocol.directory import ServiceDirectory
from confsec.protocol.draw import draw
from confsec.protocol.fleet import MAX_FLEET_RECORD, FleetNode, FleetRecord
from confsec.protocol.key_config import choose_key_config
from confsec.protocol.machine import RandBytes
from confsec.protocol.oblivious import ObliviousExchange
from confsec.protocol.policy import Policy
from confsec.protocol.private import PrivateEvent, PrivateExchange
from confsec.protocol.problem import Problem
from confsec.protocol.proof import Proof, TokenUse, make_proof
from confsec.protocol.sealed_header import MAX_RECIPIENTS

__all__ = [
    "DEFAULT_CANDIDATES",
    "EVIDENCE_PATH",
    "FLEET_MAX_AGE",
    "FLEET_PATH",
    "ClientSession",
    "FleetRefused",
    "FleetTrusted",
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

FLEET_PATH: Final = "/v1/fleet"
"""Where a router has its fleet record."""

EVIDENCE_PATH: Final = "/v1/evidence/"
"""Where it has evidence: the SHA-256 follows, in hex."""


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


SessionEvent = Send | FleetTrusted | RequestSealed | PrivateProgress
"""What a session asks for, and what its client learns."""


@define
class _Fleet:
    """A fleet record on its way to be trusted."""

    encoded: bytes
    record: FleetRecord
    awaited: dict[int, FleetNode] = field(factory=dict)
    """The nodes whose evidence is under way, by exchange."""

    trusted: list[TrustedKeyConfig] = field(factory=list)
    refused: list[FleetRefused] = field(factory=list)


@frozen
class _TrustedFleet:
    """The fleet record in use."""

    encoded: bytes
    record: FleetRecord
    nodes: tuple[TrustedKeyConfig, ...]
    fetched_at: datetime


@final
class ClientSession:
    """One client of one service. It lives as long as the client, and has many exchanges."""

    def __init__(
        self,
        directory: ServiceDirectory,
        *,
        policy: Policy,
        randbytes: RandBytes,
        candidates: int = DEFAULT_CANDIDATES,
    ) -> None:
        """Begin with nothing trusted. `candidates` is from 1 to 16."""
        if not 1 <= candidates <= MAX_RECIPIENTS:
            raise LocalProtocolError("a request is sealed to 1 to 16 candidates", got=candidates)
        self._directory = directory
        self._policy = policy
        self._randbytes = randbytes
        self._candidates = candidates
        self._numbers = 0
        self._fetches: dict[int, _Fetch] = {}
        self._private: dict[int, PrivateExchange] = {}
        self._coming: _Fleet | None = None
        self._fleet: _TrustedFleet | None = None

    def needs_fleet(self, now: datetime) -> bool:
        """Tell whether `request` needs a newer fleet record first."""
        return self._fleet is None or not timedelta(0) <= now - self._fleet.fetched_at < FLEET_MAX_AGE

    @property
    def fleet_id(self) -> bytes:
        """The fleet record in use, or nothing. Compare it to see whether another fetch has replaced it."""
        return self._fleet.encoded if self._fleet else b""

    def fetch_fleet(self) -> list[SessionEvent]:
        """Ask for the newest fleet record. A fetch that is under way is dropped."""
        self._fetches.clear()
        self._coming = None
        return [self._begin_fetch(FLEET_PATH, MAX_FLEET_RECORD)]

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
        proof = make_proof(self._policy, self._fleet.encoded, self._fleet.record, candidates, token_use)
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
        if self._coming is None:
            return self._receive_fleet(fetch.receive_eof())
        return self._receive_evidence(self._coming, exchange, fetch, now)

    def abandon(self, exchange: int) -> None:
        """Forget an exchange. Its keys go with it."""
        self._private.pop(exchange, None)
        self._fetches.pop(exchange, None)

    def _receive_fleet(self, content: bytes) -> list[SessionEvent]:
        record = FleetRecord.decode(content)
        if len(record.nodes) < self._policy.minimum_nodes:
            raise PolicyError(
                "the fleet is too small", got=f"{len(record.nodes)} nodes", want=self._policy.minimum_nodes
            )
        self._coming = _Fleet(content, record)
        return [self._begin_evidence(node) for node in self._whole_shards(record)]

    def _begin_evidence(self, node: FleetNode) -> Send:
        send = self._begin_fetch(EVIDENCE_PATH + node.evidence_digest.hex(), MAX_EVIDENCE)
        assert self._coming is not None  # noqa: S101 - _receive_fleet has just set it
        self._coming.awaited[send.exchange] = node
        return send

    def _receive_evidence(self, coming: _Fleet, exchange: int, fetch: _Fetch, now: datetime) -> list[SessionEvent]:
        """Appraise one node. One that cannot be appraised is left out; it does not stop the others."""
        node = coming.awaited.pop(exchange)
        try:
            coming.trusted.append(appraise_node(node, fetch.receive_eof(), self._policy))
        except ConfsecError as exc:
            coming.refused.append(FleetRefused(node.node_id, exc))
        return [] if coming.awaited else [self._adopt(coming, now)]

    def _adopt(self, coming: _Fleet, now: datetime) -> FleetTrusted:
        """Put the record to use if it has enough trusted nodes, else raise the first reason why not."""
        self._coming = None
        if len(coming.trusted) < self._policy.minimum_nodes:
            raise coming.refused[0].error
        self._fleet = _TrustedFleet(coming.encoded, coming.record, tuple(coming.trusted), now)
        return FleetTrusted(self._fleet.nodes, tuple(coming.refused))

    def _whole_shards(self, record: FleetRecord) -> list[FleetNode]:
        """Return all nodes of shards drawn at random: what we fetch does not say which nodes we will use."""
        shards = sorted({node.shard for node in record.nodes})
        chosen: list[FleetNode] = []
        for shard in draw(shards, len(shards), self._randbytes):
            if len(chosen) >= max(_MIN_EVIDENCE, self._policy.minimum_nodes):
                break
            chosen += [node for node in record.nodes if node.shard == shard]
        return chosen

    def _begin_fetch(self, path: str, limit: int) -> Send:
        key_config, suite = choose_key_config(self._directory.gateway_key_configs)
        exchange = ObliviousExchange(key_config, suite, randbytes=self._randbytes)
        data = exchange.encapsulate(
            Request("GET", self._directory.router_scheme, self._directory.router_authority, path)
        )
        number = self._next_number()
        self._fetches[number] = _Fetch(exchange, limit)
        return Send(number, data)

    def _progress(self, exchange: int, events: list[PrivateEvent]) -> list[SessionEvent]:
        return [PrivateProgress(exchange, event) for event in events]

    def _exchange(self, number: int) -> PrivateExchange | _Fetch:
        exchange = self._private.get(number) or self._fetches.get(number)
        if exchange is None:
            raise LocalProtocolError("there is no such exchange", got=number)
        return exchange

    def _next_number(self) -> int:
        self._numbers += 1
        return self._numbers


@final
class _Fetch:
    """A public file of the router, fetched through the gateway so that nobody sees who reads it."""

    def __init__(self, exchange: ObliviousExchange, limit: int) -> None:
        self._exchange = exchange
        self._limit = limit
        self._status = 0
        self._content = bytearray()

    def receive_head(self, status: int, content_type: str) -> None:
        self._exchange.receive_head(status, content_type)

    def receive_data(self, part: bytes) -> list[PrivateEvent]:
        self._collect(self._exchange.receive_data(part))
        return []

    def receive_eof(self) -> bytes:
        self._collect(self._exchange.receive_eof())
        if self._status != 200:
            raise Problem.decode(bytes(self._content), status=self._status).to_error("the router")
        return bytes(self._content)

    def _collect(self, events: list[BhttpEvent]) -> None:
        for event in events:
            if isinstance(event, ResponseHead):
                self._status = event.status
            elif isinstance(event, ContentReceived):
                self._content += event.data
                if len(self._content) > self._limit:
                    raise LimitError("a file of the router is too long", want=f"at most {self._limit} bytes")
