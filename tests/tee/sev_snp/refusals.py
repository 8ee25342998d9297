"""For each check of SEV-SNP, evidence that it alone refuses; and evidence that every check accepts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from attrs import evolve
from cryptography.hazmat.primitives.asymmetric import ec

from confsec.protocol.binding import Mode
from confsec.protocol.policy import UNSAFE_ANY
from confsec.protocol.rats import TeeFindings
from confsec.tee.azure import azure_report_data
from confsec.tee.sev_snp.certificates import AMD_ROOTS
from confsec.tee.sev_snp.evidence import (
    PLATFORM_BITS,
    POLICY_BITS,
    AttestationReport,
    FirmwareVersion,
    Product,
    SigningKey,
    encode_tcb,
)
from confsec.tee.simulated.amd import SIMULATED_CHIP, VALID, SimulatedAmd, amd_name
from confsec.tee.simulated.amd_keys import load_key
from confsec.tee.simulated.issue import (
    CERT_SIGN,
    CRL_SIGN,
    SIMULATED_MARK,
    basic_constraints,
    crl_distribution_point,
    key_usage,
    make_name,
)
from confsec.tee.svsm import ServicesManifest, svsm_report_data
from confsec.tee.x509 import Certificate, Extension, encode_chain
from tests.tee.refusal import Baseline, Refusal
from tests.tee.sev_snp.cases import (
    AK,
    AMD,
    BINDING,
    BINDING_WITH_AK,
    MANIFEST,
    MODULUS,
    POLICY,
    look,
    look_azure,
    look_outside,
    look_svsm,
    low_floors,
    other_ark,
    other_ask,
    public_area,
    report,
    runtime_data,
    signer_of,
    unmarked,
    vcek,
    vlek,
)

__all__ = ["BASELINES", "REFUSALS"]

_ARC: Final = "1.3.6.1.4.1.3704.1"
_EARLIER: Final = (VALID[0], datetime(2026, 1, 1, tzinfo=UTC))
_VLEK: Final[dict[str, Any]] = {"key_info": SigningKey.VLEK.value << 2, "chip_id": bytes(64)}
_ASK_USAGE: Final = {**key_usage(CERT_SIGN), **SIMULATED_MARK}
_ASK: Final = {**basic_constraints(ca=True, path_length=0), **_ASK_USAGE}


def _level(**parts: int) -> bytes:
    """Return a level that differs from the chip's in some parts."""
    return encode_tcb(evolve(AMD.tcb, **parts), AMD.product)


def _with(**changes: Any) -> Callable[[], TeeFindings]:
    """Look at a report that says something else, signed."""
    return lambda: look(report(**changes))


def _v5(**changes: Any) -> Callable[[], TeeFindings]:
    return lambda: look(report(version=5, **changes), policy={"required_mitigations": (0, 2)})


def _after(change: Callable[[AttestationReport], AttestationReport]) -> Callable[[], TeeFindings]:
    """Look at a report that was changed behind the signature."""
    return partial(look, after=change)


def _demand(**policy: Any) -> Callable[[], TeeFindings]:
    """Look at the good report under a policy that demands something else."""
    return partial(look, policy=policy)


def _below(ask: Certificate) -> Callable[[], TeeFindings]:
    """Look at the good report with another intermediate."""
    return lambda: look(chain=encode_chain((vcek().certificate, ask, AMD.ark)))


def _issued(**how: Any) -> Callable[[], TeeFindings]:
    """Look at a report under another certificate of the chip."""
    return lambda: look(issued=AMD.issue_vcek(**how))


def _crl(**how: Any) -> Callable[[], TeeFindings]:
    return lambda: look(crl=AMD.issue_crl(**how).encoded)


def _plain(value: bytes) -> Extension:
    return Extension(critical=False, value=value)


def _signature(report_: AttestationReport, *, r: int | None = None, s: int | None = None) -> AttestationReport:
    components = (report_.r if r is None else r, report_.s if s is None else s)
    head = b"".join(each.to_bytes(72, "little") for each in components)
    return evolve(report_, signature=head + report_.unused_signature)


