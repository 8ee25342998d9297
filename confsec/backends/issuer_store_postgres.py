"""An issuer's books in PostgreSQL: what several issuers share.

A group of charges is one transaction, durable when it returns. It holds the rows of the accounts that it charges, so
two issuers cannot both see room in one quota.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, LiteralString, final

from confsec.backends.issuer_store import Account, Charge, Usage
from confsec.backends.issuer_store_threaded import PAGE_ROWS, AccountChange, IssuerLedger, ThreadedIssuerStore
from confsec.backends.postgres import DurableConnection
from confsec.backends.token_store_threaded import milliseconds
from confsec.errors import ConfsecError

__all__ = ["postgres_issuer_store"]

_VERSION: Final = 1  # stands in the schema, too
_SWEEP_LOCK: Final = 0x636F6E66_69737372  # "confissr"

_SCHEMA: Final[LiteralString] = """
    CREATE TABLE confsec_issuer_accounts (
        account_id text PRIMARY KEY,
        salt bytea NOT NULL,
        key_hash bytea NOT NULL,
        quota bigint NOT NULL,
        created_at bigint NOT NULL, -- seconds since 1970
        label text NOT NULL,
        revoked boolean NOT NULL
    );
    CREATE TABLE confsec_issuer_requests (
        account_id text NOT NULL,
        request_id bytea NOT NULL,
        request_digest bytea NOT NULL,
        expires_at bigint NOT NULL, -- milliseconds since 1970
        PRIMARY KEY (account_id, request_id)
    );
    CREATE INDEX confsec_issuer_requests_expire ON confsec_issuer_requests (expires_at);
    CREATE TABLE confsec_issuer_usage (
        account_id text NOT NULL,
        token_key_id bytea NOT NULL,
        tokens bigint NOT NULL,
        expires_at bigint NOT NULL,
        PRIMARY KEY (account_id, token_key_id)
    );
    CREATE TABLE confsec_issuer (version integer NOT NULL, swept_until bigint NOT NULL);
    INSERT INTO confsec_issuer VALUES (1, 0)
"""

_ACCOUNT: Final[LiteralString] = (
    "SELECT account_id, salt, key_hash, quota, created_at, label, revoked FROM confsec_issuer_accounts"
)

# In the order of their ids, so that two issuers never wait for each other both ways.
_LOCK_ACCOUNTS: Final[LiteralString] = (
    _ACCOUNT + " WHERE account_id = ANY(%s::text[]) ORDER BY account_id FOR NO KEY UPDATE"
)
_DIGESTS: Final[LiteralString] = """
    SELECT account_id, request_id, request_digest FROM confsec_issuer_requests
    JOIN unnest(%s::text[], %s::bytea[]) AS given(account_id, request_id) USING (account_id, request_id)
"""
_USED: Final[LiteralString] = """
    SELECT account_id, token_key_id, tokens FROM confsec_issuer_usage
    JOIN unnest(%s::text[], %s::bytea[]) AS given(account_id, token_key_id) USING (account_id, token_key_id)
"""
_INSERT: Final[LiteralString] = """
    INSERT INTO confsec_issuer_requests SELECT * FROM unnest(%s::text[], %s::bytea[], %s::bytea[], %s::bigint[])
"""
_COUNT: Final[LiteralString] = """
    INSERT INTO confsec_issuer_usage SELECT * FROM unnest(%s::text[], %s::bytea[], %s::bigint[], %s::bigint[])
    ON CONFLICT (account_id, token_key_id) DO UPDATE SET tokens = excluded.tokens
"""
_CHANGE: Final[LiteralString] = """
    UPDATE confsec_issuer_accounts
    SET quota = coalesce(%s::bigint, quota), revoked = coalesce(%s::boolean, revoked) WHERE account_id = %s
"""
_SWEEP: Final[LiteralString] = """
    DELETE FROM confsec_issuer_requests
    WHERE ctid = ANY(ARRAY(SELECT ctid FROM confsec_issuer_requests WHERE expires_at <= %s LIMIT %s))
