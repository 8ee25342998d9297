"""What tests of the sealed request share: its vectors, and nodes and machines made quickly."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from confsec.protocol.kem import Decapsulator, kem_from_id
from confsec.protocol.machine import RandBytes
from confsec.protocol.node_keys import NodeKeys
from confsec.protocol.sealed import SealedClient, SealedNode, SealedNodeEvent
from tests.vectors.make_sealed_vectors import seeded

VECTORS: Final = Path(__file__).parents[1] / "vectors"
VALID: Final = sorted((VECTORS / "sealed").glob("*.json"))
INVALID: Final = sorted((VECTORS / "sealed_invalid").glob("*.json"))

NOW: Final = datetime(2026, 11, 23, 12, tzinfo=UTC)
EPOCH: Final = timedelta(minutes=10)


def load(path: Path) -> Any:
    """Read a vector file."""
    return json.loads(path.read_text(encoding="utf-8"))


def unhex(value: str) -> bytes:
    return bytes.fromhex(value)


def node_key(seed: str, kem_id: int = 0x647A) -> Decapsulator:
    """Load a node's key from the hex of its private key."""
    return kem_from_id(kem_id).from_private_bytes(unhex(seed))


def seeded_key(label: str, kem_id: int = 0x647A) -> Decapsulator:
    """Make a node's key that is always the same for a label."""
    return node_key(seeded(label, 32).hex(), kem_id)


def node_keys(*labels: str, replay_limit: int = 1000) -> NodeKeys:
    """Make the keys of a node, one epoch after the other."""
    keys = NodeKeys(replay_limit=replay_limit)
    for number, label in enumerate(labels):
        keys.rotate(seeded_key(label), NOW + number * EPOCH)
    return keys


def vector_node_keys(nodes: list[dict[str, str]]) -> NodeKeys:
    """Load the private keys of a vector as live keys of one node."""
    keys = NodeKeys()
    for number, node in enumerate(nodes):
        keys.rotate(node_key(node["private_key"], int(node["kem_id"], 16)), NOW + number * EPOCH)
    return keys


def counting_randbytes(label: str = "") -> RandBytes:
    """Return a source of bytes that never repeats and is the same in each run."""
    calls = 0

    def randbytes(size: int) -> bytes:
        nonlocal calls
        calls += 1
        return seeded(f"{label} {calls}", size)

    return randbytes


def new_client(*keys: NodeKeys, label: str = "client") -> SealedClient:
    """Make a client that seals to the current keys of these nodes."""
    return SealedClient([each.current.key_config for each in keys], randbytes=counting_randbytes(label))


def new_node(keys: NodeKeys, **options: int) -> SealedNode:
    return SealedNode(keys, randbytes=counting_randbytes("node"), **options)


def open_request(node: SealedNode, sealed_request: bytes, *, cut: int | None = None) -> list[SealedNodeEvent]:
    """Feed a whole sealed request, in parts of `cut` bytes, and return all events."""
    events: list[SealedNodeEvent] = []
    feed_node(node, events.extend, sealed_request, cut=cut)
    events += node.receive_eof()
    return events


def feed_node(
    node: SealedNode, keep: Callable[[list[SealedNodeEvent]], None], data: bytes, *, cut: int | None = None
) -> None:
    """Feed data in parts of `cut` bytes, and open the key as soon as it is reserved."""
    size = cut or len(data) or 1
    for start in range(0, len(data), size):
        events = node.receive_data(data[start : start + size])
        if events:
            node.open_key()
        keep(events)
