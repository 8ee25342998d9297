"""Entries that two readers could take for two statements, if there were more than one reading."""

from __future__ import annotations

import json
from typing import Final

__all__ = ["BUNDLE_TYPE", "disguise"]

BUNDLE_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"


def disguise(envelope: bytes, inner: bytes) -> bytes:
    """Return a signed envelope that also calls itself a bundle of Sigstore, with another envelope inside."""
    members = json.loads(envelope) | {"mediaType": BUNDLE_TYPE, "dsseEnvelope": json.loads(inner)}
    return json.dumps(members).encode()
