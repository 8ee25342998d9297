"""Spent tokens in a SQLite file: what a router uses that stands alone.

One transaction for each group of spends, in WAL mode with synchronous=FULL: when `spend` returns, the token is on the
disk, and stays there when the process is killed or the power fails. Several processes on one machine may share the
file; a network file system cannot hold it, because WAL needs shared memory.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, Final, final

from confsec.backends.api import Spend
from confsec.backends.token_store_threaded import PAGE_ROWS, Page, Swept, ThreadedTokenStore, milliseconds
from confsec.errors import BackendError

__all__ = ["sqlite_token_store"]

_VERSION: Final = 1
_BUSY_SECONDS: Final = 5.0

_PRAGMAS: Final = (
    "PRAGMA synchronous = FULL",  # with NORMAL a power failure could undo the last spends
    "PRAGMA cache_size = -65536",  # KiB. Keys are random, so every page is as likely as any other
    "PRAGMA temp_store = MEMORY",  # what a statement would need to undo itself, which SQLite keeps for each statement
    "PRAGMA wal_autocheckpoint = 16384",  # pages, 64 MiB: rows of several groups share a page when it moves to the file
)

_SCHEMA: Final = f"""
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS spent (
        token_id BLOB PRIMARY KEY,
        request_digest BLOB NOT NULL,
        released INTEGER NOT NULL,
        expires_at INTEGER NOT NULL -- milliseconds since 1970
    ) WITHOUT ROWID, STRICT;
    CREATE TABLE IF NOT EXISTS sweeps (swept_until INTEGER NOT NULL) STRICT;
    INSERT INTO sweeps SELECT 0 WHERE NOT EXISTS (SELECT * FROM sweeps);
    PRAGMA user_version = {_VERSION};
    COMMIT;
"""

# A group is one statement, not one for each row: Python's sqlite3 gives up the interpreter lock for each step of
# SQLite, and gets it back when the event loop lets go of it.
_SPEND_NEW: Final = "INSERT OR IGNORE INTO spent VALUES {rows}"
_SPEND: Final = "INSERT OR REPLACE INTO spent VALUES {rows}"
_SPEND_ROW: Final = "(?{a}, ?{b}, FALSE, ?{c})"

_REFUSED: Final = """
    WITH given(place, token_id, request_digest, expires_at) AS (VALUES {rows})
    SELECT group_concat(place) FROM given LEFT JOIN spent ON spent.token_id = given.token_id
    WHERE given.expires_at <= (SELECT swept_until FROM sweeps)
        OR NOT (spent.token_id IS NULL OR spent.released AND spent.request_digest = given.request_digest)
"""
_RELEASE: Final = """
    WITH given(place, token_id, request_digest, expires_at) AS (VALUES {rows})
    UPDATE spent SET released = TRUE FROM given
    WHERE spent.token_id = given.token_id AND spent.request_digest = given.request_digest
