"""Oblivious HTTP, one-shot and chunked: their client to our gateway, our client to their gateway."""

from __future__ import annotations

import pytest

from confsec.errors import ConfsecError, DecryptionError, TruncatedError, UnknownKeyError
from confsec.protocol.chunked_ohttp import ChunkedOhttpClient
from confsec.protocol.key_config import decode_key_configs, encode_key_configs
from tests.interop import ours
from tests.interop.build import find_in_npm
from tests.interop.conftest import FillCell, StartPeer
from tests.interop.ours import PARTS, REQUEST, RESPONSE
from tests.interop.peers import GO_OPENPCC, RUST, PeerError, PeerMissingError, PeerSuite, Program, ToolMissingError
from tests.interop.suites import (
    CHUNKED_SUITES,
    ONE_SHOT_SUITES,
    X25519_AES128,
    X25519_CHACHA20,
    expect_support,
    peer_suites,
)
from tests.support import require_or_skip

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

JS_OHTTP = "ohttp-ts"

ONE_SHOT = "one-shot"
CHUNKED = "chunked"

THEIRS_TO_OURS = "their client to our gateway"
OURS_TO_THEIRS = "our client to their gateway"

every_suite = pytest.mark.parametrize("program, suite", peer_suites(ONE_SHOT_SUITES))
every_chunked_suite = pytest.mark.parametrize("program, suite", peer_suites(CHUNKED_SUITES))
both_forms = pytest.mark.parametrize("form", [ONE_SHOT, CHUNKED])
every_peer = pytest.mark.parametrize("program", [RUST, GO_OPENPCC], ids=lambda program: program.folder)


@every_suite
def test_their_client_speaks_with_our_gateway(
    start_peer: StartPeer,
    fill_cell: FillCell,
    program: Program,
    suite: PeerSuite,
) -> None:
    fill_cell(program, ONE_SHOT, suite, THEIRS_TO_OURS)
    expect_support(program, suite)
    peer, keyring = start_peer(program), ours.make_keyring(suite)
    sent = peer.client_encapsulate(ours.key_config_of(keyring).encode(), [REQUEST.encode()], chunked=False)
    gateway = ours.gateway(keyring)
    assert ours.receive_whole(gateway, sent.data) == REQUEST.encode()
    enc_response = gateway.encapsulate_response(RESPONSE.encode())
    assert peer.client_open_response(sent.exchange, enc_response).data == RESPONSE.encode()


@every_suite
def test_our_client_speaks_with_their_gateway(
    start_peer: StartPeer,
    fill_cell: FillCell,
    program: Program,
    suite: PeerSuite,
) -> None:
    fill_cell(program, ONE_SHOT, suite, OURS_TO_THEIRS)
    expect_support(program, suite)
    peer = start_peer(program)
    gateway = peer.gateway_new(suite)
    client = ours.client(gateway.key_config)
    received = peer.gateway_open(gateway, client.encapsulate(REQUEST.encode()), chunked=False)
    assert received.data == REQUEST.encode()
    enc_response = peer.gateway_respond(received.exchange, [RESPONSE.encode()])
    assert ours.receive_whole(client, enc_response) == RESPONSE.encode()


@every_chunked_suite
def test_their_client_speaks_in_chunks_with_our_gateway(
    start_peer: StartPeer,
    fill_cell: FillCell,
    program: Program,
    suite: PeerSuite,
) -> None:
    fill_cell(program, CHUNKED, suite, THEIRS_TO_OURS)
    expect_support(program, suite)
    peer, keyring = start_peer(program), ours.make_keyring(suite)
    sent = peer.client_encapsulate(ours.key_config_of(keyring).encode(), PARTS, chunked=True)
    gateway = ours.chunked_gateway(keyring)
    assert ours.receive_chunks(gateway, sent.data) == list(PARTS)
    enc_response = ours.send_chunks(gateway, PARTS)
    if (program, suite) == (RUST, X25519_CHACHA20):
        # A mistake of the crate, which the README describes: it opens no response whose nonce is 32 bytes long.
        with pytest.raises(PeerError, match="range end index 32 out of range"):
            peer.client_open_response(sent.exchange, enc_response)
        pytest.xfail("this crate panics at chunked responses with nonces of 32 bytes; the request went well")
    assert peer.client_open_response(sent.exchange, enc_response).data == b"".join(PARTS)


