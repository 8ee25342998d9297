"""What tests of the issuer share: keys of two epochs, an account, and a client that asks over ASGI."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
from attrs import frozen

from confsec.backends.api import BlindSigner, HttpRequest, header
from confsec.backends.asgi import AsgiApp, AsgiTransport
from confsec.backends.issuer_store import AccountStore, IssuerStore, Usage
from confsec.backends.issuer_store_sqlite import sqlite_issuer_store
from confsec.protocol.privacy_pass import BatchTokenClient, PendingToken, TokenClient, TokenIssued, verify_token
from confsec.protocol.rsa_keys import RsaPublicKey
from confsec.protocol.token_batch import MEDIA_TYPE_BATCH_REQUEST, MEDIA_TYPE_BATCH_RESPONSE
from confsec.protocol.token_keys import TokenKey
from confsec.protocol.token_messages import MEDIA_TYPE_TOKEN_REQUEST, MEDIA_TYPE_TOKEN_RESPONSE, Token
from confsec.roles.issuer import TOKEN_REQUEST_PATH, Issuer, IssuerConfig
from confsec.roles.issuer_accounts import ApiKey, new_account
from confsec.roles.issuer_keys import FixedIssuerKeys, IssuerKeys, SigningKey
from confsec.testing import EPOCH, FixedClock, seeded_randbytes
from tests.protocol.token_cases import (
    CHALLENGE,
    KEYRING,
    ORIGIN,
    OTHER_2048,
    RSA_2048,
    TOKEN_KEY,
    KeyPair,
    draw,
)
from tests.roles.support import read

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
REQUEST_ID = "0123456789abcdef" * 2


class OpenSigner:
    """A signer with a key that everybody knows."""

    def __init__(self, pair: KeyPair = RSA_2048) -> None:
        self._pair = pair
        self.signed = 0
        self.closed = False
        self.error: Exception | None = None

    @property
    def public_key(self) -> RsaPublicKey:
        return self._pair.public_key

    async def blind_sign(self, blinded_msg: bytes) -> bytes:
        return (await self.blind_sign_many([blinded_msg]))[0]

    async def blind_sign_many(self, blinded_msgs: Sequence[bytes]) -> list[bytes]:
        await anyio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error
        self.signed += len(blinded_msgs)
        return [self._pair.sign(blinded_msg) for blinded_msg in blinded_msgs]

    async def aclose(self) -> None:
        self.closed = True


def two_epochs(current: BlindSigner | None = None, coming: BlindSigner | None = None) -> FixedIssuerKeys:
    """Return a key for the day that began an hour ago, and one for the day after it; they overlap for an hour."""
    return FixedIssuerKeys(
        [
            SigningKey(signer=current or OpenSigner(), not_before=EPOCH - HOUR, not_after=EPOCH + DAY),
            SigningKey(
                signer=coming or OpenSigner(OTHER_2048), not_before=EPOCH + DAY - HOUR, not_after=EPOCH + 2 * DAY
            ),
        ]
    )


@frozen
class Answer:
    status: int
    media_type: str | None
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def problem(self) -> tuple[int, str]:
        members: dict[str, Any] = json.loads(self.body)
        assert (self.media_type, members["status"]) == ("application/problem+json", self.status)
        return self.status, members["code"]


class Client:
    """Asks an issuer for tokens."""

    def __init__(self, app: AsgiApp, key: ApiKey) -> None:
        self._transport = AsgiTransport(app)
        self.key = key

    async def send(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> Answer:
        fields = tuple((name, value) for name, value in headers.items() if value)
        request = HttpRequest(method=method, url="http://issuer" + path, headers=fields, content=body)
        async with self._transport.stream(request) as response:
            kind = header(response.headers, "content-type")
            return Answer(response.status, kind, response.headers, await read(response))

    async def get(self, path: str) -> Answer:
        return await self.send("GET", path, {})

    async def post(self, body: bytes, *, kind: str = MEDIA_TYPE_TOKEN_REQUEST, **changes: str) -> Answer:
        """Ask with this body; `changes` are header fields, and an empty one is left out."""
        fields = {
            "content-type": kind,
            "authorization": f"Bearer {self.key.encode()}",
            "confsec-request-id": REQUEST_ID,
        }
        changed = {name.replace("_", "-"): value for name, value in changes.items()}
        return await self.send("POST", TOKEN_REQUEST_PATH, fields | changed, body)

    async def post_batch(self, body: bytes, **changes: str) -> Answer:
        return await self.post(body, kind=MEDIA_TYPE_BATCH_REQUEST, **changes)


@frozen
class Served:
    issuer: Issuer
    client: Client
    store: Any
    clock: FixedClock

    async def charged(self) -> list[int]:
        usage: Sequence[Usage] = await self.store.usage()
        return [one.tokens for one in usage]


@asynccontextmanager
async def issuing(
    folder: Path,
    *,
    keys: IssuerKeys | None = None,
    store: IssuerStore | None = None,
    quota: int = 100,
    monotonic: FixedClock | None = None,
    **settings: object,
) -> AsyncGenerator[Served]:
    """Run an issuer with one account over the SQLite file in `folder`."""
    books, clock = sqlite_issuer_store(folder / "issuer.db"), FixedClock()
    key = await add_account(books, quota=quota)
    seconds = monotonic or FixedClock()
    issuer = Issuer(
        IssuerConfig(**settings),  # type: ignore[arg-type]
        store or books,
        keys or two_epochs(),
        clock=clock,
        monotonic=lambda: seconds().timestamp(),
    )
    async with issuer.lifespan():
        yield Served(issuer, Client(issuer, key), books, clock)
    await books.aclose()


async def add_account(store: AccountStore, *, quota: int = 100, seed: str = "account") -> ApiKey:
    account, key = new_account(quota=quota, label="", now=EPOCH, randbytes=seeded_randbytes(seed))
    await store.add_account(account)
    return key


def ask_one(seed: str = "one", token_key: TokenKey = TOKEN_KEY) -> tuple[TokenClient, bytes]:
    """Return a client for one token, and its request."""
    client = TokenClient(token_key, draw(seed, token_key=token_key))
    return client, client.request()


def ask_many(count: int, seed: str = "many", token_key: TokenKey = TOKEN_KEY) -> tuple[BatchTokenClient, bytes]:
    """Return a client for a batch, and its request."""
    randbytes = seeded_randbytes(seed)
    pending = [PendingToken.draw(CHALLENGE, token_key, randbytes=randbytes) for _ in range(count)]
    client = BatchTokenClient(token_key, pending)
    return client, client.request()


def tokens_of(client: TokenClient | BatchTokenClient, answer: Answer) -> list[Token]:
    """Return the tokens of an answer, verified as an origin would."""
    kind = MEDIA_TYPE_TOKEN_RESPONSE if isinstance(client, TokenClient) else MEDIA_TYPE_BATCH_RESPONSE
    assert (answer.status, answer.media_type) == (200, kind), answer.body
    client.receive_data(answer.body)
    tokens = []
    for event in client.receive_eof():
        assert isinstance(event, TokenIssued)
        tokens.append(event.token)
    for token in tokens:
        if token.token_input.token_key_id == TOKEN_KEY.token_key_id:
            verify_token(token, challenges=[CHALLENGE], origin=ORIGIN, keyring=KEYRING, now=EPOCH)
    return tokens
