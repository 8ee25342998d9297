"""Sealed chunks on the wire (draft-ietf-ohai-chunked-ohttp-08, sections 3 to 5).

A non-final chunk is `varint(size) ‖ ciphertext` with empty associated data; the final chunk is `0x00 ‖ ciphertext` with
the associated data "final" and reaches to the end of the stream. Requests, responses and sealed requests share this
framing; where keys come from, and what a chunk holds, is left to them.

The lengths are not authenticated and need not be: every ciphertext is opened under its number in the stream, so what
was cut, reordered, repeated or taken from elsewhere does not open.
"""

from __future__ import annotations

from io import BytesIO
from typing import ClassVar, Final, final

from confsec.errors import DecodeError, DecryptionError, LimitError, LocalProtocolError, TruncatedError
from confsec.protocol.aead import TAG_SIZE, AeadSequence, Buffer
from confsec.protocol.machine import Machine, State, Step, StepTable
from confsec.protocol.wire import encode_varint, varint_size

__all__ = ["DEFAULT_CHUNK_SIZE", "MAX_CHUNKS", "MAX_CHUNK_SIZE", "ChunkOpener", "ChunkSealer"]

DEFAULT_CHUNK_SIZE: Final = 1 << 14
"""How many bytes we put into a chunk: every receiver must support this size (section 3), and not more."""

MAX_CHUNK_SIZE: Final = 1 << 16
"""How many bytes of content we accept in a chunk. A larger chunk gains no speed and holds back what it carries."""

MAX_CHUNKS: Final = 1 << 24
"""How many chunks one key seals or opens, the final one included.

With chunks of the largest size these are 2^36 blocks of AES, which keeps an attacker's advantage below 2^-56
(draft-irtf-cfrg-aead-limits, section 5; section 7.3 of the chunked draft asks for a limit).
"""

_SECTION = "chunked OHTTP, section 4"
_FINAL_AAD = b"final"
_FINAL_PREFIX = b"\x00"


