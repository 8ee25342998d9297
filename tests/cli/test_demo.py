"""`confsec demo` as a person calls it: a process of its own, on a machine with nothing else running."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from confsec.cli import run
from tests.support import needs_packages
from tests.tee.tpm_device.swtpm import needs_swtpm

PROMPT = "the purple giraffe whispers at 4711"


def confsec(*arguments: str) -> subprocess.CompletedProcess[str]:
    needs_packages("uvicorn", "xllamacpp")
    command = [sys.executable, "-m", "confsec", *arguments]
    # readline, which pytest imports, puts the size of a terminal behind Python's back into what processes inherit.
    environment = dict(os.environ)
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env=environment)


@pytest.mark.parametrize("arguments", [["demo", "--tamper", "nonsense"], ["demo", "replay"], ["demo", "--prompt", " "]])
def test_wrong_words_are_one_line_and_exit_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
def test_the_command_answers_in_json_and_its_proof_verifies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    proof = tmp_path / "proof.cbor"
    done = confsec("demo", "--tee", "simulated", "--json", "--prompt", PROMPT, "--proof", str(proof))
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert set(value) == {"answer", "hops", "proof", "timings"}
    assert value["proof"]["simulated"] is True
    assert {node["platform"] for node in value["proof"]["nodes"]} == {"sev-snp"}
    assert value["answer"].strip()
    assert [hop["name"] for hop in value["hops"] if hop["saw_client"]] == ["relay"]
    assert not any(hop["saw_prompt"] or hop["saw_answer"] for hop in value["hops"])
    assert run(["verify", "--json", str(proof)]) == 0
    verified = json.loads(capsys.readouterr().out)
    assert verified.pop("root")["named"] == value["proof"]["logs"]["root"]["digest"]
    assert verified == value["proof"]


@pytest.mark.slow
def test_the_command_shows_the_path_and_the_proof() -> None:
    needs_swtpm()
    done = confsec("demo", "--prompt", PROMPT)
    assert done.returncode == 0, done.stderr
    for shown in (
        PROMPT,
        "who saw what",
        "issuer-gateway",
        "Proof under the policy UNSAFE_DEMO_POLICY",
        "tpm (SIMULATED)",
    ):
        assert shown in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("tee", "status"), [("auto", 0), ("tpm", 2)])
def test_the_command_says_what_would_bring_a_tpm(tee: str, status: int, tmp_path: Path) -> None:
    needs_packages("uvicorn", "xllamacpp")
    environment = {**os.environ, "PATH": str(tmp_path)}
    command = [sys.executable, "-m", "confsec", "demo", "--tee", tee]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env=environment)
    assert done.returncode == status, done.stderr
    assert "apt-get install swtpm" in done.stdout + done.stderr


@pytest.mark.slow
def test_the_command_shows_each_refusal() -> None:
    done = confsec("demo", "--tee", "simulated", "--tamper", "changed-chunk", "replay", "old-evidence", "--json")
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert [outcome["name"] for outcome in value["tamper"]] == ["changed-chunk", "replay", "old-evidence"]
    assert all(outcome["refused"] and outcome["code"] and outcome["why"] for outcome in value["tamper"])


@pytest.mark.slow
def test_an_engine_that_is_not_there_is_said_in_one_line() -> None:
    done = confsec("demo", "--engine", "http://127.0.0.1:9/v1")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
