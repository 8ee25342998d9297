"""What uvicorn writes, and in how many packets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from confsec.roles.server_asyncio import _HeadWithPart


class Recorder(asyncio.Transport):
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def turn(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_until_complete(asyncio.sleep(0))


def test_head_travels_with_the_part_that_follows_at_once(loop: asyncio.AbstractEventLoop) -> None:
    recorder = Recorder()
    answer = _HeadWithPart(recorder, loop)
    answer.write(b"head")
    answer.write(b"part")
    answer.write(b"another")
    turn(loop)
    assert recorder.written == [b"headpart", b"another"]


def test_head_does_not_wait_for_a_part_that_comes_later(loop: asyncio.AbstractEventLoop) -> None:
    recorder = Recorder()
    answer = _HeadWithPart(recorder, loop)
    answer.write(b"head")
    turn(loop)
    assert recorder.written == [b"head"]
    answer.write(b"part")
    turn(loop)
    assert recorder.written == [b"head", b"part"]


def test_head_goes_out_before_the_connection_closes(loop: asyncio.AbstractEventLoop) -> None:
    recorder = Recorder()
    answer = _HeadWithPart(recorder, loop)
    answer.write(b"head")
    assert not answer.is_closing()
    answer.close()
    turn(loop)
    assert answer.is_closing()
    assert recorder.written == [b"head"]
