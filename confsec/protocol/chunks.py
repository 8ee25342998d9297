"""Sealed chunks on the wire (draft-ietf-ohai-chunked-ohttp-08, sections 3 to 6).

A non-final chunk is `varint(size) ‖ ciphertext` with empty associated data; the final chunk is `0x00 ‖ ciphertext` with
the associated data "final" and reaches to the end of the stream. Requests, responses and sealed requests share this
framing; where keys come from, and what a chunk holds, is left to them.

The lengths are not authenticated and need not be: every ciphertext is opened under its number in the stream, so what
was cut, reordered, repeated or taken from elsewhere does not open.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from io import BytesIO
from struct import Struct
from typing import ClassVar, Final, final

from confsec.errors import DecodeError, DecryptionError, LimitError, LocalProtocolError, TruncatedError
from confsec.protocol.aead import TAG_SIZE, AeadSequence, Buffer
from confsec.protocol.machine import Machine, State, Step, StepTable
from confsec.protocol.wire import encode_varint, varint_size

__all__ = [
    "DEFAULT_CHUNK_SIZE",
    "MAX_CHUNKS",
    "MAX_CHUNK_SIZE",
    "ChunkOpener",
    "ChunkSealer",
    "ChunkSplitter",
    "check_chunk_size",
    "encode_chunk",
]

DEFAULT_CHUNK_SIZE: Final = 1 << 14
"""How many bytes we put into a chunk: every receiver must support this size (section 3), and not more."""

MAX_CHUNK_SIZE: Final = 1 << 16
"""How many bytes of content we accept in a chunk. A larger chunk gains no speed and holds back what it carries."""

MAX_CHUNKS: Final = 1 << 24
"""How many chunks one key seals or opens, the final one included.

