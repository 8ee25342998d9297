"""ML-KEM-768 and ML-KEM-1024 as KEMs of HPKE (FIPS 203; draft-ietf-hpke-pq-04, section 3).

A private key is the 64-byte seed d ‖ z. Encapsulation draws its randomness inside OpenSSL: `cryptography` takes none
from its caller. So `randbytes` does not reach it, and two runs with the same `randbytes` give different encapsulations.
This is the one place in `protocol/` that is not replayable.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, Protocol, final

from confsec.errors import DecodeError, DecryptionError
from confsec.protocol.kdf import Kdf, labeled_derive
from confsec.protocol.kem_base import ErasedKey, Kem, KemPrivateKey
from confsec.protocol.machine import RandBytes

__all__ = ["SEED_SIZE", "MlKem", "MlKemPrivateKey"]

SEED_SIZE: Final = 64
"""Nsk: d ‖ z (FIPS 203, section 7.1)."""

_SECRET_SIZE: Final = 32

_RECURRING_KEYS: Final = 64
"""How many parsed public keys are remembered: parsing expands the matrix, which takes half as long as encapsulating."""

_SECTION: Final = "draft-ietf-hpke-pq-04, section 3"


class _NativePublic(Protocol):
    def encapsulate(self) -> tuple[bytes, bytes]: ...
    def public_bytes_raw(self) -> bytes: ...


class _NativePrivate(Protocol):
    def decapsulate(self, ciphertext: bytes, /) -> bytes: ...
    def private_bytes_raw(self) -> bytes: ...
    def public_key(self) -> _NativePublic: ...


@final
class MlKem(Kem):
    """ML-KEM with one parameter set, alone or as half of a hybrid."""

    def __init__(
        self,
        name: str,
        kem_id: int,
        *,
        public_key_size: int,
        enc_size: int,
        load_private: Callable[[bytes], _NativePrivate],
        load_public: Callable[[bytes], _NativePublic],
    ) -> None:
        self.name = name
        self.kem_id = kem_id
        self.secret_size = _SECRET_SIZE
        self.public_key_size = public_key_size
        self.enc_size = enc_size
        self.private_key_size = SEED_SIZE
        self._suite_id: Final = b"KEM" + kem_id.to_bytes(2, "big")
        self._load_private: Final = load_private
        self._load_public: Final = load_public
        self._parse_recurring: Final = lru_cache(_RECURRING_KEYS)(self._parse_public_key)

    def generate(self, randbytes: RandBytes) -> MlKemPrivateKey:
        return self.from_private_bytes(randbytes(SEED_SIZE))

    def derive_key_pair(self, ikm: bytes) -> MlKemPrivateKey:
        self._check_ikm(ikm)
        return self.from_private_bytes(
            labeled_derive(Kdf.SHAKE256, self._suite_id, ikm, b"DeriveKeyPair", b"", SEED_SIZE)
        )

    def from_private_bytes(self, private_key: bytes) -> MlKemPrivateKey:
        if len(private_key) != SEED_SIZE:
            raise DecodeError(
                f"the {self.name} private key has another size",
                got=f"{len(private_key)} bytes",
                want=f"{SEED_SIZE} bytes: the seed",
                section=_SECTION,
            )
        return MlKemPrivateKey(self, self._load_private(private_key))

    def check_public_key(self, public_key: bytes) -> None:
        self._parse_recurring(public_key)  # what is checked is used next, and again

    def encapsulate(self, public_key: bytes, randbytes: RandBytes) -> tuple[bytes, bytes]:
        """Return a fresh shared secret and its encapsulation. `randbytes` is not used (see the module's docstring).

        Raises `DecodeError` for a public key of another size or with coefficients that are not reduced.
        """
        return self._parse_recurring(public_key).encapsulate()

    def _parse_public_key(self, public_key: bytes) -> _NativePublic:
        if len(public_key) != self.public_key_size:
            raise DecodeError(
                f"the {self.name} public key has another size",
                got=f"{len(public_key)} bytes",
                want=f"{self.public_key_size} bytes",
                section=_SECTION,
            )
        # OpenSSL makes the modulus check of FIPS 203, section 7.2, here.
        try:
            return self._load_public(public_key)
        except ValueError as exc:
            raise DecodeError(f"the {self.name} public key is not reduced", section="FIPS 203, section 7.2") from exc


@final
class MlKemPrivateKey(KemPrivateKey):
    """An ML-KEM private key in this process."""

    def __init__(self, kem: MlKem, private: _NativePrivate) -> None:
        self.kem_id: int = kem.kem_id
        self.public_key: bytes = private.public_key().public_bytes_raw()
        self._enc_size = kem.enc_size
        self._private: _NativePrivate | ErasedKey = private

    def decapsulate(self, enc: bytes) -> bytes:
        """Return the shared secret. A wrong encapsulation of the right size gives a wrong secret, not an error.

        Raises `DecryptionError` for another size.
        """
        if len(enc) != self._enc_size:
            raise DecryptionError("the encapsulation has another size", got=f"{len(enc)} bytes", want=self._enc_size)
        return self._private.decapsulate(enc)

    def private_bytes(self) -> bytes:
        return self._private.private_bytes_raw()

    def erase(self) -> None:
        self._private = ErasedKey()
