"""What a reader of logs remembers, in a SQLite file: of each log its newest checkpoint, and of statements the newest.

A reader that forgot could be shown an old tree, or another one. So a file is taken as it is or refused: one that is
empty, damaged or of something else is an error, and only a file that does not exist is a first contact. Each change is
one transaction that is on the disk when the call returns. Several processes may share a file, on one machine: who comes
second starts from what the first one remembered.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final, Protocol, TypeVar, final

import anyio
import anyio.to_thread

from confsec.errors import BackendError, BusyError, ConfigError, DecodeError, LimitError, LocalProtocolError
from confsec.protocol.latest_statements import LatestStatements
from confsec.protocol.predicates import Revocation, RevokedKind
from confsec.protocol.statement_policy import VerifiedStatement
from confsec.protocol.transparency import TrustedLog

__all__ = ["Advanced", "SqliteTrustedLogs"]

_Result = TypeVar("_Result")

_BUSY_SECONDS: Final = 5.0
_ATTEMPTS: Final = 8
_MAX_REVOKED: Final = 65_536
_APPLICATION: Final = 0x636C6F67  # "clog"
_VERSION: Final = 1
_SCHEMA: Final = f"""
    BEGIN IMMEDIATE;
    CREATE TABLE logs (origin TEXT PRIMARY KEY, memory BLOB NOT NULL) STRICT;
    CREATE TABLE statements (origin TEXT PRIMARY KEY, latest BLOB NOT NULL) STRICT;
    CREATE TABLE revoked (
        origin TEXT NOT NULL,
        kind TEXT NOT NULL,
        digest BLOB NOT NULL CHECK (length(digest) = 32),
        PRIMARY KEY (origin, kind, digest)
    ) STRICT;
    PRAGMA application_id = {_APPLICATION};
    PRAGMA user_version = {_VERSION};
    COMMIT;
"""


class Advanced(Protocol):
    """What came out of reading a log: `LogNews` is one."""

    @property
    def trusted(self) -> TrustedLog:
        """What is to be remembered from now on."""
        ...


_News = TypeVar("_News", bound=Advanced)


@final
class SqliteTrustedLogs:
    """The memory of one reader."""

    def __init__(self, path: Path | None) -> None:
        """Keep it in the file `path`, which is made when it is opened, or in this object alone."""
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._lock = anyio.Lock()

    async def open(self) -> None:
        """Open the file, or make it. Raises `BackendError` for a damaged one, `ConfigError` if others may write it."""
        self._connection = await self._run(partial(_open, self._path))

    async def read(self, origin: str) -> TrustedLog:
        """Return what is remembered of a log: one of size 0 was never seen. Raises `BackendError`."""
        return await self._transact(partial(_read_log, origin=origin))

    async def advance(self, origin: str, step: Callable[[TrustedLog], Awaitable[_News]]) -> _News:
        """Have `step` read the log from what is remembered on; remember what it returns, then return it.

        If another process remembered more meanwhile, `step` is called again with that: what was shown to add to an
        older tree is not known to add to the newer one. What `step` admits of statements it has to admit before it
        returns: what is remembered of them else lags behind the log if the process ends. What it raises leaves
        everything as it is. Raises `BackendError`, and `BusyError` if others are quicker all the time.
        """
        for _ in range(_ATTEMPTS):
            before = await self.read(origin)
            news = await step(before)
            _require_growth(before, news.trusted)
            if await self._transact(partial(_replace_log, before=before, after=news.trusted)):
                return news
        raise BusyError("other processes advance the memory of the log all the time", got=origin, hint="Try again")

    async def admit(self, verified: VerifiedStatement, *, origin: str) -> None:
        """Remember a statement that the log `origin` proved, and what it revokes if it does.

        Raises `TransparencyError` for an older one than was admitted, `LimitError` for too many, and `BackendError`.
        Then nothing is remembered.
        """
        await self._transact(partial(_admit, verified=verified, origin=origin))

    async def revoked(self, origin: str) -> frozenset[tuple[RevokedKind, bytes]]:
        """Return all that admitted statements of a log revoked: part of a `StatementPolicy`. Raises `BackendError`."""
        return await self._transact(partial(_read_revoked, origin=origin))

    async def aclose(self) -> None:
        """Close the file. Idempotent."""
        with anyio.CancelScope(shield=True):
            async with self._lock:
                connection, self._connection = self._connection, None
                if connection is not None:
                    await anyio.to_thread.run_sync(connection.close)

    async def _transact(self, change: Callable[[sqlite3.Connection], _Result]) -> _Result:
        if self._connection is None:
            raise BackendError("the memory of logs is not open")
        return await self._run(partial(_in_transaction, self._connection, change))

    async def _run(self, function: Callable[[], _Result]) -> _Result:
        """Run a statement in a thread, one at a time, and to its end: half of one would be in nobody's hands."""
        async with self._lock:
            with _our_errors(self._path):
                return await anyio.to_thread.run_sync(function)


