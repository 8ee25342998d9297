"""Wheel and sdist of a commit: the same wherever they are built, by the one backend that the commit names."""

from __future__ import annotations

import importlib.metadata
import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from confsec.errors import BackendError, ConfigError, MissingExtraError
from confsec.release import build as module
from confsec.release.build import Artifact, toolchain
from tests.release.projects import build_head, change, commit, make_project

BUILD = """
import json, sys
from pathlib import Path
from tests.release.projects import build_head
print(json.dumps({each.name: each.digest.hex() for each in build_head(Path(sys.argv[1]))}))
"""


def test_wheel_and_sdist_have_what_is_committed_and_no_time_or_owner(built: tuple[Artifact, Artifact]) -> None:
    wheel, sdist = built
    assert (wheel.name, sdist.name) == ("small_thing-1.2.0-py3-none-any.whl", "small_thing-1.2.0.tar.gz")
    with zipfile.ZipFile(io.BytesIO(wheel.data)) as archive:
        assert archive.read("small_thing/sub/words.py") == b"ONE = 1\nTWO = 2\nTHREE = 3\n"
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    with tarfile.open(fileobj=io.BytesIO(sdist.data)) as archive:
        assert {(info.mtime, info.uid, info.gid, info.uname) for info in archive} == {(0, 0, 0, "")}


def test_folder_umask_zone_locale_and_settings_of_the_builder_change_nothing(tmp_path: Path) -> None:
    printed = set()
    settings: list[tuple[int, dict[str, str]]] = [
        (0o022, {"TZ": "UTC", "LC_ALL": "C", "SOURCE_DATE_EPOCH": "1"}),
        (0o077, {"TZ": "Asia/Kathmandu", "LC_ALL": "tr_TR.UTF-8", "UV_CONFIG_FILE": "/nowhere", "PYTHONHASHSEED": "7"}),
    ]
    for umask, environment in settings:
        project = make_project(tmp_path / f"under {umask:o}")
        (project / "small_thing" / "__pycache__").mkdir()
        (project / "small_thing" / f"{umask}.log").write_text("a note of mine")
        done = subprocess.run(
            [sys.executable, "-c", BUILD, str(project)],
            check=True, capture_output=True, umask=umask, env={**environment, "PATH": "/usr/bin:/bin"},
            cwd=Path(__file__).parents[2],
        )  # fmt: skip
        printed.add(done.stdout)
    assert len(printed) == 1


def test_changed_line_changes_wheel_and_sdist(project: Path, built: tuple[Artifact, Artifact]) -> None:
    assert build_head(project) == built
    change(project, "small_thing/__init__.py", "42", "43")
    assert all(old.digest != new.digest for old, new in zip(built, build_head(project), strict=True))


def test_another_time_of_the_commit_changes_neither(project: Path, built: tuple[Artifact, Artifact]) -> None:
    (project / "README").write_text("not in the package")
    commit(project, seconds=1_800_000_000)
    assert build_head(project) == built


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("uv_build==0.13.6", "uv_build>=0.13", "not pinned exactly"),
        ('["uv_build==0.13.6"]', '["uv_build==0.13.6", "other"]', "does not say what builds it"),
        ('build-backend = "uv_build"', 'build-backend = "other"', "backend is another"),
        ('build-backend = "uv_build"', 'build-backend = "uv_build"\nbackend-path = ["."]', "backend is another"),
        ('build-backend = "uv_build"', "", "does not say what builds it"),
        ("[project]", "[project", "does not say what builds it"),
        ("uv_build==0.13.6", "uv_build==0.0.1", "another version of uv_build.* got 0.13.6, want 0.0.1.*pip install"),
    ],
)
def test_backend_that_is_not_pinned_or_not_here_is_refused(old: str, new: str, match: str, project: Path) -> None:
    change(project, "pyproject.toml", old, new)
    with pytest.raises(ConfigError, match=match):
        build_head(project)


def test_missing_backend_names_the_extra(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(module, "distribution", missing)
    with pytest.raises(MissingExtraError, match=r"confsec-protocol\[release\]"):
        build_head(project)


def test_backend_without_its_program_is_an_error_of_the_installation(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hollow:
        version = "0.13.6"
        files = None

    monkeypatch.setattr(module, "distribution", lambda _: Hollow())
    with pytest.raises(BackendError, match="Install it anew"):
        build_head(project)


def test_project_that_the_backend_refuses_says_why(project: Path) -> None:
    change(project, "pyproject.toml", 'name = "small-thing"', 'name = "other-thing"')
    with pytest.raises(BackendError, match=r"could not build.*got .+"):
        build_head(project)


def test_backend_that_cannot_be_started_or_does_not_end_is_an_error(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_program", lambda _: Path("/nowhere/uv-build"))
    with pytest.raises(BackendError, match="cannot be run"):
        build_head(project)


def test_toolchain_names_every_version_that_was_asked_for() -> None:
    tools = toolchain("attrs")
    assert tools["uv_build"] == "0.13.6"
    assert tools["attrs"] == importlib.metadata.version("attrs")
    assert set(tools) == {"uv_build", "attrs", "python", "machine"}
