"""The embedded engine: a real llama.cpp in a real process."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from confsec.backends import llama_cpp
from confsec.backends.api import HttpRequest
from confsec.backends.http import HttpTransport
from confsec.backends.llama_cpp import LlamaCppEngine, LlamaCppSettings
from confsec.backends.tiny_gguf import MODEL_NAME, write_tiny_gguf
from confsec.errors import DecodeError, EngineError, MissingExtraError, NotAllowedError
from confsec.testing import check_engine
from tests.support import ROOT, require_or_skip

pytestmark = pytest.mark.anyio

MARKER = "Zanzibar-8317"
CHAT = "/v1/chat/completions"


@pytest.fixture(autouse=True)
def private_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the engine a folder of its own for temporary files, and see that it leaves nothing there."""
    if sys.platform != "linux":
        require_or_skip("these tests look into /proc")
    pytest.importorskip("xllamacpp", reason="the extra `engine` is not installed")
    # A Unix socket's path has at most 107 bytes, and pytest's folders are deep.
    monkeypatch.chdir(tmp_path)
    short = Path(f"/proc/{os.getpid()}/cwd")
    monkeypatch.setattr("tempfile.tempdir", str(short))
    yield tmp_path
    assert list(tmp_path.glob("confsec-engine-*")) == []


@pytest.fixture
async def engine() -> AsyncIterator[LlamaCppEngine]:
    async with LlamaCppEngine() as engine:
        yield engine


async def post(engine: LlamaCppEngine, body: bytes | dict[str, Any], url: str = CHAT) -> tuple[int, bytes]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = (("content-type", "application/json"), ("x-conversation-id", "1"))
    async with engine.stream(HttpRequest(method="POST", url=url, headers=headers, content=content)) as response:
        return response.status, b"".join([part async for part in response.content])


async def chat(engine: LlamaCppEngine, text: str, **members: Any) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": 16, "temperature": 0, **members}
    status, answer = await post(engine, body)
    assert status == 200, answer
    decoded: dict[str, Any] = json.loads(answer)
    return decoded


def said(answer: dict[str, Any]) -> str:
    content: str = answer["choices"][0]["message"]["content"]
    return content


def long_stream() -> HttpRequest:
    body = {"messages": [{"role": "user", "content": "Go on."}], "max_tokens": 3500, "stream": True}
    return HttpRequest(method="POST", url=CHAT, content=json.dumps(body).encode())


def pid_of(engine: LlamaCppEngine) -> int:
    assert engine.process_id is not None
    return engine.process_id


def files_under(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def until_child_ended(pid: int) -> None:
    with suppress(ChildProcessError):  # the event loop has seen to it already
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def until(happened: Callable[[], bool]) -> None:
    """Wait for what another process does, of which nobody tells us."""
    while not happened():
        time.sleep(0.02)


def running(pid: int) -> bool:
    """Say whether there is such a process that is more than an entry in its parent's list."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def engine_folder(tmp_path: Path) -> Path:
    [folder] = tmp_path.glob("confsec-engine-*")
    return folder


def sockets_of(pid: int) -> set[str]:
    """Return the inodes of a process's sockets."""
    links = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    return {link.removeprefix("socket:[").removesuffix("]") for link in links if link.startswith("socket:")}


def internet_sockets_of(pid: int) -> set[str]:
    """Return the inodes of a process's sockets that are in a table of Internet sockets."""
    tables = [Path(f"/proc/{pid}/net/{name}").read_text() for name in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6")]
    lines = [line for table in tables for line in table.splitlines()[1:]]
    return sockets_of(pid) & {line.split()[9] for line in lines}


async def test_engine_passes_the_published_check() -> None:
    await check_engine(LlamaCppEngine(), model=MODEL_NAME)


async def test_answer_is_readable_words_of_the_length_that_was_asked_for(engine: LlamaCppEngine) -> None:
    for temperature in (0, 0.8, 5):
        answer = await chat(engine, "Hi.", max_tokens=64, temperature=temperature)
        assert re.fullmatch(r"( [a-z]{4,6}|[,.])+", said(answer))
        assert answer["usage"]["completion_tokens"] == 64
        assert answer["model"] == MODEL_NAME


async def test_answer_ends_though_no_length_was_asked_for(engine: LlamaCppEngine) -> None:
    _, answer = await post(engine, {"messages": [{"role": "user", "content": "Hi."}]})
    assert json.loads(answer)["usage"]["completion_tokens"] == 128


async def test_answer_depends_on_the_question(engine: LlamaCppEngine) -> None:
    assert said(await chat(engine, "Why?")) != said(await chat(engine, "Where?"))


@pytest.mark.parametrize(
    "url, body",
    [
        ("/v1/completions", {"prompt": "Hi."}),
        ("/v1/responses", {"input": "Hi."}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "Hi."}]}),
    ],
)
async def test_other_apis_answer_too(engine: LlamaCppEngine, url: str, body: dict[str, Any]) -> None:
    status, answer = await post(engine, {**body, "max_tokens": 4, "max_output_tokens": 4}, url)
    assert status == 200
    assert json.loads(answer)["model"] == MODEL_NAME


