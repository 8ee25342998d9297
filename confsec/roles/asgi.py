"""What all roles share as ASGI applications: one exchange with its limits, and the role that hands exchanges out.

An exchange is cut when its client goes away, when nothing moves for `idle_timeout`, and at `exchange_timeout`. Cutting
cancels the handler, and with it the call to the next hop. A role answers `GET /healthz`, counts its exchanges, and
turns whatever goes wrong into a status. Nothing here logs what travels.
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import ClassVar, Final, final

import anyio
import anyio.lowlevel

from confsec.backends.api import Headers, HttpResponse, header
from confsec.backends.asgi import Receive, Scope, Send
from confsec.backends.system import monotonic
from confsec.errors import BusyError, ConfsecError, DeadlineError, DisconnectedError, LimitError, RateLimitError
from confsec.protocol.problem import PROBLEM_TYPE, Problem
from confsec.roles.config import RoleConfig

__all__ = [
    "Exchange",
    "Handler",
    "NotFoundError",
    "Role",
    "UnsupportedMediaTypeError",
    "WrongMethodError",
    "in_background",
    "media_type",
]

_LINGER_BYTES: Final = 1 << 20
_LINGER_SECONDS: Final = 2.0
"""How much of an unwanted request body is read and dropped, so that the peer gets to see the answer."""

_ANSWER_SECONDS: Final = 10.0
"""How long an answer about an error may take to go out."""

_IDLE_STEPS: Final = 16
"""An exchange in which nothing moves is cut after `idle_timeout`, or this part of it later."""

_PAUSE_AFTER: Final = 16 << 10
_WRITE_COST: Final = 1 << 10
"""Others get a turn after 16 KiB of an answer, where each part counts for 1 KiB more than it has."""

_RETRY_AFTER: Final = ("retry-after", "1")
"""What a busy role advises: a second."""

_log = logging.getLogger("confsec.roles")


@final
class Exchange:
    """One request and its answer. The request's body is the iterator itself."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, config: RoleConfig) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: str = scope.get("query_string", b"").decode("latin-1")
        self.headers: Headers = tuple(
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
        )
        self.started: bool = False
        """The head of the answer is out."""
        self.finished: bool = False
        """The answer is complete."""
        self._receive = receive
        self._send = send
        self._config = config
        self._received = 0
        self._body_ended = anyio.Event()
        if not _has_body(self.headers):
            self._body_ended.set()
        self.gone: bool = False
        """The client has gone."""
        self._cut: anyio.CancelScope | None = None
        self._final = anyio.current_time() + config.exchange_timeout
        self._put_off = 0.0
        self._unpaused = 0

    async def run(self, handler: Handler) -> None:
        """Run `handler` until it ends, the client goes, or the time is up. Raises `ConfsecError`."""
        error: Exception | None = None
        done = False
        async with anyio.create_task_group() as tasks:
            self._cut = tasks.cancel_scope
            self._moved()
            tasks.start_soon(self._watch)
            try:
                await handler(self)
                done = True
            except Exception as exc:  # noqa: BLE001  # raised again below: a task group would wrap it
                error = exc
            # After a complete answer the server tells `_watch` that it is over; to cancel a task costs more.
            if not self.finished:
                tasks.cancel_scope.cancel()
        self._cut = None
        if error is not None:
            raise error
        if not done:
            raise self._why_cut()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        """Wait for the next part of the request's body. Raises `LimitError` and `DisconnectedError`."""
        while not self._body_ended.is_set():
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.gone = True
                raise DisconnectedError("the client went away before its request ended")
            self._moved()
            part: bytes = message.get("body", b"")
            self._count(len(part))
            if not message.get("more_body", False):
                self._body_ended.set()
            if part:
                return part
        raise StopAsyncIteration

    @property
    def received(self) -> bool:
        """Whether all of the request's body was read."""
        return self._body_ended.is_set()

    async def read(self) -> bytes:
        """Read the whole body of the request."""
        return b"".join([part async for part in self])

    async def start(self, status: int, headers: Headers = ()) -> None:
        """Send the head of the answer."""
        self.started = True
        fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await self._send({"type": "http.response.start", "status": status, "headers": fields})
        self._moved()

    async def write(self, data: bytes) -> None:
        """Send a part of the answer's body; wait while the client takes nothing."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})
        self._moved()
        # Servers return at once while their buffer has room, and also when the client has gone. Without a pause here, a
        # fast source would keep the event loop to itself and nobody would notice that the client has gone.
        self._unpaused += len(data) + _WRITE_COST
        if self._unpaused >= _PAUSE_AFTER:
            self._unpaused = 0
            await anyio.lowlevel.checkpoint()

    async def finish(self, data: bytes = b"") -> None:
        """Send the last part of the answer's body."""
        self.finished = True
        self._body_ended.set()
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def answer(self, status: int, headers: Headers = (), body: bytes = b"") -> None:
        """Send a whole answer. An answer to a request that was not read through ends the connection."""
        if not await self._linger():
            headers = (*headers, ("connection", "close"))
        await self.start(status, (*headers, ("content-length", str(len(body)))))
        await self.finish(body)

    async def refuse(self, problem: Problem, fields: Headers = ()) -> None:
        """Send a problem as the whole answer, with `fields` beside it."""
        headers: Headers = (("content-type", PROBLEM_TYPE), ("cache-control", "no-store"), *fields)
        if problem.status == BusyError.status_hint or problem.code == RateLimitError.code:
            headers = (*headers, _RETRY_AFTER)
        await self.answer(problem.status, headers, problem.encode())

    async def forward(self, response: HttpResponse, headers: Headers) -> None:
        """Send the answer of another hop, as it comes."""
        await self.start(response.status, headers)
        async for part in response.content:
            await self.write(part)
        await self.finish()

    def _count(self, size: int) -> None:
        self._received += size
        if self._received > self._config.max_body:
            raise LimitError("the request is too large", got="more", want=f"at most {self._config.max_body} bytes")

    def _moved(self) -> None:
        """Something moved: put the deadline off, a little further than needed, so that not every token has to."""
        now = monotonic()
        if self._cut is not None and now >= self._put_off:
            slack = self._config.idle_timeout / _IDLE_STEPS
            self._put_off = now + slack
            self._cut.deadline = min(anyio.current_time() + self._config.idle_timeout + slack, self._final)

    async def _watch(self) -> None:
        """Cut the exchange when the client goes away. Before the body has ended, reading it notices that."""
        await self._body_ended.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass
        # "Sent to the application if receive is called after a response has been sent or after the HTTP connection has
        # been closed" (ASGI, HTTP spec): after the end of the answer it is no news.
        if not self.finished and self._cut is not None:
            self.gone = True
            self._cut.cancel()

    def _why_cut(self) -> ConfsecError:
        if self.gone:
            return DisconnectedError("the client went away")
        return DeadlineError("the exchange took too long")

    async def _linger(self) -> bool:
        """Read a request's body to its end, within limits: closing on unread bytes would take the answer away."""
        left = _LINGER_BYTES
        with anyio.move_on_after(_LINGER_SECONDS):
            while not self._body_ended.is_set() and left > 0 and not self.gone:
                message = await self._receive()
                self.gone = message["type"] == "http.disconnect"
                left -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    self._body_ended.set()
        return self._body_ended.is_set()


