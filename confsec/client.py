"""The client: drives `ClientSession` over a transport, on asyncio and on trio. Its sync face is in `sync_client.py`.

A `Client` is itself a transport: hand it an HTTP request for an engine, and the answer streams back with the Proof of
what was checked before the prompt was sealed. Nothing leaves it in the clear, and there is no mode in which it would.
"""

from __future__ import annotations

import json as json_module
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self, final
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
from attrs import evolve, field, frozen

from confsec.backends import system
from confsec.backends.api import Clock, Headers, HttpRequest, HttpResponse, Transport, header
from confsec.backends.trusted_logs import SqliteTrustedLogs
from confsec.errors import (
    ConfigError,
    ConfsecError,
    DecodeError,
    LimitError,
    LocalProtocolError,
    PeerError,
    TransportError,
    UnknownKeyError,
)
from confsec.issuer_client import IssuerClient
from confsec.protocol.bhttp import Request
from confsec.protocol.directory import IssuerEntry, ServiceDirectory
from confsec.protocol.log_root import LogRoot
from confsec.protocol.machine import RandBytes
from confsec.protocol.newest_seen import NewestSeen
from confsec.protocol.oblivious import OUTER_HEADERS
from confsec.protocol.policy import PRODUCTION, Policy
from confsec.protocol.private import INNER_AUTHORITY, PrivateContentReceived, PrivateResponseStarted
from confsec.protocol.proof import Proof, TokenUse
from confsec.protocol.service_logs import LoggedDirectory
from confsec.protocol.session import (
    DEFAULT_CANDIDATES,
    AppraisalDue,
    ClientSession,
    PrivateProgress,
    RequestSealed,
    Send,
    SessionEvent,
)
from confsec.protocol.token_http import TokenCredentials
from confsec.protocol.transparency import TrustedLog
from confsec.service_reader import Service, ServiceReader
from confsec.wallet import Taken, Wallet

__all__ = ["EXTENSION", "MAX_ANSWER", "MAX_REQUEST", "Answer", "Client", "PrivateInfo", "Service", "private_info"]

MAX_REQUEST: Final = (8 << 20) - (64 << 10)
"""A request body has at most this many bytes: with its head it is sealed as a whole, in a bucket of 8 MiB."""

MAX_ANSWER: Final = 64 << 20
"""An answer that `request` gathers has at most 64 MiB; `stream` has no limit."""

_READ_PAUSE: Final = timedelta(hours=1)
"""The log of directories is read at most so often: a directory that is new today takes effect in an hour."""

EXTENSION: Final = "confsec"
"""The key under which a response's extensions hold its `PrivateInfo`."""


@frozen
class PrivateInfo:
    """What the client knows of an answer beyond HTTP."""

    proof: Proof
    """What was checked before the prompt was sealed. Holds nothing of the request and can be shared."""

    node_id: bytes
    """Which of the candidates answered. Not part of the Proof."""


@frozen
class Answer:
    """A whole answer, gathered by `request`."""

    status: int
    """The engine's status."""

    headers: Headers
    """The engine's header fields."""

    content: bytes = field(repr=False)
    """The engine's answer."""

    info: PrivateInfo
    """The Proof, and who answered."""

    @property
    def proof(self) -> Proof:
        """What was checked before the prompt was sealed."""
        return self.info.proof

    def json(self) -> object:
        """Return the content as JSON values. Raises `DecodeError`."""
        try:
            value: object = json_module.loads(self.content)
        except (ValueError, RecursionError) as exc:
            raise DecodeError("the engine's answer is not JSON", got=f"{len(self.content)} bytes") from exc
        return value