def _form() -> Iterator[tuple[str, str, Callable[[], TeeFindings]]]:
    yield "report", "a report that is a byte short", lambda: look(items={"sev-snp": bytes(1183)})
    yield "report-version", "a version that nobody knows", _with(version=6)
    yield "report-version", "a version that never was", _with(version=1)
    for index, name in enumerate(("0x04C", "0x18B", "0x1EB", "0x1EF", "0x208")):
        reserved = list(report().reserved)
        reserved[index] = b"\x01".ljust(len(reserved[index]), b"\0")
        yield "report-reserved", f"something at {name}", _with(reserved=tuple(reserved))
    yield "report-reserved", "mitigations before version 5", _with(launch_mitigations=1)
    yield "report-reserved", "mitigations now before version 5", _with(current_mitigations=1)
    yield (
        "report-reserved",
        "a CPUID before version 3",
        lambda: look(report(version=2, cpuid=b"\x19\x01\x01"), policy={"min_report_version": 2}),
    )
    yield "guest-policy-form", "bit 17 of the guest's policy clear", _with(policy=report().policy ^ 1 << 17)
    yield "guest-policy-form", "an unknown bit of the guest's policy", _with(policy=report().policy | 1 << 26)
    yield "platform-info-form", "an unknown bit of PLATFORM_INFO", _with(platform_info=report().platform_info | 1 << 8)
    yield "key-info", "signed by no key", _with(key_info=7 << 2)
    yield "key-info", "an unknown bit of KEY_INFO", _with(key_info=1 << 5)
    yield "signature-algorithm", "another algorithm", _with(signature_algorithm=2)
    yield (
        "signature-unused",
        "a byte behind the signature",
        _after(lambda signed: evolve(signed, signature=signed.signature[:-1] + b"\x01")),
    )


