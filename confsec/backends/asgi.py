"""A transport that calls an ASGI application in memory: the same exchange as over a socket, without one.

Both directions stream through channels that hold nothing, so a slow reader holds the application back. Leaving an
exchange early tells the application `http.disconnect`, as a server would; one that does not listen is cancelled.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any, Final, final
from urllib.parse import unquote, urlsplit

import anyio
import anyio.lowlevel

from confsec.backends.api import Headers, HttpRequest, HttpResponse, header
from confsec.errors import DisconnectedError, LocalProtocolError

__all__ = ["AsgiApp", "AsgiTransport", "Message", "Receive", "Scope", "Send"]

Scope = MutableMapping[str, Any]
"""What a server tells an application about a connection, by the names of ASGI 3."""

Message = MutableMapping[str, Any]
"""An event, to or from an application."""

Receive = Callable[[], Awaitable[Message]]
"""What an application calls to get the next event."""

Send = Callable[[Message], Awaitable[None]]
"""What an application calls to send an event."""

AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An ASGI 3 application. The standard leaves the values of its dictionaries open, hence `Any`."""

_GRACE: Final = 2.0


@final
class AsgiTransport:
    """A peer that lives in this process."""

    def __init__(self, app: AsgiApp, *, client: tuple[str, int] | None = None, grace: float = _GRACE) -> None:
        """Call `app`; `client` is the address that it is told, none by default.

        `grace` is how many seconds the application has to return after `http.disconnect`, before it is cancelled.
        """
        self._app = app
        self._grace = grace
        self._client = client

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]:
        """Call the application. Raises `DisconnectedError` when it fails or returns before its answer is complete."""
        return self._stream(request)

    @asynccontextmanager
    async def _stream(self, request: HttpRequest) -> AsyncGenerator[HttpResponse]:
        exchange = _Exchange(request, self._grace)
        error: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(exchange.run, self._app, _scope(request, self._client))
            try:
                yield await exchange.head()
            except Exception as exc:  # noqa: BLE001  # raised again below: a task group would wrap it
                error = exc
            finally:
                await exchange.leave()
        if error is not None:
            raise error

    async def aclose(self) -> None:
        """Do nothing: there are no connections."""


@final
class _Exchange:
    """One call of the application, seen from both sides."""

    def __init__(self, request: HttpRequest, grace: float) -> None:
        self._grace = grace
        self._content = _parts(request)
        self._body_ended = False
        self._send_part, self._receive_part = anyio.create_memory_object_stream[bytes](0)
        self._head: tuple[int, Headers] | None = None
        self._head_known = anyio.Event()
        self._complete = False
        self._left = anyio.Event()
        self._over = anyio.Event()
        """The answer is complete, or the caller has left."""
        self._returned = anyio.Event()
        self._scope = anyio.CancelScope(shield=True)
        self._error: Exception | None = None

    async def run(self, app: AsgiApp, scope: Scope) -> None:
        """Run the application to its end. Its exceptions become the caller's, when the caller next looks."""
        try:
            with self._scope:
                await app(scope, self._receive, self._send)
        except Exception as exc:  # noqa: BLE001  # whatever an application raises, its peer sees a broken connection
            self._error = self._error or exc
        finally:
            self._send_part.close()
            self._head_known.set()
            self._returned.set()

    async def head(self) -> HttpResponse:
        """Wait for the head of the answer."""
        await self._head_known.wait()
        if self._head is None:
            raise self._failure()
        status, headers = self._head
        return HttpResponse(status=status, headers=headers, content=_Parts(self.next_part))

    async def next_part(self) -> bytes:
        """Wait for the next part of the answer's body."""
        try:
            return await self._receive_part.receive()
        except anyio.EndOfStream:
            if not self._complete:
                raise self._failure() from None
            raise StopAsyncIteration from None

    async def leave(self) -> None:
        """Tell the application that the caller has gone, and see it off."""
        self._left.set()
        self._over.set()
        self._receive_part.close()
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(self._grace):
                await self._returned.wait()
            self._scope.cancel()
            await self._returned.wait()
            await self._content.aclose()

    def _failure(self) -> Exception:
        # The caller's own body failed: that is the caller's error, not the application's.
        if self._error is not None and not self._body_ended and self._left.is_set():
            return self._error
        error = DisconnectedError("the application did not complete its answer")
        error.__cause__ = self._error
        return error

    async def _receive(self) -> Message:
        if not self._body_ended and not self._over.is_set():
            try:
                return {"type": "http.request", "body": await anext(self._content), "more_body": True}
            except StopAsyncIteration:
                self._body_ended = True
                return {"type": "http.request", "body": b"", "more_body": False}
            except Exception as exc:  # noqa: BLE001  # handed to the caller, whose iterator it is
                self._error = exc
                self._left.set()
                self._over.set()
        await self._over.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self._left.is_set():
            await anyio.lowlevel.checkpoint()
            return  # as servers do: what is sent after a disconnect goes nowhere
        if message["type"] == "http.response.start":
            self._head = (message["status"], _decode_headers(message.get("headers", ())))
            self._head_known.set()
        elif message["type"] == "http.response.body" and self._head is not None:
            await self._send_body(message.get("body", b""), more=message.get("more_body", False))
        else:
            raise LocalProtocolError("an application sent a message out of turn", got=message["type"])

    async def _send_body(self, body: bytes, *, more: bool) -> None:
        try:
            if body:
                await self._send_part.send(bytes(body))
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return
        if not more:
            self._complete = True
            self._over.set()
            self._send_part.close()


@final
class _Parts:
    """The body of an answer."""

    def __init__(self, next_part: Callable[[], Awaitable[bytes]]) -> None:
        self._next_part = next_part

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        return await self._next_part()


async def _parts(request: HttpRequest) -> AsyncGenerator[bytes]:
    if isinstance(request.content, bytes):
        if request.content:
            yield request.content
    elif isinstance(request.content, AsyncGenerator):
        async with aclosing(request.content) as parts:
            async for part in parts:
                yield part
    else:
        async for part in request.content:
            yield part


def _scope(request: HttpRequest, client: tuple[str, int] | None) -> Scope:
    url = urlsplit(request.url)
    framing: Headers = ()
    if isinstance(request.content, bytes):
        framing = (("content-length", str(len(request.content))),)
    elif header(request.headers, "content-length") is None:
        framing = (("transfer-encoding", "chunked"),)
    headers = (("host", url.netloc), *request.headers, *framing)
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": url.scheme or "http",
        "path": unquote(url.path) or "/",
        "raw_path": (url.path or "/").encode("ascii"),
        "query_string": url.query.encode("ascii"),
        "root_path": "",
        "headers": [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers],
        "client": client,
        "server": (url.hostname or "localhost", url.port),
    }


def _decode_headers(headers: Any) -> Headers:
    return tuple((name.decode("ascii").lower(), value.decode("latin-1")) for name, value in headers)
