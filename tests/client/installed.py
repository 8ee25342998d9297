"""Packages that our own environment does not have: installed once, each in a folder of its own under `.cache`."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from tests.support import ROOT, require_or_skip

CACHE = ROOT / ".cache"
_TIMEOUT = 500


def environment(name: str, *requirements: str) -> Path:
    """Return the Python of an environment with confsec's own dependencies and `requirements`. Skips without network."""
    folder = CACHE / "venvs" / name
    python = folder / "bin" / "python"
    core: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    wanted = [*core, *requirements]
    if not _is_done(folder, wanted):
        uv = shutil.which("uv")
        if uv:
            _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
            _run([uv, "pip", "install", "--quiet", "--python", str(python), *wanted])
        else:
            _run([sys.executable, "-m", "venv", "--clear", str(folder)])
            pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
            _run([*pip, *wanted])
        _set_done(folder, wanted)
    return python


def node_modules(name: str, *packages: str) -> Path:
    """Return a folder in which Node finds `packages`. Skips where there is no npm or no network."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        require_or_skip("Node and npm are not installed")
        raise AssertionError
    folder = CACHE / "npm" / name
    folder.mkdir(parents=True, exist_ok=True)
    if not _is_done(folder, packages):
        _run([npm, "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder), *packages])
        _set_done(folder, packages)
    return folder


def _is_done(folder: Path, wanted: Sequence[str]) -> bool:
    stamp = folder / "installed"
    return stamp.exists() and stamp.read_text() == _fingerprint(wanted)


def _set_done(folder: Path, wanted: Sequence[str]) -> None:
    (folder / "installed").write_text(_fingerprint(wanted))


def _fingerprint(wanted: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(wanted).encode()).hexdigest()


def _run(command: list[str]) -> None:
    finished = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_TIMEOUT)
    if finished.returncode != 0:
        lines = (finished.stderr or finished.stdout).strip().splitlines() or ["it said nothing"]
        require_or_skip(f"{Path(command[0]).name} could not install what the test needs: {lines[-1]}")
