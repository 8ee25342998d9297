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

from attrs import frozen

from confsec.backends.api import Spend
from confsec.backends.system import randbytes
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
        spent_by INTEGER NOT NULL, -- the group in which it was accepted; 0 when it is released
        expires_at INTEGER NOT NULL -- milliseconds since 1970
    ) WITHOUT ROWID, STRICT;
    CREATE TABLE IF NOT EXISTS sweeps (swept_until INTEGER NOT NULL) STRICT;
    INSERT INTO sweeps SELECT 0 WHERE NOT EXISTS (SELECT * FROM sweeps);
    PRAGMA user_version = {_VERSION};
    COMMIT;
"""

# A group is one statement, not one for each row: Python's sqlite3 gives up the interpreter lock for each step of
# SQLite, and gets it back when the event loop lets go of it. So usually there is one step: ?1 is the group's number and
# ?2 its earliest expiry. If that is not above the floor, the first row gets no number, and is left out for that.
_SPEND_NEW: Final = "INSERT OR IGNORE INTO spent VALUES {rows}"
_SPEND_NEW_ROW: Final = "(?{a}, ?{b}, ?1, ?{c})"
_SPEND_NEW_FIRST: Final = "(?{a}, ?{b}, CASE WHEN ?2 > (SELECT swept_until FROM sweeps) THEN ?1 END, ?{c})"

_GIVEN: Final = "WITH given(place, token_id, request_digest, expires_at) AS (VALUES {rows})"
_GIVEN_ROW: Final = "({place}, ?{a}, ?{b}, ?{c})"
_SAME: Final = "spent.token_id = given.token_id AND spent.request_digest = given.request_digest"

_SPEND_AGAIN: Final = f"{_GIVEN} UPDATE spent SET spent_by = ?1 FROM given WHERE {_SAME} AND spent.spent_by = 0"
_ACCEPTED: Final = f"{_GIVEN} SELECT place FROM given JOIN spent ON {_SAME} WHERE spent.spent_by = ?1"
_RELEASE: Final = f"{_GIVEN} UPDATE spent SET spent_by = ?1 FROM given WHERE {_SAME}"

_FLOOR: Final = "SELECT swept_until FROM sweeps"
_RAISE_FLOOR: Final = "UPDATE sweeps SET swept_until = max(swept_until, ?)"
_PAGE_END: Final = f"SELECT token_id FROM spent WHERE token_id > ? ORDER BY token_id LIMIT 1 OFFSET {PAGE_ROWS - 1}"
_SWEEP: Final = "DELETE FROM spent WHERE token_id > ? AND token_id <= ? AND expires_at <= ?"

_RELEASED: Final = 0

_STEP: Final = 32
"""Statements are of 1, 2, 4, 8, 16, 32, 64, 96, … rows."""


_AFTER_ALL: Final = b"\xff" * 33
"""Greater than any token id."""


def sqlite_token_store(path: Path) -> ThreadedTokenStore:
    """Return a store in the file `path`, which is made with the first spend, readable by its owner only."""
    return ThreadedTokenStore(partial(_SqliteSession, path), _prepare)


@final
@frozen
class _SpendGroup:
    spends: Sequence[Spend]

    parameters: list[Any]
    """The group's number, its earliest expiry; then token id, request digest and expiry of each spend."""


@final
class _SqliteSession:
    """A connection to the file."""

    def __init__(self, path: Path) -> None:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
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

    def spend(self, group: _SpendGroup) -> Sequence[bool]:
        """Insert a group. Only where some of it is known already, or old, look which."""
        count = len(group.spends)
        if self._run(_SPEND_NEW, _SPEND_NEW_ROW, group.parameters, first=_SPEND_NEW_FIRST).rowcount == count:
            return [True] * count
        accepted = self._accepted(group)
        return [place in accepted for place in range(count)]

    def _accepted(self, group: _SpendGroup) -> set[int]:
        """Spend what is new, or released for the same request; return the places of all that this group spent."""
        self._run(_SPEND_NEW, _SPEND_NEW_ROW, group.parameters)
        self._run(_SPEND_AGAIN, _GIVEN_ROW, group.parameters)
        places = [place for (place,) in self._run(_ACCEPTED, _GIVEN_ROW, group.parameters)]
        # The floor is read when all is written: a token that expires later was not forgotten until then, and so would
        # have been found. Of several equal spends, the first is accepted.
        floor: int = self._value(_FLOOR)
        first: dict[bytes, int] = {}
        for place in sorted(places):
            if place < len(group.spends) and milliseconds(group.spends[place].expires_at) > floor:
                first.setdefault(group.spends[place].token_id, place)
        return set(first.values())

    def release(self, spends: Sequence[Spend]) -> None:
        """Release a group in one transaction."""
        self._run(_RELEASE, _GIVEN_ROW, _parameters(_RELEASED, spends))

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

    def _run(self, statement: str, row: str, parameters: list[Any], *, first: str = "") -> sqlite3.Cursor:
        size = len(parameters) // 3  # and two parameters more
        return self._connection.execute(_statement(statement, row, size, first or row), parameters)

    def _value(self, statement: str, *parameters: object) -> Any:
        row = self._connection.execute(statement, parameters).fetchone()
        return row[0] if row is not None else None


def _prepare(spends: Sequence[Spend]) -> _SpendGroup:
    # Nobody else has this number, so what bears it was accepted in this group.
    number = 1 + int.from_bytes(randbytes(7), "big")
    return _SpendGroup(spends, _parameters(number, spends))


def _parameters(number: int, spends: Sequence[Spend]) -> list[Any]:
    """Return what a statement is given for a group, filled up with copies of its last.

    So there are statements of few sizes, and SQLite keeps them all prepared.
    """
    parameters: list[Any] = [number, milliseconds(min(spend.expires_at for spend in spends))]
    for spend in spends:
        parameters += (spend.token_id, spend.request_digest, milliseconds(spend.expires_at))
    size = len(spends)
    size = 1 << (size - 1).bit_length() if size <= _STEP else -(-size // _STEP) * _STEP
    return parameters + parameters[-3:] * (size - len(spends))


@cache
def _statement(statement: str, row: str, size: int, first: str) -> str:
    rows = [
        (row if place else first).format(place=place, a=3 * place + 3, b=3 * place + 4, c=3 * place + 5)
        for place in range(size)
    ]
    return statement.format(rows=", ".join(rows))
