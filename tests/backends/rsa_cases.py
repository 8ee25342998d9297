"""Private keys for tests of signers, in both implementations and in the PEM that they read."""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import cache
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPrivateNumbers,
    RSAPublicNumbers,
    rsa_crt_dmp1,
    rsa_crt_dmq1,
    rsa_crt_iqmp,
)
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from confsec.backends.libcrypto_rsa import LibcryptoKey
from confsec.backends.raw_rsa import RawRsaKey
from confsec.protocol.rsa_keys import TOKEN_EXPONENT, RsaPublicKey
from tests.protocol.token_cases import KEYS, KeyPair
from tests.support import needs_packages

OpenKey = Callable[[bytes], RawRsaKey]


def open_gmp_key(pem: bytes, passphrase: bytes | None = None) -> RawRsaKey:
    """Open a key with GMP, or skip the test where gmpy2 is missing."""
    needs_packages("gmpy2")
    from confsec.backends.gmp_rsa import GmpKey

    return GmpKey.from_pem(pem, passphrase)


each_library = pytest.mark.parametrize(
    "open_key", [pytest.param(LibcryptoKey.from_pem, id="libcrypto"), pytest.param(open_gmp_key, id="gmp")]
)
"""Run the test with keys of each implementation."""

_RSA_ENCRYPTION: Final = bytes.fromhex("300d06092a864886f70d0101010500")


def private_key(p: int, q: int, *, d: int | None = None) -> RSAPrivateKey:
    """Return the key of two primes, or a key that does not belong together if `d` is another one."""
    right = pow(TOKEN_EXPONENT, -1, (p - 1) * (q - 1))
    numbers = RSAPrivateNumbers(
        p=p,
        q=q,
        d=d or right,
        dmp1=rsa_crt_dmp1(right, p),
        dmq1=rsa_crt_dmq1(right, q),
        iqmp=rsa_crt_iqmp(p, q),
        public_numbers=RSAPublicNumbers(TOKEN_EXPONENT, p * q),
    )
    return numbers.private_key(unsafe_skip_rsa_key_validation=d is not None)


@cache
def raw_key(name: str) -> LibcryptoKey:
    """Return one of the fixed keys, opened once."""
    return LibcryptoKey.from_pem(pem_of(name))


def to_pem(key: RSAPrivateKey) -> bytes:
    """Return a key in PEM, as rsaEncryption and without a passphrase."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@cache
def pem_of(name: str) -> bytes:
    """Return one of the fixed keys in PEM."""
    return to_pem(private_key(KEYS[name].p, KEYS[name].q))


def pss_pem_of(name: str, *, parameters: bool) -> bytes:
    """Return one of the fixed keys as id-RSASSA-PSS, with the parameters of token keys (RFC 9578, 6.5) or without."""
    pair: KeyPair = KEYS[name]
    der = private_key(pair.p, pair.q).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    algorithm = bytes.fromhex("300b06092a864886f70d01010a")
    if parameters:
        spki = RsaPublicKey(pair.public_key.n, TOKEN_EXPONENT).to_spki()
        algorithm = spki[4 : 4 + 2 + spki[5]]
    content = der[4:].replace(_RSA_ENCRYPTION, algorithm, 1)
    der = b"\x30\x82" + len(content).to_bytes(2, "big") + content
    return b"-----BEGIN PRIVATE KEY-----\n" + base64.encodebytes(der) + b"-----END PRIVATE KEY-----\n"
