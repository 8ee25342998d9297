"""Spent tokens over several stores, by token key and the first byte of the token's id.

Each token belongs to one store, so a store that is down stops its share of the tokens and no others. A new token key
may have other stores than the one before: so stores are added and retired at the turn of an epoch, and nothing moves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import final

from confsec.backends.api import Spend, TokenStore
from confsec.errors import BackendError, ConfigError

__all__ = ["PartitionedTokenStore"]


@final
class PartitionedTokenStore:
    """A `TokenStore` over others, which are this object's own and closed with it.

    All routers have to be given the same stores in the same order: else a token has several homes and can be spent in
    each of them.
    """

    def __init__(
        self, stores: Sequence[TokenStore], *, by_key: Mapping[bytes, Sequence[TokenStore]] | None = None
    ) -> None:
        """Divide tokens evenly over `stores`, but those of a token key id in `by_key` over the stores named there.

        Raises `ConfigError` for a division over none, or over more than there are first bytes.
        """
        self._stores = tuple(stores)
        self._by_key = {token_key_id: tuple(few) for token_key_id, few in (by_key or {}).items()}
        for each in (self._stores, *self._by_key.values()):
            if not 1 <= len(each) <= 256:
                raise ConfigError("tokens cannot be divided over so many stores", got=len(each), want="1 to 256")

    async def spend(self, spend: Spend) -> None:
        """Spend a token where it belongs: see `TokenStore.spend`."""
        await self._home(spend).spend(spend)

    async def release(self, spend: Spend) -> None:
        """Release a token where it belongs: see `TokenStore.release`."""
        await self._home(spend).release(spend)

    async def sweep(self, now: datetime) -> int:
        """Sweep all stores, also after one of them failed: see `TokenStore.sweep`."""
        rows, failure = 0, None
        for store in self._all():
            try:
                rows += await store.sweep(now)
            except BackendError as exc:
                failure = exc
        if failure is not None:
            raise failure
        return rows

    async def aclose(self) -> None:
        """Close all stores. Idempotent."""
        for store in self._all():
            await store.aclose()

    def _home(self, spend: Spend) -> TokenStore:
        stores = self._by_key.get(spend.token_key_id, self._stores)
        return stores[spend.token_id[0] * len(stores) // 256]

    def _all(self) -> list[TokenStore]:
        """Return each store once: keys may share some."""
        return list(dict.fromkeys([*self._stores, *(store for few in self._by_key.values() for store in few)]))
