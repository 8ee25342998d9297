"""Privacy Pass: fetching tokens, issuing them, and checking them (RFC 9576, 9577, 9578).

A client draws `PendingToken`s, which it may write down before it sends anything, and hands them to a `TokenClient` or,
many at once, to a `BatchTokenClient`. An issuer runs a `TokenIssuer` or a `BatchTokenIssuer` for each request; between
its two halves the driver lets a `BlindSigner` sign. An origin calls `verify_token`, which does not ask whether the
token was spent: that is a store's to say.

Token types 0x0002 (blind RSA) and 0xDA7A (partially blind RSA, bound to extensions). Whoever vouches for the client is
outside: RFC 9576 calls it the attester, and we the `IssuanceAttester`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import ClassVar, Final, Self, final

from attrs import field, frozen

from confsec.errors import (
    DecodeError,
    LimitError,
    LocalProtocolError,
    TokenChallengeError,
    TokenTypeError,
)
from confsec.protocol import blind_rsa, partially_blind_rsa
from confsec.protocol.blind_rsa import RSABSSA_SHA384_PSS_DETERMINISTIC, Blinded
from confsec.protocol.machine import Machine, RandBytes, State, Step, StepTable
from confsec.protocol.partially_blind_rsa import RSAPBSSA_SHA384_PSS_DETERMINISTIC
from confsec.protocol.rsa_keys import RsaPublicKey
from confsec.protocol.token_batch import (
    MAX_BATCH_REQUEST,
    MAX_BATCH_RESPONSE,
    BatchTokenRequest,
    BatchTokenResponse,
    TypedTokenResponse,
)
from confsec.protocol.token_challenge import TokenChallenge
from confsec.protocol.token_extensions import Extensions
from confsec.protocol.token_keys import AUTHENTICATOR_SIZE, PARTIALLY_BLIND_RSA, TokenKey, TokenKeyEpoch, TokenKeyring
from confsec.protocol.token_messages import (
    MAX_TOKEN_REQUEST,
    NONCE_SIZE,
    Token,
    TokenInput,
    TokenRequest,
    TokenResponse,
    check_extensions,
)
from confsec.protocol.wire import Reader, encode_uint

__all__ = [
    "CLIENT_STEPS",
    "ISSUER_STEPS",
    "BatchTokenClient",
    "BatchTokenIssuer",
    "PendingToken",
    "SignatureNeeded",
    "TokenClient",
    "TokenClientEvent",
    "TokenIssued",
    "TokenIssuer",
    "TokenRefused",
    "verify_token",
]

CLIENT_STEPS: Final[StepTable] = {
    (State.READY, Step.REQUEST): State.AWAITING_RESPONSE,
    (State.AWAITING_RESPONSE, Step.RECEIVE): State.AWAITING_RESPONSE,
    (State.AWAITING_RESPONSE, Step.RECEIVE_EOF): State.DONE,
}
"""A client sends its request once, and has its tokens when the response has ended."""

ISSUER_STEPS: Final[StepTable] = {
    (State.AWAITING_REQUEST, Step.RECEIVE): State.AWAITING_REQUEST,
    (State.AWAITING_REQUEST, Step.RECEIVE_EOF): State.RESPONDING,
    (State.RESPONDING, Step.RESPOND): State.DONE,
}
"""An issuer reads the request to its end, lets it be signed elsewhere, and responds."""


@frozen
class PendingToken:
    """A token that is asked for: what a client has to remember until it is signed.

    Encoded, it is for the client's own journal: with it the same request can be sent again, and its response used.
    """

    token_input: TokenInput = field(repr=False)
    """What gets signed. Nobody else may see it before the token is spent."""

    blinded_msg: bytes
    """What the issuer gets to see of it."""

    inverse: int = field(repr=False)
    """What takes the blinding off the signature."""

    extensions: Extensions | None = None
    """The public metadata, if the type has it."""

    def __attrs_post_init__(self) -> None:
        check_extensions(self.token_input.token_type, self.extensions)
        encode_uint(self.inverse, AUTHENTICATOR_SIZE)

    @classmethod
    def draw(
        cls,
        challenge: TokenChallenge,
        token_key: TokenKey,
        *,
        randbytes: RandBytes,
        extensions: Extensions | None = None,
    ) -> Self:
        """Draw a nonce and blind it: what RFC 9578, section 6.1, does before the request is sent.

        Raises `TokenTypeError` if key and challenge are for different types, and `DecodeError` for extensions that the
        type does not have.
        """
        if challenge.token_type != token_key.token_type:
            raise TokenTypeError("challenge and token key are for different types of token")
        token_input = TokenInput(
            token_key.token_type, randbytes(NONCE_SIZE), challenge.digest(), token_key.token_key_id
        )
        blinded = _blind(token_key.public_key, token_input, extensions, randbytes)
        return cls(token_input, blinded.blinded_msg, blinded.inverse, extensions)

    def request(self) -> TokenRequest:
        """Return the token request, the same each time."""
        return TokenRequest(
            self.token_input.token_type, self.token_input.token_key_id[-1], self.blinded_msg, self.extensions
        )

    def finalize(self, token_key: TokenKey, response: TokenResponse) -> Token:
        """Take the blinding off and return the token, verified. Raises `TokenSignatureError` and `DecodeError`."""
        message, metadata = self.token_input.encode(), self.extensions
        if metadata is None:
            authenticator = blind_rsa.finalize(
                token_key.public_key,
                message,
                blind_sig=response.blind_sig,
                inverse=self.inverse,
                variant=RSABSSA_SHA384_PSS_DETERMINISTIC,
            )
        else:
            authenticator = partially_blind_rsa.finalize(
                token_key.public_key,
                message,
                metadata.encode(),
                blind_sig=response.blind_sig,
                inverse=self.inverse,
                variant=RSAPBSSA_SHA384_PSS_DETERMINISTIC,
            )
        return Token(self.token_input, authenticator)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Decode what `encode` wrote. Raises `DecodeError` and `TokenTypeError`."""
        reader = Reader(data, "pending token")
        token_input = TokenInput.read(reader)
        blinded_msg, inverse = reader.take(AUTHENTICATOR_SIZE), reader.uint(AUTHENTICATOR_SIZE)
        extensions = Extensions.read(reader) if token_input.token_type == PARTIALLY_BLIND_RSA else None
        reader.finish()
        return cls(token_input, blinded_msg, inverse, extensions)

    def encode(self) -> bytes:
        head = self.token_input.encode() + self.blinded_msg + encode_uint(self.inverse, AUTHENTICATOR_SIZE)
        return head + (self.extensions.encode() if self.extensions else b"")


