"""What the verifier concludes, and that nothing signed can be changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from confsec.errors import EvidenceError
from confsec.protocol.binding_graph import reached
from confsec.protocol.checks import Status
from confsec.protocol.cmw import CmwRecord, Endorsements, Evidence
from confsec.protocol.platforms import (
    KEY_CONFIG,
    OPERATING_SYSTEM,
    TPM_AK,
    TPM_ITEMS,
    TPM_KEY,
    TPM_LOG,
    TPM_QUOTE,
)
from confsec.protocol.policy import UNSAFE_ANY
from confsec.protocol.rats import VENDOR, TeeFindings, VerificationRequest, Vouch
from confsec.tee.event_log import Event, HashAlgorithm
from confsec.tee.simulated.tpm import SoftwareTpm, published_key
from confsec.tee.tpm.evidence import TPM_AK_CERTIFICATE, TPM_AK_STATEMENT, TPM_EK_CERTIFICATE
from confsec.tee.tpm.simulated_boot import SimulatedBoot
from confsec.tee.tpm.structures import AttestType
from confsec.tee.tpm.subject import Subject
from confsec.tee.tpm.verifier import TpmVerifier
from tests.tee.tpm.refusals import AZURE_ITEM, SCENES, SVSM_ITEM, OtherBoot, gce_instance, relaxed
from tests.tee.tpm.scenes import AT, Scene, platform

GOOD = Scene()
REQUEST = GOOD.request()
CERTIFIED = Scene(by_certificate=True)
VERIFIER = TpmVerifier(GOOD.policy)


def edges(findings: TeeFindings) -> set[tuple[str, str]]:
    """Return who vouches for what."""
    return {(each.by, each.of) for each in findings.vouches}


def refused(findings: TeeFindings) -> list[str]:
    """Return the checks that refuse."""
    return [check.id for check in findings.checks if check.status is Status.FAIL]


def item(request: VerificationRequest, label: str) -> bytes:
    """Return an item's bytes."""
    return request.evidence.items[label].value


def with_item(request: VerificationRequest, label: str, value: bytes) -> VerificationRequest:
    """Put other bytes in the place of an item."""
    records = dict(request.evidence.items)
    records[label] = evolve(records[label], value=value)
    return evolve(request, evidence=Evidence.of(records))


def with_endorsement(request: VerificationRequest, label: str, value: bytes) -> VerificationRequest:
    """Put other bytes in the place of an endorsement."""
    records = dict(request.endorsements.items)
    records[label] = CmwRecord(records[label].media_type, value)
    return evolve(request, endorsements=Endorsements.of(records))


# --- The binding graph ------------------------------------------------------------------------------------------------


def test_a_tpm_outside_vouches_for_all_that_it_signed() -> None:
    found = GOOD.verify()
    assert edges(found) == {
        (VENDOR, TPM_AK),
        (TPM_AK, TPM_QUOTE),
        (TPM_QUOTE, "binding"),
        (TPM_QUOTE, TPM_LOG),
        (TPM_AK, TPM_KEY),
        (TPM_KEY, KEY_CONFIG),
        (TPM_QUOTE, OPERATING_SYSTEM),
    }
    assert TPM_ITEMS | {KEY_CONFIG, "manifest", "freshness", OPERATING_SYSTEM} <= reached(found.vouches)


@pytest.mark.parametrize("name, extra", [("sev-snp-svsm", SVSM_ITEM), ("azure-sev-snp", AZURE_ITEM)])
def test_a_tpm_inside_is_vouched_for_by_the_tee(name: str, extra: dict[str, CmwRecord]) -> None:
    found = GOOD.changed(platform=platform(name), extra_items=extra, endorsements=lambda _: {}).verify()
    assert (VENDOR, TPM_AK) not in edges(found)
    assert reached(found.vouches) == {VENDOR}
    (label,) = extra
    assert OPERATING_SYSTEM in reached([*found.vouches, Vouch(VENDOR, label, ""), Vouch(label, TPM_AK, "")])
    assert found.expires is None
    assert not found.simulated


def test_a_policy_that_means_no_system_vouches_for_none() -> None:
    found = GOOD.changed(policy=relaxed(kernel_command_lines=UNSAFE_ANY)).verify()
    assert refused(found) == []
    assert (TPM_QUOTE, OPERATING_SYSTEM) not in edges(found)
    assert (TPM_QUOTE, TPM_LOG) in edges(found)


def test_a_known_kernel_with_any_initial_ram_disk_is_no_known_system() -> None:
    def change(events: tuple[Event, ...]) -> tuple[Event, ...]:
        evil: dict[int, bytes] = {HashAlgorithm.SHA256: bytes(32)}
        return tuple(evolve(event, digests=evil) if event.data == b"Linux initrd\x00" else event for event in events)

    found = GOOD.changed(tpm=SoftwareTpm(boot=OtherBoot(change=change)), policy=relaxed(uki_sections={})).verify()
    assert refused(found) == []
    assert (TPM_QUOTE, OPERATING_SYSTEM) not in edges(found)


