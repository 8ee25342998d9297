"""One node as its router sees it: whether it lives, which keys it has, and what the router's policy says of each."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from datetime import datetime
from hashlib import sha256
from typing import Final, final

from attrs import field, frozen

from confsec.errors import AppraisalError, ConfsecError
from confsec.protocol.appraisal import appraise_node, node_key_id
from confsec.protocol.cmw import Endorsements, Evidence
from confsec.protocol.epoch import Epoch
from confsec.protocol.fleet import FleetNode
from confsec.protocol.log_root import LogRoot
from confsec.protocol.manifest import Freshness
from confsec.protocol.platforms import FRESHNESS, MEDIA_TYPES
from confsec.protocol.policy import Policy

__all__ = ["FleetKey", "NodeView", "Refusal", "appraise_shown", "epoch_shown"]

_KEYS_KEPT: Final = 2
"""A node's key lives for two epochs."""

_EVIDENCE_KEPT: Final = 3
"""Evidence is served a little longer: a client may have fetched the record just before it changed."""


@frozen
class FleetKey:
    """One key of a node, and what vouches for it: the router's policy has accepted that."""

    node_id: bytes
    evidence: Evidence
    endorsements: Endorsements
    epoch: Epoch | None
    """The epoch that the evidence answers. Evidence without a TEE names none, and stands in any record."""
    expires: datetime | None
    """When what vouches for it ends."""

    def belongs_to(self, epoch: Epoch) -> bool:
        """Tell whether the record of `epoch` may have it."""
        return self.epoch is None or self.epoch == epoch


@frozen
class Refusal:
    """What a node showed and the router did not accept. Kept, so that it is appraised only once."""

    shown: bytes
    """A digest of evidence and endorsements."""

    epoch: Epoch
    error: ConfsecError = field(repr=False)

    @property
    def checks(self) -> tuple[str, ...]:
        """The ids of the checks that refuse."""
        return self.error.codes if isinstance(self.error, AppraisalError) else ()

    def __str__(self) -> str:
        return ", ".join(self.checks) or self.error.code


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
        self.shows: bool = False
        """What it showed when it was last asked is good."""
        self.refusal: Refusal | None = None
        """Why what it shows is not accepted."""
        self.keys: deque[FleetKey] = deque(maxlen=_EVIDENCE_KEPT)

    @property
    def node_ids(self) -> list[bytes]:
        """The Node IDs that it opens, as far as we know."""
        return [key.node_id for key in list(self.keys)[-_KEYS_KEPT:]]

    def key_for(self, epoch: Epoch) -> FleetKey | None:
        """Return its newest key that the record of `epoch` may have."""
        return next((key for key in reversed(self.keys) if key.belongs_to(epoch)), None)

    def entry(self, epoch: Epoch, now: datetime) -> FleetNode | None:
        """Return its line of the fleet record of `epoch`, if it is to be there."""
        key = self.key_for(epoch)
        if key is None or not (self.live and self.shows) or self.drained:
            return None
        if key.expires is not None and now >= key.expires:
            return None
        return FleetNode(key.node_id, key.evidence.digest, self.shard)

    def knows(self, evidence: bytes, endorsements: bytes) -> bool:
        """Tell whether exactly this was accepted before."""
        return any(key.evidence.encoded == evidence and key.endorsements.encoded == endorsements for key in self.keys)

    def refused_before(self, evidence: bytes, endorsements: bytes, epoch: Epoch) -> bool:
        """Tell whether exactly this was refused before, in the same epoch."""
        refusal = self.refusal
        return refusal is not None and (refusal.shown, refusal.epoch) == (_digest(evidence, endorsements), epoch)

    def accept(self, key: FleetKey) -> None:
        """Take a key, or newer endorsements of one that is here already."""
        self.refusal = None
        self.shows = True
        for place, known in enumerate(self.keys):
            if known.evidence.encoded == key.evidence.encoded:
                self.keys[place] = key
                return
        self.keys.append(key)

    def refuse(self, evidence: bytes, endorsements: bytes, epoch: Epoch, error: ConfsecError) -> None:
        """Note that what it shows is not accepted. A key that was, with other endorsements, is gone with it."""
        self.refusal = Refusal(_digest(evidence, endorsements), epoch, error)
        self.shows = False
        for key in [key for key in self.keys if key.evidence.encoded == evidence]:
            self.keys.remove(key)

    def status(self, epoch: Epoch, now: datetime) -> dict[str, object]:
        """Return how it is as JSON values: for the operator, and without its evidence."""
        entry = self.entry(epoch, now)
        return {
            "url": self.url,
            "live": self.live,
            "drained": self.drained,
            "listed": entry is not None,
            "node": entry.node_id.hex() if entry else "",
            "refused": self.refusal.error.code if self.refusal else "",
            "checks": list(self.refusal.checks) if self.refusal else [],
        }


def epoch_shown(evidence: bytes, known: Collection[Epoch]) -> Epoch | None:
    """Return which of the known epochs evidence says that it answers; None if it is another one.

    Evidence that does not say belongs to the newest, the last of `known`. Raises `DecodeError` and `EvidenceError`.
    """
    collection = Evidence.decode(evidence)
    if FRESHNESS not in collection.items:
        return list(known)[-1]
    nonce = Freshness.decode(collection.item(FRESHNESS, MEDIA_TYPES[FRESHNESS])).nonce
    return next((epoch for epoch in known if epoch.nonce == nonce), None)


def appraise_shown(
    evidence: bytes, endorsements: bytes, *, policy: Policy, epoch: Epoch, root: LogRoot | None = None
) -> FleetKey:
    """Appraise what a node shows, as a client would with this policy. Pure; may take long.

    Raises what `appraise_node` raises.
    """
    collection = Evidence.decode(evidence)
    node = FleetNode(node_key_id(collection), collection.digest, shard=0)
    trusted = appraise_node(node, evidence, endorsements, policy=policy, epoch=epoch, root=root)
    return FleetKey(
        node_id=trusted.node_id,
        evidence=trusted.evidence,
        endorsements=trusted.endorsements,
        epoch=epoch if FRESHNESS in collection.items else None,
        expires=trusted.result.expires,
    )


def _digest(evidence: bytes, endorsements: bytes) -> bytes:
    return sha256(sha256(evidence).digest() + endorsements).digest()