@final
class Client:
    """A client of one service. It belongs to the event loop in which it is first used."""

    def __init__(  # noqa: PLR0913 - each is named by its caller, and has a default that is safe
        self,
        service: Service,
        *,
        policy: Policy = PRODUCTION,
        candidates: int = DEFAULT_CANDIDATES,
        wallet: Wallet | None = None,
        pin: bytes = b"",
        memory: Path | None = None,
        transport: Transport | None = None,
        source_address: str | None = None,
        randbytes: RandBytes = system.randbytes,
        clock: Clock = system.now,
    ) -> None:
        """Prepare a client; the first request reads the directory.

        `service` is a `LogRoot`, or the path of its file: directory and fleets are taken from the logs that it names.
        A directory file, its URL or a `ServiceDirectory` are in no log, and only a policy that waives that accepts
        them. `policy` says what must be checked before a prompt is sealed. `candidates` is how many nodes can read a
        request, 1 to 16. Where a service takes tokens, `wallet` keeps them; it stays the caller's. `pin` is the digest
        that the root, or the directory, must have. `memory` is the file in which is remembered how far the logs had
        grown, so that nobody is shown older ones; without it that lasts as long as the client. `source_address` is the
        local address to connect from.
        """
        self._wallet = wallet
        self._memory = SqliteTrustedLogs(memory)
        self._opened = False
        self._reader = ServiceReader(service, pin=pin, transport=self._use_transport, memory=self._memory, clock=clock)
        self._policy = policy
        self._candidates = candidates
        self._transport = transport
        self._source_address = source_address
        self._randbytes = randbytes
        self._clock = clock
        self._newest = NewestSeen()  # of the client and not of a session: a new directory makes a new session
        self._refreshing = anyio.Lock()
        self._reading = anyio.Lock()
        self._reloading = anyio.Lock()
        self._loaded: _Loaded | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections and the memory. Idempotent."""
        await self._memory.aclose()
        if self._transport is not None:
            await self._transport.aclose()

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]:
        """Ask the engine privately; `request.url` is a path, or a URL of which only the path matters.

        The response's `extensions["confsec"]` is a `PrivateInfo`. Raises `VerificationError` when the service is not
        trusted, `TransportError` when bytes could not travel, and `RemoteProtocolError` when what came back is wrong;
        an answer that ends too early raises out of `content`.
        """
        return self._stream(request)

    async def request(
        self, method: str, path: str, *, json: object = None, content: bytes = b"", headers: Headers = ()
    ) -> Answer:
        """Ask the engine privately and gather the answer, at most 64 MiB. With `json`, send it as the content."""
        if json is not None:
            content = json_module.dumps(json).encode()
            headers = (("content-type", "application/json"), *headers)
        async with self.stream(HttpRequest(method=method, url=path, headers=headers, content=content)) as response:
            gathered = bytearray()
            async for part in response.content:
                gathered += part
                if len(gathered) > MAX_ANSWER:
                    raise LimitError("the answer is too long to gather", want=f"at most {MAX_ANSWER} bytes; use stream")
            return Answer(response.status, response.headers, bytes(gathered), private_info(response))

    async def refresh(self) -> None:
        """Fetch and appraise the newest fleet record. Happens by itself when it is needed."""
        await self._refresh(await self._load(), stale=None)

    async def reload(self) -> None:
        """Read the directory again. Happens by itself when the gateway has other keys, and twice a day under a root."""
        await self._reload(await self._load())

    @asynccontextmanager
    async def _stream(self, request: HttpRequest) -> AsyncGenerator[HttpResponse]:
        sealed = await _sealable(request)
        async with AsyncExitStack() as stack:
            exchange = await self._ask(stack, sealed)
            content = await stack.enter_async_context(aclosing(exchange.content()))
            yield HttpResponse(
                status=exchange.started.status,
                headers=exchange.started.headers,
                content=content,
                extensions={EXTENSION: PrivateInfo(exchange.proof, exchange.started.node_id)},
            )

    async def _ask(self, stack: AsyncExitStack, request: Request) -> _Exchange:
        """Send the request. Keys live for an epoch: for an unknown one, fetch the newest and seal anew, once."""
        loaded = await self._load_fresh()
        fleet = loaded.session.fleet_id
        attempt = AsyncExitStack()
        try:
            exchange = await self._begin(attempt, loaded, request)
        except UnknownKeyError:
            await attempt.aclose()
            loaded = await self._renew(loaded)
            await self._refresh(loaded, stale=fleet)
            return await self._begin(stack, loaded, request)
        except BaseException:
            await attempt.aclose()
            raise
        await stack.enter_async_context(attempt)
        return exchange

    async def _begin(self, stack: AsyncExitStack, loaded: _Loaded, request: Request) -> _Exchange:
        taken = await self._take_token(loaded)
        authorization = TokenCredentials(taken.token.token).encode() if taken else ""
        events = loaded.session.request(
            request, now=self._clock(), authorization=authorization, token_use=_token_use(taken)
        )
        exchange = _Exchange(loaded.session, events, self._clock)
        stack.callback(exchange.abandon)
        try:
            await exchange.start(await stack.enter_async_context(self._post(loaded, exchange.send)))
        except ConfsecError as exc:
            # The router said what became of the token. Whether spent or not, it was shown with this request's bytes
            # and is never shown with others. Where nobody said anything, it stays in doubt.
            if exc.token_state is not None:
                await self._settle(taken)
            raise
        await self._settle(taken)
        return exchange

    async def _take_token(self, loaded: _Loaded) -> Taken | None:
        """Take a token out of the wallet if the service takes tokens. From here on it is in doubt."""
        issuer = loaded.directory.issuer
        if issuer is None:
            return None
        if self._wallet is None:
            raise ConfigError(
                "this service takes tokens, and the client has no wallet", hint="Give it a wallet and an account"
            )
        return await self._wallet.take(issuer, self._issuer_client(loaded, issuer, self._wallet))

    async def _settle(self, taken: Taken | None) -> None:
        if taken is not None and self._wallet is not None:
            await self._wallet.settle(taken)

    async def fetch_tokens(self, count: int | None = None) -> int:
        """Fetch tokens ahead of need, a batch by default, and return how many came. Raises what `Wallet.fetch` does."""
        loaded = await self._load()
        issuer = loaded.directory.issuer
        if issuer is None or self._wallet is None:
            raise ConfigError("there are no tokens to fetch", want="a service that takes tokens, and a wallet")
        return await self._wallet.fetch(issuer, self._issuer_client(loaded, issuer, self._wallet), count)

    @property
    def first_contact(self) -> bool:
        """Whether nothing was remembered of the service's logs, so that the root file alone vouches for them."""
        return self._reader.first_contact

    @property
    def pays(self) -> bool:
        """Whether the client has a wallet."""
        return self._wallet is not None

    async def keep_wallet_filled(self) -> None:
        """Fetch tokens in the background, at random times, until it is cancelled. Run it in a task of its own.

        Returns at once if the service takes no tokens. Raises `ConfigError` without a wallet.
        """
        if self._wallet is None:
            raise ConfigError("there is no wallet to fill", hint="Give the client one")
        loaded = await self._load()
        issuer = loaded.directory.issuer
        if issuer is None:
            return

        async def newest() -> IssuerEntry:
            return (await self._renew(loaded)).directory.issuer or issuer

        await self._wallet.keep_filled(newest, self._issuer_client(loaded, issuer, self._wallet))

    def _issuer_client(self, loaded: _Loaded, issuer: IssuerEntry, wallet: Wallet) -> IssuerClient:
        return IssuerClient(issuer, wallet.account, loaded.transport, randbytes=self._randbytes)

    def _post(self, loaded: _Loaded, send: Send) -> AbstractAsyncContextManager[HttpResponse]:
        request = HttpRequest(method="POST", url=loaded.directory.relay_url, headers=OUTER_HEADERS, content=send.data)
        return loaded.transport.stream(request)

    async def _refresh(self, loaded: _Loaded, *, stale: bytes | None) -> None:
        """Fetch a fleet record if there is none, if it is old, or if it is the one that turned out `stale`."""
        async with self._refreshing:  # one fetch serves all requests that wait for it
            session = loaded.session
            if stale is not None and session.fleet_id != stale and not session.needs_fleet(self._clock()):
                return
            if loaded.root is None:
                await self._fetch_all(loaded, session.fetch_fleet(now=self._clock()))
                return
            before = session.fleet_id
            try:
                await self._memory.advance(loaded.root.fleet.origin, partial(self._fetch_logged, loaded))
            except BaseException:
                if session.fleet_id != before:
                    session.forget_fleet()  # what is not remembered is not used
                raise

    async def _fetch_logged(self, loaded: _Loaded, fleet_log: TrustedLog) -> _Fetched:
        await self._fetch_all(loaded, loaded.session.fetch_fleet(now=self._clock(), fleet_log=fleet_log))
        return _Fetched(loaded.session.fleet_log or fleet_log)

    async def _fetch_all(self, loaded: _Loaded, events: list[SessionEvent]) -> None:
        """Do what the session asks for, side by side, until it asks for nothing more."""
        failures: list[Exception] = []

        async def do(event: SessionEvent) -> None:
            try:
                follow_up = await self._do(loaded, event)
            except Exception as exc:  # noqa: BLE001 - raised below, without the group around it
                failures.append(exc)
                tasks.cancel_scope.cancel()
            else:
                for each in follow_up:
                    tasks.start_soon(do, each)

        async with anyio.create_task_group() as tasks:
            for event in events:
                tasks.start_soon(do, event)
        if failures:
            raise failures[0]

    async def _do(self, loaded: _Loaded, event: SessionEvent) -> list[SessionEvent]:
        """Do one thing that the session asks for, and return what it asks for then."""
        match event:
            case Send():
                return await self._fetch(loaded, event)
            case AppraisalDue():
                return loaded.session.receive_appraisal(await anyio.to_thread.run_sync(event.run))
            case _:
                return []

    async def _fetch(self, loaded: _Loaded, send: Send) -> list[SessionEvent]:
        session = loaded.session
        try:
            async with self._post(loaded, send) as response:
                session.receive_head(send.exchange, response.status, header(response.headers, "content-type") or "")
                async for part in response.content:
                    session.receive_data(send.exchange, part)
            return session.receive_eof(send.exchange, now=self._clock())
        finally:
            session.abandon(send.exchange)

    async def _load_fresh(self) -> _Loaded:
        """Have a fleet record that is fresh enough. If the gateway has new keys, read the directory again, once."""
        loaded = await self._load()
        if loaded.is_old(self._clock()):
            loaded = await self._reload_or_keep(loaded)
        try:
            await self._refresh(loaded, stale=b"")
        except UnknownKeyError:
            loaded = await self._renew(loaded)
            await self._refresh(loaded, stale=b"")
        return loaded

    async def _load(self) -> _Loaded:
        if self._loaded is None:
            source = await self._read_service()
            if self._loaded is None:  # another task may have been quicker
                self._loaded = self._make(source)
        return self._loaded

    async def _renew(self, loaded: _Loaded) -> _Loaded:
        """Read the directory again, since a peer says that it has other keys.

        One in a log only if that was long ago: new keys are there an hour before they are used, and who could make a
        client read when he likes could tell from its address whose request he has before him.
        """
        if loaded.root is not None and self._clock() - loaded.read_at < loaded.pause:
            return loaded
        return await self._reload(loaded)

    async def _reload_or_keep(self, loaded: _Loaded) -> _Loaded:
        """Read the directory again; as long as the witnesses' word for it counts, go on without if that cannot be."""
        try:
            return await self._reload(loaded)
        except (TransportError, PeerError):
            now = self._clock()
            if not loaded.counts(now):
                raise
            if self._loaded is loaded:
                self._loaded = evolve(loaded, read_at=now)
            return self._loaded or loaded

    async def _reload(self, loaded: _Loaded) -> _Loaded:
        """Read the directory again, unless another task has."""
        async with self._reloading:
            if self._loaded is loaded:
                source = await self._read_service()
                same = source == loaded.source
                self._loaded = evolve(loaded, read_at=self._clock()) if same else self._make(source)
            return self._loaded or loaded

    async def _read_service(self) -> ServiceDirectory | LoggedDirectory:
        async with self._reading:
            if not self._opened:
                await self._memory.open()
                self._opened = True
            return await self._reader.read()

    def _make(self, source: ServiceDirectory | LoggedDirectory) -> _Loaded:
        session = ClientSession(
            source,
            policy=self._policy,
            randbytes=self._randbytes,
            candidates=self._candidates,
            newest=self._newest,
        )
        directory = source.in_effect.directory if isinstance(source, LoggedDirectory) else source
        return _Loaded(source, directory, session, self._use_transport(), self._clock())

    def _use_transport(self) -> Transport:
        if self._transport is None:
            # Late, so that importing confsec stays quick.
            from confsec.backends.http import HttpTransport

            self._transport = HttpTransport(source_address=self._source_address)
        return self._transport


