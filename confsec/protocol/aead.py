"""The one AEAD with a counter that HPKE contexts, OHTTP responses and sealed chunks share.

`AeadSequence` owns a key, a base nonce and the sequence number: the nonce of message i is the base nonce XOR i
(RFC 9180, section 5.2). Nobody else in confsec computes a nonce. Which keys there are, and how often they change, is
left to the callers.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NoReturn, Self, final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from confsec.errors import DecryptionError, LocalProtocolError, UnsupportedError

__all__ = ["MAX_SEQUENCE", "NONCE_SIZE", "TAG_SIZE", "Aead", "AeadSequence", "Buffer", "Uncopyable", "aead_from_id"]

Buffer = bytes | bytearray | memoryview
"""What the cipher reads from without copying."""

NONCE_SIZE: Final = 12
"""Nn: all our AEADs have nonces of 12 bytes."""

TAG_SIZE: Final = 16
"""Nt: all our AEADs have tags of 16 bytes."""

MAX_SEQUENCE: Final = (1 << (8 * NONCE_SIZE)) - 1
"""How many messages one key may seal: "if self.seq >= (1 << (8*Nn)) - 1" is an error (RFC 9180, section 5.2)."""


@final
class Aead(Enum):
    """The AEADs of HPKE (RFC 9180, section 7.3). The value is the registered id."""

    AES_128_GCM = 0x0001, 16
    AES_256_GCM = 0x0002, 32
    CHACHA20_POLY1305 = 0x0003, 32
    EXPORT_ONLY = 0xFFFF, 0

    def __new__(cls, aead_id: int, key_size: int) -> Self:
        member = object.__new__(cls)
        member._value_ = aead_id
        return member

    def __init__(self, aead_id: int, key_size: int) -> None:
        self.aead_id: Final = aead_id
        self.key_size: Final = key_size
        self.nonce_size: Final = NONCE_SIZE if key_size else 0
        self.tag_size: Final = TAG_SIZE if key_size else 0


_AEADS: Final = {aead.aead_id: aead for aead in Aead}


def aead_from_id(aead_id: int) -> Aead:
    """Return the AEAD with this id of the IANA registry. Raises `UnsupportedError`."""
    aead = _AEADS.get(aead_id)
    if aead is None:
        raise UnsupportedError("unknown AEAD", got=f"0x{aead_id:04x}", section="RFC 9180, section 7.3")
    return aead


def _cipher(aead: Aead, key: bytes) -> AESGCM | ChaCha20Poly1305:
    if aead is Aead.EXPORT_ONLY:
        raise LocalProtocolError("an export-only suite neither seals nor opens", section="RFC 9180, section 5.3")
    if len(key) != aead.key_size:
        raise LocalProtocolError(
            f"the key does not fit {aead.name}", got=f"{len(key)} bytes", want=f"{aead.key_size} bytes"
        )
    return ChaCha20Poly1305(key) if aead is Aead.CHACHA20_POLY1305 else AESGCM(key)


class Uncopyable:
    """A mixin: what counts nonces cannot be copied or pickled."""

    __slots__ = ()

    def __copy__(self) -> NoReturn:
        raise LocalProtocolError(f"{type(self).__name__} cannot be copied: two copies would use the same nonces")

    def __deepcopy__(self, memo: object) -> NoReturn:
        self.__copy__()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        self.__copy__()


@final
class AeadSequence(Uncopyable):
    """A key and its counter. The sequence number cannot be copied, rewound or pickled.

    A number is used up before the cipher runs and lets other threads go on, so no nonce appears twice, whatever fails.
    What does not open ends the sequence: what follows it could not be trusted to be in order.
    """

    __slots__ = ("_base_nonce", "_cipher", "_failed", "_limit", "_sequence")

    def __init__(self, aead: Aead, key: bytes, base_nonce: bytes, *, limit: int | None = None) -> None:
        """Start at number 0. At most `limit` messages (default: as many as RFC 9180 allows) are sealed or opened.

        Raises `LocalProtocolError` for sizes that do not fit the AEAD and for the export-only AEAD.
        """
        self._cipher = _cipher(aead, key)
        if len(base_nonce) != NONCE_SIZE:
            raise LocalProtocolError(
                "the base nonce has another size", got=f"{len(base_nonce)} bytes", want=f"{NONCE_SIZE} bytes"
            )
        self._base_nonce = int.from_bytes(base_nonce, "big")
        self._limit = MAX_SEQUENCE if limit is None else min(limit, MAX_SEQUENCE)
        self._sequence = 0
        self._failed = False

    @property
    def sequence(self) -> int:
        """The number of the next message."""
        return self._sequence

    def seal(self, aad: Buffer, plaintext: Buffer) -> bytes:
        """Seal the next message. Raises `LocalProtocolError` when there are no numbers left."""
        nonce = self._take_nonce()
        try:
            return self._cipher.encrypt(nonce, plaintext, aad)
        except OverflowError as exc:
            raise _too_long(plaintext) from exc

    def open(self, aad: Buffer, ciphertext: Buffer) -> bytes:
        """Open the next message. Raises `DecryptionError`, and then the sequence is over."""
        nonce = self._take_nonce()
        try:
            return self._cipher.decrypt(nonce, ciphertext, aad)
        except InvalidTag as exc:
            raise self._fail() from exc

    def seal_into(self, aad: Buffer, plaintext: Buffer, buffer: bytearray | memoryview) -> None:
        """Seal the next message into `buffer`, which is exactly 16 bytes longer than `plaintext`.

        Raises `LocalProtocolError` as `seal` does, and for a buffer of another size.
        """
        nonce = self._take_nonce()
        try:
            self._cipher.encrypt_into(nonce, plaintext, aad, buffer)
        except (ValueError, OverflowError) as exc:
            raise _misfit(plaintext, buffer) from exc

    def open_into(self, aad: Buffer, ciphertext: Buffer, buffer: bytearray | memoryview) -> None:
        """Open the next message into `buffer`, which is exactly 16 bytes shorter than `ciphertext`.

        Raises `DecryptionError` as `open` does, and `LocalProtocolError` for a buffer of another size. In both cases
        the sequence is over, and what is in `buffer` must not be used.
        """
        nonce = self._take_nonce()
        try:
            self._cipher.decrypt_into(nonce, ciphertext, aad, buffer)
        except InvalidTag as exc:
            raise self._fail() from exc
        except ValueError as exc:
            self._fail()
            raise _misfit(ciphertext, buffer) from exc

    def _take_nonce(self) -> bytes:
        sequence = self._sequence
        if sequence >= self._limit:
            raise self._refusal()
        self._sequence = sequence + 1
        return (self._base_nonce ^ sequence).to_bytes(NONCE_SIZE, "big")

    def _fail(self) -> DecryptionError:
        self._failed = True
        self._limit = 0
        return DecryptionError("the message does not open")

    def _refusal(self) -> LocalProtocolError:
        if self._failed:
            return LocalProtocolError("a message did not open before, so this sequence is over")
        return LocalProtocolError("no sequence numbers are left", got=self._sequence, section="RFC 9180, section 5.2")


def _too_long(data: Buffer) -> LocalProtocolError:
    return LocalProtocolError("the message is too long for one AEAD call", got=f"{len(data)} bytes")


def _misfit(data: Buffer, buffer: Buffer) -> LocalProtocolError:
    return LocalProtocolError(
        "the buffer does not fit the message", got=f"{len(buffer)} bytes for {len(data)} bytes", want="16 bytes of tag"
    )
