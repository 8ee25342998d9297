"""Cases of TDX, made here or of another time: good ones pass, and each defect is told."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from cryptography.hazmat.primitives.serialization import Encoding

from confsec.conformance.cases import Outcome
from confsec.conformance.kinds import CaseFile, FileCase, run_file_case
from confsec.conformance.tdx import KINDS
from confsec.tee.event_log import EventLog
from confsec.tee.simulated.intel import SimulatedIntel, make_root, simulated_log
from confsec.tee.tdx.collateral import Collateral
from confsec.tee.tdx.evidence import EnclaveReport, Quote
from confsec.tee.x509 import decode_chain
from tests.tee.tdx.cases import AT

INTEL = SimulatedIntel(issued_at=AT)
BY_NAME = {kind.name: kind for kind in KINDS}


def run(folder: Path, kind: str, files: dict[str, bytes], *, expect: str = "accept", **params: Any) -> Outcome:
    """Run one case whose files have these bytes."""
    for role, data in files.items():
        (folder / role).write_bytes(data)
    case = FileCase(
        id="case",
        kind=kind,
        files={role: CaseFile(folder / role) for role in files},
        expect=expect,
        stated_at=AT.isoformat(),
        params=params,
    )
    return run_file_case(BY_NAME[kind], case).outcome


def pem(chain: bytes) -> str:
    return "".join(
        f"-----BEGIN CERTIFICATE-----\n{b64encode(each.encoded).decode()}\n-----END CERTIFICATE-----\n"
        for each in decode_chain(chain)
    )


def as_json(collateral: Collateral) -> bytes:
    """Write collateral as dcap-qvl has it."""
    return json.dumps(
        {
            "tcb_info": collateral.tcb_info.decode(),
            "tcb_info_signature": collateral.tcb_info_signature.hex(),
            "tcb_info_issuer_chain": pem(collateral.tcb_info_chain),
            "qe_identity": collateral.qe_identity.decode(),
            "qe_identity_signature": collateral.qe_identity_signature.hex(),
            "qe_identity_issuer_chain": pem(collateral.qe_identity_chain),
            "root_ca_crl": collateral.root_crl.hex(),
            "pck_crl": collateral.pck_crl.hex(),
        }
    ).encode()


def files(intel: SimulatedIntel = INTEL) -> dict[str, bytes]:
    return {
        "quote": intel.quote(),
        "collateral": as_json(intel.collateral()),
        "trusted_root": intel.root.certificate.public_bytes(Encoding.PEM),
    }


UNMARKED = SimulatedIntel(issued_at=AT, root=make_root("a root", marked=False), marked=False)


def test_quote_under_its_own_root_passes(tmp_path: Path) -> None:
    assert run(tmp_path, "tdx-quote", files()) is Outcome.PASSED
    assert run(tmp_path, "tdx-quote", files(UNMARKED)) is Outcome.PASSED
    assert run(tmp_path, "tdx-quote", files(), ignore_file_root=True) is Outcome.FAILED
    assert run(tmp_path, "tdx-quote", files(), ignore_file_root=True, expect="refuse") is Outcome.PASSED


@pytest.mark.parametrize(
    ("knobs", "params", "good"),
    [
        ({"forged": frozenset({"quote"})}, {}, False),
        ({"forged": frozenset({"quote"})}, {"checks": ["pck-chain", "crl"]}, True),
        ({"forged": frozenset({"quote"})}, {"checks": ["signature"]}, False),
        ({"lists": {"root": {"revoked": [2]}}}, {"checks": ["signature", "pck-chain"]}, True),
        ({"lists": {"root": {"revoked": [2]}}}, {"checks": ["crl"]}, False),
        ({"forged": frozenset({"tcb-info"})}, {"checks": ["collateral-signatures"]}, False),
        ({"pck": {"pce_svn": 11}}, {"checks": ["tcb"]}, False),
        ({"pck": {"pce_svn": 11}}, {"checks": ["crl", "collateral-signatures"]}, True),
        ({"td": {"td_attributes": b"\x01\x00\x00\x10" + bytes(4)}}, {"checks": ["td-attributes"]}, False),
        ({"td": {"td_attributes": b"\x01\x00\x00\x10" + bytes(4)}}, {"policy": {"allow_debug": True}}, True),
        ({}, {"checks": ["a check of the future"]}, False),
        ({}, {"signature": "accept"}, True),
        ({}, {"quote_version": 5}, False),
        ({}, {"nonce": "00" * 64}, True),
        ({}, {"nonce": "01" * 64}, False),
        ({}, {"expected": {"tcb_status": "UpToDate", "fmspc": "c0ff5ec00000", "advisory_ids": []}}, True),
        ({}, {"expected": {"tcb_status": "OutOfDate"}}, False),
        ({}, {"expected": {"fmspc": "000000000000"}}, False),
        ({}, {"expected": {"advisory_ids": ["INTEL-SA-00837"]}}, False),
        ({}, {"expected": {"tcb_date": "2025-01-01T00:00:00Z"}}, True),
        ({}, {"expected": {"tcb_date": "2025-01-02T00:00:00Z"}}, False),
        ({}, {"expected": {"tee_tcb_svn": "00" * 16}}, False),
        ({}, {"trailing_bytes": 1}, False),
    ],
)
def test_checks_and_values_of_a_case_count(
    tmp_path: Path, knobs: dict[str, Any], params: dict[str, Any], *, good: bool
) -> None:
    outcome = run(tmp_path, "tdx-quote", files(SimulatedIntel(issued_at=AT, **knobs)), **params)
    assert outcome is (Outcome.PASSED if good else Outcome.FAILED)


def test_signature_that_has_to_be_good_fails_a_case_of_refusal(tmp_path: Path) -> None:
    late = SimulatedIntel(issued_at=AT, pck={"pce_svn": 11})
    forged = SimulatedIntel(issued_at=AT, forged=frozenset({"quote"}))
    for intel, outcome in ((late, Outcome.PASSED), (forged, Outcome.FAILED)):
        assert run(tmp_path, "tdx-quote", files(intel), expect="refuse", signature="accept") is outcome


def test_case_without_collateral_has_no_tcb(tmp_path: Path) -> None:
    both = {name: data for name, data in files().items() if name != "collateral"}
    assert run(tmp_path, "tdx-quote", both, checks=["signature", "pck-chain"]) is Outcome.PASSED
    assert run(tmp_path, "tdx-quote", both) is Outcome.FAILED
    assert run(tmp_path, "tdx-quote", both, expect="parse") is Outcome.PASSED


def test_log_of_dstack_is_replayed(tmp_path: Path) -> None:
    events = [
        {"imr": event.register - 1, "digest": next(iter(event.digests.values())).hex()}
        for event in EventLog.decode_ccel(simulated_log()).events
        if event.extends
    ]
    log = {**files(), "event_log": json.dumps(events).encode()}
    assert run(tmp_path, "tdx-quote", log, checks=["rtmr-replay"]) is Outcome.PASSED
    log["event_log"] = json.dumps(events[1:]).encode()
    assert run(tmp_path, "tdx-quote", log, checks=["rtmr-replay"]) is Outcome.FAILED


def test_enclave_that_can_be_debugged_is_refused(tmp_path: Path) -> None:
    quote = Quote.decode(INTEL.quote())
    header = evolve(quote.header, version=3, tee_type=0)
    for attributes, outcome in ((0, Outcome.PASSED), (2, Outcome.FAILED)):
        report = evolve(EnclaveReport.decode(bytes(384)), attributes=bytes([attributes]) + bytes(15))
        enclave = {**files(), "quote": evolve(quote, header=header, body=report).encode()}
        assert run(tmp_path, "sgx-quote", enclave, checks=["pck-chain"]) is outcome


# --- Collateral -------------------------------------------------------------------------------------------------------


def bodies(intel: SimulatedIntel) -> dict[str, bytes]:
    """Write collateral as Intel's service answers."""
    collateral = intel.collateral()
    return {
        "tcb_info": b'{"tcbInfo":%b,"signature":"%b"}'
        % (collateral.tcb_info, collateral.tcb_info_signature.hex().encode()),
        "qe_identity": b'{"enclaveIdentity":%b,"signature":"%b"}'
        % (collateral.qe_identity, collateral.qe_identity_signature.hex().encode()),
        "tcb_chain": pem(collateral.tcb_info_chain).encode(),
    }


