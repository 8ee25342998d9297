"""`confsec chat` over a service in memory, and over one that runs as processes."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from confsec.cli import chat, run
from confsec.errors import ConnectError
from confsec.privacy_hints import IDENTIFYING_FIELDS, identifying_fields
from confsec.protocol.bhttp import Request, Response
from confsec.protocol.policy import Policy
from confsec.protocol.proof import verify_proof
from confsec.sync_client import SyncClient
from confsec.tee.registry import POLICIES
from confsec.wallet import Wallet
from tests.client.engine import ANSWER, JSON, SSE, new_wire
from tests.client.wire import ServiceTransport, fleet_of_today

UNSAFE = "--unsafe-unattested"
BASE = ["chat", "--service", "service.toml"]
Chat = Callable[..., tuple[int, str, str]]


@pytest.fixture
def wire() -> ServiceTransport:
    return new_wire(fleet_of_today(3))


@pytest.fixture
def talk(
    wire: ServiceTransport, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Chat:
    """Run `confsec chat` over the service in memory; return the exit status and what it wrote."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "service.toml").write_text(wire.service.directory.to_toml())

    def new_client(service: str, *, policy: Policy, wallet: Wallet | None, memory: Path | None) -> SyncClient:
        assert (wallet, memory) == (None, None)
        assert service == "service.toml"
        return SyncClient(wire.service.directory, policy=policy, transport=wire)

    def talk(*words: str, lines: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
        status = run([*BASE, *words])
        out, err = capsys.readouterr()
        return status, out, err

    monkeypatch.setattr(chat, "SyncClient", new_client)
    return talk


def asked(wire: ServiceTransport) -> list[dict[str, Any]]:
    return [json.loads(each.content) for each in wire.service.asked if each.method == "POST"]


def test_prints_the_answer_and_only_the_answer(talk: Chat, wire: ServiceTransport) -> None:
    status, out, err = talk(UNSAFE, "--prompt", "Why?")
    assert (status, out) == (0, f"{ANSWER}\n")
    assert err.startswith("Proof: 3 nodes could read this; checks: ")
    assert asked(wire) == [{"model": "scripted", "messages": [{"role": "user", "content": "Why?"}], "stream": True}]


def test_remembers_the_conversation(talk: Chat, wire: ServiceTransport) -> None:
    status, out, _ = talk(UNSAFE, "--model", "other", lines="Why?\n\nAnd you?\n")
    assert (status, out) == (0, f"{ANSWER}\n" * 2)
    assert asked(wire)[1] == {
        "model": "other",
        "messages": [
            {"role": "user", "content": "Why?"},
            {"role": "assistant", "content": ANSWER},
            {"role": "user", "content": "And you?"},
        ],
        "stream": True,
    }
    assert {each.path for each in wire.service.asked} == {"/v1/chat/completions"}


def test_writes_the_proof(talk: Chat, tmp_path: Path) -> None:
    file = tmp_path / "proof.cbor"
    status, _, err = talk(UNSAFE, "--prompt", "Why?", "--proof", str(file))
    assert status == 0
    assert f"written to {file}" in err
    assert verify_proof(file.read_bytes(), POLICIES).candidates


def test_production_policy_refuses_and_says_what_to_do(talk: Chat, wire: ServiceTransport) -> None:
    status, out, err = talk("--model", "m", "--prompt", "Why?")
    assert (status, out) == (1, "")
    assert "--unsafe-unattested" in err
    assert len(err.splitlines()) == 1
    assert wire.service.asked == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((UNSAFE, "--prompt", "  "), "the prompt is empty"),
        ((UNSAFE, "--policy", "p.toml", "--prompt", "x"), "exclude each other"),
        (("--policy", "missing.toml", "--prompt", "x"), "missing.toml cannot be read"),
        ((UNSAFE, "--prompt", "x", "--proof", "/nowhere/proof"), "/nowhere/proof cannot be written"),
        (("--prompt",), "requires an argument"),
        (("--nonsense",), "No such option"),
    ],
)
def test_wrong_input_is_one_line(talk: Chat, words: tuple[str, ...], sentence: str) -> None:
    status, _, err = talk(*words)
    assert status == 2
    assert sentence in err.splitlines()[-1]


