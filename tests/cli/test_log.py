"""`confsec log`: a key that others can read, and appending to a log that runs."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal

from confsec import cli
from confsec.protocol.note_keys import KeyType, NoteKey, Signer
from confsec.protocol.tlog_proof import TlogProof
from confsec.protocol.transparency import verify_logged
from tests.roles.log_cases import ORIGIN, POLICY, make_log, witnesses_running
from tests.roles.support import served

Capture = pytest.CaptureFixture[str]


@asynccontextmanager
async def running(folder: Path) -> AsyncGenerator[str]:
    """Serve a log; its witnesses are in this process."""
    async with witnesses_running(folder) as network, served(make_log(folder, network)) as url:
        yield url


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(running(tmp_path)) as found:
        yield found


def test_a_key_is_made_once_and_its_public_half_printed(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "log.key"
    assert cli.run(["log", "key", "log.example/one", "--out", str(file), "--json"]) == 0
    key = NoteKey.decode(json.loads(capsys.readouterr().out)["key"])
    assert (key.name, key.type) == ("log.example/one", KeyType.ED25519)
    assert Signer.decode(file.read_text().strip()).key == key
    assert file.stat().st_mode & 0o777 == 0o600
    assert cli.run(["log", "key", "log.example/one", "--out", str(file)]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_the_printed_key_stands_in_policies(tmp_path: Path, capsys: Capture) -> None:
    assert cli.run(["log", "key", "log.example/one", "--out", str(tmp_path / "log.key")]) == 0
    assert NoteKey.decode(capsys.readouterr().out.strip()).name == "log.example/one"


def test_files_are_appended_in_their_order(tmp_path: Path, capsys: Capture, url: str) -> None:
    for name in ("one", "two"):
        (tmp_path / f"entry-{name}").write_text(name)
    files = [str(tmp_path / "entry-one"), str(tmp_path / "entry-two")]
    assert cli.run(["log", "append", "--log", url, *files]) == 0
    assert capsys.readouterr().out == "0\n1\n"
    assert cli.run(["log", "append", "--log", url, "--json", files[1]]) == 0
    assert json.loads(capsys.readouterr().out) == {"indexes": [1]}


def test_a_proof_is_what_a_quorum_has_seen(tmp_path: Path, capsys: Capture, url: str) -> None:
    (tmp_path / "entry").write_text("one")
    proof = tmp_path / "proof"
    assert cli.run(["log", "append", "--log", url, "--proof", str(proof), str(tmp_path / "entry")]) == 0
    assert capsys.readouterr().out == "0\n"
    verify_logged(b"one", TlogProof.decode(proof.read_bytes()), POLICY, origin=ORIGIN)
    two = ["log", "append", "--log", url, "--proof", str(proof), str(tmp_path / "entry"), str(tmp_path / "entry")]
    assert cli.run(two) == 2
    assert "a proof is of one entry" in capsys.readouterr().err


def test_what_the_log_refuses_is_said_in_one_line(tmp_path: Path, capsys: Capture, url: str) -> None:
    (tmp_path / "entry").write_bytes(bytes(65_536))
    assert cli.run(["log", "append", "--log", url, str(tmp_path / "entry")]) == 1
    assert "the log did not take the entry: the request is too large" in capsys.readouterr().err
    assert cli.run(["log", "append", "--log", url, str(tmp_path / "none")]) == 2
    assert cli.run(["log", "append", "--log", "ftp://log.example", str(tmp_path / "entry")]) == 2
    capsys.readouterr()
