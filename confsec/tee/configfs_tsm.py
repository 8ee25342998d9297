"""Have the kernel of a guest get a report: configfs-tsm, the same for SEV-SNP and TDX (Linux 6.7 and later).

::

    mkdir /sys/kernel/config/tsm/report/NAME
        write inblob, and if wanted privlevel, service_provider, service_guid, service_manifest_version
        read outblob, auxblob, manifestblob, provider
    rmdir

`generation` counts the writes: if there were others than ours, the blobs may belong to somebody else's question, and we
ask again (Documentation/ABI/testing/configfs-tsm-report). All of it is blocking, and done in a thread.
"""

from __future__ import annotations

import errno
import itertools
import os
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol, final
from uuid import UUID

import anyio.to_thread
from attrs import field, frozen

from confsec.errors import BackendError, LocalProtocolError

__all__ = [
    "REPORT_DATA_SIZE",
    "SEV_GUEST",
    "TDX_GUEST",
    "TSM_REPORTS",
    "VTPM_SERVICE",
    "ConfigfsTsm",
    "KernelFiles",
    "TsmFiles",
    "TsmReport",
    "TsmService",
]

TSM_REPORTS: Final = Path("/sys/kernel/config/tsm/report")
"""Where the kernel offers reports, if configfs is mounted and a driver of a TEE is there."""

SEV_GUEST: Final = "sev_guest"
"""The provider of SEV-SNP."""

TDX_GUEST: Final = "tdx_guest"
"""The provider of TDX."""

REPORT_DATA_SIZE: Final = 64
"""What both TEEs have signed."""

_MAX_BLOB: Final = 1 << 20
_ATTEMPTS: Final = 3
_MAX_TEXT: Final = 64
_counter = itertools.count()


@frozen(kw_only=True)
class TsmService:
    """A service beneath the guest that shall vouch for itself in the report (Linux 6.10)."""

    provider: str
    """`svsm`."""

    guid: UUID | None = None
    """One service alone; None for the services manifest with all of them."""

    manifest_version: int = 0
    """The form of the manifest of one service."""


VTPM_SERVICE: Final = TsmService(provider="svsm")
"""The SVSM with all its services, among them the vTPM: the manifest that `confsec.tee.svsm` reads."""


@frozen(kw_only=True)
class TsmReport:
    """What the kernel gave."""

    provider: str
    """`SEV_GUEST` or `TDX_GUEST`."""

    report: bytes = field(repr=False)
    """`outblob`: a report of SEV-SNP, or a quote of TDX."""

    auxiliary: bytes = field(repr=False)
    """`auxblob`: the certificates that the host gave, or nothing."""

    manifest: bytes = field(repr=False)
    """`manifestblob`: what the service says of itself, or nothing."""


class TsmFiles(Protocol):
    """What is done with the kernel's files. All of it may block, and raises `OSError`."""

    def make(self, directory: Path) -> None:
        """Make a directory, in which the kernel puts its files."""
        ...

    def write(self, path: Path, data: bytes) -> None:
        """Write a file at once, without making it."""
        ...

    def read(self, path: Path) -> bytes:
        """Read a file, at most a mebibyte and a byte of it."""
        ...

    def remove(self, directory: Path) -> None:
        """Remove the directory."""
        ...


