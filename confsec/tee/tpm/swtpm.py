"""A software TPM in a process of its own: for `confsec demo` and for tests. It protects nothing.

swtpm (Debian: swtpm, swtpm-tools) keeps its state in a folder. Whoever can read that folder, or this machine's memory,
has its keys. It listens on two ports of 127.0.0.1 and serves one connection at a time.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Final, final

import anyio
from anyio.abc import Process
from attrs import frozen

from confsec.errors import BackendError, ConfigError, DeadlineError
from confsec.protocol.cmw import CmwRecord
from confsec.protocol.machine import RandBytes
from confsec.tee.event_log import EventLog
from confsec.tee.simulated.tpm import SimulatedTpmMaker, simulated_registrar
from confsec.tee.tpm.device import TpmDevice
from confsec.tee.tpm.evidence import ENDORSEMENT_MEDIA_TYPES, TPM_AK_STATEMENT, TPM_EK_CERTIFICATE
from confsec.tee.tpm.keys import BANK, OWN_AK, AkSource
from confsec.tee.tpm.registrar import AkRegistration
from confsec.tee.tpm.simulated_boot import SimulatedBoot

__all__ = [
    "SWTPM_HINT",
    "Swtpm",
    "find_swtpm",
    "free_port_pair",
    "manufacture",
    "measure_boot",
    "register_swtpm",
    "start_swtpm",
]

SWTPM_HINT: Final = "apt-get install swtpm swtpm-tools"
"""What brings the programs."""

_TIMEOUT: Final = 10.0
_POLL: Final = 0.002
_ATTEMPTS: Final = 5


@final
@frozen
class Swtpm:
    """A software TPM that runs."""

    tcti: str
    """How `TpmDevice` reaches it."""

    pid: int
    """The id of its process."""

    folder: Path
    """Where its state is."""


def find_swtpm() -> tuple[str, str]:
    """Return the paths of swtpm and swtpm_setup. Raises `ConfigError` with the line that brings them."""
    found = shutil.which("swtpm"), shutil.which("swtpm_setup")
    if found[0] is None or found[1] is None:
        raise ConfigError("this needs swtpm, which is not installed", hint=f"Type: {SWTPM_HINT}")
    return found[0], found[1]


async def manufacture(folder: Path) -> None:
    """Make the state of a new TPM in `folder`, with a bank of SHA-256 and no certificates: a few tenths of a second.

    Raises `ConfigError` and `BackendError`.
    """
    _, setup = find_swtpm()
    path = await anyio.Path(folder).resolve()
    try:
        await path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise ConfigError("a folder for a TPM cannot be made", got=f"{folder}: {exc.strerror}") from exc
    command = [setup, "--tpm2", "--tpmstate", str(path), "--pcr-banks", "sha256", "--overwrite"]
    made = await anyio.run_process(command, check=False, stderr=subprocess.STDOUT)
    if made.returncode != 0:
        lines = made.stdout.decode(errors="replace").strip().splitlines()
        raise BackendError("swtpm_setup could not make a TPM", got=lines[-1] if lines else made.returncode)


@asynccontextmanager
async def start_swtpm(folder: Path) -> AsyncGenerator[Swtpm]:
    """Run a software TPM with the state in `folder`, which is made if there is none; end it in the end.

    It starts as after a power cycle: PCRs are zero. Raises `ConfigError`, `BackendError` and `DeadlineError`.
    """
    # swtpm goes to / as a daemon and takes a relative folder from there, so nothing here is relative.
    path = Path(await anyio.Path(folder).resolve())
    find_swtpm()
    if not await anyio.Path(path / "tpm2-00.permall").exists():
        await manufacture(path)
    process, port = await _start(path)
    try:
        yield Swtpm(f"swtpm:host=127.0.0.1,port={port}", process.pid, path)
    finally:
        await _stop(process)


async def measure_boot(device: TpmDevice, boot: SimulatedBoot | None = None) -> EventLog:
    """Extend all that a simulated boot measures into a TPM that has just been started, and return the log.

    Raises `BackendError`.
    """
    log = (boot or SimulatedBoot()).log()
    for event in log.events:
        if event.extends:
            await device.extend_pcr(event.register, event.digests[BANK])
    return log


async def register_swtpm(
    device: TpmDevice, *, now: datetime, randbytes: RandBytes, source: AkSource = OWN_AK
) -> dict[str, CmwRecord]:
    """Have the simulated maker certify a TPM, and the simulated registrar register its AK; return the endorsements.

    The TPM has to open the registrar's credential for that, as a real one has to. Raises `BackendError`.
    """
    maker = SimulatedTpmMaker()
    ek = (await device.endorsement_key()).public
    ak = await device.attestation_key(source)
    chain = maker.chain(maker.issue_ek_certificate(ek.public_key_info))
    registration = AkRegistration(simulated_registrar(), randbytes=randbytes)
    credential = registration.challenge(chain, ek.encode(), ak.encode(), now=now)
    answer = await device.activate_credential(credential.id_object, credential.encrypted_secret, source=source)
    [registered] = registration.receive_data(answer, now=now)
    values = {TPM_EK_CERTIFICATE: chain, TPM_AK_STATEMENT: registered.statement.encode()}
    return {label: CmwRecord(ENDORSEMENT_MEDIA_TYPES[label], value) for label, value in values.items()}


def free_port_pair() -> int:
    """Return a free port of 127.0.0.1 with a free one behind it, which is where swtpm's TCTI expects the control."""
    for _ in range(100):
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            with suppress(OSError, OverflowError):
                second.bind(("127.0.0.1", port + 1))
                return port
    raise BackendError("no two neighbouring ports are free on 127.0.0.1")


