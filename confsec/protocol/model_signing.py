"""What OpenSSF model signing writes: a statement of its own in a Sigstore bundle (sigstore/model-transparency, 1.0).

Where it signs with a key and no identity, the bundle names the key at most, and the signature is ECDSA in DER.
"""

from __future__ import annotations

from typing import Final

from attrs import evolve
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from confsec.errors import VerificationError
from confsec.protocol import json_general
from confsec.protocol.dsse import DsseKey, DsseSignature
from confsec.protocol.sigstore import MAX_BUNDLE, read_envelope
from confsec.protocol.statement import PAYLOAD_TYPE, Statement

__all__ = ["open_model_signing", "read_model_signing"]

_COORDINATE: Final = 32
_WRAPPING: Final = frozenset({"dsseEnvelope", "mediaType", "payload", "payloadType", "signatures"})
_SECTION: Final = "OpenSSF model signing, Signature format"


def open_model_signing(data: bytes, key: DsseKey) -> Statement:
    """Return the statement in a bundle or an envelope, if the holder of this key signed it: ECDSA on P-256.

    Raises `DecodeError` for what is none, and `VerificationError` if somebody else signed it.
    """
    envelope = read_envelope(data)
    if envelope.payload_type != PAYLOAD_TYPE:
        raise VerificationError("the envelope of a model holds something else", want=PAYLOAD_TYPE, section=_SECTION)
    evolve(envelope, signatures=tuple(map(_fixed, envelope.signatures))).verify([key])
    return Statement.decode_foreign(envelope.payload)


def read_model_signing(data: bytes) -> Statement:
    """Return the statement in a bundle or an envelope, or the bare one. Nothing of it is verified.

    Raises `DecodeError`.
    """
    return Statement.decode_foreign(data if _is_bare(data) else read_envelope(data).payload)


def _is_bare(data: bytes) -> bool:
    """Say whether bytes have nothing of an envelope or a bundle, which others would then read in their place."""
    value = json_general.decode(data, what="a statement of a model", limit=MAX_BUNDLE)
    return isinstance(value, dict) and not value.keys() & _WRAPPING


def _fixed(signature: DsseSignature) -> DsseSignature:
    """Write a signature in DER as DSSE has it, r and s of 32 bytes each; leave what is none to whoever verifies it."""
    try:
        r, s = decode_dss_signature(signature.signature)
        return evolve(signature, signature=r.to_bytes(_COORDINATE, "big") + s.to_bytes(_COORDINATE, "big"))
    except (ValueError, OverflowError):
        return signature
