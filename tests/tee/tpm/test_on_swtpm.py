"""Evidence of a TPM that is not ours: swtpm makes it, and the verifier accepts it, and refuses what was changed."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from attrs import evolve

from confsec.backends.system import now, randbytes
from confsec.protocol.binding import Binding, Mode
from confsec.protocol.checks import Status
from confsec.protocol.cmw import CmwRecord, Endorsements, Evidence
from confsec.protocol.kem import kem_from_id
from confsec.protocol.key_config import KeyConfig, SymmetricSuite, encode_key_configs
from confsec.protocol.platforms import KEY_CONFIG, MANIFEST, MEDIA_TYPES
from confsec.protocol.rats import TeeFindings, VerificationRequest
from confsec.tee.simulated.tpm import UNSAFE_SIMULATED_TPM
from confsec.tee.tpm.attester import TpmAttester
from confsec.tee.tpm.device import TpmDevice
from confsec.tee.tpm.simulated_boot import SimulatedBoot
from confsec.tee.tpm.swtpm import measure_boot, register_swtpm, start_swtpm
from confsec.tee.tpm.verifier import TpmVerifier
from tests.support import needs_packages, require_or_skip
from tests.tee.tpm.scenes import platform


@pytest.fixture(autouse=True)
def everything_is_here() -> None:
    needs_packages("tpm2_pytss")
    if shutil.which("swtpm") is None:
        require_or_skip("swtpm is not installed")


async def evidence(folder: Path, boot: SimulatedBoot | None = None) -> VerificationRequest:
    """Boot a software TPM, register it, and have it attest to a new request key."""
    pq_half = kem_from_id(0x0050).generate(randbytes).public_key[:-65]
    async with start_swtpm(folder / "tpm") as swtpm:
        device = TpmDevice(swtpm.tcti)
        log = await measure_boot(device, boot)
        (folder / "log").write_bytes(log.encode())
        endorsements = await register_swtpm(device, now=now(), randbytes=randbytes)
        attester = TpmAttester(device, logs=(folder / "log",), endorsements=endorsements)
        try:
            epoch = await attester.begin()
            key_config = KeyConfig(0, 0x0050, pq_half + epoch.request_key.public_key, (SymmetricSuite(1, 2),))
            binding = Binding(
                mode=Mode.EPOCH, nonce=bytes(32), key_config=key_config.encode(), manifest=b"\xa0", ak=epoch.ak
            )
            attestation = await epoch.attest(binding)
        finally:
            await attester.aclose()
    bound = {KEY_CONFIG: encode_key_configs([key_config]), MANIFEST: b"\xa0"}
    records = {label: CmwRecord(MEDIA_TYPES[label], value) for label, value in bound.items()}
    return VerificationRequest(
        evidence=Evidence.of(records | dict(attestation.items)),
        endorsements=Endorsements.of(dict(attestation.endorsements)),
        binding=binding,
        platform=platform("tpm"),
        at=datetime.now(UTC),
    )


def refused(findings: TeeFindings) -> list[str]:
    """Return the checks that refuse."""
    return [check.id for check in findings.checks if check.status in {Status.FAIL, Status.SKIP}]


@pytest.mark.anyio
async def test_evidence_of_swtpm_is_accepted(tmp_path: Path) -> None:
    request = await evidence(tmp_path)
    found = TpmVerifier(UNSAFE_SIMULATED_TPM).verify(request)
    assert refused(found) == []
    assert found.claims["secure_boot"] is True
    assert found.simulated
    other = evolve(request, binding=evolve(request.binding, nonce=b"\x01" * 32))
    assert refused(TpmVerifier(UNSAFE_SIMULATED_TPM).verify(other)) == [
        "tpm.quote-qualifying-data",
        "tpm.key-qualifying-data",
    ]


@pytest.mark.anyio
async def test_another_boot_of_swtpm_is_refused(tmp_path: Path) -> None:
    request = await evidence(tmp_path, evolve(SimulatedBoot(), command_line="init=/bin/sh"))
    assert refused(TpmVerifier(UNSAFE_SIMULATED_TPM).verify(request)) == [
        "tpm.pcr-values",
        "tpm.boot-applications",
        "tpm.kernel-command-line",
    ]
