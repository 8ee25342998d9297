"""The wallet's journal in a SQLite file, or in memory: what is asked for, unspent, in doubt, and spent.

Each change is one transaction that is on the disk when the call returns. Several processes may share a file: SQLite
decides who comes first, and no token is handed out twice. The file holds bearer coins, so it has mode 0600.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Final, TypeAlias, TypeVar, final

import anyio.to_thread
from attrs import field, frozen

from confsec.errors import BackendError, ConfigError
from confsec.protocol.privacy_pass import PendingToken
from confsec.protocol.token_messages import Token
from confsec.protocol.wire import Reader, encode_vector

__all__ = ["Issuance", "SqliteWalletStore", "TakenToken", "TokenKind", "WalletCounts"]

_T = TypeVar("_T")

_VERSION: Final = 1
_BUSY_SECONDS: Final = 10.0

_SCHEMA: Final = f"""
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS issuances (
        request_id TEXT PRIMARY KEY,
        token_key_id BLOB NOT NULL,
        pending BLOB NOT NULL, -- what takes the blinding off
        expires_at REAL NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS tokens (
        id INTEGER PRIMARY KEY,
        token BLOB NOT NULL UNIQUE,
        state TEXT NOT NULL CHECK (state IN ('unspent', 'in doubt', 'spent')),
        expires_at REAL NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS tokens_by_state ON tokens (state, expires_at);
    PRAGMA user_version = {_VERSION};
    COMMIT;
"""


TokenKind: TypeAlias = bytes
"""Which challenge a token answers, and which key signed it: the digest of the one and the id of the other."""


@frozen
class Issuance:
    """A request for tokens that was or will be sent: repeated, it is the same request and costs nothing."""

    request_id: str
    """By which the issuer knows a repetition: 32 hexadecimal digits."""

    token_key_id: bytes
    """Which of the issuer's keys shall sign."""

    pending: tuple[PendingToken, ...] = field(repr=False)
    """What was blinded, and what takes the blinding off."""

    expires_at: datetime
    """When the key stops signing: then the request is of no use."""


@frozen
class TakenToken:
    """A token that is in doubt from now on: it is sent for one request, or never."""

    id: int
    """The token's number in the wallet."""

    token: Token = field(repr=False)
    """The token."""


@frozen
class WalletCounts:
    """What a wallet holds. `fetched` is the sum of the others, at any moment."""

    unspent: int
    """Tokens that can be spent, or have expired unspent."""

    in_doubt: int
    """Tokens that were taken, and of which nobody has said what became of them. They are never sent again."""

    spent: int
    """Tokens that paid, or were given up."""

    asked_for: int
    """Tokens whose issuance is under way."""

    @property
    def fetched(self) -> int:
        """All tokens that the issuer signed for this wallet."""
        return self.unspent + self.in_doubt + self.spent


@final
class SqliteWalletStore:
    """A journal. Calls run in threads, one at a time."""

    def __init__(self, path: Path | None) -> None:
        """Keep the journal at `path`, or in memory. The file is opened by the first call."""
        self._path = path
        self._lock = Lock()
        self._connection: sqlite3.Connection | None = None
        self._closed = False

    async def begin(self, issuance: Issuance) -> None:
        """Write down a request before it is sent."""
        row = (
            issuance.request_id,
            issuance.token_key_id,
            _encode_pending(issuance.pending),
            issuance.expires_at.timestamp(),
        )
        await self._run(lambda db: db.execute("INSERT INTO issuances VALUES (?, ?, ?, ?)", row))

    async def open_issuances(self) -> tuple[Issuance, ...]:
        """Return the requests that were written down and have no answer yet, the oldest first."""
        rows = await self._run(lambda db: db.execute("SELECT * FROM issuances ORDER BY rowid").fetchall())
        return tuple(
            Issuance(request_id, key_id, _decode_pending(pending), datetime.fromtimestamp(expires_at, UTC))
            for request_id, key_id, pending, expires_at in rows
        )

    async def finish(self, issuance: Issuance, tokens: Sequence[Token], *, expires_at: datetime) -> None:
        """Take in the tokens of a request, once: if another process was quicker, nothing happens."""
        rows = [(token.encode(), expires_at.timestamp()) for token in tokens]

        def finish(db: sqlite3.Connection) -> None:
            if db.execute("DELETE FROM issuances WHERE request_id = ?", (issuance.request_id,)).rowcount:
                db.executemany("INSERT INTO tokens (token, state, expires_at) VALUES (?, 'unspent', ?)", rows)

        await self._run(finish)

    async def take(self, now: datetime, kinds: Sequence[TokenKind], *, at_random: int) -> TakenToken | None:
        """Mark a token of one of these kinds as in doubt and return it; None if there is none that can be spent now.

        Which one is drawn by the number `at_random`: the order of issuance says nothing about the order of spending.
        """
        condition, values = _unspent(now, kinds)

        def take(db: sqlite3.Connection) -> TakenToken | None:
            (count,) = db.execute(f"SELECT count(*) FROM tokens WHERE {condition}", values).fetchone()  # noqa: S608
            if not count:
                return None
            found = f"SELECT id, token FROM tokens WHERE {condition} ORDER BY id LIMIT 1 OFFSET ?"  # noqa: S608
            number, token = db.execute(found, (*values, at_random % count)).fetchone()
            db.execute("UPDATE tokens SET state = 'in doubt' WHERE id = ?", (number,))
            return TakenToken(number, Token.decode(token))

        return await self._run(take)

    async def settle(self, taken: TakenToken) -> None:
        """Mark a token that was taken as spent: it paid, or it was given up."""
        settled = "UPDATE tokens SET state = 'spent' WHERE id = ? AND state = 'in doubt'"
        await self._run(lambda db: db.execute(settled, (taken.id,)))

    async def counts(self, now: datetime | None = None, kinds: Sequence[TokenKind] | None = None) -> WalletCounts:
        """Count the tokens; of the unspent ones with `now` only those that can be spent then, and of these kinds."""
        condition, values = _unspent(now, kinds)

        def count(db: sqlite3.Connection) -> WalletCounts:
            states = dict(db.execute("SELECT state, count(*) FROM tokens GROUP BY state").fetchall())
            pending = db.execute("SELECT pending FROM issuances").fetchall()
            asked_for = sum(len(_decode_pending(each)) for (each,) in pending)
            (fresh,) = db.execute(f"SELECT count(*) FROM tokens WHERE {condition}", values).fetchone()  # noqa: S608
            return WalletCounts(fresh, states.get("in doubt", 0), states.get("spent", 0), asked_for)

        return await self._run(count)

    async def export(self) -> tuple[tuple[Token, datetime], ...]:
        """Take all unspent tokens out of the wallet and return them, with their expiry: they are spent here."""

        def export(db: sqlite3.Connection) -> list[tuple[bytes, float]]:
            rows = db.execute("SELECT token, expires_at FROM tokens WHERE state = 'unspent'").fetchall()
            db.execute("UPDATE tokens SET state = 'spent' WHERE state = 'unspent'")
            return rows

        rows = await self._run(export)
        return tuple((Token.decode(token), datetime.fromtimestamp(expires_at, UTC)) for token, expires_at in rows)

    async def add(self, tokens: Sequence[tuple[Token, datetime]]) -> int:
        """Put tokens into the wallet, and return how many it did not have."""
        rows = [(token.encode(), expires_at.timestamp()) for token, expires_at in tokens]
        insert = "INSERT OR IGNORE INTO tokens (token, state, expires_at) VALUES (?, 'unspent', ?)"
        return await self._run(lambda db: db.executemany(insert, rows).rowcount)

    async def drop_issuance(self, issuance: Issuance) -> None:
        """Forget a request that the issuer will not sign any more."""
        await self._run(lambda db: db.execute("DELETE FROM issuances WHERE request_id = ?", (issuance.request_id,)))

    async def aclose(self) -> None:
        """Close the file. Idempotent."""
        await anyio.to_thread.run_sync(self._close)

    async def _run(self, change: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run one transaction in a thread. A cancelled caller leaves it whole: done, or not begun."""
        return await anyio.to_thread.run_sync(self._transact, change)

    def _transact(self, change: Callable[[sqlite3.Connection], _T]) -> _T:
        with self._lock, _our_errors(self._path):
            if self._closed:
                raise BackendError("the wallet is closed")
            if self._connection is None:
                self._connection = _open(self._path)
            with self._connection as db:
                db.execute("BEGIN IMMEDIATE")
                return change(db)

    def _close(self) -> None:
        with self._lock:
            self._closed = True
            if self._connection is not None:
                self._connection.close()


def _open(path: Path | None) -> sqlite3.Connection:
    if path is not None:
        # Made with its mode, so that there is no moment at which others could open it.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"the wallet {path} is open to others", hint=f"Type: chmod 600 {path}")
    db = sqlite3.connect(path or ":memory:", timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")  # a token that was handed out must never look unspent after a crash
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version not in {0, _VERSION}:
        db.close()
        raise ConfigError(f"the wallet {path} is of a later version", got=version, want=_VERSION)
    db.executescript(_SCHEMA)
    return db


@contextmanager
def _our_errors(path: Path | None) -> Generator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as exc:
        raise BackendError(f"the wallet {path or 'in memory'} does not work: {exc}") from exc


def _encode_pending(pending: Sequence[PendingToken]) -> bytes:
    return b"".join(encode_vector(each.encode(), 4) for each in pending)


def _unspent(now: datetime | None, kinds: Sequence[TokenKind] | None) -> tuple[str, tuple[float | bytes, ...]]:
    """Return the condition for unspent tokens that can be spent at this time, and are of these kinds."""
    condition, after = "state = 'unspent' AND expires_at > ?", now.timestamp() if now else float("-inf")
    if kinds is None:
        return condition, (after,)
    # A token begins with its type, its nonce, the challenge digest and the key's id (RFC 9577, section 2.2).
    return f"{condition} AND substr(token, 35, 64) IN ({', '.join('?' * len(kinds))})", (after, *kinds)


def _decode_pending(data: bytes) -> tuple[PendingToken, ...]:
    reader = Reader(data, "the pending tokens of a wallet")
    pending = []
    while reader.remaining:
        pending.append(PendingToken.decode(reader.vector(4)))
    return tuple(pending)