@pytest.mark.parametrize(
    "check_id, missing",
    [
        ("tpm.ak-restricted", {TPM_AK, TPM_QUOTE, "binding", TPM_LOG, TPM_KEY, KEY_CONFIG, OPERATING_SYSTEM}),
        ("tpm.chain-root", {TPM_AK}),
        ("tpm.statement-ak", {TPM_AK}),
        ("tpm.quote-qualifying-data", {TPM_QUOTE, "binding", TPM_LOG, TPM_KEY, KEY_CONFIG, OPERATING_SYSTEM}),
        ("tpm.pcr-values", {OPERATING_SYSTEM}),
        ("tpm.boot-applications", {OPERATING_SYSTEM}),
        ("tpm.secure-boot", {OPERATING_SYSTEM}),
        ("tpm.kernel-command-line", {OPERATING_SYSTEM}),
        ("tpm.uki-sections", {OPERATING_SYSTEM}),
        ("tpm.key-policy", {TPM_KEY, KEY_CONFIG}),
        ("tpm.key-point", {TPM_KEY, KEY_CONFIG}),
    ],
)
def test_what_rests_on_a_failed_check_is_not_vouched_for(check_id: str, missing: set[str]) -> None:
    for found_id, _, scene in SCENES:
        if found_id == check_id:
            found = scene.verify()
            assert {of for _, of in edges(GOOD.verify())} - {of for _, of in edges(found)} == missing


def test_without_an_essential_check_nothing_is_said() -> None:
    found = GOOD.changed(quote_members={"magic": 0}).verify()
    assert (found.claims, found.vouches, found.expires) == ({}, (), None)


def test_an_attestation_of_another_type_is_never_read_as_the_wanted_one() -> None:
    other = {"type": AttestType.TIME, "attested": b""}
    changed = GOOD.changed(quote_members=other, key_attest_members=other)
    subject = Subject(request=changed.request(), policy=GOOD.policy)
    with pytest.raises(EvidenceError):
        _ = subject.quote_info
    with pytest.raises(EvidenceError):
        _ = subject.creation_info


# --- Claims -----------------------------------------------------------------------------------------------------------


def test_claims_are_derived() -> None:
    boot = SimulatedBoot()
    claims = GOOD.verify().claims
    assert claims["secure_boot"] is True
    assert claims["boot_applications"] == [boot.application.hex()]
    assert claims["ak_vouched_for_by"] == "registrar"
    assert claims["ak_name"] == GOOD.tpm.ak.name.hex()
    assert claims["bank"] == "sha256"
    assert claims["pcrs"] == {str(pcr): GOOD.tpm.pcrs()[pcr].hex() for pcr in GOOD.pcrs}
    assert claims["reset_count"] == 7
    assert claims["clock_safe"] is True


def test_a_log_is_not_believed_about_pcrs_that_were_not_quoted() -> None:
    real = SoftwareTpm(boot=SimulatedBoot(secure_boot=False))
    policy = relaxed(
        pcr_selection=(4, 9, 11), kernel_command_lines=UNSAFE_ANY, uki_sections=UNSAFE_ANY,
        unsafe_allow_no_secure_boot=True,
    )  # fmt: skip
    scene = Scene(tpm=real, policy=policy, pcrs=(4, 9, 11), log=lambda _: SimulatedBoot().log().encode())
    found = scene.verify()
    assert refused(found) == []
    (secure_boot,) = [check for check in found.checks if check.id == "tpm.secure-boot"]
    assert secure_boot.status is Status.INFO
    assert secure_boot.got == "unknown"
    assert "secure_boot" not in found.claims
    anything = scene.changed(
        policy=policy.replace(pcr_selection=(9,), boot_applications=UNSAFE_ANY), pcrs=(9,)
    ).verify()  # fmt: skip
    assert anything.claims["boot_applications"] == []


def test_an_instance_is_a_claim() -> None:
    claims = CERTIFIED.changed(leaf={"extensions": gce_instance(production=True)}).verify().claims
    assert (claims["zone"], claims["project"]) == ("europe-west4-a", "project")
    assert "zone" not in CERTIFIED.verify().claims


def test_an_instance_that_cannot_be_read_is_no_claim() -> None:
    broken = {oid: evolve(each, value=each.value[:-1]) for oid, each in gce_instance(production=True).items()}
    found = CERTIFIED.changed(leaf={"extensions": broken}).verify()
    assert refused(found) == ["tpm.ak-certificate-instance"]
    assert "zone" not in found.claims


def test_a_simulated_root_or_registrar_is_told() -> None:
    assert GOOD.verify().simulated
    assert CERTIFIED.verify().simulated
    assert GOOD.changed(chain=lambda _: b"").verify().simulated  # the registrar alone is enough


