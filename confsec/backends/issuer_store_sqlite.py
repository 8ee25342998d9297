"""An issuer's books in a SQLite file: what an issuer uses that stands alone.

WAL mode with synchronous=FULL: when `charge` returns, the charge is on the disk, and stays there when the process is
killed or the power fails. The role and the command line may have the file open at once, on one machine; a network file
system cannot hold it, because WAL needs shared memory.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, final

from confsec.backends.issuer_store import Account, Charge, Usage
from confsec.backends.issuer_store_threaded import PAGE_ROWS, AccountChange, IssuerLedger, ThreadedIssuerStore
from confsec.backends.token_store_threaded import milliseconds
from confsec.errors import BackendError, ConfsecError

__all__ = ["sqlite_issuer_store"]

_VERSION: Final = 1  # stands in the schema, too
_BUSY_SECONDS: Final = 5.0

_SCHEMA: Final = """
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS accounts (
        account_id TEXT PRIMARY KEY,
        salt BLOB NOT NULL,
        key_hash BLOB NOT NULL,
        quota INTEGER NOT NULL,
        created_at INTEGER NOT NULL, -- seconds since 1970
        label TEXT NOT NULL,
        revoked INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS requests (
        account_id TEXT NOT NULL,
        request_id BLOB NOT NULL,
        request_digest BLOB NOT NULL,
        expires_at INTEGER NOT NULL, -- milliseconds since 1970
        PRIMARY KEY (account_id, request_id)
    ) STRICT;
    CREATE INDEX IF NOT EXISTS requests_expire ON requests (expires_at);
    CREATE TABLE IF NOT EXISTS usage (
        account_id TEXT NOT NULL,
        token_key_id BLOB NOT NULL,
        tokens INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        PRIMARY KEY (account_id, token_key_id)
    ) STRICT;
    CREATE TABLE IF NOT EXISTS sweeps (swept_until INTEGER NOT NULL) STRICT;
    INSERT INTO sweeps SELECT 0 WHERE NOT EXISTS (SELECT * FROM sweeps);
    PRAGMA user_version = 1;
    COMMIT;
"""

_ACCOUNT: Final = "SELECT account_id, salt, key_hash, quota, created_at, label, revoked FROM accounts"
_SWEEP: Final = "DELETE FROM requests WHERE rowid IN (SELECT rowid FROM requests WHERE expires_at <= ? LIMIT ?)"


def sqlite_issuer_store(path: Path) -> ThreadedIssuerStore:
    """Return a store in the file `path`, which is made when something is asked, readable by its owner only."""
    return ThreadedIssuerStore(partial(_SqliteSession, path))


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
        # With NORMAL a power failure could undo the last charges, and their tokens would have cost nothing.
        self._connection.execute("PRAGMA synchronous = FULL")
        if self._value("PRAGMA user_version") == 0:
            self._connection.executescript(_SCHEMA)
        version = self._value("PRAGMA user_version")
        if version != _VERSION:
            raise BackendError(f"{path} is of another version", got=version, want=_VERSION)

    def charge(self, charges: Sequence[Charge]) -> Sequence[bool | ConfsecError]:
        """Charge a group in one transaction."""
        with self._transaction():
            ledger = self._read_ledger(charges)
            outcomes = ledger.enter_all(charges)
            self._write(ledger)
        return outcomes

    def _read_ledger(self, charges: Sequence[Charge]) -> IssuerLedger:
        accounts = self.find_accounts(sorted({charge.account_id for charge in charges}))
        requests = {(charge.account_id, charge.request_id) for charge in charges}
        epochs = {(charge.account_id, charge.token_key_id) for charge in charges}
        digest = "SELECT request_digest FROM requests WHERE account_id = ? AND request_id = ?"
        tokens = "SELECT tokens FROM usage WHERE account_id = ? AND token_key_id = ?"
        return IssuerLedger(
            accounts={account.account_id: account for account in accounts if account is not None},
            digests={key: value for key in requests if (value := self._value(digest, *key)) is not None},
            used={key: value for key in epochs if (value := self._value(tokens, *key)) is not None},
            swept_until=self._value("SELECT swept_until FROM sweeps"),
        )

    def _write(self, ledger: IssuerLedger) -> None:
        self._connection.executemany(
            "INSERT INTO requests VALUES (?, ?, ?, ?)",
            [
                (charge.account_id, charge.request_id, charge.request_digest, milliseconds(charge.expires_at))
                for charge in ledger.charged
            ],
        )
        self._connection.executemany(
            "INSERT INTO usage VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET tokens = excluded.tokens",
            [
                (usage.account_id, usage.token_key_id, usage.tokens, milliseconds(usage.expires_at))
                for usage in ledger.changed_usage()
            ],
        )

    def find_accounts(self, account_ids: Sequence[str]) -> Sequence[Account | None]:
        """Return accounts, each in its place."""
        rows = (self._connection.execute(f"{_ACCOUNT} WHERE account_id = ?", (one,)).fetchone() for one in account_ids)
        return [None if row is None else _account(row) for row in rows]

    def add_account(self, account: Account) -> None:
        """Add an account."""
        self._connection.execute(
            "INSERT INTO accounts VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                account.account_id,
                account.salt,
                account.key_hash,
                account.quota,
                int(account.created_at.timestamp()),
                account.label,
                account.revoked,
            ),
        )

    def change_account(self, change: AccountChange) -> bool:
        """Change an account, and return whether there was one."""
        statement = "UPDATE accounts SET quota = ifnull(?, quota), revoked = ifnull(?, revoked) WHERE account_id = ?"
        return self._connection.execute(statement, (change.quota, change.revoked, change.account_id)).rowcount > 0

    def accounts(self) -> list[Account]:
        """Return all accounts in the order of their making."""
        return [_account(row) for row in self._connection.execute(f"{_ACCOUNT} ORDER BY created_at, rowid")]

    def usage(self) -> list[Usage]:
        """Return all counts."""
        rows = self._connection.execute("SELECT * FROM usage ORDER BY account_id, expires_at")
        return [
            Usage(account_id=row[0], token_key_id=row[1], tokens=row[2], expires_at=_time(row[3] / 1000))
            for row in rows
        ]

    def raise_floor(self, until: int) -> None:
        """Refuse charges that expire no later."""
        self._connection.execute("UPDATE sweeps SET swept_until = max(swept_until, ?)", (until,))

    def sweep_page(self, until: int) -> int:
        """Forget a page of requests, and with the first the counts."""
        with self._transaction():
            self._connection.execute("DELETE FROM usage WHERE expires_at <= ?", (until,))
            return self._connection.execute(_SWEEP, (until, PAGE_ROWS)).rowcount

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

    def _value(self, statement: str, *parameters: object) -> Any:
        row = self._connection.execute(statement, parameters).fetchone()
        return row[0] if row is not None else None


def _account(row: tuple[Any, ...]) -> Account:
    return Account(
        account_id=row[0],
        salt=row[1],
        key_hash=row[2],
        quota=row[3],
        created_at=_time(row[4]),
        label=row[5],
        revoked=bool(row[6]),
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
