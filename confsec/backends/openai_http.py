"""Any server that speaks OpenAI's HTTP API as an engine: llama.cpp, vLLM, SGLang, Ollama, TGI and their like.

Requests and answers pass through byte for byte, streams included; see `engine_requests` for what is let through and
docs/engines.md for what each of these servers keeps of a prompt.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TypeVar, final
from urllib.parse import urlsplit

from attrs import evolve

from confsec.backends import system
from confsec.backends.api import HttpRequest, HttpResponse, Transport
from confsec.backends.engine_requests import (
    CacheIsolation,
    engine_request,
    engine_response_headers,
    isolate,
    read_content,
)
from confsec.errors import ConfigError, EngineError, RemoteProtocolError, TransportError
from confsec.protocol.machine import RandBytes

__all__ = ["OpenAiHttpEngine", "open_openai_http"]

_T = TypeVar("_T")


@final
class OpenAiHttpEngine:
    """An engine behind a base URL. The transport is this object's own, and closed with it."""

    def __init__(
        self,
        base_url: str,
        transport: Transport,
        *,
        isolation: CacheIsolation = CacheIsolation.NONE,
        api_key: str | None = None,
        health_path: str = "/v1/models",
        randbytes: RandBytes = system.randbytes,
    ) -> None:
        """Ask the server at `base_url`, with or without "/v1" at its end. Raises `ConfigError`.

        `api_key` is the node's own key for the engine; what a client sends as one never gets here.
        """
        self._base_url = _base_url(base_url)
        self._transport = transport
        self._isolation = isolation
        self._own_headers = (("authorization", f"Bearer {api_key}"),) if api_key else ()
        self._health_path = health_path
        self._randbytes = randbytes

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]:
        """Ask the engine. Raises `NotAllowedError`, `DecodeError` where a body must be read, and `EngineError`."""
        return self._stream(request)

    @asynccontextmanager
    async def _stream(self, request: HttpRequest) -> AsyncGenerator[HttpResponse]:
        request = await self._isolated(engine_request(request, self._isolation))
        async with AsyncExitStack() as stack:
            # What the caller raises inside the context is the caller's: only the head and the parts are translated.
            response = await _answered(stack.enter_async_context(self._transport.stream(self._addressed(request))))
            yield HttpResponse(
                status=response.status,
                headers=engine_response_headers(response.headers),
                content=_Parts(response.content),
            )

    async def check(self) -> None:
        """Ask the engine for its models, or for what `health_path` names. Raises `EngineError`."""
        status = await _answered(self._status(HttpRequest(method="GET", url=self._health_path)))
        if status != 200:
            raise EngineError("the engine is not ready", got=f"status {status}", want="status 200")

    async def aclose(self) -> None:
        """Close the transport. Idempotent."""
        await self._transport.aclose()

    async def _status(self, request: HttpRequest) -> int:
        async with self._transport.stream(self._addressed(request)) as response:
            return response.status

    async def _isolated(self, request: HttpRequest) -> HttpRequest:
        if self._isolation is CacheIsolation.NONE or request.method != "POST":
            return request
        content = isolate(await read_content(request.content), self._isolation, randbytes=self._randbytes)
        return evolve(request, content=content)

    def _addressed(self, request: HttpRequest) -> HttpRequest:
        return evolve(request, url=self._base_url + request.url, headers=(*request.headers, *self._own_headers))


def open_openai_http(
    base_url: str,
    *,
    isolation: CacheIsolation = CacheIsolation.NONE,
    api_key: str | None = None,
    health_path: str = "/v1/models",
) -> OpenAiHttpEngine:
    """Return an engine at an http or https URL, or at a Unix socket: `unix:/path/to.sock`. Raises `ConfigError`."""
    # Late: a program that brings its own transport has no need of ours.
    from confsec.backends.http import HttpLimits, HttpTransport

    # A connection that the server is about to close must not be used again. Most close idle ones after five seconds;
    # llama.cpp closes each after a stream, a moment after the stream's end. A long prompt may be read for minutes.
    keep_alive = 0.0 if isolation is CacheIsolation.LLAMA_CPP else 2.0
    limits = HttpLimits(read_timeout=600.0, keep_alive=keep_alive)
    uds = _socket_path(base_url)
    return OpenAiHttpEngine(
        "http://localhost" if uds else base_url,
        HttpTransport(limits, uds=uds),
        isolation=isolation,
        api_key=api_key,
        health_path=health_path,
    )


@final
class _Parts:
    """The body of an answer as it came, with our errors."""

    def __init__(self, parts: AsyncIterator[bytes]) -> None:
        self._parts = parts

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        return await _answered(anext(self._parts))


def _socket_path(base_url: str) -> str | None:
    path = base_url.removeprefix("unix:")
    if path == base_url:
        return None
    if not path.startswith("/") or path.startswith("//"):
        raise ConfigError("a Unix socket needs an absolute path", got=base_url, want="unix:/path/to.sock")
    return path


def _base_url(url: str) -> str:
    """Return `url` without a slash or "/v1" at its end: the request's path brings its own."""
    parts = urlsplit(url)
    if (
        parts.scheme not in {"http", "https"}
        or not parts.hostname
        or "@" in parts.netloc
        or parts.query
        or parts.fragment
    ):
        raise ConfigError(
            "this is no base URL of an engine",
            want="http://host:port, https://host or unix:/path/to.sock, without user, query and fragment",
        )
    return url.rstrip("/").removesuffix("/v1")


async def _answered(answer: Awaitable[_T]) -> _T:
    """Wait for the engine, with our errors."""
    try:
        return await answer
    except (TransportError, RemoteProtocolError) as exc:
        error = EngineError("the engine does not answer", got=exc.code, hint=exc.hint)
    # Outside of the handler, and so without the cause: an engine's own exceptions and bytes may quote the prompt.
    raise error
