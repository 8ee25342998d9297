"""The sealed request and its response: one body that any of k candidate nodes can open (docs/spec/sealed-request.md).

`SealedClient` seals a request and opens the answer; `SealedNode` opens a request and seals the answer. The content of
both is binary HTTP, which is left to the callers, and so is the question to whom a client may seal: the session hands
in key configurations that were appraised, and no others. Header, padding and key schedule are in the `sealed_…` files
beside this one; the names that other parts need are here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import ClassVar, Final, final

from attrs import field, frozen

from confsec.errors import LimitError, LocalProtocolError
from confsec.protocol.chunks import ChunkOpener, ChunkSealer
from confsec.protocol.hpke import ReceiverContext, SenderContext, setup_sender
from confsec.protocol.key_config import KeyConfig
from confsec.protocol.machine import Machine, RandBytes, State, Step, StepTable
from confsec.protocol.node_keys import (
    NODE_SUITE,
    NodeKey,
    NodeKeys,
    check_node_key_config,
    node_hpke_suite,
    node_id,
    node_key_config,
)
from confsec.protocol.sealed_header import (
    MAX_RECIPIENTS,
    HeaderReceived,
    Recipient,
    SealedHeaderReader,
    SealedRequestHeader,
    read_header,
)
from confsec.protocol.sealed_keys import (
    REQUEST_SECRET_SIZE,
    RESPONSE_NONCE_SIZE,
    RESPONSE_SECRET_SIZE,
    derive_request_sequence,
    derive_response_sequence,
    response_exporter_context,
    wrap_info,
)
from confsec.protocol.sealed_padding import (
    MAX_CHUNK_SIZE,
    REQUEST_BUCKETS,
    RESPONSE_CHUNK_SIZE,
    bucket_for,
    check_chunk_size,
    check_one_length,
    pad_all,
    unpad,
)
from confsec.protocol.sealed_response import (
    ResponseSecret,
    SealedContentReceived,
    SealedEvent,
    SealedResponseFinished,
    SealedResponseOpener,
    SealedResponseStarted,
)

__all__ = [
    "DEFAULT_MAX_BODY",
    "MAX_RECIPIENTS",
    "MEDIA_TYPE_SEALED_REQUEST",
    "MEDIA_TYPE_SEALED_RESPONSE",
    "NODE_SUITE",
    "REQUEST_BUCKETS",
    "RESPONSE_CHUNK_SIZE",
    "HeaderReceived",
    "NodeKey",
    "NodeKeys",
    "Recipient",
    "SealedClient",
    "SealedContentReceived",
    "SealedEvent",
    "SealedHeaderReader",
    "SealedKeyReserved",
    "SealedNode",
    "SealedNodeEvent",
    "SealedRequestHeader",
    "SealedRequestOpened",
    "SealedResponseFinished",
    "SealedResponseStarted",
    "check_node_key_config",
    "node_id",
    "node_key_config",
    "read_header",
]

MEDIA_TYPE_SEALED_REQUEST: Final = "message/confsec-sealed-req"
"""The media type of a sealed request."""

MEDIA_TYPE_SEALED_RESPONSE: Final = "message/confsec-sealed-res"
"""The media type of a sealed response."""

DEFAULT_MAX_BODY: Final = max(REQUEST_BUCKETS)
"""How many bytes of chunk plaintext, padding included, a node holds for one request: 8 MiB, the largest bucket."""

_SECTION = "sealed request, section 5"


@final
class SealedClient(Machine):
    """Seal one request to 1 to 16 candidate nodes, and open the answer of whichever answers.

    1. `seal` returns the whole sealed request.
    2. `header_digest` is what a token is spent for.
    3. `receive_data` and `receive_eof` return the answer's events.

    To send a request again, send the same bytes. To seal it anew takes a new client.
    """

    STEPS: ClassVar[StepTable] = {
        (State.READY, Step.SEAL): State.AWAITING_RESPONSE,
        (State.AWAITING_RESPONSE, Step.RECEIVE): State.AWAITING_RESPONSE,
        (State.AWAITING_RESPONSE, Step.RECEIVE_EOF): State.DONE,
    }

    def __init__(
        self, recipients: Sequence[KeyConfig], *, randbytes: RandBytes, buckets: Sequence[int] = REQUEST_BUCKETS
    ) -> None:
        """Take the candidates in any order, each once, and the lengths that requests are padded to.

        Raises `LocalProtocolError` for no, too many or repeated candidates, else as `check_node_key_config` does.
        """
        super().__init__(State.READY)
        self._recipients = _in_order(recipients)
        self._randbytes = randbytes
        self._buckets = tuple(buckets)
        self._header_digest = b""
        self._request_hash = b""
        self._response = SealedResponseOpener({})

    @property
    def header_digest(self) -> bytes:
        """SHA-256 of every byte before the first chunk: what a token is spent for. Empty before `seal`."""
        return self._header_digest

    @property
    def request_hash(self) -> bytes:
        """SHA-256 of every byte of the sealed request: what an answer is bound to. Empty before `seal`."""
        return self._request_hash

    def seal(self, request: bytes) -> bytes:
        """Return the whole sealed request, padded to a bucket.

        Raises `LocalProtocolError` if no bucket is large enough.
        """
        with self._step(Step.SEAL):
            chunk_size, count = bucket_for(len(request), self._buckets)
            request_secret = self._randbytes(REQUEST_SECRET_SIZE)
            contexts = [(each, _sender_context(each, config, self._randbytes)) for each, config in self._recipients]
            header = _wrap(contexts, request_secret).encode()
            sealer = ChunkSealer(derive_request_sequence(request_secret, header))
            sealed_request = header + _seal_to_the_end(sealer, pad_all(request, chunk_size, count=count), chunk_size)
            self._header_digest = hashlib.sha256(header).digest()
            self._request_hash = hashlib.sha256(sealed_request).digest()
            self._response = SealedResponseOpener(_response_secrets(contexts, self._request_hash))
            return sealed_request

    def receive_data(self, part: bytes) -> list[SealedEvent]:
        """Take the next bytes of the answer. Raises `DecryptionError`, and `DecodeError` for what breaks the format."""
        with self._step(Step.RECEIVE):
            return self._response.receive_data(part)

    def receive_eof(self) -> list[SealedEvent]:
        """End the answer. Raises `TruncatedError` if it is not whole, else as `receive_data`."""
        with self._step(Step.RECEIVE_EOF):
            return self._response.receive_eof()


def _in_order(recipients: Sequence[KeyConfig]) -> tuple[tuple[bytes, KeyConfig], ...]:
    """Return the recipients by node id, ascending, after a check of each."""
    if not 1 <= len(recipients) <= MAX_RECIPIENTS:
        want = f"1 to {MAX_RECIPIENTS}"
        raise LocalProtocolError("a request cannot have this many recipients", got=len(recipients), want=want)
    for key_config in recipients:
        check_node_key_config(key_config)
    by_id = {node_id(key_config): key_config for key_config in recipients}
    if len(by_id) != len(recipients):
        raise LocalProtocolError("a recipient occurs twice", section=_SECTION)
    return tuple(sorted(by_id.items()))


def _sender_context(recipient_id: bytes, key_config: KeyConfig, randbytes: RandBytes) -> SenderContext:
    suite = node_hpke_suite(key_config.kem_id)
    return setup_sender(suite, key_config.public_key, wrap_info(recipient_id), randbytes=randbytes)


def _wrap(contexts: Sequence[tuple[bytes, SenderContext]], request_secret: bytes) -> SealedRequestHeader:
    """Wrap the request secret in the context of each recipient."""
    wrapped = [Recipient(each, context.enc, context.seal(b"", request_secret)) for each, context in contexts]
    return SealedRequestHeader(tuple(wrapped))


def _seal_to_the_end(sealer: ChunkSealer, plaintexts: bytes, chunk_size: int) -> bytes:
    """Seal padded plaintexts, the last of them as the final chunk."""
    return sealer.seal_many(plaintexts[:-chunk_size], chunk_size) + sealer.seal_final(plaintexts[-chunk_size:])


def _response_secrets(
    contexts: Sequence[tuple[bytes, SenderContext]], request_hash: bytes
) -> dict[bytes, ResponseSecret]:
    """Export what each recipient would answer with. After this the contexts are not needed any more."""
    exporter_context = response_exporter_context(request_hash)
    return {
        each: ResponseSecret(context.enc, context.export(exporter_context, RESPONSE_SECRET_SIZE))
        for each, context in contexts
    }


@final
@frozen
class SealedKeyReserved:
    """The header is whole, and one recipient is a live key of ours that has not seen this `enc`. Next is `open_key`."""

    node_id: bytes
    """Which of our keys: of this epoch, or the one before."""


@final
@frozen
class SealedRequestOpened:
    """The final chunk opened: the request is whole, and may be answered."""

    content: bytes = field(repr=False)
    """All of it, without padding."""


SealedNodeEvent = SealedKeyReserved | SealedRequestOpened
"""What a node learns from a sealed request, in this order."""


@final
class SealedNode(Machine):
    """Open one request and seal its answer.

    1. `receive_data`, until it returns `SealedKeyReserved`: everything that a node checks before it uses its key.
    2. `open_key`. This alone blocks where a TPM holds the key, and may run in a thread: it changes nothing that
       machines share.
    3. `receive_data`, and `receive_eof`, which returns `SealedRequestOpened`.
    4. `begin`, any number of `send` and `send_filler`, and `send_eof` return the bytes of the answer.
    """

    STEPS: ClassVar[StepTable] = {
        (State.AWAITING_REQUEST, Step.RECEIVE): State.AWAITING_REQUEST,  # AWAITING_KEY as soon as a key is reserved
        (State.AWAITING_REQUEST, Step.RECEIVE_EOF): State.FAILED,
        (State.AWAITING_KEY, Step.OPEN_KEY): State.RECEIVING,
        (State.RECEIVING, Step.RECEIVE): State.RECEIVING,
        (State.RECEIVING, Step.RECEIVE_EOF): State.RESPONDING,
        (State.RESPONDING, Step.BEGIN): State.SENDING,
        (State.SENDING, Step.SEND): State.SENDING,
        (State.SENDING, Step.SEND_EOF): State.DONE,
    }

    # Each of these is set by one step and used by a later one; the table keeps the order.
    _key: NodeKey
    _recipient: Recipient
    _header: bytes
    _rest: bytes
    _context: ReceiverContext
    _opener: ChunkOpener
    _response_secret: bytes
    _sealer: ChunkSealer

    def __init__(
        self,
        keys: NodeKeys,
        *,
        randbytes: RandBytes,
        max_body: int = DEFAULT_MAX_BODY,
        chunk_size: int = RESPONSE_CHUNK_SIZE,
    ) -> None:
        """Wait for a request to one of `keys`.

        `max_body` bounds the request's chunk plaintexts together, padding included; `chunk_size` is the length of each
        chunk plaintext of the answer. Raises `LocalProtocolError` for a chunk size that is not legal.
        """
        super().__init__(State.AWAITING_REQUEST)
        self._keys = keys
        self._randbytes = randbytes
        self._max_body = max_body
        self._response_chunk_size = check_chunk_size(chunk_size)
        self._header_reader = SealedHeaderReader()
        self._request_hash = hashlib.sha256()
        self._request_chunk_size: int | None = None
        self._body_size = 0
        self._contents: list[bytes] = []

    def receive_data(self, part: bytes) -> list[SealedNodeEvent]:
        """Take the next bytes of the request.

        With the header it raises `DecodeError` for one that breaks the format, `UnsupportedError` for another version,
        `UnknownKeyError` where no recipient is a live key of ours, `ReplayError` or `BusyError` from the key's replay
        set. With the chunks it raises `DecryptionError`, `DecodeError` for wrong padding and lengths, and `LimitError`
        for too large a body.
        """
        with self._step(Step.RECEIVE):
            self._request_hash.update(part)
            if self.state is State.RECEIVING:
                self._receive_chunks(part)
                return []
            events = self._receive_header(part)
        if events:
            self._move(State.AWAITING_KEY)
        return events

    def open_key(self) -> None:
        """Decapsulate and unwrap the request secret. Chunks that are here already are opened by the next step.

        Raises `DecryptionError`, `UnknownKeyError` if the key was erased meanwhile, `BackendError` if its device fails.
        """
        with self._step(Step.OPEN_KEY):
            self._context = self._key.setup_receiver(self._recipient.enc)
            request_secret = self._context.open(b"", self._recipient.wrapped_secret)
            sequence = derive_request_sequence(request_secret, self._header)
            self._opener = ChunkOpener(sequence, max_chunk=MAX_CHUNK_SIZE, minimal=True)

    def receive_eof(self) -> list[SealedNodeEvent]:
        """End the request. Raises `TruncatedError` if it is not whole, else as `receive_data`."""
        with self._step(Step.RECEIVE_EOF):
            if self.state is State.AWAITING_REQUEST:
                self._header_reader.receive_eof()
            self._receive_chunks(b"")
            self._keep(self._opener.receive_eof())
            exporter_context = response_exporter_context(self._request_hash.digest())
            self._response_secret = self._context.export(exporter_context, RESPONSE_SECRET_SIZE)
            # From here on nothing in this exchange can open the request a second time.
            del self._context, self._opener
            return [SealedRequestOpened(b"".join(self._contents))]

    def begin(self) -> bytes:
        """Begin the answer: who answers, and the response nonce."""
        with self._step(Step.BEGIN):
            response_nonce = self._randbytes(RESPONSE_NONCE_SIZE)
            sequence = derive_response_sequence(self._response_secret, self._recipient.enc, response_nonce)
            self._sealer = ChunkSealer(sequence)
            return self._recipient.node_id + response_nonce

    def send(self, data: bytes) -> bytes:
        """Seal all of `data` now, in as few chunks as hold it, the last padded: no token waits for the next."""
        with self._step(Step.SEND):
            return self._sealer.seal_many(pad_all(data, self._response_chunk_size), self._response_chunk_size)

    def send_filler(self) -> bytes:
        """Seal one chunk that is all filler."""
        with self._step(Step.SEND):
            return self._sealer.seal(pad_all(b"", self._response_chunk_size, count=1))

    def send_eof(self, data: bytes = b"") -> bytes:
        """Seal the rest and end the answer. The final chunk is as long as the others."""
        with self._step(Step.SEND_EOF):
            plaintexts = pad_all(data, self._response_chunk_size, count=1)
            return _seal_to_the_end(self._sealer, plaintexts, self._response_chunk_size)

    def _receive_header(self, part: bytes) -> list[SealedNodeEvent]:
        for received in self._header_reader.receive_data(part):
            self._header, self._rest = received.header.encode(), received.rest
            self._key, self._recipient = self._keys.find(received.header)
            # Before the key is used: what was reserved stays reserved, whether it opens or not.
            self._key.reserve(self._recipient.enc)
            return [SealedKeyReserved(self._key.node_id)]
        return []

    def _receive_chunks(self, part: bytes) -> None:
        data, self._rest = self._rest + part, b""
        self._keep(self._opener.receive_data(data))

    def _keep(self, plaintexts: list[bytes]) -> None:
        """Check what the chunks held, and keep it until the final one opened."""
        for plaintext in plaintexts:
            self._request_chunk_size = check_one_length(self._request_chunk_size, plaintext)
            self._body_size += len(plaintext)
            if self._body_size > self._max_body:
                raise LimitError("request is too large", got=f"{self._body_size} bytes", want=self._max_body)
            self._contents.append(unpad(plaintext))
