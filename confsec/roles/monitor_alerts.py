"""Telling of alerts: each is shown at once, and posted to a webhook if there is one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, final

import anyio

from confsec.backends.api import Clock
from confsec.backends.webhook import Webhook
from confsec.errors import ConfsecError
from confsec.protocol import json_general
from confsec.protocol.json_general import JsonItem
from confsec.protocol.monitoring import Alert, AlertKind

__all__ = ["AlertDesk"]

_AT_ONCE: Final = 100
"""So many alerts go into one post."""

_MAX_POST: Final = 256 << 10
"""A post with more than one alert has at most 256 KiB."""

_MAX_WAITING: Final = 10_000
"""So many alerts wait for a webhook that does not take them. Then the oldest are dropped, which is said."""


@final
class AlertDesk:
    """Passes alerts on, and knows the gravest."""

    def __init__(self, show: Callable[[Alert], None], webhook: Webhook | None, *, clock: Clock) -> None:
        """Show each alert with `show`, and post it to `webhook`."""
        self._show: Final = show
        self._webhook: Final = webhook
        self._now: Final = clock
        self._waiting: Final = deque[Alert]()
        self._posting: Final = anyio.Lock()
        self._dropped = 0
        self._failing = False
        self.gravest: AlertKind | None = None
        """The kind of the gravest alert so far; None without one."""

    async def tell(self, alerts: Sequence[Alert]) -> None:
        """Show alerts, and post them unless the webhook failed before: `post_waiting` tries again."""
        for alert in alerts:
            self._tell(alert)
        if self._webhook is not None:
            self._waiting.extend(alerts)
            while len(self._waiting) > _MAX_WAITING:
                self._waiting.popleft()
                self._dropped += 1
            if not self._failing:
                await self.post_waiting()

    async def post_waiting(self) -> None:
        """Post what waits, one post at a time. That it fails, and that it works again, is shown."""
        async with self._posting:
            while self._waiting and self._webhook is not None:
                posted = self._next_batch()
                try:
                    await self._webhook.post(_body(posted))
                except ConfsecError as exc:
                    self._fail(exc)
                    return
                # Meanwhile others may have come, and so many that the first of these were dropped.
                while self._waiting and any(self._waiting[0] is alert for alert in posted):
                    self._waiting.popleft()
                self._recover()

    def _next_batch(self) -> list[Alert]:
        """Return the first alerts that go into one post, at least one."""
        batch, size = list[Alert](), 0
        for alert in self._waiting:
            size += len(_body([alert]))
            if batch and (len(batch) == _AT_ONCE or size > _MAX_POST):
                break
            batch.append(alert)
        return batch

    def _tell(self, alert: Alert) -> None:
        if self.gravest is None or alert.kind.gravity > self.gravest.gravity:
            self.gravest = alert.kind
        self._show(alert)

    def _fail(self, error: ConfsecError) -> None:
        if self._failing:
            return
        self._failing = True
        details: dict[str, JsonItem] = {"reason": str(error), "waiting": len(self._waiting), "dropped": self._dropped}
        self._tell(self._alert(AlertKind.UNDELIVERED, "the webhook does not take alerts", details))

    def _recover(self) -> None:
        if self._failing:
            self._failing = False
            details: dict[str, JsonItem] = {"dropped": self._dropped}
            self._tell(self._alert(AlertKind.RECOVERED, "the webhook takes alerts again", details))

    def _alert(self, kind: AlertKind, what: str, details: dict[str, JsonItem]) -> Alert:
        return Alert(kind=kind, log="", at=self._now(), what=what, details=details)


def _body(alerts: Sequence[Alert]) -> bytes:
    return json_general.encode({"alerts": [alert.to_json() for alert in alerts]})
