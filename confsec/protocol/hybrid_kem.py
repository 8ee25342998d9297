"""Hybrids of ML-KEM and a group: safe as long as one half is (draft-ietf-hpke-pq-04, section 4).

The combiner is SHA3-256(ss_PQ ‖ ss_T ‖ ct_T ‖ ek_T ‖ label). A private key is a 32-byte seed from which both halves are
expanded, or two halves that were made apart, so that the traditional one can live in a TPM.
The post-quantum half of an encapsulation draws its randomness inside OpenSSL, not from `randbytes` (see `ml_kem`).
"""

from __future__ import annotations

import hashlib
from typing import Final, final

from confsec.errors import DecodeError, DecryptionError, LocalProtocolError
from confsec.protocol.groups import CheckedDevice, Group, GroupKey
from confsec.protocol.kdf import Kdf, labeled_derive
from confsec.protocol.kem_base import Decapsulator, DiffieHellman, ErasedKey, Kem, KemPrivateKey
from confsec.protocol.machine import RandBytes
from confsec.protocol.ml_kem import SEED_SIZE, MlKem
from confsec.protocol.wire import Reader

__all__ = ["HybridDecapsulator", "HybridKem", "HybridPrivateKey"]

_HYBRID_SEED_SIZE: Final = 32
"""Nsk of every hybrid."""


@final
class HybridKem(Kem):
    """ML-KEM and Diffie–Hellman in one group, combined."""

    def __init__(self, name: str, kem_id: int, *, pq: MlKem, group: Group, group_seed_size: int, label: bytes) -> None:
        self.name = name
        self.kem_id = kem_id
        self.pq: Final = pq
        self.group: Final = group
        self.label: Final = label
        self.secret_size = 32
        self.enc_size: int = pq.enc_size + group.public_key_size
        self.public_key_size: int = pq.public_key_size + group.public_key_size
        self.private_key_size = _HYBRID_SEED_SIZE
        self._group_seed_size: Final = group_seed_size
        self._suite_id: Final = b"KEM" + kem_id.to_bytes(2, "big")

    def generate(self, randbytes: RandBytes) -> HybridPrivateKey:
        return self.from_private_bytes(randbytes(_HYBRID_SEED_SIZE))

    def derive_key_pair(self, ikm: bytes) -> HybridPrivateKey:
        self._check_ikm(ikm)
        seed = labeled_derive(Kdf.SHAKE256, self._suite_id, ikm, b"DeriveKeyPair", b"", _HYBRID_SEED_SIZE)
        return self.from_private_bytes(seed)

    def from_private_bytes(self, private_key: bytes) -> HybridPrivateKey:
        if len(private_key) != _HYBRID_SEED_SIZE:
            raise DecodeError(
                f"the {self.name} private key has another size",
                got=f"{len(private_key)} bytes",
                want=f"{_HYBRID_SEED_SIZE} bytes: the seed",
                section="draft-ietf-hpke-pq-04, section 4",
            )
        return HybridPrivateKey(self, private_key)

    def check_public_key(self, public_key: bytes) -> None:
        pq_key, group_key = self.split_public_key(public_key)
        self.pq.check_public_key(pq_key)
        self.group.check_public_key(group_key)

    def encapsulate(self, public_key: bytes, randbytes: RandBytes) -> tuple[bytes, bytes]:
        """Return a fresh shared secret and its encapsulation. `randbytes` makes the traditional half only.

        Raises `DecodeError` for a bad public key.
        """
        pq_key, group_key = self.split_public_key(public_key)
        pq_secret, pq_enc = self.pq.encapsulate(pq_key, randbytes)
        ephemeral = self.group.generate(randbytes)
        group_enc = ephemeral.public_key
        group_secret = ephemeral.diffie_hellman_recurring(group_key)
        return self.combine(pq_secret, group_secret, group_enc, group_key), pq_enc + group_enc

    def combine(self, pq_secret: bytes, group_secret: bytes, group_enc: bytes, group_key: bytes) -> bytes:
        """Combine both halves' secrets. ML-KEM binds its own ciphertext and key, so only the group's are hashed."""
        return hashlib.sha3_256(pq_secret + group_secret + group_enc + group_key + self.label).digest()

    def split_public_key(self, public_key: bytes) -> tuple[bytes, bytes]:
        """Split a public key into its ML-KEM and its group half. Raises `DecodeError` for another size."""
        if len(public_key) != self.public_key_size:
            raise DecodeError(
                f"the {self.name} public key has another size",
                got=f"{len(public_key)} bytes",
                want=f"{self.public_key_size} bytes",
                section="draft-ietf-hpke-pq-04, section 4",
            )
        return public_key[: self.pq.public_key_size], public_key[self.pq.public_key_size :]

    def expand_seed(self, seed: bytes) -> tuple[KemPrivateKey, GroupKey]:
        """Expand a private key to its two halves: expandKey, with RandomScalar reading the group's part in order."""
        reader = Reader(hashlib.shake_256(seed).digest(SEED_SIZE + self._group_seed_size), "hybrid seed")
        return self.pq.from_private_bytes(reader.take(SEED_SIZE)), self.group.generate(reader.take)


class HybridDecapsulator:
    """A hybrid private key made of two halves, each wherever it lives. The combiner runs here."""

    def __init__(self, kem: HybridKem, *, pq: Decapsulator, traditional: DiffieHellman) -> None:
        """Join the halves. Raises `LocalProtocolError` for another ML-KEM, `DecodeError` for a public key of no use."""
        if pq.kem_id != kem.pq.kem_id:
            raise LocalProtocolError("a half of another KEM", got=f"0x{pq.kem_id:04x}", want=f"0x{kem.pq.kem_id:04x}")
        self.kem: Final = kem
        self.kem_id: int = kem.kem_id
        self.public_key: bytes = pq.public_key + traditional.public_key
        self._pq: Decapsulator = pq
        self._traditional: DiffieHellman = (
            traditional if isinstance(traditional, GroupKey) else CheckedDevice(kem.group, traditional)
        )
        self._group_key: Final = traditional.public_key

    def decapsulate(self, enc: bytes) -> bytes:
        """Return the shared secret. Raises `DecryptionError`, and `BackendError` when a device fails."""
        if len(enc) != self.kem.enc_size:
            raise DecryptionError("the encapsulation has another size", got=f"{len(enc)} bytes", want=self.kem.enc_size)
        pq_enc, group_enc = enc[: self.kem.pq.enc_size], enc[self.kem.pq.enc_size :]
        pq_secret = self._pq.decapsulate(pq_enc)
        try:
            group_secret = self._traditional.diffie_hellman(group_enc)
        except DecodeError as exc:
            raise DecryptionError("the encapsulation does not open") from exc
        return self.kem.combine(pq_secret, group_secret, group_enc, self._group_key)


@final
class HybridPrivateKey(HybridDecapsulator, KemPrivateKey):
    """A hybrid private key in this process, expanded from its seed."""

    def __init__(self, kem: HybridKem, seed: bytes) -> None:
        pq, traditional = kem.expand_seed(seed)
        super().__init__(kem, pq=pq, traditional=traditional)
        self._seed: bytearray | None = bytearray(seed)

    def private_bytes(self) -> bytes:
        if self._seed is None:
            raise LocalProtocolError("this private key was erased")
        return bytes(self._seed)

    def erase(self) -> None:
        """Forget both halves and overwrite the seed that we hold."""
        if self._seed is not None:
            self._seed[:] = bytes(_HYBRID_SEED_SIZE)
        self._seed = None
        self._pq = self._traditional = ErasedKey()
