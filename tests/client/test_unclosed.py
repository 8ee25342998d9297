"""A program that closes nothing ends all the same: most programs close nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SYNC_CLIENT = """
import confsec

client = confsec.SyncClient("missing.toml")
try:
    client.request("GET", "/v1/models")
except confsec.ConfigError as exc:
    print(exc.code)
"""

OPENAI = """
import confsec
from confsec.openai import OpenAI

client = OpenAI(service="missing.toml")
try:
    client.models.list()
except confsec.ConfigError as exc:
    print(exc.code)
"""


@pytest.mark.parametrize("program", [SYNC_CLIENT, OPENAI], ids=["SyncClient", "OpenAI"])
def test_program_that_closes_nothing_ends(program: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", program]
    finished = subprocess.run(command, check=True, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert finished.stdout == "config\n"
    assert finished.stderr == ""
