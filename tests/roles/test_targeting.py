"""Who shows one client something else than everybody is shown is refused: in a hundred of a hundred runs.

In each run the keys of client, service and attacker, and the moment, are drawn anew. The operator has the keys of his
logs, and has bribed as many witnesses as an attack needs; the client has its root, and what it remembers.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from datetime import timedelta
from hashlib import sha256

import anyio.lowlevel
import pytest
from attrs import evolve

from confsec.backends import system
from confsec.backends.api import HttpRequest, HttpResponse
from confsec.errors import (
    ConfsecError,
    DecodeError,
    DecryptionError,
    ForkedLogError,
    RolledBackLogError,
    StaleLogError,
    TokenSignatureError,
    TransparencyError,
    UncosignedError,
    UnknownKeyError,
)
from confsec.issuer_client import IssuerClient
from confsec.protocol.bhttp import Response
from confsec.protocol.chunked_ohttp import ChunkedOhttpClient, ChunkedOhttpGateway
from confsec.protocol.directory import IssuerEntry, ServiceDirectory
from confsec.protocol.fleet import FleetRecord
from confsec.protocol.gateway_keys import GatewayKey, GatewayKeyring
from confsec.protocol.kem import kem_from_id
from confsec.protocol.key_config import KeyConfig, SymmetricSuite
from confsec.protocol.modular import powmod
from confsec.protocol.note_keys import KeyType, Signer
from confsec.protocol.ohttp import MEDIA_TYPE_CHUNKED_RESPONSE
from confsec.protocol.policy import UNSAFE_UNATTESTED
from confsec.protocol.predicates import DirectoryStatement
from confsec.protocol.privacy_pass import BatchTokenIssuer
from confsec.protocol.rsa_keys import TOKEN_EXPONENT, RsaPublicKey
from confsec.protocol.service_logs import LoggedDirectory
from confsec.protocol.session import ClientSession
from confsec.protocol.state_reader import Firsts, StateUpdate
from confsec.protocol.token_keys import TokenKey, TokenKeyEpoch, TokenKeyring
from confsec.protocol.transparency import TrustedLog
from confsec.testing import EPOCH as TOKEN_TIME, FixedClock
from confsec.testing_logs import MemoryLog
from confsec.wallet import Wallet, WalletSettings
from tests.client.wallet_issuer import issuer_entry
from tests.protocol.fleets import X_WING, Fleet, make_fleet
from tests.protocol.log_world import DAY, EPOCH, HOUR, World, read, signed
from tests.protocol.logged_service import LoggedService
from tests.protocol.service import NOW
from tests.protocol.token_cases import OTHER_2048

RUNS = 100
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
DRAW = random.SystemRandom()

Files = dict[str, bytes]


def seconds(least: timedelta, most: timedelta) -> timedelta:
    """Draw a time from least to most, in whole seconds."""
    return timedelta(seconds=DRAW.randint(int(least.total_seconds()), int(most.total_seconds())))


class Scene:
    """A service, and a client of it that remembers."""

    def __init__(self) -> None:
        self.service = LoggedService(nodes=1, seed=system.randbytes(16).hex(), issuer=issuer_entry())
        self.world: World = self.service.world
        self.memory: dict[str, TrustedLog] = {}
        self.shown: Files | None = None
        """The files of the log of directories that the client is shown, if it is not the true one."""

    def ask(self) -> None:
        """Ask as a client does: read both logs, appraise the fleet, and seal a prompt."""
        session = ClientSession(self.read_directory(), policy=UNSAFE_UNATTESTED, randbytes=system.randbytes)
        origin = self.world.fleets.origin
        self.service.refresh(session, self.memory.get(origin, TrustedLog(origin)))
        assert session.fleet_log is not None
        self.memory[origin] = session.fleet_log
        self.service.sealed(session)

    def read_directory(self) -> LoggedDirectory:
        """Read the log of directories, and remember it."""
        root, now = self.world.root, self.service.now
        origin = root.directory.origin
        update = StateUpdate(
            self.memory.get(origin, TrustedLog(origin)), root.witnesses, at=now, maximum_age=root.directory.maximum_age,
            entries=16, firsts=Firsts.ALL,
        )  # fmt: skip
        news = read(update, self.world.directories.files(now) if self.shown is None else self.shown)
        directory = LoggedDirectory(root, news.state)
        _ = directory.in_effect
        self.memory[origin] = news.trusted
        return directory

    def remember(self) -> None:
        """Have the client remember both logs as they are now, as if it had asked."""
        for log, age in ((self.world.directories, DAY), (self.world.fleets, EPOCH)):
            note, now = log.note(self.service.now), self.service.now
            policy = self.world.root.witnesses
            self.memory[log.origin] = TrustedLog(log.origin).advance(note, (), policy=policy, at=now, maximum_age=age)

    def wait(self, time: timedelta) -> None:
        """Let time pass, and begin the next epoch."""
        self.service.now += time
        self.service.log_fleet(self.service.fleet)

    def own_directory(self) -> ServiceDirectory:
        """Return the directory with a key of the operator's own: the gateway's, or one of the issuer."""
        directory = self.service.directory
        assert directory.issuer is not None
        issuers = (
            evolve(directory.issuer, gateway_key_configs=(draw_config(),)),
            evolve(directory.issuer, token_keys=(draw_token_key(),)),
            evolve(directory.issuer, relay_url=f"https://relay.example/{system.randbytes(8).hex()}"),
        )
        owns = [evolve(directory, issuer=issuer) for issuer in issuers]
        return DRAW.choice([evolve(directory, gateway_key_configs=(draw_config(),)), *owns])

    def own_fleet(self) -> Fleet:
        """Return a fleet of machines of the operator's own, of this epoch."""
        own = make_fleet(1, randbytes=system.randbytes)
        return evolve(own, record=evolve(own.record, beacon=self.service.fleet.record.beacon))

    def forge(self, log: MemoryLog, entries: int) -> MemoryLog:
        """Return a log with the keys of another that begins with as many of its entries."""
        forged = MemoryLog(log.origin, log.signer, log.witnesses, entries=log.entries[:entries])
        forged.firsts.update({index: note for index, note in log.firsts.items() if index < entries})
        return forged


