"""Asks with litellm and LangChain, in an environment of their own, and prints what came as one line of JSON.

litellm pins openai 2, which speaks httpx; so this is also the test of openai 2 and of the older library.

    python litellm_program.py DIRECTORY_FILE
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from typing import Any

import anyio
import httpx

from confsec import UNSAFE_UNATTESTED
from confsec.backends.httpx import legacy_async_transport, legacy_transport
from confsec.client import Client
from tests.client.engine import new_client, new_wire, told

BASE_URL = "https://engine.confsec.invalid/v1"
KEY = "sk-secret"
MESSAGES = [{"role": "user", "content": "Hello?"}]
QUESTION: dict[str, Any] = {"model": "confsec-tiny", "max_tokens": 8, "messages": MESSAGES}


def main(directory_file: str) -> None:
    """Ask in all ways."""
    said = {
        "litellm": ask_litellm(directory_file),
        "litellm async": anyio.run(ask_litellm_async, directory_file),
        "langchain": ask_langchain(directory_file),
        "langchain async": anyio.run(ask_langchain_async, directory_file),
        "told": what_the_engine_is_told(),
    }
    print(json.dumps(said))


def ask_litellm(directory_file: str) -> list[str]:
    """Ask for a whole answer and for a streamed one."""
    litellm: Any = import_module("litellm")
    with httpx.Client(transport=legacy_transport(new(directory_file))) as litellm.client_session:
        question = {**QUESTION, "model": "openai/confsec-tiny", "api_base": BASE_URL, "api_key": KEY}
        whole = litellm.completion(**question).choices[0].message.content
        stream = litellm.completion(**question, stream=True)
        return [whole, "".join(chunk.choices[0].delta.content or "" for chunk in stream)]


async def ask_litellm_async(directory_file: str) -> list[str]:
    """Ask for a whole answer and for a streamed one."""
    litellm: Any = import_module("litellm")
    async with httpx.AsyncClient(transport=legacy_async_transport(new(directory_file))) as litellm.aclient_session:
        question = {**QUESTION, "model": "openai/confsec-tiny", "api_base": BASE_URL, "api_key": KEY}
        whole = (await litellm.acompletion(**question)).choices[0].message.content
        stream = await litellm.acompletion(**question, stream=True)
        return [whole, "".join([chunk.choices[0].delta.content or "" async for chunk in stream])]


def ask_langchain(directory_file: str) -> list[str]:
    """Ask for a whole answer and for a streamed one."""
    with httpx.Client(transport=legacy_transport(new(directory_file))) as client:
        chat = new_chat(http_client=client)
        return [chat.invoke("Hello?").content, "".join(chunk.content for chunk in chat.stream("Hello?"))]


async def ask_langchain_async(directory_file: str) -> list[str]:
    """Ask for a whole answer and for a streamed one."""
    async with httpx.AsyncClient(transport=legacy_async_transport(new(directory_file))) as client:
        chat = new_chat(http_async_client=client)
        streamed = [chunk.content async for chunk in chat.astream("Hello?")]
        return [(await chat.ainvoke("Hello?")).content, "".join(streamed)]


def what_the_engine_is_told() -> str:
    """Ask a service in memory, and return all that its engine saw."""
    wire = new_wire()
    openai: Any = import_module("openai")
    client = openai.OpenAI(
        base_url=BASE_URL, api_key=KEY, http_client=httpx.Client(transport=legacy_transport(new_client(wire)))
    )
    litellm: Any = import_module("litellm")
    litellm.completion(model="openai/scripted", messages=MESSAGES, client=client)
    new_chat(http_client=httpx.Client(transport=legacy_transport(new_client(wire)))).invoke("Hello?")
    return told(wire)


def new_chat(**clients: Any) -> Any:
    """Return LangChain's model over the given client of httpx."""
    langchain: Any = import_module("langchain_openai")
    return langchain.ChatOpenAI(model="confsec-tiny", base_url=BASE_URL, api_key=KEY, max_tokens=8, **clients)


def new(directory_file: str) -> Client:
    """Return a client of the service."""
    return Client(directory_file, policy=UNSAFE_UNATTESTED)


if __name__ == "__main__":
    main(sys.argv[1])
