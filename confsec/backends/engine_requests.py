"""What an engine may be asked: one allow-list of methods, paths and header fields for all of them.

An engine's server has more endpoints than the ones that answer prompts: llama.cpp shows what its slots hold, vLLM
keeps answers for later, Ollama loads and deletes models. A client that nobody knows must reach none of them. So every
engine calls `engine_request` first, and nothing else decides.

The body passes through byte for byte. Only where an engine keeps prompts for the next request, and can be told not to
by the request itself, one member is added at the end of the JSON object (`isolate`).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import AsyncExitStack, aclosing
from enum import Enum
from typing import Final, TypeVar

from attrs import evolve

from confsec.backends.api import Headers, HttpRequest
from confsec.errors import DecodeError, LimitError, NotAllowedError
from confsec.protocol.machine import RandBytes

__all__ = [
    "MAX_REQUEST",
    "CacheIsolation",
    "engine_request",
    "engine_response_headers",
    "isolate",
    "read_content",
]

_B = TypeVar("_B", bytes, bytearray)

MAX_REQUEST: Final = 64 * 1024 * 1024
"""Bytes of a request body that we hold in memory to look into it. Images in a conversation make it large."""

_ALLOWED: Final = {
    "POST": re.compile(r"/v1/(chat/completions|completions|responses|embeddings|messages|messages/count_tokens)"),
    # A model's name may have slashes, but no segment of it may be empty or begin with a dot.
    "GET": re.compile(r"/v1/models(/[A-Za-z0-9_][A-Za-z0-9._:@-]*){0,8}"),
}

_QUERY: Final = re.compile(r"[A-Za-z0-9._~=&,:%+/-]{0,1024}")

_REQUEST_HEADERS: Final = frozenset({"accept", "anthropic-beta", "anthropic-version", "content-type", "openai-beta"})
_RESPONSE_HEADERS: Final = frozenset({"content-encoding", "content-type", "retry-after"})


class CacheIsolation(Enum):
    """How to ask an engine not to answer one request from what it computed for another.

    A request on a path where the engine takes no such member is refused, since it could not be kept apart.
    """

    NONE = "none"
    """The engine has no such member, or keeps nothing between requests. The body is not touched."""

    VLLM = "vllm"
    """A fresh `cache_salt` for each request: cached blocks are found again only under the same salt. vLLM drops it on
    `/v1/messages`, where its request model has no such field."""

    SGLANG = "sglang"
    """A fresh `cache_salt` as well, which becomes a part of the radix cache's key, on the two completions paths."""

    LLAMA_CPP = "llama.cpp"
    """`cache_prompt: false`. A request may say true even where the server was started with false, and would then
    learn from its timings whether its slot held the same words before."""


_ISOLATED: Final = {
    CacheIsolation.VLLM: frozenset(
        # Counting tokens runs no model, so there is nothing to salt.
        {
            "/v1/chat/completions",
            "/v1/completions",
            "/v1/embeddings",
            "/v1/messages/count_tokens",
            "/v1/responses",
        }
    ),
    CacheIsolation.SGLANG: frozenset({"/v1/chat/completions", "/v1/completions"}),
}


def engine_request(request: HttpRequest, isolation: CacheIsolation = CacheIsolation.NONE) -> HttpRequest:
    """Return `request` with the allowed header fields only. Raises `NotAllowedError`, also for odd spellings.

    Nothing is normalised: a path that another server might read in another way is none that we pass on.
    """
    path, _, query = request.url.partition("?")
    allowed = _ALLOWED.get(request.method)
    if allowed is None or not allowed.fullmatch(path) or not _QUERY.fullmatch(query):
        raise NotAllowedError(
            "engines are not asked this",
            got=_shown(request.method, path),
            want="chat completions, completions, responses, embeddings, messages or models",
        )
    if request.method == "POST" and path not in _ISOLATED.get(isolation, {path}):
        raise NotAllowedError(
            "this engine cannot keep requests apart here",
            got=_shown(request.method, path),
            hint="An engine whose prefix cache is off needs no isolation, and serves this path.",
        )
    return evolve(request, headers=_only(request.headers, _REQUEST_HEADERS))


def engine_response_headers(headers: Headers) -> Headers:
    """Return what of an engine's header fields says how to read the body, and nothing about the machine."""
    return _only(headers, _RESPONSE_HEADERS)


def isolate(content: bytes, isolation: CacheIsolation, *, randbytes: RandBytes) -> bytes:
    """Return the JSON object `content` with the member that `isolation` asks for. Raises `DecodeError`.

    The member comes last, since of two members with one name the last one counts in the JSON readers of all these
    engines, and every other byte stays as it was. What we cannot read is refused: the engine might read it.
    """
    if isolation is CacheIsolation.NONE:
        return content
    members = _decode_object(content)
    end = content.rindex(b"}")
    return content[:end] + (b"," if members else b"") + _member(isolation, randbytes) + content[end:]


async def read_content(content: bytes | AsyncIterable[bytes], *, limit: int = MAX_REQUEST) -> bytes:
    """Return a whole request body of at most `limit` bytes. Raises `LimitError`."""
    if isinstance(content, bytes):
        return _within(content, limit)
    whole = bytearray()
    async with AsyncExitStack() as stack:
        if isinstance(content, AsyncGenerator):
            await stack.enter_async_context(aclosing(content))
        async for part in content:
            whole += part
            _within(whole, limit)
    return bytes(whole)


def _within(content: _B, limit: int) -> _B:
    if len(content) > limit:
        raise LimitError("the request body is too large", want=f"at most {limit} bytes")
    return content


def _member(isolation: CacheIsolation, randbytes: RandBytes) -> bytes:
    if isolation is CacheIsolation.LLAMA_CPP:
        return b'"cache_prompt":false'
    return b'"cache_salt":"' + base64.urlsafe_b64encode(randbytes(33)) + b'"'


def _decode_object(content: bytes) -> dict[str, object]:
    try:
        members = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        # The reader's own error would quote the prompt, so it does not even become our context.
        members = None
    if not isinstance(members, dict):
        raise DecodeError("the request body is no JSON object in UTF-8", got=f"{len(content)} bytes")
    return members


def _only(headers: Headers, names: frozenset[str]) -> Headers:
    return tuple((name, value) for name, value in headers if name in names)


def _shown(method: str, path: str) -> str:
    """Return method and path for the message, unless they could hold more than a path."""
    return f"{method} {path}" if re.fullmatch(r"[A-Z]{1,8} /[a-z0-9_/]{1,60}", f"{method} {path}") else "another path"
