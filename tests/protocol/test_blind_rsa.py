"""RSA blind signatures (RFC 9474): every variant, every step, and what each of them refuses."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateNumbers, RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import SHA384
from hypothesis import given, strategies as st

from confsec.errors import BackendError, DecodeError, LocalProtocolError, TokenKeyError, TokenSignatureError
from confsec.protocol import blind_rsa, modular
from confsec.protocol.blind_rsa import (
    RSABSSA_SHA384_PSS_DETERMINISTIC,
    RSABSSA_SHA384_PSS_RANDOMIZED,
    RSABSSA_SHA384_PSSZERO_DETERMINISTIC,
    RSABSSA_SHA384_PSSZERO_RANDOMIZED,
    VARIANTS,
    Blinded,
    BlindRsaVariant,
    blind,
    check_blind_sig,
    check_blinded_msg,
    finalize,
    prepare,
    verify,
)
from confsec.protocol.emsa_pss import emsa_pss_encode, emsa_pss_verify, mgf1
from confsec.protocol.rsa_keys import RsaPublicKey
from confsec.testing import seeded_randbytes
from tests.protocol.token_cases import KEYS, OTHER_2048, RSA_2048, KeyPair, scripted

PUBLIC = RSA_2048.public_key
N = PUBLIC.n
MESSAGE = b"a message"
PSS_VARIANT = RSABSSA_SHA384_PSS_DETERMINISTIC

EACH_VARIANT = pytest.mark.parametrize("variant", [pytest.param(each, id=each.name) for each in VARIANTS])


def number(value: int, size: int = 256) -> bytes:
    return value.to_bytes(size, "big")


def blinded(variant: BlindRsaVariant = PSS_VARIANT, *, seed: str = "seed", msg: bytes = MESSAGE) -> Blinded:
    return blind(PUBLIC, msg, variant=variant, randbytes=seeded_randbytes(seed))


def signed(variant: BlindRsaVariant = PSS_VARIANT, *, seed: str = "seed", pair: KeyPair = RSA_2048) -> bytes:
    one = blind(pair.public_key, MESSAGE, variant=variant, randbytes=seeded_randbytes(seed))
    return finalize(
        pair.public_key, MESSAGE, blind_sig=pair.sign(one.blinded_msg), inverse=one.inverse, variant=variant
    )


# --- the whole way


@EACH_VARIANT
@pytest.mark.parametrize("name", ["rsa2048", "rsa3072", "safe4096"])
def test_a_signature_comes_out_of_blinding_signing_and_unblinding(variant: BlindRsaVariant, name: str) -> None:
    pair, randbytes = KEYS[name], seeded_randbytes(name)
    input_msg = prepare(MESSAGE, variant=variant, randbytes=randbytes)
    one = blind(pair.public_key, input_msg, variant=variant, randbytes=randbytes)
    check_blinded_msg(pair.public_key, one.blinded_msg)
    blind_sig = pair.sign(one.blinded_msg)
    sig = finalize(pair.public_key, input_msg, blind_sig=blind_sig, inverse=one.inverse, variant=variant)
    verify(pair.public_key, input_msg, sig, variant=variant)
    assert len(sig) == len(one.blinded_msg) == pair.public_key.modulus_size
    assert sig != blind_sig


@given(st.binary(max_size=300), st.sampled_from(VARIANTS))
def test_any_message_can_be_signed(message: bytes, variant: BlindRsaVariant) -> None:
    randbytes = seeded_randbytes(hashlib.sha256(message).hexdigest())
    input_msg = prepare(message, variant=variant, randbytes=randbytes)
    one = blind(PUBLIC, input_msg, variant=variant, randbytes=randbytes)
    sig = finalize(PUBLIC, input_msg, blind_sig=RSA_2048.sign(one.blinded_msg), inverse=one.inverse, variant=variant)
    with pytest.raises(TokenSignatureError):
        verify(PUBLIC, input_msg + b"x", sig, variant=variant)


def test_variants_have_the_names_and_parameters_of_the_standard() -> None:
    assert {(one.name, one.salt_size, one.randomized) for one in VARIANTS} == {
        ("RSABSSA-SHA384-PSS-Randomized", 48, True),
        ("RSABSSA-SHA384-PSSZERO-Randomized", 0, True),
        ("RSABSSA-SHA384-PSS-Deterministic", 48, False),
        ("RSABSSA-SHA384-PSSZERO-Deterministic", 0, False),
    }


@pytest.mark.parametrize("variant", [RSABSSA_SHA384_PSS_RANDOMIZED, RSABSSA_SHA384_PSSZERO_RANDOMIZED])
def test_randomized_variants_put_32_random_bytes_first(variant: BlindRsaVariant) -> None:
    assert prepare(b"msg", variant=variant, randbytes=scripted(bytes(range(32)))) == bytes(range(32)) + b"msg"


@pytest.mark.parametrize("variant", [RSABSSA_SHA384_PSS_DETERMINISTIC, RSABSSA_SHA384_PSSZERO_DETERMINISTIC])
def test_deterministic_variants_leave_the_message_as_it_is(variant: BlindRsaVariant) -> None:
    assert prepare(b"msg", variant=variant, randbytes=scripted()) == b"msg"


def test_only_without_salt_there_is_one_signature_for_a_message() -> None:
    zero = RSABSSA_SHA384_PSSZERO_DETERMINISTIC
    assert signed(zero, seed="one") == signed(zero, seed="two")
    assert signed(PSS_VARIANT, seed="one") != signed(PSS_VARIANT, seed="two")


def test_blinded_messages_of_one_message_are_unlike() -> None:
    zero = RSABSSA_SHA384_PSSZERO_DETERMINISTIC
    assert blinded(zero, seed="one").blinded_msg != blinded(zero, seed="two").blinded_msg


def test_signature_is_one_of_the_usual_kind() -> None:
    RSAPublicNumbers(65537, N).public_key().verify(signed(), MESSAGE, PSS(MGF1(SHA384()), salt_length=48), SHA384())


@pytest.mark.parametrize("salt_size", [0, 48])
def test_signatures_of_other_libraries_verify(salt_size: int) -> None:
    p, q = RSA_2048.p, RSA_2048.q
    d = pow(65537, -1, (p - 1) * (q - 1))
    numbers = RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), RSAPublicNumbers(65537, N))
    sig = numbers.private_key().sign(MESSAGE, PSS(MGF1(SHA384()), salt_length=salt_size), SHA384())
    for variant in VARIANTS:
        if variant.salt_size == salt_size:
            verify(PUBLIC, MESSAGE, sig, variant=variant)
        else:
            with pytest.raises(TokenSignatureError):
                verify(PUBLIC, MESSAGE, sig, variant=variant)


# --- blind


def test_blind_draws_again_until_the_number_has_an_inverse() -> None:
    salt, good = bytes(48), number(2)
    unfit = [number(0), number(N), b"\xff" * 256, number(RSA_2048.p), number(RSA_2048.q * 5)]
    one = blind(PUBLIC, MESSAGE, variant=PSS_VARIANT, randbytes=scripted(salt, *unfit, good))
    assert one == blind(PUBLIC, MESSAGE, variant=PSS_VARIANT, randbytes=scripted(salt, good))
    assert one.inverse == (N + 1) // 2


@pytest.mark.parametrize("r", [1, N - 1])
def test_blind_takes_the_smallest_and_the_largest_number(r: int) -> None:
    one = blind(PUBLIC, MESSAGE, variant=PSS_VARIANT, randbytes=scripted(bytes(48), number(r)))
    assert one.inverse == r


def test_message_that_shares_a_factor_with_the_modulus_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blind_rsa, "emsa_pss_encode", lambda *args, **options: number(RSA_2048.p * 7))
    with pytest.raises(TokenKeyError, match="shares a factor"):
        blinded()


def test_inverse_is_not_shown() -> None:
    assert "inverse" not in repr(blinded())


# --- finalize and verify


def test_finalize_refuses_what_does_not_verify() -> None:
    one = blinded()
    blind_sig = RSA_2048.sign(one.blinded_msg)

    def attempt(
        sig: bytes = blind_sig,
        *,
        inverse: int = one.inverse,
        msg: bytes = MESSAGE,
        variant: BlindRsaVariant = PSS_VARIANT,
        key: RsaPublicKey = PUBLIC,
    ) -> bytes:
        return finalize(key, msg, blind_sig=sig, inverse=inverse, variant=variant)

    attempt()
    attempts: list[Callable[[], bytes]] = [
        lambda: attempt(number(int.from_bytes(blind_sig, "big") ^ 1)),
        lambda: attempt(one.blinded_msg),
        lambda: attempt(inverse=one.inverse + 1),
        lambda: attempt(msg=MESSAGE + b"!"),
        lambda: attempt(variant=RSABSSA_SHA384_PSSZERO_DETERMINISTIC),
        lambda: attempt(number(1), key=OTHER_2048.public_key),
    ]
    for bad in attempts:
        with pytest.raises(TokenSignatureError):
            bad()


@pytest.mark.parametrize("bad", [b"", bytes(255), bytes(257), number(N), b"\xff" * 256])
def test_finalize_refuses_another_size_and_numbers_above_the_modulus(bad: bytes) -> None:
    with pytest.raises(DecodeError):
        finalize(PUBLIC, MESSAGE, blind_sig=bad, inverse=1, variant=PSS_VARIANT)


@pytest.mark.parametrize("bad", [b"", bytes(255), bytes(256), bytes(257), number(N), b"\xff" * 256])
def test_verify_refuses_what_is_no_signature(bad: bytes) -> None:
    with pytest.raises(TokenSignatureError):
        verify(PUBLIC, MESSAGE, bad, variant=PSS_VARIANT)


def test_verify_does_not_take_a_signature_with_the_modulus_added() -> None:
    sig = int.from_bytes(signed(pair=RSA_2048), "big") + N
    for size in (256, 257):
        if sig.bit_length() <= 8 * size:
            with pytest.raises(TokenSignatureError):
                verify(PUBLIC, MESSAGE, number(sig, size), variant=PSS_VARIANT)


def test_our_own_verification_agrees_with_the_library() -> None:
    # Long exponents of moduli above 3072 bits, which OpenSSL does not take: partially blind signatures have them.
    pair = KEYS["safe4096"]
    long_key = RsaPublicKey(pair.public_key.n, (1 << 100) + 1)
    one = blind(long_key, MESSAGE, variant=PSS_VARIANT, randbytes=seeded_randbytes("long"))
    blind_sig = pair.sign(one.blinded_msg, long_key)
    sig = finalize(long_key, MESSAGE, blind_sig=blind_sig, inverse=one.inverse, variant=PSS_VARIANT)
    verify(long_key, MESSAGE, sig, variant=PSS_VARIANT)
    with pytest.raises(InvalidSignature):  # not for a fault of the signature
        long_key.to_cryptography().verify(sig, MESSAGE, PSS(MGF1(SHA384()), salt_length=48), SHA384())
    for bad in (b"", sig[1:], number(long_key.n, 512), sig[:-1] + bytes([sig[-1] ^ 1]), bytes(512)):
        with pytest.raises(TokenSignatureError):
            verify(long_key, MESSAGE, bad, variant=PSS_VARIANT)
    with pytest.raises(TokenSignatureError):
        verify(long_key, MESSAGE + b"!", sig, variant=PSS_VARIANT)
    with pytest.raises(TokenSignatureError):
        verify(long_key, MESSAGE, sig, variant=RSABSSA_SHA384_PSSZERO_DETERMINISTIC)


# --- the signer's checks


@pytest.mark.parametrize("bad", [0, RSA_2048.p, RSA_2048.q * 3, N, N + 1])
def test_signer_refuses_messages_without_an_inverse_and_above_the_modulus(bad: int) -> None:
    with pytest.raises(DecodeError):
        check_blinded_msg(PUBLIC, number(bad))


@pytest.mark.parametrize("size", [0, 255, 257])
def test_signer_refuses_messages_of_another_size(size: int) -> None:
    with pytest.raises(DecodeError, match="size"):
        check_blinded_msg(PUBLIC, b"\x01" * size)


def test_signer_takes_the_smallest_and_the_largest_number() -> None:
    check_blinded_msg(PUBLIC, number(1))
    check_blinded_msg(PUBLIC, number(N - 1))


@given(st.integers(0, 2047))
def test_no_flipped_bit_leaves_the_signer(bit: int) -> None:
    message = blinded().blinded_msg
    blind_sig = int.from_bytes(GOOD, "big") ^ (1 << bit)
    with pytest.raises(BackendError):
        check_blind_sig(PUBLIC, message, number(blind_sig))


@pytest.mark.parametrize("bad", [b"", bytes(255), bytes(257), number(N), number(1), number(0)])
def test_no_other_result_leaves_the_signer(bad: bytes) -> None:
    with pytest.raises(BackendError):
        check_blind_sig(PUBLIC, blinded().blinded_msg, bad)


def test_a_result_for_a_message_of_another_size_does_not_leave_the_signer() -> None:
    check_blind_sig(PUBLIC, blinded().blinded_msg, GOOD)
    with pytest.raises(BackendError):
        check_blind_sig(PUBLIC, b"\x00" + blinded().blinded_msg, GOOD)


def test_a_fault_in_one_half_of_the_key_would_show_a_factor_and_does_not_leave() -> None:
    message = int.from_bytes(blinded().blinded_msg, "big")
    # As from a signer whose computation modulo q went wrong: right modulo p only.
    faulty = (int.from_bytes(GOOD, "big") + RSA_2048.p) % N
    assert (pow(faulty, 65537, N) - message) % RSA_2048.p == 0
    with pytest.raises(BackendError, match="not released"):
        check_blind_sig(PUBLIC, number(message), number(faulty))


GOOD = RSA_2048.sign(blinded().blinded_msg)


# --- the encoding


def test_encoding_fills_the_bits_and_no_more() -> None:
    for bits in (2041, 2047, 2048):
        encoded = emsa_pss_encode(MESSAGE, bits, salt=bytes(48))
        assert len(encoded) == (bits + 7) // 8
        assert int.from_bytes(encoded, "big").bit_length() <= bits
        assert encoded[-1] == 0xBC
        emsa_pss_verify(MESSAGE, encoded, bits, salt_size=48)


@pytest.mark.parametrize("salt_size", [0, 20, 48])
def test_encoding_needs_room_for_digest_and_salt(salt_size: int) -> None:
    bits = 8 * (48 + salt_size + 2)
    encoded = emsa_pss_encode(MESSAGE, bits, salt=bytes(salt_size))
    emsa_pss_verify(MESSAGE, encoded, bits, salt_size=salt_size)
    with pytest.raises(LocalProtocolError, match="too short"):
        emsa_pss_encode(MESSAGE, bits - 8, salt=bytes(salt_size))
    with pytest.raises(TokenSignatureError):
        emsa_pss_verify(MESSAGE, encoded[1:], bits - 8, salt_size=salt_size)


@given(st.integers(0, 2047))
def test_encoding_with_one_other_bit_is_refused(bit: int) -> None:
    encoded = emsa_pss_encode(MESSAGE, 2047, salt=b"s" * 48)
    with pytest.raises(TokenSignatureError):
        emsa_pss_verify(MESSAGE, number(int.from_bytes(encoded, "big") ^ (1 << bit)), 2047, salt_size=48)


def test_encoding_of_another_size_is_refused() -> None:
    encoded = emsa_pss_encode(MESSAGE, 2047, salt=b"s" * 48)
    for bad in (encoded[1:], b"\x00" + encoded, b""):
        with pytest.raises(TokenSignatureError):
            emsa_pss_verify(MESSAGE, bad, 2047, salt_size=48)


def test_mask_of_any_size_begins_with_the_shorter_one() -> None:
    long = mgf1(b"seed", 200, "sha384")
    assert len(long) == 200
    assert all(mgf1(b"seed", size, "sha384") == long[:size] for size in range(200))
    assert mgf1(b"foo", 5, "sha1").hex() == "1ac9075cd4"


# --- modular numbers


@given(st.integers(1, N - 1), st.integers(0, 1 << 70))
def test_both_implementations_give_the_same_numbers(value: int, exponent: int) -> None:
    assert modular.mulmod(value, exponent, N) == modular._python_mulmod(value, exponent, N)
    assert modular.powmod(value, exponent, N) == modular._python_powmod(value, exponent, N)
    assert modular.invert(value, N) == modular._python_invert(value, N)


def test_without_gmpy2_python_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gmpy2", None)
    assert modular._choose() == (modular._python_mulmod, modular._python_powmod, modular._python_invert)


def test_with_gmpy2_it_computes() -> None:
    pytest.importorskip("gmpy2")
    mulmod, powmod, invert = modular._choose()
    assert powmod is not modular._python_powmod
    assert type(mulmod(3, 5, N)) is type(powmod(3, 65537, N)) is type(invert(3, N)) is int
    with pytest.raises(ValueError, match="invertible"):
        invert(RSA_2048.p, N)


@pytest.mark.parametrize("invert", [modular.invert, modular._python_invert])
def test_what_has_no_inverse_raises(invert: Callable[[int, int], int]) -> None:
    for value in (0, RSA_2048.p, RSA_2048.q * 2):
        with pytest.raises(ValueError, match="invertible"):
            invert(value, N)
