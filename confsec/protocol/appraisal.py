"""From evidence to a key that may be trusted: the only place that makes a `TrustedKeyConfig`.

The steps, in this order, for each node of a fleet record:

1. the bytes are those that everyone is shown: their SHA-256 is the evidence digest in the fleet record;
2. they hold one KeyConfig, of the form that nodes use (docs/spec/sealed-request.md);
3. its SHA-256 is the Node ID in the fleet record;
4. hardware vouches for the key. No verifier of hardware evidence is part of this version: only the policy
   `UNSAFE_UNATTESTED` gets past this step, and the Proof records it as skipped.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from typing import Final, NoReturn, final

from confsec.errors import DecodeError, EvidenceError, LocalProtocolError, PolicyError, UnsupportedError
from confsec.protocol.cmw import KEY_CONFIG_LABEL, Evidence
from confsec.protocol.fleet import FleetNode
from confsec.protocol.key_config import MEDIA_TYPE_OHTTP_KEYS, KeyConfig, decode_key_configs
from confsec.protocol.node_keys import check_node_key_config, node_id
from confsec.protocol.policy import ATTESTATION_CHECK, Policy

__all__ = ["Appraised", "TrustedKeyConfig", "appraise_node", "node_key_config", "node_key_id"]

_RECURRING_KEYS: Final = 64
"""How many decoded key configurations are remembered: each request's Proof looks at those of its candidates again."""


@final
class Appraised:
    """What an appraisal holds and nobody else: the permission to call a key trusted."""

    __slots__ = ()

    def __init__(self) -> None:
        raise LocalProtocolError("only an appraisal can vouch for a key", hint="Call appraise_node")


_APPRAISED: Final = object.__new__(Appraised)


@final
class TrustedKeyConfig:
    """A node's KeyConfig that was appraised. The session seals to nothing else."""

    __slots__ = ("_evidence", "_key_config", "_node")

    def __init__(self, node: FleetNode, key_config: KeyConfig, evidence: Evidence, *, appraised: Appraised) -> None:
        """Not for callers: `appraised` is what only `appraise_node` has. Raises `LocalProtocolError` without it."""
        if appraised is not _APPRAISED:
            raise LocalProtocolError("a TrustedKeyConfig comes only from an appraisal", hint="Call appraise_node")
        self._node = node
        self._key_config = key_config
        self._evidence = evidence

    @property
    def node_id(self) -> bytes:
        """SHA-256 of the KeyConfig: 32 bytes."""
        return self._node.node_id

    @property
    def key_config(self) -> KeyConfig:
        """The key configuration to seal to."""
        return self._key_config

    @property
    def evidence(self) -> Evidence:
        """The evidence that was appraised."""
        return self._evidence

    def __repr__(self) -> str:
        return f"<TrustedKeyConfig {self.node_id.hex()[:16]}>"

    def __copy__(self) -> TrustedKeyConfig:
        return self  # it never changes

    def __deepcopy__(self, memo: object) -> TrustedKeyConfig:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        # A pickle could be edited: trust does not survive being written down.
        raise LocalProtocolError("a TrustedKeyConfig cannot be pickled", hint="Appraise again")


def appraise_node(node: FleetNode, evidence: bytes, policy: Policy) -> TrustedKeyConfig:
    """Appraise the evidence of one node of a fleet record.

    Raises `EvidenceError` if the evidence is not what the record names or does not hold the node's key, and
    `PolicyError` if nothing vouches for the key and the policy does not waive that.
    """
    collection = _named_evidence(node, evidence)
    key_config, found = node_key_config(collection), node_key_id(collection)
    if found != node.node_id:
        raise EvidenceError(
            "the evidence holds the key of another node",
            got=found.hex()[:16],
            want=node.node_id.hex()[:16],
            section="design, Evidence and appraisal",
        )
    if not policy.waives(ATTESTATION_CHECK):
        raise PolicyError(
            f"nothing vouches for the machine of node {node.node_id.hex()[:16]}: it has no hardware evidence",
            want=f"what the policy {policy.name} demands",
            section="RFC 9334, section 3",
            hint="To try the service all the same, say UNSAFE_UNATTESTED (--unsafe-unattested)",
        )
    return TrustedKeyConfig(node, key_config, collection, appraised=_APPRAISED)


def node_key_config(evidence: Evidence) -> KeyConfig:
    """Return the one KeyConfig that evidence holds. Raises `EvidenceError`."""
    return _decode_key(evidence.item(KEY_CONFIG_LABEL, MEDIA_TYPE_OHTTP_KEYS))[0]


def node_key_id(evidence: Evidence) -> bytes:
    """Return the Node ID that belongs to the key in evidence. Raises `EvidenceError`."""
    return _decode_key(evidence.item(KEY_CONFIG_LABEL, MEDIA_TYPE_OHTTP_KEYS))[1]


@lru_cache(_RECURRING_KEYS)
def _decode_key(item: bytes) -> tuple[KeyConfig, bytes]:
    """Return a node's KeyConfig and its Node ID. Both follow from these bytes alone, so they may be remembered."""
    try:
        (key_config,) = decode_key_configs(item)
        check_node_key_config(key_config)
    except (DecodeError, UnsupportedError, ValueError) as exc:
        raise EvidenceError("the evidence holds no key configuration of a node", section="RFC 9458, section 3") from exc
    return key_config, node_id(key_config)


def _named_evidence(node: FleetNode, evidence: bytes) -> Evidence:
    """Compare the digest before anything else looks at the bytes."""
    digest = sha256(evidence).digest()
    if digest != node.evidence_digest:
        raise EvidenceError(
            "the evidence is not what the fleet record names",
            got=digest.hex()[:16],
            want=node.evidence_digest.hex()[:16],
        )
    try:
        return Evidence.decode(evidence)
    except DecodeError as exc:
        raise EvidenceError("the evidence cannot be read", got=str(exc)) from exc
