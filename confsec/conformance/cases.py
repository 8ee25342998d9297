"""What a case is, how one is run, and what the checks of all schemas share.

A check is a function that takes one case and returns when it holds. It raises `MismatchError` where a result is not
the stated one, and `CaseSkippedError` where we have nothing to run; an error of confsec itself means that a good case
was refused. Hex is read here and not by the protocol's own decoder: a broken vector would pass for a refusal.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any, Final, final

from attrs import frozen

from confsec.errors import ConfsecError, LocalProtocolError

__all__ = [
    "Case",
    "CaseResult",
    "CaseSkippedError",
    "Check",
    "MismatchError",
    "NamedCase",
    "Outcome",
    "Schema",
    "check_refused",
    "check_same",
    "check_stated",
    "has_members",
    "is_hex",
    "list_cases",
    "or_refused",
    "run_case",
    "unhex",
]

Case = Mapping[str, Any]
"""One case as it stands in the file: whoever reads a member finds out what it is."""

Check = Callable[[Case], None]
"""Runs one case."""

NamedCase = tuple[str, object]
"""What to call a case, and what stands in the file, which may be anything."""

_LIST_MEMBERS: Final = ("cases", "messages")
_NAME_MEMBERS: Final = ("name", "defect")
_SHOWN: Final = 32


class CaseSkippedError(Exception):
    """There is nothing here that we could run. The text says why."""


class MismatchError(Exception):
    """Something is not as the case states it."""


@final
class Outcome(Enum):
    """What became of a case."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@frozen
class CaseResult:
    """What became of one case, or of several that were not looked at one by one."""

    name: str
    """Which case, within its file."""

    outcome: Outcome

    reason: str = ""
    """Why it failed or was skipped: one line."""

    cases: int = 1
    """How many cases this speaks for."""


@frozen(kw_only=True)
class Schema:
    """A form of vector file: how it is recognised, where its cases are, and how each is run."""

    name: str
    """As in the manifests."""

    protocol: str = ""
    """The only protocol whose manifests may mean it; empty if any may."""

    recognises: Callable[[object], bool]
    """Whether a JSON document has this form. It looks at the members that no other form has."""

    check: Check | None
    """Runs a case. None where we know the form and have nothing to run."""

    missing: str = ""
    """What there is not, where there is no check."""

    list_cases: Callable[[object], Iterator[NamedCase]]
    """Finds the cases in a document that was recognised."""


def run_case(name: str, case: object, check: Check) -> CaseResult:
    """Run one case. Whatever the check raises becomes a result."""
    try:
        if not isinstance(case, Mapping):
            raise MismatchError("the case is not an object")
        check(case)
    except CaseSkippedError as exc:
        return CaseResult(name, Outcome.SKIPPED, str(exc))
    except MismatchError as exc:
        return CaseResult(name, Outcome.FAILED, str(exc))
    except ConfsecError as exc:
        return CaseResult(name, Outcome.FAILED, _one_line(f"refused: {exc} [{exc.code}]"))
    except Exception as exc:  # noqa: BLE001 - any other exception is a defect, of ours or of the vector
        return CaseResult(name, Outcome.FAILED, _one_line(traceback.format_exception_only(exc)[-1]))
    return CaseResult(name, Outcome.PASSED)


def or_refused(check: Check) -> Check:
    """Make a check that wants refusal where a case says `valid: false`, for schemas that have no negatives so far."""

    def checked(case: Case) -> None:
        if case.get("valid", True) is True:
            check(case)
        else:
            check_refused(lambda: check(case))

    return checked


def list_cases(document: object) -> Iterator[NamedCase]:
    """Find the cases of a document that is a list or has one, each with its name or number."""
    for number, case in enumerate(_listed(document)):
        names = [case[key] for key in _NAME_MEMBERS if isinstance(case.get(key), str)] if _is_object(case) else []
        yield (names[0] if names else f"case {number}"), case


def has_members(*alternatives: str) -> Callable[[object], bool]:
    """Recognise documents in which a case has all members of one of the `alternatives`, each a line of names.

    The first member of an alternative has to be hex: others use the same words for other things. One good case is
    enough, so that a file in which something is broken keeps its form, and fails.
    """
    wanted = [names.split() for names in alternatives]

    def recognises(document: object) -> bool:
        return any(
            _is_object(case) and case.keys() >= set(names) and is_hex(case[names[0]])
            for case in _listed(document)
            for names in wanted
        )

    return recognises


def is_hex(value: object) -> bool:
    """Say whether a value is text in lower-case hex."""
    return isinstance(value, str) and re.fullmatch(r"(?:[0-9a-f]{2})*", value) is not None


def unhex(case: Case, name: str) -> bytes:
    """Return the bytes that a member states in hex. Raises `MismatchError` for what is no hex."""
    value = case.get(name)
    if not isinstance(value, str):
        raise MismatchError(f"the case has no {name}, or not as text")
    try:
        return bytes.fromhex(value)
    except ValueError as exc:
        raise MismatchError(f"{name} is not hex") from exc


def check_same(what: str, got: object, want: object) -> None:
    """Check that a result is the stated one. Raises `MismatchError`."""
    # True is 1 in Python, and would not be in CBOR or JSON.
    if type(got) is type(want) and got == want:
        return
    where = ""
    if isinstance(got, bytes) and isinstance(want, bytes):
        pairs = enumerate(zip(got, want, strict=False))
        same = next((place for place, (ours, stated) in pairs if ours != stated), min(len(got), len(want)))
        where, got, want = f" from byte {same}", got[same:], want[same:]
    raise MismatchError(f"{what} differs{where}: got {_show(got)}, want {_show(want)}")


def check_stated(case: Case, **results: bytes) -> None:
    """Check those of the results that the case states in hex, by their names. Raises `MismatchError`."""
    for name, result in results.items():
        if name in case:
            check_same(name, result, unhex(case, name))


def check_refused(action: Callable[[], object], *, code: str = "", locally: bool = False) -> None:
    """Check that `action` refuses, with the stable `code` if one is stated. Raises `MismatchError`.

    `LocalProtocolError` is a bug in the caller and no refusal, except where we refuse to make something (`locally`).
    """
    try:
        action()
    except LocalProtocolError as exc:
        if not locally:
            raise MismatchError(f"not refused but misused: {exc}") from exc
    except ConfsecError as exc:
        if code and exc.code != code:
            raise MismatchError(f"refused as {exc.code}, want {code}") from exc
    else:
        raise MismatchError("accepted, and has to be refused")


def _listed(document: object) -> list[Any]:
    if isinstance(document, Mapping):
        lists = [document[key] for key in _LIST_MEMBERS if isinstance(document.get(key), list)]
        return lists[0] if lists else []
    return document if isinstance(document, list) else []


def _is_object(case: object) -> bool:
    return isinstance(case, Mapping)


def _show(value: object) -> str:
    text = value.hex() if isinstance(value, bytes) else repr(value)
    return _one_line(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…") or "nothing"


def _one_line(text: str) -> str:
    return " ".join(text.split())
