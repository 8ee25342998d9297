"""A service whose node is on a TPM, a real one in software: from boot to answer, and after its state has changed."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from confsec.backends import system
from confsec.errors import StateChangedError
from confsec.protocol.appraisal import node_key_config
from confsec.protocol.cmw import Endorsements
from confsec.protocol.platforms import TPM_ITEMS
from confsec.tee.choose import TeeOptions, choose_attester
from confsec.tee.demo_policy import UNSAFE_DEMO_POLICY
from confsec.tee.simulated.attester import SimulatedSnpAttester
from confsec.tee.tpm.attester import TpmAttester
from confsec.tee.tpm.device import TpmDevice
from confsec.tee.tpm.swtpm import manufacture, measure_boot, register_swtpm
from tests.roles.attesting import ToldEpochs
from tests.roles.chain import CHAT, Chain, running_chain
from tests.tee.tpm_device.swtpm import needs_swtpm, running_tpm

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="session")
def tpm_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with the state of a TPM as its manufacturer leaves it."""
    needs_swtpm()
    folder = tmp_path_factory.mktemp("tpm")
    anyio.run(manufacture, folder)
    return folder


@asynccontextmanager
async def booted(template: Path, folder: Path) -> AsyncGenerator[tuple[TpmDevice, TpmAttester]]:
    """Boot a TPM, have a registrar vouch for it, and make its attester."""
    async with running_tpm(template, folder / "tpm") as (_, device):
        (folder / "log").write_bytes((await measure_boot(device)).encode())
        endorsements = await register_swtpm(device, now=system.now(), randbytes=os.urandom)
        (folder / "endorsements").write_bytes(Endorsements.of(endorsements).encoded)
        yield device, TpmAttester(device, logs=[folder / "log"], endorsements=endorsements)


async def ask(chain: Chain) -> bytes:
    async with chain.client() as client:
        answer = await client.request("POST", CHAT, json={})
        assert answer.status == 200
        return answer.info.node_id


async def test_request_is_opened_with_the_half_of_the_key_in_the_tpm(tpm_template: Path, tmp_path: Path) -> None:
    epochs = ToldEpochs()
    async with (
        booted(tpm_template, tmp_path) as (_, attester),
        running_chain(1, attesters=[attester], policy=UNSAFE_DEMO_POLICY, epochs=epochs) as chain,
    ):
        evidence = chain.nodes[0]._epochs.shown.evidence
        assert evidence.items.keys() >= TPM_ITEMS
        assert node_key_config(evidence).kem_id == 0x0050
        first = await ask(chain)
        epochs.turn()
        with anyio.fail_after(10):
            while await ask(chain) == first:
                await anyio.sleep(0.01)


async def test_node_whose_state_changed_opens_nothing_and_the_client_learns_why(
    tpm_template: Path, tmp_path: Path
) -> None:
    async with (
        booted(tpm_template, tmp_path) as (device, attester),
        running_chain(1, attesters=[attester], policy=UNSAFE_DEMO_POLICY) as chain,
        chain.client() as client,
    ):
        assert (await client.request("POST", CHAT, json={})).status == 200
        asked = len(chain.engines[0].requests)
        await device.extend_pcr(11, bytes(32))
        with pytest.raises(StateChangedError, match="a PCR was extended"):
            await client.request("POST", CHAT, json={"prompt": "x"})
        assert len(chain.engines[0].requests) == asked


async def test_another_candidate_answers_for_a_node_whose_state_changed(tpm_template: Path, tmp_path: Path) -> None:
    async with (
        booted(tpm_template, tmp_path) as (device, attester),
        running_chain(2, attesters=[attester, SimulatedSnpAttester()], policy=UNSAFE_DEMO_POLICY) as chain,
        chain.client() as client,
    ):
        await client.refresh()
        await device.extend_pcr(11, bytes(32))
        for _ in range(4):
            assert (await client.request("POST", CHAT, json={})).status == 200
        assert chain.engines[0].requests == []


async def test_node_in_another_state_is_not_listed_in_the_next_epoch(tpm_template: Path, tmp_path: Path) -> None:
    epochs = ToldEpochs()
    async with (
        booted(tpm_template, tmp_path) as (device, attester),
        running_chain(1, attesters=[attester], policy=UNSAFE_DEMO_POLICY, epochs=epochs) as chain,
    ):
        await device.extend_pcr(11, bytes(32))
        epochs.turn()
        with anyio.fail_after(10):
            while not (checks := chain.router._fleet.status()[0]["checks"]):
                await anyio.sleep(0.02)
        assert "tpm.log-replay" in checks  # type: ignore[operator]


async def test_tpm_is_chosen_by_its_tcti_with_the_files_of_the_operator(tpm_template: Path, tmp_path: Path) -> None:
    async with booted(tpm_template, tmp_path) as (device, _):
        tcti = device.tcti
        await device.aclose()
        options = TeeOptions(
            tpm_tcti=tcti, event_logs=(str(tmp_path / "log"),), endorsements=str(tmp_path / "endorsements")
        )
        chosen = await choose_attester("tpm", options)
        assert (chosen.tee, chosen.attester and chosen.attester.platform) == ("tpm", "tpm")
        assert chosen.attester is not None
        async with running_chain(1, attesters=[chosen.attester], policy=UNSAFE_DEMO_POLICY) as chain:
            await ask(chain)
