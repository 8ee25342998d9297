"""What a router knows of its nodes, and the fleet record that it makes of that.

Every node is asked every few seconds and after the turn of an epoch: how it is, for its evidence, and for what vouches
for that. What the router's own policy refuses is not listed; the log and `/v1/nodes` say which check refused it. Each
evidence is appraised once, in a thread.

A record has nodes whose evidence is of its epoch, and no others. So at the turn of an epoch the record before is served
on until all nodes in it have new evidence, or `grace` has passed. A Node ID leads to its node for as long as the node
keeps the key: in its own epoch and the next.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from itertools import chain
from typing import Final, final

import anyio
import anyio.to_thread
from attrs import frozen

from confsec.backends.api import Clock, EpochSource, Headers, HttpRequest, Transport, header
from confsec.errors import BackendError, BusyError, ConfsecError, DeadlineError, LimitError, UnknownKeyError
from confsec.protocol.cmw import MAX_EVIDENCE
from confsec.protocol.epoch import Epoch
from confsec.protocol.fleet import FleetRecord
from confsec.protocol.policy import Policy
from confsec.roles.epochs import EVIDENCE_FIELD
from confsec.roles.fleet_nodes import FleetKey, NodeView, appraise_shown, epoch_shown
from confsec.roles.fleet_publisher import FleetPublisher
from confsec.roles.hop import open_hop

__all__ = ["Fleet"]

_SHARD_SIZE: Final = 16
"""Nodes of one shard."""

_AFTER_EPOCH: Final = 0.05
"""Seconds after the turn of an epoch at which nodes are asked: without a TEE they have made their keys by then."""

_TURNING: Final = 0.25
"""Seconds between two questions while some node has no evidence of the new epoch yet."""

_log = logging.getLogger("confsec.roles")


@frozen
class _Turn:
    """An epoch that has begun and has no record yet."""

    epoch: Epoch
    deadline: float
    """When its record is made with the nodes that there are, on the event loop's clock."""


