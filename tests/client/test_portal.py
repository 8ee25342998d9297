"""The thread with an event loop: it starts late, ends early, and holds nobody up."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import threading
from typing import Literal

import anyio
import httpx2
import pytest

from confsec.backends.httpx import transport
from confsec.backends.portal import PortalThread, call
from confsec.protocol.bhttp import Response
from tests.client.engine import new_client, new_wire


class Closing:
    """Something to close, which notes that it was closed."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.closed.set()


async def answer() -> int:
    await anyio.lowlevel.checkpoint()
    return 42


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_starts_with_the_first_call_and_ends_with_close(backend: Literal["asyncio", "trio"]) -> None:
    inside = Closing()
    thread = PortalThread(inside.aclose, backend=backend)
    thread.close()
    assert not inside.closed.is_set()
    portal = thread.portal()
    assert thread.portal() is portal
    assert portal.call(answer) == 42
    assert thread.runs(portal)
    thread.close()
    thread.close()
    assert inside.closed.is_set()
    assert not thread.runs(portal)
    assert thread.portal().call(answer) == 42
    thread.close()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_closing_cancels_what_is_under_way(backend: Literal["asyncio", "trio"]) -> None:
    thread = PortalThread(Closing().aclose, backend=backend)
    future = thread.portal().start_task_soon(anyio.sleep_forever)
    thread.close()
    assert future.cancelled()


def test_ends_when_it_is_forgotten() -> None:
    inside = Closing()
    thread = PortalThread(inside.aclose)
    assert thread.portal().call(answer) == 42
    del thread
    gc.collect()
    assert inside.closed.wait(10)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_interrupted_call_has_ended_before_it_raises(backend: Literal["asyncio", "trio"]) -> None:
    thread = PortalThread(Closing().aclose, backend=backend)
    steps: list[str] = []
    main_thread = threading.get_ident()

    async def work() -> None:
        try:
            await anyio.sleep(0.1)  # the caller has to be waiting by then
            signal.pthread_kill(main_thread, signal.SIGINT)
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.05)
            steps.append("ended")

    with pytest.raises(KeyboardInterrupt):
        call(thread.portal(), work)
    assert steps == ["ended"]
    thread.close()


def test_an_event_loop_that_is_not_there_is_an_error_of_the_caller() -> None:
    thread = PortalThread(Closing().aclose, backend="twisted")  # type: ignore[arg-type]
    with pytest.raises(LookupError, match="twisted"):
        thread.portal()


def test_a_client_can_be_closed_in_the_middle_of_an_answer() -> None:
    wire = new_wire()
    wire.service.answer = lambda request: Response(200, content=bytes(100_000))
    client = httpx2.Client(transport=transport(new_client(wire)))
    with client.stream("GET", "https://x.example/v1/models") as response:
        parts = response.iter_raw()
        assert next(parts)
        client.close()
        assert wire.open == 0
    assert wire.closed


OPEN_STREAM = """
import httpx2
from confsec.backends.httpx import transport
from tests.client.engine import new_client, new_wire

client = httpx2.Client(transport=transport(new_client(new_wire())))
response = client.send(client.build_request("GET", "https://x.example/v1/models"), stream=True)
print(response.status_code)
"""


def test_a_program_that_leaves_an_answer_open_ends() -> None:
    finished = subprocess.run(
        [sys.executable, "-c", OPEN_STREAM], check=True, capture_output=True, text=True, timeout=60
    )
    assert (finished.stdout, finished.stderr) == ("200\n", "")
