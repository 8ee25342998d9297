"""Posting to a webhook: a few attempts, and nowhere else."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import anyio
import anyio.abc
import pytest

from confsec.backends.http import HttpTransport
from confsec.backends.webhook import Webhook
from confsec.errors import ConnectError, DeadlineError, PeerError
from tests.http_files import Site, serving

pytestmark = pytest.mark.anyio


@pytest.fixture
async def transport() -> AsyncGenerator[HttpTransport]:
    made = HttpTransport()
    yield made
    await made.aclose()


def webhook(url: str, transport: HttpTransport, *, timeout: float = 10.0) -> Webhook:
    return Webhook(url, transport, timeout=timeout, pause=0.001)


async def test_what_fails_for_a_while_is_tried_again(transport: HttpTransport) -> None:
    with serving(Site()) as site:
        site.post_statuses = [503, 429, 200]
        await webhook(f"{site.url}/hook", transport).post(b"{}")
        assert site.posted == [b"{}"] * 3


async def test_after_a_few_attempts_it_is_over(transport: HttpTransport) -> None:
    with serving(Site()) as site:
        site.post_statuses = [500, 502, 503, 200]
        with pytest.raises(PeerError, match="503"):
            await webhook(f"{site.url}/secret", transport).post(b"{}")
        assert len(site.posted) == 3


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 404])
async def test_redirects_and_refusals_end_it_at_once(transport: HttpTransport, status: int) -> None:
    with serving(Site()) as site:
        site.post_statuses = [status]
        with pytest.raises(PeerError, match=str(status)) as caught:
            await webhook(f"{site.url}/secret", transport).post(b"{}")
        assert len(site.posted) == 1
        assert site.asked == []
        assert "secret" not in str(caught.value)
        assert ("Redirects" in str(caught.value)) == (status < 400)


async def test_nobody_there(transport: HttpTransport) -> None:
    with serving(Site()) as site:
        pass
    with pytest.raises(ConnectError):
        await webhook(f"{site.url}/secret", transport).post(b"{}")


async def test_an_address_that_does_not_answer_is_left(transport: HttpTransport) -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")  # nobody accepts, so nobody answers
    async with listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        with pytest.raises(DeadlineError, match="too long"):
            await webhook(f"http://127.0.0.1:{port}/held", transport, timeout=0.05).post(b"{}")
