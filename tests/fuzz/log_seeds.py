"""What fuzzing of logs begins with: receipts, statements, envelopes, and the files of a tree."""

from __future__ import annotations

from functools import cache
from typing import Final

from confsec.protocol import cbor
from confsec.protocol.fleet import FleetNode
from confsec.protocol.latest_statements import LatestStatements
from confsec.protocol.logged_values import LoggedStatement, statements_record
from confsec.protocol.merkle import CompactRange, leaf_hash
from confsec.protocol.predicates import DirectoryStatement, ImageManifest, ModelDigests, RevokedKind
from confsec.protocol.service_logs import LoggedDirectory, ServiceLogs
from confsec.protocol.state_reader import Firsts, StateUpdate
from confsec.protocol.statement_policy import StatementPolicy, StatementRule
from confsec.protocol.statement_rules import to_toml
from confsec.protocol.tile_paths import Tile, encode_entries
from confsec.protocol.tiles import new_tiles
from confsec.protocol.tlog_proof import TlogProof
from confsec.protocol.transparency import TrustedLog
from tests.protocol import log_world, statement_cases
from tests.protocol.disguises import BUNDLE_TYPE
from tests.protocol.log_world import World
from tests.protocol.receipt_cases import make_receipt, make_statement, receipt_for, transparent
from tests.protocol.test_merkle import LEAVES
from tests.protocol.test_statement_policy import verify
from tests.protocol.token_keys import ED25519, P256

__all__ = [
    "BUNDLE",
    "ROOT",
    "SIZE",
    "envelopes",
    "latest_statements",
    "receipts",
    "rules",
    "signed_statements",
    "statements",
    "tiles",
]

SIZE: Final = 300
"""How many entries the tree of the tiles has: two tiles, and one above."""

_HASHES: Final = [leaf_hash(b"%d" % number) for number in range(SIZE)]

ROOT: Final = CompactRange().append(*_HASHES).root
"""The root of that tree."""

BUNDLE: Final = encode_entries([b"", b"one", bytes(300)])
"""A bundle of three entries."""


def latest_statements() -> tuple[bytes, ...]:
    """Return what is remembered of no statement, and of the newest directory."""
    nothing, latest = LatestStatements(), LatestStatements()
    latest.admit(verify(statement_cases.DIRECTORY))
    return nothing.encode(), latest.encode()


def receipts() -> tuple[bytes, ...]:
    """Return receipts of an entry, of growth, and of much."""
    return (
        make_receipt(LEAVES[:5], included=(1,)),
        make_receipt(LEAVES[:7], grown_from=(3,), detached=False),
        make_receipt(LEAVES[:9], included=(1, 8), grown_from=(3, 8), claims={1: "https://log.example", 4: 1.5, 5: 0}),
    )


def signed_statements() -> tuple[bytes, ...]:
    """Return statements with a receipt, with several, and with a payload elsewhere."""
    message, detached = make_statement(), make_statement(detached=True)
    return (
        transparent(message, receipt_for(message)).encode(),
        transparent(message, *receipts(), b"", receipt_for(message)).encode(),
        transparent(detached, receipt_for(detached)).encode(),
    )


def statements() -> tuple[bytes, ...]:
    """Return a statement of each type."""
    return tuple(statement.encode() for _, statement in statement_cases.STATEMENTS)


def envelopes() -> tuple[bytes, ...]:
    """Return a statement of each type in an envelope that two signed, and in a bundle of Sigstore."""
    signed = tuple(
        statement.to_envelope().sign(ED25519).sign(P256).encode() for _, statement in statement_cases.STATEMENTS
    )
    return signed + tuple(b'{"mediaType":"%b","dsseEnvelope":%b}' % (BUNDLE_TYPE.encode(), each) for each in signed)


def rules() -> bytes:
    """Return rules for statements, as a file."""
    alice, bob = statement_cases.ALICE, statement_cases.BOB
    rule = StatementRule(
        signers=(bob, alice), threshold=2, subject_names=frozenset({"service.example"}), max_age=statement_cases.DAY,
        newest_only=True,
    )  # fmt: skip
    anything = StatementRule(signers=(alice,), threshold=1, subject_names=None, max_age=None, newest_only=False)
    revoked = frozenset({(RevokedKind.KEY, bytes(32))})
    return to_toml(StatementPolicy({DirectoryStatement.TYPE: rule, ModelDigests.TYPE: anything}, revoked)).encode()


@cache
def tiles() -> dict[Tile, bytes]:
    """Return the tiles of a tree."""
    return new_tiles(0, {}, _HASHES)


@cache
def world() -> World:
    """Return a service with two directories and two fleets in its logs."""
    made = World()
    made.add_directory(log_world.directory(), log_world.AT)
    made.add_directory(log_world.directory(), log_world.AT + log_world.DAY)
    for number in range(2):
        made.add_fleet(log_world.AT + number * log_world.EPOCH, FleetNode(b"n" * 32, b"e" * 32, number))
    return made


def root() -> bytes:
    """Return a root, as a file."""
    return world().root.to_toml().encode()


def service_logs() -> bytes:
    """Return the ends of both state logs, as a Proof has them."""
    made, at = world(), log_world.AT + log_world.DAY
    of_directory = StateUpdate(
        TrustedLog(made.directories.origin), made.root.witnesses, at=at, maximum_age=log_world.DAY, entries=16,
        firsts=Firsts.ALL,
    )  # fmt: skip
    of_fleet = StateUpdate(
        TrustedLog(made.fleets.origin), made.root.witnesses, at=at, maximum_age=log_world.DAY, entries=2,
        firsts=Firsts.NEWEST,
    )  # fmt: skip
    directory = log_world.read(of_directory, made.directories.files(at)).state
    fleet = log_world.read(of_fleet, made.fleets.files(at)).state
    return cbor.encode(ServiceLogs(LoggedDirectory(made.root, directory), fleet).to_item())


@cache
def artifacts() -> World:
    """Return a service whose image and model are logged."""
    made = World()
    for _, statement in statement_cases.STATEMENTS:
        if statement.predicate_type in {ImageManifest.TYPE, ModelDigests.TYPE}:
            made.artifacts.append(statement.to_envelope().sign(ED25519).encode(), statement_cases.AT)
    return made


def logged_statements() -> bytes:
    """Return the statements about image and model with their proofs, as an endorsement has them."""
    made = artifacts()
    note, size = made.artifacts.note(statement_cases.AT), made.artifacts.size
    statements = [
        LoggedStatement(entry, TlogProof.decode(made.artifacts.proof(index, note, size)))
        for index, entry in enumerate(made.artifacts.entries)
    ]
    return statements_record(statements).value
