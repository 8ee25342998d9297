"""What a reader of logs remembers."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from attrs import evolve

from confsec.backends.trusted_logs import SqliteTrustedLogs
from confsec.errors import (
    BackendError,
    BusyError,
    ConfigError,
    LimitError,
    LocalProtocolError,
    TransparencyError,
)
from confsec.protocol.predicates import Revocation, RevokedItem, RevokedKind
from confsec.protocol.transparency import TrustedLog
from tests.backends.trusted_logs_program import ORIGIN, News, grow
from tests.protocol.statement_cases import AT, DIRECTORY, MODEL, REVOCATION
from tests.protocol.test_statement_policy import CHANGED, verify

pytestmark = pytest.mark.anyio

OTHER = "log.example/two"
GROWN = TrustedLog(ORIGIN, 7, b"7" * 32, AT)


async def opened(path: Path | None) -> SqliteTrustedLogs:
    logs = SqliteTrustedLogs(path)
    await logs.open()
    return logs


async def remember(logs: SqliteTrustedLogs, trusted: TrustedLog) -> None:
    async def step(before: TrustedLog) -> News:
        return News(trusted)

    await logs.advance(trusted.origin, step)


# --- Logs


async def test_what_was_remembered_is_there_after_a_restart(tmp_path: Path) -> None:
    logs = await opened(tmp_path / "logs.db")
    await remember(logs, GROWN)
    await logs.aclose()
    logs = await opened(tmp_path / "logs.db")
    assert await logs.read(ORIGIN) == GROWN
    assert await logs.read(OTHER) == TrustedLog(OTHER)
    await logs.aclose()
    await logs.aclose()
    assert [path.name for path in tmp_path.iterdir()] == ["logs.db"]
    assert stat.S_IMODE((tmp_path / "logs.db").stat().st_mode) == 0o600


async def test_a_memory_without_a_file_lasts_as_long_as_its_object() -> None:
    logs = await opened(None)
    await remember(logs, GROWN)
    assert await logs.read(ORIGIN) == GROWN
    await logs.aclose()
    with pytest.raises(BackendError, match="not open"):
        await logs.read(ORIGIN)


async def test_the_step_gets_what_is_remembered_and_its_news_are_returned() -> None:
    logs = await opened(None)
    await remember(logs, GROWN)
    seen = []

    async def step(before: TrustedLog) -> News:
        seen.append(before)
        return News(before)

    assert (await logs.advance(ORIGIN, step)).trusted == GROWN
    assert seen == [GROWN]
    await logs.aclose()


async def test_what_a_step_raises_leaves_everything_as_it_is() -> None:
    logs = await opened(None)
    await remember(logs, GROWN)

    async def step(before: TrustedLog) -> News:
        raise TransparencyError("a fork")

    with pytest.raises(TransparencyError, match="a fork"):
        await logs.advance(ORIGIN, step)
    assert await logs.read(ORIGIN) == GROWN
    await logs.aclose()


@pytest.mark.parametrize(
    "after",
    [
        evolve(GROWN, size=6),
        evolve(GROWN, root=b"8" * 32),
        evolve(GROWN, size=8, fresh_since=None),
        evolve(GROWN, size=8, fresh_since=AT - timedelta(seconds=1)),
        evolve(GROWN, origin=OTHER),
    ],
)
async def test_the_memory_goes_neither_back_nor_sideways(after: TrustedLog) -> None:
    logs = await opened(None)
    await remember(logs, GROWN)

    async def step(before: TrustedLog) -> News:
        return News(after)

    with pytest.raises(LocalProtocolError):
        await logs.advance(ORIGIN, step)
    assert await logs.read(ORIGIN) == GROWN
    await logs.aclose()


async def test_who_comes_second_starts_from_what_the_first_remembered(tmp_path: Path) -> None:
    first, second = await opened(tmp_path / "logs.db"), await opened(tmp_path / "logs.db")
    seen = []

    async def step(before: TrustedLog) -> News:
        seen.append(before.size)
        if before.size == 0:
            await remember(second, GROWN)
        return await grow(before)

    assert (await first.advance(ORIGIN, step)).trusted.size == 8
    assert seen == [0, 7]
    await first.aclose()
    await second.aclose()


async def test_who_always_comes_second_gives_up(tmp_path: Path) -> None:
    first, second = await opened(tmp_path / "logs.db"), await opened(tmp_path / "logs.db")

    async def step(before: TrustedLog) -> News:
        await second.advance(ORIGIN, grow)
        return await grow(before)

    with pytest.raises(BusyError):
        await first.advance(ORIGIN, step)
    assert (await first.read(ORIGIN)).size == 8
    await first.aclose()
    await second.aclose()


# --- Processes


def start(path: Path, times: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.backends.trusted_logs_program", str(path), str(times)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


async def test_two_processes_lose_nothing_that_the_other_remembered(tmp_path: Path) -> None:
    processes = [start(tmp_path / "logs.db", 20) for _ in range(2)]
    printed = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(map(int, printed[0] + printed[1])) == list(range(1, 41))


async def test_a_killed_process_has_remembered_what_it_said(tmp_path: Path) -> None:
    with start(tmp_path / "logs.db", 100_000) as process:
        assert process.stdout is not None
        said = [int(process.stdout.readline()) for _ in range(10)]
        process.kill()
        said += map(int, process.stdout.read().split("\n")[:-1])
    logs = await opened(tmp_path / "logs.db")
    assert (await logs.read(ORIGIN)).size in {said[-1], said[-1] + 1}
    await logs.aclose()


# --- Statements


async def test_an_older_statement_does_not_come_back_after_a_restart(tmp_path: Path) -> None:
    logs = await opened(tmp_path / "logs.db")
    await logs.admit(verify(evolve(CHANGED, issued=AT + timedelta(seconds=1))), origin=ORIGIN)
    await logs.aclose()
    logs = await opened(tmp_path / "logs.db")
    with pytest.raises(TransparencyError, match="older"):
        await logs.admit(verify(DIRECTORY), origin=ORIGIN)
    await logs.admit(verify(DIRECTORY), origin=OTHER)
    await logs.admit(verify(MODEL), origin=ORIGIN)
    await logs.aclose()


def revoking(*digests: bytes, seconds: int = 0) -> Revocation:
    items = (RevokedItem(kind=RevokedKind.SUBJECT, digest=each, reason="A test.", since=AT) for each in digests)
    return evolve(REVOCATION, issued=AT + timedelta(seconds=seconds), revoked=tuple(items))


async def test_what_is_revoked_stays_so_whatever_a_later_revocation_says(tmp_path: Path) -> None:
    logs = await opened(tmp_path / "logs.db")
    await logs.admit(verify(revoking(bytes(32))), origin=ORIGIN)
    await logs.admit(verify(revoking(b"1" * 32, seconds=1)), origin=ORIGIN)
    await logs.aclose()
    logs = await opened(tmp_path / "logs.db")
    assert await logs.revoked(ORIGIN) == {(RevokedKind.SUBJECT, bytes(32)), (RevokedKind.SUBJECT, b"1" * 32)}
    assert await logs.revoked(OTHER) == frozenset()
    await logs.aclose()


async def test_a_revocation_that_is_refused_revokes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("confsec.backends.trusted_logs._MAX_REVOKED", 1)
    logs = await opened(None)
    await logs.admit(verify(revoking(bytes(32), seconds=1)), origin=ORIGIN)
    with pytest.raises(LimitError):
        await logs.admit(verify(revoking(b"1" * 32, seconds=2)), origin=ORIGIN)
    with pytest.raises(TransparencyError):
        await logs.admit(verify(revoking()), origin=ORIGIN)
    assert await logs.revoked(ORIGIN) == {(RevokedKind.SUBJECT, bytes(32))}
    await logs.aclose()


# --- Damage


async def a_file(path: Path) -> Path:
    logs = await opened(path)
    await remember(logs, GROWN)
    await logs.admit(verify(revoking(bytes(32))), origin=ORIGIN)
    await logs.aclose()
    return path


async def use(logs: SqliteTrustedLogs) -> None:
    for origin in (ORIGIN, OTHER):
        await logs.read(origin)
        await logs.revoked(origin)
        await logs.admit(verify(DIRECTORY), origin=origin)


async def test_an_empty_file_is_no_first_contact(tmp_path: Path) -> None:
    (tmp_path / "logs.db").touch(0o600)
    with pytest.raises(BackendError, match=r"damaged.*Restore it"):
        await opened(tmp_path / "logs.db")


async def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "logs.db").write_text("Something else.\n" * 99)
    (tmp_path / "logs.db").chmod(0o600)
    with pytest.raises(BackendError, match="damaged"):
        await opened(tmp_path / "logs.db")


async def test_a_file_that_lost_its_end_is_refused(tmp_path: Path) -> None:
    path = await a_file(tmp_path / "logs.db")
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(BackendError, match="damaged"):
        await opened(path)


@pytest.mark.parametrize("page", range(1, 7))
async def test_a_page_of_zeros_is_noticed(tmp_path: Path, page: int) -> None:
    path = await a_file(tmp_path / "logs.db")
    with path.open("r+b") as file:
        assert path.stat().st_size > page * 4096
        file.seek(page * 4096)
        file.write(bytes(4096))
    with pytest.raises(BackendError, match="damaged"):
        await opened(path)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE logs SET memory = x'00'",
        "UPDATE logs SET origin = 'log.example/two'",
        "UPDATE statements SET latest = x'00'",
        "UPDATE revoked SET kind = 'house'",
        "DROP TABLE revoked",
    ],
)
async def test_a_record_that_cannot_be_read_is_an_error(tmp_path: Path, change: str) -> None:
    path = await a_file(tmp_path / "logs.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(change)
        connection.commit()
    logs = await opened(path)
    with pytest.raises(BackendError):
        await use(logs)
    await logs.aclose()


async def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    path = await a_file(tmp_path / "logs.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(ConfigError, match="version"):
        await opened(path)


async def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    path = await a_file(tmp_path / "logs.db")
    path.chmod(0o660)
    with pytest.raises(ConfigError, match="chmod 600"):
        await opened(path)


async def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="cannot be opened"):
        await opened(tmp_path / "nowhere" / "logs.db")


async def test_a_locked_file_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("confsec.backends.trusted_logs._BUSY_SECONDS", 0.0)
    path = await a_file(tmp_path / "logs.db")
    logs = await opened(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(BackendError, match="cannot be used"):
            await logs.read(ORIGIN)
    await logs.aclose()