async def test_embeddings_are_served_where_they_are_wanted() -> None:
    async with LlamaCppEngine(LlamaCppSettings(embeddings=True)) as engine:
        status, answer = await post(engine, {"input": "Hi."}, "/v1/embeddings")
        assert status == 200
        assert len(json.loads(answer)["data"][0]["embedding"]) == 64
        assert said(await chat(engine, "Hi."))


async def test_model_may_be_any_file(tmp_path: Path) -> None:
    model = tmp_path / "mine.gguf"
    write_tiny_gguf(model)
    async with LlamaCppEngine(LlamaCppSettings(model=model, threads=1)) as engine:
        assert (await chat(engine, "Hi."))["model"] == "mine"


async def test_nothing_listens_but_a_private_unix_socket(engine: LlamaCppEngine, tmp_path: Path) -> None:
    folder = engine_folder(tmp_path)
    assert stat.S_IMODE((folder / "engine.sock").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    await chat(engine, "Hi.")
    assert sockets_of(pid_of(engine))
    assert internet_sockets_of(pid_of(engine)) == set()


async def test_process_knows_none_of_the_nodes_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", MARKER)
    async with LlamaCppEngine() as engine:
        process = Path(f"/proc/{engine.process_id}")
        assert MARKER.encode() not in (process / "environ").read_bytes()
        assert re.search(r"Max core file size +0 +0 ", (process / "limits").read_text())
        assert int((process / "coredump_filter").read_text(), 16) == 0


async def test_one_request_leaves_nothing_for_the_next(engine: LlamaCppEngine, tmp_path: Path) -> None:
    prefix = "Once upon a time in a land far away. "
    first = await chat(engine, prefix + MARKER)
    second = await chat(engine, prefix + "Who?")
    async with LlamaCppEngine() as untouched:
        alone = await chat(untouched, prefix + "Who?")
    assert said(second) == said(alone)
    assert MARKER not in json.dumps(second)
    for answer, text in ((first, prefix + MARKER), (second, prefix + "Who?")):
        assert answer["timings"]["cache_n"] == 0
        assert answer["timings"]["prompt_n"] == answer["usage"]["prompt_tokens"] > len(text)
        assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    for path, content in files_under(tmp_path).items():
        assert MARKER.encode() not in content, path


@pytest.mark.parametrize("url", [CHAT, "/v1/completions", "/v1/responses", "/v1/messages"])
async def test_request_cannot_switch_the_prompt_cache_on(engine: LlamaCppEngine, url: str) -> None:
    asked = {"messages": [{"role": "user", "content": MARKER}], "prompt": MARKER, "input": MARKER}
    body = {**asked, "max_tokens": 4, "max_output_tokens": 4, "cache_prompt": True, "id_slot": 0, "n_cache_reuse": 1}
    for _ in range(3):
        status, answer = await post(engine, body, url)
        assert status == 200
        found = re.findall(rb'"(cache_n|cached_tokens|cache_read_input_tokens)":(\d+)', answer)
        assert found
        assert {count for _, count in found} == {b"0"}, answer


async def test_what_cannot_be_read_never_reaches_the_engine(engine: LlamaCppEngine) -> None:
    with pytest.raises(DecodeError) as caught:
        await post(engine, f'{{"prompt": "{MARKER}'.encode())
    assert MARKER not in str(caught.value)


@pytest.mark.parametrize("url", ["/slots", "/props", "/metrics", "/health", "/v1/stream?conv_id=1"])
async def test_endpoints_that_show_more_are_out_of_reach(engine: LlamaCppEngine, url: str) -> None:
    with pytest.raises(NotAllowedError):
        async with engine.stream(HttpRequest(method="GET", url=url)):
            pass


async def test_process_writes_no_log_once_it_serves(
    engine: LlamaCppEngine, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # Over the socket itself, past our own check: llama.cpp's warning of a bad request quotes the request.
    folder = engine_folder(tmp_path)
    before = (folder / "start.log").read_bytes()
    short = tmp_path_factory.getbasetemp().parent / f"engine-{os.getpid()}"  # a socket's path has 108 bytes
    short.unlink(missing_ok=True)
    short.symlink_to(folder)
    transport = HttpTransport(uds=str(short / "engine.sock"))
    bad = f'{{"prompt": "{MARKER}'.encode()
    async with transport.stream(
        HttpRequest(method="POST", url="http://engine/v1/completions", content=bad)
    ) as response:
        assert MARKER.encode() in b"".join([part async for part in response.content])
    await transport.aclose()
    assert (folder / "start.log").read_bytes() == before
    assert str(Path(f"/proc/{pid_of(engine)}/fd/2").readlink()) == "/dev/null"


async def test_leaving_a_stream_stops_the_generation(engine: LlamaCppEngine) -> None:
    async with engine.stream(long_stream()) as response:
        await anext(response.content)
    assert said(await chat(engine, "Hi."))


async def test_more_requests_than_slots_wait_their_turn(engine: LlamaCppEngine) -> None:
    answers: list[dict[str, Any]] = []

    async def ask(number: int) -> None:
        answers.append(await chat(engine, f"Number {number}."))

    async with anyio.create_task_group() as tasks:
        for number in range(12):
            tasks.start_soon(ask, number)
    assert len(answers) == 12
    assert {answer["timings"]["cache_n"] for answer in answers} == {0}


async def test_killed_engine_ends_the_stream_and_starts_again(engine: LlamaCppEngine) -> None:
    first = pid_of(engine)
    async with engine.stream(long_stream()) as response:
        await anext(response.content)
        os.kill(first, signal.SIGKILL)
        with pytest.raises(EngineError):
            async for _ in response.content:
                pass
    await anyio.to_thread.run_sync(until_child_ended, first)
    assert said(await chat(engine, "Hi."))
    assert engine.process_id != first
    await engine.check()


async def test_closing_ends_the_process_and_removes_its_folder(tmp_path: Path) -> None:
    engine = LlamaCppEngine()
    assert engine.process_id is None
    await engine.check()
    pid = pid_of(engine)
    folder = engine_folder(tmp_path)
    await engine.aclose()
    await engine.aclose()
    assert not folder.exists()
    assert not running(pid)


@pytest.mark.parametrize("content", [b"no model", b""])
async def test_file_that_is_no_model_is_an_engine_error(content: bytes, tmp_path: Path) -> None:
    model = tmp_path / "broken.gguf"
    model.write_bytes(content)
    engine = LlamaCppEngine(LlamaCppSettings(model=model))
    with pytest.raises(EngineError, match="did not start"):
        await engine.start()
    assert engine.process_id is None


async def test_missing_file_is_an_engine_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"missing\.gguf"):
        await LlamaCppEngine(LlamaCppSettings(model=tmp_path / "missing.gguf")).start()


async def test_engine_that_takes_too_long_to_start_is_ended(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="in time"):
        await LlamaCppEngine(LlamaCppSettings(start_timeout=0.0)).start()


async def test_cancelled_start_leaves_nothing_behind() -> None:
    engine = LlamaCppEngine()
    with anyio.move_on_after(0.05):
        await engine.start()
    await engine.aclose()


async def test_missing_package_is_named_with_the_line_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama_cpp, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"confsec-protocol\[engine\]"):
        LlamaCppEngine()


PARENT = """
import anyio, sys
from confsec.backends.http import HttpTransport
from confsec.backends.llama_cpp import LlamaCppEngine

async def main():
    async with LlamaCppEngine() as engine:
        print(engine.process_id, flush=True)
        await anyio.sleep_forever()

anyio.run(main, backend=sys.argv[1])
"""


def test_engine_dies_with_its_parent(anyio_backend: tuple[str, dict[str, bool]], tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": f"/proc/{os.getpid()}/cwd"}
    command = [sys.executable, "-c", PARENT, anyio_backend[0]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert running(pid)
        parent.kill()
    until(lambda: not running(pid) and not list(tmp_path.glob("confsec-engine-*")))
