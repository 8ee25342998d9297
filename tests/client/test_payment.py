"""A client pays: for each request a token of its own, which nobody can put together with the account."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import anyio
import pytest
from attrs import evolve

from confsec.backends.api import HttpRequest, HttpResponse
from confsec.client import Client
from confsec.errors import BusyError, ConfigError, PeerError, RemoteProtocolError, TokenSpentError, UnknownKeyError
from confsec.protocol.bhttp import Request, Response
from confsec.protocol.chunked_ohttp import ChunkedOhttpGateway, ChunkReceived
from confsec.protocol.policy import UNSAFE_UNATTESTED
from confsec.protocol.problem import PROBLEM_TYPE, Problem
from confsec.protocol.proof import TokenUse
from confsec.protocol.token_http import TokenCredentials
from confsec.proxy import Proxy, ProxyConfig
from confsec.testing import FixedClock, seeded_randbytes
from confsec.wallet import Wallet, WalletSettings
from tests.client.wallet_issuer import LedgerIssuer, issuer_entry
from tests.client.wire import ServiceTransport
from tests.protocol.fleets import make_fleet
from tests.protocol.service import NOW, Service

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"
ACCOUNT = "csk_account_secret"


class PaidService(Service):
    """A service whose router notes tokens, and refuses them if it is told to."""

    def __init__(self, issuer: LedgerIssuer) -> None:
        super().__init__(make_fleet(1))
        entry = evolve(issuer_entry(), gateway_key_configs=self.directory.gateway_key_configs)
        self.directory = evolve(self.directory, issuer=entry)
        self.issuer = issuer
        self.accounts: list[str] = []
        self.tokens: list[bytes] = []
        self.refusal: Problem | None = None

    def route(self, request: Request) -> Response:
        headers = dict(request.headers)
        if request.path == "/v1/private":
            self.tokens.append(TokenCredentials.decode(headers.get("authorization")).token.encode())
            if self.refusal is not None:
                return problem(self.refusal)
        return super().route(request)

    async def issue(self, enc_request: bytes) -> bytes:
        """Be the issuer behind its gateway."""
        gateway = ChunkedOhttpGateway(self.keyring, randbytes=self.randbytes, now=NOW)
        events = gateway.receive_data(enc_request) + gateway.receive_eof()
        request = Request.decode(b"".join(event.data for event in events if isinstance(event, ChunkReceived)))
        headers = dict(request.headers)
        self.accounts.append(headers["authorization"])
        assert (request.method, request.path, request.authority) == ("POST", "/v1/token-request", "issuer.example")
        try:
            response = Response(200, content=await self.issuer(headers["confsec-request-id"], request.content))
        except BusyError as exc:
            response = problem(Problem.of(exc))
        return gateway.begin() + gateway.send_eof(response.encode())


def problem(what: Problem) -> Response:
    return Response(what.status, (("content-type", PROBLEM_TYPE),), content=what.encode())


class PaidTransport(ServiceTransport):
    """A wire with a path to the issuer."""

    service: PaidService

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]:
        return self._paid(request)

    @asynccontextmanager
    async def _paid(self, request: HttpRequest) -> AsyncGenerator[HttpResponse]:
        if not request.url.endswith("/issuer"):
            async with super().stream(request) as response:
                yield response
            return
        assert isinstance(request.content, bytes)
        content = await self.service.issue(request.content)
        parts = self._parts(content)
        yield HttpResponse(status=200, headers=(("content-type", "message/ohttp-chunked-res"),), content=parts)
        await parts.aclose()


class Shop:
    """A client with a wallet, a service that takes tokens, and the issuer's ledger."""

    def __init__(self, folder: Path, *, account: str = ACCOUNT) -> None:
        self.issuer = LedgerIssuer(folder / "ledger")
        self.service = PaidService(self.issuer)
        self.wire = PaidTransport(self.service)
        settings = WalletSettings(batch=4, max_delay=0.01, low_water=2)
        self.wallet = Wallet(folder / "wallet", account=account, settings=settings, clock=FixedClock())
        self.client = self.new_client(self.wallet)

    def new_client(self, wallet: Wallet | None, *, pin: bytes = b"") -> Client:
        return Client(
            self.service.directory,
            policy=UNSAFE_UNATTESTED,
            wallet=wallet,
            pin=pin,
            transport=self.wire,
            randbytes=seeded_randbytes("client"),
            clock=FixedClock(NOW),
        )


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


async def test_the_first_request_with_an_empty_wallet_just_works_and_the_proof_says_so(shop: Shop) -> None:
    async with shop.wallet:
        first = await shop.client.request("POST", CHAT)
        second = await shop.client.request("POST", CHAT)
        counts = await shop.wallet.counts()
    assert first.proof.contents.token_use is TokenUse.FRESH
    assert second.proof.contents.token_use is TokenUse.PREFETCHED
    assert len(set(shop.service.tokens)) == 2
    assert (counts.spent, counts.in_doubt, counts.fetched) == (2, 0, shop.issuer.charged)


