"""Appending to a log somewhere else: `POST /append`, as `confsec.roles.log` answers it."""

from __future__ import annotations

import re
from typing import Final, final

from confsec.backends.api import HttpRequest, Transport
from confsec.errors import DecodeError, LimitError, PeerError
from confsec.protocol.directory import check_web_url
from confsec.protocol.problem import Problem
from confsec.protocol.tlog_proof import MAX_TLOG_PROOF, TlogProof

__all__ = ["LogClient"]

_INDEX: Final = re.compile(rb"(0|[1-9][0-9]{0,18})\n")


@final
class LogClient:
    """A log at a URL. What it answers is not verified: see `confsec.protocol.transparency`."""

    def __init__(self, url: str, transport: Transport) -> None:
        """Append to the log at `url`. Raises `ConfigError` for an address that cannot be used."""
        check_web_url(url, "the address of a log")
        self._url = url.rstrip("/")
        self._transport = transport

    async def append(self, entry: bytes) -> int:
        """Append an entry and return its place: the log cannot lose it from now on. To ask again is safe.

        Raises `PeerError` if the log refuses it, `DecodeError` for an answer that is none, and `TransportError`.
        """
        answer = _INDEX.fullmatch(await self._post("append", entry))
        if answer is None:
            raise DecodeError("the answer of a log is no index", want="a number and a newline")
        return int(answer[1])

    async def append_cosigned(self, entry: bytes) -> TlogProof:
        """Append an entry, wait until a quorum of witnesses has seen it, and return the proof. Raises as `append`."""
        return TlogProof.decode(await self._post("append?wait=cosigned", entry))

    async def _post(self, path: str, entry: bytes) -> bytes:
        fields = (("content-type", "application/octet-stream"),)
        request = HttpRequest(method="POST", url=f"{self._url}/{path}", headers=fields, content=entry)
        body = bytearray()
        async with self._transport.stream(request) as response:
            async for part in response.content:
                body += part
                if len(body) > MAX_TLOG_PROOF:
                    raise LimitError("the answer of a log is too long", want=f"at most {MAX_TLOG_PROOF} bytes")
        if response.status != 200:
            problem = Problem.decode(bytes(body), status=response.status)
            what = f"the log did not take the entry: {problem.title}" if problem.title else "the log took no entry"
            raise PeerError(what, status=response.status, peer_code=problem.code, section="")
        return bytes(body)
