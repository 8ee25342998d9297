"""The Proof: what was checked before a prompt was sealed, in one file that anyone can replay offline.

A Proof is one CBOR array in the deterministic encoding (docs/spec/proof.md)::

    ["confsec proof", 1, {contents}, [checks], [assumptions], digest]

The contents are what the checks looked at: the policy, the fleet record, and the evidence of every candidate. Checks
and assumptions are functions of the contents, in the registry `CHECKS`; replaying means computing them again and
comparing byte for byte. The digest is SHA-256 of every byte of the file before it. A Proof holds nothing of what was
asked or answered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from hashlib import sha256
from typing import Final, Self

from attrs import evolve, field, frozen

from confsec.errors import ConfsecError, DecodeError, LimitError, ProofError, UnsupportedError
from confsec.protocol import cbor
from confsec.protocol.appraisal import TrustedKeyConfig, node_key_config, node_key_id
from confsec.protocol.cmw import Evidence
from confsec.protocol.fleet import FleetRecord, local_epoch
from confsec.protocol.kem import kem_from_id
from confsec.protocol.policy import ATTESTATION_CHECK, Check, Policy, Status, appraise_checks
from confsec.protocol.sealed_header import MAX_RECIPIENTS

__all__ = [
    "ASSUMPTIONS",
    "CHECKS",
    "MAX_PROOF",
    "CheckDefinition",
    "Finding",
    "Proof",
    "ProofContents",
    "TokenUse",
    "make_proof",
    "replay_proof",
    "verify_proof",
]

MAX_PROOF: Final = 32 << 20
"""A Proof has at most 32 MiB: sixteen candidates with the largest evidence, and the fleet record."""

_MAGIC: Final = "confsec proof"
_VERSION: Final = 1
_PREFIX: Final = b"\x86" + cbor.encode(_MAGIC)
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

    token_use: TokenUse = TokenUse.NONE
    """What the client says of the token: nobody can check it, and the Proof holds no token."""

    @classmethod
    def from_item(cls, value: cbor.CborValue) -> Self:
        """Read the contents. Raises `DecodeError`."""
        members = cbor.as_map(value, what="the contents of a Proof", keys=("policy", "fleet", "evidence", "token"))
        fleet_record = cbor.as_bytes(members["fleet"], what="the fleet record of a Proof")
        items = cbor.as_array(members["evidence"], what="the evidence of a Proof", limit=MAX_RECIPIENTS)
        evidence = tuple(Evidence.decode(cbor.as_bytes(item, what="evidence")) for item in items)
        policy = Policy.from_item(members["policy"])
        return cls(policy, fleet_record, FleetRecord.decode(fleet_record), evidence, _token_use(members["token"]))

    def to_item(self) -> dict[str, cbor.CborValue]:
        """Return the contents as they stand in the file."""
        evidence: list[cbor.CborValue] = [item.encoded for item in self.evidence]
        return {
            "policy": self.policy.to_item(),
            "fleet": self.fleet_record,
            "evidence": evidence,
            "token": self.token_use.value,
        }

    @property
    def candidates(self) -> tuple[bytes, ...]:
        """The Node IDs that belong to the keys in the evidence. Raises `EvidenceError` for evidence without a key."""
        return tuple(map(node_key_id, self.evidence))


@frozen
class Proof:
    """A Proof whose checks were computed here, from its contents, and that its policy accepts."""

    contents: ProofContents
    """What the checks looked at."""

    checks: tuple[Check, ...]
    """What came of each check, in the order of the registry."""

    assumptions: tuple[str, ...]
    """What has to be true besides, and nobody can check."""

    def encode(self) -> bytes:
        """Write the Proof as a file."""
        checks: list[cbor.CborValue] = [list(check.to_item()) for check in self.checks]
        assumptions: list[cbor.CborValue] = list(self.assumptions)
        body = [cbor.encode(part) for part in (_VERSION, self.contents.to_item(), checks, assumptions)]
        before_digest = _PREFIX + b"".join(body) + _DIGEST_ITEM
        return before_digest + sha256(before_digest).digest()

    @property
    def candidates(self) -> tuple[bytes, ...]:
        """The Node IDs of all nodes that could have read the prompt."""
        return self.contents.candidates

    def to_json(self) -> dict[str, object]:
        """Return the Proof as JSON values: what `confsec verify --json` prints beside the verdict."""
        return {
            "policy": self.contents.policy.to_item(),
            "epoch": local_epoch(self.contents.fleet.beacon),
            "candidates": [candidate.hex() for candidate in self.candidates],
            "checks": [
                {"id": check.id, "section": check.section, "status": check.status.value, "why": check.why}
                for check in self.checks
            ],
            "assumptions": list(self.assumptions),
        }


Finding = tuple[Status, str]
"""What a replay function returns: the status, and the sentence that says why."""


@frozen
class CheckDefinition:
    """One entry of the registry."""

    id: str
    """The stable id of the check."""

    section: str
    """Where the rule stands."""

    replay: Callable[[ProofContents], Finding]
    """Computes the finding from the contents alone. A `ConfsecError` that it raises is a failed check."""

    def run(self, contents: ProofContents) -> Check:
        """Compute the check."""
        try:
            status, why = self.replay(contents)
        except ConfsecError as exc:
            status, why = Status.FAIL, str(exc)
        return Check(self.id, self.section, status, why)


def make_proof(
    policy: Policy,
    fleet_record: bytes,
    fleet: FleetRecord,
    candidates: Sequence[TrustedKeyConfig],
    token_use: TokenUse = TokenUse.NONE,
) -> Proof:
    """Make the Proof of a request that is about to be sealed to `candidates` of the fleet.

    `fleet` is `fleet_record`, decoded. Raises `PolicyError` when a check fails, or is skipped without a waiver: then
    nothing may be sealed.
    """
    ordered = sorted(candidates, key=lambda candidate: candidate.node_id)
    evidence = tuple(candidate.evidence for candidate in ordered)
    proof = _compute(ProofContents(policy, fleet_record, fleet, evidence, token_use))
    appraise_checks(proof.checks, policy)
    return proof


def replay_proof(data: bytes, policy: Policy | None = None) -> Proof:
    """Read a Proof and compute everything in it again; what it records must be what comes out.

    Returns the Proof with its checks as they come out under `policy`, or under the policy that it names. Raises
    `DecodeError` if the bytes do not begin as a Proof, `UnsupportedError` for a later version, and `ProofError` if they
    were changed. It does not ask whether the policy accepts the Proof: `verify_proof` does.
    """
    contents = _open_envelope(data)
    proof = _compute(contents)
    if proof.encode() != data:
        raise ProofError("the Proof records other checks than its contents give", section=_SECTION)
    return proof if policy is None else _compute(evolve(contents, policy=policy))


def verify_proof(data: bytes, policy: Policy | None = None) -> Proof:
    """Replay a Proof, and appraise it under `policy`, or else under the policy that it names.

    Raises what `replay_proof` raises, and `PolicyError` if it replays and the policy does not accept it.
    """
    proof = replay_proof(data, policy)
    appraise_checks(proof.checks, proof.contents.policy)
    return proof


def _compute(contents: ProofContents) -> Proof:
    return Proof(contents, tuple(check.run(contents) for check in CHECKS), ASSUMPTIONS)


def _open_envelope(data: bytes) -> ProofContents:
    """Check the frame, then the digest, and only then read the rest."""
    if not data.startswith(_PREFIX):
        raise DecodeError("this is not a Proof", want="a file written by confsec", section=_SECTION)
    if len(data) > MAX_PROOF:
        raise LimitError("the Proof is too long", got=f"{len(data)} bytes", want=f"at most {MAX_PROOF}")
    before_digest, digest = data[:-_DIGEST_SIZE], data[-_DIGEST_SIZE:]
    if not before_digest.endswith(_DIGEST_ITEM) or sha256(before_digest).digest() != digest:
        raise ProofError("the Proof was changed or cut: its digest does not match", section=_SECTION)
    try:
        value = cbor.as_array(cbor.decode(data, what="a Proof", limit=MAX_PROOF), what="a Proof", limit=6)
        if value[1] != _VERSION:
            raise UnsupportedError("the Proof is of a version that we do not know", want=f"version {_VERSION}")
        return ProofContents.from_item(value[2])
    except DecodeError as exc:
        raise ProofError(f"the Proof cannot be read: {exc}", section=_SECTION) from exc


# --- The registry: each check is a function of the contents -----------------------------------------------------------


def _policy(contents: ProofContents) -> Finding:
    waived = contents.policy.unsafe_waived
    return Status.INFO, f"{contents.policy.name}, which waives " + (", ".join(waived) if waived else "nothing")


def _fleet_record(contents: ProofContents) -> Finding:
    digest = sha256(contents.fleet_record).hexdigest()
    return Status.PASS, f"the fleet record {digest[:16]} names {len(contents.fleet.nodes)} nodes"


def _fleet_size(contents: ProofContents) -> Finding:
    found, minimum = len(contents.fleet.nodes), contents.policy.minimum_nodes
    status = Status.PASS if found >= minimum else Status.FAIL
    return status, f"{found} nodes serve in this epoch, the policy asks for {minimum}"


def _epoch(contents: ProofContents) -> Finding:
    start = local_epoch(contents.fleet.beacon)
    return Status.SKIP, f"the operator's own clock says that the epoch began at {start}; no witness dates it"


def _distinct(contents: ProofContents) -> Finding:
    ids = list(contents.candidates)
    if not ids or ids != sorted(set(ids)):
        return Status.FAIL, "the candidates are not between 1 and 16 different nodes in order"
    return Status.PASS, f"{len(ids)} nodes can open the request: {', '.join(each.hex()[:16] for each in ids)}"


def _evidence_digests(contents: ProofContents) -> Finding:
    named = {node.evidence_digest for node in contents.fleet.nodes}
    strangers = [item.digest.hex()[:16] for item in contents.evidence if item.digest not in named]
    if strangers:
        return Status.FAIL, f"the fleet record does not name the evidence {', '.join(strangers)}"
    return Status.PASS, "the fleet record names the evidence of every candidate"


def _evidence_keys(contents: ProofContents) -> Finding:
    nodes = {node.evidence_digest: node.node_id for node in contents.fleet.nodes}
    for item, found in zip(contents.evidence, contents.candidates, strict=True):
        if nodes.get(item.digest) != found:
            return Status.FAIL, f"the fleet record gives the evidence of {found.hex()[:16]} to another node"
    return Status.PASS, "each evidence holds the key configuration whose hash is the Node ID in the fleet record"


def _key_kinds(contents: ProofContents) -> Finding:
    kems = {kem_from_id(node_key_config(item).kem_id).name for item in contents.evidence}
    return Status.PASS, f"the request secret is wrapped with {', '.join(sorted(kems))}: classical and post-quantum"


def _token(contents: ProofContents) -> Finding:
    return _TOKEN_FINDINGS[contents.token_use]


_TOKEN_FINDINGS: Final[Mapping[TokenUse, Finding]] = {
    TokenUse.NONE: (Status.SKIP, "no token was spent: the operator can count and shape requests freely"),
    TokenUse.PREFETCHED: (
        Status.INFO,
        "the client says that it paid with an anonymous token that it had fetched before",
    ),
    TokenUse.FRESH: (
        Status.INFO,
        "the client says that it paid with an anonymous token, fetched for this request and close to it in time",
    ),
}


def _token_use(value: cbor.CborValue) -> TokenUse:
    try:
        return TokenUse(cbor.as_text(value, what="the token of a Proof"))
    except ValueError as exc:
        raise DecodeError("the token of a Proof is of no known kind") from exc


def _skip(why: str) -> Callable[[ProofContents], Finding]:
    return lambda _contents: (Status.SKIP, why)


CHECKS: Final = (
    CheckDefinition("policy.name", _SECTION, _policy),
    CheckDefinition("fleet.record", "docs/spec/proof.md, Fleet record", _fleet_record),
    CheckDefinition("fleet.size", "docs/threat-model.md", _fleet_size),
    CheckDefinition("freshness.epoch", "RFC 9334, section 10", _epoch),
    CheckDefinition("candidates.distinct", "docs/spec/sealed-request.md", _distinct),
    CheckDefinition("evidence.digest", "docs/spec/proof.md, Evidence", _evidence_digests),
    CheckDefinition("evidence.key", "RFC 9458, section 3", _evidence_keys),
    CheckDefinition(
        ATTESTATION_CHECK,
        "RFC 9334, section 3",
        _skip("no hardware vouches for the machines: nobody has looked at them"),
    ),
    CheckDefinition("sealing.kem", "draft-ietf-hpke-pq-04, section 4", _key_kinds),
    CheckDefinition("token.spend", "RFC 9577, section 2.2", _token),
    CheckDefinition(
        "log.fleet",
        "C2SP tlog-proof",
        _skip("the fleet record is in no public log: another user may be shown another fleet"),
    ),
    CheckDefinition(
        "log.directory",
        "C2SP tlog-proof",
        _skip("the directory is in no public log: whoever wrote it could have written another for somebody else"),
    ),
)
"""All checks, in the order in which a Proof records them."""

ASSUMPTIONS: Final = (
    "The directory file came from somebody who does not single its reader out.",
    "The relay does not tell the operator of the gateway who sent what.",
    "Each candidate runs the software that its operator published, and keeps nothing: we have only his word.",
    "The engine keeps the requests of different people apart.",
    "The cryptography holds: ML-KEM-768 or the elliptic curve beside it, SHA-2, SHA-3 and AES-GCM.",
)
"""What has to be true besides what was checked."""
