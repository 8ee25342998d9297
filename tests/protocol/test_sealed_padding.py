"""Chunk plaintexts of one length, and the buckets of requests."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from confsec.errors import DecodeError, LocalProtocolError
from confsec.protocol.sealed_padding import (
    REQUEST_BUCKETS,
    REQUEST_CHUNK_SIZE,
    bucket_for,
    check_chunk_size,
    check_one_length,
    pad,
    pad_all,
    unpad,
)

CONTENT = st.binary(max_size=300) | st.text("\x00\x01", max_size=300).map(str.encode)


@given(CONTENT, st.integers(1, 40))
def test_padding_comes_off(content: bytes, more: int) -> None:
    padded = pad(content, len(content) + more)
    assert len(padded) == len(content) + more
    assert unpad(padded) == content


@pytest.mark.parametrize("plaintext", [b"", b"\x00", bytes(300), b"\x02", b"content", b"\x01\x02\x00"])
def test_padding_without_its_01_is_refused(plaintext: bytes) -> None:
    with pytest.raises(DecodeError, match="0x01"):
        unpad(plaintext)


@given(CONTENT, st.integers(2, 50), st.integers(0, 8))
def test_chunks_hold_all_content_and_have_one_length(content: bytes, size: int, count: int) -> None:
    padded = pad_all(content, size, count=count)
    chunks = [padded[start : start + size] for start in range(0, len(padded), size)]
    assert all(len(chunk) == size for chunk in chunks)
    assert b"".join(map(unpad, chunks)) == content
    assert len(chunks) == max(count, -(-len(content) // (size - 1)))


def test_no_content_needs_no_chunk() -> None:
    assert pad_all(b"", 256) == b""


def test_buckets_are_powers_of_two_from_4_kib_to_8_mib() -> None:
    assert tuple(1024 * size for size in (4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)) == REQUEST_BUCKETS


@given(st.integers(0, 512 * 16383))
def test_smallest_bucket_that_holds_the_request_is_taken(size: int) -> None:
    chunk_size, count = bucket_for(size)
    assert chunk_size * count in REQUEST_BUCKETS
    assert chunk_size == min(chunk_size * count, REQUEST_CHUNK_SIZE)
    assert size <= count * (chunk_size - 1)
    smaller = [bucket for bucket in REQUEST_BUCKETS if bucket < chunk_size * count]
    assert all(size > bucket - max(1, bucket // REQUEST_CHUNK_SIZE) for bucket in smaller)


@pytest.mark.parametrize("size, want", [(0, 4096), (4095, 4096), (4096, 8192), (16383, 16384), (16384, 32768)])
def test_bucket_holds_one_byte_less_for_each_chunk(size: int, want: int) -> None:
    chunk_size, count = bucket_for(size)
    assert chunk_size * count == want


def test_request_larger_than_the_largest_bucket_is_refused() -> None:
    assert bucket_for(512 * 16383) == (16384, 512)
    with pytest.raises(LocalProtocolError, match="largest bucket"):
        bucket_for(512 * 16383 + 1)


def test_buckets_may_come_in_any_order() -> None:
    assert bucket_for(300, (32768, 512, 256)) == (512, 1)


@pytest.mark.parametrize("buckets", [(255,), (16385,), (20000,), (0,)])
def test_bucket_that_cannot_be_made_is_refused(buckets: tuple[int, ...]) -> None:
    with pytest.raises(LocalProtocolError):
        bucket_for(10, buckets)


@pytest.mark.parametrize("size", [256, 1024, 65536])
def test_chunk_size_within_limits_is_taken(size: int) -> None:
    assert check_chunk_size(size) == size
    assert check_one_length(None, bytes(size)) == size
    assert check_one_length(size, bytes(size)) == size


@pytest.mark.parametrize("size", [0, 255, 65537])
def test_chunk_size_outside_limits_is_refused(size: int) -> None:
    with pytest.raises(LocalProtocolError):
        check_chunk_size(size)
    with pytest.raises(DecodeError, match="no legal length"):
        check_one_length(None, bytes(size))


@pytest.mark.parametrize("size", [256, 299, 301])
def test_chunk_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(DecodeError, match="different lengths"):
        check_one_length(300, bytes(size))
