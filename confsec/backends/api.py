"""The interfaces through which confsec reaches the world, each with one to three methods.

Whoever implements one of them can run the matching `check_…` of `confsec.testing`. Nothing here does IO.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from attrs import field, frozen

__all__ = ["Clock", "Engine", "Headers", "HttpRequest", "HttpResponse", "Transport", "header"]

Headers = tuple[tuple[str, str], ...]
"""Header fields in order: lower-case names, latin-1 values."""


def header(headers: Headers, name: str) -> str | None:
    """Return the value of the field `name` (lower-case), several joined by a comma, or None if it is not there."""
    values = [value for field_name, value in headers if field_name == name]
    return ", ".join(values) if values else None


@frozen(kw_only=True)
class HttpRequest:
    """One HTTP request as a hop or an engine sends it."""

    method: str
    """The method, upper-case."""

    url: str
    """An absolute URL for a `Transport`; a path that begins with a slash for an `Engine`."""

    headers: Headers = ()
    """Fields beyond those that framing needs (Host, Content-Length and Transfer-Encoding are the transport's)."""

    content: bytes | AsyncIterable[bytes] = field(default=b"", repr=False)
    """The body, whole or in parts. Parts are pulled only as fast as the peer takes them."""


@frozen(kw_only=True)
class HttpResponse:
    """One HTTP response whose head has arrived and whose body is pulled by the caller."""

    status: int
    """The status code, 200 to 599."""

    headers: Headers
    """Fields in order: lower-case names."""

    content: AsyncIterator[bytes] = field(repr=False)
    """The body in parts, each at least one byte. Pull it inside the context that yielded this response."""

    extensions: Mapping[str, object] = field(factory=dict, repr=False)
    """What a transport knows beyond HTTP: confsec's own puts the Proof under "confsec"."""


class Transport(Protocol):
    """A way to send an HTTP request and stream the answer."""

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]:
        """Send `request`; leaving the context ends the exchange and cancels what is still under way.

        Raises `ConnectError` when the peer saw nothing, `DisconnectedError` when it went away in the middle,
        `DeadlineError` when a time limit has passed, and `RemoteProtocolError` when its bytes are no HTTP. The same
        errors may come out of `content`.
        """
        ...

    async def aclose(self) -> None:
        """Close pooled connections. Idempotent."""
        ...


class Engine(Protocol):
    """An inference engine: anything that answers OpenAI-shaped HTTP requests."""

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]:
        """Ask the engine; leaving the context cancels the work at the engine.

        Raises `EngineError` when the engine does not answer, `BusyError` when it is full.
        """
        ...

    async def check(self) -> None:
        """Return if the engine can serve now, else raise `EngineError`."""
        ...

    async def aclose(self) -> None:
        """Stop what this object started. Idempotent."""
        ...


class Clock(Protocol):
    """A source of the current time."""

    def __call__(self) -> datetime:
        """Return the current time, aware, in UTC."""
        ...
