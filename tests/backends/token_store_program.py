"""Spend tokens without an end, and print each one when it was accepted: `token_store_program URL`."""

from __future__ import annotations

import sys

import anyio

from confsec.backends.token_stores import open_token_store
from confsec.testing_stores import make_spend


async def main(url: str) -> None:
    store = open_token_store(url)

    async def work() -> None:
        while True:
            spend = make_spend()
            await store.spend(spend)
            print(spend.token_id.hex(), spend.request_digest.hex(), flush=True)

    async with anyio.create_task_group() as group:
        for _ in range(16):
            group.start_soon(work)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
