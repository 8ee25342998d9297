"""Spent tokens in PostgreSQL: what several routers share.

A group of spends is one statement and one transaction, durable when it returns: synchronous_commit is on whatever the
server's default is, and a server with fsync off is refused. psycopg's blocking API runs in the store's thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final, LiteralString, TypeVar, final

from confsec.backends.api import Spend
from confsec.backends.token_store_threaded import PAGE_ROWS, Page, Swept, ThreadedTokenStore, milliseconds
from confsec.errors import BackendError, ConfigError, MissingExtraError

try:
    import psycopg
    import psycopg.abc
    import psycopg.conninfo
except ImportError as exc:
    raise MissingExtraError("psycopg", extra="postgres") from exc

__all__ = ["postgres_token_store"]

_T = TypeVar("_T")

_VERSION: Final = 1
_SCHEMA_LOCK: Final = 0x636F6E66  # "conf": a number that other programs on the database hardly use
_SECONDS: Final = 10
"""How long a statement or the server's silence may last."""

_DEFAULTS: Final = {
    "application_name": "confsec",
    "connect_timeout": "5",
    "target_session_attrs": "read-write",  # of several hosts the primary; a standby cannot remember anything
    "tcp_user_timeout": f"{_SECONDS * 1000}",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
}

# Stricter than "on" is left as it is: remote_apply waits for a standby as well.
_SETTINGS: Final[LiteralString] = f"""
    SELECT set_config('synchronous_commit', 'on', FALSE) WHERE current_setting('synchronous_commit') <> 'remote_apply';
    SELECT set_config('statement_timeout', '{_SECONDS}s', FALSE)
"""

_SCHEMA: Final[LiteralString] = f"""
    CREATE TABLE confsec_spent_tokens (
        token_id bytea PRIMARY KEY,
        request_digest bytea NOT NULL,
        released boolean NOT NULL,
        expires_at bigint NOT NULL -- milliseconds since 1970
    );
    CREATE TABLE confsec_token_store (version integer NOT NULL, swept_until bigint NOT NULL);
    INSERT INTO confsec_token_store VALUES ({_VERSION}, 0)
"""

_GIVEN: Final[LiteralString] = """
    unnest(%(token_ids)b::bytea[], %(request_digests)b::bytea[], %(expiries)b::bigint[])
        AS given(token_id, request_digest, expires_at)
    CROSS JOIN confsec_token_store
"""

# In the order of their ids, so that two routers with the same tokens never wait for each other both ways.
_SPEND: Final[LiteralString] = f"""
    INSERT INTO confsec_spent_tokens
    SELECT token_id, request_digest, FALSE, expires_at FROM {_GIVEN}
    WHERE expires_at > swept_until ORDER BY token_id
    ON CONFLICT DO NOTHING RETURNING token_id, request_digest
"""

_SPEND_AGAIN: Final[LiteralString] = f"""
    UPDATE confsec_spent_tokens AS spent SET released = FALSE FROM {_GIVEN}
    WHERE spent.token_id = given.token_id AND spent.request_digest = given.request_digest
        AND spent.released AND spent.expires_at > swept_until
    RETURNING spent.token_id, spent.request_digest
"""

_RELEASE: Final[LiteralString] = f"""
    UPDATE confsec_spent_tokens AS spent SET released = TRUE FROM {_GIVEN}
    WHERE spent.token_id = given.token_id AND spent.request_digest = given.request_digest
"""

_PAGE_END: Final[LiteralString] = (
    f"SELECT token_id FROM confsec_spent_tokens WHERE token_id > %b ORDER BY token_id LIMIT 1 OFFSET {PAGE_ROWS - 1}"
)
_SWEEP: Final[LiteralString] = (
    "DELETE FROM confsec_spent_tokens WHERE token_id > %b AND token_id <= %b AND expires_at <= %b"
)

_AFTER_ALL: Final = b"\xff" * 33
"""Greater than any token id."""


def postgres_token_store(conninfo: str, *, unsafe_volatile: bool = False) -> ThreadedTokenStore:
    """Return a store in the database that `conninfo` names: a URL or what else libpq reads.

    The tables are made by whoever comes first. With `unsafe_volatile` the server may lose what it confirmed, and tokens
    can be spent twice after a crash. Raises `ConfigError` for what is no conninfo.
    """
    try:
        parameters: dict[str, Any] = _DEFAULTS | dict(psycopg.conninfo.conninfo_to_dict(conninfo))
    except psycopg.Error as exc:
        raise ConfigError("this is no connection string of PostgreSQL") from exc  # it may hold a password
    return ThreadedTokenStore(partial(_PostgresSession, parameters, unsafe_volatile=unsafe_volatile))


