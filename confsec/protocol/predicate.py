"""What all our predicates have: a type, when they were issued, until when they hold, and what they are about.

A predicate is a value with one JSON form. Who may say it is decided in `statement_policy.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime
from typing import ClassVar, Final, Self, TypedDict

from attrs import frozen

from confsec.errors import DecodeError
from confsec.protocol.json_general import JsonItem
from confsec.protocol.json_members import encode_time, members_of, time_of
from confsec.protocol.statement import Statement, Subject

__all__ = ["HEADER", "Header", "Predicate", "header_of", "predicate_members", "type_uri"]

HEADER: Final = ("issued", "validUntil")
"""The members that every predicate has."""

_SECTION: Final = "docs/spec/statements.md"


class Header(TypedDict):
    """The fields that every predicate has."""

    issued: datetime
    valid_until: datetime | None


@frozen(kw_only=True)
class Predicate(ABC):
    """One of our predicates."""

    TYPE: ClassVar[str]
    """Its URI."""

    EXPIRES: ClassVar[bool]
    """Whether it has to say until when it holds."""

    issued: datetime
    """When it was said, in whole seconds: of two statements about one thing, the later one counts."""

    valid_until: datetime | None = None
    """Until when it may be used; None for what holds until it is replaced or revoked."""

    def __attrs_post_init__(self) -> None:
        times = [time for time in (self.issued, self.valid_until) if time is not None]
        if any(time.tzinfo is None or time.microsecond for time in times):
            raise DecodeError("a time of a statement has no time zone, or parts of seconds", section=_SECTION)
        if self.EXPIRES and self.valid_until is None:
            raise DecodeError("a statement of this type has to end", got=self.TYPE, section=_SECTION)
        if self.valid_until is not None and self.valid_until <= self.issued:
            raise DecodeError("a statement ends before it is issued", got=self.TYPE, section=_SECTION)

    @classmethod
    @abstractmethod
    def from_json(cls, value: JsonItem) -> Self:
        """Read it: every member, and no others. Raises `DecodeError` and `LimitError`."""

    @abstractmethod
    def body(self) -> dict[str, JsonItem]:
        """Return its members but those of the header."""

    def to_json(self) -> dict[str, JsonItem]:
        """Write it."""
        until = None if self.valid_until is None else encode_time(self.valid_until)
        return {"issued": encode_time(self.issued), "validUntil": until, **self.body()}

    def subject_digest(self) -> bytes | None:
        """Return SHA-256 of what it is about, or None where it does not hold that."""
        return None

    def check_subjects(self, subjects: tuple[Subject, ...]) -> None:
        """Check that a statement's subjects are those that it is about. Raises `DecodeError`."""
        if len(subjects) != 1:
            raise DecodeError("a statement has another number of subjects", got=len(subjects), want=1, section=_SECTION)
        digest = self.subject_digest()
        if digest is not None and subjects[0].digest != digest:
            raise DecodeError(
                "the subject of a statement is not what its predicate holds",
                got=subjects[0].digest.hex(), want=digest.hex(), section=_SECTION,
            )  # fmt: skip

    def to_statement(self, *subjects: Subject) -> Statement:
        """Return the statement of it about these subjects. Raises `DecodeError` if they are others."""
        self.check_subjects(subjects)
        return Statement(subjects, self.TYPE, self.to_json())

    def about(self, name: str) -> Statement:
        """Return the statement of it about the one thing that it holds, by this name. Raises `DecodeError`."""
        return self.to_statement(Subject(name, self.subject_digest() or b""))


def type_uri(name: str) -> str:
    """Return the URI of one of our predicate types."""
    return f"https://confsec.dev/statement/{name}/v1"


def predicate_members(value: JsonItem, what: str, *names: str) -> dict[str, JsonItem]:
    """Return the members of a predicate: the header, `names`, and no others. Raises `DecodeError`."""
    return members_of(value, what, (*HEADER, *names))


def header_of(members: dict[str, JsonItem]) -> Header:
    """Read the header. Raises `DecodeError`."""
    until = members["validUntil"]
    return Header(
        issued=time_of(members["issued"], "issued"),
        valid_until=None if until is None else time_of(until, "validUntil"),
    )