def test_collateral_of_a_simulator_is_not_intels(tmp_path: Path) -> None:
    assert run(tmp_path, "tdx-collateral", bodies(INTEL), expect="refuse") is Outcome.PASSED


@pytest.mark.vectors
@pytest.mark.parametrize(
    ("at", "expected", "outcome"),
    [
        ("2025-11-01T00:00:00Z", {"fmspc": "00A06D080000"}, Outcome.PASSED),
        ("2025-11-01T00:00:00Z", {"fmspc": "000000000000"}, Outcome.FAILED),
        ("2025-12-01T00:00:00Z", {}, Outcome.FAILED),
        ("2025-10-01T00:00:00Z", {}, Outcome.FAILED),
        (None, {}, Outcome.PASSED),
    ],
)
@pytest.mark.parametrize("roles", [("tcb_info", "qe_identity"), ("tcb_info",)], ids=["both", "TCB info alone"])
def test_real_collateral_counts_at_its_time(
    shared_vectors: Path, roles: tuple[str, ...], at: str | None, expected: dict[str, str], outcome: Outcome
) -> None:
    names = {"tcb_info": "tcbInfo.json", "qe_identity": "enclaveIdentity.json"}
    case = FileCase(
        id="case",
        kind="tdx-collateral",
        files={role: CaseFile(shared_vectors / "tdx/trustee" / names[role]) for role in roles},
        expect="accept",
        stated_at=at,
        params={"expected": expected},
    )
    assert run_file_case(BY_NAME["tdx-collateral"], case).outcome is outcome


