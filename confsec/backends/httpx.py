"""Transports for httpx2 and for httpx, so that programs and SDKs that are built on them speak through confsec.

The objects of the two libraries do not mix, and neither knows of the other: one body is written here and made into
classes of either. What httpx calls a transport takes its requests and gives them to a transport of ours, usually a
`Client`; the answer's `extensions["confsec"]` leads to the Proof.

What went wrong arrives in two ways. A fault of the road, which may be gone at the next try, becomes the exception that
httpx has for it, raised from ours: SDKs know it, wrap it and may try again. All else is raised as it is. Above all a
refusal: no SDK may take "not trusted" for bad weather and ask until it is let through.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

import anyio

from confsec.backends.api import Headers, HttpRequest, HttpResponse, Transport
from confsec.backends.portal import PortalThread, call
from confsec.errors import (
    BackendError,
    ConnectError,
    DeadlineError,
    MissingExtraError,
    PeerError,
    TransportError,
    TruncatedError,
)

if TYPE_CHECKING:
    import httpx
    import httpx2

__all__ = ["async_transport", "build", "legacy_async_transport", "legacy_transport", "transport"]

_BUSY_STATUSES: Final = frozenset({429, 502, 503, 504})
"""Refusals of a peer after which another try makes sense."""


def transport(client: Transport) -> httpx2.BaseTransport:
    """Return a transport for `httpx2.Client`. Closing it closes `client`. Raises `MissingExtraError`.

    `client` is driven in a thread of its own, which starts with the first request. Whoever calls this hands it over.
    """
    return cast("httpx2.BaseTransport", build(_import("httpx2"))[0](client))


def async_transport(client: Transport) -> httpx2.AsyncBaseTransport:
    """Return a transport for `httpx2.AsyncClient`. Closing it closes `client`. Raises `MissingExtraError`."""
    return cast("httpx2.AsyncBaseTransport", build(_import("httpx2"))[1](client))


def legacy_transport(client: Transport) -> httpx.BaseTransport:
    """Return what `transport` returns, for the older `httpx.Client`."""
    return cast("httpx.BaseTransport", build(_import("httpx"))[0](client))


def legacy_async_transport(client: Transport) -> httpx.AsyncBaseTransport:
    """Return what `async_transport` returns, for the older `httpx.AsyncClient`."""
    return cast("httpx.AsyncBaseTransport", build(_import("httpx"))[1](client))


def build(library: ModuleType) -> tuple[type[Any], type[Any]]:
    """Make the two transport classes, sync and async, of `library`: httpx2, httpx, or what has their names."""
    stream = type("_Stream", (_SyncStream, library.SyncByteStream), {})
    async_stream = type("_AsyncStream", (_AsyncStream, library.AsyncByteStream), {})
    return (
        type("Transport", (_SyncTransport, library.BaseTransport), {"library": library, "stream": stream}),
        type(
            "AsyncTransport",
            (_AsyncTransport, library.AsyncBaseTransport),
            {"library": library, "stream": async_stream},
        ),
    )


def _import(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as exc:
        raise MissingExtraError(name, extra="httpx") from exc


class _AsyncTransport:
    """The body of an asynchronous transport. The types are those of httpx2; httpx's have the same members."""

    library: ClassVar[Any]
    stream: ClassVar[type[_AsyncStream]]

    def __init__(self, client: Transport) -> None:
        self._client = client

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        content = cast("AsyncIterable[bytes]", request.stream)  # an AsyncClient makes asynchronous streams only
        exchange = _exchange(self._client, request, content, self.library)
        response = await exchange.__aenter__()
        return _response(self.library, response, self.stream(exchange, response))

    async def aclose(self) -> None:
        await self._client.aclose()


