"""Open a sealed response (docs/spec/sealed-request.md, section 6).

`SealedClient` in `sealed.py` is the door for everybody else. Nothing is believed before a chunk opened: not even which
node answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final, final

from attrs import field, frozen

from confsec.errors import DecodeError, TruncatedError
from confsec.protocol.chunks import ChunkOpener
from confsec.protocol.machine import Machine, State, Step, StepTable
from confsec.protocol.sealed_header import NODE_ID_SIZE
from confsec.protocol.sealed_keys import RESPONSE_NONCE_SIZE, derive_response_sequence
from confsec.protocol.sealed_padding import MAX_CHUNK_SIZE, check_one_length, unpad

__all__ = [
    "ResponseSecret",
    "SealedContentReceived",
    "SealedEvent",
    "SealedResponseFinished",
    "SealedResponseOpener",
    "SealedResponseStarted",
]

_SECTION = "sealed request, section 6"
_PREFIX_SIZE: Final = NODE_ID_SIZE + RESPONSE_NONCE_SIZE


@final
@frozen
class SealedResponseStarted:
    """The first chunk opened: one of the recipients answers these very bytes."""

    node_id: bytes
    """Which of them."""


@final
@frozen
class SealedContentReceived:
    """A chunk opened that was not all filler."""

    data: bytes = field(repr=False)
    """What it held, without padding: never empty."""


@final
@frozen
class SealedResponseFinished:
    """The final chunk opened: the response is whole."""


SealedEvent = SealedResponseStarted | SealedContentReceived | SealedResponseFinished
"""What a client learns from a sealed response: started once, content any number of times, finished once."""


@final
@frozen
class ResponseSecret:
    """What the client keeps of one recipient's HPKE context: enough to open an answer, and nothing else."""

    enc: bytes
    """The encapsulated key that was sent to this recipient."""

    secret: bytes = field(repr=False)
    """Exported for the hash of this request."""


@final
class SealedResponseOpener(Machine):
    """Open the answer of whichever recipient answers, as it arrives. Holds one chunk at most."""

    STEPS: ClassVar[StepTable] = {
        (State.RECEIVING, Step.RECEIVE): State.RECEIVING,
        (State.RECEIVING, Step.RECEIVE_EOF): State.DONE,
    }

    def __init__(self, secrets: Mapping[bytes, ResponseSecret]) -> None:
        """Wait for an answer of one of these, by node id."""
        super().__init__(State.RECEIVING)
        self._secrets = dict(secrets)
        self._prefix = bytearray()
        self._chunks: ChunkOpener | None = None
        self._chunk_size: int | None = None

    def receive_data(self, part: bytes) -> list[SealedEvent]:
        """Take the next bytes. Raises `DecryptionError`, and `DecodeError` for what breaks the format."""
        with self._step(Step.RECEIVE):
            return self._events(self._receive(part))

    def receive_eof(self) -> list[SealedEvent]:
        """End the input. Raises `TruncatedError` if the response is not whole, else as `receive_data`."""
        with self._step(Step.RECEIVE_EOF):
            if self._chunks is None:
                raise TruncatedError("sealed response ends early", got=f"{len(self._prefix)} bytes", section=_SECTION)
            return [*self._events(self._chunks.receive_eof()), SealedResponseFinished()]

    def _receive(self, part: bytes) -> list[bytes]:
        if self._chunks is not None:
            return self._chunks.receive_data(part)
        self._prefix += part
        if len(self._prefix) < _PREFIX_SIZE:
            return []
        self._chunks = self._choose_keys()
        return self._chunks.receive_data(bytes(self._prefix[_PREFIX_SIZE:]))

    def _choose_keys(self) -> ChunkOpener:
        node_id = bytes(self._prefix[:NODE_ID_SIZE])
        chosen = self._secrets.get(node_id)
        if chosen is None:
            raise DecodeError("the node that answers is no recipient", got=node_id.hex(), section=_SECTION)
        # Only the keys of the node that answers are kept.
        self._secrets = {node_id: chosen}
        response_nonce = bytes(self._prefix[NODE_ID_SIZE:_PREFIX_SIZE])
        sequence = derive_response_sequence(chosen.secret, chosen.enc, response_nonce)
        return ChunkOpener(sequence, max_chunk=MAX_CHUNK_SIZE, minimal=True)

    def _events(self, plaintexts: list[bytes]) -> list[SealedEvent]:
        events: list[SealedEvent] = []
        for plaintext in plaintexts:
            if self._chunk_size is None:
                events.append(SealedResponseStarted(node_id=bytes(self._prefix[:NODE_ID_SIZE])))
            self._chunk_size = check_one_length(self._chunk_size, plaintext)
            if content := unpad(plaintext):
                events.append(SealedContentReceived(data=content))
        return events