"""


def postgres_issuer_store(conninfo: str, *, unsafe_volatile: bool = False) -> ThreadedIssuerStore:
    """Return a store in the database that `conninfo` names: a URL or what else libpq reads.

    The tables are made by whoever comes first. With `unsafe_volatile` the server may lose what it confirmed, and tokens
    may have cost nothing after a crash. Raises `ConfigError` for what is no conninfo.
    """
    parameters = DurableConnection.parameters(conninfo)
    return ThreadedIssuerStore(partial(_PostgresSession, parameters, unsafe_volatile=unsafe_volatile))


@final
class _PostgresSession:
    """A connection to the database."""

    def __init__(self, parameters: dict[str, Any], *, unsafe_volatile: bool) -> None:
        self._connection = DurableConnection.open(parameters, unsafe_volatile=unsafe_volatile)
        try:
            self._connection.make_tables(_SCHEMA, versions="confsec_issuer", version=_VERSION)
        except BaseException:
            self._connection.close()
            raise

    def charge(self, charges: Sequence[Charge]) -> Sequence[bool | ConfsecError]:
        """Charge a group in one transaction."""
        with self._connection.transaction():
            ledger = self._read_ledger(charges)
            outcomes = ledger.enter_all(charges)
            if ledger.charged:
                self._write(ledger)
        return outcomes

    def _read_ledger(self, charges: Sequence[Charge]) -> IssuerLedger:
        run = self._connection.execute
        # Whoever sweeps waits for us, or we for him: nothing is deleted yet, or the floor is raised already.
        run("SELECT pg_advisory_xact_lock_shared(%s)", (_SWEEP_LOCK,))
        swept_until = self._connection.value("SELECT swept_until FROM confsec_issuer")
        account_ids = [charge.account_id for charge in charges]
        accounts = [_account(row) for row in run(_LOCK_ACCOUNTS, (account_ids,))]
        # From here on nobody else charges these accounts, and each statement sees all that was charged before.
        requests = run(_DIGESTS, (account_ids, [charge.request_id for charge in charges]))
        epochs = run(_USED, (account_ids, [charge.token_key_id for charge in charges]))
        return IssuerLedger(
            accounts={account.account_id: account for account in accounts},
            digests={(row[0], row[1]): row[2] for row in requests},
            used={(row[0], row[1]): row[2] for row in epochs},
            swept_until=swept_until,
        )

    def _write(self, ledger: IssuerLedger) -> None:
        charged, counts = ledger.charged, ledger.changed_usage()
        self._connection.execute(
            _INSERT,
            (
                [charge.account_id for charge in charged],
                [charge.request_id for charge in charged],
                [charge.request_digest for charge in charged],
                [milliseconds(charge.expires_at) for charge in charged],
            ),
        )
        self._connection.execute(
            _COUNT,
            (
                [usage.account_id for usage in counts],
                [usage.token_key_id for usage in counts],
                [usage.tokens for usage in counts],
                [milliseconds(usage.expires_at) for usage in counts],
            ),
        )

    def find_accounts(self, account_ids: Sequence[str]) -> Sequence[Account | None]:
        """Return accounts, each in its place."""
        rows = self._connection.execute(_ACCOUNT + " WHERE account_id = ANY(%s::text[])", (list(account_ids),))
        found = {row[0]: _account(row) for row in rows}
        return [found.get(account_id) for account_id in account_ids]

    def add_account(self, account: Account) -> None:
        """Add an account."""
        self._connection.execute(
            "INSERT INTO confsec_issuer_accounts VALUES (%s, %s, %s, %s, %s, %s, %s)",
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
        return self._connection.execute(_CHANGE, (change.quota, change.revoked, change.account_id)).rowcount > 0

    def accounts(self) -> list[Account]:
        """Return all accounts in the order of their making."""
        return [_account(row) for row in self._connection.execute(_ACCOUNT + " ORDER BY created_at, account_id")]

    def usage(self) -> list[Usage]:
        """Return all counts."""
        rows = self._connection.execute("SELECT * FROM confsec_issuer_usage ORDER BY account_id, expires_at")
        return [
            Usage(account_id=row[0], token_key_id=row[1], tokens=row[2], expires_at=_time(row[3] / 1000))
            for row in rows
        ]

    def raise_floor(self, until: int) -> None:
        """Refuse charges that expire no later, once those under way have ended."""
        with self._connection.transaction():
            self._connection.execute("SELECT pg_advisory_xact_lock(%s)", (_SWEEP_LOCK,))
            self._connection.execute("UPDATE confsec_issuer SET swept_until = greatest(swept_until, %s)", (until,))

    def sweep_page(self, until: int) -> int:
        """Forget a page of requests, and with the first the counts."""
        with self._connection.transaction():
            self._connection.execute("DELETE FROM confsec_issuer_usage WHERE expires_at <= %s", (until,))
            return self._connection.execute(_SWEEP, (until, PAGE_ROWS)).rowcount

    def check(self) -> None:
        """Ask the server for a sign of life."""
        self._connection.execute("SELECT 1")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _account(row: tuple[Any, ...]) -> Account:
    return Account(
        account_id=row[0],
        salt=row[1],
        key_hash=row[2],
        quota=row[3],
        created_at=_time(row[4]),
        label=row[5],
        revoked=row[6],
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
