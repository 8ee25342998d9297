"""A whole service in memory whose directory and fleets are in logs with three witnesses."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import anyio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from confsec.backends import system
from confsec.backends.api import HttpRequest
from confsec.backends.log_client import LogClient
from confsec.backends.log_source import HttpLogSource
from confsec.client import Client
from confsec.protocol.directory import ServiceDirectory
from confsec.protocol.dsse import DsseKey
from confsec.protocol.key_config import decode_key_configs
from confsec.protocol.log_root import DirectoryLog, FleetLog, LogRoot
from confsec.protocol.note_keys import KeyType, Signer
from confsec.protocol.policy import UNSAFE_UNATTESTED, Policy
from confsec.protocol.predicate import Predicate
from confsec.protocol.predicates import DirectoryStatement, FleetStatement, ImageManifest, ModelDigests
from confsec.protocol.statement import Subject
from confsec.protocol.statement_policy import StatementPolicy, StatementRule
from confsec.protocol.witness_policy import WitnessPolicy
from confsec.roles.gateway import Gateway, GatewayConfig
from confsec.roles.log import Log, LogConfig
from confsec.roles.log_epochs import LogEpochs
from confsec.roles.node import Node, NodeConfig
from confsec.roles.relay import Relay, RelayConfig
from confsec.roles.router import Router, RouterConfig
from confsec.roles.witness import Witness, WitnessConfig
from confsec.tee.api import Attester
from tests.roles.chain import FakeEngine, Wire, describe_engine
from tests.roles.log_cases import write_private
from tests.roles.support import fetch

NAME = "service.example"
OPERATOR = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
WITNESSES = tuple(Signer(f"w{n}.example/w", KeyType.ED25519_COSIGNATURE, bytes([n]) * 32) for n in (1, 2, 3))
LOGS = {
    name: Signer(f"{name}.example/log", KeyType.ED25519, bytes([n]) * 32)
    for n, name in enumerate(("directories", "fleets", "artifacts"), 11)
}
_RULE = StatementRule(
    signers=(DsseKey.of("operator", OPERATOR),), threshold=1, subject_names=frozenset({NAME}), max_age=None,
    newest_only=False,
)  # fmt: skip
_ANY = StatementRule(signers=_RULE.signers, threshold=1, subject_names=None, max_age=None, newest_only=False)


_TYPES = {
    "directories": (DirectoryStatement.TYPE,),
    "fleets": (FleetStatement.TYPE,),
    "artifacts": (ImageManifest.TYPE, ModelDigests.TYPE),
}


def witness_policy(*names: str, threshold: int = 2) -> str:
    """Return the policy file of these logs."""
    lines = [f"log {LOGS[name].key.encode()} https://{name}.example/" for name in names]
    lines += [f"witness w{n} {each.key.encode()} https://w{n}.example" for n, each in enumerate(WITNESSES, 1)]
    return "\n".join([*lines, f"group all {threshold} w1 w2 w3", "quorum all", ""])


def make_root(*, epoch: int, delay: int = 3600, threshold: int = 2) -> LogRoot:
    return LogRoot(
        name=NAME,
        witnesses=WitnessPolicy.decode(witness_policy(*LOGS, threshold=threshold).encode()),
        directory=DirectoryLog(
            origin="directories.example/log",
            url="https://directories.example/",
            maximum_age=timedelta(days=1),
            activation_delay=timedelta(seconds=delay),
            minimum_validity=timedelta(days=1) if delay else timedelta(0),
        ),
        fleet=FleetLog(origin="fleets.example/log", url="https://fleets.example/", epoch=timedelta(seconds=epoch)),
        artifacts="artifacts.example/log",
        statements=StatementPolicy(
            {
                DirectoryStatement.TYPE: _RULE,
                FleetStatement.TYPE: _RULE,
                ImageManifest.TYPE: _ANY,
                ModelDigests.TYPE: _ANY,
            }
        ),
    )


class LoggedChain:
    """Three witnesses, two logs, relay, gateway, router and nodes. `started` begins with nothing in the logs."""

    def __init__(
        self, folder: Path, root: LogRoot, *, nodes: int, attesters: Sequence[Attester], policy: Policy
    ) -> None:
        self.folder = folder
        self.root = root
        self.policy = policy
        self.wire = Wire()
        self.attesters: Sequence[Attester | None] = attesters or [None] * nodes
        self.engines = [FakeEngine() for _ in range(nodes)]
        self.relay = Relay(RelayConfig(gateways=("http://gateway/gateway",)), self.wire)
        targets = ("router.example=http://router", "fleets.example=https://fleets.example")
        self.gateway = Gateway(GatewayConfig(targets=targets), self.wire)
        self.wire.roles = {"relay.example": self.relay, "gateway": self.gateway}
        self.directory: ServiceDirectory
        self.statements = ""
        """The folder with logged statements that nodes show."""

    @property
    def node_config(self) -> NodeConfig:
        return NodeConfig(challenge_interval=0.2, statements=self.statements)

    async def log_statements(self, *predicates: Predicate) -> None:
        """Log what is said of image and model, and have nodes show it."""
        folder = self.folder / "statements"
        folder.mkdir(exist_ok=True)
        for number, predicate in enumerate(predicates):
            digest = predicate.subject_digest() or sha256(b"image").digest()
            envelope = predicate.to_statement(Subject(f"artifact-{number}", digest)).to_envelope().sign(OPERATOR)
            proof = await LogClient("https://artifacts.example", self.wire).append_cosigned(envelope.encode())
            (folder / f"{number}.dsse").write_bytes(envelope.encode())
            (folder / f"{number}.proof").write_bytes(proof.encode())
        self.statements = str(folder)

    def make_witness(self, number: int) -> Witness:
        folder = self.folder / f"w{number}"
        folder.mkdir(exist_ok=True)
        logs = folder / "logs"
        logs.write_text("".join(f"log {each.key.encode()}\n" for each in LOGS.values()) + "quorum none\n")
        keys = write_private(folder / "keys", WITNESSES[number - 1].encode() + "\n")
        return Witness(WitnessConfig(keys=keys, logs=str(logs), store=str(folder / "store.db")))

    def make_log(self, name: str) -> Log:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        policy = folder / "policy"
        policy.write_text(witness_policy(name))
        config = LogConfig(
            key=write_private(folder / "key", LOGS[name].encode() + "\n"),
            policy=str(policy),
            storage=str(folder / "log"),
            index=str(folder / "index.db"),
            keep_proofs=name != "artifacts",
            recosign_seconds=1.0,
            epoch_seconds=int(self.root.fleet.epoch.total_seconds()) if name == "fleets" else 0,
        )
        types = _TYPES[name]
        rules = {type_: rule for type_, rule in self.root.statements.rules.items() if type_ in types}
        root = self.root if name != "artifacts" else None
        return Log(config, statements=StatementPolicy(rules), root=root, transport=self.wire)

    def make_router(self, *, records: bool = True) -> Router:
        urls = tuple(f"http://node-{number}" for number in range(len(self.engines)))
        config = RouterConfig(
            nodes=urls, unsafe_no_tokens=True, poll_interval=0.05, epoch_grace=2.0,
            fleet_records=str(self.folder / "records") if records else "",
        )  # fmt: skip
        return Router(config, self.wire, policy=self.policy, root=self.root, statement_key=OPERATOR)

    def make_node(self, number: int) -> Node:
        attester = self.attesters[number]
        fleets = HttpLogSource(self.root.fleet.url, self.wire)
        return Node(
            self.node_config,
            self.engines[number],
            attester=attester,
            describe_engine=describe_engine if attester else None,
            epochs=LogEpochs(self.root, fleets.fetch, clock=system.now),
            root=self.root,
        )

    async def append_directory(self, directory: ServiceDirectory) -> int:
        """Log a directory, and return its place."""
        now = system.now().replace(microsecond=0)
        statement = DirectoryStatement(issued=now, valid_until=now + timedelta(days=2), directory=directory.to_toml())
        entry = statement.about(NAME).to_envelope().sign(OPERATOR).encode()
        return (await LogClient("https://directories.example", self.wire).append_cosigned(entry)).index

    def client(self, *, memory: Path | None = None) -> Client:
        return Client(self.root, policy=self.policy, transport=self.wire, candidates=1, memory=memory)


@asynccontextmanager
async def logged_chain(
    folder: Path,
    *,
    epoch: int = 600,
    nodes: int = 1,
    delay: int = 3600,
    attesters: Sequence[Attester] = (),
    policy: Policy = UNSAFE_UNATTESTED,
    said: Callable[[LoggedChain], Awaitable[Sequence[Predicate]]] | None = None,
    patience: float = 20,
) -> AsyncGenerator[LoggedChain]:
    """Run a service that has logged its directory and its first fleet."""
    chain = LoggedChain(folder, make_root(epoch=epoch, delay=delay), nodes=nodes, attesters=attesters, policy=policy)
    async with AsyncExitStack() as stack:

        async def start(host: str, role: Witness | Log | Relay | Gateway | Router | Node) -> None:
            await stack.enter_async_context(role.lifespan())
            chain.wire.roles[host] = role

        for number in (1, 2, 3):
            await start(f"w{number}.example", chain.make_witness(number))
        for name in ("directories", "fleets"):
            await start(f"{name}.example", chain.make_log(name))
        await start("relay.example", chain.relay)
        await start("gateway", chain.gateway)
        _, keys = await fetch(chain.wire, HttpRequest(method="GET", url="http://gateway/ohttp-keys"))
        chain.directory = ServiceDirectory(
            relay_url="https://relay.example/",
            gateway_key_configs=decode_key_configs(keys),
            router_origin="https://router.example",
        )
        await chain.append_directory(chain.directory)
        await _until_there(chain, "https://fleets.example/beacon")
        if said is not None:
            await start("artifacts.example", chain.make_log("artifacts"))
            await chain.log_statements(*await said(chain))
        for number in range(len(chain.engines)):
            await start(f"node-{number}", chain.make_node(number))
        await start("router", chain.make_router())
        await _until_there(chain, "http://router/v1/fleet", seconds=patience)
        yield chain


async def _until_there(chain: LoggedChain, url: str, *, seconds: float = 20) -> None:
    with anyio.fail_after(seconds):
        while (await fetch(chain.wire, HttpRequest(method="GET", url=url)))[0] != 200:
            await anyio.sleep(0.05)
