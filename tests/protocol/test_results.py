"""Attestation results: what a replayed Proof gives as EAR, and that it says no more than was shown."""

from __future__ import annotations

from datetime import timedelta

import pytest
from attrs import evolve
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from confsec.protocol.appraisal import AttestationResult
from confsec.protocol.ar4si import TrustTier
from confsec.protocol.checks import Check, Status
from confsec.protocol.ear import Ear
from confsec.protocol.platforms import PLATFORMS
from confsec.protocol.policy import PRODUCTION, UNSAFE_UNATTESTED
from confsec.protocol.proof import Proof, make_proof
from confsec.protocol.results import ear_of, trust_vector_of
from tests.protocol.fleets import EPOCH, make_fleet

GOOD = Check("sev-snp.signature", "", Status.PASS, "fine")
BAD = Check("sev-snp.debug", "", Status.FAIL, "bad")


def node(platform: str = "sev-snp", *checks: Check, simulated: bool = False) -> AttestationResult:
    (row,) = [each for each in PLATFORMS if each.name == platform]
    return AttestationResult(
        node_id=bytes(32),
        platform=row,
        checks=checks or (GOOD,),
        claims={"sev-snp": {"measurement": b"\x01", "debug": False}},
        simulated=simulated,
        expires=EPOCH.began + timedelta(days=1),
    )


def proof_with(*nodes: AttestationResult) -> Proof:
    fleet = make_fleet(1)
    made = make_proof(UNSAFE_UNATTESTED, fleet.encoded, fleet.record, fleet.trusted())
    return evolve(made, nodes=nodes) if nodes else made


def test_what_the_policy_accepts_is_affirmed() -> None:
    vector = trust_vector_of(node(), PRODUCTION)
    assert vector is not None
    assert vector.tier is TrustTier.AFFIRMING
    assert vector.claims == {"hardware": 2, "configuration": 2, "executables": 3, "runtime-opaque": 2}


def test_a_tpm_without_a_tee_hides_no_memory() -> None:
    vector = trust_vector_of(node("tpm"), PRODUCTION)
    assert vector is not None
    assert vector.runtime_opaque == 96
    assert vector.tier is TrustTier.CONTRAINDICATED


@pytest.mark.parametrize("platform", ["sev-snp", "azure-tdx"])
def test_memory_that_the_host_may_debug_is_not_hidden_even_if_the_policy_allows_it(platform: str) -> None:
    debugged = evolve(node(platform), claims={"any": {"debug": True}, "tpm": {}})
    vector = trust_vector_of(debugged, PRODUCTION)
    assert vector is not None
    assert vector.runtime_opaque == 96
    assert vector.tier is TrustTier.CONTRAINDICATED


@pytest.mark.parametrize("checks", [(BAD,), (GOOD, Check("x", "", Status.SKIP, "nobody looked"))])
def test_what_the_policy_refuses_is_contraindicated(checks: tuple[Check, ...]) -> None:
    vector = trust_vector_of(node("sev-snp", *checks), PRODUCTION)
    assert vector is not None
    assert vector.tier is TrustTier.CONTRAINDICATED


@pytest.mark.parametrize("checks", [(GOOD,), (BAD,)])
def test_simulated_hardware_is_contraindicated_whatever_the_policy_says(checks: tuple[Check, ...]) -> None:
    vector = trust_vector_of(node("sev-snp", *checks, simulated=True), PRODUCTION)
    assert vector is not None
    assert vector.hardware == 97
    assert vector.tier is TrustTier.CONTRAINDICATED


def test_where_nobody_looked_nothing_is_claimed() -> None:
    ear = ear_of(proof_with(), build="test", issued_at=EPOCH.began)
    ((label, appraisal),) = ear.appraisals.items()
    assert label == make_fleet(1).record.nodes[0].node_id.hex()
    assert appraisal.status is TrustTier.NONE
    assert appraisal.trust_vector is None


def test_a_result_can_be_signed_and_read_by_others_in_both_forms() -> None:
    key = generate_private_key(SECP256R1())
    at = EPOCH.began + timedelta(seconds=1, microseconds=5)
    ear = ear_of(proof_with(node()), build="test", issued_at=at)
    assert ear.expires == EPOCH.began + timedelta(days=1)
    for read in (
        Ear.from_jwt(ear.to_jwt(key), key.public_key(), at=at),
        Ear.from_cwt(ear.to_cwt(key), key.public_key(), at=at),
    ):
        (appraisal,) = read.appraisals.values()
        assert appraisal.status is TrustTier.AFFIRMING
        assert appraisal.nonce == EPOCH.nonce
        assert appraisal.policy_ids == (f"UNSAFE_UNATTESTED#{UNSAFE_UNATTESTED.digest.hex()}",)
        assert appraisal.attester_claims["sev-snp"] == {"measurement": "01", "debug": False}
