"""Work of many tasks, done in groups by one thread that owns the connection to a store.

Writing durably costs about the same for one row and for hundreds. So what arrives while the thread is busy waits for
its next turn, and is then done at once: *group commit*. The tasks run on asyncio or trio; the thread sees neither.

The thread and the event loop share the interpreter lock. So the thread prepares a group before it hands out the answers
of the one before, which makes the loop busy, and then enters the driver, which gives up the lock while it works.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from copy import copy
from typing import Any, Final, Generic, Protocol, TypeVar, final

import anyio
import anyio.lowlevel
from attrs import frozen

from confsec.backends.system import monotonic
from confsec.errors import BackendError, BusyError, LocalProtocolError

__all__ = ["GroupCommit", "Prepared", "Session"]

_MAX_GROUP: Final = 512
"""Items that are done at once. More would not be faster, and make the first one wait for the last."""

_SMALL_GROUP: Final = 64
"""A group may grow to half of all that is unanswered, and so many more: then the thread has another one to do while the
loop hands out the answers of this one."""

_MAX_WAITING: Final = 8192
"""Items that may be unanswered. Whoever comes later is refused: to wait longer than this would help nobody."""

_IDLE: Final = 5.0
"""Seconds without work after which a session is asked whether it still lives: firewalls forget quiet connections."""

_FIRST_PAUSE: Final = 0.05
_LAST_PAUSE: Final = 2.0


class Session(Protocol):
    """A connection, used by one thread. Each of its methods ends within a time limit of its own."""

    def check(self) -> None:
        """Return if the connection lives. May raise anything."""
        ...

    def close(self) -> None:
        """Close the connection. May raise anything."""
        ...


_S = TypeVar("_S", bound=Session)
_T = TypeVar("_T")
_P = TypeVar("_P")
_R = TypeVar("_R")


@final
@frozen(eq=False)
class Prepared(Generic[_S, _T, _P, _R]):
    """Work in two steps: what Python has to do with the items, and what the driver does with that."""

    prepare: Callable[[Sequence[_T]], _P]
    """Makes something of the items, without a session. May not raise."""

    run: Callable[[_S, _P], Sequence[_R]]
    """Does the work. It had better begin with the long call into the driver."""


@final
class _Group:
    """Items for one call of `work`, and what came of it. The thread fills in `results` or `error`, then sets `done`."""

    def __init__(self, work: Callable[[Any, Sequence[Any]], Sequence[Any]] | Prepared[Any, Any, Any, Any]) -> None:
        self.work = work
        self.items: list[Any] = []
        self.results: Sequence[Any] = ()
        self.error: BackendError | None = None
        self.done = anyio.Event()
        self._prepared: Any = None

    def prepare(self) -> None:
        """Do what needs no session."""
        if isinstance(self.work, Prepared):
            self._prepared = self.work.prepare(self.items)

    def run(self, session: Any) -> None:
        """Do the work. Raises what it raises."""
        if isinstance(self.work, Prepared):
            self.results = self.work.run(session, self._prepared)
        else:
            self.results = self.work(session, self.items)


@final
class GroupCommit(Generic[_S]):
    """Does work on a session in a thread of its own, which starts with the first item.

    `open_session` and all work run in that thread. When one of them raises, the session is closed, and the next item
    opens another one; while that fails, items are refused at once, and there is a new attempt after a pause of at most
    2 seconds. It belongs to the event loop in which it is first used.
    """

    def __init__(self, open_session: Callable[[], _S], *, max_group: int = _MAX_GROUP) -> None:
        """Do at most `max_group` items at once."""
        self._open_session = open_session
        self._max_group = max_group
        self._session: _S | None = None
        self._used_at = self._retry_at = self._pause = 0.0
        self._down: BackendError | None = None
        # What follows is shared by the thread and the loop, and guarded by the condition.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._queue: deque[_Group] = deque()
        self._joinable: dict[Hashable, _Group] = {}
        self._unanswered = 0
        self._idle = False
        self._closing = False
        self._thread: threading.Thread | None = None
        self._ended: anyio.Event | None = None

    async def do(self, work: Callable[[_S, Sequence[_T]], Sequence[_R]] | Prepared[_S, _T, Any, _R], item: _T) -> _R:
        """Have `work(session, items)` done for this item and others, and return the result that stands in its place.

        Raises `BusyError` if it was not begun, `BackendError` if it failed: nobody knows how far it came. When this is
        cancelled, the item is done all the same. Raises `LocalProtocolError` after `aclose`.
        """
        group, place = self._join(work, item)
        await group.done.wait()
        if group.error is not None:
            raise copy(group.error) from group.error  # one for each task: a traceback belongs to one of them
        result: _R = group.results[place]
        return result

    async def aclose(self) -> None:
        """Do what is waiting, then close the session and end the thread. Idempotent."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None and self._ended is not None:
            with anyio.CancelScope(shield=True):
                await self._ended.wait()
            self._thread.join()

    def _join(
        self, work: Callable[[_S, Sequence[_T]], Sequence[_R]] | Prepared[_S, _T, Any, _R], item: _T
    ) -> tuple[_Group, int]:
        """Put an item into a group that has not begun. Groups form by the work to be done."""
        with self._lock:
            if self._closing:
                raise LocalProtocolError("the store is closed")
            if self._unanswered >= _MAX_WAITING:
                raise BusyError("too much is waiting for the store", want=f"less than {_MAX_WAITING}")
            group = self._joinable.get(work)
            if group is None or len(group.items) >= min(self._unanswered // 2 + _SMALL_GROUP, self._max_group):
                group = self._joinable[work] = _Group(work)
                self._queue.append(group)
            group.items.append(item)
            self._unanswered += 1
            if self._thread is None:
                self._start()
            if self._idle:
                self._changed.notify()
            return group, len(group.items) - 1

    def _start(self) -> None:
        self._ended = anyio.Event()
        arguments = (_caller_into_this_loop(), self._ended)
        # A daemon: a program that ends without closing the store ends. What was not confirmed was not promised.
        self._thread = threading.Thread(target=self._run, args=arguments, name="group-commit", daemon=True)
        self._thread.start()

    # --- In the thread ---

    def _run(self, call_in_loop: Callable[[Callable[[], None]], None], ended: anyio.Event) -> None:
        group = self._next(wait=True)
        while group is not None:
            self._work(group)
            following = self._next(wait=False)
            with self._lock:
                self._unanswered -= len(group.items)
            call_in_loop(group.done.set)
            group = following or self._next(wait=True)
        self._drop_session()
        call_in_loop(ended.set)

    def _next(self, *, wait: bool) -> _Group | None:
        """Take a group and prepare it. Return None if there is none now; with `wait`, if none will ever come."""
        with self._lock:
            while wait and not self._queue and not self._closing:
                self._idle = True
                self._changed.wait()
            self._idle = False
            if not self._queue:
                return None
            group = self._queue.popleft()
            if self._joinable.get(group.work) is group:
                del self._joinable[group.work]
        group.prepare()
        return group

    def _work(self, group: _Group) -> None:
        try:
            group.run(self._living_session())
            self._used_at = monotonic()
        except Exception as exc:  # noqa: BLE001 - whatever it is, the tasks that wait must hear of it
            group.error = exc if isinstance(exc, BackendError) else _failure(exc)
            self._drop_session()

    def _living_session(self) -> _S:
        if self._session is not None and monotonic() - self._used_at > _IDLE:
            try:
                self._session.check()
            except Exception:  # noqa: BLE001 - nothing was under way, so nobody has to know
                self._drop_session()
        if self._session is None:
            self._session = self._opened()
        return self._session

    def _opened(self) -> _S:
        """Open a session, unless that failed a moment ago."""
        if self._down is not None and monotonic() < self._retry_at:
            raise copy(self._down)
        try:
            session = self._open_session()
        except Exception as exc:
            self._pause = min(max(2 * self._pause, _FIRST_PAUSE), _LAST_PAUSE)
            self._retry_at = monotonic() + self._pause
            self._down = exc if isinstance(exc, BackendError) else BusyError(f"the store is down: {_sentence(exc)}")
            raise self._down from exc
        self._down, self._pause = None, 0.0
        return session

    def _drop_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            with suppress(Exception):  # it is broken, or everything on it is finished
                session.close()


def _failure(exc: Exception) -> BackendError:
    error = BackendError(f"the store failed: {_sentence(exc)}")
    error.__cause__ = exc
    return error


def _sentence(exc: Exception) -> str:
    """Return the first line of what a database says: those that follow may quote values."""
    return (str(exc).splitlines() or [""])[0] or type(exc).__name__


def _caller_into_this_loop() -> Callable[[Callable[[], None]], None]:
    """Return what makes the running event loop call something, from another thread and without waiting for it."""
    # anyio.from_thread.run_sync would hold up the thread until the loop has time. Both loops have a way that does not.
    token: Any = anyio.lowlevel.current_token().native_token
    schedule = token.run_sync_soon if hasattr(token, "run_sync_soon") else token.call_soon_threadsafe

    def call(function: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop has ended, and all who waited with it
            schedule(function)

    return call