@frozen
class TokenIssued:
    """A token was signed, and its signature verified."""

    token: Token
    """The token."""


@frozen
class TokenRefused:
    """The issuer answered the batch, and did not sign this one."""

    pending: PendingToken
    """What was asked for."""


TokenClientEvent = TokenIssued | TokenRefused
"""What a client's machine may return."""


@frozen
class SignatureNeeded:
    """A token request names a key that signs now, and its blinded message is for this key to sign."""

    token_key: TokenKey
    """The key that shall sign."""

    public_key: RsaPublicKey
    """The public half to check the result with: for type 0xDA7A the one derived from the extensions."""

    blinded_msg: bytes
    """What to sign: as long as the modulus, below it, and invertible."""

    extensions: Extensions | None
    """The public metadata that the client chose, for type 0xDA7A: whether it is allowed is for the driver to say."""


class _Exchange(Machine):
    """What client and issuer share: a bounded message that comes in parts."""

    def __init__(self, state: State, *, limit: int) -> None:
        super().__init__(state)
        self._received = bytearray()
        self._limit = limit

    def _receive(self, part: bytes) -> None:
        with self._step(Step.RECEIVE):
            if len(self._received) + len(part) > self._limit:
                raise LimitError("message is too long", want=f"at most {self._limit} bytes")
            self._received += part


class _Client(_Exchange):
    STEPS: ClassVar[StepTable] = CLIENT_STEPS

    def __init__(self, token_key: TokenKey, pending: Sequence[PendingToken], *, limit: int) -> None:
        super().__init__(State.READY, limit=limit)
        for one in pending:
            if (one.token_input.token_type, one.token_input.token_key_id) != (
                token_key.token_type,
                token_key.token_key_id,
            ):
                raise LocalProtocolError("a pending token is for another token key")
        self._token_key = token_key
        self._pending = tuple(pending)

    def receive_data(self, part: bytes) -> list[TokenClientEvent]:
        """Take a part of the response, of any size. Raises `LimitError`."""
        self._receive(part)
        return []


