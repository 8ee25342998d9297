"""What a log shows of a boot, and what it cannot be made to show."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from confsec.errors import EvidenceError
from confsec.tee.event_log import Event, EventLog, EventType, HashAlgorithm
from confsec.tee.measured_boot import (
    UKI_SECTIONS,
    boot_applications,
    command_line_digest,
    first_command_line,
    grub_command_lines,
    section_name_digest,
    secure_boot,
    uki_sections,
)
from confsec.tee.tpm.simulated_boot import SimulatedBoot, measured_event

SHA256 = HashAlgorithm.SHA256
BOOT = SimulatedBoot()


def changed(*events: Event, without: int | None = None) -> EventLog:
    """Return the log of a boot without the events of a PCR, and with others at its end."""
    log = BOOT.log()
    kept = tuple(event for event in log.events if event.register != without or not event.extends)
    return evolve(log, events=(*kept, *events))


def of_pcr(pcr: int) -> tuple[Event, ...]:
    """Return the events of a PCR."""
    return tuple(event for event in BOOT.log().events if event.register == pcr and event.extends)


# --- Secure Boot ------------------------------------------------------------------------------------------------------


def test_secure_boot_is_what_the_variable_says() -> None:
    assert secure_boot(BOOT.log(), SHA256) is True
    assert secure_boot(SimulatedBoot(secure_boot=False).log(), SHA256) is False


def test_what_is_no_variable_may_stand_beside() -> None:
    debug = measured_event(7, EventType.EFI_ACTION, b"UEFI Debug Mode")
    assert secure_boot(changed(debug, *of_pcr(7), without=7), SHA256) is True


def test_secure_boot_after_the_separator_says_nothing() -> None:
    first, *rest = of_pcr(7)
    with pytest.raises(EvidenceError, match="got none"):
        secure_boot(changed(*rest, first, without=7), SHA256)


def test_secure_boot_twice_says_nothing() -> None:
    first, *rest = of_pcr(7)
    with pytest.raises(EvidenceError, match="got 01, 01"):
        secure_boot(changed(first, first, *rest, without=7), SHA256)


def test_a_separator_is_known_whatever_it_is_called() -> None:
    first, *rest = of_pcr(7)
    hidden = [
        evolve(event, event_type=EventType.IPL, data=b"a label") if event.data == bytes(4) else event for event in rest
    ]
    with pytest.raises(EvidenceError, match="got none"):
        secure_boot(changed(*hidden, first, without=7), SHA256)


def test_a_variable_is_known_whatever_it_is_called() -> None:
    first, *rest = of_pcr(7)
    assert secure_boot(changed(evolve(first, event_type=EventType.IPL), *rest, without=7), SHA256) is True


def test_a_variable_whose_digest_is_of_something_else_says_nothing() -> None:
    first, *rest = of_pcr(7)
    lie = evolve(first, digests={SHA256: bytes(32)})
    with pytest.raises(EvidenceError, match="got none"):
        secure_boot(changed(lie, *rest, without=7), SHA256)


def test_a_variable_of_another_vendor_says_nothing() -> None:
    first, *rest = of_pcr(7)
    other = measured_event(7, first.event_type, bytes(16) + first.data[16:])
    with pytest.raises(EvidenceError, match="got none"):
        secure_boot(changed(other, *rest, without=7), SHA256)


def test_a_variable_with_another_value_says_nothing() -> None:
    first, *rest = of_pcr(7)
    other = measured_event(7, first.event_type, first.data[:-1] + b"\x02")
    with pytest.raises(EvidenceError, match="got 02"):
        secure_boot(changed(other, *rest, without=7), SHA256)


def test_without_a_separator_nobody_knows() -> None:
    with pytest.raises(EvidenceError, match="no separator"):
        secure_boot(changed(*of_pcr(7)[:3], without=7), SHA256)


# --- Applications -----------------------------------------------------------------------------------------------------


def test_applications_are_all_that_is_not_known() -> None:
    assert boot_applications(BOOT.log(), SHA256) == (BOOT.application,)
    assert boot_applications(changed(without=4), SHA256) == ()


def test_an_application_cannot_be_called_something_else() -> None:
    hidden = measured_event(4, EventType.EFI_ACTION, b"Calling EFI Application from Boot Option", digest=bytes(32))
    assert boot_applications(changed(hidden), SHA256) == (BOOT.application, bytes(32))
    shown = measured_event(4, EventType.EFI_ACTION, b"the file itself")
    assert boot_applications(changed(shown), SHA256) == (BOOT.application, SHA256.digest(b"the file itself"))


# --- Sections and command lines ---------------------------------------------------------------------------------------


def test_sections_stand_behind_their_names() -> None:
    assert {section.name: section.digest for section in uki_sections(BOOT.log(), SHA256)} == {
        ".linux": SHA256.digest(BOOT.kernel),
        ".osrel": SHA256.digest(BOOT.os_release),
        ".cmdline": SHA256.digest(BOOT.command_line.encode()),
        ".initrd": SHA256.digest(BOOT.initrd),
    }
    assert uki_sections(changed(without=11), SHA256) == ()


def test_phases_of_the_boot_may_follow_the_sections() -> None:
    phases = [measured_event(11, EventType.IPL, word) for word in (b"enter-initrd", b"leave-initrd", b"ready")]
    assert uki_sections(changed(*phases), SHA256) == uki_sections(BOOT.log(), SHA256)


@pytest.mark.parametrize("digests", [[bytes(32)], [section_name_digest(".dtb", SHA256)], [bytes(32), bytes(32)]])
def test_nothing_else_may_be_in_pcr_11(digests: list[bytes]) -> None:
    more = [measured_event(11, EventType.IPL, b"", digest=digest) for digest in digests]
    with pytest.raises(EvidenceError, match="no section"):
        uki_sections(changed(*more), SHA256)


def test_names_of_sections_have_digests_of_their_own() -> None:
    assert len({section_name_digest(name, SHA256) for name in UKI_SECTIONS}) == len(UKI_SECTIONS)


def test_the_first_event_of_pcr_9_is_the_command_line() -> None:
    assert first_command_line(BOOT.log(), SHA256) == command_line_digest(BOOT.command_line, SHA256)
    with pytest.raises(EvidenceError, match="nothing in PCR 9"):
        first_command_line(changed(without=9), SHA256)


def test_what_grub_calls_a_command_line_is_a_hint() -> None:
    text = b"/vmlinuz root=/dev/sda1"
    named = measured_event(8, EventType.IPL, b"kernel_cmdline: " + text + b"\x00", digest=SHA256.digest(text))
    other = measured_event(8, EventType.IPL, b"grub_cmd: boot\x00", digest=SHA256.digest(b"boot"))
    false = measured_event(8, EventType.IPL, b"kernel_cmdline: /lie\x00", digest=bytes(32))
    assert grub_command_lines(changed(other, named, false), SHA256) == (text,)


# --- Published logs ---------------------------------------------------------------------------------------------------


@pytest.mark.vectors
@pytest.mark.parametrize(
    "name, state, applications, lines",
    [
        ("tpm/eventlogs-go-tpm-tools/confidential-gke-debug-251000_eventlog.bin", "on", 3, 1),
        ("tpm/eventlogs-go-tpm-tools/rhel8-uefi.bin", "on", 3, 0),
        ("tpm/eventlogs-go-tpm-tools/ubuntu-2104-no-secure-boot.bin", "off", 2, 1),
        ("tpm/go-attestation/sb_cert_eventlog", "on", 3, 0),
        ("tpm/dstack-tpm_eventlog.bin", "off", 0, 0),
    ],
)
def test_published_logs_show_their_boot(
    shared_vectors: Path, name: str, state: str, applications: int, lines: int
) -> None:
    log = EventLog.decode((shared_vectors / name).read_bytes())
    assert secure_boot(log, SHA256) is (state == "on")
    assert len(boot_applications(log, SHA256)) == applications
    assert len(grub_command_lines(log, SHA256)) == lines


@pytest.mark.vectors
def test_a_published_log_shows_sections(shared_vectors: Path) -> None:
    log = EventLog.decode((shared_vectors / "tpm/dstack-tpm_eventlog.bin").read_bytes())
    names = [section.name for section in uki_sections(log, SHA256)]
    assert names == [".linux", ".osrel", ".cmdline", ".initrd", ".uname", ".sbat"]


@pytest.mark.vectors
def test_a_published_log_of_a_td_shows_its_boot(shared_vectors: Path) -> None:
    log = EventLog.decode_ccel((shared_vectors / "tpm/ccel/cos-113-intel-tdx-unpadded.bin").read_bytes())
    bank = HashAlgorithm.SHA384
    assert secure_boot(log, bank) is False
    assert len(boot_applications(log, bank)) == 5
    assert len(grub_command_lines(log, bank)) == 1
    assert first_command_line(log, bank) == log.extended(bank, 3)[0]
