from __future__ import annotations

import copy
import mmap
import pickle
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from hypothesis import given, strategies as st

from confsec.errors import DecryptionError, LocalProtocolError, UnsupportedError
from confsec.protocol.aead import MAX_SEQUENCE, Aead, AeadSequence, aead_from_id

KEY, NONCE = bytes(range(32)), bytes(range(100, 112))
SEALING = [Aead.AES_128_GCM, Aead.AES_256_GCM, Aead.CHACHA20_POLY1305]


def sequence_of(aead: Aead = Aead.AES_128_GCM, *, limit: int | None = None) -> AeadSequence:
    return AeadSequence(aead, KEY[: aead.key_size], NONCE, limit=limit)


def nonce_of(number: int) -> bytes:
    return bytes(left ^ right for left, right in zip(NONCE, number.to_bytes(12, "big"), strict=True))


@pytest.mark.parametrize(
    "aead, aead_id, key_size", [("AES_128_GCM", 1, 16), ("AES_256_GCM", 2, 32), ("CHACHA20_POLY1305", 3, 32)]
)
def test_registry_has_the_ids_and_sizes_of_rfc_9180(aead: str, aead_id: int, key_size: int) -> None:
    found = aead_from_id(aead_id)
    assert (found.name, found.aead_id, found.key_size) == (aead, aead_id, key_size)
    assert (found.nonce_size, found.tag_size) == (12, 16)
    assert found.value == aead_id


def test_export_only_has_no_key_and_no_cipher() -> None:
    aead = aead_from_id(0xFFFF)
    assert (aead.key_size, aead.nonce_size, aead.tag_size) == (0, 0, 0)
    with pytest.raises(LocalProtocolError, match="export-only"):
        AeadSequence(aead, b"", NONCE)


def test_unknown_aead_is_unsupported() -> None:
    with pytest.raises(UnsupportedError, match="0x0004"):
        aead_from_id(4)


@pytest.mark.parametrize("aead", SEALING)
def test_message_i_is_sealed_under_base_nonce_xor_i(aead: Aead) -> None:
    cipher = (ChaCha20Poly1305 if aead is Aead.CHACHA20_POLY1305 else AESGCM)(KEY[: aead.key_size])
    sequence = sequence_of(aead)
    for number in range(300):
        assert sequence.sequence == number
        assert sequence.seal(b"aad", b"text") == cipher.encrypt(nonce_of(number), b"text", b"aad")


def test_large_numbers_reach_the_front_of_the_nonce() -> None:
    sequence = sequence_of()
    sequence._sequence = number = MAX_SEQUENCE - 1
    assert sequence.seal(b"", b"") == AESGCM(KEY[:16]).encrypt(nonce_of(number), b"", b"")


@given(st.lists(st.tuples(st.binary(), st.binary(), st.booleans()), max_size=8), st.sampled_from(SEALING))
def test_what_is_sealed_opens_with_and_without_own_buffers(
    messages: list[tuple[bytes, bytes, bool]], aead: Aead
) -> None:
    sealer, opener = sequence_of(aead), sequence_of(aead)
    for aad, plaintext, into in messages:
        if into:
            ciphertext, opened = bytearray(len(plaintext) + 16), bytearray(len(plaintext))
            sealer.seal_into(aad, plaintext, memoryview(ciphertext))
            opener.open_into(aad, memoryview(ciphertext), opened)
            assert opened == plaintext
        else:
            assert opener.open(aad, sealer.seal(aad, plaintext)) == plaintext


def open_plainly(opener: AeadSequence, aad: bytes, ciphertext: bytes) -> object:
    return opener.open(aad, ciphertext)


def open_into(opener: AeadSequence, aad: bytes, ciphertext: bytes) -> None:
    opener.open_into(aad, ciphertext, bytearray(max(0, len(ciphertext) - 16)))


@pytest.mark.parametrize("open_one", [open_plainly, open_into])
@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda aad, ct: (aad + b"x", ct), id="other aad"),
        pytest.param(lambda aad, ct: (aad, ct[:-1] + bytes((ct[-1] ^ 1,))), id="changed tag"),
        pytest.param(lambda aad, ct: (aad, bytes((ct[0] ^ 1,)) + ct[1:]), id="changed text"),
        pytest.param(lambda aad, ct: (aad, ct[:-1]), id="cut"),
        pytest.param(lambda aad, ct: (aad, ct[:15]), id="shorter than a tag"),
        pytest.param(lambda aad, ct: (aad, b""), id="empty"),
    ],
)
def test_what_does_not_open_ends_the_sequence(
    open_one: Callable[[AeadSequence, bytes, bytes], object],
    spoil: Callable[[bytes, bytes], tuple[bytes, bytes]],
) -> None:
    opener = sequence_of()
    good = sequence_of().seal(b"aad", b"text")
    with pytest.raises(DecryptionError, match=r"^the message does not open$"):
        open_one(opener, *spoil(b"aad", good))
    for _ in range(2):
        with pytest.raises(LocalProtocolError, match="this sequence is over"):
            opener.open(b"aad", good)