Handler = Callable[[Exchange], Awaitable[None]]
"""What answers one exchange at a path."""


class Role:
    """An ASGI application: routes, limits, health, and errors as answers. Subclasses give routes and a lifespan."""

    name: ClassVar[str]
    """The name of the role, as in `confsec <name>`."""

    explains_errors: ClassVar[bool] = True
    """Errors are problems with a code. Where anybody may read them, outside of encapsulation, it is False."""

    def __init__(self, config: RoleConfig, routes: Mapping[tuple[str, str], Handler]) -> None:
        """Serve `routes`: from method and path to handler. A path that ends with `/*` holds for all below it."""
        self.draining = False
        """New work should go elsewhere; /healthz says so."""
        self._limits = config
        self._routes = {("GET", "/healthz"): self._healthz, **routes}
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection: an exchange, or the lifespan."""
        if scope["type"] == "lifespan":
            await self._serve_lifespan(receive, send)
        elif scope["type"] == "http":
            await self._serve(Exchange(scope, receive, send, self._limits))

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Return a context in which the role's background work runs, and at whose end its connections are closed."""
        return self._lifespan()

    @asynccontextmanager
    async def _lifespan(self) -> AsyncGenerator[None]:
        yield

    async def check(self) -> None:
        """Return if the role can serve now, else raise `ConfsecError`."""

    async def _serve(self, exchange: Exchange) -> None:
        try:
            handler = self._route(exchange)
            if self._running >= self._limits.max_concurrent and handler != self._healthz:
                raise BusyError("too many exchanges at once", hint="Try again in a moment")
            await self._count(exchange, handler)
        except ConfsecError as exc:
            await self._answer_error(exchange, exc)
        except Exception as exc:  # noqa: BLE001  # a bug of ours: the client learns that much, the log learns where
            _log.error("%s in %s at %s", type(exc).__name__, self.name, _where(exc))
            await self._answer_error(exchange, ConfsecError("an internal error"))

    async def _count(self, exchange: Exchange, handler: Handler) -> None:
        self._running += 1
        try:
            await exchange.run(handler)
        finally:
            self._running -= 1

    def _route(self, exchange: Exchange) -> Handler:
        length = header(exchange.headers, "content-length")
        if length is not None and length.isdecimal() and int(length) > self._limits.max_body:
            raise LimitError("the request is too large", got=length, want=f"at most {self._limits.max_body} bytes")
        above = exchange.path.rpartition("/")[0] + "/*"
        for path in (exchange.path, above):
            handler = self._routes.get((exchange.method, path))
            if handler is not None:
                return handler
        known = {path for _, path in self._routes}
        raise WrongMethodError() if exchange.path in known or above in known else NotFoundError()

    async def _answer_error(self, exchange: Exchange, error: ConfsecError) -> None:
        """Answer if nothing was answered yet. Else leave the answer incomplete: the server then cuts the connection."""
        if exchange.started or exchange.finished:
            return
        with anyio.move_on_after(_ANSWER_SECONDS):
            if self.explains_errors:
                await exchange.refuse(Problem.of(error))
            else:
                headers: Headers = (_RETRY_AFTER,) if isinstance(error, BusyError) else ()
                await exchange.answer(error.status_hint, headers)

    async def _healthz(self, exchange: Exchange) -> None:
        state = "draining" if self.draining else "ok"
        try:
            await self.check()
        except ConfsecError as exc:
            state = exc.code
        body = json.dumps({"role": self.name, "state": state}).encode()
        json_type: Headers = (("content-type", "application/json"), ("cache-control", "no-store"))
        await exchange.answer(200 if state == "ok" else 503, json_type, body)

    async def _serve_lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            async with self.lifespan():
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except ConfsecError as exc:
            await send({"type": "lifespan.startup.failed", "message": str(exc)})
        else:
            await send({"type": "lifespan.shutdown.complete"})