async def test_the_account_goes_to_the_issuer_and_nowhere_else(shop: Shop) -> None:
    async with shop.wallet:
        await shop.client.request("POST", CHAT)
    assert shop.service.accounts == [f"Bearer {ACCOUNT}"]
    seen = b"".join(request.encode() for request in (*shop.service.requests, *shop.service.asked))
    assert ACCOUNT.encode() not in seen
    assert all(ACCOUNT.encode() not in sent.content for sent in shop.wire.requests if isinstance(sent.content, bytes))


async def test_a_token_that_was_refused_is_not_shown_again(shop: Shop) -> None:
    async with shop.wallet:
        for state in ("spent", "not_spent"):
            shop.service.refusal = Problem.of(TokenSpentError("spent before"), token_state=state)
            with pytest.raises(TokenSpentError):
                await shop.client.request("POST", CHAT)
        shop.service.refusal = None
        await shop.client.request("POST", CHAT)
        counts = await shop.wallet.counts()
    assert len(set(shop.service.tokens)) == 3
    assert (counts.spent, counts.in_doubt) == (3, 0)


async def test_a_token_of_which_nobody_says_anything_stays_in_doubt(shop: Shop) -> None:
    async with shop.wallet:
        await shop.client.request("POST", CHAT)
        shop.wire.alter = lambda answer: answer[:-300]
        with pytest.raises(RemoteProtocolError):
            await shop.client.request("POST", CHAT, content=b"x" * 5000)
        shop.wire.alter = lambda answer: answer
        shop.service.refusal = Problem(status=502, code="", title="")
        with pytest.raises(PeerError):
            await shop.client.request("POST", CHAT)
        counts = await shop.wallet.counts()
    assert counts.in_doubt >= 1
    assert counts.fetched == counts.spent + counts.in_doubt + counts.unspent == shop.issuer.charged


async def test_a_request_that_is_sealed_anew_pays_with_another_token(shop: Shop) -> None:
    async with shop.wallet:
        shop.service.nodes.clear()
        with pytest.raises(UnknownKeyError):
            await shop.client.request("POST", CHAT)
    assert len(set(shop.service.tokens)) == len(shop.service.tokens) == 2


async def test_an_issuer_that_is_down_or_an_account_without_quota_is_said(shop: Shop) -> None:
    async with shop.wallet:
        shop.issuer.down = True
        with pytest.raises(BusyError, match="the issuer refused"):
            await shop.client.request("POST", CHAT)
        shop.issuer.down = False
        assert (await shop.client.request("POST", CHAT)).status == 200


async def test_tokens_can_be_fetched_ahead_and_in_the_background(shop: Shop) -> None:
    async with shop.wallet:
        assert await shop.client.fetch_tokens(3) == 3
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(shop.client.keep_wallet_filled)
            with anyio.fail_after(20):
                for _ in range(3):
                    await shop.client.request("POST", CHAT)
                while (await shop.wallet.counts()).unspent < 2:
                    await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()


async def test_what_is_missing_is_said(tmp_path: Path, shop: Shop) -> None:
    with pytest.raises(ConfigError, match="no wallet"):
        await shop.new_client(None).request("POST", CHAT)
    (tmp_path / "other").mkdir()
    poor = Shop(tmp_path / "other", account="")
    async with poor.wallet:
        with pytest.raises(ConfigError, match="API key"):
            await poor.client.request("POST", CHAT)
    free = ServiceTransport(Service(make_fleet(1)))
    client = Client(free.service.directory, policy=UNSAFE_UNATTESTED, transport=free, wallet=Wallet(None))
    with pytest.raises(ConfigError, match="service that takes tokens"):
        await client.fetch_tokens()
    await client.keep_wallet_filled()
    with pytest.raises(ConfigError, match="no wallet"):
        await shop.new_client(None).keep_wallet_filled()


async def test_a_proxy_keeps_the_wallet_filled(shop: Shop) -> None:
    proxy = Proxy(ProxyConfig(service="service.toml"), shop.client)
    async with shop.wallet, proxy.lifespan():
        with anyio.fail_after(20):
            while (await shop.wallet.counts()).unspent < 2:
                await anyio.sleep(0.01)


async def test_a_directory_that_is_not_the_pinned_one_is_refused(shop: Shop) -> None:
    async with shop.wallet:
        good = shop.new_client(shop.wallet, pin=shop.service.directory.digest)
        assert (await good.request("POST", CHAT)).status == 200
        with pytest.raises(ConfigError, match="pinned"):
            await shop.new_client(shop.wallet, pin=bytes(32)).request("POST", CHAT)
