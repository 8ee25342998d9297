"""Which entry stands where in a log: a SQLite file that can be made again from the log's files.

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
from confsec.protocol.log_admission import StatementIdentity

__all__ = ["LogIndex"]

_BUSY_SECONDS: Final = 5.0
_QUESTIONS: Final = 500  # SQLite takes 999 parameters in every version
_VERSION: Final = 1  # stands in the schema, too
_SCHEMA: Final = """
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS leaves (hash BLOB PRIMARY KEY, place INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS extent (size INTEGER NOT NULL, last BLOB NOT NULL, identified INTEGER NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS statements (digest BLOB PRIMARY KEY, place INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS newest (
        subject BLOB PRIMARY KEY,
        issued INTEGER NOT NULL,
        digest BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
    PRAGMA user_version = 1;
    COMMIT;
"""

_NEWER: Final = """
    INSERT INTO newest VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET issued = excluded.issued, digest = excluded.digest
    WHERE excluded.issued > issued
"""


@final
class LogIndex:
    """The first place of each leaf hash, and of each statement. Used by one thread at a time; its methods block."""

    def __init__(self, path: Path, *, identified: bool = False) -> None:
        """Keep it in the file `path`, which is made when it is opened; with statements, if they are `identified`."""
        self._path = path
        self._identified = identified
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
        """Return how many entries of the log are in the index, and the leaf hash of the last one.

        An index with statements, where they are not wanted, or the other way round, counts as empty.
        """
        with _errors():
            row = self._open().execute("SELECT size, last, identified FROM extent").fetchone()
        return (0, b"") if row is None or bool(row[2]) != self._identified else (int(row[0]), bytes(row[1]))

    def find(self, hashes: Sequence[bytes]) -> dict[bytes, int]:
        """Return the places of those leaf hashes that the log has."""
        return self._find("SELECT hash, place FROM leaves WHERE hash", hashes)

    def find_statements(self, digests: Sequence[bytes]) -> dict[bytes, int]:
        """Return the places of those statements that the log has."""
        return self._find("SELECT digest, place FROM statements WHERE digest", digests)

    def find_newest(self, subjects: Sequence[bytes]) -> dict[bytes, int]:
        """Return for each subject of which the log has a statement when the newest was issued."""
        return self._find("SELECT subject, issued FROM newest WHERE subject", subjects)

    def add(self, first: int, hashes: Sequence[bytes], identities: Sequence[StatementIdentity | None] = ()) -> None:
        """Add the entries from `first` on, which is where the index ends."""
        connection = self._open()
        known = [(place, each) for place, each in enumerate(identities, first) if each is not None]
        with _errors(), _transaction(connection):
            rows = zip(hashes, range(first, first + len(hashes)), strict=True)
            connection.executemany("INSERT INTO leaves VALUES (?, ?) ON CONFLICT DO NOTHING", rows)
            statements = [(each.digest, place) for place, each in known]
            connection.executemany("INSERT INTO statements VALUES (?, ?) ON CONFLICT DO NOTHING", statements)
            newest = [(each.subject, each.issued, each.digest) for _, each in known if each.subject]
            connection.executemany(_NEWER, newest)
            connection.execute("DELETE FROM extent")
            extent = first + len(hashes), hashes[-1], self._identified
            connection.execute("INSERT INTO extent VALUES (?, ?, ?)", extent)

    def clear(self) -> None:
        """Forget everything."""
        connection = self._open()
        with _errors(), _transaction(connection):
            for table in ("leaves", "statements", "newest", "extent"):
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 - a name from the line above

    def _find(self, query: str, keys: Sequence[bytes]) -> dict[bytes, int]:
        connection, found = self._open(), dict[bytes, int]()
        with _errors():
            for at in range(0, len(keys), _QUESTIONS):
                part = keys[at : at + _QUESTIONS]
                found.update(connection.execute(f"{query} IN ({','.join('?' * len(part))})", part))
        return found

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