@every_chunked_suite
def test_our_client_speaks_in_chunks_with_their_gateway(
    start_peer: StartPeer,
    fill_cell: FillCell,
    program: Program,
    suite: PeerSuite,
) -> None:
    fill_cell(program, CHUNKED, suite, OURS_TO_THEIRS)
    expect_support(program, suite)
    peer = start_peer(program)
    gateway = peer.gateway_new(suite)
    client = ours.chunked_client(gateway.key_config)
    received = peer.gateway_open(gateway, ours.send_chunks(client, PARTS), chunked=True)
    assert received.data == b"".join(PARTS)
    enc_response = peer.gateway_respond(received.exchange, PARTS)
    assert ours.receive_chunks(client, enc_response) == list(PARTS)


@every_peer
def test_key_configurations_are_read_by_both(start_peer: StartPeer, program: Program) -> None:
    peer = start_peer(program)
    theirs = peer.gateway_new(X25519_AES128)
    [config] = decode_key_configs(theirs.keys)
    assert config.encode() == theirs.key_config
    configs = [ours.key_config_of(ours.make_keyring(suite)) for suite in (X25519_AES128, X25519_CHACHA20)]
    assert peer.read_keys(encode_key_configs(configs)) == [config.encode() for config in configs]


@every_peer
@both_forms
def test_their_gateway_refuses_a_changed_request(start_peer: StartPeer, program: Program, form: str) -> None:
    peer = start_peer(program)
    gateway = peer.gateway_new(X25519_AES128)
    if form == CHUNKED:
        enc_request = ours.send_chunks(ours.chunked_client(gateway.key_config), PARTS)
    else:
        enc_request = ours.client(gateway.key_config).encapsulate(REQUEST.encode())
    assert peer.gateway_open(gateway, enc_request, chunked=form == CHUNKED).data
    for changed in (enc_request[:-1], enc_request[:-1] + bytes([enc_request[-1] ^ 1]), b"\0" + enc_request[1:]):
        with pytest.raises(PeerError):
            peer.gateway_open(gateway, changed, chunked=form == CHUNKED)


@every_peer
def test_their_client_refuses_a_chunked_response_without_its_final_chunk(
    start_peer: StartPeer,
    program: Program,
) -> None:
    peer, keyring = start_peer(program), ours.make_keyring(X25519_AES128)
    sent = peer.client_encapsulate(ours.key_config_of(keyring).encode(), PARTS, chunked=True)
    gateway = ours.chunked_gateway(keyring)
    ours.receive_chunks(gateway, sent.data)
    cut = gateway.begin() + gateway.send(PARTS[0])
    with pytest.raises(PeerError):
        peer.client_open_response(sent.exchange, cut)


@every_peer
@both_forms
def test_our_gateway_refuses_their_request_when_it_is_cut_or_changed(
    start_peer: StartPeer,
    program: Program,
    form: str,
) -> None:
    peer, keyring = start_peer(program), ours.make_keyring(X25519_AES128)
    config = ours.key_config_of(keyring).encode()
    enc_request = peer.client_encapsulate(config, PARTS, chunked=form == CHUNKED).data

    def open_request(data: bytes) -> object:
        if form == CHUNKED:
            return ours.receive_chunks(ours.chunked_gateway(keyring), data)
        return ours.receive_whole(ours.gateway(keyring), data)

    assert open_request(enc_request)
    for size in (3, 20, len(enc_request) - 17, len(enc_request) - 1):
        with pytest.raises((TruncatedError, DecryptionError)):
            open_request(enc_request[:size])
    with pytest.raises(DecryptionError):
        open_request(enc_request[:-1] + bytes([enc_request[-1] ^ 1]))
    with pytest.raises(UnknownKeyError):
        open_request(b"\0" + enc_request[1:])


@every_peer
def test_our_client_refuses_their_chunked_response_at_every_cut(start_peer: StartPeer, program: Program) -> None:
    peer = start_peer(program)
    gateway = peer.gateway_new(X25519_AES128)

    def exchange() -> tuple[ChunkedOhttpClient, bytes]:
        client = ours.chunked_client(gateway.key_config)
        received = peer.gateway_open(gateway, ours.send_chunks(client, PARTS), chunked=True)
        return client, peer.gateway_respond(received.exchange, [b"one", b"two"])

    size = len(exchange()[1])
    for cut in range(size):
        client, enc_response = exchange()
        with pytest.raises(ConfsecError):
            ours.receive_chunks(client, enc_response[:cut])


def test_javascript_peer_is_asked_for(fill_cell: FillCell) -> None:
    fill_cell(JS_OHTTP, CHUNKED, "X25519", THEIRS_TO_OURS)
    fill_cell(JS_OHTTP, CHUNKED, "X25519", OURS_TO_THEIRS)
    try:
        find_in_npm(JS_OHTTP)
    except PeerMissingError as exc:
        pytest.xfail(str(exc))
    except ToolMissingError as exc:
        require_or_skip(str(exc))
    pytest.xfail("npm has it now; it needs Node 24, and no program of ours speaks for it yet")
