"""The proxy: over a service in memory, and with curl, Node and Python's SDKs over one that runs as processes."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from attrs import frozen

from confsec.backends.api import Headers, HttpRequest, header
from confsec.backends.asgi import AsgiTransport
from confsec.errors import (
    BusyError,
    ConfigError,
    ConfsecError,
    ConnectError,
    DeadlineError,
    DecryptionError,
    DisconnectedError,
    PeerError,
    PolicyError,
    UnknownKeyError,
)
from confsec.protocol.bhttp import Response
from confsec.protocol.policy import PRODUCTION
from confsec.protocol.proof import verify_proof
from confsec.proxy import PROOF_HEADER, PROOF_PATH, Proxy, ProxyConfig
from confsec.roles.config import load_config
from confsec.tee.registry import POLICIES
from tests.client.engine import answer, new_client, new_wire, told
from tests.client.installed import node_modules
from tests.client.wire import ServiceTransport
from tests.support import require_or_skip

CHAT = "/v1/chat/completions"
QUESTION = {"model": "scripted", "messages": [{"role": "user", "content": "Why?"}]}
JSON: Headers = (("content-type", "application/json"),)


@frozen
class Answer:
    status: int
    headers: Headers
    content: bytes

    @property
    def error(self) -> dict[str, Any]:
        """The error, in the form in which SDKs read it."""
        value = json.loads(self.content)
        assert value["type"] == "error"
        error: dict[str, Any] = value["error"]
        assert error["message"]
        assert error["type"] == "confsec_error"
        return error


class Caller:
    """Somebody on this machine who knows the proxy's address."""

    def __init__(self, proxy: Proxy, warnings: list[str]) -> None:
        self.warnings = warnings
        self._transport = AsgiTransport(proxy)

    async def ask(
        self,
        method: str = "POST",
        path: str = CHAT,
        body: object = QUESTION,
        *,
        headers: Headers = JSON,
        host: str = "127.0.0.1:8472",
    ) -> Answer:
        content = body if isinstance(body, bytes) else json.dumps(body).encode() if method == "POST" else b""
        request = HttpRequest(method=method, url=f"http://{host}{path}", headers=headers, content=content)
        async with self._transport.stream(request) as response:
            parts = [part async for part in response.content]
        return Answer(response.status, response.headers, b"".join(parts))


@pytest.fixture
def wire() -> ServiceTransport:
    return new_wire()


@asynccontextmanager
async def running(wire: ServiceTransport, **settings: Any) -> AsyncGenerator[Caller]:
    """Run a proxy in memory."""
    warnings: list[str] = []
    proxy = Proxy(ProxyConfig(service="unused", **settings), new_client(wire), warn=warnings.append)
    async with proxy.lifespan():
        yield Caller(proxy, warnings)


@pytest.mark.anyio
async def test_answers_arrive_unchanged_whole_and_streamed(wire: ServiceTransport) -> None:
    async with running(wire) as caller:
        whole = await caller.ask()
        streamed = await caller.ask(body={**QUESTION, "stream": True})
        models = await caller.ask("GET", "/v1/models?limit=3")
    assert whole.content == answer(wire.service.asked[0]).content
    assert streamed.content == answer(wire.service.asked[1]).content
    assert header(streamed.headers, "content-type") == "text/event-stream"
    assert json.loads(models.content)["data"][0]["id"] == "scripted"
    assert wire.service.asked[2].path == "/v1/models?limit=3"
    assert wire.closed
    assert wire.open == 0


@pytest.mark.anyio
async def test_the_body_travels_byte_for_byte_and_the_caller_stays_unnamed(wire: ServiceTransport) -> None:
    body = b'{ "messages":[], "x_unknown" : 1e3,"model":"scripted" }'
    headers: Headers = (
        *JSON,
        ("authorization", "Bearer sk-secret"),
        ("user-agent", "curl/secret"),
        ("cookie", "a=secret"),
        ("x-forwarded-for", "10.9.8.7"),
        ("x-stainless-lang", "js"),
    )
    async with running(wire) as caller:
        assert (await caller.ask(body=body, headers=headers)).status == 200
    assert wire.service.asked[0].content == body
    assert wire.service.asked[0].headers == JSON
    assert [word for word in ("secret", "10.9.8.7", "stainless") if word in told(wire)] == []


@pytest.mark.anyio
async def test_an_error_of_the_engine_passes_and_its_cookies_do_not(wire: ServiceTransport) -> None:
    wire.service.answer = lambda request: Response(429, (*JSON, ("set-cookie", "a=1"), ("retry-after", "7")), b"{}")
    async with running(wire) as caller:
        refused = await caller.ask()
    assert (refused.status, refused.content) == (429, b"{}")
    assert header(refused.headers, "retry-after") == "7"
    assert header(refused.headers, "set-cookie") is None
    assert header(refused.headers, "cache-control") == "no-store"


