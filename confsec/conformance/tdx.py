"""Vectors of TDX: quotes with and without Intel's collateral, collateral alone, TD reports, and claims of a peer.

A quote is judged by the rows of the verifier's table, those that the case asks for. What our platforms do not have is
left out: the quotes answer nonces of others, and come without the log of the boot. SGX has the same chain; its quotes
are judged here and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from attrs import evolve

from confsec.conformance.cases import MismatchError, check_same
from confsec.conformance.kinds import CaseFile, FileCase, Kind
from confsec.errors import EvidenceError
from confsec.protocol.binding import Binding, Mode
from confsec.protocol.checks import require_passed, run_checks
from confsec.protocol.cmw import CmwRecord, Endorsements, Evidence
from confsec.protocol.platforms import MEDIA_TYPES, PLATFORMS, TDX
from confsec.protocol.policy import UNSAFE_ANY
from confsec.protocol.rats import VerificationRequest
from confsec.tee.event_log import EventLog
from confsec.tee.tdx.collateral import TDX_COLLATERAL, Collateral, split_signed
from confsec.tee.tdx.evidence import EnclaveReport, Quote, TdBody, TdReport
from confsec.tee.tdx.pck import PckExtension
from confsec.tee.tdx.policy import INTEL_SGX_ROOT, UP_TO_DATE, TdxPolicy
from confsec.tee.tdx.subject import SGX_TEE, TDX_TEE, Subject, Tee, verify_p256
from confsec.tee.tdx.tcb import QeIdentity, TcbInfo, TcbStatus, merge_statuses
from confsec.tee.tdx.verifier import CHECKS
from confsec.tee.x509 import Certificate, RevocationList, decode_chain, encode_chain, verify_certificate_signature

__all__ = ["KINDS", "check_quote", "check_tdx_claims", "check_tdx_collateral", "check_tdx_report"]

_SIGNATURE: Final = ("quote", "tee-type", "attestation-key-type", "qe-vendor", "certification-data", "pck-path",
                     "qe-report-signature", "attestation-key", "quote-signature")  # fmt: skip
_SIGNED: Final = (
    "path",
    "root",
    "signer-signature",
    "signer-name",
    "signer-extensions",
    "signer-validity",
    "signature",
)
_LISTS: Final = ("collateral", "root-crl-", "pck-crl-", "pck-authority-revoked", "pck-revoked")
_ATTRIBUTES: Final = ("debug", "attributes-reserved", "migration", "sept-ve-disable", "xfam")
_NOT_HERE: Final = ("report-data", "azure-", "ccel", "rtmr0", "rtmr1", "rtmr2")
"""What needs a binding of ours, or a log."""

_NOT_SGX: Final = (*_ATTRIBUTES, *_NOT_HERE, "mr-", "rtmr3", "module-", "seam-attributes", "min-tee-tcb-svn")
"""What an enclave does not have."""

_TCB_CHAIN: Final = "v4-phala/tdx_quote_collateral.json"
"""Where the chain of Intel's TCB signer stands, for collateral that was published without."""

_EVERYWHERE: Final = datetime(2025, 6, 20, tzinfo=UTC)


# --- Quotes -----------------------------------------------------------------------------------------------------------


def check_quote(case: FileCase) -> None:
    """Check one quote, with what was published beside it."""
    data = _without_trailing(case, case.read("quote"))
    quote = Quote.decode(data)
    check_same("quote again", quote.encode(), data)
    _compare_body(case, quote)
    if case.parse_only:
        return
    subject = _subject(case, quote)
    if case.params.get("signature") == "accept":
        _require(subject, _rows(case, ("signature", "pck-chain")), mismatch=True)
    _require(subject, _rows(case, case.params.get("checks")))
    _check_enclave(quote)
    _check_log(case, quote)
    _compare_result(case, subject)


def _without_trailing(case: FileCase, data: bytes) -> bytes:
    return data[: len(data) - int(case.params.get("trailing_bytes", 0))]


def _rows(case: FileCase, checks: Collection[str] | None) -> frozenset[str]:
    """Return the ids of the rows that the checks of a case stand for; without any, all that apply."""
    names = [row.id.removeprefix("tdx.") for row in CHECKS]
    if checks is None:
        left_out = _NOT_SGX if case.kind == "sgx-quote" else _NOT_HERE
        return frozenset(f"tdx.{name}" for name in names if not name.startswith(left_out))
    # A chain that was published later is valid later; its key is the one that signed.
    steps = [step for step in _SIGNED if step != "signer-validity" or not _borrows_chain(case)]
    signed = tuple(f"{which}-{step}" for which in ("tcb-info", "qe-identity") for step in steps)
    tcb = tuple(names[names.index("pck-sgx-extension") : names.index("debug")])
    known = {
        "signature": _SIGNATURE,
        "pck-chain": ("certification-data", *(name for name in names if _in_pck_chain(name))),
        "crl": tuple(name for name in names if name.startswith(_LISTS) or name.endswith("signer-revoked")),
        "collateral-signatures": signed,
        "tcb": (*signed, "tcb-info", "tcb-info-id", "qe-identity", "qe-identity-id", *tcb),
        "td-attributes": _ATTRIBUTES,
        "rtmr-replay": (),
    }
    unknown = sorted(set(checks) - known.keys())
    if unknown:
        raise MismatchError(f"the case asks for checks that are not known: {', '.join(unknown)}")
    return frozenset(f"tdx.{name}" for check in checks for name in known[check])


