"""Checks of what a policy demands of a guest, its platform and its firmware, and of what the report is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from confsec.errors import ConfsecError
from confsec.protocol.checks import Finding, at_least, equal, failed, holds, informs, one_of, passed, skipped
from confsec.protocol.platforms import AZURE_RUNTIME_DATA, SVSM_MANIFEST
from confsec.protocol.policy import UnsafeAny
from confsec.tee.sev_snp.evidence import PLATFORM_BITS, POLICY_BITS, SigningKey, Tcb
from confsec.tee.sev_snp.policy import Demand, Values
from confsec.tee.sev_snp.subject import SnpSubject
from confsec.tee.tpm.structures import PublicArea

__all__ = [
    "abi",
    "accepted_product",
    "accepted_signing_key",
    "author_key",
    "azure_ak",
    "azure_runtime_data",
    "azure_user_data",
    "chip_accepted",
    "chip_denied",
    "committed_tcb_floor",
    "csp_id",
    "current_mitigations",
    "family_id",
    "firmware_version",
    "guest_policy",
    "guest_svn",
    "host_data",
    "id_key",
    "image_id",
    "launch_mitigations",
    "launch_tcb_floor",
    "measurement",
    "migration_agent",
    "minimum_version",
    "platform_info",
    "report_data",
    "svsm_ak",
    "svsm_manifest",
    "tcb_floor",
    "vmpl",
]

_NO_AGENT: Final = b"\xff" * 32
_MITIGATIONS_SINCE: Final = 5


# --- Who signed -------------------------------------------------------------------------------------------------------


def minimum_version(subject: SnpSubject) -> Finding:
    """Refuse versions that say too little."""
    return at_least("the version of the report", subject.report.version, subject.policy.min_report_version)


def accepted_product(subject: SnpSubject) -> Finding:
    """Look for the product among those that the policy accepts."""
    return one_of("the product", subject.product.value, subject.policy.products)


def accepted_signing_key(subject: SnpSubject) -> Finding:
    """Look for the kind of key among those that the policy accepts."""
    return one_of("the kind of the signing key", subject.leaf_kind.name.lower(), subject.policy.signing_keys)


def csp_id(subject: SnpSubject) -> Finding:
    """Look for the cloud among those accepted: its key is good for any of its chips."""
    if subject.leaf_kind is not SigningKey.VLEK:
        return informs("the key is a chip's, and no cloud's")
    if isinstance(subject.policy.csp_ids, UnsafeAny):
        return informs("the policy accepts the key of any cloud", got=subject.chip.csp_id)
    return one_of("the cloud", subject.chip.csp_id, subject.policy.csp_ids)


# --- Bits -------------------------------------------------------------------------------------------------------------


def _bit(what: str, is_set: bool, demand: Demand) -> Finding:  # noqa: FBT001
    got = "set" if is_set else "clear"
    if isinstance(demand, UnsafeAny):
        return informs(f"the policy does not look at {what}", got=got)
    return equal(what, got, "set" if demand else "clear")


def guest_policy(name: str) -> Callable[[SnpSubject], Finding]:
    """Make the check of one bit of the guest's policy."""

    def check(subject: SnpSubject) -> Finding:
        is_set = bool(subject.report.policy >> POLICY_BITS[name] & 1)
        return _bit(f"bit {name} of the guest's policy", is_set, subject.policy.guest_policy[name])

    return check


def platform_info(name: str) -> Callable[[SnpSubject], Finding]:
    """Make the check of one bit of PLATFORM_INFO."""

    def check(subject: SnpSubject) -> Finding:
        is_set = bool(subject.report.platform_info >> PLATFORM_BITS[name] & 1)
        return _bit(f"bit {name} of PLATFORM_INFO", is_set, subject.policy.platform_info[name])

    return check


def migration_agent(subject: SnpSubject) -> Finding:
    """Refuse a migration agent where the guest may not be moved."""
    if subject.policy.guest_policy["migrate_ma"] is not False:
        return informs("the policy lets the guest have a migration agent")
    return equal("the migration agent", subject.report.report_id_ma, _NO_AGENT)


# --- Versions ---------------------------------------------------------------------------------------------------------


def abi(subject: SnpSubject) -> Finding:
    """Compare the ABI that the guest's policy asks for with the floor."""
    got, floor = subject.report.abi, subject.policy.min_abi
    return _version_at_least("the ABI of the guest's policy", got, floor)


def firmware_version(subject: SnpSubject) -> Finding:
    """Compare the lower one of current and committed firmware with the floor."""
    versions = (subject.report.current_version, subject.report.committed_version)
    got = min((each.major, each.minor, each.build) for each in versions)
    return _version_at_least("the SEV firmware", got, subject.policy.min_firmware)