With chunks of the largest size these are 2^36 blocks of AES, which keeps an attacker's advantage below 2^-56
(draft-irtf-cfrg-aead-limits, section 5; section 7.3 of the chunked draft asks for a limit).
"""

_SECTION = "chunked OHTTP, section 6"
_FINAL_AAD = b"final"

# How to read the four forms of a varint (RFC 9000, section 16): the upper two bits of the first byte choose one.
_LENGTHS: Final = (
    (Struct(">B"), 0x3F),
    (Struct(">H"), 0x3FFF),
    (Struct(">I"), 0x3FFF_FFFF),
    (Struct(">Q"), 0x3FFF_FFFF_FFFF_FFFF),
)


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
            return encode_chunk(self._sequence.seal(b"", plaintext))

    def seal_many(self, data: Buffer, chunk_size: int = DEFAULT_CHUNK_SIZE) -> bytes:
        """Seal all of `data` in non-final chunks of `chunk_size` bytes, the last of them shorter if it has to be.

        Returns the empty string if `data` is empty. Raises `LocalProtocolError` when no chunks are left.
        """
        self._allow(Step.SEND)
        try:
            check_chunk_size(chunk_size)
            self._reserve(-(-len(data) // chunk_size) + 1)
            if 0 < len(data) <= chunk_size:
                return encode_chunk(self._sequence.seal(b"", data))
            return self._seal_many(data, chunk_size)
        except BaseException:
            self._fail()
            raise

    def seal_final(self, plaintext: Buffer = b"") -> bytes:
        """Seal the final chunk, which may be empty. Raises `LocalProtocolError` when no chunks are left."""
        with self._step(Step.SEND_EOF):
            self._reserve(1)
            return encode_chunk(self._sequence.seal(_FINAL_AAD, plaintext), final=True)

    def _reserve(self, count: int) -> None:
        """Refuse to begin what would leave no chunk to end with."""
        if self._sequence.sequence + count > self._max_chunks:
            raise LocalProtocolError(
                "no chunks are left", got=self._sequence.sequence, want=f"at most {self._max_chunks}", section=_SECTION
            )

    def _seal_many(self, data: Buffer, chunk_size: int) -> bytes:
        whole, rest = divmod(len(data), chunk_size)
        # The cipher writes between the lengths, into what becomes the result: `getvalue` hands out the buffer itself,
        # where joining the chunks would copy all of them once more.
        buffer = BytesIO(_blank_chunk(chunk_size) * whole + (_blank_chunk(rest) if rest else b""))
        with memoryview(data) as content, buffer.getbuffer() as wire:
            seal_into = self._sequence.seal_into
            prefix_size = len(_encode_length(chunk_size + TAG_SIZE))
            end = 0
            for start in range(0, whole * chunk_size, chunk_size):
                body = end + prefix_size
                end = body + chunk_size + TAG_SIZE
                seal_into(b"", content[start : start + chunk_size], wire[body:end])
            if rest:
                seal_into(b"", content[-rest:], wire[-rest - TAG_SIZE :])
        return buffer.getvalue()


def check_chunk_size(chunk_size: int) -> None:
    """Check that chunks can carry something. Raises `LocalProtocolError`."""
    if chunk_size < 1:
        raise LocalProtocolError("chunks have at least one byte", got=chunk_size, section=_SECTION)


# The chunks of a stream have one size, or a few.
_encode_length = lru_cache(maxsize=64)(encode_varint)


def _blank_chunk(size: int) -> bytes:
    """Return the length of a chunk of `size` bytes, and room for its ciphertext."""
    length = _encode_length(size + TAG_SIZE)
    return length.ljust(len(length) + size + TAG_SIZE, b"\x00")


@final
class ChunkOpener(Machine):
    """Open one direction of one exchange as it arrives, in parts of any size. Never holds more than one chunk."""

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
        self._max_chunks = max_chunks
        self._splitter = ChunkSplitter(min_size=TAG_SIZE + 1, max_size=max_chunk + TAG_SIZE, minimal=minimal)

    def receive_data(self, part: Buffer) -> list[bytes]:
        """Take the next bytes and return the content of the chunks that they complete; none of it is empty.

        Raises `DecryptionError` for a chunk that does not open or is empty, `LimitError` for one that is too long or
        one too many, and `DecodeError` for a length that is not minimal where it has to be.
        """
        self._allow(Step.RECEIVE)
        try:
            open_ = self._sequence.open
            plaintexts = [open_(b"", ciphertext) for ciphertext in self._splitter.receive_data(part)]
            self._check_count()
        except BaseException:
            self._fail()
            raise
        return plaintexts

    def receive_eof(self) -> list[bytes]:
        """End the input and return the content of the final chunk, which may be empty, in a list of one.

        Raises `TruncatedError` if the final chunk is not there, and `DecryptionError` if it does not open.
        """
        with self._step(Step.RECEIVE_EOF):
            plaintext = self._sequence.open(_FINAL_AAD, self._splitter.receive_eof())
            self._check_count()
            return [plaintext]

    def _check_count(self) -> None:
        if self._sequence.sequence > self._max_chunks:
            raise LimitError("too many chunks", want=f"at most {self._max_chunks}", section=_SECTION)


def encode_chunk(ciphertext: bytes, *, final: bool = False) -> bytes:
    """Put a ciphertext behind its length, or behind the mark of the final chunk."""
    return (b"\x00" if final else _encode_length(len(ciphertext))) + ciphertext


@final
class ChunkSplitter:
    """Find the ciphertexts in a stream that arrives in parts of any size, without opening them.

    It never holds more than one of them, and copies only those that arrive in several parts.
    """

    def __init__(self, *, min_size: int = 1, max_size: int, minimal: bool = False) -> None:
        """Refuse ciphertexts outside of `min_size` and `max_size` and, with `minimal`, lengths that could be shorter.

        The final ciphertext may be one byte shorter than the others, for it may carry nothing.
        """
        self._min_size = min_size
        self._max_size = max_size
        self._minimal = minimal
        # How long the ciphertext is that comes now: None where a length comes first, 0 for the final chunk.
        self._size: int | None = None
        # The front of a length, or of the final ciphertext.
        self._buffer = bytearray()
        # The front of another ciphertext, and how much of it is there. The room is kept, since the chunks of a stream
        # tend to have one size.
        self._chunk = memoryview(b"")
        self._filled = 0

    def receive_data(self, part: Buffer) -> Iterator[Buffer]:
        """Yield the ciphertexts that `part` completes, each of which is valid until the next one is asked for.

        Raises `DecryptionError` for one that is too short to carry anything, `LimitError` for one that is too long, and
        `DecodeError` for a length that is not minimal but has to be.
        """
        view, end = memoryview(part), len(part)
        position = 0
        while position < end:
            size = self._size
            if size is None:
                position = self._receive_size(view, position, end)
            elif size == 0:
                position = self._receive_final(view, position, end)
            elif self._filled or position + size > end:
                piece = view[position : position + size - self._filled]
                position += len(piece)
                if self._receive_piece(piece, size):
                    self._size = None
                    yield self._chunk[:size]
            else:
                self._size = None
                yield view[position : position + size]
                position += size

    def receive_eof(self) -> bytearray:
        """Return the final ciphertext. Raises `TruncatedError` if the input ends before it."""
        # "endpoints that depend on having a complete message MUST ensure that they do not consider a message complete
        # until having received a chunk with a 0-valued length prefix, which was successfully decrypted using the
        # expected sentinel value" (section 7.1).
        if self._size != 0 or len(self._buffer) < self._min_size - 1:
            raise TruncatedError("the message ends before its final chunk does", section=_SECTION)
        return self._buffer

    def _receive_size(self, view: memoryview, position: int, end: int) -> int:
        """Read a length, or what there is of it, and return the position after it."""
        form, mask = _LENGTHS[(self._buffer[0] if self._buffer else view[position]) >> 6]
        after = position + form.size
        if not self._buffer and after <= end:
            self._size = self._check_size(form.unpack_from(view, position)[0] & mask, form.size)
            return after
        after -= len(self._buffer)
        self._buffer += view[position:after]
        if after <= end:
            self._size = self._check_size(form.unpack(self._buffer)[0] & mask, form.size)
            self._buffer.clear()
        return after

    def _check_size(self, size: int, prefix_size: int) -> int:
        if self._minimal and varint_size(size) != prefix_size:
            raise DecodeError("chunk length is not minimal", got=f"{prefix_size} bytes", section="RFC 9000, section 16")
        if size > self._max_size:
            raise self._too_long(size)
        # An endless run of empty chunks would cost us work and carry nothing, so only the final chunk may be empty.
        if 0 < size < self._min_size:
            raise DecryptionError("empty chunk", got=f"{size} bytes", section=_SECTION)
        return size

    def _receive_piece(self, piece: memoryview, size: int) -> bool:
        """Keep a piece of a ciphertext of `size` bytes, and say whether that is whole."""
        if len(self._chunk) < size:
            self._chunk = memoryview(bytearray(size))
        filled = self._filled + len(piece)
        self._chunk[self._filled : filled] = piece
        self._filled = filled % size
        return filled == size

    def _receive_final(self, view: memoryview, position: int, end: int) -> int:
        """Keep all that comes: the final ciphertext ends with the input."""
        size = len(self._buffer) + end - position
        if size > self._max_size:
            raise self._too_long(size)
        self._buffer += view[position:]
        return end

    def _too_long(self, size: int) -> LimitError:
        return LimitError("chunk too long", got=f"{size} bytes", want=f"at most {self._max_size}", section=_SECTION)