@final
class NotFoundError(ConfsecError):
    """There is nothing at this path, or it is not allowed."""

    code = "not_found"
    status_hint = 404

    def __init__(self) -> None:
        super().__init__("there is nothing at this path")


@final
class WrongMethodError(ConfsecError):
    """The path does not know this method."""

    code = "method_not_allowed"
    status_hint = 405

    def __init__(self) -> None:
        super().__init__("this path does not know this method")


@final
class UnsupportedMediaTypeError(ConfsecError):
    """The path does not take this media type."""

    code = "unsupported_media_type"
    status_hint = 415

    def __init__(self) -> None:
        super().__init__("this path does not take this media type")


@asynccontextmanager
async def in_background(*functions: Callable[[], Coroutine[None, None, None]]) -> AsyncGenerator[None]:
    """Run `functions` as long as the context lasts. What its body raises comes out as it is, not in a group."""
    error: Exception | None = None
    async with anyio.create_task_group() as tasks:
        for function in functions:
            tasks.start_soon(function)
        try:
            yield
        except Exception as exc:  # noqa: BLE001  # raised again below: a task group would wrap it
            error = exc
        tasks.cancel_scope.cancel()
    if error is not None:
        raise error


def media_type(headers: Headers) -> str:
    """Return the media type of a message, without parameters, in lower case."""
    return (header(headers, "content-type") or "").partition(";")[0].strip().lower()


def _has_body(headers: Headers) -> bool:
    """Return whether the header announces a body (RFC 9112, section 6.3)."""
    return header(headers, "transfer-encoding") is not None or header(headers, "content-length") not in {None, "0"}


def _where(exc: BaseException) -> str:
    """Return file and line where `exc` was raised. Its message is left out: it could quote what travels."""
    frames = list(traceback.walk_tb(exc.__traceback__))
    frame, line = frames[-1]
    return f"{frame.f_code.co_filename}:{line}"