def draw_witness() -> Signer:
    return Signer("w9.example/w", KeyType.ED25519_COSIGNATURE, system.randbytes(32))


def draw_config() -> KeyConfig:
    key = kem_from_id(X_WING).generate(system.randbytes)
    return KeyConfig(key_id=1, kem_id=X_WING, public_key=key.public_key, suites=(SymmetricSuite(1, 1),))


def draw_token_key() -> TokenKeyEpoch:
    """Draw a number that looks like a key: nobody can sign with it, and nobody needs to."""
    (epoch,) = issuer_entry().token_keys
    while True:
        modulus = int.from_bytes(b"\xc0" + system.randbytes(255), "big") | 1
        with suppress(DecodeError):  # it has small factors
            return evolve(epoch, key=TokenKey(epoch.key.token_type, RsaPublicKey(modulus, TOKEN_EXPONENT)))


def require_refused(attack: Callable[[Scene], None], *errors: type[ConfsecError]) -> None:
    """Attack so many clients, each in a world of its own, and have each refuse before it seals anything."""
    refused = 0
    for _ in range(RUNS):
        scene = Scene()
        with pytest.raises(errors):
            attack(scene)
        assert scene.service.asked == []
        refused += not any(request.method == "POST" for request in scene.service.requests)
    assert refused == RUNS == 100


def test_a_client_of_an_honest_operator_is_not_refused() -> None:
    """So that the others do not fail for another reason."""
    for _ in range(10):
        scene = Scene()
        scene.ask()
        scene.wait(EPOCH)
        scene.ask()
        assert len(scene.service.asked) == 2


# --- Gateways: key configurations of a directory ----------------------------------------------------------------------


def test_a_directory_that_is_in_no_log_is_refused() -> None:
    def attack(scene: Scene) -> None:
        log = scene.world.directories
        now = scene.service.now
        statement = DirectoryStatement(
            issued=NOW - 2 * DAY, valid_until=NOW + 28 * DAY, directory=scene.own_directory().to_toml()
        )
        forged = scene.forge(log, 0)
        forged.append(signed(statement), NOW - 2 * DAY)
        scene.shown = {**forged.files(now), "checkpoint": log.note(now)}
        scene.ask()

    require_refused(attack, TransparencyError)


