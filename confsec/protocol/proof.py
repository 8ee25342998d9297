"""The Proof: what was checked before a prompt was sealed, in one file that anyone can replay offline.

A Proof is one CBOR array in the deterministic encoding (docs/spec/proof.md)::

    ["confsec proof", 3, {contents}, [checks], [nodes], [assumptions], digest]

The contents are what the checks looked at: the policy, the ends of the service's logs, the fleet record, and evidence
and endorsements of every candidate. Checks and assumptions are functions of the contents, in the registry `CHECKS` and,
for each candidate, in the appraisal; replaying means computing them again and comparing byte for byte. The digest is
SHA-256 of every byte of the file before it. A Proof holds nothing of what was asked or answered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from functools import cached_property
from hashlib import sha256
from typing import Final, Self

from attrs import evolve, field, frozen

from confsec.errors import DecodeError, LimitError, ProofError, UnsupportedError, VerificationError
from confsec.protocol import cbor
from confsec.protocol.appraisal import (
    AttestationResult,
    TrustedKeyConfig,
    appraise_evidence,
    node_key_config,
    node_key_id,
)
from confsec.protocol.binding import Mode
from confsec.protocol.checks import Check, CheckDefinition, Finding, failed, holds, informs, passed, skipped
from confsec.protocol.cmw import Endorsements, Evidence
from confsec.protocol.epoch import Epoch
from confsec.protocol.fleet import FleetRecord
from confsec.protocol.kem import kem_from_id
from confsec.protocol.log_view import logs_to_json
from confsec.protocol.manifest import Freshness
from confsec.protocol.platforms import Assumption
from confsec.protocol.policy import ATTESTATION_CHECK, Policy, PolicyReader
from confsec.protocol.sealed_header import MAX_RECIPIENTS
from confsec.protocol.service_logs import ServiceLogs, check_directory, check_fleet, check_root
from confsec.protocol.service_state import read_epoch

__all__ = [
    "ASSUMPTIONS",
    "CHECKS",
    "MAX_PROOF",
    "Proof",
    "ProofContents",
    "TokenUse",
    "make_proof",
    "replay_proof",
    "verify_proof",
]

MAX_PROOF: Final = 40 << 20
"""A Proof has at most 40 MiB: sixteen candidates with the largest evidence and endorsements, and the fleet record."""

_MAGIC: Final = "confsec proof"
_VERSION: Final = 3
_MEMBERS: Final = 7
_PREFIX: Final = bytes([0x80 + _MEMBERS]) + cbor.encode(_MAGIC)
_FIRST_PREFIX: Final = b"\x86" + cbor.encode(_MAGIC)
"""How a Proof of version 1 begins: it held no evidence of hardware."""

_DIGEST_ITEM: Final = b"\x58\x20"
_DIGEST_SIZE: Final = 32
_SECTION: Final = "docs/spec/proof.md"


class TokenUse(Enum):
    """Whether a token paid for the request, and how long before it was fetched. More would tell requests apart."""

    NONE = "none"
    PREFETCHED = "prefetched"
    FRESH = "fresh"


@frozen
class ProofContents:
    """What the checks look at. All of it is public, and the same for everyone who drew these candidates."""

    policy: Policy
    """The policy that the request was sealed under."""

    fleet_record: bytes = field(repr=False)
    """The fleet record as everyone got it."""

    fleet: FleetRecord = field(repr=False)
    """The same, decoded: there is one spelling of each record."""

    evidence: tuple[Evidence, ...] = field(repr=False)
    """The evidence of every candidate, in the order of the Node IDs."""

    endorsements: tuple[Endorsements, ...] = field(repr=False)
    """What came beside the evidence of each."""

    token_use: TokenUse = TokenUse.NONE
    """What the client says of the token: nobody can check it, and the Proof holds no token."""

    logs: ServiceLogs | None = None
    """The ends of the service's logs, and the root; None where the client was given a directory that is in no log."""

    @classmethod
    def from_item(cls, value: cbor.CborValue, policies: PolicyReader) -> Self:
        """Read the contents. Raises `DecodeError` and `EvidenceError`."""
        keys = ("policy", "fleet", "evidence", "endorsements", "token", "logs")
        members = cbor.as_map(value, what="the contents of a Proof", keys=keys)
        fleet_record = cbor.as_bytes(members["fleet"], what="the fleet record of a Proof")
        evidence = tuple(Evidence.decode(item) for item in _byte_strings(members, "evidence"))
        endorsements = tuple(Endorsements.decode(item) for item in _byte_strings(members, "endorsements"))
        if len(evidence) != len(endorsements):
            raise DecodeError("a Proof has endorsements for other than its evidence", got=len(endorsements))
        return cls(
            policies.from_item(members["policy"]),
            fleet_record,
            FleetRecord.decode(fleet_record),
            evidence,
            endorsements,
            _token_use(members["token"]),
            None if members["logs"] is None else ServiceLogs.from_item(members["logs"]),
        )

    def to_item(self) -> dict[str, cbor.CborValue]:
        """Return the contents as they stand in the file."""
        return {
            "policy": self.policy.to_item(),
            "fleet": self.fleet_record,
            "evidence": [item.encoded for item in self.evidence],
            "endorsements": [item.encoded for item in self.endorsements],
            "token": self.token_use.value,
            "logs": None if self.logs is None else self.logs.to_item(),
        }

    @cached_property
    def epoch(self) -> Epoch:
        """The epoch of the fleet record. Raises what `read_epoch` raises."""
        if self.logs is not None and self.fleet.beacon == self.logs.fleet_in_effect.epoch.beacon:
            return self.logs.fleet_in_effect.epoch
        return read_epoch(self.fleet.beacon, self.logs.root if self.logs else None)

    @property
    def candidates(self) -> tuple[bytes, ...]:
        """The Node IDs that belong to the keys in the evidence. Raises `EvidenceError` for evidence without a key."""
        return tuple(map(node_key_id, self.evidence))


