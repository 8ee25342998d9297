"""A reader of a log in a process of its own: it remembers tree after tree, and prints each size that it remembers."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
from attrs import evolve, frozen

from confsec.backends.trusted_logs import SqliteTrustedLogs
from confsec.protocol.transparency import TrustedLog

ORIGIN = "log.example/one"


@frozen
class News:
    trusted: TrustedLog


async def grow(before: TrustedLog) -> News:
    return News(evolve(before, size=before.size + 1, root=(before.size + 1).to_bytes(32, "big")))


async def read(path: Path, times: int) -> None:
    logs = SqliteTrustedLogs(path)
    await logs.open()
    for _ in range(times):
        print((await logs.advance(ORIGIN, grow)).trusted.size, flush=True)
    await logs.aclose()


if __name__ == "__main__":
    anyio.run(read, Path(sys.argv[1]), int(sys.argv[2]))
