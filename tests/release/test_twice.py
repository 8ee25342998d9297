"""What `make dist` gives does not depend on where, when and by whom it is called. CI tries more: see `twice.py`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from attrs import evolve

from tests.release import twice
from tests.support import require_or_skip


@pytest.fixture(autouse=True)
def clone() -> None:
    for tool in ("git", "make"):
        if shutil.which(tool) is None:
            require_or_skip(f"{tool} is not installed")
    if not (twice.ROOT / ".git").exists():
        require_or_skip("this is no clone of the repository")


def test_make_dist_twice_under_two_of_everything_gives_the_same_bytes() -> None:
    files = twice.twice(twice.TWO, Path(sys.executable).parent)
    assert {Path(name).suffix for name, *_ in files} == {".whl", ".gz", ".json"}
    assert [(name, one) for name, one, _ in files] == [(name, two) for name, _, two in files]


def test_a_difference_is_printed_and_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    digests = iter([{"a.whl": "1", "a.tar.gz": "2", "a.json": "3"}, {"a.whl": "1", "a.tar.gz": "4", "a.json": "3"}])
    monkeypatch.setattr(twice, "dist", lambda *_: next(digests))
    assert twice.main([str(Path(sys.executable).parent)]) == 1
    assert capsys.readouterr().out.count("the same") == 2


@pytest.mark.parametrize("second", [{"a.whl": "1"}, {}])
def test_files_that_are_missing_are_a_failure(second: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    digests = iter([{"a.whl": "1", "a.tar.gz": "2", "a.json": "3"}, second])
    monkeypatch.setattr(twice, "dist", lambda *_: next(digests))
    assert twice.main(["/nowhere"]) == 1


def test_surroundings_differ_in_everything() -> None:
    for other in (twice.TWO, twice.OTHER_USER):
        same = {name for name in ("folder", "umask", "locale", "zone", "stray", "touched") if
                getattr(other, name) == getattr(twice.ONE, name)}  # fmt: skip
        assert same == set()
    assert evolve(twice.OTHER_USER, user=None, faked_time="") == twice.TWO
