"""The keys of an issuer in their epochs: which of them are published, which sign, and when that changes.

An epoch's key is published before its time and signs until its time is over; operators let epochs overlap. Clocks
differ, so a key signs a little before and after the time that is published: whoever still takes the epoch before to be
the current one, or already the next one, is not refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol, final

from attrs import frozen

from confsec.backends.api import BlindSigner
from confsec.protocol.privacy_pass import BatchTokenIssuer, TokenIssuer
from confsec.protocol.token_directory import IssuerDirectory
from confsec.protocol.token_keys import BLIND_RSA, TokenKey, TokenKeyEpoch, TokenKeyring

__all__ = ["FixedIssuerKeys", "IssuerKeys", "IssuerRing", "SigningKey"]

_NO_GRACE: Final = timedelta(0)
"""An issuer's keyring is not asked what pays."""


@final
@frozen(kw_only=True, eq=False)
class SigningKey:
    """A key that signs, and the time of its epoch."""

    signer: BlindSigner
    """What signs. It belongs to the `IssuerKeys` that it came from."""

    not_before: datetime
    """From when on clients shall use it: aware."""

    not_after: datetime
    """Until when: aware."""


class IssuerKeys(Protocol):
    """Where an issuer's keys come from."""

    async def load(self, ended: datetime) -> Sequence[SigningKey]:
        """Return the keys as they are now, except those whose epoch had ended at `ended`.

        A key that was there before is the same object. Raises `ConfigError` for keys that cannot be used, and
        `BackendError` for a device that does not answer.
        """
        ...

    async def aclose(self) -> None:
        """Close all signers. Idempotent."""
        ...


@final
class FixedIssuerKeys:
    """Keys that do not change: what embedders and tests give to an issuer."""

    def __init__(self, keys: Sequence[SigningKey]) -> None:
        self._keys = tuple(keys)

    async def load(self, ended: datetime) -> Sequence[SigningKey]:
        """Return the keys."""
        return [key for key in self._keys if ended < key.not_after]

    async def aclose(self) -> None:
        """Close their signers."""
        for key in self._keys:
            await key.signer.aclose()


@final
class IssuerRing:
    """The keys of an issuer at one time. Immutable: when keys change there is a new ring."""

    def __init__(self, keys: Sequence[SigningKey], *, clock_difference: timedelta) -> None:
        """Arrange `keys`. Raises `ConfigError` if two of one time cannot be told apart, and `DecodeError`."""
        self._clock_difference = clock_difference
        epochs = [
            TokenKeyEpoch(TokenKey(BLIND_RSA, key.signer.public_key), key.not_before, key.not_after) for key in keys
        ]
        self._by_id = {epoch.key.token_key_id: key for epoch, key in zip(epochs, keys, strict=True)}
        self._published = TokenKeyring(epochs, grace=_NO_GRACE)
        self._signing = TokenKeyring((self._widened(epoch) for epoch in epochs), grace=_NO_GRACE)

    def signs(self, now: datetime) -> bool:
        """Say whether there is a key that clients shall use now."""
        return any(epoch.not_before <= now < epoch.not_after for epoch in self._published.epochs)

    def directory(self, request_uri: str, now: datetime) -> IssuerDirectory:
        """Describe the keys to clients."""
        return IssuerDirectory.of(request_uri, self._published, now=now)

    def next_change(self, now: datetime) -> datetime | None:
        """Return when the directory becomes another one, if nobody adds a key."""
        times = {time for epoch in self._published.epochs for time in (epoch.not_before, epoch.not_after)}
        return min((time for time in times if time > now), default=None)

    def token_issuer(self, now: datetime) -> TokenIssuer:
        """Return a machine for one token request."""
        return TokenIssuer(self._signing, now=now)

    def batch_token_issuer(self, now: datetime) -> BatchTokenIssuer:
        """Return a machine for a batch."""
        return BatchTokenIssuer(self._signing, now=now)

    def signer(self, token_key_id: bytes) -> BlindSigner:
        """Return what signs with a key of this ring."""
        return self._by_id[token_key_id].signer

    def expires_at(self, token_key_id: bytes) -> datetime:
        """Return when a key of this ring signs nothing any more: then nobody has to remember who asked."""
        return self._by_id[token_key_id].not_after + self._clock_difference

    def _widened(self, epoch: TokenKeyEpoch) -> TokenKeyEpoch:
        return TokenKeyEpoch(
            epoch.key, epoch.not_before - self._clock_difference, epoch.not_after + self._clock_difference
        )
