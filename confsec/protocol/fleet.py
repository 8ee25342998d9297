"""The fleet record: which nodes serve in an epoch, and the digest of the evidence of each.

All clients of an epoch read the same bytes, so a node that is shown to one person is shown to everyone. A record names
its epoch by a beacon (`epoch.py`).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final, Self

from attrs import frozen

from confsec.errors import DecodeError
from confsec.protocol import cbor
from confsec.protocol.epoch import MAX_BEACON

__all__ = ["FLEET_RECORD_TYPE", "MAX_FLEET_RECORD", "FleetNode", "FleetRecord"]

FLEET_RECORD_TYPE: Final = "application/cbor"
"""The media type of a fleet record on the wire."""

MAX_FLEET_RECORD: Final = 1 << 20
"""A fleet record has at most 1 MiB: about ten thousand nodes."""

_MAX_NODES: Final = 10_000
_VERSION: Final = 1


@frozen(order=True)
class FleetNode:
    """One node in one epoch."""

    node_id: bytes
    """SHA-256 of the node's KeyConfig."""

    evidence_digest: bytes
    """SHA-256 of the evidence as the node emitted it."""

    shard: int
    """Which shard the evidence is in: clients fetch whole shards, so that a fetch names no node."""


@frozen
class FleetRecord:
    """All nodes of one epoch."""

    beacon: bytes
    """What names the epoch."""

    nodes: tuple[FleetNode, ...]
    """The nodes, strictly ascending by Node ID."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a fleet record. Raises `DecodeError` and `LimitError`."""
        value = cbor.as_map(
            cbor.decode(data, what="a fleet record", limit=MAX_FLEET_RECORD),
            what="a fleet record",
            keys=("version", "beacon", "nodes"),
        )
        if cbor.as_uint(value["version"], what="the version") != _VERSION:
            raise DecodeError("a fleet record has a version that we do not know", want=_VERSION)
        beacon = cbor.as_bytes(value["beacon"], what="a beacon")
        if len(beacon) > MAX_BEACON:
            raise DecodeError("a beacon is too long", got=f"{len(beacon)} bytes", want=f"at most {MAX_BEACON}")
        nodes = tuple(_decode_node(item) for item in cbor.as_array(value["nodes"], what="nodes", limit=_MAX_NODES))
        if any(left.node_id >= right.node_id for left, right in pairwise(nodes)):
            raise DecodeError("the nodes of a fleet record are not strictly ascending by Node ID")
        return cls(beacon=beacon, nodes=nodes)

    def encode(self) -> bytes:
        """Write the record; nodes are put in order."""
        nodes: list[cbor.CborValue] = [[node.node_id, node.evidence_digest, node.shard] for node in sorted(self.nodes)]
        return cbor.encode({"version": _VERSION, "beacon": self.beacon, "nodes": nodes})

    def find(self, node_id: bytes) -> FleetNode | None:
        """Return the node with this Node ID, or None if it does not serve in this epoch."""
        return next((node for node in self.nodes if node.node_id == node_id), None)


def _decode_node(value: cbor.CborValue) -> FleetNode:
    parts = cbor.as_array(value, what="a node", limit=3)
    if len(parts) != 3:
        raise DecodeError("a node of a fleet record has other than three members", got=len(parts), want=3)
    return FleetNode(
        node_id=cbor.as_bytes(parts[0], what="a Node ID", size=32),
        evidence_digest=cbor.as_bytes(parts[1], what="an evidence digest", size=32),
        shard=cbor.as_uint(parts[2], what="a shard"),
    )