class _AsyncStream:
    """The body of an answer, which ends the exchange when it is closed."""

    def __init__(self, exchange: AbstractAsyncContextManager[HttpResponse], response: HttpResponse) -> None:
        self._exchange: AbstractAsyncContextManager[HttpResponse] | None = exchange
        self._response = response

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._response.content

    async def aclose(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            await exchange.__aexit__(None, None, None)


class _SyncTransport:
    """The body of a transport for code without an event loop: the asynchronous client in a thread of its own."""

    library: ClassVar[Any]
    stream: ClassVar[type[_SyncStream]]

    def __init__(self, client: Transport) -> None:
        self._client = client
        self._thread = PortalThread(client.aclose)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        portal = self._thread.portal()
        exchange = portal.wrap_async_context_manager(
            _exchange(self._client, request, request.read(), self.library),
        )
        response = exchange.__enter__()
        return _response(self.library, response, self.stream(self._thread, exchange, response))

    def close(self) -> None:
        self._thread.close()


class _SyncStream:
    """The body of an answer, pulled from the other thread part by part."""

    def __init__(
        self, thread: PortalThread, exchange: AbstractContextManager[HttpResponse], response: HttpResponse
    ) -> None:
        self._thread = thread
        self._portal = thread.portal()
        self._exchange: AbstractContextManager[HttpResponse] | None = exchange
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        while (part := self._pull()) is not None:
            yield part

    def close(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None and self._thread.runs(self._portal):
            exchange.__exit__(None, None, None)

    def _pull(self) -> bytes | None:
        async def pull() -> bytes | None:
            return await anext(self._response.content, None)

        return call(self._portal, pull)


@asynccontextmanager
async def _exchange(
    client: Transport, request: httpx2.Request, content: bytes | AsyncIterable[bytes], library: Any
) -> AsyncGenerator[HttpResponse]:
    """Ask, within the time limits and with the exceptions that a user of `library` expects."""
    limit = request.extensions.get("timeout", {}).get("read")
    ours = HttpRequest(method=request.method, url=_target(request), headers=_headers(request.headers), content=content)
    exchange = client.stream(ours)
    with _their_errors(library):
        with anyio.fail_after(limit):
            response = await exchange.__aenter__()
    try:
        parts = _Parts(response.content, library, limit)
        yield HttpResponse(
            status=response.status, headers=response.headers, content=parts, extensions=response.extensions
        )
    finally:
        await exchange.__aexit__(None, None, None)


class _Parts:
    """The body of an answer, with the time limit and the exceptions of its library."""

    def __init__(self, parts: AsyncIterator[bytes], library: Any, limit: float | None) -> None:
        self._parts = parts
        self._library = library
        self._limit = limit

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        with _their_errors(self._library), anyio.fail_after(self._limit):
            return await anext(self._parts)


@contextmanager
def _their_errors(library: Any) -> Generator[None]:
    """Raise what may be gone at the next try as the library's own exception, from ours; all else as it is."""
    try:
        yield
    except TimeoutError as exc:
        raise library.ReadTimeout("nothing came for too long") from exc
    except ConnectError as exc:
        raise library.ConnectError(str(exc)) from exc
    except DeadlineError as exc:
        raise library.ReadTimeout(str(exc)) from exc
    except (TransportError, TruncatedError) as exc:
        raise library.ReadError(str(exc)) from exc
    except (BackendError, PeerError) as exc:
        if isinstance(exc, PeerError) and exc.status not in _BUSY_STATUSES:
            raise
        raise library.RemoteProtocolError(str(exc)) from exc


def _target(request: httpx2.Request) -> str:
    """Return the path and query: the name of the server in the URL says nothing here."""
    return request.url.raw_path.decode("ascii")


def _headers(headers: httpx2.Headers) -> Headers:
    return tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers.raw)


def _response(library: Any, response: HttpResponse, stream: object) -> httpx2.Response:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
    return cast(
        "httpx2.Response",
        library.Response(response.status, headers=headers, stream=stream, extensions=dict(response.extensions)),
    )
