"""Concise evidence: what an attester claims, in the words of CoMID (TCG DICE Concise Evidence Binding for SPDM, 1.0).

Only its structure is read. Evidence means something once it is bound to a signature of an attester; that is not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, final

from attrs import field, frozen

from confsec.errors import DecodeError
from confsec.protocol import cbor_general
from confsec.protocol.cbor_general import CborItem, CborKey, Tag
from confsec.protocol.comid import DOMAIN_TRIPLES, KEY_TRIPLES, VALUE_TRIPLE, DomainTriple, KeyTriple, ValueTriple
from confsec.protocol.comid_measurement import ENVIRONMENT, Environment
from confsec.protocol.corim_codec import (
    NO_EXTENSIONS,
    UUID,
    UUID_TAG,
    Codec,
    Element,
    array,
    identifier,
    optional,
    record,
    required,
    struct,
)
from confsec.protocol.corim_common import CRYPTO_KEY, MAX_CORIM, PROFILE, TAG_ID

__all__ = ["CONCISE_EVIDENCE_TAG", "ConciseEvidence", "EvidenceTriples", "SwidEvidence", "SwidEvidenceTriple"]

CONCISE_EVIDENCE_TAG: Final = 571
"""Concise evidence."""

_SECTION: Final = "TCG DICE Concise Evidence, concise-evidence"


@final
@frozen(kw_only=True)
class SwidEvidence:
    """What was found of some software (rule `ev-coswid-evidence-map`)."""

    evidence: Mapping[CborKey, CborItem]
    """An `evidence-entry` of RFC 9393, as it came."""

    tag_id: str | bytes | None = None
    """The CoSWID tag that it belongs to."""

    authorized_by: tuple[Tag, ...] | None = None
    """Keys of those who may say so."""


@final
@frozen
class SwidEvidenceTriple:
    """Software that was found in an environment (rule `ev-coswid-triple-record`)."""

    environment: Environment
    """Where."""

    evidence: tuple[SwidEvidence, ...]
    """What."""


@final
@frozen(kw_only=True)
class EvidenceTriples:
    """All that is claimed (rule `ev-triples-map`)."""

    evidence_triples: tuple[ValueTriple, ...] | None = None
    """What was measured."""

    identity_triples: tuple[KeyTriple, ...] | None = None
    """Keys that identify the device."""

    dependency_triples: tuple[DomainTriple, ...] | None = None
    """What depends on what."""

    membership_triples: tuple[DomainTriple, ...] | None = None
    """What belongs to what."""

    coswid_triples: tuple[SwidEvidenceTriple, ...] | None = None
    """Which software was found."""

    attest_key_triples: tuple[KeyTriple, ...] | None = None
    """Keys that sign evidence."""

    extensions: Mapping[int, CborItem] = field(default=NO_EXTENSIONS)
    """Triples that a profile adds."""


@final
@frozen(kw_only=True)
class ConciseEvidence:
    """Concise evidence (rule `concise-evidence-map`)."""

    triples: EvidenceTriples
    """What is claimed."""

    evidence_id: Tag | None = None
    """A UUID that names it."""

    profile: Tag | None = None
    """By which rules to understand it."""

    extensions: Mapping[int, CborItem] = field(default=NO_EXTENSIONS)
    """Members that a profile adds."""

    @staticmethod
    def decode(data: bytes) -> ConciseEvidence:
        """Read it under its tag 571. Raises `DecodeError`, and `LimitError` beyond 1 MiB or 16384 items."""
        item = cbor_general.decode(data, what="concise evidence", limit=MAX_CORIM)
        if not isinstance(item, Tag) or item.number != CONCISE_EVIDENCE_TAG:
            raise DecodeError("concise evidence does not have its tag", want=CONCISE_EVIDENCE_TAG, section=_SECTION)
        return _CONCISE_EVIDENCE.read(item.value, "concise evidence")

    def encode(self) -> bytes:
        return cbor_general.encode(Tag(CONCISE_EVIDENCE_TAG, _CONCISE_EVIDENCE.write(self)))


def _read_entry(item: CborItem, name: str) -> Mapping[CborKey, CborItem]:
    if not isinstance(item, dict) or any(isinstance(key, bytes) for key in item):
        raise DecodeError(f"{name} is not an evidence entry", section="RFC 9393, section 2.9.4")
    return item


_SWID_EVIDENCE: Final = struct(
    SwidEvidence,
    "ev-coswid-evidence-map",
    optional(0, "tag_id", TAG_ID),
    required(1, "evidence", Codec(_read_entry, dict)),
    optional(2, "authorized_by", array(CRYPTO_KEY)),
)

_TRIPLES: Final = struct(
    EvidenceTriples,
    "ev-triples-map",
    optional(0, "evidence_triples", array(VALUE_TRIPLE)),
    optional(1, "identity_triples", KEY_TRIPLES),
    optional(2, "dependency_triples", DOMAIN_TRIPLES),
    optional(3, "membership_triples", DOMAIN_TRIPLES),
    optional(
        4,
        "coswid_triples",
        array(
            record(
                SwidEvidenceTriple,
                "ev-coswid-triple-record",
                Element("environment", ENVIRONMENT),
                Element("evidence", array(_SWID_EVIDENCE)),
            )
        ),
    ),
    optional(5, "attest_key_triples", KEY_TRIPLES),
    non_empty=True,
    socket=True,
)

_CONCISE_EVIDENCE: Final = struct(
    ConciseEvidence,
    "concise-evidence-map",
    required(0, "triples", _TRIPLES),
    optional(1, "evidence_id", identifier({UUID_TAG: UUID})),
    optional(2, "profile", PROFILE),
    socket=True,
)