# --- TD reports and claims --------------------------------------------------------------------------------------------


def test_td_report_is_read(tmp_path: Path) -> None:
    assert run(tmp_path, "tdx-report", {"report": bytes(1024)}, expect="parse") is Outcome.PASSED
    assert run(tmp_path, "tdx-report", {"report": bytes(1023)}, expect="parse") is Outcome.FAILED


def claims(shared_vectors: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    folder = shared_vectors / "tdx/trustee"
    stated = json.loads((folder / "parse_tdx_claims_expected.json").read_text())
    log = (shared_vectors / "tpm/ccel-trustee/CCEL_data_ovmf").read_bytes()
    return stated, {"quote": (folder / "tdx_quote_4.dat").read_bytes(), "log": log}


@pytest.mark.vectors
@pytest.mark.parametrize(
    "path",
    [
        ("quote", "body", "mr_td"),
        ("quote", "body", "rtmr_1"),
        ("quote", "header", "vendor_id"),
        ("platform_instance_id",),
    ],
)
def test_claim_that_differs_is_told(shared_vectors: Path, tmp_path: Path, path: tuple[str, ...]) -> None:
    stated, both = claims(shared_vectors)
    assert run(tmp_path, "tdx-claims", {**both, "expected_claims": json.dumps(stated).encode()}) is Outcome.PASSED
    place = stated
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = "00" * (len(place[path[-1]]) // 2)
    assert run(tmp_path, "tdx-claims", {**both, "expected_claims": json.dumps(stated).encode()}) is Outcome.FAILED


@pytest.mark.vectors
def test_events_are_compared_where_the_log_is_the_same(shared_vectors: Path, tmp_path: Path) -> None:
    stated, both = claims(shared_vectors)
    listed = [
        {"index": event.register, "digests": [{"digest": digest.hex()} for digest in event.digests.values()]}
        for event in EventLog.decode_ccel(both["log"]).events
        if event.extends
    ]
    for events, outcome in ((listed, Outcome.PASSED), (list(reversed(listed)), Outcome.FAILED)):
        expected = json.dumps({**stated, "uefi_event_logs": events}).encode()
        assert run(tmp_path, "tdx-claims", {**both, "expected_claims": expected}) is outcome
    del stated["platform_instance_id"]
    alone = {"quote": both["quote"], "expected_claims": json.dumps(stated).encode()}
    assert run(tmp_path, "tdx-claims", alone) is Outcome.PASSED
