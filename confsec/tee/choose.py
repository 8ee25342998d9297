"""Which TEE a node attests with: the one that its operator names, or the one that is here.

Each kind says whether it is here, and if not what is missing. A simulated TEE, and none at all, are never found: they
have to be named. What measures the whole guest is looked for first, and a TPM alone last.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, final

import anyio.to_thread
from attrs import field, frozen

from confsec.errors import ConfigError, ConfsecError
from confsec.protocol.binding import Binding
from confsec.protocol.cmw import MAX_EVIDENCE, CmwRecord, Endorsements
from confsec.protocol.kem_base import DiffieHellman
from confsec.tee.api import Attestation, Attester, EpochAttester, Probe

__all__ = ["AUTO", "FOUND_BY_AUTO", "NONE", "TEES", "TPM_AKS", "VTPMS", "Choice", "TeeOptions", "choose_attester"]

AUTO: Final = "auto"
"""Take what is here; refuse to start where there is nothing."""

NONE: Final = "none"
"""No TEE: nothing vouches for the node, and only clients that say UNSAFE_UNATTESTED seal to it."""

FOUND_BY_AUTO: Final = ("sev-snp", "tdx", "tpm")
"""What is looked for, in this order."""

TEES: Final = (AUTO, *FOUND_BY_AUTO, "simulated", NONE)
"""What can be asked for."""

TPM_AKS: Final = ("own", "azure", "gce", "gce-rsa")
"""Where the attestation key of a TPM may come from."""

VTPMS: Final = ("none", "svsm", "azure", "outside")
"""Where a TPM beside SEV-SNP or TDX may be: in an SVSM, in Azure's paravisor, or outside of the guest."""


@frozen(kw_only=True)
class TeeOptions:
    """How the devices are reached."""

    tpm_tcti: str = "device:/dev/tpmrm0"
    """The TPM, in the words of tpm2-tss (man 7 tss2-tcti)."""

    tpm_ak: str = "own"
    """Where its attestation key comes from: one of `TPM_AKS`. In Azure's paravisor it is always Azure's."""

    vtpm: str = "none"
    """Where the TPM is that attests beside another TEE: one of `VTPMS`."""

    event_logs: tuple[str, ...] = ()
    """The event logs that are sent with a TPM's quote; without any, the firmware's."""

    endorsements: str = ""
    """A file with what else vouches for the machine: a CMW collection (docs/roles.md). Read again for each evidence."""

    collateral_url: str = ""
    """Where Intel's collateral is fetched for quotes of TDX: `https://api.trustedservices.intel.com`, or a cache of
    one's own that answers like it. Without it, none is fetched."""


@frozen
class Choice:
    """What was chosen, and why."""

    tee: str
    """One of `TEES`, but for `auto`."""

    attester: Attester | None = field(repr=False)
    """It attests; None where nothing does."""

    probes: tuple[Probe, ...]
    """What was looked for, in order."""

    @property
    def account(self) -> str:
        """What was found and why the others are not there, in one line for people."""
        return f"attests with {self.tee}; looked for " + _account(self.probes)


async def choose_attester(tee: str, options: TeeOptions | None = None) -> Choice:
    """Return the attester of the TEE that is asked for, or with `auto` of the first that is here.

    Raises `ConfigError` if it is not here; with `auto` it says of each kind why not, and what to do. Raises
    `MissingExtraError` for a TPM without tpm2-pytss.
    """
    if tee not in TEES:
        raise ConfigError("there is no such TEE", got=tee, want=", ".join(TEES))
    if tee == NONE:
        return Choice(NONE, None, ())
    options = options or TeeOptions()
    probes: list[Probe] = []
    for name in FOUND_BY_AUTO if tee == AUTO else (tee,):
        probes.append(await _KINDS[name].probe(options))
        if probes[-1].found:
            return Choice(name, _with_endorsements(_KINDS[name].make(options), options), tuple(probes))
    raise _not_here(tee, probes)


