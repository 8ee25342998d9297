"""A device of SoftHSM's in a folder of the test's own."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.support import needs_packages, require_or_skip

LIBRARIES = (
    Path("/usr/lib/softhsm/libsofthsm2.so"),
    Path("/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"),
    Path("/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so"),
    Path("/usr/lib64/pkcs11/libsofthsm2.so"),
)
LABEL = "confsec test"
PIN = "a pin that nobody sees"


def make_device(folder: Path) -> str:
    """Initialise a device in `folder`; return the path of the library. Skips the test where SoftHSM is missing.

    One for each process: the library reads its settings once.
    """
    needs_packages("pkcs11")
    library = next((path for path in LIBRARIES if path.exists()), None)
    tool = shutil.which("softhsm2-util")
    if library is None or tool is None:
        require_or_skip("SoftHSM is not installed (Debian: softhsm2)")
    settings = folder / "softhsm2.conf"
    (folder / "tokens").mkdir()
    settings.write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(settings)
    command = [str(tool), "--init-token", "--free", "--label", LABEL, "--pin", PIN, "--so-pin", "of the owner"]
    subprocess.run(command, check=True, capture_output=True)
    return str(library)
