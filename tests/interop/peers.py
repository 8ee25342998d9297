"""Starts peers and speaks with them: one process each, commands as lines of JSON.

::

    with start(RUST) as peer:
        gateway = peer.gateway_new(suite)
        request = peer.gateway_open(gateway, enc_request, chunked=False)

The benchmarks use `Peer.bench`, which does the work inside the peer and returns the seconds that it took.
"""

from __future__ import annotations

import json
import select
import subprocess
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self, final

from attrs import field, frozen

from tests.interop.build import (
    GO_CHRIS_WOOD,
    GO_CIRCL,
    GO_OPENPCC,
    GO_PAT,
    JS_BHTTP,
    JS_PRIVACYPASS,
    PROGRAMS,
    RUST,
    RUST_PRIVACYPASS,
    TOKEN_PROGRAMS,
    PeerMissingError,
    Program,
    ToolMissingError,
    build,
)

__all__ = [
    "GO_CHRIS_WOOD",
    "GO_CIRCL",
    "GO_OPENPCC",
    "GO_PAT",
    "JS_BHTTP",
    "JS_PRIVACYPASS",
    "PROGRAMS",
    "RUST",
    "RUST_PRIVACYPASS",
    "TOKEN_PROGRAMS",
    "Peer",
    "PeerError",
    "PeerGateway",
    "PeerMessage",
    "PeerMissingError",
    "PeerSuite",
    "Program",
    "ToolMissingError",
    "build",
    "start",
]

ANSWER_TIMEOUT = 60.0


class PeerError(Exception):
    """The peer answered that it cannot or will not do it."""


@frozen
class PeerSuite:
    """Algorithms by their ids in the registries of HPKE."""

    name: str
    kem_id: int
    kdf_id: int
    aead_id: int

    def __str__(self) -> str:
        return self.name


@frozen
class PeerGateway:
    """A gateway with one key inside a peer."""

    handle: int
    key_config: bytes
    """One key configuration (RFC 9458, section 3.1)."""
    keys: bytes
    """A list of it alone, as application/ohttp-keys (section 3.2)."""


@frozen
class PeerMessage:
    """What a peer made of the other side's message, and the handle with which to go on."""

    exchange: int
    data: bytes = field(repr=False)
    """Encapsulated bytes, or the content that was inside."""
    parts: tuple[bytes, ...] = field(repr=False)
    """The content in the parts in which the peer read it."""


