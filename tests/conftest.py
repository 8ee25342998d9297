"""Fixtures for all tests, and the rule that nothing may be skipped where everything is required."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import settings

from tests.support import SHARED_VECTORS, everything_is_required, require_or_skip

_R = TypeVar("_R", pytest.TestReport, pytest.CollectReport)

# A shell that starts a job in the background has it ignore Ctrl-C, and so would every process that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# So wide the terminal is that shows the tests. What they start has a terminal of its own, or none.
os.environ.pop("COLUMNS", None)

# Deterministic: a failure is found again, and a run that passed passes again. `ci` looks further.
settings.register_profile("quick", max_examples=50, derandomize=True, deadline=None, database=None)
settings.register_profile("ci", parent=settings.get_profile("quick"), max_examples=300)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if everything_is_required() else "quick"))


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
        pytest.param(("trio", {}), id="trio"),
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Run what is async on both event loops: asyncio's plain one, and trio's."""
    backend: tuple[str, dict[str, bool]] = request.param
    return backend


@pytest.fixture(scope="session")
def shared_vectors() -> Path:
    """Return the folder with the vectors that others published."""
    if not SHARED_VECTORS.is_dir():
        require_or_skip(f"the folder {SHARED_VECTORS} is not there")
    return SHARED_VECTORS


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    return _without_skip(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    return _without_skip(report)


def _without_skip(report: _R) -> _R:
    """Turn a skip into a failure that prints its reason, where everything is required."""
    if report.outcome == "skipped" and not hasattr(report, "wasxfail") and everything_is_required():
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"CONFSEC_REQUIRE=all turns this skip into a failure. {reason}"
    return report