@final
class TokenClient(_Client):
    """A client that asks for one token (RFC 9578, section 6)."""

    def __init__(self, token_key: TokenKey, pending: PendingToken) -> None:
        super().__init__(token_key, [pending], limit=AUTHENTICATOR_SIZE)

    def request(self) -> bytes:
        """Return the token request to send, of media type application/private-token-request."""
        with self._step(Step.REQUEST):
            return self._pending[0].request().encode()

    def receive_eof(self) -> list[TokenClientEvent]:
        """End the response, and return the token. Raises `DecodeError` and `TokenSignatureError`."""
        with self._step(Step.RECEIVE_EOF):
            response = TokenResponse.decode(bytes(self._received))
            return [TokenIssued(self._pending[0].finalize(self._token_key, response))]


@final
class BatchTokenClient(_Client):
    """A client that asks for many tokens under one key (draft-ietf-privacypass-batched-tokens, section 6)."""

    def __init__(self, token_key: TokenKey, pending: Sequence[PendingToken]) -> None:
        super().__init__(token_key, pending, limit=MAX_BATCH_RESPONSE)
        self._request = BatchTokenRequest(tuple(one.request() for one in self._pending))

    def request(self) -> bytes:
        """Return the batch to send, of media type application/private-token-generic-batch-request."""
        with self._step(Step.REQUEST):
            return self._request.encode()

    def receive_eof(self) -> list[TokenClientEvent]:
        """End the response, and return an event for each token, in the order of the request.

        Raises `DecodeError` and `TokenSignatureError`: one wrong signature makes the issuer untrustworthy as a whole.
        """
        with self._step(Step.RECEIVE_EOF):
            responses = BatchTokenResponse.decode(bytes(self._received)).token_responses
            if len(responses) != len(self._pending):
                raise DecodeError("batch has another length", got=len(responses), want=len(self._pending))
            return [self._finish(*both) for both in zip(self._pending, responses, strict=True)]

    def _finish(self, pending: PendingToken, response: TypedTokenResponse | None) -> TokenClientEvent:
        if response is None:
            return TokenRefused(pending)
        if response.token_type != self._token_key.token_type:
            raise DecodeError("response is for another type of token", got=f"0x{response.token_type:04x}")
        return TokenIssued(pending.finalize(self._token_key, response.token_response))


class _Issuer(_Exchange):
    STEPS: ClassVar[StepTable] = ISSUER_STEPS

    def __init__(self, keyring: TokenKeyring, *, now: datetime, limit: int) -> None:
        super().__init__(State.AWAITING_REQUEST, limit=limit)
        self._keyring = keyring
        self._now = now

    def receive_data(self, part: bytes) -> list[SignatureNeeded]:
        """Take a part of the request, of any size. Raises `LimitError`."""
        self._receive(part)
        return []

    def _need(self, request: TokenRequest) -> SignatureNeeded:
        epoch = self._keyring.find_signing_key(request.token_type, request.truncated_token_key_id, self._now)
        public_key = epoch.key.public_key
        blind_rsa.check_blinded_msg(public_key, request.blinded_msg)
        if request.extensions is not None:
            public_key = partially_blind_rsa.derive_public_key(public_key, request.extensions.encode())
        return SignatureNeeded(epoch.key, public_key, request.blinded_msg, request.extensions)


@final
class TokenIssuer(_Issuer):
    """An issuer that answers one token request. Its errors of type `TokenKeyError` are 422 in HTTP (section 6.2)."""

    def __init__(self, keyring: TokenKeyring, *, now: datetime) -> None:
        super().__init__(keyring, now=now, limit=MAX_TOKEN_REQUEST)

    def receive_eof(self) -> list[SignatureNeeded]:
        """End the request and say what is to be signed. Raises `DecodeError`, `TokenTypeError` and `TokenKeyError`."""
        with self._step(Step.RECEIVE_EOF):
            return [self._need(TokenRequest.decode(bytes(self._received)))]

    def respond(self, blind_sig: bytes) -> bytes:
        """Return the token response, of media type application/private-token-response.

        The signer has checked `blind_sig` with the public key (`check_blind_sig`): it never gets here otherwise.
        """
        with self._step(Step.RESPOND):
            return TokenResponse(blind_sig).encode()


