"""An event loop in a thread of its own, through which code without one calls asynchronous code.

Many programs never close a client. Then the thread ends when the client is forgotten, or with the program: it is a
daemon, and nothing waits for it. anyio's own `start_blocking_portal` would wait for whatever is still under way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from threading import Event, Lock, Thread
from typing import Literal, TypeVar, final
from weakref import finalize

import anyio
from anyio.from_thread import BlockingPortal
from attrs import frozen

from confsec.errors import LocalProtocolError

__all__ = ["AtClose", "PortalThread", "call"]

_T = TypeVar("_T")

AtClose = Callable[[], Awaitable[None]]
"""What a thread does as its last thing. It must not refer to the `PortalThread`, which could not be forgotten then."""


@final
class PortalThread:
    """A thread that starts with the first call and ends with `close`, or when this object is forgotten."""

    def __init__(self, at_close: AtClose, *, backend: Literal["asyncio", "trio"] = "asyncio") -> None:
        """Prepare a thread with the event loop `backend`."""
        self._at_close = at_close
        self._backend = backend
        self._lock = Lock()
        self._running: _Running | None = None

    def portal(self) -> BlockingPortal:
        """Return the way into the thread, which starts if it does not run."""
        with self._lock:
            if self._running is None:
                self._running = _start(self._backend)
                finalize(self, _let_go, self._running, self._at_close).atexit = False
            return self._running.portal

    def runs(self, portal: BlockingPortal) -> bool:
        """Return whether `portal` still leads into the thread."""
        return self._running is not None and self._running.portal is portal

    def close(self) -> None:
        """Cancel what is under way and end the thread. Idempotent; a later call starts another."""
        with self._lock:
            running, self._running = self._running, None
            if running is not None:
                running.portal.call(_finish, running.portal, self._at_close)
                running.thread.join()


def call(portal: BlockingPortal, function: Callable[[], Coroutine[None, None, _T]]) -> _T:
    """Call `function` in the thread of `portal` and return what it returns.

    When something interrupts the wait, as Ctrl-C does, the call is cancelled and has ended before this raises: what it
    was using can be closed then.
    """
    interrupted, ended = Event(), Event()
    scopes: list[anyio.CancelScope] = []

    async def run() -> _T:
        if interrupted.is_set():
            raise LocalProtocolError("the call was interrupted before it began")
        scopes.append(anyio.CancelScope())
        try:
            with scopes[0]:
                return await function()
            raise LocalProtocolError("the call was interrupted")  # nobody waits for it any more
        finally:
            ended.set()

    def interrupt() -> bool:
        interrupted.set()
        for scope in scopes:
            scope.cancel()
        return bool(scopes)

    try:
        return portal.start_task_soon(run).result()
    except BaseException:
        # Ctrl-C may come at any moment, also while the task is on its way. Inside the loop there is no such moment: the
        # call has begun, and then it is cancelled and awaited, or it never will.
        with suppress(RuntimeError):  # the portal has ended, and with it whatever ran there
            if portal.call(interrupt):
                ended.wait()
        raise


@frozen
class _Running:
    thread: Thread
    portal: BlockingPortal


def _start(backend: str) -> _Running:
    started: Future[BlockingPortal] = Future()
    thread = Thread(target=_run, args=(backend, started), name="confsec", daemon=True)
    thread.start()
    return _Running(thread, started.result())


def _run(backend: str, started: Future[BlockingPortal]) -> None:
    async def serve() -> None:
        async with BlockingPortal() as portal:
            started.set_result(portal)
            await portal.sleep_until_stopped()

    try:
        anyio.run(serve, backend=backend)
    except BaseException as exc:
        if started.done():
            raise
        started.set_exception(exc)  # an event loop that is not installed: whoever starts the thread should know


def _let_go(running: _Running, at_close: AtClose) -> None:
    """End a thread that nobody can call any more, without waiting for it."""
    with suppress(RuntimeError):  # it has ended, or the garbage collector runs inside it
        running.portal.start_task_soon(_finish, running.portal, at_close)


async def _finish(portal: BlockingPortal, at_close: AtClose) -> None:
    try:
        await at_close()
    finally:
        # Whatever is still under way is cancelled, and so is this task, which has nothing left to do.
        await portal.stop(cancel_remaining=True)
