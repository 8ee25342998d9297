"""A Python function as an engine: it gets the decoded request and gives text, and this module speaks OpenAI's JSON.

    async def answer(path, request):
        for word in ("good", " morning"):
            yield word

    engine = CallableEngine(answer)

What the function gives decides the form of the answer:

* `str`, or an iterator of `str`, is the text of a chat completion or completion: each piece is an event when the
  request asks for a stream, and all of them together are one JSON object when it does not;
* an iterator of `bytes` is sent as `text/event-stream` as it is;
* a mapping is sent as one JSON object as it is.

The iterator may be asynchronous or not, the function a coroutine function or not. What is not asynchronous runs in a
worker thread, one piece at a time, and only as fast as the client takes the pieces.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any, Final, cast, final

import anyio
import anyio.to_thread

from confsec.backends import system
from confsec.backends.api import HttpRequest, HttpResponse
from confsec.backends.asgi import AsgiApp, Receive, Scope, Send
from confsec.backends.asgi_engine import AsgiEngine
from confsec.backends.engine_requests import MAX_REQUEST
from confsec.errors import ConfsecError, DecodeError, EngineError, LimitError, NotAllowedError

__all__ = ["Answer", "AnswerFunction", "CallableEngine", "callable_app"]

Answer = str | Mapping[str, Any] | Iterator[str] | Iterator[bytes] | AsyncIterator[str] | AsyncIterator[bytes]
"""What the function gives: text, pieces of text, pieces of an event stream, or JSON."""

AnswerFunction = Callable[[str, dict[str, Any]], Answer | Awaitable[Answer]]
"""The function: it takes the path, such as "/v1/chat/completions", and the request's JSON object."""

_OBJECTS: Final = {"/v1/chat/completions": "chat.completion", "/v1/completions": "text_completion"}
_QUICK: Final[tuple[Callable[[object], bool], ...]] = (
    inspect.iscoroutinefunction,
    inspect.isasyncgenfunction,
    inspect.isgeneratorfunction,
)
_JSON: Final = b"application/json"
_EVENTS: Final = b"text/event-stream"


@final
class CallableEngine:
    """An engine made from a function. The function's exceptions become `EngineError`, without what they say."""

    def __init__(self, answer: AnswerFunction, *, model: str = "callable") -> None:
        """Answer with `answer`, under the name `model`."""
        self._engine = AsgiEngine(callable_app(answer, model=model))

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]:
        """Call the function. Raises `NotAllowedError`, and `EngineError` without cause when it raises."""
        return self._engine.stream(request)

    async def check(self) -> None:
        """Do next to nothing: a function is always there."""
        await self._engine.check()

    async def aclose(self) -> None:
        """Do nothing: the function belongs to the caller."""
        await self._engine.aclose()


