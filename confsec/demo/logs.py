"""The demo's logs: one of directories and one of fleets, with three witnesses, each a process of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final, final

import anyio
import anyio.to_thread
from attrs import field, frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from confsec.backends import system
from confsec.backends.http import HttpTransport
from confsec.backends.key_files import write_private_file
from confsec.backends.log_client import LogClient
from confsec.backends.log_source import HttpLogSource
from confsec.errors import DeadlineError
from confsec.protocol import statement_rules
from confsec.protocol.directory import ServiceDirectory
from confsec.protocol.dsse import DsseKey
from confsec.protocol.log_root import ACTIVATION_DELAY, MINIMUM_VALIDITY, DirectoryLog, FleetLog, LogRoot
from confsec.protocol.note_keys import KeyType, Signer
from confsec.protocol.predicates import DirectoryStatement, FleetStatement
from confsec.protocol.statement_policy import StatementPolicy, StatementRule
from confsec.protocol.tlog_proof import TlogProof
from confsec.protocol.tree_reader import BEACON_PATH
from confsec.protocol.witness_policy import WitnessPolicy

__all__ = ["SERVICE_NAME", "DemoLogs", "LogKeys", "start_logs"]

SERVICE_NAME: Final = "demo.confsec.invalid"
"""What statements call the service."""

_DIRECTORIES: Final = f"{SERVICE_NAME}/directories"
_FLEETS: Final = f"{SERVICE_NAME}/fleets"
_LOGS: Final = {"directories": DirectoryStatement.TYPE, "fleets": FleetStatement.TYPE}
_SOMEWHERE: Final = "http://127.0.0.1"
"""A log does not look at the addresses in its root: they are known when it runs."""

_FIRST_EPOCH: Final = 30.0
_VALID: Final = timedelta(days=2)

_Spawn = Callable[..., Awaitable[None]]
"""Starts a role: its name among the processes, and the words of its command."""

_Ready = Callable[[str], Awaitable[str]]
"""Waits until a process listens, and returns its URL."""


@final
@frozen
class LogKeys:
    """All private keys: of the operator and of the witnesses. Whoever has them can have anything cosigned."""

    operator: Ed25519PrivateKey = field(repr=False)
    directories: Signer
    fleets: Signer
    witnesses: tuple[Signer, ...]

    @classmethod
    def generate(cls) -> LogKeys:
        """Make keys: of the witnesses one signs with ML-DSA-44, which no quantum computer forges."""
        kinds = (KeyType.ED25519_COSIGNATURE, KeyType.ED25519_COSIGNATURE, KeyType.ML_DSA_44_COSIGNATURE)
        return cls(
            Ed25519PrivateKey.generate(),
            Signer(_DIRECTORIES, KeyType.ED25519, system.randbytes(32)),
            Signer(_FLEETS, KeyType.ED25519, system.randbytes(32)),
            tuple(
                Signer(f"witness-{number}.{SERVICE_NAME}", kind, system.randbytes(32))
                for number, kind in enumerate(kinds, 1)
            ),
        )

    @property
    def statements(self) -> StatementPolicy:
        """Who may speak: the operator, of this service."""
        rule = StatementRule(
            signers=(DsseKey.of("operator", self.operator),), threshold=1, subject_names=frozenset({SERVICE_NAME}),
            max_age=None, newest_only=False,
        )  # fmt: skip
        return StatementPolicy({DirectoryStatement.TYPE: rule, FleetStatement.TYPE: rule})


@final
@frozen
class DemoLogs:
    """The logs of a demo that run."""

    root: LogRoot
    root_file: Path
    """What a client pins: everything else it is shown."""

    keys: LogKeys = field(repr=False)
    operator_file: Path
    """The operator's key, with which the router signs fleet records."""

    async def publish(self, directory: ServiceDirectory) -> TlogProof:
        """Log the directory, and return the proof that a quorum of witnesses saw it."""
        issued = system.now().replace(microsecond=0)
        statement = DirectoryStatement(issued=issued, valid_until=issued + _VALID, directory=directory.to_toml())
        envelope = statement.about(SERVICE_NAME).to_envelope().sign(self.keys.operator)
        transport = HttpTransport()
        try:
            return await LogClient(self.root.directory.url, transport).append_cosigned(envelope.encode())
        finally:
            await transport.aclose()


async def start_logs(folder: Path, spawn: _Spawn, ready: _Ready, *, epoch: int) -> DemoLogs:
    """Start three witnesses and two logs, with their files in `folder`."""
    starter = _Starter(folder, spawn, ready, epoch)
    await anyio.to_thread.run_sync(starter.write_keys)
    witnesses = await starter.start_witnesses()
    directories, fleets = await starter.start_both(witnesses)
    return await anyio.to_thread.run_sync(partial(starter.write_root, witnesses, directories, fleets))


