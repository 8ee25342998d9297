"""Bare RSA with libcrypto and with GMP: what they compute, which keys they read, and libraries that do not work."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from confsec.backends import key_generation, libcrypto, libcrypto_rsa, raw_rsa
from confsec.backends.libcrypto import Libcrypto, find_libcrypto
from confsec.backends.libcrypto_rsa import LibcryptoKey
from confsec.errors import BackendError, ConfigError, DecodeError, MissingExtraError, UnsupportedError
from confsec.protocol.partially_blind_rsa import derive_public_key
from confsec.protocol.rsa_keys import RsaPublicKey
from tests.backends.rsa_cases import OpenKey, each_library, open_gmp_key, pem_of, private_key, pss_pem_of, to_pem
from tests.protocol.token_cases import KEYS, SAFE_2048
from tests.support import OWN_VECTORS, load_vectors

PASSPHRASE = b"correct horse"
RFC_9474 = load_vectors(OWN_VECTORS / "blind_rsa_rfc9474.json")["cases"]
DRAFT = load_vectors(OWN_VECTORS / "blind_rsa_partially_draft.json")["cases"]


@pytest.fixture(autouse=True)
def quick_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spend no second on each passphrase."""
    monkeypatch.setattr(libcrypto_rsa, "_SCRYPT_N", 16)
    monkeypatch.setattr(libcrypto_rsa, "_SCRYPT_P", 1)


class BrokenLibrary:
    """The system's libcrypto, of which some functions are others."""

    def __init__(self, **functions: Callable[..., Any]) -> None:
        self._functions = functions

    def __getattr__(self, name: str) -> Any:
        return self._functions.get(name) or getattr(find_libcrypto().c, name)


def flip(transform: str) -> Callable[..., int]:
    """Return a transform that gets one bit wrong."""

    def wrong(ctx: int, result: ctypes.Array[ctypes.c_char], *args: object) -> int:
        verdict: int = getattr(find_libcrypto().c, transform)(ctx, result, *args)
        result[0] = bytes([result[0][0] ^ 1])
        return verdict

    return wrong


# --- what is computed


@each_library
@pytest.mark.parametrize("case", RFC_9474, ids=[case["name"] for case in RFC_9474])
def test_signatures_are_those_of_rfc_9474(open_key: OpenKey, case: dict[str, str]) -> None:
    key = open_key(to_pem(private_key(int(case["p"], 16), int(case["q"], 16))))
    assert key.rsasp1(bytes.fromhex(case["blinded_msg"])).hex() == case["blind_sig"]
    assert key.rsavp1(bytes.fromhex(case["blind_sig"])).hex() == case["blinded_msg"]


@each_library
@pytest.mark.parametrize("case", DRAFT, ids=[case["info"] for case in DRAFT])
def test_derived_keys_sign_as_in_the_draft(open_key: OpenKey, case: dict[str, str]) -> None:
    key = open_key(to_pem(private_key(int(case["p"], 16), int(case["q"], 16))))
    key.check_safe_primes()
    derived = key.derive(derive_public_key(key.public_key, bytes.fromhex(case["info"])))
    assert derived.public_key.e == int(case["eprime"], 16)
    assert derived.rsasp1(bytes.fromhex(case["blind_msg"])).hex() == case["blind_sig"]
    assert derived.rsavp1(bytes.fromhex(case["blind_sig"])).hex() == case["blind_msg"]


