"""What tests of SEV-SNP begin with: a good simulated guest, of which they change one thing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

from attrs import evolve

from confsec.protocol.binding import Binding, Mode
from confsec.protocol.checks import Status
from confsec.protocol.cmw import CmwRecord, Endorsements, Evidence
from confsec.protocol.platforms import (
    AZURE_RUNTIME_DATA,
    MEDIA_TYPES,
    PLATFORMS,
    SEV_SNP,
    SVSM_MANIFEST,
    TPM_AK,
)
from confsec.protocol.rats import TeeFindings, VerificationRequest
from confsec.protocol.wire import encode_base64url
from confsec.tee.azure import azure_report_data
from confsec.tee.event_log import HashAlgorithm
from confsec.tee.sev_snp.evidence import AttestationReport, Product, Tcb
from confsec.tee.sev_snp.policy import SnpPolicy
from confsec.tee.sev_snp.subject import CERTIFICATES_TYPE, CRL_TYPE, SNP_CERTIFICATES, SNP_CRL
from confsec.tee.sev_snp.verifier import SnpVerifier
from confsec.tee.simulated.amd import SIMULATED_MEASUREMENT, UNSAFE_SIMULATED_SNP, VALID, IssuedKey, SimulatedAmd
from confsec.tee.simulated.issue import CERT_SIGN, Signer, basic_constraints, issue_certificate, key_usage
from confsec.tee.svsm import VTPM_GUID, ServicesManifest, svsm_report_data
from confsec.tee.tpm.structures import Attributes, PublicArea, RsaKey
from confsec.tee.x509 import Certificate, Extension, encode_chain

AMD: Final = SimulatedAmd(Product.MILAN)
AT: Final = datetime(2026, 11, 28, tzinfo=UTC)
LOW: Final = Tcb(bootloader=1, tee=0, snp=1, microcode=1)
MODULUS: Final = (1 << 2047) | 12345


def public_area(modulus: int = MODULUS) -> bytes:
    """Return the TPMT_PUBLIC of an AK."""
    key = RsaKey(2048, modulus=modulus.to_bytes(256, "big"))
    return PublicArea(name_algorithm=HashAlgorithm.SHA256, attributes=Attributes(0), key=key).encode()


AK: Final = public_area()
BINDING: Final = Binding(mode=Mode.EPOCH, nonce=b"n" * 32, key_config=b"key", manifest=b"manifest")
BINDING_WITH_AK: Final = evolve(BINDING, ak=AK)
MANIFEST: Final = ServicesManifest({VTPM_GUID: AK}).encode()


def runtime_data(user_data: bytes = BINDING_WITH_AK.value, *, modulus: int = MODULUS) -> bytes:
    """Return what Azure's paravisor says: its vTPM's AK, and what the guest wrote."""
    n, e = encode_base64url(modulus.to_bytes(256, "big")), encode_base64url(b"\x01\x00\x01")
    key = {"kid": "HCLAkPub", "key_ops": ["sign"], "kty": "RSA", "e": e, "n": n}
    value = {"keys": [key], "vm-configuration": {"secure-boot": True}, "user-data": user_data.hex().upper()}
    return json.dumps(value).encode()


POLICY: Final = evolve(
    UNSAFE_SIMULATED_SNP,
    signing_keys=("vcek", "vlek"),
    csp_ids=("CN=cloud.example",),
    firmware_measurements=(SIMULATED_MEASUREMENT,),
)
"""What the tests demand, if they say nothing else."""


def low_floors(policy: SnpPolicy = POLICY) -> dict[str, Any]:
    """Return the change of a policy that lets old firmware pass."""
    return {"tcb_floors": tuple(evolve(floor, tcb=LOW) for floor in policy.tcb_floors)}


@cache
def vcek(product: Product = Product.MILAN) -> IssuedKey:
    """Return the key of the chip."""
    return SimulatedAmd(product).issue_vcek()


@cache
def vlek(product: Product = Product.MILAN) -> IssuedKey:
    """Return the key of a cloud."""
    return SimulatedAmd(product).issue_vlek()


@cache
def good_crl(product: Product = Product.MILAN) -> bytes:
    """Return the revocation list."""
    return SimulatedAmd(product).issue_crl().encoded


def report(
    amd: SimulatedAmd = AMD, *, about: bytes = BINDING.value, version: int = 3, **changes: Any
) -> AttestationReport:
    """Return a report that is not signed."""
    return evolve(amd.report(about, version=version), **changes)


def request(
    items: Mapping[str, bytes],
    *,
    chain: bytes | None,
    crl: bytes | None,
    platform: str = "sev-snp",
    binding: Binding = BINDING,
    at: datetime = AT,
) -> VerificationRequest:
    """Return what a verifier is asked."""
    endorsements = {}
    if chain is not None:
        endorsements[SNP_CERTIFICATES] = CmwRecord(CERTIFICATES_TYPE, chain)
    if crl is not None:
        endorsements[SNP_CRL] = CmwRecord(CRL_TYPE, crl)
    return VerificationRequest(
        evidence=Evidence.of({label: CmwRecord(MEDIA_TYPES[label], value) for label, value in items.items()}),
        endorsements=Endorsements.of(endorsements),
        binding=binding,
        platform=next(each for each in PLATFORMS if each.name == platform),
        at=at,
    )


def look(
    found: AttestationReport | None = None,
    *,
    amd: SimulatedAmd = AMD,
    issued: IssuedKey | None = None,
    chain: bytes | None = None,
    crl: bytes | None = b"",
    after: Callable[[AttestationReport], AttestationReport] = lambda signed: signed,
    items: Mapping[str, bytes] | None = None,
    policy: Mapping[str, Any] | None = None,
    platform: str = "sev-snp",
    binding: Binding = BINDING,
    at: datetime = AT,
) -> TeeFindings:
    """Have the verifier look at a report that `issued` signs, changed by `after`, with its chain and list.

    `crl` is None for no list at all, and empty for the good one.
    """
    issued = issued or vcek(amd.product)
    signed = after(issued.sign(found or report(amd)))
    all_items = {SEV_SNP: signed.encode(), **(items or {})}
    asked = request(
        all_items,
        chain=amd.chain(issued) if chain is None else chain,
        crl=good_crl(amd.product) if crl == b"" else crl,
        platform=platform,
        binding=binding,
        at=at,
    )
    return SnpVerifier(evolve(POLICY, **(policy or {}))).verify(asked)


def look_svsm(manifest: bytes = MANIFEST, **how: Any) -> TeeFindings:
    """Look at a guest with an SVSM."""
    about = svsm_report_data(BINDING_WITH_AK.value, manifest)
    items = {SVSM_MANIFEST: manifest, TPM_AK: AK}
    return look(report(about=about), **{"platform": "sev-snp-svsm", "binding": BINDING_WITH_AK, "items": items, **how})


def look_azure(data: bytes | None = None, **how: Any) -> TeeFindings:
    """Look at a guest on Azure."""
    data = runtime_data() if data is None else data
    items = {AZURE_RUNTIME_DATA: data, TPM_AK: AK}
    changed = {"platform": "azure-sev-snp", "binding": BINDING_WITH_AK, "items": items, **how}
    return look(report(about=azure_report_data(data)), **changed)


def look_outside(**how: Any) -> TeeFindings:
    """Look at a guest beside a TPM that is outside of it."""
    return look(
        report(about=BINDING_WITH_AK.value),
        **{"platform": "sev-snp-tpm", "binding": BINDING_WITH_AK, "items": {TPM_AK: AK}, **how},
    )


def other_ask(extensions: Mapping[str, Extension]) -> Certificate:
    """Return an intermediate with other extensions, under the same key."""
    return issue_certificate(
        AMD.ark_signer,
        subject=AMD.ask.subject,
        public_key=AMD.ask.public_key_info,
        serial=AMD.ask.serial,
        valid=VALID,
        extensions=extensions,
    )


def other_ark(extensions: Mapping[str, Extension]) -> Certificate:
    """Return a root with other extensions, under the same key."""
    return issue_certificate(
        AMD.ark_signer,
        subject=AMD.ark.subject,
        public_key=AMD.ark.public_key_info,
        serial=AMD.ark.serial,
        valid=VALID,
        extensions=extensions,
    )


def unmarked(ark: Certificate, **how: Any) -> TeeFindings:
    """Look at a report below another root, of which no certificate has the simulator's mark."""
    issued = AMD.issue_vcek(extensions=dict.fromkeys(AMD.ark.extensions.keys() & _MARKS, None))
    ask = other_ask({**basic_constraints(ca=True, path_length=0), **key_usage(CERT_SIGN)})
    policy = {"trust_anchors": (ark.fingerprint,)}
    return look(issued=issued, chain=encode_chain((issued.certificate, ask, ark)), policy=policy, **how)


_MARKS: Final = {"1.3.6.1.4.1.57264.99999.1"}


def signer_of(common: Signer, **changes: Any) -> Signer:
    """Return an issuer with something else."""
    return evolve(common, **changes)


def refusing(findings: TeeFindings) -> list[str]:
    """Return the ids of the checks that fail."""
    return [check.id for check in findings.checks if check.status is Status.FAIL]


def statuses(findings: TeeFindings) -> set[Status]:
    """Return what came of all checks."""
    return {check.status for check in findings.checks}