def _version_at_least(what: str, got: tuple[int, ...], floor: tuple[int, ...]) -> Finding:
    return holds(
        got >= floor,
        f"{what} is new enough",
        f"{what} is too old",
        want="at least " + ".".join(map(str, floor)),
        got=".".join(map(str, got)),
    )


def guest_svn(subject: SnpSubject) -> Finding:
    """Compare the guest's version, which its ID block names, with the floor."""
    return at_least("the version of the guest", subject.report.guest_svn, subject.policy.min_guest_svn)


def vmpl(subject: SnpSubject) -> Finding:
    """Look at who asked for the report. What is beneath the guest runs at VMPL 0, where the guest cannot ask."""
    return equal("the privilege level", subject.report.vmpl, 0 if subject.beneath else subject.policy.vmpl)


# --- Levels -----------------------------------------------------------------------------------------------------------


def tcb_floor(subject: SnpSubject) -> Finding:
    """Compare the level of the certificate with the floors: it is AMD's word."""
    return _floor(subject, "the level of the signing key", subject.chip.tcb)


def launch_tcb_floor(subject: SnpSubject) -> Finding:
    """Compare the level at launch with the floors: what weak firmware launched stays what it became there."""
    return _floor(subject, "the level at launch", subject.tcb("launch_tcb"))


def committed_tcb_floor(subject: SnpSubject) -> Finding:
    """Compare the committed level with the floors: the host can go back to it at any time."""
    return _floor(subject, "the committed level", subject.tcb("committed_tcb"))


def _floor(subject: SnpSubject, what: str, got: Tcb) -> Finding:
    floors = subject.floors
    if not floors:
        return failed("the policy has no TCB floor for this processor", got=f"{subject.product.value} {got.text}")
    missed = [floor for floor in floors if not got.meets(floor.tcb)]
    return holds(
        not missed,
        f"{what} reaches each floor",
        f"{what} is too low for " + ", ".join(sorted({name for floor in missed for name in floor.advisories})),
        want="; ".join(floor.tcb.text for floor in missed or floors),
        got=got.text,
    )


def launch_mitigations(subject: SnpSubject) -> Finding:
    """Look at what the firmware had done about weaknesses when the guest was launched."""
    return _mitigations(subject, "at launch", subject.report.launch_mitigations)


def current_mitigations(subject: SnpSubject) -> Finding:
    """Look at what the firmware has done about weaknesses."""
    return _mitigations(subject, "now", subject.report.current_mitigations)


def _mitigations(subject: SnpSubject, when: str, vector: int) -> Finding:
    if not subject.policy.required_mitigations:
        return informs(f"the policy requires no mitigations {when}", got=f"{vector:#x}")
    if subject.report.version < _MITIGATIONS_SINCE:
        return failed("the report has no mitigation vectors", want=f"version {_MITIGATIONS_SINCE}")
    missing = [bit for bit in subject.policy.required_mitigations if not vector >> bit & 1]
    return holds(
        not missing,
        f"the required mitigations are in place {when}",
        f"required mitigations are not in place {when}",
        want=", ".join(map(str, missing)),
        got=f"{vector:#x}",
    )


# --- What runs --------------------------------------------------------------------------------------------------------


def _listed(what: str, got: bytes, wanted: Values) -> Finding:
    if isinstance(wanted, UnsafeAny):
        return informs(f"the policy accepts any value of {what}", got=got)
    return one_of(what, got, wanted)


def measurement(subject: SnpSubject) -> Finding:
    """Compare the measurement: without a TPM that of the whole system, with one that of the firmware."""
    policy = subject.policy
    if subject.has_tpm:
        return _listed("the measurement of the firmware", subject.report.measurement, policy.firmware_measurements)
    return _listed("the measurement of the system", subject.report.measurement, policy.measurements)


def host_data(subject: SnpSubject) -> Finding:
    """Look at what the host gave at launch."""
    return _listed("the host's data", subject.report.host_data, subject.policy.host_data)


def family_id(subject: SnpSubject) -> Finding:
    """Look at the family that the ID block names."""
    return _listed("the family", subject.report.family_id, subject.policy.family_ids)


def image_id(subject: SnpSubject) -> Finding:
    """Look at the image that the ID block names."""
    return _listed("the image", subject.report.image_id, subject.policy.image_ids)


def id_key(subject: SnpSubject) -> Finding:
    """Look at who signed the ID block."""
    return _listed("the ID key", subject.report.id_key_digest, subject.policy.id_keys)