def callable_app(answer: AnswerFunction, *, model: str = "callable") -> AsgiApp:
    """Return an ASGI application that answers with `answer`, for a server or an `AsgiEngine`."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise EngineError("this application answers HTTP only", got=scope["type"])
        exchange = _Exchange(answer, model, send)
        try:
            if scope["method"] == "GET":
                await exchange.models(scope["path"])
            else:
                await exchange.answer(scope["path"], await _read_json(receive), receive)
        except ConfsecError as exc:
            await exchange.refuse(exc)

    return app


@final
class _Exchange:
    """One request and its answer."""

    def __init__(self, answer: AnswerFunction, model: str, send: Send) -> None:
        self._answer = answer
        self._model = model
        self._send = send
        self._head_sent = False
        self._about = {"id": f"chatcmpl-{system.randbytes(12).hex()}", "created": int(system.now().timestamp())}

    async def models(self, path: str) -> None:
        """Answer with the list of models, or with the one."""
        model = {"id": self._model, "object": "model", "created": 0, "owned_by": "confsec"}
        if path == "/v1/models":
            await self._send_json({"object": "list", "data": [model]})
        elif path == f"/v1/models/{self._model}":
            await self._send_json(model)
        else:
            raise NotAllowedError("there is no such model")

    async def answer(self, path: str, request: dict[str, Any], receive: Receive) -> None:
        """Call the function and send what it gives, until it ends or the client goes."""
        error: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_until_disconnect, receive, tasks.cancel_scope)
            try:
                await self._send_answer(path, request, await _call(self._answer, path, request))
            except Exception as exc:  # noqa: BLE001  # raised again below: a task group would wrap it
                error = exc
            tasks.cancel_scope.cancel()
        if error is not None:
            raise error

    async def refuse(self, error: ConfsecError) -> None:
        """Answer with an error, in OpenAI's form. Raises it when the answer has begun."""
        if self._head_sent:
            raise error
        await self._send_json({"error": {"message": str(error), "code": error.code}}, status=error.status_hint)

    async def _send_answer(self, path: str, request: dict[str, Any], answer: Answer) -> None:
        if isinstance(answer, Mapping):
            await self._send_json(answer)
            return
        async with _pieces(answer) as pieces:
            first = await anext(pieces, "")
            if isinstance(first, bytes):
                await self._send_events(first, cast("AsyncIterator[bytes]", pieces))
            else:
                await self._send_text(path, request, first, cast("AsyncIterator[str]", pieces))

    async def _send_text(self, path: str, request: dict[str, Any], first: str, pieces: AsyncIterator[str]) -> None:
        if path not in _OBJECTS:
            raise NotAllowedError("this engine answers with text, so it is asked for completions only")
        if request.get("stream") is not True:
            text = "".join([first, *[piece async for piece in pieces]])
            await self._send_json(self._object(path, text, finished=True))
            return
        await self._send_head(200, _EVENTS)
        await self._send_part(_event(self._object(path, first, chunk=True)))
        async for piece in pieces:
            await self._send_part(_event(self._object(path, piece, chunk=True)))
        await self._send_part(
            _event(self._object(path, "", chunk=True, finished=True)) + b"data: [DONE]\n\n", last=True
        )

    async def _send_events(self, first: bytes, pieces: AsyncIterator[bytes]) -> None:
        await self._send_head(200, _EVENTS)
        await self._send_part(first)
        async for piece in pieces:
            await self._send_part(piece)
        await self._send_part(b"", last=True)

    def _object(self, path: str, text: str, *, chunk: bool = False, finished: bool = False) -> dict[str, Any]:
        kind = _OBJECTS[path]
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop" if finished else None}
        if kind == "text_completion":
            choice["text"] = text
        elif chunk:
            choice["delta"] = {} if finished else {"role": "assistant", "content": text}
            kind = "chat.completion.chunk"
        else:
            choice["message"] = {"role": "assistant", "content": text}
        return {**self._about, "object": kind, "model": self._model, "choices": [choice]}

    async def _send_json(self, value: Mapping[str, Any], *, status: int = 200) -> None:
        await self._send_head(status, _JSON)
        await self._send_part(json.dumps(value).encode(), last=True)

    async def _send_head(self, status: int, content_type: bytes) -> None:
        self._head_sent = True
        await self._send(
            {"type": "http.response.start", "status": status, "headers": [(b"content-type", content_type)]}
        )

    async def _send_part(self, part: bytes, *, last: bool = False) -> None:
        await self._send({"type": "http.response.body", "body": part, "more_body": not last})


async def _read_json(receive: Receive) -> dict[str, Any]:
    content = bytearray()
    more = True
    while more:
        message = await receive()
        content += message.get("body", b"")
        more = message.get("more_body", False)
        if len(content) > MAX_REQUEST:
            raise LimitError("the request body is too large", want=f"at most {MAX_REQUEST} bytes")
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        value = None  # the reader's own error would quote the prompt
    if not isinstance(value, dict):
        raise DecodeError("the request body is no JSON object", got=f"{len(content)} bytes")
    return value


async def _until_disconnect(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def _call(function: AnswerFunction, path: str, request: dict[str, Any]) -> Answer:
    """Call the function: in a thread, unless it cannot block."""
    answer: Answer | Awaitable[Answer]
    if any(is_quick(function) for is_quick in _QUICK):
        answer = function(path, request)
    else:
        answer = await anyio.to_thread.run_sync(function, path, request)
    return await answer if inspect.isawaitable(answer) else answer


@asynccontextmanager
async def _pieces(answer: Answer) -> AsyncGenerator[AsyncIterator[str | bytes]]:
    """Yield an asynchronous iterator over any kind of answer, and close it at the end."""
    if isinstance(answer, str):
        yield _one(answer)
    elif isinstance(answer, AsyncGenerator):
        async with aclosing(answer):
            yield answer
    elif isinstance(answer, AsyncIterator):
        yield answer
    elif isinstance(answer, Iterator):
        async with aclosing(_from_thread(answer)) as pieces:
            yield pieces
    else:
        raise EngineError("the function gives no text, bytes or JSON", got=type(answer).__name__)


async def _one(piece: str) -> AsyncGenerator[str]:
    yield piece


async def _from_thread(pieces: Iterator[str | bytes]) -> AsyncGenerator[str | bytes]:
    try:
        while (piece := await anyio.to_thread.run_sync(next, pieces, None)) is not None:
            yield piece
    finally:
        if isinstance(pieces, Generator):
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(pieces.close)


def _event(value: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"
