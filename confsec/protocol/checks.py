"""What was looked at, what came of it, and why: checks, and tables of checks that run in order.

A check passes, fails, is skipped, or only informs; a skip is never a pass. A part of confsec that verifies something
writes its checks as one table of `CheckDefinition`, in the order of its standard, so that the table can be read beside
it and every check can be removed in a test. `run_checks` computes them; what refuses in the end is `require_passed`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from enum import Enum
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from attrs import frozen

from confsec.errors import AppraisalError, ConfsecError
from confsec.protocol import cbor

__all__ = [
    "Check",
    "CheckDefinition",
    "Finding",
    "Status",
    "at_least",
    "equal",
    "failed",
    "find_refused",
    "holds",
    "informs",
    "one_of",
    "passed",
    "require_passed",
    "run_checks",
    "show",
    "skipped",
]

_SHOWN = 100

_Subject = TypeVar("_Subject")


class Status(Enum):
    """What came of a check."""

    PASS = "pass"
    FAIL = "fail"
    SKIP = "skip"
    INFO = "info"

    if not TYPE_CHECKING:  # a checker would miss the type
        # An Enum hashes its name, in Python, each time that it is looked for in a set. A member is one object.
        __hash__ = object.__hash__


class Check(NamedTuple):
    """One thing that was looked at before the prompt was sealed."""

    id: str
    """Stable and unique: `part.what`."""

    section: str
    """Where the rule stands."""

    status: Status
    """What came of it."""

    why: str
    """A sentence for people; the same for the same input."""

    want: str = ""
    """What was expected, where that can be written in a word."""

    got: str = ""
    """What was found instead, or all the same."""

    def to_item(self) -> list[cbor.CborValue]:
        """Return the check as it stands in a Proof."""
        return [self.id, self.section, self.status.value, self.why, self.want, self.got]

    def to_json(self) -> dict[str, object]:
        """Return the check as JSON values."""
        return {
            "id": self.id,
            "section": self.section,
            "status": self.status.value,
            "why": self.why,
            "want": self.want,
            "got": self.got,
        }


class Finding(NamedTuple):
    """What looking at one thing gave."""

    status: Status
    why: str
    want: str = ""
    got: str = ""


@frozen
class CheckDefinition(Generic[_Subject]):
    """One row of a table of checks."""

    id: str
    """The stable id of the check."""

    section: str
    """Where the rule stands."""

    look: Callable[[_Subject], Finding]
    """Computes the finding from the subject alone. A `ConfsecError` that it raises is a failed check."""

    essential: bool = False
    """What comes later in the table may not be looked at when this fails: nobody would have signed it."""

    def run(self, subject: _Subject) -> Check:
        """Compute the check."""
        try:
            found = self.look(subject)
        except ConfsecError as exc:
            found = Finding(Status.FAIL, exc.what, want=show(exc.want), got=show(exc.got))
        return Check(self.id, self.section, found.status, found.why, found.want, found.got)


def run_checks(definitions: Iterable[CheckDefinition[_Subject]], subject: _Subject) -> tuple[Check, ...]:
    """Compute a table of checks in its order. After an essential one that fails, the rest is skipped."""
    checks: list[Check] = []
    stopped_by = ""
    for definition in definitions:
        if stopped_by:
            why = f"not looked at, since {stopped_by} failed"
            checks.append(Check(definition.id, definition.section, Status.SKIP, why))
            continue
        checks.append(definition.run(subject))
        if definition.essential and checks[-1].status is not Status.PASS:
            stopped_by = definition.id
    return tuple(checks)


def require_passed(checks: Collection[Check], *, what: str, waived: Collection[str] = (), hint: str = "") -> None:
    """Return if every check passed, informs, or was skipped and is among `waived`.

    Raises `AppraisalError`, which has every check, and says what failed, or else what was skipped.
    """
    refused = find_refused(checks, waived=waived)
    if refused:
        decisive = tuple(check for check in refused if check.status is Status.FAIL) or refused
        raise AppraisalError(what, checks=tuple(checks), refused=refused, decisive=decisive, hint=hint)


def find_refused(checks: Iterable[Check], *, waived: Collection[str] = ()) -> tuple[Check, ...]:
    """Return the checks that neither passed nor inform, nor were skipped and are among `waived`."""
    return tuple(check for check in checks if not _accepted(check, waived))


def _accepted(check: Check, waived: Collection[str]) -> bool:
    if check.status is Status.SKIP:
        return check.id in waived
    return check.status in {Status.PASS, Status.INFO}


# --- Findings ---------------------------------------------------------------------------------------------------------


def passed(why: str, *, want: object = None, got: object = None) -> Finding:
    """Say that all is as it should be."""
    return Finding(Status.PASS, why, show(want), show(got))


def failed(why: str, *, want: object = None, got: object = None) -> Finding:
    """Say that something is not as it should be."""
    return Finding(Status.FAIL, why, show(want), show(got))


def skipped(why: str) -> Finding:
    """Say that nobody looked, and why. Refuses, unless the policy waives the check by its id."""
    return Finding(Status.SKIP, why)


def informs(why: str, *, got: object = None) -> Finding:
    """Say something that neither speaks for nor against trust."""
    return Finding(Status.INFO, why, got=show(got))


def holds(condition: bool, good: str, bad: str, *, want: object = None, got: object = None) -> Finding:  # noqa: FBT001
    """Pass with the sentence `good` if the condition holds, else fail with `bad`."""
    return passed(good, want=want, got=got) if condition else failed(bad, want=want, got=got)


def equal(what: str, got: object, want: object) -> Finding:
    """Compare what was found with the one value that is accepted."""
    same = type(got) is type(want) and got == want
    return holds(same, f"{what} is as expected", f"{what} differs", want=want, got=got)


def one_of(what: str, got: object, wanted: Collection[object]) -> Finding:
    """Look for what was found among the values that are accepted."""
    want = ", ".join(show(each) for each in wanted) or "nothing: the policy lists no value"
    return holds(got in wanted, f"{what} is one of those expected", f"{what} is not among those expected",
                 want=want, got=got)  # fmt: skip


def at_least(what: str, got: int, minimum: int) -> Finding:
    """Compare a number with its floor."""
    return holds(got >= minimum, f"{what} is high enough", f"{what} is too low", want=f"at least {minimum}", got=got)


def show(value: object) -> str:
    """Return an identifier, a digest or a size as short text; nothing for None."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case bytes():
            return value.hex()
        case _:
            text = str(value)
            return text if len(text) <= _SHOWN * 8 else text[: _SHOWN * 8] + "…"
