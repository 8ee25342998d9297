"""What images measure to and what models consist of, taken from a log: the appraisal compares with nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
from attrs import evolve

from confsec.backends import system
from confsec.errors import AppraisalError
from confsec.protocol.policy import Policy
from confsec.protocol.predicate import Predicate
from confsec.protocol.predicates import ArtifactDigest, ImageManifest, ModelDigests
from confsec.protocol.proof import verify_proof
from confsec.roles.manifests import node_manifest
from confsec.tee.demo_policy import UNSAFE_DEMO_POLICY
from confsec.tee.registry import POLICIES
from confsec.tee.sev_snp.verifier import SnpVerifier
from confsec.tee.simulated.amd import UNSAFE_SIMULATED_SNP
from confsec.tee.simulated.attester import SimulatedSnpAttester
from tests.roles.chain import CHAT, describe_engine
from tests.roles.logged_chain import LoggedChain, logged_chain

pytestmark = pytest.mark.anyio

ASK = {"messages": [{"role": "user", "content": "hello"}]}
assert isinstance(UNSAFE_SIMULATED_SNP.measurements, tuple)
(MEASUREMENT,) = UNSAFE_SIMULATED_SNP.measurements
LOGGED = evolve(
    UNSAFE_DEMO_POLICY,
    name="LOGGED",
    platforms=("sev-snp",),
    manifests=(),
    logged=("manifests", "models", "sev-snp.measurements"),
    verifiers=(SnpVerifier(evolve(UNSAFE_SIMULATED_SNP, measurements=())),),
)
"""A policy that names no value itself."""


async def manifest_digest(chain: LoggedChain) -> bytes:
    return sha256((await node_manifest(chain.node_config, describe_engine)).encode()).digest()


def image(measurement: bytes, manifest: bytes) -> ImageManifest:
    return ImageManifest(
        issued=now(),
        name="node",
        version="1",
        measurements={"manifest": {"llama": manifest}, "sev-snp": {"measurements": measurement}},
        command_line="ro",
        verity_roots=(),
        firmware=(),
    )


def model(digest: bytes) -> ModelDigests:
    return ModelDigests(issued=now(), files=(ArtifactDigest("model.gguf", digest),))


def now() -> datetime:
    return system.now().astimezone(UTC).replace(microsecond=0)


async def ask(folder: Path, policy: Policy, *said: str, patience: float = 20) -> bytes:
    """Run a node whose image and model are logged, but for what `said` has instead, and return the Proof."""

    async def predicates(chain: LoggedChain) -> Sequence[Predicate]:
        manifest = b"x" * 32 if "another manifest" in said else await manifest_digest(chain)
        measured = b"x" * 48 if "another image" in said else MEASUREMENT
        digest = b"x" * 32 if "another model" in said else bytes(32)
        return [image(measured, manifest)] if "no model" in said else [image(measured, manifest), model(digest)]

    attesters = [SimulatedSnpAttester()]
    async with (
        logged_chain(folder, attesters=attesters, policy=policy, said=predicates, patience=patience) as chain,
        chain.client() as client,
    ):
        answer = await client.request("POST", CHAT, json=ASK)
        return answer.proof.encode()


async def test_a_node_whose_image_and_model_are_logged_is_trusted(tmp_path: Path) -> None:
    proof = verify_proof(await ask(tmp_path, LOGGED), evolve(POLICIES, constants=(*POLICIES.constants, LOGGED)))
    found = {check.id: check for check in proof.all_checks}
    assert found["log.statements"].got == "node 1"
    assert found["sev-snp.measurement"].status.value == "pass"


@pytest.mark.parametrize("said", ["another image", "another model", "another manifest", "no model"])
async def test_a_router_lists_no_node_that_no_logged_statement_describes(tmp_path: Path, said: str) -> None:
    with pytest.raises(TimeoutError):  # there is never a record
        await ask(tmp_path, LOGGED, said, patience=3)


async def test_a_policy_that_takes_values_from_a_log_needs_a_root() -> None:
    from tests.protocol.test_logged_values import appraised

    with pytest.raises(AppraisalError, match=r"log\.statements"):
        LOGGED.require(appraised(LOGGED).checks)
