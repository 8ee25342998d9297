"""What the nodes of the demo attest with: a software TPM for each where swtpm and tpm2-pytss are here, else simulated.

Neither proves anything about hardware, and the policy that accepts them says so in its name. But swtpm is a real TPM to
talk to: its keys are made, certified and used by the same commands as those of a chip.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import anyio
from attrs import frozen

from confsec.backends import system
from confsec.errors import ConfigError
from confsec.protocol.cmw import CmwRecord, Endorsements
from confsec.tee.tpm.simulated_boot import SimulatedBoot

__all__ = ["DEMO_TEES", "SoftwareTpmNode", "boot_tpm", "choose_demo_tee", "node_options"]

DEMO_TEES: Final = ("auto", "tpm", "simulated")
"""What can be asked for."""

_LINES: Final = (
    "For a software TPM under each node:  apt-get install swtpm swtpm-tools libtss2-dev pkg-config gcc\n"
    "                                     pip install 'confsec-protocol[tpm]'"
)


def choose_demo_tee(tee: str) -> tuple[str, str]:
    """Return `tpm` or `simulated`, and what to tell the user. Raises `ConfigError` for a TPM that cannot be started."""
    from confsec.tee.tpm.swtpm import find_swtpm

    if tee == "simulated":
        return tee, "the nodes' TEEs are simulated"
    try:
        find_swtpm()
        if find_spec("tpm2_pytss") is None:
            raise ConfigError("this needs tpm2-pytss, which is not installed", hint=_LINES)
    except ConfigError as exc:
        if tee == "tpm":
            raise
        return "simulated", f"the nodes' TEEs are simulated: {exc.what}\n{_LINES}"
    return "tpm", "each node attests with a software TPM of its own (swtpm)"


@frozen
class SoftwareTpmNode:
    """A software TPM that has booted something, and what goes along with its evidence."""

    tcti: str
    """How it is reached."""

    log: Path
    """Its event log."""

    endorsements: dict[str, CmwRecord]
    """The certificate of its endorsement key, and what the registrar says of its attestation key."""


async def boot_tpm(stack: AsyncExitStack, folder: Path, boot: SimulatedBoot | None = None) -> SoftwareTpmNode:
    """Start a software TPM in `folder`, measure a boot into it, and have its keys certified; `stack` ends it.

    Raises `ConfigError`, `BackendError` and `DeadlineError`.
    """
    from confsec.tee.tpm.device import TpmDevice
    from confsec.tee.tpm.swtpm import measure_boot, register_swtpm, start_swtpm

    running = await stack.enter_async_context(start_swtpm(folder))
    device = TpmDevice(running.tcti)
    try:
        log = await measure_boot(device, boot)
        endorsements = await register_swtpm(device, now=system.now(), randbytes=system.randbytes)
    finally:
        await device.aclose()  # swtpm serves one connection at a time, and the next one is the node's
    file = anyio.Path(folder / "event-log")
    await file.write_bytes(log.encode())
    return SoftwareTpmNode(running.tcti, Path(file), endorsements)


async def node_options(stack: AsyncExitStack, folder: Path, tee: str, names: Sequence[str]) -> list[list[str]]:
    """Return the options of each node that say with what it attests. Software TPMs are started side by side."""
    if tee != "tpm":
        return [["--tee", tee] for _ in names]
    options: dict[str, list[str]] = {}

    async def boot(name: str) -> None:
        tpm = await boot_tpm(stack, folder / f"{name}-tpm")
        file = anyio.Path(folder / f"{name}-endorsements.cbor")
        await file.write_bytes(Endorsements.of(tpm.endorsements).encoded)
        reached = ["--tee", "tpm", "--tpm-tcti", tpm.tcti]
        options[name] = [*reached, "--event-logs", str(tpm.log), "--endorsements", str(file)]

    async with anyio.create_task_group() as tasks:
        for name in names:
            tasks.start_soon(boot, name)
    return [options[name] for name in names]