def _in_pck_chain(name: str) -> bool:
    return name.startswith("pck-") and not name.startswith(_LISTS) and name != "pck-sgx-extension"


def _require(subject: Subject, ids: Collection[str], *, mismatch: bool = False) -> None:
    checks = run_checks([row for row in CHECKS if row.id in ids], subject)
    if mismatch and any(check.status.value != "pass" for check in checks):
        raise MismatchError("a signature that has to be good is refused")
    require_passed(checks, what="the quote is refused")


def _subject(case: FileCase, quote: Quote) -> Subject:
    quote = _with_certificates_beside(case, quote)
    collateral = _collateral(case)
    request = VerificationRequest(
        evidence=Evidence.of({TDX: CmwRecord(MEDIA_TYPES[TDX], quote.encode())}),
        endorsements=Endorsements.of({TDX_COLLATERAL: collateral.record} if collateral else {}),
        binding=Binding(mode=Mode.CHALLENGE, nonce=bytes(32), key_config=b"", manifest=b""),
        platform=next(each for each in PLATFORMS if each.name == TDX),
        at=case.at or _EVERYWHERE,
    )
    return Subject(request=request, policy=_policy(case), tee=_tee(case))


def _tee(case: FileCase) -> Tee:
    return SGX_TEE if case.kind == "sgx-quote" else TDX_TEE


def _with_certificates_beside(case: FileCase, quote: Quote) -> Quote:
    """Put certificates that stand beside a quote into it: nothing signs that they are in it."""
    if "pck_cert" not in case.files:
        return quote
    chain = b"\n".join(case.read(role) for role in ("pck_cert", "pck_chain"))
    return evolve(quote, signature=evolve(quote.signature, certification_data=chain))


def _policy(case: FileCase) -> TdxPolicy:
    """Return a policy that demands what the case states, and takes any measurement."""
    stated = case.params.get("policy", {})
    statuses = {TcbStatus(each) for each in stated.get("accept_tcb_status", ())}
    debug = stated.get("allow_debug") is True
    return TdxPolicy(
        trust_anchors=(_trust_anchor(case),),
        accepted_tcb_statuses=tuple(each for each in TcbStatus if each in statuses) or UP_TO_DATE,
        denied_advisories=(),
        grace_days=0,
        min_tcb_evaluation=0,
        min_tee_tcb_svn=bytes(16),
        min_qe_svn=0,
        min_pce_svn=0,
        allow_dynamic_platform=True,
        allow_cached_keys=True,
        allow_smt=True,
        mr_td=UNSAFE_ANY,
        rtmr0=UNSAFE_ANY,
        rtmr1=UNSAFE_ANY,
        rtmr2=UNSAFE_ANY,
        rtmr3=UNSAFE_ANY,
        mr_config_id=UNSAFE_ANY,
        mr_owner=UNSAFE_ANY,
        mr_owner_config=UNSAFE_ANY,
        mr_seam=UNSAFE_ANY,
        mr_service_td=(bytes(48),),
        unsafe_allow_debug=debug,
        unsafe_allow_migration=False,
        unsafe_allow_sept_ve=False,
    )


def _trust_anchor(case: FileCase) -> bytes:
    """Return the root of a case: Intel's, unless it brings one of its own and means it."""
    if "trusted_root" not in case.files or case.params.get("ignore_file_root") is True:
        return INTEL_SGX_ROOT
    return Certificate.decode_pem(case.read("trusted_root")).fingerprint


def _check_enclave(quote: Quote) -> None:
    """Refuse an enclave that can be debugged. Trust domains have a row for that."""
    if isinstance(quote.body, EnclaveReport) and quote.body.debug:
        raise EvidenceError("the enclave can be debugged", section="Intel SDM, volume 3D, ATTRIBUTES")


