"""DHKEM: Diffie–Hellman as a KEM (RFC 9180, section 4.1), in software or around a device that only does ECDH."""

from __future__ import annotations

from typing import Final, final

from confsec.errors import DecodeError, DecryptionError, LocalProtocolError
from confsec.protocol.groups import CheckedDevice, Group, GroupKey
from confsec.protocol.kdf import HPKE_VERSION, Kdf
from confsec.protocol.kem_base import DiffieHellman, ErasedKey, Kem, KemPrivateKey
from confsec.protocol.machine import RandBytes

__all__ = ["DhDecapsulator", "DhKem", "DhPrivateKey"]


@final
class DhKem(Kem):
    """One of the five DHKEMs. They alone have the authenticated modes."""

    def __init__(self, kem_id: int, group: Group, kdf: Kdf) -> None:
        self.name: str = f"DHKEM({group.name}, {kdf.name.replace('_', '-')})"
        self.kem_id = kem_id
        self.group: Final = group
        self.kdf: Final = kdf
        self.secret_size: int = kdf.hash_size
        self.enc_size: int = group.public_key_size
        self.public_key_size: int = group.public_key_size
        self.private_key_size: int = group.private_key_size
        # The constant beginnings of what goes into the KDF are made once.
        self._labeled: Final = HPKE_VERSION + b"KEM" + kem_id.to_bytes(2, "big")
        self._eae_prk_label: Final = self._labeled + b"eae_prk"
        self._shared_secret_label: Final = self._expand_label(b"shared_secret", self.secret_size)

    def generate(self, randbytes: RandBytes) -> DhPrivateKey:
        return DhPrivateKey(self, self.group.generate(randbytes))

    def derive_key_pair(self, ikm: bytes) -> DhPrivateKey:
        self._check_ikm(ikm)
        prk = self.kdf.extract(b"", self._labeled + b"dkp_prk" + ikm)
        return DhPrivateKey(self, self._sample_key(prk) if self.group.samples else self._expand_key(prk))

    def from_private_bytes(self, private_key: bytes) -> DhPrivateKey:
        return DhPrivateKey(self, self.group.from_private_bytes(private_key))

    def check_public_key(self, public_key: bytes) -> None:
        self.group.check_public_key(public_key)

    def encapsulate(self, public_key: bytes, randbytes: RandBytes) -> tuple[bytes, bytes]:
        ephemeral = self.group.generate(randbytes)
        enc = ephemeral.public_key
        shared = ephemeral.diffie_hellman_recurring(public_key)
        return self.extract_and_expand(shared, enc + public_key), enc

    def auth_encapsulate(
        self, public_key: bytes, sender_key: DiffieHellman, randbytes: RandBytes
    ) -> tuple[bytes, bytes]:
        """Return a shared secret that only the holder of `sender_key` could make, and its encapsulation.

        Raises `DecodeError` for a bad public key, and `BackendError` when the device of `sender_key` fails.
        """
        ephemeral = self.group.generate(randbytes)
        enc = ephemeral.public_key
        shared = ephemeral.diffie_hellman_recurring(public_key) + _checked(self.group, sender_key).diffie_hellman(
            public_key
        )
        return self.extract_and_expand(shared, enc + public_key + sender_key.public_key), enc

    def extract_and_expand(self, shared: bytes, kem_context: bytes) -> bytes:
        """Turn Diffie–Hellman results into the shared secret: ExtractAndExpand of section 4.1."""
        eae_prk = self.kdf.extract(b"", self._eae_prk_label + shared)
        return self.kdf.expand(eae_prk, self._shared_secret_label + kem_context, self.secret_size)

    def _expand_key(self, prk: bytes) -> GroupKey:
        return self.group.from_private_bytes(self._expand_scalar(prk, b"sk", b""))

    def _sample_key(self, prk: bytes) -> GroupKey:
        for counter in range(256):
            key = self.group.sample(self._expand_scalar(prk, b"candidate", bytes((counter,))))
            if key is not None:
                return key
        raise LocalProtocolError(f"this keying material gives no {self.name} key", section="RFC 9180, section 7.1.3")

    def _expand_scalar(self, prk: bytes, label: bytes, context: bytes) -> bytes:
        return self.kdf.expand(prk, self._expand_label(label, self.private_key_size) + context, self.private_key_size)

    def _expand_label(self, label: bytes, size: int) -> bytes:
        return size.to_bytes(2, "big") + self._labeled + label


class DhDecapsulator:
    """A DHKEM private key whose scalar may be in a device: the device does ECDH, the KDF runs here."""

    def __init__(self, kem: DhKem, key: DiffieHellman) -> None:
        """Take a key. Raises `DecodeError` when its public key is none of this KEM's group."""
        self.kem: Final = kem
        self.kem_id: int = kem.kem_id
        self.public_key: bytes = key.public_key
        self._key: DiffieHellman | ErasedKey = _checked(kem.group, key)

    def decapsulate(self, enc: bytes) -> bytes:
        """Return the shared secret. Raises `DecryptionError`, and `BackendError` when a device fails."""
        return self.kem.extract_and_expand(self._agree(enc), enc + self.public_key)

    def auth_decapsulate(self, enc: bytes, sender_public_key: bytes) -> bytes:
        """Return the shared secret that only this sender could make.

        Raises `DecodeError` for a sender's key that is none or of small order, else as `decapsulate`.
        """
        shared = self._agree(enc) + self._key.diffie_hellman(sender_public_key)
        return self.kem.extract_and_expand(shared, enc + self.public_key + sender_public_key)

    def _agree(self, enc: bytes) -> bytes:
        try:
            return self._key.diffie_hellman(enc)
        except DecodeError as exc:
            raise DecryptionError("the encapsulation does not open") from exc


@final
class DhPrivateKey(DhDecapsulator, KemPrivateKey):
    """A DHKEM private key in this process. It also serves as the sender's key of the authenticated modes."""

    def __init__(self, kem: DhKem, key: GroupKey) -> None:
        super().__init__(kem, key)
        self._private: GroupKey | ErasedKey = key

    def diffie_hellman(self, peer_public_key: bytes) -> bytes:
        """Return the shared coordinate. Raises `DecodeError` for a peer's key that is none or of small order."""
        return self._private.diffie_hellman(peer_public_key)

    def private_bytes(self) -> bytes:
        return self._private.private_bytes()

    def erase(self) -> None:
        self._private = self._key = ErasedKey()


def _checked(group: Group, key: DiffieHellman) -> DiffieHellman:
    # Our own keys check what they read; a device's key is wrapped so that the checks are the same.
    return key if isinstance(key, GroupKey) else CheckedDevice(group, key)
