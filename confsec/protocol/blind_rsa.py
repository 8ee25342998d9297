"""RSA blind signatures (RFC 9474): the client's steps, and the check that a signer makes of its own result.

`prepare`, `blind` and `finalize` are the client's. The signer's private operation is not here: it belongs to a
`BlindSigner`, a library or a device that takes constant time; `check_blinded_msg` and `check_blind_sig` stand around
it. The signature that comes out is an ordinary RSA-PSS signature, and `verify` is an ordinary verification.
"""

from __future__ import annotations

from functools import lru_cache
from math import gcd
from typing import Final

from attrs import field, frozen
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.hashes import SHA384

from confsec.errors import BackendError, DecodeError, TokenKeyError, TokenSignatureError
from confsec.protocol.emsa_pss import emsa_pss_encode, emsa_pss_verify
from confsec.protocol.machine import RandBytes
from confsec.protocol.modular import invert, mulmod, powmod
from confsec.protocol.rsa_keys import RsaPublicKey
from confsec.protocol.wire import encode_uint

__all__ = [
    "PREFIX_SIZE",
    "RSABSSA_SHA384_PSSZERO_DETERMINISTIC",
    "RSABSSA_SHA384_PSSZERO_RANDOMIZED",
    "RSABSSA_SHA384_PSS_DETERMINISTIC",
    "RSABSSA_SHA384_PSS_RANDOMIZED",
    "VARIANTS",
    "BlindRsaVariant",
    "Blinded",
    "blind",
    "check_blind_sig",
    "check_blinded_msg",
    "finalize",
    "prepare",
    "verify",
]

PREFIX_SIZE: Final = 32
"""How many random bytes a randomized preparation puts before the message (section 4.1)."""

# OpenSSL takes long exponents only with moduli up to this size (OPENSSL_RSA_SMALL_MODULUS_BITS, openssl/rsa.h).
_OPENSSL_SMALL_MODULUS_BITS: Final = 3072
_OPENSSL_MAX_EXPONENT_BITS: Final = 64


@frozen
class BlindRsaVariant:
    """A named variant (section 5): SHA-384, MGF1 with SHA-384, and the two choices that are left."""

    name: str
    """As in section 5."""

    salt_size: int
    """How many bytes of salt the encoding has: 48 or none."""

    randomized: bool
    """Whether the message gets a random prefix, so that the signer cannot learn it even with a malicious key."""


RSABSSA_SHA384_PSS_RANDOMIZED: Final = BlindRsaVariant("RSABSSA-SHA384-PSS-Randomized", 48, randomized=True)
"""Random salt and random prefix: what RFC 9474 recommends."""

RSABSSA_SHA384_PSSZERO_RANDOMIZED: Final = BlindRsaVariant("RSABSSA-SHA384-PSSZERO-Randomized", 0, randomized=True)
"""Random prefix and no salt: recommended too."""

RSABSSA_SHA384_PSS_DETERMINISTIC: Final = BlindRsaVariant("RSABSSA-SHA384-PSS-Deterministic", 48, randomized=False)
"""Random salt, message as it is: what Privacy Pass takes, whose messages have 32 random bytes of their own."""

RSABSSA_SHA384_PSSZERO_DETERMINISTIC: Final = BlindRsaVariant(
    "RSABSSA-SHA384-PSSZERO-Deterministic", 0, randomized=False
)
"""No salt, message as it is: one signature for each message, so the message itself must be hard to guess."""

VARIANTS: Final = (
    RSABSSA_SHA384_PSS_RANDOMIZED,
    RSABSSA_SHA384_PSSZERO_RANDOMIZED,
    RSABSSA_SHA384_PSS_DETERMINISTIC,
    RSABSSA_SHA384_PSSZERO_DETERMINISTIC,
)
"""All named variants."""


@frozen
class Blinded:
    """A blinded message, and what takes the blinding off again."""

    blinded_msg: bytes
    """What the signer gets: as long as the modulus."""

    inverse: int = field(repr=False)
    """The inverse of the blind. Who knows it can link the signature to the blinded message."""


def prepare(msg: bytes, *, variant: BlindRsaVariant, randbytes: RandBytes) -> bytes:
    """Return the prepared message, which is what gets signed (section 4.1): keep it with the signature."""
    return randbytes(PREFIX_SIZE) + msg if variant.randomized else msg


def blind(public_key: RsaPublicKey, input_msg: bytes, *, variant: BlindRsaVariant, randbytes: RandBytes) -> Blinded:
    """Encode and blind a prepared message (section 4.2). Draws the salt first, then the blind.

    Raises `TokenKeyError` if the encoded message has no inverse: the modulus is then no product of two large primes.
    """
    salt = randbytes(variant.salt_size) if variant.salt_size else b""
    encoded = emsa_pss_encode(input_msg, public_key.n.bit_length() - 1, salt=salt)
    message = int.from_bytes(encoded, "big")
    r, inverse = _draw_blind(public_key, message, randbytes)
    blinded = mulmod(message, powmod(r, public_key.e, public_key.n), public_key.n)
    return Blinded(encode_uint(blinded, public_key.modulus_size), inverse)


