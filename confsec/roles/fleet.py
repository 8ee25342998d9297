"""What a router knows of its nodes: who lives, which key each has now, and the evidence of it.

Every node is asked every few seconds and at the turn of an epoch. The fleet record lists those that answer and do not
drain. A Node ID leads to its node for as long as the node keeps the key: in its own epoch and the next.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import Final, final

import anyio
from attrs import frozen

from confsec.backends.api import Clock, HttpRequest, Transport
from confsec.errors import (
    BackendError,
    BusyError,
    ConfsecError,
    DeadlineError,
    DecodeError,
    LimitError,
    UnknownKeyError,
)
from confsec.protocol.cmw import KEY_CONFIG_LABEL, MAX_EVIDENCE, Evidence
from confsec.protocol.fleet import FleetNode, FleetRecord, local_beacon
from confsec.protocol.key_config import MEDIA_TYPE_OHTTP_KEYS, decode_key_configs
from confsec.protocol.node_keys import check_node_key_config, node_id
from confsec.roles.hop import open_hop

__all__ = ["Fleet", "NodeView"]

_KEYS_KEPT: Final = 2
"""A node's key lives for two epochs."""

_EVIDENCE_KEPT: Final = 3
"""Evidence is served a little longer: a client may have fetched the record just before it changed."""

_SHARD_SIZE: Final = 16
"""Nodes of one shard."""

_AFTER_EPOCH: Final = 0.05
"""Seconds after the turn of an epoch at which nodes are asked: then they have made their keys."""

_log = logging.getLogger("confsec.roles")


@frozen
class _Epoch:
    """One key of a node."""

    node_id: bytes
    evidence: Evidence


@final
class NodeView:
    """One node as the router sees it."""

    def __init__(self, url: str, shard: int, *, drained: bool) -> None:
        self.url = url
        self.shard = shard
        self.drained = drained
        """The operator takes no new requests to it."""
        self.live = False
        """It answered when it was last asked, and does not drain."""
        self.epochs: deque[_Epoch] = deque(maxlen=_EVIDENCE_KEPT)

    @property
    def node_ids(self) -> list[bytes]:
        """The Node IDs that it opens, as far as we know."""
        return [epoch.node_id for epoch in list(self.epochs)[-_KEYS_KEPT:]]

    def entry(self) -> FleetNode | None:
        """Return its line of the fleet record, if it is to be there."""
        if not self.live or self.drained or not self.epochs:
            return None
        newest = self.epochs[-1]
        return FleetNode(newest.node_id, newest.evidence.digest, self.shard)

    def learn(self, encoded: bytes) -> None:
        """Take what it says is its evidence. Raises `ConfsecError` for what is none."""
        if self.epochs and self.epochs[-1].evidence.encoded == encoded:
            return
        evidence = Evidence.decode(encoded)
        configs = decode_key_configs(evidence.item(KEY_CONFIG_LABEL, MEDIA_TYPE_OHTTP_KEYS))
        if len(configs) != 1:
            raise DecodeError("the evidence of a node has other than one key", got=len(configs), want=1)
        check_node_key_config(configs[0])
        self.epochs.append(_Epoch(node_id(configs[0]), evidence))


@final
class Fleet:
    """The nodes of one router."""

    def __init__(
        self,
        urls: Sequence[str],
        transport: Transport,
        *,
        drained: Sequence[str],
        interval: float,
        timeout: float,
        epoch: int,
        clock: Clock,
    ) -> None:
        """Ask the nodes at `urls` every `interval` seconds; one that takes longer than `timeout` does not live."""
        self._nodes = [NodeView(url, at // _SHARD_SIZE, drained=url in drained) for at, url in enumerate(urls)]
        self._transport = transport
        self._interval = interval
        self._timeout = timeout
        self._epoch = epoch
        self._now = clock

    async def watch(self) -> None:
        """Ask all nodes again and again."""
        while True:
            now = self._now().timestamp()
            to_epoch = self._epoch - now % self._epoch + _AFTER_EPOCH
            await anyio.sleep(min(self._interval, to_epoch))
            await self.ask_all()

    async def ask_all(self) -> None:
        """Ask all nodes at once how they are, and for their evidence."""
        async with anyio.create_task_group() as tasks:
            for node in self._nodes:
                tasks.start_soon(partial(self._ask, node))

    def record(self) -> bytes:
        """Return the fleet record. Raises `BusyError` if no node lives."""
        nodes = {entry.node_id: entry for node in self._nodes if (entry := node.entry()) is not None}
        if not nodes:
            raise BusyError("no node is ready", hint="Try again in a moment")
        start = int(self._now().timestamp()) // self._epoch * self._epoch
        return FleetRecord(local_beacon(start), tuple(sorted(nodes.values()))).encode()

    def evidence(self, digest: bytes) -> bytes | None:
        """Return the evidence with this digest, or None if there is none."""
        epochs = chain.from_iterable(node.epochs for node in self._nodes)
        return next((epoch.evidence.encoded for epoch in epochs if epoch.evidence.digest == digest), None)

    def candidates(self, node_ids: Sequence[bytes]) -> list[NodeView]:
        """Return the nodes that live and have one of these keys. Raises `UnknownKeyError` and `BusyError`."""
        known = [node for node in self._nodes if not set(node_ids).isdisjoint(node.node_ids)]
        if not known:
            raise UnknownKeyError("no recipient is a node of this fleet", hint="Fetch the newest fleet record")
        live = [node for node in known if node.live and not node.drained]
        if not live:
            raise BusyError("no candidate is ready", hint="Try again in a moment")
        return live

    async def _ask(self, node: NodeView) -> None:
        try:
            with anyio.fail_after(self._timeout):
                await self._fetch(node.url + "/healthz", limit=4096)
                node.learn(await self._fetch(node.url + "/v1/evidence", limit=MAX_EVIDENCE))
                node.live = True
        except (ConfsecError, TimeoutError) as exc:
            if node.live:
                code = exc.code if isinstance(exc, ConfsecError) else DeadlineError.code
                _log.warning("the node %s is not ready: %s", node.url, code)
            node.live = False

    async def _fetch(self, url: str, *, limit: int) -> bytes:
        content = bytearray()
        async with open_hop(self._transport, HttpRequest(method="GET", url=url)) as response:
            async for part in response.content:
                content += part
                if len(content) > limit:
                    raise LimitError("an answer of a node is too large", want=f"at most {limit} bytes")
            if response.status != 200:
                raise BackendError("a node is not ready", got=f"status {response.status}")
        return bytes(content)
