"""What tests need and cannot get from `confsec.testing`: where things are, and when a test may be skipped."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
"""The repository."""

SHARED_VECTORS = ROOT.parent / "shared" / "vectors"
"""Vectors that others published. They are not in the repository."""

OWN_VECTORS = Path(__file__).parent / "vectors"
"""Vectors of RFCs and drafts, and of our own specifications."""


def everything_is_required() -> bool:
    """Say whether a skipped test is a failure, as in CI, which installs all that the tests need."""
    return os.environ.get("CONFSEC_REQUIRE") == "all"


def require_or_skip(reason: str) -> None:
    """Skip the test because something is not here; fail where everything is required.

    The hook in `conftest.py` treats any other skip in the same way: this one merely says it early.
    """
    if everything_is_required():
        pytest.fail(f"CONFSEC_REQUIRE=all, and {reason}", pytrace=False)
    pytest.skip(reason)


def needs_packages(*packages: str) -> None:
    """Skip the test when a package that an extra brings is not installed."""
    for package in packages:
        if find_spec(package) is None:
            require_or_skip(f"the package {package} is not installed")


def load_vectors(path: Path) -> Any:
    """Return the JSON in `path`, or skip the test when it is not there."""
    if not path.exists():
        require_or_skip(f"{path} is not there")
    return json.loads(path.read_text(encoding="utf-8"))
