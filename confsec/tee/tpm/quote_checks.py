"""Checks of the quote, of the PCRs in it, and of the boot that they measured.

Each function is one row of the table in `verifier.py`. The event log counts only below its replay.
"""

from __future__ import annotations

from typing import Final

from confsec.errors import ConfsecError
from confsec.protocol.checks import Finding, equal, failed, holds, informs, one_of, passed
from confsec.protocol.policy import UnsafeAny
from confsec.tee import measured_boot
from confsec.tee.event_log import HashAlgorithm
from confsec.tee.tpm.structures import GENERATED_VALUE, Attest, AttestType, PcrSelection, verify_tpm_signature
from confsec.tee.tpm.subject import Subject

__all__ = [
    "boot_applications",
    "is_generated",
    "is_of_type",
    "kernel_command_line",
    "log_format",
    "log_replay",
    "pcr_digest",
    "pcr_values",
    "qualifies",
    "quote_attest",
    "quote_clock",
    "quote_format",
    "quote_magic",
    "quote_qualifying_data",
    "quote_selection",
    "quote_signature",
    "quote_type",
    "quote_values",
    "secure_boot",
    "uki_sections",
]

_PINNED: Final = "a value of the PCR says which"


# --- What both attestations have in common ----------------------------------------------------------------------------


def is_generated(attest: Attest) -> Finding:
    """Check that the TPM made what it signed: a restricted key signs nothing else that begins so."""
    return equal("the first word of the attestation", f"{attest.magic:#010x}", f"{GENERATED_VALUE:#010x}")


def is_of_type(attest: Attest, wanted: AttestType) -> Finding:
    """Check that the TPM attests to what it should."""
    return equal("the type of the attestation", f"{attest.type:#06x}", f"{wanted:#06x}")


def qualifies(subject: Subject, attest: Attest) -> Finding:
    """Check that the attestation was made for this binding."""
    return equal("the qualifying data", attest.extra_data, subject.request.binding.qualifying_data)


# --- The quote --------------------------------------------------------------------------------------------------------


def quote_format(subject: Subject) -> Finding:
    """Check that the item has its parts."""
    return passed("the quote can be read", got=f"{len(subject.quote.values)} PCR values")


def quote_signature(subject: Subject) -> Finding:
    """Check that the AK signed the quote."""
    verify_tpm_signature(subject.ak, subject.quote.signature, subject.quote.attest)
    return passed("the AK has signed the quote")


def quote_attest(subject: Subject) -> Finding:
    """Check that what was signed is a TPMS_ATTEST."""
    return passed("what the AK has signed can be read", got=f"{subject.quote_attest.type:#06x}")


def quote_magic(subject: Subject) -> Finding:
    """Check that the TPM made the quote."""
    return is_generated(subject.quote_attest)


def quote_type(subject: Subject) -> Finding:
    """Check that it is a quote."""
    return is_of_type(subject.quote_attest, AttestType.QUOTE)


def quote_qualifying_data(subject: Subject) -> Finding:
    """Check that the quote was made for this binding."""
    return qualifies(subject, subject.quote_attest)


def quote_clock(subject: Subject) -> Finding:
    """Say what the TPM's clock and firmware are: the vendor's numbers, and no two TPMs have the same."""
    clock, firmware = subject.quote_attest.clock, subject.quote_attest.firmware_version
    got = f"boot {clock.reset_count}, resumed {clock.restart_count} times, firmware {firmware:#018x}"
    return informs("the clock is certain" if clock.safe else "the clock may have gone back", got=got)


def quote_selection(subject: Subject) -> Finding:
    """Check that exactly the PCRs were quoted that the policy asks for."""
    wanted = [(subject.policy.bank, subject.policy.pcr_selection)]
    found = [(each.bank, each.indices) for each in subject.quote_info.selections]
    return holds(
        found == wanted,
        "the quoted PCRs are those of the policy",
        "other PCRs were quoted than the policy asks for",
        want=_show(subject.policy.selection),
        got=" and ".join(map(_show, subject.quote_info.selections)) or "none",
    )


def quote_values(subject: Subject) -> Finding:
    """Check that the values at hand are said to be of just the PCRs that were quoted, in their order."""
    same = subject.quote.selections == subject.quote_info.selections
    return holds(same, "the values are of the quoted PCRs", "the values are of other PCRs than the quoted ones")


def pcr_digest(subject: Subject) -> Finding:
    """Check that the values at hand are those that were quoted."""
    digest = subject.quote.signature.hash_algorithm.digest(b"".join(subject.quote.values))
    return equal("the digest of the PCR values", digest, subject.quote_info.pcr_digest)


