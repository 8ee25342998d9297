"""Redeeming tokens at the router: what makes a `TokenCheck` of the directory's challenge and keys, and a store.

The signature is checked before the store is asked, so that a flood of invented tokens costs no disk. A store that is
down lets nothing through.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Final, final

import anyio
from attrs import frozen

from confsec.backends.api import Clock, Spend, TokenStore
from confsec.backends.system import now as system_now
from confsec.errors import BackendError, ConfigError, ConfsecError, DecodeError, TokenError
from confsec.protocol.directory import ServiceDirectory
from confsec.protocol.privacy_pass import verify_token
from confsec.protocol.token_challenge import TokenChallenge
from confsec.protocol.token_http import AuthChallenge, TokenCredentials, encode_www_authenticate
from confsec.protocol.token_keys import TokenKeyring

__all__ = ["TokenRedeemer"]

_REREAD: Final = 30.0
_SWEEP: Final = 3600.0


@frozen
class _Accepted:
    """What is taken now."""

    challenge: TokenChallenge
    keyring: TokenKeyring
    origin: str


@final
class TokenRedeemer:
    """Takes tokens that answer the directory's challenge, signed by its keys, once each."""

    def __init__(self, directory: Path, store: TokenStore, *, grace: timedelta, clock: Clock = system_now) -> None:
        """Redeem by the directory file at `directory`. The store belongs to this object, which closes it.

        `grace` is how long tokens still pay after their key's time. Raises `ConfigError` for a directory that cannot be
        read or names no issuer.
        """
        self._directory = directory
        self._store = store
        self._grace = grace
        self._now = clock
        self._accepted = self._read()

    @property
    def www_authenticate(self) -> str:
        """The field that tells a client without a token what is asked for (RFC 9577, section 2.1)."""
        now, accepted = self._now(), self._accepted
        current = [epoch.key for epoch in accepted.keyring.epochs if epoch.not_before <= now < epoch.not_after]
        return encode_www_authenticate(AuthChallenge(accepted.challenge.encode(), key.to_spki()) for key in current)

    async def spend(self, authorization: str | None, header_digest: bytes) -> None:
        """Verify the token and spend it. Raises `TokenError`, one class for each reason, and `BackendError`."""
        await self._store.spend(self._verified(authorization, header_digest))

    async def release(self, authorization: str | None, header_digest: bytes) -> None:
        """Undo `spend`: no node received a byte. Raises `BackendError`."""
        await self._store.release(self._verified(authorization, header_digest))

    async def watch(self) -> None:
        """Read the directory again and again, for new keys, and forget tokens whose key no longer pays."""
        swept = anyio.current_time()
        while True:
            await anyio.sleep(_REREAD)
            self._reread()
            if anyio.current_time() - swept >= _SWEEP:
                swept = anyio.current_time()
                await self._sweep()

    async def aclose(self) -> None:
        """Close the store. Idempotent."""
        await self._store.aclose()

    def _read(self) -> _Accepted:
        try:
            directory = ServiceDirectory.from_toml(self._directory.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigError(f"the directory {self._directory} cannot be read") from exc
        if directory.issuer is None:
            raise ConfigError(f"the directory {self._directory} names no issuer", hint="Its table [issuer] is missing")
        keyring = TokenKeyring(directory.issuer.token_keys, grace=self._grace)
        return _Accepted(directory.issuer.token_challenge, keyring, directory.router_authority)

    def _reread(self) -> None:
        """Take a new directory over; one that cannot be read leaves the old one in force."""
        try:
            self._accepted = self._read()
        except ConfsecError:
            return

    async def _sweep(self) -> None:
        try:
            await self._store.sweep(self._now())
        except BackendError:
            return  # what has expired can be forgotten an hour later as well

    def _verified(self, authorization: str | None, header_digest: bytes) -> Spend:
        try:
            token = TokenCredentials.decode(authorization).token
        except DecodeError as exc:
            raise TokenError("the token cannot be read", section="RFC 9577, section 2.2") from exc
        accepted = self._accepted
        epoch = verify_token(
            token,
            challenges=[accepted.challenge],
            origin=accepted.origin,
            keyring=accepted.keyring,
            now=self._now(),
        )
        return Spend(
            token_key_id=epoch.key.token_key_id,
            token_id=token.token_id(),
            request_digest=header_digest,
            expires_at=accepted.keyring.expires_at(epoch),
        )
