"""From evidence to a key that may be trusted: the only place that makes a `TrustedKeyConfig`.

For each node of a fleet record, in this order:

1. the bytes are those that everyone is shown: their SHA-256 is the evidence digest in the fleet record;
2. they hold one KeyConfig, of the form that nodes use, and its SHA-256 is the Node ID in the fleet record;
3. the items are those of one platform, which the policy accepts, with what is left to assume there;
4. manifest and nonce are what the policy and the epoch ask for;
5. the verifiers that the policy holds look at the items of their kind, at the time when the epoch began;
6. a path of vouching leads from a root that the policy names to every item, to the operating system and to the key.

All of it is computed, and the refusal lists every check. Steps 3 to 6 are functions of public bytes and of the policy,
so a Proof replays them. A policy that waives the attestation (there is one, a constant) ends after step 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import Final, NoReturn, final

from attrs import field, frozen

from confsec.errors import ConfsecError, DecodeError, EvidenceError, LocalProtocolError, UnsupportedError
from confsec.protocol import cbor
from confsec.protocol.binding import Binding, Mode
from confsec.protocol.binding_graph import unbound
from confsec.protocol.checks import (
    Check,
    CheckDefinition,
    Finding,
    Status,
    equal,
    failed,
    holds,
    informs,
    one_of,
    passed,
    run_checks,
    skipped,
)
from confsec.protocol.cmw import KEY_CONFIG_LABEL, Endorsements, Evidence
from confsec.protocol.epoch import Epoch
from confsec.protocol.fleet import FleetNode
from confsec.protocol.key_config import MEDIA_TYPE_OHTTP_KEYS, KeyConfig, decode_key_configs, encode_key_configs
from confsec.protocol.log_root import LogRoot
from confsec.protocol.logged_values import read_logged
from confsec.protocol.manifest import Freshness, Manifest
from confsec.protocol.node_keys import check_node_key_config, node_id
from confsec.protocol.platforms import (
    FRESHNESS,
    MANIFEST,
    MEDIA_TYPES,
    OPERATING_SYSTEM,
    TPM_AK,
    Assumption,
    Platform,
    platform_of,
)
from confsec.protocol.policy import ATTESTATION_CHECK, MODELS, Policy, UnsafeAny, verifier_names
from confsec.protocol.rats import TeeFindings, VerificationRequest, Vouch

__all__ = [
    "BINDING_CHECKS",
    "FORM_CHECKS",
    "Appraised",
    "AttestationResult",
    "TrustedKeyConfig",
    "appraise_evidence",
    "appraise_node",
    "node_key_config",
    "node_key_id",
]

_RECURRING_KEYS: Final = 64
"""How many decoded key configurations are remembered: each request's Proof looks at those of its candidates again."""

_SECTION: Final = "docs/spec/attestation.md"
_UNATTESTED_HINT: Final = "To try the service all the same, say UNSAFE_UNATTESTED (--unsafe-unattested)"


@frozen(kw_only=True)
class AttestationResult:
    """What the appraisal of one node's evidence gave (RFC 9334, section 8.4). It is no verdict: a policy decides."""

    node_id: bytes
    """SHA-256 of the KeyConfig in the evidence."""

    platform: Platform | None
    """The row of the table, or None where nobody looked, or where there is no such row."""

    checks: tuple[Check, ...]
    """Every check, in order."""

    claims: Mapping[str, Mapping[str, cbor.CborValue]] = field(factory=dict, repr=False)
    """What each kind of evidence says, by the name of its verifier."""

    vouches: tuple[Vouch, ...] = field(default=(), repr=False)
    """The binding graph: which item vouches for which."""

    simulated: bool = False
    """At the top is a root whose private key is published: it proves nothing about hardware."""

    collateral_numbers: Mapping[str, int] = field(factory=dict, repr=False)
    """What issuers count of the collateral that was used."""

    expires: datetime | None = None
    """When the first certificate, list or collateral that was used ends; None where nothing does."""

    @property
    def assumes(self) -> tuple[Assumption, ...]:
        """What is left to assume about the platform."""
        return self.platform.assumes if self.platform else ()


@final
class Appraised:
    """What an appraisal holds and nobody else: the permission to call a key trusted."""

    __slots__ = ()

    def __init__(self) -> None:
        raise LocalProtocolError("only an appraisal can vouch for a key", hint="Call appraise_node")


_APPRAISED: Final = object.__new__(Appraised)


