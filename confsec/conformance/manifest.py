"""The `cases.json` of a folder of vectors: what belongs together, what to run, and what has to come of it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self, final

from attrs import frozen

from confsec.conformance.kinds import CaseFile, FileCase

__all__ = ["MANIFEST_NAME", "Entry", "Manifest"]

MANIFEST_NAME: Final = "cases.json"
"""What the file is called."""

_FIRST_ROLE: Final = "vectors"


@final
@frozen
class Entry:
    """One case of a manifest, or one list of cases."""

    path: Path
    """The file that it is about: the one of the role "vectors", or else the first."""

    kind: str
    """What to run."""

    schema: str
    """The form of the list; empty for what is no list."""

    expect: str
    """accept, refuse, parse, or per-case for a list."""

    count: int
    """How many cases there are, by the manifest. 1 for what is no list."""

    case: FileCase
    """What the manifest says of it, for what is no list."""


@final
@frozen
class Manifest:
    """What a folder says of itself."""

    protocol: str

    entries: tuple[Entry, ...]

    files: frozenset[Path]
    """All files that have a role in an entry."""

    unused: tuple[tuple[str, str], ...]
    """Files that no case uses, as names or patterns below the folder, and why."""

    @classmethod
    def from_json(cls, document: object, folder: Path) -> Self | None:
        """Read a manifest. Returns None for a document that is none: a vector file may have the same name."""
        if not isinstance(document, Mapping) or not isinstance(document.get("protocol"), str):
            return None
        cases = document.get("cases")
        if not isinstance(cases, list) or not all(_is_entry(case) for case in cases):
            return None
        return cls(
            protocol=document["protocol"],
            entries=tuple(_entry(case, folder) for case in cases),
            files=frozenset(_path(folder, name) for case in cases for name in _names(case)),
            unused=tuple(_unused(document.get("unused"))),
        )


def _is_entry(case: object) -> bool:
    return isinstance(case, Mapping) and isinstance(case.get("kind"), str) and any(_names(case))


def _names(case: Mapping[str, Any]) -> Iterator[str]:
    """Yield the files of a case, the most important one first."""
    roles = _roles(case)
    names = [roles[role] for role in sorted(roles, key=lambda role: role != _FIRST_ROLE)]
    for name in names:
        yield from (name if isinstance(name, list) else [name])


def _roles(case: Mapping[str, Any]) -> Mapping[str, Any]:
    files = case.get("files")
    return files if isinstance(files, Mapping) else {}


def _entry(case: Mapping[str, Any], folder: Path) -> Entry:
    count = case.get("count")
    return Entry(
        path=_path(folder, next(_names(case))),
        kind=case["kind"],
        schema=str(case.get("schema", "")),
        expect=str(case.get("expect", "")),
        count=count if isinstance(count, int) and count > 0 else 1,
        case=_file_case(case, folder),
    )


def _file_case(case: Mapping[str, Any], folder: Path) -> FileCase:
    params = case.get("params")
    return FileCase(
        id=str(case.get("id", case["kind"])),
        kind=case["kind"],
        files={role: _case_file(folder, name) for role, name in _roles(case).items() if isinstance(name, str)},
        expect=str(case.get("expect", "")),
        stated_at=case.get("at"),
        params=params if isinstance(params, Mapping) else {},
    )


def _case_file(folder: Path, name: str) -> CaseFile:
    return CaseFile(_path(folder, name), name.partition("#")[2])


def _unused(listed: object) -> Iterator[tuple[str, str]]:
    for unused in listed if isinstance(listed, list) else ():
        if isinstance(unused, Mapping) and isinstance(unused.get("file"), str):
            yield unused["file"], str(unused.get("why", ""))


def _path(folder: Path, name: object) -> Path:
    """Return the path of a file: what follows "#" points into it."""
    return Path(os.path.normpath(folder / str(name).partition("#")[0]))
