"""Key configurations, lists of them, and the choice among them (RFC 9458, section 3)."""

from __future__ import annotations

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from confsec.errors import DecodeError, LimitError, LocalProtocolError, TruncatedError, UnsupportedError
from confsec.protocol.aead import Aead
from confsec.protocol.kdf import Kdf
from confsec.protocol.kem import KEMS, Kem
from confsec.protocol.key_config import (
    MAX_KEY_CONFIGS,
    MAX_SYMMETRIC_SUITES,
    KeyConfig,
    SymmetricSuite,
    choose_key_config,
    decode_key_configs,
    encode_key_configs,
)
from confsec.testing import check_any_bytes, check_round_trip
from tests.protocol.ohttp_cases import make_key

SUITE = SymmetricSuite(0x0001, 0x0001)
UNKNOWN = SymmetricSuite(0x7777, 0x0001)
X25519 = KeyConfig(3, 0x0020, bytes(32), (SUITE,))


def encoded(*configs: KeyConfig) -> bytes:
    return encode_key_configs(configs)


@pytest.mark.parametrize("kem", KEMS, ids=lambda kem: kem.name)
def test_configurations_of_all_kems_round_trip(kem: Kem) -> None:
    config = make_key(kem_id=kem.kem_id).config
    check_round_trip(KeyConfig, config.encode())
    assert decode_key_configs(encoded(config)) == (config,)


@given(
    st.builds(
        KeyConfig,
        st.integers(0, 255),
        st.just(0x0020),
        st.binary(min_size=32, max_size=32),
        st.lists(st.builds(SymmetricSuite, st.integers(0, 65535), st.integers(0, 65535)), min_size=1).map(tuple),
    )
)
def test_values_round_trip_with_algorithms_that_we_do_not_know(config: KeyConfig) -> None:
    assert KeyConfig.decode(config.encode()) == config


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_an_error(data: bytes) -> None:
    check_any_bytes(KeyConfig.decode, data)
    check_any_bytes(KeyConfig.decode, b"\x01\x00\x20" + data)
    check_any_bytes(decode_key_configs, data)


def test_any_cut_is_refused() -> None:
    data = X25519.encode()
    for cut in range(len(data)):
        with pytest.raises(TruncatedError):
            KeyConfig.decode(data[:cut])
        with pytest.raises(TruncatedError):
            decode_key_configs(encoded(X25519)[: cut + 2])


def test_bytes_after_the_end_are_refused() -> None:
    with pytest.raises(DecodeError, match="after its end"):
        KeyConfig.decode(X25519.encode() + b"x")


def test_unknown_kem_is_unsupported() -> None:
    with pytest.raises(UnsupportedError):
        KeyConfig.decode(b"\x01\x99\x99" + bytes(32) + b"\x00\x04" + bytes(4))


def test_configuration_without_algorithms_is_refused() -> None:
    with pytest.raises(DecodeError, match="no symmetric algorithms"):
        KeyConfig.decode(X25519.encode()[:-6] + b"\x00\x00")


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_half_an_algorithm_is_refused(size: int) -> None:
    with pytest.raises(TruncatedError):
        KeyConfig.decode(X25519.encode()[:-6] + size.to_bytes(2, "big") + bytes(size))


def test_too_many_algorithms_are_refused() -> None:
    data = X25519.encode()[:-6]
    for count, refused in ((MAX_SYMMETRIC_SUITES, False), (MAX_SYMMETRIC_SUITES + 1, True)):
        suites = (4 * count).to_bytes(2, "big") + bytes(4 * count)
        if refused:
            with pytest.raises(LimitError):
                KeyConfig.decode(data + suites)
        else:
            assert len(KeyConfig.decode(data + suites).suites) == count


def test_key_of_another_size_is_refused() -> None:
    with pytest.raises(DecodeError, match="got 31 bytes, want 32"):
        evolve(X25519, public_key=bytes(31))


def test_key_id_has_one_byte() -> None:
    with pytest.raises(LocalProtocolError):
        evolve(X25519, key_id=256)


def test_list_keeps_its_order() -> None:
    configs = (evolve(X25519, key_id=9), X25519, make_key(3, 0x0010).config)
    assert decode_key_configs(encoded(*configs)) == configs


def test_list_skips_kems_that_we_do_not_have() -> None:
    unknown = b"\x00\x05\x03\x99\x99xx"
    assert decode_key_configs(unknown + encoded(X25519) + unknown) == (X25519,)
    assert decode_key_configs(unknown) == ()


@pytest.mark.parametrize(
    "defect",
    [b"", b"\x00", b"\x00\x00", b"\x00\x02\x01\x99", b"\x00\x05\x01\x00\x20xx", b"\x00\x2b" + X25519.encode() + b"x"],
)
def test_list_with_an_error_is_refused_as_a_whole(defect: bytes) -> None:
    # The good entry before it does not help: otherwise a gateway could tell clients apart by what they recover.
    with pytest.raises(DecodeError):
        decode_key_configs((encoded(X25519) if defect else b"") + defect)


def test_list_with_two_keys_of_one_name_is_refused() -> None:
    with pytest.raises(DecodeError, match="a key id occurs twice"):
        decode_key_configs(encoded(X25519, evolve(X25519, public_key=b"x" * 32)))
    with pytest.raises(DecodeError, match="a key id occurs twice"):
        decode_key_configs(encoded(X25519, X25519))


def test_too_long_a_list_is_refused() -> None:
    configs = [evolve(X25519, key_id=number) for number in range(MAX_KEY_CONFIGS + 1)]
    assert len(decode_key_configs(encoded(*configs[:-1]))) == MAX_KEY_CONFIGS
    with pytest.raises(LimitError):
        decode_key_configs(encoded(*configs))


def test_hybrid_is_preferred_whatever_the_order() -> None:
    configs = [make_key(1, kem.kem_id).config for kem in KEMS]
    for order in (configs, configs[::-1]):
        assert choose_key_config(order)[0].kem_id == 0x647A


def test_every_kem_can_be_chosen() -> None:
    for kem in KEMS:
        config = make_key(1, kem.kem_id).config
        assert choose_key_config([config]) == (config, config.suites[0])


def test_first_of_several_keys_and_first_known_suite_are_chosen() -> None:
    first = evolve(X25519, suites=(UNKNOWN, SymmetricSuite(1, 3), SUITE))
    assert choose_key_config([first, evolve(X25519, key_id=4)]) == (first, SymmetricSuite(1, 3))


def test_key_without_a_suite_that_we_know_is_not_chosen() -> None:
    hybrid = evolve(make_key(1, 0x647A).config, suites=(UNKNOWN,))
    assert choose_key_config([hybrid, X25519]) == (X25519, SUITE)
    for configs in ([hybrid], []):
        with pytest.raises(UnsupportedError, match="no key configuration can be used"):
            choose_key_config(configs)


def test_suites_that_cannot_answer_are_not_supported() -> None:
    for kdf in Kdf:
        for aead in Aead:
            suite = SymmetricSuite(kdf.kdf_id, aead.aead_id)
            usable = not kdf.one_stage and aead is not Aead.EXPORT_ONLY
            assert suite.is_supported is usable
            if usable:
                assert (suite.with_kem(0x0020).kdf, suite.with_kem(0x0020).aead) == (kdf, aead)
            else:
                with pytest.raises(UnsupportedError):
                    suite.with_kem(0x0020)
