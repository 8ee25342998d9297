"""What tests of releases share."""

from __future__ import annotations

from pathlib import Path

import pytest

from confsec.release.build import Artifact
from tests.release.projects import build_head, make_project


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository of one's own, that a test may change."""
    return make_project(tmp_path / "project")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, Artifact]:
    """Wheel and sdist of the project as it is made."""
    return build_head(make_project(tmp_path_factory.mktemp("release") / "project"))
