"""An engine that streams as many parts as it is asked for, as a process of its own."""

from __future__ import annotations

import sys

import anyio

from confsec.roles.asgi import Exchange, Role
from confsec.roles.config import RoleConfig
from confsec.roles.server import event_loop_options, serve


class StreamingEngine(Role):
    """`{"parts": n, "size": bytes, "pause": seconds}` is answered with so many parts."""

    name = "engine"

    def __init__(self, config: RoleConfig) -> None:
        self.open = 0
        super().__init__(config, {("POST", "/v1/chat/completions"): self._stream, ("GET", "/v1/models"): self._models})

    async def _models(self, exchange: Exchange) -> None:
        await exchange.answer(200, (("content-type", "application/json"),), b'{"open": %d}' % self.open)

    async def _stream(self, exchange: Exchange) -> None:
        import json

        asked = json.loads(await exchange.read())
        part = b"x" * asked["size"]
        self.open += 1
        try:
            await exchange.start(200, (("content-type", "text/event-stream"),))
            for _ in range(asked["parts"]):
                await exchange.write(part)
                if asked.get("pause"):
                    await anyio.sleep(asked["pause"])
            await exchange.finish()
        finally:
            self.open -= 1


def main() -> None:
    config = RoleConfig(port=int(sys.argv[sys.argv.index("--port") + 1]))

    async def run() -> None:
        await serve(StreamingEngine(config), config, handle_signals=True)

    anyio.run(run, **event_loop_options(config))


if __name__ == "__main__":
    main()
