"""An attester of a TPM 2.0: new request keys each epoch, and a quote about the system that they are bound to.

The firmware's event log is what Linux keeps of it; a launcher that extends PCRs writes what it extended into a file of
the same form, which is sent behind it. Nothing in a log has to be believed: it replays to the quote, or it does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, final

import anyio
import anyio.to_thread

from confsec.errors import BackendError, ConfigError, LocalProtocolError, MissingExtraError
from confsec.protocol.binding import Binding
from confsec.protocol.cmw import CmwRecord
from confsec.protocol.platforms import MEDIA_TYPES, TPM_AK, TPM_KEY, TPM_LOG, TPM_QUOTE
from confsec.tee.api import Attestation, Probe
from confsec.tee.event_log import MAX_EVENT_LOG
from confsec.tee.tpm.device import TpmDevice, TpmRequestKey
from confsec.tee.tpm.evidence import ENDORSEMENT_MEDIA_TYPES, TPM_AK_CERTIFICATE, TPM_EK_CERTIFICATE
from confsec.tee.tpm.keys import DEFAULT_PCRS, OWN_AK, AkSource

__all__ = ["FIRMWARE_LOG", "TPM_PATH", "TpmAttester", "TpmEpoch", "probe_tpm", "read_event_log"]

TPM_PATH: Final = Path("/dev/tpmrm0")
"""The first TPM, behind the resource manager of Linux."""

FIRMWARE_LOG: Final = Path("/sys/kernel/security/tpm0/binary_bios_measurements")
"""The event log of the firmware of the first TPM. Only root may read it, as a rule."""


@final
class TpmAttester:
    """An `Attester` of a TPM. It owns its device."""

    def __init__(
        self,
        device: TpmDevice,
        *,
        platform: str = "tpm",
        source: AkSource = OWN_AK,
        pcrs: Iterable[int] = DEFAULT_PCRS,
        logs: Sequence[Path] = (FIRMWARE_LOG,),
        endorsements: Mapping[str, CmwRecord] | None = None,
    ) -> None:
        """Prepare an attester.

        `source` says where the AK is, `pcrs` what is quoted and what request keys are bound to, and `logs` which files
        are sent, one behind the other. `endorsements` are sent along, and take the place of what the TPM has of that
        label: a chain of certificates up to the root, a registrar's statement.
        """
        self._device = device
        self._platform = platform
        self._source = source
        self._pcrs = tuple(pcrs)
        self._logs = tuple(logs)
        self._endorsements = dict(endorsements or {})

    @property
    def platform(self) -> str:
        """The name of the row of `PLATFORMS`: `tpm` unless another attester brings the rest of the evidence."""
        return self._platform

    async def begin(self) -> TpmEpoch:
        """Make the request key of a new epoch, bound to the PCRs as they are now.

        Raises `MissingExtraError`, `ConfigError` when the AK's source is not there, and `BackendError`.
        """
        ak = await self._device.attestation_key(self._source)
        key = await self._device.create_request_key(self._pcrs)
        return TpmEpoch(self._device, self._source, ak.encode(), key, self._logs, self._endorsements)

    async def aclose(self) -> None:
        """Close the device: all request keys are gone."""
        await self._device.aclose()


@final
class TpmEpoch:
    """An `EpochAttester`: the request key of one epoch, made by `TpmAttester.begin`."""

    def __init__(
        self,
        device: TpmDevice,
        source: AkSource,
        ak: bytes,
        key: TpmRequestKey,
        logs: Sequence[Path],
        endorsements: Mapping[str, CmwRecord],
    ) -> None:
        self._device = device
        self._source = source
        self._ak = ak
        self._key = key
        self._logs = logs
        self._endorsements = endorsements

    @property
    def ak(self) -> bytes:
        """The attestation key, as TPMT_PUBLIC."""
        return self._ak

    @property
    def request_key(self) -> TpmRequestKey:
        """The P-256 half of the request key. Its `diffie_hellman` blocks."""
        return self._key

    async def attest(self, binding: Binding) -> Attestation:
        """Quote, and certify the request key, about `binding`.

        Raises `LocalProtocolError` for the binding of another AK, `BackendError` when a PCR was extended since the
        epoch began or the TPM fails, and `ConfigError` when an event log cannot be read.
        """
        if binding.ak != self._ak:
            raise LocalProtocolError("a binding of another attestation key than this TPM's")
        made = await self._device.attest(self._key, binding.qualifying_data, source=self._source)
        values = {
            TPM_AK: self._ak,
            TPM_QUOTE: made.quote.encode(),
            TPM_KEY: made.key.encode(),
            TPM_LOG: b"".join([await read_event_log(path) for path in self._logs]),
        }
        found = {TPM_AK_CERTIFICATE: made.ak_certificate, TPM_EK_CERTIFICATE: await self._device.ek_certificate()}
        endorsements = {
            label: CmwRecord(ENDORSEMENT_MEDIA_TYPES[label], value) for label, value in found.items() if value
        }
        return Attestation(
            items={label: CmwRecord(MEDIA_TYPES[label], value) for label, value in values.items()},
            endorsements={**endorsements, **self._endorsements},
        )

    async def aclose(self) -> None:
        """Erase the request key. Never raises for a TPM that is gone."""
        await self._key.aclose()


async def read_event_log(path: Path) -> bytes:
    """Read an event log of at most 1 MiB. Raises `ConfigError`, and `BackendError` for a longer one."""
    log = await anyio.to_thread.run_sync(_read, path)
    if len(log) > MAX_EVENT_LOG:
        raise BackendError("an event log is too long", got=f"more than {MAX_EVENT_LOG} bytes: {path}")
    return log


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:  # a file of securityfs says that its size is 0
            return file.read(MAX_EVENT_LOG + 1)
    except OSError as exc:
        hint = "Nodes have to be allowed to read it: as root, or with CAP_DAC_READ_SEARCH"
        raise ConfigError("an event log cannot be read", got=f"{path}: {exc.strerror}", hint=hint) from exc


async def probe_tpm(path: Path = TPM_PATH) -> Probe:
    """See whether a TPM is here and answers."""
    if not await anyio.Path(path).exists():
        return Probe(tee="tpm", found=False, why=f"there is no {path}")
    device = TpmDevice(f"device:{path}")
    try:
        objects, sessions = await device.count_loaded()
    except (BackendError, MissingExtraError) as exc:
        return Probe(tee="tpm", found=False, why=str(exc))
    finally:
        await device.aclose()
    return Probe(tee="tpm", found=True, why=f"{path} answers, with {objects} objects and {sessions} sessions loaded")
