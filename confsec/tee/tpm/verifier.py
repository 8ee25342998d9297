"""Whether a TPM's evidence shows what a policy demands: one table of checks, along the chain of trust.

1. The attestation key (AK) is of a form in which a TPM signs only what it made itself.
2. Somebody whom the policy names vouches for it: a certificate, a registrar, or the report of the TEE around the TPM.
3. The AK signed a quote, for this binding, of exactly the PCRs of the policy.
4. The event log gives these PCRs, and shows the boot that the policy wants.
5. The AK certified a request key, for this binding, that the TPM made and that works only while these PCRs hold.
6. That key is the P-256 half of the node's KeyConfig.

Sources: TPM 2.0 Library, Part 1 to 3; TCG EK Credential Profile 2.5; TCG PC Client Platform Firmware Profile 1.06;
RFC 5280. A TPM outside of a TEE leaves to assume whoever runs the hypervisor or can touch its bus: the platform says
so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Final, NamedTuple, Self

from attrs import evolve, frozen

from confsec.errors import ConfsecError
from confsec.protocol import cbor
from confsec.protocol.checks import CheckDefinition, Status, run_checks
from confsec.protocol.platforms import BINDING, KEY_CONFIG, OPERATING_SYSTEM, TPM_AK, TPM_KEY, TPM_LOG, TPM_QUOTE
from confsec.protocol.rats import VENDOR, TeeFindings, VerificationRequest, Vouch
from confsec.tee import measured_boot
from confsec.tee.simulated.roots import SIMULATED_ROOTS, SIMULATED_TPM_REGISTRARS
from confsec.tee.tpm import ak_checks as ak, key_checks as key, quote_checks as quote
from confsec.tee.tpm.certificates import GceInstance
from confsec.tee.tpm.policy import VALUE_LISTS, TpmPolicy
from confsec.tee.tpm.subject import Subject, Way

__all__ = ["CHECKS", "TpmVerifier", "read_tpm_policy"]

_PART_1: Final = "TPM 2.0 Library, Part 1"
_PART_2: Final = "TPM 2.0 Library, Part 2"
_OBJECT: Final = f"{_PART_2}, section 8.3"
_PATH: Final = "RFC 5280, section 6.1"
_EK: Final = "TCG EK Credential Profile 2.5, section 3"
_REGISTRAR: Final = "docs/spec/attestation.md, Registrars"
_BINDING: Final = "docs/spec/attestation.md, Binding"
_POLICY: Final = "docs/policies.md, TPM"
_LOG: Final = "TCG PC Client Platform Firmware Profile 1.06, section 10"

CHECKS: Final[tuple[CheckDefinition[Subject], ...]] = (
    # 1. The attestation key
    CheckDefinition("tpm.ak-format", f"{_PART_2}, section 12.2.4", ak.ak_format, essential=True),
    CheckDefinition("tpm.ak-algorithm", _POLICY, ak.ak_algorithm, essential=True),
    CheckDefinition("tpm.ak-scheme", _POLICY, ak.ak_scheme, essential=True),
    CheckDefinition("tpm.ak-name-algorithm", f"{_PART_1}, section 16", ak.ak_name_algorithm),
    CheckDefinition("tpm.ak-restricted", _OBJECT, ak.ak_restricted),
    CheckDefinition("tpm.ak-sign-only", _OBJECT, ak.ak_sign_only),
    CheckDefinition("tpm.ak-fixed-tpm", _OBJECT, ak.ak_fixed_tpm),
    CheckDefinition("tpm.ak-fixed-parent", _OBJECT, ak.ak_fixed_parent),
    CheckDefinition("tpm.ak-sensitive-data-origin", _OBJECT, ak.ak_sensitive_data_origin),
    CheckDefinition("tpm.ak-bound", _BINDING, ak.ak_bound),
    # 2. Who vouches for it
    CheckDefinition("tpm.ak-vouched-for", "docs/spec/attestation.md, Platforms", ak.ak_vouched_for),
    CheckDefinition("tpm.chain-format", "RFC 5280, section 4.1", ak.chain_format),
    CheckDefinition("tpm.chain-root", "RFC 5280, section 6.1.1", ak.chain_root),
    CheckDefinition("tpm.chain-complete", _PATH, ak.chain_complete),
    CheckDefinition("tpm.chain-signatures", _PATH, ak.chain_signatures),
    CheckDefinition("tpm.chain-authorities", "RFC 5280, section 4.2.1.9", ak.chain_authorities),
    CheckDefinition("tpm.chain-usage", "RFC 5280, section 4.2.1.3", ak.chain_usage),
    CheckDefinition("tpm.chain-lengths", "RFC 5280, section 4.2.1.9", ak.chain_lengths),
    CheckDefinition("tpm.chain-validity", _PATH, ak.chain_validity),
    CheckDefinition("tpm.chain-extensions", "RFC 5280, section 4.2", ak.chain_extensions),
    CheckDefinition("tpm.chain-leaf", "RFC 5280, section 4.2.1.9", ak.chain_leaf),
    CheckDefinition("tpm.ak-certificate-usage", "RFC 5280, section 4.2.1.3", ak.ak_certificate_usage),
    CheckDefinition("tpm.ak-certificate-key", _PATH, ak.ak_certificate_key),
    CheckDefinition("tpm.ak-certificate-instance", _POLICY, ak.ak_certificate_instance),
    CheckDefinition("tpm.ek-usage", _EK, ak.ek_usage),
    CheckDefinition("tpm.ek-purpose", _EK, ak.ek_purpose),
    CheckDefinition("tpm.ek-name", _EK, ak.ek_name),
    CheckDefinition("tpm.statement-format", _REGISTRAR, ak.statement_format),
    CheckDefinition("tpm.statement-registrar", _REGISTRAR, ak.statement_registrar),
    CheckDefinition("tpm.statement-signature", _REGISTRAR, ak.statement_signature),
    CheckDefinition("tpm.statement-content", _REGISTRAR, ak.statement_content),
    CheckDefinition("tpm.statement-ek", _REGISTRAR, ak.statement_ek),
    CheckDefinition("tpm.statement-ak", _REGISTRAR, ak.statement_ak),
    CheckDefinition("tpm.statement-age", _POLICY, ak.statement_age),
    # 3. The quote
    CheckDefinition("tpm.quote-format", "docs/spec/attestation.md, TPM", quote.quote_format, essential=True),
    CheckDefinition("tpm.quote-signature", f"{_PART_1}, section 31", quote.quote_signature, essential=True),
    CheckDefinition("tpm.quote-attest", f"{_PART_2}, section 10.12.12", quote.quote_attest, essential=True),
    CheckDefinition("tpm.quote-magic", f"{_PART_2}, section 6.2", quote.quote_magic, essential=True),
    CheckDefinition("tpm.quote-type", f"{_PART_2}, section 6.9", quote.quote_type, essential=True),
    CheckDefinition("tpm.quote-qualifying-data", _BINDING, quote.quote_qualifying_data),
    CheckDefinition("tpm.quote-clock", f"{_PART_1}, section 36", quote.quote_clock),
    CheckDefinition("tpm.quote-selection", _POLICY, quote.quote_selection),
    CheckDefinition("tpm.quote-values", f"{_PART_2}, section 10.12.4", quote.quote_values, essential=True),
    CheckDefinition("tpm.pcr-digest", f"{_PART_2}, section 10.12.4", quote.pcr_digest, essential=True),
    CheckDefinition("tpm.pcr-values", _POLICY, quote.pcr_values),
    # 4. The boot
    CheckDefinition("tpm.log-format", _LOG, quote.log_format, essential=True),
    CheckDefinition("tpm.log-replay", _LOG, quote.log_replay, essential=True),
    CheckDefinition("tpm.secure-boot", "UEFI 2.10, section 32.3", quote.secure_boot),
    CheckDefinition("tpm.boot-applications", _POLICY, quote.boot_applications),
    CheckDefinition("tpm.kernel-command-line", _POLICY, quote.kernel_command_line),
    CheckDefinition("tpm.uki-sections", _POLICY, quote.uki_sections),
    # 5. The request key
    CheckDefinition("tpm.key-format", "docs/spec/attestation.md, TPM", key.key_format, essential=True),
    CheckDefinition("tpm.key-signature", f"{_PART_1}, section 31", key.key_signature, essential=True),
    CheckDefinition("tpm.key-attest", f"{_PART_2}, section 10.12.12", key.key_attest, essential=True),
    CheckDefinition("tpm.key-magic", f"{_PART_2}, section 6.2", key.key_magic, essential=True),
    CheckDefinition("tpm.key-type", f"{_PART_2}, section 6.9", key.key_type, essential=True),
    CheckDefinition("tpm.key-qualifying-data", _BINDING, key.key_qualifying_data),
    CheckDefinition("tpm.key-name", f"{_PART_2}, section 10.12.6", key.key_name, essential=True),
    CheckDefinition("tpm.key-creation-hash", f"{_PART_2}, section 10.12.6", key.key_creation_hash),
    CheckDefinition("tpm.key-name-algorithm", f"{_PART_1}, section 16", key.key_name_algorithm),
    CheckDefinition("tpm.key-algorithm", _BINDING, key.key_algorithm),
    CheckDefinition("tpm.key-scheme", f"{_PART_2}, section 11.2", key.key_scheme),
    CheckDefinition("tpm.key-fixed-tpm", _OBJECT, key.key_fixed_tpm),
    CheckDefinition("tpm.key-fixed-parent", _OBJECT, key.key_fixed_parent),
    CheckDefinition("tpm.key-sensitive-data-origin", _OBJECT, key.key_sensitive_data_origin),
    CheckDefinition("tpm.key-admin-with-policy", _OBJECT, key.key_admin_with_policy),
    CheckDefinition("tpm.key-no-password", _OBJECT, key.key_no_password),
    CheckDefinition("tpm.key-decrypt-only", _OBJECT, key.key_decrypt_only),
    CheckDefinition("tpm.key-no-da", _OBJECT, key.key_no_da),
    CheckDefinition("tpm.key-other-attributes", _OBJECT, key.key_other_attributes),
    CheckDefinition("tpm.key-policy", "TPM 2.0 Library, Part 3, section 23.7", key.key_policy),
    # 6. The KeyConfig
    CheckDefinition("tpm.key-kem", "draft-ietf-hpke-pq-04, section 4", key.key_kem),
    CheckDefinition("tpm.key-point", _BINDING, key.key_point),
)
"""All checks, in order (the steps above)."""


class _Edge(NamedTuple):
    """An edge of the binding graph, and the first words of the ids of all the checks that establish it."""

    vouch: Vouch
    rows: tuple[str, ...]


_AK_ROWS: Final = ("tpm.ak-", "tpm.chain-", "tpm.ek-", "tpm.statement-")
_QUOTE_ROWS: Final = ("tpm.ak-", "tpm.quote-")
_PCR_ROWS: Final = (*_QUOTE_ROWS, "tpm.pcr-digest")
_LOG_ROWS: Final = (*_PCR_ROWS, "tpm.log-")
_SYSTEM_ROWS: Final = (
    *_LOG_ROWS,
    "tpm.pcr-values",
    "tpm.secure-boot",
    "tpm.boot-applications",
    "tpm.kernel-command-line",
    "tpm.uki-sections",
)
_KEY_ROWS: Final = (*_PCR_ROWS, "tpm.key-")

_EDGES: Final = (
    _Edge(Vouch(TPM_AK, TPM_QUOTE, "the AK signed the quote"), _QUOTE_ROWS),
    _Edge(Vouch(TPM_QUOTE, BINDING, "the qualifying data is the binding"), _QUOTE_ROWS),
    _Edge(Vouch(TPM_QUOTE, TPM_LOG, "the event log gives the quoted PCRs"), _LOG_ROWS),
    _Edge(Vouch(TPM_AK, TPM_KEY, "the AK certified the request key"), _KEY_ROWS),
    _Edge(Vouch(TPM_KEY, KEY_CONFIG, "the request key is its P-256 half"), _KEY_ROWS),
)
_AK_EDGE: Final = _Edge(Vouch(VENDOR, TPM_AK, "a root that the policy names vouches for the AK"), _AK_ROWS)
_SYSTEM_EDGE: Final = _Edge(Vouch(TPM_QUOTE, OPERATING_SYSTEM, "the PCRs show a boot of the policy"), _SYSTEM_ROWS)


@frozen
class TpmVerifier:
    """Looks at what a TPM signed, at the event log, and at who vouches for the attestation key."""

    policy: TpmPolicy

    @property
    def name(self) -> str:
        """The table of a policy that it is read from."""
        return "tpm"

    @property
    def accepts_simulated(self) -> bool:
        """Whether it believes a root or a registrar whose private key is published."""
        return self.policy.accepts_simulated

    @property
    def lists(self) -> frozenset[str]:
        """The lists to which logged values may be added."""
        return VALUE_LISTS

    def with_values(self, values: Mapping[str, tuple[bytes, ...]]) -> Self:
        """Return the verifier that also accepts these values. Raises `ConfigError` for values of another form."""
        return evolve(self, policy=self.policy.with_values(values))

    @classmethod
    def from_item(cls, value: cbor.CborValue) -> Self:
        """Read the table of a policy. Raises `DecodeError`."""
        return cls(TpmPolicy.from_item(value))

    def to_item(self) -> dict[str, cbor.CborValue]:
        """Return the table as it stands in a policy."""
        return self.policy.to_item()

    def verify(self, request: VerificationRequest) -> TeeFindings:
        """Look at everything. Never raises for what a peer wrote."""
        subject = Subject(request=request, policy=self.policy)
        checks = run_checks(CHECKS, subject)
        bad = [check.id for check in checks if check.status not in {Status.PASS, Status.INFO}]
        passed = frozenset(check.id for check in checks if check.status is Status.PASS)
        if not passed.issuperset(definition.id for definition in CHECKS if definition.essential):
            return TeeFindings(name=self.name, checks=checks)
        return TeeFindings(
            name=self.name,
            checks=checks,
            claims=_claims(subject),
            vouches=_vouches(subject, bad),
            simulated=_simulated(subject),
            expires=subject.expires,
        )


def read_tpm_policy(value: cbor.CborValue) -> TpmVerifier:
    """Read the table `[tpm]` of a policy: the `VerifierReader` for TPMs. Raises `DecodeError`."""
    return TpmVerifier.from_item(value)


# --- What follows from the checks -------------------------------------------------------------------------------------


def _vouches(subject: Subject, bad: Collection[str]) -> tuple[Vouch, ...]:
    """Return the edges of the binding graph. What rests on a check that did not pass is left out.

    A TPM inside a TEE is vouched for by that TEE's verifier. The operating system is vouched for only under a policy
    that says which one is meant.
    """
    edges = [*_EDGES]
    if subject.way is not Way.REPORT:
        edges.insert(0, _AK_EDGE)
    if subject.policy.identifies_system:
        edges.append(_SYSTEM_EDGE)
    return tuple(edge.vouch for edge in edges if not any(each.startswith(edge.rows) for each in bad))


def _simulated(subject: Subject) -> bool:
    path = subject.readable_path
    by_root = path is not None and path.root.fingerprint in SIMULATED_ROOTS
    return by_root or subject.registrar_key in SIMULATED_TPM_REGISTRARS


def _claims(subject: Subject) -> Mapping[str, cbor.CborValue]:
    """Return what the TPM says, in numbers and digests."""
    attest = subject.quote_attest
    pcrs: dict[str, cbor.CborValue] = {str(pcr): value.hex() for pcr, value in subject.pcrs.items()}
    return {
        "ak_name": subject.ak.name.hex(),
        "ak_vouched_for_by": subject.way.value,
        **_instance_claims(subject),
        "firmware_version": attest.firmware_version,
        "reset_count": attest.clock.reset_count,
        "restart_count": attest.clock.restart_count,
        "clock_safe": attest.clock.safe,
        "bank": subject.policy.bank.name.lower(),
        "pcrs": pcrs,
        **_boot_claims(subject),
    }


def _instance_claims(subject: Subject) -> Mapping[str, cbor.CborValue]:
    """Return which machine a cloud's certificate says the AK is of."""
    if subject.way is not Way.CERTIFICATE or subject.readable_path is None:
        return {}
    try:
        instance = GceInstance.decode(subject.readable_path.leaf)
    except ConfsecError:
        return {}
    return {} if instance is None else {"zone": instance.zone, "project": instance.project_id}


def _boot_claims(subject: Subject) -> Mapping[str, cbor.CborValue]:
    """Return what was derived from digests that replay. What a log does not show is left out."""
    log, bank = subject.log, subject.policy.bank
    claims: dict[str, cbor.CborValue] = {
        "boot_applications": [digest.hex() for digest in measured_boot.boot_applications(log, bank)],
        # By a label, so a hint for people: pin PCR 8 to decide by it.
        "grub_command_lines": [
            hashlib.sha256(line).hexdigest() for line in measured_boot.grub_command_lines(log, bank)
        ],
    }
    with suppress(ConfsecError):
        claims["secure_boot"] = measured_boot.secure_boot(log, bank)
    return claims
