"""What is installed: a small core, extras for the rest, and a wheel that has everything it needs and nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
CORE = {"anyio", "attrs", "cbor2", "click", "cryptography", "h11", "rich"}
"""The core is what a client needs. A new name here is a decision: everyone downloads it."""

COPYLEFT = {"gmpy2"}
"""Extras with a licence that asks more of those who ship it than ours does: nobody gets them unasked."""


PINNED = {"release"}
"""Extras that ask for one exact version, which others may need in another."""


def package(requirement: str) -> str:
    """Return the name of the package that a requirement asks for."""
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    uv_build = pytest.importorskip("uv_build", reason="the build backend uv_build is not installed")
    folder = tmp_path_factory.mktemp("wheel")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
        return zipfile.ZipFile(folder / uv_build.build_wheel(str(folder)))


def test_core_is_small() -> None:
    assert {package(requirement) for requirement in PROJECT["dependencies"]} == CORE


def test_all_has_every_extra_that_installs_from_wheels() -> None:
    [everything] = EXTRAS["all"]
    named = set(re.fullmatch(r"confsec-protocol\[(.+)\]", everything)[1].split(","))  # type: ignore[index]
    assert named == set(EXTRAS) - {"all", "test", "tpm", *COPYLEFT, *PINNED}


def test_core_and_extras_state_the_oldest_version_they_work_with() -> None:
    requirements = [
        *PROJECT["dependencies"],
        *(item for name, items in EXTRAS.items() for item in items if name != "all"),
    ]
    assert [requirement for requirement in requirements if not re.search(r"[>=]=\d", requirement)] == []


def test_build_backend_is_pinned_to_one_version_wherever_it_is_named() -> None:
    system = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]
    [pinned] = system["requires"]
    assert re.fullmatch(r"uv_build==[0-9.]+", pinned)
    named = {item for items in EXTRAS.values() for item in items if package(item) == "uv-build"}
    assert named == {pinned.replace("_", "-")}


def test_wheel_has_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    files = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "confsec").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "confsec/py.typed" in files
    assert files <= set(wheel.namelist())


def test_wheel_has_nothing_else_but_its_description(wheel: zipfile.ZipFile) -> None:
    folders = {name.split("/")[0] for name in wheel.namelist()}
    assert folders == {"confsec", f"confsec_protocol-{PROJECT['version']}.dist-info"}


def test_wheel_carries_the_licence_and_the_command(wheel: zipfile.ZipFile) -> None:
    info = f"confsec_protocol-{PROJECT['version']}.dist-info"
    assert wheel.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert b"confsec = confsec.cli:main" in wheel.read(f"{info}/entry_points.txt")


def test_wheel_asks_for_the_python_that_we_test(wheel: zipfile.ZipFile) -> None:
    metadata = wheel.read(f"confsec_protocol-{PROJECT['version']}.dist-info/METADATA").decode()
    assert "Requires-Python: >=3.11" in metadata


def test_make_says_what_to_install_when_python_is_missing(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    finished = subprocess.run(
        ["make", "test", "PYTHON=no-such-python"], check=False, cwd=tmp_path, capture_output=True, text=True
    )
    assert finished.returncode != 0
    assert "apt-get install" in finished.stderr
    assert "python3-venv" in finished.stderr


def test_make_demo_passes_the_prompt_on_as_it_was_typed(tmp_path: Path) -> None:
    commands = tmp_path / ".venv" / "bin"
    commands.mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (commands / "confsec").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (commands / "confsec").chmod(0o755)
    for stamp in (".made", ".demo"):
        (tmp_path / ".venv" / stamp).touch()
    prompt = """It's "$me" & `you` -- $(all)"""
    finished = subprocess.run(
        ["make", "demo", f"PROMPT={prompt}"], check=True, cwd=tmp_path, capture_output=True, text=True
    )
    assert finished.stdout == f"demo\n--prompt={prompt}\n"


def test_first_line_of_the_readme_says_what_debian_has_to_give() -> None:
    first = (ROOT / "README.md").read_text().splitlines()[0]
    assert "`apt-get install make python3-venv`" in first
