"""`confsec verify` of a Proof whose directory and fleet are in logs: replayed offline, and under which root."""

from __future__ import annotations

import json
import socket
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from attrs import evolve

from confsec.cli import run
from confsec.protocol.log_root import LogRoot
from confsec.protocol.policy import UNSAFE_UNATTESTED
from confsec.protocol.proof import make_proof
from tests.cli.test_proof_page import Page
from tests.protocol.fleets import make_fleet
from tests.protocol.log_world import World
from tests.recorded.make_logged_proof import PROOF_FILE, ROOT_FILE, make_logged_proof

Capture = pytest.CaptureFixture[str]

ROOT = LogRoot.from_toml(ROOT_FILE.read_text())


@pytest.fixture
def other_root(tmp_path: Path) -> Path:
    path = tmp_path / "other.toml"
    path.write_text(evolve(ROOT, name=ROOT.name, fleet=evolve(ROOT.fleet, epoch=timedelta(minutes=5))).to_toml())
    return path


@pytest.fixture
def unlogged(tmp_path: Path) -> Path:
    fleet = make_fleet(3)
    path = tmp_path / "unlogged.cbor"
    path.write_bytes(make_proof(UNSAFE_UNATTESTED, fleet.encoded, fleet.record, fleet.trusted()).encode())
    return path


def flat(text: str) -> str:
    return " ".join(text.translate(str.maketrans("│├└─", "    ")).split())


def test_a_recorded_proof_replays_its_logs_without_a_network(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("verifying asks nobody")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert run(["verify", str(PROOF_FILE), "--root", str(ROOT_FILE)]) == 0
    shown = flat(capsys.readouterr().out)
    for part in (
        "✔ pass log.directory (C2SP tlog-cosignature)",
        "✔ pass log.fleet (C2SP tlog-cosignature)",
        "✔ pass freshness.epoch (RFC 9334, section 10)",
        "✔ the directory, in the log service.example/directory of 2 entries",
        "seen by a quorum since 2029-12-30 00:00:00 UTC",
        "✔ w1, ED25519: cosigned 2030-01-01 00:10:00 UTC",
        "By 2029-12-30 00:00:00 UTC a quorum of witnesses had seen the directory of service.example",
        "By 2030-01-01 00:10:00 UTC a quorum of witnesses (w1, w2, w3) had seen the fleet, too",
        "The fleet record is of 2030-01-01 00:10:00 UTC or later",
        "That the witnesses are honest",
        "TRUSTED only under UNSAFE_UNATTESTED",
    ):
        assert part in shown
    assert "compare its digest with yours" not in shown
    assert "no public log" not in shown


def test_this_version_makes_the_recorded_proof() -> None:
    assert make_logged_proof().encode() == PROOF_FILE.read_bytes()


def test_without_a_root_the_reader_is_told_to_compare_the_digest(capsys: Capture) -> None:
    assert run(["verify", str(PROOF_FILE)]) == 0
    assert f"compare its digest with yours, {ROOT.digest.hex()}" in flat(capsys.readouterr().out)


def test_a_proof_of_another_root_is_refused_with_both_digests(capsys: Capture, other_root: Path) -> None:
    assert run(["verify", str(PROOF_FILE), "--root", str(other_root)]) == 1
    shown = flat(capsys.readouterr().out)
    assert "REFUSED: every recorded check replays, and it was made under another root than yours" in shown
    assert ROOT.digest.hex() in shown
    assert sha256(other_root.read_bytes()).hexdigest() in shown
    assert "That it is about the service that you mean" in shown


def test_a_proof_without_logs_is_refused_if_a_root_is_asked_for(capsys: Capture, unlogged: Path) -> None:
    assert run(["verify", str(unlogged), "--root", str(ROOT_FILE)]) == 1
    shown = flat(capsys.readouterr().out)
    assert "the Proof names no root" in shown
    assert ROOT.digest.hex() in shown
    assert "That others were shown the same directory: it is in no public log." in shown


def test_json_has_the_logs_and_the_root(capsys: Capture) -> None:
    assert run(["verify", str(PROOF_FILE), "--json", "--root", str(ROOT_FILE)]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["root"] == {"named": ROOT.digest.hex(), "required": ROOT.digest.hex()}
    assert value["logs"]["directory"]["origin"] == "service.example/directory"
    assert [entry["index"] for entry in value["logs"]["fleet"]["entries"]] == [1, 0]


def test_json_refuses_another_root_with_a_code(capsys: Capture, other_root: Path) -> None:
    assert run(["verify", str(PROOF_FILE), "--json", "--root", str(other_root)]) == 1
    value = json.loads(capsys.readouterr().out)
    assert (value["verdict"], value["code"]) == ("refused", "transparency")
    assert value["root"]["named"] in value["why"]
    assert value["root"]["required"] in value["why"]
    assert "refused" not in value


def test_json_of_a_proof_without_logs_says_so(capsys: Capture, unlogged: Path) -> None:
    assert run(["verify", str(unlogged), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["logs"] is None
    assert value["root"] == {"named": None, "required": None}


def test_the_page_shows_the_logs(tmp_path: Path) -> None:
    page = tmp_path / "proof.html"
    assert run(["verify", str(PROOF_FILE), "--html", str(page)]) == 0
    shown = Page(page.read_text()).text
    for part in (
        "What everybody is shown", ROOT.digest.hex(), "service.example/directory", "service.example/fleet", "2 entries",
        "Seen by a quorum since", "2029-12-23 00:00:00 UTC", "cosigned 2030-01-01 00:10:00 UTC", "Leaf hash",
    ):  # fmt: skip
        assert part in shown


def test_the_page_of_another_root_is_refused_with_both_digests(tmp_path: Path, other_root: Path) -> None:
    page = tmp_path / "proof.html"
    assert run(["verify", str(PROOF_FILE), "--html", str(page), "--root", str(other_root)]) == 1
    text = page.read_text()
    assert "<h1>Refused</h1>" in text
    shown = Page(text).text
    assert "What refused it: the root" in shown
    assert sha256(other_root.read_bytes()).hexdigest() in shown
    assert ROOT.digest.hex() in shown


def test_a_root_that_leaves_no_time_is_said_to(tmp_path: Path, capsys: Capture) -> None:
    proof = tmp_path / "hasty.cbor"
    proof.write_bytes(make_logged_proof(World(delay=timedelta(0))).encode())
    page = tmp_path / "hasty.html"
    assert run(["verify", str(proof), "--html", str(page)]) == 0
    assert run(["verify", str(proof)]) == 0
    assert "the root leaves none" in flat(capsys.readouterr().out)
    assert "It leaves nobody time: a directory takes effect 0:00:00 after it is seen." in Page(page.read_text()).text


def test_a_file_that_is_no_root_is_wrong_input(tmp_path: Path, capsys: Capture) -> None:
    for data, said in ((b"\xff", "is not text in UTF-8"), (b"x = 1", "not of this form")):
        (tmp_path / "root.toml").write_bytes(data)
        assert run(["verify", str(PROOF_FILE), "--root", str(tmp_path / "root.toml")]) == 2
        assert said in capsys.readouterr().err