def test_two_directories_of_which_each_is_logged_are_refused() -> None:
    """The operator logs one for a client's visit, and the true one again. He may choose when, within a day."""

    def attack(scene: Scene) -> None:
        true, now = scene.service.directory, scene.service.now
        again = seconds(timedelta(0), HOUR - SECOND)
        scene.world.add_directory(scene.own_directory(), now - again - seconds(SECOND, DAY - SECOND))
        scene.world.add_directory(true, now - again)
        scene.ask()

    require_refused(attack, TransparencyError)


def test_a_directory_that_takes_effect_before_anybody_could_see_it_is_not_used() -> None:
    """It is not refused: the one before holds until then, for everybody."""
    for _ in range(RUNS):
        scene = Scene()
        scene.world.add_directory(scene.own_directory(), scene.service.now - seconds(timedelta(0), HOUR - SECOND))
        assert scene.read_directory().in_effect.directory == scene.service.directory


def test_the_old_one_of_two_logged_directories_is_refused() -> None:
    """A client is shown the log without the newest directory, whose checkpoint it has."""

    def attack(scene: Scene) -> None:
        log, now = scene.world.directories, scene.service.now
        scene.world.add_directory(scene.own_directory(), now - seconds(timedelta(0), DAY))
        scene.shown = {**scene.forge(log, 1).files(now), "checkpoint": log.note(now)}
        scene.ask()

    require_refused(attack, TransparencyError)


def test_the_other_one_of_two_logged_directories_is_refused() -> None:
    """A client is shown an entry of the log in the place of another."""

    def attack(scene: Scene) -> None:
        log, now = scene.world.directories, scene.service.now
        scene.world.add_directory(scene.own_directory(), now - seconds(timedelta(0), HOUR - SECOND))
        files = log.files(now)
        swapped = MemoryLog(log.origin, log.signer, log.witnesses, entries=log.entries[::-1])
        scene.shown = {**files, "tile/entries/000.p/2": swapped.files(now)["tile/entries/000.p/2"]}
        scene.ask()

    require_refused(attack, TransparencyError)


def test_a_directory_that_has_ended_is_refused() -> None:
    def attack(scene: Scene) -> None:
        scene.wait(28 * DAY + seconds(SECOND, 10 * DAY))
        scene.ask()

    require_refused(attack, TransparencyError)


def test_a_superseded_directory_that_is_logged_again_is_refused() -> None:
    def attack(scene: Scene) -> None:
        log = scene.world.directories
        old = log.entries[0]
        scene.wait(seconds(DAY, 3 * DAY))
        scene.world.add_directory(scene.own_directory(), scene.service.now)
        scene.wait(seconds(DAY, 3 * DAY))
        log.append(old, scene.service.now)
        scene.wait(seconds(HOUR, 3 * DAY))
        scene.ask()

    require_refused(attack, TransparencyError)


class Impostor:
    """A gateway that has another key than the logged one, and sees all that is sent to the true one."""

    def __init__(self) -> None:
        key = kem_from_id(X_WING).generate(system.randbytes)
        self.config = evolve(draw_config(), public_key=key.public_key)
        self._keyring = GatewayKeyring()
        self._keyring.add(
            GatewayKey(
                config=self.config, decapsulator=key, published_from=NOW - DAY, published_until=NOW + DAY,
                accepted_until=NOW + DAY,
            )
        )  # fmt: skip

    def refuse(self, enc_request: bytes) -> ConfsecError:
        """Try to open what was sealed to another, and return why that failed."""
        gateway = ChunkedOhttpGateway(self._keyring, randbytes=system.randbytes, now=NOW)
        with pytest.raises((DecryptionError, UnknownKeyError)) as raised:
            gateway.receive_data(enc_request) + gateway.receive_eof()
        return raised.value

    def answer(self, response: Response) -> bytes:
        """Answer a request of its own, which it has sealed to itself: the best that it can do."""
        client = ChunkedOhttpClient(self.config, randbytes=system.randbytes)
        gateway = ChunkedOhttpGateway(self._keyring, randbytes=system.randbytes, now=NOW)
        gateway.receive_data(client.begin() + client.send_eof(b"anything"))
        gateway.receive_eof()
        return gateway.begin() + gateway.send_eof(response.encode())


