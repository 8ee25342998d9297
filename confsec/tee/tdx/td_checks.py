"""Checks of the trust domain: what it may do, what it measured, and what it says of the node's key.

Each function is one row of the table in `verifier.py`. Where it looks at one of the registers, `rtmr` says at which.
"""

from __future__ import annotations

from typing import Final

from confsec.errors import EvidenceError
from confsec.protocol.checks import Finding, equal, failed, holds, informs, one_of, passed
from confsec.protocol.platforms import AZURE_RUNTIME_DATA, MEDIA_TYPES, TPM_AK
from confsec.protocol.policy import UnsafeAny
from confsec.tee.azure import RuntimeData, azure_report_data
from confsec.tee.tdx.policy import Values
from confsec.tee.tdx.subject import Subject
from confsec.tee.tpm.structures import PublicArea

__all__ = [
    "DEBUG",
    "MIGRATABLE",
    "SEPT_VE_DISABLE",
    "attributes_reserved",
    "azure_ak",
    "azure_runtime_data",
    "azure_user_data",
    "ccel",
    "ccel_replay",
    "debug",
    "migration",
    "mr_config_id",
    "mr_owner",
    "mr_owner_config",
    "mr_seam",
    "mr_service_td",
    "mr_td",
    "report_data",
    "rtmr",
    "rtmr3",
    "sept_ve_disable",
    "xfam",
]

DEBUG: Final = 1 << 0
"""TD_ATTRIBUTES: the host may look into the TD."""

SEPT_VE_DISABLE: Final = 1 << 28
"""TD_ATTRIBUTES: a page that is not there ends in the host, and not in an exception of the TD."""

MIGRATABLE: Final = 1 << 29
"""TD_ATTRIBUTES: the TD may be moved to another machine."""

_ATTRIBUTES: Final = (
    DEBUG
    | 1 << 16  # ICSSD
    | 1 << 27  # LASS
    | SEPT_VE_DISABLE
    | MIGRATABLE
    | 1 << 30  # PKS
    | 1 << 31  # KL
    | 1 << 62  # TPA
    | 1 << 63  # PERFMON
)
"""The bits that have a meaning (Intel TDX module ABI, ATTRIBUTES). Other bits of the first byte are for profiling."""

_XFAM_SET: Final = 0x0000_0003
"""x87 and SSE are always there (Intel TDX module base architecture, XFAM)."""

_XFAM_ALLOWED: Final = 0x0006_DBE7
"""Extended features that a TD can have (as above; go-tdx-guest has the same)."""

_NOT_AZURE: Final = "the guest speaks to the TDX module itself"


# --- What it may do ---------------------------------------------------------------------------------------------------


def debug(subject: Subject) -> Finding:
    """Have a TD that the host cannot look into."""
    on = bool(_attributes(subject) & DEBUG)
    allowed = subject.policy.unsafe_allow_debug
    return _waivable(on, "the TD cannot be debugged", "the host may look into the TD", allowed=allowed)


def attributes_reserved(subject: Subject) -> Finding:
    """Have no attribute of a meaning that we do not know."""
    unknown = _attributes(subject) & ~_ATTRIBUTES
    return equal("the attributes of the TD that have no meaning, or are for profiling", unknown, 0)


def migration(subject: Subject) -> Finding:
    """Have a TD that stays where it is."""
    on = bool(_attributes(subject) & MIGRATABLE)
    allowed = subject.policy.unsafe_allow_migration
    return _waivable(on, "the TD stays on its machine", "the TD may be moved", allowed=allowed)


def sept_ve_disable(subject: Subject) -> Finding:
    """Have a TD that no exception of the host's making can hit."""
    on = not _attributes(subject) & SEPT_VE_DISABLE
    allowed = subject.policy.unsafe_allow_sept_ve
    good, bad = "the host cannot raise exceptions in the TD", "the host can raise exceptions in the TD: #VE"
    return _waivable(on, good, bad, allowed=allowed)


def xfam(subject: Subject) -> Finding:
    """Have extended features that a TD can have, and those that it must have."""
    value = int.from_bytes(subject.td.xfam, "little")
    good = not value & ~_XFAM_ALLOWED and value & _XFAM_SET == _XFAM_SET
    want = f"{_XFAM_SET:#x} set, within {_XFAM_ALLOWED:#x}"
    return holds(
        good, "XFAM is one that a TD can have", "XFAM is none that a TD can have", want=want, got=f"{value:#x}"
    )


def mr_service_td(subject: Subject) -> Finding:
    """Have only service TDs that the policy knows. A quote of TDX 1.0 has no field for them: see `migration`."""
    value = subject.td.mr_service_td
    if value is None:
        return passed("a quote of TDX 1.0 names no service TD")
    return _value("MRSERVICETD", value, subject.policy.mr_service_td)


# --- What it is -------------------------------------------------------------------------------------------------------


def mr_seam(subject: Subject) -> Finding:
    """Have a TDX module that the policy knows."""
    return _value("MRSEAM", subject.td.mr_seam, subject.policy.mr_seam)


def mr_td(subject: Subject) -> Finding:
    """Have firmware that the policy knows."""
    return _value("MRTD", subject.td.mr_td, subject.policy.mr_td)