@pytest.mark.anyio
async def test_every_answer_names_its_proof_and_the_last_ones_can_be_read(wire: ServiceTransport) -> None:
    async with running(wire, keep_proofs=2) as caller:
        names = [header((await caller.ask()).headers, PROOF_HEADER) for _ in range(8)]
        last = await caller.ask("GET", f"{PROOF_PATH}{names[-1]}")
        assert hashlib.sha256(last.content).hexdigest() == names[-1]
        assert verify_proof(last.content, POLICIES).candidates
        known = {name for name in names if (await caller.ask("GET", f"{PROOF_PATH}{name}")).status == 200}
        assert len(known) <= 2
        assert (await caller.ask("GET", f"{PROOF_PATH}{'0' * 64}")).error["code"] == "not_found"


@pytest.mark.anyio
async def test_warns_once_of_members_that_name_somebody_and_never_of_their_values(wire: ServiceTransport) -> None:
    body = {**QUESTION, "user": "alice@example.org", "metadata": {"user_id": "4711"}, "store": False}
    async with running(wire) as caller:
        await caller.ask(body=body)
        await caller.ask(body={**body, "safety_identifier": "abc"})
    assert [warning.split("'")[1] for warning in caller.warnings] == ["metadata", "user", "safety_identifier"]
    assert [word for word in ("alice", "4711", "abc") if word in "".join(caller.warnings)] == []


@pytest.mark.anyio
@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1:8472", "127.0.0.1:8472@evil.example", "localhost."]
)
async def test_refuses_requests_for_another_host(wire: ServiceTransport, host: str) -> None:
    async with running(wire) as caller:
        refused = await caller.ask(host=host)
    assert (refused.status, refused.error["code"]) == (403, "foreign_caller")
    assert wire.service.asked == []


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1", "LOCALHOST", "[::1]:8472", "127.1.2.3:8472"])
async def test_serves_requests_for_this_machine(wire: ServiceTransport, host: str) -> None:
    async with running(wire) as caller:
        assert (await caller.ask(host=host)).status == 200


@pytest.mark.anyio
async def test_refuses_web_pages_of_other_origins(wire: ServiceTransport) -> None:
    async with running(wire) as caller:
        for origin in ("https://evil.example", "null", "http://127.0.0.1.evil.example", "https://evil.example:127"):
            refused = await caller.ask(headers=(*JSON, ("origin", origin)))
            assert refused.error["code"] == "foreign_caller"
        allowed = await caller.ask(headers=(*JSON, ("origin", "http://localhost:3000")))
        preflight = await caller.ask("OPTIONS", headers=(("origin", "http://localhost:3000"),))
    assert allowed.status == 200
    assert preflight.status == 405
    assert [name for name, _ in (*allowed.headers, *preflight.headers) if name.startswith("access-control")] == []


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/v1/files", 404, "not_found"),
        ("GET", "/", 404, "not_found"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("DELETE", "/v1/models/x", 404, "not_found"),
        ("GET", "/v1/models/..%2Fslots", 404, "not_allowed"),
        ("POST", f"{CHAT}?a=<script>", 404, "not_allowed"),
    ],
)
async def test_only_allowed_paths_are_asked(
    wire: ServiceTransport, method: str, path: str, status: int, code: str
) -> None:
    async with running(wire) as caller:
        refused = await caller.ask(method, path)
    assert (refused.status, refused.error["code"]) == (status, code)
    assert wire.service.asked == []


@pytest.mark.anyio
async def test_a_model_with_slashes_in_its_name_can_be_asked_for(wire: ServiceTransport) -> None:
    async with running(wire) as caller:
        await caller.ask("GET", "/v1/models/org%2Fmodel-7B")
    assert wire.service.asked[0].path == "/v1/models/org/model-7B"


@pytest.mark.anyio
async def test_a_request_that_is_too_large_is_refused(wire: ServiceTransport) -> None:
    async with running(wire, max_body=100) as caller:
        refused = await caller.ask(body=bytes(101))
    assert (refused.status, refused.error["code"]) == (413, "limit")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConnectError("x"), 502),
        (DisconnectedError("x"), 502),
        (DeadlineError("x"), 504),
        (BusyError("x"), 503),
        (DecryptionError("x"), 502),
        (UnknownKeyError("x"), 502),
        (PeerError("x", status=404, peer_code="not_allowed"), 404),
        (PeerError("x", status=407), 502),
        (PeerError("x", status=500, peer_code="engine"), 502),
        (PolicyError("x"), 403),
        (ConfigError("x"), 500),
    ],
    ids=lambda value: str(getattr(value, "code", value)),
)
async def test_errors_have_the_form_that_sdks_read_and_the_right_status(
    wire: ServiceTransport, error: ConfsecError, status: int
) -> None:
    def fail() -> None:
        raise error

    async with running(wire) as caller:
        wire.before = fail
        refused = await caller.ask()
        assert (refused.status, refused.error["code"]) == (status, error.code)
        assert header(refused.headers, "retry-after") == ("1" if isinstance(error, BusyError) else None)