def _account(probes: Sequence[Probe]) -> str:
    return "; ".join(f"{probe.tee}: {'found, ' if probe.found else ''}{probe.why}" for probe in probes)


def _not_here(tee: str, probes: Sequence[Probe]) -> ConfigError:
    if tee != AUTO:
        return ConfigError(f"the TEE {tee} is not here", got=_account(probes))
    return ConfigError(
        "there is no TEE here",
        got=_account(probes),
        hint="To try things out: --tee simulated, which proves nothing, or --tee none, which shows no evidence",
    )


# --- The kinds. Each is imported when it is asked for -----------------------------------------------------------------


@frozen
class _Kind:
    probe: Callable[[TeeOptions], Awaitable[Probe]]
    make: Callable[[TeeOptions], Attester]


async def _probe_snp(options: TeeOptions) -> Probe:
    from confsec.tee.sev_snp.attester import probe_sev_snp

    return await (_probe_azure("sev-snp", options) if options.vtpm == "azure" else probe_sev_snp())


def _make_snp(options: TeeOptions) -> Attester:
    from confsec.tee.configfs_tsm import VTPM_SERVICE
    from confsec.tee.sev_snp.attester import SnpAttester

    match options.vtpm:
        case "none":
            return SnpAttester()
        case "azure":
            return _make_azure("sev-snp", options)
        case "svsm":
            return SnpAttester(service=VTPM_SERVICE, tpm=_make_tpm(options))
        case _:
            return SnpAttester(tpm=_make_tpm(options))


async def _probe_tdx(options: TeeOptions) -> Probe:
    from confsec.tee.tdx.attester import probe_tdx

    return await (_probe_azure("tdx", options) if options.vtpm == "azure" else probe_tdx())


def _make_tdx(options: TeeOptions) -> Attester:
    attester = _make_tdx_alone(options)
    if not options.collateral_url:
        return attester
    from confsec.backends.http import HttpTransport
    from confsec.tee.tdx.pcs import CollateralAttester, CollateralSource, PcsClient

    client = PcsClient(HttpTransport(), base_url=options.collateral_url)
    return CollateralAttester(attester, CollateralSource(client))


def _make_tdx_alone(options: TeeOptions) -> Attester:
    from confsec.tee.tdx.attester import TdxAttester

    match options.vtpm:
        case "none":
            return TdxAttester()
        case "azure":
            return _make_azure("tdx", options)
        case "svsm":
            raise ConfigError("an SVSM is a part of SEV-SNP", hint="Leave vtpm out, or say where else the TPM is")
        case _:
            return TdxAttester(tpm=_make_tpm(options))


async def _probe_tpm(options: TeeOptions) -> Probe:
    from confsec.tee.tpm.attester import probe_tpm
    from confsec.tee.tpm.device import TpmDevice

    kind, _, path = options.tpm_tcti.partition(":")
    if kind == "device":
        return await probe_tpm(Path(path))
    device = TpmDevice(options.tpm_tcti)
    try:
        await device.count_loaded()
    except ConfsecError as exc:
        return Probe(tee="tpm", found=False, why=str(exc))
    finally:
        await device.aclose()
    return Probe(tee="tpm", found=True, why=f"{kind} answers")


def _make_tpm(options: TeeOptions) -> Attester:
    from confsec.tee.tpm.attester import FIRMWARE_LOG, TpmAttester
    from confsec.tee.tpm.device import TpmDevice
    from confsec.tee.tpm.keys import AZURE_AK, GCE_AK, GCE_RSA_AK, OWN_AK

    sources = dict(zip(TPM_AKS, (OWN_AK, AZURE_AK, GCE_AK, GCE_RSA_AK), strict=True))
    logs = tuple(Path(log) for log in options.event_logs) or (FIRMWARE_LOG,)
    return TpmAttester(TpmDevice(options.tpm_tcti), source=sources[options.tpm_ak], logs=logs)


