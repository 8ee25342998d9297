"""What the issuer's stores have in common: the rules of the ledger, and the thread that owns the connection.

A store is a session: the few statements that it takes, in the language of its database. See `group_commit`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol, final

from attrs import define, field, frozen

from confsec.backends.group_commit import GroupCommit, Session
from confsec.backends.issuer_store import Account, Charge, Usage
from confsec.backends.token_store_threaded import milliseconds
from confsec.errors import (
    AccountError,
    AccountRevokedError,
    ConfsecError,
    QuotaError,
    RequestIdError,
    TokenEpochError,
)

__all__ = ["PAGE_ROWS", "AccountChange", "IssuerLedger", "IssuerSession", "ThreadedIssuerStore"]

PAGE_ROWS: Final = 4096
"""Rows that a sweep deletes in one transaction, so that charges between two of them do not wait."""


@final
@define(kw_only=True)
class IssuerLedger:
    """The page of the books that concerns some charges: read in one transaction, and written in the same one.

    The rules are here, once for all databases. Nobody else may change what stands on the page meanwhile.
    """

    accounts: Mapping[str, Account]
    """The accounts that are charged, by id. Those that are missing do not exist."""

    digests: dict[tuple[str, bytes], bytes]
    """By account and request id: the digest that was charged before."""

    used: dict[tuple[str, bytes], int]
    """By account and epoch: how many tokens it had."""

    swept_until: int
    """What expires no later is forgotten: milliseconds since 1970."""

    charged: list[Charge] = field(factory=list[Charge])
    """What is new on the page, in order."""

    def enter_all(self, charges: Iterable[Charge]) -> list[bool | ConfsecError]:
        """Enter charges one after the other. Each is entered (True), a repetition (False), or refused."""
        return [self._outcome(charge) for charge in charges]

    def _outcome(self, charge: Charge) -> bool | ConfsecError:
        try:
            return self.enter(charge)
        except ConfsecError as exc:
            return exc

    def enter(self, charge: Charge) -> bool:
        """Enter a charge: see `IssuerStore.charge`."""
        # 1. The account is there and open, also for what it has paid before.
        account = self.accounts.get(charge.account_id)
        if account is None:
            raise AccountError("there is no such account")
        if account.revoked:
            raise AccountRevokedError("the account is revoked")
        # 2. An id is for one request and its repetitions.
        digest = self.digests.get((charge.account_id, charge.request_id))
        if digest is not None:
            if digest != charge.request_digest:
                raise RequestIdError("another request came under this id before", hint="Draw a new id for it")
            return False
        # 3. What was swept may have been charged before: nobody can tell any more.
        if milliseconds(charge.expires_at) <= self.swept_until:
            raise TokenEpochError("the epoch of this token key is over")
        # 4. The quota has room for all of it.
        epoch = (charge.account_id, charge.token_key_id)
        used = self.used.get(epoch, 0) + charge.tokens
        if used > account.quota:
            raise QuotaError("the account's quota for this epoch is used up", got=used, want=f"at most {account.quota}")
        self.used[epoch] = used
        self.digests[charge.account_id, charge.request_id] = charge.request_digest
        self.charged.append(charge)
        return True

    def changed_usage(self) -> list[Usage]:
        """Return the new counts of the accounts and epochs that were charged, in one order for everybody."""
        epochs = {(charge.account_id, charge.token_key_id): charge.expires_at for charge in self.charged}
        return [
            Usage(account_id=epoch[0], token_key_id=epoch[1], tokens=self.used[epoch], expires_at=epochs[epoch])
            for epoch in sorted(epochs)
        ]


@final
@frozen(kw_only=True)
class AccountChange:
    """What shall be different about an account."""

    account_id: str
    """Which one."""

    quota: int | None
    """The new quota, or None to leave it."""

    revoked: bool | None
    """Whether it is revoked, or None to leave it."""


class IssuerSession(Session, Protocol):
    """A connection to a database, used by one thread. Each method is a durable transaction, and may raise anything."""

    def charge(self, charges: Sequence[Charge]) -> Sequence[bool | ConfsecError]:
        """Enter charges into an `IssuerLedger`, and write what is new. Return what became of each."""
        ...

    def find_accounts(self, account_ids: Sequence[str]) -> Sequence[Account | None]:
        """Return accounts, each in its place."""
        ...

    def add_account(self, account: Account) -> None:
        """Add an account."""
        ...

    def change_account(self, change: AccountChange) -> bool:
        """Change an account, and return whether there was one."""
        ...

    def accounts(self) -> list[Account]:
        """Return all accounts in the order of their making."""
        ...

    def usage(self) -> list[Usage]:
        """Return all counts."""
        ...

    def raise_floor(self, until: int) -> None:
        """Refuse charges that expire no later than this, in milliseconds since 1970. Then none is under way."""
        ...

    def sweep_page(self, until: int) -> int:
        """Forget some of those that expire no later, and return how many requests; none are left when it is 0."""
        ...


@final
class ThreadedIssuerStore:
    """An `IssuerStore` and `AccountStore` over sessions, of which one is open at a time, in a thread of its own."""

    def __init__(self, open_session: Callable[[], IssuerSession]) -> None:
        """Prepare a store. `open_session` is called in the thread, when something is asked and after each failure."""
        self._commit = GroupCommit(open_session)

    async def find_account(self, account_id: str) -> Account | None:
        """Return an account: see `IssuerStore.find_account`."""
        return await self._commit.do(_find, account_id)

    async def charge(self, charge: Charge) -> bool:
        """Charge an account, together with what other tasks charge: see `IssuerStore.charge`."""
        outcome = await self._commit.do(_charge, charge)
        if isinstance(outcome, ConfsecError):
            raise outcome
        return outcome

    async def sweep(self, now: datetime) -> int:
        """Forget what has expired, page by page between charges: see `IssuerStore.sweep`."""
        until, requests = milliseconds(now), 0
        await self._commit.do(_raise_floor, until)
        while page := await self._commit.do(_sweep_page, until):
            requests += page
        return requests

    async def add_account(self, account: Account) -> None:
        """Add an account: see `AccountStore.add_account`."""
        await self._commit.do(_add, account)

    async def change_account(self, account_id: str, *, quota: int | None = None, revoked: bool | None = None) -> None:
        """Change an account: see `AccountStore.change_account`."""
        if not await self._commit.do(_change, AccountChange(account_id=account_id, quota=quota, revoked=revoked)):
            raise AccountError("there is no such account", got=account_id)

    async def accounts(self) -> Sequence[Account]:
        """Return all accounts: see `AccountStore.accounts`."""
        return await self._commit.do(_accounts, None)

    async def usage(self) -> Sequence[Usage]:
        """Return all counts: see `AccountStore.usage`."""
        return await self._commit.do(_usage, None)

    async def aclose(self) -> None:
        """Commit what waits, close the connection and end the thread. Idempotent."""
        await self._commit.aclose()


def _find(session: IssuerSession, account_ids: Sequence[str]) -> Sequence[Account | None]:
    return session.find_accounts(account_ids)


def _charge(session: IssuerSession, charges: Sequence[Charge]) -> Sequence[bool | ConfsecError]:
    return session.charge(charges)


def _raise_floor(session: IssuerSession, floors: Sequence[int]) -> Sequence[None]:
    session.raise_floor(max(floors))
    return [None] * len(floors)


def _sweep_page(session: IssuerSession, floors: Sequence[int]) -> Sequence[int]:
    return [session.sweep_page(floor) for floor in floors]


def _add(session: IssuerSession, accounts: Sequence[Account]) -> Sequence[None]:
    for account in accounts:
        session.add_account(account)
    return [None] * len(accounts)


def _change(session: IssuerSession, changes: Sequence[AccountChange]) -> Sequence[bool]:
    return [session.change_account(change) for change in changes]


def _accounts(session: IssuerSession, calls: Sequence[None]) -> Sequence[list[Account]]:
    return [session.accounts() for _ in calls]


def _usage(session: IssuerSession, calls: Sequence[None]) -> Sequence[list[Usage]]:
    return [session.usage() for _ in calls]
