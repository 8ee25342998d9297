"""The whole path in memory, on both event loops."""

from __future__ import annotations

import json
import logging

import anyio
import pytest

from confsec.backends.api import HttpRequest
from confsec.errors import BusyError, ConfsecError, EngineError, TruncatedError
from confsec.protocol.problem import PROBLEM_TYPE
from tests.roles.chain import CHAT, Chain, running_chain

pytestmark = pytest.mark.anyio

MARKER = "marker-7193"


async def ask(chain: Chain, marker: str = MARKER) -> bytes:
    async with chain.client() as client:
        answer = await client.request("POST", CHAT, json={"prompt": marker})
        assert answer.status == 200
        return answer.content


async def test_prompt_reaches_the_engine_and_its_answer_comes_back() -> None:
    async with running_chain() as chain:
        assert await ask(chain) == b"data: hello\n\ndata: [DONE]\n\n"
        [request] = chain.engines[0].requests
        assert (request.method, request.url) == ("POST", CHAT)
        assert isinstance(request.content, bytes)
        assert MARKER.encode() in request.content


async def test_only_the_relay_hears_of_the_client() -> None:
    async with running_chain() as chain:
        await ask(chain)
        hops = [request for request in chain.wire.requests if request.method == "POST"]
        assert {request.url.split("/")[2] for request in hops} == {"relay", "gateway", "router", "node-0"}
        for request in hops:
            assert {name for name, _ in request.headers} <= {"content-length", "content-type", "incremental"}


async def test_engine_problem_reaches_the_client_as_an_answer() -> None:
    async with running_chain() as chain, chain.client() as client:
        chain.engines[0].error = EngineError("out of order")
        answer = await client.request("POST", CHAT, json={})
        assert answer.status == 502
        assert ("content-type", PROBLEM_TYPE) in answer.headers
        assert json.loads(answer.content)["code"] == "engine"


async def test_engine_that_breaks_off_is_a_truncated_answer() -> None:
    async with running_chain() as chain, chain.client() as client:
        chain.engines[0].broken_after = 1
        with pytest.raises(ConfsecError) as raised:
            await client.request("POST", CHAT, json={})
        assert raised.value.code in {"disconnected", TruncatedError.code}


async def test_full_node_is_passed_over() -> None:
    async with running_chain(3) as chain:
        for engine in chain.engines[1:]:
            engine.error = BusyError("full")
        assert await ask(chain) == b"data: hello\n\ndata: [DONE]\n\n"


async def test_client_that_goes_away_cancels_the_engine() -> None:
    async with running_chain() as chain, chain.client() as client:
        engine = chain.engines[0]
        engine.hold = anyio.Event()
        request = HttpRequest(
            method="POST", url=CHAT, headers=(("content-type", "application/json"),), content=b'{"prompt": 1}'
        )
        async with client.stream(request) as response:
            await anext(response.content)
            with anyio.fail_after(5):
                await engine.holding.wait()
        with anyio.fail_after(1):
            await engine.left.wait()


async def test_endless_answer_is_held_back_by_a_client_that_does_not_read() -> None:
    async with running_chain() as chain, chain.client() as client:
        engine = chain.engines[0]
        engine.endless = True
        request = HttpRequest(
            method="POST", url=CHAT, headers=(("content-type", "application/json"),), content=b'{"prompt": 1}'
        )
        async with client.stream(request) as response:
            await anext(response.content)
            await anyio.wait_all_tasks_blocked()
            assert engine.given <= 1 << 20
        with anyio.fail_after(5):
            await engine.left.wait()


async def test_many_requests_at_once_do_not_mix() -> None:
    async with running_chain(2) as chain, chain.client() as client:
        for engine in chain.engines:
            engine.echo = True

        async def one(number: int) -> None:
            answer = await client.request("POST", CHAT, json={"prompt": f"number {number}"})
            assert json.loads(answer.content) == {"prompt": f"number {number}"}

        async with anyio.create_task_group() as tasks:
            for number in range(16):
                tasks.start_soon(one, number)


async def test_turn_of_the_epoch_is_not_noticed() -> None:
    async with running_chain(2, epoch=1) as chain, chain.client() as client:
        ids: set[bytes] = set()
        with anyio.fail_after(20):
            while len(ids) < 5:
                answer = await client.request("POST", CHAT, json={"prompt": MARKER})
                assert answer.status == 200
                ids.add(answer.info.node_id)
                await anyio.sleep(0.05)


async def test_no_role_writes_the_prompt_or_an_address(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with running_chain() as chain:
            await ask(chain)
            chain.engines[0].error = EngineError("out of order")
            async with chain.client() as client:
                await client.request("POST", CHAT, json={"prompt": MARKER})
    assert MARKER not in caplog.text
    assert "203.0.113.9" not in caplog.text
