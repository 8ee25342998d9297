"""What a witness remembers, in a SQLite file: of each log the largest tree that it has cosigned.

To compare with what is remembered and to remember anew is one transaction, and it is on the disk before the cosignature
is anywhere else: a witness that forgot could cosign a second tree (C2SP tlog-witness, add-checkpoint).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeVar, final

import anyio
import anyio.to_thread

from confsec.errors import BackendError
from confsec.protocol.witnessing import Cosigned, WitnessedTree

__all__ = ["SqliteWitnessStore"]

_Result = TypeVar("_Result")

_BUSY_SECONDS: Final = 5.0
_VERSION: Final = 1  # stands in the schema, too
_SCHEMA: Final = """
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS trees (
        origin TEXT PRIMARY KEY,
        size INTEGER NOT NULL,
        root BLOB NOT NULL
    ) STRICT;
    PRAGMA user_version = 1;
    COMMIT;
"""


@final
class SqliteWitnessStore:
    """The memory of one witness. Several processes of it may share the file, on one machine."""

    def __init__(self, path: Path) -> None:
        """Keep it in the file `path`, which is made when it is opened, readable by its owner only."""
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._lock = anyio.Lock()

    async def open(self) -> None:
        """Open the file. Raises `BackendError`."""
        self._connection = await self._run(partial(_open, self._path))

    async def cosign(self, origin: str, decide: Callable[[WitnessedTree], Cosigned]) -> Cosigned:
        """Have `decide` look at what is remembered of a log; remember what it returns, then return it.

        What it raises leaves everything as it is. Raises `BackendError` if nothing could be remembered.
        """
        return await self._run(partial(_cosign, self._open(), origin, decide))

    async def read(self, origin: str) -> WitnessedTree:
        """Return what is remembered of a log. Raises `BackendError`."""
        return await self._run(partial(_read, self._open(), origin))

    async def aclose(self) -> None:
        """Close the file. Idempotent."""
        with anyio.CancelScope(shield=True):
            async with self._lock:
                connection, self._connection = self._connection, None
                if connection is not None:
                    await anyio.to_thread.run_sync(connection.close)

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise BackendError("the witness's memory is not open")
        return self._connection

    async def _run(self, function: Callable[[], _Result]) -> _Result:
        """Run a statement in a thread, one at a time, and to its end: half of one would be in nobody's hands."""
        async with self._lock:
            try:
                return await anyio.to_thread.run_sync(function)
            except sqlite3.Error as exc:
                raise BackendError("the witness's memory cannot be used", got=type(exc).__name__) from exc


def _open(path: Path) -> sqlite3.Connection:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as exc:
        raise BackendError(f"the witness's memory {path} cannot be opened: {exc.strerror}") from exc
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        # With NORMAL a power failure could make the witness forget a tree that it has cosigned.
        connection.execute("PRAGMA synchronous = FULL")
        if _version(connection) == 0:
            connection.executescript(_SCHEMA)
        if _version(connection) != _VERSION:
            raise BackendError(f"{path} is of another version", got=_version(connection), want=_VERSION)
    except BaseException:
        connection.close()
        raise
    return connection


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _cosign(connection: sqlite3.Connection, origin: str, decide: Callable[[WitnessedTree], Cosigned]) -> Cosigned:
    connection.execute("BEGIN IMMEDIATE")
    try:
        cosigned = decide(_read(connection, origin))
        connection.execute(
            "INSERT INTO trees VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET size = excluded.size, root = excluded.root",
            (origin, cosigned.tree.size, cosigned.tree.root),
        )
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    return cosigned


def _read(connection: sqlite3.Connection, origin: str) -> WitnessedTree:
    row = connection.execute("SELECT size, root FROM trees WHERE origin = ?", (origin,)).fetchone()
    return WitnessedTree.NOTHING if row is None else WitnessedTree(*row)
