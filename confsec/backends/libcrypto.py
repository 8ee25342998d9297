"""OpenSSL's libcrypto by ctypes: which functions we call, how they fail, and numbers that are cleared when we are done.

The package `cryptography` does not offer RSA without padding, which blind signatures need, nor safe primes; the library
that it is built on is inside its wheel and cannot be reached. So this is the system's libcrypto, version 3 or newer.
`libcrypto_rsa` makes keys of it. Calls release the interpreter's lock, so several threads work at once.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_int, c_long, c_size_t, c_ulong, c_void_p
from ctypes.util import find_library
from functools import lru_cache
from types import TracebackType
from typing import Any, Final, Self, final

from confsec.errors import BackendError, UnsupportedError

__all__ = ["MIN_VERSION", "BigNumbers", "Libcrypto", "find_libcrypto"]

MIN_VERSION: Final = 3
"""The oldest major version of OpenSSL that has all that we call."""

_FLAG_CONSTANT_TIME: Final = 0x04  # BN_FLG_CONSTTIME, openssl/bn.h
_P: Final = c_void_p

# Name: what it returns, what it takes. Without these, ctypes would cut pointers to 32 bits.
_FUNCTIONS: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "BIO_ctrl": (c_long, (_P, c_int, c_long, _P)),
    "BIO_free": (c_int, (_P,)),
    "BIO_new": (_P, (_P,)),
    "BIO_new_mem_buf": (_P, (c_char_p, c_int)),
    "BIO_s_mem": (_P, ()),
    "BN_CTX_free": (None, (_P,)),
    "BN_CTX_secure_new": (_P, ()),
    "BN_GENCB_free": (None, (_P,)),
    "BN_GENCB_new": (_P, ()),
    "BN_GENCB_set": (None, (_P, _P, _P)),
    "BN_bin2bn": (_P, (c_char_p, c_int, _P)),
    "BN_bn2binpad": (c_int, (_P, c_char_p, c_int)),
    "BN_check_prime": (c_int, (_P, _P, _P)),
    "BN_clear_free": (None, (_P,)),
    "BN_copy": (_P, (_P, _P)),
    "BN_div": (c_int, (_P, _P, _P, _P, _P)),
    "BN_generate_prime_ex": (c_int, (_P, c_int, c_int, _P, _P, _P)),
    "BN_mod_inverse": (_P, (_P, _P, _P, _P)),
    "BN_mul": (c_int, (_P, _P, _P, _P)),
    "BN_num_bits": (c_int, (_P,)),
    "BN_rshift1": (c_int, (_P, _P)),
    "BN_secure_new": (_P, ()),
    "BN_set_flags": (None, (_P, c_int)),
    "BN_sub_word": (c_int, (_P, c_ulong)),
    "ERR_clear_error": (None, ()),
    "EVP_PKEY2PKCS8": (_P, (_P,)),
    "EVP_PKEY_CTX_free": (None, (_P,)),
    "EVP_PKEY_CTX_new_from_name": (_P, (_P, c_char_p, c_char_p)),
    "EVP_PKEY_CTX_new_from_pkey": (_P, (_P, _P, c_char_p)),
    "EVP_PKEY_CTX_set_rsa_keygen_bits": (c_int, (_P, c_int)),
    "EVP_PKEY_CTX_set_rsa_padding": (c_int, (_P, c_int)),
    "EVP_PKEY_check": (c_int, (_P,)),
    "EVP_PKEY_decrypt": (c_int, (_P, c_char_p, POINTER(c_size_t), c_char_p, c_size_t)),
    "EVP_PKEY_decrypt_init": (c_int, (_P,)),
    "EVP_PKEY_encrypt": (c_int, (_P, c_char_p, POINTER(c_size_t), c_char_p, c_size_t)),
    "EVP_PKEY_encrypt_init": (c_int, (_P,)),
    "EVP_PKEY_free": (None, (_P,)),
    "EVP_PKEY_fromdata": (c_int, (_P, POINTER(_P), c_int, _P)),
    "EVP_PKEY_fromdata_init": (c_int, (_P,)),
    "EVP_PKEY_generate": (c_int, (_P, POINTER(_P))),
    "EVP_PKEY_get_bn_param": (c_int, (_P, c_char_p, POINTER(_P))),
    "EVP_PKEY_is_a": (c_int, (_P, c_char_p)),
    "EVP_PKEY_keygen_init": (c_int, (_P,)),
    "EVP_aes_256_cbc": (_P, ()),
    "OSSL_PARAM_BLD_free": (None, (_P,)),
    "OSSL_PARAM_BLD_new": (_P, ()),
    "OSSL_PARAM_BLD_push_BN": (c_int, (_P, c_char_p, _P)),
    "OSSL_PARAM_BLD_to_param": (_P, (_P,)),
    "OSSL_PARAM_free": (None, (_P,)),
    "OpenSSL_version": (c_char_p, (c_int,)),
    "OpenSSL_version_num": (c_ulong, ()),
    "PEM_read_bio_PrivateKey": (_P, (_P, _P, _P, c_char_p)),
    "PEM_write_bio_PKCS8": (c_int, (_P, _P)),
    "PKCS5_pbe2_set_scrypt": (
        _P,
        (_P, c_char_p, c_int, c_char_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64),
    ),
    "PKCS8_PRIV_KEY_INFO_free": (None, (_P,)),
    "PKCS8_set0_pbe": (_P, (c_char_p, c_int, _P, _P)),
    "X509_ALGOR_free": (None, (_P,)),
    "X509_SIG_free": (None, (_P,)),
}


@final
class Libcrypto:
    """A loaded libcrypto. Raises `UnsupportedError` if it is too old or lacks a function."""

    def __init__(self, library: Any) -> None:
        """Declare the functions of `library`, a `ctypes.CDLL`."""
        try:
            for name, (returns, takes) in _FUNCTIONS.items():
                function = getattr(library, name)
                function.restype, function.argtypes = returns, takes
        except AttributeError as exc:
            raise UnsupportedError("libcrypto lacks a function", want=f"OpenSSL {MIN_VERSION} or newer") from exc
        self.c: Final[Any] = library
        self.version: Final[str] = library.OpenSSL_version(0).decode("ascii", "replace")
        # Major, minor and patch stand in the bits from 28, 20 and 4 on (OpenSSL_version_num(3)).
        if library.OpenSSL_version_num() >> 28 < MIN_VERSION:
            raise UnsupportedError("libcrypto is too old", got=self.version, want=f"OpenSSL {MIN_VERSION} or newer")

    def __repr__(self) -> str:
        return f"Libcrypto({self.version!r})"

    def check(self, result: int | None, what: str) -> int:
        """Return what a call gave if it is positive, else raise `BackendError`.

        OpenSSL's own words are forgotten: they may tell of the content.
        """
        if result is None or result <= 0:
            self.c.ERR_clear_error()
            raise BackendError(f"libcrypto failed at {what}")
        return result


@lru_cache(maxsize=1)
def find_libcrypto() -> Libcrypto:
    """Load the system's libcrypto, once. Raises `UnsupportedError` if there is none that we can use."""
    name = find_library("crypto")
    if name is None:
        raise UnsupportedError("there is no libcrypto on this machine", want=f"OpenSSL {MIN_VERSION} or newer")
    try:
        library = ctypes.CDLL(name)
    except OSError as exc:
        raise UnsupportedError(f"{name} cannot be loaded") from exc
    return Libcrypto(library)


