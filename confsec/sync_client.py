"""The client for code without an event loop: `Client`, driven in a thread of its own."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, final

from anyio.from_thread import BlockingPortal
from attrs import field, frozen

from confsec.backends.api import Headers, HttpRequest, HttpResponse, Transport
from confsec.backends.portal import PortalThread, call
from confsec.client import Answer, Client, PrivateInfo, Service, private_info
from confsec.protocol.policy import PRODUCTION, Policy
from confsec.protocol.proof import Proof
from confsec.protocol.session import DEFAULT_CANDIDATES
from confsec.wallet import Wallet

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
    """A client of one service. Its thread starts with the first request and ends with `close`, or with the program."""

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
        backend: Literal["asyncio", "trio"] = "asyncio",
    ) -> None:
        """Prepare a client as `Client` does; `backend` is the event loop of its thread."""
        self._client = Client(
            service,
            policy=policy,
            candidates=candidates,
            wallet=wallet,
            pin=pin,
            memory=memory,
            transport=transport,
            source_address=source_address,
        )
        self._thread = PortalThread(self._client.aclose, backend=backend)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cancel what is under way, close the connections and end the thread. Idempotent."""
        self._thread.close()

    @property
    def first_contact(self) -> bool:
        """Whether nothing was remembered of the service's logs: see `Client.first_contact`."""
        return self._client.first_contact

    def request(
        self, method: str, path: str, *, json: object = None, content: bytes = b"", headers: Headers = ()
    ) -> Answer:
        """Ask the engine privately and gather the answer: see `Client.request`."""

        async def ask() -> Answer:
            return await self._client.request(method, path, json=json, content=content, headers=headers)

        return call(self._thread.portal(), ask)

    @contextmanager
    def stream(self, request: HttpRequest) -> Generator[SyncResponse]:
        """Ask the engine privately: see `Client.stream`."""
        portal = self._thread.portal()
        with portal.wrap_async_context_manager(self._client.stream(request)) as response:
            parts = _iterate(portal, response)
            yield SyncResponse(response.status, response.headers, private_info(response), parts)


def _iterate(portal: BlockingPortal, response: HttpResponse) -> Iterator[bytes]:
    async def pull() -> bytes | None:
        return await anext(response.content, None)

    while (part := call(portal, pull)) is not None:
        yield part