@contextmanager
def _our_errors(path: Path | None) -> Generator[None]:
    """Turn errors of the file into ours. What cannot be read is an error: forgetting it is for its owner to decide."""
    try:
        yield
    except sqlite3.OperationalError as exc:
        raise BackendError(f"the memory of logs {path} cannot be used: {exc}") from exc
    except (sqlite3.Error, _DamagedError) as exc:
        raise BackendError(
            f"the memory of logs {path} is damaged: {exc}",
            hint="Restore it from a copy. Whoever deletes it begins anew, and can be shown an old tree",
        ) from exc


class _DamagedError(Exception):
    """The file is not what this module wrote."""


def _open(path: Path | None) -> sqlite3.Connection:
    if path is None:
        return _connect(":memory:", prepare=_write_schema)
    try:
        if not path.exists():
            _make(path)
        if path.stat().st_mode & 0o022:
            raise ConfigError(f"others may write the memory of logs {path}", hint=f"Type: chmod 600 {path}")
    except OSError as exc:
        raise BackendError(f"the memory of logs {path} cannot be opened: {exc.strerror}") from exc
    return _connect(str(path), prepare=_check)


def _connect(name: str, *, prepare: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
    connection = sqlite3.connect(name, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        # There is one file, without a log beside it that could be lost; and it is on the disk when a change returns.
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA synchronous = EXTRA")
        prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _write_schema(connection: sqlite3.Connection) -> None:
    connection.executescript(_SCHEMA)


def _make(path: Path) -> None:
    """Make the file as a whole, so that an empty one was never ours. Who comes second takes that of the first."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(descriptor)
    try:
        _connect(name, prepare=_write_schema).close()
        with suppress(FileExistsError):
            os.link(name, path)
        _sync_folder(path.parent)
    finally:
        Path(name).unlink()


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check(connection: sqlite3.Connection) -> None:
    """Refuse what this version did not write, and pages that do not fit together."""
    application, version = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    )
    if application != _APPLICATION:
        raise _DamagedError("it is empty, or of something else")
    if version != _VERSION:
        raise ConfigError("the memory of logs is of another version", got=version, want=_VERSION)
    ((found, *_), *_) = connection.execute("PRAGMA integrity_check(1)").fetchall()
    if found != "ok":
        raise _DamagedError("its pages do not fit together")


def _in_transaction(connection: sqlite3.Connection, change: Callable[[sqlite3.Connection], _Result]) -> _Result:
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = change(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result


def _read_log(connection: sqlite3.Connection, origin: str) -> TrustedLog:
    row = connection.execute("SELECT memory FROM logs WHERE origin = ?", (origin,)).fetchone()
    if row is None:
        return TrustedLog(origin)
    with _readable():
        trusted = TrustedLog.decode(row[0])
    if trusted.origin != origin:
        raise _DamagedError("a log has the memory of another")
    return trusted


def _replace_log(connection: sqlite3.Connection, *, before: TrustedLog, after: TrustedLog) -> bool:
    """Remember `after` if `before` is still what is remembered; tell whether it was."""
    if _read_log(connection, before.origin) != before:
        return False
    if after == before:
        return True
    connection.execute(
        "INSERT INTO logs VALUES (?, ?) ON CONFLICT DO UPDATE SET memory = excluded.memory",
        (after.origin, after.encode()),
    )
    return True


def _require_growth(before: TrustedLog, after: TrustedLog) -> None:
    """Refuse what no `TrustedLog.advance` returns."""
    older = before.fresh_since is not None and (after.fresh_since is None or after.fresh_since < before.fresh_since)
    if after.origin != before.origin or after.size < before.size or older:
        raise LocalProtocolError("the memory of a log does not go back", got=after.size, want=before.size)
    if after.size == before.size and after.root != before.root:
        raise LocalProtocolError("the memory of a log does not go sideways", got=after.size)


def _admit(connection: sqlite3.Connection, *, verified: VerifiedStatement, origin: str) -> None:
    row = connection.execute("SELECT latest FROM statements WHERE origin = ?", (origin,)).fetchone()
    with _readable():
        latest = LatestStatements() if row is None else LatestStatements.decode(row[0])
    latest.admit(verified)
    connection.execute(
        "INSERT INTO statements VALUES (?, ?) ON CONFLICT DO UPDATE SET latest = excluded.latest",
        (origin, latest.encode()),
    )
    if isinstance(verified.predicate, Revocation):
        rows = [(origin, item.kind.value, item.digest) for item in verified.predicate.revoked]
        connection.executemany("INSERT OR IGNORE INTO revoked VALUES (?, ?, ?)", rows)
        (count,) = connection.execute("SELECT count(*) FROM revoked WHERE origin = ?", (origin,)).fetchone()
        if count > _MAX_REVOKED:
            raise LimitError("too much is revoked to remember it", got=count, want=f"at most {_MAX_REVOKED}")


def _read_revoked(connection: sqlite3.Connection, origin: str) -> frozenset[tuple[RevokedKind, bytes]]:
    rows = connection.execute("SELECT kind, digest FROM revoked WHERE origin = ?", (origin,)).fetchall()
    with _readable():
        return frozenset((RevokedKind(kind), digest) for kind, digest in rows)


@contextmanager
def _readable() -> Generator[None]:
    try:
        yield
    except (DecodeError, ValueError) as exc:
        raise _DamagedError(str(exc)) from exc
