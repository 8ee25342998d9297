"""litellm, LangChain and openai 2 in an environment of their own, against a service that runs as processes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.client.installed import environment
from tests.support import ROOT

PROGRAM = Path(__file__).parent / "litellm_program.py"
WAYS = ("litellm", "litellm async", "langchain", "langchain async")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_litellm_and_langchain_answer_and_name_nobody(running_service: Path) -> None:
    python = environment("litellm", "httpx>=0.28", "langchain-openai>=1.7", "litellm>=1.100")
    # The table of prices is fetched from the network at import unless one says so.
    env = {**os.environ, "PYTHONPATH": str(ROOT), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    finished = subprocess.run(
        [str(python), str(PROGRAM), str(running_service)],
        check=False,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stderr
    said = json.loads(finished.stdout)
    for way in WAYS:
        whole, streamed = said[way]
        assert whole.split()
        assert streamed.split()
    told = said["told"].lower()
    assert "hello?" in told
    assert [
        word for word in ("sk-secret", "stainless", "openai/python", "litellm", "authorization") if word in told
    ] == []
