"""An operator who runs gateway and router himself, shows one client what he likes, and has bribed all witnesses.

He has the keys of the logs and of the witnesses, so he can log whatever he shows. What has to stop him is the client,
before it seals anything.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final, final
from urllib.parse import urlsplit

from attrs import evolve, frozen

from confsec.backends import system
from confsec.backends.api import HttpRequest, HttpResponse
from confsec.demo.logs import SERVICE_NAME, DemoLogs
from confsec.errors import ConfsecError, LocalProtocolError
from confsec.protocol.bhttp import Request, Response
from confsec.protocol.chunked_ohttp import ChunkedOhttpGateway, ChunkReceived
from confsec.protocol.cmw import CMW_COLLECTION_TYPE, Endorsements, Evidence
from confsec.protocol.directory import ServiceDirectory
from confsec.protocol.fleet import FLEET_RECORD_TYPE, FleetNode, FleetRecord
from confsec.protocol.gateway_keys import GatewayKey, GatewayKeyring
from confsec.protocol.kem import kem_from_id
from confsec.protocol.key_config import KeyConfig, SymmetricSuite
from confsec.protocol.note_keys import Signer
from confsec.protocol.ohttp import MEDIA_TYPE_CHUNKED_RESPONSE
from confsec.protocol.predicates import DirectoryStatement, FleetStatement
from confsec.protocol.session import ENDORSEMENTS_PATH, EVIDENCE_PATH, FLEET_PATH
from confsec.protocol.statement import Subject
from confsec.testing_logs import MemoryLog

__all__ = [
    "EvilOperator",
    "PromptSealedError",
    "ShownNode",
    "answer_file",
    "directory_entry",
    "forge",
    "log_file",
]

_X_WING: Final = 0x647A
_DAY: Final = timedelta(days=1)


@final
class PromptSealedError(ConfsecError):
    """The client believed what it was shown, and sent its prompt: the attack has worked."""

    code = "prompt_sealed"


@frozen(kw_only=True)
class ShownNode:
    """One node as the operator shows it."""

    node_id: bytes
    """What the fleet record calls it."""

    evidence: bytes
    """What he serves as its evidence."""

    endorsements: bytes
    """What he serves beside it."""

    digest: bytes = b""
    """What the fleet record calls the evidence; nothing for its real digest."""

    @classmethod
    def of(cls, evidence: Evidence, endorsements: Endorsements, node_id: bytes) -> ShownNode:
        """Show evidence as what it is."""
        return cls(node_id=node_id, evidence=evidence.encoded, endorsements=endorsements.encoded)

    @property
    def entry(self) -> FleetNode:
        """Its line of the fleet record."""
        return FleetNode(self.node_id, self.digest or Evidence(self.evidence, {}).digest, 0)


@final
class EvilOperator:
    """A `Transport` at whose end such an operator sits, and the directory that leads a client there."""

    def __init__(
        self,
        logs: DemoLogs,
        directory: ServiceDirectory,
        nodes: Sequence[ShownNode],
        *,
        beacon: bytes,
        before: Sequence[bytes],
        logged: Sequence[ShownNode] | None = None,
    ) -> None:
        """Show these nodes as the fleet of the epoch that `beacon` names, after the entries `before` of the log.

        `logged` are the nodes of the record that he logs, if it is not the one that he shows.
        """
        key = kem_from_id(_X_WING).generate(system.randbytes)
        config = KeyConfig(key_id=1, kem_id=_X_WING, public_key=key.public_key, suites=(SymmetricSuite(1, 1),))
        now = system.now().replace(microsecond=0)
        self._keyring = GatewayKeyring()
        self._keyring.add(
            GatewayKey(
                config=config,
                decapsulator=key,
                published_from=now - _DAY,
                published_until=now + _DAY,
                accepted_until=now + _DAY,
            )
        )
        self.root: Final = logs.root
        self._logs = (urlsplit(logs.root.directory.url).netloc, urlsplit(logs.root.fleet.url).netloc)
        record, shown = (FleetRecord(beacon, _entries(each)).encode() for each in (logged or nodes, nodes))
        digest = sha256(record).digest()
        self._files = _files(nodes) | {f"{FLEET_PATH}/{digest.hex()}": (FLEET_RECORD_TYPE, shown)}
        self.directories: Final = forge(logs, logs.keys.directories)
        self.fleets: Final = forge(logs, logs.keys.fleets, before)
        own = evolve(directory, gateway_key_configs=(config,), issuer=None)
        self.directories.append(directory_entry(logs, own, now), now)
        statement = FleetStatement(issued=now, valid_until=now + _DAY, beacon=beacon, nodes=len(logged or nodes))
        envelope = statement.to_statement(Subject(SERVICE_NAME, digest)).to_envelope().sign(logs.keys.operator)
        self.fleets.append(envelope.encode(), now)

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]:
        """Answer a POST to the relay, and whoever reads the log of directories."""
        return self._stream(request)

    @asynccontextmanager
    async def _stream(self, request: HttpRequest) -> AsyncGenerator[HttpResponse]:
        if request.method == "GET":
            yield answer_file(log_file(self.directories, urlsplit(request.url).path))
            return
        if not isinstance(request.content, bytes):
            raise LocalProtocolError("the client streams its request")
        gateway = ChunkedOhttpGateway(self._keyring, randbytes=system.randbytes, now=system.now())
        events = gateway.receive_data(request.content) + gateway.receive_eof()
        asked = Request.decode(b"".join(event.data for event in events if isinstance(event, ChunkReceived)))
        content = gateway.begin() + gateway.send_eof(self._answer(asked).encode())
        headers = (("content-type", MEDIA_TYPE_CHUNKED_RESPONSE),)
        yield HttpResponse(status=200, headers=headers, content=_one(content))

    def _answer(self, asked: Request) -> Response:
        if asked.method == "POST":
            raise PromptSealedError("the client sealed its prompt to what it was shown")
        if asked.authority in self._logs:
            content = log_file(self.fleets, asked.path)
            return Response(404) if content is None else Response(200, content=content)
        if asked.path not in self._files:
            return Response(404)
        media_type, content = self._files[asked.path]
        return Response(200, (("content-type", media_type),), content=content)

    async def aclose(self) -> None:
        """Do nothing: there is no connection."""


def forge(logs: DemoLogs, signer: Signer, before: Sequence[bytes] = ()) -> MemoryLog:
    """Return a log with the keys of a real one and its witnesses, which begins as `before`."""
    return MemoryLog(signer.key.name, signer, logs.keys.witnesses, entries=before)


def directory_entry(logs: DemoLogs, directory: ServiceDirectory, at: datetime) -> bytes:
    """Return a directory as the operator logs it."""
    statement = DirectoryStatement(issued=at, valid_until=at + _DAY, directory=directory.to_toml())
    return statement.about(SERVICE_NAME).to_envelope().sign(logs.keys.operator).encode()


def log_file(log: MemoryLog, path: str) -> bytes | None:
    """Return a file of a log as it is now."""
    return log.files(system.now().replace(microsecond=0)).get(path.lstrip("/"))


def answer_file(content: bytes | None) -> HttpResponse:
    """Return the answer of a server of files."""
    return HttpResponse(status=404 if content is None else 200, headers=(), content=_one(content or b""))


def _entries(nodes: Sequence[ShownNode]) -> tuple[FleetNode, ...]:
    return tuple(sorted(node.entry for node in nodes))


def _files(nodes: Sequence[ShownNode]) -> dict[str, tuple[str, bytes]]:
    """Return the evidence and endorsements of each node, by path."""
    files: dict[str, tuple[str, bytes]] = {}
    for node in nodes:
        digest = node.entry.evidence_digest.hex()
        files[EVIDENCE_PATH + digest] = (CMW_COLLECTION_TYPE, node.evidence)
        files[ENDORSEMENTS_PATH + digest] = (CMW_COLLECTION_TYPE, node.endorsements)
    return files


async def _one(part: bytes) -> AsyncGenerator[bytes]:
    yield part
