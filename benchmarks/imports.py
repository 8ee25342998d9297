"""What confsec costs before it does anything: importing it, downloading it, and the disk that it takes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.measure import Contender, Plan, measure, spread_of
from benchmarks.peers import Peers
from benchmarks.report import Goal, Report, Row, at_most

__all__ = ["run"]

ROOT: Final = Path(__file__).parent.parent
CACHE: Final = ROOT / ".cache" / "benchmarks"

IMPORT_GOAL: Final = at_most(0.15)
DOWNLOAD_GOAL: Final = at_most(10)

_IMPORTS: Final = (
    ("import confsec", "import confsec", IMPORT_GOAL),
    ("the client, ready to be used", "from confsec.client import Client", None),
    ("the command line", "import confsec.cli", None),
)
_PIP_SECONDS: Final = 600


def run(plan: Plan, peers: Peers) -> Report:
    """Import in fresh interpreters, and install into an environment of its own."""
    works = {what: _import(statement) for what, statement, _ in _IMPORTS}
    timings = measure(works, plan)
    rows = [_import_row(what, timings[what], goal) for what, _, goal in _IMPORTS]
    missing = {}
    if plan.install:
        try:
            rows += _install_rows(_install())
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as exc:
            missing["install size"] = f"pip could not install it: {exc}"
    else:
        missing["install size"] = "not asked for"
    return Report(name="import", title="before anything is done", rows=tuple(rows), missing=missing)


def _import(statement: str) -> Contender:
    """Return the seconds that a statement takes in an interpreter that has just started."""
    program = f"import time; begin = time.perf_counter(); {statement}; print(time.perf_counter() - begin)"

    def run(iterations: int) -> float:
        return sum(float(_output(sys.executable, "-c", program)) for _ in range(iterations))

    return run


def _import_row(what: str, seconds: Sequence[float], goal: Goal | None) -> Row:
    spread = spread_of(seconds)
    return Row(what=what, ours=spread.median, unit="s", low=spread.low, high=spread.high, result_unit="s", goal=goal)


def _install_rows(sizes: dict[str, float]) -> list[Row]:
    note = f"{sizes['packages']:.0f} packages, confsec included. A clone also downloads the build backend."
    return [
        Row(what="download of the core", ours=sizes["download"] / 1e6, unit="MB", goal=DOWNLOAD_GOAL, note=note),
        Row(what="the core installed, bytecode included", ours=sizes["installed"] / 2**20, unit="MiB"),
    ]


def _install() -> dict[str, float]:
    """Return the sizes of the core. They change with its dependencies only, so they are remembered."""
    state = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + sys.version.encode()).hexdigest()
    remembered = CACHE / f"install-{state[:16]}.json"
    if not remembered.exists():
        with tempfile.TemporaryDirectory() as folder:
            sizes = _install_into(Path(folder))
        remembered.parent.mkdir(parents=True, exist_ok=True)
        remembered.write_text(json.dumps(sizes), encoding="utf-8")
    return dict(json.loads(remembered.read_text(encoding="utf-8")))


def _install_into(folder: Path) -> dict[str, float]:
    """Download all wheels of the core and build its own, install them, and measure both."""
    wheels, installed = folder / "wheels", folder / "installed"
    venv.create(folder / "venv", with_pip=True)
    pip = (str(folder / "venv" / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check")
    _output(*pip, "wheel", "--wheel-dir", str(wheels), str(ROOT))
    _output(*pip, "install", "--no-index", "--find-links", str(wheels), "--target", str(installed), "confsec-protocol")
    files = list(wheels.iterdir())
    return {"download": _size(wheels), "installed": _size(installed), "packages": len(files)}


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _output(*command: str) -> str:
    finished = subprocess.run(command, check=True, capture_output=True, text=True, timeout=_PIP_SECONDS, cwd=ROOT)
    return finished.stdout
