"""Group commit: what waits together is done together, failures reach everyone, and a broken session is replaced."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import anyio
import anyio.to_thread
import pytest

from confsec.backends import group_commit
from confsec.backends.group_commit import GroupCommit, Prepared
from confsec.errors import BackendError, BusyError, LocalProtocolError

pytestmark = pytest.mark.anyio


class Session:
    """Doubles numbers, and does so only while the gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()
        self.groups: list[list[int]] = []
        self.threads = {threading.get_ident()}
        self.alive = True
        self.checks = self.closings = 0

    def check(self) -> None:
        self.checks += 1
        if not self.alive:
            raise ConnectionError("gone")

    def close(self) -> None:
        self.closings += 1
        raise ConnectionError("broken sessions do not close well either")


def double(session: Session, numbers: Sequence[int]) -> list[int]:
    session.threads.add(threading.get_ident())
    session.begun.set()
    session.gate.wait()
    session.groups.append(list(numbers))
    return [2 * number for number in numbers]


def fail(session: Session, numbers: Sequence[int]) -> list[int]:
    raise ConnectionError("reset\nDETAIL: a row")


async def all_doubled(commit: GroupCommit[Session], numbers: range) -> list[int]:
    results = dict.fromkeys(numbers, 0)

    async def run(number: int) -> None:
        results[number] = await commit.do(double, number)

    async with anyio.create_task_group() as group:
        for number in numbers:
            group.start_soon(run, number)
    return list(results.values())


async def test_everyone_gets_the_result_of_his_own_item() -> None:
    session = Session()
    commit = GroupCommit(lambda: session)
    assert await all_doubled(commit, range(2000)) == list(range(0, 4000, 2))
    assert sorted(number for group in session.groups for number in group) == list(range(2000))
    assert max(map(len, session.groups)) <= group_commit._MAX_GROUP
    assert len(session.groups) < 50
    assert len(session.threads - {threading.get_ident()}) == 1
    await commit.aclose()


async def test_groups_are_as_large_as_their_owner_wants() -> None:
    session = Session()
    commit = GroupCommit(lambda: session, max_group=7)
    assert await all_doubled(commit, range(200)) == list(range(0, 400, 2))
    assert max(map(len, session.groups)) == 7
    await commit.aclose()


async def test_items_that_come_while_the_thread_works_form_the_next_group() -> None:
    session = Session()
    session.gate.clear()
    commit = GroupCommit(lambda: session)
    async with anyio.create_task_group() as group:
        group.start_soon(commit.do, double, 0)
        await anyio.to_thread.run_sync(session.begun.wait)
        for number in range(1, 10):
            group.start_soon(commit.do, double, number)
        await anyio.wait_all_tasks_blocked()
        session.gate.set()
    assert [sorted(group) for group in session.groups] == [[0], list(range(1, 10))]
    await commit.aclose()


async def test_one_group_leaves_work_for_another() -> None:
    session = Session()
    session.gate.clear()
    commit = GroupCommit(lambda: session)
    async with anyio.create_task_group() as group:
        group.start_soon(commit.do, double, 0)
        await anyio.to_thread.run_sync(session.begun.wait)
        for number in range(1, 400):
            group.start_soon(commit.do, double, number)
        await anyio.wait_all_tasks_blocked()
        session.gate.set()
    assert sum(map(len, session.groups)) == 400
    assert max(map(len, session.groups)) <= 400 // 2 + group_commit._SMALL_GROUP
    await commit.aclose()


async def test_group_is_prepared_before_its_turn() -> None:
    """While the first group is under way nothing is prepared; when it is done, the next one is, and then it runs."""
    session = Session()
    session.gate.clear()
    steps: list[str] = []

    def prepare(numbers: Sequence[int]) -> int:
        steps.append(f"prepare {len(numbers)}")
        return sum(numbers)

    def run(session: Session, total: int) -> list[int]:
        steps.append("run")
        return [total] * 3

    commit = GroupCommit(lambda: session)
    work = Prepared(prepare, run)
    async with anyio.create_task_group() as group:
        group.start_soon(commit.do, double, 0)
        await anyio.to_thread.run_sync(session.begun.wait)
        for number in (1, 2, 3):
            group.start_soon(commit.do, work, number)
        await anyio.wait_all_tasks_blocked()
        assert steps == []
        session.gate.set()
    assert steps == ["prepare 3", "run"]
    await commit.aclose()


async def test_item_of_a_cancelled_task_is_done_all_the_same() -> None:
    session = Session()
    session.gate.clear()
    commit = GroupCommit(lambda: session)
    async with anyio.create_task_group() as group:
        group.start_soon(commit.do, double, 7)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    session.gate.set()
    await commit.aclose()
    assert session.groups == [[7]]


async def test_closing_waits_for_what_is_under_way_even_when_it_is_cancelled() -> None:
    session = Session()
    session.gate.clear()
    commit = GroupCommit(lambda: session)
    async with anyio.create_task_group() as group:
        group.start_soon(commit.do, double, 1)
        await anyio.to_thread.run_sync(session.begun.wait)
        group.start_soon(commit.do, double, 2)
        await anyio.wait_all_tasks_blocked()
        with anyio.CancelScope() as scope:
            scope.cancel()
            threading.Timer(0.05, session.gate.set).start()
            await commit.aclose()
    assert session.groups == [[1], [2]]
    assert session.closings == 1
    assert commit._thread is not None
    assert not commit._thread.is_alive()


