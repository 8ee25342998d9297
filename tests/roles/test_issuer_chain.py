"""An issuer behind a gateway of its own, as a wallet reaches it: relay, gateway, issuer."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import pytest

from confsec.backends.api import HttpRequest
from confsec.errors import AccountError, AccountRevokedError, QuotaError, RateLimitError, RequestIdError
from confsec.issuer_client import IssuerClient
from confsec.protocol.directory import IssuerEntry
from confsec.protocol.key_config import decode_key_configs
from confsec.protocol.token_keys import TokenKeyEpoch
from confsec.roles.gateway import Gateway, GatewayConfig
from confsec.roles.relay import Relay, RelayConfig
from confsec.testing import EPOCH, FixedClock, seeded_randbytes
from confsec.wallet import Wallet
from tests.protocol.token_cases import CHALLENGE, TOKEN_KEY
from tests.roles.chain import Wire
from tests.roles.issuer_cases import DAY, HOUR, REQUEST_ID, Served, ask_many, issuing
from tests.roles.support import fetch

pytestmark = pytest.mark.anyio

AUTHORITY = "issuer.confsec.invalid"


class Chain:
    def __init__(self, served: Served, entry: IssuerEntry, wire: Wire) -> None:
        self.served = served
        self.entry = entry
        self.wire = wire
        self.ask = self.client(served.client.key.encode())

    def client(self, api_key: str) -> IssuerClient:
        return IssuerClient(self.entry, api_key, self.wire, randbytes=seeded_randbytes("client"))


@asynccontextmanager
async def chain(folder: Path, **settings: object) -> AsyncGenerator[Chain]:
    wire = Wire()
    gateway = Gateway(
        GatewayConfig(
            targets=(f"{AUTHORITY}=http://issuer",),
            allow=("POST /v1/token-request", "GET /.well-known/private-token-issuer-directory"),
            request_fields=("authorization", "content-type", "accept", "confsec-request-id"),
        ),
        wire,
    )
    relay = Relay(RelayConfig(gateways=("/issuer=http://issuer-gateway/gateway",)), wire)
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(issuing(folder, **settings))  # type: ignore[arg-type]
        for role in (gateway, relay):
            await stack.enter_async_context(role.lifespan())
        wire.roles = {"relay": relay, "issuer-gateway": gateway, "issuer": served.issuer}
        _, keys = await fetch(wire, HttpRequest(method="GET", url="http://issuer-gateway/ohttp-keys"))
        entry = IssuerEntry(
            relay_url="https://relay/issuer",
            gateway_key_configs=decode_key_configs(keys),
            origin=f"https://{AUTHORITY}",
            token_challenge=CHALLENGE,
            token_keys=(TokenKeyEpoch(TOKEN_KEY, EPOCH - HOUR, EPOCH + DAY),),
        )
        yield Chain(served, entry, wire)


async def test_wallet_fills_and_nobody_on_the_way_sees_the_account(tmp_path: Path) -> None:
    async with chain(tmp_path) as service:
        async with Wallet(None, clock=FixedClock(), randbytes=seeded_randbytes("wallet")) as wallet:
            assert await wallet.fetch(service.entry, service.ask, 5) == 5
            assert (await wallet.counts()).unspent == 5
        assert await service.served.charged() == [5]
        outside = [request for request in service.wire.requests if request.url != "http://issuer/v1/token-request"]
        assert len(outside) == 3  # for the key, to the relay, to the gateway
        for request in outside:
            names = {name for name, _ in request.headers}
            assert not names & {"authorization", "confsec-request-id"}
        inside = service.wire.requests[-1]
        assert {name for name, _ in inside.headers} == {"authorization", "confsec-request-id", "content-type"}


async def test_answer_that_was_lost_is_fetched_again_for_nothing(tmp_path: Path) -> None:
    _, body = ask_many(3)
    async with chain(tmp_path, quota=3) as service:
        assert await service.ask(REQUEST_ID, body) == await service.ask(REQUEST_ID, body)
        assert await service.served.charged() == [3]


async def test_client_raises_what_the_issuer_refuses_with(tmp_path: Path) -> None:
    async with chain(tmp_path, quota=4, burst=8, max_batch=3) as service:
        ask = service.ask
        await ask(REQUEST_ID, ask_many(3)[1])
        with pytest.raises(RequestIdError):
            await ask(REQUEST_ID, ask_many(2)[1])
        with pytest.raises(QuotaError):
            await ask("f" * 32, ask_many(2)[1])
        with pytest.raises(RateLimitError):
            await ask("f" * 32, ask_many(2)[1])
        with pytest.raises(AccountError):
            await service.client("csk_nonsense")(REQUEST_ID, ask_many(3)[1])
        await service.served.store.change_account(service.served.client.key.account_id, revoked=True)
        with pytest.raises(AccountRevokedError):
            await ask(REQUEST_ID, ask_many(3)[1])


async def test_many_wallets_of_one_account_get_what_the_quota_has(tmp_path: Path) -> None:
    fetched: list[int] = []
    async with chain(tmp_path, quota=20) as service:

        async def fill(number: int) -> None:
            async with Wallet(None, clock=FixedClock(), randbytes=seeded_randbytes(str(number))) as wallet:
                try:
                    fetched.append(
                        await wallet.fetch(service.entry, service.client(service.served.client.key.encode()), 3)
                    )
                except QuotaError:
                    fetched.append(0)

        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(fill, number)
        assert sorted(fetched) == [0] * 4 + [3] * 6
        assert await service.served.charged() == [18]
