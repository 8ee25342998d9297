"""Over HTTP on loopback: the client transport of openpcc/ohttp to our gateway, and our client to its gateway."""

from __future__ import annotations

from functools import partial
from http.client import HTTPConnection, HTTPResponse
from urllib.parse import urlsplit

import pytest
from anyio import to_thread

from confsec.backends.asgi import AsgiTransport
from confsec.protocol.bhttp import Request, Response
from confsec.protocol.kem import kem_from_id
from confsec.protocol.key_config import decode_key_configs
from confsec.protocol.ohttp import (
    MEDIA_TYPE_CHUNKED_REQUEST,
    MEDIA_TYPE_CHUNKED_RESPONSE,
    MEDIA_TYPE_REQUEST,
    MEDIA_TYPE_RESPONSE,
)
from confsec.roles.gateway import Gateway, GatewayConfig
from tests.interop import ours
from tests.interop.conftest import FillCell, StartPeer
from tests.interop.peers import GO_OPENPCC, PeerError, PeerSuite
from tests.interop.suites import P256, X25519_AES128, X_WING
from tests.interop.test_interop_ohttp import CHUNKED, ONE_SHOT, OURS_TO_THEIRS, THEIRS_TO_OURS
from tests.roles.support import Echo, served

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

TARGET = "target.example"
CONTENT = bytes(range(256)) * 400

some_suites = pytest.mark.parametrize("suite", [X25519_AES128, P256, X_WING], ids=str)


def make_gateway(suite: PeerSuite) -> Gateway:
    """Return our gateway with a key of this KEM, in front of a target in memory."""
    config = GatewayConfig(
        targets=(f"{TARGET}=http://{TARGET}",),
        allow=("POST /echo", "GET /cut"),
        kems=(kem_from_id(suite.kem_id).name,),
        shutdown_timeout=1.0,
    )
    return Gateway(config, AsgiTransport(Echo()))


def published_key_config(url: str) -> bytes:
    """Fetch application/ohttp-keys and return the first configuration."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = HTTPConnection(parts.hostname, parts.port, timeout=60)
    try:
        connection.request("GET", "/ohttp-keys")
        return decode_key_configs(connection.getresponse().read())[0].encode()
    finally:
        connection.close()


def post(url: str, media_type: str, body: bytes) -> tuple[HTTPResponse, bytes]:
    """Send an encapsulated request as a relay would."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = HTTPConnection(parts.hostname, parts.port, timeout=60)
    try:
        connection.request("POST", parts.path, body, {"content-type": media_type})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


@some_suites
@pytest.mark.parametrize("form", [ONE_SHOT, CHUNKED])
@pytest.mark.anyio
async def test_their_transport_speaks_with_our_gateway(
    start_peer: StartPeer, fill_cell: FillCell, suite: PeerSuite, form: str
) -> None:
    fill_cell(GO_OPENPCC, f"HTTP, {form}", suite, THEIRS_TO_OURS)
    fetch = partial(start_peer(GO_OPENPCC).fetch, method="POST", target=f"https://{TARGET}/echo", content=CONTENT)
    async with served(make_gateway(suite)) as url:
        key_config = await to_thread.run_sync(published_key_config, url)
        answer = await to_thread.run_sync(partial(fetch, key_config, f"{url}/gateway", chunked=form == CHUNKED))
    assert answer["status"] == 200
    assert bytes.fromhex(answer["content"]) == CONTENT


@pytest.mark.anyio
async def test_their_transport_refuses_an_answer_that_our_gateway_could_not_finish(start_peer: StartPeer) -> None:
    fetch = partial(start_peer(GO_OPENPCC).fetch, method="GET", target=f"https://{TARGET}/cut", chunked=True)
    async with served(make_gateway(X25519_AES128)) as url:
        key_config = await to_thread.run_sync(published_key_config, url)
        with pytest.raises(PeerError):
            await to_thread.run_sync(partial(fetch, key_config, f"{url}/gateway"))


@some_suites
def test_our_client_speaks_with_their_http_gateway(
    start_peer: StartPeer,
    fill_cell: FillCell,
    suite: PeerSuite,
) -> None:
    fill_cell(GO_OPENPCC, f"HTTP, {ONE_SHOT}", suite, OURS_TO_THEIRS)
    peer = start_peer(GO_OPENPCC)
    gateway = peer.gateway_new(suite)
    client = ours.client(gateway.key_config)
    enc_request = client.encapsulate(ours.REQUEST.encode())
    response, enc_response = post(peer.serve(gateway), MEDIA_TYPE_REQUEST, enc_request)
    assert (response.status, response.headers["content-type"]) == (200, MEDIA_TYPE_RESPONSE)
    check_echo(Response.decode(ours.receive_whole(client, enc_response)), ours.REQUEST)


@some_suites
def test_our_client_speaks_in_chunks_with_their_http_gateway(
    start_peer: StartPeer,
    fill_cell: FillCell,
    suite: PeerSuite,
) -> None:
    fill_cell(GO_OPENPCC, f"HTTP, {CHUNKED}", suite, OURS_TO_THEIRS)
    peer = start_peer(GO_OPENPCC)
    gateway = peer.gateway_new(suite)
    client = ours.chunked_client(gateway.key_config)
    request = Request("POST", "https", "target.example", "/v1/chat/completions?flush", content=CONTENT)
    enc_request = ours.send_chunks(client, [request.encode(indeterminate=True), b""])
    url = peer.serve(gateway, chunk=ours.PEER_CHUNK)
    response, enc_response = post(url, MEDIA_TYPE_CHUNKED_REQUEST, enc_request)
    assert (response.status, response.headers["content-type"]) == (200, MEDIA_TYPE_CHUNKED_RESPONSE)
    check_echo(Response.decode(b"".join(ours.receive_chunks(client, enc_response))), request)


def test_their_http_gateway_refuses_a_key_that_it_does_not_have(start_peer: StartPeer) -> None:
    peer = start_peer(GO_OPENPCC)
    client = ours.client(peer.gateway_new(X25519_AES128).key_config)
    url = peer.serve(peer.gateway_new(X25519_AES128))
    response, _ = post(url, MEDIA_TYPE_REQUEST, client.encapsulate(ours.REQUEST.encode()))
    assert response.status >= 400


def check_echo(response: Response, request: Request) -> None:
    assert response.status == 201
    assert response.content == request.content
    assert ("x-saw", f"POST {request.authority}{request.path}") in response.headers
