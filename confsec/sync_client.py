"""The client for code without an event loop: `Client`, driven in a thread of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock
from types import TracebackType
from typing import Literal, Self, final
from weakref import finalize

from anyio.from_thread import BlockingPortal, start_blocking_portal
from attrs import field, frozen

from confsec.backends.api import Headers, HttpRequest, HttpResponse, Transport
from confsec.client import Answer, Client, PrivateInfo, Service, private_info
from confsec.protocol.policy import PRODUCTION, Policy
from confsec.protocol.proof import Proof
from confsec.protocol.session import DEFAULT_CANDIDATES

__all__ = ["SyncClient", "SyncResponse"]


@frozen
class SyncResponse:
    """A response whose body is pulled by a loop without `async`."""

    status: int
    """The engine's status."""

    headers: Headers
    """The engine's header fields."""

    info: PrivateInfo
    """The Proof, and who answered."""

    content: Iterator[bytes] = field(repr=False)
    """The body in parts, each at least one byte."""

    @property
    def proof(self) -> Proof:
        """What was checked before the prompt was sealed."""
        return self.info.proof


@final
class SyncClient:
    """A client of one service. Its thread starts with the first request and ends with `close`."""

    def __init__(
        self,
        service: Service,
        *,
        policy: Policy = PRODUCTION,
        candidates: int = DEFAULT_CANDIDATES,
        transport: Transport | None = None,
        source_address: str | None = None,
        backend: Literal["asyncio", "trio"] = "asyncio",
    ) -> None:
        """Prepare a client as `Client` does; `backend` is the event loop of its thread."""
        self._client = Client(
            service, policy=policy, candidates=candidates, transport=transport, source_address=source_address
        )
        self._backend = backend
        self._starting = Lock()
        self._thread = ExitStack()
        self._started: BlockingPortal | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and end the thread. Idempotent."""
        with self._starting:
            self._started = None
            self._thread.close()

    def request(
        self, method: str, path: str, *, json: object = None, content: bytes = b"", headers: Headers = ()
    ) -> Answer:
        """Ask the engine privately and gather the answer: see `Client.request`."""

        async def ask() -> Answer:
            return await self._client.request(method, path, json=json, content=content, headers=headers)

        return self._portal().call(ask)

    @contextmanager
    def stream(self, request: HttpRequest) -> Iterator[SyncResponse]:
        """Ask the engine privately: see `Client.stream`."""
        portal = self._portal()
        with portal.wrap_async_context_manager(self._client.stream(request)) as response:
            parts = _iterate(portal, response)
            yield SyncResponse(response.status, response.headers, private_info(response), parts)

    def _portal(self) -> BlockingPortal:
        with self._starting:
            if self._started is None:
                portal = self._thread.enter_context(start_blocking_portal(self._backend))
                # Also at the end of a program that closes nothing: later, that thread would answer nobody any more.
                finalize(self, self._thread.close)
                self._thread.callback(portal.call, self._client.aclose)
                self._started = portal
            return self._started


def _iterate(portal: BlockingPortal, response: HttpResponse) -> Iterator[bytes]:
    async def pull() -> bytes | None:
        return await anext(response.content, None)

    while (part := portal.call(pull)) is not None:
        yield part
