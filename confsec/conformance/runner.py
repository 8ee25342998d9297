"""Run vector files: find them, recognise their form, run their cases, and report on each file.

A folder with a manifest (`cases.json`) is run by it, and what the manifest does not name is run by its form, as in any
other folder. The question is always what could be taken for a success that is none: a file that says what it is and
cannot be run fails, a case that states nothing fails, and what was not run is counted and says why.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from glob import glob
from pathlib import Path
from typing import Final, final

from confsec.conformance.cases import CaseResult, Outcome, Schema, check_refused, list_cases, run_case
from confsec.conformance.kinds import MAX_FILE_SIZE, run_file_case
from confsec.conformance.manifest import MANIFEST_NAME, Entry, Manifest
from confsec.conformance.registry import MISSING_PROTOCOLS, find_kind, find_schema, recognise
from confsec.conformance.reports import FileReport
from confsec.errors import ConfigError

__all__ = ["run_vectors"]

# What stands beside vectors and is none: it explains them, or makes them.
_NO_VECTORS: Final = frozenset({".md", ".py", ".pyc"})

_LIST: Final = "json-list"


def run_vectors(paths: Iterable[Path]) -> Iterator[FileReport]:
    """Run files, and folders with all that is below them, and yield a report on each file as soon as it has been run.

    Each file is run once. Raises `ConfigError` before anything is run for a path that does not exist, and for one that
    is neither file nor folder or cannot be read.
    """
    run = _Run()
    for path in [_check_path(path) for path in paths]:
        yield from run.folder(path) if path.is_dir() else run.named_file(path)


def _check_path(path: Path) -> Path:
    if not path.exists():
        raise ConfigError(f"{path} does not exist")
    if not path.is_dir() and not path.is_file():
        raise ConfigError(f"{path} is neither a file nor a folder")
    if not os.access(path, os.R_OK):
        raise ConfigError(f"{path} cannot be read: permission denied")
    return path


@final
class _Run:
    """Remembers what has been run."""

    def __init__(self) -> None:
        self._done: set[Path] = set()

    def folder(self, path: Path) -> Iterator[FileReport]:
        unreadable: list[OSError] = []
        for name, folders, files in os.walk(path, onerror=unreadable.append):
            folders[:] = sorted(each for each in folders if not each.startswith((".", "__")))
            folder = Path(name)
            if MANIFEST_NAME in files:
                yield from self._by_manifest(folder)
            for file in sorted(files):
                if not file.startswith(".") and Path(file).suffix not in _NO_VECTORS:
                    yield from self._by_form(folder / file, named=False)
        for error in unreadable:
            yield _skipped(Path(str(error.filename)), f"cannot be read: {error.strerror}")

    def named_file(self, path: Path) -> Iterator[FileReport]:
        """Run a file that the user named. A manifest stands for what it names."""
        if path.name == MANIFEST_NAME:
            yield from self._by_manifest(path.parent)
        yield from self._by_form(path, named=True)

    def _by_form(self, path: Path, *, named: bool) -> Iterator[FileReport]:
        if self._claim(path) and (named or path.is_file()):
            yield _run_file(path, named=named)

    def _by_manifest(self, folder: Path) -> Iterator[FileReport]:
        """Run what a manifest names, if it is one."""
        path = folder / MANIFEST_NAME
        document = _read_json(path)
        manifest = None if isinstance(document, _Unreadable) else Manifest.from_json(document, folder)
        if manifest is None or not self._claim(path):
            return
        by_path: dict[Path, list[Entry]] = {}
        for entry in manifest.entries:
            by_path.setdefault(entry.path, []).append(entry)
        for file, entries in by_path.items():
            # A set may lean on a file of another one, which that one runs as well.
            if not file.is_relative_to(folder) or self._claim(file):
                yield _run_entries(manifest.protocol, folder, file, entries)
        for pattern, why in manifest.unused:
            if self._claim_all(folder, pattern):
                result = CaseResult("the file", Outcome.SKIPPED, f"unused: {why}", cases=0)
                yield FileReport(str(folder / pattern), (result,), folder)
        for file in manifest.files:
            if file.is_relative_to(folder):
                self._claim(file)

    def _claim_all(self, folder: Path, pattern: str) -> bool:
        # Path.glob refuses patterns that lead out of the folder with an error of its own.
        names = glob(pattern, root_dir=folder)  # noqa: PTH207
        return [self._claim(folder / name) for name in names].count(True) > 0

    def _claim(self, path: Path) -> bool:
        """Say whether a file has not been run, and remember that it has been."""
        resolved = path.resolve()
        if resolved in self._done:
            return False
        self._done.add(resolved)
        return True


def _run_file(path: Path, *, named: bool) -> FileReport:
    """Run a file by its form. Who names a file says that it is one of vectors, so then it has to be readable."""
    document = _read_json(path)
    if isinstance(document, _Unreadable):
        if path.suffix != ".json" and document.is_no_json:
            return _skipped(path, "not a vector file: no JSON")
        outcome = Outcome.FAILED if named else Outcome.SKIPPED
        return FileReport(str(path), (CaseResult("the file", outcome, document.reason),), path.parent)
    schema = recognise(document)
    if schema is None:
        return _skipped(path, "the form of this file is not known", cases=len(list(list_cases(document))) or 1)
    return FileReport(str(path), tuple(_run_cases(schema, document)), path.parent)


def _run_entries(protocol: str, folder: Path, path: Path, entries: list[Entry]) -> FileReport:
    results: list[CaseResult] = []
    notes: list[str] = []
    for entry in entries:
        outcome = tuple(_run_entry(protocol, entry))
        results += outcome
        found = sum(result.cases for result in outcome)
        if entry.kind == _LIST and found != entry.count:
            notes.append(f"the manifest says {entry.count} cases, and there are {found}")
    return FileReport(str(path), tuple(results), folder, "; ".join(notes))


def _run_entry(protocol: str, entry: Entry) -> Iterator[CaseResult]:
    if protocol in MISSING_PROTOCOLS:
        yield CaseResult(entry.kind, Outcome.SKIPPED, MISSING_PROTOCOLS[protocol], entry.count)
        return
    if entry.kind != _LIST:
        kind = find_kind(entry.kind)
        reason = f"cases of the kind {entry.kind} are not known"
        unknown = CaseResult(entry.case.id, Outcome.SKIPPED, reason, entry.count)
        yield run_file_case(kind, entry.case) if kind else unknown
        return
    document = _read_json(entry.path)
    if isinstance(document, _Unreadable):
        yield CaseResult("the file", Outcome.FAILED, document.reason)
        return
    schema = find_schema(entry.schema, protocol) or recognise(document)
    if schema is None:
        yield CaseResult("the file", Outcome.SKIPPED, f"the schema {entry.schema} is not known", entry.count)
    else:
        yield from _run_cases(schema, document, expect=entry.expect)


def _run_cases(schema: Schema, document: object, *, expect: str = "per-case") -> Iterator[CaseResult]:
    cases = list(schema.list_cases(document))
    check = schema.check
    if not cases:
        yield CaseResult("the file", Outcome.FAILED, f"there are no cases of {schema.name} in it")
    elif check is None:
        yield CaseResult("the file", Outcome.SKIPPED, schema.missing, len(cases))
    elif expect in {"per-case", "accept", ""}:
        yield from (run_case(name, case, check) for name, case in cases)
    elif expect == "refuse":
        yield from (run_case(name, case, lambda case: check_refused(lambda: check(case))) for name, case in cases)
    else:
        yield CaseResult("the file", Outcome.SKIPPED, f"to {expect} these cases is not known", len(cases))


def _skipped(path: Path, reason: str, *, cases: int = 1) -> FileReport:
    return FileReport(str(path), (CaseResult("the file", Outcome.SKIPPED, reason, cases),), path.parent)


@final
class _Unreadable:
    """Why there is no document."""

    def __init__(self, reason: str, *, is_no_json: bool = False) -> None:
        self.reason = reason
        self.is_no_json = is_no_json


def _read_json(path: Path) -> object:
    """Return the document in a file, or an `_Unreadable`."""
    if not path.is_file():
        return _Unreadable("there is no such file")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_SIZE + 1)
    except OSError as exc:
        return _Unreadable(f"cannot be read: {exc.strerror}")
    if len(data) > MAX_FILE_SIZE:
        return _Unreadable(f"larger than {MAX_FILE_SIZE // 1024 // 1024} MiB")
    try:
        document: object = json.loads(data)
    except (ValueError, RecursionError) as exc:
        return _Unreadable(f"not JSON: {type(exc).__name__}", is_no_json=True)
    return document
