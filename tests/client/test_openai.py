"""The real openai package over a service in memory: sync, asyncio and trio."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from attrs import evolve
from openai.types.chat import ChatCompletionUserMessageParam

import confsec.openai
from confsec.client import Client
from confsec.errors import (
    ConfigError,
    ConnectError,
    DeadlineError,
    DecryptionError,
    DisconnectedError,
    LocalProtocolError,
    PolicyError,
)
from confsec.openai import API_KEY, BASE_URL, AsyncOpenAI, OpenAI, proof_of
from confsec.protocol.bhttp import Request
from confsec.protocol.checks import Status
from confsec.protocol.policy import PRODUCTION, UNSAFE_UNATTESTED
from tests.client.engine import ANSWER, MODEL, WORDS, answer, field, new_client, new_wire, told
from tests.client.wire import ServiceTransport
from tests.protocol.log_world import World

QUESTION = "Why is the sea salty?"
MESSAGES: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": QUESTION}]
NEVER_TOLD = ("sk-secret", "stainless", "openai/python", "org-mine", "project-mine", "cookie", "authorization", "agent")


@pytest.fixture
def wire() -> ServiceTransport:
    return new_wire()


def ask(client: openai.OpenAI) -> Any:
    return client.chat.completions.create(model=MODEL, messages=MESSAGES)


def test_sync_answers_whole_and_streamed(wire: ServiceTransport) -> None:
    with OpenAI(service=new_client(wire)) as client:
        assert ask(client).choices[0].message.content == ANSWER
        stream = client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
        assert [chunk.choices[0].delta.content for chunk in stream][: len(WORDS)] == WORDS
        assert client.models.list().data[0].id == MODEL
    assert wire.closed
    assert wire.open == 0
    assert QUESTION in told(wire)


def test_sync_speaks_the_responses_api(wire: ServiceTransport) -> None:
    with OpenAI(service=new_client(wire)) as client:
        assert client.responses.create(model=MODEL, input=QUESTION).output_text == ANSWER
        with client.responses.stream(model=MODEL, input=QUESTION) as stream:
            words = [event.delta for event in stream if event.type == "response.output_text.delta"]
    assert words == WORDS
    assert {each.path for each in wire.service.asked} == {"/v1/responses"}


# The package leaves its own generators at [DONE] to the garbage collector, and trio says so.
@pytest.mark.filterwarnings("ignore:Async generator '(openai|httpx2):ResourceWarning")
@pytest.mark.anyio
async def test_async_answers_whole_and_streamed_on_both_loops(wire: ServiceTransport) -> None:
    async with AsyncOpenAI(service=new_client(wire)) as client:
        completion = await client.chat.completions.create(model=MODEL, messages=MESSAGES)
        assert completion.choices[0].message.content == ANSWER
        assert proof_of(completion).candidates
        stream = await client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
        assert proof_of(stream).candidates
        assert [chunk.choices[0].delta.content async for chunk in stream][: len(WORDS)] == WORDS
        assert (await client.responses.create(model=MODEL, input=QUESTION)).output_text == ANSWER
        async with client.responses.stream(model=MODEL, input=QUESTION) as events:
            assert [event.delta async for event in events if event.type == "response.output_text.delta"] == WORDS
    assert wire.closed
    assert wire.open == 0


def test_nothing_that_names_the_caller_reaches_the_engine(
    wire: ServiceTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (
        ("OPENAI_API_KEY", "sk-secret-of-the-environment"),
        ("OPENAI_ADMIN_KEY", "sk-secret-admin"),
        ("OPENAI_ORG_ID", "org-mine"),
        ("OPENAI_PROJECT_ID", "project-mine"),
        ("OPENAI_BASE_URL", "https://sk-secret.example/v1"),
    ):
        monkeypatch.setenv(name, value)
    headers = {"Cookie": "id=sk-secret", "X-User": "sk-secret", "OpenAI-Beta": "assistants=v2"}
    with OpenAI(service=new_client(wire), api_key="sk-secret-given", default_headers=headers) as client:
        ask(client)
        ask(client.with_options(api_key="sk-secret-other", timeout=9))
        client.models.list()
    seen = told(wire).lower()
    assert [word for word in (*NEVER_TOLD, API_KEY) if word in seen] == []
    assert {name for each in wire.service.asked for name, _ in each.headers} == {
        "accept",
        "content-type",
        "openai-beta",
    }
    assert field(wire.service.asked[0], "openai-beta") == "assistants=v2"


def test_the_proof_is_reached_from_every_kind_of_answer(wire: ServiceTransport) -> None:
    with OpenAI(service=new_client(wire)) as client:
        completion = ask(client)
        raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=MESSAGES)
        streamed = client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
        with client.chat.completions.with_streaming_response.create(model=MODEL, messages=MESSAGES) as streaming:
            proofs = [proof_of(each) for each in (completion, raw, raw.http_response, streamed, streaming)]
        assert [chunk.id for chunk in streamed]
    assert all(proof.candidates for proof in proofs)
    assert "confsec" not in completion.model_dump_json()


def test_what_is_known_of_an_answer_is_forgotten_with_it(wire: ServiceTransport) -> None:
    with OpenAI(service=new_client(wire)) as client:
        completion = ask(client)
        known = len(confsec.openai._infos)
        del completion
        gc.collect()
    assert len(confsec.openai._infos) < known


def test_an_answer_of_somebody_else_has_no_proof() -> None:
    with pytest.raises(LocalProtocolError, match="no answer of a private service"):
        proof_of(httpx2.Response(200))
    with pytest.raises(LocalProtocolError, match="got str"):
        proof_of("hello")


def test_a_copy_speaks_through_the_same_connection(wire: ServiceTransport) -> None:
    with OpenAI(service=new_client(wire), policy=PRODUCTION) as client:
        assert ask(client.with_options(max_retries=0)).choices[0].message.content == ANSWER
        assert str(client.copy(timeout=3).base_url) == f"{BASE_URL}/"
        with pytest.raises(ConfigError, match="http_client"):
            client.copy(http_client=httpx2.Client())


@pytest.mark.anyio
async def test_an_async_copy_speaks_through_the_same_connection(wire: ServiceTransport) -> None:
    async with AsyncOpenAI(service=new_client(wire)) as client:
        copy = client.with_options(max_retries=0)
        completion = await copy.chat.completions.create(model=MODEL, messages=MESSAGES)
        assert completion.choices[0].message.content == ANSWER


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "https://api.openai.com/v1"},
        {"websocket_base_url": "wss://api.openai.com/v1"},
        {"data_residency": "eu"},
        {"http_client": httpx2.Client()},
    ],
    ids=lambda options: next(iter(options)),
)
def test_arguments_that_lead_past_confsec_are_refused(wire: ServiceTransport, options: dict[str, Any]) -> None:
    for make in (OpenAI, AsyncOpenAI):
        with pytest.raises(ConfigError, match=next(iter(options))):
            make(service=wire.service.directory, **options)


def test_a_refusal_is_raised_as_it_is_and_never_tried_again(wire: ServiceTransport) -> None:
    with OpenAI(service=new_client(wire, PRODUCTION), max_retries=5) as client, pytest.raises(PolicyError):
        ask(client)
    assert wire.service.asked == []
    assert sum(request.path == "/v1/fleet" for request in wire.service.requests) == 1


@pytest.mark.anyio
async def test_an_async_refusal_is_raised_as_it_is_and_never_tried_again(wire: ServiceTransport) -> None:
    async with AsyncOpenAI(service=new_client(wire, PRODUCTION), max_retries=5) as client:
        with pytest.raises(PolicyError):
            await client.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert wire.service.asked == []
    assert sum(request.path == "/v1/fleet" for request in wire.service.requests) == 1


def test_a_damaged_answer_is_raised_as_it_is_and_never_tried_again(wire: ServiceTransport) -> None:
    wire.split = 1 << 20
    with OpenAI(service=new_client(wire)) as client:
        ask(client)
        wire.alter = lambda answer: answer[:100] + bytes([answer[100] ^ 1]) + answer[101:]
        with pytest.raises(DecryptionError):
            ask(client)
    assert len(wire.service.asked) == 2


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (ConnectError("nobody there"), openai.APIConnectionError),
        (DisconnectedError("gone"), openai.APIConnectionError),
        (DeadlineError("too long"), openai.APITimeoutError),
    ],
    ids=["connect", "disconnect", "deadline"],
)
def test_a_fault_of_the_road_is_the_sdks_own_error_and_may_be_tried_again(
    wire: ServiceTransport, error: Exception, wanted: type[Exception]
) -> None:
    left = [error]

    def fail() -> None:
        if left:
            raise left.pop()

    with OpenAI(service=new_client(wire)) as client:
        ask(client)
        wire.before = fail
        with pytest.raises(wanted) as caught:
            ask(client.with_options(max_retries=0))
        cause = caught.value.__cause__
        assert isinstance(cause, httpx2.RequestError)
        assert cause.__cause__ is error
        left.append(error)
        assert ask(client.with_options(max_retries=1)).choices[0].message.content == ANSWER


def test_a_stream_that_breaks_is_never_taken_for_a_whole_one(wire: ServiceTransport) -> None:
    whole = answer(Request("POST", "https", "x", "/v1/chat/completions", content=b'{"stream": true}'))
    content = whole.content.replace(b"data: [DONE]", b": filler\n" * 20_000)
    wire.service.answer = lambda request: evolve(whole, content=content)
    words: list[str | None] = []
    with OpenAI(service=new_client(wire)) as client:
        client.models.with_raw_response.list()
        wire.alter, wire.breaks = (lambda answer: answer[:-600]), True
        stream = client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
        with pytest.raises(openai.APIConnectionError) as caught:
            words.extend(chunk.choices[0].delta.content for chunk in stream)
    assert words[: len(WORDS)] == WORDS
    cause = caught.value.__cause__
    assert cause is not None
    assert isinstance(cause.__cause__, DisconnectedError)
    assert wire.open == 0


def test_leaving_a_stream_early_closes_the_exchange(wire: ServiceTransport) -> None:
    with OpenAI(service=new_client(wire)) as client:
        with client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True) as stream:
            next(stream)
            assert wire.open == 1
        assert wire.open == 0


def test_an_error_of_the_engine_is_the_sdks_status_error(wire: ServiceTransport) -> None:
    with OpenAI(service=new_client(wire)) as client, pytest.raises(openai.NotFoundError, match="no such path"):
        client.embeddings.create(model=MODEL, input=QUESTION)


def test_a_service_may_be_named_by_its_directory(wire: ServiceTransport) -> None:
    client = OpenAI(service=wire.service.directory, policy=UNSAFE_UNATTESTED, max_retries=0)
    with client, pytest.raises(openai.APIConnectionError) as caught:
        ask(client)
    cause = caught.value.__cause__
    assert isinstance(cause, httpx2.ConnectError)
    assert isinstance(cause.__cause__, ConnectError)


def test_asks_a_service_that_runs_as_processes(running_service: Path) -> None:
    model = "confsec-tiny"
    with OpenAI(service=running_service, policy=UNSAFE_UNATTESTED) as client:
        completion = client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=8)
        assert (completion.choices[0].message.content or "").split()
        assert {check.status for check in proof_of(completion).checks} >= {Status.PASS, Status.SKIP}
        stream = client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=8, stream=True)
        assert len([chunk for chunk in stream if chunk.choices]) > 3
        assert client.responses.create(model=model, input=QUESTION, max_output_tokens=16).output_text
        events = client.responses.create(model=model, input=QUESTION, max_output_tokens=16, stream=True)
        assert [event for event in events if event.type == "response.output_text.delta"]


@pytest.mark.anyio
@pytest.mark.filterwarnings("ignore:Async generator '(openai|httpx2):ResourceWarning")
async def test_async_asks_a_service_that_runs_as_processes(running_service: Path) -> None:
    async with AsyncOpenAI(service=running_service, policy=UNSAFE_UNATTESTED) as client:
        completion = await client.chat.completions.create(model="confsec-tiny", messages=MESSAGES, max_tokens=8)
        assert (completion.choices[0].message.content or "").split()
        stream = await client.chat.completions.create(
            model="confsec-tiny", messages=MESSAGES, max_tokens=8, stream=True
        )
        assert len([chunk async for chunk in stream if chunk.choices]) > 3


def test_making_a_client_does_nothing(tmp_path: Path) -> None:
    OpenAI(service=tmp_path / "missing.toml")
    AsyncOpenAI(service=Client("https://nowhere.invalid/"))


@pytest.mark.parametrize("make", [OpenAI, AsyncOpenAI])
def test_a_client_that_was_made_before_has_its_own_memory(wire: ServiceTransport, make: Any, tmp_path: Path) -> None:
    for options in ({"memory": tmp_path / "logs.db"}, {"pin": bytes(32)}):
        with pytest.raises(ConfigError, match="its own pin and memory"):
            make(service=new_client(wire), **options)


def pinned(folder: Path) -> dict[str, Any]:
    """Return options of a root that is not the pinned one: it is refused before anything is fetched."""
    return {"service": World().root, "pin": bytes(31) + b"x", "memory": folder / "logs.db", "max_retries": 0}


def test_pin_and_memory_are_those_of_the_client(tmp_path: Path) -> None:
    with OpenAI(**pinned(tmp_path)) as client, pytest.raises(ConfigError, match="pinned"):
        client.models.list()
    assert (tmp_path / "logs.db").exists()


@pytest.mark.anyio
async def test_pin_and_memory_are_those_of_the_asynchronous_client(tmp_path: Path) -> None:
    async with AsyncOpenAI(**pinned(tmp_path)) as client:
        with pytest.raises(ConfigError, match="pinned"):
            await client.models.list()
    assert (tmp_path / "logs.db").exists()
