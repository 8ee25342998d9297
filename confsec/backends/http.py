"""The transport between hops: HTTP/1.1 over TCP or a Unix socket, by httpcore2, on asyncio and trio.

Connections are kept and used again, one exchange at a time on each. Bodies are pulled only as fast as the other side
takes them. Leaving an exchange before its end closes its connection, which is how the next hop learns of it.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, contextmanager
from typing import Final, final

import httpcore2
from attrs import frozen

from confsec.backends.api import Headers, HttpRequest, HttpResponse, header
from confsec.errors import (
    ConfsecError,
    ConnectError,
    DeadlineError,
    DisconnectedError,
    LocalProtocolError,
    RemoteProtocolError,
)

__all__ = ["HttpLimits", "HttpTransport"]

_NO_DELAY: Final = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
"""A token must not wait for the acknowledgement of the one before it."""

_GONE: Final = ("peer closed connection", "Server disconnected")
"""How httpcore2 and h11 begin the message when the connection ended early, which is no breach of HTTP."""


@frozen(kw_only=True)
class HttpLimits:
    """How long a hop waits, in seconds, and how many connections it holds."""

    connect_timeout: float = 5.0
    """Until a connection stands."""

    read_timeout: float = 120.0
    """Between two parts of an answer, and until the first: an engine may think for a while."""

    write_timeout: float = 30.0
    """Until the peer takes a part of the request."""

    pool_timeout: float = 10.0
    """Until a connection becomes free when all are in use."""

    keep_alive: float = 30.0
    """How long an idle connection is kept. Shorter than what our servers allow, so that we close first."""

    max_connections: int = 1024
    """Connections at once, to all peers together."""

    def timeouts(self) -> dict[str, float]:
        """Return the time limits in the form that httpcore2 takes."""
        return {
            "connect": self.connect_timeout,
            "read": self.read_timeout,
            "write": self.write_timeout,
            "pool": self.pool_timeout,
        }


@final
class HttpTransport:
    """A pool of connections. It belongs to the event loop in which it is first used."""

    def __init__(
        self,
        limits: HttpLimits | None = None,
        *,
        uds: str | None = None,
        source_address: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """Connect to the Unix socket `uds` if there is one, else to the host of each URL, from `source_address`."""
        self._limits = limits or HttpLimits()
        self._timeouts = self._limits.timeouts()
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=ssl_context,
            max_connections=self._limits.max_connections,
            keepalive_expiry=self._limits.keep_alive,
            local_address=source_address,
            uds=uds,
            network_backend=_Backend(),
            socket_options=None if uds else _NO_DELAY,
        )

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]:
        """Send `request` and yield the head of the answer. Raises what `Transport.stream` names."""
        return self._stream(request)

    @asynccontextmanager
    async def _stream(self, request: HttpRequest) -> AsyncGenerator[HttpResponse]:
        with _our_errors(self._limits):
            response = await self._pool.handle_async_request(self._encode(request))
        try:
            async with aclosing(_generator(response)) as parts:
                yield HttpResponse(
                    status=response.status,
                    headers=_decode_headers(response.headers),
                    content=_Parts(parts, self._limits),
                )
        finally:
            await response.aclose()

    async def aclose(self) -> None:
        """Close pooled connections. Idempotent."""
        await self._pool.aclose()

    def _encode(self, request: HttpRequest) -> httpcore2.Request:
        url = _parse_url(request.url)
        headers = [(b"host", _host(url)), *_encode_headers(request.headers)]
        content: bytes | AsyncIterable[bytes] = request.content
        if not isinstance(content, bytes):
            if header(request.headers, "content-length") is None:
                headers.append((b"transfer-encoding", b"chunked"))
            content = _without_empty(content)
        elif content or request.method not in {"GET", "HEAD"}:
            headers.append((b"content-length", b"%d" % len(content)))
        timeouts = {"timeout": self._timeouts}
        return httpcore2.Request(request.method, url, headers=headers, content=content, extensions=timeouts)


@final
class _Backend(httpcore2.AsyncNetworkBackend):
    """Makes the connections of httpcore2 send a request's header together with what follows it."""

    def __init__(self) -> None:
        self._backend = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore2's interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to a host."""
        return _Stream(await self._backend.connect_tcp(host, port, timeout, local_address, socket_options))

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore2's interface
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to a Unix socket."""
        return _Stream(await self._backend.connect_unix_socket(path, timeout, socket_options))


@final
class _Stream(httpcore2.AsyncNetworkStream):
    """A connection that holds back the first write after a read, until the next write.

    httpcore2 writes header, content and end of a request apart, the end also when it is empty. Held back, the header
    travels with the content in one packet, and the peer wakes up once instead of twice.
    """

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream
        self._socket: socket.socket = stream.get_extra_info("socket")
        self._held: bytes | None = None
        self._fresh = True

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  # as above
        self._fresh = True
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109  # as above
        if self._fresh:
            self._held, self._fresh = buffer, False
            return
        if self._held is not None:
            buffer, self._held = self._held + buffer, None
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore2's interface
    ) -> httpcore2.AsyncNetworkStream:
        return _Stream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> object:
        # Asked three times for each exchange, and slow to find out through the layers below.
        return _is_readable(self._socket) if info == "is_readable" else self._stream.get_extra_info(info)


@final
class _Parts:
    """The body of an answer, with our errors."""

    def __init__(self, parts: AsyncGenerator[bytes], limits: HttpLimits) -> None:
        self._parts = parts
        self._limits = limits

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        with _our_errors(self._limits):
            return await anext(self._parts)


def _is_readable(connection: socket.socket) -> bool:
    """Return whether something has arrived, or the end: on an idle connection it can only be the end."""
    if connection.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


def _generator(response: httpcore2.Response) -> AsyncGenerator[bytes]:
    parts = response.stream.__aiter__()  # type: ignore[union-attr]  # an async pool answers with an async stream
    if not isinstance(parts, AsyncGenerator):
        raise LocalProtocolError("httpcore2 answered with a stream that is no asynchronous generator")
    return parts


async def _without_empty(content: AsyncIterable[bytes]) -> AsyncGenerator[bytes]:
    """Drop empty parts: in the chunked coding an empty chunk is the end. Closes a generator that is cut short."""
    try:
        async for part in content:
            if part:
                yield part
    finally:
        if isinstance(content, AsyncGenerator):
            await content.aclose()


def _parse_url(text: str) -> httpcore2.URL:
    # A space or a line break would end the request line, and the rest would be read as something else.
    if not text.isascii() or any(character <= " " or character == "\x7f" for character in text):
        raise LocalProtocolError("a request has a URL with characters that a URL cannot have")
    try:
        return httpcore2.URL(text)
    except (ValueError, TypeError) as exc:
        raise LocalProtocolError("a request has a URL that cannot be read") from exc


def _host(url: httpcore2.URL) -> bytes:
    default = {b"http": 80, b"https": 443}.get(url.scheme)
    host = b"[%b]" % url.host if b":" in url.host else url.host
    return host if url.port in {None, default} else b"%b:%d" % (host, url.port)


def _encode_headers(headers: Headers) -> list[tuple[bytes, bytes]]:
    try:
        return [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]
    except UnicodeEncodeError as exc:
        raise LocalProtocolError("a header field is not latin-1") from exc


def _decode_headers(headers: list[tuple[bytes, bytes]]) -> Headers:
    return tuple((name.decode("ascii").lower(), value.decode("latin-1")) for name, value in headers)


@contextmanager
def _our_errors(limits: HttpLimits) -> Iterator[None]:
    """Turn what httpcore2 raises into our errors. Its messages are not passed on: they may quote the peer."""
    try:
        yield
    except httpcore2.ConnectError as exc:
        raise ConnectError(
            "no connection could be made", hint="Is the peer running, and is the address right?"
        ) from exc
    except httpcore2.ConnectTimeout as exc:
        raise ConnectError("no connection could be made in time", want=f"{limits.connect_timeout:g} s") from exc
    except httpcore2.PoolTimeout as exc:
        raise ConnectError("no connection became free in time", want=f"{limits.pool_timeout:g} s") from exc
    except httpcore2.ReadTimeout as exc:
        raise DeadlineError("the peer sent nothing for too long", want=f"{limits.read_timeout:g} s") from exc
    except httpcore2.WriteTimeout as exc:
        raise DeadlineError("the peer took nothing for too long", want=f"{limits.write_timeout:g} s") from exc
    except (httpcore2.NetworkError, OSError) as exc:
        raise DisconnectedError("the connection broke in the middle of an exchange") from exc
    except httpcore2.RemoteProtocolError as exc:
        raise _remote_error(exc) from exc
    except (httpcore2.LocalProtocolError, httpcore2.UnsupportedProtocol) as exc:
        raise LocalProtocolError("a request cannot be sent as HTTP/1.1") from exc


def _remote_error(exc: httpcore2.RemoteProtocolError) -> ConfsecError:
    if str(exc).startswith(_GONE):
        return DisconnectedError("the peer closed the connection before its answer ended")
    return RemoteProtocolError("the peer's answer is not HTTP/1.1", section="RFC 9112")
