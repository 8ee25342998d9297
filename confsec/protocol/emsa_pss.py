"""EMSA-PSS, the encoding under RSA-PSS signatures (RFC 8017, section 9.1), with MGF1 over the same hash.

Blind signatures need the encoded message itself, which libraries keep to themselves. The salt is handed in.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from confsec.errors import LocalProtocolError, TokenSignatureError

__all__ = ["emsa_pss_encode", "emsa_pss_verify", "mgf1"]

_TRAILER: Final = b"\xbc"


def mgf1(seed: bytes, size: int, hash_name: str) -> bytes:
    """Return the mask of `size` bytes for `seed` (RFC 8017, appendix B.2.1)."""
    blocks, mask = 0, b""
    while len(mask) < size:
        mask += hashlib.new(hash_name, seed + blocks.to_bytes(4, "big")).digest()
        blocks += 1
    return mask[:size]


def emsa_pss_encode(message: bytes, bits: int, *, salt: bytes, hash_name: str = "sha384") -> bytes:
    """Encode `message` as a number of at most `bits` bits. Raises `LocalProtocolError` if there is no room."""
    size = (bits + 7) // 8
    digest_size = hashlib.new(hash_name).digest_size
    if size < digest_size + len(salt) + 2:
        raise LocalProtocolError(
            "the modulus is too short for this encoding", got=f"{bits} bits", section="RFC 8017, section 9.1.1"
        )
    digest = _salted_digest(message, salt, hash_name)
    block = bytes(size - len(salt) - digest_size - 2) + b"\x01" + salt
    masked = _xor(block, mgf1(digest, len(block), hash_name))
    return bytes([masked[0] & (0xFF >> (8 * size - bits))]) + masked[1:] + digest + _TRAILER


def emsa_pss_verify(message: bytes, encoded: bytes, bits: int, *, salt_size: int, hash_name: str = "sha384") -> None:
    """Check that `encoded` encodes `message` with a salt of exactly this size. Raises `TokenSignatureError`.

    The steps of RFC 8017, section 9.1.2, take the encoding apart. Since it is a function of message and salt alone, we
    take only the salt out, encode again and compare: no check can be forgotten.
    """
    size = (bits + 7) // 8
    digest_size = hashlib.new(hash_name).digest_size
    block_size = size - digest_size - 1
    if len(encoded) != size or block_size < salt_size + 1:
        raise TokenSignatureError("the signature does not verify")
    masked, digest = encoded[:block_size], encoded[block_size:-1]
    block = _xor(masked, mgf1(digest, block_size, hash_name))
    again = emsa_pss_encode(message, bits, salt=block[block_size - salt_size :], hash_name=hash_name)
    if not hmac.compare_digest(again, encoded):
        raise TokenSignatureError("the signature does not verify")


def _salted_digest(message: bytes, salt: bytes, hash_name: str) -> bytes:
    return hashlib.new(hash_name, bytes(8) + hashlib.new(hash_name, message).digest() + salt).digest()


def _xor(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left, "big") ^ int.from_bytes(right, "big")).to_bytes(len(left), "big")
