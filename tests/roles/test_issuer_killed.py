"""An issuer that is killed anywhere charges each request once, and the client gets what it paid for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.roles.issuer_killed import TOKENS
from tests.support import ROOT


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_killed_at_every_point_an_issuer_charges_each_request_once(backend: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.roles.issuer_killed", backend, str(tmp_path)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    lines = [line.split() for line in finished.stdout.splitlines()]
    fates = [fate for _, fate, _, _ in lines]
    assert fates == ["killed"] * (len(lines) - 1) + ["lived"]
    # It died before the charge, and after it; in the end each request was charged once, as was that of who lived.
    assert {int(between) for _, fate, between, _ in lines if fate == "killed"} == {0, TOKENS}
    assert {int(end) for *_, end in lines} == {TOKENS}
