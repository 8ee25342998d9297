"""What in a request body may name its author to the engine, although nothing on the way does.

The engine has to read the body, so confsec passes it on as it is. These members are nothing that an answer needs: they
exist so that an operator can tell users and conversations apart, or keep something for later. Values are never looked
at, shown or kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["IDENTIFYING_FIELDS", "identifying_fields"]

IDENTIFYING_FIELDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "background": "has the engine keep the answer, to be fetched under a name",
        "container": "names files that an engine kept",
        "conversation": "names a conversation that an engine keeps",
        "mcp_servers": "hands over addresses and tokens of the user's own servers",
        "metadata": "is stored beside the request; user_id inside it names the user",
        "previous_response_id": "links this request to an earlier one",
        "prompt_cache_key": "links the requests of one user or conversation",
        "request_id": "is a name of the caller's choice, which engines write into logs",
        "safety_identifier": "names the user",
        "session_id": "links the requests of one session",
        "store": "asks the engine to keep the answer",
        "user": "names the user",
        "user_id": "names the user",
    }
)
"""The members of a body that may name its author, and what each does. From the OpenAI and Anthropic APIs, vLLM, SGLang
and OpenRouter."""

_HARMLESS: Final[tuple[object, ...]] = (None, False, "", [], {})
"""Values with which a member says nothing: `store: false` is what one should send."""


def identifying_fields(body: bytes) -> tuple[str, ...]:
    """Return the names of the members of a JSON body that may name its author, sorted. Never their values."""
    try:
        members = json.loads(body)
    except (ValueError, RecursionError):
        return ()  # the engine will say what is wrong with it
    if not isinstance(members, dict):
        return ()
    return tuple(sorted(name for name in IDENTIFYING_FIELDS if members.get(name) not in _HARMLESS))
