"""Where everything is required, a skip is a failure: the rule that `.ci/run` relies on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support import ROOT

SKIPS = """
import pytest
from tests.support import require_or_skip

def test_by_helper():
    require_or_skip("no ladder here")

@pytest.mark.skipif(True, reason="no rope here")
def test_by_mark():
    pass

@pytest.mark.xfail(reason="known")
def test_known_failure():
    raise ValueError
"""


def run(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(ROOT / "tests" / "conftest.py", folder / "conftest.py")
    (folder / "test_skips.py").write_text(SKIPS)
    (folder / "test_module.py").write_text("import pytest\npytest.importorskip('no_such_module')\n")
    clean = {name: value for name, value in os.environ.items() if name != "CONFSEC_REQUIRE"}
    command = [sys.executable, "-m", "pytest", "-ra", "-q", "-p", "no:cacheprovider", f"--rootdir={folder}"]
    return subprocess.run(
        [*command, "--continue-on-collection-errors", str(folder)],
        cwd=ROOT,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_a_plain_run_skips_and_says_why(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout
    assert "3 skipped, 1 xfailed" in done.stdout
    assert "no ladder here" in done.stdout
    assert "no rope here" in done.stdout


def test_a_run_that_requires_everything_fails_and_says_why(tmp_path: Path) -> None:
    done = run(tmp_path, CONFSEC_REQUIRE="all")
    assert done.returncode != 0
    assert "1 failed, 1 xfailed, 2 errors" in done.stdout
    for reason in ("no ladder here", "no rope here", "no_such_module"):
        assert reason in done.stdout
