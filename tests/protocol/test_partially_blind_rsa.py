"""Partially blind RSA signatures (draft-irtf-cfrg-partially-blind-rsa)."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from confsec.errors import ConfigError, DecodeError, TokenSignatureError, UnsupportedError
from confsec.protocol import blind_rsa
from confsec.protocol.blind_rsa import BlindRsaVariant
from confsec.protocol.partially_blind_rsa import (
    RSAPBSSA_SHA384_PSS_DETERMINISTIC,
    VARIANTS,
    _is_probable_prime,
    blind,
    check_safe_primes,
    derive_public_key,
    finalize,
    prepare,
    verify,
)
from confsec.testing import seeded_randbytes
from tests.protocol.token_cases import KEYS, RSA_2048, SAFE_2048, KeyPair

INFO = b"metadata"
MESSAGE = b"a message"
PSS_VARIANT = RSAPBSSA_SHA384_PSS_DETERMINISTIC


def sign(pair: KeyPair, variant: BlindRsaVariant = PSS_VARIANT, *, info: bytes = INFO) -> tuple[bytes, bytes]:
    """Return a prepared message and the signature over it."""
    randbytes = seeded_randbytes("partially blind")
    input_msg = prepare(MESSAGE, variant=variant, randbytes=randbytes)
    one = blind(pair.public_key, input_msg, info, variant=variant, randbytes=randbytes)
    blind_sig = pair.sign(one.blinded_msg, derive_public_key(pair.public_key, info))
    return input_msg, finalize(
        pair.public_key, input_msg, info, blind_sig=blind_sig, inverse=one.inverse, variant=variant
    )


@pytest.mark.parametrize("variant", [pytest.param(each, id=each.name) for each in VARIANTS])
def test_a_signature_comes_out_and_shows_its_metadata(variant: BlindRsaVariant) -> None:
    input_msg, sig = sign(SAFE_2048, variant)
    verify(SAFE_2048.public_key, input_msg, INFO, sig, variant=variant)
    for info in (b"", b"Metadata", INFO + b"\x00"):
        with pytest.raises(TokenSignatureError):
            verify(SAFE_2048.public_key, input_msg, info, sig, variant=variant)
    with pytest.raises(TokenSignatureError):
        verify(SAFE_2048.public_key, b"another message", INFO, sig, variant=variant)


def test_keys_of_4096_bits_sign_under_metadata() -> None:
    pair = KEYS["safe4096"]
    input_msg, sig = sign(pair)
    verify(pair.public_key, input_msg, INFO, sig, variant=PSS_VARIANT)
    with pytest.raises(TokenSignatureError):
        verify(pair.public_key, input_msg, b"other", sig, variant=PSS_VARIANT)


def test_metadata_and_message_do_not_run_into_each_other() -> None:
    # The length of the metadata is signed too: "ab" + "c" is another message than "a" + "bc".
    input_msg, sig = sign(SAFE_2048, info=b"metadata")
    derived = derive_public_key(SAFE_2048.public_key, b"metadata")
    message = b"msg" + b"\x00\x00\x00\x08" + b"metadata" + input_msg
    blind_rsa.verify(derived, message, sig, variant=PSS_VARIANT)


def test_finalize_refuses_the_signature_of_the_key_itself() -> None:
    one = blind(SAFE_2048.public_key, MESSAGE, INFO, variant=PSS_VARIANT, randbytes=seeded_randbytes("own"))
    blind_sig = SAFE_2048.sign(one.blinded_msg)
    with pytest.raises(TokenSignatureError):
        finalize(SAFE_2048.public_key, MESSAGE, INFO, blind_sig=blind_sig, inverse=one.inverse, variant=PSS_VARIANT)
    with pytest.raises(DecodeError):
        finalize(SAFE_2048.public_key, MESSAGE, INFO, blind_sig=blind_sig[1:], inverse=one.inverse, variant=PSS_VARIANT)


@given(st.binary(max_size=100))
def test_every_derived_exponent_has_an_inverse(info: bytes) -> None:
    derived = derive_public_key(SAFE_2048.public_key, info)
    assert derived.n == SAFE_2048.public_key.n
    assert derived.e % 2 == 1
    assert derived.e < 1 << 1022
    assert pow(derived.e, -1, (SAFE_2048.p - 1) * (SAFE_2048.q - 1))


def test_derived_exponents_differ_by_key_and_metadata() -> None:
    exponents = {
        derive_public_key(pair.public_key, info).e for pair in (RSA_2048, SAFE_2048) for info in (b"", b"a", b"b")
    }
    assert len(exponents) == 6


def test_modulus_that_is_no_power_of_two_long_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="3072"):
        derive_public_key(KEYS["rsa3072"].public_key, INFO)


def test_variants_have_the_names_and_parameters_of_the_draft() -> None:
    assert {(one.name, one.salt_size, one.randomized) for one in VARIANTS} == {
        ("RSAPBSSA-SHA384-PSS-Randomized", 48, True),
        ("RSAPBSSA-SHA384-PSSZERO-Randomized", 0, True),
        ("RSAPBSSA-SHA384-PSS-Deterministic", 48, False),
        ("RSAPBSSA-SHA384-PSSZERO-Deterministic", 0, False),
    }


# --- safe primes


@pytest.mark.parametrize("name", ["safe2048", "safe4096"])
def test_two_safe_primes_of_one_length_are_taken(name: str) -> None:
    check_safe_primes(KEYS[name].p, KEYS[name].q)


@pytest.mark.parametrize(
    "p, q",
    [
        pytest.param(SAFE_2048.p, SAFE_2048.p, id="the same twice"),
        pytest.param(SAFE_2048.p, KEYS["safe4096"].q, id="of two lengths"),
        pytest.param(SAFE_2048.p, RSA_2048.q, id="a prime that is not safe"),
        pytest.param(RSA_2048.p, SAFE_2048.q, id="a prime that is not safe, first"),
        pytest.param(SAFE_2048.p, SAFE_2048.q + 2, id="no prime"),
        pytest.param(13, 11, id="not both safe"),
    ],
)
def test_other_numbers_are_refused(p: int, q: int) -> None:
    with pytest.raises(ConfigError, match="safe primes"):
        check_safe_primes(p, q)


def test_small_numbers_are_prime_as_they_are() -> None:
    primes = [n for n in range(-3, 2000) if n > 1 and all(n % d for d in range(2, n))]
    assert [n for n in range(-3, 2000) if _is_probable_prime(n)] == primes


@pytest.mark.parametrize("n", [561, 2047, 3215031751, 3825123056546413051, 229 * 233, 65537 * 65539])
def test_numbers_that_deceive_simpler_tests_are_not_prime(n: int) -> None:
    assert not _is_probable_prime(n)


@pytest.mark.parametrize(
    "n", [65537, (1 << 61) - 1, (1 << 127) - 1, 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF]
)
def test_large_primes_are_prime(n: int) -> None:
    assert _is_probable_prime(n)
