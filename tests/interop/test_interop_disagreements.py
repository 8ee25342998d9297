"""Where a peer does something else than the standard says, each with a test that fails once the peer has changed.

The README beside this file tells what each means for us. None of them needs anything else from us.
"""

from __future__ import annotations

import pytest

from confsec.errors import DecodeError, DecryptionError
from confsec.protocol.bhttp import Request, Response
from confsec.protocol.key_config import decode_key_configs, encode_key_configs
from confsec.protocol.ohttp import MEDIA_TYPE_CHUNKED_REQUEST
from confsec.protocol.wire import encode_varint
from tests.interop import ours
from tests.interop.conftest import StartPeer
from tests.interop.peers import GO_OPENPCC, JS_BHTTP, RUST, PeerError, Program
from tests.interop.suites import X25519_AES128
from tests.interop.test_interop_bhttp import to_json
from tests.interop.test_interop_http import post

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]


def with_empty_chunk(key_config: bytes) -> bytes:
    """Return a chunked request that begins with an empty chunk, which a sender must not make; then comes `rest`."""
    client = ours.chunked_client(key_config)
    sealed = client._keys.request_sequence.seal(b"", b"")
    return client.begin() + encode_varint(len(sealed)) + sealed + client.send_eof(b"rest")


@pytest.mark.parametrize(
    "program, read",
    [pytest.param(RUST, b"", id="rust"), pytest.param(GO_OPENPCC, b"rest", id="go")],
)
def test_peers_take_an_empty_chunk_and_we_refuse_it(start_peer: StartPeer, program: Program, read: bytes) -> None:
    peer, keyring = start_peer(program), ours.make_keyring(X25519_AES128)
    gateway = peer.gateway_new(X25519_AES128)
    # Rust takes it for the end, and does not miss what follows.
    assert peer.gateway_open(gateway, with_empty_chunk(gateway.key_config), chunked=True).data == read
    with pytest.raises(DecryptionError):
        ours.receive_chunks(ours.chunked_gateway(keyring), with_empty_chunk(ours.key_config_of(keyring).encode()))


def test_go_refuses_a_list_with_a_kem_that_it_does_not_have(start_peer: StartPeer) -> None:
    known = ours.key_config_of(ours.make_keyring(X25519_AES128))
    unknown = b"\x01\xfa\xfa" + bytes(32) + b"\x00\x04\x00\x01\x00\x01"
    keys = len(unknown).to_bytes(2) + unknown + encode_key_configs([known])
    assert decode_key_configs(keys) == (known,)
    assert start_peer(RUST).read_keys(keys) == [known.encode()]
    with pytest.raises(PeerError, match="invalid KEM"):
        start_peer(GO_OPENPCC).read_keys(keys)


def test_go_gateway_refuses_chunks_that_every_receiver_must_take(start_peer: StartPeer) -> None:
    peer = start_peer(GO_OPENPCC)
    gateway = peer.gateway_new(X25519_AES128)
    url = peer.serve(gateway)

    def status_for(chunk_size: int) -> int:
        client = ours.chunked_client(gateway.key_config)
        encoded = Request("POST", "https", "target.example", "/", content=bytes(1 << 14)).encode(indeterminate=True)
        parts = [encoded[start : start + chunk_size] for start in range(0, len(encoded), chunk_size)]
        return post(url, MEDIA_TYPE_CHUNKED_REQUEST, ours.send_chunks(client, [*parts, b""]))[0].status

    assert status_for(1 << 12) == 200
    assert status_for(1 << 14) >= 400


def test_rust_takes_binary_http_that_is_invalid(start_peer: StartPeer) -> None:
    peer = start_peer(RUST)
    padded = Response(200).encode() + b"\0\1"
    value_with_line_end = b"\1\x40\xc8\6\1a\3b\r\n\0\0"
    for invalid in (padded, value_with_line_end):
        assert peer.bhttp_decode("response", invalid)["status"] == 200
        with pytest.raises(DecodeError):
            Response.decode(invalid)


def test_javascript_loses_the_query_and_repeated_fields(start_peer: StartPeer) -> None:
    peer = start_peer(JS_BHTTP)
    request = Request("GET", "https", "example.com", "/path?x=1", (("a", "1"), ("a", "2")))
    assert Request.decode(peer.bhttp_encode(to_json(request))).path == "/path"
    assert peer.bhttp_decode("request", request.encode())["headers"] == [["a", "2"]]
