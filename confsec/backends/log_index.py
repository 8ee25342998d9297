"""Which entry stands where in a log: a SQLite file that can be made again from the log's files.

It is the only file of a log that nobody has to keep. It says how far it goes, and `LogWriter` brings it up to date from
there; so it need not be on the disk before an entry is acknowledged.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, final

from attrs import frozen

from confsec.errors import BackendError, BusyError, ConfigError, LocalProtocolError
from confsec.protocol.log_admission import StatementIdentity

__all__ = ["IndexExtent", "LogIndex"]

_HINT: Final = "It can be deleted: it is made again from the log"
_BUSY_SECONDS: Final = 5.0
_QUESTIONS: Final = 500  # SQLite takes 999 parameters in every version
_VERSION: Final = 2  # stands in the schema, too
_SCHEMA: Final = """
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS leaves (hash BLOB PRIMARY KEY, place INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS log (origin TEXT NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS extent (size INTEGER NOT NULL, last BLOB NOT NULL, rules BLOB NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS statements (digest BLOB PRIMARY KEY, place INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS newest (
        subject BLOB PRIMARY KEY,
        issued INTEGER NOT NULL,
        digest BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
    PRAGMA user_version = 2;
    COMMIT;
"""

_NEWER: Final = """
    INSERT INTO newest VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET issued = excluded.issued, digest = excluded.digest
    WHERE excluded.issued > issued
"""


@final
@frozen
class IndexExtent:
    """How far an index goes."""

    size: int = 0
    """How many entries of the log are in it."""

    last: bytes = b""
    """The leaf hash of the last one."""

    is_current: bool = True
    """Whether statements were told apart by the rules of today. If not, it has to be made anew."""


@final
class LogIndex:
    """The first place of each leaf hash, and of each statement. Used by one thread at a time; its methods block."""

    def __init__(self, path: Path, *, origin: str, rules: bytes = b"") -> None:
        """Keep that of the log `origin` in the file `path`, which is made when it is opened.

        `rules` stands for how statements are told apart: nothing if they are not, and something else for other rules.
        """
        self._path = path
        self._origin = origin
        self._rules = rules
        self._lock: int | None = None
        self._connection: sqlite3.Connection | None = None

    def lock(self) -> None:
        """Keep other logs away from the file, until it is closed. Raises `BusyError` if one is there."""
        descriptor = self._make()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(descriptor)
            hint = "Each log, and each of its writers, needs a file of its own"
            raise BusyError(f"another log uses the index {self._path}", hint=hint) from exc
        self._lock = descriptor

    def open(self) -> None:
        """Open the file. Raises `ConfigError` if it is the index of a log with another origin, and `BackendError`."""
        if self._connection is not None:
            return
        if self._lock is None:
            os.close(self._make())
        connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            with _errors():
                _prepare(connection)
                self._bind(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def close(self) -> None:
        """Close the file. Idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        descriptor, self._lock = self._lock, None
        if descriptor is not None:
            os.close(descriptor)  # and with it the lock

    def extent(self) -> IndexExtent:
        """Return how far the index goes."""
        with _errors():
            row = self._open().execute("SELECT size, last, rules FROM extent").fetchone()
        return IndexExtent() if row is None else IndexExtent(int(row[0]), bytes(row[1]), bytes(row[2]) == self._rules)

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
            extent = first + len(hashes), hashes[-1], self._rules
            connection.execute("INSERT INTO extent VALUES (?, ?, ?)", extent)

    def clear(self) -> None:
        """Forget everything."""
        connection = self._open()
        with _errors(), _transaction(connection):
            for table in ("leaves", "statements", "newest", "extent"):
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 - a name from the line above

    def _make(self) -> int:
        try:
            return os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise BackendError(f"the index of a log {self._path} cannot be opened: {exc.strerror}") from exc

    def _bind(self, connection: sqlite3.Connection) -> None:
        """Write down whose index this is. One of another log is not taken over: that log may still need it."""
        with _transaction(connection):
            row = connection.execute("SELECT origin FROM log").fetchone()
            if row is None:
                connection.execute("INSERT INTO log VALUES (?)", (self._origin,))
        if row is not None and row[0] != self._origin:
            raise ConfigError(
                "this is the index of another log", got=row[0], want=self._origin,
                hint="Give each log a file of its own, or delete this one if that log is gone",
            )  # fmt: skip

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
        raise BackendError("the index of a log is of another version", got=version, want=_VERSION, hint=_HINT)


@contextmanager
def _errors() -> Generator[None]:
    try:
        yield
    except sqlite3.Error as exc:
        raise BackendError("the index of a log cannot be used", got=type(exc).__name__, hint=_HINT) from exc


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Generator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
