"""The table of platforms, and the appraisal of each row with verifiers that stand in for the real ones."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pytest
from attrs import evolve, frozen

from confsec.errors import AppraisalError, ConfsecError, EvidenceError
from confsec.protocol import cbor
from confsec.protocol.appraisal import AttestationResult, TrustedKeyConfig, appraise_evidence, appraise_node
from confsec.protocol.binding import Mode
from confsec.protocol.checks import Check, Status
from confsec.protocol.cmw import CmwRecord, Endorsements, Evidence
from confsec.protocol.epoch import Epoch
from confsec.protocol.fleet import FleetNode, FleetRecord
from confsec.protocol.kem import kem_from_id
from confsec.protocol.key_config import encode_key_configs
from confsec.protocol.manifest import Freshness, Manifest
from confsec.protocol.node_keys import node_id, node_key_config
from confsec.protocol.platforms import (
    BINDING,
    FRESHNESS,
    KEY_CONFIG,
    MANIFEST,
    MEDIA_TYPES,
    OPERATING_SYSTEM,
    PLATFORMS,
    SEV_SNP,
    TPM_AK,
    TPM_QUOTE,
    Assumption,
    Platform,
    platform_of,
)
from confsec.protocol.policy import PRODUCTION, UNSAFE_ANY, Policy, PolicyReader, verifier_names
from confsec.protocol.proof import ProofContents, _compute, make_proof, verify_proof
from confsec.protocol.rats import VENDOR, TeeFindings, VerificationRequest, Vouch
from confsec.testing import seeded_randbytes
from tests.protocol.fleets import EPOCH, NO_ENDORSEMENTS

KEY = node_key_config(kem_from_id(0x647A).generate(seeded_randbytes("platforms")))
EACH_PLATFORM = pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: platform.name)


FINE = Check("stand-in", "", Status.PASS, "fine")


@frozen
class StandIn:
    """A verifier that finds what it is told to find."""

    name: str
    vouches: tuple[Vouch, ...]
    check: Check = FINE
    simulated: bool = False
    accepts_simulated: bool = False
    expires_after: timedelta | None = None
    number: int = 0

    @property
    def lists(self) -> frozenset[str]:
        return frozenset()

    def with_values(self, values: Mapping[str, tuple[bytes, ...]]) -> StandIn:
        return self

    def to_item(self) -> dict[str, cbor.CborValue]:
        return {}

    def verify(self, request: VerificationRequest) -> TeeFindings:
        expires = None if self.expires_after is None else request.at + self.expires_after
        return TeeFindings(
            name=self.name,
            checks=(self.check,),
            vouches=self.vouches,
            simulated=self.simulated,
            expires=expires,
            collateral_numbers={"TCB info": self.number},
            claims={"nonce": request.binding.nonce},
        )


def vouches_of(platform: Platform) -> dict[str, tuple[Vouch, ...]]:
    """Return what honest verifiers would establish on a platform, by their names."""
    root = next(label for label in (SEV_SNP, "tdx", TPM_AK) if label in platform.items)
    found: dict[str, list[Vouch]] = {name: [] for name in verifier_names(platform)}
    first = found[{SEV_SNP: "sev-snp", "tdx": "tdx", TPM_AK: "tpm"}[root]]
    first += [Vouch(VENDOR, root, "a chain"), Vouch(root, BINDING, "signed")]
    for label in sorted(platform.items - {root}):
        first.append(Vouch(root, label, "signed"))
    verifier = {SEV_SNP: "sev-snp", "tdx": "tdx", TPM_QUOTE: "tpm"}[platform.os_by]
    found[verifier].append(Vouch(platform.os_by, OPERATING_SYSTEM, "measured"))
    return {name: tuple(edges) for name, edges in found.items()}


def policy_for(platform: Platform, **verifiers: StandIn) -> Policy:
    honest = {name: StandIn(name, edges) for name, edges in vouches_of(platform).items()}
    return evolve(
        PRODUCTION,
        name="ours",
        constant=False,
        platforms=(platform.name,),
        accepted_assumptions=tuple(sorted(platform.assumes, key=lambda each: each.value)),
        manifests=UNSAFE_ANY,
        verifiers=tuple(each for _, each in sorted({**honest, **verifiers}.items())),
    )


def evidence_for(platform: Platform, *, freshness: Freshness | None = None, **changes: CmwRecord | None) -> Evidence:
    items: dict[str, CmwRecord | None] = {
        KEY_CONFIG: CmwRecord(MEDIA_TYPES[KEY_CONFIG], encode_key_configs([KEY])),
        MANIFEST: CmwRecord(MEDIA_TYPES[MANIFEST], Manifest({"engine": "x"}).encode()),
        FRESHNESS: CmwRecord(MEDIA_TYPES[FRESHNESS], (freshness or Freshness(Mode.EPOCH, EPOCH.nonce)).encode()),
        **{label: CmwRecord(MEDIA_TYPES[label], label.encode()) for label in platform.items},
        **{name.replace("_", "-"): record for name, record in changes.items()},
    }
    return Evidence.of({label: record for label, record in items.items() if record is not None})


def appraise(evidence: Evidence, policy: Policy) -> TrustedKeyConfig:
    node = FleetNode(node_id(KEY), evidence.digest, 0)
    return appraise_node(node, evidence.encoded, NO_ENDORSEMENTS, policy=policy, epoch=EPOCH)


def result_of(evidence: Evidence, policy: Policy) -> AttestationResult:
    expected = Freshness(Mode.EPOCH, EPOCH.nonce)
    beside = Endorsements.decode(NO_ENDORSEMENTS)
    return appraise_evidence(evidence, beside, expected=expected, policy=policy, at=EPOCH.began)


def refusing(evidence: Evidence, policy: Policy) -> tuple[str, ...]:
    """Return the ids of the checks that refuse."""
    with pytest.raises(AppraisalError) as refused:
        appraise(evidence, policy)
    return refused.value.codes


@EACH_PLATFORM
def test_each_row_is_trusted_when_a_path_leads_to_everything(platform: Platform) -> None:
    trusted = appraise(evidence_for(platform), policy_for(platform))
    assert trusted.result.platform == platform
    assert trusted.key_config == KEY
    assert set(trusted.result.claims) == verifier_names(platform)


@EACH_PLATFORM
def test_each_row_needs_something_that_vouches_for_the_operating_system(platform: Platform) -> None:
    name = {SEV_SNP: "sev-snp", "tdx": "tdx", TPM_QUOTE: "tpm"}[platform.os_by]
    edges = tuple(edge for edge in vouches_of(platform)[name] if edge.of != OPERATING_SYSTEM)
    policy = policy_for(platform, **{name: StandIn(name, edges)})
    assert refusing(evidence_for(platform), policy) == ("binding.operating-system",)


@EACH_PLATFORM
def test_each_row_needs_the_right_item_to_vouch_for_the_operating_system(platform: Platform) -> None:
    for other in sorted(platform.items - {platform.os_by}):
        verifiers = {
            name: StandIn(name, tuple(evolve(e, by=other) if e.of == OPERATING_SYSTEM else e for e in edges))
            for name, edges in vouches_of(platform).items()
        }
        assert refusing(evidence_for(platform), policy_for(platform, **verifiers)) == ("binding.operating-system",)


@EACH_PLATFORM
def test_each_row_needs_a_path_to_every_item(platform: Platform) -> None:
    for name, edges in vouches_of(platform).items():
        for edge in edges:
            if edge.of == OPERATING_SYSTEM:
                continue
            rest = tuple(each for each in edges if each != edge)
            codes = refusing(evidence_for(platform), policy_for(platform, **{name: StandIn(name, rest)}))
            assert "binding.items" in codes


@EACH_PLATFORM
def test_each_row_is_refused_where_the_policy_does_not_name_it(platform: Platform) -> None:
    policy = evolve(policy_for(platform), platforms=())
    assert refusing(evidence_for(platform), policy) == ("policy.platform",)


@EACH_PLATFORM
def test_each_row_is_refused_where_the_policy_accepts_no_assumption(platform: Platform) -> None:
    policy = evolve(policy_for(platform), accepted_assumptions=())
    assert refusing(evidence_for(platform), policy) == ("policy.assumptions",)


@EACH_PLATFORM
def test_each_row_needs_a_verifier_for_each_kind_of_evidence(platform: Platform) -> None:
    policy = evolve(policy_for(platform), verifiers=(), platforms=())
    assert "policy.verifiers" in refusing(evidence_for(platform), policy)


@EACH_PLATFORM
def test_a_failed_check_of_a_verifier_refuses(platform: Platform) -> None:
    name = min(verifier_names(platform))
    bad = StandIn(name, vouches_of(platform)[name], check=Check("its.check", "", Status.FAIL, "bad"))
    assert refusing(evidence_for(platform), policy_for(platform, **{name: bad})) == ("its.check",)


def test_a_tpm_outside_the_tee_leaves_the_hypervisor_to_assume() -> None:
    for platform in PLATFORMS:
        assert (Assumption.CLOUD_HYPERVISOR in platform.assumes) == (platform.has_tpm and not platform.tpm_inside)


def test_evidence_that_fits_no_row_is_refused() -> None:
    with pytest.raises(EvidenceError, match="no platform"):
        platform_of(["sev-snp", "tdx"])
    platform = PLATFORMS[0]
    extra = evidence_for(platform, loose_item=CmwRecord("text/plain", b"x"))
    assert refusing(extra, policy_for(platform)) == ("evidence.platform",)


def test_an_item_of_another_media_type_is_refused() -> None:
    evidence = evidence_for(PLATFORMS[0], sev_snp=CmwRecord("text/plain", b"x"))
    assert refusing(evidence, policy_for(PLATFORMS[0])) == ("evidence.platform",)


@pytest.mark.parametrize(
    ("change", "check_id"),
    [
        ({"manifest": None}, "evidence.manifest"),
        ({"manifest": CmwRecord(MEDIA_TYPES[MANIFEST], b"\x80")}, "evidence.manifest"),
        ({"freshness": None}, "evidence.freshness"),
    ],
)
def test_evidence_without_a_readable(change: Mapping[str, CmwRecord | None], check_id: str) -> None:
    complete = evidence_for(PLATFORMS[0])
    items = {**complete.items, **change}
    evidence = Evidence.of({label: record for label, record in items.items() if record is not None})
    assert refusing(evidence, policy_for(PLATFORMS[0])) == (check_id,)


def test_challenge_evidence_is_refused_as_epoch_evidence() -> None:
    evidence = evidence_for(PLATFORMS[0], freshness=Freshness(Mode.CHALLENGE, EPOCH.nonce))
    assert refusing(evidence, policy_for(PLATFORMS[0])) == ("freshness.mode",)


def test_evidence_of_an_old_epoch_is_refused() -> None:
    old = Epoch.local(int(EPOCH.began.timestamp()) - 600)
    evidence = evidence_for(PLATFORMS[0], freshness=Freshness(Mode.EPOCH, old.nonce))
    assert refusing(evidence, policy_for(PLATFORMS[0])) == ("freshness.nonce",)


def test_a_manifest_that_the_policy_does_not_name_is_refused() -> None:
    policy = evolve(policy_for(PLATFORMS[0]), manifests=(bytes(32),))
    assert refusing(evidence_for(PLATFORMS[0]), policy) == ("policy.manifest",)


def test_simulated_evidence_is_refused_by_a_policy_that_does_not_say_so() -> None:
    platform = PLATFORMS[0]
    edges = vouches_of(platform)["sev-snp"]
    simulated = StandIn("sev-snp", edges, simulated=True)
    policy = policy_for(platform, **{"sev-snp": simulated})
    assert refusing(evidence_for(platform), policy) == ("attestation.simulated",)
    demo = policy_for(platform, **{"sev-snp": evolve(simulated, accepts_simulated=True)})
    assert appraise(evidence_for(platform), demo).result.simulated


def test_a_key_is_usable_until_the_first_thing_that_vouches_for_it_ends() -> None:
    platform = PLATFORMS[0]
    edges = vouches_of(platform)["sev-snp"]
    short = StandIn("sev-snp", edges, expires_after=timedelta(minutes=7))
    long = StandIn("sev-snp", edges, expires_after=timedelta(days=7))
    for verifier, usable in ((short, timedelta(minutes=7)), (long, timedelta(hours=1))):
        trusted = appraise(evidence_for(platform), policy_for(platform, **{"sev-snp": verifier}))
        assert trusted.usable_until - EPOCH.began == usable


def test_verifiers_look_at_the_binding_that_the_evidence_states() -> None:
    old = bytes(range(32))
    evidence = evidence_for(PLATFORMS[0], freshness=Freshness(Mode.EPOCH, old))
    assert result_of(evidence, policy_for(PLATFORMS[0])).claims["sev-snp"]["nonce"] == old


def test_endorsements_that_cannot_be_read_are_refused() -> None:
    evidence = evidence_for(PLATFORMS[0])
    node = FleetNode(node_id(KEY), evidence.digest, 0)
    with pytest.raises(ConfsecError):
        appraise_node(node, evidence.encoded, b"\xff", policy=policy_for(PLATFORMS[0]), epoch=EPOCH)


@EACH_PLATFORM
def test_a_proof_of_each_row_replays_and_says_what_it_assumes(platform: Platform) -> None:
    policy = evolve(
        policy_for(platform), unsafe_waived=("freshness.epoch", "log.directory", "log.fleet", "log.root", "token.spend")
    )
    policy = evolve(policy, minimum_nodes=1)
    evidence = evidence_for(platform)
    record = FleetRecord(EPOCH.beacon, (FleetNode(node_id(KEY), evidence.digest, 0),))
    made = make_proof(policy, record.encode(), record, [appraise(evidence, policy)])
    assert {check.status for check in made.checks if check.id == "attestation.evidence"} == {Status.PASS}
    assert not made.simulated
    assert ("hypervisor" in " ".join(made.assumptions)) == (Assumption.CLOUD_HYPERVISOR in platform.assumes)
    assert ("AMD" in " ".join(made.assumptions)) == (Assumption.AMD in platform.assumes)
    reader = PolicyReader({}, (evolve(policy, constant=True),))
    named = make_proof(reader.constants[0], record.encode(), record, [appraise(evidence, policy)])
    assert verify_proof(named.encode(), reader) == named


def test_a_proof_whose_evidence_is_refused_says_which_node() -> None:
    platform = PLATFORMS[0]
    policy = policy_for(platform)
    bad = evidence_for(platform, freshness=Freshness(Mode.CHALLENGE, EPOCH.nonce))
    record = FleetRecord(EPOCH.beacon, (FleetNode(node_id(KEY), bad.digest, 0),))
    contents = ProofContents(policy, record.encode(), record, (bad,), (Endorsements.decode(NO_ENDORSEMENTS),))
    (found,) = [check for check in _compute(contents, EPOCH.began).checks if check.id == "attestation.evidence"]
    assert found.status is Status.FAIL
    assert node_id(KEY).hex()[:16] in found.why


def test_a_proof_with_simulated_evidence_informs_and_assumes_nothing_of_hardware() -> None:
    platform = PLATFORMS[0]
    simulated = StandIn("sev-snp", vouches_of(platform)["sev-snp"], simulated=True, accepts_simulated=True)
    policy = policy_for(platform, **{"sev-snp": simulated})
    evidence = evidence_for(platform)
    record = FleetRecord(EPOCH.beacon, (FleetNode(node_id(KEY), evidence.digest, 0),))
    contents = ProofContents(policy, record.encode(), record, (evidence,), (Endorsements.decode(NO_ENDORSEMENTS),))
    proof = _compute(contents, EPOCH.began)
    (found,) = [check for check in proof.checks if check.id == "attestation.evidence"]
    assert found.status is Status.INFO
    assert proof.to_json()["simulated"] is True
    assert "simulated" in proof.assumptions[0]
