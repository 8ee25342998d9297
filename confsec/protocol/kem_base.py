"""What a KEM is, and the interfaces behind which a private key may live in a device.

The KEMs themselves are in `dhkem`, `ml_kem` and `hybrid_kem`; `kem` is the registry and the door for everybody else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final, NoReturn, Protocol, final, runtime_checkable

from confsec.errors import LocalProtocolError
from confsec.protocol.machine import RandBytes

__all__ = ["AuthDecapsulator", "Decapsulator", "DiffieHellman", "ErasedKey", "Kem", "KemPrivateKey"]


class Decapsulator(Protocol):
    """A KEM private key that can do one thing. It may live in this process, in a TPM or in an HSM."""

    @property
    def kem_id(self) -> int:
        """Which KEM this key belongs to."""
        ...

    @property
    def public_key(self) -> bytes:
        """The public key in its wire form, Npk bytes."""
        ...

    def decapsulate(self, enc: bytes) -> bytes:
        """Return the shared secret, Nsecret bytes.

        Raises `DecryptionError` for an `enc` that this key refuses, and `BackendError` when a device fails.
        """
        ...


@runtime_checkable
class AuthDecapsulator(Decapsulator, Protocol):
    """A `Decapsulator` of a KEM that can authenticate the sender (RFC 9180, section 4.1)."""

    def auth_decapsulate(self, enc: bytes, sender_public_key: bytes) -> bytes:
        """Return the shared secret, Nsecret bytes, that only this sender could make.

        Raises `DecodeError` for a sender's key that is none, and for the rest the same as `decapsulate`.
        """
        ...


class DiffieHellman(Protocol):
    """A private key of a group that can do one thing: ECDH_ZGen in a TPM, CKM_ECDH1_DERIVE in an HSM."""

    @property
    def public_key(self) -> bytes:
        """The public key: 32 or 56 bytes for X25519 and X448, the uncompressed point for the NIST curves."""
        ...

    def diffie_hellman(self, peer_public_key: bytes) -> bytes:
        """Return the shared coordinate, left-padded to the size of the field.

        Raises `DecodeError` for a key that is none, and `BackendError` when a device fails.
        """
        ...


class KemPrivateKey(ABC):
    """A `Decapsulator` in this process, made by one of its KEM's three constructors."""

    kem_id: int
    """Which KEM this key belongs to."""

    public_key: bytes
    """The public key in its wire form, Npk bytes."""

    @abstractmethod
    def decapsulate(self, enc: bytes) -> bytes:
        """Return the shared secret. Raises `DecryptionError`."""

    @abstractmethod
    def private_bytes(self) -> bytes:
        """Return the private key in its wire form, Nsk bytes, to be kept in a safe place."""

    @abstractmethod
    def erase(self) -> None:
        """Forget the private key: afterwards it raises `LocalProtocolError`.

        OpenSSL wipes its copies when the last reference goes; copies that `private_bytes` gave away, and those that
        the interpreter made on the way in, are beyond our reach.
        """

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of KEM 0x{self.kem_id:04x}>"


class Kem(ABC):
    """A key encapsulation mechanism of HPKE (RFC 9180, section 4)."""

    name: str
    """The registered name."""

    kem_id: int
    """The registered id."""

    secret_size: int
    """Nsecret: bytes of the shared secret."""

    enc_size: int
    """Nenc: bytes of an encapsulation."""

    public_key_size: int
    """Npk: bytes of a public key."""

    private_key_size: int
    """Nsk: bytes of a private key."""

    @abstractmethod
    def generate(self, randbytes: RandBytes) -> KemPrivateKey:
        """Make a fresh key pair."""

    @abstractmethod
    def derive_key_pair(self, ikm: bytes) -> KemPrivateKey:
        """Derive a key pair from at least Nsk bytes of keying material, always the same one."""

    @abstractmethod
    def from_private_bytes(self, private_key: bytes) -> KemPrivateKey:
        """Load a private key from its wire form. Raises `DecodeError`."""

    @abstractmethod
    def check_public_key(self, public_key: bytes) -> None:
        """Check that these bytes are a public key of this KEM. Raises `DecodeError`."""

    @abstractmethod
    def encapsulate(self, public_key: bytes, randbytes: RandBytes) -> tuple[bytes, bytes]:
        """Return a fresh shared secret and its encapsulation `enc`. Raises `DecodeError` for a bad public key."""

    def _check_ikm(self, ikm: bytes) -> None:
        if len(ikm) < self.private_key_size:
            raise LocalProtocolError(
                f"too little keying material for {self.name}",
                got=f"{len(ikm)} bytes",
                want=f"at least {self.private_key_size} bytes",
                section="RFC 9180, section 7.1.3",
            )

    def __repr__(self) -> str:
        return f"<{self.name} 0x{self.kem_id:04x}>"


@final
class ErasedKey:
    """What stands where a private key was: whatever it is asked for, it refuses."""

    kem_id: Final = 0
    public_key: Final = b""

    def decapsulate(self, enc: bytes) -> NoReturn:
        """Raise `LocalProtocolError`."""
        raise _erased()

    def diffie_hellman(self, peer_public_key: bytes) -> NoReturn:
        """Raise `LocalProtocolError`."""
        raise _erased()

    def private_bytes(self) -> NoReturn:
        """Raise `LocalProtocolError`."""
        raise _erased()

    def private_bytes_raw(self) -> NoReturn:
        """Raise `LocalProtocolError`."""
        raise _erased()


def _erased() -> LocalProtocolError:
    return LocalProtocolError("this private key was erased")
