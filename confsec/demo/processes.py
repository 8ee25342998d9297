"""Roles as processes of their own: started, heard until they say where they listen, and stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, final

import anyio
from anyio.abc import Process

from confsec.errors import BackendError, DeadlineError

__all__ = ["RoleProcess", "start_role"]

_START_TIMEOUT: Final = 30.0
_STOP_TIMEOUT: Final = 10.0
_MAX_LINE: Final = 65_536


@final
class RoleProcess:
    """A role that runs, and where it listens."""

    def __init__(self, role: str, process: Process, log: Path) -> None:
        self.role = role
        self.url: str = ""
        """Where it listens, once `ready` has returned."""
        self.log = log
        """What the process wrote to standard error: never a prompt or an answer."""
        self._process = process

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    async def ready(self) -> str:
        """Wait until the role listens, and return its URL.

        Raises `BackendError` with the last line that it wrote if it ends instead, and `DeadlineError` after 30 seconds.
        """
        if not self.url:
            self.url = await _hear_address(self._process, self.role, self.log)
        return self.url

    def kill(self) -> None:
        """End the process at once, as a power cut would."""
        self._process.kill()

    async def stop(self) -> int:
        """Ask the process to end, and make it end if it does not. Returns its exit status."""
        with anyio.CancelScope(shield=True):
            if self._process.returncode is None:
                _signal(self._process, signal.SIGTERM)
            with anyio.move_on_after(_STOP_TIMEOUT) as waiting:
                await self._process.wait()
            if waiting.cancelled_caught:
                _signal(self._process, signal.SIGKILL)
                await self._process.wait()
        return self._process.returncode or 0


@asynccontextmanager
async def start_role(
    *command: str, log: Path, environment: Mapping[str, str] | None = None
) -> AsyncGenerator[RoleProcess]:
    """Start `confsec COMMAND…`, to be awaited with `RoleProcess.ready`; stop it in the end."""
    words = [sys.executable, "-m", "confsec", *command]
    with log.open("wb") as stderr:
        process = await anyio.open_process(
            words, stdin=subprocess.DEVNULL, stderr=stderr, env=_environment(environment)
        )
    running = RoleProcess(command[0], process, log)
    try:
        yield running
    finally:
        await running.stop()
        with anyio.CancelScope(shield=True):
            await process.aclose()


async def _hear_address(process: Process, role: str, log: Path) -> str:
    """Read the line of JSON in which a role says where it listens."""
    assert process.stdout is not None  # noqa: S101 - anyio makes a pipe unless told otherwise
    heard = bytearray()
    try:
        with anyio.fail_after(_START_TIMEOUT):
            while b"\n" not in heard and len(heard) < _MAX_LINE:
                heard += await process.stdout.receive()
    except anyio.EndOfStream as exc:
        raise BackendError(f"the {role} did not start: {_last_line(log)}") from exc
    except TimeoutError as exc:
        raise DeadlineError(f"the {role} did not start in time", want=f"{_START_TIMEOUT:g} s") from exc
    return str(json.loads(heard.partition(b"\n")[0])["url"])


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _signal(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it may have ended by itself
        process.send_signal(number)


def _environment(more: Mapping[str, str] | None) -> dict[str, str]:
    """Return our environment, without what would make a child write into the source tree, and `more`."""
    return {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", **(more or {})}