"""
_GIVEN_ROW: Final = "({place}, ?{a}, ?{b}, ?{c})"

_FLOOR: Final = "SELECT swept_until FROM sweeps"
_RAISE_FLOOR: Final = "UPDATE sweeps SET swept_until = max(swept_until, ?)"
_PAGE_END: Final = f"SELECT token_id FROM spent WHERE token_id > ? ORDER BY token_id LIMIT 1 OFFSET {PAGE_ROWS - 1}"
_SWEEP: Final = "DELETE FROM spent WHERE token_id > ? AND token_id <= ? AND expires_at <= ?"

_Parameters = list[Any]
"""Token id, request digest and expiry of each spend, one after the other."""

_AFTER_ALL: Final = b"\xff" * 33
"""Greater than any token id."""


def sqlite_token_store(path: Path) -> ThreadedTokenStore:
    """Return a store in the file `path`, which is made with the first spend, readable by its owner only."""
    return ThreadedTokenStore(partial(_SqliteSession, path))


@final
class _SqliteSession:
    """A connection to the file."""

    def __init__(self, path: Path) -> None:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        self._met_known = False
        self._connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            self._prepare(path)
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self, path: Path) -> None:
        mode = self._value("PRAGMA journal_mode = WAL")
        if mode != "wal":
            raise BackendError("SQLite cannot keep this file in WAL mode", got=mode, want="wal")
        for pragma in _PRAGMAS:
            self._connection.execute(pragma)
        if self._value("PRAGMA user_version") == 0:
            self._connection.executescript(_SCHEMA)
        version = self._value("PRAGMA user_version")
        if version != _VERSION:
            raise BackendError(f"{path} is of another version", got=version, want=_VERSION)

    def spend(self, spends: Sequence[Spend]) -> Sequence[bool]:
        """Insert a group. Only where some of it is known already, or was in the last group, look which."""
        if not self._met_known and self._spend_new(_parameters(spends), len(spends)):
            return [True] * len(spends)
        with self._transaction():
            accepted = _first_of_each_token(spends, self._refused(spends))
            if accepted:
                self._run(_SPEND, _SPEND_ROW, _parameters([spends[place] for place in accepted]))
        self._met_known = len(accepted) < len(spends)
        taken = set(accepted)
        return [place in taken for place in range(len(spends))]

    def _spend_new(self, parameters: _Parameters, count: int) -> bool:
        """Spend a group if all of it is new. Otherwise change nothing."""
        self._connection.execute("BEGIN IMMEDIATE")
        floor: int = self._value(_FLOOR)
        if min(parameters[2::3]) > floor and self._run(_SPEND_NEW, _SPEND_ROW, parameters).rowcount == count:
            self._connection.execute("COMMIT")
            return True
        self._connection.execute("ROLLBACK")
        return False

    def _refused(self, spends: Sequence[Spend]) -> set[int]:
        """Return the places of those that the tables refuse."""
        places: str | None = self._run(_REFUSED, _GIVEN_ROW, _parameters(spends)).fetchone()[0]
        return {int(place) for place in places.split(",")} if places is not None else set()

    def release(self, spends: Sequence[Spend]) -> None:
        """Release a group in one transaction."""
        with self._transaction():
            self._run(_RELEASE, _GIVEN_ROW, _parameters(spends))

    def raise_floor(self, now: int) -> None:
        """Refuse what expires no later than `now`."""
        self._connection.execute(_RAISE_FLOOR, (now,))

    def sweep(self, page: Page) -> Swept:
        """Forget a page."""
        with self._transaction():
            last: bytes | None = self._value(_PAGE_END, page.after)
            bounds = (page.after, _AFTER_ALL if last is None else last, page.now)
            return Swept(self._connection.execute(_SWEEP, bounds).rowcount, last)

    def check(self) -> None:
        """Do nothing: a file does not go away."""

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Generator[None]:
        """Hold the write lock from the first statement on, so that what was read still holds when it is written."""
        self._connection.execute("BEGIN IMMEDIATE")
        yield  # when this raises, the session is closed, which rolls back
        self._connection.execute("COMMIT")

    def _run(self, statement: str, row: str, parameters: _Parameters) -> sqlite3.Cursor:
        return self._connection.execute(_statement(statement, row, len(parameters) // 3), parameters)

    def _value(self, statement: str, *parameters: object) -> Any:
        row = self._connection.execute(statement, parameters).fetchone()
        return row[0] if row is not None else None


def _parameters(spends: Sequence[Spend]) -> _Parameters:
    """Return what a statement is given for a group, filled up with copies of its last to a power of two.

    So there are few statements, and SQLite keeps them all prepared.
    """
    parameters: _Parameters = []
    for spend in spends:
        parameters += (spend.token_id, spend.request_digest, milliseconds(spend.expires_at))
    size = 1 << (len(spends) - 1).bit_length()
    return parameters + parameters[-3:] * (size - len(spends))


@cache
def _statement(statement: str, row: str, size: int) -> str:
    rows = (row.format(place=place, a=3 * place + 1, b=3 * place + 2, c=3 * place + 3) for place in range(size))
    return statement.format(rows=", ".join(rows))


def _first_of_each_token(spends: Sequence[Spend], refused: set[int]) -> list[int]:
    """Return the places of those that are accepted: of several spends of one token, the first that may be."""
    seen: set[bytes] = set()
    places = []
    for place, spend in enumerate(spends):
        if place not in refused and spend.token_id not in seen:
            seen.add(spend.token_id)
            places.append(place)
    return places
