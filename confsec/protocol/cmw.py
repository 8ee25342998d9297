"""The collection of evidence that a node emits: a CMW collection in CBOR (draft-ietf-rats-msg-wrap, section 3).

A record is an array of a media type and bytes; a collection is a map from labels to records. Each TEE says which labels
it uses and what stands in them; here stand only those that every node has.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Final, Self

from attrs import field, frozen

from confsec.errors import DecodeError, EvidenceError, LimitError
from confsec.protocol import cbor

__all__ = ["CMW_COLLECTION_TYPE", "KEY_CONFIG_LABEL", "MAX_EVIDENCE", "CmwRecord", "Endorsements", "Evidence"]

CMW_COLLECTION_TYPE: Final = "application/cmw+cbor"
"""The media type of evidence on the wire."""

KEY_CONFIG_LABEL: Final = "key-config"
"""The label of the node's KeyConfig: `application/ohttp-keys` with one entry."""

MAX_EVIDENCE: Final = 1 << 20
"""Evidence of one node has at most 1 MiB: an event log is the largest thing in it."""

_MAX_ITEMS: Final = 16
_SECTION: Final = "draft-ietf-rats-msg-wrap, section 3.2"


@frozen
class CmwRecord:
    """One conceptual message: what it is, and its bytes."""

    media_type: str
    """The media type of `value`."""

    value: bytes = field(repr=False)
    """The message itself."""


@frozen
class Evidence:
    """What one node emitted. Its digest is over exactly these bytes, so they are kept as they came."""

    encoded: bytes = field(repr=False)
    """The collection as the node emitted it."""

    items: Mapping[str, CmwRecord]
    """The records by label."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a collection. Raises `DecodeError`, and `LimitError` for more than 1 MiB or 16 items."""
        value = cbor.decode(data, what="evidence", limit=MAX_EVIDENCE)
        if not isinstance(value, dict):
            raise DecodeError("evidence is not a CMW collection", want="a map", section=_SECTION)
        if len(value) > _MAX_ITEMS:
            raise LimitError("evidence has too many items", got=len(value), want=f"at most {_MAX_ITEMS}")
        return cls(encoded=data, items={label: _decode_record(item) for label, item in value.items()})

    @classmethod
    def of(cls, items: Mapping[str, CmwRecord]) -> Self:
        """Make the evidence that consists of `items`."""
        return cls(
            encoded=cbor.encode({label: [item.media_type, item.value] for label, item in items.items()}), items=items
        )

    @property
    def digest(self) -> bytes:
        """SHA-256 of the emitted bytes: the name of this evidence in the fleet record."""
        return sha256(self.encoded).digest()

    def item(self, label: str, media_type: str) -> bytes:
        """Return the bytes under `label`. Raises `EvidenceError` if it is missing or of another type."""
        record = self.items.get(label)
        if record is None or record.media_type != media_type:
            raise EvidenceError(
                f"evidence lacks the item {label!r}",
                got="nothing" if record is None else "another media type",
                want=media_type,
                section=_SECTION,
            )
        return record.value


@frozen
class Endorsements:
    """What vouches for evidence and travels beside it: it may be refreshed, and is never part of a digest."""

    encoded: bytes = field(repr=False)
    """The collection as it came."""

    items: Mapping[str, CmwRecord]
    """The records by label."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a collection. Raises `DecodeError`, and `LimitError` for more than 1 MiB or 16 items."""
        evidence = Evidence.decode(data)
        return cls(encoded=data, items=evidence.items)

    @classmethod
    def of(cls, items: Mapping[str, CmwRecord]) -> Self:
        """Make the endorsements that consist of `items`."""
        evidence = Evidence.of(items)
        return cls(encoded=evidence.encoded, items=items)

    def find(self, label: str) -> bytes | None:
        """Return the bytes under `label`, or None: whoever carried them may have left them out."""
        record = self.items.get(label)
        return None if record is None else record.value


def _decode_record(value: cbor.CborValue) -> CmwRecord:
    parts = cbor.as_array(value, what="a CMW record", limit=2)
    if len(parts) != 2:
        raise DecodeError(
            "a CMW record is not a pair", got=f"{len(parts)} items", want="type and value", section=_SECTION
        )
    return CmwRecord(cbor.as_text(parts[0], what="a CMW type"), cbor.as_bytes(parts[1], what="a CMW value"))
