"""The wallet: anonymous tokens fetched ahead of need, each spent for one request or never.

A request for tokens is written down before it is sent, and repeated under its id until its answer is in the journal: so
the account pays once, also when the process dies in between. A token is marked before it is sent, so it is never sent
for two requests; one of which nobody knows what became of it stays in doubt.

Tokens are fetched in the background, at a random time and in batches of random size, so that when somebody fetched says
little about when he spends. A wallet that is empty fetches at once, which says more, and the Proof tells it; with
`strict` it waits for the background instead.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, Self, final

import anyio
from attrs import frozen

from confsec.backends import system
from confsec.backends.api import Clock
from confsec.backends.wallet_sqlite import Issuance, SqliteWalletStore, TakenToken, TokenKind, WalletCounts
from confsec.errors import BusyError, ConfsecError, DeadlineError, TokenEpochError, TokenKeyError
from confsec.protocol.directory import IssuerEntry
from confsec.protocol.draw import draw_index
from confsec.protocol.machine import RandBytes
from confsec.protocol.privacy_pass import BatchTokenClient, PendingToken, TokenIssued
from confsec.protocol.token_batch import MAX_BATCH
from confsec.protocol.token_keys import TokenKeyEpoch

__all__ = ["AskIssuer", "Taken", "Wallet", "WalletSettings"]

AskIssuer = Callable[[str, bytes], Awaitable[bytes]]
"""Send a batch request under a request id to the issuer and return the response: `Client` makes one."""

_POLL: Final = 0.2


@frozen(kw_only=True)
class WalletSettings:
    """How a wallet keeps itself filled."""

    low_water: int = 16
    """Fewer unspent tokens than this are filled up in the background."""

    batch: int = 32
    """How many tokens a batch has on average: it has from half to one and a half times as many."""

    max_unspent: int = 128
    """The wallet never holds more than this: tokens expire, and a hoard is a loss if the file is lost."""

    max_delay: float = 30.0
    """Seconds: a batch in the background is fetched at a random time up to this after it is needed."""

    strict: bool = False
    """Wait for the background when the wallet is empty, rather than fetch for the request at hand."""

    strict_timeout: float = 120.0
    """Seconds that a strict wallet waits."""


@frozen
class Taken:
    """A token for one request."""

    token: TakenToken
    """What to send, and how the wallet knows it."""

    prefetched: bool
    """Whether it was there before the request needed it."""


@final
class Wallet:
    """The tokens of one account with one issuer. It belongs to the event loop in which it is used."""

    def __init__(
        self,
        path: Path | None,
        *,
        account: str = "",
        settings: WalletSettings | None = None,
        randbytes: RandBytes = system.randbytes,
        clock: Clock = system.now,
    ) -> None:
        """Keep the journal at `path`, or in memory. Nothing is opened until the first call.

        `account` is the API key that pays for tokens; without it the wallet spends what it has.
        """
        self.account = account
        self._store = SqliteWalletStore(path)
        self._settings = settings or WalletSettings()
        self._randbytes = randbytes
        self._now = clock
        self._fetching = anyio.Lock()
        self._kinds: Sequence[TokenKind] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the journal. Idempotent."""
        await self._store.aclose()

    @property
    def store(self) -> SqliteWalletStore:
        """The journal itself, for the command line."""
        return self._store

    async def take(self, issuer: IssuerEntry, ask: AskIssuer) -> Taken:
        """Return a token that is in doubt from now on, fetching a batch if there is none.

        It is one under a key of `issuer`. Others stay: a key that the directory no longer has, or never had, would
        tell who it was made for. Raises what `fetch` raises, and `DeadlineError` if a strict wallet waited in vain.
        """
        self._kinds = _kinds(issuer)
        token = await self._take(self._kinds)
        if token is not None:
            return Taken(token, prefetched=True)
        if self._settings.strict:
            return Taken(await self._wait(self._kinds), prefetched=True)
        await self.fetch(issuer, ask)
        token = await self._take(_kinds(issuer))
        if token is None:
            raise BusyError("the issuer gave no token that can be spent now", hint="Try again later")
        return Taken(token, prefetched=False)

    async def settle(self, taken: Taken) -> None:
        """Say that a token paid, or that it will never be sent again."""
        with anyio.CancelScope(shield=True):
            await self._store.settle(taken.token)

    async def counts(self) -> WalletCounts:
        """Return what the wallet holds."""
        return await self._store.counts()

    async def fetch(self, issuer: IssuerEntry, ask: AskIssuer, count: int | None = None) -> int:
        """Finish what was asked for before, then fetch `count` tokens (a batch by default), and return how many came.

        Raises `TokenKeyError` if no key of the issuer signs now, and what `ask` raises; what was asked for stays in the
        journal and is asked for again.
        """
        self._kinds = _kinds(issuer)
        async with self._fetching:
            finished = await self._finish_open(issuer, ask)
            wanted = await self._room(count, _kinds(issuer)) - finished
            if wanted <= 0:
                return finished
            epoch = _signing_key(issuer, self._now())
            pending = tuple(
                PendingToken.draw(issuer.token_challenge, epoch.key, randbytes=self._randbytes) for _ in range(wanted)
            )
            issuance = Issuance(self._randbytes(16).hex(), epoch.key.token_key_id, pending, epoch.not_after)
            await self._store.begin(issuance)
            return finished + await self._finish(issuance, epoch, ask)

    async def keep_filled(self, issuer: Callable[[], Awaitable[IssuerEntry]], ask: AskIssuer) -> None:
        """Fetch in the background whenever fewer than `low_water` tokens are left. Runs until it is cancelled."""
        while True:
            counts = await self._store.counts(self._now(), self._kinds)
            if counts.unspent < self._settings.low_water or counts.asked_for:
                await anyio.sleep(self._random_delay())
                try:
                    await self.fetch(await issuer(), ask)
                except ConfsecError:
                    await anyio.sleep(self._random_delay() + 1.0)  # whoever needs a token will hear the reason
            await anyio.sleep(_POLL)

    async def _take(self, kinds: Sequence[TokenKind]) -> TakenToken | None:
        return await self._store.take(self._now(), kinds, at_random=int.from_bytes(self._randbytes(8), "big"))

    async def _wait(self, kinds: Sequence[TokenKind]) -> TakenToken:
        with anyio.move_on_after(self._settings.strict_timeout):
            while True:
                token = await self._take(kinds)
                if token is not None:
                    return token
                await anyio.sleep(_POLL)
        raise DeadlineError(
            "the wallet is empty, and strict",
            want=f"a token within {self._settings.strict_timeout:g} s",
            hint="Type: confsec wallet fetch",
        )

    async def _room(self, count: int | None, kinds: Sequence[TokenKind]) -> int:
        """Return how many tokens to ask for: a batch of random size, and never more than the wallet may hold."""
        held = (await self._store.counts(self._now(), kinds)).unspent
        half = self._settings.batch // 2
        asked = count or half + draw_index(self._settings.batch, self._randbytes) + 1
        return min(asked, self._settings.max_unspent - held, MAX_BATCH)

    async def _finish_open(self, issuer: IssuerEntry, ask: AskIssuer) -> int:
        came = 0
        for issuance in await self._store.open_issuances():
            epoch = next((each for each in issuer.token_keys if each.key.token_key_id == issuance.token_key_id), None)
            if epoch is None or epoch.not_after <= self._now():
                await self._store.drop_issuance(issuance)  # nobody signs it any more
            else:
                came += await self._finish(issuance, epoch, ask)
        return came

    async def _finish(self, issuance: Issuance, epoch: TokenKeyEpoch, ask: AskIssuer) -> int:
        """Send a request that is in the journal, for the first time or again, and take its tokens in."""
        client = BatchTokenClient(epoch.key, issuance.pending)
        try:
            response = await ask(issuance.request_id, client.request())
        except TokenEpochError:
            await self._store.drop_issuance(issuance)
            raise
        client.receive_data(response)
        tokens = [event.token for event in client.receive_eof() if isinstance(event, TokenIssued)]
        await self._store.finish(issuance, tokens, expires_at=epoch.not_after)
        return len(tokens)

    def _random_delay(self) -> float:
        return self._settings.max_delay * draw_index(1 << 20, self._randbytes) / (1 << 20)


def _kinds(issuer: IssuerEntry) -> tuple[TokenKind, ...]:
    """Return of which kinds tokens are that the directory's issuer signs."""
    challenge = issuer.token_challenge.digest()
    return tuple(challenge + epoch.key.token_key_id for epoch in issuer.token_keys)


def _signing_key(issuer: IssuerEntry, now: datetime) -> TokenKeyEpoch:
    """Return the newest key that signs now: the same for everyone who looks now."""
    current = [epoch for epoch in issuer.token_keys if epoch.not_before <= now < epoch.not_after]
    if not current:
        raise TokenKeyError("no token key of the directory signs now", hint="Fetch the newest directory")
    return max(current, key=lambda epoch: epoch.not_before)
