"""The one value that binds a node's key to its evidence, and the nonce that dates it (docs/spec/attestation.md).

::

    binding = SHA-512("confsec binding v1" ‖ 0x00 ‖ mode ‖ nonce ‖ SHA-256(KeyConfig) ‖ ak ‖ SHA-256(manifest))

It is the report data of SEV-SNP and TDX. Its first 32 bytes are the qualifying data of a TPM's quote and key
certification.
"""

from __future__ import annotations

import hashlib
from enum import Enum
from typing import Final

from attrs import frozen

from confsec.errors import LocalProtocolError

__all__ = [
    "MAX_CHALLENGE",
    "MIN_CHALLENGE",
    "Binding",
    "Mode",
    "challenge_nonce",
    "epoch_nonce",
]

MIN_CHALLENGE: Final = 8
"""A challenge has at least 8 bytes (RFC 9711, section 4.1)."""

MAX_CHALLENGE: Final = 64
"""A challenge has at most 64 bytes (RFC 9711, section 4.1)."""

_BINDING_LABEL: Final = b"confsec binding v1\x00"
_EPOCH_LABEL: Final = b"confsec epoch v1\x00"
_NO_AK: Final = bytes(32)


class Mode(Enum):
    """Why evidence was made. Clients seal only to keys whose evidence is of the mode `EPOCH`."""

    EPOCH = 0
    """For everyone in one epoch."""

    CHALLENGE = 1
    """For one auditor, who chose the nonce."""


def epoch_nonce(beacon: bytes) -> bytes:
    """Return the nonce of the epoch that `beacon` names: 32 bytes."""
    return hashlib.sha256(_EPOCH_LABEL + beacon).digest()


def challenge_nonce(challenge: bytes) -> bytes:
    """Return the nonce that answers an auditor's challenge of 8 to 64 bytes: 32 bytes."""
    if not MIN_CHALLENGE <= len(challenge) <= MAX_CHALLENGE:
        raise LocalProtocolError(
            "a challenge of another size", got=len(challenge), want=f"{MIN_CHALLENGE} to {MAX_CHALLENGE} bytes"
        )
    return hashlib.sha256(challenge).digest()


@frozen(kw_only=True)
class Binding:
    """What evidence of a node is about."""

    mode: Mode
    """Why it was made."""

    nonce: bytes
    """`epoch_nonce` or `challenge_nonce`: 32 bytes."""

    key_config: bytes
    """The node's KeyConfig, encoded (RFC 9458, section 3.1)."""

    manifest: bytes
    """What the measured launcher loaded, in canonical CBOR."""

    ak: bytes | None = None
    """The attestation key of the TPM: its TPMT_PUBLIC as the TPM marshals it. None where there is no TPM."""

    @property
    def value(self) -> bytes:
        """The binding: 64 bytes, the report data of SEV-SNP and TDX."""
        return hashlib.sha512(
            _BINDING_LABEL
            + bytes([self.mode.value])
            + self.nonce
            + hashlib.sha256(self.key_config).digest()
            + (_NO_AK if self.ak is None else hashlib.sha256(self.ak).digest())
            + hashlib.sha256(self.manifest).digest()
        ).digest()

    @property
    def qualifying_data(self) -> bytes:
        """The first 32 bytes: what a TPM signs with its quote and its key certification."""
        return self.value[:32]

    def __attrs_post_init__(self) -> None:
        if len(self.nonce) != 32:
            raise LocalProtocolError("a nonce of another size", got=len(self.nonce), want=32)
