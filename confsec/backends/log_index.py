"""Which entry stands where in a log: a SQLite file that can be made again from the log's tiles.

It is the only file of a log that nobody has to keep. It says how far it goes, and `LogWriter` brings it up to date from
there; so it need not be on the disk before an entry is acknowledged.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, final

from confsec.errors import BackendError, LocalProtocolError

__all__ = ["LogIndex"]

_BUSY_SECONDS: Final = 5.0
_QUESTIONS: Final = 500  # SQLite takes 999 parameters in every version
_VERSION: Final = 1  # stands in the schema, too
_SCHEMA: Final = """
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS leaves (hash BLOB PRIMARY KEY, place INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS extent (size INTEGER NOT NULL, last BLOB NOT NULL) STRICT;
    PRAGMA user_version = 1;
    COMMIT;
"""


@final
class LogIndex:
    """The first place of each leaf hash. Used by one thread at a time; its methods block."""

    def __init__(self, path: Path) -> None:
        """Keep it in the file `path`, which is made when it is opened."""
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open the file. Raises `BackendError`."""
        if self._connection is not None:
            return
        try:
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        except OSError as exc:
            raise BackendError(f"the index of a log {self._path} cannot be opened: {exc.strerror}") from exc
        connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            with _errors():
                _prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def close(self) -> None:
        """Close the file. Idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def extent(self) -> tuple[int, bytes]:
        """Return how many entries of the log are in the index, and the leaf hash of the last one."""
        with _errors():
            row = self._open().execute("SELECT size, last FROM extent").fetchone()
        return (0, b"") if row is None else (int(row[0]), bytes(row[1]))

    def find(self, hashes: Sequence[bytes]) -> dict[bytes, int]:
        """Return the places of those that the log has."""
        connection, found = self._open(), dict[bytes, int]()
        with _errors():
            for at in range(0, len(hashes), _QUESTIONS):
                part = hashes[at : at + _QUESTIONS]
                marks = ",".join("?" * len(part))
                found.update(connection.execute(f"SELECT hash, place FROM leaves WHERE hash IN ({marks})", part))  # noqa: S608 - question marks
        return found

    def add(self, first: int, hashes: Sequence[bytes]) -> None:
        """Add the leaf hashes of the entries from `first` on, which is where the index ends."""
        connection = self._open()
        with _errors(), _transaction(connection):
            rows = zip(hashes, range(first, first + len(hashes)), strict=True)
            connection.executemany("INSERT INTO leaves VALUES (?, ?) ON CONFLICT DO NOTHING", rows)
            connection.execute("DELETE FROM extent")
            connection.execute("INSERT INTO extent VALUES (?, ?)", (first + len(hashes), hashes[-1]))

    def clear(self) -> None:
        """Forget everything."""
        connection = self._open()
        with _errors(), _transaction(connection):
            connection.execute("DELETE FROM leaves")
            connection.execute("DELETE FROM extent")

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise LocalProtocolError("the index of a log is not open")
        return self._connection


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    # A power failure may take the newest transactions, whole: they are made again.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA cache_size = -16384")  # KiB
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version == 0:
        connection.executescript(_SCHEMA)
    elif version != _VERSION:
        raise BackendError("the index of a log is of another version", got=version, want=_VERSION)


@contextmanager
def _errors() -> Generator[None]:
    try:
        yield
    except sqlite3.Error as exc:
        hint = "It can be deleted: it is made again from the log"
        raise BackendError("the index of a log cannot be used", got=type(exc).__name__, hint=hint) from exc


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Generator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
