"""The attester's evidence is what the verifier accepts: a fake kernel, quotes of the simulator, and a log in a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from confsec.errors import BackendError, ConfigError, LocalProtocolError
from confsec.protocol.cmw import CmwRecord, Endorsements, Evidence
from confsec.protocol.kem_base import DiffieHellman
from confsec.protocol.platforms import CCEL, TDX, TPM_AK
from confsec.protocol.rats import VerificationRequest
from confsec.tee.api import Attestation, Attester
from confsec.tee.configfs_tsm import ConfigfsTsm
from confsec.tee.event_log import MAX_EVENT_LOG
from confsec.tee.simulated.intel import SimulatedIntel, simulated_log
from confsec.tee.tdx.attester import TdxAttester, probe_tdx
from confsec.tee.tdx.collateral import TDX_COLLATERAL
from tests.tee.tdx.cases import AT, BINDING, TDX_ONLY, failed_ids, look
from tests.tee.test_configfs_tsm import FakeKernel

pytestmark = pytest.mark.anyio

INTEL = SimulatedIntel(issued_at=AT)
COLLATERAL = {TDX_COLLATERAL: INTEL.collateral().record}
AK = b"an attestation key"


def tsm(*, provider: bytes = b"tdx_guest\n", quote: bytes | None = None, padding: int = 0) -> ConfigfsTsm:
    def answer(data: bytes) -> bytes:
        return (INTEL.quote(data) if quote is None else quote) + bytes(padding)

    return ConfigfsTsm(Path("/tsm"), files=FakeKernel(answer=answer, blobs={"provider": provider}))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "CCEL").write_bytes(simulated_log() + b"\xff" * 4096)
    return tmp_path / "CCEL"


@pytest.mark.parametrize("padding", [0, 3000], ids=["as it is", "filled up"])
async def test_trust_domain_attests(log: Path, padding: int) -> None:
    attester: Attester = TdxAttester(tsm(padding=padding), log=log, endorsements=COLLATERAL)
    assert attester.platform == "tdx"
    epoch = await attester.begin()
    assert (epoch.ak, epoch.request_key) == (None, None)
    made = await epoch.attest(BINDING)
    assert made.items.keys() == {TDX, CCEL}
    assert made.items[TDX].value == INTEL.quote(BINDING.value)
    asked = VerificationRequest(
        evidence=Evidence.of(made.items),
        endorsements=Endorsements.of(made.endorsements),
        binding=BINDING,
        platform=TDX_ONLY,
        at=AT,
    )
    assert failed_ids(look(asked)) == []
    await epoch.aclose()
    await attester.aclose()


class FakeTpm:
    """Plays the attester of a TPM."""

    ak = AK
    platform = "tpm"
    closed = 0

    @property
    def request_key(self) -> DiffieHellman | None:
        return None

    async def begin(self) -> FakeTpm:
        return self

    async def attest(self, binding: object) -> Attestation:
        items = {TPM_AK: CmwRecord("application/vnd.confsec.tpm-ak", AK)}
        return Attestation(items=items, endorsements={"tpm": CmwRecord("text/plain", b"")})

    async def aclose(self) -> None:
        self.closed += 1


async def test_trust_domain_beside_a_tpm_attests(log: Path) -> None:
    tpm = FakeTpm()
    attester = TdxAttester(tsm(), log=log, tpm=tpm, endorsements=COLLATERAL)
    assert attester.platform == "tdx-tpm"
    epoch = await attester.begin()
    assert (epoch.ak, epoch.request_key) == (AK, None)
    made = await epoch.attest(evolve(BINDING, ak=AK))
    assert made.items.keys() == {TDX, CCEL, TPM_AK}
    assert made.endorsements.keys() == {TDX_COLLATERAL, "tpm"}
    await epoch.aclose()
    await attester.aclose()
    assert tpm.closed == 2


async def test_binding_of_another_key_is_not_attested(log: Path) -> None:
    epoch = await TdxAttester(tsm(), log=log).begin()
    with pytest.raises(LocalProtocolError, match="another attestation key"):
        await epoch.attest(evolve(BINDING, ak=AK))


@pytest.mark.parametrize(
    ("kernel", "why"),
    [
        (tsm(provider=b"sev_guest\n"), "another TEE"),
        (tsm(quote=b"no quote"), "no quote"),
        (tsm(quote=INTEL.quote(bytes(64))), "about something else"),
    ],
)
async def test_kernel_that_gives_something_else_is_not_believed(log: Path, kernel: ConfigfsTsm, why: str) -> None:
    epoch = await TdxAttester(kernel, log=log).begin()
    with pytest.raises(BackendError, match=why):
        await epoch.attest(BINDING)


async def test_log_that_is_not_there_or_too_long_says_so(tmp_path: Path) -> None:
    epoch = await TdxAttester(tsm(), log=tmp_path / "none").begin()
    with pytest.raises(ConfigError, match=r"none: No such file"):
        await epoch.attest(BINDING)
    (tmp_path / "long").write_bytes(bytes(MAX_EVENT_LOG + 1))
    epoch = await TdxAttester(tsm(), log=tmp_path / "long").begin()
    with pytest.raises(BackendError, match="too long"):
        await epoch.attest(BINDING)


async def test_probe_says_what_answers() -> None:
    found, other = await probe_tdx(tsm()), await probe_tdx(tsm(provider=b"sev_guest\n"))
    assert (found.tee, found.found, other.found) == ("tdx", True, False)
    assert "sev_guest" in other.why
    assert not (await probe_tdx()).found
