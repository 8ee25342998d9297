"""Cases of tiles: the published logs pass, and whatever is changed in them is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from confsec.conformance.cases import CaseResult, Outcome
from confsec.conformance.kinds import CaseFile, FileCase, run_file_case
from confsec.conformance.tiles import KINDS


def cases(folder: Path) -> list[FileCase]:
    """Return the cases of tiles that a folder's manifest has."""
    listed: list[dict[str, Any]] = json.loads((folder / "cases.json").read_text())["cases"]
    return [
        FileCase(
            id=case["id"],
            kind=case["kind"],
            files={role: CaseFile(folder / path) for role, path in case["files"].items()},
            expect=case["expect"],
            params=case["params"],
        )
        for case in listed
        if case["kind"] == "tiles"
    ]


def run(case: FileCase) -> CaseResult:
    return run_file_case(KINDS[0], case)


def find(folder: Path, name: str) -> FileCase:
    return next(case for case in cases(folder) if case.id == name)


@pytest.fixture
def copied(shared_vectors: Path, tmp_path: Path) -> Path:
    """A copy of the logs, to be changed."""
    source = shared_vectors / "tlog"
    for file in source.rglob("*"):
        if file.is_file():
            target = tmp_path / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    return tmp_path


def test_published_logs_pass(shared_vectors: Path) -> None:
    listed = cases(shared_vectors / "tlog")
    assert {case.id for case in listed} == {"sunlight-tiles", *(f"tessera-{size}" for size in range(16))}
    assert {case.id: run(case).outcome for case in listed} == {case.id: Outcome.PASSED for case in listed}


@pytest.mark.parametrize("role", ["checkpoint", "tile0", "entries"])
def test_a_bit_that_was_changed_is_told(copied: Path, role: str) -> None:
    case = find(copied, "tessera-11")
    path = case.file(role).path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert run(case).outcome is Outcome.FAILED


@pytest.mark.parametrize("role", ["tile0", "entries", "checkpoint"])
def test_a_file_of_another_tree_is_told(copied: Path, role: str) -> None:
    case, other = find(copied, "tessera-11"), find(copied, "tessera-12")
    case.file(role).path.write_bytes(other.file(role).path.read_bytes())
    assert run(case).outcome is Outcome.FAILED


def test_tiles_of_the_wrong_name_are_told(copied: Path) -> None:
    sunlight = evolve(find(copied, "sunlight-tiles"), params={"tree_size": 301})
    assert run(sunlight).outcome is Outcome.FAILED
    case = find(copied, "tessera-11")
    shutil.copyfile(case.file("tile0").path, copied / "moved")
    moved = evolve(case, files={**case.files, "tile0": CaseFile(copied / "moved")})
    assert "folder of tiles" in run(moved).reason