@final
class Fleet:
    """The nodes of one router. `begin` first; then `watch` runs in the background."""

    def __init__(  # noqa: PLR0913 - each is named by its caller
        self,
        urls: Sequence[str],
        transport: Transport,
        source: EpochSource,
        *,
        policy: Policy,
        drained: Sequence[str],
        interval: float,
        timeout: float,
        grace: float,
        clock: Clock,
        publisher: FleetPublisher | None = None,
    ) -> None:
        """Ask the nodes at `urls` every `interval` seconds; one that takes longer than `timeout` does not live.

        With a publisher there is one record for each epoch: the one that it put into the log.
        """
        self._nodes = [NodeView(url, at // _SHARD_SIZE, drained=url in drained) for at, url in enumerate(urls)]
        self._transport = transport
        self._source = source
        self._policy = policy
        self._interval = interval
        self._timeout = timeout
        self._grace = grace
        self._now = clock
        self._publisher = publisher
        self._first_deadline = 0.0
        self._epoch: Epoch
        self._turn: _Turn | None = None
        self._turned = anyio.Event()

    async def begin(self) -> None:
        """Ask all nodes for the first time. Raises `BackendError` if nobody can say which epoch it is."""
        self._epoch = await self._source.current()
        self._first_deadline = anyio.current_time() + self._grace
        if self._publisher is not None:
            await self._publisher.begin()
        await self.ask_all()

    async def watch(self) -> None:
        """Ask all nodes again and again."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch_epochs)
            tasks.start_soon(self._watch_nodes)

    async def ask_all(self) -> None:
        """Ask all nodes at once how they are and what they show; then turn the record over if it is time."""
        turn = self._turn
        async with anyio.create_task_group() as tasks:
            for node in self._nodes:
                tasks.start_soon(self._ask, node)
        if turn is not None and turn is self._turn and self._may_turn(turn):
            self._epoch, self._turn = turn.epoch, None
        if self._publisher is not None and not self._publisher.is_done(self._epoch.beacon):
            await self._publish(self._publisher)

    def record(self) -> bytes:
        """Return the fleet record. Raises `BusyError` if no node can be listed, or the log has no record yet."""
        if self._publisher is None:
            return self._make_record().encode()
        if self._publisher.current is None:
            raise BusyError("the fleet is in no log yet", hint="Try again in a moment")
        return self._publisher.current

    def logged_record(self, digest: bytes) -> bytes | None:
        """Return the record with this SHA-256 that is in the log, or None if there is none."""
        return self._publisher.find(digest) if self._publisher else None

    async def _publish(self, publisher: FleetPublisher) -> None:
        """Put the record of this epoch into the log, when all nodes that live are in it or were waited for."""
        if anyio.current_time() < self._first_deadline and not self._is_whole():
            return
        try:
            record = self._make_record()
        except BusyError:
            return  # no node is ready
        try:
            await publisher.publish(record)
        except ConfsecError as exc:
            _log.warning("the fleet record is not in its log yet: %s", exc)

    def _is_whole(self) -> bool:
        """Tell whether every node that is not drained can be listed."""
        now = self._now()
        return all(node.drained or node.entry(self._epoch, now) is not None for node in self._nodes)

    def _make_record(self) -> FleetRecord:
        now = self._now()
        nodes = {entry.node_id: entry for node in self._nodes if (entry := node.entry(self._epoch, now)) is not None}
        if not nodes:
            raise BusyError("no node is ready", hint="Try again in a moment")
        return FleetRecord(self._epoch.beacon, tuple(sorted(nodes.values())))

    def evidence(self, digest: bytes) -> bytes | None:
        """Return the evidence with this digest, or None if there is none."""
        key = self._find(digest)
        return key.evidence.encoded if key else None

    def endorsements(self, digest: bytes) -> bytes | None:
        """Return what came beside the evidence with this digest, as it is now, or None if there is none."""
        key = self._find(digest)
        return key.endorsements.encoded if key else None

    def status(self) -> list[dict[str, object]]:
        """Return how each node is, as JSON values for the operator."""
        now = self._now()
        return [node.status(self._epoch, now) for node in self._nodes]

    def candidates(self, node_ids: Sequence[bytes]) -> list[NodeView]:
        """Return the nodes that live and have one of these keys. Raises `UnknownKeyError` and `BusyError`."""
        known = [node for node in self._nodes if not set(node_ids).isdisjoint(node.node_ids)]
        if not known:
            raise UnknownKeyError("no recipient is a node of this fleet", hint="Fetch the newest fleet record")
        live = [node for node in known if node.live and not node.drained]
        if not live:
            raise BusyError("no candidate is ready", hint="Try again in a moment")
        return live

    def _find(self, digest: bytes) -> FleetKey | None:
        keys = chain.from_iterable(node.keys for node in self._nodes)
        return next((key for key in keys if key.evidence.digest == digest), None)

    def _may_turn(self, turn: _Turn) -> bool:
        """Tell whether every node of the record before has evidence of the new epoch, or was waited for long enough."""
        now = self._now()
        listed = [node for node in self._nodes if node.entry(self._epoch, now) is not None]
        late = [node for node in listed if node.key_for(turn.epoch) is None]
        return not late or anyio.current_time() >= turn.deadline

    async def _watch_epochs(self) -> None:
        epoch = self._epoch
        while True:
            try:
                epoch = await self._source.wait_after(epoch)
            except BackendError as exc:
                # Without a new epoch there is no new record, and clients stop when the last one is too old for them.
                _log.warning("nobody says which epoch it is: %s", exc.code)
                await anyio.sleep(self._interval)
            else:
                self._turn = _Turn(epoch, anyio.current_time() + self._grace)
                self._turned.set()

    async def _watch_nodes(self) -> None:
        while True:
            turning = self._turn is not None
            with anyio.move_on_after(min(self._interval, _TURNING) if turning else self._interval):
                await self._turned.wait()
                await anyio.sleep(_AFTER_EPOCH)
            if self._turned.is_set():
                self._turned = anyio.Event()
            await self.ask_all()

    async def _ask(self, node: NodeView) -> None:
        """Ask a node how it is, and if it lives what it shows."""
        try:
            await self._fetch(node, "/healthz", limit=4096)
        except ConfsecError as exc:
            if node.live:
                _log.warning("the node %s is not ready: %s", node.url, exc.code)
            node.live = False
            return
        node.live = True
        try:
            evidence, endorsements = await self._fetch_shown(node)
        except ConfsecError as exc:
            if node.shows:
                _log.warning("the node %s shows no evidence: %s", node.url, exc.code)
            node.shows = False
            return
        await self._look_at(node, evidence, endorsements)

    async def _look_at(self, node: NodeView, evidence: bytes, endorsements: bytes) -> None:
        """Appraise what a node shows, unless exactly that was appraised before."""
        if node.knows(evidence, endorsements):
            node.shows, node.refusal = True, None
            return
        newest = self._turn.epoch if self._turn else self._epoch
        known = [*(key.epoch for key in node.keys if key.epoch), self._epoch, newest]
        if node.refused_before(evidence, endorsements, newest):
            return
        root = self._publisher.root if self._publisher else None
        appraise = partial(appraise_shown, evidence, endorsements, policy=self._policy, root=root)
        try:
            epoch = epoch_shown(evidence, known)
            if epoch is None and node.shows and node.key_for(self._epoch) is not None:
                # Clocks differ a little. Its key of this epoch is still good, and the new one will be when it is time.
                return
            node.accept(await anyio.to_thread.run_sync(partial(appraise, epoch=epoch or newest)))
        except ConfsecError as exc:
            node.refuse(evidence, endorsements, newest, exc)
            _log.warning("the node %s is not listed, what it shows is refused: %s", node.url, node.refusal)

    async def _fetch_shown(self, node: NodeView) -> tuple[bytes, bytes]:
        """Fetch evidence and what came beside it. The epoch may turn in between: then fetch both again."""
        for _ in range(2):
            evidence, _ = await self._fetch(node, "/v1/evidence", limit=MAX_EVIDENCE)
            endorsements, headers = await self._fetch(node, "/v1/endorsements", limit=MAX_EVIDENCE)
            if header(headers, EVIDENCE_FIELD) == sha256(evidence).hexdigest():
                return evidence, endorsements
        raise BackendError("a node's endorsements are those of other evidence")

    async def _fetch(self, node: NodeView, path: str, *, limit: int) -> tuple[bytes, Headers]:
        """Fetch a file of a node, and the header fields that came with it. Raises `ConfsecError`."""
        content = bytearray()
        try:
            with anyio.fail_after(self._timeout):
                async with open_hop(self._transport, HttpRequest(method="GET", url=node.url + path)) as response:
                    async for part in response.content:
                        content += part
                        if len(content) > limit:
                            raise LimitError("an answer of a node is too large", want=f"at most {limit} bytes")
                    if response.status != 200:
                        raise BackendError("a node is not ready", got=f"status {response.status}")
        except TimeoutError as exc:
            raise DeadlineError("a node takes too long to answer", want=f"at most {self._timeout} s") from exc
        return bytes(content), response.headers
