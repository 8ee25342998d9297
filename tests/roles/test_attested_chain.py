"""Attested services in memory: which nodes routers list, what clients refuse, and what a turn of the epoch disturbs."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import ClassVar

import anyio
import pytest
from attrs import evolve

from confsec.backends import system
from confsec.backends.api import HttpRequest
from confsec.client import Client
from confsec.errors import AppraisalError, BackendError, ConfsecError, EvidenceError, PolicyError
from confsec.protocol.appraisal import node_key_id
from confsec.protocol.cmw import MAX_EVIDENCE, CmwRecord, Endorsements, Evidence
from confsec.protocol.epoch import Epoch
from confsec.protocol.fleet import FleetNode, FleetRecord
from confsec.protocol.kem import MLKEM768_X25519
from confsec.protocol.key_config import encode_key_configs
from confsec.protocol.manifest import Manifest
from confsec.protocol.node_keys import node_key_config
from confsec.protocol.platforms import FRESHNESS, KEY_CONFIG, MANIFEST, MEDIA_TYPES, SEV_SNP
from confsec.protocol.policy import PRODUCTION
from confsec.roles.asgi import Exchange, Role
from confsec.roles.config import RoleConfig
from confsec.roles.fleet_nodes import appraise_shown
from confsec.roles.node import CHALLENGE_TYPE
from confsec.tee.demo_policy import UNSAFE_DEMO_POLICY
from confsec.tee.sev_snp.subject import SNP_CERTIFICATES
from confsec.tee.simulated.attester import SimulatedSnpAttester
from tests.roles.attesting import Changed, ToldEpochs
from tests.roles.chain import CHAT, Chain, running_chain
from tests.roles.support import fetch

pytestmark = pytest.mark.anyio

NO_ENDORSEMENTS = Endorsements.of({}).encoded
EVIL = SimulatedSnpAttester(measurement=b"\x66" * 48)


def attesters(count: int) -> list[Changed]:
    return [Changed() for _ in range(count)]


async def get(chain: Chain, path: str) -> tuple[int, bytes]:
    return await fetch(chain.wire, HttpRequest(method="GET", url="http://router" + path))


async def record_of(chain: Chain) -> FleetRecord:
    status, body = await get(chain, "/v1/fleet")
    assert status == 200
    return FleetRecord.decode(body)


async def status_of(chain: Chain, number: int) -> dict[str, object]:
    """Return how the router says that a node is."""
    nodes = json.loads((await get(chain, "/v1/nodes"))[1])["nodes"]
    found: dict[str, object] = nodes[number]
    assert found["url"] == f"http://node-{number}"
    return found


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(10):
        while not condition():
            await anyio.sleep(0.01)


async def until_record(chain: Chain, epoch: Epoch, size: int) -> FleetRecord:
    with anyio.fail_after(10):
        while True:
            status, body = await get(chain, "/v1/fleet")
            record = FleetRecord.decode(body) if status == 200 else None
            if record is not None and record.beacon == epoch.beacon and len(record.nodes) == size:
                return record
            await anyio.sleep(0.01)


async def ask(client: Client) -> bytes:
    answer = await client.request("POST", CHAT, json={"prompt": "x"})
    assert answer.status == 200
    return answer.info.node_id


# --- What a router lists ----------------------------------------------------------------------------------------------


async def test_prompt_is_sealed_to_keys_whose_evidence_was_appraised() -> None:
    async with running_chain(3, attesters=attesters(3), policy=UNSAFE_DEMO_POLICY) as chain, chain.client() as client:
        answer = await client.request("POST", CHAT, json={})
        checks = {check.id: check for check in answer.proof.checks}
        assert "SIMULATED" in checks["attestation.evidence"].why
        assert [node.platform.name for node in answer.proof.nodes if node.platform] == ["sev-snp"] * 3


async def test_router_does_not_list_what_its_policy_refuses_and_says_which_check(
    caplog: pytest.LogCaptureFixture,
) -> None:
    evil = [Changed(), Changed(EVIL)]
    async with running_chain(2, attesters=evil, policy=UNSAFE_DEMO_POLICY) as chain:
        assert len((await record_of(chain)).nodes) == 1
        good, bad = [await status_of(chain, number) for number in range(2)]
        assert (good["listed"], good["refused"], good["checks"]) == (True, "", [])
        assert (bad["live"], bad["listed"], bad["refused"]) == (True, False, "appraisal")
        assert bad["checks"] == ["sev-snp.measurement", "binding.operating-system"]
        await anyio.sleep(0.3)
    refusals = [line for line in caplog.messages if "is refused" in line]
    assert refusals == [
        "the node http://node-1 is not listed, what it shows is refused: sev-snp.measurement, binding.operating-system"
    ]


async def test_router_with_the_production_policy_lists_no_simulated_node() -> None:
    async with running_chain(1, attesters=attesters(1), policy=PRODUCTION) as chain:
        assert (await get(chain, "/v1/fleet"))[0] == 503
        assert "policy.platform" in (await status_of(chain, 0))["checks"]  # type: ignore[operator]


async def test_router_appraises_evidence_once(monkeypatch: pytest.MonkeyPatch) -> None:
    appraised: list[bytes] = []
    appraise = appraise_shown

    def counting(evidence: bytes, *args: object, **options: object) -> object:
        appraised.append(evidence)
        return appraise(evidence, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("confsec.roles.fleet.appraise_shown", counting)
    epochs = ToldEpochs()
    async with running_chain(
        2, attesters=[Changed(), Changed(EVIL)], policy=UNSAFE_DEMO_POLICY, epochs=epochs
    ) as chain:
        await anyio.sleep(0.3)
        assert len(appraised) == 2
        await until_record(chain, epochs.turn(), 1)
        await anyio.sleep(0.3)
        # The refused one is looked at again in the new epoch, with what it shows then; never the accepted one's twice.
        assert len([each for each in appraised if appraised.count(each) > 1]) <= 2


async def test_gateway_does_not_show_how_nodes_are() -> None:
    async with running_chain(1, attesters=attesters(1), policy=UNSAFE_DEMO_POLICY) as chain:
        assert all("/v1/nodes" not in path for path in chain.gateway._config.allow)


# --- Endorsements -----------------------------------------------------------------------------------------------------


def endorse(chain: Chain, number: int, change: Callable[[dict[str, CmwRecord]], dict[str, CmwRecord]]) -> None:
    """Have a node show other endorsements beside the same evidence."""
    epochs = chain.nodes[number]._epochs
    shown = epochs.shown
    epochs._shown = evolve(shown, endorsements=Endorsements.of(change(dict(shown.endorsements.items))))


async def test_endorsements_are_refreshed_while_the_evidence_stays() -> None:
    async with running_chain(1, attesters=attesters(1), policy=UNSAFE_DEMO_POLICY) as chain:
        (node,) = (await record_of(chain)).nodes
        path = f"/v1/endorsements/{node.evidence_digest.hex()}"
        _, before = await get(chain, path)
        endorse(chain, 0, lambda items: {**items, "beside": CmwRecord("text/plain", b"newer")})
        with anyio.fail_after(5):
            while (await get(chain, path))[1] == before:
                await anyio.sleep(0.01)
        assert Endorsements.decode((await get(chain, path))[1]).find("beside") == b"newer"
        assert (await record_of(chain)).nodes == (node,)
        async with chain.client() as client:
            await ask(client)


async def test_endorsements_that_refuse_take_a_node_out_of_the_record() -> None:
    async with running_chain(2, attesters=attesters(2), policy=UNSAFE_DEMO_POLICY) as chain:
        endorse(chain, 0, lambda items: {label: item for label, item in items.items() if label != SNP_CERTIFICATES})
        await until_record(chain, Epoch.from_beacon((await record_of(chain)).beacon), 1)
        status = await status_of(chain, 0)
        assert status["refused"] == "appraisal"
        assert any(str(check).startswith("sev-snp.") for check in status["checks"])  # type: ignore[attr-defined]


async def test_unknown_endorsements_are_not_found() -> None:
    async with running_chain(1, attesters=attesters(1), policy=UNSAFE_DEMO_POLICY) as chain:
        for name in ("00" * 32, "0", "XX"):
            assert (await get(chain, f"/v1/endorsements/{name}"))[0] == 404


async def test_endorsements_of_other_evidence_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_chain(1, attesters=attesters(1), policy=UNSAFE_DEMO_POLICY) as chain:
        monkeypatch.setattr("confsec.roles.fleet.EVIDENCE_FIELD", "another-field")
        await until(lambda: chain.router._fleet.status()[0]["listed"] is False)


# --- The turn of the epoch --------------------------------------------------------------------------------------------


async def test_record_before_is_served_until_all_nodes_have_new_evidence() -> None:
    slow, epochs = attesters(2), ToldEpochs()
    async with running_chain(2, attesters=slow, policy=UNSAFE_DEMO_POLICY, epochs=epochs) as chain:
        before = await record_of(chain)
        slow[1].hold = anyio.Event()
        epoch = epochs.turn()
        await until(lambda: chain.router._fleet._nodes[0].key_for(epoch) is not None)
        await anyio.sleep(0.2)
        assert await record_of(chain) == before, "epochs are not mixed"
        slow[1].hold.set()
        after = await until_record(chain, epoch, 2)
        assert {node.node_id for node in before.nodes}.isdisjoint(node.node_id for node in after.nodes)


async def test_node_that_is_too_late_is_left_out_until_it_has_new_evidence() -> None:
    slow, epochs = attesters(2), ToldEpochs()
    async with running_chain(2, attesters=slow, policy=UNSAFE_DEMO_POLICY, epochs=epochs) as chain:
        slow[1].hold = anyio.Event()
        epoch = epochs.turn()
        await until_record(chain, epoch, 1)
        slow[1].hold.set()
        await until_record(chain, epoch, 2)


async def test_node_that_fails_to_attest_does_not_hold_the_others_back() -> None:
    both, epochs = attesters(2), ToldEpochs()
    async with running_chain(2, attesters=both, policy=UNSAFE_DEMO_POLICY, epochs=epochs) as chain:
        both[1].error = BackendError("the TPM refused a command")
        await until_record(chain, epochs.turn(), 1)
        both[1].error = None
        await until_record(chain, epochs.epoch, 2)


async def test_service_without_any_new_evidence_stops_after_the_grace() -> None:
    both, epochs = attesters(2), ToldEpochs()
    async with running_chain(2, attesters=both, policy=UNSAFE_DEMO_POLICY, epochs=epochs) as chain:
        for each in both:
            each.error = BackendError("the TPM refused a command")
        epochs.turn()
        with anyio.fail_after(10):
            while (await get(chain, "/v1/fleet"))[0] == 200:
                await anyio.sleep(0.02)
        assert (await get(chain, "/healthz"))[0] == 503


async def test_source_that_fails_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    epochs, nodes = ToldEpochs(), ToldEpochs()
    nodes.epoch = epochs.epoch
    async with running_chain(1, attesters=attesters(1), policy=UNSAFE_DEMO_POLICY, epochs=epochs) as chain:
        chain.nodes[0]._epochs._source = nodes
        epochs.error = BackendError("no witness answers")
        epochs.turn()
        await chain.nodes[0]._epochs.begin_epoch(epochs.epoch)
        await until_record(chain, epochs.epoch, 1)
    assert "nobody says which epoch it is" in caplog.text


async def test_node_whose_endorsements_are_over_leaves_the_record() -> None:
    async with running_chain(1, attesters=attesters(1), policy=UNSAFE_DEMO_POLICY) as chain:
        node = chain.router._fleet._nodes[0]
        assert node.keys[-1].expires is not None
        node.keys[-1] = evolve(node.keys[-1], expires=system.now())
        assert (await get(chain, "/v1/fleet"))[0] == 503


class Odd(Role):
    """A node that says that it is well, and then keeps the router waiting or gives too much."""

    name: ClassVar = "node"

    def __init__(self, *, slow: bool) -> None:
        super().__init__(RoleConfig(), {("GET", "/v1/evidence"): self._wait if slow else self._flood})

    async def _wait(self, exchange: Exchange) -> None:
        await anyio.sleep_forever()

    async def _flood(self, exchange: Exchange) -> None:
        await exchange.answer(200, (), bytes(MAX_EVIDENCE + 1))


@pytest.mark.parametrize(("slow", "code"), [(True, "deadline"), (False, "limit")])
async def test_node_that_is_too_slow_or_shows_too_much_is_left_out(
    *, slow: bool, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_chain(2, attesters=attesters(2), policy=UNSAFE_DEMO_POLICY) as chain:
        chain.router._fleet._timeout = 0.3
        chain.wire.roles["node-1"] = Odd(slow=slow)
        await until_record(chain, Epoch.from_beacon((await record_of(chain)).beacon), 1)
    assert f"the node http://node-1 shows no evidence: {code}" in caplog.text


async def test_node_whose_clock_is_ahead_stays_listed() -> None:
    epochs, ahead = ToldEpochs(), ToldEpochs()
    ahead.epoch = epochs.epoch
    async with running_chain(1, attesters=attesters(1), policy=UNSAFE_DEMO_POLICY, epochs=epochs) as chain:
        before = await record_of(chain)
        node = chain.nodes[0]
        await node._epochs.begin_epoch(ahead.turn())
        await anyio.sleep(0.3)
        assert await record_of(chain) == before
        epoch = epochs.turn()
        assert epoch == ahead.epoch
        await until_record(chain, epoch, 1)


async def test_turns_of_the_epoch_under_load_drop_no_request() -> None:
    epochs = ToldEpochs()
    async with (
        running_chain(3, attesters=attesters(3), policy=UNSAFE_DEMO_POLICY, epochs=epochs) as chain,
        chain.client() as one,
        chain.client() as other,
    ):
        answered: list[bytes] = []
        done = False

        async def keep_asking(client: Client) -> None:
            while not done:
                answered.append(await ask(client))

        async with anyio.create_task_group() as tasks:
            for client in (one, one, other, other):
                tasks.start_soon(keep_asking, client)
            for _ in range(4):
                await until_record(chain, epochs.turn(), 3)
                seen = len(answered)
                await until(lambda seen=seen: len(answered) > seen + 8)  # type: ignore[misc]
            done = True
        assert len(set(answered)) > 3


# --- What a client refuses --------------------------------------------------------------------------------------------


def serve(chain: Chain, nodes: Sequence[tuple[bytes, bytes]], *, epoch: Epoch | None = None) -> None:
    """Have a dishonest router show these nodes, each a Node ID and evidence, with the endorsements of its own nodes."""
    fleet = chain.router._fleet
    shown = {Evidence.decode(evidence).digest: evidence for _, evidence in nodes}
    entries = [FleetNode(node_id, Evidence.decode(evidence).digest, 0) for node_id, evidence in nodes]
    record = FleetRecord((epoch or fleet._epoch).beacon, tuple(sorted(entries))).encode()
    endorsements = fleet._nodes[0].keys[-1].endorsements.encoded
    fleet.record = lambda: record  # type: ignore[method-assign]
    fleet.evidence = shown.get  # type: ignore[method-assign,assignment]
    fleet.endorsements = lambda digest: endorsements if digest in shown else None  # type: ignore[method-assign]


def shown_by(chain: Chain, number: int = 0) -> Evidence:
    return chain.nodes[number]._epochs.shown.evidence


def named(evidence: Evidence) -> tuple[bytes, bytes]:
    """Return what a router needs to show evidence under the key that is in it."""
    return node_key_id(evidence), evidence.encoded


def with_item(evidence: Evidence, label: str, value: bytes) -> Evidence:
    return Evidence.of({**evidence.items, label: CmwRecord(MEDIA_TYPES[label], value)})


async def refusal(chain: Chain) -> ConfsecError:
    async with chain.client() as client:
        with pytest.raises((EvidenceError, PolicyError)) as raised:
            await ask(client)
    assert [engine.requests for engine in chain.engines] == [[]] * len(chain.engines)
    return raised.value


def codes(error: ConfsecError) -> tuple[str, ...]:
    """Return the checks that refuse, but for the graph's: it has no path where a check before it failed."""
    assert isinstance(error, AppraisalError), error
    return tuple(code for code in error.codes if not code.startswith("binding."))


