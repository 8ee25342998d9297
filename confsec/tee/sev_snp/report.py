"""Checks of a report itself: its form, its signature, and that it agrees with its certificate (AMD 56860)."""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384

from confsec.protocol.checks import Finding, equal, failed, holds, passed
from confsec.tee.sev_snp.evidence import PLATFORM_BITS, POLICY_BITS, VERSIONS, AttestationReport, FirmwareVersion, Tcb
from confsec.tee.sev_snp.subject import SnpSubject

__all__ = [
    "chip_id",
    "firmware_committed",
    "guest_policy_form",
    "key_info",
    "platform_info_form",
    "report",
    "report_reserved",
    "report_version",
    "signature",
    "signature_algorithm",
    "signature_range",
    "signature_unused",
    "tcb_certificate",
    "tcb_committed",
    "tcb_current",
    "tcb_form",
]

_ECDSA_P384_SHA384: Final = 1
_P384_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973
_ONE_BIT: Final = 1 << 17
_POLICY_MASK: Final = 0xFFFF | _ONE_BIT | sum(1 << bit for bit in POLICY_BITS.values())
_PLATFORM_MASK: Final = sum(1 << bit for bit in PLATFORM_BITS.values())
_KEY_INFO_MASK: Final = 0x1F
_TCBS: Final = ("current_tcb", "reported_tcb", "committed_tcb", "launch_tcb")


def report(subject: SnpSubject) -> Finding:
    """Find the report, of its one size."""
    return passed("there is a report", got=f"version {subject.report.version}")


def report_version(subject: SnpSubject) -> Finding:
    """Refuse versions that we do not know: they may say what we cannot read."""
    version = subject.report.version
    want = f"{VERSIONS[0]} to {VERSIONS[-1]}"
    return holds(
        version in VERSIONS, "the version is known", "the version is one that we do not know", want=want, got=version
    )


def report_reserved(subject: SnpSubject) -> Finding:
    """Have all be zero that the version does not use."""
    found = [name for name, value in _reserved(subject.report).items() if value]
    return holds(
        not found,
        "what the version does not use is zero",
        "the report uses fields that its version does not have",
        got=", ".join(found),
    )


def _reserved(found: AttestationReport) -> dict[str, bool]:
    used = dict(zip(("0x04C", "0x18B", "0x1EB", "0x1EF", "0x208"), map(any, found.reserved), strict=True))
    if found.version < 3:
        used["CPUID"] = any(found.cpuid)
    if found.version < 5:
        used["mitigation vectors"] = bool(found.launch_mitigations or found.current_mitigations)
    return used


def guest_policy_form(subject: SnpSubject) -> Finding:
    """Have bit 17 of the policy be one, and those without a meaning zero."""
    policy = subject.report.policy
    good = policy & _ONE_BIT and not policy & ~_POLICY_MASK
    return holds(
        bool(good), "the guest's policy has known bits", "the guest's policy has unknown bits", got=f"{policy:#x}"
    )


def platform_info_form(subject: SnpSubject) -> Finding:
    """Have the bits without a meaning be zero."""
    unknown = subject.report.platform_info & ~_PLATFORM_MASK
    return holds(
        not unknown,
        "PLATFORM_INFO has known bits",
        "PLATFORM_INFO has unknown bits",
        got=f"{subject.report.platform_info:#x}",
    )


def key_info(subject: SnpSubject) -> Finding:
    """Have KEY_INFO name the key that signed, and have no other bits."""
    info = subject.report.key_info
    if info & ~_KEY_INFO_MASK:
        return failed("KEY_INFO has unknown bits", got=f"{info:#x}")
    return passed("KEY_INFO names the key that signed", got=subject.report.signing_key.name)


def signature_algorithm(subject: SnpSubject) -> Finding:
    """Have the one algorithm: ECDSA on P-384 with SHA-384."""
    return equal("the signature's algorithm", subject.report.signature_algorithm, _ECDSA_P384_SHA384)


