"""`confsec verify`: the verdict, and the exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from confsec.cli import run
from confsec.protocol.policy import UNSAFE_UNATTESTED
from confsec.protocol.proof import make_proof
from tests.protocol.fleets import make_fleet

POLICY = 'name = "ours"\nminimum_nodes = {minimum}\nunsafe_waived = []\n'


@pytest.fixture
def proof_file(tmp_path: Path) -> Path:
    fleet = make_fleet(3)
    proof = make_proof(UNSAFE_UNATTESTED, fleet.encoded, fleet.record, fleet.trusted())
    path = tmp_path / "proof.cbor"
    path.write_bytes(proof.encode())
    return path


def test_a_good_proof_is_trusted_and_shown_as_a_tree(proof_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", str(proof_file)]) == 0
    shown = capsys.readouterr().out
    assert "TRUSTED only under UNSAFE_UNATTESTED" in shown
    assert "nobody has looked at them" in shown
    for check_id in ("fleet.record", "evidence.key", "attestation.evidence"):
        assert check_id in shown
    assert "skip" in shown


def test_json_is_one_object(proof_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", "--json", str(proof_file)]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["verdict"] == "trusted"
    assert len(value["candidates"]) == 3
    assert {check["status"] for check in value["checks"]} == {"pass", "skip", "info"}


def test_a_policy_of_ones_own_refuses_what_was_not_checked(
    proof_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY.format(minimum=5))
    assert run(["verify", str(proof_file), "--policy", str(policy)]) == 1
    shown = capsys.readouterr().out
    assert "REFUSED" in shown
    assert "3 nodes serve in this epoch, the policy asks for 5" in shown
    assert run(["verify", str(proof_file), "--policy", str(policy), "--json"]) == 1
    value = json.loads(capsys.readouterr().out)
    assert (value["verdict"], value["code"], value["policy"]["name"]) == ("refused", "policy", "ours")


def test_a_changed_byte_is_refused(proof_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray(proof_file.read_bytes())
    data[len(data) // 2] ^= 1
    proof_file.write_bytes(data)
    assert run(["verify", str(proof_file)]) == 1
    assert "changed or cut" in capsys.readouterr().out
    assert run(["verify", "--json", str(proof_file)]) == 1
    assert json.loads(capsys.readouterr().out)["code"] == "proof"


def test_what_is_no_proof_is_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"hello")
    assert run(["verify", str(path)]) == 2
    assert "NOT A PROOF" in capsys.readouterr().err
    assert run(["verify", "--json", str(path)]) == 2
    assert json.loads(capsys.readouterr().out)["verdict"] == "not a proof"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"name = 1", "policy"),
        (b"\xff", "UTF-8"),
        (b'name = "x"\nminimum_nodes = 1\nunsafe_waived = ["attestation.evidence"]\n', "UNSAFE_UNATTESTED"),
    ],
)
def test_a_policy_that_cannot_be_used_is_wrong_input(
    proof_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, says: str
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_bytes(content)
    assert run(["verify", str(proof_file), "--policy", str(policy)]) == 2
    complaint = capsys.readouterr().err
    assert says in complaint
    assert complaint.count("\n") == 1