async def test_client_refuses_evidence_of_one_node_under_the_name_of_another() -> None:
    async with running_chain(2, attesters=attesters(2), policy=UNSAFE_DEMO_POLICY) as chain:
        serve(chain, [(node_key_id(shown_by(chain, 0)), shown_by(chain, 1).encoded)])
        error = await refusal(chain)
    assert isinstance(error, EvidenceError)
    assert "the key of another node" in str(error)


async def test_client_refuses_evidence_that_the_record_does_not_name() -> None:
    async with running_chain(2, attesters=attesters(2), policy=UNSAFE_DEMO_POLICY) as chain:
        serve(chain, [named(shown_by(chain, 0))])
        chain.router._fleet.evidence = lambda digest: shown_by(chain, 1).encoded  # type: ignore[method-assign]
        error = await refusal(chain)
    assert isinstance(error, EvidenceError)
    assert "not what the fleet record names" in str(error)


async def test_client_refuses_evidence_with_the_key_of_somebody_else() -> None:
    async with running_chain(1, attesters=attesters(1), policy=UNSAFE_DEMO_POLICY) as chain:
        key = node_key_config(MLKEM768_X25519.generate(system.randbytes))
        serve(chain, [named(with_item(shown_by(chain), KEY_CONFIG, encode_key_configs([key])))])
        assert codes(await refusal(chain)) == ("sev-snp.report-data",)