def signature_unused(subject: SnpSubject) -> Finding:
    """Have all be zero behind R and S: it is unsigned, and could carry anything."""
    used = any(subject.report.unused_signature)
    return holds(not used, "what is behind the signature is zero", "there are bytes behind the signature")


def signature_range(subject: SnpSubject) -> Finding:
    """Have R and S be 1 to n - 1 (FIPS 186-5, section 6.4.2)."""
    good = all(0 < each < _P384_ORDER for each in (subject.report.r, subject.report.s))
    return holds(good, "R and S are in their range", "R or S is out of its range", want="1 to n - 1")


def signature(subject: SnpSubject) -> Finding:
    """Verify the signature with the certificate's key."""
    found = subject.report
    key = subject.leaf.public_key
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return failed("the signing key is not on a curve")
    try:
        key.verify(encode_dss_signature(found.r, found.s), found.signed, ec.ECDSA(SHA384()))
    except InvalidSignature:
        return failed("the signature of the report is wrong")
    return passed("the report is signed by the key of the certificate", got=subject.leaf.subject.common_name)


def tcb_form(subject: SnpSubject) -> Finding:
    """Read all levels, whose reserved bytes are zero."""
    for name in _TCBS:
        subject.tcb(name)
    return passed("the levels are in the layout of the product", got=subject.product.value)


def tcb_certificate(subject: SnpSubject) -> Finding:
    """Compare what the report says of its level with the certificate's, which is AMD's word."""
    got, want = subject.tcb("reported_tcb"), subject.chip.tcb
    return holds(
        got == want,
        "REPORTED_TCB is the level of the certificate",
        "REPORTED_TCB is another level than that of the certificate",
        want=want.text,
        got=got.text,
    )


def chip_id(subject: SnpSubject) -> Finding:
    """Compare the report's chip with the one that the certificate names."""
    if subject.chip.hwid is None:
        return passed("the certificate is a cloud's, and names no chip")
    if subject.report.chip_masked:
        return passed("the report hides its chip; the certificate names it", got=subject.chip.hwid)
    return equal("the chip", subject.report.chip_id, subject.chip_id)


def tcb_current(subject: SnpSubject) -> Finding:
    """Refuse firmware that is lower than its key: it cannot have signed."""
    got, floor = subject.tcb("current_tcb"), subject.chip.tcb
    return _meets("CURRENT_TCB", got, floor, than="that of the certificate")


def tcb_committed(subject: SnpSubject) -> Finding:
    """Refuse levels that the host can take back."""
    committed, current = subject.tcb("committed_tcb"), subject.tcb("current_tcb")
    if subject.policy.unsafe_allow_provisional_firmware:
        return _meets("CURRENT_TCB", current, committed, than="COMMITTED_TCB")
    return holds(
        committed == current,
        "the levels that run are committed",
        "the host can go back to lower levels than those that run",
        want=current.text,
        got=committed.text,
    )


def firmware_committed(subject: SnpSubject) -> Finding:
    """Refuse firmware that the host can take back."""
    committed, current = subject.report.committed_version, subject.report.current_version
    good = committed == current
    if subject.policy.unsafe_allow_provisional_firmware:
        good = _order(committed) <= _order(current)
    return holds(
        good,
        "the firmware that runs is committed",
        "the host can go back to other firmware than that which runs",
        want=current.text,
        got=committed.text,
    )


def _meets(what: str, got: Tcb, floor: Tcb, *, than: str) -> Finding:
    behind = ", ".join(f"{name} by {levels}" for name, levels in got.behind(floor).items() if levels)
    return holds(
        not behind,
        f"{what} is not lower than {than}",
        f"{what} is lower than {than}: {behind}",
        want=f"at least {floor.text}",
        got=got.text,
    )


def _order(version: FirmwareVersion) -> tuple[int, int, int]:
    return version.major, version.minor, version.build
