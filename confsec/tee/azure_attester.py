"""An attester for Azure's confidential machines, where a paravisor stands between the hardware and the guest.

The guest writes the binding into an index of its vTPM. The paravisor puts it into the runtime data, with the AK of that
vTPM, and has the hardware sign their hash; the guest reads all that from another index (`azure.py`). Under TDX it finds
a TD report there, of which a service of the host makes a quote.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, final

import anyio

from confsec.backends.api import HttpRequest, Transport
from confsec.errors import BackendError, ConfsecError, DeadlineError, DecodeError, LocalProtocolError
from confsec.protocol import json_general
from confsec.protocol.binding import Binding
from confsec.protocol.cmw import CmwRecord
from confsec.protocol.kem_base import DiffieHellman
from confsec.protocol.platforms import AZURE_RUNTIME_DATA, MEDIA_TYPES, SEV_SNP, TDX
from confsec.protocol.wire import decode_base64url, encode_base64url
from confsec.tee.api import Attestation, Attester, EpochAttester
from confsec.tee.azure import HclReport, HclReportType, RuntimeData
from confsec.tee.tpm.device import TpmDevice
from confsec.tee.tpm.structures import PublicArea

__all__ = [
    "HCL_REPORT_INDEX",
    "TD_QUOTE_URL",
    "USER_DATA_INDEX",
    "AzureAttester",
    "AzureEpoch",
    "Tee",
    "fetch_td_quote",
]

HCL_REPORT_INDEX: Final = 0x01400001
"""The NV index with the HCL report (kinvolk/azure-cvm-tooling, az-cvm-vtpm)."""

USER_DATA_INDEX: Final = 0x01400002
"""The NV index whose 64 bytes become `user-data`."""

TD_QUOTE_URL: Final = "http://169.254.169.254/acc/tdquote"
"""The host's service that makes a quote of a TD report."""

_TD_REPORT_SIZE: Final = 1024
_MAX_ANSWER: Final = 64 << 10
_TIMEOUT: Final = 15.0
_PAUSE: Final = 0.25

Tee = Literal["sev-snp", "tdx"]
"""What is under the paravisor."""


@final
class AzureAttester:
    """An `Attester` of the platforms `azure-sev-snp` and `azure-tdx`. It owns the TPM's attester, not the device."""

    def __init__(
        self,
        device: TpmDevice,
        tpm: Attester,
        *,
        tee: Tee,
        transport: Transport | None = None,
        endorsements: Mapping[str, CmwRecord] | None = None,
    ) -> None:
        """Prepare an attester.

        `tpm` attests with the AK that Azure put into `device` (`keys.AZURE_AK`). TDX needs a `transport` to the host's
        service. `endorsements` are sent along: certificates and collateral of the hardware.
        """
        if tee == "tdx" and transport is None:
            raise LocalProtocolError("a machine with TDX needs a transport to the service that makes quotes")
        self._device = device
        self._tpm = tpm
        self._tee: Tee = tee
        self._transport = transport
        self._endorsements = dict(endorsements or {})

    @property
    def platform(self) -> str:
        """The name of the row of `PLATFORMS`."""
        return f"azure-{self._tee}"

    async def begin(self) -> AzureEpoch:
        """Have the TPM make the request key of a new epoch. Raises as the TPM's attester does."""
        epoch = await self._tpm.begin()
        return AzureEpoch(self._device, epoch, self._tee, self._transport, self._endorsements)

    async def aclose(self) -> None:
        """Let go of the TPM."""
        await self._tpm.aclose()


