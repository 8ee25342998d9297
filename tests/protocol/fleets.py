"""A fleet made for tests: real node keys, evidence that holds them, and the record that names them."""

from __future__ import annotations

from attrs import frozen

from confsec.protocol.appraisal import TrustedKeyConfig, appraise_node
from confsec.protocol.cmw import KEY_CONFIG_LABEL, CmwRecord, Endorsements, Evidence
from confsec.protocol.epoch import Epoch
from confsec.protocol.fleet import FleetNode, FleetRecord
from confsec.protocol.kem import kem_from_id
from confsec.protocol.kem_base import KemPrivateKey
from confsec.protocol.key_config import MEDIA_TYPE_OHTTP_KEYS, KeyConfig, encode_key_configs
from confsec.protocol.machine import RandBytes
from confsec.protocol.node_keys import node_id, node_key_config
from confsec.protocol.policy import UNSAFE_UNATTESTED, Policy
from confsec.testing import seeded_randbytes

X_WING = 0x647A
EPOCH_START = 1_893_456_000
EPOCH = Epoch.local(EPOCH_START)
NO_ENDORSEMENTS = Endorsements.of({}).encoded


@frozen
class Fleet:
    """Nodes of one epoch, in the order of their ids."""

    record: FleetRecord
    evidence: dict[bytes, bytes]
    """The evidence by Node ID."""
    keys: dict[bytes, KemPrivateKey]
    """The private keys by Node ID."""

    @property
    def encoded(self) -> bytes:
        return self.record.encode()

    def by_digest(self, digest: bytes) -> bytes:
        (node,) = [node for node in self.record.nodes if node.evidence_digest == digest]
        return self.evidence[node.node_id]

    def trusted(self, policy: Policy = UNSAFE_UNATTESTED) -> list[TrustedKeyConfig]:
        return [appraise(node, self.evidence[node.node_id], policy) for node in self.record.nodes]


def appraise(node: FleetNode, evidence: bytes, policy: Policy = UNSAFE_UNATTESTED) -> TrustedKeyConfig:
    """Appraise evidence that came without endorsements."""
    return appraise_node(node, evidence, NO_ENDORSEMENTS, policy=policy, epoch=EPOCH)


def evidence_of(key_config: KeyConfig) -> Evidence:
    item = CmwRecord(MEDIA_TYPE_OHTTP_KEYS, encode_key_configs([key_config]))
    return Evidence.of({KEY_CONFIG_LABEL: item})


def make_fleet(size: int = 3, *, shards: int = 1, kem_id: int = X_WING, randbytes: RandBytes | None = None) -> Fleet:
    """Make `size` nodes, spread over `shards`."""
    random = randbytes or seeded_randbytes("fleet")
    evidence: dict[bytes, bytes] = {}
    keys: dict[bytes, KemPrivateKey] = {}
    nodes = []
    for index in range(size):
        key = kem_from_id(kem_id).generate(random)
        key_config = node_key_config(key)
        found = evidence_of(key_config)
        nodes.append(FleetNode(node_id(key_config), found.digest, index % shards))
        evidence[node_id(key_config)] = found.encoded
        keys[node_id(key_config)] = key
    return Fleet(FleetRecord(EPOCH.beacon, tuple(sorted(nodes))), evidence, keys)