def test_a_directory_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["chat", "--service", str(tmp_path / "missing.toml"), "--prompt", "x"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "missing.toml cannot be read" in line


def stream_of(*events: str) -> Callable[[Request], Response]:
    return lambda request: Response(200, SSE, b"".join(f"data: {event}\n\n".encode() for event in events))


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        (lambda request: Response(400, JSON, b'{"error": {"message": "too \x1b[31mred"}}'), "refused: got status 400"),
        (lambda request: Response(500, JSON, b'{"error": {"message": "too\\u001b[31m red"}}'), "refused: too[31m red"),
        (lambda request: Response(200, JSON, b"{}"), "refused: got status 200"),
        (stream_of("nonsense"), "not JSON"),
        (stream_of("[1]"), "no chunk of a chat completion"),
        (stream_of('{"choices": [1]}'), "no chunk of a chat completion"),
        (stream_of('{"error": {"message": "out of memory"}}'), "the engine stopped: out of memory"),
        (lambda request: Response(200, SSE, b"x" * (1 << 21)), "too long"),
    ],
)
def test_what_the_engine_does_wrong_is_one_line(
    talk: Chat, wire: ServiceTransport, script: Callable[[Request], Response], sentence: str
) -> None:
    wire.service.answer = script
    status, _, err = talk(UNSAFE, "--model", "m", "--prompt", "Why?")
    assert status == 1
    assert sentence in err
    assert len(err.splitlines()) == 1
    assert "\x1b" not in err


def test_a_service_without_models_asks_for_a_name(talk: Chat, wire: ServiceTransport) -> None:
    wire.service.answer = lambda request: Response(200, JSON, b'{"data": []}')
    status, _, err = talk(UNSAFE, "--prompt", "Why?")
    assert status == 1
    assert "--model NAME" in err


def test_an_answer_cannot_command_the_terminal(talk: Chat, wire: ServiceTransport) -> None:
    evil = {"choices": [{"delta": {"content": "a\x1b]0;evil\x07b\r\x9bc\nd\té"}}]}
    wire.service.answer = stream_of(json.dumps(evil), '{"choices": []}', "[DONE]")
    status, out, _ = talk(UNSAFE, "--model", "m", "--prompt", "Why?")
    assert (status, out) == (0, "a]0;evilbc\nd\té\n")


def test_an_unreachable_service_is_one_line(talk: Chat, wire: ServiceTransport) -> None:
    def fail() -> None:
        raise ConnectError("no connection could be made")

    wire.before = fail
    status, _, err = talk(UNSAFE, "--prompt", "Why?")
    assert (status, err) == (1, "confsec: no connection could be made [connect]\n")


# --- Over processes ---------------------------------------------------------------------------------------------------


def confsec(*words: str, lines: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "confsec", *words]
    return subprocess.run(command, check=False, input=lines, capture_output=True, text=True, timeout=60)


def test_talks_to_a_service_that_runs_as_processes(running_service: Path, tmp_path: Path) -> None:
    proof = tmp_path / "proof.cbor"
    base = ("chat", "--service", str(running_service), UNSAFE)
    finished = confsec(*base, "--proof", str(proof), lines="Hello?\nAnd again?\n")
    assert finished.returncode == 0, finished.stderr
    assert len(finished.stdout.splitlines()) == 2
    assert confsec("verify", str(proof)).returncode == 0


def test_a_person_can_stop_it(running_service: Path) -> None:
    command = [sys.executable, "-m", "confsec", "chat", "--service", str(running_service), UNSAFE]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("Hello?\n")
        process.stdin.flush()
        assert process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "confsec: stopped"


# --- What names the user ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b'{"user": "alice", "messages": []}', ("user",)),
        (b'{"store": true, "metadata": {"user_id": "1"}}', ("metadata", "store")),
        (b'{"store": false, "metadata": {}, "user": null, "user_id": ""}', ()),
        (b'{"messages": [{"user": "alice"}]}', ()),
        (b'["user"]', ()),
        (b'{"user": "alice"', ()),
        (b"\xff", ()),
        (b"[" * 100_000, ()),
    ],
)
def test_finds_the_members_that_name_somebody(body: bytes, names: tuple[str, ...]) -> None:
    assert identifying_fields(body) == names


def test_knows_what_each_identifying_member_does() -> None:
    assert {"user", "safety_identifier", "metadata", "prompt_cache_key", "store"} <= set(IDENTIFYING_FIELDS)
    assert identifying_fields(json.dumps(dict.fromkeys(IDENTIFYING_FIELDS, "x")).encode()) == tuple(IDENTIFYING_FIELDS)
