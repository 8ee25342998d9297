"""Accounts of an issuer: their API keys, and how much at once each of them may ask for.

An API key is `csk_<account id>_<secret>`. The store has the account id and a salted hash, so whoever reads the store
can ask for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from hmac import compare_digest
from typing import Final, Self, final

from attrs import field, frozen

from confsec.backends.issuer_store import Account
from confsec.backends.system import monotonic as system_monotonic
from confsec.errors import AccountError, AccountRevokedError, ConfigError, DecodeError, RateLimitError
from confsec.protocol.machine import RandBytes
from confsec.protocol.wire import decode_base64url, encode_base64url

__all__ = ["MAX_LABEL", "ApiKey", "RateLimiter", "bearer_key", "new_account", "verify_api_key"]

MAX_LABEL: Final = 200
"""The longest label of an account, in characters."""

_ID_SIZE: Final = 8
_SECRET_SIZE: Final = 32
_SALT_SIZE: Final = 16
_PATTERN: Final = re.compile(r"csk_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_HASH_LABEL: Final = b"confsec issuer account v1\x00"


@final
@frozen
class ApiKey:
    """What a client shows to the issuer: whoever has it can use up the account's quota."""

    account_id: str
    """The public part."""

    secret: bytes = field(repr=False)
    """32 random bytes."""

    @classmethod
    def draw(cls, randbytes: RandBytes) -> Self:
        """Draw a new key for a new account."""
        return cls(randbytes(_ID_SIZE).hex(), randbytes(_SECRET_SIZE))

    @classmethod
    def decode(cls, text: str) -> Self:
        """Read a key as `encode` writes it. Raises `AccountError`, which does not quote it."""
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise AccountError("this is no API key of an issuer", want="csk_… as it was printed")
        try:
            return cls(match[1], decode_base64url(match[2]))
        except DecodeError:
            raise AccountError("this is no API key of an issuer", want="csk_… as it was printed") from None

    def encode(self) -> str:
        return f"csk_{self.account_id}_{encode_base64url(self.secret)}"

    def hash(self, salt: bytes) -> bytes:
        """Return the salted hash that the store keeps."""
        # The secret has 256 bits of its own. What slow hashes are for, guessing passwords, is hopeless here; and a hash
        # that takes long would let anybody keep the issuer busy.
        return sha256(_HASH_LABEL + salt + self.secret).digest()


_NOBODY: Final = bytes(_SALT_SIZE)
"""The salt that unknown account ids are hashed with, so that they take as long as known ones."""


def new_account(*, quota: int, label: str, now: datetime, randbytes: RandBytes) -> tuple[Account, ApiKey]:
    """Make an account and its key, which is nowhere else. Raises `ConfigError`."""
    if quota < 0:
        raise ConfigError("a quota is negative", got=quota)
    if len(label) > MAX_LABEL or not label.isprintable():
        raise ConfigError("a label is too long or has characters that cannot be printed", want=f"{MAX_LABEL} at most")
    key, salt = ApiKey.draw(randbytes), randbytes(_SALT_SIZE)
    account = Account(
        account_id=key.account_id,
        salt=salt,
        key_hash=key.hash(salt),
        quota=quota,
        created_at=now.replace(microsecond=0),
        label=label,
    )
    return account, key


def bearer_key(authorization: str | None) -> ApiKey:
    """Return the key of an Authorization field (RFC 6750, section 2.1). Raises `AccountError`."""
    scheme, _, credentials = (authorization or "").partition(" ")
    if scheme.lower() != "bearer":
        raise AccountError("the request has no API key", want="Authorization: Bearer", section="RFC 6750, section 2.1")
    return ApiKey.decode(credentials.strip(" "))


def verify_api_key(key: ApiKey, account: Account | None) -> Account:
    """Check a key against the account of its id, or against none. Raises `AccountError` and `AccountRevokedError`.

    Takes the same time for a wrong secret and an unknown account, and says the same.
    """
    found = compare_digest(key.hash(account.salt if account else _NOBODY), account.key_hash if account else bytes(32))
    if account is None or not found:
        raise AccountError("there is no account with this API key")
    if account.revoked:
        raise AccountRevokedError("the account is revoked")
    return account


@final
class RateLimiter:
    """How much each account may ask for at once: a bucket of `burst` tokens, into which `rate` flow every second.

    Only those who have shown their key get a bucket, so there are never more than accounts.
    """

    def __init__(self, *, rate: float, burst: int, monotonic: Callable[[], float] = system_monotonic) -> None:
        self._rate = rate
        self._burst_seconds = burst / rate
        self._monotonic = monotonic
        self._full_at: dict[str, float] = {}

    def take(self, account_id: str, tokens: int) -> None:
        """Take tokens out of the account's bucket. Raises `RateLimitError`, and takes nothing then."""
        now = self._monotonic()
        full_at = max(now, self._full_at.get(account_id, now)) + tokens / self._rate
        if full_at - now > self._burst_seconds:
            raise RateLimitError("too many tokens at once", hint="Try again in a moment")
        self._full_at[account_id] = full_at

    def discard_full(self) -> None:
        """Forget the buckets that are full: they are like new ones."""
        now = self._monotonic()
        self._full_at = {account_id: full_at for account_id, full_at in self._full_at.items() if full_at > now}
