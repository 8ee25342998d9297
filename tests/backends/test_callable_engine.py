"""Python functions as engines."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from confsec.backends.api import HttpRequest, header
from confsec.backends.callable_engine import AnswerFunction, CallableEngine
from confsec.errors import BusyError, EngineError
from confsec.testing import check_engine

pytestmark = pytest.mark.anyio

SECRET = "my secret prompt"


async def words(path: str, request: dict[str, Any]) -> AsyncIterator[str]:
    for word in ("good", " ", "morning"):
        yield word


def words_without_async(path: str, request: dict[str, Any]) -> Iterator[str]:
    yield from ("good", " ", "morning")


async def text(path: str, request: dict[str, Any]) -> str:
    return "good morning"


def text_without_async(path: str, request: dict[str, Any]) -> str:
    return "good morning"


async def stream_of_words(path: str, request: dict[str, Any]) -> AsyncIterator[str]:
    return words(path, request)


def listed_words(path: str, request: dict[str, Any]) -> Iterator[str]:
    return iter(["good", " ", "morning"])


TEXT = [words, words_without_async, text, text_without_async, stream_of_words, listed_words]


async def ask(engine: CallableEngine, request: Mapping[str, Any], url: str = "/v1/chat/completions") -> bytes:
    content = json.dumps(request).encode()
    async with engine.stream(HttpRequest(method="POST", url=url, content=content)) as response:
        return b"".join([part async for part in response.content])


@pytest.mark.parametrize("answer", TEXT)
async def test_engine_passes_the_published_check(answer: AnswerFunction) -> None:
    await check_engine(CallableEngine(answer))


@pytest.mark.parametrize("answer", TEXT)
async def test_text_becomes_a_chat_completion(answer: AnswerFunction) -> None:
    got = json.loads(await ask(CallableEngine(answer, model="m"), {"messages": []}))
    assert (got["object"], got["model"]) == ("chat.completion", "m")
    assert got["choices"][0]["message"] == {"role": "assistant", "content": "good morning"}
    assert got["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("answer", TEXT)
async def test_text_becomes_events_when_a_stream_is_asked_for(answer: AnswerFunction) -> None:
    events = (await ask(CallableEngine(answer), {"stream": True})).split(b"\n\n")
    assert events[-2:] == [b"data: [DONE]", b""]
    chunks = [json.loads(event.removeprefix(b"data: ")) for event in events[:-2]]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "good morning"
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]


async def test_text_becomes_a_completion() -> None:
    got = json.loads(await ask(CallableEngine(words), {"prompt": ""}, "/v1/completions"))
    assert (got["object"], got["choices"][0]["text"]) == ("text_completion", "good morning")


async def test_nothing_is_an_empty_answer() -> None:
    got = json.loads(await ask(CallableEngine(lambda path, request: iter(())), {}))
    assert got["choices"][0]["message"]["content"] == ""


async def test_text_is_no_answer_to_other_paths() -> None:
    engine = CallableEngine(words)
    async with engine.stream(HttpRequest(method="POST", url="/v1/embeddings", content=b"{}")) as response:
        assert response.status == 404


async def test_json_passes_as_it_is_on_any_path() -> None:
    async def embed(path: str, request: dict[str, Any]) -> dict[str, Any]:
        return {"path": path, "length": len(request["input"])}

    got = json.loads(await ask(CallableEngine(embed), {"input": "four"}, "/v1/embeddings"))
    assert got == {"path": "/v1/embeddings", "length": 4}


async def test_bytes_pass_as_an_event_stream() -> None:
    async def events(path: str, request: dict[str, Any]) -> AsyncIterator[bytes]:
        yield b"event: odd\r\n"
        yield b"data: 1\r\n\r\n"

    engine = CallableEngine(events)
    async with engine.stream(HttpRequest(method="POST", url="/v1/messages", content=b"{}")) as response:
        assert header(response.headers, "content-type") == "text/event-stream"
        assert [part async for part in response.content] == [b"event: odd\r\n", b"data: 1\r\n\r\n"]


async def test_blocking_function_runs_in_another_thread() -> None:
    threads: list[int] = []

    def blocks(path: str, request: dict[str, Any]) -> Iterator[str]:
        threads.append(threading.get_ident())
        yield "one"

    await ask(CallableEngine(blocks), {})
    assert threads
    assert threading.get_ident() not in threads


@pytest.mark.parametrize("stream", [False, True])
async def test_exception_is_an_engine_error_that_says_nothing(*, stream: bool) -> None:
    async def fails(path: str, request: dict[str, Any]) -> AsyncIterator[str]:
        yield "one"
        raise ValueError(SECRET)

    with pytest.raises(EngineError) as caught:
        await ask(CallableEngine(fails), {"stream": stream})
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


async def test_function_may_say_that_it_is_busy() -> None:
    async def busy(path: str, request: dict[str, Any]) -> str:
        raise BusyError("the model is full")

    engine = CallableEngine(busy)
    async with engine.stream(HttpRequest(method="POST", url="/v1/responses", content=b"{}")) as response:
        assert response.status == 503
        error = json.loads(b"".join([part async for part in response.content]))["error"]
    assert error["code"] == "busy"


async def test_other_answers_are_refused() -> None:
    engine = CallableEngine(lambda path, request: 7)  # type: ignore[arg-type, return-value]
    assert json.loads(await ask(engine, {}))["error"]["code"] == "engine"


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
async def test_body_that_is_no_object_never_reaches_the_function(body: bytes) -> None:
    def never(path: str, request: dict[str, Any]) -> str:
        raise AssertionError

    async with CallableEngine(never).stream(
        HttpRequest(method="POST", url="/v1/completions", content=body)
    ) as response:
        assert response.status == 400


async def test_models_are_listed() -> None:
    engine = CallableEngine(words, model="mine")
    async with engine.stream(HttpRequest(method="GET", url="/v1/models")) as response:
        models = json.loads(b"".join([part async for part in response.content]))
        assert [model["id"] for model in models["data"]] == ["mine"]
    async with engine.stream(HttpRequest(method="GET", url="/v1/models/mine")) as response:
        assert response.status == 200
    async with engine.stream(HttpRequest(method="GET", url="/v1/models/yours")) as response:
        assert response.status == 404


async def test_leaving_closes_the_generator_at_once() -> None:
    closed = anyio.Event()

    async def endless(path: str, request: dict[str, Any]) -> AsyncIterator[str]:
        try:
            while True:
                yield "more"
                await anyio.lowlevel.checkpoint()
        finally:
            closed.set()

    engine = CallableEngine(endless)
    content = json.dumps({"stream": True}).encode()
    async with engine.stream(HttpRequest(method="POST", url="/v1/chat/completions", content=content)) as response:
        await anext(response.content)
    assert closed.is_set()


async def test_leaving_closes_a_generator_in_a_thread() -> None:
    closed = threading.Event()

    def endless(path: str, request: dict[str, Any]) -> Iterator[str]:
        try:
            while True:
                yield "more"
        finally:
            closed.set()

    engine = CallableEngine(endless)
    content = json.dumps({"stream": True}).encode()
    async with engine.stream(HttpRequest(method="POST", url="/v1/chat/completions", content=content)) as response:
        await anext(response.content)
    assert closed.is_set()
