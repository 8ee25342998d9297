"""The real anthropic package over a service in memory: sync, asyncio and trio."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic.types import MessageParam

from confsec.backends.httpx import async_transport, transport
from confsec.client import Client
from confsec.errors import ConfsecError, PolicyError
from confsec.openai import proof_of
from confsec.protocol.policy import PRODUCTION, UNSAFE_UNATTESTED
from tests.client.engine import ANSWER, MODEL, WORDS, field, new_client, new_wire, told
from tests.client.wire import ServiceTransport

QUESTION = "Why is the sea salty?"
MESSAGES: list[MessageParam] = [{"role": "user", "content": QUESTION}]
NEVER_TOLD = ("sk-secret", "stainless", "anthropic/python", "x-api-key", "authorization", "user-agent")
MAX_TOKENS = 64


@pytest.fixture
def wire() -> ServiceTransport:
    return new_wire()


def new_sdk(client: Client, **options: Any) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key="sk-secret", http_client=httpx2.Client(transport=transport(client)), **options)


def new_async_sdk(client: Client, **options: Any) -> anthropic.AsyncAnthropic:
    http_client = httpx2.AsyncClient(transport=async_transport(client))
    return anthropic.AsyncAnthropic(api_key="sk-secret", http_client=http_client, **options)


def test_sync_answers_whole_and_streamed(wire: ServiceTransport) -> None:
    with new_sdk(new_client(wire)) as client:
        message = client.messages.create(model=MODEL, messages=MESSAGES, max_tokens=MAX_TOKENS)
        assert [block.text for block in message.content if block.type == "text"] == [ANSWER]
        with client.messages.stream(model=MODEL, messages=MESSAGES, max_tokens=MAX_TOKENS) as stream:
            assert list(stream.text_stream) == WORDS
            assert proof_of(stream).candidates
        raw = client.messages.with_raw_response.create(model=MODEL, messages=MESSAGES, max_tokens=MAX_TOKENS)
        assert proof_of(raw).candidates
    assert wire.closed
    assert wire.open == 0
    assert QUESTION in told(wire)


@pytest.mark.anyio
@pytest.mark.filterwarnings("ignore:Async generator '(anthropic|httpx2):ResourceWarning")
async def test_async_answers_whole_and_streamed_on_both_loops(wire: ServiceTransport) -> None:
    async with new_async_sdk(new_client(wire)) as client:
        message = await client.messages.create(model=MODEL, messages=MESSAGES, max_tokens=MAX_TOKENS)
        assert [block.text for block in message.content if block.type == "text"] == [ANSWER]
        async with client.messages.stream(model=MODEL, messages=MESSAGES, max_tokens=MAX_TOKENS) as stream:
            assert [text async for text in stream.text_stream] == WORDS
            assert proof_of(stream).candidates
    assert wire.closed
    assert wire.open == 0


def test_nothing_that_names_the_caller_reaches_the_engine(wire: ServiceTransport) -> None:
    with new_sdk(new_client(wire), default_headers={"Cookie": "sk-secret"}) as client:
        client.beta.messages.create(
            model=MODEL, messages=[{"role": "user", "content": "hi"}], max_tokens=MAX_TOKENS, betas=["some-beta"]
        )
    seen = told(wire).lower()
    assert [word for word in NEVER_TOLD if word in seen] == []
    (asked,) = wire.service.asked
    assert field(asked, "anthropic-version")
    assert field(asked, "anthropic-beta") == "some-beta"


def test_a_refusal_is_the_cause_of_the_sdks_error_and_nothing_was_sent(wire: ServiceTransport) -> None:
    client = new_sdk(new_client(wire, PRODUCTION), max_retries=1)
    with client, pytest.raises(anthropic.APIConnectionError) as caught:
        client.messages.create(model=MODEL, messages=MESSAGES, max_tokens=MAX_TOKENS)
    assert isinstance(caught.value.__cause__, PolicyError)
    assert wire.service.asked == []


def ours_as_they_are(request: Any, call_next: Callable[[Any], Any]) -> Any:
    """The middleware of docs/clients.md."""
    try:
        return call_next(request)
    except anthropic.APIConnectionError as exc:
        if isinstance(exc.__cause__, ConfsecError):
            raise exc.__cause__ from None
        raise


async def ours_as_they_are_async(request: Any, call_next: Callable[[Any], Awaitable[Any]]) -> Any:
    try:
        return await call_next(request)
    except anthropic.APIConnectionError as exc:
        if isinstance(exc.__cause__, ConfsecError):
            raise exc.__cause__ from None
        raise


def test_with_a_middleware_a_refusal_is_raised_as_it_is_and_never_tried_again(wire: ServiceTransport) -> None:
    client = new_sdk(new_client(wire, PRODUCTION), max_retries=5, middleware=[ours_as_they_are])
    with client, pytest.raises(PolicyError):
        client.messages.create(model=MODEL, messages=MESSAGES, max_tokens=MAX_TOKENS)
    assert sum(request.path == "/v1/fleet" for request in wire.service.requests) == 1


@pytest.mark.anyio
async def test_with_a_middleware_an_async_refusal_is_raised_as_it_is(wire: ServiceTransport) -> None:
    client = new_async_sdk(new_client(wire, PRODUCTION), max_retries=5, middleware=[ours_as_they_are_async])
    async with client:
        with pytest.raises(PolicyError):
            await client.messages.create(model=MODEL, messages=MESSAGES, max_tokens=MAX_TOKENS)
    assert sum(request.path == "/v1/fleet" for request in wire.service.requests) == 1


def test_asks_a_service_that_runs_as_processes(running_service: Path) -> None:
    with new_sdk(Client(running_service, policy=UNSAFE_UNATTESTED)) as client:
        message = client.messages.create(model="confsec-tiny", messages=MESSAGES, max_tokens=8)
        assert [block.text for block in message.content if block.type == "text"]
        with client.messages.stream(model="confsec-tiny", messages=MESSAGES, max_tokens=8) as stream:
            assert len(list(stream.text_stream)) > 3


@pytest.mark.anyio
@pytest.mark.filterwarnings("ignore:Async generator '(anthropic|httpx2):ResourceWarning")
async def test_async_asks_a_service_that_runs_as_processes(running_service: Path) -> None:
    client = new_async_sdk(Client(running_service, policy=UNSAFE_UNATTESTED))
    async with client, client.messages.stream(model="confsec-tiny", messages=MESSAGES, max_tokens=8) as stream:
        assert len([text async for text in stream.text_stream]) > 3