@pytest.mark.parametrize("name", ["rsa2048", "rsa3072", "safe4096"])
def test_both_libraries_compute_the_same(name: str) -> None:
    one, other = LibcryptoKey.from_pem(pem_of(name)), open_gmp_key(pem_of(name))
    assert one.public_key == other.public_key == KEYS[name].public_key
    for divisor in (2, 3, 1 << 100):
        message = (one.public_key.n // divisor).to_bytes(one.public_key.modulus_size, "big")
        assert one.rsasp1(message) == other.rsasp1(message)
        assert one.rsavp1(message) == other.rsavp1(message)


def test_long_exponents_with_long_moduli_are_checked_without_libcrypto() -> None:
    # OpenSSL refuses the public operation for them, and does the private one.
    one, other = LibcryptoKey.from_pem(pem_of("safe4096")), open_gmp_key(pem_of("safe4096"))
    public_key = derive_public_key(one.public_key, b"metadata")
    message = (one.public_key.n // 3).to_bytes(512, "big")
    signature = one.derive(public_key).rsasp1(message)
    assert signature == other.derive(public_key).rsasp1(message)
    assert one.derive(public_key).rsavp1(signature) == other.derive(public_key).rsavp1(signature) == message


@each_library
def test_derived_key_has_the_modulus_it_derives_from(open_key: OpenKey) -> None:
    with pytest.raises(BackendError, match="another modulus"):
        open_key(pem_of("rsa2048")).derive(SAFE_2048.public_key)


@each_library
def test_exponent_without_inverse_derives_no_key(open_key: OpenKey) -> None:
    pair = KEYS["rsa2048"]
    factor = next(number for number in range(3, 1 << 20, 2) if (pair.p - 1) % number == 0)
    with pytest.raises(BackendError):
        open_key(pem_of("rsa2048")).derive(RsaPublicKey(pair.public_key.n, factor))


@each_library
def test_primes_that_are_not_safe_are_refused(open_key: OpenKey) -> None:
    open_key(pem_of("safe2048")).check_safe_primes()
    with pytest.raises(ConfigError, match="safe primes"):
        open_key(pem_of("rsa2048")).check_safe_primes()


@pytest.mark.parametrize("size", [0, 255, 257])
def test_message_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(DecodeError, match=f"got {size} bytes, want 256 bytes"):
        raw_rsa.check_message(SAFE_2048.public_key, bytes(size))


def test_message_has_to_be_below_the_modulus() -> None:
    n = SAFE_2048.public_key.n
    raw_rsa.check_message(SAFE_2048.public_key, (n - 1).to_bytes(256, "big"))
    with pytest.raises(DecodeError, match="not below the modulus"):
        raw_rsa.check_message(SAFE_2048.public_key, n.to_bytes(256, "big"))


def test_libcrypto_refuses_what_nobody_checked() -> None:
    key = LibcryptoKey.from_pem(pem_of("rsa2048"))
    for operation in (key.rsasp1, key.rsavp1):
        with pytest.raises(BackendError, match="libcrypto failed"):
            operation(b"\xff" * 256)


# --- reading keys


@each_library
@pytest.mark.parametrize("parameters", ["with", "without"])
def test_keys_for_rsassa_pss_are_read(open_key: OpenKey, parameters: str) -> None:
    key = open_key(pss_pem_of("rsa2048", parameters=parameters == "with"))
    assert key.rsavp1(key.rsasp1(bytes(255) + b"\x05")) == bytes(255) + b"\x05"


@each_library
def test_encrypted_key_opens_with_its_passphrase_only(open_key: Callable[..., raw_rsa.RawRsaKey]) -> None:
    pem = LibcryptoKey.from_pem(pem_of("rsa2048")).to_pem(PASSPHRASE)
    assert pem.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    assert open_key(pem, PASSPHRASE).public_key == KEYS["rsa2048"].public_key
    for wrong in (b"correct horse ", None):
        with pytest.raises(ConfigError, match="cannot be read"):
            open_key(pem, wrong)


def other_pems() -> dict[str, bytes]:
    """Return what is no private RSA key of ours, by its defect."""
    curve = ec.generate_private_key(ec.SECP256R1())
    pair, small = KEYS["rsa2048"], KEYS["rsa2048"].public_key.n.bit_length()
    assert small == 2048
    good = private_key(pair.p, pair.q)
    return {
        "nothing": b"",
        "no_pem": b"no PEM",
        "cut_short": pem_of("rsa2048")[:800],
        "elliptic_curve": curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        "public_key": good.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "exponent_of_another_key": to_pem(private_key(pair.p, pair.q, d=good.private_numbers().d ^ 2)),
    }


@each_library
@pytest.mark.parametrize("defect", other_pems())
def test_what_is_no_good_key_is_refused(open_key: OpenKey, defect: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        open_key(other_pems()[defect])


@pytest.mark.parametrize("passphrase", [b"", b"with a \x00 inside"])
def test_passphrase_that_c_would_cut_short_is_refused(passphrase: bytes) -> None:
    with pytest.raises(ConfigError, match="zero byte"):
        LibcryptoKey.from_pem(pem_of("rsa2048"), passphrase)


def test_written_key_is_read_by_others() -> None:
    pem = LibcryptoKey.from_pem(pem_of("rsa2048")).to_pem(PASSPHRASE)
    read = load_pem_private_key(pem, PASSPHRASE)
    assert to_pem(read) == pem_of("rsa2048")  # type: ignore[arg-type]


@each_library
def test_no_secret_number_is_shown(open_key: OpenKey) -> None:
    pair, key = KEYS["safe2048"], open_key(pem_of("safe2048"))
    d = private_key(pair.p, pair.q).private_numbers().d
    for number in (pair.p, pair.q, d):
        assert not any(f"{number:{base}}" in repr(key) for base in "dx")


# --- libraries that do not work


def test_missing_libcrypto_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libcrypto, "find_library", lambda name: None)
    with pytest.raises(UnsupportedError, match="no libcrypto"):
        find_libcrypto.__wrapped__()


def test_libcrypto_that_cannot_be_loaded_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libcrypto, "find_library", lambda name: "libconfsec-that-is-not-there.so")
    with pytest.raises(UnsupportedError, match="cannot be loaded"):
        find_libcrypto.__wrapped__()


def test_old_libcrypto_is_refused() -> None:
    class OldVersion:
        restype = argtypes = None

        def __call__(self) -> int:
            return 0x1010117F  # 1.1.1w

    with pytest.raises(UnsupportedError, match="too old"):
        Libcrypto(BrokenLibrary(OpenSSL_version_num=OldVersion()))


def test_libcrypto_that_lacks_a_function_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="lacks a function"):
        Libcrypto(ctypes.CDLL(None))


