"""Each row of the table of platforms with the real verifiers: an honest node is trusted, and each attack refused."""

from __future__ import annotations

from hashlib import sha256

import pytest
from attrs import evolve
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1

from confsec.errors import AppraisalError, EvidenceError
from confsec.protocol.appraisal import appraise_node
from confsec.protocol.binding import Mode, challenge_nonce
from confsec.protocol.checks import Status
from confsec.protocol.cmw import Endorsements
from confsec.protocol.epoch import Epoch
from confsec.protocol.fleet import FleetNode
from confsec.protocol.key_config import encode_key_configs
from confsec.protocol.manifest import Freshness, Manifest
from confsec.protocol.node_keys import node_id
from confsec.protocol.platforms import PLATFORMS, SEV_SNP, TPM_QUOTE, Platform
from confsec.protocol.policy import UNSAFE_ANY, Policy
from confsec.tee.demo_policy import UNSAFE_DEMO_POLICY
from confsec.tee.registry import POLICIES
from confsec.tee.sev_snp.verifier import SnpVerifier
from confsec.tee.simulated.amd import UNSAFE_SIMULATED_SNP
from confsec.tee.simulated.intel import SIMULATED_TDX_POLICY
from confsec.tee.simulated.tpm import UNSAFE_SIMULATED_TPM
from confsec.tee.tdx.verifier import TdxVerifier
from confsec.tee.tpm.verifier import TpmVerifier
from tests.tee.composites import (
    EPOCH,
    Node,
    ak_certificate,
    azure_ak,
    emulated_tpm,
    make_node,
    node_key,
    policy_for,
    tpm_items,
    tpm_of,
)

EACH_PLATFORM = pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: platform.name)
WITH_TPM = [platform for platform in PLATFORMS if platform.has_tpm]
EACH_WITH_TPM = pytest.mark.parametrize("platform", WITH_TPM, ids=lambda platform: platform.name)
EACH_WITH_TEE = pytest.mark.parametrize(
    "platform", [each for each in PLATFORMS if each.name != "tpm"], ids=lambda platform: platform.name
)


def refusing(node: Node, policy: Policy | None = None, *, epoch: Epoch = EPOCH) -> tuple[str, ...]:
    """Return the checks that refuse a node."""
    with pytest.raises(AppraisalError) as refused:
        node.appraise(policy, epoch=epoch)
    return refused.value.codes


@EACH_PLATFORM
def test_an_honest_node_is_trusted(platform: Platform) -> None:
    trusted = make_node(platform.name).appraise()
    assert trusted.result.platform == platform
    assert trusted.result.simulated
    assert {check.status for check in trusted.result.checks} <= {Status.PASS, Status.INFO}


@pytest.mark.parametrize("name", ["sev-snp", "tdx", "tpm"])
def test_the_demo_policy_trusts_simulated_nodes(name: str) -> None:
    assert make_node(name).appraise(UNSAFE_DEMO_POLICY).result.simulated


@EACH_PLATFORM
def test_evidence_of_one_node_with_the_key_of_another_is_refused(platform: Platform) -> None:
    own_key = node_key(platform, tpm_of(platform), "attacker")
    node = make_node(platform.name).with_items(key_config=encode_key_configs([own_key]))
    relayed = evolve(node, key_config=own_key)
    codes = refusing(relayed)
    assert set(codes) & {"sev-snp.report-data", "tdx.report-data", "sev-snp.azure-user-data", "tdx.azure-user-data",
                         "tpm.quote-qualifying-data"}  # fmt: skip
    # And where the fleet record names the node whose evidence it was, nobody even looks at the evidence.
    evidence = relayed.evidence
    record = FleetNode(node_id(make_node(platform.name).key_config), evidence.digest, 0)
    with pytest.raises(EvidenceError, match="another node"):
        appraise_node(
            record,
            evidence.encoded,
            Endorsements.of(relayed.endorsements).encoded,
            policy=policy_for(platform),
            epoch=EPOCH,
        )


@EACH_PLATFORM
def test_evidence_of_an_old_epoch_is_refused(platform: Platform) -> None:
    old = Epoch.local(int(EPOCH.began.timestamp()) - 600)
    assert refusing(make_node(platform.name, nonce=old.nonce)) == ("freshness.nonce",)


