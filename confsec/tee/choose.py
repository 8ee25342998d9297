"""Which TEE a node attests with: the one that its operator names, or the one that is here.

Each kind says whether it is here, and if not what is missing. A simulated TEE, and none at all, are never found: they
have to be named. Beside hardware that measures the whole guest a TPM adds nothing that we know of, so it comes last.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from attrs import field, frozen

from confsec.errors import ConfigError, ConfsecError, MissingExtraError
from confsec.tee.api import Attester, Probe

__all__ = ["AUTO", "FOUND_BY_AUTO", "NONE", "TEES", "TPM_AKS", "Choice", "TeeOptions", "choose_attester"]

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


@frozen(kw_only=True)
class TeeOptions:
    """How the devices are reached."""

    tpm_tcti: str = "device:/dev/tpmrm0"
    """The TPM, in the words of tpm2-tss (man 7 tss2-tcti)."""

    tpm_ak: str = "own"
    """Where its attestation key comes from: one of `TPM_AKS`."""

    event_logs: tuple[str, ...] = ()
    """The event logs that are sent with a TPM's quote; without any, the firmware's."""


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

    Raises `ConfigError` if it is not here; with `auto` it says of each kind why not, and what to do.
    """
    if tee not in TEES:
        raise ConfigError("there is no such TEE", got=tee, want=", ".join(TEES))
    if tee == NONE:
        return Choice(NONE, None, ())
    asked = FOUND_BY_AUTO if tee == AUTO else (tee,)
    options = options or TeeOptions()
    probes = tuple([await _KINDS[name].probe(options) for name in asked])
    found = next((probe.tee for probe in probes if probe.found), None)
    if found is None:
        raise _not_here(tee, probes)
    return Choice(found, _KINDS[found].make(options), probes)


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


async def _probe_tpm(options: TeeOptions) -> Probe:
    from confsec.tee.tpm.attester import probe_tpm
    from confsec.tee.tpm.device import TpmDevice

    kind, _, path = options.tpm_tcti.partition(":")
    if kind == "device":
        return await probe_tpm(Path(path))
    device = TpmDevice(options.tpm_tcti)
    try:
        await device.count_loaded()
    except MissingExtraError:
        raise
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
    if options.tpm_ak not in sources:
        raise ConfigError("there is no such source of attestation keys", got=options.tpm_ak, want=", ".join(TPM_AKS))
    logs = tuple(Path(log) for log in options.event_logs) or (FIRMWARE_LOG,)
    return TpmAttester(TpmDevice(options.tpm_tcti), source=sources[options.tpm_ak], logs=logs)


_KINDS: Final = {
    "tpm": _Kind(_probe_tpm, _make_tpm),
}
