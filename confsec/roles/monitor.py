"""A monitor: it reads everything that logs show, remembers it, and tells its owner what he has to know.

What it does with one log is in `log_monitor.py`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, final

import anyio

from confsec.backends.api import Clock, Transport
from confsec.backends.monitor_store import MonitorStore
from confsec.backends.system import now
from confsec.roles.log_monitor import LogMonitor
from confsec.roles.monitor_alerts import AlertDesk
from confsec.roles.monitor_config import MonitorConfig

__all__ = ["Monitor"]


@final
class Monitor:
    """Follows the logs of one configuration."""

    def __init__(self, config: MonitorConfig, desk: AlertDesk, transport: Transport, *, clock: Clock = now) -> None:
        """Make a monitor that tells of alerts at `desk`. The transport is the caller's to close."""
        self._interval: Final = config.interval
        self._desk: Final = desk
        self._store: Final = MonitorStore(config.state)
        self._logs: Final = [LogMonitor(log, self._store, desk, transport, clock=clock) for log in config.logs]

    async def check(self) -> None:
        """Look at each log once. What is wrong with one is an alert.

        Raises `BackendError` if nothing can be remembered, and `ConfigError` for a log that was another one before.
        """
        async with self._opened():
            for log in self._logs:
                await log.check()

    async def run(self) -> None:
        """Look at the logs again and again, until cancelled. Raises what `check` raises, in groups.

        Each log has a task of its own, so that none that is slow, or endless, keeps the others from being looked at.
        """
        async with self._opened(), anyio.create_task_group() as tasks:
            for step in (*(log.check for log in self._logs), self._desk.post_waiting):
                tasks.start_soon(self._repeat, step)

    async def _repeat(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            await step()
            await anyio.sleep(self._interval)

    @asynccontextmanager
    async def _opened(self) -> AsyncGenerator[None]:
        await self._store.open()
        try:
            yield
        finally:
            await self._store.aclose()
