"""A node in a TEE: what it shows in each epoch, also where its TEE is slow or fails, and how it answers auditors."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import anyio
import pytest

from confsec.backends.api import HttpRequest, header
from confsec.backends.asgi import AsgiTransport
from confsec.backends.system import randbytes
from confsec.errors import BackendError, ConfigError, LocalProtocolError
from confsec.protocol.appraisal import appraise_evidence, node_key_config
from confsec.protocol.bhttp import Request
from confsec.protocol.binding import Mode, challenge_nonce
from confsec.protocol.cmw import CmwRecord, Endorsements, Evidence
from confsec.protocol.groups import P256
from confsec.protocol.kem_base import DiffieHellman
from confsec.protocol.manifest import Freshness, Manifest
from confsec.protocol.platforms import FRESHNESS, KEY_CONFIG, MANIFEST, SEV_SNP
from confsec.protocol.sealed import SealedClient
from confsec.roles.manifests import describe_file, describe_place
from confsec.roles.node import CHALLENGE_TYPE, Node, NodeConfig
from confsec.tee.api import Attestation
from confsec.tee.demo_policy import UNSAFE_DEMO_POLICY
from confsec.testing import FixedClock
from tests.roles.attesting import Changed, ToldEpochs, with_items
from tests.roles.chain import CHAT, FakeEngine, describe_engine
from tests.roles.support import fetch, read

pytestmark = pytest.mark.anyio

SEALED = (("content-type", "message/confsec-sealed-req"),)
CHALLENGE = b"an auditor's challenge"


class Served:
    """A node that runs, with its attester and its epochs."""

    def __init__(self, node: Node, attester: Changed, epochs: ToldEpochs) -> None:
        self.node = node
        self.attester = attester
        self.epochs = epochs
        self.transport = AsgiTransport(node)

    async def get(self, path: str) -> tuple[int, bytes]:
        return await fetch(self.transport, HttpRequest(method="GET", url="http://node" + path))

    async def evidence(self) -> Evidence:
        status, body = await self.get("/v1/evidence")
        assert status == 200
        return Evidence.decode(body)

    async def challenge(self, challenge: bytes, media_type: str = CHALLENGE_TYPE) -> tuple[int, bytes]:
        headers = (("content-type", media_type),)
        request = HttpRequest(method="POST", url="http://node/v1/challenge", headers=headers, content=challenge)
        return await fetch(self.transport, request)

    async def ask(self, evidence: Evidence) -> int:
        """Ask the engine, sealed to the key in this evidence; return the status."""
        client = SealedClient([node_key_config(evidence)], randbytes=randbytes)
        content = Request("POST", "https", "engine", CHAT, (("content-type", "application/json"),), b"{}").encode()
        request = HttpRequest(method="POST", url="http://node/v1/sealed", headers=SEALED, content=client.seal(content))
        return (await fetch(self.transport, request))[0]

    async def until_shown(self, *, other_than: Evidence) -> Evidence:
        with anyio.fail_after(10):
            while True:
                status, body = await self.get("/v1/evidence")
                if status == 200 and body != other_than.encoded:
                    return Evidence.decode(body)
                await anyio.sleep(0.01)


@asynccontextmanager
async def serving(attester: Changed | None = None) -> AsyncGenerator[Served]:
    attester, epochs = attester or Changed(), ToldEpochs()
    node = Node(
        NodeConfig(challenge_interval=0.2),
        FakeEngine(),
        attester=attester,
        describe_engine=describe_engine,
        epochs=epochs,
    )
    async with node.lifespan():
        yield Served(node, attester, epochs)


async def test_evidence_holds_the_items_of_the_role_and_of_the_tee_about_one_binding() -> None:
    async with serving() as served:
        evidence = await served.evidence()
        assert set(evidence.items) == {KEY_CONFIG, MANIFEST, FRESHNESS, SEV_SNP}
        freshness = Freshness.decode(evidence.items[FRESHNESS].value)
        assert freshness == Freshness(Mode.EPOCH, served.epochs.epoch.nonce)
        (binding,) = served.attester.bindings
        assert binding.key_config == node_key_config(evidence).encode()
        assert binding.manifest == evidence.items[MANIFEST].value
        assert (binding.mode, binding.nonce, binding.ak) == (Mode.EPOCH, freshness.nonce, None)
        status, endorsements = await served.get("/v1/endorsements")
        assert status == 200
        result = appraise_evidence(
            evidence,
            Endorsements.decode(endorsements),
            expected=freshness,
            policy=UNSAFE_DEMO_POLICY,
            at=served.epochs.epoch.began,
        )
        UNSAFE_DEMO_POLICY.require(result.checks)


async def test_endorsements_name_the_evidence_that_they_belong_to() -> None:
    async with serving() as served:
        evidence = await served.evidence()
        request = HttpRequest(method="GET", url="http://node/v1/endorsements")
        async with served.transport.stream(request) as response:
            assert header(response.headers, "confsec-evidence") == evidence.digest.hex()
            await read(response)


async def test_manifest_says_what_was_loaded_and_not_where() -> None:
    async with serving() as served:
        manifest = Manifest.decode((await served.evidence()).items[MANIFEST].value).members
        assert manifest["engine"] == {"kind": "fake", "model": bytes(32)}
        assert set(manifest) == {"version", "program", "engine", "limits"}
        assert manifest["limits"] == {"epoch": 600, "max_body": 9 << 20, "replay_limit": 1 << 18}


async def test_model_is_hashed_and_a_place_only_said_to_be_near_or_far(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"weights" * 100_000)
    assert await describe_file(tmp_path / "model.gguf") == sha256(b"weights" * 100_000).digest()
    with pytest.raises(ConfigError, match="cannot be read"):
        await describe_file(tmp_path / "none.gguf")
    places = {"unix:/run/engine": "socket", "http://127.0.0.1:1/v1": "machine", "http://[::1]:1": "machine"}
    for url, place in {**places, "http://engine.example/v1": "network"}.items():
        assert describe_place(url) == place


async def test_node_that_attests_has_to_say_what_its_engine_loaded() -> None:
    with pytest.raises(ConfigError, match="describe_engine"):
        Node(NodeConfig(), FakeEngine(), attester=Changed())


async def test_old_key_serves_while_the_new_one_is_attested() -> None:
    async with serving() as served:
        before = await served.evidence()
        served.attester.hold = anyio.Event()
        served.epochs.turn()
        with anyio.fail_after(5):
            await served.attester.holding.wait()
        assert await served.evidence() == before
        assert await served.ask(before) == 200
        served.attester.hold.set()
        after = await served.until_shown(other_than=before)
        assert Freshness.decode(after.items[FRESHNESS].value).nonce == served.epochs.epoch.nonce
        assert await served.ask(before) == 200
        assert await served.ask(after) == 200


async def test_device_forgets_keys_two_epochs_later_and_at_the_end() -> None:
    async with serving() as served:
        evidence = await served.evidence()
        for _ in range(4):
            served.epochs.turn()
            evidence = await served.until_shown(other_than=evidence)
            assert served.attester.open <= 3
        assert served.attester.open == 2
    assert served.attester.open == 0
    assert served.attester.closed


@pytest.mark.parametrize("error", [BackendError("the TPM refused a command"), ZeroDivisionError("a secret")])
async def test_node_that_cannot_attest_shows_nothing_and_opens_what_it_can(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as served:
        before = await served.evidence()
        served.attester.error = error
        served.epochs.turn()
        with anyio.fail_after(5):
            while (await served.get("/v1/evidence"))[0] == 200:
                await anyio.sleep(0.01)
        status, body = await served.get("/v1/endorsements")
        assert (status, json.loads(body)["code"]) == (502, "backend")
        assert await served.ask(before) == 200
        assert served.attester.open == 1, "what failed is closed"
        served.attester.error = None
        await served.until_shown(other_than=before)
    assert "cannot attest" in caplog.text
    assert "secret" not in caplog.text


async def test_source_that_cannot_say_the_epoch_leaves_the_evidence_as_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Failing:
        def __init__(self, inner: ToldEpochs) -> None:
            self.current = inner.current
            self.inner = inner
            self.failed = 0

        async def wait_after(self, epoch: object) -> object:
            self.failed += 1
            if self.failed == 1:
                raise BackendError("no witness answers")
            return await self.inner.wait_after(epoch)  # type: ignore[arg-type]

    with caplog.at_level(logging.WARNING):
        async with serving() as served:
            before = await served.evidence()
            served.node._epochs._source = Failing(served.epochs)  # type: ignore[assignment]
            served.epochs.turn()
            second = await served.until_shown(other_than=before)
            with anyio.fail_after(5):
                while "which epoch it is" not in caplog.text:
                    await anyio.sleep(0.01)
            assert await served.evidence() == second
            served.epochs.turn()
            await served.until_shown(other_than=second)


async def test_node_that_cannot_attest_at_first_does_not_start() -> None:
    attester = Changed()
    attester.error = BackendError("the TPM refused a command")
    with pytest.raises(BackendError, match="the TPM refused"):
        async with serving(attester):
            raise AssertionError("it runs")
    assert (attester.open, attester.closed) == (0, True)


async def test_attester_cannot_put_an_item_of_the_role_into_the_evidence() -> None:
    attester = Changed()
    attester.change = with_items({KEY_CONFIG: CmwRecord("application/ohttp-keys", b"another key")})
    with pytest.raises(LocalProtocolError, match="an item that is the role's"):
        async with serving(attester):
            raise AssertionError("it runs")


async def test_keys_of_an_epoch_that_nothing_follows_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("confsec.roles.node_epochs._ERASE_EVERY", 0.01)
    clock = FixedClock(datetime(2026, 11, 28, tzinfo=UTC))
    attester = Changed()
    node = Node(
        NodeConfig(),
        FakeEngine(),
        attester=attester,
        describe_engine=describe_engine,
        epochs=ToldEpochs(),
        clock=clock,
    )
    async with node.lifespan():
        clock.advance(timedelta(minutes=31))
        with anyio.fail_after(5):
            while attester.open:
                await anyio.sleep(0.01)
        assert (await fetch(AsgiTransport(node), HttpRequest(method="GET", url="http://node/v1/evidence")))[0] == 503


# --- Auditors ---------------------------------------------------------------------------------------------------------


async def test_auditor_gets_evidence_of_the_current_key_in_another_mode() -> None:
    async with serving() as served:
        shown = await served.evidence()
        status, body = await served.challenge(CHALLENGE)
        assert status == 200
        evidence = Evidence.decode(body)
        expected = Freshness(Mode.CHALLENGE, challenge_nonce(CHALLENGE))
        assert Freshness.decode(evidence.items[FRESHNESS].value) == expected
        assert node_key_config(evidence) == node_key_config(shown)
        _, endorsements = await served.get("/v1/endorsements")
        result = appraise_evidence(
            evidence,
            Endorsements.decode(endorsements),
            expected=expected,
            policy=UNSAFE_DEMO_POLICY,
            at=served.epochs.epoch.began,
        )
        UNSAFE_DEMO_POLICY.require(result.checks)
        assert await served.evidence() == shown


async def test_challenges_are_answered_one_by_one_and_not_too_often() -> None:
    async with serving() as served:
        assert (await served.challenge(CHALLENGE))[0] == 200
        status, body = await served.challenge(CHALLENGE)
        assert (status, json.loads(body)["code"]) == (429, "rate_limit")
        await anyio.sleep(0.25)
        served.attester.hold = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(served.challenge, CHALLENGE)
            await served.attester.holding.wait()
            await anyio.sleep(0.25)
            assert (await served.challenge(CHALLENGE))[0] == 429
            served.attester.hold.set()


@pytest.mark.parametrize(
    ("challenge", "media_type", "status", "code"),
    [
        (bytes(7), CHALLENGE_TYPE, 400, "decode"),
        (bytes(65), CHALLENGE_TYPE, 413, "limit"),
        (bytes(1 << 20), CHALLENGE_TYPE, 413, "limit"),
        (CHALLENGE, "text/plain", 415, "unsupported_media_type"),
    ],
)
async def test_what_is_no_challenge_is_refused(challenge: bytes, media_type: str, status: int, code: str) -> None:
    async with serving() as served:
        got, body = await served.challenge(challenge, media_type)
        assert (got, json.loads(body)["code"]) == (status, code)
        assert len(served.attester.bindings) == 1


async def test_node_without_a_tee_answers_no_auditor() -> None:
    node = Node(NodeConfig(), FakeEngine(), attester=None)
    headers = (("content-type", CHALLENGE_TYPE),)
    request = HttpRequest(method="POST", url="http://node/v1/challenge", headers=headers, content=CHALLENGE)
    async with node.lifespan():
        assert (await fetch(AsgiTransport(node), request))[0] == 404


# --- Half of the key in a device --------------------------------------------------------------------------------------


class InDevice:
    """An attester with a P-256 key that blocks, as a TPM's does."""

    def __init__(self) -> None:
        self.threads: list[str] = []

    @property
    def platform(self) -> str:
        return "tpm"

    async def begin(self) -> _InDeviceEpoch:
        return _InDeviceEpoch(self)

    async def aclose(self) -> None:
        """Nothing is open."""


class _InDeviceEpoch:
    ak = b"ak"

    def __init__(self, device: InDevice) -> None:
        self._device = device
        self._key = P256.generate(randbytes)

    @property
    def request_key(self) -> DiffieHellman:
        return self

    @property
    def public_key(self) -> bytes:
        return self._key.public_key

    def diffie_hellman(self, peer_public_key: bytes) -> bytes:
        import threading

        self._device.threads.append(threading.current_thread().name)
        return self._key.diffie_hellman(peer_public_key)

    async def attest(self, binding: object) -> Attestation:
        return Attestation(items={}, endorsements={})

    async def aclose(self) -> None:
        """Nothing is open."""


async def test_key_with_a_half_in_a_device_is_a_hybrid_and_opens_in_a_thread() -> None:
    import threading

    device = InDevice()
    node = Node(NodeConfig(), FakeEngine(), attester=device, describe_engine=describe_engine)
    async with node.lifespan():
        served = Served(node, Changed(), ToldEpochs())
        evidence = await served.evidence()
        assert node_key_config(evidence).kem_id == 0x0050
        assert await served.ask(evidence) == 200
    (thread,) = device.threads
    assert thread != threading.current_thread().name
