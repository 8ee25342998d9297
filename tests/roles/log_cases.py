"""A log with its witnesses in this process, over ASGI: what the tests of the log share."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from confsec.backends.api import Clock, HttpRequest, HttpResponse
from confsec.backends.asgi import AsgiTransport
from confsec.backends.log_storage import LogStorage
from confsec.backends.system import now
from confsec.errors import ConnectError
from confsec.protocol.note_keys import KeyType, Signer
from confsec.protocol.statement_policy import StatementPolicy
from confsec.protocol.witness_policy import WitnessPolicy
from confsec.roles.log import Log, LogConfig
from confsec.roles.witness import Witness, WitnessConfig
from tests.roles.support import read

ORIGIN = "log.example/one"
LOG = Signer(ORIGIN, KeyType.ED25519, bytes(range(32)))
WITNESSES = tuple(
    Signer(f"witness.example/w{number}", type_, bytes([number]) * 32)
    for number, type_ in (
        (1, KeyType.ED25519_COSIGNATURE),
        (2, KeyType.ML_DSA_44_COSIGNATURE),
        (3, KeyType.ED25519_COSIGNATURE),
    )
)
"""Three witnesses, one with ML-DSA-44."""


class Network:
    """A transport to roles by their host names. Those that are down cannot be connected to."""

    def __init__(self) -> None:
        self.hosts: dict[str, AsgiTransport] = {}
        self.down: set[str] = set()
        self.asked: list[str] = []

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]:
        host = urlsplit(request.url).hostname or ""
        self.asked.append(host)
        if host in self.down:
            raise ConnectError("no connection could be made")
        return self.hosts[host].stream(request)

    async def aclose(self) -> None:
        """Nothing is open."""


def policy_text(signers: Sequence[Signer] = WITNESSES, threshold: int = 2) -> str:
    names = [f"w{number}" for number in range(1, len(signers) + 1)]
    lines = [f"log {LOG.key.encode()} http://log"]
    lines += [f"witness {name} {each.key.encode()} http://{name}" for name, each in zip(names, signers, strict=True)]
    return "\n".join([*lines, f"group quorum-of-them {threshold} {' '.join(names)}", "quorum quorum-of-them", ""])


POLICY = WitnessPolicy.decode(policy_text().encode())


def write_private(path: Path, text: str) -> str:
    path.touch(0o600)
    path.write_text(text)
    return str(path)


def log_config(folder: Path, **settings: Any) -> LogConfig:
    policy = folder / "policy"
    if not policy.exists():
        policy.write_text(policy_text())
    values: dict[str, Any] = {
        "key": write_private(folder / "log.key", LOG.encode() + "\n"),
        "policy": str(policy),
        "storage": str(folder / "log"),
        "index": str(folder / "index.db"),
        "unsafe_any_entry": True,
        "witness_timeout": 5.0,
    }
    return LogConfig(**{**values, **settings})


@asynccontextmanager
async def witness_running(folder: Path, signer: Signer, *, clock: Clock = now) -> AsyncGenerator[AsgiTransport]:
    """Run a witness that remembers in `folder`."""
    folder.mkdir(exist_ok=True)
    keys = write_private(folder / "keys", signer.encode() + "\n")
    (folder / "logs").write_text(f"log {LOG.key.encode()}\nquorum none\n")
    witness = Witness(WitnessConfig(keys=keys, logs=str(folder / "logs"), store=str(folder / "store.db")), clock=clock)
    async with witness.lifespan():
        yield AsgiTransport(witness)


@asynccontextmanager
async def witnesses_running(
    folder: Path, signers: Sequence[Signer] = WITNESSES, *, clock: Clock = now
) -> AsyncGenerator[Network]:
    """Run witnesses named w1, w2, …"""
    network = Network()
    async with AsyncExitStack() as stack:
        for number, signer in enumerate(signers, 1):
            running = witness_running(folder / f"w{number}", signer, clock=clock)
            network.hosts[f"w{number}"] = await stack.enter_async_context(running)
        yield network


def make_log(
    folder: Path,
    network: Network,
    *,
    statements: StatementPolicy | None = None,
    storage: LogStorage | None = None,
    clock: Clock = now,
    config: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Log:
    """Return a log over its witnesses. `config` is for settings whose names mean something else here."""
    made = log_config(folder, **settings, **(config or {}))
    return Log(made, statements=statements, storage=storage, transport=network, clock=clock)


@asynccontextmanager
async def log_running(folder: Path, network: Network, **settings: Any) -> AsyncGenerator[tuple[Log, AsgiTransport]]:
    """Run a log that `make_log` makes."""
    log = make_log(folder, network, **settings)
    async with log.lifespan():
        yield log, AsgiTransport(log)


async def get(transport: AsgiTransport, path: str) -> tuple[int, dict[str, str], bytes]:
    """Return status, header fields and body."""
    async with transport.stream(HttpRequest(method="GET", url=f"http://log/{path}")) as response:
        return response.status, dict(response.headers), await read(response)


async def append(transport: AsgiTransport, entry: bytes, query: str = "") -> tuple[int, bytes]:
    """Append an entry and return status and body."""
    request = HttpRequest(method="POST", url=f"http://log/append{query}", content=entry)
    async with transport.stream(request) as response:
        return response.status, await read(response)