async def _start(folder: Path) -> tuple[Process, int]:
    """Start swtpm and wait until it listens. Another program may take its ports in between: then try others."""
    complaint = ""
    for _ in range(_ATTEMPTS):
        port = free_port_pair()
        ready = anyio.Path(folder / "pid")
        await ready.unlink(missing_ok=True)
        process = await anyio.open_process(_command(folder, port), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            if await _is_ready(process, ready):
                return process, port
        except BaseException:
            await _stop(process)
            raise
        complaint = await _complaint(process)
    raise BackendError("swtpm did not start", got=complaint)


def _command(folder: Path, port: int) -> list[str]:
    return [
        find_swtpm()[0],
        "socket",
        "--tpm2",
        *("--tpmstate", f"dir={folder}"),
        *("--server", f"type=tcp,port={port}"),
        *("--ctrl", f"type=tcp,port={port + 1}"),
        *("--flags", "not-need-init,startup-clear"),
        *("--pid", f"file={folder / 'pid'}"),
    ]


async def _is_ready(process: Process, ready: anyio.Path) -> bool:
    """Wait until swtpm has written its process id, which it does once both ports are its own; False if it ended."""
    with anyio.move_on_after(_TIMEOUT):
        while process.returncode is None:
            with suppress(FileNotFoundError):
                if (await ready.read_bytes()).strip():
                    return True
            await anyio.sleep(_POLL)
        return False
    raise DeadlineError("swtpm did not start in time", want=f"{_TIMEOUT:g} s")


async def _complaint(process: Process) -> str:
    assert process.stderr is not None  # noqa: S101 - anyio makes a pipe unless told otherwise
    said = bytearray()
    with suppress(anyio.EndOfStream):
        while len(said) < 4096:
            said += await process.stderr.receive()
    await _stop(process)
    return said.decode(errors="replace").strip() or f"exit status {process.returncode}"


async def _stop(process: Process) -> None:
    with anyio.CancelScope(shield=True):
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        with anyio.move_on_after(_TIMEOUT) as waiting:
            await process.wait()
        if waiting.cancelled_caught:
            process.kill()
            await process.wait()
        await process.aclose()
