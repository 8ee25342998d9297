"""The embedded engine: llama.cpp through xllamacpp, in a process of its own.

The process listens on a Unix socket of mode 0600 in a fresh directory of mode 0700, and on no port. See
`llama_cpp_process` for what it forgets. When it dies, what is under way ends with `EngineError`, and the next request
starts a new one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Final, Self, final

import anyio
import anyio.abc
import anyio.to_thread
from attrs import field, frozen

import confsec
from confsec.backends.api import HttpRequest, HttpResponse
from confsec.backends.engine_requests import CacheIsolation
from confsec.backends.llama_cpp_process import READY
from confsec.backends.openai_http import OpenAiHttpEngine, open_openai_http
from confsec.backends.tiny_gguf import CONTEXT_LENGTH, MODEL_NAME, write_tiny_gguf
from confsec.errors import EngineError, MissingExtraError

__all__ = ["LlamaCppEngine", "LlamaCppSettings"]

_ROOT: Final = str(Path(confsec.__file__).parent.parent)
_SOCKET: Final = "engine.sock"
_START_LOG: Final = "start.log"
_TINY: Final = "tiny.gguf"

_TINY_ANSWER_TOKENS: Final = 128
_STOP_TIMEOUT: Final = 2.0  # seconds
_LOG_TAIL: Final = 2000  # bytes

_ENVIRONMENT: Final = (
    "CUDA_VISIBLE_DEVICES",
    "GGML_BACKEND_PATH",
    "HIP_VISIBLE_DEVICES",
    "LD_LIBRARY_PATH",
    "PATH",
    "PYTHONHOME",
    "PYTHONPATH",
    "ROCR_VISIBLE_DEVICES",
    "VIRTUAL_ENV",
)
"""What the process inherits: where programs and libraries are, and which devices to use. The node's secrets are not."""


@frozen(kw_only=True)
class LlamaCppSettings:
    """What the embedded engine loads and how much it does at once."""

    model: Path | None = None
    """A GGUF file, or None for the tiny model that answers in made-up words."""

    context_tokens: int = CONTEXT_LENGTH
    """Tokens of prompt and answer together, for each request."""

    parallel: int = 4
    """Requests that are answered at once. More than these wait in line."""

    threads: int | None = None
    """CPU threads; None for as many as llama.cpp thinks best, and one for the tiny model."""

    embeddings: bool = False
    """Serve `/v1/embeddings` too. Costs a little on every request."""

    start_timeout: float = 300.0
    """Seconds until a model is loaded."""

    max_connections: int = 256
    """Requests under way and waiting, each of which holds a thread."""


