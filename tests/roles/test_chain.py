"""The whole path in memory, on both event loops."""

from __future__ import annotations

import anyio
import pytest

from confsec.backends.api import HttpRequest
from tests.roles.chain import CHAT, running_chain

pytestmark = pytest.mark.anyio


async def test_prompt_reaches_the_engine_and_its_answer_comes_back() -> None:
    async with running_chain() as chain, chain.client() as client:
        answer = await client.request("POST", CHAT, json={"prompt": "marker-7193"})
        assert answer.status == 200
        assert answer.content == b"data: hello\n\ndata: [DONE]\n\n"
        [request] = chain.engines[0].requests
        assert (request.method, request.url) == ("POST", CHAT)
        assert isinstance(request.content, bytes)
        assert b"marker-7193" in request.content
