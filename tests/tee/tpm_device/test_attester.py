"""The attester of a TPM, from a boot that did not happen to evidence."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from attrs import evolve

from confsec.errors import BackendError, ConfigError, LocalProtocolError
from confsec.protocol.binding import Binding, Mode
from confsec.protocol.cmw import CmwRecord, Evidence
from confsec.protocol.platforms import KEY_CONFIG, MANIFEST, MEDIA_TYPES, TPM_ITEMS, TPM_KEY, TPM_LOG, platform_of
from confsec.tee.api import Attester, EpochAttester
from confsec.tee.event_log import MAX_EVENT_LOG, EventLog, HashAlgorithm
from confsec.tee.measured_boot import (
    boot_applications,
    command_line_digest,
    first_command_line,
    secure_boot,
    uki_sections,
)
from confsec.tee.tpm.attester import TpmAttester, TpmEpoch, probe_tpm, read_event_log
from confsec.tee.tpm.device import TpmDevice
from confsec.tee.tpm.evidence import TPM_AK_STATEMENT, TpmKey, TpmQuote
from confsec.tee.tpm.keys import DEFAULT_PCRS
from confsec.tee.tpm.simulated_boot import SimulatedBoot, measured_event
from confsec.tee.tpm.structures import Attest, PublicArea, verify_tpm_signature
from confsec.tee.tpm.swtpm import Swtpm, measure_boot

pytestmark = pytest.mark.anyio

SHA256 = HashAlgorithm.SHA256
BOOT = SimulatedBoot()
KEY_CONFIG_BYTES = b"key config"


@pytest.fixture
async def attester(tpm: tuple[Swtpm, TpmDevice], tmp_path: Path) -> AsyncGenerator[TpmAttester]:
    """Boot a TPM, and make its attester."""
    _, device = tpm
    log = await measure_boot(device, BOOT)
    (tmp_path / "log").write_bytes(log.encode())
    attester = TpmAttester(device, logs=[tmp_path / "log"])
    yield attester
    await attester.aclose()


def binding_of(epoch: EpochAttester) -> Binding:
    return Binding(
        mode=Mode.EPOCH, nonce=bytes(range(32)), key_config=KEY_CONFIG_BYTES, manifest=b"manifest", ak=epoch.ak
    )


async def test_evidence_is_what_the_platform_asks_for(attester: TpmAttester) -> None:
    assert attester.platform == "tpm"
    epoch = await attester.begin()
    binding = binding_of(epoch)
    attestation = await epoch.attest(binding)
    assert attestation.items.keys() == TPM_ITEMS
    for label, record in attestation.items.items():
        assert record.media_type == MEDIA_TYPES[label]
    others = {
        KEY_CONFIG: CmwRecord(MEDIA_TYPES[KEY_CONFIG], KEY_CONFIG_BYTES),
        MANIFEST: CmwRecord(MEDIA_TYPES[MANIFEST], b"manifest"),
    }
    evidence = Evidence.of({**attestation.items, **others})
    assert Evidence.decode(evidence.encoded).items == evidence.items
    assert platform_of(evidence.items).name == attester.platform
    assert attestation.endorsements == {}


async def test_quote_and_certification_are_about_the_binding(attester: TpmAttester) -> None:
    epoch = await attester.begin()
    binding = binding_of(epoch)
    items = (await epoch.attest(binding)).items
    ak = PublicArea.decode(epoch.ak)
    quote, key = TpmQuote.decode(items["tpm-quote"].value), TpmKey.decode(items[TPM_KEY].value)
    for signed in (quote, key):
        verify_tpm_signature(ak, signed.signature, signed.attest)
        assert Attest.decode(signed.attest).extra_data == binding.qualifying_data
    replayed = EventLog.decode(items[TPM_LOG].value).replay(SHA256)
    assert quote.pcrs(SHA256) == {pcr: replayed.get(pcr, bytes(32)) for pcr in DEFAULT_PCRS}
    # A challenge gets evidence of its own, for the same key.
    again = await epoch.attest(evolve(binding, mode=Mode.CHALLENGE))
    assert again.items[TPM_KEY].value != items[TPM_KEY].value


async def test_epochs_have_keys_of_their_own_and_one_ak(attester: TpmAttester) -> None:
    first, second = await attester.begin(), await attester.begin()
    assert first.ak == second.ak
    assert first.request_key.public_key != second.request_key.public_key
    await first.aclose()
    await first.aclose()
    await second.attest(binding_of(second))
    with pytest.raises(LocalProtocolError, match="closed"):
        await first.attest(binding_of(first))


async def test_binding_of_another_ak_is_refused(attester: TpmAttester) -> None:
    epoch = await attester.begin()
    for ak in (None, epoch.ak[:-1] + b"\x00"):
        with pytest.raises(LocalProtocolError, match="another attestation key"):
            await epoch.attest(evolve(binding_of(epoch), ak=ak))


async def test_epoch_ends_when_a_pcr_is_extended(attester: TpmAttester, device: TpmDevice) -> None:
    epoch = await attester.begin()
    await device.extend_pcr(12, bytes(32))
    with pytest.raises(BackendError, match="Begin a new epoch"):
        await epoch.attest(binding_of(epoch))
    fresh = await attester.begin()
    await fresh.attest(binding_of(fresh))


async def test_logs_are_sent_one_behind_the_other(device: TpmDevice, tmp_path: Path) -> None:
    log = await measure_boot(device, BOOT)
    launched = measured_event(12, 0x0D, b"what a launcher loaded")
    await device.extend_pcr(12, launched.digests[SHA256])
    whole = evolve(log, events=(*log.events, launched)).encode()
    (tmp_path / "firmware").write_bytes(log.encode())
    (tmp_path / "launcher").write_bytes(whole[len(log.encode()) :])
    attester = TpmAttester(device, logs=[tmp_path / "firmware", tmp_path / "launcher"])
    epoch = await attester.begin()
    items = (await epoch.attest(binding_of(epoch))).items
    assert items[TPM_LOG].value == whole
    quoted = TpmQuote.decode(items["tpm-quote"].value).pcrs(SHA256)
    assert EventLog.decode(whole).replay(SHA256)[12] == quoted[12] != bytes(32)


async def test_endorsements_that_were_handed_in_are_sent_along(device: TpmDevice, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"")
    statement = CmwRecord("application/vnd.confsec.tpm-ak-statement", b"a registrar's statement")
    attester = TpmAttester(device, logs=[tmp_path / "log"], endorsements={TPM_AK_STATEMENT: statement})
    epoch = await attester.begin()
    assert (await epoch.attest(binding_of(epoch))).endorsements == {TPM_AK_STATEMENT: statement}


async def test_log_that_cannot_be_read_says_which(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read: got .*none: No such file"):
        await read_event_log(tmp_path / "none")
    (tmp_path / "long").write_bytes(bytes(MAX_EVENT_LOG + 1))
    with pytest.raises(BackendError, match="too long"):
        await read_event_log(tmp_path / "long")
    (tmp_path / "longest").write_bytes(bytes(MAX_EVENT_LOG))
    assert len(await read_event_log(tmp_path / "longest")) == MAX_EVENT_LOG


async def test_probe_says_why_there_is_no_tpm(tmp_path: Path) -> None:
    missing = await probe_tpm(tmp_path / "tpmrm0")
    assert (missing.tee, missing.found) == ("tpm", False)
    assert missing.why == f"there is no {tmp_path / 'tpmrm0'}"
    (tmp_path / "tpmrm0").touch()
    broken = await probe_tpm(tmp_path / "tpmrm0")
    assert not broken.found
    assert "tpmrm0" in broken.why


def as_interfaces(attester: TpmAttester, epoch: TpmEpoch) -> tuple[Attester, EpochAttester]:
    """See by the type checker that both are what a role asks for."""
    return attester, epoch


# --- The boot that did not happen -------------------------------------------------------------------------------------


async def test_tpm_holds_what_the_simulated_log_replays_to(device: TpmDevice) -> None:
    log = await measure_boot(device, BOOT)
    assert EventLog.decode(log.encode()) == log
    replayed = log.replay(SHA256)
    assert await device.read_pcrs() == {pcr: replayed.get(pcr, bytes(32)) for pcr in DEFAULT_PCRS}


def test_simulated_log_tells_what_was_booted() -> None:
    log = BOOT.log()
    assert secure_boot(log, SHA256)
    assert boot_applications(log, SHA256) == (BOOT.application,)
    assert first_command_line(log, SHA256) == command_line_digest(BOOT.command_line, SHA256)
    sections = {section.name: section.digest for section in uki_sections(log, SHA256)}
    assert list(sections) == [".linux", ".osrel", ".cmdline", ".initrd"]
    assert sections[".linux"] == SHA256.digest(BOOT.kernel)
    assert sections[".cmdline"] == SHA256.digest(BOOT.command_line.encode())


@pytest.mark.parametrize(
    ("changed", "pcrs"),
    [
        (evolve(BOOT, firmware=b"another"), {0}),
        (evolve(BOOT, secure_boot=False), {7}),
        (evolve(BOOT, signer=b"another"), {7}),
        (evolve(BOOT, kernel=b"another"), {4, 11}),
        (evolve(BOOT, os_release=b"another"), {4, 11}),
        (evolve(BOOT, initrd=b"another"), {4, 9, 11}),
        (evolve(BOOT, command_line="init=/bin/sh"), {4, 9, 11}),
    ],
    ids=["firmware", "secure boot", "signer", "kernel", "os release", "initrd", "command line"],
)
def test_change_shows_in_the_pcrs_that_a_real_one_would_change(changed: SimulatedBoot, pcrs: set[int]) -> None:
    before, after = BOOT.log().replay(SHA256), changed.log().replay(SHA256)
    assert {pcr for pcr, value in before.items() if after[pcr] != value} == pcrs
    assert secure_boot(changed.log(), SHA256) is changed.secure_boot
