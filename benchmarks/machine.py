"""What was measured on: without it, the numbers mean nothing."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from cryptography.hazmat.backends.openssl import backend

__all__ = ["describe_machine"]

_PACKAGES: Final = ("anyio", "attrs", "cryptography", "h11", "httptools", "uvicorn", "uvloop")


def describe_machine() -> dict[str, str]:
    """Return the machine and the versions of all that the numbers depend on."""
    return {
        "cpu": _cpu_model(),
        "cores": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f} at the start",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "openssl": backend.openssl_version_text(),
        "packages": ", ".join(f"{name} {version(name)}" for name in _PACKAGES),
        "confsec": version("confsec-protocol"),
        "date": datetime.now(UTC).date().isoformat(),
        "command": " ".join(["python -m benchmarks", *sys.argv[1:]]),
    }


def _cpu_model() -> str:
    """Return the model as the kernel names it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
