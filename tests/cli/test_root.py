"""`confsec root`: the file that clients pin."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from confsec.cli import run
from confsec.protocol import statement_rules
from confsec.protocol.log_root import LogRoot
from tests.protocol.log_world import World

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LogRoot:
    """Write the parts of a root into the working directory, and return the root."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    root = World().root
    Path("policy.txt").write_bytes(root.witnesses.encode())
    Path("statements.toml").write_text(statement_rules.to_toml(root.statements))
    Path("root.toml").write_text(root.to_toml())
    return root


def make(root: LogRoot, *more: str, name: str = "service.example") -> int:
    words = ["--name", name, "--witnesses", "policy.txt", "--statements", "statements.toml", "--out", "out.toml"]
    logs = ["--directory", root.directory.origin, root.directory.url, "--fleet", root.fleet.origin, root.fleet.url]
    return run(["root", "make", *words, *logs, *more])


def test_a_root_is_made_of_its_parts(parts: LogRoot, capsys: Capture) -> None:
    assert make(parts, "--artifacts", parts.artifacts) == 0
    assert LogRoot.from_toml(Path("out.toml").read_text()) == parts
    out, err = capsys.readouterr()
    assert parts.digest.hex() in out
    assert err == ""


def test_a_root_that_is_there_is_left_alone(parts: LogRoot, capsys: Capture) -> None:
    Path("out.toml").write_text("mine")
    assert make(parts) == 2
    assert "is there already" in capsys.readouterr().err
    assert Path("out.toml").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--artifacts", "nobody.example/log"), "does not know this log"),
        (("--epoch", "2h"), "fleet.epoch is out of range"),
        (("--maximum-age", "0s"), "directory.maximum_age is out of range"),
        (("--witnesses", "missing.txt"), "missing.txt cannot be read"),
    ],
)
def test_what_no_root_may_say_is_refused(parts: LogRoot, words: tuple[str, ...], said: str, capsys: Capture) -> None:
    assert make(parts, *words) == 2
    assert said in capsys.readouterr().err
    assert not Path("out.toml").exists()


def test_rules_about_another_service_are_refused(parts: LogRoot, capsys: Capture) -> None:
    assert make(parts, name="other.example") == 2
    assert "who may speak of this service" in capsys.readouterr().err


def test_rules_that_are_no_text_are_refused(parts: LogRoot, capsys: Capture) -> None:
    Path("statements.toml").write_bytes(b"\xff")
    assert make(parts) == 2
    assert "not text in UTF-8" in capsys.readouterr().err


def test_a_witness_policy_without_a_quorum_is_refused(parts: LogRoot, capsys: Capture) -> None:
    text = Path("policy.txt").read_text().replace("quorum all", "quorum none")
    Path("policy.txt").write_text(text)
    assert make(parts) == 2
    assert "asks no witness" in capsys.readouterr().err


def test_a_hasty_root_is_made_and_said_to_be_hasty(parts: LogRoot, capsys: Capture) -> None:
    assert make(parts, "--activation-delay", "5m") == 0
    assert "hasty: a directory takes effect 0:05:00 after it is seen" in capsys.readouterr().err


def test_a_root_is_shown_with_its_digest(parts: LogRoot, capsys: Capture) -> None:
    assert run(["root", "show", "root.toml"]) == 0
    shown = capsys.readouterr().out
    for part in (
        "the root of service.example", parts.digest.hex(), "compare this digest", "service.example/directory at https://",
        "an epoch each 0:10:00", "images and models: service.example/artifacts", "all: 2 of w1, w2, w3",
        "w1: w1.example/w, ED25519", "1 of operator, about service.example", "takes effect 1:00:00 after",
    ):  # fmt: skip
        assert part in shown
    assert "HASTY" not in shown


def test_a_hasty_root_is_shown_as_one(parts: LogRoot, capsys: Capture) -> None:
    Path("hasty.toml").write_text(World(delay=timedelta(0), validity=timedelta(0)).root.to_toml())
    assert run(["root", "show", "hasty.toml"]) == 0
    assert capsys.readouterr().out.count("HASTY") == 2


def test_a_root_as_json(parts: LogRoot, capsys: Capture) -> None:
    assert run(["root", "show", "root.toml", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["digest"] == parts.digest.hex()
    assert value["groups"] == [{"name": "all", "threshold": 2, "members": ["w1", "w2", "w3"]}]
    assert value["directory"]["activation_delay"] == 3600
    assert value["artifacts"] == {"origin": "service.example/artifacts"}
    assert value["hasty"] == []


def test_a_root_without_artifacts_as_json(parts: LogRoot, capsys: Capture) -> None:
    assert make(parts) == 0
    capsys.readouterr()
    assert run(["root", "show", "out.toml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["artifacts"] is None
