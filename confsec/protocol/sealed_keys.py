"""The key schedule of sealed requests and responses (docs/spec/sealed-request.md, sections 5.1, 5.2 and 6.1).

Every label ends in a zero byte, so that none is the front of another. What the keys seal is in `sealed.py`.
"""

from __future__ import annotations

import hashlib
from typing import Final

from confsec.protocol.aead import Aead, AeadSequence
from confsec.protocol.kdf import Kdf

__all__ = [
    "REQUEST_SECRET_SIZE",
    "RESPONSE_NONCE_SIZE",
    "RESPONSE_SECRET_SIZE",
    "derive_request_sequence",
    "derive_response_sequence",
    "response_exporter_context",
    "wrap_info",
]

REQUEST_SECRET_SIZE: Final = 32
"""The fresh random bytes from which the request keys come."""

RESPONSE_SECRET_SIZE: Final = 32
"""max(Nn, Nk) of AES-256-GCM, as in RFC 9458, section 4.4."""

RESPONSE_NONCE_SIZE: Final = 32
"""max(Nn, Nk) of AES-256-GCM, as in RFC 9458, section 4.4."""

_AEAD = Aead.AES_256_GCM
_KDF = Kdf.HKDF_SHA256
_WRAP_LABEL = b"confsec sealed request v1\x00"
_REQUEST_LABEL = b"confsec request chunks v1\x00"
_RESPONSE_LABEL = b"confsec sealed response v1\x00"


def wrap_info(node_id: bytes) -> bytes:
    """Return the HPKE `info` under which the request secret is wrapped for a node (section 5.1)."""
    return _WRAP_LABEL + node_id


def derive_request_sequence(request_secret: bytes, header: bytes) -> AeadSequence:
    """Derive the keys of the request's chunks (section 5.2): they depend on every byte of the header."""
    info = _REQUEST_LABEL + hashlib.sha256(header).digest()
    keys = _KDF.expand(request_secret, info, _AEAD.key_size + _AEAD.nonce_size)
    return AeadSequence(_AEAD, keys[: _AEAD.key_size], keys[_AEAD.key_size :])


def response_exporter_context(request_hash: bytes) -> bytes:
    """Return the exporter context of the response secret (section 6.1): an answer belongs to one request's bytes."""
    return _RESPONSE_LABEL + request_hash


def derive_response_sequence(response_secret: bytes, enc: bytes, response_nonce: bytes) -> AeadSequence:
    """Derive the keys of the response's chunks from the exported secret (section 6.1, after RFC 9458, section 4.4)."""
    prk = _KDF.extract(enc + response_nonce, response_secret)
    key = _KDF.expand(prk, b"key", _AEAD.key_size)
    return AeadSequence(_AEAD, key, _KDF.expand(prk, b"nonce", _AEAD.nonce_size))
