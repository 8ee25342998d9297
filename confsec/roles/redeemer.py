"""Redeeming tokens at the router: what makes `TokenCheck` of a challenge, the issuer's keys and a store.

The signature is checked before the store is asked, so that a flood of invented tokens costs no disk. A store that is
down lets nothing through.
"""

from __future__ import annotations

from typing import final

from confsec.backends.api import Clock, Spend, TokenStore
from confsec.backends.system import now as system_now
from confsec.errors import DecodeError, TokenError
from confsec.protocol.privacy_pass import verify_token
from confsec.protocol.token_challenge import TokenChallenge
from confsec.protocol.token_http import AuthChallenge, TokenCredentials, encode_www_authenticate
from confsec.protocol.token_keys import TokenKeyring

__all__ = ["TokenRedeemer"]


@final
class TokenRedeemer:
    """Takes tokens that answer one challenge, signed by the issuer's keys, once each."""

    def __init__(
        self,
        challenge: TokenChallenge,
        keyring: TokenKeyring,
        store: TokenStore,
        *,
        origin: str,
        clock: Clock = system_now,
    ) -> None:
        """Redeem for `origin`, the router's name. The store belongs to this object, which closes it."""
        self._challenge = challenge
        self._keyring = keyring
        self._store = store
        self._origin = origin
        self._now = clock

    @property
    def www_authenticate(self) -> str:
        """The field that tells a client without a token what is asked for (RFC 9577, section 2.1)."""
        now = self._now()
        current = [epoch.key for epoch in self._keyring.epochs if epoch.not_before <= now < epoch.not_after]
        return encode_www_authenticate(AuthChallenge(self._challenge.encode(), key.to_spki()) for key in current)

    async def spend(self, authorization: str | None, header_digest: bytes) -> None:
        """Verify the token and spend it. Raises `TokenError`, one class for each reason, and `BackendError`."""
        await self._store.spend(self._verified(authorization, header_digest))

    async def release(self, authorization: str | None, header_digest: bytes) -> None:
        """Undo `spend`: no node received a byte. Raises `BackendError`."""
        await self._store.release(self._verified(authorization, header_digest))

    async def sweep(self) -> int:
        """Forget tokens whose key no longer pays, and return how many."""
        return await self._store.sweep(self._now())

    async def aclose(self) -> None:
        """Close the store. Idempotent."""
        await self._store.aclose()

    def _verified(self, authorization: str | None, header_digest: bytes) -> Spend:
        try:
            token = TokenCredentials.decode(authorization).token
        except DecodeError as exc:
            raise TokenError("the token cannot be read", section="RFC 9577, section 2.2") from exc
        epoch = verify_token(
            token, challenges=[self._challenge], origin=self._origin, keyring=self._keyring, now=self._now()
        )
        return Spend(
            token_key_id=epoch.key.token_key_id,
            token_id=token.token_id(),
            request_digest=header_digest,
            expires_at=self._keyring.expires_at(epoch),
        )
