"""For each check of TDX, evidence that it alone refuses; and evidence that every check accepts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any, Final

from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from confsec.protocol.binding import Mode
from confsec.protocol.platforms import CCEL
from confsec.protocol.policy import UNSAFE_ANY
from confsec.protocol.rats import TeeFindings
from confsec.tee.azure import azure_report_data
from confsec.tee.simulated.intel import SIMULATED_BODY, SIMULATED_MEASUREMENTS, SimulatedIntel, simulated_log
from confsec.tee.tdx.policy import RegisterRule
from confsec.tee.tdx.subject import Signed
from confsec.tee.tdx.tcb import TcbStatus
from tests.tee.refusal import Baseline, Refusal
from tests.tee.tdx.cases import AT, BINDING, OTHER_ROOT, azure, look, public_area, request, runtime_data, simulate

__all__ = ["BASELINES", "REFUSALS"]

_ONES: Final = b"\x01" * 48
_HOUR: Final = timedelta(hours=1)
_UNKNOWN: Final = "1.2.3.4"
_OTHER_NAME: Final = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "another")])
_OLD: Final = {"pce_svn": 11}
_OUT_OF_DATE: Final = {
    "accepted_tcb_statuses": (TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE),
    "min_pce_svn": 0,
    "grace_days": 3650,
}
_EVENTS: Final = tuple(sorted({hashlib.sha384(data).digest() for _, data in SIMULATED_MEASUREMENTS}))
_COMMAND_LINE: Final = hashlib.sha384(b"simulated command line").digest()


def _attributes(bits: int) -> dict[str, bytes]:
    return {"td_attributes": bits.to_bytes(8, "little")}


def _rtmrs(index: int, value: bytes) -> dict[str, Any]:
    """Return a change of one register."""
    rtmrs = list(SIMULATED_BODY.rtmrs)
    rtmrs[index] = value
    return {"rtmrs": tuple(rtmrs)}


def _booted(index: int, data: bytes) -> tuple[bytes, dict[str, Any]]:
    """Return the log of a TD that measured something else last, and its registers."""
    log = simulated_log([*SIMULATED_MEASUREMENTS, (index, data)])
    before = SIMULATED_BODY.rtmrs[index]
    return log, _rtmrs(index, hashlib.sha384(before + hashlib.sha384(data).digest()).digest())


def _other_boot(index: int, policy: dict[str, Any] | None = None) -> TeeFindings:
    log, registers = _booted(index, b"an evil kernel")
    return simulate(policy, log=log, td=registers)


def _without_log(**items: bytes) -> TeeFindings:
    intel = SimulatedIntel(issued_at=AT)
    return look(request(intel.quote(BINDING.value), intel.collateral(), items=items))


def _with_quote(change: Callable[[bytes], bytes]) -> TeeFindings:
    intel = SimulatedIntel(issued_at=AT)
    return look(request(change(intel.quote(BINDING.value)), intel.collateral()))


def _with_collateral(**changes: Any) -> TeeFindings:
    intel = SimulatedIntel(issued_at=AT)
    return look(request(intel.quote(BINDING.value), evolve(intel.collateral(), **changes)))


def _without_collateral() -> TeeFindings:
    return look(request(SimulatedIntel(issued_at=AT).quote(BINDING.value), None))


def _short_path() -> bytes:
    chain = SimulatedIntel(issued_at=AT).pck_chain()
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain[:2])


def _signer_alone(which: Signed) -> dict[str, bytes]:
    chain = {"tcb-info": "tcb_info_chain", "qe-identity": "qe_identity_chain"}[which]
    encoded = getattr(SimulatedIntel(issued_at=AT).collateral(), chain)
    size = 4 + int.from_bytes(encoded[2:4], "big")
    return {chain: encoded[:size]}


def _simulated(check: str, name: str, policy: dict[str, Any] | None = None, **knobs: Any) -> Refusal:
    return Refusal(f"tdx.{check}", name, partial(simulate, policy, **knobs))


def _chain_refusals() -> Iterator[Refusal]:
    yield Refusal("tdx.quote", "a zero byte after the end", partial(_with_quote, lambda quote: quote + b"\x00"))
    yield Refusal("tdx.quote", "a quote that ends early", partial(_with_quote, lambda quote: quote[:-1]))
    yield _simulated("tee-type", "a header that says SGX", version=5, header={"tee_type": 0})
    yield _simulated("attestation-key-type", "a key of P-384", header={"attestation_key_type": 3})
    yield _simulated("qe-vendor", "a quoting enclave of somebody else", header={"qe_vendor_id": bytes(16)})
    yield _simulated("certification-data", "an encrypted PPID", signature={"certification_type": 2})
    yield _simulated("pck-path", "no root in the quote", signature={"certification_data": _short_path()})
    yield _simulated("pck-root", "another root", other_root={"pck": OTHER_ROOT})
    yield _simulated("pck-authority-signature", "a CA signed by a stranger", forged=frozenset({"pck-authority"}))
    yield _simulated("pck-authority", "a CA that is none", certificates={"pck-authority": {"authority": False}})
    yield _simulated("pck-key-usage", "a CA that may sign lists only",
                     certificates={"pck-authority": {"usages": ("crl_sign",)}})  # fmt: skip
    yield _simulated("pck-signature", "a PCK certificate signed by a stranger", forged=frozenset({"pck"}))
    yield _simulated("pck-names", "a certificate of another role",
                     certificates={"pck": {"common_name": "Intel SGX TCB Signing"}})  # fmt: skip
    yield _simulated("pck-extensions", "a critical extension", certificates={"pck": {"critical": [_UNKNOWN]}})
    yield _simulated("pck-validity", "a PCK certificate that expired", certificates={"pck": {"not_after": AT - _HOUR}})
    yield _simulated("pck-validity", "a CA that is not valid yet",
                     certificates={"pck-authority": {"not_before": AT + _HOUR}})  # fmt: skip
    yield Refusal("tdx.collateral", "no collateral", _without_collateral)
    yield Refusal("tdx.collateral", "a list that is none", partial(_with_collateral, root_crl=b"no list"))
    for prefix, issuer in (("root", "root"), ("pck", "pck-authority")):
        past = {"this_update": AT - 2 * _HOUR, "next_update": AT - _HOUR}
        future = {"this_update": AT + _HOUR, "next_update": AT + 2 * _HOUR}
        yield _simulated(f"{prefix}-crl-issuer", "the list of another", lists={issuer: {"issuer": _OTHER_NAME}})
        yield _simulated(f"{prefix}-crl-signature", "a forged list", forged=frozenset({f"{prefix}-crl"}))
        yield _simulated(f"{prefix}-crl-current", "a list that is over", lists={issuer: past})
        yield _simulated(f"{prefix}-crl-current", "a list of the future", lists={issuer: future})
        yield _simulated(f"{prefix}-crl-extensions", "a part of a list", lists={issuer: {"critical": [_UNKNOWN]}})
    yield _simulated("pck-crl-key-usage", "a CA that may not sign lists",
                     certificates={"pck-authority": {"usages": ("key_cert_sign",)}})  # fmt: skip
    yield _simulated("pck-authority-revoked", "a CA that was revoked", lists={"root": {"revoked": [2]}})
    yield _simulated("pck-revoked", "a platform that was revoked", lists={"pck-authority": {"revoked": [3]}})


def _signed_refusals(which: Signed, member: str, other: str) -> Iterator[Refusal]:
    signer = f"{which}-signer"
    yield Refusal(f"tdx.{which}-path", "no root above the signer", partial(_with_collateral, **_signer_alone(which)))
    yield _simulated(f"{which}-root", "a signer of another root", other_root={which: OTHER_ROOT})
    yield _simulated(f"{signer}-signature", "a signer certified by a stranger", forged=frozenset({signer}))
    yield _simulated(f"{signer}-name", "a signer of another role", certificates={signer: {"common_name": "Intel"}})
    yield _simulated(f"{signer}-extensions", "a critical extension", certificates={signer: {"critical": [_UNKNOWN]}})
    yield _simulated(f"{signer}-validity", "a signer that expired", certificates={signer: {"not_after": AT - _HOUR}})
    yield _simulated(f"{signer}-revoked", "a signer that was revoked",
                     certificates={signer: {"serial": 99}}, lists={"root": {"revoked": [99]}})  # fmt: skip
    yield _simulated(f"{which}-signature", "a text that a stranger signed", forged=frozenset({which}))
    yield _simulated(which, "another version", **{member: {"version": 1}})
    yield _simulated(which, "a text without levels", **{member: {"tcbLevels": None}})
    yield _simulated(f"{which}-id", "a text about SGX", **{member: {"id": other}})
    yield _simulated(f"{which}-current", "a text that is over", **{member: {"nextUpdate": "2025-12-31T23:59:59Z"}})
    yield _simulated(f"{which}-current", "a text of the future", **{member: {"issueDate": "2026-01-01T01:00:00Z"}})


def _tcb_refusals() -> Iterator[Refusal]:
    yield _simulated("pck-sgx-extension", "a PCK certificate of no platform", pck=None)
    yield _simulated("qe-report-signature", "an enclave of another machine", forged=frozenset({"qe-report"}))
    yield _simulated("attestation-key", "an enclave that names another key", qe_report={"report_data": bytes(64)})
    yield _simulated("qe-signer", "an enclave of another signer", qe_report={"mr_signer": bytes(32)})
    yield _simulated("qe-product", "another enclave of the signer", qe_report={"isv_prod_id": 1})
    yield _simulated("qe-misc-select", "other MISCSELECT", qe_report={"misc_select": b"\x01\x00\x00\x00"})
    yield _simulated("qe-attributes", "other ATTRIBUTES", qe_report={"attributes": b"\x35" + bytes(15)})
    yield _simulated("qe-debug", "an enclave for debugging, which a mask hides",
                     qe_report={"attributes": b"\x13" + bytes(15)},
                     qe_identity={"attributesMask": "F9" + "FF" * 7 + "00" * 8})  # fmt: skip
    yield _simulated("qe-level", "an enclave older than all levels", {"min_qe_svn": 0}, qe_report={"isv_svn": 1})
    yield _simulated("quote-signature", "a quote that a stranger signed", forged=frozenset({"quote"}))
    yield _simulated("fmspc", "TCB info of another platform", tcb_info={"fmspc": "000000000000"})
    yield _simulated("pce-id", "TCB info of another PCE", tcb_info={"pceId": "0100"})
    yield _simulated("platform-level", "a processor older than all levels", pck={"components": (0,) * 16})
    yield _simulated("platform-level", "a PCE older than all levels", {"min_pce_svn": 0}, pck={"pce_svn": 3})
    yield _simulated("platform-level", "microcode for TDX older than all levels",
                     {"min_tee_tcb_svn": bytes(16)}, td={"tee_tcb_svn": b"\x05\x01" + bytes(14)})  # fmt: skip
    yield _simulated("module-known", "a module that Intel does not know", tcb_info={"tdxModuleIdentities": []})
    yield _simulated("module-signer", "a module of another signer", td={"mr_signer_seam": _ONES})
    yield _simulated("seam-attributes", "a module with other attributes", td={"seam_attributes": b"\x01" + bytes(7)})
    yield _simulated("module-level", "a module older than all its levels",
                     {"min_tee_tcb_svn": bytes(16)}, td={"tee_tcb_svn": b"\x01\x01\x02" + bytes(13)})  # fmt: skip
    yield _simulated("tcb-status", "a platform that is out of date", {"min_pce_svn": 0, "grace_days": 3650}, pck=_OLD)
    yield _simulated("tcb-status", "a module that is out of date",
                     {"min_tee_tcb_svn": bytes(16), "grace_days": 3650},
                     td={"tee_tcb_svn": b"\x02\x01\x02" + bytes(13)})  # fmt: skip
    yield _simulated("tcb-status", "a quoting enclave that is out of date",
                     {"min_qe_svn": 0, "grace_days": 3650}, qe_report={"isv_svn": 2})  # fmt: skip
    yield _simulated("grace-period", "out of date for too long", {**_OUT_OF_DATE, "grace_days": 100}, pck=_OLD)
    yield _simulated("advisories", "an advisory that is denied",
                     {**_OUT_OF_DATE, "denied_advisories": ("INTEL-SA-00837",)}, pck=_OLD)  # fmt: skip
    yield _simulated("tcb-evaluation-number", "TCB info of the time before", tcb_info={"tcbEvaluationDataNumber": 19})
    yield _simulated("qe-evaluation-number", "QE identity of the time before",
                     qe_identity={"tcbEvaluationDataNumber": 19})  # fmt: skip
    yield _simulated("min-tee-tcb-svn", "a module below the floor", {"min_tee_tcb_svn": b"\x05\x01\x03" + bytes(13)})
    yield _simulated("min-qe-svn", "a quoting enclave below the floor", {"min_qe_svn": 7})
    yield _simulated("min-pce-svn", "a PCE below the floor", {"min_pce_svn": 14})
    for flag, check in (
        ("dynamic_platform", "dynamic-platform"),
        ("cached_keys", "cached-keys"),
        ("smt_enabled", "smt"),
    ):
        yield _simulated(check, "a platform that has it", pck={flag: True})
        everything_but = {f"allow_{each}": f"allow_{each}" != f"allow_{flag.removesuffix('_enabled')}"
                          for each in ("dynamic_platform", "cached_keys", "smt")}  # fmt: skip
        yield _simulated(check, "a platform that does not say", everything_but, pck={"platform_instance_id": None})


def _td_refusals() -> Iterator[Refusal]:
    yield _simulated("debug", "a TD for debugging", td=_attributes(1 << 28 | 1))
    yield _simulated("attributes-reserved", "a TD for profiling", td=_attributes(1 << 28 | 1 << 4))
    yield _simulated("migration", "a TD that may be moved", td=_attributes(1 << 28 | 1 << 29))
    yield _simulated("sept-ve-disable", "a TD that the host can hit with #VE", td=_attributes(0))
    yield _simulated("xfam", "a TD without SSE", td={"xfam": b"\x01" + bytes(7)})
    yield _simulated("xfam", "a feature that no TD has", td={"xfam": b"\x0b" + bytes(7)})
    yield _simulated("mr-service-td", "a service TD", version=5, td={"mr_service_td": _ONES})
    for member in ("mr_seam", "mr_td", "mr_config_id", "mr_owner", "mr_owner_config"):
        yield _simulated(member.replace("_", "-"), "another value", td={member: _ONES})
    yield _simulated("rtmr3", "another value", td=_rtmrs(3, _ONES))
    other = evolve(BINDING, mode=Mode.CHALLENGE)
    yield _simulated("report-data", "evidence for an auditor", binding=other)
    yield _simulated("report-data", "the key of another node", binding=evolve(BINDING, key_config=b"another key"))
    yield Refusal(
        "tdx.report-data", "runtime data that the paravisor did not hash", partial(azure, report_data=bytes(64))
    )
    yield Refusal("tdx.azure-runtime-data", "runtime data that is no JSON", partial(azure, b"no JSON"))
    yield Refusal("tdx.azure-user-data", "a guest that told something else", partial(azure, runtime_data(bytes(64))))
    yield Refusal("tdx.azure-ak", "a TPM of another machine", partial(azure, ak=public_area((1 << 2047) + 3)))
    yield Refusal("tdx.ccel", "no event log", _without_log)
    yield Refusal("tdx.ccel", "an event log that is none", partial(_without_log, **{CCEL: b"no log"}))
    for index in range(3):
        log = _booted(index, b"an evil kernel")[0]
        yield _simulated(f"ccel-replay-{index}", "a log with an event that never was", log=log)
        yield Refusal(f"tdx.rtmr{index}", "another boot", partial(_other_boot, index))
        rule = {f"rtmr{index}": RegisterRule(allowed=_EVENTS)}
        yield Refusal(f"tdx.rtmr{index}", "an event that nobody knows", partial(_other_boot, index, rule))
    missing = RegisterRule(required=(_COMMAND_LINE,), allowed=_EVENTS)
    yield _simulated("rtmr1", "a required event that is missing", {"rtmr1": missing})
    yield Refusal("tdx.rtmr0", "a rule by events where there is no log",
                  partial(azure, policy={"rtmr0": RegisterRule(allowed=_EVENTS)}))  # fmt: skip


REFUSALS: Final = (
    *_chain_refusals(),
    *_signed_refusals("tcb-info", "tcb_info", "SGX"),
    *_signed_refusals("qe-identity", "qe_identity", "QE"),
    *_tcb_refusals(),
    *_td_refusals(),
)
"""Each is refused by its check alone."""

_ANY: Final = dict.fromkeys(
    ("mr_td", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mr_config_id", "mr_owner", "mr_owner_config", "mr_seam",
     "mr_service_td"), UNSAFE_ANY,
)  # fmt: skip
_KNOWN: Final = RegisterRule(required=(_COMMAND_LINE,), allowed=_EVENTS)

BASELINES: Final = (
    Baseline("a quote of version 4", simulate),
    Baseline("a quote of version 5", partial(simulate, version=5)),
    Baseline("registers by their events", partial(simulate, {
        "rtmr0": RegisterRule(allowed=_EVENTS), "rtmr1": RegisterRule(allowed=_EVENTS), "rtmr2": _KNOWN,
    })),
    Baseline("any values", partial(simulate, _ANY, version=5)),
    Baseline("a TD for debugging that may be moved", partial(
        simulate,
        {"unsafe_allow_debug": True, "unsafe_allow_migration": True, "unsafe_allow_sept_ve": True},
        td=_attributes(1 | 1 << 29),
    )),
    Baseline("a platform that is out of date, within its time", partial(simulate, _OUT_OF_DATE, pck=_OLD)),
    Baseline("a module of version 0", partial(
        simulate, {"min_tee_tcb_svn": bytes(16)}, td={"tee_tcb_svn": b"\x05\x00\x02" + bytes(13)},
    )),
    Baseline("a platform that says nothing, under a policy that allows all", partial(
        simulate, {"allow_dynamic_platform": True, "allow_cached_keys": True, "allow_smt": True},
        pck={"platform_instance_id": None},
    )),
    Baseline("a log with padding", partial(simulate, log=simulated_log() + b"\xff" * 100)),
    Baseline("Azure", azure),
    Baseline("Azure, whose report data is spelled out", lambda: azure(
        report_data=azure_report_data(runtime_data(evolve(BINDING, ak=public_area()).value)),
    )),
)  # fmt: skip
"""Each is accepted by every check."""