def _chain() -> Iterator[tuple[str, str, Callable[[], TeeFindings]]]:
    genoa = SimulatedAmd(Product.GENOA)
    yield "certificates", "no certificate of a signing key", lambda: look(chain=encode_chain((AMD.ask, AMD.ark)))
    yield (
        "certificates",
        "two certificates of signing keys",
        lambda: look(chain=encode_chain((vcek().certificate, vlek().certificate, AMD.ask, AMD.ark))),
    )
    yield "certificates", "bytes that are no certificates", lambda: look(chain=b"0")
    yield "chain", "no intermediate", lambda: look(chain=encode_chain((vcek().certificate, AMD.ark)))
    yield "chain", "no root", lambda: look(chain=encode_chain((vcek().certificate, AMD.ask)))
    yield "root", "a root that nobody pinned", _demand(trust_anchors=tuple(sorted(AMD_ROOTS.values())))
    yield (
        "chain-signatures",
        "a certificate that the intermediate did not sign",
        _issued(signer=signer_of(AMD.ask_signer, key=load_key("asvk"))),
    )
    yield (
        "chain-algorithms",
        "a certificate signed with SHA-256",
        _issued(signer=signer_of(AMD.ask_signer, digest="SHA256")),
    )
    yield "chain-algorithms", "a certificate signed without PSS", _issued(signer=signer_of(AMD.ask_signer, pss=False))
    yield (
        "chain-authorities",
        "an issuer that is no authority",
        _below(other_ask({**basic_constraints(ca=False), **_ASK_USAGE})),
    )
    yield "chain-authorities", "an issuer without constraints", _below(other_ask(_ASK_USAGE))
    root = {**basic_constraints(ca=True, path_length=0), **key_usage(CERT_SIGN, CRL_SIGN)}
    yield "chain-path-length", "a root above more than it allows", lambda: unmarked(other_ark(root))
    yield (
        "chain-key-usage",
        "an issuer whose key is for something else",
        _below(other_ask({**basic_constraints(ca=True, path_length=0), **key_usage(0), **SIMULATED_MARK})),
    )
    yield "chain-extensions", "an unknown critical extension", _issued(extensions={"1.2.3.4": Extension(True, b"")})
    yield (
        "chain-extensions",
        "a simulator's mark below another root",
        lambda: unmarked(other_ark({**basic_constraints(ca=True), **key_usage(CERT_SIGN, CRL_SIGN), **SIMULATED_MARK})),
    )
    yield "chain-validity", "a certificate that has expired", _issued(valid=_EARLIER)
    yield (
        "chain-validity",
        "a certificate that is not valid yet",
        _issued(valid=(datetime(2026, 12, 24, tzinfo=UTC), VALID[1])),
    )
    owner = make_name([("2.5.4.10", "another"), ("2.5.4.3", "SEV-VCEK")])
    yield "chain-names", "a certificate of another owner", _issued(subject=owner)
    for part in ("2", "3.1", "3.8"):
        yield "leaf-extensions", f"no extension {part}", _issued(extensions={f"{_ARC}.{part}": None})
    yield "leaf-extensions", "a level that is no byte", _issued(extensions={f"{_ARC}.3.3": _plain(b"\x02\x02\x01\x00")})
    endless = b"\x02\x82\x0b\xb8" + b"\x7f" * 3000  # of more digits than Python writes
    yield "leaf-extensions", "a level of thousands of digits", _issued(extensions={f"{_ARC}.3.3": _plain(endless)})
    yield "leaf-extensions", "a reserved level", _issued(extensions={f"{_ARC}.3.5": _plain(b"\x02\x01\x01")})
    yield "leaf-extensions", "a level of Turin", _issued(extensions={f"{_ARC}.3.9": _plain(b"\x02\x01\x00")})
    yield "leaf-extensions", "an unknown product", _issued(extensions={f"{_ARC}.2": _plain(b"\x16\x04Rome")})
    yield "leaf-extensions", "a chip's id of another size", _issued(extensions={f"{_ARC}.4": _plain(bytes(63))})
    yield "chain-product", "a key of another product", _issued(extensions={f"{_ARC}.2": _plain(b"\x16\x05Genoa")})
    yield (
        "chain-product",
        "a chip's key below the intermediate for clouds",
        _issued(signer=AMD.asvk_signer),
    )
    yield "leaf-kind", "a report that names another kind of key", _with(key_info=SigningKey.VLEK.value << 2)
    cloud = Extension(critical=False, value=b"\x16\x01x")
    yield "leaf-identity", "a chip's key that names a cloud", _issued(extensions={f"{_ARC}.5": cloud})
    yield "leaf-identity", "a chip's key that names no chip", _issued(extensions={f"{_ARC}.4": None})
    yield (
        "leaf-identity",
        "a cloud's key that names a chip",
        lambda: look(report(**_VLEK), issued=AMD.issue_vlek(extensions={f"{_ARC}.4": _plain(SIMULATED_CHIP)})),
    )
    yield "leaf-key", "a key on P-256", _issued(key=ec.derive_private_key(5, ec.SECP256R1()))
    url = crl_distribution_point("https://simulated.invalid/vcek/v1/Genoa/crl")
    yield "crl-url", "the revocation list of another product", _below(other_ask({**_ASK, **url}))
    yield "processor", "a processor of another product", _with(cpuid=genoa.report(bytes(64)).cpuid)
    yield "processor", "a processor of no product", _with(cpuid=b"\x17\x01\x01")
    chip = bytes(range(1, 9)).ljust(64, b"\0")
    yield (
        "processor",
        "a chip's id in the form of Turin",
        lambda: look(
            report(version=2, chip_id=chip),
            issued=AMD.issue_vcek(extensions={f"{_ARC}.4": _plain(chip)}),
            policy={"min_report_version": 2},
        ),
    )


def _revocation() -> Iterator[tuple[str, str, Callable[[], TeeFindings]]]:
    yield "crl", "no revocation list", lambda: look(crl=None)
    yield "crl", "a revocation list that cannot be read", lambda: look(crl=b"0")
    other = signer_of(AMD.ark_signer, name=amd_name("ARK-Genoa"))
    yield "crl-issuer", "a revocation list of another root", _crl(signer=other)
    usage = {**basic_constraints(ca=True), **key_usage(CERT_SIGN)}
    yield "crl-usage", "a root whose key is not for lists", lambda: unmarked(other_ark(usage))
    forged = signer_of(AMD.ark_signer, key=load_key("ask"))
    yield "crl-signature", "a revocation list that the root did not sign", _crl(signer=forged)
    partial_list = {"2.5.29.27": Extension(critical=True, value=b"\x02\x01\x01")}
    yield "crl-extensions", "a partial revocation list", _crl(extensions=partial_list)
    yield "crl-current", "a revocation list that is due again", _crl(current=_EARLIER)
    yield (
        "crl-current",
        "a revocation list of tomorrow",
        _crl(current=(datetime(2026, 11, 29, tzinfo=UTC), VALID[1])),
    )
    yield "revocation", "an intermediate that is revoked", _crl(revoked=(7, AMD.ask.serial))