@final
class _Starter:
    def __init__(self, folder: Path, spawn: _Spawn, ready: _Ready, epoch: int) -> None:
        self._folder = folder
        self._spawn = spawn
        self._ready = ready
        self._epoch = epoch
        self._keys = LogKeys.generate()

    def write_keys(self) -> None:
        """Write what the roles read when they start."""
        keys = self._keys
        pem = keys.operator.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_private_file(self._folder / "operator.key", pem)
        for name, signer in (("directories", keys.directories), ("fleets", keys.fleets)):
            write_private_file(self._folder / f"{name}.key", f"{signer.encode()}\n".encode())
        for number, signer in enumerate(keys.witnesses, 1):
            write_private_file(self._folder / f"witness-{number}.keys", f"{signer.encode()}\n".encode())
        logs = f"log {keys.directories.key.encode()}\nlog {keys.fleets.key.encode()}\nquorum none\n"
        (self._folder / "logs.txt").write_text(logs)
        # Each log takes what it is for and nothing else: statements are public, and anybody could put one into another.
        for name, kind in _LOGS.items():
            rules = StatementPolicy({kind: keys.statements.rules[kind]})
            (self._folder / f"{name}.statements.toml").write_text(statement_rules.to_toml(rules))

    async def start_witnesses(self) -> list[str]:
        """Start the witnesses side by side, and return their URLs."""
        names = [f"witness-{number}" for number in range(1, len(self._keys.witnesses) + 1)]
        for name in names:
            files = ("--keys", f"{name}.keys"), ("--logs", "logs.txt"), ("--store", f"{name}.db")
            await self._spawn(name, "witness", "serve", *self._paths(files))
        return [await self._ready(name) for name in names]

    async def start_both(self, witnesses: list[str]) -> tuple[str, str]:
        """Start both logs, and return their URLs. They refuse what clients would refuse, wherever they will be."""
        root = self._root(witnesses, _SOMEWHERE, _SOMEWHERE)
        await anyio.Path(self._folder / "logs.root.toml").write_text(root.to_toml())
        for name, signer in (("directories", self._keys.directories), ("fleets", self._keys.fleets)):
            policy = self._folder / f"{name}.policy"
            await anyio.Path(policy).write_bytes(self._policy([(signer, "")], witnesses).encode())
            files = (
                ("--key", f"{name}.key"), ("--policy", policy.name), ("--statements", f"{name}.statements.toml"),
                ("--root", "logs.root.toml"),
                ("--storage", f"{name}.tiles"), ("--index", f"{name}.db"),
            )  # fmt: skip
            recosign = str(max(self._epoch / 4, 0.5) if self._epoch < 240 else 60.0)
            await self._spawn(name, "log", "serve", *self._paths(files), "--recosign-seconds", recosign)
        directories, fleets = await self._ready("directories"), await self._ready("fleets")
        await _wait_for_epoch(fleets)
        return directories, fleets

    def write_root(self, witnesses: list[str], directories: str, fleets: str) -> DemoLogs:
        """Write the root file, with the delays of a real service."""
        root = self._root(witnesses, directories, fleets)
        file = self._folder / "service.toml"
        file.write_text(root.to_toml())
        return DemoLogs(root, file, self._keys, self._folder / "operator.key")

    def _root(self, witnesses: list[str], directories: str, fleets: str) -> LogRoot:
        logs = [(self._keys.directories, directories), (self._keys.fleets, fleets)]
        return LogRoot(
            name=SERVICE_NAME,
            witnesses=self._policy(logs, witnesses),
            directory=DirectoryLog(
                origin=_DIRECTORIES,
                url=f"{directories}/",
                maximum_age=timedelta(days=1),
                activation_delay=ACTIVATION_DELAY,
                minimum_validity=MINIMUM_VALIDITY,
            ),
            fleet=FleetLog(origin=_FLEETS, url=f"{fleets}/", epoch=timedelta(seconds=self._epoch)),
            statements=self._keys.statements,
        )

    def _policy(self, logs: list[tuple[Signer, str]], witnesses: list[str]) -> WitnessPolicy:
        """Return a policy in which two of three witnesses make a quorum."""
        lines = [f"log {signer.key.encode()} {url}".rstrip() for signer, url in logs]
        lines += [
            f"witness witness-{number} {signer.key.encode()} {url}"
            for number, (signer, url) in enumerate(zip(self._keys.witnesses, witnesses, strict=True), 1)
        ]
        names = " ".join(f"witness-{number}" for number in range(1, len(witnesses) + 1))
        return WitnessPolicy.decode(
            "\n".join([*lines, f"group two-of-them 2 {names}", "quorum two-of-them", ""]).encode()
        )

    def _paths(self, files: tuple[tuple[str, str], ...]) -> list[str]:
        """Return options whose values are files of the folder."""
        return [word for option, name in files for word in (option, str(self._folder / name))]


async def _wait_for_epoch(url: str) -> None:
    """Wait until the witnesses have cosigned the first beacon: nodes ask for it when they start."""
    transport = HttpTransport()
    try:
        with anyio.fail_after(_FIRST_EPOCH):
            while await HttpLogSource(url, transport).fetch(BEACON_PATH) is None:  # noqa: ASYNC110 - another process
                await anyio.sleep(0.05)
    except TimeoutError as exc:
        raise DeadlineError("no quorum of witnesses began an epoch in time", want=f"{_FIRST_EPOCH:g} s") from exc
    finally:
        await transport.aclose()
