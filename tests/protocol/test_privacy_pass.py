"""Privacy Pass: both machines in all states, whole issuances, and what `verify_token` refuses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from confsec.errors import (
    ConfsecError,
    DecodeError,
    LimitError,
    LocalProtocolError,
    TokenChallengeError,
    TokenEpochError,
    TokenError,
    TokenKeyError,
    TokenOriginError,
    TokenSignatureError,
    TokenTypeError,
    TruncatedError,
)
from confsec.protocol.machine import State, Step
from confsec.protocol.partially_blind_rsa import derive_public_key
from confsec.protocol.privacy_pass import (
    BatchTokenClient,
    BatchTokenIssuer,
    PendingToken,
    SignatureNeeded,
    TokenClient,
    TokenIssued,
    TokenIssuer,
    TokenRefused,
    verify_token,
)
from confsec.protocol.token_batch import (
    MAX_BATCH,
    MAX_BATCH_REQUEST,
    MAX_BATCH_RESPONSE,
    BatchTokenRequest,
    BatchTokenResponse,
    TypedTokenResponse,
)
from confsec.protocol.token_extensions import Extension, Extensions
from confsec.protocol.token_keys import BLIND_RSA, PARTIALLY_BLIND_RSA, TokenKey, TokenKeyEpoch, TokenKeyring
from confsec.protocol.token_messages import MAX_TOKEN_REQUEST, Token, TokenRequest, TokenResponse
from confsec.testing import (
    EPOCH,
    MemoryWire,
    check_all_steps,
    check_any_bytes,
    check_any_cut,
    check_any_split,
    check_round_trip,
    seeded_randbytes,
)
from tests.protocol.token_cases import (
    CHALLENGE,
    DAY,
    EXTENSIONS,
    HOUR,
    KEYRING,
    METADATA_CHALLENGE,
    METADATA_TOKEN_KEY,
    ORIGIN,
    OTHER_2048,
    OTHER_TOKEN_KEY,
    RSA_2048,
    SAFE_2048,
    TOKEN_KEY,
    draw,
    draw_with_extensions,
    issue,
    scripted,
)

PENDING = draw()
BATCH = tuple(draw(f"batch {number}") for number in range(3))
METADATA_PENDING = draw_with_extensions()
BLIND_SIG = RSA_2048.sign(PENDING.blinded_msg)
BLIND_SIGS = [RSA_2048.sign(pending.blinded_msg) for pending in BATCH]
TOKEN = issue(PENDING)
REQUEST = PENDING.request().encode()
BATCH_REQUEST = BatchTokenRequest(tuple(pending.request() for pending in BATCH)).encode()
BATCH_RESPONSE = BatchTokenResponse(
    tuple(TypedTokenResponse(BLIND_RSA, TokenResponse(blind_sig)) for blind_sig in BLIND_SIGS)
).encode()


def metadata_blind_sig(pending: PendingToken = METADATA_PENDING) -> bytes:
    assert pending.extensions is not None
    return SAFE_2048.sign(pending.blinded_msg, derive_public_key(SAFE_2048.public_key, pending.extensions.encode()))


METADATA_TOKEN = METADATA_PENDING.finalize(METADATA_TOKEN_KEY, TokenResponse(metadata_blind_sig()))


def client() -> TokenClient:
    return TokenClient(TOKEN_KEY, PENDING)


def awaiting() -> TokenClient:
    machine = client()
    machine.request()
    return machine


def batch_client() -> BatchTokenClient:
    return BatchTokenClient(TOKEN_KEY, BATCH)


def batch_awaiting() -> BatchTokenClient:
    machine = batch_client()
    machine.request()
    return machine


def issuer() -> TokenIssuer:
    return TokenIssuer(KEYRING, now=EPOCH)


def responding() -> TokenIssuer:
    machine = issuer()
    MemoryWire(machine).send_eof(REQUEST)
    return machine


def batch_issuer() -> BatchTokenIssuer:
    return BatchTokenIssuer(KEYRING, now=EPOCH)


def batch_responding() -> BatchTokenIssuer:
    machine = batch_issuer()
    MemoryWire(machine).send_eof(BATCH_REQUEST)
    return machine


def done(machine: TokenClient | BatchTokenClient, response: bytes) -> TokenClient | BatchTokenClient:
    MemoryWire(machine).send_eof(response)
    return machine


# --- all states, any split, any cut


def test_client_takes_each_step_in_its_states_only() -> None:
    def finish(machine: TokenClient | BatchTokenClient) -> object:
        if machine.state is State.AWAITING_RESPONSE:
            machine.receive_data(BLIND_SIG if isinstance(machine, TokenClient) else BATCH_RESPONSE)
        return machine.receive_eof()

    verbs: dict[Step, Callable[[TokenClient | BatchTokenClient], object]] = {
        Step.REQUEST: lambda machine: machine.request(),
        Step.RECEIVE: lambda machine: machine.receive_data(b"x"),
        Step.RECEIVE_EOF: finish,
    }
    check_all_steps(
        {
            State.READY: client,
            State.AWAITING_RESPONSE: awaiting,
            State.DONE: lambda: done(awaiting(), BLIND_SIG),
        },
        verbs,
    )
    check_all_steps(
        {
            State.READY: batch_client,
            State.AWAITING_RESPONSE: batch_awaiting,
            State.DONE: lambda: done(batch_awaiting(), BATCH_RESPONSE),
        },
        verbs,
    )


def test_issuer_takes_each_step_in_its_states_only() -> None:
    def finish(machine: TokenIssuer | BatchTokenIssuer) -> object:
        if machine.state is State.AWAITING_REQUEST:
            machine.receive_data(REQUEST if isinstance(machine, TokenIssuer) else BATCH_REQUEST)
        return machine.receive_eof()

    def respond(machine: TokenIssuer | BatchTokenIssuer) -> object:
        return machine.respond(BLIND_SIG) if isinstance(machine, TokenIssuer) else machine.respond(BLIND_SIGS)

    def responded(machine: TokenIssuer | BatchTokenIssuer) -> TokenIssuer | BatchTokenIssuer:
        respond(machine)
        return machine

    verbs: dict[Step, Callable[[TokenIssuer | BatchTokenIssuer], object]] = {
        Step.RECEIVE: lambda machine: machine.receive_data(b"x"),
        Step.RECEIVE_EOF: finish,
        Step.RESPOND: respond,
    }
    check_all_steps(
        {
            State.AWAITING_REQUEST: issuer,
            State.RESPONDING: responding,
            State.DONE: lambda: responded(responding()),
        },
        verbs,
    )
    check_all_steps(
        {
            State.AWAITING_REQUEST: batch_issuer,
            State.RESPONDING: batch_responding,
            State.DONE: lambda: responded(batch_responding()),
        },
        verbs,
    )


def test_any_split_gives_the_same_events() -> None:
    check_any_split(awaiting, BLIND_SIG)
    check_any_split(batch_awaiting, BATCH_RESPONSE[:300], tail=BATCH_RESPONSE[300:])
    check_any_split(issuer, REQUEST)
    check_any_split(batch_issuer, BATCH_REQUEST[:300], tail=BATCH_REQUEST[300:])


def test_any_cut_raises() -> None:
    check_any_cut(awaiting, BLIND_SIG)
    check_any_cut(batch_awaiting, BATCH_RESPONSE)
    check_any_cut(issuer, REQUEST)
    check_any_cut(batch_issuer, BATCH_REQUEST)


@pytest.mark.parametrize(
    "make, limit",
    [
        (awaiting, 256),
        (batch_awaiting, MAX_BATCH_RESPONSE),
        (issuer, MAX_TOKEN_REQUEST),
        (batch_issuer, MAX_BATCH_REQUEST),
    ],
)
def test_messages_are_bounded_while_they_arrive(
    make: Callable[[], TokenClient | BatchTokenClient | TokenIssuer | BatchTokenIssuer], limit: int
) -> None:
    machine = make()
    assert machine.receive_data(bytes(limit - 1)) == []
    assert machine.receive_data(b"x") == []
    with pytest.raises(LimitError):
        machine.receive_data(b"x")
    assert machine.state is State.FAILED


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    for make in (awaiting, batch_awaiting, issuer, batch_issuer):
        check_any_bytes(lambda data, make=make: MemoryWire(make()).send_eof(data), data)  # type: ignore[misc]


def test_limits_let_the_longest_messages_pass() -> None:
    longest = Extensions((Extension(1, bytes(1024 - 6)),))
    request = TokenRequest(PARTIALLY_BLIND_RSA, METADATA_TOKEN_KEY.truncated_token_key_id, b"\x01" * 256, longest)
    assert len(request.encode()) == MAX_TOKEN_REQUEST
    [needed] = MemoryWire(issuer()).send_eof(request.encode())
    assert needed.extensions == longest
    assert len(BatchTokenRequest((request,) * MAX_BATCH).encode()) == MAX_BATCH_REQUEST
    answer = TypedTokenResponse(BLIND_RSA, TokenResponse(bytes(256)))
    assert len(BatchTokenResponse((answer,) * MAX_BATCH).encode()) == MAX_BATCH_RESPONSE


# --- whole issuances


def test_one_token_is_issued_and_pays() -> None:
    buyer, seller = client(), issuer()
    [needed] = MemoryWire(seller).send_eof(buyer.request())
    assert needed == SignatureNeeded(TOKEN_KEY, RSA_2048.public_key, PENDING.blinded_msg, None)
    [event] = MemoryWire(buyer).send_eof(seller.respond(RSA_2048.sign(needed.blinded_msg)))
    assert event == TokenIssued(TOKEN)
    assert isinstance(event, TokenIssued)
    epoch = verify_token(event.token, challenges=[CHALLENGE], origin=ORIGIN, keyring=KEYRING, now=EPOCH)
    assert epoch is KEYRING.epochs[0]


def test_one_token_under_metadata_is_issued_and_pays() -> None:
    buyer, seller = TokenClient(METADATA_TOKEN_KEY, METADATA_PENDING), issuer()
    [needed] = MemoryWire(seller).send_eof(buyer.request())
    assert (needed.token_key, needed.extensions) == (METADATA_TOKEN_KEY, EXTENSIONS)
    assert needed.public_key == derive_public_key(SAFE_2048.public_key, EXTENSIONS.encode())
    response = seller.respond(SAFE_2048.sign(needed.blinded_msg, needed.public_key))
    assert MemoryWire(buyer).send_eof(response) == [TokenIssued(METADATA_TOKEN)]
    verify_token(
        METADATA_TOKEN,
        challenges=[METADATA_CHALLENGE],
        origin=ORIGIN,
        keyring=KEYRING,
        now=EPOCH,
        extensions=EXTENSIONS,
    )


def test_a_batch_is_issued_in_order() -> None:
    buyer, seller = batch_client(), batch_issuer()
    needed = MemoryWire(seller).send_eof(buyer.request())
    assert [each.blinded_msg for each in needed] == [pending.blinded_msg for pending in BATCH]
    response = seller.respond([RSA_2048.sign(each.blinded_msg) for each in needed])
    assert response == BATCH_RESPONSE
    events = MemoryWire(buyer).send_eof(response)
    assert events == [TokenIssued(issue(pending)) for pending in BATCH]


def test_what_an_issuer_refuses_is_reported_in_its_place() -> None:
    response = batch_responding().respond([BLIND_SIGS[0], None, BLIND_SIGS[2]])
    events = MemoryWire(batch_awaiting()).send_eof(response)
    assert events == [TokenIssued(issue(BATCH[0])), TokenRefused(BATCH[1]), TokenIssued(issue(BATCH[2]))]


@pytest.mark.parametrize("count", [0, 2, 4])
def test_a_batch_is_answered_as_a_whole(count: int) -> None:
    with pytest.raises(LocalProtocolError):
        batch_responding().respond((BLIND_SIGS + BLIND_SIGS)[:count])


def test_a_batch_without_any_signature_is_no_response() -> None:
    with pytest.raises(LocalProtocolError):
        batch_responding().respond([None, None, None])


def test_a_batch_may_name_several_keys_and_types() -> None:
    requests = (PENDING.request(), METADATA_PENDING.request())
    seller = batch_issuer()
    needed = MemoryWire(seller).send_eof(BatchTokenRequest(requests).encode())
    assert [each.token_key for each in needed] == [TOKEN_KEY, METADATA_TOKEN_KEY]
    responses = BatchTokenResponse.decode(seller.respond([BLIND_SIG, metadata_blind_sig()])).token_responses
    assert [answer and answer.token_type for answer in responses] == [BLIND_RSA, PARTIALLY_BLIND_RSA]


@pytest.mark.parametrize("size", [0, 255, 257])
def test_issuer_responds_with_a_signature_of_the_right_size(size: int) -> None:
    with pytest.raises(DecodeError):
        responding().respond(bytes(size))
    with pytest.raises(DecodeError):
        batch_responding().respond([bytes(size), None, None])


# --- what machines refuse


@pytest.mark.parametrize(
    "pending, token_key",
    [
        pytest.param(PENDING, OTHER_TOKEN_KEY, id="another key"),
        pytest.param(PENDING, TokenKey(PARTIALLY_BLIND_RSA, RSA_2048.public_key), id="another type"),
    ],
)
def test_client_asks_for_tokens_of_its_key_only(pending: PendingToken, token_key: TokenKey) -> None:
    with pytest.raises(LocalProtocolError, match="another token key"):
        TokenClient(token_key, pending)
    with pytest.raises(LocalProtocolError, match="another token key"):
        BatchTokenClient(token_key, [pending])


def test_client_asks_for_one_token_at_least_and_for_no_more_than_a_batch_holds() -> None:
    with pytest.raises(DecodeError):
        BatchTokenClient(TOKEN_KEY, [])
    with pytest.raises(LimitError):
        BatchTokenClient(TOKEN_KEY, [PENDING] * (MAX_BATCH + 1))


def test_client_refuses_a_wrong_signature() -> None:
    machine = awaiting()
    machine.receive_data(OTHER_2048.sign(b"\x01" * 256))
    with pytest.raises(TokenSignatureError):
        machine.receive_eof()
    assert machine.state is State.FAILED


def test_client_refuses_a_batch_with_one_wrong_signature() -> None:
    swapped = [BLIND_SIGS[1], BLIND_SIGS[0], BLIND_SIGS[2]]
    with pytest.raises(TokenSignatureError):
        MemoryWire(batch_awaiting()).send_eof(batch_responding().respond(swapped))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_client_refuses_a_batch_of_another_length(count: int) -> None:
    answers = tuple(TypedTokenResponse(BLIND_RSA, TokenResponse(sig)) for sig in (BLIND_SIGS + BLIND_SIGS)[:count])
    with pytest.raises(DecodeError, match="length"):
        MemoryWire(batch_awaiting()).send_eof(BatchTokenResponse(answers).encode())


def test_client_refuses_a_batch_of_another_type() -> None:
    answers = tuple(TypedTokenResponse(PARTIALLY_BLIND_RSA, TokenResponse(sig)) for sig in BLIND_SIGS)
    with pytest.raises(DecodeError, match="another type"):
        MemoryWire(batch_awaiting()).send_eof(BatchTokenResponse(answers).encode())


def unused_truncated_id() -> int:
    return next(n for n in range(256) if n not in {epoch.key.truncated_token_key_id for epoch in KEYRING.epochs})


def bad_requests() -> list[tuple[TokenRequest, type[ConfsecError]]]:
    good = PENDING.request()
    return [
        (evolve(good, truncated_token_key_id=unused_truncated_id()), TokenKeyError),
        (evolve(good, blinded_msg=bytes(256)), DecodeError),
        (evolve(good, blinded_msg=b"\xff" * 256), DecodeError),
        (evolve(good, blinded_msg=RSA_2048.p.to_bytes(256, "big")), DecodeError),
    ]


@pytest.mark.parametrize("request_, error", bad_requests())
def test_issuer_refuses_requests_that_it_cannot_sign(request_: TokenRequest, error: type[ConfsecError]) -> None:
    with pytest.raises(error):
        MemoryWire(issuer()).send_eof(request_.encode())
    with pytest.raises(error):
        MemoryWire(batch_issuer()).send_eof(BatchTokenRequest((PENDING.request(), request_)).encode())


def test_issuer_refuses_requests_for_another_epoch() -> None:
    with pytest.raises(TokenEpochError):
        MemoryWire(TokenIssuer(KEYRING, now=EPOCH + DAY)).send_eof(REQUEST)


def test_issuer_refuses_types_that_it_does_not_have() -> None:
    with pytest.raises(TokenTypeError):
        MemoryWire(issuer()).send_eof(b"\x00\x01" + REQUEST[2:])


# --- pending tokens


def test_pending_tokens_are_written_down_and_read_again() -> None:
    for pending in (PENDING, METADATA_PENDING, draw_with_extensions(extensions=Extensions(()))):
        assert PendingToken.decode(pending.encode()) == pending
        check_round_trip(PendingToken, pending.encode())


def test_pending_token_read_again_sends_the_same_request_and_takes_its_response() -> None:
    again = PendingToken.decode(PENDING.encode())
    assert again.request() == PENDING.request()
    assert again.finalize(TOKEN_KEY, TokenResponse(BLIND_SIG)) == TOKEN


@given(st.binary(max_size=700))
def test_any_bytes_are_a_pending_token_or_refused(data: bytes) -> None:
    check_any_bytes(PendingToken.decode, data)
    check_any_bytes(PendingToken.decode, b"\xda\x7a" + data)


def test_any_cut_of_a_pending_token_is_refused() -> None:
    encoded = METADATA_PENDING.encode()
    for size in range(len(encoded)):
        with pytest.raises((TruncatedError, DecodeError)):
            PendingToken.decode(encoded[:size])


def test_bytes_after_a_pending_token_are_refused() -> None:
    for pending in (PENDING, METADATA_PENDING):
        with pytest.raises(DecodeError):
            PendingToken.decode(pending.encode() + b"\x00")


def test_secrets_of_a_pending_token_are_not_shown() -> None:
    assert "inverse" not in repr(PENDING)
    assert "nonce" not in repr(PENDING)


def test_nonce_comes_first_and_is_random() -> None:
    nonce = bytes(range(32))
    pending = PendingToken.draw(CHALLENGE, TOKEN_KEY, randbytes=scripted(nonce, bytes(48), b"\x02" + bytes(255)))
    assert pending.token_input.token_nonce == nonce
    assert pending.token_input.challenge_digest == CHALLENGE.digest()
    assert pending.token_input.token_key_id == TOKEN_KEY.token_key_id
    assert draw("one").token_input.token_nonce != draw("two").token_input.token_nonce


def test_key_and_challenge_are_for_one_type() -> None:
    for challenge, token_key in ((CHALLENGE, METADATA_TOKEN_KEY), (METADATA_CHALLENGE, TOKEN_KEY)):
        with pytest.raises(TokenTypeError):
            PendingToken.draw(challenge, token_key, randbytes=seeded_randbytes("x"), extensions=EXTENSIONS)


def test_extensions_belong_to_their_type() -> None:
    with pytest.raises(DecodeError):
        PendingToken.draw(CHALLENGE, TOKEN_KEY, randbytes=seeded_randbytes("x"), extensions=EXTENSIONS)
    with pytest.raises(DecodeError):
        PendingToken.draw(METADATA_CHALLENGE, METADATA_TOKEN_KEY, randbytes=seeded_randbytes("x"))
    with pytest.raises(DecodeError):
        evolve(PENDING, extensions=EXTENSIONS)
    with pytest.raises(DecodeError):
        evolve(METADATA_PENDING, extensions=None)


@pytest.mark.parametrize("inverse", [-1, 1 << 2048])
def test_inverse_fits_its_place(inverse: int) -> None:
    with pytest.raises(LocalProtocolError):
        evolve(PENDING, inverse=inverse)


def test_a_response_is_worth_nothing_to_another_pending_token() -> None:
    with pytest.raises(TokenSignatureError):
        draw("other").finalize(TOKEN_KEY, TokenResponse(BLIND_SIG))
    with pytest.raises(TokenSignatureError):
        METADATA_PENDING.finalize(METADATA_TOKEN_KEY, TokenResponse(SAFE_2048.sign(METADATA_PENDING.blinded_msg)))


# --- verify_token


def test_every_other_bit_of_a_token_is_refused() -> None:
    encoded = TOKEN.encode()

    def redeem(data: bytes) -> None:
        verify_token(Token.decode(data), challenges=[CHALLENGE], origin=ORIGIN, keyring=KEYRING, now=EPOCH)

    redeem(encoded)
    for place in range(0, len(encoded), 3):
        changed = bytearray(encoded)
        changed[place] ^= 1
        with pytest.raises(TokenError):
            redeem(bytes(changed))


def test_token_answers_one_of_the_challenges_known() -> None:
    other = evolve(CHALLENGE, redemption_context=bytes(32))
    verify_token(TOKEN, challenges=iter([other, CHALLENGE]), origin=ORIGIN, keyring=KEYRING, now=EPOCH)
    for known in ([], [other], [METADATA_CHALLENGE], [evolve(CHALLENGE, issuer_name="other")]):
        with pytest.raises(TokenChallengeError) as raised:
            verify_token(TOKEN, challenges=known, origin=ORIGIN, keyring=KEYRING, now=EPOCH)
        assert raised.value.code == "token_challenge"


def test_token_for_another_origin_is_refused() -> None:
    foreign = evolve(CHALLENGE, origin_info="other.example")
    token = issue(draw(challenge=foreign))
    verify_token(token, challenges=[CHALLENGE, foreign], origin="other.example", keyring=KEYRING, now=EPOCH)
    with pytest.raises(TokenOriginError) as raised:
        verify_token(token, challenges=[CHALLENGE, foreign], origin=ORIGIN, keyring=KEYRING, now=EPOCH)
    assert raised.value.code == "token_origin"


def test_token_by_an_unknown_key_is_refused() -> None:
    token = issue(draw(token_key=OTHER_TOKEN_KEY), pair=OTHER_2048, token_key=OTHER_TOKEN_KEY)
    with pytest.raises(TokenKeyError) as raised:
        verify_token(token, challenges=[CHALLENGE], origin=ORIGIN, keyring=KEYRING, now=EPOCH)
    assert raised.value.code == "token_key"


def test_token_of_another_epoch_is_refused_after_the_grace() -> None:
    ends = EPOCH + DAY
    verify_token(TOKEN, challenges=[CHALLENGE], origin=ORIGIN, keyring=KEYRING, now=ends)
    for now in (ends + HOUR, EPOCH - DAY - 2 * HOUR):
        with pytest.raises(TokenEpochError) as raised:
            verify_token(TOKEN, challenges=[CHALLENGE], origin=ORIGIN, keyring=KEYRING, now=now)
        assert raised.value.code == "token_epoch"


def test_token_of_another_type_than_its_challenge_is_refused() -> None:
    token = evolve(TOKEN, token_input=evolve(TOKEN.token_input, token_type=PARTIALLY_BLIND_RSA))
    with pytest.raises(TokenTypeError, match="challenge"):
        verify_token(token, challenges=[CHALLENGE], origin=ORIGIN, keyring=KEYRING, now=EPOCH)


def test_token_of_another_type_than_its_key_is_refused() -> None:
    # The same RSA key for both types: its id is the same, and only what the keyring says of it differs.
    epoch = TokenKeyEpoch(TokenKey(PARTIALLY_BLIND_RSA, RSA_2048.public_key), EPOCH - DAY, EPOCH + DAY)
    with pytest.raises(TokenTypeError, match="key"):
        verify_token(TOKEN, challenges=[CHALLENGE], origin=ORIGIN, keyring=TokenKeyring([epoch], grace=HOUR), now=EPOCH)


def test_token_by_the_right_key_id_and_a_wrong_signature_is_refused() -> None:
    for token in (evolve(TOKEN, authenticator=bytes(256)), evolve(TOKEN, authenticator=BLIND_SIG)):
        with pytest.raises(TokenSignatureError) as raised:
            verify_token(token, challenges=[CHALLENGE], origin=ORIGIN, keyring=KEYRING, now=EPOCH)
        assert raised.value.code == "token_signature"


@pytest.mark.parametrize(
    "extensions, error",
    [
        (None, DecodeError),
        (Extensions(()), TokenSignatureError),
        (Extensions(EXTENSIONS.items[:2]), TokenSignatureError),
    ],
)
def test_token_under_metadata_needs_exactly_its_extensions(
    extensions: Extensions | None, error: type[ConfsecError]
) -> None:
    with pytest.raises(error):
        verify_token(
            METADATA_TOKEN,
            challenges=[METADATA_CHALLENGE],
            origin=ORIGIN,
            keyring=KEYRING,
            now=EPOCH,
            extensions=extensions,
        )


def test_token_without_metadata_takes_no_extensions() -> None:
    with pytest.raises(DecodeError):
        verify_token(TOKEN, challenges=[CHALLENGE], origin=ORIGIN, keyring=KEYRING, now=EPOCH, extensions=EXTENSIONS)


def test_errors_of_tokens_have_codes_of_their_own() -> None:
    classes = [
        TokenChallengeError,
        TokenEpochError,
        TokenKeyError,
        TokenOriginError,
        TokenSignatureError,
        TokenTypeError,
    ]
    assert len({error.code for error in classes}) == len(classes)
    assert all(issubclass(error, TokenError) for error in classes)