def test_a_gateway_with_another_key_reads_nothing_and_is_not_believed() -> None:
    def attack(scene: Scene) -> None:
        impostor = Impostor()

        def answer(enc_request: bytes) -> bytes:
            impostor.refuse(enc_request)
            return impostor.answer(Response(200, content=scene.world.fleets.files(NOW)["checkpoint"]))

        scene.service.handle = answer  # type: ignore[method-assign]
        scene.ask()

    require_refused(attack, DecryptionError)


# --- Issuers ----------------------------------------------------------------------------------------------------------


class EvilIssuer:
    """An issuer that signs with another key than the logged one, which it has for this client alone."""

    def __init__(self, entry: IssuerEntry) -> None:
        self._keyring = TokenKeyring(entry.token_keys, grace=HOUR)
        self.asked = 0

    async def __call__(self, request_id: str, request: bytes) -> bytes:
        await anyio.lowlevel.checkpoint()
        machine = BatchTokenIssuer(self._keyring, now=TOKEN_TIME)
        machine.receive_data(request)
        needed = machine.receive_eof()  # which raises for a key that is not the directory's
        self.asked += 1
        return machine.respond([self._sign(each.blinded_msg) for each in needed])

    @staticmethod
    def _sign(blinded_msg: bytes) -> bytes:
        key = OTHER_2048.public_key
        exponent = pow(key.e, -1, (OTHER_2048.p - 1) * (OTHER_2048.q - 1))
        return powmod(int.from_bytes(blinded_msg, "big") % key.n, exponent, key.n).to_bytes(key.modulus_size, "big")


@pytest.mark.anyio
async def test_an_issuer_that_signs_with_another_key_is_refused() -> None:
    """The client asks for tokens under the directory's keys alone, and takes no other."""
    refused = 0
    for _ in range(RUNS):
        entry = Scene().read_directory().in_effect.directory.issuer
        assert entry is not None
        issuer = EvilIssuer(entry)
        settings = WalletSettings(batch=2)
        async with Wallet(None, settings=settings, randbytes=system.randbytes, clock=FixedClock()) as wallet:
            with pytest.raises(TokenSignatureError):
                await wallet.take(entry, issuer)
            counts = await wallet.counts()
        assert issuer.asked == 1
        refused += not counts.fetched
    assert refused == RUNS


@pytest.mark.anyio
async def test_an_issuer_whose_gateway_has_another_key_is_not_believed() -> None:
    """It learns neither the account nor what is asked for."""
    refused = 0
    for _ in range(RUNS):
        entry = Scene().read_directory().in_effect.directory.issuer
        assert entry is not None
        wire = _ImpostorWire(Impostor())
        ask = IssuerClient(entry, f"csk_{system.randbytes(8).hex()}", wire, randbytes=system.randbytes)
        async with Wallet(None, randbytes=system.randbytes, clock=FixedClock()) as wallet:
            with pytest.raises(DecryptionError):
                await wallet.take(entry, ask)
            refused += not (await wallet.counts()).fetched
        assert len(wire.refusals) == 1
    assert refused == RUNS


class _ImpostorWire:
    """A transport to a gateway that has another key."""

    def __init__(self, impostor: Impostor) -> None:
        self._impostor = impostor
        self.refusals: list[ConfsecError] = []

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]:
        return self._stream(request)

    @asynccontextmanager
    async def _stream(self, request: HttpRequest) -> AsyncGenerator[HttpResponse]:
        assert isinstance(request.content, bytes)
        self.refusals.append(self._impostor.refuse(request.content))
        headers = (("content-type", MEDIA_TYPE_CHUNKED_RESPONSE),)
        async with aclosing(self._answer()) as content:
            yield HttpResponse(status=200, headers=headers, content=content)

    async def _answer(self) -> AsyncGenerator[bytes]:
        await anyio.lowlevel.checkpoint()
        yield self._impostor.answer(Response(200, content=b"tokens"))

    async def aclose(self) -> None:
        """Nothing is open."""