def mr_config_id(subject: Subject) -> Finding:
    """Have a configuration that the policy knows."""
    return _value("MRCONFIGID", subject.td.mr_config_id, subject.policy.mr_config_id)


def mr_owner(subject: Subject) -> Finding:
    """Have an owner that the policy knows."""
    return _value("MROWNER", subject.td.mr_owner, subject.policy.mr_owner)


def mr_owner_config(subject: Subject) -> Finding:
    """Have an owner's configuration that the policy knows."""
    return _value("MROWNERCONFIG", subject.td.mr_owner_config, subject.policy.mr_owner_config)


def rtmr3(subject: Subject) -> Finding:
    """Have measured at run time what the policy knows."""
    return _value("RTMR3", subject.td.rtmrs[3], subject.policy.rtmr3)


def ccel(subject: Subject) -> Finding:
    """Have the event log of the TD, of a form that can be read."""
    if subject.on_azure:
        return passed("on this platform PCRs tell what booted, and no event log of the TD is needed")
    return passed("the event log can be read", got=f"{len(subject.event_log.events)} events")


def ccel_replay(subject: Subject, rtmr: int) -> Finding:
    """Have an event log that gives what the register holds."""
    if subject.on_azure:
        return passed("on this platform PCRs tell what booted, and no event log of the TD is needed")
    replayed = subject.replayed.get(rtmr + 1, bytes(48))
    return equal(f"RTMR{rtmr}, replayed from the event log,", replayed, subject.td.rtmrs[rtmr])


def rtmr(subject: Subject, rtmr: int) -> Finding:
    """Have booted what the policy knows: by the value of a register, or by the events in it."""
    rule = (subject.policy.rtmr0, subject.policy.rtmr1, subject.policy.rtmr2)[rtmr]
    value = subject.td.rtmrs[rtmr]
    if isinstance(rule, UnsafeAny):
        return informs(f"the policy takes any RTMR{rtmr}: UNSAFE_ANY", got=value)
    if rule.values:
        return one_of(f"RTMR{rtmr}", value, rule.values)
    if subject.on_azure:
        return failed(f"nothing tells the events of RTMR{rtmr} on this platform", want="a value")
    events = subject.events(rtmr)
    missing = sorted(set(rule.required) - events)
    if missing:
        return failed(
            f"RTMR{rtmr} lacks an event that the policy asks for", want=missing[0], got=f"{len(events)} events"
        )
    unknown = sorted(events - {*rule.required, *rule.allowed})
    good, bad = f"the policy knows all events of RTMR{rtmr}", f"RTMR{rtmr} has an event that the policy does not know"
    return holds(not unknown, good, bad, got=unknown[0] if unknown else f"{len(events)} events")


# --- What it says -----------------------------------------------------------------------------------------------------


def report_data(subject: Subject) -> Finding:
    """Have a TD, or the paravisor below it, that says what it has to: REPORTDATA."""
    got = subject.td.report_data
    if subject.on_azure:
        return equal("REPORTDATA, the hash of the runtime data,", got, azure_report_data(_runtime_item(subject)))
    return equal("REPORTDATA, the binding,", got, subject.request.binding.value)


def azure_runtime_data(subject: Subject) -> Finding:
    """Have runtime data of a form that can be read."""
    if not subject.on_azure:
        return passed(_NOT_AZURE)
    return passed("the paravisor's runtime data can be read", got=f"{len(_runtime(subject).configuration)} settings")


def azure_user_data(subject: Subject) -> Finding:
    """Have a guest that told the paravisor what it had to: the binding."""
    if not subject.on_azure:
        return passed(_NOT_AZURE)
    return equal("user-data, the binding,", _runtime(subject).user_data, subject.request.binding.value)


def azure_ak(subject: Subject) -> Finding:
    """Have the AK of the paravisor's vTPM, and no other."""
    if not subject.on_azure:
        return passed(_NOT_AZURE)
    public = PublicArea.decode(subject.request.evidence.item(TPM_AK, MEDIA_TYPES[TPM_AK]))
    if not _runtime(subject).ak.is_key_of(public):
        raise EvidenceError("the AK is not that of the paravisor's vTPM", want="HCLAkPub in the runtime data")
    return passed("the AK is that of the paravisor's vTPM")


# --- Parts ------------------------------------------------------------------------------------------------------------


def _attributes(subject: Subject) -> int:
    return int.from_bytes(subject.td.td_attributes, "little")


def _waivable(on: bool, good: str, bad: str, *, allowed: bool) -> Finding:  # noqa: FBT001  # one bit of the attributes
    if on and allowed:
        return informs(f"{bad}, and the policy allows it: UNSAFE", got="yes")
    return holds(not on, good, bad, want="no", got="yes" if on else "no")


def _value(what: str, got: bytes, accepted: Values) -> Finding:
    if isinstance(accepted, UnsafeAny):
        return informs(f"the policy takes any {what}: UNSAFE_ANY", got=got)
    return one_of(what, got, accepted)


def _runtime_item(subject: Subject) -> bytes:
    return subject.request.evidence.item(AZURE_RUNTIME_DATA, MEDIA_TYPES[AZURE_RUNTIME_DATA])


def _runtime(subject: Subject) -> RuntimeData:
    return RuntimeData.decode(_runtime_item(subject))