def _report() -> Iterator[tuple[str, str, Callable[[], TeeFindings]]]:
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973
    yield "signature-range", "R is zero", _after(lambda signed: _signature(signed, r=0))
    yield "signature-range", "S is zero", _after(lambda signed: _signature(signed, s=0))
    yield "signature-range", "R is the order", _after(lambda signed: _signature(signed, r=order))
    yield "signature-range", "S plus the order", _after(lambda signed: _signature(signed, s=signed.s + order))
    yield "signature", "another guest than was signed", _after(lambda signed: evolve(signed, guest_svn=9))
    yield "signature", "another S", _after(lambda signed: _signature(signed, s=signed.s ^ 1))
    for name in ("current_tcb", "reported_tcb", "committed_tcb", "launch_tcb"):
        broken = _level()[:2] + b"\x01" + _level()[3:]
        yield "tcb-form", f"a reserved byte in {name}", _with(**{name: broken})
    yield "tcb-certificate", "a level below that of the key", _with(reported_tcb=_level(snp=29))
    yield "tcb-certificate", "a level above that of the key", _with(reported_tcb=_level(snp=31))
    yield "chip-id", "another chip than that of the key", _with(chip_id=bytes(range(64)))
    old = _level(microcode=219)
    yield (
        "tcb-current",
        "firmware below its key",
        lambda: look(report(current_tcb=old, committed_tcb=old), policy=low_floors()),
    )
    yield (
        "tcb-committed",
        "firmware that can be taken back",
        lambda: look(report(committed_tcb=old), policy=low_floors()),
    )
    yield (
        "tcb-committed",
        "more committed than what runs",
        lambda: look(report(committed_tcb=_level(snp=31)), policy={"unsafe_allow_provisional_firmware": True}),
    )
    new = FirmwareVersion(1, 58, 4)
    yield "firmware-committed", "a version that can be taken back", _with(current_version=new)
    yield (
        "firmware-committed",
        "a committed version above what runs",
        lambda: look(report(committed_version=new), policy={"unsafe_allow_provisional_firmware": True}),
    )