# --- Routers: fleets --------------------------------------------------------------------------------------------------


def test_a_fleet_that_is_in_no_log_is_refused() -> None:
    def attack(scene: Scene) -> None:
        scene.service.fleet = scene.own_fleet()
        scene.ask()

    require_refused(attack, TransparencyError)


def test_two_fleets_of_one_epoch_are_refused_also_when_both_are_logged() -> None:
    """Whichever of them the client is shown."""

    def attack(scene: Scene) -> None:
        service, true = scene.service, scene.service.fleet
        own = scene.own_fleet()
        service.now += seconds(timedelta(0), EPOCH / 2)
        scene.world.add_fleet(service.now, *own.record.nodes, beacon=true.record.beacon)
        service.fleet = own if DRAW.random() < 0.5 else true
        service.logged_digest = sha256(FleetRecord(true.record.beacon, own.record.nodes).encode()).digest()
        scene.ask()

    require_refused(attack, TransparencyError)


def test_two_fleets_of_two_epochs_that_follow_too_soon_are_refused() -> None:
    def attack(scene: Scene) -> None:
        scene.service.now += seconds(timedelta(0), EPOCH / 2 - SECOND)
        scene.service.log_fleet(scene.own_fleet())
        scene.ask()

    require_refused(attack, TransparencyError)


def test_the_fleet_of_an_epoch_before_is_refused() -> None:
    """By whoever has seen the newest: a record of yesterday's nodes has keys that may be in other hands now."""

    def attack(scene: Scene) -> None:
        service, log = scene.service, scene.world.fleets
        old = service.fleet
        scene.wait(seconds(EPOCH / 2, EPOCH))
        scene.remember()
        service.fleet = old
        service.logged_digest = sha256(old.encoded).digest()
        first = scene.forge(log, 1)
        service.overlay = {**first.files(service.now), "checkpoint": first.note(service.now)}
        scene.ask()

    require_refused(attack, RolledBackLogError)


def test_evidence_for_a_root_that_the_operator_computed_in_advance_is_refused() -> None:
    """He knows the tree that will be, and has the word of one witness, or of none."""

    def attack(scene: Scene) -> None:
        service, log = scene.service, scene.world.fleets
        own = scene.own_fleet()
        service.now += seconds(EPOCH / 2, EPOCH)
        bribed = MemoryLog(log.origin, log.signer, DRAW.sample(log.witnesses, DRAW.randint(0, 1)), entries=log.entries)
        beacon = bribed.note(service.now + seconds(timedelta(0), MINUTE))
        service.fleet = evolve(own, record=evolve(own.record, beacon=beacon))
        service.logged_digest = sha256(service.fleet.encoded).digest()
        scene.world.add_fleet(service.now, *own.record.nodes, beacon=beacon)
        scene.ask()

    require_refused(attack, UncosignedError)


def test_evidence_for_a_tree_that_is_not_there_yet_is_refused() -> None:
    """All witnesses are bribed, and sign in advance what the log is to be."""

    def attack(scene: Scene) -> None:
        service, log = scene.service, scene.world.fleets
        own = scene.own_fleet()
        service.now += seconds(EPOCH / 2, EPOCH)
        future = MemoryLog(log.origin, log.signer, log.witnesses, entries=[*log.entries, system.randbytes(32), b""])
        beacon = future.note(service.now)
        service.fleet = evolve(own, record=evolve(own.record, beacon=beacon))
        service.logged_digest = sha256(service.fleet.encoded).digest()
        scene.world.add_fleet(service.now, *own.record.nodes, beacon=beacon)
        scene.ask()

    require_refused(attack, TransparencyError)


# --- Logs -------------------------------------------------------------------------------------------------------------


def other_log(scene: Scene, log: MemoryLog, own: Callable[[World], object]) -> MemoryLog:
    """Return the same log with another end: what `own` appends."""
    world = World()
    forged = scene.forge(log, log.size - 1)
    if log is scene.world.directories:
        world.directories = forged
    else:
        world.fleets = forged
    own(world)
    return forged