@frozen
class _Loaded:
    """What a client has after its first use."""

    source: ServiceDirectory | LoggedDirectory
    directory: ServiceDirectory
    session: ClientSession
    transport: Transport
    read_at: datetime

    @property
    def root(self) -> LogRoot | None:
        """The root, where the directory is in a log."""
        return self.source.root if isinstance(self.source, LoggedDirectory) else None

    @property
    def pause(self) -> timedelta:
        """How long a log is not read again, whoever asks for it."""
        return min(_READ_PAUSE, self.root.directory.maximum_age / 4) if self.root else timedelta(0)

    def is_old(self, now: datetime) -> bool:
        """Tell whether the directory's log is to be read again: in half the time that the witnesses' word counts."""
        if not isinstance(self.source, LoggedDirectory) or now - self.read_at < self.pause:
            return False
        found = self.source.in_effect
        half = self.source.root.directory.maximum_age / 2
        return now - found.checkpoint.fresh_since >= half or now >= found.valid_until

    def counts(self, now: datetime) -> bool:
        """Tell whether requests may still be sealed under the directory."""
        if not isinstance(self.source, LoggedDirectory):
            return True
        found, root = self.source.in_effect, self.source.root
        lasts = root.directory.maximum_age - root.fleet.epoch
        return now - found.checkpoint.fresh_since < lasts and now < found.valid_until