def _demands() -> Iterator[tuple[str, str, Callable[[], TeeFindings]]]:
    yield "minimum-version", "an old report", lambda: look(report(version=2))
    yield "accepted-product", "a product that is not wanted", _demand(products=("Genoa", "Turin"))
    yield "accepted-signing-key", "a kind of key that is not wanted", _demand(signing_keys=("vlek",))
    yield (
        "csp-id",
        "a cloud that is not wanted",
        lambda: look(report(**_VLEK), issued=vlek(), policy={"csp_ids": ("CN=another.example",)}),
    )
    for name, bit in POLICY_BITS.items():
        wanted = not report().policy >> bit & 1
        yield f"policy.{name}", f"bit {name} of the guest's policy", _bit("guest_policy", name, demand=wanted)
    yield "policy.debug", "a guest that can be debugged", _with(policy=report().policy | 1 << POLICY_BITS["debug"])
    for name, bit in PLATFORM_BITS.items():
        wanted = not report().platform_info >> bit & 1
        yield f"platform.{name}", f"bit {name} of PLATFORM_INFO", _bit("platform_info", name, demand=wanted)
    yield "migration-agent", "a guest with a migration agent", _with(report_id_ma=bytes(32))
    yield "abi", "a guest that asks for an old ABI", _with(policy=report().policy & ~0xFF | 30)
    old = FirmwareVersion(1, 54, 200)
    yield "firmware-version", "old firmware", _with(current_version=old, committed_version=old)
    yield (
        "firmware-version",
        "old firmware to go back to",
        lambda: look(report(committed_version=old), policy={"unsafe_allow_provisional_firmware": True}),
    )
    yield "guest-svn", "an old guest", _demand(min_guest_svn=2)
    yield "vmpl", "a report from a lower level", _with(vmpl=1)
    yield "vmpl", "a report that the host asked for", _with(vmpl=0xFFFF_FFFF)
    high: dict[str, Any] = {
        "current_tcb": _level(snp=31),
        "committed_tcb": _level(snp=31),
        "launch_tcb": _level(snp=31),
    }
    floor31 = {"tcb_floors": tuple(evolve(f, tcb=evolve(AMD.tcb, snp=31)) for f in POLICY.tcb_floors)}
    yield "tcb-floor", "a key of a low level", lambda: look(report(**high), policy=floor31)
    yield "launch-tcb-floor", "launched at a low level", _with(launch_tcb=_level(tee=0))
    yield (
        "committed-tcb-floor",
        "a low level to go back to",
        lambda: look(report(committed_tcb=_level(snp=29)), policy={"unsafe_allow_provisional_firmware": True}),
    )
    yield "launch-mitigations", "a mitigation that was not in place", _v5(launch_mitigations=0b011)
    yield "current-mitigations", "a mitigation that is not in place", _v5(current_mitigations=0b110)
    yield "measurement", "another system", _with(measurement=b"\x01" * 48)
    yield "measurement", "a system where firmware is wanted", lambda: look_outside(policy={"firmware_measurements": ()})
    yield "measurement", "firmware where a system is wanted", _demand(measurements=())
    yield "host-data", "another word of the host", _with(host_data=b"\x01" * 32)
    yield "family-id", "another family", _with(family_id=b"\x01" * 16)
    yield "image-id", "another image", _with(image_id=b"\x01" * 16)
    yield "id-key", "another ID key", _with(id_key_digest=b"\x01" * 48)
    yield "author-key", "another author key", _with(author_key_digest=b"\x01" * 48, key_info=1)
    yield (
        "author-key",
        "an author key that KEY_INFO does not know",
        lambda: look(report(author_key_digest=b"\x01" * 48), policy={"author_keys": (b"\x01" * 48,)}),
    )
    yield "author-key", "KEY_INFO without an author key", _with(key_info=1)
    yield "chip-denied", "a chip whose key has leaked", _demand(denied_chips=(SIMULATED_CHIP,))
    yield (
        "chip-denied",
        "a hidden chip that could be one whose key has leaked",
        lambda: look(report(**_VLEK), issued=vlek(), policy={"denied_chips": (SIMULATED_CHIP,)}),
    )
    yield "chip-accepted", "a chip that stands nobody knows where", _demand(accepted_chips=(bytes(range(64)),))


def _bit(table: str, name: str, *, demand: bool) -> Callable[[], TeeFindings]:
    return _demand(**{table: {**getattr(POLICY, table), name: demand}})


def _about() -> Iterator[tuple[str, str, Callable[[], TeeFindings]]]:
    yield "svsm-manifest", "a manifest that is none", lambda: look_svsm(b"none")
    yield "svsm-ak", "the AK of another TPM", lambda: look_svsm(items=_items("svsm-manifest"))
    yield "svsm-ak", "an SVSM without a vTPM", lambda: look_svsm(ServicesManifest({}).encode())
    yield "azure-runtime-data", "runtime data that is none", lambda: look_azure(b"{}")
    yield "azure-ak", "the AK of another TPM", lambda: look_azure(runtime_data(modulus=MODULUS + 2))
    yield "azure-ak", "an AK that cannot be read", lambda: look_azure(items=_items("azure-runtime-data", ak=b"x"))
    yield "azure-user-data", "another binding", lambda: look_azure(runtime_data(BINDING.value))
    yield "report-data", "another binding", _with(report_data=bytes(64))
    challenge = evolve(BINDING, mode=Mode.CHALLENGE)
    yield "report-data", "an auditor's report for an epoch", lambda: look(report(about=challenge.value))
    yield (
        "report-data",
        "the binding where the SVSM's hash is wanted",
        lambda: look(
            report(about=BINDING_WITH_AK.value),
            platform="sev-snp-svsm",
            binding=BINDING_WITH_AK,
            items=_items("svsm-manifest", ak=public_area()),
        ),
    )
    yield "vmpl", "a guest that plays the SVSM", lambda: _lower("sev-snp-svsm")
    yield "vmpl", "a guest that plays the paravisor", lambda: _lower("azure-sev-snp")


