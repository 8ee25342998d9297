"""The issuer (RFC 9578): it knows who paid, and never what for.

It stands behind a gateway of its own, so that the router's gateway sees no account. Whoever has an account gets blinded
messages signed, as many as its quota has room for. The charge is durable before anything is signed, under an id that
the client chose: when the answer is lost, or this process dies, the same request is signed again and costs nothing.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from hashlib import sha256
from typing import ClassVar, Final

import anyio
from attrs import evolve, frozen

from confsec.backends.api import Clock, Headers, header
from confsec.backends.issuer_store import Account, Charge, IssuerStore
from confsec.backends.system import monotonic as system_monotonic, now as system_now
from confsec.errors import (
    BackendError,
    BusyError,
    ConfigError,
    ConfsecError,
    DecodeError,
    LimitError,
    RateLimitError,
    TokenError,
)
from confsec.protocol.privacy_pass import BatchTokenIssuer, SignatureNeeded, TokenIssuer
from confsec.protocol.problem import Problem
from confsec.protocol.token_batch import (
    MAX_BATCH,
    MEDIA_TYPE_BATCH_REQUEST,
    MEDIA_TYPE_BATCH_RESPONSE,
)
from confsec.protocol.token_directory import ISSUER_DIRECTORY_PATH, MEDIA_TYPE_ISSUER_DIRECTORY
from confsec.protocol.token_keys import AUTHENTICATOR_SIZE
from confsec.protocol.token_messages import MEDIA_TYPE_TOKEN_REQUEST, MEDIA_TYPE_TOKEN_RESPONSE
from confsec.protocol.wire import decode_hex
from confsec.roles.asgi import Exchange, Role, UnsupportedMediaTypeError, in_background, media_type
from confsec.roles.config import RoleConfig, at_least, setting
from confsec.roles.issuer_accounts import RateLimiter, bearer_key, verify_api_key
from confsec.roles.issuer_keys import IssuerKeys, IssuerRing, SigningKey

__all__ = ["REQUEST_ID_FIELD", "TOKEN_REQUEST_PATH", "Issuer", "IssuerConfig"]

TOKEN_REQUEST_PATH: Final = "/v1/token-request"
"""Where token requests go."""

REQUEST_ID_FIELD: Final = "confsec-request-id"
"""The field with the client's name for the request: 32 hexadecimal digits."""

_REQUEST_ID_SIZE: Final = 16
_REQUEST_SIZE: Final = 3 + AUTHENTICATOR_SIZE
"""The length of one token request of type 0x0002."""

_UNPROCESSABLE: Final = 422
"""What RFC 9578, section 6.2, answers to token requests that cannot be signed."""

_log = logging.getLogger("confsec.roles")


def _at_most_a_batch(value: int) -> None:
    if not 1 <= value <= MAX_BATCH:
        raise ValueError(f"must be from 1 to {MAX_BATCH}, is {value}")


@frozen(kw_only=True)
class IssuerConfig(RoleConfig):
    """The settings of an issuer."""

    max_body: int = setting(
        4 + MAX_BATCH * _REQUEST_SIZE,
        help="The largest request body in bytes; larger ones get 413.",
        check=at_least(_REQUEST_SIZE),
    )
    max_batch: int = setting(MAX_BATCH, help="Tokens that one request may ask for.", check=_at_most_a_batch)
    rate: float = setting(50.0, help="Tokens per second that one account may ask for.", check=at_least(0.001))
    burst: int = setting(1024, help="Tokens that an account may ask for at once.", check=at_least(1))
    clock_difference: float = setting(
        300.0,
        help="Seconds that a key signs before and after its epoch, for clients whose clock differs.",
        check=at_least(0),
    )
    reload_interval: float = setting(
        60.0, help="Seconds between two looks for new and withdrawn keys.", check=at_least(0.01)
    )
    sweep_interval: float = setting(
        600.0, help="Seconds between two rounds of forgetting the epochs that are over.", check=at_least(0.01)
    )
    max_age: int = setting(3600, help="Seconds that the list of keys may be cached, at most.", check=at_least(0))

    def __attrs_post_init__(self) -> None:
        if self.burst < self.max_batch:
            raise ConfigError("the key burst is less than max_batch, so that full batches would never be signed")


