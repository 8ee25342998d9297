"""What of a Proof is shown, whichever way: its verdict, groups of checks, the binding graph, and what follows from it.

Everything here is a value that the tree for terminals (`proof_tree.py`) and the page for browsers (`proof_html.py`)
draw alike. A Proof comes from anybody, so what it says goes through `printable` before a person sees it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from attrs import frozen

from confsec.errors import AppraisalError, TransparencyError
from confsec.protocol.appraisal import AttestationResult
from confsec.protocol.binding_graph import BINDING_VOUCHES, unbound
from confsec.protocol.checks import Check, Status
from confsec.protocol.cmw import Evidence
from confsec.protocol.log_root import LogRoot
from confsec.protocol.platforms import (
    AZURE_RUNTIME_DATA,
    BINDING,
    CCEL,
    FRESHNESS,
    KEY_CONFIG,
    MANIFEST,
    OPERATING_SYSTEM,
    SEV_SNP,
    SVSM_MANIFEST,
    TDX,
    TPM_AK,
    TPM_KEY,
    TPM_LOG,
    TPM_QUOTE,
)
from confsec.protocol.policy import UNSAFE_UNATTESTED, Policy, PolicyReader
from confsec.protocol.proof import Proof, replay_proof
from confsec.protocol.rats import VENDOR, Vouch

__all__ = [
    "MEANINGS",
    "Alike",
    "CheckGroup",
    "GraphItem",
    "Judgement",
    "binding_tree",
    "counted",
    "dated",
    "group_checks",
    "judge",
    "number",
    "platform_name",
    "replays",
    "shortened",
    "unbound_items",
    "utc",
    "warning_of",
]

_SIMULATED: Final = (
    "this proves nothing about hardware: anybody can make such evidence, since its roots' keys are public"
)
_UNATTESTED: Final = "this proves nothing about the machines: nobody has looked at them"
_FOLLOWS: Final = "not looked at, since "

MEANINGS: Final[Mapping[str, str]] = {
    VENDOR: "a root of trust that the policy names",
    BINDING: "the hash of key, manifest and nonce",
    OPERATING_SYSTEM: "what booted: kernel, command line, root",
    KEY_CONFIG: "the key that requests are sealed to",
    MANIFEST: "what the launcher loaded",
    FRESHNESS: "the nonce of the epoch",
    SEV_SNP: "AMD's attestation report",
    TDX: "Intel's quote",
    CCEL: "the event log of the boot",
    SVSM_MANIFEST: "the services of the SVSM",
    AZURE_RUNTIME_DATA: "what Azure's paravisor says",
    TPM_AK: "the TPM's attestation key",
    TPM_QUOTE: "the TPM's quote of its registers",
    TPM_LOG: "the event log of the boot",
    TPM_KEY: "the TPM's half of the request key",
}
"""What each item of the binding graph is, for people."""


def shortened(text: str, size: int) -> str:
    """Leave out the middle of what is longer than `size` characters."""
    if len(text) <= size:
        return text
    tail = (size - 1) // 3
    return f"{text[: size - 1 - tail]}…{text[len(text) - tail :]}"


def platform_name(node: AttestationResult) -> str:
    """Name the platform of a node, or say why it has none."""
    if node.platform is None:
        return "not attested" if len(node.checks) == 1 else "of no known platform"
    return node.platform.name + (" (SIMULATED)" if node.simulated else "")


def utc(time: datetime) -> str:
    """Write a time as people read it."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def number(count: int, noun: str) -> str:
    """Write a number with its noun."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


# --- The verdict ------------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class Judgement:
    """A Proof that replays, and what a policy says of it."""

    proof: Proof
    """The Proof, with its checks as they come out under the policy that judges."""

    named: Policy
    """The policy that the Proof names."""

    at: datetime
    """The time at which the evidence was appraised."""

    digest: bytes
    """SHA-256 of the file."""

    refusal: AppraisalError | None
    """Why the policy refuses it; None if it does not."""

    root: bytes = b""
    """The digest of the root under which it must have been made; nothing if its reader named none."""

    @property
    def policy(self) -> Policy:
        """The policy that judges."""
        return self.proof.contents.policy

    @property
    def named_root(self) -> bytes:
        """The digest of the root that the Proof names; nothing if it names none."""
        logs = self.proof.contents.logs
        return b"" if logs is None else logs.root.digest

    @property
    def other_root(self) -> TransparencyError | None:
        """Why it is not of the service that its reader means; None if it is, or if he named no root."""
        if self.root in {b"", self.named_root}:
            return None
        return TransparencyError(
            "the Proof was made under another root than yours" if self.named_root else "the Proof names no root",
            got=self.named_root.hex() or None, want=self.root.hex(), section="docs/spec/log-root.md",
            hint="Somebody may have shown its maker a service of his own",
        )  # fmt: skip

    @property
    def trusted(self) -> bool:
        """Whether the policy accepts every check, and the root is the one that its reader named."""
        return self.refusal is None and self.other_root is None

    @property
    def simulated(self) -> bool:
        """Whether it proves nothing about hardware: anybody can make such evidence."""
        return self.proof.simulated or self.named.accepts_simulated

    def to_json(self) -> dict[str, object]:
        """Return what `confsec verify --json` prints. What is as the Proof has it is not said a second time."""
        found: dict[str, object] = {"verdict": "trusted" if self.trusted else "refused"}
        if self.refusal is not None:
            found |= {"code": self.refusal.code, "why": str(self.refusal), "refused": list(self.refusal.codes)}
        if error := self.other_root:
            found |= {"code": error.code, "why": str(error)}
        found |= self.proof.to_json() | {"simulated": self.simulated}
        found["root"] = {"named": self.named_root.hex() or None, "required": self.root.hex() or None}
        if self.named != self.policy:
            found["named_policy"] = self.named.name
        if self.at != self.proof.contents.epoch.began:
            found["at"] = self.at.astimezone(UTC).isoformat()
        return found


def judge(
    data: bytes,
    policies: PolicyReader,
    *,
    policy: Policy | None = None,
    at: datetime | None = None,
    root: LogRoot | None = None,
) -> Judgement:
    """Replay the Proof in `data`, and have `policy` judge it, or else the policy that it names.

    The evidence is appraised `at` a time, or when the epoch began. With `root`, it must have been made under that.
    Raises what `replay_proof` raises.
    """
    recorded = replay_proof(data, policies)
    changed = policy is not None or at is not None
    proof = replay_proof(data, policies, policy=policy, at=at) if changed else recorded
    refusal = None
    try:
        proof.require()
    except AppraisalError as exc:
        refusal = exc
    return Judgement(
        proof=proof,
        named=recorded.contents.policy,
        at=at or proof.contents.epoch.began,
        digest=sha256(data).digest(),
        refusal=refusal,
        root=b"" if root is None else root.digest,
    )


def warning_of(proof: Proof, named: Policy | None = None) -> tuple[str, str]:
    """Return a word and a sentence that have to stand first if a Proof shows nothing of the machines; else nothing."""
    if proof.simulated or (named or proof.contents.policy).accepts_simulated:
        return "SIMULATED", _SIMULATED
    if proof.contents.policy == UNSAFE_UNATTESTED:
        return "UNATTESTED", _UNATTESTED
    return "", ""


def replays(judgement: Judgement) -> str:
    """Return the sentence that follows the verdict."""
    if judgement.other_root:
        return "every recorded check replays, and it was made under another root than yours"
    if judgement.refusal is not None:
        count = len(judgement.refusal.decisive)
        return f"every recorded check replays, and {number(count, 'check')} refused under {judgement.policy.name}"
    return f"every recorded check replays, and the policy {judgement.policy.name} accepts it"


def dated(proof: Proof) -> str:
    """Say when the epoch began, and who says so."""
    epoch = proof.contents.epoch
    return utc(epoch.began) + (", as the operator says" if epoch.age_proof.status is Status.SKIP else "")


# --- Checks -----------------------------------------------------------------------------------------------------------


@frozen
class Alike:
    """Checks that say the same, but for the ends of their ids: bits of one field, for instance."""

    common: str
    """What their ids begin with, up to the last dot."""

    said: str
    """What they say; where one names itself stands `…`."""

    checks: tuple[Check, ...]
    """In their order."""

    @property
    def ends(self) -> tuple[str, ...]:
        """The ends of their ids."""
        return tuple(check.id.removeprefix(f"{self.common}.") for check in self.checks)


@frozen
class CheckGroup:
    """The checks of one part: those whose ids begin alike."""

    name: str
    """What is before the first dot of the ids."""

    checks: tuple[Check, ...]
    """In their order."""

    def of(self, *statuses: Status) -> tuple[Check, ...]:
        """Return the checks with one of these statuses, without those that only follow from another."""
        return tuple(check for check in self.checks if check.status in statuses and not _follows(check))

    @property
    def failures_first(self) -> tuple[Check, ...]:
        """Return all of them, what failed before the others."""
        return tuple(sorted(self.checks, key=lambda check: check.status is not Status.FAIL))

    @property
    def informing(self) -> tuple[Alike, ...]:
        """Return the checks that only inform; those that say the same are together."""
        found: dict[tuple[str, str], list[Check]] = {}
        for check in self.of(Status.INFO):
            common, _, end = check.id.rpartition(".")
            said = re.sub(rf"\b{re.escape(end)}\b", "…", check.why)
            found.setdefault((common, said), []).append(check)
        return tuple(Alike(common, said, tuple(checks)) for (common, said), checks in found.items())

    @property
    def followers(self) -> Mapping[str, int]:
        """How many checks were not made since another failed, by the sentence that says which."""
        found: dict[str, int] = {}
        for check in self.checks:
            if _follows(check):
                found[check.why] = found.get(check.why, 0) + 1
        return found


def group_checks(checks: Iterable[Check]) -> tuple[CheckGroup, ...]:
    """Put the checks of each part together, in the order in which the parts occur first."""
    groups: dict[str, list[Check]] = {}
    for check in checks:
        groups.setdefault(check.id.partition(".")[0], []).append(check)
    return tuple(CheckGroup(name, tuple(members)) for name, members in groups.items())


def counted(checks: Collection[Check]) -> tuple[tuple[Status, int], ...]:
    """Count the checks by status, failures first; statuses that do not occur are left out."""
    order = (Status.FAIL, Status.PASS, Status.SKIP, Status.INFO)
    counts = [(status, sum(check.status is status for check in checks)) for status in order]
    return tuple((status, count) for status, count in counts if count)


def _follows(check: Check) -> bool:
    return check.status is Status.SKIP and check.why.startswith(_FOLLOWS)


# --- The binding graph ------------------------------------------------------------------------------------------------


@frozen
class GraphItem:
    """One item of the binding graph, with what it vouches for."""

    name: str
    """Its label, or its name in `platforms`."""

    because: str
    """The rule by which what is above vouches for it; empty at the top."""

    others: tuple[Vouch, ...]
    """What vouches for it besides."""

    children: tuple[GraphItem, ...]
    """What it vouches for. Each item stands once, where a shortest path from the top leads to it."""


def binding_tree(vouches: Sequence[Vouch]) -> GraphItem:
    """Return the part of the graph that a path from the vendor reaches, as a tree."""
    edges = tuple(dict.fromkeys((*vouches, *BINDING_VOUCHES)))
    first: dict[str, Vouch | None] = {VENDOR: None}
    waiting = [VENDOR]
    while waiting:
        by = waiting.pop(0)
        for edge in edges:
            if edge.by == by and edge.of not in first:
                first[edge.of] = edge
                waiting.append(edge.of)

    def item(name: str) -> GraphItem:
        edge = first[name]
        others = tuple(each for each in edges if each.of == name and each.by in first and each is not edge)
        children = tuple(item(each.of) for each in first.values() if each is not None and each.by == name)
        return GraphItem(name, edge.because if edge else "", others, children)

    return item(VENDOR)


def unbound_items(node: AttestationResult, evidence: Evidence) -> tuple[str, ...]:
    """Return what no path from the vendor reaches: items of the evidence, and the operating system."""
    return unbound({*evidence.items, OPERATING_SYSTEM}, node.vouches)
