"""A private RSA key that does the bare operations of RFC 8017, section 5.2, which blind signatures are made of.

Only for signers: without padding, and without a check of the result, these operations are safe in nobody else's hands.
OpenSSL does them where the system has it, GMP where it has not, and nothing else: Python's own `pow` takes a time that
tells of the exponent.
"""

from __future__ import annotations

from typing import Protocol

from confsec.backends.libcrypto_rsa import LibcryptoKey
from confsec.errors import DecodeError, UnsupportedError
from confsec.protocol.rsa_keys import RsaPublicKey

__all__ = ["RawRsaKey", "check_message", "open_raw_key"]


class RawRsaKey(Protocol):
    """A private key. Any number of threads may use it at once; it is forgotten when nobody refers to it any more.

    Messages and signatures are as long as the modulus and below it, which the caller has checked.
    """

    @property
    def public_key(self) -> RsaPublicKey:
        """The public half."""
        ...

    def rsasp1(self, message: bytes) -> bytes:
        """Return message^d mod n, in constant time. Raises `BackendError`. Check the result before it is used."""
        ...

    def rsavp1(self, signature: bytes) -> bytes:
        """Return signature^e mod n. Raises `BackendError`."""
        ...

    def check_safe_primes(self) -> None:
        """Check that the modulus is a product of two safe primes of one length. Raises `ConfigError`."""
        ...

    def derive(self, public_key: RsaPublicKey) -> RawRsaKey:
        """Return the key with the same modulus and this public exponent. Raises `BackendError` if there is none."""
        ...


def check_message(public_key: RsaPublicKey, message: bytes) -> None:
    """Check what the private operation asks of a message: its length, and that it is below n. Raises `DecodeError`."""
    size = public_key.modulus_size
    if len(message) != size:
        raise DecodeError(
            "message has another size than the modulus", got=f"{len(message)} bytes", want=f"{size} bytes"
        )
    if int.from_bytes(message, "big") >= public_key.n:
        raise DecodeError("message is not below the modulus", section="RFC 8017, section 5.2.1")


def open_raw_key(pem: bytes, passphrase: bytes | None = None) -> RawRsaKey:
    """Read a private RSA key, of type rsaEncryption or id-RSASSA-PSS, from PEM.

    Raises `ConfigError` if it is none or the passphrase is wrong, and `MissingExtraError` where there is neither a
    libcrypto that works nor gmpy2.
    """
    try:
        return LibcryptoKey.from_pem(pem, passphrase)
    except UnsupportedError:
        from confsec.backends.gmp_rsa import GmpKey

        return GmpKey.from_pem(pem, passphrase)
