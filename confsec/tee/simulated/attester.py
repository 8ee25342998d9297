"""An attester that needs no TEE: its reports are real in form, and prove nothing. It is what `--tee simulated` uses."""

from __future__ import annotations

from typing import final

import anyio.to_thread

from confsec.errors import LocalProtocolError
from confsec.protocol.binding import Binding
from confsec.protocol.cmw import CmwRecord
from confsec.protocol.platforms import MEDIA_TYPES, SEV_SNP
from confsec.tee.api import Attestation
from confsec.tee.sev_snp.subject import CERTIFICATES_TYPE, CRL_TYPE, SNP_CERTIFICATES, SNP_CRL
from confsec.tee.simulated.amd import SIMULATED_MEASUREMENT, IssuedKey, SimulatedAmd

__all__ = ["SimulatedSnpAttester", "SimulatedSnpEpoch"]


@final
class SimulatedSnpAttester:
    """An `Attester` of the platform `sev-snp`, with keys that are published."""

    def __init__(self, amd: SimulatedAmd | None = None, *, measurement: bytes = SIMULATED_MEASUREMENT) -> None:
        """Take the vendor, and the measurement that reports shall have: 48 bytes. Issues nothing yet."""
        self._amd = amd or SimulatedAmd()
        self._measurement = measurement
        self._issued: tuple[IssuedKey, dict[str, CmwRecord]] | None = None

    @property
    def platform(self) -> str:
        """The name of the row of `PLATFORMS`."""
        return "sev-snp"

    async def begin(self) -> SimulatedSnpEpoch:
        """Begin an epoch. The chip's certificate is issued at the first."""
        if self._issued is None:
            self._issued = await anyio.to_thread.run_sync(self._issue)
        return SimulatedSnpEpoch(self._amd, self._measurement, *self._issued)

    async def aclose(self) -> None:
        """Do nothing: there is no device."""

    def _issue(self) -> tuple[IssuedKey, dict[str, CmwRecord]]:
        issued = self._amd.issue_vcek()
        endorsements = {
            SNP_CERTIFICATES: CmwRecord(CERTIFICATES_TYPE, self._amd.chain(issued)),
            SNP_CRL: CmwRecord(CRL_TYPE, self._amd.issue_crl().encoded),
        }
        return issued, endorsements


@final
class SimulatedSnpEpoch:
    """An `EpochAttester`, made by `SimulatedSnpAttester.begin`."""

    def __init__(
        self, amd: SimulatedAmd, measurement: bytes, issued: IssuedKey, endorsements: dict[str, CmwRecord]
    ) -> None:
        self._amd = amd
        self._measurement = measurement
        self._issued = issued
        self._endorsements = endorsements

    @property
    def ak(self) -> None:
        """No attestation key: there is no TPM."""
        return

    @property
    def request_key(self) -> None:
        """No key in a device: the role makes its own."""
        return

    async def attest(self, binding: Binding) -> Attestation:
        """Sign a report about `binding`. Raises `LocalProtocolError` for one with an AK."""
        if binding.ak is not None:
            raise LocalProtocolError("a binding of an attestation key, and there is no TPM")
        report = self._issued.sign(self._amd.report(binding.value, measurement=self._measurement))
        return Attestation(
            items={SEV_SNP: CmwRecord(MEDIA_TYPES[SEV_SNP], report.encode())}, endorsements=self._endorsements
        )

    async def aclose(self) -> None:
        """Do nothing: there is no device."""