async def test_closed_one_refuses_and_may_be_closed_again() -> None:
    unused = GroupCommit(Session)
    await unused.aclose()
    used = GroupCommit(Session)
    await used.do(double, 1)
    await used.aclose()
    await used.aclose()
    for commit in (unused, used):
        with pytest.raises(LocalProtocolError, match="closed"):
            await commit.do(double, 1)


async def test_failure_reaches_everyone_as_an_error_of_his_own() -> None:
    session = Session()
    session.gate.clear()
    commit = GroupCommit(lambda: session)
    errors: list[BackendError] = []

    async def run() -> None:
        try:
            await commit.do(fail, 1)
        except BackendError as exc:
            errors.append(exc)

    async with anyio.create_task_group() as group:
        group.start_soon(commit.do, double, 0)
        await anyio.to_thread.run_sync(session.begun.wait)
        for _ in range(3):
            group.start_soon(run)
        await anyio.wait_all_tasks_blocked()
        session.gate.set()
    assert [str(error) for error in errors] == ["the store failed: reset"] * 3  # not the line that quotes a row
    assert len({id(error) for error in errors}) == 3
    assert not any(isinstance(error, BusyError) for error in errors)
    assert session.closings == 1
    await commit.aclose()


async def test_error_of_ours_stays_what_it_is() -> None:
    def refuse(session: Session, numbers: Sequence[int]) -> list[int]:
        raise BackendError("out of order", got=1, want=2)

    commit = GroupCommit(Session)
    with pytest.raises(BackendError, match="out of order: got 1, want 2"):
        await commit.do(refuse, 1)
    await commit.aclose()


class Opener:
    """Opens sessions, unless the store is down."""

    def __init__(self) -> None:
        self.down = False
        self.attempts = 0
        self.sessions: list[Session] = []

    def __call__(self) -> Session:
        self.attempts += 1
        if self.down:
            raise ConnectionError("refused")
        self.sessions.append(Session())
        return self.sessions[-1]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Stop the clock of group commits, and return what moves it."""
    time = [1000.0]
    monkeypatch.setattr(group_commit, "monotonic", lambda: time[0])

    def advance(seconds: float) -> None:
        time[0] += seconds

    return advance


async def test_store_that_is_down_is_asked_again_after_pauses_that_grow(clock: Callable[[float], None]) -> None:
    opener = Opener()
    opener.down = True
    commit = GroupCommit(opener)
    for attempts, pause in enumerate([0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0], 1):
        for _ in range(3):
            with pytest.raises(BusyError, match="the store is down: refused"):
                await commit.do(double, 1)
            assert opener.attempts == attempts
        clock(pause * 1.001)
    opener.down = False
    assert await commit.do(double, 1) == 2
    await commit.aclose()


async def test_broken_session_is_replaced_for_the_next_item() -> None:
    opener = Opener()
    commit = GroupCommit(opener)
    with pytest.raises(BackendError):
        await commit.do(fail, 1)
    assert await commit.do(double, 1) == 2
    assert [session.closings for session in opener.sessions] == [1, 0]
    await commit.aclose()


async def test_session_that_died_in_a_quiet_time_is_replaced_unnoticed(clock: Callable[[float], None]) -> None:
    opener = Opener()
    commit = GroupCommit(opener)
    await commit.do(double, 1)
    clock(4.0)
    await commit.do(double, 1)
    assert opener.sessions[0].checks == 0
    clock(6.0)
    await commit.do(double, 1)
    assert opener.sessions[0].checks == 1
    opener.sessions[0].alive = False
    clock(6.0)
    assert await commit.do(double, 1) == 2
    assert len(opener.sessions) == 2
    await commit.aclose()


async def test_too_many_are_refused_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "_MAX_WAITING", 10)
    session = Session()
    session.gate.clear()
    commit = GroupCommit(lambda: session)
    async with anyio.create_task_group() as group:
        group.start_soon(commit.do, double, 0)
        await anyio.to_thread.run_sync(session.begun.wait)
        for number in range(1, 10):
            group.start_soon(commit.do, double, number)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(BusyError, match="too much"):
            await commit.do(double, 11)
        session.gate.set()
    assert await commit.do(double, 12) == 24
    await commit.aclose()
    assert [11] not in session.groups


def test_loop_that_ended_does_not_hurt_the_thread(anyio_backend: tuple[str, dict[str, bool]]) -> None:
    session = Session()
    session.gate.clear()
    commit = GroupCommit(lambda: session)

    async def leave() -> None:
        with anyio.move_on_after(0.01):
            await commit.do(double, 1)

    name, options = anyio_backend
    anyio.run(leave, backend=name, backend_options=options)
    session.gate.set()
    thread = commit._thread
    assert thread is not None
    with commit._changed:
        commit._closing = True
        commit._changed.notify()
    thread.join(10)
    assert not thread.is_alive()