@final
class BatchTokenIssuer(_Issuer):
    """An issuer that answers a batch of token requests. Its errors of type `TokenKeyError` are 422 in HTTP."""

    def __init__(self, keyring: TokenKeyring, *, now: datetime) -> None:
        super().__init__(keyring, now=now, limit=MAX_BATCH_REQUEST)
        self._token_types: tuple[int, ...] = ()

    def receive_eof(self) -> list[SignatureNeeded]:
        """End the batch and say what is to be signed, in order. Raises as `TokenIssuer.receive_eof`."""
        with self._step(Step.RECEIVE_EOF):
            requests = BatchTokenRequest.decode(bytes(self._received)).token_requests
            self._token_types = tuple(request.token_type for request in requests)
            return [self._need(request) for request in requests]

    def respond(self, blind_sigs: Sequence[bytes | None]) -> bytes:
        """Return the batch of responses, of media type application/private-token-generic-batch-response.

        None stands for a request that is refused: the HTTP status is then 206. If all are refused there is no response
        to make, and the status is 400.
        """
        with self._step(Step.RESPOND):
            if len(blind_sigs) != len(self._token_types) or all(sig is None for sig in blind_sigs):
                raise LocalProtocolError(
                    "a batch is answered as a whole, with a signature at least",
                    got=f"{len(blind_sigs)} signatures",
                    want=len(self._token_types),
                )
            return BatchTokenResponse(
                tuple(
                    None if sig is None else TypedTokenResponse(token_type, TokenResponse(sig))
                    for token_type, sig in zip(self._token_types, blind_sigs, strict=True)
                )
            ).encode()


def verify_token(
    token: Token,
    *,
    challenges: Iterable[TokenChallenge],
    origin: str,
    keyring: TokenKeyring,
    now: datetime,
    extensions: Extensions | None = None,
) -> TokenKeyEpoch:
    """Check that a token pays at `origin` now, unless it was spent, and return its key's epoch (RFC 9577).

    `challenges` are those that this verifier knows, of which the token must answer one: naming those of other origins
    as well only makes errors clearer. Raises `TokenError`s; the cheap checks come first.
    """
    # 1. It answers a challenge that we know, with the type that it asked for,
    signed = token.token_input
    challenge = next((known for known in challenges if known.digest() == signed.challenge_digest), None)
    if challenge is None:
        raise TokenChallengeError("the token answers another challenge", section="RFC 9577, section 2.2")
    if challenge.token_type != signed.token_type:
        raise TokenTypeError("the token is of another type than its challenge", got=f"0x{signed.token_type:04x}")
    # 2. … and which is ours to make.
    challenge.check_origin(origin)
    # 3. Its key is known for this type, and pays now.
    epoch = keyring.find_paying_key(signed.token_key_id, now)
    if epoch.key.token_type != signed.token_type:
        raise TokenTypeError("the token is of another type than its key", got=f"0x{signed.token_type:04x}")
    # 4. The key signed the token, with its extensions if the type has them.
    check_extensions(signed.token_type, extensions)
    _verify_authenticator(epoch.key.public_key, token, extensions)
    return epoch


def _blind(
    public_key: RsaPublicKey, token_input: TokenInput, extensions: Extensions | None, randbytes: RandBytes
) -> Blinded:
    message = token_input.encode()
    if extensions is None:
        return blind_rsa.blind(public_key, message, variant=RSABSSA_SHA384_PSS_DETERMINISTIC, randbytes=randbytes)
    return partially_blind_rsa.blind(
        public_key,
        message,
        extensions.encode(),
        variant=RSAPBSSA_SHA384_PSS_DETERMINISTIC,
        randbytes=randbytes,
    )


def _verify_authenticator(public_key: RsaPublicKey, token: Token, extensions: Extensions | None) -> None:
    message = token.token_input.encode()
    if extensions is None:
        blind_rsa.verify(public_key, message, token.authenticator, variant=RSABSSA_SHA384_PSS_DETERMINISTIC)
        return
    partially_blind_rsa.verify(
        public_key,
        message,
        extensions.encode(),
        token.authenticator,
        variant=RSAPBSSA_SHA384_PSS_DETERMINISTIC,
    )