def _items(label: str, *, ak: bytes | None = None) -> dict[str, bytes]:
    value = MANIFEST if label == "svsm-manifest" else runtime_data()
    return {label: value, "tpm-ak": public_area(MODULUS + 2) if ak is None else ak}


def _lower(platform: str) -> TeeFindings:
    """Look at a report from VMPL 2, under a policy that wants that, where something beneath should have asked."""
    if platform == "sev-snp-svsm":
        about, items = svsm_report_data(BINDING_WITH_AK.value, MANIFEST), {"svsm-manifest": MANIFEST}
    else:
        about, items = azure_report_data(runtime_data()), {"azure-runtime-data": runtime_data()}
    return look(
        report(about=about, vmpl=2),
        platform=platform,
        binding=BINDING_WITH_AK,
        items={**items, "tpm-ak": AK},
        policy={"vmpl": 2},
    )


def _refusals() -> Iterator[Refusal]:
    for part in (_form, _chain, _revocation, _report, _demands, _about):
        for check_id, name, verify in part():
            yield Refusal(f"sev-snp.{check_id}", name, verify)


REFUSALS: Final = tuple(_refusals())
"""Each is refused by its check alone."""


def _baselines() -> Iterator[tuple[str, Callable[[], TeeFindings]]]:
    for product in Product:
        amd = SimulatedAmd(product)
        for version in (3, 4, 5):
            yield f"{product.value}, version {version}", partial(look, report(amd, version=version), amd=amd)
        yield f"{product.value}, a cloud's key", partial(look, report(amd, **_VLEK), amd=amd, issued=vlek(product))
    old = {"min_report_version": 2}
    yield "version 2", lambda: look(report(version=2), policy=old)
    turin = SimulatedAmd(Product.TURIN)
    yield "version 2 of Turin", lambda: look(report(turin, version=2), amd=turin, policy=old)
    yield "version 2 with a hidden chip", lambda: look(report(version=2, chip_id=bytes(64)), policy=old)
    yield "no revocation list, and none wanted", lambda: look(crl=None, policy={"unsafe_allow_missing_crl": True})
    yield "an intermediate that names no list", _below(other_ask(_ASK))
    wrapped = {f"{_ARC}.4": _plain(b"\x04\x40" + SIMULATED_CHIP)}
    yield "a chip's id in an OCTET STRING", _issued(extensions=wrapped)
    root = {**basic_constraints(ca=True), **key_usage(CERT_SIGN, CRL_SIGN)}
    yield "another root, without a mark", lambda: unmarked(other_ark(root))
    newer: dict[str, Any] = {"current_tcb": _level(snp=31), "current_version": FirmwareVersion(1, 59, 0)}
    yield "provisional firmware", lambda: look(report(**newer), policy={"unsafe_allow_provisional_firmware": True})
    yield "required mitigations", _v5()
    yield "known chips", _demand(accepted_chips=(SIMULATED_CHIP,), denied_chips=(bytes(range(64)),))
    author: dict[str, Any] = {"key_info": 1, "author_key_digest": b"\x01" * 48}
    yield "an author key", lambda: look(report(**author), policy={"author_keys": (b"\x01" * 48,)})
    yield "any cloud", lambda: look(report(**_VLEK), issued=vlek(), policy={"csp_ids": UNSAFE_ANY})
    yield (
        "any migration agent",
        lambda: look(
            report(report_id_ma=bytes(32)), policy={"guest_policy": {**POLICY.guest_policy, "migrate_ma": UNSAFE_ANY}}
        ),
    )
    any_value = ("measurements", "host_data", "family_ids", "image_ids", "id_keys", "author_keys")
    yield "anything at all", _demand(**dict.fromkeys(any_value, UNSAFE_ANY))
    yield "an SVSM", look_svsm
    yield "Azure", look_azure
    yield "a TPM outside", look_outside


BASELINES: Final = tuple(Baseline(name, verify) for name, verify in _baselines())
"""Each is accepted."""