@frozen
class Proof:
    """A Proof whose checks were computed here, from its contents."""

    contents: ProofContents
    """What the checks looked at."""

    checks: tuple[Check, ...]
    """What came of each check of the registry, in its order."""

    nodes: tuple[AttestationResult, ...]
    """What the appraisal of each candidate gave, in the order of the evidence."""

    assumptions: tuple[str, ...]
    """What has to be true besides, and nobody can check."""

    def encode(self) -> bytes:
        """Write the Proof as a file."""
        checks: list[cbor.CborValue] = [list(check.to_item()) for check in self.checks]
        nodes: list[cbor.CborValue] = [_node_item(node) for node in self.nodes]
        assumptions: list[cbor.CborValue] = list(self.assumptions)
        body = [cbor.encode(part) for part in (_VERSION, self.contents.to_item(), checks, nodes, assumptions)]
        before_digest = _PREFIX + b"".join(body) + _DIGEST_ITEM
        return before_digest + sha256(before_digest).digest()

    @property
    def candidates(self) -> tuple[bytes, ...]:
        """The Node IDs of all nodes that could have read the prompt."""
        return self.contents.candidates

    @property
    def simulated(self) -> bool:
        """Whether the evidence of any candidate is simulated: then this proves nothing about hardware."""
        return any(node.simulated for node in self.nodes)

    @property
    def all_checks(self) -> tuple[Check, ...]:
        """The checks of the registry, then those of each candidate."""
        return (*self.checks, *(check for node in self.nodes for check in node.checks))

    def require(self) -> None:
        """Return if the policy accepts every check; else raise `AppraisalError`, which lists them."""
        self.contents.policy.require(self.all_checks)

    def to_json(self) -> dict[str, object]:
        """Return the Proof as JSON values: what `confsec verify --json` prints beside the verdict."""
        return {
            "simulated": self.simulated,
            "policy": cbor.to_json(self.contents.policy.to_item()),
            "epoch": int(self.contents.epoch.began.timestamp()),
            "candidates": [candidate.hex() for candidate in self.candidates],
            "checks": [check.to_json() for check in self.checks],
            "nodes": [_node_json(node) for node in self.nodes],
            "assumptions": list(self.assumptions),
            "logs": None if self.contents.logs is None else logs_to_json(self.contents.logs),
        }


def make_proof(
    policy: Policy,
    fleet_record: bytes,
    fleet: FleetRecord,
    candidates: Sequence[TrustedKeyConfig],
    token_use: TokenUse = TokenUse.NONE,
    *,
    logs: ServiceLogs | None = None,
) -> Proof:
    """Make the Proof of a request that is about to be sealed to `candidates` of the fleet.

    `fleet` is `fleet_record`, decoded. Raises `AppraisalError` when a check fails, or is skipped without a waiver: then
    nothing may be sealed. The appraisals are those of the candidates: they were made under the same policy and epoch.
    """
    ordered = sorted(candidates, key=lambda candidate: candidate.node_id)
    evidence = tuple(candidate.evidence for candidate in ordered)
    endorsements = tuple(candidate.endorsements for candidate in ordered)
    contents = ProofContents(policy, fleet_record, fleet, evidence, endorsements, token_use, logs)
    proof = _join(contents, tuple(candidate.result for candidate in ordered))
    proof.require()
    return proof


