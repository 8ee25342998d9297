"""RSA public keys and their one SubjectPublicKeyInfo (RFC 9578, section 6.5)."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key
from hypothesis import given, strategies as st

from confsec.errors import DecodeError
from confsec.protocol.rsa_keys import RsaPublicKey
from confsec.testing import check_any_bytes
from tests.protocol.token_cases import KEYS, RSA_2048

KEY = RSA_2048.public_key
SPKI = KEY.to_spki()


@pytest.mark.parametrize("name", KEYS)
def test_keys_of_all_sizes_encode_and_decode(name: str) -> None:
    key = KEYS[name].public_key
    assert RsaPublicKey.from_spki(key.to_spki()) == key
    assert key.modulus_size == int(name[-4:]) // 8
    assert key.spki_digest() == hashlib.sha256(key.to_spki()).digest()


def test_keys_with_long_exponents_encode_and_decode() -> None:
    # Contents of 127, 128 and 129 bytes are where DER changes the form of the length.
    for e in (3, 127, 129, (1 << 1014) + 1, (1 << 1022) + 1, (1 << 1023) + 1, KEY.n - 2):
        key = RsaPublicKey(KEY.n, e)
        assert RsaPublicKey.from_spki(key.to_spki()) == key


def test_other_libraries_read_our_keys() -> None:
    read = load_der_public_key(SPKI)
    assert isinstance(read, RSAPublicKey)
    assert read.public_numbers() == KEY.to_cryptography().public_numbers()


@pytest.mark.parametrize(
    "n",
    [
        pytest.param(RSA_2048.p, id="1024 bits"),
        pytest.param(KEY.n >> 8 | 1, id="2040 bits"),
        pytest.param(KEY.n >> 1 | 1, id="2047 bits"),
        pytest.param(KEY.n << 1 | 1, id="2049 bits"),
        pytest.param(1 << 8199 | 1, id="8200 bits"),
        pytest.param(0, id="zero"),
        pytest.param(-KEY.n, id="negative"),
    ],
)
def test_modulus_of_another_size_is_refused(n: int) -> None:
    with pytest.raises(DecodeError, match="size"):
        RsaPublicKey(n, 65537)


def without_small_factor(n: int) -> int:
    """Return the next number of the same parity that no small odd number divides, as a good modulus looks."""
    while any(n % d == 0 for d in range(3, 2000, 2)):
        n += 2
    return n


@pytest.mark.parametrize(
    "n",
    [
        pytest.param(without_small_factor(KEY.n + 1), id="even"),
        pytest.param(RSA_2048.p**2, id="square"),
        pytest.param(3 * without_small_factor((1 << 2047) // 3 + 2 | 1), id="multiple of 3"),
        pytest.param(1999 * without_small_factor((1 << 2047) // 1999 + 2 | 1), id="multiple of 1999"),
    ],
)
def test_modulus_of_another_shape_is_refused(n: int) -> None:
    with pytest.raises(DecodeError, match="two large primes"):
        RsaPublicKey(n, 65537)


def test_modulus_of_the_same_shape_is_taken() -> None:
    assert RsaPublicKey(without_small_factor(KEY.n + 2), 65537).modulus_size == 256


@pytest.mark.parametrize("e", [-3, 0, 1, 2, 4, 65536, KEY.n, KEY.n + 2])
def test_exponent_that_cannot_be_used_is_refused(e: int) -> None:
    with pytest.raises(DecodeError, match="exponent"):
        RsaPublicKey(KEY.n, e)


def test_the_smallest_and_the_largest_exponent_are_taken() -> None:
    assert RsaPublicKey(KEY.n, 3).e == 3
    assert RsaPublicKey(KEY.n, KEY.n - 2).e == KEY.n - 2


def test_the_longest_modulus_is_taken() -> None:
    assert RsaPublicKey(KEYS["safe4096"].public_key.n ** 2 // 3**5 | 1 << 8191 | 1, 3).modulus_size == 1024


@given(st.integers(0, len(SPKI) - 1), st.integers(1, 255))
def test_no_changed_byte_gives_the_same_key(place: int, change: int) -> None:
    changed = bytearray(SPKI)
    changed[place] ^= change
    try:
        key = RsaPublicKey.from_spki(bytes(changed))
    except DecodeError:
        return
    assert key != KEY
    assert key.to_spki() == bytes(changed)


def test_any_cut_is_refused() -> None:
    for size in range(len(SPKI)):
        with pytest.raises(DecodeError):
            RsaPublicKey.from_spki(SPKI[:size])


@given(st.binary(max_size=400))
def test_any_bytes_are_a_key_or_refused(data: bytes) -> None:
    check_any_bytes(RsaPublicKey.from_spki, data)


@given(st.binary(max_size=300))
def test_any_bytes_after_the_algorithm_are_a_key_or_refused(data: bytes) -> None:
    check_any_bytes(RsaPublicKey.from_spki, SPKI[:4] + SPKI[4:67] + data)


@pytest.mark.parametrize(
    "length", [b"\x80", b"\x81\x10", b"\x83\x00\x01\x52", b"\x84\x7f\xff\xff\xff", b"\xff\xff\xff"]
)
def test_lengths_in_other_forms_are_refused(length: bytes) -> None:
    with pytest.raises(DecodeError):
        RsaPublicKey.from_spki(b"\x30" + length + SPKI[4:])


def test_elements_of_another_tag_are_refused() -> None:
    for place in (0, 4, 67):
        with pytest.raises(DecodeError):
            RsaPublicKey.from_spki(SPKI[:place] + b"\x31" + SPKI[place + 1 :])
