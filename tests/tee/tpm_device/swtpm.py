"""Software TPMs for tests: manufactured once, copied for each test, started as after a power cycle."""

from __future__ import annotations

import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from confsec.errors import ConfigError
from confsec.tee.tpm.device import TpmDevice
from confsec.tee.tpm.swtpm import SWTPM_HINT, Swtpm, find_swtpm, start_swtpm
from tests.support import needs_packages, require_or_skip

__all__ = ["needs_swtpm", "running_tpm"]


def needs_swtpm() -> None:
    """Skip the test where swtpm or tpm2-pytss is not installed."""
    needs_packages("tpm2_pytss")
    try:
        find_swtpm()
    except ConfigError:
        require_or_skip(f"swtpm is not installed ({SWTPM_HINT})")


@asynccontextmanager
async def running_tpm(template: Path, folder: Path) -> AsyncGenerator[tuple[Swtpm, TpmDevice]]:
    """Start a copy of a manufactured TPM, and the device that reaches it."""
    if not folder.exists():
        shutil.copytree(template, folder)
    async with start_swtpm(folder) as swtpm, TpmDevice(swtpm.tcti) as device:
        yield swtpm, device
