"""Statements: what somebody says of artifacts, as in-toto has it (in-toto/attestation, spec/v1, Statement v1.1).

We write one spelling: JSON without spaces, with members in order of their names, as RFC 8785 has it for what we allow
(text, whole numbers, true, false, null, lists, and objects with ASCII names). So the digest of a statement names it,
and a revocation that names the digest hits it however the envelope around it is written. `decode` takes that spelling
only; `decode_foreign` reads what other tools write.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Final, Self, final

from attrs import frozen

from confsec.errors import DecodeError, LocalProtocolError
from confsec.protocol import json_general
from confsec.protocol.dsse import MAX_ENVELOPE, Envelope
from confsec.protocol.json_general import JsonItem, as_object
from confsec.protocol.json_members import DIGEST_SIZE, digest_of, list_of, members_of, text_of

__all__ = [
    "MAX_STATEMENT",
    "MAX_SUBJECTS",
    "PAYLOAD_TYPE",
    "STATEMENT_TYPE",
    "Statement",
    "Subject",
    "check_name",
    "encode_canonical",
]

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
"""What an envelope calls a statement (in-toto, Envelope layer)."""

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
"""The `_type` of a statement."""

MAX_STATEMENT: Final = MAX_ENVELOPE * 3 // 4
"""A statement has at most 768 KiB: what fits into an envelope as base64."""

MAX_SUBJECTS: Final = 4096
"""Subjects of one statement."""

_MAX_NAME: Final = 1024
_MAX_INTEGER: Final = (1 << 53) - 1
_MEMBERS: Final = ("_type", "predicate", "predicateType", "subject")
_SECTION: Final = "in-toto, Statement v1"


def check_name(value: JsonItem, what: str = "a name") -> str:
    """Return a name that can be shown, of 1 to 1024 characters. Raises `DecodeError`."""
    name = text_of(value, what, limit=_MAX_NAME, least=1)
    if not name.isprintable():
        raise DecodeError(f"{what} has characters that cannot be shown")
    return name


@final
@frozen
class Subject:
    """An artifact that a statement is about. Artifacts are matched by digest; the name tells them apart."""

    name: str

    digest: bytes
    """SHA-256 of the artifact, 32 bytes."""

    def __attrs_post_init__(self) -> None:
        check_name(self.name, "the name of a subject")
        if len(self.digest) != DIGEST_SIZE:
            raise DecodeError("a subject has no SHA-256 digest", got=f"{len(self.digest)} bytes", section=_SECTION)

    @classmethod
    def from_json(cls, value: JsonItem) -> Self:
        """Read a subject with a name and a SHA-256 digest, and nothing else. Raises `DecodeError`."""
        members = members_of(value, "a subject", ("digest", "name"))
        digests = members_of(members["digest"], "the digests of a subject", ("sha256",))
        return cls(text_of(members["name"], "a name", limit=_MAX_NAME), digest_of(digests["sha256"], "a digest"))

    @classmethod
    def from_foreign(cls, value: JsonItem) -> Self:
        """Read a subject with at least a name and a SHA-256 digest. Raises `DecodeError`."""
        members = as_object(value, what="a subject")
        digests = as_object(members.get("digest"), what="the digests of a subject")
        return cls(
            text_of(members.get("name"), "the name of a subject", limit=_MAX_NAME),
            digest_of(digests.get("sha256"), "a SHA-256 digest"),
        )

    def to_json(self) -> dict[str, JsonItem]:
        """Write the subject."""
        return {"digest": {"sha256": self.digest.hex()}, "name": self.name}


@final
@frozen
class Statement:
    """A statement as it was read or is to be signed: who says it, and whether it is believed, is decided elsewhere."""

    subjects: tuple[Subject, ...]
    """1 to 4096 artifacts, whose names differ."""

    predicate_type: str
    """The URI that says what the predicate means."""

    predicate: Mapping[str, JsonItem]
    """What is said of them."""

    def __attrs_post_init__(self) -> None:
        check_name(self.predicate_type, "a predicate type")
        if not 0 < len(self.subjects) <= MAX_SUBJECTS:
            raise DecodeError("a statement has no subjects, or too many", got=len(self.subjects), section=_SECTION)
        if len({subject.name for subject in self.subjects}) != len(self.subjects):
            raise DecodeError("two subjects of a statement have one name", section=_SECTION)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a statement in our one spelling. Raises `DecodeError` and `LimitError`."""
        value = json_general.decode(data, what="a statement", limit=MAX_STATEMENT)
        members = members_of(value, "a statement", _MEMBERS)
        _check_type(members["_type"])
        statement = cls(
            tuple(map(Subject.from_json, list_of(members["subject"], "subjects", limit=MAX_SUBJECTS))),
            text_of(members["predicateType"], "a predicate type", limit=_MAX_NAME),
            as_object(members["predicate"], what="a predicate"),
        )
        if _try_encode(statement) != data:
            raise DecodeError("a statement is not in its one spelling", section="RFC 8785")
        return statement

    @classmethod
    def decode_foreign(cls, data: bytes) -> Self:
        """Read a statement of another tool, in any spelling: members that we do not know are passed over.

        Its subjects have names and SHA-256 digests. Raises `DecodeError` and `LimitError`.
        """
        members = as_object(json_general.decode(data, what="a statement", limit=MAX_STATEMENT), what="a statement")
        _check_type(members.get("_type"))
        return cls(
            tuple(map(Subject.from_foreign, list_of(members.get("subject"), "subjects", limit=MAX_SUBJECTS))),
            text_of(members.get("predicateType"), "a predicate type", limit=_MAX_NAME),
            as_object(members.get("predicate", {}), what="a predicate"),
        )

    def encode(self) -> bytes:
        """Write the statement in its one spelling. Raises `LocalProtocolError` for what JSON of ours cannot hold."""
        return encode_canonical(
            {
                "_type": STATEMENT_TYPE,
                "predicate": dict(self.predicate),
                "predicateType": self.predicate_type,
                "subject": [subject.to_json() for subject in self.subjects],
            }
        )

    @property
    def digest(self) -> bytes:
        """SHA-256 of its one spelling: what names it."""
        return sha256(self.encode()).digest()

    def to_envelope(self) -> Envelope:
        """Return an envelope around it that nobody has signed yet."""
        return Envelope(PAYLOAD_TYPE, self.encode())


