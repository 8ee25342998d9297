"""Privacy Pass: their client with our issuer, our client with theirs, and each verifier on the other's tokens."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from attrs import evolve

from confsec.errors import TokenSignatureError
from confsec.protocol.privacy_pass import BatchTokenClient, TokenClient
from confsec.protocol.token_batch import BatchTokenRequest, BatchTokenResponse
from confsec.protocol.token_challenge import TokenChallenge
from confsec.protocol.token_http import (
    AuthChallenge,
    TokenCredentials,
    decode_www_authenticate,
    encode_www_authenticate,
)
from confsec.protocol.token_keys import BLIND_RSA, PARTIALLY_BLIND_RSA
from confsec.protocol.token_messages import Token
from tests.interop import ours_tokens as ours
from tests.interop.conftest import FillCell, StartPeer
from tests.interop.peers import GO_PAT, JS_PRIVACYPASS, RUST_PRIVACYPASS, PeerError, Program
from tests.interop.token_peers import TokenPeer
from tests.protocol.token_cases import (
    CHALLENGE,
    EXTENSIONS,
    METADATA_CHALLENGE,
    METADATA_TOKEN_KEY,
    RSA_2048,
    SAFE_2048,
    TOKEN_KEY,
    draw,
    draw_with_extensions,
    issue,
)

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

TOKENS = "tokens"
BATCH = "generic batch"
CHALLENGES = "challenges"
FIELDS = "header fields"

PLAIN = "type 0x0002"
METADATA = "type 0xDA7A"

THEIR_CLIENT = "their client, our issuer"
OUR_CLIENT = "our client, their issuer"
BOTH_READ = "read by both"

COUNT = 3

CHALLENGE_CASES = (
    CHALLENGE,
    TokenChallenge(BLIND_RSA, "issuer.example", bytes(range(32)), "origin.example,other.example"),
    TokenChallenge(BLIND_RSA, "issuer.example", bytes(32)),
    TokenChallenge(BLIND_RSA, "issuer.example:8443"),
)


def programs(*names: Program) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("program", names, ids=lambda program: program.folder)


every_program = programs(GO_PAT, JS_PRIVACYPASS, RUST_PRIVACYPASS)
with_batches = programs(JS_PRIVACYPASS, RUST_PRIVACYPASS)


def no_metadata(program: Program) -> None:
    """Stop, and say why in the matrix, where the peer has no tokens with metadata."""
    if program != JS_PRIVACYPASS:
        pytest.xfail("this peer has no tokens of type 0xDA7A")


def changed(data: bytes) -> bytes:
    """Return the data with another last bit."""
    return data[:-1] + bytes([data[-1] ^ 1])


# --- One token --------------------------------------------------------------------------------------------------------


@every_program
def test_their_client_gets_a_token_from_our_issuer(
    start_peer: StartPeer, fill_cell: FillCell, program: Program
) -> None:
    fill_cell(program, TOKENS, PLAIN, THEIR_CLIENT)
    peer = TokenPeer(start_peer(program))
    asked = peer.token_request(CHALLENGE.encode(), TOKEN_KEY.to_spki())
    token = peer.token_finalize(asked.exchange, ours.issue(asked.data))
    ours.verify(token)
    peer.token_verify(BLIND_RSA, TOKEN_KEY.to_spki(), token)


@every_program
def test_our_client_gets_a_token_from_their_issuer(
    start_peer: StartPeer, fill_cell: FillCell, program: Program
) -> None:
    fill_cell(program, TOKENS, PLAIN, OUR_CLIENT)
    peer = TokenPeer(start_peer(program))
    client = TokenClient(TOKEN_KEY, draw())
    response = peer.token_issue(BLIND_RSA, ours.private_key(RSA_2048), client.request())
    [token] = ours.finish(client, response)
    ours.verify(token.encode())
    peer.token_verify(BLIND_RSA, TOKEN_KEY.to_spki(), token.encode())


@every_program
def test_their_client_gets_a_token_with_metadata_from_our_issuer(
    start_peer: StartPeer, fill_cell: FillCell, program: Program
) -> None:
    fill_cell(program, TOKENS, METADATA, THEIR_CLIENT)
    no_metadata(program)
    peer, extensions = TokenPeer(start_peer(program)), EXTENSIONS.encode()
    asked = peer.token_request(METADATA_CHALLENGE.encode(), METADATA_TOKEN_KEY.to_spki(), extensions=extensions)
    token = peer.token_finalize(asked.exchange, ours.issue(asked.data))
    ours.verify(token)


@every_program
def test_our_client_gets_a_token_with_metadata_from_their_issuer(
    start_peer: StartPeer, fill_cell: FillCell, program: Program
) -> None:
    fill_cell(program, TOKENS, METADATA, OUR_CLIENT)
    no_metadata(program)
    peer, key, extensions = TokenPeer(start_peer(program)), METADATA_TOKEN_KEY.to_spki(), EXTENSIONS.encode()
    client = TokenClient(METADATA_TOKEN_KEY, draw_with_extensions())
    response = peer.token_issue(PARTIALLY_BLIND_RSA, ours.private_key(SAFE_2048), client.request())
    [token] = ours.finish(client, response)
    ours.verify(token.encode())
    peer.token_verify(PARTIALLY_BLIND_RSA, key, token.encode(), extensions=extensions)
    with pytest.raises(PeerError):
        peer.token_verify(PARTIALLY_BLIND_RSA, key, token.encode(), extensions=b"\x00\x00")


@every_program
def test_both_refuse_a_token_that_was_changed(start_peer: StartPeer, program: Program) -> None:
    peer = TokenPeer(start_peer(program))
    token = issue(draw()).encode()
    nonce_changed = token[:2] + changed(token[2:34]) + token[34:]
    for bad in (changed(token), nonce_changed):
        with pytest.raises(PeerError):
            peer.token_verify(BLIND_RSA, TOKEN_KEY.to_spki(), bad)
        with pytest.raises(TokenSignatureError):
            ours.verify(bad)


@every_program
def test_both_clients_refuse_a_response_that_was_changed(start_peer: StartPeer, program: Program) -> None:
    peer = TokenPeer(start_peer(program))
    asked = peer.token_request(CHALLENGE.encode(), TOKEN_KEY.to_spki())
    with pytest.raises(PeerError):
        peer.token_finalize(asked.exchange, changed(ours.issue(asked.data)))
    client = TokenClient(TOKEN_KEY, draw())
    response = peer.token_issue(BLIND_RSA, ours.private_key(RSA_2048), client.request())
    with pytest.raises(TokenSignatureError):
        ours.finish(client, changed(response))


@every_program
def test_their_issuer_refuses_a_blinded_message_that_is_not_below_the_modulus(
    start_peer: StartPeer, program: Program
) -> None:
    peer = TokenPeer(start_peer(program))
    too_large = draw().request().encode()[:3] + b"\xff" * 256
    with pytest.raises(PeerError):
        peer.token_issue(BLIND_RSA, ours.private_key(RSA_2048), too_large)


# --- Generic batches, as in the vectors of drafts -06 to -08 ----------------------------------------------------------


@with_batches
def test_their_client_gets_a_batch_from_our_issuer(
    start_peer: StartPeer, fill_cell: FillCell, program: Program
) -> None:
    fill_cell(program, BATCH, PLAIN, THEIR_CLIENT)
    peer = TokenPeer(start_peer(program))
    asked = peer.batch_request(CHALLENGE.encode(), TOKEN_KEY.to_spki(), count=COUNT)
    tokens = peer.batch_finalize(asked.exchange, ours.issue_batch(asked.data))
    assert len(set(tokens)) == COUNT
    for token in tokens:
        assert token is not None
        ours.verify(token)


@with_batches
def test_our_client_gets_a_batch_from_their_issuer(
    start_peer: StartPeer, fill_cell: FillCell, program: Program
) -> None:
    fill_cell(program, BATCH, PLAIN, OUR_CLIENT)
    peer = TokenPeer(start_peer(program))
    client = BatchTokenClient(TOKEN_KEY, [draw(f"batch {number}") for number in range(COUNT)])
    tokens = ours.finish(client, peer.batch_issue(ours.private_key(RSA_2048), client.request()))
    assert len(tokens) == COUNT
    for token in tokens:
        peer.token_verify(BLIND_RSA, TOKEN_KEY.to_spki(), token.encode())


@with_batches
def test_their_client_misses_what_our_issuer_refused_of_a_batch(start_peer: StartPeer, program: Program) -> None:
    peer = TokenPeer(start_peer(program))
    asked = peer.batch_request(CHALLENGE.encode(), TOKEN_KEY.to_spki(), count=COUNT)
    tokens = peer.batch_finalize(asked.exchange, ours.issue_batch(asked.data, refuse=1))
    assert [token is None for token in tokens] == [False, True, False]


@with_batches
def test_our_client_reads_what_their_issuer_refused_of_a_batch(start_peer: StartPeer, program: Program) -> None:
    peer = TokenPeer(start_peer(program))
    first, second = (draw(f"batch {number}").request() for number in range(2))
    other_key = evolve(second, truncated_token_key_id=second.truncated_token_key_id ^ 1)
    batch = BatchTokenRequest((first, other_key)).encode()
    response = BatchTokenResponse.decode(peer.batch_issue(ours.private_key(RSA_2048), batch))
    assert [one is None for one in response.token_responses] == [False, True]


# --- Challenges and header fields -------------------------------------------------------------------------------------


@every_program
@pytest.mark.parametrize("challenge", CHALLENGE_CASES, ids=["origin", "context", "any origin", "no context"])
def test_challenges_are_spelled_alike(
    start_peer: StartPeer, fill_cell: FillCell, program: Program, challenge: TokenChallenge
) -> None:
    fill_cell(program, CHALLENGES, PLAIN, BOTH_READ)
    peer = TokenPeer(start_peer(program))
    decoded = peer.challenge_decode(challenge.encode())
    assert (decoded["token_type"], decoded["issuer_name"]) == (BLIND_RSA, challenge.issuer_name)
    assert bytes.fromhex(decoded["redemption_context"]) == challenge.redemption_context
    assert ",".join(decoded["origins"]) == challenge.origin_info
    encoded = peer.challenge_encode(
        token_type=BLIND_RSA,
        issuer_name=challenge.issuer_name,
        redemption_context=challenge.redemption_context,
        origins=challenge.origins,
    )
    assert encoded == challenge.encode()


@with_batches
def test_we_read_their_header_fields(start_peer: StartPeer, fill_cell: FillCell, program: Program) -> None:
    fill_cell(program, FIELDS, PLAIN, "theirs, by us")
    peer, token = TokenPeer(start_peer(program)), issue(draw())
    # Without padding: what a library puts into a field without quotation marks is no `token` with it.
    challenge = padding_free()
    for max_age in (None, 60):
        field = peer.www_authenticate_encode(challenge.encode(), TOKEN_KEY.to_spki(), max_age=max_age)
        assert decode_www_authenticate(field) == (AuthChallenge(challenge.encode(), TOKEN_KEY.to_spki(), max_age),)
    field = peer.authorization_encode(BLIND_RSA, token.encode())
    assert TokenCredentials.decode(field) == TokenCredentials(token)


def test_javascript_reads_our_header_fields(start_peer: StartPeer, fill_cell: FillCell) -> None:
    fill_cell(JS_PRIVACYPASS, FIELDS, PLAIN, "ours, by them")
    peer = TokenPeer(start_peer(JS_PRIVACYPASS))
    challenges = [AuthChallenge(case.encode(), TOKEN_KEY.to_spki(), 60) for case in CHALLENGE_CASES]
    read = peer.www_authenticate_decode("Basic realm=x, " + encode_www_authenticate(challenges))
    assert read == [as_json(challenge) for challenge in challenges]
    token = issue(draw())
    assert read_credentials(peer, TokenCredentials(token)) == [(token.encode(), None)]


def test_javascript_reads_our_field_with_a_token_and_its_extensions(start_peer: StartPeer, fill_cell: FillCell) -> None:
    fill_cell(JS_PRIVACYPASS, FIELDS, METADATA, "ours, by them")
    pending = draw_with_extensions()
    token = Token(pending.token_input, bytes(256))
    read = read_credentials(TokenPeer(start_peer(JS_PRIVACYPASS)), TokenCredentials(token, EXTENSIONS))
    assert read == [(token.encode(), EXTENSIONS.encode())]


def padding_free() -> TokenChallenge:
    """Return a challenge whose base64 needs no padding."""
    return next(
        challenge
        for name in ("issuer", "issuer1", "issuer12")
        if len((challenge := TokenChallenge(BLIND_RSA, name)).encode()) % 3 == 0
    )


def as_json(challenge: AuthChallenge) -> dict[str, object]:
    assert challenge.token_key is not None
    return {
        "challenge": challenge.challenge.hex(),
        "token_key": challenge.token_key.hex(),
        "max_age": challenge.max_age,
    }


def read_credentials(peer: TokenPeer, credentials: TokenCredentials) -> Sequence[tuple[bytes, bytes | None]]:
    """Let the peer read our field, and return each token in it with its extensions."""
    read = peer.authorization_decode(credentials.token.token_input.token_type, credentials.encode())
    return [
        (bytes.fromhex(one["token"]), bytes.fromhex(one["extensions"]) if one["extensions"] else None) for one in read
    ]
