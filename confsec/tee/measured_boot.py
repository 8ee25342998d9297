"""What an event log says about a boot: Secure Boot, boot applications, sections of a unified kernel, command line.

Everything here is derived from digests, after `EventLog.replay` was compared with registers that hardware signed. A log
is relayed by those whom it speaks about, so the rules are such that they cannot lie:

* An event is known by its digest: a separator is what has the digest of a separator, whatever the record calls itself.
* Registers can be extended at any time, also by an operating system that pretends. So it counts *when* something was
  measured: Secure Boot before the first separator, the command line before anything else in PCR 9.
* Where nothing but known things may have been measured, what is not known is returned, or refused, and never left out.

PCRs 9 and 11 are written by software that PCR 4 identifies. So what they say holds only for boot applications that are
pinned, by their digests or by the value of PCR 4. Sources: UEFI 2.10, section 32; TCG PC Client Platform Firmware
Profile 1.06, sections 3.3.4 and 10; systemd-stub(7); Linux, drivers/firmware/efi/libstub; GRUB, the module `tpm`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from confsec.errors import DecodeError, EvidenceError
from confsec.tee.event_log import EventLog, HashAlgorithm, TrustedData, variable_parts

__all__ = [
    "UKI_SECTIONS",
    "UkiSection",
    "boot_applications",
    "command_line_digest",
    "first_command_line",
    "grub_command_lines",
    "section_name_digest",
    "secure_boot",
    "uki_sections",
]

UKI_SECTIONS: Final = (
    ".linux",
    ".osrel",
    ".cmdline",
    ".initrd",
    ".ucode",
    ".splash",
    ".dtb",
    ".dtbauto",
    ".hwids",
    ".efifw",
    ".uname",
    ".sbat",
    ".pcrpkey",
    ".profile",
)
"""The sections that systemd-stub measures (UAPI Group Specification 5, "Unified Kernel Image", PE sections)."""

_PHASES: Final = ("enter-initrd", "leave-initrd", "sysinit", "ready", "shutdown", "final")
"""The words that systemd-pcrphase extends into PCR 11 as the boot goes on (systemd-pcrphase.service(8))."""

_GLOBAL_VARIABLE: Final = bytes.fromhex("61dfe48bca93d211aa0d00e098032b8c")
"""EFI_GLOBAL_VARIABLE, 8be4df61-93ca-11d2-aa0d-00e098032b8c, as it stands in memory (UEFI 2.10, section 3.3)."""

_SEPARATOR: Final = bytes(4)
_ACTIONS: Final = (
    b"Calling EFI Application from Boot Option",
    b"Returning from EFI Application from Boot Option",
)
_GRUB_LABEL: Final = b"kernel_cmdline: "

_SECURE_BOOT_PCR: Final = 7
_BOOT_APPLICATIONS_PCR: Final = 4
_GRUB_PCR: Final = 8
_KERNEL_PCR: Final = 9
_UKI_PCR: Final = 11

_PROFILE: Final = "TCG PC Client Platform Firmware Profile 1.06, section 3.3.4"


class UkiSection(NamedTuple):
    """A section of a unified kernel image, as the stub measured it."""

    name: str
    digest: bytes


def secure_boot(log: EventLog, bank: HashAlgorithm) -> bool:
    """Tell whether Secure Boot was on: by the variable that firmware measures into PCR 7 before the first separator.

    Raises `EvidenceError` if the log does not show that variable exactly once there.
    """
    separator = bank.digest(_SEPARATOR)
    values: list[bytes] = []
    for event in log.trusted(bank, _register(log, _SECURE_BOOT_PCR)):
        if event.digest == separator:
            break
        values += _secure_boot_value(event)
    else:
        raise EvidenceError("the event log has no separator behind the Secure Boot variables", section=_PROFILE)
    if values not in ([b"\x00"], [b"\x01"]):
        raise EvidenceError(
            "the event log does not show the Secure Boot variable once",
            got=", ".join(value[:8].hex() or "empty" for value in values[:4]) or "none",
            want="00 or 01",
            section=_PROFILE,
        )
    return values == [b"\x01"]


def boot_applications(log: EventLog, bank: HashAlgorithm) -> tuple[bytes, ...]:
    """Return the digest of everything in PCR 4 that is neither a separator nor one of firmware's known words, in order.

    Those are the Authenticode digests of what was started, and anything that somebody extended later.
    """
    known = {bank.digest(each) for each in (_SEPARATOR, *_ACTIONS)}
    digests = log.extended(bank, _register(log, _BOOT_APPLICATIONS_PCR))
    return tuple(digest for digest in digests if digest not in known)


def uki_sections(log: EventLog, bank: HashAlgorithm) -> tuple[UkiSection, ...]:
    """Return the sections that systemd-stub measured into PCR 11: pairs of the name's digest and the section's.

    Phases of the boot that systemd measured behind them are passed over. Raises `EvidenceError` for anything else.
    """
    names = {section_name_digest(name, bank): name for name in UKI_SECTIONS}
    phases = {bank.digest(word.encode()) for word in _PHASES}
    digests = log.extended(bank, _register(log, _UKI_PCR))
    sections: list[UkiSection] = []
    while len(digests) > 2 * len(sections) + 1 and digests[2 * len(sections)] in names:
        place = 2 * len(sections)
        sections.append(UkiSection(names[digests[place]], digests[place + 1]))
    if not phases.issuperset(digests[2 * len(sections) :]):
        raise EvidenceError(
            "the event log has something in PCR 11 that is no section of a unified kernel image",
            got=f"event {2 * len(sections)} of {len(digests)}",
            section="systemd-stub(7)",
        )
    return tuple(sections)


def first_command_line(log: EventLog, bank: HashAlgorithm) -> bytes:
    """Return the digest of the first event of PCR 9: the kernel measures its load options before anything else does.

    A boot loader that measures files there first, as GRUB does, has something else in this place. Raises
    `EvidenceError` if nothing was measured.
    """
    digests = log.extended(bank, _register(log, _KERNEL_PCR))
    if not digests:
        raise EvidenceError("the event log has nothing in PCR 9", section="Linux, drivers/firmware/efi/libstub")
    return digests[0]


def command_line_digest(command_line: str, bank: HashAlgorithm) -> bytes:
    """Return the digest of a kernel's command line as the kernel measures it: UTF-16LE with a NUL behind it."""
    return bank.digest(command_line.encode("utf-16-le") + b"\x00\x00")