@final
class _Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that waits for a bounded time, also for a server that acknowledges packets and never answers."""

    def wait(self, gen: psycopg.abc.PQGen[_T], interval: float = 0.1, timeout: float | None = None) -> _T:
        """Run one step of the protocol. Raises `psycopg.OperationalError`."""
        return super().wait(gen, interval, timeout=2 * _SECONDS if timeout is None else timeout)


@final
class _PostgresSession:
    """A connection to the database."""

    def __init__(self, parameters: dict[str, Any], *, unsafe_volatile: bool) -> None:
        self._connection = _Connection.connect(**parameters, autocommit=True)
        try:
            self._prepare(unsafe_volatile=unsafe_volatile)
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self, *, unsafe_volatile: bool) -> None:
        self._connection.execute(_SETTINGS)
        fsync = self._value("SHOW fsync")
        if fsync != "on" and not unsafe_volatile:
            raise BackendError(
                "PostgreSQL would forget spent tokens at a power failure", got=f"fsync {fsync}", want="on"
            )
        with self._connection.transaction():
            self._connection.execute("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))
            if self._value("SELECT to_regclass('confsec_token_store')") is None:
                self._connection.execute(_SCHEMA)
        version = self._value("SELECT version FROM confsec_token_store")
        if version != _VERSION:
            raise BackendError("the tables are of another version", got=version, want=_VERSION)

    def spend(self, spends: Sequence[Spend]) -> Sequence[bool]:
        """Insert what is new; then look whether the rest was released for the same request."""
        accepted = self._pairs(_SPEND, spends)
        if len(accepted) < len(spends):
            accepted |= self._pairs(_SPEND_AGAIN, [spend for spend in spends if _pair(spend) not in accepted])
        outcomes = []
        for spend in spends:
            outcomes.append(_pair(spend) in accepted)
            accepted.discard(_pair(spend))  # of several equal ones, one is accepted
        return outcomes

    def _pairs(self, statement: LiteralString, spends: Sequence[Spend]) -> set[tuple[Any, ...]]:
        """Run a statement and return token ids and request digests of the rows that it changed."""
        return set(self._connection.execute(statement, _given(spends), prepare=True, binary=True).fetchall())

    def release(self, spends: Sequence[Spend]) -> None:
        """Mark a group as released."""
        self._connection.execute(_RELEASE, _given(spends), prepare=True)

    def raise_floor(self, now: int) -> None:
        """Refuse what expires no later than `now`."""
        with self._connection.transaction():
            self._connection.execute("SET LOCAL lock_timeout = '1s'")
            # Statements under way compare with the floor that was when they began. They end before we get this lock;
            # those that follow see the new floor. A VACUUM of the table makes us fail; the next sweep will do.
            self._connection.execute("LOCK TABLE confsec_spent_tokens IN SHARE ROW EXCLUSIVE MODE")
            self._connection.execute("UPDATE confsec_token_store SET swept_until = greatest(swept_until, %s)", (now,))

    def sweep(self, page: Page) -> Swept:
        """Forget a page."""
        last = self._value(_PAGE_END, page.after)
        bounds = (page.after, _AFTER_ALL if last is None else last, page.now)
        return Swept(self._connection.execute(_SWEEP, bounds).rowcount, last)

    def check(self) -> None:
        """Ask the server for a sign of life."""
        self._connection.execute("SELECT 1")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _value(self, statement: LiteralString, *parameters: object) -> Any:
        row = self._connection.execute(statement, parameters).fetchone()
        return row[0] if row is not None else None


def _pair(spend: Spend) -> tuple[bytes, bytes]:
    return spend.token_id, spend.request_digest


def _given(spends: Sequence[Spend]) -> dict[str, list[bytes] | list[int]]:
    return {
        "token_ids": [spend.token_id for spend in spends],
        "request_digests": [spend.request_digest for spend in spends],
        "expiries": [milliseconds(spend.expires_at) for spend in spends],
    }
