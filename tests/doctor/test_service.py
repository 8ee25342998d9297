"""A visit to a service in memory that is well, and to one where each step fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from hashlib import sha256

import anyio
import pytest
from attrs import evolve

from confsec.backends import system
from confsec.doctor.findings import Finding, Level
from confsec.doctor.service import look_at_service
from confsec.errors import BusyError, ConfigError, EngineError
from confsec.protocol.directory import ServiceDirectory
from confsec.protocol.policy import PRODUCTION, UNSAFE_UNATTESTED, Policy
from confsec.tee.demo_policy import UNSAFE_DEMO_POLICY
from confsec.tee.simulated.attester import SimulatedSnpAttester
from tests.roles.chain import Chain, ToRelay, running_chain

pytestmark = pytest.mark.anyio

STEPS = ["service.directory", "service.relay", "service.gateway", "service.evidence", "service.node"]


def reading(data: bytes) -> Callable[[], Awaitable[bytes]]:
    async def read() -> bytes:
        return data

    return read


async def visit(
    chain: Chain,
    *,
    directory: ServiceDirectory | None = None,
    policy: Policy = UNSAFE_UNATTESTED,
    clock: Callable[[], datetime] = system.now,
) -> dict[str, Finding]:
    read = reading((directory or chain.directory).to_toml().encode())
    return {each.id: each for each in await look_at_service(read, policy, ToRelay(chain.wire), clock=clock)}


def last_step(findings: dict[str, Finding]) -> Finding:
    return [finding for finding in findings.values() if finding.id in STEPS][-1]


async def test_service_that_is_well_passes_every_step_and_each_is_timed() -> None:
    async with running_chain(3) as chain:
        findings = await visit(chain)
    assert [id_ for id_ in findings if id_ in STEPS] == STEPS
    levels = {finding.id: finding.level for finding in findings.values()}
    assert levels.pop("service.unattested") is Level.WARNING
    assert set(levels.values()) == {Level.OK, Level.INFO}
    assert all(findings[step].milliseconds is not None for step in STEPS)
    assert findings["clock.epoch"].level is Level.OK
    assert "3 nodes are trusted under the policy UNSAFE_UNATTESTED" in findings["service.evidence"].what


async def test_visit_asks_the_engine_for_its_models_and_for_nothing_else() -> None:
    async with running_chain(1) as chain:
        await visit(chain)
        asked = [(request.method, request.url, request.content) for request in chain.engines[0].requests]
    assert asked == [("GET", "/v1/models", b"")]


async def test_digest_is_that_of_the_file() -> None:
    async with running_chain(1) as chain:
        findings = await visit(chain)
        assert sha256(chain.directory.to_toml().encode()).hexdigest() in findings["service.digest"].what


async def test_service_without_evidence_is_a_problem_under_the_production_policy() -> None:
    async with running_chain(PRODUCTION.minimum_nodes) as chain:
        finding = last_step(await visit(chain, policy=PRODUCTION))
    assert "--unsafe-unattested" in finding.todo
    assert (finding.id, finding.level) == ("service.evidence", Level.PROBLEM)
    assert "[appraisal]" in finding.what
    assert "evidence.platform" in finding.what


async def test_visit_says_what_vouches_for_the_nodes_and_what_is_left_to_assume() -> None:
    attesters = [SimulatedSnpAttester() for _ in range(2)]
    async with running_chain(2, attesters=attesters, policy=UNSAFE_DEMO_POLICY) as chain:
        findings = await visit(chain, policy=UNSAFE_DEMO_POLICY)
    assert last_step(findings).id == "service.node"
    assert "sev-snp" in findings["service.platform"].what
    assert findings["service.simulated"].level is Level.WARNING
    assert "amd" in findings["service.assumes"].what
    assert "can be used until" in findings["service.expires"].what
    assert "service.unattested" not in findings


async def test_node_that_the_policy_refuses_is_named_with_the_checks_that_refuse() -> None:
    attesters = [SimulatedSnpAttester(), SimulatedSnpAttester(measurement=b"\x66" * 48)]
    async with running_chain(2, attesters=attesters, policy=UNSAFE_UNATTESTED) as chain:
        findings = await visit(chain, policy=UNSAFE_DEMO_POLICY)
    assert findings["service.refused"].level is Level.WARNING
    assert "[sev-snp.measurement, binding.operating-system]" in findings["service.refused"].what
    assert findings["service.node"].level is Level.OK


async def test_fleet_that_is_smaller_than_the_policy_asks_for() -> None:
    async with running_chain(1) as chain:
        finding = last_step(await visit(chain, policy=evolve(UNSAFE_UNATTESTED, minimum_nodes=2)))
    assert (finding.id, finding.level) == ("service.gateway", Level.PROBLEM)
    assert finding.what == "the fleet is too small: got 1 nodes, want 2 [policy]"


@pytest.mark.parametrize("data", [b"\xff", b"not toml =", b"version = 2\n"])
async def test_directory_that_cannot_be_read_ends_the_visit(data: bytes) -> None:
    async with running_chain(1) as chain:
        (finding,) = await look_at_service(reading(data), UNSAFE_UNATTESTED, ToRelay(chain.wire))
    assert (finding.id, finding.level) == ("service.directory", Level.PROBLEM)
    assert finding.todo


async def test_directory_that_is_not_there_ends_the_visit() -> None:
    async def read() -> bytes:
        raise ConfigError("service.toml is not there", hint="Look for it")

    async with running_chain(1) as chain:
        (finding,) = await look_at_service(read, UNSAFE_UNATTESTED, ToRelay(chain.wire))
    assert (finding.what, finding.todo) == ("service.toml is not there [config]", "Look for it")


async def test_relay_that_is_down_says_what_to_try() -> None:
    async with running_chain(1) as chain:
        del chain.wire.roles["relay"]
        finding = last_step(await visit(chain))
    assert (finding.id, finding.level) == ("service.relay", Level.PROBLEM)
    assert "curl" in finding.todo


async def test_directory_with_a_key_that_the_gateway_no_longer_has() -> None:
    async with running_chain(1) as chain:
        (config, *_) = chain.directory.gateway_key_configs
        old = evolve(chain.directory, gateway_key_configs=(evolve(config, key_id=77),))
        finding = last_step(await visit(chain, directory=old))
    assert (finding.id, finding.level) == ("service.gateway", Level.PROBLEM)
    assert "[unknown_key]" in finding.what
    assert "newest directory file" in finding.todo


async def test_directory_with_a_router_that_the_gateway_does_not_know() -> None:
    async with running_chain(1) as chain:
        wrong = evolve(chain.directory, router_origin="https://elsewhere.example")
        finding = last_step(await visit(chain, directory=wrong))
    assert (finding.id, finding.level) == ("service.gateway", Level.PROBLEM)
    assert "--targets" in finding.todo or "not_allowed" in finding.what


async def test_gateway_that_is_down_is_found_behind_the_relay() -> None:
    async with running_chain(1) as chain:
        del chain.wire.roles["gateway"]
        finding = last_step(await visit(chain))
    assert (finding.id, finding.level) == ("service.gateway", Level.PROBLEM)


async def test_engine_that_fails_is_found_at_the_end() -> None:
    async with running_chain(1) as chain:
        chain.engines[0].error = EngineError("out of order")
        finding = last_step(await visit(chain))
    assert (finding.id, finding.level) == ("service.node", Level.PROBLEM)
    assert "status 502" in finding.what
    assert "healthz" in finding.todo


async def test_full_node_is_found_at_the_end() -> None:
    async with running_chain(1) as chain:
        chain.engines[0].error = BusyError("full")
        finding = last_step(await visit(chain))
    assert (finding.id, finding.level) == ("service.node", Level.PROBLEM)
    assert "[busy]" in finding.what


async def test_clock_that_is_slow_is_noticed() -> None:
    async with running_chain(1) as chain:
        finding = last_step(await visit(chain, clock=lambda: system.now() - timedelta(hours=1)))
    assert (finding.id, finding.level) == ("service.gateway", Level.PROBLEM)
    assert "of another time" in finding.what
    assert "clock" in finding.todo


async def test_step_that_takes_too_long_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("confsec.doctor.service._STEP_TIMEOUT", 0.01)

    async def read() -> bytes:
        await anyio.sleep_forever()
        raise AssertionError

    async with running_chain(1) as chain:
        (finding,) = await look_at_service(read, UNSAFE_UNATTESTED, ToRelay(chain.wire))
    assert finding.what.startswith("this took too long")


async def test_node_with_evidence_that_is_not_its_own_is_left_out_with_a_warning() -> None:
    async with running_chain(2) as chain:
        evidence = chain.router._fleet.evidence
        spoiled: list[bytes] = []

        def sometimes_wrong(digest: bytes) -> bytes | None:
            found = evidence(digest)
            if found and not spoiled:
                spoiled.append(digest)
                return found[:-1] + bytes([found[-1] ^ 1])
            return found

        chain.router._fleet.evidence = sometimes_wrong  # type: ignore[method-assign]
        findings = await visit(chain)
    assert spoiled
    assert findings["service.refused"].level is Level.WARNING
    assert findings["service.node"].level is Level.OK
