"""`confsec chat`: a conversation with a private service, in a terminal or in a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, final
from unicodedata import category

import click

from confsec.backends.api import HttpRequest, header
from confsec.cli.output import write_bytes
from confsec.cli.service import (
    MEMORY_HELP,
    POLICY_HELP,
    SERVICE_HELP,
    SIMULATED_HELP,
    UNSAFE_HELP,
    WALLET_HELP,
    choose_policy,
    name_service,
    open_wallet,
)
from confsec.errors import ConfigError, DecodeError, EngineError, LimitError
from confsec.protocol.checks import Status
from confsec.protocol.proof import Proof
from confsec.sync_client import SyncClient, SyncResponse

__all__ = ["command"]

_CHAT: Final = "/v1/chat/completions"
_MAX_EVENT: Final = 1 << 20
"""One event of a stream has at most 1 MiB."""
_MAX_ERROR: Final = 300
"""So many characters of an engine's complaint are shown."""


@click.command(name="chat")
@click.option("--service", required=True, metavar="FILE|URL", help=SERVICE_HELP)
@click.option("--policy", "policy_file", default="", metavar="FILE", help=POLICY_HELP)
@click.option("--unsafe-unattested", is_flag=True, help=UNSAFE_HELP)
@click.option("--unsafe-simulated", is_flag=True, help=SIMULATED_HELP)
@click.option("--wallet", "wallet_file", default="", metavar="FILE", help=WALLET_HELP)
@click.option("--memory", default="", metavar="FILE", help=MEMORY_HELP)
@click.option("--model", metavar="NAME", help="The model; by default the first that the service has.")
@click.option("--prompt", metavar="TEXT", help="Ask this, print the answer, and end.")
@click.option(
    "--proof", type=click.Path(path_type=Path), metavar="FILE", help="Write the Proof of each answer to FILE."
)
def command(  # noqa: PLR0913 - one for each option
    service: str,
    policy_file: str,
    wallet_file: str,
    memory: str,
    model: str | None,
    prompt: str | None,
    proof: Path | None,
    *,
    unsafe_unattested: bool,
    unsafe_simulated: bool,
) -> None:
    """Talk to a private service.

    Without --prompt every line of input is a question, and the service is told the whole conversation each time: it
    keeps none of it. The answer goes to standard output, all else to standard error.

    \b
    confsec chat --service service.toml
    confsec chat --service service.toml --prompt "Why is the sea salty?" --proof proof.cbor
    """  # noqa: D301 - click keeps lines as they are after a backspace
    if prompt is not None and not prompt.strip():
        raise ConfigError("the prompt is empty", hint="Say something: --prompt TEXT")
    policy = choose_policy(policy_file, unsafe_unattested=unsafe_unattested, unsafe_simulated=unsafe_simulated)
    named = name_service(service, memory)
    with SyncClient(named.service, policy=policy, wallet=open_wallet(wallet_file), memory=named.memory) as client:
        conversation = _Conversation(client, model or _first_model(client))
        for question in _questions() if prompt is None else [prompt]:
            _report(conversation.ask(question), proof)


@final
class _Conversation:
    """What was said so far. Only this process remembers it."""

    def __init__(self, client: SyncClient, model: str) -> None:
        self._client = client
        self._model = model
        self._messages: list[dict[str, str]] = []

    def ask(self, question: str) -> Proof:
        """Ask, print the answer as it comes, and return its Proof."""
        self._messages.append({"role": "user", "content": question})
        body = {"model": self._model, "messages": self._messages, "stream": True}
        request = HttpRequest(
            method="POST",
            url=_CHAT,
            headers=(("content-type", "application/json"), ("accept", "text/event-stream")),
            content=json.dumps(body).encode(),
        )
        with self._client.stream(request) as response:
            _require_answer(response)
            answer = _print_as_it_comes(_deltas(_events(response.content)))
        self._messages.append({"role": "assistant", "content": answer})
        return response.proof


def _first_model(client: SyncClient) -> str:
    answer = client.request("GET", "/v1/models").json()
    try:
        return str(answer["data"][0]["id"])  # type: ignore[index]  # whatever is wrong with it is caught
    except (LookupError, TypeError) as exc:
        raise EngineError("the service names no model", hint="Name one: --model NAME") from exc


def _questions() -> Iterator[str]:
    """Read questions line by line until the input ends."""
    at_terminal = sys.stdin.isatty()
    while True:
        if at_terminal:
            click.secho("you> ", bold=True, nl=False, err=True)
        line = sys.stdin.readline()
        if not line:
            break
        if line.strip():
            yield line.strip()
    if at_terminal:
        click.echo(err=True)


def _require_answer(response: SyncResponse) -> None:
    """Go on if the engine answered with a stream. Raises `EngineError` with what it says instead."""
    if response.status == 200 and (header(response.headers, "content-type") or "").startswith("text/event-stream"):
        return
    said = b""
    for part in response.content:
        said += part[: _MAX_EVENT - len(said)]
    raise EngineError(
        "the engine refused" + (f": {_complaint(said)}" if _complaint(said) else ""), got=f"status {response.status}"
    )


def _complaint(body: bytes) -> str:
    """Return the sentence in an engine's error, or nothing."""
    try:
        message = json.loads(body)["error"]["message"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    return _printable(str(message))[:_MAX_ERROR]


def _events(parts: Iterable[bytes]) -> Iterator[str]:
    """Yield the data of each server-sent event (HTML standard, section 9.2.6)."""
    waiting = b""
    for part in parts:
        *lines, waiting = (waiting + part).split(b"\n")
        if len(waiting) > _MAX_EVENT:
            raise LimitError("an event of the answer is too long", want=f"at most {_MAX_EVENT} bytes")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip().decode("utf-8", "replace")


def _deltas(events: Iterable[str]) -> Iterator[str]:
    """Yield the text of each event of a streamed chat completion."""
    for event in events:
        if event == "[DONE]":
            continue
        try:
            value = json.loads(event)
        except (ValueError, RecursionError) as exc:
            raise DecodeError("an event of the answer is not JSON", got=f"{len(event)} characters") from exc
        if isinstance(value, dict) and "error" in value:
            raise EngineError(f"the engine stopped: {_complaint(event.encode())}")
        yield from _texts(value)


def _texts(value: Any) -> Iterator[str]:
    try:
        for choice in value["choices"]:
            yield choice.get("delta", {}).get("content") or ""
    except (LookupError, TypeError, AttributeError) as exc:
        raise DecodeError("an event of the answer is no chunk of a chat completion") from exc


def _print_as_it_comes(deltas: Iterable[str]) -> str:
    answer = ""
    for delta in deltas:
        answer += delta
        click.echo(_printable(delta), nl=False)
        sys.stdout.flush()
    click.echo()
    return answer


def _printable(text: str) -> str:
    """Leave out control characters: an answer must not write to the terminal what the terminal obeys."""
    return "".join(character for character in text if category(character) != "Cc" or character in "\n\t")


def _report(proof: Proof, file: Path | None) -> None:
    """Say on standard error what was checked, and write the Proof."""
    counts = {status: sum(check.status is status for check in proof.checks) for status in Status}
    checks = ", ".join(f"{count} {status.value}" for status, count in counts.items() if count)
    line = f"Proof: {len(proof.candidates)} nodes could read this; checks: {checks}"
    if file is not None:
        write_bytes(file, proof.encode(), "the Proof")
        line += f"; written to {file}"
    click.secho(line, dim=True, err=True)