def author_key(subject: SnpSubject) -> Finding:
    """Look at who signed the ID key. KEY_INFO says whether anybody did."""
    if any(subject.report.author_key_digest) is not subject.report.has_author_key:
        return failed("KEY_INFO and AUTHOR_KEY_DIGEST disagree", got=subject.report.author_key_digest)
    return _listed("the author key", subject.report.author_key_digest, subject.policy.author_keys)


# --- Which chip -------------------------------------------------------------------------------------------------------


def chip_denied(subject: SnpSubject) -> Finding:
    """Refuse chips whose keys have leaked: they sign anything. A chip that hides itself could be any."""
    chip, denied = subject.chip_id, subject.policy.denied_chips
    if not denied:
        return informs("the policy knows of no chip whose key has leaked")
    if not any(chip):
        return failed("the chip is hidden, and could be one whose key has leaked")
    return holds(
        chip not in denied, "the chip's key is not known to have leaked", "the chip's key is known to have leaked",
        got=chip,
    )  # fmt: skip


def chip_accepted(subject: SnpSubject) -> Finding:
    """Look for the chip among those that are known: who can touch one can read its memory."""
    accepted = subject.policy.accepted_chips
    if isinstance(accepted, UnsafeAny):
        return informs("the policy accepts any chip, wherever it stands", got=subject.chip_id)
    return one_of("the chip", subject.chip_id, accepted)


# --- What the report is about -----------------------------------------------------------------------------------------


def _svsm(look: Callable[[SnpSubject], Finding]) -> Callable[[SnpSubject], Finding]:
    """Make a check for platforms with an SVSM."""

    def check(subject: SnpSubject) -> Finding:
        if SVSM_MANIFEST in subject.request.platform.items:
            return look(subject)
        return informs("there is no SVSM on this platform")

    return check


def _azure(look: Callable[[SnpSubject], Finding]) -> Callable[[SnpSubject], Finding]:
    """Make a check for platforms with Azure's paravisor."""

    def check(subject: SnpSubject) -> Finding:
        if AZURE_RUNTIME_DATA in subject.request.platform.items:
            return look(subject)
        return informs("there is no paravisor on this platform")

    return check


def _readable(
    look: Callable[[SnpSubject], Finding], read: Callable[[SnpSubject], object], what: str
) -> Callable[[SnpSubject], Finding]:
    """Make a check of what is inside of something, which nobody looks at if it cannot be read."""

    def check(subject: SnpSubject) -> Finding:
        try:
            read(subject)
        except ConfsecError:
            return skipped(f"{what} cannot be read")
        return look(subject)

    return check


@_svsm
def svsm_manifest(subject: SnpSubject) -> Finding:
    """Read what the SVSM says of the services beneath the guest."""
    return passed("the SVSM names its services", got=", ".join(str(each) for each in subject.services.services))


def _compare_svsm_ak(subject: SnpSubject) -> Finding:
    return holds(
        subject.services.vtpm_key == subject.ak,
        "the attestation key is that of the SVSM's vTPM",
        "the attestation key is not that of the SVSM's vTPM",
    )


svsm_ak: Final = _svsm(_readable(_compare_svsm_ak, lambda subject: subject.services, "the services manifest"))
"""Compare the key of the SVSM's vTPM with the one that the evidence names."""


@_azure
def azure_runtime_data(subject: SnpSubject) -> Finding:
    """Read what the paravisor says of its vTPM, and what the guest wrote."""
    configuration = sorted(name for name, value in subject.runtime_data.configuration.items() if value is True)
    return passed("the paravisor's runtime data can be read", got=", ".join(configuration))


def _compare_azure_ak(subject: SnpSubject) -> Finding:
    return holds(
        subject.runtime_data.ak.is_key_of(PublicArea.decode(subject.ak)),
        "the attestation key is that of the paravisor's vTPM",
        "the attestation key is not that of the paravisor's vTPM",
        want="HCLAkPub",
    )


def _compare_azure_user_data(subject: SnpSubject) -> Finding:
    return equal("the guest's data", subject.runtime_data.user_data, subject.request.binding.value)


azure_ak: Final = _azure(_readable(_compare_azure_ak, lambda subject: subject.runtime_data, "the runtime data"))
"""Compare the key of the paravisor's vTPM with the one that the evidence names."""

azure_user_data: Final = _azure(
    _readable(_compare_azure_user_data, lambda subject: subject.runtime_data, "the runtime data")
)
"""Compare what the guest wrote with the binding."""


def report_data(subject: SnpSubject) -> Finding:
    """Compare what was signed: the binding, or on some platforms a hash of what holds it."""
    return equal("REPORT_DATA", subject.report.report_data, subject.expected_report_data)
