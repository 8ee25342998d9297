"""The attester's evidence is what the verifier accepts: from a fake kernel, and from the simulator."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from confsec.errors import BackendError, LocalProtocolError
from confsec.protocol.binding import Binding
from confsec.protocol.cmw import CmwRecord, Endorsements, Evidence
from confsec.protocol.kem_base import DiffieHellman
from confsec.protocol.platforms import PLATFORMS, SEV_SNP, SVSM_MANIFEST, TPM_AK
from confsec.protocol.rats import TeeFindings, VerificationRequest
from confsec.tee.api import Attestation, Attester
from confsec.tee.configfs_tsm import VTPM_SERVICE, ConfigfsTsm
from confsec.tee.sev_snp.attester import SnpAttester, probe_sev_snp
from confsec.tee.sev_snp.certificates import ARK_GUID, ASK_GUID, VCEK_GUID, CertificateTable
from confsec.tee.sev_snp.subject import CRL_TYPE, SNP_CERTIFICATES, SNP_CRL
from confsec.tee.sev_snp.verifier import SnpVerifier
from confsec.tee.simulated.amd import UNSAFE_SIMULATED_SNP
from confsec.tee.simulated.attester import SimulatedSnpAttester
from confsec.tee.svsm import svsm_report_data
from tests.tee.sev_snp.cases import (
    AK,
    AMD,
    AT,
    BINDING,
    BINDING_WITH_AK,
    MANIFEST,
    POLICY,
    good_crl,
    refusing,
    report,
    vcek,
)
from tests.tee.test_configfs_tsm import FakeKernel

pytestmark = pytest.mark.anyio

TABLE = CertificateTable({VCEK_GUID: vcek().certificate.encoded, ASK_GUID: AMD.ask.encoded, ARK_GUID: AMD.ark.encoded})
CRL = {SNP_CRL: CmwRecord(CRL_TYPE, good_crl())}


def kernel(*, provider: bytes = b"sev_guest\n", table: bytes = TABLE.encode(), svsm: bool = False) -> FakeKernel:
    def answer(data: bytes) -> bytes:
        about = svsm_report_data(data, MANIFEST) if svsm else data
        return vcek().sign(report(about=about)).encode()

    return FakeKernel(answer=answer, blobs={"auxblob": table, "provider": provider, "manifestblob": MANIFEST})


def tsm(fake: FakeKernel) -> ConfigfsTsm:
    return ConfigfsTsm(Path("/tsm"), files=fake)


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

    async def attest(self, binding: Binding) -> Attestation:
        items = {TPM_AK: CmwRecord("application/vnd.confsec.tpm-ak", AK)}
        return Attestation(items=items, endorsements={"tpm": CmwRecord("text/plain", b"")})

    async def aclose(self) -> None:
        self.closed += 1


def verify(made: Attestation, platform: str, binding: Binding) -> TeeFindings:
    asked = VerificationRequest(
        evidence=Evidence.of(made.items),
        endorsements=Endorsements.of(made.endorsements),
        binding=binding,
        platform=next(each for each in PLATFORMS if each.name == platform),
        at=AT,
    )
    return SnpVerifier(POLICY).verify(asked)


async def test_guest_attests() -> None:
    attester: Attester = SnpAttester(tsm(kernel()), privlevel=0, endorsements=CRL)
    epoch = await attester.begin()
    assert epoch.ak is None
    assert epoch.request_key is None
    made = await epoch.attest(BINDING)
    assert set(made.items) == {SEV_SNP}
    assert set(made.endorsements) == {SNP_CERTIFICATES, SNP_CRL}
    assert refusing(verify(made, attester.platform, BINDING)) == []
    await epoch.aclose()
    await attester.aclose()


async def test_guest_with_svsm_attests() -> None:
    tpm = FakeTpm()
    attester = SnpAttester(tsm(kernel(svsm=True)), service=VTPM_SERVICE, tpm=tpm, endorsements=CRL)
    assert attester.platform == "sev-snp-svsm"
    epoch = await attester.begin()
    assert epoch.ak == AK
    assert epoch.request_key is None
    made = await epoch.attest(BINDING_WITH_AK)
    assert set(made.items) == {SEV_SNP, SVSM_MANIFEST, TPM_AK}
    assert "tpm" in made.endorsements
    assert refusing(verify(made, attester.platform, BINDING_WITH_AK)) == []
    await epoch.aclose()
    await attester.aclose()
    assert tpm.closed == 2


async def test_guest_beside_a_tpm_attests() -> None:
    attester = SnpAttester(tsm(kernel()), tpm=FakeTpm(), endorsements=CRL)
    assert attester.platform == "sev-snp-tpm"
    made = await (await attester.begin()).attest(BINDING_WITH_AK)
    assert refusing(verify(made, attester.platform, BINDING_WITH_AK)) == []


def test_svsm_needs_the_attester_of_its_vtpm() -> None:
    with pytest.raises(LocalProtocolError):
        SnpAttester(service=VTPM_SERVICE)


async def test_binding_of_another_key_is_not_attested() -> None:
    for attester in (SnpAttester(tsm(kernel())), SimulatedSnpAttester()):
        epoch = await attester.begin()
        with pytest.raises(LocalProtocolError):
            await epoch.attest(BINDING_WITH_AK)


@pytest.mark.parametrize("table", [b"", b"none", CertificateTable({}).encode()], ids=["nothing", "none", "empty"])
async def test_host_that_gives_no_certificates_does_no_harm(table: bytes) -> None:
    made = await (await SnpAttester(tsm(kernel(table=table))).begin()).attest(BINDING)
    assert made.endorsements == {}


@pytest.mark.parametrize(
    "fake",
    [
        kernel(provider=b"tdx_guest\n"),
        evolve(kernel(), answer=lambda data: b"short"),
        evolve(kernel(), answer=lambda data: vcek().sign(report(about=bytes(64))).encode()),
    ],
    ids=["another TEE", "no report", "about something else"],
)
async def test_report_that_nobody_would_accept_is_not_handed_out(fake: FakeKernel) -> None:
    epoch = await SnpAttester(tsm(fake)).begin()
    with pytest.raises(BackendError):
        await epoch.attest(BINDING)


async def test_probe_says_what_was_found(tmp_path: Path) -> None:
    assert (await probe_sev_snp(tsm(kernel()))).found
    other = await probe_sev_snp(tsm(kernel(provider=b"tdx_guest\n")))
    assert not other.found
    assert "tdx_guest" in other.why
    nothing = await probe_sev_snp(ConfigfsTsm(tmp_path / "none"))
    assert (nothing.tee, nothing.found) == ("sev-snp", False)
    assert "6.7" in nothing.why


async def test_simulated_guest_attests() -> None:
    attester: Attester = SimulatedSnpAttester()
    for _ in range(2):
        epoch = await attester.begin()
        assert epoch.ak is None
        assert epoch.request_key is None
        made = await epoch.attest(BINDING)
        asked = VerificationRequest(
            evidence=Evidence.of(made.items),
            endorsements=Endorsements.of(made.endorsements),
            binding=BINDING,
            platform=next(each for each in PLATFORMS if each.name == attester.platform),
            at=AT,
        )
        found = SnpVerifier(UNSAFE_SIMULATED_SNP).verify(asked)
        assert refusing(found) == []
        assert found.simulated
        await epoch.aclose()
    await attester.aclose()
