"""The transport between hops: HTTP/1.1 over TCP or a Unix socket, on asyncio and trio.

Connections are kept and used again, one exchange at a time on each. Bodies are pulled only as fast as the other side
takes them. Leaving an exchange before its end closes its connection, which is how the next hop learns of it.

h11 reads and writes the messages; connections and their reuse are here. Hops need little of what a general client
does, and would pay for all of it with each request: httpcore2 takes half as much time again.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from itertools import chain
from types import TracebackType
from typing import Final, Literal, final
from urllib.parse import urlsplit

import anyio
import anyio.abc
import anyio.lowlevel
import h11
from anyio.streams.tls import TLSStream
from attrs import frozen

from confsec.backends.api import Headers, HttpRequest, HttpResponse, header
from confsec.backends.system import monotonic
from confsec.errors import (
    ConnectError,
    DeadlineError,
    DisconnectedError,
    LocalProtocolError,
    RemoteProtocolError,
)

__all__ = ["HttpLimits", "HttpTransport"]

_MAX_HEADER: Final = 64 << 10
"""The header section of an answer has at most 64 KiB."""

_PART: Final = 64 << 10
"""How much is read at once."""


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
    """Exchanges at once, to all peers together, and idle connections beside them."""


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
        self._uds = uds
        self._source_address = source_address
        self._ssl_context = ssl_context
        self._free = anyio.Semaphore(self._limits.max_connections, fast_acquire=True)
        self._idle: dict[_Origin, list[_Connection]] = {}

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]:
        """Send `request` and yield the head of the answer. Raises what `Transport.stream` names."""
        return _Exchange(self, request)

    async def aclose(self) -> None:
        """Close pooled connections. Idempotent."""
        idle, self._idle = self._idle, {}
        for connection in chain.from_iterable(idle.values()):
            await connection.aclose()

    async def acquire(self, origin: _Origin) -> _Connection:
        """Take an idle connection to `origin`, or make one. Raises `ConnectError`."""
        await self._wait_for_turn()
        try:
            return await self._reuse(origin) or await self._connect(origin)
        except BaseException:
            self._free.release()
            raise

    async def release(self, connection: _Connection) -> None:
        """Take back a connection that `acquire` gave. One whose exchange is not complete is closed."""
        self._free.release()
        if connection.recycle():
            self._idle.setdefault(connection.origin, []).append(connection)
        else:
            await connection.aclose()

    async def _wait_for_turn(self) -> None:
        try:
            self._free.acquire_nowait()
        except anyio.WouldBlock:
            with anyio.move_on_after(self._limits.pool_timeout) as scope:
                await self._free.acquire()
            if scope.cancelled_caught:
                want = f"{self._limits.pool_timeout:g} s"
                raise ConnectError("no connection became free in time", want=want) from None

    async def _reuse(self, origin: _Origin) -> _Connection | None:
        """Take the connection to `origin` that was used last, if one is still good. Close what is idle for too long."""
        idle = self._idle.setdefault(origin, [])
        oldest = monotonic() - self._limits.keep_alive
        while idle and idle[0].idle_since < oldest:
            await idle.pop(0).aclose()
        while idle:
            connection = idle.pop()
            if not connection.is_readable():
                return connection
            await connection.aclose()
        return None

    async def _connect(self, origin: _Origin) -> _Connection:
        try:
            with anyio.fail_after(self._limits.connect_timeout):
                return _Connection(origin, await self._open(origin), self._limits)
        except TimeoutError as exc:
            want = f"{self._limits.connect_timeout:g} s"
            raise ConnectError("no connection could be made in time", want=want) from exc
        except ssl.SSLError as exc:
            raise ConnectError(
                "no TLS connection could be made", hint="Is the certificate good for this name?"
            ) from exc
        except (OSError, anyio.BrokenResourceError, anyio.EndOfStream) as exc:
            hint = "Is the peer running, and is the address right?"
            raise ConnectError("no connection could be made", hint=hint) from exc

    async def _open(self, origin: _Origin) -> anyio.abc.ByteStream:
        if self._uds is not None:
            stream: anyio.abc.SocketStream = await anyio.connect_unix(self._uds)
        else:
            stream = await anyio.connect_tcp(origin.host, origin.port, local_host=self._source_address)
            # A token must not wait for the acknowledgement of the one before it.
            _raw_socket(stream).setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return stream if origin.scheme == "http" else await self._start_tls(stream, origin.host)

    async def _start_tls(self, stream: anyio.abc.ByteStream, host: str) -> anyio.abc.ByteStream:
        if self._ssl_context is None:
            self._ssl_context = ssl.create_default_context()
        try:
            # HTTP says where an answer ends, so many servers close without TLS's own goodbye.
            return await TLSStream.wrap(stream, hostname=host, ssl_context=self._ssl_context, standard_compatible=False)
        except BaseException:
            await anyio.aclose_forcefully(stream)
            raise


@frozen
class _Origin:
    """Whom a connection leads to."""

    scheme: Literal["http", "https"]
    host: str
    port: int


@final
class _Connection:
    """One connection, on which one exchange follows another."""

    def __init__(self, origin: _Origin, stream: anyio.abc.ByteStream, limits: HttpLimits) -> None:
        self.origin = origin
        self.idle_since: float = 0.0
        self._stream = stream
        self._socket = _raw_socket(stream)
        self._limits = limits
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEADER)
        self._ended = False

    async def send(self, request: h11.Request, content: bytes | AsyncIterable[bytes]) -> None:
        """Send a request. What belongs together goes out at once: the header waits for the first part."""
        try:
            await self._send(self._encode(request), content)
        except _NotTakenError:
            # A server may refuse a request before it was sent whole: its answer is what we read next.
            await anyio.lowlevel.checkpoint()
        finally:
            if isinstance(content, AsyncGenerator):
                await content.aclose()

    async def receive_head(self) -> h11.Response:
        """Wait for the head of the answer."""
        while True:
            event = await self._next_event()
            if isinstance(event, h11.Response):
                return event

    async def receive_part(self) -> bytes | None:
        """Wait for the next part of the answer's body. Returns None at its end."""
        event = await self._next_event()
        return bytes(event.data) if isinstance(event, h11.Data) else None

    def recycle(self) -> bool:
        """Get ready for another exchange. Returns whether that is possible."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        self.idle_since = monotonic()
        return True

    def is_readable(self) -> bool:
        """Return whether something has arrived, or the end: on an idle connection it can only be the end."""
        if self._socket.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    async def aclose(self) -> None:
        """Close the connection, also when we are being cancelled."""
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(self._stream)

    def _encode(self, event: h11.Request | h11.Data | h11.EndOfMessage) -> bytes:
        try:
            return self._http.send(event) or b""
        except h11.LocalProtocolError as exc:
            raise LocalProtocolError("a request cannot be sent as HTTP/1.1") from exc

    async def _send(self, head: bytes, content: bytes | AsyncIterable[bytes]) -> None:
        if isinstance(content, bytes):
            await self._write(head + self._encode(h11.Data(data=content)) + self._encode(h11.EndOfMessage()))
            return
        async for part in content:
            if part:  # in the chunked coding an empty chunk is the end
                await self._write(head + self._encode(h11.Data(data=part)))
                head = b""
        await self._write(head + self._encode(h11.EndOfMessage()))

    async def _write(self, data: bytes) -> None:
        if not data:
            return
        try:
            with anyio.move_on_after(self._limits.write_timeout):
                await self._stream.send(data)
                return
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as exc:
            raise _NotTakenError from exc
        raise DeadlineError("the peer took nothing for too long", want=f"{self._limits.write_timeout:g} s")

    async def _next_event(self) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as exc:
                raise self._breach() from exc
            if event is not h11.NEED_DATA:
                return event
            self._http.receive_data(await self._read())

    async def _read(self) -> bytes:
        try:
            with anyio.move_on_after(self._limits.read_timeout):
                return await self._stream.receive(_PART)
        except anyio.EndOfStream:
            self._ended = True
            if self._http.their_state is h11.SEND_RESPONSE:
                raise self._breach() from None
            return b""
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as exc:
            raise DisconnectedError("the connection broke in the middle of an exchange") from exc
        raise DeadlineError("the peer sent nothing for too long", want=f"{self._limits.read_timeout:g} s")

    def _breach(self) -> DisconnectedError | RemoteProtocolError:
        if self._ended:
            return DisconnectedError("the peer closed the connection before its answer ended")
        return RemoteProtocolError("the peer's answer is not HTTP/1.1", section="RFC 9112")


@final
class _NotTakenError(Exception):
    """The peer takes nothing more of a request."""


@final
class _Exchange:
    """One request and its answer."""

    def __init__(self, transport: HttpTransport, request: HttpRequest) -> None:
        self._transport = transport
        self._request = request
        self._connection: _Connection | None = None

    async def __aenter__(self) -> HttpResponse:
        origin, head = _encode_head(self._request)
        connection = await self._transport.acquire(origin)
        try:
            await connection.send(head, self._request.content)
            response = await connection.receive_head()
        except BaseException:
            await self._transport.release(connection)
            raise
        self._connection = connection
        headers = tuple((name.decode("ascii"), value.decode("latin-1")) for name, value in response.headers)
        return HttpResponse(status=response.status_code, headers=headers, content=_Parts(connection))

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._transport.release(connection)


@final
class _Parts:
    """The body of an answer."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self._ended = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self._ended:
            part = await self._connection.receive_part()
            if part is None:
                self._ended = True
            elif part:
                return part
        raise StopAsyncIteration


