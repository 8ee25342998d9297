"""Posting to a webhook: JSON, a few attempts, and nowhere else than its owner said."""

from __future__ import annotations

from typing import Final, final

import anyio

from confsec.backends.api import HttpRequest, Transport
from confsec.errors import ConfsecError, DeadlineError, PeerError, RemoteProtocolError, TransportError

__all__ = ["Webhook"]

_AGAIN: Final = frozenset({408, 425, 429})
"""Answers that say to try again, beside those from 500 on."""


@final
class Webhook:
    """An address that takes JSON. Redirects are not followed, and what it answers is not read."""

    def __init__(
        self, url: str, transport: Transport, *, timeout: float = 10.0, attempts: int = 3, pause: float = 0.5
    ) -> None:
        """Post to `url`, with `timeout` seconds for an attempt, and a `pause` before the second that then doubles.

        The transport is the caller's to close.
        """
        self._url: Final = url
        self._transport: Final = transport
        self._timeout: Final = timeout
        self._attempts: Final = attempts
        self._pause: Final = pause

    async def post(self, body: bytes) -> None:
        """Post one JSON text. Raises `PeerError` or `TransportError` when no attempt was taken; none names the address.

        It may have arrived in spite of that, and be posted again: who takes it looks for what he has already.
        """
        error: ConfsecError = PeerError("the webhook was not asked", status=0, section="")
        for attempt in range(self._attempts):
            if attempt:
                await anyio.sleep(self._pause * 2 ** (attempt - 1))
            try:
                status = await self._send(body)
            except (TransportError, RemoteProtocolError) as exc:
                error = exc
                continue
            if 200 <= status < 300:
                return
            error = PeerError("the webhook did not take it", status=status, section="", hint=_hint(status))
            if status < 500 and status not in _AGAIN:
                break
        raise error

    async def _send(self, body: bytes) -> int:
        headers = (("content-type", "application/json"),)
        request = HttpRequest(method="POST", url=self._url, headers=headers, content=body)
        try:
            with anyio.fail_after(self._timeout):
                async with self._transport.stream(request) as response:
                    return response.status
        except TimeoutError as exc:
            raise DeadlineError("the webhook takes too long", want=f"{self._timeout:g} s") from exc


def _hint(status: int) -> str:
    return "Redirects are not followed: name the address where it is" if 300 <= status < 400 else ""
