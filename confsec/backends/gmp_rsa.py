"""Private RSA keys with GMP (package gmpy2): where there is no libcrypto that works.

Powers take constant time (`mpz_powm_sec`) and everything before and after them is blinded, since GMP's other operations
do not. The key is a few Python objects, which cannot be cleared: prefer libcrypto.
"""

from __future__ import annotations

from typing import Self, final

from attrs import field, frozen
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from confsec.backends.system import randbytes
from confsec.errors import BackendError, ConfigError, DecodeError, MissingExtraError
from confsec.protocol.partially_blind_rsa import check_safe_primes
from confsec.protocol.rsa_keys import RsaPublicKey

try:
    import gmpy2
except ImportError as _exc:
    raise MissingExtraError("gmpy2", extra="gmpy2") from _exc

__all__ = ["GmpKey"]

_FACTOR_SIZE = 32  # bytes


@final
@frozen(eq=False)
class GmpKey:
    """A private key in GMP's numbers: a `RawRsaKey`."""

    public_key: RsaPublicKey
    """The public half."""

    _p: gmpy2.mpz = field(repr=False)
    _q: gmpy2.mpz = field(repr=False)
    _d: gmpy2.mpz = field(repr=False)

    @classmethod
    def from_pem(cls, pem: bytes, passphrase: bytes | None = None) -> Self:
        """Read a private key, of type rsaEncryption or id-RSASSA-PSS. Raises `ConfigError`."""
        try:
            key = load_pem_private_key(pem, passphrase)
            if not isinstance(key, RSAPrivateKey):
                raise ConfigError("a private key is not for RSA")
            numbers = key.private_numbers()
            public_key = RsaPublicKey(numbers.public_numbers.n, numbers.public_numbers.e)
        except (ConfigError, DecodeError, TypeError, ValueError):
            raise ConfigError(
                "a private key cannot be read", want="a good RSA key in PEM, and its passphrase"
            ) from None
        return cls(public_key, gmpy2.mpz(numbers.p), gmpy2.mpz(numbers.q), gmpy2.mpz(numbers.d))

    def rsasp1(self, message: bytes) -> bytes:
        """Return message^d mod n (RFC 8017, section 5.2.1)."""
        n, size = gmpy2.mpz(self.public_key.n), self.public_key.modulus_size
        with gmpy2.context(allow_release_gil=True):
            blind, inverse = self._draw_blind()
            blinded = gmpy2.mpz(int.from_bytes(message, "big")) * gmpy2.powmod(blind, self.public_key.e, n) % n
            s_p = gmpy2.powmod_sec(blinded % self._p, self._d % (self._p - 1), self._p)
            s_q = gmpy2.powmod_sec(blinded % self._q, self._d % (self._q - 1), self._q)
            h = (s_p - s_q) * gmpy2.invert(self._q, self._p) % self._p
            return int((s_q + h * self._q) * inverse % n).to_bytes(size, "big")

    def rsavp1(self, signature: bytes) -> bytes:
        """Return signature^e mod n (RFC 8017, section 5.2.2)."""
        power = gmpy2.powmod(int.from_bytes(signature, "big"), self.public_key.e, self.public_key.n)
        return int(power).to_bytes(self.public_key.modulus_size, "big")

    def check_safe_primes(self) -> None:
        """Check that the modulus is a product of two safe primes of one length. Raises `ConfigError`."""
        check_safe_primes(int(self._p), int(self._q))

    def derive(self, public_key: RsaPublicKey) -> GmpKey:
        """Return the key with the same modulus and the exponent of `public_key`. Raises `BackendError`."""
        if public_key.n != self.public_key.n:
            raise BackendError("a key of another modulus cannot be derived from this one")
        phi = (self._p - 1) * (self._q - 1)
        try:
            # The inverse modulo a random multiple of phi, so that the time taken tells of that multiple.
            d = gmpy2.invert(public_key.e, phi * self._draw_factor(public_key.e)) % phi
        except ZeroDivisionError:
            raise BackendError("this public exponent has no inverse under this key") from None
        return GmpKey(public_key, self._p, self._q, d)

    def _draw_blind(self) -> tuple[gmpy2.mpz, gmpy2.mpz]:
        """Draw a fresh blind for one operation; return it and its inverse."""
        n = gmpy2.mpz(self.public_key.n)
        # Eight bytes more than the modulus has, so that the remainder is as good as uniform. One without an inverse
        # would be a multiple of p or q, which nobody draws.
        blind = gmpy2.mpz(int.from_bytes(randbytes(self.public_key.modulus_size + 8), "big")) % n
        return blind, gmpy2.invert(blind, n)

    def _draw_factor(self, exponent: int) -> gmpy2.mpz:
        """Draw a random number that shares no factor with the exponent."""
        while True:
            factor = gmpy2.mpz(int.from_bytes(randbytes(_FACTOR_SIZE), "big"))
            if gmpy2.gcd(factor, exponent) == 1:
                return factor
