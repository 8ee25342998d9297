"""An attester for trust domains: quotes from the kernel with the event log of the boot, alone or beside a TPM.

The kernel asks the host for the quote, which no one has to believe: whoever reads it verifies it. Intel's collateral is
nothing that a guest has; it is fetched elsewhere and handed in, and nodes send it along.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, final

import anyio.to_thread

from confsec.errors import BackendError, ConfigError, ConfsecError, LocalProtocolError
from confsec.protocol.binding import Binding
from confsec.protocol.cmw import CmwRecord
from confsec.protocol.kem_base import DiffieHellman
from confsec.protocol.platforms import CCEL, MEDIA_TYPES, TDX
from confsec.tee.api import Attestation, Attester, EpochAttester, Probe
from confsec.tee.configfs_tsm import TDX_GUEST, ConfigfsTsm, TsmReport
from confsec.tee.event_log import MAX_EVENT_LOG
from confsec.tee.tdx.evidence import Quote

__all__ = ["CCEL_DATA", "TdxAttester", "TdxEpoch", "probe_tdx"]

CCEL_DATA: Final = Path("/sys/firmware/acpi/tables/data/CCEL")
"""Where Linux shows the event log to which ACPI's table CCEL leads. Only root may read it."""


async def probe_tdx(tsm: ConfigfsTsm | None = None) -> Probe:
    """Say whether the kernel gets quotes of TDX."""
    try:
        provider = await (tsm or ConfigfsTsm()).provider()
    except BackendError as exc:
        return Probe(tee="tdx", found=False, why=str(exc))
    return Probe(tee="tdx", found=provider == TDX_GUEST, why=f"the kernel's provider of reports is {provider}")


@final
class TdxAttester:
    """An `Attester` of TDX. It owns the TPM's attester, if it is given one."""

    def __init__(
        self,
        tsm: ConfigfsTsm | None = None,
        *,
        log: Path = CCEL_DATA,
        tpm: Attester | None = None,
        endorsements: Mapping[str, CmwRecord] | None = None,
    ) -> None:
        """Prepare an attester. `tpm` is one of a TPM outside; `endorsements` are sent along: Intel's collateral."""
        self._tsm = tsm or ConfigfsTsm()
        self._log = log
        self._tpm = tpm
        self._endorsements = dict(endorsements or {})

    @property
    def platform(self) -> str:
        """The name of the row of `PLATFORMS`."""
        return "tdx" if self._tpm is None else "tdx-tpm"

    async def begin(self) -> TdxEpoch:
        """Begin an epoch; the TPM makes its keys, if there is one. Raises as the TPM's attester does."""
        return TdxEpoch(self._tsm, self._log, await self._tpm.begin() if self._tpm else None, self._endorsements)

    async def aclose(self) -> None:
        """Let go of the TPM, if there is one."""
        if self._tpm is not None:
            await self._tpm.aclose()


@final
class TdxEpoch:
    """An `EpochAttester`, made by `TdxAttester.begin`."""

    def __init__(
        self, tsm: ConfigfsTsm, log: Path, tpm: EpochAttester | None, endorsements: Mapping[str, CmwRecord]
    ) -> None:
        self._tsm = tsm
        self._log = log
        self._tpm = tpm
        self._endorsements = endorsements

    @property
    def ak(self) -> bytes | None:
        """The attestation key of the TPM; None where there is none."""
        return None if self._tpm is None else self._tpm.ak

    @property
    def request_key(self) -> DiffieHellman | None:
        """The P-256 half of the request key; None where there is no TPM."""
        return None if self._tpm is None else self._tpm.request_key

    async def attest(self, binding: Binding) -> Attestation:
        """Get a quote about `binding`, the event log, and the TPM's evidence if there is one.

        Raises `LocalProtocolError` for the binding of another AK, `ConfigError` if the log cannot be read, and
        `BackendError` if the kernel gives no quote, or one about something else: it would be refused by its reader.
        """
        if binding.ak != self.ak:
            raise LocalProtocolError("a binding of another attestation key than this machine's")
        got = await self._tsm.report(binding.value)
        quote = _quote(got, binding)
        log = await anyio.to_thread.run_sync(_read_log, self._log)
        items = {label: CmwRecord(MEDIA_TYPES[label], value) for label, value in ((TDX, quote), (CCEL, log))}
        if self._tpm is None:
            return Attestation(items=items, endorsements=self._endorsements)
        beside = await self._tpm.attest(binding)
        return Attestation(items={**items, **beside.items}, endorsements={**beside.endorsements, **self._endorsements})

    async def aclose(self) -> None:
        """Have the TPM forget its keys, if there is one."""
        if self._tpm is not None:
            await self._tpm.aclose()


def _quote(got: TsmReport, binding: Binding) -> bytes:
    """Return the quote, without the zero bytes with which some hosts fill it up."""
    if got.provider != TDX_GUEST:
        raise BackendError("the kernel's reports are of another TEE", got=got.provider[:32], want=TDX_GUEST)
    try:
        quote = Quote.decode(got.report, drop_zero_padding=True)
        about = quote.td.report_data
    except ConfsecError as exc:
        raise BackendError("the kernel gave something that is no quote", got=f"{len(got.report)} bytes") from exc
    if about != binding.value:
        raise BackendError("the kernel gave a quote about something else")
    return quote.encode()


def _read_log(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            log = file.read(MAX_EVENT_LOG + 1)
    except OSError as exc:
        raise ConfigError(
            "the event log of the trust domain cannot be read",
            got=f"{path}: {exc.strerror}",
            hint="Nodes have to be allowed to read it: as root, or with CAP_DAC_READ_SEARCH",
        ) from exc
    if len(log) > MAX_EVENT_LOG:
        raise BackendError("the event log of the trust domain is too long", want=f"at most {MAX_EVENT_LOG} bytes")
    return log
