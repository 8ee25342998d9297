"""A TPM for each test, and one that all tests' TPMs are copies of."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest

from confsec.tee.tpm.device import TpmDevice
from confsec.tee.tpm.swtpm import Swtpm, manufacture
from tests.tee.tpm_device.swtpm import needs_swtpm, running_tpm


@pytest.fixture(scope="session")
def tpm_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with the state of a TPM as its manufacturer leaves it."""
    needs_swtpm()
    folder = tmp_path_factory.mktemp("tpm")
    anyio.run(manufacture, folder)
    return folder


@pytest.fixture
async def tpm(tpm_template: Path, tmp_path: Path) -> AsyncGenerator[tuple[Swtpm, TpmDevice]]:
    """Start a TPM of the test's own."""
    async with running_tpm(tpm_template, tmp_path / "tpm") as running:
        yield running


@pytest.fixture
def device(tpm: tuple[Swtpm, TpmDevice]) -> TpmDevice:
    """Return the device of that TPM."""
    return tpm[1]
