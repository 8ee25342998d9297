"""What a node says of itself beside its key: what it loaded, and which nonce its evidence answers.

The *manifest* is what the measured launcher loaded, in canonical CBOR: the engine, digests of model weights, arguments
and limits. A policy names accepted manifests by their SHA-256; it holds text keys only, and no more is asked of it. The
*freshness* item says why the evidence was made and for which nonce. Both are claims that the binding covers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Self

from attrs import frozen

from confsec.errors import DecodeError
from confsec.protocol import cbor
from confsec.protocol.binding import Mode

__all__ = ["MAX_MANIFEST", "Freshness", "Manifest"]

MAX_MANIFEST: Final = 65_536
"""A manifest has at most 64 KiB."""


@frozen
class Freshness:
    """Which nonce evidence answers."""

    mode: Mode
    """For everyone in an epoch, or for one auditor."""

    nonce: bytes
    """32 bytes."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a freshness item. Raises `DecodeError`."""
        value = cbor.decode(data, what="freshness", limit=128)
        members = cbor.as_map(value, what="freshness", keys=("mode", "nonce"))
        try:
            mode = Mode(cbor.as_uint(members["mode"], what="the mode"))
        except ValueError as exc:
            raise DecodeError("evidence is of an unknown mode", got=members["mode"], want="0 or 1") from exc
        return cls(mode, cbor.as_bytes(members["nonce"], what="the nonce", size=32))

    def encode(self) -> bytes:
        """Write the item."""
        return cbor.encode({"mode": self.mode.value, "nonce": self.nonce})


@frozen
class Manifest:
    """What the launcher loaded."""

    members: Mapping[str, cbor.CborValue]
    """By name. Which names there are is between whoever builds the image and whoever writes policies."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a manifest. Raises `DecodeError`, and `LimitError` for more than 64 KiB."""
        value = cbor.decode(data, what="the manifest", limit=MAX_MANIFEST)
        if not isinstance(value, dict):
            raise DecodeError("the manifest is not a map")
        return cls(value)

    def encode(self) -> bytes:
        """Write the manifest in its one spelling."""
        return cbor.encode(dict(self.members))