def _check_log(case: FileCase, quote: Quote) -> None:
    """Replay a log of dstack: a list of events with the number of their register and their digest."""
    if "event_log" not in case.files:
        return
    registers = [bytes(48)] * 4
    for event in json.loads(case.file("event_log").read()):
        register, digest = event["imr"], bytes.fromhex(event["digest"])
        registers[register] = hashlib.sha384(registers[register] + digest).digest()
    if tuple(registers) != quote.td.rtmrs:
        raise EvidenceError("the event log does not give the registers of the quote", section="RTMR")


def _compare_body(case: FileCase, quote: Quote) -> None:
    """Compare what the case states of header and body."""
    expected, body = case.params.get("expected", {}), quote.body
    stated = case.params.get("quote_version")
    if stated is not None:
        check_same("version", quote.header.version, stated)
    if isinstance(body, TdBody):
        for name in ("tee_tcb_svn", "td_attributes", "report_data"):
            if name in expected:
                check_same(name, getattr(body, name).hex(), expected[name])
    if "nonce" in case.params and body.report_data.hex() != case.params["nonce"]:
        raise EvidenceError("the quote answers another nonce", got=body.report_data.hex(), want=case.params["nonce"])


def _compare_result(case: FileCase, subject: Subject) -> None:
    """Compare what the case states of platform and TCB."""
    expected = case.params.get("expected", {})
    if "fmspc" in expected:
        check_same("fmspc", subject.pck.fmspc.hex(), expected["fmspc"])
    if expected.get("tcb_status") is not None:
        check_same("tcb_status", merge_statuses(level.status for level in subject.levels).value, expected["tcb_status"])
    if "tcb_date" in expected:
        dates = [level.tcb_date for level in subject.levels]
        check_same("tcb_date", f"{min(dates):%Y-%m-%dT%H:%M:%SZ}", expected["tcb_date"])
    if "advisory_ids" in expected:
        advisories = {advisory for level in subject.levels for advisory in level.advisories}
        check_same("advisory_ids", sorted(advisories), sorted(expected["advisory_ids"]))


# --- Collateral -------------------------------------------------------------------------------------------------------


def _collateral(case: FileCase) -> Collateral | None:
    """Put collateral together from the one file of dcap-qvl, or from the bodies of Intel's service."""
    if "collateral" in case.files:
        return _collateral_of(case.json("collateral"))
    if "tcb_info" not in case.files:
        return None
    tcb_info, tcb_info_signature = split_signed(case.read("tcb_info"), "tcbInfo")
    qe_identity, qe_identity_signature = split_signed(case.read("qe_identity"), "enclaveIdentity")
    chain = _signer_chain(case)
    return Collateral(
        tcb_info=tcb_info,
        tcb_info_signature=tcb_info_signature,
        tcb_info_chain=chain,
        qe_identity=qe_identity,
        qe_identity_signature=qe_identity_signature,
        qe_identity_chain=chain,
        root_crl=RevocationList.decode(case.read("root_crl")).encoded,
        pck_crl=RevocationList.decode(case.read("pck_crl")).encoded,
    )


def _collateral_of(members: Mapping[str, Any]) -> Collateral:
    return Collateral(
        tcb_info=members["tcb_info"].encode(),
        tcb_info_signature=bytes.fromhex(members["tcb_info_signature"]),
        tcb_info_chain=_pem(members["tcb_info_issuer_chain"].encode()),
        qe_identity=members["qe_identity"].encode(),
        qe_identity_signature=bytes.fromhex(members["qe_identity_signature"]),
        qe_identity_chain=_pem(members["qe_identity_issuer_chain"].encode()),
        root_crl=bytes.fromhex(members["root_ca_crl"]),
        pck_crl=bytes.fromhex(members["pck_crl"]),
    )


def _pem(chain: bytes) -> bytes:
    return encode_chain(decode_chain(chain))


def _borrows_chain(case: FileCase) -> bool:
    """Whether collateral came without the chain of its signer."""
    return "tcb_info" in case.files and "tcb_chain" not in case.files


def _signer_chain(case: FileCase) -> bytes:
    """Return signer and root of TCB info, the signer first: of the case, or of the one set that has Intel's."""
    if "tcb_chain" in case.files:
        chain = decode_chain(case.read("tcb_chain"))
        return encode_chain(sorted(chain, key=lambda each: each.self_issued))
    folder = next(parent for parent in case.file("tcb_info").path.parents if (parent / "cases.json").is_file())
    return _pem(CaseFile(folder / _TCB_CHAIN).read_json()["tcb_info_issuer_chain"].encode())