@final
class ChunkSealer(Machine):
    """Seal one direction of one exchange, chunk by chunk."""

    STEPS: ClassVar[StepTable] = {
        (State.SENDING, Step.SEND): State.SENDING,
        (State.SENDING, Step.SEND_EOF): State.DONE,
    }

    def __init__(self, sequence: AeadSequence, *, max_chunks: int = MAX_CHUNKS) -> None:
        """Seal with `sequence`, which nobody else uses. At most `max_chunks` chunks, the final one included."""
        super().__init__(State.SENDING)
        self._sequence = sequence
        self._max_chunks = max_chunks

    def seal(self, plaintext: Buffer) -> bytes:
        """Seal one non-final chunk. Raises `LocalProtocolError` for an empty one and when no chunks are left."""
        with self._step(Step.SEND):
            if not len(plaintext):
                raise LocalProtocolError("a chunk that is not the last cannot be empty", section=_SECTION)
            self._reserve(2)
            return encode_varint(len(plaintext) + TAG_SIZE) + self._sequence.seal(b"", plaintext)

    def seal_many(self, data: Buffer, chunk_size: int = DEFAULT_CHUNK_SIZE) -> bytes:
        """Seal all of `data` in non-final chunks of `chunk_size` bytes, the last of them shorter if it has to be.

        Returns the empty string if `data` is empty. Raises `LocalProtocolError` when no chunks are left.
        """
        with self._step(Step.SEND):
            if chunk_size < 1:
                raise LocalProtocolError("chunks have at least one byte", got=chunk_size, section=_SECTION)
            self._reserve(-(-len(data) // chunk_size) + 1)
            return self._seal_many(data, chunk_size)

    def seal_final(self, plaintext: Buffer = b"") -> bytes:
        """Seal the final chunk, which may be empty. Raises `LocalProtocolError` when no chunks are left."""
        with self._step(Step.SEND_EOF):
            self._reserve(1)
            return _FINAL_PREFIX + self._sequence.seal(_FINAL_AAD, plaintext)

    def _reserve(self, count: int) -> None:
        """Refuse to begin what would leave no chunk to end with."""
        if self._sequence.sequence + count > self._max_chunks:
            raise LocalProtocolError(
                "no chunks are left", got=self._sequence.sequence, want=f"at most {self._max_chunks}", section=_SECTION
            )

    def _seal_many(self, data: Buffer, chunk_size: int) -> bytes:
        prefix = encode_varint(chunk_size + TAG_SIZE)
        whole, rest = divmod(len(data), chunk_size)
        size = whole * (len(prefix) + chunk_size + TAG_SIZE)
        if rest:
            size += len(encode_varint(rest + TAG_SIZE)) + rest + TAG_SIZE
        # The cipher writes into what becomes the result: `getvalue` hands out the buffer itself, where joining the
        # chunks would copy all of them once more.
        buffer = BytesIO(bytes(size))
        with memoryview(data) as content, buffer.getbuffer() as wire:
            self._seal_into(wire, content, chunk_size, prefix)
        return buffer.getvalue()

    def _seal_into(self, wire: memoryview, content: memoryview, chunk_size: int, prefix: bytes) -> None:
        seal_into = self._sequence.seal_into
        position = 0
        for start in range(0, len(content), chunk_size):
            chunk = content[start : start + chunk_size]
            if len(chunk) < chunk_size:
                prefix = encode_varint(len(chunk) + TAG_SIZE)
            body = position + len(prefix)
            wire[position:body] = prefix
            position = body + len(chunk) + TAG_SIZE
            seal_into(b"", chunk, wire[body:position])


@final
class ChunkOpener(Machine):
    """Open one direction of one exchange as it arrives, in parts of any size.

    It never holds more than one chunk, and copies only those that arrive in several parts.
    """

    STEPS: ClassVar[StepTable] = {
        (State.RECEIVING, Step.RECEIVE): State.RECEIVING,
        (State.RECEIVING, Step.RECEIVE_EOF): State.DONE,
    }

    def __init__(
        self,
        sequence: AeadSequence,
        *,
        max_chunk: int = MAX_CHUNK_SIZE,
        max_chunks: int = MAX_CHUNKS,
        minimal: bool = False,
    ) -> None:
        """Open with `sequence`, which nobody else uses: at most `max_chunks` chunks of at most `max_chunk` bytes.

        With `minimal`, a length that has a shorter spelling is refused, as sealed requests ask.
        """
        super().__init__(State.RECEIVING)
        self._sequence = sequence
        self._minimal = minimal
        self._max_size = max_chunk + TAG_SIZE
        self._max_chunks = max_chunks
        # How long the ciphertext is that comes now: None where a length comes first, 0 for the final chunk.
        self._size: int | None = None
        # The front of that ciphertext, or of that length.
        self._buffer = bytearray()

    def receive_data(self, part: Buffer) -> list[bytes]:
        """Take the next bytes and return the content of the chunks that they complete; none of it is empty.

        Raises `DecryptionError` for a chunk that does not open or is empty, `LimitError` for one that is too long or
        one too many, and `DecodeError` for a length that is not minimal where it has to be.
        """
        with self._step(Step.RECEIVE), memoryview(part) as view:
            return self._receive(view)

    def receive_eof(self) -> list[bytes]:
        """End the input and return the content of the final chunk, which may be empty, in a list of one.

        Raises `TruncatedError` if the final chunk is not there, and `DecryptionError` if it does not open.
        """
        with self._step(Step.RECEIVE_EOF):
            # "endpoints that depend on having a complete message MUST ensure that they do not consider a message
            # complete until having received a chunk with a 0-valued length prefix, which was successfully decrypted
            # using the expected sentinel value" (section 7.1).
            if self._size != 0 or len(self._buffer) < TAG_SIZE:
                raise TruncatedError("the message ends before its final chunk does", section=_SECTION)
            return [self._open(_FINAL_AAD, self._buffer)]

    def _receive(self, view: memoryview) -> list[bytes]:
        plaintexts: list[bytes] = []
        position = 0
        while position < len(view):
            if self._size is None:
                position = self._receive_size(view, position)
            elif self._size == 0:
                position = self._receive_final(view, position)
            else:
                position = self._receive_chunk(view, position, plaintexts)
        return plaintexts

    def _receive_size(self, view: memoryview, position: int) -> int:
        """Read a length, or what there is of it, and return the position after it."""
        first = self._buffer[0] if self._buffer else view[position]
        prefix_size = 1 << (first >> 6)
        end = min(position + prefix_size - len(self._buffer), len(view))
        self._buffer += view[position:end]
        if len(self._buffer) == prefix_size:
            value = int.from_bytes(self._buffer, "big") & ((1 << (8 * prefix_size - 2)) - 1)
            self._check_spelling(value, prefix_size)
            self._check_size(value)
            self._size = value
            self._buffer.clear()
        return end

    def _check_spelling(self, value: int, prefix_size: int) -> None:
        if self._minimal and varint_size(value) != prefix_size:
            raise DecodeError("chunk length is not minimal", got=f"{prefix_size} bytes", section="RFC 9000, section 16")

    def _check_size(self, size: int) -> None:
        # An endless run of empty chunks would cost us work and carry nothing, so only the final chunk may be empty.
        if 0 < size <= TAG_SIZE:
            raise DecryptionError("empty chunk", got=f"{size} bytes", want=f"over {TAG_SIZE}", section=_SECTION)
        if size > self._max_size:
            raise self._too_long(size)

    def _receive_chunk(self, view: memoryview, position: int, plaintexts: list[bytes]) -> int:
        """Read a ciphertext, or what there is of it, and return the position after it."""
        end = position + (self._size or 0) - len(self._buffer)
        if end > len(view):
            self._buffer += view[position:]
            return len(view)
        if self._buffer:
            self._buffer += view[position:end]
            plaintexts.append(self._open(b"", self._buffer))
            self._buffer.clear()
        else:
            plaintexts.append(self._open(b"", view[position:end]))
        self._size = None
        return end

    def _receive_final(self, view: memoryview, position: int) -> int:
        """Keep all that comes: the final chunk has no length and is opened at the end of the input."""
        size = len(self._buffer) + len(view) - position
        if size > self._max_size:
            raise self._too_long(size)
        self._buffer += view[position:]
        return len(view)

    def _open(self, aad: bytes, ciphertext: Buffer) -> bytes:
        if self._sequence.sequence >= self._max_chunks:
            raise LimitError("too many chunks", want=f"at most {self._max_chunks}", section=_SECTION)
        return self._sequence.open(aad, ciphertext)

    def _too_long(self, size: int) -> LimitError:
        return LimitError("chunk too long", got=f"{size} bytes", want=f"at most {self._max_size}", section=_SECTION)