@pytest.mark.parametrize("transform", ["EVP_PKEY_decrypt", "EVP_PKEY_encrypt"])
def test_libcrypto_that_computes_something_wrong_fails_its_self_test(transform: str) -> None:
    broken = _library_with(**{transform: flip(transform)})
    with pytest.raises(UnsupportedError, match="self test"):
        LibcryptoKey.from_pem(pem_of("rsa2048"), libcrypto=broken)


def test_libcrypto_whose_result_is_short_fails_its_self_test() -> None:
    def short(ctx: int, result: object, length: Any, *args: object) -> int:
        length._obj.value = 255
        return 1

    with pytest.raises(UnsupportedError, match="self test"):
        LibcryptoKey.from_pem(pem_of("rsa2048"), libcrypto=_library_with(EVP_PKEY_decrypt=short))


def _library_with(**functions: Callable[..., Any]) -> Libcrypto:
    broken = object.__new__(Libcrypto)
    broken.__dict__.update(c=BrokenLibrary(**functions), version="broken")
    return broken


def test_gmp_stands_in_for_a_libcrypto_that_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(raw_rsa.open_raw_key(pem_of("rsa2048")), LibcryptoKey)
    monkeypatch.setattr(libcrypto_rsa, "find_libcrypto", lambda: _library_with(EVP_PKEY_decrypt=lambda *args: 0))
    assert type(raw_rsa.open_raw_key(pem_of("rsa2048"))).__name__ == "GmpKey"


def test_without_any_library_nothing_is_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libcrypto_rsa, "find_libcrypto", lambda: _library_with(EVP_PKEY_decrypt=lambda *args: 0))
    monkeypatch.delitem(sys.modules, "confsec.backends.gmp_rsa")
    monkeypatch.setitem(sys.modules, "gmpy2", None)
    with pytest.raises(MissingExtraError, match=r"confsec-protocol\[gmpy2\]"):
        raw_rsa.open_raw_key(pem_of("rsa2048"))


# --- making keys


def test_fresh_keys_differ_and_work() -> None:
    one, other = key_generation.generate_key(), key_generation.generate_key()
    assert one.public_key != other.public_key
    assert (one.public_key.n.bit_length(), one.public_key.e) == (2048, 65537)


@pytest.mark.parametrize("bits", [1024, 2049, 8192])
def test_keys_of_other_sizes_are_not_made(bits: int) -> None:
    with pytest.raises(ConfigError, match=f"got {bits} bits"):
        key_generation.generate_key(bits)


def test_search_finds_two_safe_primes_and_tells_how_far_it_is() -> None:
    told: list[key_generation.SearchProgress] = []
    with libcrypto.BigNumbers(find_libcrypto()) as numbers:
        search = key_generation._Search(find_libcrypto(), 256, told.append)
        primes = [numbers.to_int(prime) for prime in search.run([numbers.new() for _ in range(3)])]
        assert len(set(primes)) == 2
        for prime in primes:
            assert prime.bit_length() == 256
            assert numbers.is_prime(numbers.of(prime))
            assert numbers.is_prime(numbers.of(prime // 2))
    assert [one.tried for one in told] == list(range(1, len(told) + 1))
    assert [one.found for one in told] == sorted(one.found for one in told)


def test_search_ends_when_its_progress_is_not_wanted() -> None:
    class Enough(BaseException):
        pass

    def tell(progress: key_generation.SearchProgress) -> None:
        if progress.tried == 3:
            raise Enough

    with pytest.raises(Enough):
        key_generation.generate_key(4096, safe_primes=True, progress=tell)


def test_search_that_libcrypto_gives_up_fails() -> None:
    library = _library_with(BN_generate_prime_ex=lambda *args: 0)
    with libcrypto.BigNumbers(library) as numbers, pytest.raises(BackendError, match="searching for primes"):
        key_generation._Search(library, 256, None).run([numbers.new(), numbers.new()])


def test_key_of_safe_primes_is_made_of_what_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [SAFE_2048.p, SAFE_2048.q]

    def find(number: int, bits: int, safe: int, *args: object) -> int:
        assert (bits, safe) == (1024, 1)
        prime = found.pop().to_bytes(128, "big") if found else b"\x01"
        find_libcrypto().c.BN_bin2bn(prime, len(prime), number)
        return 1

    monkeypatch.setattr(key_generation, "find_libcrypto", lambda: _library_with(BN_generate_prime_ex=find))
    key = key_generation.generate_key(safe_primes=True)
    key.check_safe_primes()
    assert key.public_key == SAFE_2048.public_key