async def test_client_refuses_a_spliced_manifest() -> None:
    async with running_chain(1, attesters=attesters(1), policy=UNSAFE_DEMO_POLICY) as chain:
        serve(chain, [named(with_item(shown_by(chain), MANIFEST, Manifest({"engine": "another"}).encode()))])
        assert codes(await refusal(chain)) == ("sev-snp.report-data",)


async def test_client_refuses_a_report_of_another_node() -> None:
    async with running_chain(2, attesters=attesters(2), policy=UNSAFE_DEMO_POLICY) as chain:
        report = shown_by(chain, 1).items[SEV_SNP].value
        serve(chain, [named(with_item(shown_by(chain, 0), SEV_SNP, report))])
        assert codes(await refusal(chain)) == ("sev-snp.report-data",)


async def test_client_refuses_an_item_too_many() -> None:
    async with running_chain(1, attesters=attesters(1), policy=UNSAFE_DEMO_POLICY) as chain:
        more = Evidence.of({**shown_by(chain).items, "ccel": CmwRecord(MEDIA_TYPES["ccel"], b"log")})
        serve(chain, [named(more)])
        assert codes(await refusal(chain)) == ("evidence.platform",)


async def test_client_refuses_evidence_of_an_old_epoch() -> None:
    epochs = ToldEpochs()
    async with running_chain(1, attesters=attesters(1), policy=UNSAFE_DEMO_POLICY, epochs=epochs) as chain:
        old = shown_by(chain)
        await until_record(chain, epochs.turn(), 1)
        serve(chain, [named(old)])
        assert codes(await refusal(chain)) == ("freshness.nonce",)


