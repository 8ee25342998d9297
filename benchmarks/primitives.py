"""The raw primitives of an exchange: the same calls on the same sizes, with nothing around them.

Key generation, Diffie–Hellman, ML-KEM, HMAC, SHA-256 and AEAD, as `cryptography` and the standard library offer them.
No message is framed, no result checked, no state kept: what is left is the time that no implementation on these
libraries can get below. tests/test_benchmarks.py counts the calls of both sides.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable
from typing import Final, Protocol, final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from confsec.protocol.kem import kem_from_id

__all__ = ["Hmacs", "RawKem", "kem_hmacs", "raw_kem", "response_hmacs", "run_hmacs", "schedule_hmacs"]

Hmacs = list[tuple[bytes, bytes]]
"""Keys and messages of HMAC calls. Only their sizes matter."""

_P256: Final = ec.SECP256R1()
_ECDH: Final = ec.ECDH()
_LABELED: Final = 17
"""Bytes that each input of the key schedule begins with: "HPKE-v1" and the suite id (RFC 9180, section 5.1)."""


class RawKem(Protocol):
    """The calls of one KEM, to a key pair of its own."""

    def encapsulate(self) -> bytes:
        """Do what the sender does, and return what the receiver needs."""
        ...

    def decapsulate(self, enc: bytes) -> None:
        """Do what the receiver does."""
        ...


@final
class _X25519:
    """What DHKEM(X25519) and X-Wing's traditional half call."""

    def __init__(self) -> None:
        self._private = X25519PrivateKey.generate()
        self._public = self._private.public_key()

    def encapsulate(self) -> bytes:
        ephemeral = X25519PrivateKey.from_private_bytes(os.urandom(32))
        enc = ephemeral.public_key().public_bytes_raw()
        ephemeral.exchange(self._public)
        return enc

    def decapsulate(self, enc: bytes) -> None:
        self._private.exchange(X25519PublicKey.from_public_bytes(enc))


@final
class _P256Group:
    """What DHKEM(P-256) and the traditional half of MLKEM768-P256 call."""

    def __init__(self) -> None:
        self._private = ec.generate_private_key(_P256)
        self._public = self._private.public_key()
        self._last = _P256.group_order - 1

    def encapsulate(self) -> bytes:
        scalar = int.from_bytes(os.urandom(32), "big") % self._last + 1
        ephemeral = ec.derive_private_key(scalar, _P256)
        enc = ephemeral.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        ephemeral.exchange(_ECDH, self._public)
        return enc

    def decapsulate(self, enc: bytes) -> None:
        self._private.exchange(_ECDH, ec.EllipticCurvePublicKey.from_encoded_point(_P256, enc))


_COMBINED: Final = bytes(32 + 32 + 32 + 32 + 6)
"""As much as a combiner hashes with X25519."""

_ML_KEM_ENC: Final = 1088


@final
class _Hybrid:
    """What a hybrid of ML-KEM-768 and a group calls."""

    def __init__(self, group: RawKem) -> None:
        self._group = group
        self._private = MLKEM768PrivateKey.generate()
        self._public = self._private.public_key()

    def encapsulate(self) -> bytes:
        _, enc = self._public.encapsulate()
        enc += self._group.encapsulate()
        hashlib.sha3_256(_COMBINED).digest()
        return enc

    def decapsulate(self, enc: bytes) -> None:
        self._private.decapsulate(enc[:_ML_KEM_ENC])
        self._group.decapsulate(enc[_ML_KEM_ENC:])
        hashlib.sha3_256(_COMBINED).digest()


_KEMS: Final[dict[int, Callable[[], RawKem]]] = {
    0x0010: _P256Group,
    0x0020: _X25519,
    0x0050: lambda: _Hybrid(_P256Group()),
    0x647A: lambda: _Hybrid(_X25519()),
}


def raw_kem(kem_id: int) -> RawKem:
    """Return the calls of this KEM."""
    return _KEMS[kem_id]()


def kem_hmacs(kem_id: int) -> Hmacs:
    """Return what one end of a DHKEM computes (RFC 9180, section 4.1). Hybrids hash in their combiner instead."""
    if kem_id not in {0x0010, 0x0020}:
        return []
    kem = kem_from_id(kem_id)
    labeled = len("HPKE-v1") + len("KEM") + 2
    kem_context = kem.enc_size + kem.public_key_size
    return _hmacs(
        (0, labeled + len("eae_prk") + 32),
        (32, 2 + labeled + len("shared_secret") + kem_context + 1),
    )


def schedule_hmacs(info_size: int, exporter_context_size: int) -> Hmacs:
    """Return the key schedule and one export (RFC 9180, sections 5.1 and 5.3)."""
    context = 1 + 32 + 32
    return _hmacs(
        (0, _LABELED + len("info_hash") + info_size),
        (32, _LABELED + len("secret")),
        *((32, 2 + _LABELED + len(label) + context + 1) for label in ("key", "base_nonce", "exp")),
        (32, 2 + _LABELED + len("sec") + exporter_context_size + 1),
    )


def response_hmacs(salt_size: int, secret_size: int) -> Hmacs:
    """Return what one end computes for the keys of a response (RFC 9458, section 4.4)."""
    return _hmacs((salt_size, secret_size), (32, len("key") + 1), (32, len("nonce") + 1))


def run_hmacs(hmacs: Hmacs) -> None:
    """Compute them all."""
    for key, message in hmacs:
        hmac.digest(key, message, "sha256")


def _hmacs(*sizes: tuple[int, int]) -> Hmacs:
    return [(bytes(key), bytes(message)) for key, message in sizes]
