"""Spent tokens in a SQLite file survive a kill, and one file serves several processes."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from attrs import evolve

from confsec.backends.token_store_sqlite import _prepare, _SqliteSession, sqlite_token_store
from confsec.errors import BackendError, BusyError, TokenSpentError
from confsec.testing_stores import make_spend
from tests.support import ROOT

pytestmark = pytest.mark.anyio

PROGRAM = "tests.backends.token_store_program"


def start_program(path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", PROGRAM, f"sqlite://{path}"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


async def test_what_was_confirmed_is_spent_after_a_kill(tmp_path: Path) -> None:
    """Two processes share the file; both are killed in the middle of their work."""
    path = tmp_path / "spent.db"
    confirmed = []
    for _ in range(2):
        programs = [start_program(path) for _ in range(2)]
        for program in programs:
            assert program.stdout is not None
            confirmed += [program.stdout.readline() for _ in range(300)]
        for program in programs:
            program.kill()
        for program in programs:
            rest, _ = program.communicate()
            confirmed += rest.splitlines(keepends=True)
    store = sqlite_token_store(path)
    for line in confirmed:
        if line.endswith("\n"):  # the last one may be cut
            token_id, request_digest = map(bytes.fromhex, line.split())
            with pytest.raises(TokenSpentError):
                await store.spend(evolve(make_spend(), token_id=token_id, request_digest=request_digest))
    await store.aclose()
    assert len({*confirmed}) >= 1200


def test_every_commit_reaches_the_disk(tmp_path: Path) -> None:
    session = _SqliteSession(tmp_path / "spent.db")
    assert session._value("PRAGMA synchronous") == 2  # FULL
    assert session._value("PRAGMA journal_mode") == "wal"
    session.close()


async def test_file_is_for_its_owner_only(tmp_path: Path) -> None:
    store = sqlite_token_store(tmp_path / "spent.db")
    await store.spend(make_spend())
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    await store.aclose()
    assert modes == {"spent.db": 0o600, "spent.db-wal": 0o600, "spent.db-shm": 0o600}


async def test_store_recovers_when_its_folder_comes_back(tmp_path: Path) -> None:
    store = sqlite_token_store(tmp_path / "disk" / "spent.db")
    with pytest.raises(BusyError, match="No such file"):
        await store.spend(make_spend())
    (tmp_path / "disk").mkdir()
    spend = make_spend()
    while True:
        try:
            await store.spend(spend)
            break
        except BusyError:
            continue
    with pytest.raises(TokenSpentError):
        await store.spend(spend)
    await store.aclose()


async def test_file_of_another_version_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "spent.db")
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    store = sqlite_token_store(tmp_path / "spent.db")
    with pytest.raises(BackendError, match="another version: got 2, want 1"):
        await store.spend(make_spend())
    await store.aclose()


async def test_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spent.db").write_text("not a database, for sure" * 100)
    store = sqlite_token_store(tmp_path / "spent.db")
    with pytest.raises(BackendError, match="not a database"):
        await store.spend(make_spend())
    await store.aclose()


async def test_nothing_is_accepted_while_another_holds_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("confsec.backends.token_store_sqlite._BUSY_SECONDS", 0.05)
    path = tmp_path / "spent.db"
    store = sqlite_token_store(path)
    await store.spend(make_spend())
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    spend = make_spend()
    with pytest.raises(BackendError, match="locked"):
        await store.spend(spend)
    other.execute("ROLLBACK")
    other.close()
    await store.spend(spend)
    await store.aclose()


async def test_group_that_fails_is_undone_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "spent.db"
    session = _SqliteSession(path)
    session._connection.execute(
        "CREATE TRIGGER full BEFORE INSERT ON spent WHEN NEW.token_id = zeroblob(32)"
        " BEGIN SELECT RAISE(ABORT, 'full'); END"
    )
    good, bad = make_spend(), evolve(make_spend(), token_id=bytes(32))
    with pytest.raises(sqlite3.IntegrityError, match="full"):
        session.spend(_prepare([good, bad]))
    session.close()
    session = _SqliteSession(path)
    assert session.spend(_prepare([good])) == [True]
    session.close()