@EACH_PLATFORM
def test_old_evidence_that_says_it_is_new_is_refused(platform: Platform) -> None:
    old = Epoch.local(int(EPOCH.began.timestamp()) - 600)
    node = make_node(platform.name, nonce=old.nonce)
    codes = refusing(node.with_items(freshness=Freshness(Mode.EPOCH, EPOCH.nonce).encode()))
    assert any(code.endswith(("report-data", "user-data", "qualifying-data")) for code in codes)


@EACH_PLATFORM
def test_challenge_evidence_is_refused_as_epoch_evidence(platform: Platform) -> None:
    nonce = challenge_nonce(bytes(16))
    node = make_node(platform.name, mode=Mode.CHALLENGE, nonce=nonce)
    assert refusing(node) == ("freshness.mode", "freshness.nonce")
    # A challenger who names the nonce of an epoch as his challenge gets no evidence of it, either.
    disguised = node.with_items(freshness=Freshness(Mode.EPOCH, EPOCH.nonce).encode())
    assert any(code.endswith(("report-data", "user-data", "qualifying-data")) for code in refusing(disguised))


@EACH_PLATFORM
def test_another_manifest_is_refused(platform: Platform) -> None:
    other = Manifest({"engine": "another"}).encode()
    node = make_node(platform.name).with_items(manifest=other)
    assert "policy.manifest" in refusing(node)
    lenient = evolve(policy_for(platform), manifests=(sha256(other).digest(),))
    assert any(code.endswith(("report-data", "user-data", "qualifying-data")) for code in refusing(node, lenient))


# --- What vouches for the operating system, row by row ----------------------------------------------------------------


def test_an_evil_system_under_a_direct_boot_has_another_measurement() -> None:
    policy = policy_for(PLATFORMS[0])
    other = evolve(policy, verifiers=policy_for(WITH_TPM[0]).verifiers)  # the measurement is of firmware only there
    assert set(refusing(make_node("sev-snp"), other)) == {"sev-snp.measurement", "binding.operating-system"}


@pytest.mark.parametrize("name", ["sev-snp-svsm", "azure-sev-snp", "azure-tdx"])
def test_an_evil_system_with_an_emulated_tpm_inside_a_real_tee_is_refused(name: str) -> None:
    """The guest puts the AK of its own TPM into the binding; what is beneath it names the real one."""
    (platform,) = [each for each in PLATFORMS if each.name == name]
    honest = make_node(name)
    evil = emulated_tpm()
    if name.startswith("azure"):
        node = honest.with_items(**_underscored(tpm_items(evil, honest.binding)))
    else:
        node = make_node(name, tpm=evil, ak=tpm_of(platform).ak.encode())
    codes = refusing(node)
    assert {"sev-snp.svsm-ak", "sev-snp.azure-ak", "tdx.azure-ak"} & set(codes)
    assert "binding.items" in codes


@pytest.mark.parametrize("name", ["sev-snp-tpm", "tdx-tpm", "tpm"])
def test_an_evil_system_with_an_emulated_tpm_outside_is_refused(name: str) -> None:
    """Report data is the guest's own word: that the AK stands in it is worth nothing."""
    evil = emulated_tpm()
    node = make_node(name, tpm=evil)
    unvouched = evolve(node, endorsements={k: v for k, v in node.endorsements.items() if not k.startswith("tpm-")})
    assert {"tpm.ak-vouched-for", "binding.items"} <= set(refusing(unvouched))
    borrowed = evolve(node, endorsements={**node.endorsements, **ak_certificate(tpm_of(node.platform))})
    assert {"tpm.ak-certificate-key", "binding.items"} <= set(refusing(borrowed))


@EACH_WITH_TPM
def test_a_tpm_and_a_tee_of_two_machines_are_refused(platform: Platform) -> None:
    """The other machine's TPM is honest, and quotes what its own node is about."""
    honest = make_node(platform.name)
    other = make_node(platform.name, seed="another machine")
    spliced = honest.with_items(**_underscored({k: v for k, v in other.items.items() if k.startswith("tpm-")}))
    assert "tpm.quote-qualifying-data" in refusing(spliced)