@final
class TrustedKeyConfig:
    """A node's KeyConfig whose evidence was appraised. The session seals to nothing else."""

    __slots__ = ("_endorsements", "_evidence", "_key_config", "_result", "_usable_until")

    def __init__(
        self,
        key_config: KeyConfig,
        evidence: Evidence,
        endorsements: Endorsements,
        *,
        result: AttestationResult,
        usable_until: datetime,
        appraised: Appraised,
    ) -> None:
        """Not for callers: `appraised` is what only `appraise_node` has. Raises `LocalProtocolError` without it."""
        if appraised is not _APPRAISED:
            raise LocalProtocolError("a TrustedKeyConfig comes only from an appraisal", hint="Call appraise_node")
        self._key_config = key_config
        self._evidence = evidence
        self._endorsements = endorsements
        self._result = result
        self._usable_until = usable_until

    @property
    def node_id(self) -> bytes:
        """SHA-256 of the KeyConfig: 32 bytes."""
        return self._result.node_id

    @property
    def key_config(self) -> KeyConfig:
        """The key configuration to seal to."""
        return self._key_config

    @property
    def evidence(self) -> Evidence:
        """The evidence that was appraised."""
        return self._evidence

    @property
    def endorsements(self) -> Endorsements:
        """What came beside it."""
        return self._endorsements

    @property
    def result(self) -> AttestationResult:
        """What the appraisal gave."""
        return self._result

    @property
    def usable_until(self) -> datetime:
        """Nothing may be sealed to it later: the epoch would be too old, or what vouches for it would be over."""
        return self._usable_until

    def __repr__(self) -> str:
        return f"<TrustedKeyConfig {self.node_id.hex()[:16]}>"

    def __copy__(self) -> TrustedKeyConfig:
        return self  # it never changes

    def __deepcopy__(self, memo: object) -> TrustedKeyConfig:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        # A pickle could be edited: trust does not survive being written down.
        raise LocalProtocolError("a TrustedKeyConfig cannot be pickled", hint="Appraise again")


def appraise_node(
    node: FleetNode, evidence: bytes, endorsements: bytes, *, policy: Policy, epoch: Epoch, root: LogRoot | None = None
) -> TrustedKeyConfig:
    """Appraise the evidence of one node of the fleet record of `epoch`.

    `root` names the log that a policy takes values from, if it takes any. What a result says of logs is for that root.

    Raises `EvidenceError` if the evidence is not what the record names or does not hold the node's key, `DecodeError`
    for endorsements that are none, and `AppraisalError`, which lists every check, if the policy refuses what they show.
    """
    collection = _named_evidence(node, evidence)
    beside = Endorsements.decode(endorsements)
    key_config, found = node_key_config(collection), node_key_id(collection)
    if found != node.node_id:
        raise EvidenceError(
            "the evidence holds the key of another node",
            got=found.hex()[:16],
            want=node.node_id.hex()[:16],
            section=f"{_SECTION}, Evidence",
        )
    expected = Freshness(Mode.EPOCH, epoch.nonce)
    result = appraise_evidence(collection, beside, expected=expected, policy=policy, at=epoch.began, root=root)
    policy.require(result.checks, hint="" if result.platform else _UNATTESTED_HINT)
    latest = epoch.began + policy.maximum_age
    return TrustedKeyConfig(
        key_config,
        collection,
        beside,
        result=result,
        usable_until=latest if result.expires is None else min(latest, result.expires),
        appraised=_APPRAISED,
    )


def appraise_evidence(
    evidence: Evidence,
    endorsements: Endorsements,
    *,
    expected: Freshness,
    policy: Policy,
    at: datetime,
    root: LogRoot | None = None,
) -> AttestationResult:
    """Compute every check of one node's evidence, as it was valid `at` a time.

    What the policy takes from a log is verified under `root`.

    Returns the result whatever it is: `policy.require(result.checks)` decides. Raises `EvidenceError` only for evidence
    that holds no key of a node.
    """
    name = node_key_id(evidence)
    if policy.waives(ATTESTATION_CHECK):
        found = skipped("the policy waives it: nobody has looked at the machine")
        check = Check(ATTESTATION_CHECK, "RFC 9334, section 3", found.status, found.why)
        return AttestationResult(node_id=name, platform=None, checks=(check,))
    logged = _take_logged(evidence, endorsements, policy, root, at)
    policy = logged.policy
    subject = _Subject(evidence=evidence, expected=expected, policy=policy)
    form = (*run_checks(FORM_CHECKS, subject), *logged.checks)
    if any(check.status is not Status.PASS for check in form if check.id in _READABLE):
        return AttestationResult(node_id=name, platform=None, checks=form)
    platform = subject.platform()
    request = VerificationRequest(
        evidence=evidence, endorsements=endorsements, binding=subject.binding(), platform=platform, at=at
    )
    findings = tuple(
        verifier.verify(request) for verifier in policy.verifiers if verifier.name in verifier_names(platform)
    )
    vouches = tuple(vouch for each in findings for vouch in each.vouches)
    graph = run_checks(BINDING_CHECKS, _Bound(evidence, platform, policy, findings, vouches))
    return AttestationResult(
        node_id=name,
        platform=platform,
        checks=(*form, *(check for each in findings for check in each.checks), *graph),
        claims={each.name: each.claims for each in findings},
        vouches=vouches,
        simulated=any(each.simulated for each in findings),
        collateral_numbers={name: n for each in findings for name, n in each.collateral_numbers.items()},
        expires=min((each for each in (logged.expires, *(each.expires for each in findings)) if each), default=None),
    )