@final
class Peer:
    """A running program. Its methods raise `PeerError` when the peer refuses."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        self._received = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the process and wait for its end."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def call(self, op: str, *, timeout: float = ANSWER_TIMEOUT, **fields: object) -> dict[str, Any]:
        """Send one command and return the answer. Raises `TimeoutError` after `timeout` seconds of silence."""
        assert self._process.stdin is not None
        line = json.dumps({"op": op, **fields}, default=bytes.hex).encode() + b"\n"
        sent = 0
        while sent < len(line):
            sent += self._process.stdin.write(line[sent:]) or 0
        answer: dict[str, Any] = json.loads(self._read_line(timeout))
        if not answer["ok"]:
            raise PeerError(answer["error"])
        return answer

    def gateway_new(self, suite: PeerSuite, *, key_id: int = 7) -> PeerGateway:
        """Make a gateway with a fresh key."""
        answer = self.call("gateway_new", key_id=key_id, kem=suite.kem_id, kdf=suite.kdf_id, aead=suite.aead_id)
        return PeerGateway(answer["gateway"], bytes.fromhex(answer["key_config"]), bytes.fromhex(answer["keys"]))

    def gateway_open(self, gateway: PeerGateway, enc_request: bytes, *, chunked: bool) -> PeerMessage:
        """Let the gateway decapsulate a request."""
        return _opened(self.call("gateway_open", gateway=gateway.handle, enc_request=enc_request, chunked=chunked))

    def gateway_respond(self, exchange: int, parts: Sequence[bytes]) -> bytes:
        """Let the gateway encapsulate its response, each part in a chunk of its own where there are chunks."""
        answer = self.call("gateway_respond", exchange=exchange, parts=list(parts))
        return bytes.fromhex(answer["enc_response"])

    def client_encapsulate(self, key_config: bytes, parts: Sequence[bytes], *, chunked: bool) -> PeerMessage:
        """Let a client encapsulate a request with the first suite of `key_config`."""
        answer = self.call("client_encapsulate", key_config=key_config, parts=list(parts), chunked=chunked)
        return PeerMessage(answer["exchange"], bytes.fromhex(answer["enc_request"]), ())

    def client_open_response(self, exchange: int, enc_response: bytes) -> PeerMessage:
        """Let the client decapsulate the response."""
        return _opened(self.call("client_open_response", exchange=exchange, enc_response=enc_response))

    def read_keys(self, keys: bytes) -> list[bytes]:
        """Let the peer decode a list of key configurations; return those that it takes, encoded again."""
        return [bytes.fromhex(config) for config in self.call("read_keys", keys=keys)["key_configs"]]

    def bhttp_decode(self, kind: str, message: bytes) -> dict[str, Any]:
        """Let the peer decode a message of binary HTTP. The README describes the result."""
        decoded: dict[str, Any] = self.call("bhttp_decode", kind=kind, message=message)["message"]
        return decoded

    def bhttp_encode(self, message: dict[str, Any], *, indeterminate: bool = False) -> bytes:
        """Let the peer encode a message of binary HTTP."""
        return bytes.fromhex(self.call("bhttp_encode", message=message, indeterminate=indeterminate)["message"])

    def serve(self, gateway: PeerGateway, *, chunk: int = 0) -> str:
        """Start the peer's own HTTP gateway, in front of a target that answers with what it gets. Return its URL.

        It takes chunks of `chunk` bytes; 0 leaves the peer's default.
        """
        return str(self.call("serve", gateway=gateway.handle, chunk=chunk)["url"])

    def fetch(
        self,
        key_config: bytes,
        url: str,
        *,
        method: str,
        target: str,
        content: bytes = b"",
        chunked: bool = False,
    ) -> dict[str, Any]:
        """Let the peer's own HTTP client send a request for `target` through the relay or gateway at `url`."""
        answer = self.call(
            "fetch",
            key_config=key_config,
            url=url,
            method=method,
            target=target,
            content=content,
            chunked=chunked,
        )
        message: dict[str, Any] = answer["message"]
        return message

    def bench(
        self,
        what: str,
        *,
        size: int,
        suite: PeerSuite | None = None,
        iterations: int = 1,
        chunk: int = 0,
    ) -> float:
        """Let the peer do work and return the seconds that it took. Raises `PeerError` for what it does not have."""
        ids = {"kem": suite.kem_id, "kdf": suite.kdf_id, "aead": suite.aead_id, "key_id": 7} if suite else {}
        answer = self.call("bench", timeout=600, what=what, size=size, iterations=iterations, chunk=chunk, **ids)
        return float(answer["seconds"])

    def _read_line(self, timeout: float) -> bytes:
        assert self._process.stdout is not None
        while b"\n" not in self._received:
            if not select.select([self._process.stdout], [], [], timeout)[0]:
                raise TimeoutError(f"the peer said nothing for {timeout:.0f} s")
            part = self._process.stdout.read(1 << 16)
            if not part:
                raise ConnectionError(f"the peer ended with status {self._process.wait()}")
            self._received += part
        line, _, self._received = self._received.partition(b"\n")
        return bytes(line)


def start(program: Program, report: Callable[[str], None] = print) -> Peer:
    """Build `program` if need be and start it. Raises what `build` raises."""
    return Peer(build(program, report))


def _opened(answer: dict[str, Any]) -> PeerMessage:
    parts = tuple(bytes.fromhex(part) for part in answer["parts"])
    return PeerMessage(answer.get("exchange", 0), b"".join(parts), parts)