@EACH_WITH_TPM
def test_a_spliced_quote_is_refused(platform: Platform) -> None:
    honest = make_node(platform.name)
    old = make_node(platform.name, nonce=bytes(32))
    assert refusing(honest.with_items(tpm_quote=old.items[TPM_QUOTE]))[0] == "tpm.quote-qualifying-data"


@EACH_WITH_TEE
def test_a_spliced_report_is_refused(platform: Platform) -> None:
    label = SEV_SNP if SEV_SNP in platform.items else "tdx"
    honest, old = make_node(platform.name), make_node(platform.name, nonce=bytes(32))
    codes = refusing(honest.with_items(**{label.replace("-", "_"): old.items[label]}))
    assert any(code.endswith(("report-data", "runtime-data", "svsm-manifest")) for code in codes)


def test_a_changed_boot_is_refused_on_every_platform_with_a_tpm() -> None:
    for platform in WITH_TPM:
        tpm = tpm_of(platform)
        changed = evolve(tpm, boot=evolve(tpm.boot, command_line="init=/bin/sh"))
        assert "tpm.kernel-command-line" in refusing(make_node(platform.name, tpm=changed))


def test_resigned_evidence_is_refused_by_its_digest() -> None:
    """(r, n - s) is as good a signature as (r, s): the bytes are others, and no fleet record names them."""
    node = make_node("sev-snp")
    report = bytearray(node.items[SEV_SNP])
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973
    assert SECP384R1().key_size == order.bit_length()
    s = int.from_bytes(report[0x2E8 : 0x2E8 + 72], "little")
    report[0x2E8 : 0x2E8 + 72] = (order - s).to_bytes(72, "little")
    resigned = node.with_items(sev_snp=bytes(report))
    assert resigned.appraise().node_id == node_id(node.key_config)  # nothing in the mathematics refuses it
    with pytest.raises(EvidenceError, match="not what the fleet record names"):
        appraise_node(
            FleetNode(node_id(node.key_config), node.evidence.digest, 0),
            resigned.evidence.encoded,
            Endorsements.of(node.endorsements).encoded,
            policy=policy_for(node.platform),
            epoch=EPOCH,
        )


# --- Policies ---------------------------------------------------------------------------------------------------------


@EACH_PLATFORM
def test_no_policy_of_a_file_accepts_a_simulated_root(platform: Platform) -> None:
    with pytest.raises(Exception, match="simulat"):
        POLICIES.from_item(policy_for(platform).to_item())


def test_a_proof_names_the_demo_policy_by_its_digest() -> None:
    assert POLICIES.from_item(UNSAFE_DEMO_POLICY.to_item()) is UNSAFE_DEMO_POLICY
    assert UNSAFE_DEMO_POLICY.to_item() == {"constant": "UNSAFE_DEMO_POLICY", "digest": UNSAFE_DEMO_POLICY.digest}


@pytest.mark.parametrize("name", ["sev-snp-svsm", "azure-sev-snp", "azure-tdx"])
def test_what_is_beneath_the_guest_vouches_for_no_key_if_nobody_compared_it(name: str) -> None:
    # Without it a guest writes its own manifest, or runtime data: any AK, of a TPM in software, and any boot.
    node = make_node(name)
    verifiers = (
        SnpVerifier(evolve(UNSAFE_SIMULATED_SNP, measurements=(), firmware_measurements=UNSAFE_ANY)),
        TdxVerifier(evolve(SIMULATED_TDX_POLICY, mr_td=UNSAFE_ANY)),
        TpmVerifier(UNSAFE_SIMULATED_TPM),
    )
    codes = refusing(node, evolve(policy_for(node.platform), verifiers=verifiers))
    assert codes == ("binding.items", "binding.operating-system")


def test_keys_of_azure_are_rsa() -> None:
    assert azure_ak().key_size == 2048


def _underscored(items: dict[str, bytes]) -> dict[str, bytes]:
    return {label.replace("-", "_"): value for label, value in items.items()}
