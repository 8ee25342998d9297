"""An attester for guests under SEV-SNP: reports from the kernel, alone or beside a TPM.

Without a TPM the report speaks for all, and the measurement has to cover the whole system. A vTPM in an SVSM is vouched
for by the report; one that the cloud has outside of the guest stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from confsec.errors import BackendError, DecodeError, LocalProtocolError
from confsec.protocol.binding import Binding
from confsec.protocol.cmw import CmwRecord
from confsec.protocol.kem_base import DiffieHellman
from confsec.protocol.platforms import MEDIA_TYPES, SEV_SNP, SVSM_MANIFEST
from confsec.tee.api import Attestation, Attester, EpochAttester, Probe
from confsec.tee.configfs_tsm import SEV_GUEST, ConfigfsTsm, TsmReport, TsmService
from confsec.tee.sev_snp.certificates import CertificateTable
from confsec.tee.sev_snp.evidence import AttestationReport
from confsec.tee.sev_snp.subject import CERTIFICATES_TYPE, SNP_CERTIFICATES
from confsec.tee.svsm import svsm_report_data

__all__ = ["SnpAttester", "SnpEpoch", "probe_sev_snp"]


async def probe_sev_snp(tsm: ConfigfsTsm | None = None) -> Probe:
    """Say whether the kernel gets reports of SEV-SNP."""
    try:
        provider = await (tsm or ConfigfsTsm()).provider()
    except BackendError as exc:
        return Probe(tee="sev-snp", found=False, why=str(exc))
    found = provider == SEV_GUEST
    return Probe(tee="sev-snp", found=found, why=f"the kernel's provider of reports is {provider}")


@final
class SnpAttester:
    """An `Attester` of SEV-SNP. It owns the TPM's attester, if it is given one."""

    def __init__(
        self,
        tsm: ConfigfsTsm | None = None,
        *,
        privlevel: int | None = None,
        service: TsmService | None = None,
        tpm: Attester | None = None,
        endorsements: Mapping[str, CmwRecord] | None = None,
    ) -> None:
        """Prepare an attester.

        `privlevel` is the VMPL to ask for, None for the guest's own. `service` is an SVSM's, whose vTPM `tpm` then is;
        `tpm` alone is a TPM outside. `endorsements` are sent along, and take the place of what the host gives of that
        label: certificates, a revocation list.
        """
        if service is not None and tpm is None:
            raise LocalProtocolError("an SVSM is of use only with the attester of its vTPM")
        self._tsm = tsm or ConfigfsTsm()
        self._privlevel = privlevel
        self._service = service
        self._tpm = tpm
        self._endorsements = dict(endorsements or {})

    @property
    def platform(self) -> str:
        """The name of the row of `PLATFORMS`."""
        if self._tpm is None:
            return "sev-snp"
        return "sev-snp-tpm" if self._service is None else "sev-snp-svsm"

    async def begin(self) -> SnpEpoch:
        """Begin an epoch; the TPM makes its keys, if there is one. Raises as the TPM's attester does."""
        return SnpEpoch(
            self._tsm,
            self._privlevel,
            self._service,
            await self._tpm.begin() if self._tpm else None,
            self._endorsements,
        )

    async def aclose(self) -> None:
        """Let go of the TPM, if there is one."""
        if self._tpm is not None:
            await self._tpm.aclose()


@final
class SnpEpoch:
    """An `EpochAttester`, made by `SnpAttester.begin`."""

    def __init__(
        self,
        tsm: ConfigfsTsm,
        privlevel: int | None,
        service: TsmService | None,
        tpm: EpochAttester | None,
        endorsements: Mapping[str, CmwRecord],
    ) -> None:
        self._tsm = tsm
        self._privlevel = privlevel
        self._service = service
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
        """Get a report about `binding`, and the TPM's evidence if there is one.

        Raises `LocalProtocolError` for the binding of another AK, and `BackendError` if the kernel gives no report, or
        one about something else: it would be refused by whoever reads it.
        """
        if binding.ak != self.ak:
            raise LocalProtocolError("a binding of another attestation key than this machine's")
        got = await self._tsm.report(binding.value, privlevel=self._privlevel, service=self._service)
        items = _items(got, binding, self._service)
        endorsements = {**_endorsements(got), **self._endorsements}
        if self._tpm is not None:
            beside = await self._tpm.attest(binding)
            items |= beside.items
            endorsements = {**beside.endorsements, **endorsements}
        return Attestation(items=items, endorsements=endorsements)

    async def aclose(self) -> None:
        """Have the TPM forget its keys, if there is one."""
        if self._tpm is not None:
            await self._tpm.aclose()


def _items(got: TsmReport, binding: Binding, service: TsmService | None) -> dict[str, CmwRecord]:
    if got.provider != SEV_GUEST:
        raise BackendError("the kernel's reports are of another TEE", got=got.provider[:32], want=SEV_GUEST)
    try:
        report = AttestationReport.decode(got.report)
    except DecodeError as exc:
        raise BackendError("the kernel gave something that is no report", got=f"{len(got.report)} bytes") from exc
    wanted = binding.value if service is None else svsm_report_data(binding.value, got.manifest)
    if report.report_data != wanted:
        raise BackendError("the kernel gave a report about something else")
    items = {SEV_SNP: got.report} | ({SVSM_MANIFEST: got.manifest} if service is not None else {})
    return {label: CmwRecord(MEDIA_TYPES[label], value) for label, value in items.items()}


def _endorsements(got: TsmReport) -> dict[str, CmwRecord]:
    """Return the certificates that the host gave. A table that cannot be read is as good as none."""
    if not got.auxiliary:
        return {}
    try:
        chain = CertificateTable.decode(got.auxiliary).chain()
    except DecodeError:
        return {}
    return {SNP_CERTIFICATES: CmwRecord(CERTIFICATES_TYPE, chain)} if chain else {}
