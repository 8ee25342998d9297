"""A whole service without a socket: gateway, router and nodes as one function from bytes to bytes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from confsec.errors import ConfsecError
from confsec.protocol.bhttp import Request, Response
from confsec.protocol.chunked_ohttp import ChunkedOhttpGateway, ChunkReceived
from confsec.protocol.cmw import CMW_COLLECTION_TYPE
from confsec.protocol.directory import ServiceDirectory
from confsec.protocol.fleet import FLEET_RECORD_TYPE
from confsec.protocol.gateway_keys import GatewayKey, GatewayKeyring
from confsec.protocol.kem import kem_from_id
from confsec.protocol.key_config import KeyConfig, SymmetricSuite
from confsec.protocol.node_keys import NodeKeys
from confsec.protocol.private import PRIVATE_PATH
from confsec.protocol.problem import PROBLEM_TYPE, Problem
from confsec.protocol.sealed import MEDIA_TYPE_SEALED_RESPONSE, SealedNode, SealedRequestOpened, read_header
from confsec.testing import seeded_randbytes
from tests.protocol.fleets import NO_ENDORSEMENTS, X_WING, Fleet

NOW = datetime(2030, 1, 1, tzinfo=UTC)

Answer = Callable[[Request], Response]


def echo(request: Request) -> Response:
    return Response(200, (("content-type", "text/plain"),), content=request.content[::-1], trailers=(("x-end", "1"),))


class Service:
    """One gateway, one router and the nodes of a fleet."""

    def __init__(self, fleet: Fleet, *, answer: Answer = echo, seed: str = "service") -> None:
        self.fleet = fleet
        self.answer = answer
        self.randbytes = seeded_randbytes(seed)
        key = kem_from_id(X_WING).generate(self.randbytes)
        config = KeyConfig(key_id=1, kem_id=X_WING, public_key=key.public_key, suites=(SymmetricSuite(0x0001, 0x0001),))
        year = timedelta(days=365)
        self.keyring = GatewayKeyring()
        self.keyring.add(
            GatewayKey(
                config=config,
                decapsulator=key,
                published_from=NOW - year,
                published_until=NOW + year,
                accepted_until=NOW + year,
            )
        )
        self.directory = ServiceDirectory(
            relay_url="http://127.0.0.1:1/",
            gateway_key_configs=(config,),
            router_origin="https://router.example",
        )
        self.nodes = {node_id: NodeKeys() for node_id in fleet.keys}
        for node_id, private_key in fleet.keys.items():
            self.nodes[node_id].rotate(private_key, NOW)
        self.requests: list[Request] = []
        """What the router saw."""
        self.asked: list[Request] = []
        """What the engine saw."""

    def handle(self, enc_request: bytes) -> bytes:
        """Answer the body of one POST to the relay."""
        gateway = ChunkedOhttpGateway(self.keyring, randbytes=self.randbytes, now=NOW)
        events = gateway.receive_data(enc_request) + gateway.receive_eof()
        content = b"".join(event.data for event in events if isinstance(event, ChunkReceived))
        request = Request.decode(content)
        self.requests.append(request)
        return gateway.begin() + gateway.send_eof(self.route(request).encode())

    def route(self, request: Request) -> Response:
        if request.path == "/v1/fleet":
            return Response(200, (("content-type", FLEET_RECORD_TYPE),), content=self.fleet.encoded)
        if request.path.startswith("/v1/evidence/"):
            content = self.fleet.by_digest(bytes.fromhex(request.path.rpartition("/")[2]))
            return Response(200, (("content-type", CMW_COLLECTION_TYPE),), content=content)
        if request.path.startswith("/v1/endorsements/"):
            self.fleet.by_digest(bytes.fromhex(request.path.rpartition("/")[2]))
            return Response(200, (("content-type", CMW_COLLECTION_TYPE),), content=NO_ENDORSEMENTS)
        assert (request.method, request.path) == ("POST", PRIVATE_PATH)
        try:
            sealed = self.serve(request.content)
        except ConfsecError as exc:
            body = Problem.of(exc).encode()
            return Response(exc.status_hint, (("content-type", PROBLEM_TYPE),), content=body)
        return Response(200, (("content-type", MEDIA_TYPE_SEALED_RESPONSE),), content=sealed)

    def serve(self, sealed_request: bytes) -> bytes:
        """Let the first candidate that is here answer."""
        chosen = next((each for each in read_header(sealed_request).node_ids if each in self.nodes), None)
        node = SealedNode(self.nodes.get(chosen or b"", NodeKeys()), randbytes=self.randbytes)
        node.receive_data(sealed_request)
        node.open_key()
        (opened,) = node.receive_eof()
        assert isinstance(opened, SealedRequestOpened)
        self.asked.append(Request.decode(opened.content))
        return node.begin() + node.send_eof(self.answer(self.asked[-1]).encode())

    def turn_epoch(self, fleet: Fleet) -> None:
        """Replace all nodes: their old keys are gone."""
        self.fleet = fleet
        self.nodes = {node_id: NodeKeys() for node_id in fleet.keys}
        for node_id, private_key in fleet.keys.items():
            self.nodes[node_id].rotate(private_key, NOW)
