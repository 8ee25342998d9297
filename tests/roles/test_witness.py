"""The witness role: C2SP's answers, and a memory that outlives it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest

from confsec.backends.api import HttpRequest, header
from confsec.backends.asgi import AsgiTransport
from confsec.backends.witness_store import SqliteWitnessStore
from confsec.errors import BackendError, ConfigError
from confsec.protocol.note import SignedNote
from confsec.protocol.note_keys import KeyType, Signer
from confsec.protocol.witnessing import SIZE_TYPE, AddCheckpoint, WitnessedTree
from confsec.roles.witness import Witness, WitnessConfig
from tests.protocol.test_merkle import LEAVES, growth
from tests.protocol.test_witnessing import LOG, ORIGIN, SIGNERS, asked, checkpoint
from tests.roles.support import read

pytestmark = pytest.mark.anyio

AT = datetime(2026, 11, 28, tzinfo=UTC)


def config(folder: Path, **changes: str) -> WitnessConfig:
    (folder / "keys").touch(0o600)
    (folder / "keys").write_text("".join(f"{signer.encode()}\n" for signer in SIGNERS))
    (folder / "logs").write_text(f"log {LOG.key.encode()}\nquorum none\n")
    paths = {"keys": str(folder / "keys"), "logs": str(folder / "logs"), "store": str(folder / "store.db")}
    paths |= changes
    return WitnessConfig(keys=paths["keys"], logs=paths["logs"], store=paths["store"])


@asynccontextmanager
async def running(folder: Path) -> AsyncGenerator[AsgiTransport]:
    witness = Witness(config(folder), clock=lambda: AT)
    async with witness.lifespan():
        yield AsgiTransport(witness)


async def add(transport: AsgiTransport, request: AddCheckpoint | bytes) -> tuple[int, str, bytes]:
    content = request if isinstance(request, bytes) else request.encode()
    sent = HttpRequest(method="POST", url="http://witness/add-checkpoint", content=content)
    async with transport.stream(sent) as response:
        return response.status, header(response.headers, "content-type") or "", await read(response)


async def test_growth_is_cosigned_and_remembered(tmp_path: Path) -> None:
    async with running(tmp_path) as witness:
        status, kind, answer = await add(witness, asked(0, 5))
        assert (status, kind) == (200, "text/plain; charset=utf-8")
        note = SignedNote.decode(checkpoint(5) + answer)
        assert [each.time for each in note.verify([signer.key for signer in SIGNERS])] == [AT, AT]
    async with running(tmp_path) as witness:
        assert await add(witness, asked(0, 5)) == (409, SIZE_TYPE, b"5\n")
        assert (await add(witness, asked(5, 9)))[0] == 200
        assert (await add(witness, asked(9, 9)))[0] == 200
        assert await add(witness, asked(5, 9)) == (409, SIZE_TYPE, b"9\n")


async def test_what_is_wrong_has_the_standards_status(tmp_path: Path) -> None:
    stranger = Signer(ORIGIN, KeyType.ED25519, b"9" * 32)
    forked = [bytes(32), *LEAVES[1:]]
    async with running(tmp_path) as witness:
        await add(witness, asked(0, 5))
        for request, status in (
            (b"new 0\n\n", 400),
            (AddCheckpoint(5, (), b"no note"), 400),
            (AddCheckpoint(9, (), checkpoint(5)), 400),
            (AddCheckpoint(0, (), checkpoint(5, log=stranger)), 403),
            (AddCheckpoint(0, (), checkpoint(5, origin="log.example/two")), 404),
            (AddCheckpoint(5, (), checkpoint(5, leaves=forked)), 409),
            (AddCheckpoint(5, tuple(growth(5, forked[:9])), checkpoint(9, leaves=forked)), 422),
            (bytes(1 << 20), 413),
        ):
            assert (await add(witness, request))[0] == status
        assert await add(witness, asked(0, 9)) == (409, SIZE_TYPE, b"5\n")


async def test_of_many_at_once_one_wins(tmp_path: Path) -> None:
    async with running(tmp_path) as witness:
        statuses: list[int] = []

        async def one(size: int) -> None:
            statuses.append((await add(witness, asked(0, size)))[0])

        async with anyio.create_task_group() as tasks:
            for size in range(1, 9):
                tasks.start_soon(one, size)
    assert sorted(statuses) == [200] + [409] * 7


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("keys", "", "no keys"),
        ("keys", "key\n", "cannot be read"),
        ("keys", LOG.encode() + "\n", "another type"),
        ("logs", "quorum none\n", "names no log"),
        ("logs", "quorum\n", "line 1"),
        ("logs", None, "cannot be read"),
    ],
)
async def test_files_that_cannot_be_used_are_named(tmp_path: Path, name: str, content: str | None, what: str) -> None:
    settings = config(tmp_path, **{name: str(tmp_path / "other")})
    if content is not None:
        (tmp_path / "other").touch(0o600)
        (tmp_path / "other").write_text(content)
    with pytest.raises(ConfigError, match=what):
        async with Witness(settings).lifespan():
            pass


async def test_no_key_is_in_an_error(tmp_path: Path) -> None:
    secret = LOG.encode()
    (tmp_path / "other").touch(0o600)
    (tmp_path / "other").write_text(secret + "x\n")
    with pytest.raises(ConfigError) as caught:
        async with Witness(config(tmp_path, keys=str(tmp_path / "other"))).lifespan():
            pass
    assert secret.rsplit("+", 1)[1][:20] not in str(caught.value)


async def test_a_memory_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    store = SqliteWitnessStore(tmp_path / "store.db")
    with pytest.raises(BackendError, match="not open"):
        await store.read(ORIGIN)
    await store.aclose()
    with pytest.raises(BackendError, match="cannot be opened"):
        await SqliteWitnessStore(tmp_path / "none" / "store.db").open()
    (tmp_path / "text").write_text("this is no database, but it is long enough to look like one" * 40)
    with pytest.raises(BackendError, match="cannot be used"):
        await SqliteWitnessStore(tmp_path / "text").open()
    with sqlite3.connect(tmp_path / "newer.db") as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(BackendError, match="another version"):
        await SqliteWitnessStore(tmp_path / "newer.db").open()


async def test_an_empty_memory_knows_nothing(tmp_path: Path) -> None:
    store = SqliteWitnessStore(tmp_path / "store.db")
    await store.open()
    assert await store.read(ORIGIN) == WitnessedTree.NOTHING
    assert (tmp_path / "store.db").stat().st_mode & 0o077 == 0
    await store.aclose()
