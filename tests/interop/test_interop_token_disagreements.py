"""Where a peer does something else with tokens than the standards say, each with a test that fails once it has changed.

The README beside this file tells what each means for us.
"""

from __future__ import annotations

import pytest

from confsec.errors import DecodeError, TokenTypeError
from confsec.protocol.privacy_pass import BatchTokenIssuer
from confsec.protocol.token_batch import BatchTokenRequest
from confsec.protocol.token_challenge import TokenChallenge
from confsec.protocol.token_http import (
    AuthChallenge,
    TokenCredentials,
    decode_www_authenticate,
    encode_www_authenticate,
)
from confsec.protocol.token_keys import BLIND_RSA, PARTIALLY_BLIND_RSA, TokenKey
from confsec.protocol.token_messages import Token, TokenRequest
from confsec.protocol.wire import encode_varint_vector
from confsec.testing import EPOCH
from tests.interop import ours_tokens as ours
from tests.interop.build import Program
from tests.interop.conftest import StartPeer
from tests.interop.peers import JS_PRIVACYPASS, RUST_PRIVACYPASS, PeerError
from tests.interop.test_interop_tokens import with_batches
from tests.interop.token_peers import TokenPeer
from tests.protocol.token_cases import (
    CHALLENGE,
    EXTENSIONS,
    KEYRING,
    RSA_2048,
    TOKEN_KEY,
    draw,
    draw_with_extensions,
    issue,
)

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

SPKI = TOKEN_KEY.to_spki()
FIELD = encode_www_authenticate([AuthChallenge(CHALLENGE.encode(), SPKI)])
UNQUOTED = FIELD.replace('"', "")

NO_ISSUER = bytes.fromhex("0002 0000 00 0000")
SHORT_CONTEXT = bytes.fromhex("0002 0001 61 05 0102030405 0000")


@with_batches
def test_peers_write_padding_without_quotation_marks_and_we_refuse_it(start_peer: StartPeer, program: Program) -> None:
    field = TokenPeer(start_peer(program)).www_authenticate_encode(CHALLENGE.encode(), SPKI, quoted=False)
    assert '"' not in field
    assert "=," in field
    with pytest.raises(DecodeError):
        decode_www_authenticate(field)


def test_rust_reads_no_field_with_quotation_marks(start_peer: StartPeer) -> None:
    peer, credentials = TokenPeer(start_peer(RUST_PRIVACYPASS)), TokenCredentials(issue(draw())).encode()
    assert peer.www_authenticate_decode(UNQUOTED)
    assert peer.authorization_decode(BLIND_RSA, credentials.replace('"', ""))
    with pytest.raises(PeerError):
        peer.www_authenticate_decode(FIELD)
    with pytest.raises(PeerError):
        peer.authorization_decode(BLIND_RSA, credentials)


@pytest.mark.parametrize(
    "field", [f"{UNQUOTED}, new=1", f"Basic realm=x, {UNQUOTED}"], ids=["unknown parameter", "another scheme"]
)
def test_rust_reads_no_field_with_anything_else_in_it(start_peer: StartPeer, field: str) -> None:
    with pytest.raises(PeerError):
        TokenPeer(start_peer(RUST_PRIVACYPASS)).www_authenticate_decode(field)


def test_javascript_knows_the_scheme_in_one_spelling(start_peer: StartPeer) -> None:
    peer, lower = TokenPeer(start_peer(JS_PRIVACYPASS)), FIELD.replace("PrivateToken", "privatetoken")
    assert decode_www_authenticate(lower) == decode_www_authenticate(FIELD)
    assert peer.www_authenticate_decode(FIELD)
    assert peer.www_authenticate_decode(lower) == []


@with_batches
def test_peers_want_a_token_key_in_every_challenge(start_peer: StartPeer, program: Program) -> None:
    field = encode_www_authenticate([AuthChallenge(CHALLENGE.encode())])
    with pytest.raises(PeerError):
        TokenPeer(start_peer(program)).www_authenticate_decode(field.replace('"', ""))


def test_javascript_writes_a_token_without_its_extensions(start_peer: StartPeer) -> None:
    token = Token(draw_with_extensions().token_input, bytes(256)).encode()
    peer = TokenPeer(start_peer(JS_PRIVACYPASS))
    field = peer.authorization_encode(PARTIALLY_BLIND_RSA, token, extensions=EXTENSIONS.encode())
    assert "extensions" not in field
    with pytest.raises(DecodeError):
        TokenCredentials.decode(field)


