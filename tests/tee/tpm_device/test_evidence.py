"""From a software TPM to a verdict: what the attester makes, the production verifier accepts, and nothing else."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping
from datetime import timedelta
from pathlib import Path

import anyio.to_thread
import pytest
from attrs import evolve, frozen

from confsec.errors import BackendError, EvidenceError
from confsec.protocol.binding import Binding, Mode
from confsec.protocol.checks import Status
from confsec.protocol.cmw import CmwRecord, Endorsements, Evidence
from confsec.protocol.kem import ML_KEM_768, MLKEM768_P256, HybridDecapsulator
from confsec.protocol.node_keys import node_key_config
from confsec.protocol.platforms import (
    KEY_CONFIG,
    MANIFEST,
    MEDIA_TYPES,
    TPM_KEY,
    TPM_LOG,
    TPM_QUOTE,
    platform_of,
)
from confsec.protocol.rats import TeeFindings, VerificationRequest
from confsec.tee.simulated.tpm import UNSAFE_SIMULATED_TPM, SimulatedTpmMaker, simulated_registrar
from confsec.tee.tpm.attester import TpmAttester
from confsec.tee.tpm.credential import Credential
from confsec.tee.tpm.device import TpmDevice
from confsec.tee.tpm.evidence import TPM_AK_STATEMENT, TPM_EK_CERTIFICATE
from confsec.tee.tpm.registrar import AkRegistration
from confsec.tee.tpm.simulated_boot import SimulatedBoot
from confsec.tee.tpm.swtpm import Swtpm, measure_boot, register_swtpm
from confsec.tee.tpm.verifier import CHECKS, TpmVerifier
from confsec.testing import EPOCH
from tests.tee.tpm_device.swtpm import running_tpm

pytestmark = pytest.mark.anyio

BOOT = SimulatedBoot()
VERIFIER = TpmVerifier(UNSAFE_SIMULATED_TPM)


@frozen
class Node:
    """A node of one epoch, and what it shows."""

    decapsulator: HybridDecapsulator
    binding: Binding
    items: Mapping[str, CmwRecord]
    endorsements: Mapping[str, CmwRecord]

    def findings(self, **changes: CmwRecord) -> TeeFindings:
        """Have the verifier look, at other items if there are some."""
        evidence = Evidence.of({**self.items, **{label.replace("_", "-"): item for label, item in changes.items()}})
        return VERIFIER.verify(
            VerificationRequest(
                evidence=Evidence.decode(evidence.encoded),
                endorsements=Endorsements.of(self.endorsements),
                binding=self.binding,
                platform=platform_of(evidence.items),
                at=EPOCH,
            )
        )


async def begin_epoch(attester: TpmAttester) -> Node:
    epoch = await attester.begin()
    decapsulator = HybridDecapsulator(MLKEM768_P256, pq=ML_KEM_768.generate(os.urandom), traditional=epoch.request_key)
    key_config = node_key_config(decapsulator).encode()
    binding = Binding(mode=Mode.EPOCH, nonce=bytes(32), key_config=key_config, manifest=b"manifest", ak=epoch.ak)
    attestation = await epoch.attest(binding)
    others = {KEY_CONFIG: key_config, MANIFEST: b"manifest"}
    items = {label: CmwRecord(MEDIA_TYPES[label], value) for label, value in others.items()}
    return Node(decapsulator, binding, {**attestation.items, **items}, attestation.endorsements)


async def booted(device: TpmDevice, folder: Path, boot: SimulatedBoot = BOOT) -> TpmAttester:
    log = await measure_boot(device, boot)
    (folder / "log").write_bytes(log.encode())
    endorsements = await register_swtpm(device, now=EPOCH, randbytes=os.urandom)
    assert endorsements.keys() == {TPM_EK_CERTIFICATE, TPM_AK_STATEMENT}
    return TpmAttester(device, logs=[folder / "log"], endorsements=endorsements)


@pytest.fixture
async def attester(tpm: tuple[Swtpm, TpmDevice], tmp_path: Path) -> AsyncGenerator[TpmAttester]:
    attester = await booted(tpm[1], tmp_path)
    yield attester
    await attester.aclose()


def failed(findings: TeeFindings) -> list[str]:
    return [check.id for check in findings.checks if check.status is Status.FAIL]


async def test_verifier_accepts_what_a_tpm_made(attester: TpmAttester) -> None:
    for _ in range(2):
        node = await begin_epoch(attester)
        findings = node.findings()
        assert failed(findings) == []
        assert [check.id for check in findings.checks] == [check.id for check in CHECKS]
        of_tpm = [check for check in findings.checks if check.id.startswith(("tpm.quote-", "tpm.log-", "tpm.key-"))]
        assert {check.status for check in of_tpm} <= {Status.PASS, Status.INFO}
        assert findings.simulated
        of = {(vouch.by, vouch.of) for vouch in findings.vouches}
        assert {(TPM_QUOTE, TPM_LOG), (TPM_KEY, KEY_CONFIG)} <= of
        secret, enc = MLKEM768_P256.encapsulate(node.decapsulator.public_key, os.urandom)
        assert await anyio.to_thread.run_sync(node.decapsulator.decapsulate, enc) == secret


async def test_machine_that_changes_after_its_evidence_cannot_open_any_more(
    attester: TpmAttester, device: TpmDevice
) -> None:
    node = await begin_epoch(attester)
    assert failed(node.findings()) == []
    _, enc = MLKEM768_P256.encapsulate(node.decapsulator.public_key, os.urandom)
    await device.extend_pcr(11, bytes(32))
    with pytest.raises(BackendError, match="a PCR was extended since it was attested"):
        await anyio.to_thread.run_sync(node.decapsulator.decapsulate, enc)
    # What it can show from now on is a PCR that its log does not explain.
    assert "tpm.log-replay" in failed((await begin_epoch(attester)).findings())


@pytest.mark.parametrize(
    ("changed", "checks"),
    [
        (evolve(BOOT, kernel=b"another"), {"tpm.boot-applications"}),
        (evolve(BOOT, secure_boot=False), {"tpm.secure-boot"}),
        (evolve(BOOT, command_line="init=/bin/sh"), {"tpm.boot-applications", "tpm.kernel-command-line"}),
    ],
    ids=["kernel", "secure boot", "command line"],
)
async def test_other_boot_is_refused(
    device: TpmDevice, tmp_path: Path, changed: SimulatedBoot, checks: set[str]
) -> None:
    node = await begin_epoch(await booted(device, tmp_path, changed))
    # Where the policy pins the PCR as well, its value is refused beside what went into it.
    assert set(failed(node.findings())) - {"tpm.pcr-values"} == checks


async def test_log_of_another_boot_does_not_replay(attester: TpmAttester) -> None:
    node = await begin_epoch(attester)
    other = CmwRecord(MEDIA_TYPES[TPM_LOG], evolve(BOOT, kernel=b"another").log().encode())
    assert failed(node.findings(tpm_log=other)) == ["tpm.log-replay"]


async def test_evidence_of_another_epoch_is_not_about_this_key(attester: TpmAttester) -> None:
    first, second = await begin_epoch(attester), await begin_epoch(attester)
    assert failed(second.findings(tpm_quote=first.items[TPM_QUOTE])) == ["tpm.quote-qualifying-data"]
    spliced = failed(second.findings(tpm_key=first.items[TPM_KEY]))
    assert spliced == ["tpm.key-qualifying-data", "tpm.key-point"]


async def test_evidence_of_another_tpm_is_not_of_this_ak(
    attester: TpmAttester, tpm_template: Path, tmp_path: Path
) -> None:
    node = await begin_epoch(attester)

    def another_seed(tss: object, esapi: object) -> None:
        esapi.change_eps(tss.ESYS_TR.PLATFORM)  # type: ignore[attr-defined]

    folder = tmp_path / "other"
    folder.mkdir()
    async with running_tpm(tpm_template, folder / "tpm") as (_, other):
        await anyio.to_thread.run_sync(other.work_now, lambda tpm: another_seed(tpm._tss, tpm._esapi))
        theirs = await begin_epoch(await booted(other, folder))
        assert failed(theirs.findings()) == []
        assert "tpm.quote-signature" in failed(node.findings(tpm_quote=theirs.items[TPM_QUOTE]))
        assert "tpm.key-signature" in failed(node.findings(tpm_key=theirs.items[TPM_KEY]))


async def test_registrar_registers_no_ak_that_the_tpm_does_not_have(device: TpmDevice) -> None:
    maker, ek, ak = SimulatedTpmMaker(), (await device.endorsement_key()).public, await device.attestation_key()
    chain = maker.chain(maker.issue_ek_certificate(ek.public_key_info))
    stranger = evolve(ak, auth_policy=bytes(32))
    registration = AkRegistration(simulated_registrar(), randbytes=os.urandom)
    credential = registration.challenge(chain, ek.encode(), stranger.encode(), now=EPOCH)
    assert isinstance(credential, Credential)
    with pytest.raises(BackendError, match="refused a command"):
        await device.activate_credential(credential.id_object, credential.encrypted_secret)
    with pytest.raises(EvidenceError, match="not opened the credential"):
        registration.receive_data(bytes(32), now=EPOCH)


async def test_statement_gets_old(attester: TpmAttester) -> None:
    node = await begin_epoch(attester)
    evidence = Evidence.of(node.items)
    request = VerificationRequest(
        evidence=evidence,
        endorsements=Endorsements.of(node.endorsements),
        binding=node.binding,
        platform=platform_of(evidence.items),
        at=EPOCH + timedelta(days=31),
    )
    assert failed(VERIFIER.verify(request)) == ["tpm.statement-age"]
