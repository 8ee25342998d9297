"""Any ASGI application in this process as an engine: a FastAPI app around a model, or a test's few lines.

Both directions stream, and nothing is buffered: the application's `send` returns when the part has been taken. When the
caller leaves, `receive` yields `http.disconnect`, and what still runs half a second later is cancelled.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from types import TracebackType
from typing import Final, Self, final

import anyio

from confsec.backends.api import HttpRequest, HttpResponse
from confsec.backends.asgi import AsgiApp, AsgiTransport, Message
from confsec.backends.openai_http import OpenAiHttpEngine
from confsec.errors import EngineError

__all__ = ["AsgiEngine", "run_lifespan"]

_GRACE: Final = 0.5  # seconds: an engine should stop within one after the client has gone
_STOP_TIMEOUT: Final = 10.0  # seconds


@final
class AsgiEngine:
    """An ASGI application that answers OpenAI-shaped requests, `GET /v1/models` among them.

    Use it as a context manager when the application has a lifespan of its own, which loads a model, say.
    """

    def __init__(self, app: AsgiApp) -> None:
        self._app = app
        self._engine = OpenAiHttpEngine("http://engine.invalid", AsgiTransport(app, grace=_GRACE))
        self._lifespan = AsyncExitStack()

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]:
        """Call the application. Raises `NotAllowedError`, and `EngineError` without cause when it raises."""
        return self._engine.stream(request)

    async def check(self) -> None:
        """Ask the application for its models. Raises `EngineError`."""
        await self._engine.check()

    async def aclose(self) -> None:
        """Do nothing: the application belongs to the caller."""
        await self._engine.aclose()

    async def __aenter__(self) -> Self:
        await self._lifespan.enter_async_context(run_lifespan(self._app))
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._lifespan.__aexit__(exc_type, exc, traceback)


@asynccontextmanager
async def run_lifespan(app: AsgiApp) -> AsyncGenerator[None]:
    """Start `app`, and stop it at the end, as the ASGI lifespan protocol asks. Raises `EngineError` when it cannot.

    An application that knows no lifespan is left alone.
    """
    life = _Lifespan()
    error: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(life.run, app)
        try:
            await life.started()
            yield
        except Exception as exc:  # noqa: BLE001  # raised again below: a task group would wrap it
            error = exc
        finally:
            await life.stop()
            tasks.cancel_scope.cancel()
    if error is not None:
        raise error


@final
class _Lifespan:
    """One run of an application from its start to its stop."""

    def __init__(self) -> None:
        self._asked_to_start = False
        self._asked_to_stop = anyio.Event()
        self._settled = anyio.Event()
        self._failed = False
        self._over = anyio.Event()

    async def run(self, app: AsgiApp) -> None:
        """Run the application's lifespan to its end."""
        # "If an exception is raised when calling the application callable with a lifespan.startup message or a scope
        # of type lifespan, the server must continue but not send any lifespan events" (ASGI, lifespan protocol).
        with suppress(Exception):
            await app(
                {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}}, self._receive, self._send
            )
        self._settled.set()
        self._over.set()

    async def started(self) -> None:
        """Wait until the application has started, or does not care. Raises `EngineError` if it says it cannot."""
        await self._settled.wait()
        if self._failed:
            raise EngineError("the ASGI application did not start")

    async def stop(self) -> None:
        """Ask the application to stop, and wait a while until it has."""
        self._asked_to_stop.set()
        with anyio.move_on_after(_STOP_TIMEOUT, shield=True):
            await self._over.wait()

    async def _receive(self) -> Message:
        if not self._asked_to_start:
            self._asked_to_start = True
            return {"type": "lifespan.startup"}
        await self._asked_to_stop.wait()
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Message) -> None:
        self._failed = self._failed or message["type"] == "lifespan.startup.failed"
        self._settled.set()
