"""A program that kills an issuer at every point where it can die, and looks what the next one finds.

A point is each time the exchange waits for something, and each statement that the store sends to SQLite. For n = 1, 2,
3 and so on, a process answers a request over a fresh file and kills itself with SIGKILL at the n-th point; another one,
over the same file, answers the same request twice. The program ends when nothing died any more, and prints a line for
each n: what became of the first process, what was charged then, and what was charged in the end.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from confsec.backends import issuer_store_sqlite
from confsec.backends.asgi import Message, Receive, Scope, Send
from confsec.backends.issuer_store_sqlite import sqlite_issuer_store
from confsec.roles.issuer import Issuer, IssuerConfig
from confsec.roles.issuer_accounts import ApiKey
from confsec.testing import FixedClock, seeded_randbytes
from tests.roles.issuer_cases import Client, add_account, ask_many, tokens_of, two_epochs

TOKENS = 2
MAX_POINTS = 500


class Doom:
    """Kills this process at the n-th point, or never."""

    def __init__(self, number: int | None) -> None:
        self._number = number
        self._reached = 0
        self._lock = threading.Lock()
        self.armed = False

    def point(self, *_: object) -> None:
        with self._lock:
            self._reached += self.armed
            if self.armed and self._reached == self._number:
                os.kill(os.getpid(), signal.SIGKILL)


class Watched:
    """Awaits something, and passes a point before each of its steps."""

    def __init__(self, awaited: Awaitable[None], doom: Doom) -> None:
        self._awaited = awaited
        self._doom = doom

    def __await__(self) -> Generator[Any, Any, None]:
        steps = self._awaited.__await__()
        send: Callable[[], Any] = partial(next, steps)
        while True:
            self._doom.point()
            try:
                waits_for = send()
            except StopIteration:
                self._doom.point()
                return
            try:
                send = partial(steps.send, (yield waits_for))
            except BaseException as exc:  # noqa: BLE001 - cancellation passes through here
                send = partial(steps.throw, exc)


async def answer(folder: Path, doom: Doom, times: int) -> None:
    """Answer the same request so many times."""
    client, body = ask_many(TOKENS)
    store = sqlite_issuer_store(folder / "issuer.db")
    issuer = Issuer(IssuerConfig(), store, two_epochs(), clock=FixedClock())

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_and_pass(message: Message) -> None:
            await send(message)
            doom.point()

        doom.armed = True
        await Watched(issuer(scope, receive, send_and_pass), doom)
        doom.armed = False

    async with issuer.lifespan():
        asker = Client(app, ApiKey.draw(seeded_randbytes("account")))
        answers = {(await asker.post_batch(body)) for _ in range(times)}
        assert len(tokens_of(client, answers.pop())) == TOKENS
        assert not answers


def in_child(backend: str, folder: Path, number: int | None = None, *, times: int = 1) -> bool:
    """Answer in a child process; return whether it lived."""
    child = os.fork()
    if not child:
        doom = Doom(number)
        watch_statements(doom)
        try:
            anyio.run(answer, folder, doom, times, backend=backend)
        except BaseException as exc:  # noqa: BLE001 - the child must not go on as its parent
            sys.stderr.write(f"{exc!r}\n")
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return False
    if status:
        raise SystemExit(f"the child failed with {status}")
    return True


def watch_statements(doom: Doom) -> None:
    """Make each statement of SQLite a point."""

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = sqlite3_connect(*arguments, **options)
        connection.set_trace_callback(doom.point)
        return connection

    sqlite3_connect = sqlite3.connect
    issuer_store_sqlite.sqlite3.connect = connect  # type: ignore[attr-defined]


def charged(folder: Path) -> int:
    with sqlite3.connect(folder / "issuer.db") as connection:
        row = connection.execute("SELECT sum(tokens) FROM usage").fetchone()
    connection.close()
    return row[0] or 0


async def prepare(folder: Path) -> None:
    store = sqlite_issuer_store(folder / "issuer.db")
    await add_account(store, quota=TOKENS)
    await store.aclose()


def main(backend: str, where: Path) -> None:
    for number in range(1, MAX_POINTS):
        folder = where / str(number)
        folder.mkdir()
        anyio.run(prepare, folder, backend=backend)
        lived = in_child(backend, folder, number)
        between = charged(folder)
        assert in_child(backend, folder, times=2)
        print(number, "lived" if lived else "killed", between, charged(folder), flush=True)
        if lived:
            return
    raise SystemExit("it never ends")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
