"""RSA public keys for blind signatures: their checks, and the one SubjectPublicKeyInfo that token keys have.

RFC 9578, section 6.5, asks for the RSASSA-PSS OID with SHA-384, MGF1 over SHA-384 and a salt of 48 bytes, so there is
one DER spelling of a key, and its SHA-256 names it.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from math import gcd, isqrt, prod
from typing import Final, Self

from attrs import frozen
from cryptography.hazmat.primitives.asymmetric import rsa

from confsec.errors import DecodeError
from confsec.protocol.wire import Reader, encode_uint

__all__ = ["MAX_MODULUS_BITS", "MIN_MODULUS_BITS", "TOKEN_EXPONENT", "RsaPublicKey"]

MIN_MODULUS_BITS: Final = 2048
"""The shortest modulus we take: 112 bits of security (NIST SP 800-57)."""

MAX_MODULUS_BITS: Final = 8192
"""The longest modulus we take: work grows with the third power."""

TOKEN_EXPONENT: Final = 65537
"""The public exponent of token keys."""

_SMALL_PRIMES: Final = prod(n for n in range(3, 2000) if all(n % d for d in range(2, isqrt(n) + 1)))

# AlgorithmIdentifier { id-RSASSA-PSS, { SHA-384, MGF1 with SHA-384, 48 } }, RFC 9578, section 6.5 and appendix B.2.
_ALGORITHM: Final = bytes.fromhex(
    "303d06092a864886f70d01010a3030a00d300b0609608648016503040202"
    "a11a301806092a864886f70d010108300b0609608648016503040202a203020130"
)
_SECTION: Final = "RFC 9578, section 6.5"
_SEQUENCE, _INTEGER, _BIT_STRING = 0x30, 0x02, 0x03


@frozen
class RsaPublicKey:
    """A public key (n, e) that passed the checks on its size and shape. Raises `DecodeError` when one is made."""

    n: int
    """The modulus: odd, whole bytes from 2048 to 8192 bits, no square and without a small factor."""

    e: int
    """The public exponent: odd, at least 3 and below the modulus."""

    def __attrs_post_init__(self) -> None:
        bits = max(self.n, 0).bit_length()
        if not MIN_MODULUS_BITS <= bits <= MAX_MODULUS_BITS or bits % 8:
            raise DecodeError(
                "RSA modulus has another size",
                got=f"{bits} bits",
                want=f"{MIN_MODULUS_BITS} to {MAX_MODULUS_BITS}, whole bytes",
            )
        # No proof that it is the product of two primes, which only the owner could give. These are keys of broken
        # generators, which anybody could factor.
        if not self.n % 2 or gcd(self.n, _SMALL_PRIMES) != 1 or isqrt(self.n) ** 2 == self.n:
            raise DecodeError("RSA modulus is not the product of two large primes")
        if not self.e % 2 or not 3 <= self.e < self.n:
            raise DecodeError("RSA exponent cannot be used", got=f"{self.e.bit_length()} bits", want="odd, from 3 to n")

    @property
    def modulus_size(self) -> int:
        """The length of the modulus in bytes, and that of messages and signatures."""
        return self.n.bit_length() // 8

    @classmethod
    def from_spki(cls, data: bytes) -> Self:
        """Decode a SubjectPublicKeyInfo as RFC 9578, section 6.5, has it. Raises `DecodeError` for any other DER."""
        info = Reader(_take(Reader(data, "token key"), _SEQUENCE), "token key")
        info.take(len(_ALGORITHM))
        bits = Reader(_take(info, _BIT_STRING), "token key")
        bits.take(1)
        numbers = Reader(_take(bits, _SEQUENCE), "token key")
        n, e = (int.from_bytes(_take(numbers, _INTEGER), "big", signed=True) for _ in range(2))
        key = cls(n, e)
        # Another algorithm or parameter, a longer length, a leading zero, what is left over: all differ from what we
        # encode.
        if key.to_spki() != data:
            raise DecodeError(
                "token key is not in its one DER form, for RSASSA-PSS with SHA-384 and a salt of 48 bytes",
                section=_SECTION,
            )
        return key

    def to_spki(self) -> bytes:
        """Encode as SubjectPublicKeyInfo (RFC 9578, section 6.5)."""
        return _encode_spki(self)

    def spki_digest(self) -> bytes:
        """Return the SHA-256 of the SubjectPublicKeyInfo, which is the token key id (RFC 9578, section 6.5)."""
        return hashlib.sha256(_encode_spki(self)).digest()

    def to_cryptography(self) -> rsa.RSAPublicKey:
        """Return the key for the package `cryptography`."""
        return _to_cryptography(self)


@lru_cache(maxsize=64)
def _encode_spki(key: RsaPublicKey) -> bytes:
    numbers = _encode(_SEQUENCE, _encode_integer(key.n) + _encode_integer(key.e))
    return _encode(_SEQUENCE, _ALGORITHM + _encode(_BIT_STRING, b"\x00" + numbers))


@lru_cache(maxsize=64)
def _to_cryptography(key: RsaPublicKey) -> rsa.RSAPublicKey:
    return rsa.RSAPublicNumbers(key.e, key.n).public_key()


def _take(reader: Reader, tag: int) -> bytes:
    """Take one DER element with this tag and return what is in it."""
    if reader.uint(1) != tag:
        raise DecodeError("token key has another DER element", want=f"tag 0x{tag:02x}", section=_SECTION)
    length = reader.uint(1)
    if length >= 0x80:
        length = reader.uint(length & 0x7F)
    return reader.take(length)


def _encode(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        length = bytes([size])
    else:
        digits = (size.bit_length() + 7) // 8
        length = bytes([0x80 | digits]) + encode_uint(size, digits)
    return bytes([tag]) + length + content


def _encode_integer(value: int) -> bytes:
    return _encode(_INTEGER, encode_uint(value, value.bit_length() // 8 + 1))
