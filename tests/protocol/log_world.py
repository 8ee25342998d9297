"""A service's logs in memory, with witnesses whose clocks the test sets: what tests of reading logs share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final, Protocol, TypeVar

from confsec.protocol.directory import ServiceDirectory
from confsec.protocol.dsse import DsseKey
from confsec.protocol.fleet import FleetNode, FleetRecord
from confsec.protocol.key_config import KeyConfig, SymmetricSuite
from confsec.protocol.log_root import DirectoryLog, FleetLog, LogRoot
from confsec.protocol.note_keys import KeyType, Signer
from confsec.protocol.predicate import Predicate
from confsec.protocol.predicates import DirectoryStatement, FleetStatement, ImageManifest, ModelDigests
from confsec.protocol.statement import Subject
from confsec.protocol.statement_policy import StatementPolicy, StatementRule
from confsec.protocol.witness_policy import WitnessPolicy
from confsec.testing_logs import MemoryLog
from tests.protocol.token_keys import ED25519

NAME: Final = "service.example"
AT: Final = datetime(2026, 11, 28, 7, 0, 0, tzinfo=UTC)
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
EPOCH: Final = timedelta(minutes=10)
OPERATOR: Final = DsseKey.of("operator", ED25519)
WITNESSES: Final = tuple(Signer(f"w{n}.example/w", KeyType.ED25519_COSIGNATURE, bytes([n]) * 32) for n in range(1, 4))
CONFIG: Final = KeyConfig(3, 0x0020, b"\1" + bytes(31), (SymmetricSuite(1, 1),))

_ResultT_co = TypeVar("_ResultT_co", covariant=True)


class Reading(Protocol[_ResultT_co]):
    """What reads a log."""

    @property
    def wanted(self) -> tuple[str, ...]: ...

    def receive(self, path: str, body: bytes) -> None: ...

    def missing(self, path: str) -> None: ...

    def finish(self) -> _ResultT_co: ...


def world_log(origin: str, seed: int, *, entries: Sequence[bytes] = ()) -> MemoryLog:
    """Return a log with three witnesses."""
    return MemoryLog(origin, Signer(origin, KeyType.ED25519, bytes([seed]) * 32), WITNESSES, entries=entries)


class World:
    """A service: its directory log, its fleet log, the operator's key, and the root that clients pin."""

    def __init__(self, *, delay: timedelta = HOUR, validity: timedelta = DAY, threshold: int = 2) -> None:
        self.directories = world_log("service.example/directory", 11)
        self.fleets = world_log("service.example/fleet", 12)
        self.artifacts = world_log("service.example/artifacts", 13)
        logs = "".join(f"log {log.signer.key.encode()}\n" for log in (self.directories, self.fleets, self.artifacts))
        names = [f"w{n}" for n in range(1, 4)]
        witnesses = "".join(
            f"witness {name} {signer.key.encode()}\n" for name, signer in zip(names, WITNESSES, strict=True)
        )
        policy = f"{logs}{witnesses}group all {threshold} {' '.join(names)}\nquorum all\n"
        self.root = LogRoot(
            name=NAME,
            witnesses=WitnessPolicy.decode(policy.encode()),
            directory=DirectoryLog(
                origin=self.directories.origin, url="https://logs.service.example/directory/", maximum_age=DAY,
                activation_delay=delay, minimum_validity=validity,
            ),
            fleet=FleetLog(origin=self.fleets.origin, url="https://logs.service.example/fleet/", epoch=EPOCH),
            artifacts=self.artifacts.origin,
            statements=STATEMENTS,
        )  # fmt: skip

    def add_directory(self, directory: ServiceDirectory, at: datetime) -> int:
        statement = DirectoryStatement(issued=at, valid_until=at + 30 * DAY, directory=directory.to_toml())
        return self.directories.append(signed(statement), at)

    def add_fleet(self, at: datetime, *nodes: FleetNode, beacon: bytes = b"") -> bytes:
        """Append a fleet record whose epoch began at `at`, and return the record."""
        beacon = beacon or self.fleets.note(at)
        record = FleetRecord(beacon, tuple(sorted(nodes))).encode()
        statement = FleetStatement(issued=at, valid_until=at + HOUR, beacon=beacon, nodes=len(nodes))
        envelope = statement.to_statement(Subject(NAME, sha256(record).digest())).to_envelope()
        self.fleets.append(envelope.sign(ED25519).encode(), at)
        return record


def signed(predicate: Predicate, name: str = NAME) -> bytes:
    """Return what the operator says, signed."""
    return predicate.about(name).to_envelope().sign(ED25519).encode()


def directory(config: KeyConfig = CONFIG) -> ServiceDirectory:
    return ServiceDirectory(
        relay_url="https://relay.example/", gateway_key_configs=(config,), router_origin="https://router.example"
    )


def read(update: Reading[_ResultT_co], files: dict[str, bytes], *, asked: list[str] | None = None) -> _ResultT_co:
    """Read a log that has these files."""
    while wanted := update.wanted:
        for path in wanted:
            if asked is not None:
                asked.append(path)
            if path in files:
                update.receive(path, files[path])
            else:
                update.missing(path)
    return update.finish()


def _rule(subjects: frozenset[str] | None) -> StatementRule:
    return StatementRule(signers=(OPERATOR,), threshold=1, subject_names=subjects, max_age=None, newest_only=False)


STATEMENTS: Final = StatementPolicy(
    {
        DirectoryStatement.TYPE: _rule(frozenset({NAME})),
        FleetStatement.TYPE: _rule(frozenset({NAME})),
        ImageManifest.TYPE: _rule(None),
        ModelDigests.TYPE: _rule(None),
    }
)
