"""What the tests of the conformance command share: files of vectors made here, and what became of them."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from confsec.conformance.cases import CaseResult, Outcome, run_case
from confsec.conformance.registry import recognise
from confsec.conformance.reports import FileReport
from confsec.conformance.runner import run_vectors

Case = dict[str, Any]
Place = tuple[str | int, ...]


def write(path: Path, document: object) -> Path:
    """Write a vector file, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return path


def only_report(*paths: Path) -> FileReport:
    """Run what must be one file."""
    [report] = run_vectors(paths)
    return report


def counts(report: FileReport) -> tuple[int, int, int]:
    return report.passed, report.failed, report.skipped


def run_one(case: object, *, among: object = None) -> CaseResult:
    """Run one case by the form of the document that it is in: a list of it alone, unless another is given."""
    document = [case] if among is None else among
    schema = recognise(document)
    assert schema is not None
    assert schema.check is not None
    return run_case("case", case, schema.check)


def outcome(case: object, *, among: object = None) -> Outcome:
    return run_one(case, among=among).outcome


def byte_strings(value: object, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Find all hex in a case, at any depth."""
    if isinstance(value, Mapping):
        for name, member in value.items():
            yield from byte_strings(member, (*place, name))
    elif isinstance(value, list):
        for number, member in enumerate(value):
            yield from byte_strings(member, (*place, number))
    elif isinstance(value, str) and value and not len(value) % 2 and set(value) <= set("0123456789abcdef"):
        yield place, value


def corrupt(case: Case, place: Place, text: str) -> Case:
    """Copy a case with one bit of a byte string turned over."""
    # In the first quarter: the second half of an ML-KEM seed shows only in what does not open.
    place_in_text = len(text) // 4
    changed = text[:place_in_text] + format(int(text[place_in_text], 16) ^ 1, "x") + text[place_in_text + 1 :]
    copied = copy.deepcopy(case)
    target: Any = copied
    for step in place[:-1]:
        target = target[step]
    target[place[-1]] = changed
    return copied
