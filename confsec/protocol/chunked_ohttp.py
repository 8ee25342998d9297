"""Chunked Oblivious HTTP (draft-ietf-ohai-chunked-ohttp-08): requests and responses that flow while they are made.

::

    client                                          gateway
    begin ─────── header, enc ────────────────────► receive_data
    send ──────── chunks ─────────────────────────► receive_data ──► ChunkReceived
    send_eof ──── final chunk, end of stream ─────► receive_eof  ──► RequestFinished
    receive_data  ◄──────────── response nonce ──── begin
    receive_data  ◄──────────────────── chunks ──── send
    receive_eof   ◄─ final chunk, end of stream ─── send_eof          … and ResponseFinished

Both directions are independent: a response may begin, and even end, before the request has ended. So the states are
those of a stream in HTTP/2 (RFC 9113, section 5.1): open both ways, ended on one side or the other, done.

Until `RequestFinished` or `ResponseFinished` the message may turn out to be cut: "endpoints that depend on having a
complete message MUST ensure that they do not consider a message complete until" then (section 7.1). A client that sends
a request in pieces which depend on the response tells the gateway its round-trip time (section 7.2).
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Final, final

from attrs import field, frozen

from confsec.errors import LocalProtocolError, TruncatedError
from confsec.protocol.aead import Buffer
from confsec.protocol.chunks import (
    DEFAULT_CHUNK_SIZE,
    MAX_CHUNK_SIZE,
    MAX_CHUNKS,
    ChunkOpener,
    ChunkSealer,
    check_chunk_size,
)
from confsec.protocol.encapsulation import CHUNKED, GatewayExchange, setup_client
from confsec.protocol.gateway_keys import GatewayKeyring
from confsec.protocol.key_config import KeyConfig, SymmetricSuite
from confsec.protocol.machine import Machine, RandBytes, State, Step, StepTable
from confsec.protocol.replay import ReplayWindow

__all__ = [
    "CHUNKED_CLIENT_STEPS",
    "CHUNKED_GATEWAY_STEPS",
    "ChunkReceived",
    "ChunkedOhttpClient",
    "ChunkedOhttpEvent",
    "ChunkedOhttpGateway",
    "RequestFinished",
    "ResponseFinished",
]

CHUNKED_CLIENT_STEPS: Final[StepTable] = {
    (State.READY, Step.BEGIN): State.OPEN,
    (State.OPEN, Step.SEND): State.OPEN,
    (State.OPEN, Step.SEND_EOF): State.HALF_CLOSED_LOCAL,
    (State.OPEN, Step.RECEIVE): State.OPEN,
    (State.OPEN, Step.RECEIVE_EOF): State.HALF_CLOSED_REMOTE,
    (State.HALF_CLOSED_LOCAL, Step.RECEIVE): State.HALF_CLOSED_LOCAL,
    (State.HALF_CLOSED_LOCAL, Step.RECEIVE_EOF): State.DONE,
    (State.HALF_CLOSED_REMOTE, Step.SEND): State.HALF_CLOSED_REMOTE,
    (State.HALF_CLOSED_REMOTE, Step.SEND_EOF): State.DONE,
}
"""What may happen next at a client: both directions are independent."""

CHUNKED_GATEWAY_STEPS: Final[StepTable] = {
    (State.RECEIVING, Step.RECEIVE): State.RECEIVING,
    (State.RECEIVING, Step.RECEIVE_EOF): State.RESPONDING,
    (State.RECEIVING, Step.BEGIN): State.OPEN,  # once the first chunk has opened
    (State.RESPONDING, Step.BEGIN): State.HALF_CLOSED_REMOTE,
    (State.OPEN, Step.RECEIVE): State.OPEN,
    (State.OPEN, Step.RECEIVE_EOF): State.HALF_CLOSED_REMOTE,
    (State.OPEN, Step.SEND): State.OPEN,
    (State.OPEN, Step.SEND_EOF): State.HALF_CLOSED_LOCAL,
    (State.HALF_CLOSED_REMOTE, Step.SEND): State.HALF_CLOSED_REMOTE,
    (State.HALF_CLOSED_REMOTE, Step.SEND_EOF): State.DONE,
    (State.HALF_CLOSED_LOCAL, Step.RECEIVE): State.HALF_CLOSED_LOCAL,
    (State.HALF_CLOSED_LOCAL, Step.RECEIVE_EOF): State.DONE,
}
"""What may happen next at a gateway: it may answer before the request has ended."""


@frozen
class ChunkReceived:
    """Some content arrived, opened, and stands where it was sent. More may be missing."""

    data: bytes = field(repr=False)
    """A piece of binary HTTP, cut anywhere. Never empty."""


@frozen
class RequestFinished:
    """The request is complete: its final chunk opened, and nothing came after it."""


@frozen
class ResponseFinished:
    """The response is complete: its final chunk opened, and nothing came after it."""


ChunkedOhttpEvent = ChunkReceived | RequestFinished | ResponseFinished
"""What a client or a gateway learns."""


@final
class ChunkedOhttpClient(Machine):
    """Send one request to a gateway in chunks and receive its response in chunks."""

    STEPS: ClassVar[StepTable] = CHUNKED_CLIENT_STEPS

    def __init__(
        self,
        key_config: KeyConfig,
        *,
        suite: SymmetricSuite | None = None,
        randbytes: RandBytes,
        chunk_size: int = DEFAULT_CHUNK_SIZE,
        max_chunk: int = MAX_CHUNK_SIZE,
        max_chunks: int = MAX_CHUNKS,
    ) -> None:
        """Seal to `key_config`, with its first suite that we have unless `suite` is another of its suites.

        Requests are cut into chunks of `chunk_size` bytes; responses have at most `max_chunks` chunks of at most
        `max_chunk` bytes. Raises as `OhttpClient` does.
        """
        super().__init__(State.READY)
        self._header, self._keys = setup_client(key_config, suite, CHUNKED, randbytes)
        self._sender = _Sender(ChunkSealer(self._keys.request_sequence), chunk_size)
        self._max_chunk = max_chunk
        self._max_chunks = max_chunks
        self._response_nonce = bytearray()
        self._opener: ChunkOpener | None = None

    def begin(self) -> bytes:
        """Return the front of the encapsulated request."""
        with self._step(Step.BEGIN):
            return self._header

    def send(self, data: Buffer) -> bytes:
        """Return `data` in chunks, at once and whatever its size; the empty string for no data."""
        with self._step(Step.SEND):
            return self._sender.send(data)

    def send_eof(self, data: Buffer = b"") -> bytes:
        """Return the last `data` and the end of the request. Then the stream that carries it has to end."""
        with self._step(Step.SEND_EOF):
            return self._sender.send_eof(data)

    def receive_data(self, part: Buffer) -> list[ChunkedOhttpEvent]:
        """Take the next bytes of the encapsulated response and return a `ChunkReceived` for each chunk in them.

        Raises `DecryptionError` and `LimitError` as `ChunkOpener` does.
        """
        with self._step(Step.RECEIVE):
            if self._opener is None:
                part = self._receive_nonce(part)
            return [] if self._opener is None else _content(self._opener.receive_data(part))

    def receive_eof(self) -> list[ChunkedOhttpEvent]:
        """End the encapsulated response and return what was in its final chunk, then `ResponseFinished`.

        Raises `TruncatedError` if the final chunk is not there, and `DecryptionError` if it does not open.
        """
        with self._step(Step.RECEIVE_EOF):
            if self._opener is None:
                raise TruncatedError(
                    "the encapsulated response ends in its nonce", got=f"{len(self._response_nonce)} bytes"
                )
            return [*_content(self._opener.receive_eof()), ResponseFinished()]

    def _receive_nonce(self, part: Buffer) -> Buffer:
        """Take what belongs to the nonce and return what follows it."""
        missing = self._keys.response_nonce_size - len(self._response_nonce)
        self._response_nonce += part[:missing]
        if len(part) >= missing:
            sequence = self._keys.response_sequence(bytes(self._response_nonce))
            self._opener = ChunkOpener(sequence, max_chunk=self._max_chunk, max_chunks=self._max_chunks)
        return part[missing:]


@final
class ChunkedOhttpGateway(Machine):
    """Receive one request from a client in chunks and send the response in chunks."""

    STEPS: ClassVar[StepTable] = CHUNKED_GATEWAY_STEPS

    _sender: _Sender  # made by `begin`, which the table puts before `send`

    def __init__(
        self,
        keyring: GatewayKeyring,
        *,
        randbytes: RandBytes,
        now: datetime,
        replay: ReplayWindow | None = None,
        chunk_size: int = DEFAULT_CHUNK_SIZE,
        max_chunk: int = MAX_CHUNK_SIZE,
        max_chunks: int = MAX_CHUNKS,
    ) -> None:
        """Open with the keys that `keyring` has at `now`.

        Responses are cut into chunks of `chunk_size` bytes; requests have at most `max_chunks` chunks of at most
        `max_chunk` bytes. `replay` is as for `OhttpGateway`.
        """
        super().__init__(State.RECEIVING)
        self._randbytes = randbytes
        self._exchange = GatewayExchange(keyring, CHUNKED, now=now, replay=replay)
        self._chunk_size = chunk_size
        self._max_chunk = max_chunk
        self._max_chunks = max_chunks
        self._opener: ChunkOpener | None = None

    def receive_data(self, part: Buffer) -> list[ChunkedOhttpEvent]:
        """Take the next bytes of the encapsulated request and return a `ChunkReceived` for each chunk in them.

        Raises `UnknownKeyError` as soon as the key is known not to be here; `ReplayError`, and `BusyError` for a full
        replay window; and `DecryptionError` and `LimitError` as `ChunkOpener` does.
        """
        with self._step(Step.RECEIVE):
            if self._opener is None:
                part = self._receive_header(part)
            return [] if self._opener is None else _content(self._opener.receive_data(part))

    def receive_eof(self) -> list[ChunkedOhttpEvent]:
        """End the encapsulated request and return what was in its final chunk, then `RequestFinished`.

        Raises `TruncatedError` if the final chunk is not there, and the rest as `receive_data` does.
        """
        with self._step(Step.RECEIVE_EOF):
            if self._opener is None:
                raise TruncatedError("the encapsulated request ends in its header")
            return [*_content(self._opener.receive_eof()), RequestFinished()]

    def begin(self) -> bytes:
        """Return the front of the encapsulated response: a fresh response nonce.

        Raises `LocalProtocolError` before the first chunk of the request has opened: until then there is no client.
        """
        with self._step(Step.BEGIN):
            if not self._exchange.has_keys or not self._exchange.keys.request_sequence.sequence:
                raise LocalProtocolError("there is nothing to respond to yet", want="the first chunk of the request")
            response_nonce = self._randbytes(self._exchange.keys.response_nonce_size)
            sealer = ChunkSealer(self._exchange.keys.response_sequence(response_nonce))
            self._sender = _Sender(sealer, self._chunk_size)
            return response_nonce

    def send(self, data: Buffer) -> bytes:
        """Return `data` in chunks, at once and whatever its size; the empty string for no data."""
        with self._step(Step.SEND):
            return self._sender.send(data)

    def send_eof(self, data: Buffer = b"") -> bytes:
        """Return the last `data` and the end of the response. Then the stream that carries it has to end."""
        with self._step(Step.SEND_EOF):
            return self._sender.send_eof(data)

    def _receive_header(self, part: Buffer) -> bytes:
        """Take what belongs to the header and return what follows it."""
        rest = self._exchange.receive_header(part)
        if self._exchange.has_keys:
            sequence = self._exchange.keys.request_sequence
            self._opener = ChunkOpener(sequence, max_chunk=self._max_chunk, max_chunks=self._max_chunks)
        return rest


def _content(plaintexts: list[bytes]) -> list[ChunkedOhttpEvent]:
    return [ChunkReceived(data) for data in plaintexts if data]


@final
class _Sender:
    """Cuts what is to be sent into chunks."""

    def __init__(self, sealer: ChunkSealer, chunk_size: int) -> None:
        check_chunk_size(chunk_size)
        self._sealer = sealer
        self._chunk_size = chunk_size

    def send(self, data: Buffer) -> bytes:
        return self._sealer.seal_many(data, self._chunk_size)

    def send_eof(self, data: Buffer) -> bytes:
        """Seal as much as fits into the final chunk there, and what comes before it as usual."""
        before = (len(data) - 1) // self._chunk_size * self._chunk_size if data else 0
        with memoryview(data) as view:
            front = self._sealer.seal_many(view[:before], self._chunk_size)
            return front + self._sealer.seal_final(view[before:])
