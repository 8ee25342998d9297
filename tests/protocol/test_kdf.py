from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from hypothesis import given, strategies as st

from confsec.errors import LocalProtocolError, UnsupportedError
from confsec.protocol.kdf import Kdf, encode_length_prefixed, kdf_from_id, labeled_derive

TWO_STAGE = [Kdf.HKDF_SHA256, Kdf.HKDF_SHA384, Kdf.HKDF_SHA512]
ONE_STAGE = [Kdf.SHAKE128, Kdf.SHAKE256]
HASHES: dict[Kdf, hashes.HashAlgorithm] = dict(
    zip(TWO_STAGE, (hashes.SHA256(), hashes.SHA384(), hashes.SHA512()), strict=True)
)


@pytest.mark.parametrize(
    "name, kdf_id, hash_size",
    [
        ("HKDF_SHA256", 1, 32),
        ("HKDF_SHA384", 2, 48),
        ("HKDF_SHA512", 3, 64),
        ("SHAKE128", 16, 32),
        ("SHAKE256", 17, 64),
    ],
)
def test_registry_has_the_ids_and_sizes_of_the_standards(name: str, kdf_id: int, hash_size: int) -> None:
    kdf = kdf_from_id(kdf_id)
    assert (kdf.name, kdf.kdf_id, kdf.hash_size) == (name, kdf_id, hash_size)
    assert kdf.value == kdf_id
    assert kdf.one_stage is (kdf in ONE_STAGE)


@pytest.mark.parametrize("kdf_id", [0, 4, 0x12, 0xFFFF])
def test_unknown_kdf_is_unsupported(kdf_id: int) -> None:
    with pytest.raises(UnsupportedError, match=f"0x{kdf_id:04x}"):
        kdf_from_id(kdf_id)


def test_hkdf_of_rfc_5869_test_case_1() -> None:
    prk = Kdf.HKDF_SHA256.extract(bytes(range(13)), b"\x0b" * 22)
    assert prk.hex() == "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"
    okm = Kdf.HKDF_SHA256.expand(prk, bytes(range(0xF0, 0xFA)), 42)
    assert okm.hex() == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"


@given(st.sampled_from(TWO_STAGE), st.binary(), st.binary(), st.binary(), st.integers(1, 400))
def test_hkdf_agrees_with_cryptography(kdf: Kdf, salt: bytes, ikm: bytes, info: bytes, size: int) -> None:
    prk = kdf.extract(salt, ikm)
    assert prk == HKDF.extract(HASHES[kdf], salt, ikm)
    assert kdf.expand(prk, info, size) == HKDFExpand(HASHES[kdf], size, info).derive(prk)


@pytest.mark.parametrize("kdf", TWO_STAGE)
def test_hkdf_gives_255_blocks_and_no_more(kdf: Kdf) -> None:
    longest = kdf.expand(b"prk", b"info", 255 * kdf.hash_size)
    assert longest == HKDFExpand(HASHES[kdf], 255 * kdf.hash_size, b"info").derive(b"prk")
    assert kdf.expand(b"prk", b"info", 0) == b""
    for size in (-1, 255 * kdf.hash_size + 1):
        with pytest.raises(LocalProtocolError, match="cannot derive that much"):
            kdf.expand(b"prk", b"info", size)


@pytest.mark.parametrize("kdf", ONE_STAGE)
def test_shake_gives_65535_bytes_and_no_more(kdf: Kdf) -> None:
    shake = hashlib.shake_128 if kdf is Kdf.SHAKE128 else hashlib.shake_256
    assert kdf.derive(b"ikm", 65535) == shake(b"ikm").digest(65535)
    for size in (-1, 65536):
        with pytest.raises(LocalProtocolError, match="cannot derive that much"):
            kdf.derive(b"ikm", size)
        with pytest.raises(LocalProtocolError, match="cannot derive that much"):
            labeled_derive(kdf, b"suite", b"ikm", b"label", b"", size)


@pytest.mark.parametrize("kdf", TWO_STAGE)
def test_two_stage_kdf_has_no_derive(kdf: Kdf) -> None:
    with pytest.raises(LocalProtocolError, match="want extract and expand"):
        kdf.derive(b"ikm", 32)


@pytest.mark.parametrize("kdf", ONE_STAGE)
def test_one_stage_kdf_has_only_derive(kdf: Kdf) -> None:
    with pytest.raises(LocalProtocolError, match="want derive"):
        kdf.extract(b"", b"ikm")
    with pytest.raises(LocalProtocolError, match="want derive"):
        kdf.expand(b"prk", b"info", 32)


def test_length_prefix_holds_65535_bytes_and_no_more() -> None:
    assert encode_length_prefixed(b"ab") == b"\x00\x02ab"
    assert encode_length_prefixed(bytes(65535))[:2] == b"\xff\xff"
    with pytest.raises(LocalProtocolError, match="too long"):
        encode_length_prefixed(bytes(65536))