# --- What a policy takes from a log -----------------------------------------------------------------------------------


@frozen
class _Logged:
    """A policy with the values that logged statements give it."""

    policy: Policy
    """The policy to compare with. Where the statements do not count, a check says so and refuses."""

    checks: tuple[Check, ...] = ()
    expires: datetime | None = None


def _take_logged(
    evidence: Evidence, endorsements: Endorsements, policy: Policy, root: LogRoot | None, at: datetime
) -> _Logged:
    if not policy.logged:
        return _Logged(policy)
    try:
        values = read_logged(endorsements, root, at=at)
        if MODELS in policy.logged:
            values.check_model(Manifest.decode(evidence.item(MANIFEST, MEDIA_TYPES[MANIFEST])))
        resolved = policy.with_values(values.of)
    except ConfsecError as exc:
        return _Logged(policy, (_logged_check(failed(f"what the policy takes from the log is not there: {exc}")),))
    found = passed("logged statements say what the system and its model are", got=", ".join(values.names))
    return _Logged(resolved, (_logged_check(found),), values.expires)


def _logged_check(finding: Finding) -> Check:
    return Check("log.statements", f"{_SECTION}, Logged values", *finding)


# --- What has to be so before verifiers look --------------------------------------------------------------------------


@frozen(kw_only=True)
class _Subject:
    """Evidence whose form is looked at. What reads an item raises if it cannot be read."""

    evidence: Evidence
    expected: Freshness
    policy: Policy

    def platform(self) -> Platform:
        """Return the platform. Raises `EvidenceError`."""
        return platform_of(self.evidence.items)

    def manifest(self) -> bytes:
        """Return the manifest, as it was hashed. Raises `EvidenceError` and `DecodeError`."""
        encoded = self.evidence.item(MANIFEST, MEDIA_TYPES[MANIFEST])
        Manifest.decode(encoded)
        return encoded

    def freshness(self) -> Freshness:
        """Return what the evidence says that it answers. Raises `EvidenceError` and `DecodeError`."""
        return Freshness.decode(self.evidence.item(FRESHNESS, MEDIA_TYPES[FRESHNESS]))

    def binding(self) -> Binding:
        """Return what the evidence says that it is about. The checks compare that with what it has to be about."""
        stated = self.freshness()
        record = self.evidence.items.get(TPM_AK)
        return Binding(
            mode=stated.mode,
            nonce=stated.nonce,
            key_config=node_key_config(self.evidence).encode(),
            manifest=self.manifest(),
            ak=record.value if record else None,
        )


def _platform(subject: _Subject) -> Finding:
    platform = subject.platform()
    for label in platform.items:
        subject.evidence.item(label, MEDIA_TYPES[label])
    return passed(f"the operating system is known from {platform.os_from}", got=platform.name)


def _manifest(subject: _Subject) -> Finding:
    return passed("the manifest can be read", got=sha256(subject.manifest()).digest())


def _freshness(subject: _Subject) -> Finding:
    return passed("the evidence says which nonce it answers", got=subject.freshness().nonce)


def _platform_accepted(subject: _Subject) -> Finding:
    return one_of("the platform", subject.platform().name, subject.policy.platforms)


def _assumptions(subject: _Subject) -> Finding:
    accepted = subject.policy.accepted_assumptions
    names = [each.value for each in subject.platform().assumes]
    missing = [each.value for each in subject.platform().assumes if each not in accepted]
    want = ", ".join(each.value for each in accepted) or "nothing"
    good, bad = "the policy accepts what is left to assume", "the policy does not accept what is left to assume"
    return holds(not missing, good, f"{bad}: {', '.join(missing)}", want=want, got=", ".join(names))