@final
class AzureEpoch:
    """An `EpochAttester`, made by `AzureAttester.begin`."""

    def __init__(
        self,
        device: TpmDevice,
        tpm: EpochAttester,
        tee: Tee,
        transport: Transport | None,
        endorsements: Mapping[str, CmwRecord],
    ) -> None:
        self._device = device
        self._tpm = tpm
        self._tee = tee
        self._transport = transport
        self._endorsements = endorsements

    @property
    def ak(self) -> bytes | None:
        """The attestation key of the vTPM, as TPMT_PUBLIC."""
        return self._tpm.ak

    @property
    def request_key(self) -> DiffieHellman | None:
        """The P-256 half of the request key, in the vTPM."""
        return self._tpm.request_key

    async def attest(self, binding: Binding) -> Attestation:
        """Have the hardware, the paravisor and the vTPM say that they are about `binding`.

        Raises `LocalProtocolError` for the binding of another AK, `BackendError` when the paravisor's report is of
        another TEE, AK or binding, and `DeadlineError` when none about this binding comes.
        """
        if binding.ak is None or binding.ak != self.ak:
            raise LocalProtocolError("a binding of another attestation key than this machine's")
        report, runtime = await self._report(binding.value)
        if not runtime.ak.is_key_of(PublicArea.decode(binding.ak)):
            raise BackendError("the paravisor vouches for another attestation key", hint="Use --tpm-ak azure")
        label, evidence = await self._hardware(report)
        beside = await self._tpm.attest(binding)
        values = {label: evidence, AZURE_RUNTIME_DATA: report.runtime_data}
        items = {name: CmwRecord(MEDIA_TYPES[name], value) for name, value in values.items()}
        return Attestation(items={**items, **beside.items}, endorsements={**beside.endorsements, **self._endorsements})

    async def aclose(self) -> None:
        """Have the vTPM forget the request key."""
        await self._tpm.aclose()

    async def _report(self, user_data: bytes) -> tuple[HclReport, RuntimeData]:
        """Write user data, and read until the report is about it: the paravisor makes one in its own time."""
        await self._device.write_nv(USER_DATA_INDEX, user_data)
        with anyio.move_on_after(_TIMEOUT):
            while True:
                report, runtime = _read_report(await self._device.read_nv(HCL_REPORT_INDEX, by_owner=True))
                if runtime.user_data == user_data:
                    return report, runtime
                await anyio.sleep(_PAUSE)
        raise DeadlineError("the paravisor gave no report about this binding", want=f"within {_TIMEOUT:g} s")

    async def _hardware(self, report: HclReport) -> tuple[str, bytes]:
        """Return the item of the hardware: its label, and a report of SEV-SNP or a quote of TDX."""
        kind = HclReportType.SNP if self._tee == "sev-snp" else HclReportType.TDX
        if report.kind is not kind:
            raise BackendError("this machine has another TEE", got=report.kind.name, want=kind.name)
        if self._tee == "sev-snp" or self._transport is None:
            return SEV_SNP, report.hardware_report
        return TDX, await fetch_td_quote(self._transport, report.hardware_report[:_TD_REPORT_SIZE])


def _read_report(content: bytes | None) -> tuple[HclReport, RuntimeData]:
    if content is None:
        raise BackendError("the TPM has no HCL report: this is no confidential machine of Azure's")
    try:
        report = HclReport.decode(content)
        return report, RuntimeData.decode(report.runtime_data)
    except ConfsecError as exc:
        raise BackendError(f"the HCL report cannot be read: {exc}") from exc


async def fetch_td_quote(transport: Transport, td_report: bytes) -> bytes:
    """Have the host make a quote of a TD report of 1024 bytes. Raises `BackendError` and what `transport` raises.

    The host is not believed: whoever reads the quote verifies it.
    """
    content = json_general.encode({"report": encode_base64url(td_report)})
    headers = (("content-type", "application/json"),)
    request = HttpRequest(method="POST", url=TD_QUOTE_URL, headers=headers, content=content)
    answer = bytearray()
    async with transport.stream(request) as response:
        if response.status != 200:
            raise BackendError("the host made no quote", got=f"status {response.status}")
        async for part in response.content:
            answer += part
            if len(answer) > _MAX_ANSWER:
                raise BackendError("the host's answer is too long", want=f"at most {_MAX_ANSWER} bytes")
    try:
        members = json_general.as_object(
            json_general.decode(bytes(answer), what="the host's answer", limit=_MAX_ANSWER), what="the host's answer"
        )
        return decode_base64url(_text(members.get("quote")))
    except DecodeError as exc:
        raise BackendError("the host's answer cannot be read") from exc


def _text(value: json_general.JsonItem) -> str:
    if not isinstance(value, str):
        raise DecodeError("an answer without a quote", want="text")
    return value