@final
class LlamaCppEngine:
    """llama.cpp in a child process, started by `start`, by `async with` or by the first request.

    It belongs to the event loop in which it is first used.
    """

    def __init__(self, settings: LlamaCppSettings | None = None) -> None:
        """Prepare an engine. Raises `MissingExtraError` when xllamacpp is not installed."""
        if find_spec("xllamacpp") is None:
            raise MissingExtraError("xllamacpp", extra="engine")
        self._settings = settings or LlamaCppSettings()
        self._lock = anyio.Lock()
        self._running: _Running | None = None

    @property
    def process_id(self) -> int | None:
        """The process in which llama.cpp runs, or None."""
        return self._running.process.pid if self._running else None

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]:
        """Ask the engine, and start it first if it does not run. Raises what `OpenAiHttpEngine.stream` does."""
        return self._stream(request)

    @asynccontextmanager
    async def _stream(self, request: HttpRequest) -> AsyncGenerator[HttpResponse]:
        running = await self._started()
        async with running.engine.stream(request) as response:
            yield response

    async def start(self) -> None:
        """Load the model and wait until it serves. Raises `EngineError`. Does nothing if it runs."""
        await self._started()

    async def check(self) -> None:
        """Return if the engine serves, starting it if it does not run. Raises `EngineError`."""
        running = await self._started()
        await running.engine.check()

    async def aclose(self) -> None:
        """End the process and remove its directory. Idempotent; a later request starts it again."""
        async with self._lock:
            await self._stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _started(self) -> _Running:
        async with self._lock:
            if self._running is not None and _lives(self._running.process.pid):
                return self._running
            await self._stop()
            self._running = await _start(self._settings)
            return self._running

    async def _stop(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            with anyio.CancelScope(shield=True):
                await running.engine.aclose()
                await _end(running.process)
                await _remove(running.directory)


@frozen
class _Running:
    """A process that serves."""

    process: anyio.abc.Process
    directory: Path
    engine: OpenAiHttpEngine = field(repr=False)


async def _start(settings: LlamaCppSettings) -> _Running:
    """Start a process and wait until it serves, or leave nothing behind and raise `EngineError`."""
    async with AsyncExitStack() as undo:
        directory = await anyio.to_thread.run_sync(_make_directory, settings)
        undo.push_async_callback(_remove, directory)
        process = await _spawn(settings, directory)
        undo.push_async_callback(_end, process)
        await _ready(process, directory, settings.start_timeout)
        engine = open_openai_http(
            f"unix:{directory / _SOCKET}", isolation=CacheIsolation.LLAMA_CPP, health_path="/health"
        )
        undo.push_async_callback(engine.aclose)
        await engine.check()
        undo.pop_all()
        return _Running(process, directory, engine)
    raise AssertionError  # no callback of ours swallows an exception


def _make_directory(settings: LlamaCppSettings) -> Path:
    directory = Path(tempfile.mkdtemp(prefix="confsec-engine-"))  # mkdtemp makes it with mode 0700
    if settings.model is None:
        write_tiny_gguf(directory / _TINY)
    return directory


async def _spawn(settings: LlamaCppSettings, directory: Path) -> anyio.abc.Process:
    command = [
        sys.executable,
        "-P",  # the current directory may belong to someone else
        "-m",
        "confsec.backends.llama_cpp_process",
        json.dumps(_process_settings(settings, directory)),
    ]
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in (_ROOT, environment.get("PYTHONPATH")) if path)
    descriptor = os.open(directory / _START_LOG, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        return await anyio.open_process(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=descriptor,
            env=environment,
            # A Ctrl-C at the terminal is for the node, which first lets answers end.
            start_new_session=True,
        )
    finally:
        os.close(descriptor)


def _process_settings(settings: LlamaCppSettings, directory: Path) -> dict[str, object]:
    tiny = settings.model is None
    return {
        "socket": str(directory / _SOCKET),
        "model": str(settings.model.absolute() if settings.model else directory / _TINY),
        "name": settings.model.stem if settings.model else MODEL_NAME,
        "context_tokens": settings.context_tokens,
        "parallel": settings.parallel,
        "threads": settings.threads or (1 if tiny else None),
        # The tiny model never says that it has finished.
        "answer_tokens": _TINY_ANSWER_TOKENS if tiny else None,
        "embeddings": settings.embeddings,
        "connections": settings.max_connections,
    }


def _lives(process_id: int) -> bool:
    """Say whether a child of ours still runs. An event loop learns of its end a moment later, which is too late."""
    try:
        return os.waitid(os.P_PID, process_id, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


async def _ready(process: anyio.abc.Process, directory: Path, seconds: float) -> None:
    """Wait until the process says that it serves. Raises `EngineError` with the end of what it said instead."""
    if process.stdout is None:
        raise EngineError("llama.cpp has no standard output")
    try:
        with anyio.fail_after(seconds):
            said = await process.stdout.receive()
    except TimeoutError:
        raise EngineError("llama.cpp did not start in time", want=f"{seconds:g} s") from None
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        said = b""
    if said != READY:
        # Nobody has asked the engine anything yet, so there is no prompt in this.
        log = await anyio.to_thread.run_sync((directory / _START_LOG).read_bytes)
        raise EngineError("llama.cpp did not start", hint=log[-_LOG_TAIL:].decode("utf-8", "replace").strip())


async def _end(process: anyio.abc.Process) -> None:
    """Close the process's standard input, which ends it, or kill it if that takes too long."""
    with anyio.CancelScope(shield=True):
        if process.stdin is not None:
            await process.stdin.aclose()
        with anyio.move_on_after(_STOP_TIMEOUT):
            await process.wait()
        if process.returncode is None:
            process.kill()
        await process.aclose()


async def _remove(directory: Path) -> None:
    with anyio.CancelScope(shield=True):
        await anyio.to_thread.run_sync(partial(shutil.rmtree, directory, ignore_errors=True))