def _manifest_accepted(subject: _Subject) -> Finding:
    accepted = subject.policy.manifests
    digest = sha256(subject.manifest()).digest()
    if isinstance(accepted, UnsafeAny):
        return informs("the policy takes any manifest: UNSAFE_ANY", got=digest)
    return one_of("the manifest", digest, accepted)


def _mode(subject: _Subject) -> Finding:
    got, want = subject.freshness().mode, subject.expected.mode
    return holds(
        got is want, "the evidence is of the mode that is asked for", "the evidence is of another mode",
        want=want.name.lower(), got=got.name.lower(),
    )  # fmt: skip


def _nonce(subject: _Subject) -> Finding:
    return equal("the nonce of the epoch", subject.freshness().nonce, subject.expected.nonce)


FORM_CHECKS: Final[tuple[CheckDefinition[_Subject], ...]] = (
    CheckDefinition("evidence.platform", f"{_SECTION}, Platforms", _platform, essential=True),
    CheckDefinition("evidence.manifest", f"{_SECTION}, Manifest", _manifest, essential=True),
    CheckDefinition("evidence.freshness", f"{_SECTION}, Freshness", _freshness, essential=True),
    CheckDefinition("policy.platform", f"{_SECTION}, Platforms", _platform_accepted),
    CheckDefinition("policy.assumptions", f"{_SECTION}, Platforms", _assumptions),
    CheckDefinition("policy.manifest", f"{_SECTION}, Manifest", _manifest_accepted),
    CheckDefinition("freshness.mode", f"{_SECTION}, Freshness", _mode),
    CheckDefinition("freshness.nonce", "RFC 9334, section 10", _nonce),
)
"""What is looked at before any verifier is asked."""

_READABLE: Final = frozenset({"evidence.platform", "evidence.manifest", "evidence.freshness"})


# --- What has to be so when they have looked --------------------------------------------------------------------------


@frozen
class _Bound:
    """What the verifiers found, to be joined."""

    evidence: Evidence
    platform: Platform
    policy: Policy
    findings: tuple[TeeFindings, ...]
    vouches: tuple[Vouch, ...]


def _verifiers(bound: _Bound) -> Finding:
    asked = {each.name for each in bound.findings}
    missing = verifier_names(bound.platform) - asked
    want = ", ".join(sorted(verifier_names(bound.platform)))
    return holds(
        not missing, "each kind of evidence has a verifier in the policy", "the policy has no verifier for a kind",
        want=want, got=", ".join(sorted(asked)),
    )  # fmt: skip


def _simulated(bound: _Bound) -> Finding:
    simulated = sorted(each.name for each in bound.findings if each.simulated)
    if not simulated:
        return passed("no simulated root is at the top")
    if not bound.policy.accepts_simulated:
        return failed("the evidence is simulated: everybody has the private keys", got=", ".join(simulated))
    return informs("SIMULATED: everybody has the private keys, so it proves nothing about hardware")


def _items(bound: _Bound) -> Finding:
    loose = unbound(bound.evidence.items, bound.vouches)
    return holds(
        not loose, "every item is vouched for, from a root that the policy names",
        f"nothing vouches for {', '.join(loose)}", want="a path to each item", got=f"{len(loose)} unbound",
    )  # fmt: skip


def _operating_system(bound: _Bound) -> Finding:
    right = [edge for edge in bound.vouches if edge.of != OPERATING_SYSTEM or edge.by == bound.platform.os_by]
    loose = unbound([OPERATING_SYSTEM], right)
    return holds(
        not loose, f"the operating system is vouched for by {bound.platform.os_from}",
        f"nothing vouches for the operating system: it has to be {bound.platform.os_from}",
    )  # fmt: skip


BINDING_CHECKS: Final[tuple[CheckDefinition[_Bound], ...]] = (
    CheckDefinition("policy.verifiers", f"{_SECTION}, Platforms", _verifiers),
    CheckDefinition("attestation.simulated", f"{_SECTION}, Simulated TEEs", _simulated),
    CheckDefinition("binding.items", f"{_SECTION}, Binding", _items),
    CheckDefinition("binding.operating-system", f"{_SECTION}, Platforms", _operating_system),
)
"""What is looked at when all verifiers have been asked."""


# --- The key ----------------------------------------------------------------------------------------------------------


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
        if item != encode_key_configs([key_config]):  # an entry of a KEM that we do not have: no binding covers it
            raise DecodeError("there is more than the key")
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