def _encode_head(request: HttpRequest) -> tuple[_Origin, h11.Request]:
    """Return where a request goes and its head. Raises `LocalProtocolError`."""
    with _unsendable():
        url = urlsplit(request.url)
        host, port = url.hostname, url.port or {"http": 80, "https": 443}[url.scheme]
        # A space or a line break would end the request line, and the rest would be read as something else.
        if not host or any(character <= " " or character >= "\x7f" for character in request.url):
            raise ValueError
        headers = [(b"host", url.netloc.rpartition("@")[2].encode()), *_encode_headers(request.headers)]
        if isinstance(request.content, bytes):
            if request.content or request.method not in {"GET", "HEAD"}:
                headers.append((b"content-length", b"%d" % len(request.content)))
        elif header(request.headers, "content-length") is None:
            headers.append((b"transfer-encoding", b"chunked"))
        target = f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"
        scheme: Literal["http", "https"] = "https" if url.scheme == "https" else "http"
        return _Origin(scheme, host, port), h11.Request(method=request.method, target=target, headers=headers)


def _encode_headers(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]


@contextmanager
def _unsendable() -> Iterator[None]:
    # The reasons are not passed on: they quote the request.
    try:
        yield
    except (ValueError, KeyError, h11.LocalProtocolError) as exc:
        raise LocalProtocolError("a request cannot be sent as HTTP/1.1") from exc


def _raw_socket(stream: anyio.abc.ByteStream) -> socket.socket:
    raw: socket.socket = stream.extra(anyio.abc.SocketAttribute.raw_socket)  # noqa: S610  # anyio's, not Django's
    return raw
