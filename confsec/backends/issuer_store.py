"""What an issuer remembers: accounts, what they had in each epoch, and under which ids they asked.

Of a token request it keeps account, request id and SHA-256 until the epoch ends. Nothing here knows a blinded message,
a signature, or what a token was spent for.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol, final

from attrs import field, frozen

from confsec.errors import LocalProtocolError

__all__ = ["Account", "AccountStore", "Charge", "IssuerStore", "Usage"]


@final
@frozen(kw_only=True)
class Account:
    """Somebody who may have tokens."""

    account_id: str
    """The public part of the API key: 16 hexadecimal digits."""

    salt: bytes = field(repr=False)
    """What the key is hashed with: 16 bytes."""

    key_hash: bytes = field(repr=False)
    """The salted SHA-256 of the secret part of the API key: 32 bytes."""

    quota: int
    """How many tokens it may have in each epoch."""

    created_at: datetime
    """When it was made: aware, whole seconds."""

    label: str = ""
    """What the operator calls it."""

    revoked: bool = False
    """It gets nothing more."""


@final
@frozen(kw_only=True)
class Charge:
    """A request for tokens, as a store remembers it."""

    account_id: str
    """Who pays."""

    request_id: bytes
    """What the client calls the request: 16 bytes of its choice."""

    request_digest: bytes
    """SHA-256 of the token request: 32 bytes."""

    tokens: int
    """How many tokens it asks for: at least one."""

    token_key_id: bytes
    """The epoch, named by the key that shall sign: 32 bytes."""

    expires_at: datetime
    """When the key no longer signs, clock differences included: aware. The same for all charges of a key."""

    def __attrs_post_init__(self) -> None:
        if (len(self.request_id), len(self.request_digest), len(self.token_key_id)) != (16, 32, 32):
            raise LocalProtocolError("a charge has an id or a digest of another size")
        if self.tokens < 1 or self.expires_at.tzinfo is None:
            raise LocalProtocolError("a charge is for nothing, or for a time without a zone")


@final
@frozen(kw_only=True)
class Usage:
    """How much an account had in an epoch."""

    account_id: str
    """Who."""

    token_key_id: bytes
    """The epoch, named by its key."""

    tokens: int
    """How many tokens were charged."""

    expires_at: datetime
    """When the epoch ends."""


class IssuerStore(Protocol):
    """What the issuer asks while it serves. Several issuers may hold a handle to the same store.

    All methods raise `BackendError` when the store does not answer, and its subclass `BusyError` when nothing was done:
    both may be tried again. After `aclose` they raise `LocalProtocolError`.
    """

    async def find_account(self, account_id: str) -> Account | None:
        """Return an account, or None if there is none. Whether it is revoked stands in it."""
        ...

    async def charge(self, charge: Charge) -> bool:
        """Charge an account: atomically, and durably before this returns. Say whether anything was charged now.

        A repetition, which has the same digest under the same id, costs nothing. Raises `RequestIdError` for another
        digest, `QuotaError` if the account may not have so much more in this epoch, `AccountError` if there is no such
        account, `AccountRevokedError`, and `TokenEpochError` for an epoch that was swept. Then nothing was charged.
        After a `BackendError` nobody knows; the same charge, repeated, finds out.
        """
        ...

    async def sweep(self, now: datetime) -> int:
        """Forget what expires no later than `now`, and refuse such charges from then on. Returns how many requests."""
        ...

    async def aclose(self) -> None:
        """Finish what is under way and close. Idempotent."""
        ...


class AccountStore(Protocol):
    """What the operator asks, beside a running issuer. Raises as `IssuerStore`."""

    async def add_account(self, account: Account) -> None:
        """Add an account, durably. Raises `BackendError` if there is one of this id."""
        ...

    async def change_account(self, account_id: str, *, quota: int | None = None, revoked: bool | None = None) -> None:
        """Set what is given, for all charges that follow. Raises `AccountError` if there is no such account."""
        ...

    async def accounts(self) -> Sequence[Account]:
        """Return all accounts in the order of their making."""
        ...

    async def usage(self) -> Sequence[Usage]:
        """Return what was charged in the epochs that are not swept."""
        ...