def test_reordered_and_repeated_messages_do_not_open() -> None:
    sealer = sequence_of()
    first, second = sealer.seal(b"", b"first"), sealer.seal(b"", b"second")
    with pytest.raises(DecryptionError):
        sequence_of().open(b"", second)
    opener = sequence_of()
    opener.open(b"", first)
    with pytest.raises(DecryptionError):
        opener.open(b"", first)


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_limit_is_kept_on_both_ends(limit: int) -> None:
    sealer, opener = sequence_of(limit=limit), sequence_of(limit=limit)
    for _ in range(limit):
        opener.open(b"", sealer.seal(b"", b"text"))
    with pytest.raises(LocalProtocolError, match="no sequence numbers are left"):
        sealer.seal(b"", b"text")
    with pytest.raises(LocalProtocolError, match="no sequence numbers are left"):
        opener.open(b"", bytes(16))


def test_counter_stops_before_it_would_wrap() -> None:
    sequence = sequence_of(limit=MAX_SEQUENCE + 5)
    sequence._sequence = MAX_SEQUENCE - 1
    sequence.seal(b"", b"")
    with pytest.raises(LocalProtocolError, match="no sequence numbers are left"):
        sequence.seal(b"", b"")
    assert sequence.sequence == MAX_SEQUENCE == 2**96 - 1


@pytest.mark.parametrize("aead", SEALING)
@pytest.mark.parametrize("size", [0, 15, 17, 24, 31, 33])
def test_key_of_another_size_is_refused(aead: Aead, size: int) -> None:
    with pytest.raises(LocalProtocolError, match="key does not fit"):
        AeadSequence(aead, bytes(size), NONCE)


@pytest.mark.parametrize("size", [0, 8, 11, 13])
def test_nonce_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(LocalProtocolError, match="base nonce"):
        AeadSequence(Aead.AES_128_GCM, bytes(16), bytes(size))


@pytest.mark.parametrize("size", [0, 19, 21])
def test_sealing_into_a_buffer_that_does_not_fit_uses_the_number_up(size: int) -> None:
    sequence = sequence_of()
    with pytest.raises(LocalProtocolError, match="buffer does not fit"):
        sequence.seal_into(b"", b"text", bytearray(size))
    assert sequence.sequence == 1


@pytest.mark.parametrize("size", [0, 3, 5])
def test_opening_into_a_buffer_that_does_not_fit_ends_the_sequence(size: int) -> None:
    opener = sequence_of()
    ciphertext = sequence_of().seal(b"", b"text")
    with pytest.raises(LocalProtocolError, match="buffer does not fit"):
        opener.open_into(b"", ciphertext, bytearray(size))
    with pytest.raises(LocalProtocolError, match="this sequence is over"):
        opener.open(b"", ciphertext)


def test_messages_that_are_too_long_for_openssl_are_not_sealed() -> None:
    # 2 GiB of address space that nobody touches: the length alone is refused.
    with mmap.mmap(-1, 2**31) as mapped, memoryview(mapped) as huge:
        with pytest.raises(LocalProtocolError, match="too long"):
            sequence_of().seal(b"", huge)
        with pytest.raises(LocalProtocolError, match="does not fit"):
            sequence_of().seal_into(b"", huge, bytearray(20))


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, pickle.dumps, *(lambda obj, p=p: obj.__reduce_ex__(p) for p in range(6))],
)
def test_a_sequence_cannot_be_copied_or_pickled(duplicate: Callable[[object], object]) -> None:
    with pytest.raises(LocalProtocolError, match="AeadSequence cannot be copied"):
        duplicate(sequence_of())


def test_a_sequence_cannot_be_rewound() -> None:
    with pytest.raises(AttributeError):
        sequence_of().sequence = 0  # type: ignore[misc]


def test_repr_shows_no_key() -> None:
    sequence = sequence_of()
    assert KEY[:16].hex() not in repr(sequence)
    assert repr(KEY[:16]) not in repr(sequence)