@with_batches
def test_peers_take_challenges_that_break_the_rules(start_peer: StartPeer, program: Program) -> None:
    peer = TokenPeer(start_peer(program))
    for invalid in (NO_ISSUER, CHALLENGE.encode() + b"left over"):
        assert peer.challenge_decode(invalid)["token_type"] == BLIND_RSA
        with pytest.raises(DecodeError):
            TokenChallenge.decode(invalid)


def test_rust_takes_a_redemption_context_of_another_length_for_none(start_peer: StartPeer) -> None:
    assert TokenPeer(start_peer(RUST_PRIVACYPASS)).challenge_decode(SHORT_CONTEXT)["redemption_context"] == ""
    with pytest.raises(DecodeError):
        TokenChallenge.decode(SHORT_CONTEXT)


def test_javascript_takes_a_token_key_with_another_algorithm(start_peer: StartPeer) -> None:
    spki = ours.public_key(RSA_2048)
    assert TokenPeer(start_peer(JS_PRIVACYPASS)).token_request(CHALLENGE.encode(), spki).data
    with pytest.raises(DecodeError):
        TokenKey.from_spki(BLIND_RSA, spki)


def test_javascript_signs_for_any_key_id_and_passes_over_what_is_left(start_peer: StartPeer) -> None:
    request = draw().request()
    other_key = TokenRequest(BLIND_RSA, request.truncated_token_key_id ^ 1, request.blinded_msg).encode()
    peer, signed = TokenPeer(start_peer(JS_PRIVACYPASS)), RSA_2048.sign(request.blinded_msg)
    for odd in (other_key, request.encode() + b"left over"):
        assert peer.token_issue(BLIND_RSA, ours.private_key(RSA_2048), odd) == signed


@with_batches
def test_peers_sign_a_blinded_message_without_an_inverse(start_peer: StartPeer, program: Program) -> None:
    not_invertible = draw().request().encode()[:3] + RSA_2048.p.to_bytes(256, "big")
    assert TokenPeer(start_peer(program)).token_issue(BLIND_RSA, ours.private_key(RSA_2048), not_invertible)
    with pytest.raises(DecodeError):
        ours.issue(not_invertible)


@with_batches
def test_peers_answer_an_empty_batch_and_a_length_that_is_longer_than_it_needs_to_be(
    start_peer: StartPeer, program: Program
) -> None:
    peer, request = TokenPeer(start_peer(program)), draw().request().encode()
    long_length = (0x80000000 | len(request)).to_bytes(4, "big") + request
    for odd in (b"\0", long_length):
        assert peer.batch_issue(ours.private_key(RSA_2048), odd)
        with pytest.raises(DecodeError):
            ours.issue_batch(odd)


def test_rust_refuses_a_batch_of_more_than_a_hundred(start_peer: StartPeer) -> None:
    batch = BatchTokenRequest((draw().request(),) * 101).encode()
    issuer = BatchTokenIssuer(KEYRING, now=EPOCH)
    issuer.receive_data(batch)
    assert len(issuer.receive_eof()) == 101
    with pytest.raises(PeerError, match="exceeds maximum 100"):
        TokenPeer(start_peer(RUST_PRIVACYPASS)).batch_issue(ours.private_key(RSA_2048), batch)


@with_batches
def test_nobody_reads_the_batches_of_older_drafts(start_peer: StartPeer, program: Program) -> None:
    request = draw().request().encode()
    older = encode_varint_vector(len(request).to_bytes(2, "big") + request)
    with pytest.raises(PeerError):
        TokenPeer(start_peer(program)).batch_issue(ours.private_key(RSA_2048), older)
    with pytest.raises(TokenTypeError):
        BatchTokenRequest.decode(older)


def test_javascript_has_no_batches_of_tokens_with_metadata(start_peer: StartPeer) -> None:
    batch = BatchTokenRequest((draw_with_extensions().request(),)).encode()
    with pytest.raises(PeerError, match="not supported"):
        TokenPeer(start_peer(JS_PRIVACYPASS)).batch_issue(ours.private_key(RSA_2048), batch)