def check_tdx_collateral(case: FileCase) -> None:
    """Check TCB info and QE identity: Intel's signer, both signatures, and the time."""
    chain = decode_chain(_signer_chain(case))
    if chain[-1].fingerprint != INTEL_SGX_ROOT:
        raise EvidenceError("the signer's root is not Intel's", got=chain[-1].fingerprint.hex())
    verify_certificate_signature(chain[0], chain[-1])
    expected = case.params.get("expected", {})
    for role, member, kind in (("tcb_info", "tcbInfo", TcbInfo), ("qe_identity", "enclaveIdentity", QeIdentity)):
        if role not in case.files:
            continue
        text, signature = split_signed(case.read(role), member)
        verify_p256(role, chain[0].public_key, signature, text, section="Intel PCS API v4")
        issued: TcbInfo | QeIdentity = kind.decode(text)
        if case.at is not None and not issued.issue_date <= case.at <= issued.next_update:
            raise EvidenceError(f"{role} is not current", got=case.at, want=f"until {issued.next_update}")
        if isinstance(issued, TcbInfo):
            _compare_tcb_info(issued, expected)


def _compare_tcb_info(info: TcbInfo, expected: Mapping[str, Any]) -> None:
    got = {
        "fmspc": info.fmspc.hex().upper(),
        "issue_date": f"{info.issue_date:%Y-%m-%dT%H:%M:%SZ}",
        "next_update": f"{info.next_update:%Y-%m-%dT%H:%M:%SZ}",
    }
    for name in got.keys() & expected.keys():
        check_same(name, got[name], expected[name])


# --- TD reports and claims --------------------------------------------------------------------------------------------


def check_tdx_report(case: FileCase) -> None:
    """Read a TDREPORT. Its MAC can be checked on its own platform only."""
    data = case.read("report")
    report = TdReport.decode(data)
    check_same("report again", report.encode(), data)
    check_same("size of the body", len(report.body.encode()), 584)


_CLAIMED: Final = {
    "mr_config_id": "mr_config_id",
    "mr_owner": "mr_owner",
    "mr_owner_config": "mr_owner_config",
    "mr_seam": "mr_seam",
    "mr_td": "mr_td",
    "mrsigner_seam": "mr_signer_seam",
    "report_data": "report_data",
    "seam_attributes": "seam_attributes",
    "tcb_svn": "tee_tcb_svn",
    "td_attributes": "td_attributes",
    "xfam": "xfam",
}
"""Names of a peer's claims, and ours."""

_BITS: Final = {"debug": 0, "septve_disable": 28, "protection_keys": 30, "key_locker": 31, "perfmon": 63}


def check_tdx_claims(case: FileCase) -> None:
    """Compare what we read in a quote, and in a log where the peer lists its events, with what a peer read."""
    quote, claims = Quote.decode(_without_trailing(case, case.read("quote"))), case.json("expected_claims")
    body, stated = quote.td, claims["quote"]["body"]
    for name, ours in _CLAIMED.items():
        check_same(name, getattr(body, ours).hex(), stated[name])
    for index, value in enumerate(body.rtmrs):
        check_same(f"rtmr_{index}", value.hex(), stated[f"rtmr_{index}"])
    _compare_header(quote, claims["quote"]["header"])
    attributes = int.from_bytes(body.td_attributes, "little")
    for name, bit in _BITS.items():
        check_same(name, bool(attributes >> bit & 1), claims["td_attributes"][name])
    if "log" in case.files:
        _compare_events(EventLog.decode_ccel(case.read("log")), claims["uefi_event_logs"])
    if "platform_instance_id" in claims:
        leaf = decode_chain(quote.signature.certification_data.removesuffix(b"\x00"))[0]
        instance = PckExtension.of(leaf).platform_instance_id or b""
        # The peer writes it as a number, the last byte first.
        check_same("platform_instance_id", instance[::-1].hex(), claims["platform_instance_id"])


def _compare_header(quote: Quote, stated: Mapping[str, str]) -> None:
    encoded = quote.header.encode().hex()
    names = ("version", "att_key_type", "tee_type", "reserved", "vendor_id", "user_data")
    check_same("header", encoded, "".join(stated[name] for name in names))


def _compare_events(log: EventLog, stated: list[Mapping[str, Any]]) -> None:
    """Compare register and digests of the events, if the peer's list is of this log."""
    ours = [
        (event.register, sorted(digest.hex() for digest in event.digests.values()))
        for event in log.events
        if event.extends
    ]
    theirs = [(event["index"], sorted(each["digest"] for each in event["digests"])) for event in stated]
    if len(ours) == len(theirs):
        check_same("events", ours, theirs)


KINDS: Final = (
    Kind(name="tdx-quote", check=check_quote),
    Kind(name="sgx-quote", check=check_quote),
    Kind(name="tdx-collateral", check=check_tdx_collateral),
    Kind(name="tdx-report", check=check_tdx_report),
    Kind(name="tdx-claims", check=check_tdx_claims),
)
"""The kinds of cases in the folder tdx that no other folder has."""