def pcr_values(subject: Subject) -> Finding:
    """Check that the PCRs that the policy pins have one of its values."""
    pinned = subject.policy.pcr_values
    other = [pcr for pcr, values in pinned.items() if subject.pcrs.get(pcr) not in values]
    if not other:
        return passed("the PCRs have values of the policy", got=", ".join(map(str, pinned)) or "none is pinned")
    first = other[0]
    found = one_of(f"PCR {first}", subject.pcrs.get(first, b"").hex(), [value.hex() for value in pinned[first]])
    return failed(f"PCR {', '.join(map(str, other))} differs", want=found.want, got=found.got or "not quoted")


# --- The boot ---------------------------------------------------------------------------------------------------------


def log_format(subject: Subject) -> Finding:
    """Check that the event log can be read."""
    return passed("the event log can be read", got=f"{len(subject.log.events)} events")


def log_replay(subject: Subject) -> Finding:
    """Check that the log gives what each quoted PCR holds that it has events of."""
    replayed = subject.log.replay(subject.policy.bank)
    other = [pcr for pcr in replayed if replayed[pcr] != subject.pcrs[pcr]]
    if other:
        why = f"the event log does not give PCR {', '.join(map(str, other))}"
        return failed(why, want=subject.pcrs[other[0]], got=replayed[other[0]])
    return passed("the event log gives the quoted PCRs", got=", ".join(map(str, sorted(replayed))) or "none has events")


def secure_boot(subject: Subject) -> Finding:
    """Check that firmware started only what is signed by keys that it knows."""
    policy = subject.policy
    try:
        on = measured_boot.secure_boot(subject.log, policy.bank)
    except ConfsecError as exc:
        if policy.unsafe_allow_no_secure_boot:
            return informs(f"the policy does not ask for Secure Boot; {exc.what}", got="unknown")
        raise
    if not on and policy.unsafe_allow_no_secure_boot:
        return informs("Secure Boot is off, and unsafe_allow_no_secure_boot allows that", got=on)
    return holds(on, "Secure Boot is on", "Secure Boot is off", want=True, got=on)


def boot_applications(subject: Subject) -> Finding:
    """Check that all that firmware started is on the policy's list, and that it started something."""
    accepted = subject.policy.boot_applications
    found = measured_boot.boot_applications(subject.log, subject.policy.bank)
    got = _show_digests(found)
    if isinstance(accepted, UnsafeAny):
        return informs("the policy takes any boot application: UNSAFE_ANY", got=got)
    if not accepted:
        return informs(_PINNED, got=got)
    if not found:
        return failed("the event log shows no boot application", want=_show_digests(accepted), got=got)
    unknown = [digest for digest in found if digest not in accepted]
    return holds(
        not unknown,
        "all boot applications are on the policy's list",
        "a boot application is not on the policy's list",
        want=_show_digests(accepted),
        got=_show_digests(unknown or found),
    )


def kernel_command_line(subject: Subject) -> Finding:
    """Check that the kernel was started with a command line of the policy: the first thing that it measures."""
    accepted, bank = subject.policy.kernel_command_lines, subject.policy.bank
    if isinstance(accepted, UnsafeAny):
        return informs("the policy takes any command line: UNSAFE_ANY")
    if not accepted:
        return informs(_PINNED)
    digest = measured_boot.first_command_line(subject.log, bank)
    return one_of("the kernel's command line", digest, _command_line_digests(accepted, bank))


def uki_sections(subject: Subject) -> Finding:
    """Check that each section of the unified kernel image is one of the policy's, and that none is missing."""
    accepted = subject.policy.uki_sections
    if isinstance(accepted, UnsafeAny):
        return informs("the policy takes any unified kernel image: UNSAFE_ANY")
    if not accepted:
        return informs(_PINNED)
    found = measured_boot.uki_sections(subject.log, subject.policy.bank)
    other = [section.name for section in found if section.digest not in accepted.get(section.name, ())]
    missing = sorted(accepted.keys() - {section.name for section in found})
    return holds(
        not other and not missing,
        "all sections of the unified kernel image are the policy's",
        "sections of the unified kernel image differ or are missing",
        want=", ".join(accepted),
        got=", ".join([*(f"another {name}" for name in other), *(f"no {name}" for name in missing)]) or len(found),
    )


def _command_line_digests(command_lines: tuple[str, ...], bank: HashAlgorithm) -> tuple[bytes, ...]:
    return tuple(measured_boot.command_line_digest(each, bank) for each in command_lines)


def _show(selection: PcrSelection) -> str:
    return f"{selection.bank.name} {', '.join(map(str, selection.indices)) or 'none'}"


def _show_digests(digests: tuple[bytes, ...] | list[bytes]) -> str:
    return ", ".join(digest.hex() for digest in digests) or "none"
