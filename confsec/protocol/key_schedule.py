"""The key schedules of HPKE: from a shared secret to key, base nonce and exporter secret.

Two stages with HKDF (RFC 9180, section 5.1), one with SHAKE (draft-ietf-hpke-hpke, section 5.1). A schedule belongs to
a suite, and what depends on the suite alone is computed once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Protocol, final

from attrs import field, frozen

from confsec.errors import LocalProtocolError
from confsec.protocol.aead import Aead
from confsec.protocol.kdf import HPKE_VERSION, Kdf, encode_length_prefixed, labeled_derive

__all__ = ["MIN_PSK_SIZE", "KeySchedule", "Psk", "Secrets", "key_schedule"]

MIN_PSK_SIZE: Final = 32
"""A PSK MUST have at least 32 bytes of entropy (RFC 9180, section 5.1.2); what we can do is count bytes."""


@frozen
class Psk:
    """A pre-shared key and its name, which come together or not at all (RFC 9180, section 5.1).

    Raises `LocalProtocolError` for an empty name and for a key that is too short.
    """

    psk_id: bytes
    """Its name, which is not secret."""

    psk: bytes = field(repr=False)
    """The key, at least 32 bytes."""

    def __attrs_post_init__(self) -> None:
        if not self.psk_id:
            raise LocalProtocolError("a PSK needs a psk_id", section="RFC 9180, section 5.1")
        if len(self.psk) < MIN_PSK_SIZE:
            raise LocalProtocolError(
                "the PSK is too short",
                got=f"{len(self.psk)} bytes",
                want=f"at least {MIN_PSK_SIZE} bytes",
                section="RFC 9180, section 5.1.2",
            )


Secrets = tuple[bytes, bytes, bytes]
"""Key, base nonce, exporter secret. Key and nonce are empty for an export-only suite."""


class KeySchedule(Protocol):
    """What both kinds of KDF offer to contexts."""

    def derive(self, mode: int, shared_secret: bytes, info: bytes, psk: Psk | None) -> Secrets:
        """Derive the secrets of a context in one of the four modes."""
        ...

    def export(self, exporter_secret: bytes, exporter_context: bytes, size: int) -> bytes:
        """Derive a secret of `size` bytes for `exporter_context`. Raises `LocalProtocolError` for too large a size."""
        ...


def key_schedule(kem_id: int, kdf: Kdf, aead: Aead) -> KeySchedule:
    """Return the key schedule of a suite, which is made once."""
    return _key_schedule(kem_id, kdf, aead)


@lru_cache(maxsize=256)
def _key_schedule(kem_id: int, kdf: Kdf, aead: Aead) -> KeySchedule:
    suite_id = b"HPKE" + b"".join(number.to_bytes(2, "big") for number in (kem_id, kdf.kdf_id, aead.aead_id))
    return _OneStage(suite_id, kdf, aead) if kdf.one_stage else _TwoStage(suite_id, kdf, aead)


@final
class _TwoStage:
    """LabeledExtract, then LabeledExpand."""

    def __init__(self, suite_id: bytes, kdf: Kdf, aead: Aead) -> None:
        self._kdf = kdf
        self._labeled = HPKE_VERSION + suite_id
        self._no_psk_id_hash = kdf.extract(b"", self._labeled + b"psk_id_hash")
        self._info_hash_label = self._labeled + b"info_hash"
        self._secret_label = self._labeled + b"secret"
        self._key_size = aead.key_size
        self._nonce_size = aead.nonce_size
        self._key_label = self._expand_label(b"key", aead.key_size)
        self._base_nonce_label = self._expand_label(b"base_nonce", aead.nonce_size)
        self._exporter_label = self._expand_label(b"exp", kdf.hash_size)

    def derive(self, mode: int, shared_secret: bytes, info: bytes, psk: Psk | None) -> Secrets:
        kdf = self._kdf
        psk_id_hash = kdf.extract(b"", self._labeled + b"psk_id_hash" + psk.psk_id) if psk else self._no_psk_id_hash
        context = bytes((mode,)) + psk_id_hash + kdf.extract(b"", self._info_hash_label + info)
        secret = kdf.extract(shared_secret, self._secret_label + psk.psk if psk else self._secret_label)
        return (
            kdf.expand(secret, self._key_label + context, self._key_size),
            kdf.expand(secret, self._base_nonce_label + context, self._nonce_size),
            kdf.expand(secret, self._exporter_label + context, kdf.hash_size),
        )

    def export(self, exporter_secret: bytes, exporter_context: bytes, size: int) -> bytes:
        self._kdf.check_output_size(size)
        return self._kdf.expand(exporter_secret, self._expand_label(b"sec", size) + exporter_context, size)

    def _expand_label(self, label: bytes, size: int) -> bytes:
        return size.to_bytes(2, "big") + self._labeled + label


@final
class _OneStage:
    """One LabeledDerive for all secrets."""

    def __init__(self, suite_id: bytes, kdf: Kdf, aead: Aead) -> None:
        self._suite_id = suite_id
        self._kdf = kdf
        self._key_size = aead.key_size
        self._nonce_end = aead.key_size + aead.nonce_size
        self._size = self._nonce_end + kdf.hash_size

    def derive(self, mode: int, shared_secret: bytes, info: bytes, psk: Psk | None) -> Secrets:
        psk_id, psk_key = (psk.psk_id, psk.psk) if psk else (b"", b"")
        ikm = encode_length_prefixed(psk_key) + encode_length_prefixed(shared_secret)
        context = bytes((mode,)) + encode_length_prefixed(psk_id) + encode_length_prefixed(info)
        secret = labeled_derive(self._kdf, self._suite_id, ikm, b"secret", context, self._size)
        return secret[: self._key_size], secret[self._key_size : self._nonce_end], secret[self._nonce_end :]

    def export(self, exporter_secret: bytes, exporter_context: bytes, size: int) -> bytes:
        return labeled_derive(self._kdf, self._suite_id, exporter_secret, b"sec", exporter_context, size)