@final
class KernelFiles:
    """The kernel's own files."""

    def make(self, directory: Path) -> None:
        """Make a directory."""
        directory.mkdir()

    def write(self, path: Path, data: bytes) -> None:
        """Write a file at once, without making it."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            if os.write(descriptor, data) != len(data):
                raise OSError(errno.EIO, "a short write", str(path))
        finally:
            os.close(descriptor)

    def read(self, path: Path) -> bytes:
        """Read a file, at most a mebibyte and a byte of it."""
        with path.open("rb") as file:
            return file.read(_MAX_BLOB + 1)

    def remove(self, directory: Path) -> None:
        """Remove the directory."""
        directory.rmdir()


@final
class ConfigfsTsm:
    """Gets reports from the kernel."""

    def __init__(self, root: Path = TSM_REPORTS, *, files: TsmFiles | None = None) -> None:
        """Take the directory of reports, and who touches files in it. Looks at nothing yet."""
        self._root = root
        self._files: TsmFiles = files or KernelFiles()

    async def report(
        self, data: bytes, *, privlevel: int | None = None, service: TsmService | None = None
    ) -> TsmReport:
        """Have 64 bytes of data signed, at a privilege level of SEV-SNP if one is given, and with a service.

        Raises `LocalProtocolError` for another size, and `BackendError` if the kernel cannot or others interfere.
        """
        if len(data) != REPORT_DATA_SIZE:
            raise LocalProtocolError("report data has another size", got=len(data), want=REPORT_DATA_SIZE)
        options = {"inblob": data, **_options(privlevel, service)}
        return await anyio.to_thread.run_sync(self._ask, options)

    async def provider(self) -> str:
        """Return which TEE answers, without asking it anything. Raises `BackendError` if none does."""
        return await anyio.to_thread.run_sync(self._provider)

    def _ask(self, options: dict[str, bytes]) -> TsmReport:
        for _ in range(_ATTEMPTS):
            directory = self._make()
            try:
                found = self._ask_in(directory, options)
            except OSError as exc:
                raise _backend_error(exc) from exc
            finally:
                with suppress(OSError):
                    self._files.remove(directory)
            if found is not None:
                return found
        raise BackendError("somebody else keeps writing to our request for a report", got=f"{_ATTEMPTS} attempts")

    def _ask_in(self, directory: Path, options: dict[str, bytes]) -> TsmReport | None:
        """Ask once. Return None if there were other writes than ours."""
        before = self._generation(directory)
        for name, value in options.items():
            self._files.write(directory / name, value)
        found = TsmReport(
            provider=self._read_text(directory / "provider"),
            report=self._read(directory / "outblob"),
            auxiliary=self._read_if_there(directory / "auxblob"),
            manifest=self._read_if_there(directory / "manifestblob") if "service_provider" in options else b"",
        )
        return found if self._generation(directory) == before + len(options) else None

    def _provider(self) -> str:
        directory = self._make()
        try:
            return self._read_text(directory / "provider")
        except OSError as exc:
            raise _backend_error(exc) from exc
        finally:
            with suppress(OSError):
                self._files.remove(directory)

    def _make(self) -> Path:
        directory = self._root / f"confsec-{os.getpid()}-{next(_counter)}"
        try:
            self._files.make(directory)
        except OSError as exc:
            raise BackendError(
                f"the kernel offers no reports at {self._root}: {exc.strerror}",
                hint="It needs Linux 6.7, configfs, root, and sev-guest or tdx_guest",
            ) from exc
        return directory

    def _generation(self, directory: Path) -> int:
        text = self._read_text(directory / "generation")
        if not (text.isascii() and text.isdigit()):
            raise BackendError("the kernel's generation is no number", section="configfs-tsm-report")
        return int(text)

    def _read_text(self, path: Path) -> str:
        return self._files.read(path)[:_MAX_TEXT].decode("ascii", "replace").strip()

    def _read(self, path: Path) -> bytes:
        data = self._files.read(path)
        if len(data) > _MAX_BLOB:
            raise BackendError(f"the kernel's {path.name} is too long", want=f"at most {_MAX_BLOB} bytes")
        return data

    def _read_if_there(self, path: Path) -> bytes:
        """Read a file that not every provider has."""
        try:
            return self._read(path)
        except FileNotFoundError:
            return b""


def _options(privlevel: int | None, service: TsmService | None) -> dict[str, bytes]:
    options: dict[str, bytes] = {}
    if privlevel is not None:
        options["privlevel"] = str(privlevel).encode()
    if service is not None:
        options["service_provider"] = service.provider.encode()
        if service.guid is not None:
            options["service_guid"] = str(service.guid).encode()
            options["service_manifest_version"] = str(service.manifest_version).encode()
    return options


def _backend_error(error: OSError) -> BackendError:
    """Say what the kernel's refusal means, where it is known."""
    hints = {
        errno.EFBIG: "What the TEE answered does not fit the kernel's buffer",
        errno.EINVAL: "An option is not allowed: a privilege level below privlevel_floor, or a service without an SVSM",
        errno.EACCES: "Only root may ask for reports",
        errno.EIO: "The TEE's firmware did not answer",
        errno.ETIMEDOUT: "The quoting service of the host did not answer",
    }
    name = errno.errorcode.get(error.errno or 0, "an error")
    return BackendError(f"the kernel gave no report: {name}", hint=hints.get(error.errno or 0, ""))