def test_findings_end_with_the_first_thing_that_ends() -> None:
    assert GOOD.verify().expires == datetime(2026, 12, 20, tzinfo=UTC)
    soon = AT + timedelta(days=2)
    assert GOOD.changed(leaf={"valid": (AT - timedelta(days=1), soon)}).verify().expires == soon
    assert CERTIFIED.verify().expires == datetime(2049, 12, 31, tzinfo=UTC)
    assert GOOD.changed(endorsements=lambda _: {}).verify().expires is None


def test_a_chain_and_a_statement_that_cannot_be_read_are_both_told() -> None:
    found = GOOD.changed(chain=lambda _: b"x", statement_item=lambda _: b"x").verify()
    assert refused(found) == ["tpm.chain-format", "tpm.statement-format"]
    found = GOOD.changed(chain=lambda _: b"x").verify()
    assert refused(found) == ["tpm.chain-format"]


# --- Splices ----------------------------------------------------------------------------------------------------------


OTHER = Scene(tpm=SoftwareTpm(ak_key=published_key("another AK"), request_key=published_key("another request key")))


@pytest.mark.parametrize("label", sorted({TPM_AK, TPM_QUOTE, TPM_KEY}))
def test_an_item_of_another_node_is_refused(label: str) -> None:
    spliced = with_item(REQUEST, label, item(OTHER.request(), label))
    assert refused(VERIFIER.verify(spliced))


def test_evidence_for_another_binding_is_refused() -> None:
    other = evolve(REQUEST, binding=evolve(REQUEST.binding, nonce=b"\x01" * 32))
    assert refused(VERIFIER.verify(other)) == ["tpm.quote-qualifying-data", "tpm.key-qualifying-data"]


@pytest.mark.parametrize("label", sorted(TPM_ITEMS))
def test_an_item_that_is_missing_is_refused(label: str) -> None:
    records = {name: record for name, record in REQUEST.evidence.items.items() if name != label}
    assert refused(VERIFIER.verify(evolve(REQUEST, evidence=Evidence.of(records))))


# --- Mutations --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scene", [GOOD, CERTIFIED])
@pytest.mark.parametrize("label", sorted({TPM_AK, TPM_QUOTE, TPM_KEY}))
@given(data=st.data())
def test_a_flipped_bit_is_refused(scene: Scene, label: str, data: st.DataObject) -> None:
    request = scene.request()
    changed = bytearray(item(request, label))
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert refused(VERIFIER.verify(with_item(request, label, bytes(changed))))


@given(data=st.data())
def test_a_flipped_bit_of_a_digest_in_the_log_is_refused(data: st.DataObject) -> None:
    log = GOOD.tpm.boot.log()
    place = data.draw(st.integers(1, len(log.events) - 1))
    (digest,) = log.events[place].digests.items()
    flipped = bytearray(digest[1])
    flipped[data.draw(st.integers(0, 31))] ^= 1 << data.draw(st.integers(0, 7))
    events = [*log.events]
    events[place] = evolve(events[place], digests={digest[0]: bytes(flipped)})
    changed = with_item(REQUEST, TPM_LOG, evolve(log, events=tuple(events)).encode())
    assert "tpm.log-replay" in refused(VERIFIER.verify(changed))


@given(data=st.data())
def test_a_flipped_bit_of_the_log_changes_no_verdict_by_more_than_a_label(data: st.DataObject) -> None:
    changed = bytearray(item(REQUEST, TPM_LOG))
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    found = VERIFIER.verify(with_item(REQUEST, TPM_LOG, bytes(changed)))
    if not refused(found):
        # Types, labels and data that no rule reads are under no digest: then nothing else may differ.
        assert found.claims == GOOD.verify().claims


@pytest.mark.parametrize(
    "scene, label", [(GOOD, TPM_EK_CERTIFICATE), (GOOD, TPM_AK_STATEMENT), (CERTIFIED, TPM_AK_CERTIFICATE)]
)
@given(data=st.data())
def test_a_flipped_bit_of_an_endorsement_is_refused(scene: Scene, label: str, data: st.DataObject) -> None:
    request = scene.request()
    changed = bytearray(request.endorsements.items[label].value)
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert refused(VERIFIER.verify(with_endorsement(request, label, bytes(changed))))


@given(data=st.data())
def test_any_bytes_are_refused_and_raise_nothing(data: st.DataObject) -> None:
    request: Any = REQUEST
    for label in TPM_ITEMS:
        if data.draw(st.booleans()):
            request = with_item(request, label, data.draw(st.binary(max_size=100)))
    for label in (TPM_EK_CERTIFICATE, TPM_AK_STATEMENT):
        if data.draw(st.booleans()):
            request = with_endorsement(request, label, data.draw(st.binary(max_size=100)))
    assert request is REQUEST or refused(VERIFIER.verify(request))
