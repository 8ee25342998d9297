"""Which TEE is chosen, what is said about the others, and what an operator's file adds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from confsec.errors import ConfigError
from confsec.protocol.binding import Binding, Mode
from confsec.protocol.cmw import CmwRecord, Endorsements
from confsec.tee import choose
from confsec.tee.api import Probe
from confsec.tee.choose import FOUND_BY_AUTO, TEES, TeeOptions, choose_attester
from confsec.tee.sev_snp.subject import SNP_CERTIFICATES
from confsec.tee.tdx.attester import TdxAttester
from confsec.tee.tdx.pcs import CollateralAttester

pytestmark = pytest.mark.anyio

NO_TPM = TeeOptions(tpm_tcti="device:/nowhere/tpmrm0")


def here(*found: str) -> Callable[[str], Callable[[TeeOptions], Awaitable[Probe]]]:
    """Return probes that find these and no others."""

    def probe_of(name: str) -> Callable[[TeeOptions], Awaitable[Probe]]:
        async def probe(options: TeeOptions) -> Probe:
            return Probe(tee=name, found=name in found, why="told by a test")

        return probe

    return probe_of


def pretend(monkeypatch: pytest.MonkeyPatch, *found: str) -> None:
    probe_of = here(*found)
    kinds = {name: choose._Kind(probe_of(name), kind.make) for name, kind in choose._KINDS.items()}
    monkeypatch.setattr(choose, "_KINDS", kinds)


async def test_nothing_is_chosen_where_nothing_is_and_each_kind_says_why() -> None:
    with pytest.raises(ConfigError) as raised:
        await choose_attester("auto", NO_TPM)
    said = str(raised.value)
    for name in FOUND_BY_AUTO:
        assert f"{name}: " in said
    assert "there is no /nowhere/tpmrm0" in said
    assert "--tee simulated" in said
    assert "--tee none" in said


@pytest.mark.parametrize("name", FOUND_BY_AUTO)
async def test_tee_that_is_named_and_not_here_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"the TEE {name} is not here"):
        await choose_attester(name, NO_TPM)


@pytest.mark.parametrize(
    ("found", "chosen"),
    [
        (("sev-snp", "tpm"), "sev-snp"),
        (("tdx", "tpm"), "tdx"),
        (("tpm",), "tpm"),
    ],
)
async def test_first_that_is_here_is_chosen(
    monkeypatch: pytest.MonkeyPatch, found: tuple[str, ...], chosen: str
) -> None:
    pretend(monkeypatch, *found)
    choice = await choose_attester("auto")
    assert choice.tee == chosen
    assert choice.attester is not None
    assert choice.attester.platform == chosen
    assert f"attests with {chosen}" in choice.account
    assert f"{chosen}: found, told by a test" in choice.account


async def test_simulated_and_none_are_never_found(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "simulated")
    with pytest.raises(ConfigError, match="there is no TEE here"):
        await choose_attester("auto")


async def test_simulated_and_none_have_to_be_named() -> None:
    simulated = await choose_attester("simulated")
    assert simulated.attester is not None
    assert "proves nothing" in simulated.account
    assert (await choose_attester("none")).attester is None


async def test_tee_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigError, match="no such TEE") as raised:
        await choose_attester("sgx")
    assert all(name in str(raised.value) for name in TEES)


@pytest.mark.parametrize(
    ("tee", "vtpm", "platform"),
    [
        ("sev-snp", "none", "sev-snp"),
        ("sev-snp", "svsm", "sev-snp-svsm"),
        ("sev-snp", "azure", "azure-sev-snp"),
        ("sev-snp", "outside", "sev-snp-tpm"),
        ("tdx", "none", "tdx"),
        ("tdx", "azure", "azure-tdx"),
        ("tdx", "outside", "tdx-tpm"),
    ],
)
async def test_tpm_beside_a_tee_makes_another_platform(
    monkeypatch: pytest.MonkeyPatch, tee: str, vtpm: str, platform: str
) -> None:
    pretend(monkeypatch, tee)
    choice = await choose_attester(tee, TeeOptions(vtpm=vtpm))
    assert choice.attester is not None
    assert choice.attester.platform == platform
    await choice.attester.aclose()


async def test_collateral_is_fetched_only_where_the_operator_says(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "tdx")
    for url, kind in (("", TdxAttester), ("http://127.0.0.1:9", CollateralAttester)):
        choice = await choose_attester("tdx", TeeOptions(collateral_url=url))
        assert isinstance(choice.attester, kind)
        assert choice.attester.platform == "tdx"
        await choice.attester.aclose()


async def test_svsm_is_a_part_of_sev_snp(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "tdx")
    with pytest.raises(ConfigError, match="SVSM is a part of SEV-SNP"):
        await choose_attester("tdx", TeeOptions(vtpm="svsm"))


@pytest.mark.parametrize("tee", ["sev-snp", "tdx"])
async def test_azure_without_its_tpm_is_not_here(tee: str) -> None:
    with pytest.raises(ConfigError, match=f"the TEE {tee} is not here"):
        await choose_attester(tee, TeeOptions(vtpm="azure", tpm_tcti="device:/nowhere/tpmrm0"))


async def test_tpm_that_cannot_be_reached_says_so() -> None:
    with pytest.raises(ConfigError, match="the TEE tpm is not here"):
        await choose_attester("tpm", TeeOptions(tpm_tcti="swtpm:host=127.0.0.1,port=1"))


# --- What else vouches ------------------------------------------------------------------------------------------------

BINDING = Binding(mode=Mode.EPOCH, nonce=bytes(32), key_config=b"key config", manifest=b"manifest")


async def test_file_of_the_operator_goes_along_and_is_read_anew_each_time(tmp_path: Path) -> None:
    file = tmp_path / "endorsements"
    choice = await choose_attester("simulated", TeeOptions(endorsements=str(file)))
    assert choice.attester is not None
    assert choice.attester.platform == "sev-snp"
    begun = await choice.attester.begin()
    assert (begun.ak, begun.request_key) == (None, None)
    for content in (b"one", b"another"):
        file.write_bytes(Endorsements.of({SNP_CERTIFICATES: CmwRecord("text/plain", content)}).encoded)
        attestation = await begun.attest(BINDING)
        assert attestation.endorsements[SNP_CERTIFICATES].value == content
        assert attestation.items.keys() == {"sev-snp"}
    await begun.aclose()
    await choice.attester.aclose()


async def test_file_of_the_operator_that_cannot_be_read_says_which(tmp_path: Path) -> None:
    file = tmp_path / "endorsements"
    choice = await choose_attester("simulated", TeeOptions(endorsements=str(file)))
    assert choice.attester is not None
    begun = await choice.attester.begin()
    with pytest.raises(ConfigError, match=r"endorsements .* cannot be read"):
        await begun.attest(BINDING)
    file.write_bytes(b"no collection")
    with pytest.raises(ConfigError, match="are none"):
        await begun.attest(BINDING)
