"""The demo service: what every role really received, what the command says, and what attacks come to.

One service serves all tests of this file; each role is a process of its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from attrs import evolve

from confsec.demo.attacks import ATTACKS, Attack, Target, run_attack
from confsec.demo.evidence_attacks import EVIDENCE_ATTACKS, genuine
from confsec.demo.evil_operator import EvilOperator, PromptSealedError
from confsec.demo.log_attacks import LOG_ATTACKS
from confsec.demo.run import CLIENT_ADDRESS, Turn, ask, chat_request, choose_model, fetch_tokens, new_client
from confsec.demo.service import DemoService, DemoSettings, start_demo
from confsec.errors import BackendError, ConnectError
from confsec.protocol.checks import Status
from confsec.protocol.log_root import LogRoot
from confsec.protocol.log_view import view_logs
from confsec.protocol.proof import TokenUse, verify_proof
from confsec.tee.registry import POLICIES
from tests.support import needs_packages
from tests.tee.tpm_device.swtpm import needs_swtpm

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

PROMPT = "the purple giraffe whispers at 4711"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """Drive the demo on asyncio; the roles themselves are tested on both loops elsewhere."""
    return "asyncio"


@pytest.fixture(scope="module", autouse=True)
def _extras() -> None:
    needs_packages("uvicorn", "xllamacpp")


@pytest.fixture(scope="module", params=["simulated", "tpm"])
async def service(request: pytest.FixtureRequest) -> AsyncGenerator[DemoService]:
    tee: str = request.param
    if tee == "tpm":
        needs_swtpm()
    with tempfile.TemporaryDirectory() as folder:
        async with start_demo(Path(folder), DemoSettings(epoch=600, tokens=True, tee=tee)) as started:
            yield started


async def question(service: DemoService) -> tuple[Turn, dict[str, bytes]]:
    """Ask one question from the very first byte on, and return what was on each wire."""
    service.forget()
    async with new_client(service) as client:
        model = await choose_model(client)
        turn = await ask(service, client, model, PROMPT)
    return turn, {name: bytes(tap.seen.received + tap.seen.sent) for name, tap in service.taps.items()}


async def test_the_engines_real_answer_comes_back(service: DemoService) -> None:
    turn, _ = await question(service)
    assert len(turn.answer.split()) >= 40
    assert turn.timings.pieces >= 40
    assert [hop.name for hop in turn.hops] == ["relay", "gateway", "router", "node"]


async def test_the_issuer_learns_who_paid_and_never_what_for(service: DemoService) -> None:
    assert service.wallet is not None
    service.forget()
    async with new_client(service) as client:
        gateway, issuer = await fetch_tokens(service, client)
        issued = bytes(service.taps["issuer"].seen.received + service.taps["issuer"].seen.sent)
        turn = await ask(service, client, await choose_model(client), PROMPT)
    assert (gateway.saw_account, issuer.saw_account) == (True, True)
    assert not any(hop.saw_client or hop.saw_token or hop.saw_prompt for hop in (gateway, issuer))
    assert [hop.name for hop in turn.hops if hop.saw_token] == ["gateway", "router"]
    assert not any(hop.saw_account for hop in turn.hops)
    assert turn.info.proof.contents.token_use is TokenUse.PREFETCHED
    # Nothing that the issuer got or gave stands on the router's wire: the token was blinded when it was signed.
    redeemed = bytes(service.taps["router"].seen.received)
    windows = {issued[start : start + 24] for start in range(len(issued) - 24)}
    assert not any(redeemed[start : start + 24] in windows for start in _content_of(redeemed))


def _content_of(data: bytes) -> range:
    """Return where the body of the last request on a wire begins: header fields are the same words for everyone."""
    return range(data.rindex(b"PrivateToken token="), len(data) - 24)


async def test_nothing_that_the_issuer_wrote_down_is_in_what_the_router_wrote_down(service: DemoService) -> None:
    await question(service)
    folder = service.service_file.parent
    written = {
        role: b"".join(path.read_bytes() for name in names for path in sorted(folder.glob(name)))
        for role, names in {"issuer": ["issuer.db*", "issuer.log"], "router": ["spent.db*", "router.log"]}.items()
    }
    assert all(len(data) > 4096 for data in written.values())
    words = {written["issuer"][start : start + 16] for start in range(len(written["issuer"]) - 16)}
    common = {
        written["router"][start : start + 16]
        for start in range(len(written["router"]) - 16)
        if written["router"][start : start + 16] in words
    }
    # SQLite's own words and runs of zeros are in every file; what identifies something would be random bytes.
    assert not {each for each in common if len(set(each)) > 12 and not each.isascii()}


async def test_no_wire_carries_prompt_or_answer_and_only_the_relay_sees_the_client(service: DemoService) -> None:
    turn, wires = await question(service)
    words = [word.encode() for word in turn.answer.split()]
    assert words
    for name, data in wires.items():
        assert PROMPT.encode() not in data, name
        assert b"giraffe" not in data, name
        assert b"chat/completions" not in data, name
        assert not any(word in data for word in words if len(word) >= 6), name
        if name != "relay":
            assert CLIENT_ADDRESS.encode() not in data, name
            assert CLIENT_ADDRESS not in service.taps[name].seen.addresses, name
    assert service.taps["relay"].seen.addresses == {CLIENT_ADDRESS}


async def test_no_role_writes_anything_of_a_request_to_its_log_or_folder(service: DemoService) -> None:
    turn, _ = await question(service)
    for path in service.service_file.parent.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert b"giraffe" not in data, path
            assert CLIENT_ADDRESS.encode() not in data, path
            assert turn.answer.encode() not in data, path


async def test_the_proof_holds_nothing_of_the_request(service: DemoService) -> None:
    turn, _ = await question(service)
    data = turn.info.proof.encode()
    assert verify_proof(data, POLICIES) == turn.info.proof
    relay = service.directory.relay_url
    assert service.wallet is not None
    secrets = (PROMPT, "giraffe", turn.answer, CLIENT_ADDRESS, relay, relay.split("//")[1].rstrip("/"))
    for secret in (*secrets, service.wallet.account):
        assert secret.encode() not in data
    for key_config in service.directory.gateway_key_configs:
        assert key_config.public_key not in data
    # Two questions with the same candidates have the same Proof: it cannot tell one from the other.
    again, _ = await question(service)
    assert again.info.proof.encode() == data


async def test_a_refused_question_says_what_the_engine_answered(service: DemoService) -> None:
    async with new_client(service) as client:
        answer = await client.request("POST", "/v1/chat/completions", content=b'{"messages": 7}')
    assert answer.status >= 400
    assert answer.proof.candidates


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
async def test_is_refused(service: DemoService, attack: Attack) -> None:
    async with new_client(service) as client:
        model = await choose_model(client)
    async with Target(service, chat_request(model, PROMPT, max_tokens=8)) as target:
        await target.ask()
        outcome = await run_attack(attack, target)
    assert outcome.refused, outcome.why


async def test_the_nodes_are_appraised_before_the_prompt_is_sealed(service: DemoService) -> None:
    turn, _ = await question(service)
    platform = {"simulated": "sev-snp", "tpm": "tpm"}[service.tee]
    assert [node.platform.name for node in turn.info.proof.nodes if node.platform] == [platform] * 3
    assert turn.info.proof.simulated


def test_thirty_attacks_are_tried_on_requests_evidence_and_logs() -> None:
    assert len(ATTACKS) >= 30
    assert len(EVIDENCE_ATTACKS) >= 6
    names = {attack.name for attack in ATTACKS}
    assert {attack.name for attack in LOG_ATTACKS} <= names
    assert {
        "split-view", "rolled-back-log", "missing-quorum", "two-logged-directories", "precomputed-root", "forked-log",
    } <= names  # fmt: skip


async def test_directory_and_fleet_are_what_everybody_is_shown(service: DemoService) -> None:
    turn, _ = await question(service)
    proof = turn.info.proof
    statuses = {check.id: check.status for check in proof.checks}
    assert [statuses[name] for name in ("log.directory", "log.fleet", "freshness.epoch")] == [Status.PASS] * 3
    assert statuses["log.root"] is Status.INFO
    assert proof.contents.logs is not None
    assert LogRoot.from_toml(service.service_file.read_text()) == proof.contents.logs.root
    directory, fleet = view_logs(proof.contents.logs)
    assert (directory.error, fleet.error) == ("", "")
    assert {each.kind for each in directory.witnesses} == {"ED25519", "ML-DSA-44"}


async def test_an_operator_who_shows_the_truth_gets_the_prompt(service: DemoService) -> None:
    """The evil operator is no obstacle by himself: what he shows is what is refused."""
    async with Target(service, b"{}") as target:
        shown = await genuine(target)
        operator = EvilOperator(
            target.logs, target.directory, shown.nodes, beacon=shown.epoch.beacon, before=shown.before
        )
        with pytest.raises(PromptSealedError):
            await target.ask(operator, operator.root)


async def test_an_attack_that_works_is_reported_as_such(service: DemoService) -> None:
    """The list of attacks is only worth something if it could also come out the other way."""

    async def ask_honestly(target: Target) -> None:
        await target.ask()

    async def find_nobody(target: Target) -> None:
        raise ConnectError("nobody is there")

    async with Target(service, chat_request("any", PROMPT, max_tokens=4)) as target:
        worked = await run_attack(Attack("honest", "Nobody.", (ConnectError,), ask_honestly), target)
        elsewhere = await run_attack(Attack("down", "Nobody.", (BackendError,), find_nobody), target)
    assert (worked.refused, worked.why) == (False, "it worked")
    assert not elsewhere.refused
    assert "another reason" in elsewhere.why


async def test_only_the_allowed_paths_reach_the_router(service: DemoService) -> None:
    async with Target(service, b"{}") as target:
        for method, path in (("GET", "/healthz"), ("POST", "/v1/sealed"), ("GET", "/v1/evidence/../fleet")):
            response = await target.through(method, path)
            assert response.status in {400, 403, 404, 405}, (method, path)


async def test_a_request_for_another_target_is_refused_inside(service: DemoService) -> None:
    elsewhere = evolve(service, directory=evolve(service.directory, router_origin="https://127.0.0.1:22"))
    async with Target(elsewhere, b"{}") as target:
        response = await target.through("GET", "/v1/fleet")
    assert response.status in {403, 404, 421}
