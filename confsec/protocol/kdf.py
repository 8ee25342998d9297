"""The KDFs of HPKE: HKDF in two stages (RFC 9180, section 7.2) and SHAKE in one (draft-ietf-hpke-pq-04, section 5).

A two-stage KDF has `extract` and `expand`; a one-stage KDF has `derive`, which reads everything at once. LabeledDerive
is here too, since KEMs and key schedules share it; the labels of the two-stage KDFs stand where they are used.
"""

from __future__ import annotations

import hashlib
import hmac
from enum import Enum
from typing import Final, Self, final

from confsec.errors import LocalProtocolError, UnsupportedError

__all__ = ["HPKE_VERSION", "Kdf", "encode_length_prefixed", "kdf_from_id", "labeled_derive"]

HPKE_VERSION: Final = b"HPKE-v1"
"""What every labeled input begins with (RFC 9180, section 4)."""

_MAX_UINT16: Final = 0xFFFF


@final
class Kdf(Enum):
    """The KDFs that we have. The value is the registered id."""

    HKDF_SHA256 = 0x0001, "sha256", 32
    HKDF_SHA384 = 0x0002, "sha384", 48
    HKDF_SHA512 = 0x0003, "sha512", 64
    SHAKE128 = 0x0010, "shake_128", 32
    SHAKE256 = 0x0011, "shake_256", 64

    def __new__(cls, kdf_id: int, hash_name: str, hash_size: int) -> Self:
        member = object.__new__(cls)
        member._value_ = kdf_id
        return member

    def __init__(self, kdf_id: int, hash_name: str, hash_size: int) -> None:
        self.kdf_id: Final = kdf_id
        self.hash_name: Final = hash_name
        self.hash_size: Final = hash_size
        self.one_stage: Final = hash_name.startswith("shake")
        self.max_output: Final = _MAX_UINT16 if self.one_stage else 255 * hash_size

    def extract(self, salt: bytes, ikm: bytes) -> bytes:
        """Concentrate `ikm` into a key of `hash_size` bytes (RFC 5869, section 2.2). Two-stage KDFs only."""
        if self.one_stage:
            raise self._wrong_stage()
        return hmac.digest(salt, ikm, self.hash_name)

    def expand(self, prk: bytes, info: bytes, size: int) -> bytes:
        """Expand `prk` to `size` bytes, at most 255 times `hash_size` (RFC 5869, section 2.3). Two-stage KDFs only."""
        if self.one_stage:
            raise self._wrong_stage()
        if 0 <= size <= self.hash_size:
            return hmac.digest(prk, info + b"\x01", self.hash_name)[:size]
        self.check_output_size(size)
        return self._expand_blocks(prk, info, size)

    def _expand_blocks(self, prk: bytes, info: bytes, size: int) -> bytes:
        blocks = [b""]
        for number in range(1, -(-size // self.hash_size) + 1):
            blocks.append(hmac.digest(prk, blocks[-1] + info + bytes((number,)), self.hash_name))
        return b"".join(blocks)[:size]

    def derive(self, ikm: bytes, size: int) -> bytes:
        """Derive `size` bytes from all of `ikm` in one step. One-stage KDFs only; at most 65535 bytes."""
        if not self.one_stage:
            raise self._wrong_stage()
        self.check_output_size(size)
        shake = hashlib.shake_128 if self is Kdf.SHAKE128 else hashlib.shake_256
        return shake(ikm).digest(size)

    def check_output_size(self, size: int) -> None:
        """Check that `size` bytes can be derived. Raises `LocalProtocolError`."""
        if not 0 <= size <= self.max_output:
            raise LocalProtocolError(
                f"{self.name} cannot derive that much", got=f"{size} bytes", want=f"0 to {self.max_output} bytes"
            )

    def _wrong_stage(self) -> LocalProtocolError:
        return LocalProtocolError(
            f"{self.name} has no such step", want="derive" if self.one_stage else "extract and expand"
        )


_KDFS: Final = {kdf.kdf_id: kdf for kdf in Kdf}


def kdf_from_id(kdf_id: int) -> Kdf:
    """Return the KDF with this id of the IANA registry. Raises `UnsupportedError`."""
    kdf = _KDFS.get(kdf_id)
    if kdf is None:
        raise UnsupportedError("unknown KDF", got=f"0x{kdf_id:04x}", section="RFC 9180, section 7.2")
    return kdf


def encode_length_prefixed(data: bytes) -> bytes:
    """Encode `data` behind its length in two bytes. Raises `LocalProtocolError` for more than 65535 bytes."""
    if len(data) > _MAX_UINT16:
        raise LocalProtocolError(
            "an input of a one-stage KDF is too long", got=f"{len(data)} bytes", want="at most 65535"
        )
    return len(data).to_bytes(2, "big") + data


def labeled_derive(kdf: Kdf, suite_id: bytes, ikm: bytes, label: bytes, context: bytes, size: int) -> bytes:
    """Derive `size` bytes bound to a suite and a label: LabeledDerive of the one-stage KDFs (draft-ietf-hpke-hpke)."""
    kdf.check_output_size(size)
    prefixed_label = encode_length_prefixed(label)
    return kdf.derive(ikm + HPKE_VERSION + suite_id + prefixed_label + size.to_bytes(2, "big") + context, size)