def replay_proof(
    data: bytes, policies: PolicyReader, *, policy: Policy | None = None, at: datetime | None = None
) -> Proof:
    """Read a Proof and compute everything in it again; what it records must be what comes out.

    `policies` reads the policy that the Proof names. Returns the Proof with its checks as they come out under `policy`,
    or under the one that it names, at the time `at`, or when its epoch began. Raises `DecodeError` if the bytes do not
    begin as a Proof, `UnsupportedError` for another version, and `ProofError` if they were changed. It does not ask
    whether the policy accepts the Proof: `verify_proof` does.
    """
    contents = _open_envelope(data, policies)
    proof = _compute(contents, contents.epoch.began)
    if proof.encode() != data:
        raise ProofError("the Proof records other checks than its contents give", section=_SECTION)
    if policy is None and at is None:
        return proof
    return _compute(evolve(contents, policy=policy or contents.policy), at or contents.epoch.began)


def verify_proof(
    data: bytes, policies: PolicyReader, *, policy: Policy | None = None, at: datetime | None = None
) -> Proof:
    """Replay a Proof, and appraise it under `policy`, or else under the policy that it names.

    Raises what `replay_proof` raises, and `AppraisalError` if it replays and the policy does not accept it.
    """
    proof = replay_proof(data, policies, policy=policy, at=at)
    proof.require()
    return proof


def _compute(contents: ProofContents, at: datetime) -> Proof:
    expected = Freshness(Mode.EPOCH, contents.epoch.nonce)
    nodes = tuple(
        appraise_evidence(
            evidence,
            endorsements,
            expected=expected,
            policy=contents.policy,
            at=at,
            root=contents.logs.root if contents.logs else None,
        )
        for evidence, endorsements in zip(contents.evidence, contents.endorsements, strict=True)
    )
    return _join(contents, nodes)


def _join(contents: ProofContents, nodes: tuple[AttestationResult, ...]) -> Proof:
    record = _Record(contents, nodes)
    return Proof(contents, tuple(check.run(record) for check in CHECKS), nodes, _assumptions(contents, nodes))


def _open_envelope(data: bytes, policies: PolicyReader) -> ProofContents:
    """Check the frame, then the digest, and only then read the rest."""
    if data.startswith(_FIRST_PREFIX):
        raise UnsupportedError("the Proof is of version 1, without evidence of hardware", want=f"version {_VERSION}")
    if data.startswith(_PREFIX + b"\x02"):
        raise UnsupportedError("the Proof is of version 2, which says nothing of logs", want=f"version {_VERSION}")
    if not data.startswith(_PREFIX):
        raise DecodeError("this is not a Proof", want="a file written by confsec", section=_SECTION)
    if len(data) > MAX_PROOF:
        raise LimitError("the Proof is too long", got=f"{len(data)} bytes", want=f"at most {MAX_PROOF}")
    before_digest, digest = data[:-_DIGEST_SIZE], data[-_DIGEST_SIZE:]
    if not before_digest.endswith(_DIGEST_ITEM) or sha256(before_digest).digest() != digest:
        raise ProofError("the Proof was changed or cut: its digest does not match", section=_SECTION)
    try:
        value = cbor.as_array(cbor.decode(data, what="a Proof", limit=MAX_PROOF), what="a Proof", limit=_MEMBERS)
        if value[1] != _VERSION:
            raise UnsupportedError("the Proof is of a version that we do not know", want=f"version {_VERSION}")
        contents = ProofContents.from_item(value[2], policies)
        _ = contents.epoch, contents.candidates
    except (DecodeError, LimitError, VerificationError) as exc:
        raise ProofError(f"the Proof cannot be read: {exc}", section=_SECTION) from exc
    return contents


def _byte_strings(members: Mapping[str, cbor.CborValue], name: str) -> list[bytes]:
    items = cbor.as_array(members[name], what=f"the {name} of a Proof", limit=MAX_RECIPIENTS)
    return [cbor.as_bytes(item, what=name) for item in items]