@frozen
class _Fetched:
    """A fleet that was fetched, and what to remember of its log."""

    trusted: TrustedLog


@final
class _Exchange:
    """One private request on its way."""

    def __init__(self, session: ClientSession, events: list[SessionEvent], clock: Clock) -> None:
        (self.proof,) = [event.proof for event in events if isinstance(event, RequestSealed)]
        (self.send,) = [event for event in events if isinstance(event, Send)]
        self._session = session
        self._clock = clock
        self._parts: AsyncIterator[bytes] | None = None
        self._waiting = b""
        self._ended = False
        self.started: PrivateResponseStarted

    async def start(self, response: HttpResponse) -> None:
        """Read until a candidate has answered. Raises whatever the answer's layers have against it."""
        content_type = header(response.headers, "content-type") or ""
        self._session.receive_head(self.send.exchange, response.status, content_type)
        self._parts = response.content
        while True:
            events = await self._pull()
            started = [event.event for event in _progress(events) if isinstance(event.event, PrivateResponseStarted)]
            if started:
                self.started = started[0]
                self._waiting = _content(events)
                return
            if self._ended:
                raise LocalProtocolError("an answer ended without a beginning")  # the layers below make it impossible

    async def content(self) -> AsyncGenerator[bytes]:
        """Yield the answer as it arrives. The end is the end: an answer that was cut raises instead."""
        if self._waiting:
            yield self._waiting
        while not self._ended:
            data = _content(await self._pull())
            if data:
                yield data

    def abandon(self) -> None:
        """Forget the keys."""
        self._session.abandon(self.send.exchange)

    async def _pull(self) -> list[SessionEvent]:
        assert self._parts is not None  # noqa: S101 - start has set it
        part = await anext(self._parts, None)
        if part is None:
            self._ended = True
            return self._session.receive_eof(self.send.exchange, now=self._clock())
        return self._session.receive_data(self.send.exchange, part)


