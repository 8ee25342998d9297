"""An engine that answers by a script, in the forms of the OpenAI and Anthropic APIs, and notes what it was asked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from confsec.backends.api import header
from confsec.client import Client
from confsec.protocol.bhttp import Request, Response
from confsec.protocol.policy import UNSAFE_UNATTESTED, Policy
from confsec.testing import FixedClock, seeded_randbytes
from tests.client.wire import ServiceTransport
from tests.protocol.fleets import Fleet, make_fleet
from tests.protocol.service import NOW, Service

WORDS = ["Salt", " dissolves", " in", " l’eau", "."]
ANSWER = "".join(WORDS)
MODEL = "scripted"

JSON = (("content-type", "application/json"),)
SSE = (("content-type", "text/event-stream"),)


def new_wire(fleet: Fleet | None = None) -> ServiceTransport:
    """Return a transport to a service whose engine keeps to the script."""
    wire = ServiceTransport(Service(fleet or make_fleet(3), answer=answer))
    wire.split = 256
    return wire


def new_client(wire: ServiceTransport, policy: Policy = UNSAFE_UNATTESTED) -> Client:
    """Return a client of that service."""
    return Client(
        wire.service.directory,
        policy=policy,
        transport=wire,
        randbytes=seeded_randbytes("sdk"),
        clock=FixedClock(NOW),
    )


def answer(request: Request) -> Response:
    """Answer as an engine does that knows the usual paths."""
    path = request.path.partition("?")[0]
    if path == "/v1/models":
        return Response(200, JSON, json.dumps({"object": "list", "data": [_model()]}).encode())
    if path not in _ANSWERS:
        return Response(404, JSON, b'{"error": {"message": "no such path", "type": "invalid_request_error"}}')
    body = json.loads(request.content)
    whole, events = _ANSWERS[path]
    if not body.get("stream"):
        return Response(200, JSON, json.dumps(whole()).encode())
    return Response(200, SSE, b"".join(_encode(events())))


def told(wire: ServiceTransport) -> str:
    """Return all that the engine saw of the requests: methods, paths, header fields and bodies."""
    return "\n".join(
        f"{each.method} {each.authority} {each.path} {each.headers} {each.content!r}" for each in wire.service.asked
    )


def field(request: Request, name: str) -> str | None:
    """Return a header field that the engine saw."""
    return header(request.headers, name)


def _encode(events: Iterable[dict[str, Any] | str]) -> Iterator[bytes]:
    for event in events:
        data = event if isinstance(event, str) else json.dumps(event)
        name = "" if isinstance(event, str) or "type" not in event else f"event: {event['type']}\n"
        yield f"{name}data: {data}\n\n".encode()


def _model() -> dict[str, Any]:
    return {"id": MODEL, "object": "model", "created": 0, "owned_by": "confsec"}


def _chat() -> dict[str, Any]:
    message = {"role": "assistant", "content": ANSWER}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    return {"id": "c1", "object": "chat.completion", "created": 1, "model": MODEL, "choices": [choice], "usage": usage}


def _chat_events() -> Iterator[dict[str, Any] | str]:
    about = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    for word in WORDS:
        yield {**about, "choices": [{"index": 0, "delta": {"role": "assistant", "content": word}}]}
    yield {**about, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    yield "[DONE]"


def _response(status: str = "completed") -> dict[str, Any]:
    part = {"type": "output_text", "text": ANSWER, "annotations": []}
    output = [{"id": "m1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}]
    return {
        "id": "r1",
        "object": "response",
        "created_at": 1,
        "model": MODEL,
        "status": status,
        "output": output if status == "completed" else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }


def _response_events() -> Iterator[dict[str, Any] | str]:
    yield {"type": "response.created", "sequence_number": 0, "response": _response("in_progress")}
    item = {"id": "m1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    yield {"type": "response.output_item.added", "sequence_number": 1, "output_index": 0, "item": item}
    where = {"item_id": "m1", "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "text": "", "annotations": []}
    yield {"type": "response.content_part.added", "sequence_number": 2, **where, "part": part}
    for number, word in enumerate(WORDS, start=3):
        yield {"type": "response.output_text.delta", "sequence_number": number, **where, "logprobs": [], "delta": word}
    yield {"type": "response.completed", "sequence_number": 9, "response": _response()}


def _message(content: list[dict[str, Any]], stop_reason: str | None) -> dict[str, Any]:
    return {
        "id": "a1",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 5},
    }


def _whole_message() -> dict[str, Any]:
    return _message([{"type": "text", "text": ANSWER}], "end_turn")


def _message_events() -> Iterator[dict[str, Any] | str]:
    yield {"type": "message_start", "message": _message([], None)}
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    for word in WORDS:
        yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
    yield {"type": "content_block_stop", "index": 0}
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 5},
    }
    yield {"type": "message_stop"}


_ANSWERS = {
    "/v1/chat/completions": (_chat, _chat_events),
    "/v1/responses": (_response, _response_events),
    "/v1/messages": (_whole_message, _message_events),
}
