"""`confsec conformance vectors` from the command line."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from confsec.cli import run
from tests.conformance.support import write

OK = {"name": "a response", "encoded": "0140c8", "decoded": {"status": 200}, "valid": True}
BAD = {"name": "a wrong [status]", "encoded": "0140c9", "decoded": {"status": 200}, "valid": True}
KEY = {"kem_id": 0x40, "kdf_id": 1, "aead_id": 1, "mode": 0, "enc": ""}


def vectors(*arguments: object) -> int:
    return run(["conformance", "vectors", *map(str, arguments)])


def test_json_is_one_object_with_cases_as_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = write(tmp_path / "a.json", [OK, OK]), write(tmp_path / "b.json", [OK, BAD])
    unknown = write(tmp_path / "c.json", {"cases": [1, 2]})
    assert vectors(tmp_path, "--json") == 1
    out, err = capsys.readouterr()
    assert err == ""
    reason = "a wrong [status]: status differs: got 201, want 200"
    assert json.loads(out) == {
        "files": [
            {"file": str(good), "passed": 2, "failed": 0, "skipped": 0, "reason": ""},
            {"file": str(bad), "passed": 1, "failed": 1, "skipped": 0, "reason": reason},
            {
                "file": str(unknown),
                "passed": 0,
                "failed": 0,
                "skipped": 2,
                "reason": "the form of this file is not known",
            },
        ],
        "passed": 3,
        "failed": 1,
        "skipped": 2,
    }


def test_verbose_json_lists_the_cases_that_did_not_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert vectors(write(tmp_path / "a.json", [OK, BAD]), "--json", "--verbose") == 1
    [file] = json.loads(capsys.readouterr().out)["files"]
    [case] = file["cases"]
    assert (case["name"], case["outcome"], case["cases"]) == ("a wrong [status]", "failed", 1)


def test_table_names_each_failing_case(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "a.json", [OK])
    write(tmp_path / "b.json", [BAD, OK])
    assert vectors(tmp_path) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "a.json 1 0 0" in out
    assert "b.json 1 1 0" in out
    assert "b.json: a wrong [status]: status differs: got 201, want 200" in out
    assert out.endswith("2 passed, 1 failed, 0 skipped")


def test_files_with_the_same_outcome_share_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(6):
        write(tmp_path / f"{number}.json", [OK])
    assert vectors(tmp_path) == 0
    assert "(6 files)" in capsys.readouterr().out
    assert vectors(tmp_path, "--verbose") == 0
    assert "3.json" in capsys.readouterr().out


def test_verbose_lists_skipped_cases(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "a.json", [KEY])
    assert vectors(path, "--verbose") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "case 0: ML-KEM-512 (KEM 0x0040) is not implemented" in out


def test_nothing_to_run_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert vectors(tmp_path) == 0
    out, err = capsys.readouterr()
    assert "0 passed, 0 failed, 0 skipped" in out
    assert err == "confsec: nothing was run\n"
    assert vectors(tmp_path, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"files": [], "passed": 0, "failed": 0, "skipped": 0}


def test_wrong_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert vectors(tmp_path / "nowhere") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"confsec: {tmp_path / 'nowhere'} does not exist\n"
    assert vectors() == 2
    assert capsys.readouterr().err.count("\n") == 1


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_shown_to_a_person_and_never_among_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    assert vectors(write(tmp_path / "a.json", [OK]), "--json") == 0
    assert "1 files" in terminal.getvalue()
    assert json.loads(capsys.readouterr().out)["passed"] == 1