def test_a_forked_log_of_directories_is_refused() -> None:
    def attack(scene: Scene) -> None:
        scene.remember()
        scene.wait(seconds(EPOCH / 2, EPOCH))
        fork = other_log(
            scene, scene.world.directories, lambda world: world.add_directory(scene.own_directory(), NOW - 2 * DAY)
        )
        for _ in range(DRAW.randint(0, 2)):
            fork.append(system.randbytes(32), scene.service.now)  # of the same size, or larger
        scene.shown = fork.files(scene.service.now)
        scene.ask()

    require_refused(attack, ForkedLogError)


def test_a_forked_log_of_fleets_is_refused() -> None:
    def attack(scene: Scene) -> None:
        service = scene.service
        scene.remember()
        service.now += EPOCH
        own = scene.own_fleet()
        fork = other_log(scene, scene.world.fleets, lambda world: world.add_fleet(NOW, *own.record.nodes))
        world = World()
        world.fleets = fork
        for number in range(DRAW.randint(0, 1)):
            world.add_fleet(NOW + (number + 1) * EPOCH, *own.record.nodes)
        service.overlay = dict(fork.files(service.now))
        scene.ask()

    require_refused(attack, ForkedLogError)


def test_a_rolled_back_log_of_directories_is_refused() -> None:
    def attack(scene: Scene) -> None:
        log, now = scene.world.directories, scene.service.now
        scene.world.add_directory(scene.own_directory(), now - seconds(timedelta(0), HOUR - SECOND))
        scene.remember()
        scene.wait(seconds(EPOCH / 2, EPOCH))
        scene.shown = scene.forge(log, 1).files(scene.service.now)
        scene.ask()

    require_refused(attack, RolledBackLogError)


def test_an_older_word_of_the_witnesses_is_refused() -> None:
    """Also for the same tree: somebody keeps what is newer from the client."""

    def attack(scene: Scene) -> None:
        scene.wait(EPOCH)
        scene.remember()
        at = scene.service.now - seconds(SECOND, EPOCH - SECOND)
        if DRAW.random() < 0.5:
            scene.shown = scene.world.directories.files(at)
        else:
            scene.service.overlay = {"checkpoint": scene.world.fleets.note(at)}
        scene.ask()

    require_refused(attack, RolledBackLogError)


def test_a_stale_log_is_refused_by_whoever_remembers_nothing() -> None:
    def attack(scene: Scene) -> None:
        if DRAW.random() < 0.5:
            scene.shown = scene.world.directories.files(scene.service.now - DAY - seconds(SECOND, 20 * DAY))
        else:
            note = scene.world.fleets.note(scene.service.now - EPOCH - seconds(SECOND, DAY))
            scene.service.overlay = {"checkpoint": note}
        scene.ask()

    require_refused(attack, StaleLogError)


@pytest.mark.parametrize("name", ["directories", "fleets"])
def test_a_log_without_a_quorum_of_witnesses_is_refused(name: str) -> None:
    """One of three has cosigned, or none, or one that nobody asked."""

    def attack(scene: Scene) -> None:
        log: MemoryLog = getattr(scene.world, name)
        some = DRAW.sample(log.witnesses, DRAW.randint(0, 1))
        note = MemoryLog(log.origin, log.signer, [*some, draw_witness()], entries=log.entries).note(scene.service.now)
        if name == "fleets":
            scene.service.overlay = {"checkpoint": note}
        else:
            scene.shown = log.files(scene.service.now, note=note)
        scene.ask()

    require_refused(attack, UncosignedError)


def test_an_entry_that_no_quorum_saw_is_refused() -> None:
    """Its first checkpoint, which says since when it was known, has the word of one witness."""

    def attack(scene: Scene) -> None:
        log, now = scene.world.directories, scene.service.now
        at = now - seconds(HOUR, DAY)
        scene.world.add_directory(scene.own_directory(), at)
        files = log.files(now)
        note = MemoryLog(log.origin, log.signer, DRAW.sample(log.witnesses, 1), entries=log.entries).note(at)
        scene.shown = {**files, "proof/1": log.proof(1, note, 2)}
        scene.ask()

    require_refused(attack, UncosignedError)