@pytest.mark.anyio
async def test_a_broken_answer_is_never_taken_for_a_whole_one(wire: ServiceTransport) -> None:
    wire.service.answer = lambda request: Response(200, JSON, bytes(200_000))
    async with running(wire) as caller:
        assert len((await caller.ask()).content) == 200_000
        wire.alter, wire.breaks = (lambda sealed: sealed[:-600]), True
        with pytest.raises(DisconnectedError):
            await caller.ask(body={**QUESTION, "stream": True})
    assert wire.open == 0


@pytest.mark.anyio
async def test_refuses_at_the_start_a_service_that_is_not_trusted(wire: ServiceTransport) -> None:
    proxy = Proxy(ProxyConfig(service="unused"), new_client(wire, PRODUCTION))
    with pytest.raises(PolicyError, match="UNSAFE_UNATTESTED"):
        async with proxy.lifespan():
            raise AssertionError
    assert wire.closed


@pytest.mark.anyio
async def test_says_that_it_is_well(wire: ServiceTransport) -> None:
    async with running(wire) as caller:
        health = await caller.ask("GET", "/healthz")
    assert json.loads(health.content) == {"role": "proxy", "state": "ok"}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org", "127.0.0.1.example.org", ""])
def test_listens_on_this_machine_only(host: str) -> None:
    with pytest.raises(ConfigError, match="this machine"):
        ProxyConfig(service="service.toml", host=host)
    with pytest.raises(ConfigError, match="this machine"):
        load_config(ProxyConfig, overrides={"service": "service.toml", "host": host})


# --- Over processes ---------------------------------------------------------------------------------------------------


def curl(*words: str) -> tuple[int, dict[str, str], str]:
    """Run curl and return status, header fields and body."""
    if shutil.which("curl") is None:
        require_or_skip("curl is not installed")
    command = ["curl", "--silent", "--show-error", "--no-buffer", "--include", "--max-time", "60", *words]
    finished = subprocess.run(command, check=True, capture_output=True, text=True)
    head, _, body = finished.stdout.partition("\n\n")
    status, *lines = head.splitlines()
    return int(status.split()[1]), dict(line.split(": ", 1) for line in lines), body


def test_curl_gets_whole_and_streamed_answers_and_the_proof(running_proxy: str, tmp_path: Path) -> None:
    question = {"messages": [{"role": "user", "content": "Hello?"}], "max_tokens": 8}
    send = ("--header", "content-type: application/json", "--header", "authorization: Bearer sk-1", "--data")
    status, headers, body = curl(f"{running_proxy}{CHAT}", *send, json.dumps(question))
    assert status == 200
    assert json.loads(body)["choices"][0]["message"]["content"].split()
    file = tmp_path / "proof.cbor"
    subprocess.run(
        ["curl", "--silent", "--output", str(file), f"{running_proxy}{PROOF_PATH}{headers['confsec-proof']}"],
        check=True,
    )
    assert verify_proof(file.read_bytes(), POLICIES).candidates
    status, headers, body = curl(f"{running_proxy}{CHAT}", *send, json.dumps({**question, "stream": True}))
    assert headers["content-type"] == "text/event-stream"
    assert body.rstrip().endswith("data: [DONE]")
    assert body.count("data: {") > 3


def test_curl_is_told_what_is_wrong(running_proxy: str) -> None:
    status, _, body = curl(f"{running_proxy}/v1/files")
    assert (status, json.loads(body)["error"]["code"]) == (404, "not_found")
    status, _, body = curl(f"{running_proxy}/v1/models", "--header", "host: evil.example")
    assert (status, json.loads(body)["error"]["code"]) == (403, "foreign_caller")


def test_python_sdks_speak_through_the_proxy(running_proxy: str) -> None:
    with openai.OpenAI(base_url=f"{running_proxy}/v1", api_key="sk-secret") as client:
        completion = client.chat.completions.create(
            model="confsec-tiny", messages=[{"role": "user", "content": "Hello?"}], max_tokens=8
        )
        assert (completion.choices[0].message.content or "").split()
        with pytest.raises(openai.NotFoundError, match="nothing at this path"):
            client.files.list()
    with anthropic.Anthropic(base_url=running_proxy, api_key="sk-secret") as claude:
        question: list[Any] = [{"role": "user", "content": "Hello?"}]
        with claude.messages.stream(model="confsec-tiny", messages=question, max_tokens=8) as stream:
            assert len(list(stream.text_stream)) > 3


@pytest.mark.timeout(600)
def test_the_openai_package_of_npm_speaks_through_the_proxy(running_proxy: str) -> None:
    folder = node_modules("openai", "openai@6")
    program = shutil.copy(Path(__file__).parent / "openai_program.mjs", folder)
    command = ["node", program, running_proxy]
    finished = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert finished.returncode == 0, finished.stderr
    said = json.loads(finished.stdout)
    assert said["answer"].split()
    assert len(said["parts"]) > 3
    assert len(said["proof"]) == 64
    assert said["models"] == ["confsec-tiny"]
    assert said["refusal"] == {"status": 404, "code": "not_found"}