@frozen(kw_only=True)
class _TokenRequest:
    """A request whose sender has shown an API key."""

    account: Account
    request_id: bytes
    body: bytes
    batch: bool


class Issuer(Role):
    """Signs blinded messages for accounts."""

    name: ClassVar[str] = "issuer"

    def __init__(
        self,
        config: IssuerConfig,
        store: IssuerStore,
        keys: IssuerKeys,
        *,
        clock: Clock = system_now,
        monotonic: Callable[[], float] = system_monotonic,
    ) -> None:
        """Issue tokens. `store` and `keys` belong to this role, whose lifespan closes them."""
        self._config = config
        self._store = store
        self._keys = keys
        self._now = clock
        self._limiter = RateLimiter(rate=config.rate, burst=config.burst, monotonic=monotonic)
        self._loaded: Sequence[SigningKey] = ()
        self._ring = self._arranged(())
        routes = {("GET", ISSUER_DIRECTORY_PATH): self._directory, ("POST", TOKEN_REQUEST_PATH): self._token_request}
        super().__init__(config, routes)

    @asynccontextmanager
    async def _lifespan(self) -> AsyncGenerator[None]:
        try:
            await self._reload()
            async with in_background(self._keep_reloading, self._keep_sweeping):
                yield
        finally:
            with anyio.CancelScope(shield=True):
                await self._keys.aclose()
                await self._store.aclose()

    async def check(self) -> None:
        """Raise `BusyError` while no key signs, and `BackendError` while the store does not answer."""
        if not self._ring.signs(self._now()):
            raise BusyError("no token key signs now", hint="Make one with `confsec issuer keys new`")
        await self._store.find_account("")

    # --- The list of keys ---------------------------------------------------------------------------------------------

    async def _directory(self, exchange: Exchange) -> None:
        now = self._now()
        change = self._ring.next_change(now)
        age = self._config.max_age if change is None else min(self._config.max_age, int((change - now).total_seconds()))
        headers: Headers = (("content-type", MEDIA_TYPE_ISSUER_DIRECTORY), ("cache-control", f"max-age={age}"))
        await exchange.answer(200, headers, self._ring.directory(TOKEN_REQUEST_PATH, now).encode())

    # --- Token requests, in the order of what they cost us ------------------------------------------------------------

    async def _token_request(self, exchange: Exchange) -> None:
        try:
            await self._issue(exchange)
        except RateLimitError:
            raise
        except BackendError as exc:
            # What a database or a device says of itself is for the operator, not for whoever asks.
            _log.warning("the issuer's store or signer: %s", exc)
            kind = BusyError if isinstance(exc, BusyError) else BackendError
            raise kind("the issuer cannot do this now", hint="Ask again under the same id") from exc

    async def _issue(self, exchange: Exchange) -> None:
        request = await self._authenticated(exchange)
        ring, now = self._ring, self._now()
        issuer = ring.batch_token_issuer(now) if request.batch else ring.token_issuer(now)
        try:
            needed = self._read(issuer, request.body)
        except LimitError:
            raise
        except (DecodeError, TokenError) as exc:
            await exchange.refuse(evolve(Problem.of(exc), status=_UNPROCESSABLE))
            return
        token_key_id = needed[0].token_key.token_key_id
        await self._charge(request, len(needed), token_key_id, ring.expires_at(token_key_id))
        blind_sigs = await ring.signer(token_key_id).blind_sign_many([one.blinded_msg for one in needed])
        await _answer(exchange, issuer, blind_sigs)

    async def _authenticated(self, exchange: Exchange) -> _TokenRequest:
        """Read a token request and find out who sends it. Raises `AccountError`, `RateLimitError` and `DecodeError`."""
        kind = media_type(exchange.headers)
        if kind not in {MEDIA_TYPE_TOKEN_REQUEST, MEDIA_TYPE_BATCH_REQUEST}:
            raise UnsupportedMediaTypeError
        key = bearer_key(header(exchange.headers, "authorization"))
        request_id = _request_id(header(exchange.headers, REQUEST_ID_FIELD))
        account = verify_api_key(key, await self._store.find_account(key.account_id))
        body = await exchange.read()
        # Reading costs a modular operation for each token: whoever sends too much is refused by its length.
        self._limiter.take(account.account_id, max(1, len(body) // _REQUEST_SIZE))
        return _TokenRequest(account=account, request_id=request_id, body=body, batch=kind == MEDIA_TYPE_BATCH_REQUEST)

    def _read(self, issuer: TokenIssuer | BatchTokenIssuer, body: bytes) -> list[SignatureNeeded]:
        """Return what is to be signed: at least one, all with one key. Raises `DecodeError` and `TokenError`."""
        issuer.receive_data(body)
        needed = issuer.receive_eof()
        if len(needed) > self._config.max_batch:
            raise LimitError("batch is too long", got=len(needed), want=f"at most {self._config.max_batch} tokens")
        if len({one.token_key.token_key_id for one in needed}) != 1:
            raise DecodeError("a batch asks for tokens of several keys", want="one epoch, which is charged")
        return needed

    async def _charge(self, request: _TokenRequest, tokens: int, token_key_id: bytes, expires_at: datetime) -> None:
        """Charge the account, durably before anything is signed. Raises as `IssuerStore.charge`."""
        charge = Charge(
            account_id=request.account.account_id,
            request_id=request.request_id,
            request_digest=sha256(request.body).digest(),
            tokens=tokens,
            token_key_id=token_key_id,
            expires_at=expires_at,
        )
        await self._store.charge(charge)

    # --- In the background --------------------------------------------------------------------------------------------

    async def _keep_reloading(self) -> None:
        while True:
            await anyio.sleep(self._config.reload_interval)
            try:
                await self._reload()
            except ConfsecError as exc:
                # The keys that were good a moment ago are still there, and better than none.
                _log.error("the issuer's keys cannot be read again: %s", exc)

    async def _reload(self) -> None:
        """Take the keys as they are now. Raises `ConfigError` and `BackendError`."""
        loaded = await self._keys.load(self._now() - timedelta(seconds=self._config.clock_difference))
        if list(loaded) != list(self._loaded):
            self._ring = self._arranged(loaded)
            self._loaded = loaded

    def _arranged(self, keys: Sequence[SigningKey]) -> IssuerRing:
        return IssuerRing(keys, clock_difference=timedelta(seconds=self._config.clock_difference))

    async def _keep_sweeping(self) -> None:
        while True:
            self._limiter.discard_full()
            try:
                await self._store.sweep(self._now())
            except ConfsecError as exc:
                _log.error("the issuer's store cannot be swept: %s", exc.code)
            await anyio.sleep(self._config.sweep_interval)


def _request_id(text: str | None) -> bytes:
    request_id = decode_hex(text or "")
    if len(request_id) != _REQUEST_ID_SIZE:
        raise DecodeError("the request has no id of its own", want=f"{REQUEST_ID_FIELD}: 32 hexadecimal digits")
    return request_id


async def _answer(exchange: Exchange, issuer: TokenIssuer | BatchTokenIssuer, blind_sigs: list[bytes]) -> None:
    if isinstance(issuer, TokenIssuer):
        kind, body = MEDIA_TYPE_TOKEN_RESPONSE, issuer.respond(blind_sigs[0])
    else:
        kind, body = MEDIA_TYPE_BATCH_RESPONSE, issuer.respond(blind_sigs)
    await exchange.answer(200, (("content-type", kind), ("cache-control", "no-store")), body)