async def _probe_azure(tee: Literal["sev-snp", "tdx"], options: TeeOptions) -> Probe:
    """See whether a TPM is here in which Azure's paravisor leaves reports."""
    from confsec.tee.azure_attester import HCL_REPORT_INDEX
    from confsec.tee.tpm.device import TpmDevice

    device = TpmDevice(options.tpm_tcti)
    try:
        found = await device.read_nv(HCL_REPORT_INDEX, by_owner=True) is not None
    except ConfsecError as exc:
        return Probe(tee=tee, found=False, why=str(exc))
    finally:
        await device.aclose()
    return Probe(tee=tee, found=found, why=f"the TPM has {'a' if found else 'no'} report of Azure's paravisor")


def _make_azure(tee: Literal["sev-snp", "tdx"], options: TeeOptions) -> Attester:
    from confsec.backends.http import HttpTransport
    from confsec.tee.azure_attester import AzureAttester
    from confsec.tee.tpm.attester import FIRMWARE_LOG, TpmAttester
    from confsec.tee.tpm.device import TpmDevice
    from confsec.tee.tpm.keys import AZURE_AK

    device = TpmDevice(options.tpm_tcti)
    logs = tuple(Path(log) for log in options.event_logs) or (FIRMWARE_LOG,)
    tpm = TpmAttester(device, source=AZURE_AK, logs=logs)
    return AzureAttester(device, tpm, tee=tee, transport=HttpTransport())


async def _probe_simulated(options: TeeOptions) -> Probe:
    return Probe(tee="simulated", found=True, why="it proves nothing: everybody has its keys")


def _make_simulated(options: TeeOptions) -> Attester:
    from confsec.tee.simulated.attester import SimulatedSnpAttester

    return SimulatedSnpAttester()


_KINDS: Final = {
    "sev-snp": _Kind(_probe_snp, _make_snp),
    "tdx": _Kind(_probe_tdx, _make_tdx),
    "tpm": _Kind(_probe_tpm, _make_tpm),
    "simulated": _Kind(_probe_simulated, _make_simulated),
}


# --- What else vouches ------------------------------------------------------------------------------------------------


def _with_endorsements(attester: Attester, options: TeeOptions) -> Attester:
    return _Endorsed(attester, Path(options.endorsements)) if options.endorsements else attester


@final
class _Endorsed:
    """An attester beside which a file of the operator's travels: certificates, revocation lists, a registrar's word."""

    def __init__(self, attester: Attester, file: Path) -> None:
        self._attester = attester
        self._file = file

    @property
    def platform(self) -> str:
        return self._attester.platform

    async def begin(self) -> _EndorsedEpoch:
        return _EndorsedEpoch(await self._attester.begin(), self._file)

    async def aclose(self) -> None:
        await self._attester.aclose()


@final
class _EndorsedEpoch:
    """Reads the file anew for each evidence: whoever replaces it need not start the node again."""

    def __init__(self, begun: EpochAttester, file: Path) -> None:
        self._begun = begun
        self._file = file

    @property
    def ak(self) -> bytes | None:
        return self._begun.ak

    @property
    def request_key(self) -> DiffieHellman | None:
        return self._begun.request_key

    async def attest(self, binding: Binding) -> Attestation:
        attestation = await self._begun.attest(binding)
        beside = await anyio.to_thread.run_sync(_read_endorsements, self._file)
        return Attestation(items=attestation.items, endorsements={**attestation.endorsements, **beside})

    async def aclose(self) -> None:
        await self._begun.aclose()


def _read_endorsements(file: Path) -> Mapping[str, CmwRecord]:
    """Read a CMW collection. Raises `ConfigError`."""
    try:
        with file.open("rb") as opened:
            return Endorsements.decode(opened.read(MAX_EVIDENCE + 1)).items
    except OSError as exc:
        raise ConfigError(f"the endorsements {file} cannot be read", got=exc.strerror) from exc
    except ConfsecError as exc:
        raise ConfigError(f"the endorsements {file} are none: {exc}") from exc