def encode_canonical(value: object) -> bytes:
    """Write JSON in its one spelling (RFC 8785, without fractions and with ASCII names).

    Raises `LocalProtocolError` for anything else.
    """
    _check_canonical(value)
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True).encode("utf-8")
    except (TypeError, ValueError) as exc:  # halves of surrogate pairs are ValueErrors too
        raise LocalProtocolError("JSON cannot hold such a value", section="RFC 8785") from exc


def _check_canonical(value: object) -> None:
    """Look for what has several spellings: fractions, large numbers, and names whose order depends on the encoding."""
    match value:
        case bool() | str() | None:
            return
        case int() if abs(value) <= _MAX_INTEGER:
            return
        case list():
            for each in value:
                _check_canonical(each)
        case dict() if all(isinstance(name, str) and name.isascii() for name in value):
            for each in value.values():
                _check_canonical(each)
        case _:
            raise LocalProtocolError("a value has more than one spelling in JSON", section="RFC 8785, section 3.2")


def _try_encode(statement: Statement) -> bytes:
    try:
        return statement.encode()
    except LocalProtocolError as exc:
        raise DecodeError("a statement has values that have no one spelling", section="RFC 8785") from exc


def _check_type(value: JsonItem) -> None:
    if value != STATEMENT_TYPE:
        raise DecodeError("a statement has another type", want=STATEMENT_TYPE, section=_SECTION)