async def test_client_refuses_old_evidence_that_says_that_it_is_new() -> None:
    epochs = ToldEpochs()
    async with running_chain(1, attesters=attesters(1), policy=UNSAFE_DEMO_POLICY, epochs=epochs) as chain:
        old = shown_by(chain)
        await until_record(chain, epochs.turn(), 1)
        serve(chain, [named(with_item(old, FRESHNESS, shown_by(chain).items[FRESHNESS].value))])
        assert codes(await refusal(chain)) == ("sev-snp.report-data",)


async def test_client_refuses_an_old_record_with_the_evidence_of_its_epoch() -> None:
    async with running_chain(1, attesters=attesters(1), policy=UNSAFE_DEMO_POLICY) as chain:
        old = Epoch.local(int((system.now() - timedelta(hours=2)).timestamp()))
        serve(chain, [named(shown_by(chain))], epoch=old)
        error = await refusal(chain)
    assert type(error) is PolicyError
    assert "of another time" in str(error)


async def test_client_refuses_an_answer_to_an_auditor() -> None:
    async with running_chain(1, attesters=attesters(1), policy=UNSAFE_DEMO_POLICY) as chain:
        headers = (("content-type", CHALLENGE_TYPE),)
        beacon = chain.router._fleet._epoch.beacon
        challenge = HttpRequest(method="POST", url="http://node-0/v1/challenge", headers=headers, content=beacon[:64])
        _, evidence = await fetch(chain.wire, challenge)
        serve(chain, [named(Evidence.decode(evidence))])
        assert codes(await refusal(chain)) == ("freshness.mode", "freshness.nonce")


