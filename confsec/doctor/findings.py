"""What `confsec doctor` found: one thing that was looked at, and what to do about it. Never a secret."""

from __future__ import annotations

from enum import Enum

from attrs import frozen

from confsec.errors import ConfsecError

__all__ = ["Finding", "Level", "info", "ok", "problem", "problem_of", "warning"]


class Level(Enum):
    """How bad it is."""

    OK = "ok"
    INFO = "info"
    WARNING = "warning"
    PROBLEM = "problem"


@frozen(kw_only=True)
class Finding:
    """One thing that was looked at."""

    id: str
    """Stable: `area.what`."""

    level: Level
    """How bad it is. Only a problem fails."""

    what: str
    """What was found, as a sentence. It names settings and never quotes their values, which may be secret."""

    todo: str = ""
    """What to do; empty if there is nothing to do."""

    milliseconds: float | None = None
    """How long a step took, where that says something."""

    @property
    def area(self) -> str:
        """What the id begins with: the heading under which people see it."""
        return self.id.partition(".")[0]

    def to_json(self) -> dict[str, object]:
        """Return the finding as one JSON object."""
        return {
            "id": self.id,
            "level": self.level.value,
            "what": self.what,
            "todo": self.todo,
            "milliseconds": None if self.milliseconds is None else round(self.milliseconds, 1),
        }


def ok(id: str, what: str, *, milliseconds: float | None = None) -> Finding:  # noqa: A002 - the field's name
    """Return a finding with which all is well."""
    return Finding(id=id, level=Level.OK, what=what, milliseconds=milliseconds)


def info(id: str, what: str, todo: str = "") -> Finding:  # noqa: A002 - the field's name
    """Return a finding that is good to know."""
    return Finding(id=id, level=Level.INFO, what=what, todo=todo)


def warning(id: str, what: str, todo: str) -> Finding:  # noqa: A002 - the field's name
    """Return a finding that may be meant so."""
    return Finding(id=id, level=Level.WARNING, what=what, todo=todo)


def problem(id: str, what: str, todo: str) -> Finding:  # noqa: A002 - the field's name
    """Return a finding with which something will not work."""
    return Finding(id=id, level=Level.PROBLEM, what=what, todo=todo)


def problem_of(id: str, error: ConfsecError, todo: str = "") -> Finding:  # noqa: A002 - the field's name
    """Return a problem for an error. Without `todo`, the error's own hint says what to do."""
    what = str(error).removesuffix(f". {error.hint}") if error.hint else str(error)
    return problem(id, f"{what} [{error.code}]", todo or error.hint or "See docs/operating.md")
