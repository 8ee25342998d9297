"""A small project in a git repository, to be built and tampered with."""

from __future__ import annotations

import io
import os
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

from confsec.release.build import Artifact, build
from confsec.release.source import find_commit, read_commit

PYPROJECT = """\
[build-system]
requires = ["uv_build==0.13.6"]
build-backend = "uv_build"

[project]
name = "small-thing"
version = "1.2.0"
description = "A small thing."
license = "Apache-2.0"
dependencies = ["attrs>=25.3", "Click>=8.2"]

[project.optional-dependencies]
fast = ["uvloop>=0.22; sys_platform != 'win32'", "click[extra]>=8"]
all = ["small-thing[fast]"]
test = ["pytest>=8"]

[tool.uv.build-backend]
module-root = ""
"""
FILES = {
    "pyproject.toml": PYPROJECT,
    ".gitignore": "*.log\n__pycache__/\n",
    "small_thing/__init__.py": '"""A small thing."""\n\nANSWER = 42\n',
    "small_thing/data.bin": "\x00\x01\x02",
    "small_thing/run.sh": "#!/bin/sh\necho 42\n",
    "small_thing/sub/__init__.py": "",
    "small_thing/sub/words.py": "ONE = 1\nTWO = 2\nTHREE = 3\n",
}
COMMITTED = 1_700_000_000
"""When the first commit was made, in seconds."""


def git(folder: Path, *words: str, stdin: bytes = b"", seconds: int = COMMITTED) -> str:
    """Run git as somebody without settings, at a time."""
    when = f"{seconds} +0000"
    person = {"NAME": "A", "EMAIL": "a@example.org", "DATE": when}
    env = {f"GIT_{role}_{name}": value for role in ("AUTHOR", "COMMITTER") for name, value in person.items()}
    env |= {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "PATH": os.environ["PATH"]}
    done = subprocess.run(["git", "-C", str(folder), *words], check=True, input=stdin, capture_output=True, env=env)
    return done.stdout.decode().strip()


def make_project(folder: Path, *, object_format: str = "sha1") -> Path:
    """Make the repository, with one commit that has the tag `v1.2.0`."""
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main", f"--object-format={object_format}")
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "small_thing/run.sh").chmod(0o755)
    commit(folder)
    git(folder, "tag", "v1.2.0")
    return folder


def commit(folder: Path, *, seconds: int = COMMITTED) -> str:
    """Commit everything, and return the commit's id."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=A step.", seconds=seconds)
    return git(folder, "rev-parse", "HEAD")


def change(folder: Path, name: str, old: str, new: str) -> str:
    """Replace text in a file, commit it, and return the commit's id."""
    path = folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return commit(folder)


def build_head(folder: Path) -> tuple[Artifact, Artifact]:
    """Build wheel and sdist of what is committed."""
    return build(read_commit(folder, find_commit(folder, "HEAD")))


def rezip(wheel: Artifact, step: Callable[[zipfile.ZipInfo, bytes], tuple[zipfile.ZipInfo, bytes] | None]) -> Artifact:
    """Write a wheel again, each member as `step` says; None leaves it out."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(wheel.data)) as old, zipfile.ZipFile(out, "w") as new:
        for info in old.infolist():
            if changed := step(info, old.read(info)):
                new.writestr(*changed)
    return Artifact(wheel.name, out.getvalue())