def _node_item(node: AttestationResult) -> list[cbor.CborValue]:
    return [node.node_id, [list(check.to_item()) for check in node.checks]]


def _node_json(node: AttestationResult) -> dict[str, object]:
    return {
        "node": node.node_id.hex(),
        "platform": node.platform.name if node.platform else "",
        "simulated": node.simulated,
        "assumes": [assumption.value for assumption in node.assumes],
        "claims": {name: cbor.to_json(dict(claims)) for name, claims in node.claims.items()},
        "checks": [check.to_json() for check in node.checks],
    }


# --- The registry: each check is a function of the contents and of what the appraisals gave ---------------------------


@frozen
class _Record:
    """What the checks of the registry look at."""

    contents: ProofContents
    nodes: tuple[AttestationResult, ...]

    @property
    def fleet(self) -> FleetRecord:
        """The fleet record."""
        return self.contents.fleet


def _policy(record: _Record) -> Finding:
    waived = record.contents.policy.unsafe_waived
    return informs(f"{record.contents.policy.name}, which waives " + (", ".join(waived) if waived else "nothing"))


def _fleet_record(record: _Record) -> Finding:
    digest = sha256(record.contents.fleet_record).hexdigest()
    return passed(f"the fleet record {digest[:16]} names {len(record.fleet.nodes)} nodes")


def _fleet_size(record: _Record) -> Finding:
    found, minimum = len(record.fleet.nodes), record.contents.policy.minimum_nodes
    return holds(
        found >= minimum, "enough nodes serve in this epoch", "too few nodes serve in this epoch",
        want=f"at least {minimum}", got=found,
    )  # fmt: skip


def _epoch(record: _Record) -> Finding:
    return record.contents.epoch.age_proof


def _distinct(record: _Record) -> Finding:
    ids = list(record.contents.candidates)
    if not ids or ids != sorted(set(ids)):
        return failed("the candidates are not between 1 and 16 different nodes in order")
    return passed(f"{len(ids)} nodes can open the request: {', '.join(each.hex()[:16] for each in ids)}")


def _evidence_digests(record: _Record) -> Finding:
    named = {node.evidence_digest for node in record.fleet.nodes}
    strangers = [item.digest.hex()[:16] for item in record.contents.evidence if item.digest not in named]
    if strangers:
        return failed(f"the fleet record does not name the evidence {', '.join(strangers)}")
    return passed("the fleet record names the evidence of every candidate")


def _evidence_keys(record: _Record) -> Finding:
    nodes = {node.evidence_digest: node.node_id for node in record.fleet.nodes}
    for item, found in zip(record.contents.evidence, record.contents.candidates, strict=True):
        if nodes.get(item.digest) != found:
            return failed(f"the fleet record gives the evidence of {found.hex()[:16]} to another node")
    return passed("each evidence holds the key configuration whose hash is the Node ID in the fleet record")


def _attestation(record: _Record) -> Finding:
    policy = record.contents.policy
    if policy.waives(ATTESTATION_CHECK):
        return skipped("no hardware vouches for the machines: nobody has looked at them")
    refused = [node.node_id.hex()[:16] for node in record.nodes if policy.find_refused(node.checks)]
    if refused:
        return failed(f"the policy refuses the evidence of {', '.join(refused)}: the checks of the nodes say why")
    if any(node.simulated for node in record.nodes):
        return informs("the evidence of every candidate was appraised; it is SIMULATED, and proves nothing of hardware")
    platforms = sorted({node.platform.name for node in record.nodes if node.platform})
    return passed("the evidence of every candidate was appraised, and vouches for its key", got=", ".join(platforms))


def _key_kinds(record: _Record) -> Finding:
    kems = {kem_from_id(node_key_config(item).kem_id).name for item in record.contents.evidence}
    return passed(f"the request secret is wrapped with {', '.join(sorted(kems))}: classical and post-quantum")


def _token(record: _Record) -> Finding:
    return _TOKEN_FINDINGS[record.contents.token_use]


_TOKEN_FINDINGS: Final[Mapping[TokenUse, Finding]] = {
    TokenUse.NONE: skipped("no token was spent: the operator can count and shape requests freely"),
    TokenUse.PREFETCHED: informs("the client says that it paid with an anonymous token that it had fetched before"),
    TokenUse.FRESH: informs(
        "the client says that it paid with an anonymous token, fetched for this request and close to it in time"
    ),
}