def section_name_digest(name: str, bank: HashAlgorithm) -> bytes:
    """Return the digest of a section's name as systemd-stub measures it: ASCII with a NUL behind it."""
    return bank.digest(name.encode("ascii") + b"\x00")


def grub_command_lines(log: EventLog, bank: HashAlgorithm) -> tuple[bytes, ...]:
    """Return the strings in PCR 8 that were measured and that the log labels as the kernel's command line.

    They were measured, but whether as a command line or as a command of GRUB nobody can tell: the label is under no
    digest. To decide by it, pin the value of PCR 8.
    """
    return tuple(
        found.data
        for found in log.trusted(bank, _register(log, _GRUB_PCR))
        if found.data is not None and log.events[found.number].data.startswith(_GRUB_LABEL)
    )


def _register(log: EventLog, pcr: int) -> int:
    """Return where the events of a PCR went: a TD has three registers for them (UEFI 2.10, section 38.4.1)."""
    if not log.of_td:
        return pcr
    if pcr in {1, 7}:
        return 1
    return 2 if pcr <= 6 else 3


def _secure_boot_value(event: TrustedData) -> list[bytes]:
    """Return the value of the variable SecureBoot, if this event measured it."""
    if event.data is None:
        return []
    try:
        guid, name, value = variable_parts(event.data)
    except DecodeError:
        return []
    return [value] if (guid, name) == (_GLOBAL_VARIABLE, "SecureBoot") else []
