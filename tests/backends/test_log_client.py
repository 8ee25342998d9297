"""Appending to a log somewhere else: what it answers is read strictly."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager

import pytest

from confsec.backends.api import HttpRequest, HttpResponse
from confsec.backends.log_client import LogClient
from confsec.errors import ConfigError, ConfsecError, DecodeError, LimitError, PeerError
from confsec.protocol.problem import Problem
from confsec.protocol.tlog_proof import MAX_TLOG_PROOF, TlogProof

pytestmark = pytest.mark.anyio

PROOF = TlogProof(3, (bytes(32),), b"a checkpoint")


class Answer:
    """A transport that answers one thing, and keeps what it was asked."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.body = body
        self.asked: list[HttpRequest] = []

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]:
        self.asked.append(request)
        return self._answer()

    @asynccontextmanager
    async def _answer(self) -> AsyncIterator[HttpResponse]:
        async def parts() -> AsyncIterator[bytes]:
            for at in range(0, len(self.body), 65_536):
                yield self.body[at : at + 65_536]

        async with aclosing(parts()) as content:  # type: ignore[type-var]
            yield HttpResponse(status=self.status, headers=(), content=content)

    async def aclose(self) -> None:
        """Nothing is open."""


async def test_an_entry_is_posted_as_it_is() -> None:
    transport = Answer(200, b"7\n")
    assert await LogClient("http://127.0.0.1:1/log/", transport).append(b"\0entry") == 7
    [request] = transport.asked
    assert (request.method, request.url, request.content) == ("POST", "http://127.0.0.1:1/log/append", b"\0entry")


async def test_a_proof_is_waited_for_on_demand() -> None:
    transport = Answer(200, PROOF.encode())
    assert await LogClient("http://127.0.0.1:1", transport).append_cosigned(b"entry") == PROOF
    assert transport.asked[0].url == "http://127.0.0.1:1/append?wait=cosigned"


@pytest.mark.parametrize("body", [b"", b"7", b"07\n", b"-1\n", b"7\n\n", b"7 \n", b"1" * 20 + b"\n", PROOF.encode()])
async def test_an_answer_that_is_no_index_is_refused(body: bytes) -> None:
    with pytest.raises(DecodeError, match="no index"):
        await LogClient("http://127.0.0.1:1", Answer(200, body)).append(b"entry")


async def test_an_answer_has_a_limit() -> None:
    with pytest.raises(LimitError, match="too long"):
        await LogClient("http://127.0.0.1:1", Answer(200, bytes(MAX_TLOG_PROOF + 1))).append(b"entry")


async def test_a_refusal_keeps_its_code() -> None:
    problem = Problem.of(ConfsecError("a reason"))
    with pytest.raises(PeerError, match="did not take the entry: a reason") as caught:
        await LogClient("http://127.0.0.1:1", Answer(409, problem.encode())).append(b"entry")
    assert (caught.value.status, caught.value.peer_code) == (409, "error")
    with pytest.raises(PeerError, match="took no entry"):
        await LogClient("http://127.0.0.1:1", Answer(502, b"<html>")).append(b"entry")


async def test_an_address_that_cannot_be_used_is_refused() -> None:
    with pytest.raises(ConfigError):
        LogClient("file:///etc", Answer(200, b""))
