"""`confsec doctor` as a person and as a program call it."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from confsec.cli import run
from confsec.cli.doctor import look_at_body
from confsec.doctor.findings import Finding, Level, problem, warning
from confsec.privacy_hints import IDENTIFYING_FIELDS
from confsec.protocol.policy import PRODUCTION, UNSAFE_UNATTESTED, Policy

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a variable of the machine that runs the tests change nothing."""
    monkeypatch.setattr("os.environ", {"PATH": "/usr/bin"})


def as_json(capsys: Capture) -> dict[str, dict[str, str]]:
    return {finding["id"]: finding for finding in json.loads(capsys.readouterr().out)["findings"]}


def test_machine_on_which_the_tests_run_is_well(capsys: Capture) -> None:
    assert run(["doctor"]) == 0
    shown = capsys.readouterr().out
    for heading in ("versions", "ports", "clock", "randomness", "limits", "environment", "All is well"):
        assert heading in shown


def test_json_is_one_object_with_an_id_for_each_finding(capsys: Capture) -> None:
    assert run(["doctor", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["ok"] is True
    ids = [finding["id"] for finding in value["findings"]]
    assert len(ids) == len(set(ids))
    assert {id_.partition(".")[0] for id_ in ids} == {
        "versions",
        "ports",
        "clock",
        "entropy",
        "limits",
        "environment",
        "request",
    }


def test_problem_fails_and_says_what_to_do(capsys: Capture) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        port = listener.getsockname()[1]
        assert run(["doctor", "--port", str(port)]) == 1
    shown = capsys.readouterr().out
    assert f"port {port} of 127.0.0.1 cannot be listened on" in shown
    assert "→ Stop what listens there" in " ".join(shown.split())
    assert "1 problem, " in shown


def test_warning_does_not_fail_and_shows_no_value(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {"HTTPS_PROXY": "http://me:hunter2@proxy.example"})
    assert run(["doctor"]) == 0
    assert run(["doctor", "--json"]) == 0
    shown = capsys.readouterr().out
    assert "HTTPS_PROXY" in shown
    assert "hunter2" not in shown


def test_request_body_that_names_its_author_is_warned_of_without_its_words(tmp_path: Path, capsys: Capture) -> None:
    body = tmp_path / "body.json"
    body.write_text('{"messages": [{"role": "user", "content": "my secret"}], "user": "alice", "store": true}')
    assert run(["doctor", "--request", str(body), "--json"]) == 0
    shown = capsys.readouterr().out
    assert "alice" not in shown
    assert "my secret" not in shown
    levels = {finding["id"]: finding["level"] for finding in json.loads(shown)["findings"]}
    assert (levels["request.user"], levels["request.store"]) == ("warning", "warning")
    assert "request.body" not in levels


def test_request_body_that_names_nobody_is_fine() -> None:
    (finding,) = look_at_body(b'{"messages": []}')
    assert (finding.id, finding.level) == ("request.body", Level.OK)


def test_without_a_request_body_all_fields_are_named() -> None:
    (finding,) = look_at_body(None)
    assert finding.level is Level.INFO
    assert all(name in finding.what for name in IDENTIFYING_FIELDS)


class Visited:
    """What a visit was told, and what it is to find."""

    def __init__(self) -> None:
        self.directory = b""
        self.policy: Policy | None = None
        self.findings: list[Finding] = []


@pytest.fixture
def visited(monkeypatch: pytest.MonkeyPatch) -> Visited:
    visited = Visited()

    async def look(read_directory: object, policy: Policy, transport: object, *, remembered: object) -> list[Finding]:
        assert callable(remembered)
        assert callable(read_directory)
        visited.directory = await read_directory()
        visited.policy = policy
        return visited.findings

    monkeypatch.setattr("confsec.cli.doctor.look_at_service", look)
    return visited


def test_service_is_visited_under_the_production_policy(visited: Visited, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "service.toml").write_text("the directory")
    visited.findings = [warning("service.refused", "a node is not trusted", "Tell the operator")]
    assert run(["doctor", "--service", str(tmp_path / "service.toml")]) == 0
    assert visited.directory == b"the directory"
    assert visited.policy == PRODUCTION
    shown = capsys.readouterr().out
    assert "the service, step by step" in shown
    assert "→ Tell the operator" in shown


def test_service_without_evidence_is_visited_on_demand(visited: Visited, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "service.toml").write_text("the directory")
    visited.findings = [problem("service.relay", "no [connection] could be made", "Is it running?")]
    assert run(["doctor", "--service", str(tmp_path / "service.toml"), "--unsafe-unattested"]) == 1
    assert visited.policy == UNSAFE_UNATTESTED
    assert "no [connection] could be made" in capsys.readouterr().out


def test_service_that_is_not_there_is_a_problem_and_no_crash(tmp_path: Path, capsys: Capture) -> None:
    assert run(["doctor", "--service", str(tmp_path / "service.toml"), "--json"]) == 1
    finding = as_json(capsys)["service.directory"]
    assert finding["level"] == "problem"
    assert "No such file" in finding["what"]


def test_directory_over_http_from_another_machine_is_a_problem(capsys: Capture) -> None:
    assert run(["doctor", "--service", "http://service.example/service.toml", "--json"]) == 1
    assert "want https, except on loopback" in as_json(capsys)["service.directory"]["what"]


def test_directory_from_a_server_that_is_down_is_a_problem(capsys: Capture) -> None:
    assert run(["doctor", "--service", "http://127.0.0.1:1/service.toml", "--json"]) == 1
    assert "[connect]" in as_json(capsys)["service.directory"]["what"]
