"""An engine of known speed, served over HTTP by a process of its own.

A request says how many tokens it wants, and how fast: `max_tokens`, and `tokens_per_second`, a field of ours that
passes all layers like any other that they do not know. The first token comes at once, so the time until it is here is
the layers' own.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, Final

import anyio
import uvicorn

from confsec.backends.callable_engine import callable_app

__all__ = ["chat_request", "running_engine"]

_STOP_SECONDS: Final = 10.0


def chat_request(tokens: int, tokens_per_second: float) -> bytes:
    """Return a chat completion request that streams, with a prompt of about 1 KiB."""
    messages = [{"role": "user", "content": "What would you tell nobody? " * 36}]
    pace = {"max_tokens": tokens, "tokens_per_second": tokens_per_second}
    return json.dumps({"model": "paced", "messages": messages, "stream": True, **pace}).encode()


@contextmanager
def running_engine() -> Iterator[str]:
    """Start the engine, and yield its URL."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.engine"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield str(json.loads(process.stdout.readline())["url"])
    finally:
        process.terminate()
        process.communicate(timeout=_STOP_SECONDS)


async def answer(path: str, request: dict[str, Any]) -> AsyncIterator[str]:
    """Yield tokens at their times, counted from the first one, so that no delay adds up."""
    start = anyio.current_time()
    for number in range(request.get("max_tokens", 1)):
        await anyio.sleep_until(start + number / request.get("tokens_per_second", 100.0))
        yield " token"


def main() -> None:
    """Serve on a free port of the loopback interface, and say where as one line of JSON."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        print(json.dumps({"url": f"http://127.0.0.1:{listener.getsockname()[1]}"}), flush=True)
        app = callable_app(answer, model="paced")
        config = uvicorn.Config(app, lifespan="off", log_level="critical", access_log=False, timeout_keep_alive=120)
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
