"""Spent tokens in PostgreSQL: what several routers share.

A group of spends is one statement and one transaction, durable when it returns: synchronous_commit is on whatever the
server's default is, and a server with fsync off is refused. psycopg's blocking API runs in the store's thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final, LiteralString, final

from attrs import frozen

from confsec.backends.api import Spend
from confsec.backends.postgres import DurableConnection
from confsec.backends.token_store_threaded import PAGE_ROWS, Page, Swept, ThreadedTokenStore, milliseconds

__all__ = ["postgres_token_store"]

_VERSION: Final = 1

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

# Digests travel as one value that PostgreSQL cuts up: psycopg takes longer over an array than over all else.
_GIVEN: Final[LiteralString] = """
    (
        SELECT
            substr(%(token_ids)b, 32 * place::integer - 31, 32) AS token_id,
            substr(%(request_digests)b, 32 * place::integer - 31, 32) AS request_digest,
            expires_at
        FROM unnest(%(expiries)s::bigint[]) WITH ORDINALITY AS expiries(expires_at, place)
    ) AS given
    CROSS JOIN confsec_token_store
"""

# In the order of their ids, so that two routers with the same tokens never wait for each other both ways.
_SPEND: Final[LiteralString] = f"""
    INSERT INTO confsec_spent_tokens
    SELECT token_id, request_digest, FALSE, expires_at FROM {_GIVEN}
    WHERE expires_at > swept_until ORDER BY token_id
    ON CONFLICT DO NOTHING RETURNING token_id
"""

_SPEND_AGAIN: Final[LiteralString] = f"""
    UPDATE confsec_spent_tokens AS spent SET released = FALSE FROM {_GIVEN}
    WHERE spent.token_id = given.token_id AND spent.request_digest = given.request_digest
        AND spent.released AND given.expires_at > swept_until
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

_Parameters = dict[str, bytes | str]

_AFTER_ALL: Final = b"\xff" * 33
"""Greater than any token id."""


def postgres_token_store(conninfo: str, *, unsafe_volatile: bool = False) -> ThreadedTokenStore:
    """Return a store in the database that `conninfo` names: a URL or what else libpq reads.

    The tables are made by whoever comes first. With `unsafe_volatile` the server may lose what it confirmed, and tokens
    can be spent twice after a crash. Raises `ConfigError` for what is no conninfo.
    """
    parameters = DurableConnection.parameters(conninfo)
    return ThreadedTokenStore(partial(_PostgresSession, parameters, unsafe_volatile=unsafe_volatile), _prepare)


@final
@frozen
class _SpendGroup:
    spends: Sequence[Spend]

    first: dict[bytes, int]
    """For each token id, the place of its first spend."""

    parameters: _Parameters
    """Those first spends."""


@final
class _PostgresSession:
    """A connection to the database."""

    def __init__(self, parameters: dict[str, Any], *, unsafe_volatile: bool) -> None:
        self._connection = DurableConnection.open(parameters, unsafe_volatile=unsafe_volatile)
        try:
            self._connection.make_tables(_SCHEMA, versions="confsec_token_store", version=_VERSION)
        except BaseException:
            self._connection.close()
            raise

    def spend(self, group: _SpendGroup) -> Sequence[bool]:
        """Insert what is new; then look whether the rest was released for the same request."""
        new = self._changed(_SPEND, group.parameters)
        count = len(group.spends)
        if len(new) == count:
            return [True] * count
        accepted = {group.first[token_id] for (token_id,) in new}
        accepted |= self._spend_again(group.spends, [place for place in range(count) if place not in accepted])
        return [place in accepted for place in range(count)]

    def _spend_again(self, spends: Sequence[Spend], places: Sequence[int]) -> set[int]:
        """Spend what is released for the same request, and return in which places."""
        rows = self._changed(_SPEND_AGAIN, _parameters([spends[place] for place in places]))
        first: dict[tuple[bytes, ...], int] = {}
        for place in places:
            first.setdefault((spends[place].token_id, spends[place].request_digest), place)
        return {first[row] for row in rows}

    def _changed(self, statement: LiteralString, parameters: _Parameters) -> list[tuple[bytes, ...]]:
        """Run a statement on a group and return the rows that it changed."""
        return self._connection.execute(statement, parameters, prepare=True, binary=True).fetchall()

    def release(self, spends: Sequence[Spend]) -> None:
        """Mark a group as released."""
        self._connection.execute(_RELEASE, _parameters(spends), prepare=True)

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
        last = self._connection.value(_PAGE_END, page.after)
        bounds = (page.after, _AFTER_ALL if last is None else last, page.now)
        return Swept(self._connection.execute(_SWEEP, bounds).rowcount, last)

    def check(self) -> None:
        """Ask the server for a sign of life."""
        self._connection.execute("SELECT 1")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _prepare(spends: Sequence[Spend]) -> _SpendGroup:
    first: dict[bytes, int] = {}
    for place, spend in enumerate(spends):
        first.setdefault(spend.token_id, place)
    return _SpendGroup(spends, first, _parameters([spends[place] for place in first.values()]))


def _parameters(spends: Sequence[Spend]) -> _Parameters:
    return {
        "token_ids": b"".join([spend.token_id for spend in spends]),
        "request_digests": b"".join([spend.request_digest for spend in spends]),
        "expiries": "{" + ",".join([str(milliseconds(spend.expires_at)) for spend in spends]) + "}",
    }
