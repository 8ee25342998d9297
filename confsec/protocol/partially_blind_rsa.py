"""Partially blind RSA signatures (draft-irtf-cfrg-partially-blind-rsa-02): blind RSA under a key for public metadata.

Both sides derive the same public exponent from the metadata, so a signature shows which metadata it was made for, and
nothing else about how it was made. Every derived exponent has to have an inverse, which the owner of the key makes sure
of by taking safe primes (`check_safe_primes`); a client cannot see it.
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from confsec.errors import ConfigError, UnsupportedError
from confsec.protocol import blind_rsa
from confsec.protocol.blind_rsa import Blinded, BlindRsaVariant
from confsec.protocol.machine import RandBytes
from confsec.protocol.modular import powmod
from confsec.protocol.rsa_keys import RsaPublicKey
from confsec.protocol.wire import encode_uint, encode_vector

__all__ = [
    "RSAPBSSA_SHA384_PSSZERO_DETERMINISTIC",
    "RSAPBSSA_SHA384_PSSZERO_RANDOMIZED",
    "RSAPBSSA_SHA384_PSS_DETERMINISTIC",
    "RSAPBSSA_SHA384_PSS_RANDOMIZED",
    "VARIANTS",
    "blind",
    "check_safe_primes",
    "derive_public_key",
    "finalize",
    "prepare",
    "verify",
]

RSAPBSSA_SHA384_PSS_RANDOMIZED: Final = BlindRsaVariant("RSAPBSSA-SHA384-PSS-Randomized", 48, randomized=True)
"""Random salt and random prefix: recommended."""

RSAPBSSA_SHA384_PSSZERO_RANDOMIZED: Final = BlindRsaVariant("RSAPBSSA-SHA384-PSSZERO-Randomized", 0, randomized=True)
"""Random prefix and no salt: recommended too."""

RSAPBSSA_SHA384_PSS_DETERMINISTIC: Final = BlindRsaVariant("RSAPBSSA-SHA384-PSS-Deterministic", 48, randomized=False)
"""Random salt, message as it is: what token type 0xDA7A takes."""

RSAPBSSA_SHA384_PSSZERO_DETERMINISTIC: Final = BlindRsaVariant(
    "RSAPBSSA-SHA384-PSSZERO-Deterministic", 0, randomized=False
)
"""No salt, message as it is: one signature for each message and metadata."""

VARIANTS: Final = (
    RSAPBSSA_SHA384_PSS_RANDOMIZED,
    RSAPBSSA_SHA384_PSSZERO_RANDOMIZED,
    RSAPBSSA_SHA384_PSS_DETERMINISTIC,
    RSAPBSSA_SHA384_PSSZERO_DETERMINISTIC,
)
"""All named variants."""

# "Note that the input to HKDF is expanded to account for bias in the output distribution": the bytes are cut off again.
_EXPANSION: Final = 16
_MILLER_RABIN_BASES: Final = tuple(n for n in range(2, 230) if all(n % d for d in range(2, n)))


def prepare(msg: bytes, *, variant: BlindRsaVariant, randbytes: RandBytes) -> bytes:
    """Return the prepared message, as `blind_rsa.prepare` does."""
    return blind_rsa.prepare(msg, variant=variant, randbytes=randbytes)


def derive_public_key(public_key: RsaPublicKey, info: bytes) -> RsaPublicKey:
    """Return the public key for this metadata. Raises `UnsupportedError` if the modulus is not 2^k bytes long.

    Finding the exponent is the signer's work too; its inverse modulo phi(n) is the private exponent for the metadata.
    """
    size = public_key.modulus_size
    if size & (size - 1):
        raise UnsupportedError(
            "partially blind RSA needs a modulus of 2048, 4096 or 8192 bits",
            got=f"{8 * size} bits",
            section="DerivePublicKey",
        )
    half = size // 2
    hkdf = HKDF(SHA384(), half + _EXPANSION, salt=encode_uint(public_key.n, size), info=b"PBRSA")
    expanded = bytearray(hkdf.derive(b"key" + info + b"\x00")[:half])
    # Below the smallest factor of phi(n) that two safe primes leave, but for 2; and odd. So it always has an inverse.
    expanded[0] &= 0x3F
    expanded[-1] |= 0x01
    return RsaPublicKey(public_key.n, int.from_bytes(expanded, "big"))


def blind(
    public_key: RsaPublicKey, input_msg: bytes, info: bytes, *, variant: BlindRsaVariant, randbytes: RandBytes
) -> Blinded:
    """Encode and blind a prepared message for this metadata. Raises as `blind_rsa.blind` and `derive_public_key`."""
    derived = derive_public_key(public_key, info)
    return blind_rsa.blind(derived, _with_info(input_msg, info), variant=variant, randbytes=randbytes)


def finalize(
    public_key: RsaPublicKey,
    input_msg: bytes,
    info: bytes,
    *,
    blind_sig: bytes,
    inverse: int,
    variant: BlindRsaVariant,
) -> bytes:
    """Take the blinding off and return the signature, which has been verified. Raises as `blind_rsa.finalize`."""
    derived = derive_public_key(public_key, info)
    message = _with_info(input_msg, info)
    return blind_rsa.finalize(derived, message, blind_sig=blind_sig, inverse=inverse, variant=variant)


def verify(public_key: RsaPublicKey, input_msg: bytes, info: bytes, sig: bytes, *, variant: BlindRsaVariant) -> None:
    """Check a signature over a prepared message and metadata. Raises `TokenSignatureError`.

    Much more work than with a short exponent: whoever may choose the metadata can make a verifier work, so accept few
    values (the draft's section on denial of service).
    """
    derived = derive_public_key(public_key, info)
    blind_rsa.verify(derived, _with_info(input_msg, info), sig, variant=variant)


def check_safe_primes(p: int, q: int) -> None:
    """Check the primes of a key that is to sign under metadata (KeyGen). Raises `ConfigError`.

    For the owner of the key, once when it is made or loaded. Not in constant time.
    """
    if p == q or p.bit_length() != q.bit_length() or not all(_is_safe_prime(prime) for prime in (p, q)):
        raise ConfigError(
            "partially blind RSA needs a modulus of two different safe primes of one length",
            section="draft-irtf-cfrg-partially-blind-rsa-02, KeyGen",
        )


def _with_info(input_msg: bytes, info: bytes) -> bytes:
    return b"msg" + encode_vector(info, 4) + input_msg


def _is_safe_prime(p: int) -> bool:
    return _is_probable_prime(p) and _is_probable_prime((p - 1) // 2)


def _is_probable_prime(n: int) -> bool:
    """Miller and Rabin's test to fixed bases: for numbers that somebody drew at random, not for an enemy's."""
    if n in _MILLER_RABIN_BASES:
        return True
    if n < 2 or not n % 2:
        return False
    twos = ((n - 1) & (1 - n)).bit_length() - 1
    return all(_is_strong_probable_prime(n, base, twos) for base in _MILLER_RABIN_BASES)


def _is_strong_probable_prime(n: int, base: int, twos: int) -> bool:
    power = powmod(base, (n - 1) >> twos, n)
    if power in {1, n - 1}:
        return True
    for _ in range(twos - 1):
        power = power * power % n
        if power == n - 1:
            return True
    return False
