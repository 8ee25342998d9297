"""An operator who runs gateway and router himself, and shows one client what he likes.

Until directories stand in a log, he can give a client a directory of its own. What has to stop him is the client,
before it seals anything.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Final, final

from attrs import evolve, frozen

from confsec.backends import system
from confsec.backends.api import HttpRequest, HttpResponse
from confsec.errors import ConfsecError, LocalProtocolError
from confsec.protocol.bhttp import Request, Response
from confsec.protocol.chunked_ohttp import ChunkedOhttpGateway, ChunkReceived
from confsec.protocol.cmw import CMW_COLLECTION_TYPE, Endorsements, Evidence
from confsec.protocol.directory import ServiceDirectory
from confsec.protocol.fleet import FLEET_RECORD_TYPE, FleetNode, FleetRecord
from confsec.protocol.gateway_keys import GatewayKey, GatewayKeyring
from confsec.protocol.kem import kem_from_id
from confsec.protocol.key_config import KeyConfig, SymmetricSuite
from confsec.protocol.ohttp import MEDIA_TYPE_CHUNKED_RESPONSE
from confsec.protocol.session import ENDORSEMENTS_PATH, EVIDENCE_PATH, FLEET_PATH

__all__ = ["EvilOperator", "PromptSealedError", "ShownNode"]

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

    def __init__(self, directory: ServiceDirectory, beacon: bytes, nodes: Sequence[ShownNode]) -> None:
        """Show these nodes as the fleet of the epoch that `beacon` names."""
        key = kem_from_id(_X_WING).generate(system.randbytes)
        config = KeyConfig(key_id=1, kem_id=_X_WING, public_key=key.public_key, suites=(SymmetricSuite(1, 1),))
        now = system.now()
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
        self.directory: Final = evolve(directory, gateway_key_configs=(config,), issuer=None)
        entries = [node.entry for node in nodes]
        self._files: dict[str, tuple[str, bytes]] = {
            FLEET_PATH: (FLEET_RECORD_TYPE, FleetRecord(beacon, tuple(entries)).encode()),
            **{EVIDENCE_PATH + each.evidence_digest.hex(): (CMW_COLLECTION_TYPE, node.evidence)
               for each, node in zip(entries, nodes, strict=True)},
            **{ENDORSEMENTS_PATH + each.evidence_digest.hex(): (CMW_COLLECTION_TYPE, node.endorsements)
               for each, node in zip(entries, nodes, strict=True)},
        }  # fmt: skip

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]:
        """Answer a POST to the relay."""
        return self._stream(request)

    @asynccontextmanager
    async def _stream(self, request: HttpRequest) -> AsyncGenerator[HttpResponse]:
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
        if asked.path not in self._files:
            return Response(404)
        media_type, content = self._files[asked.path]
        return Response(200, (("content-type", media_type),), content=content)

    async def aclose(self) -> None:
        """Do nothing: there is no connection."""


async def _one(part: bytes) -> AsyncGenerator[bytes]:
    yield part