async def test_client_refuses_a_changed_measurement() -> None:
    async with running_chain(2, attesters=[Changed(), Changed(EVIL)], policy=UNSAFE_DEMO_POLICY) as chain:
        serve(chain, [named(shown_by(chain, 1))])
        assert codes(await refusal(chain)) == ("sev-snp.measurement",)


async def test_client_refuses_evidence_without_what_vouches_for_it() -> None:
    async with running_chain(1, attesters=attesters(1), policy=UNSAFE_DEMO_POLICY) as chain:
        serve(chain, [named(shown_by(chain))])
        chain.router._fleet.endorsements = lambda digest: NO_ENDORSEMENTS  # type: ignore[method-assign]
        assert all(code.startswith("sev-snp.") for code in codes(await refusal(chain)))


async def test_client_uses_the_nodes_that_it_trusts_and_leaves_the_others_out() -> None:
    async with running_chain(3, attesters=[Changed(), Changed(), Changed(EVIL)], policy=UNSAFE_DEMO_POLICY) as chain:
        good = [named(shown_by(chain, number)) for number in range(2)]
        serve(chain, [*good, named(shown_by(chain, 2))])
        async with chain.client() as client:
            answer = await client.request("POST", CHAT, json={})
        assert sorted(answer.proof.candidates) == sorted(node_id for node_id, _ in good)
        assert chain.engines[2].requests == []


async def test_client_with_the_production_policy_refuses_simulated_evidence() -> None:
    async with running_chain(2, attesters=attesters(2), policy=UNSAFE_DEMO_POLICY) as chain:
        chain.policy = PRODUCTION
        assert "policy.platform" in codes(await refusal(chain))


async def test_logs_of_an_attested_service_have_no_evidence_in_them(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with running_chain(2, attesters=[Changed(), Changed(EVIL)], policy=UNSAFE_DEMO_POLICY) as chain:
            report = shown_by(chain, 1).items[SEV_SNP].value
    texts = "\n".join(caplog.messages)
    assert all(report[start : start + 8].hex() not in texts for start, _ in pairwise(range(0, len(report), 8)))
