"""Tokens over HTTP on loopback: the client of privacypass-ts at our issuer, and our client at an issuer of theirs."""

from __future__ import annotations

from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from anyio import to_thread

from confsec.backends.issuer_store_sqlite import sqlite_issuer_store
from confsec.protocol.privacy_pass import BatchTokenClient, TokenClient
from confsec.protocol.token_batch import MEDIA_TYPE_BATCH_REQUEST, MEDIA_TYPE_BATCH_RESPONSE
from confsec.protocol.token_directory import (
    ISSUER_DIRECTORY_PATH,
    MEDIA_TYPE_ISSUER_DIRECTORY,
    IssuerDirectory,
)
from confsec.protocol.token_http import AuthChallenge, encode_www_authenticate
from confsec.protocol.token_keys import BLIND_RSA
from confsec.protocol.token_messages import MEDIA_TYPE_TOKEN_REQUEST, MEDIA_TYPE_TOKEN_RESPONSE
from confsec.roles.issuer import Issuer, IssuerConfig
from confsec.testing import EPOCH, FixedClock
from tests.interop import ours_tokens as ours
from tests.interop.conftest import FillCell, StartPeer
from tests.interop.peers import JS_PRIVACYPASS, PeerError
from tests.interop.test_interop_tokens import OUR_CLIENT, PLAIN, THEIR_CLIENT
from tests.interop.token_peers import TokenPeer
from tests.protocol.token_cases import CHALLENGE, RSA_2048, TOKEN_KEY, draw
from tests.roles.issuer_cases import REQUEST_ID, add_account, two_epochs
from tests.roles.support import served

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

HTTP = "HTTP"
FIELD = encode_www_authenticate([AuthChallenge(CHALLENGE.encode(), TOKEN_KEY.to_spki())])


@pytest.mark.anyio
async def test_their_client_gets_a_token_from_our_issuer_for_an_account(
    start_peer: StartPeer, fill_cell: FillCell, tmp_path: Path
) -> None:
    fill_cell(JS_PRIVACYPASS, HTTP, PLAIN, THEIR_CLIENT)
    peer, store = TokenPeer(start_peer(JS_PRIVACYPASS)), sqlite_issuer_store(tmp_path / "issuer.db")
    key = await add_account(store, quota=1)
    config = IssuerConfig(shutdown_timeout=0.5)
    async with served(Issuer(config, store, two_epochs(), clock=FixedClock()), config) as url:
        fetch = partial(peer.token_fetch, url, FIELD)
        fields = {"authorization": f"Bearer {key.encode()}", "confsec-request-id": REQUEST_ID}
        ours.verify(await to_thread.run_sync(fetch, fields))
        with pytest.raises(PeerError, match="401"):
            await to_thread.run_sync(fetch, fields | {"authorization": "Bearer nothing"})
        with pytest.raises(PeerError, match="429"):
            await to_thread.run_sync(fetch, fields | {"confsec-request-id": REQUEST_ID[::-1]})


def test_our_client_gets_tokens_from_their_http_issuer(start_peer: StartPeer, fill_cell: FillCell) -> None:
    fill_cell(JS_PRIVACYPASS, HTTP, PLAIN, OUR_CLIENT)
    url = TokenPeer(start_peer(JS_PRIVACYPASS)).issuer_serve(ours.private_key(RSA_2048))
    directory = IssuerDirectory.decode(ask(url, "GET", ISSUER_DIRECTORY_PATH, answer=MEDIA_TYPE_ISSUER_DIRECTORY))
    assert directory.choose_key(BLIND_RSA, now=EPOCH) == TOKEN_KEY
    send = partial(ask, url, "POST", directory.issuer_request_uri)

    one = TokenClient(TOKEN_KEY, draw())
    response = send(one.request(), kind=MEDIA_TYPE_TOKEN_REQUEST, answer=MEDIA_TYPE_TOKEN_RESPONSE)
    many = BatchTokenClient(TOKEN_KEY, [draw("first"), draw("second")])
    responses = send(many.request(), kind=MEDIA_TYPE_BATCH_REQUEST, answer=MEDIA_TYPE_BATCH_RESPONSE)
    for token in (*ours.finish(one, response), *ours.finish(many, responses)):
        ours.verify(token.encode())


def ask(url: str, method: str, path: str, body: bytes = b"", *, kind: str = "", answer: str) -> bytes:
    """Send a request and return the content of the answer, which has to be of this media type."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = HTTPConnection(parts.hostname, parts.port, timeout=60)
    try:
        connection.request(method, path, body, {"content-type": kind} if kind else {})
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    assert (response.status, response.headers["content-type"]) == (200, answer), content
    return content