def _token_use(value: cbor.CborValue) -> TokenUse:
    try:
        return TokenUse(cbor.as_text(value, what="the token of a Proof"))
    except ValueError as exc:
        raise DecodeError("the token of a Proof is of no known kind") from exc


CHECKS: Final[tuple[CheckDefinition[_Record], ...]] = (
    CheckDefinition("policy.name", _SECTION, _policy),
    CheckDefinition("fleet.record", "docs/spec/proof.md, Fleet record", _fleet_record),
    CheckDefinition("fleet.size", "docs/threat-model.md", _fleet_size),
    CheckDefinition("freshness.epoch", "RFC 9334, section 10", _epoch),
    CheckDefinition("candidates.distinct", "docs/spec/sealed-request.md", _distinct),
    CheckDefinition("evidence.digest", "docs/spec/proof.md, Evidence", _evidence_digests),
    CheckDefinition("evidence.key", "RFC 9458, section 3", _evidence_keys),
    CheckDefinition(ATTESTATION_CHECK, "RFC 9334, section 3", _attestation),
    CheckDefinition("sealing.kem", "draft-ietf-hpke-pq-04, section 4", _key_kinds),
    CheckDefinition("token.spend", "RFC 9577, section 2.2", _token),
    CheckDefinition("log.root", "docs/spec/log-root.md", lambda record: check_root(record.contents.logs)),
    CheckDefinition("log.directory", "C2SP tlog-cosignature", lambda record: check_directory(record.contents.logs)),
    CheckDefinition(
        "log.fleet",
        "C2SP tlog-cosignature",
        lambda record: check_fleet(
            record.contents.logs, record.contents.fleet_record, maximum_age=record.contents.policy.maximum_age
        ),
    ),
)
"""All checks, in the order in which a Proof records them."""

_UNATTESTED: Final = (
    "Each candidate runs the software that its operator published, and keeps nothing: we have only his word."
)
_MEASURED: Final = "The software whose measurements the policy names does what its publisher says, and keeps nothing."
_SIMULATED: Final = "Nothing: the hardware is simulated. Whoever reads this can make such evidence himself."

_UNLOGGED: Final = "The directory file came from somebody who does not single its reader out."
_LOGGED: Final = (
    "The root file is the one that others have: it names the logs, the witnesses, and who may speak of the service.",
    "Any two quorums of witnesses have one in common that is honest, also about the time.",
)

ASSUMPTIONS: Final = (
    "The relay does not tell the operator of the gateway who sent what.",
    "The engine keeps the requests of different people apart.",
    "The cryptography holds: ML-KEM-768 or the elliptic curve beside it, SHA-2, SHA-3 and AES-GCM.",
)
"""What has to be true on every platform besides what was checked."""

_PLATFORM_ASSUMPTIONS: Final[Mapping[Assumption, str]] = {
    Assumption.AMD: "AMD's processors and keys do what AMD says; nobody has a physical hold of the memory bus.",
    Assumption.INTEL: "Intel's processors and keys do what Intel says; nobody has a physical hold of the memory bus.",
    Assumption.SVSM: "The SVSM whose measurement the policy names keeps its vTPM apart from the guest.",
    Assumption.MICROSOFT_PARAVISOR: "Microsoft's paravisor keeps its vTPM apart from the guest and from the host.",
    Assumption.CLOUD_HYPERVISOR: (
        "The TPM is outside the TEE: whoever runs the hypervisor, or can touch the TPM's bus, does not lie about it."
    ),
}
"""What a platform leaves to assume, for people."""


def _assumptions(contents: ProofContents, nodes: Sequence[AttestationResult]) -> tuple[str, ...]:
    """Return what has to be true besides, given what was found."""
    shown = (_UNLOGGED,) if contents.logs is None else _LOGGED
    return (*_node_assumptions(nodes), *shown, *ASSUMPTIONS)


def _node_assumptions(nodes: Sequence[AttestationResult]) -> tuple[str, ...]:
    if any(node.simulated for node in nodes):
        return (_SIMULATED,)
    if any(node.platform is None for node in nodes):
        return (_UNATTESTED,)
    assumed = {assumption for node in nodes for assumption in node.assumes}
    return (_MEASURED, *(sentence for each, sentence in _PLATFORM_ASSUMPTIONS.items() if each in assumed))
