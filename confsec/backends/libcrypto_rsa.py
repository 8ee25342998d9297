"""Private RSA keys inside libcrypto: read, made, derived and used there, so that Python never sees a secret number.

OpenSSL blinds the private operation, takes the Chinese remainder theorem and constant time, and clears the key when it
is freed. The sources to read: openssl/rsa.h, EVP_PKEY-RSA(7), EVP_PKEY_decrypt(3).
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final, Self, final

from confsec.backends.libcrypto import BigNumbers, Libcrypto, find_libcrypto
from confsec.errors import BackendError, ConfigError, ConfsecError, UnsupportedError
from confsec.protocol.blind_rsa import check_blind_sig
from confsec.protocol.modular import powmod
from confsec.protocol.rsa_keys import RsaPublicKey

__all__ = ["LibcryptoKey"]

_NO_PADDING: Final = 3  # RSA_NO_PADDING
_KEY_PAIR: Final = 0x87  # EVP_PKEY_KEYPAIR: private key, public key and parameters
_BIO_CTRL_INFO: Final = 3
_SALT_SIZE: Final = 16

# scrypt with 16 MiB, eight times over: half a second. OpenSSL reads no file that wants more memory than 32 MiB.
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 1 << 14, 8, 8

# Beyond this size OpenSSL refuses the public operation with a long exponent (OPENSSL_RSA_SMALL_MODULUS_BITS).
_SMALL_MODULUS_BITS: Final = 3072
_MAX_EXPONENT_BITS: Final = 64


@final
class _Operation:
    """A bare operation, for one thread: contexts must not be shared, and to make one anew each time takes a while."""

    def __init__(self, lib: Libcrypto, pkey: int, prepare: Callable[[int], int], transform: Callable[..., int]) -> None:
        self._lib = lib
        self._transform = transform
        self._ctx = lib.check(lib.c.EVP_PKEY_CTX_new_from_pkey(None, pkey, None), "RSA")
        # The context holds the key, which so is cleared when the last thread has done with it.
        self._free = weakref.finalize(self, lib.c.EVP_PKEY_CTX_free, self._ctx)
        lib.check(prepare(self._ctx), "RSA")
        lib.check(lib.c.EVP_PKEY_CTX_set_rsa_padding(self._ctx, _NO_PADDING), "RSA without padding")

    def run(self, data: bytes) -> bytes:
        """Transform a message as long as the modulus."""
        size = len(data)
        result, length = ctypes.create_string_buffer(size), ctypes.c_size_t(size)
        self._lib.check(self._transform(self._ctx, result, ctypes.byref(length), data, size), "RSA")
        if length.value != size:
            raise BackendError("libcrypto's result has another size", got=length.value, want=size)
        return result.raw


@final
class _OfThread(threading.local):
    """What a thread needs to work with a key."""

    decrypt: _Operation
    encrypt: _Operation


@final
class LibcryptoKey:
    """A private key in libcrypto: a `RawRsaKey`. Raises `UnsupportedError` if libcrypto computes something wrong."""

    def __init__(self, libcrypto: Libcrypto, pkey: int) -> None:
        """Take over `pkey`, an EVP_PKEY of type RSA."""
        self._lib = libcrypto
        self._pkey = pkey
        self._free = weakref.finalize(self, libcrypto.c.EVP_PKEY_free, pkey)
        with BigNumbers(libcrypto) as numbers:
            n, e = (numbers.to_int(_part(libcrypto, numbers, pkey, name)) for name in (b"n", b"e"))
        self._public_key = RsaPublicKey(n, e)
        self._long_exponent = n.bit_length() > _SMALL_MODULUS_BITS and e.bit_length() > _MAX_EXPONENT_BITS
        self._mine = _OfThread()
        self._check_itself()

    def __repr__(self) -> str:
        return f"LibcryptoKey({self._public_key.n.bit_length()} bits, {self._lib.version!r})"

    @classmethod
    def from_pem(cls, pem: bytes, passphrase: bytes | None = None, *, libcrypto: Libcrypto | None = None) -> Self:
        """Read a private key, of type rsaEncryption or id-RSASSA-PSS. Raises `ConfigError` and `UnsupportedError`."""
        lib = libcrypto or find_libcrypto()
        if passphrase is not None and (not passphrase or b"\x00" in passphrase):
            raise ConfigError("a passphrase is empty or has a zero byte")
        with _owned(lib.check(lib.c.BIO_new_mem_buf(pem, len(pem)), "making room"), lib.c.BIO_free) as bio:
            # Without a passphrase it would ask on the terminal; an empty one opens nothing.
            pkey = lib.c.PEM_read_bio_PrivateKey(bio, None, None, passphrase or b"")
        try:
            with _owned(lib.check(pkey, "reading a key"), lib.c.EVP_PKEY_free) as read:
                return cls(lib, _as_plain_rsa(lib, read))
        except UnsupportedError:
            raise
        except ConfsecError:
            # Which of these it is, OpenSSL does not tell reliably.
            raise ConfigError(
                "a private key cannot be read", want="a good RSA key in PEM, and its passphrase"
            ) from None

    @classmethod
    def generate(cls, bits: int) -> Self:
        """Make a key with the exponent 65537. Raises `UnsupportedError` and `BackendError`."""
        lib, pkey = find_libcrypto(), ctypes.c_void_p()
        with _owned(_rsa_context(lib), lib.c.EVP_PKEY_CTX_free) as ctx:
            lib.check(lib.c.EVP_PKEY_keygen_init(ctx), "making a key")
            lib.check(lib.c.EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, bits), "making a key")
            lib.check(lib.c.EVP_PKEY_generate(ctx, ctypes.byref(pkey)), "making a key")
        return cls(lib, lib.check(pkey.value, "making a key"))

    @classmethod
    def from_primes(cls, libcrypto: Libcrypto, numbers: BigNumbers, p: int, q: int, e: int) -> Self:
        """Make the key of two primes and a public exponent, all of them pointers from `numbers`.

        Raises `BackendError` if the exponent has no inverse.
        """
        p_1, q_1 = numbers.decrement(p), numbers.decrement(q)
        d = numbers.invert(e, numbers.multiply(p_1, q_1))
        parts = {
            b"n": numbers.multiply(p, q),
            b"e": e,
            b"d": d,
            b"rsa-factor1": p,
            b"rsa-factor2": q,
            b"rsa-exponent1": numbers.reduce(d, p_1),
            b"rsa-exponent2": numbers.reduce(d, q_1),
            b"rsa-coefficient1": numbers.invert(q, p),
        }
        return cls(libcrypto, _from_parts(libcrypto, parts))

    @property
    def public_key(self) -> RsaPublicKey:
        """The public half."""
        return self._public_key

    def rsasp1(self, message: bytes) -> bytes:
        """Return message^d mod n (RFC 8017, section 5.2.1). Raises `BackendError`."""
        if not hasattr(self._mine, "decrypt"):
            c = self._lib.c
            self._mine.decrypt = _Operation(self._lib, self._pkey, c.EVP_PKEY_decrypt_init, c.EVP_PKEY_decrypt)
        return self._mine.decrypt.run(message)

    def rsavp1(self, signature: bytes) -> bytes:
        """Return signature^e mod n (RFC 8017, section 5.2.2). Raises `BackendError`."""
        if self._long_exponent:
            n, e = self._public_key.n, self._public_key.e
            return powmod(int.from_bytes(signature, "big"), e, n).to_bytes(self._public_key.modulus_size, "big")
        if not hasattr(self._mine, "encrypt"):
            c = self._lib.c
            self._mine.encrypt = _Operation(self._lib, self._pkey, c.EVP_PKEY_encrypt_init, c.EVP_PKEY_encrypt)
        return self._mine.encrypt.run(signature)

    def check_safe_primes(self) -> None:
        """Check that the modulus is a product of two safe primes of one length. Raises `ConfigError`."""
        with BigNumbers(self._lib) as numbers:
            p, q = self._primes(numbers)
            one_length = self._lib.c.BN_num_bits(p) == self._lib.c.BN_num_bits(q)
            if not one_length or not all(numbers.is_prime(numbers.halve(prime)) for prime in (p, q)):
                raise ConfigError(
                    "a key that signs under public metadata needs safe primes",
                    section="draft-irtf-cfrg-partially-blind-rsa-02, KeyGen",
                )

    def derive(self, public_key: RsaPublicKey) -> LibcryptoKey:
        """Return the key with the same modulus and the exponent of `public_key`. Raises `BackendError`."""
        with BigNumbers(self._lib) as numbers:
            p, q = self._primes(numbers)
            key = LibcryptoKey.from_primes(self._lib, numbers, p, q, numbers.of(public_key.e))
        if key.public_key != public_key:
            raise BackendError("a key of another modulus cannot be derived from this one")
        return key

    def to_pem(self, passphrase: bytes) -> bytes:
        """Return the key as PKCS#8, encrypted with scrypt and AES-256-CBC (RFC 8018), in PEM. Raises `BackendError`."""
        lib, c = self._lib, self._lib.c
        with _owned(lib.check(c.EVP_PKEY2PKCS8(self._pkey), "PKCS #8"), c.PKCS8_PRIV_KEY_INFO_free) as info:
            algorithm = c.PKCS5_pbe2_set_scrypt(
                c.EVP_aes_256_cbc(), None, _SALT_SIZE, None, _SCRYPT_N, _SCRYPT_R, _SCRYPT_P
            )
            lib.check(algorithm, "scrypt")
            encrypted = c.PKCS8_set0_pbe(passphrase, len(passphrase), info, algorithm)
            if not encrypted:
                c.X509_ALGOR_free(algorithm)
        with (
            _owned(lib.check(encrypted, "encrypting a key"), c.X509_SIG_free) as signature,
            _owned(lib.check(c.BIO_new(c.BIO_s_mem()), "making room"), c.BIO_free) as bio,
        ):
            lib.check(c.PEM_write_bio_PKCS8(bio, signature), "writing a key")
            content = ctypes.c_void_p()
            size = lib.check(c.BIO_ctrl(bio, _BIO_CTRL_INFO, 0, ctypes.addressof(content)), "writing a key")
            return ctypes.string_at(lib.check(content.value, "writing a key"), size)

    def _primes(self, numbers: BigNumbers) -> tuple[int, int]:
        p, q = (_part(self._lib, numbers, self._pkey, name) for name in (b"rsa-factor1", b"rsa-factor2"))
        return p, q

    def _check_itself(self) -> None:
        """Do one private and one public operation, and compare with arithmetic that is not libcrypto's."""
        # Any number will do. A fixed one tells the same about the key each time.
        message = (self._public_key.n // 3).to_bytes(self._public_key.modulus_size, "big")
        try:
            signature = self.rsasp1(message)
            check_blind_sig(self._public_key, message, signature)
            if self.rsavp1(signature) != message:
                raise BackendError("the public operation is wrong")
        except BackendError as exc:
            raise UnsupportedError("libcrypto fails its self test", got=self._lib.version) from exc


def _part(lib: Libcrypto, numbers: BigNumbers, pkey: int, name: bytes) -> int:
    """Return a number of a key."""
    number = ctypes.c_void_p(numbers.new())
    lib.check(lib.c.EVP_PKEY_get_bn_param(pkey, name, ctypes.byref(number)), "reading a key")
    return lib.check(number.value, "reading a key")


def _as_plain_rsa(lib: Libcrypto, pkey: int) -> int:
    """Check a key and return another of type RSA, since one of type RSA-PSS refuses to work without padding."""
    if not any(lib.c.EVP_PKEY_is_a(pkey, name) == 1 for name in (b"RSA", b"RSA-PSS")):
        raise ConfigError("a private key is not for RSA")
    names = (b"n", b"e", b"d", b"rsa-factor1", b"rsa-factor2", b"rsa-exponent1", b"rsa-exponent2", b"rsa-coefficient1")
    with BigNumbers(lib) as numbers, ExitStack() as stack:
        plain = _from_parts(lib, {name: _part(lib, numbers, pkey, name) for name in names})
        stack.callback(lib.c.EVP_PKEY_free, plain)
        ctx = lib.check(lib.c.EVP_PKEY_CTX_new_from_pkey(None, plain, None), "RSA")
        with _owned(ctx, lib.c.EVP_PKEY_CTX_free):
            lib.check(lib.c.EVP_PKEY_check(ctx), "checking that the numbers of a key belong together")
        stack.pop_all()
        return plain


def _from_parts(lib: Libcrypto, parts: dict[bytes, int]) -> int:
    """Return a key of type RSA, which the caller has to free."""
    c, pkey = lib.c, ctypes.c_void_p()
    with _owned(lib.check(c.OSSL_PARAM_BLD_new(), "making a key"), c.OSSL_PARAM_BLD_free) as builder:
        for name, number in parts.items():
            lib.check(c.OSSL_PARAM_BLD_push_BN(builder, name, number), "making a key")
        params = lib.check(c.OSSL_PARAM_BLD_to_param(builder), "making a key")
    with (
        _owned(params, c.OSSL_PARAM_free),
        _owned(_rsa_context(lib), c.EVP_PKEY_CTX_free) as ctx,
    ):
        lib.check(c.EVP_PKEY_fromdata_init(ctx), "making a key")
        lib.check(c.EVP_PKEY_fromdata(ctx, ctypes.byref(pkey), _KEY_PAIR, params), "making a key")
    return lib.check(pkey.value, "making a key")


def _rsa_context(lib: Libcrypto) -> int:
    return lib.check(lib.c.EVP_PKEY_CTX_new_from_name(None, b"RSA", None), "RSA")


@contextmanager
def _owned(pointer: int, free: Callable[[int], object]) -> Iterator[int]:
    """Free what `pointer` points at when the context ends."""
    try:
        yield pointer
    finally:
        free(pointer)
