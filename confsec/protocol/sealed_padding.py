"""Padding of chunk plaintexts, and the sizes that requests are padded to (docs/spec/sealed-request.md, section 5.3).

A chunk plaintext is `content ‖ 0x01 ‖ 0x00*`, and all chunks of a message have one length. So an observer counts
chunks, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from confsec.errors import DecodeError, LocalProtocolError

__all__ = [
    "MAX_CHUNK_SIZE",
    "MIN_CHUNK_SIZE",
    "REQUEST_BUCKETS",
    "REQUEST_CHUNK_SIZE",
    "RESPONSE_CHUNK_SIZE",
    "bucket_for",
    "check_chunk_size",
    "check_one_length",
    "pad",
    "pad_all",
    "unpad",
]

MIN_CHUNK_SIZE: Final = 256
"""Shorter chunks would cost a receiver an AEAD call for a few bytes: four million of them in a request of 8 MiB."""

MAX_CHUNK_SIZE: Final = 65536
"""A receiver holds one chunk in memory, and no longer one than this."""

REQUEST_CHUNK_SIZE: Final = 16384
"""The longest chunk plaintext of a request: long enough that its tag and length cost nothing (0.1 %)."""

RESPONSE_CHUNK_SIZE: Final = 1024
"""The chunk plaintext of a response: one server-sent event of a chat completion (200 to 400 bytes) fits in one chunk,
and the chunk fits with all outer layers in one TCP segment (1460 bytes). So nearly every token is one packet of one
length, whatever the token is."""

REQUEST_BUCKETS: Final = tuple(1 << power for power in range(12, 24))
"""4 KiB to 8 MiB by powers of two: twelve sizes, so a request tells less than four bits of its length."""

_SECTION = "sealed request, section 5.3"
_MARK = b"\x01"


def pad(content: bytes, size: int) -> bytes:
    """Pad `content`, which is shorter than `size`, to a chunk plaintext of `size` bytes."""
    return (content + _MARK).ljust(size, b"\x00")


def unpad(plaintext: bytes) -> bytes:
    """Return the content of a chunk plaintext. Raises `DecodeError` where the 0x01 is missing.

    Only those who have the key can have written the padding, so how long this takes is no oracle.
    """
    marked = plaintext.rstrip(b"\x00")
    if not marked.endswith(_MARK):
        raise DecodeError("padding lacks its 0x01", got=f"{len(plaintext)} bytes", section=_SECTION)
    return marked[:-1]


def pad_all(content: bytes, size: int, *, count: int = 0) -> bytes:
    """Return `content` as chunk plaintexts of `size` bytes, one behind the other, the last of them all filler.

    There are as many as hold it, so none for no content, and at least `count`.
    """
    room = size - 1
    chunks = [pad(content[start : start + room], size) for start in range(0, len(content), room)]
    return b"".join(chunks) + pad(b"", size) * (count - len(chunks))


def check_chunk_size(size: int) -> int:
    """Check a chunk plaintext's length that we are asked to use. Raises `LocalProtocolError`."""
    if not MIN_CHUNK_SIZE <= size <= MAX_CHUNK_SIZE:
        want = f"{MIN_CHUNK_SIZE} to {MAX_CHUNK_SIZE}"
        raise LocalProtocolError("chunks cannot have this length", got=size, want=want, section=_SECTION)
    return size


def check_one_length(before: int | None, plaintext: bytes) -> int:
    """Check that a chunk plaintext is as long as those before it, and return that length. Raises `DecodeError`."""
    size = len(plaintext)
    if not MIN_CHUNK_SIZE <= size <= MAX_CHUNK_SIZE:
        want = f"{MIN_CHUNK_SIZE} to {MAX_CHUNK_SIZE} bytes"
        raise DecodeError("chunk plaintext has no legal length", got=f"{size} bytes", want=want, section=_SECTION)
    if before is not None and size != before:
        raise DecodeError("chunks have different lengths", got=f"{size} bytes", want=before, section=_SECTION)
    return size


def bucket_for(content_size: int, buckets: Sequence[int] = REQUEST_BUCKETS) -> tuple[int, int]:
    """Return chunk length and number of chunks of the smallest bucket that holds the content.

    A bucket is the length of all chunk plaintexts together: a chunk of its own where it is at most 16 KiB, else a
    multiple of that. Raises `LocalProtocolError` if no bucket is large enough or one cannot be made.
    """
    for bucket in sorted(buckets):
        size = check_chunk_size(min(bucket, REQUEST_CHUNK_SIZE))
        count, left_over = divmod(bucket, size)
        if left_over:
            raise LocalProtocolError("a bucket is no whole number of chunks", got=bucket, section=_SECTION)
        if content_size <= count * (size - 1):
            return size, count
    raise LocalProtocolError("request is larger than the largest bucket", got=content_size, section=_SECTION)
