"""A tap on a wire: passes every byte on between two roles, and notes which bytes, when, and from which address.

What the demo says that a role saw is what went through its tap, not what the role says of itself. Towards the role a
connection comes from the address that it really comes from.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import final
from urllib.parse import urlsplit

import anyio
from anyio.abc import SocketAttribute, SocketStream, TaskGroup
from attrs import define, field

from confsec.backends import system

__all__ = ["Seen", "Tap", "open_tap"]


@define
class Seen:
    """What a role saw on its wire since the last `Tap.forget`."""

    addresses: set[str] = field(factory=set)
    """Where connections came from."""

    received: bytearray = field(factory=bytearray, repr=False)
    """Every byte that came in."""

    sent: bytearray = field(factory=bytearray, repr=False)
    """Every byte that went out."""

    first_at: float | None = None
    """When the first byte came in, on the clock of `system.monotonic`."""

    first_sent_at: float | None = None
    """When the first byte went out."""

    last_at: float | None = None
    """When the last byte passed, in either direction."""

    def contains(self, text: bytes) -> bool:
        """Tell whether `text` was there to read, in either direction."""
        return text in self.received or text in self.sent


@final
class Tap:
    """One wire that leads to one role."""

    def __init__(self, name: str, url: str) -> None:
        """Watch the wire of the role `name` that listens at `url`."""
        self.name = name
        self.url = ""
        """Where the tap itself listens, set by `open_tap`."""
        self.seen: Seen = Seen()
        target = urlsplit(url)
        self._host, self._port = target.hostname or "", target.port or 80

    def forget(self) -> None:
        """Begin anew; connections stay."""
        self.seen = Seen()

    async def serve(self, incoming: SocketStream) -> None:
        """Pass on one connection until either side ends it."""
        address = str(incoming.extra(SocketAttribute.remote_address)[0])  # noqa: S610 - anyio's, not Django's
        try:
            async with (
                incoming,
                await anyio.connect_tcp(self._host, self._port, local_host=address) as outgoing,
                anyio.create_task_group() as tasks,
            ):
                tasks.start_soon(self._answer, outgoing, incoming, tasks)
                async for part in incoming:
                    self._note_received(part, address)
                    await outgoing.send(part)
                # A client that ends its side has hung up: our servers never see half-closed connections.
                tasks.cancel_scope.cancel()
        except* (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass  # either role may vanish: the other one notices by itself

    async def _answer(self, outgoing: SocketStream, incoming: SocketStream, tasks: TaskGroup) -> None:
        async for part in outgoing:
            self.seen.sent += part
            self.seen.last_at = system.monotonic()
            self.seen.first_sent_at = self.seen.first_sent_at or self.seen.last_at
            await incoming.send(part)
        tasks.cancel_scope.cancel()

    def _note_received(self, part: bytes, address: str) -> None:
        self.seen.addresses.add(address)
        self.seen.received += part
        self.seen.last_at = system.monotonic()
        self.seen.first_at = self.seen.first_at or self.seen.last_at


@asynccontextmanager
async def open_tap(name: str, url: str) -> AsyncGenerator[Tap]:
    """Listen on a free port of 127.0.0.1 and pass on to `url` what comes."""
    tap = Tap(name, url)
    error: Exception | None = None
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - anyio's, not Django's
        tap.url = f"http://127.0.0.1:{port}"
        tasks.start_soon(listener.serve, tap.serve)
        try:
            yield tap
        except Exception as exc:  # noqa: BLE001 - raised again below: a task group would wrap it
            error = exc
        tasks.cancel_scope.cancel()
    if error is not None:
        raise error
