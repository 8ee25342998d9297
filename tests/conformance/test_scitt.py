"""Cases of SCITT: the published ones pass, and whatever is changed in them is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from confsec.conformance.cases import CaseResult, Outcome
from confsec.conformance.kinds import CaseFile, FileCase, run_file_case
from confsec.conformance.runner import run_vectors
from confsec.conformance.scitt import KINDS
from confsec.protocol.cose import CoseSign1
from confsec.protocol.receipt import HEADER_RECEIPTS
from tests.conformance.support import counts, only_report
from tests.protocol.receipt_cases import make_statement, receipt_for, transparent
from tests.support import ROOT

OWN = ROOT / "tests" / "vectors" / "scitt_receipts.json"
_KINDS = {kind.name: kind for kind in KINDS}


def run(kind: str, *, params: dict[str, Any] | None = None, **files: Path) -> CaseResult:
    roles = {role: CaseFile(path) for role, path in files.items()}
    return run_file_case(_KINDS[kind], FileCase(id="it", kind=kind, files=roles, expect="parse", params=params or {}))


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def statement(path: Path, message: CoseSign1) -> CaseResult:
    return run("signed-statement", statement=write(path / "it.cose", message.encode()))


# --- receipts in lists


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({"root": "00" * 32}, "root differs"),
        ({"tree_size": 9}, "size differs"),
        ({"leaf_index": 3}, "index differs"),
        ({"entry": "00"}, "no proof of the receipt"),
        ({"valid": False}, "accepted, and has to be refused"),
        ({"receipt": "zz"}, "receipt is not hex"),
        ({"log_key": "302a300506032b656e032100" + "09" * 32}, "a kind that we do not verify with"),  # X25519
    ],
)
def test_a_changed_receipt_is_told(tmp_path: Path, members: dict[str, object], why: str) -> None:
    document = json.loads(OWN.read_text())["cases"]
    document[0] |= members
    path = tmp_path / "it.json"
    path.write_text(json.dumps(document))
    report = only_report(path)
    assert report.failed == 1
    assert why in report.reason


# --- receipts as files


@pytest.fixture
def receipt_files(shared_vectors: Path, tmp_path: Path) -> dict[str, Path]:
    """Copies of the published receipt and of what stands beside it, to be changed."""
    found = {}
    for role, suffix in (("receipt", "cbor"), ("diag", "diag")):
        found[role] = tmp_path / f"it.{suffix}"
        shutil.copyfile(shared_vectors / "scitt" / "cose-receipts-draft" / f"inclusion-receipt.{suffix}", found[role])
    return found


RFC9162 = {"vds": "RFC9162_SHA256"}


@pytest.mark.vectors
@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("", "", ""),
        ("/ size / 5", "/ size / 6", "size and index differs"),
        ("3d06455d...", "4d06455d...", "path differs"),
        ("transparency-service", "another-service", "issuer differs"),
    ],
)
def test_a_receipt_says_what_stands_beside_it(receipt_files: dict[str, Path], old: str, new: str, why: str) -> None:
    said = receipt_files["diag"].read_text().replace(old, new, 1) if old else receipt_files["diag"].read_text()
    receipt_files["diag"].write_text(said)
    result = run("cose-receipt", params=RFC9162, **receipt_files)
    assert (result.outcome, why in result.reason) == (Outcome.FAILED if why else Outcome.PASSED, True)


@pytest.mark.vectors
def test_a_receipt_of_another_tree_than_stated_is_told(receipt_files: dict[str, Path]) -> None:
    assert "vds differs" in run("cose-receipt", params={"vds": "CCF"}, **receipt_files).reason


# --- statements


def test_a_statement_is_read(tmp_path: Path) -> None:
    assert statement(tmp_path, make_statement()).outcome is Outcome.PASSED


def test_a_statement_says_something(tmp_path: Path) -> None:
    assert "says nothing" in statement(tmp_path, make_statement(b"")).reason


def test_claims_name_an_issuer(tmp_path: Path) -> None:
    assert "name no issuer" in statement(tmp_path, make_statement(claims={2: "artifact"})).reason


def test_a_transparent_statement_has_receipts(tmp_path: Path) -> None:
    message = make_statement()
    bare = write(tmp_path / "bare.cose", message.encode())
    assert "has no receipt" in run("transparent-statement", statement=bare).reason
    good = write(tmp_path / "good.cose", transparent(message, receipt_for(message)).encode())
    assert run("transparent-statement", statement=good).outcome is Outcome.PASSED
    bad = write(tmp_path / "bad.cose", transparent(message, b"\xff").encode())
    assert run("transparent-statement", statement=bad).outcome is Outcome.FAILED
    assert HEADER_RECEIPTS not in message.unprotected


@pytest.mark.vectors
def test_published_statements_pass_and_say_what_is_not_run(shared_vectors: Path) -> None:
    reports = {Path(report.file).name: report for report in run_vectors([shared_vectors / "scitt"])}
    assert counts(reports["did-x509.json"]) == (0, 0, 43)
    assert "DIDs of issuers are not resolved" in reports["did-x509.json"].reason
    assert "CCF's tree" in reports["uvm_0.2.10.cose"].reason


@pytest.mark.vectors
def test_a_statement_whose_signature_is_wrong_is_told(shared_vectors: Path, tmp_path: Path) -> None:
    data = (shared_vectors / "scitt" / "signed-statements" / "cosesign1tool-scitt-a3be7e5.cose").read_bytes()
    path = write(tmp_path / "it.cose", data[:-1] + bytes([data[-1] ^ 1]))
    assert "does not verify" in run("signed-statement", statement=path).reason