def finalize(
    public_key: RsaPublicKey, input_msg: bytes, *, blind_sig: bytes, inverse: int, variant: BlindRsaVariant
) -> bytes:
    """Take the blinding off a blind signature and return the signature, which has been verified (section 4.4).

    Raises `DecodeError` for a wrong size, and `TokenSignatureError`.
    """
    z = _to_number(public_key, blind_sig, "blind signature")
    sig = encode_uint(mulmod(z, inverse, public_key.n), public_key.modulus_size)
    verify(public_key, input_msg, sig, variant=variant)
    return sig


def verify(public_key: RsaPublicKey, input_msg: bytes, sig: bytes, *, variant: BlindRsaVariant) -> None:
    """Check a signature over a prepared message (section 4.5). Raises `TokenSignatureError`."""
    large = public_key.n.bit_length() > _OPENSSL_SMALL_MODULUS_BITS
    if large and public_key.e.bit_length() > _OPENSSL_MAX_EXPONENT_BITS:
        _verify_ourselves(public_key, input_msg, sig, variant)
        return
    try:
        public_key.to_cryptography().verify(sig, input_msg, _padding(variant.salt_size), SHA384())
    except InvalidSignature as exc:
        raise TokenSignatureError("the signature does not verify", section="RFC 9474, section 4.5") from exc


def check_blinded_msg(public_key: RsaPublicKey, blinded_msg: bytes) -> None:
    """Check that a blinded message may be signed: its size, below n, and invertible. Raises `DecodeError`.

    Without an inverse it is zero or shows a factor of the modulus; no client makes one (section 4.2).
    """
    if gcd(_to_number(public_key, blinded_msg, "blinded message"), public_key.n) != 1:
        raise DecodeError("blinded message has no inverse", section="RFC 9474, section 4.2")


def check_blind_sig(public_key: RsaPublicKey, blinded_msg: bytes, blind_sig: bytes) -> None:
    """Check a signer's own result before it leaves (section 4.3, step 4). Raises `BackendError`.

    A private operation that went wrong, by a bit flip or on purpose, can show a factor of the modulus to whoever gets
    its result.
    """
    try:
        message = _to_number(public_key, blinded_msg, "blinded message")
        sig = _to_number(public_key, blind_sig, "blind signature")
    except DecodeError as exc:
        raise BackendError("the signer's result has another size", section="RFC 9474, section 4.3") from exc
    if powmod(sig, public_key.e, public_key.n) != message:
        raise BackendError("the signer's result is wrong and is not released", section="RFC 9474, section 4.3")


def _draw_blind(public_key: RsaPublicKey, message: int, randbytes: RandBytes) -> tuple[int, int]:
    """Draw r from 1 to n - 1, each equally likely, until it has an inverse; return both. Raises `TokenKeyError`."""
    n = public_key.n
    while True:
        r = int.from_bytes(randbytes(public_key.modulus_size), "big")
        # A remainder instead of another draw would favour small numbers, and the blinding would no longer be perfect.
        if not 0 < r < n:
            continue
        try:
            # The product has an inverse if both have one, so that this is the message's check as well.
            return r, mulmod(invert(mulmod(r, message, n), n), message, n)
        except ValueError as exc:
            if gcd(message, n) != 1:
                raise TokenKeyError(
                    "the message shares a factor with the modulus", section="RFC 9474, section 4.2"
                ) from exc


@lru_cache(maxsize=2)
def _padding(salt_size: int) -> PSS:
    return PSS(MGF1(SHA384()), salt_length=salt_size)


def _verify_ourselves(public_key: RsaPublicKey, input_msg: bytes, sig: bytes, variant: BlindRsaVariant) -> None:
    try:
        number = _to_number(public_key, sig, "signature")
    except DecodeError as exc:
        raise TokenSignatureError("the signature does not verify", section="RFC 9474, section 4.5") from exc
    encoded = powmod(number, public_key.e, public_key.n).to_bytes(public_key.modulus_size, "big")
    emsa_pss_verify(input_msg, encoded, public_key.n.bit_length() - 1, salt_size=variant.salt_size)


def _to_number(public_key: RsaPublicKey, data: bytes, what: str) -> int:
    if len(data) != public_key.modulus_size:
        raise DecodeError(f"{what} has another size", got=f"{len(data)} bytes", want=f"{public_key.modulus_size} bytes")
    number = int.from_bytes(data, "big")
    if number >= public_key.n:
        raise DecodeError(f"{what} is not below the modulus", section="RFC 8017, section 5.2")
    return number