def private_info(response: HttpResponse) -> PrivateInfo:
    """Return what a `Client` put beside its response: the Proof, and who answered."""
    info = response.extensions.get(EXTENSION)
    if not isinstance(info, PrivateInfo):
        raise LocalProtocolError("this response was not made by a confsec client")
    return info


def _token_use(taken: Taken | None) -> TokenUse:
    if taken is None:
        return TokenUse.NONE
    return TokenUse.PREFETCHED if taken.prefetched else TokenUse.FRESH


async def _sealable(request: HttpRequest) -> Request:
    """Return what will be sealed: method, path and content. Raises `LimitError` for a body over `MAX_REQUEST`."""
    content = request.content
    if not isinstance(content, bytes):
        gathered = bytearray()
        async for part in content:
            gathered += part
            _require_size(len(gathered))
        content = bytes(gathered)
    _require_size(len(content))
    parts = urlsplit(request.url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = tuple((name.lower(), value) for name, value in request.headers)
    return Request(request.method, "https", INNER_AUTHORITY, path, headers=headers, content=content)


def _require_size(size: int) -> None:
    if size > MAX_REQUEST:
        raise LimitError("the request is too long to seal", got=f"{size} bytes", want=f"at most {MAX_REQUEST}")


def _progress(events: list[SessionEvent]) -> list[PrivateProgress]:
    return [event for event in events if isinstance(event, PrivateProgress)]


def _content(events: list[SessionEvent]) -> bytes:
    """Return what these events bring of the answer, in one piece: small chunks cost the caller a turn each."""
    return b"".join(event.event.data for event in _progress(events) if isinstance(event.event, PrivateContentReceived))