@final
class BigNumbers:
    """Arithmetic with secret numbers: in constant time where libcrypto offers that, and cleared at the end.

    Numbers are pointers that live as long as this context.
    """

    def __init__(self, libcrypto: Libcrypto) -> None:
        self._lib = libcrypto
        self._numbers: list[int] = []
        self._scratch = 0

    def __enter__(self) -> Self:
        self._scratch = self._lib.check(self._lib.c.BN_CTX_secure_new(), "making room for numbers")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in self._numbers:
            self._lib.c.BN_clear_free(number)
        self._lib.c.BN_CTX_free(self._scratch)

    def new(self) -> int:
        """Return a new number, which is zero."""
        number = self._lib.check(self._lib.c.BN_secure_new(), "making room for a number")
        self._numbers.append(number)
        self._lib.c.BN_set_flags(number, _FLAG_CONSTANT_TIME)
        return number

    def of(self, value: int) -> int:
        """Return a number with this value, which is public: Python knows it."""
        number, size = self.new(), (value.bit_length() + 7) // 8
        self._lib.check(self._lib.c.BN_bin2bn(value.to_bytes(size, "big"), size, number), "reading a number")
        return number

    def to_int(self, number: int) -> int:
        """Return the value of a number that is public: Python will know it."""
        size = (self._lib.c.BN_num_bits(number) + 7) // 8
        buffer = ctypes.create_string_buffer(size)
        self._lib.check(self._lib.c.BN_bn2binpad(number, buffer, size), "writing a number")
        return int.from_bytes(buffer.raw, "big")

    def decrement(self, number: int) -> int:
        """Return `number` - 1."""
        result = self.new()
        self._lib.check(self._lib.c.BN_copy(result, number), "copying a number")
        self._lib.check(self._lib.c.BN_sub_word(result, 1), "subtracting")
        return result

    def halve(self, number: int) -> int:
        """Return `number` / 2, rounded down."""
        result = self.new()
        self._lib.check(self._lib.c.BN_rshift1(result, number), "halving")
        return result

    def multiply(self, one: int, other: int) -> int:
        """Return the product."""
        result = self.new()
        self._lib.check(self._lib.c.BN_mul(result, one, other, self._scratch), "multiplying")
        return result

    def reduce(self, number: int, modulus: int) -> int:
        """Return `number` modulo `modulus`."""
        result = self.new()
        self._lib.check(self._lib.c.BN_div(None, result, number, modulus, self._scratch), "dividing")
        return result

    def invert(self, number: int, modulus: int) -> int:
        """Return the inverse of `number`. Raises `BackendError` if there is none."""
        result = self.new()
        self._lib.check(self._lib.c.BN_mod_inverse(result, number, modulus, self._scratch), "inverting")
        return result

    def is_prime(self, number: int) -> bool:
        """Say whether `number` is a prime, to all appearances."""
        return bool(self._lib.c.BN_check_prime(number, self._scratch, None) == 1)
