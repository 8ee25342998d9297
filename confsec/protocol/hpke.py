"""Hybrid Public Key Encryption (RFC 9180), with the one-stage KDFs and post-quantum KEMs of draft-ietf-hpke-pq-04.

`setup_sender` and `setup_receiver` make the contexts of all four modes: a `Psk` gives the PSK modes, a sender's key the
authenticated ones. The private key acts behind a `Decapsulator` and may be in a device. A context seals or opens in
order, through one `AeadSequence`, and exports secrets. Framing, and whose keys are trusted, are left to the callers.
"""

from __future__ import annotations

from typing import Final, final

from attrs import field, frozen

from confsec.errors import DecryptionError, LocalProtocolError, UnsupportedError
from confsec.protocol.aead import Aead, AeadSequence, Buffer, Uncopyable
from confsec.protocol.kdf import Kdf
from confsec.protocol.kem import AuthDecapsulator, Decapsulator, DhKem, DiffieHellman, Kem
from confsec.protocol.key_schedule import KeySchedule, Psk, Secrets, key_schedule
from confsec.protocol.machine import RandBytes

__all__ = ["HpkeSuite", "Psk", "ReceiverContext", "SenderContext", "setup_receiver", "setup_sender"]

_MODE_BASE: Final = 0x00
_MODE_PSK: Final = 0x01
_MODE_AUTH: Final = 0x02


@frozen
class HpkeSuite:
    """A KEM, a KDF and an AEAD (RFC 9180, section 7)."""

    kem: Kem
    kdf: Kdf
    aead: Aead
    schedule: KeySchedule = field(init=False, repr=False, eq=False)
    """How keys are derived in this suite."""

    @schedule.default
    def _make_schedule(self) -> KeySchedule:
        return key_schedule(self.kem.kem_id, self.kdf, self.aead)


class _Context(Uncopyable):
    """What both ends of one encapsulation have."""

    __slots__ = ("_exporter_secret", "_schedule", "_sequence")

    def __init__(self, suite: HpkeSuite, secrets: Secrets) -> None:
        key, base_nonce, self._exporter_secret = secrets
        self._schedule = suite.schedule
        self._sequence = AeadSequence(suite.aead, key, base_nonce) if key else None

    @property
    def sequence(self) -> AeadSequence:
        """The AEAD with its counter, for hot paths. Raises `LocalProtocolError` for an export-only suite."""
        if self._sequence is None:
            raise LocalProtocolError("an export-only suite neither seals nor opens", section="RFC 9180, section 5.3")
        return self._sequence

    def export(self, exporter_context: bytes, size: int) -> bytes:
        """Derive a secret of `size` bytes that both ends can derive, bound to `exporter_context` (section 5.3).

        Raises `LocalProtocolError` if the KDF cannot derive that much.
        """
        return self._schedule.export(self._exporter_secret, exporter_context, size)


@final
class SenderContext(_Context):
    """The sender's end."""

    __slots__ = ("enc",)

    def __init__(self, suite: HpkeSuite, secrets: Secrets, enc: bytes) -> None:
        """Use `setup_sender`."""
        super().__init__(suite, secrets)
        self.enc: Final = enc

    def seal(self, aad: Buffer, plaintext: Buffer) -> bytes:
        """Seal the next message. Raises `LocalProtocolError` as `AeadSequence.seal` does."""
        return self.sequence.seal(aad, plaintext)


@final
class ReceiverContext(_Context):
    """The receiver's end."""

    __slots__ = ()

    def open(self, aad: Buffer, ciphertext: Buffer) -> bytes:
        """Open the next message. Raises `DecryptionError`, and then the context is over."""
        return self.sequence.open(aad, ciphertext)


def setup_sender(
    suite: HpkeSuite,
    public_key: bytes,
    info: bytes,
    *,
    randbytes: RandBytes,
    psk: Psk | None = None,
    sender_key: DiffieHellman | None = None,
) -> SenderContext:
    """Encapsulate to `public_key` and return the sender's context (RFC 9180, section 5.1).

    Raises `DecodeError` for a bad public key, `BackendError` when the device of `sender_key` fails, and
    `UnsupportedError` for a `sender_key` where the KEM authenticates nobody.
    """
    if sender_key is None:
        shared_secret, enc = suite.kem.encapsulate(public_key, randbytes)
    elif isinstance(suite.kem, DhKem):
        shared_secret, enc = suite.kem.auth_encapsulate(public_key, sender_key, randbytes)
    else:
        raise _no_authentication(suite.kem)
    mode = _mode(psk, authenticated=sender_key is not None)
    return SenderContext(suite, suite.schedule.derive(mode, shared_secret, info, psk), enc)


def setup_receiver(
    suite: HpkeSuite,
    decapsulator: Decapsulator,
    enc: bytes,
    info: bytes,
    *,
    psk: Psk | None = None,
    sender_public_key: bytes | None = None,
) -> ReceiverContext:
    """Decapsulate `enc` and return the receiver's context (RFC 9180, section 5.1).

    Raises `DecryptionError` for a bad `enc`, `DecodeError` for a bad `sender_public_key`, `BackendError` when a device
    fails, and `UnsupportedError` for a `sender_public_key` where the KEM authenticates nobody. A wrong key, `info` or
    PSK shows only when the first message does not open.
    """
    if decapsulator.kem_id != suite.kem.kem_id:
        raise LocalProtocolError("a key of another KEM", got=f"0x{decapsulator.kem_id:04x}", want=suite.kem.name)
    if len(enc) != suite.kem.enc_size:
        raise DecryptionError("the encapsulation has another size", got=len(enc), want=f"{suite.kem.enc_size} bytes")
    if sender_public_key is None:
        shared_secret = decapsulator.decapsulate(enc)
    elif isinstance(decapsulator, AuthDecapsulator):
        shared_secret = decapsulator.auth_decapsulate(enc, sender_public_key)
    else:
        raise _no_authentication(suite.kem)
    mode = _mode(psk, authenticated=sender_public_key is not None)
    return ReceiverContext(suite, suite.schedule.derive(mode, shared_secret, info, psk))


def _mode(psk: Psk | None, *, authenticated: bool) -> int:
    return (_MODE_PSK if psk else _MODE_BASE) | (_MODE_AUTH if authenticated else _MODE_BASE)


def _no_authentication(kem: Kem) -> UnsupportedError:
    return UnsupportedError(f"{kem.name} has no authenticated modes", section="RFC 9180, section 4.1")
