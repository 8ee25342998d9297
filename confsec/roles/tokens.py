"""The seam where tokens are spent: what the router asks before the first byte of a request goes to a node."""

from __future__ import annotations

from typing import Final, Protocol, final

from confsec.protocol.problem import TokenState

__all__ = ["UNSAFE_NO_TOKENS", "Payment", "TokenCheck"]


class TokenCheck(Protocol):
    """Something that redeems tokens."""

    @property
    def www_authenticate(self) -> str:
        """The field that a request without a token is answered with, or nothing where none is taken."""
        ...

    async def watch(self) -> None:
        """Keep keys and store up to date while the router serves. Runs until it is cancelled."""
        ...

    async def aclose(self) -> None:
        """Close what it holds. Idempotent."""
        ...

    async def spend(self, authorization: str | None, header_digest: bytes) -> None:
        """Spend the token in the Authorization field for the sealed request with this header, atomically and durably.

        Returns as well if the same token was spent for the same header and then released. Raises `TokenError` for a
        token that does not pay, and for none; `BackendError` if it cannot be known.
        """
        ...

    async def release(self, authorization: str | None, header_digest: bytes) -> None:
        """Undo `spend`: no node received a byte. Raises `BackendError`."""
        ...


@final
class _NoTokens:
    """Lets every request pass."""

    www_authenticate: Final = ""

    async def watch(self) -> None:
        """Have nothing to do."""

    async def aclose(self) -> None:
        """Have nothing to close."""

    async def spend(self, authorization: str | None, header_digest: bytes) -> None:
        """Do nothing."""

    async def release(self, authorization: str | None, header_digest: bytes) -> None:
        """Do nothing."""


UNSAFE_NO_TOKENS: Final[TokenCheck] = _NoTokens()
"""Nobody pays: anyone who reaches the gateway can use the nodes. Said explicitly, or there is no router."""


@final
class Payment:
    """The token of one request, and what became of it."""

    def __init__(self, check: TokenCheck, authorization: str | None) -> None:
        self._check = check
        self._authorization = authorization
        self._header_digest = b""
        self._spent = False

    @property
    def state(self) -> TokenState | None:
        """What the client is told: nothing if it sent no token."""
        if self._authorization is None:
            return None
        return "spent" if self._spent else "not_spent"

    async def spend(self, header_digest: bytes) -> None:
        """Spend the token. Raises as `TokenCheck.spend`."""
        self._header_digest = header_digest
        await self._check.spend(self._authorization, header_digest)
        self._spent = True

    async def release(self) -> None:
        """Give the token back: no node received a byte."""
        await self._check.release(self._authorization, self._header_digest)
        self._spent = False
