"""Vectors of Privacy Pass: challenges, header fields, and issuance of types 0x0002 and 0xDA7A, alone and in batches.

Client and issuer both run; the token that comes out is spent at an origin. Types that verify with the issuer's private
key (VOPRF) are not implemented; in a batch of several types the others are passed over.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from attrs import frozen
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from confsec.conformance.algorithms import replay
from confsec.conformance.blind_rsa import sign_with_published_key
from confsec.conformance.cases import (
    Case,
    CaseSkippedError,
    MismatchError,
    Schema,
    check_refused,
    check_same,
    check_stated,
    has_members,
    list_cases,
    or_refused,
    unhex,
)
from confsec.errors import DecodeError
from confsec.protocol.privacy_pass import (
    BatchTokenClient,
    BatchTokenIssuer,
    PendingToken,
    SignatureNeeded,
    TokenClient,
    TokenIssued,
    TokenIssuer,
    verify_token,
)
from confsec.protocol.rsa_keys import RsaPublicKey
from confsec.protocol.token_batch import BatchTokenRequest, BatchTokenResponse
from confsec.protocol.token_challenge import TokenChallenge
from confsec.protocol.token_extensions import Extensions
from confsec.protocol.token_http import (
    AuthChallenge,
    TokenCredentials,
    decode_www_authenticate,
    encode_www_authenticate,
)
from confsec.protocol.token_keys import (
    AUTHENTICATOR_SIZE,
    PARTIALLY_BLIND_RSA,
    TOKEN_TYPES,
    TokenKey,
    TokenKeyEpoch,
    TokenKeyring,
)
from confsec.protocol.token_messages import Token, TokenInput, TokenResponse
from confsec.protocol.wire import Reader, encode_varint_vector

__all__ = [
    "SCHEMAS",
    "check_batch",
    "check_issuance",
    "check_old_batch",
    "check_token_challenge",
    "check_www_authenticate",
]

_NOW: Final = datetime(2024, 1, 1, tzinfo=UTC)  # vectors have no date: any will do
_DAY: Final = timedelta(days=1)

# What follows the token type in the messages of the types that we do not have: the truncated key id and an element, and
# an element with its proof (RFC 9578, section 5; draft-ietf-privacypass-batched-tokens-08, section 8.1).
_OTHER_REQUESTS: Final = {0x0001: 1 + 49, 0x0005: 1 + 32}
_OTHER_RESPONSES: Final = {0x0001: 49 + 2 * 48, 0x0005: 32 + 2 * 32}
_OLD_LENGTHS: Final = {0x0001: 3 + 49, 0x0002: 3 + 256, 0x0005: 3 + 32}

_VOPRF: Final = "tokens that verify with the issuer's private key (VOPRF) are not part of this version"


@frozen
class _Setup:
    """What a case, or an item of a batch, says of one token."""

    challenge: TokenChallenge
    token_key: TokenKey
    private_key: RSAPrivateKey
    pending: PendingToken
    token: Token

    @classmethod
    def of(cls, case: Case) -> _Setup:
        challenge = TokenChallenge.decode(unhex(case, "token_challenge"))
        check_same("token_challenge, encoded again", challenge.encode(), unhex(case, "token_challenge"))
        if "type" in case:
            check_same("type", _parse_type(case["type"]), challenge.token_type)
        token_key = TokenKey.from_spki(challenge.token_type, unhex(case, "pkS"))
        extensions = Extensions.decode(unhex(case, "extensions")) if "extensions" in case else None
        check_stated(case, pkS=token_key.to_spki(), **({"extensions": extensions.encode()} if extensions else {}))
        random = b"".join(unhex(case, name) for name in ("nonce", "salt", "blind"))
        pending = PendingToken.draw(challenge, token_key, randbytes=replay(random), extensions=extensions)
        token = Token.decode(unhex(case, "token"))
        check_same("token, encoded again", token.encode(), unhex(case, "token"))
        return cls(challenge, token_key, _private_key(case, token_key.public_key), pending, token)

    @property
    def epoch(self) -> TokenKeyEpoch:
        return TokenKeyEpoch(self.token_key, _NOW - _DAY, _NOW + _DAY)

    @property
    def keyring(self) -> TokenKeyring:
        return TokenKeyring([self.epoch], grace=_DAY)

    def sign(self, needed: SignatureNeeded) -> bytes:
        numbers = self.private_key.private_numbers()
        private_exponent = pow(needed.public_key.e, -1, (numbers.p - 1) * (numbers.q - 1))
        return sign_with_published_key(needed.public_key, needed.blinded_msg, private_exponent)

    def spend(self) -> None:
        """Check that the stated token pays, also by way of a header field."""
        credentials = TokenCredentials(self.token, self.pending.extensions)
        check_same("credentials, decoded again", TokenCredentials.decode(credentials.encode()), credentials)
        verify_token(
            self.token,
            challenges=[self.challenge],
            origin=(self.challenge.origins or ("any.example",))[0],
            keyring=self.keyring,
            now=_NOW,
            extensions=self.pending.extensions,
        )


def check_issuance(case: Case) -> None:
    """Check the issuance of one token at both ends, and that it pays (RFC 9578, section 6, or with extensions)."""
    setup = _Setup.of(case)
    client = TokenClient(setup.token_key, setup.pending)
    enc_request, enc_response = unhex(case, "token_request"), unhex(case, "token_response")
    check_same("token_request", client.request(), enc_request)
    issuer = TokenIssuer(setup.keyring, now=_NOW)
    issuer.receive_data(enc_request)
    [needed] = issuer.receive_eof()
    check_same("token_response", issuer.respond(setup.sign(needed)), enc_response)
    client.receive_data(enc_response)
    check_same("token", client.receive_eof(), [TokenIssued(setup.token)])
    setup.spend()


def check_batch(case: Case) -> None:
    """Check a batch as a whole if it has our types alone, and what of it is of our types if not."""
    items = _items(case)
    ours = [item for item in items if _token_type(item) in TOKEN_TYPES]
    types = [_token_type(item) for item in items]
    request = _keep_ours(unhex(case, "token_request"), types, _OTHER_REQUESTS, optional=False)
    response = _keep_ours(unhex(case, "token_response"), types, _OTHER_RESPONSES, optional=True)
    if not ours:
        raise CaseSkippedError(_VOPRF)
    setups = [_Setup.of(item) for item in ours]
    check_same("token_request", BatchTokenRequest(tuple(one.pending.request() for one in setups)).encode(), request)
    issuer = BatchTokenIssuer(_keyring(setups), now=_NOW)
    issuer.receive_data(request)
    blind_sigs = [setup.sign(needed) for setup, needed in zip(setups, issuer.receive_eof(), strict=True)]
    check_same("token_response", issuer.respond(blind_sigs), response)
    check_same("token_response, encoded again", BatchTokenResponse.decode(response).encode(), response)
    for setup, blind_sig in zip(setups, blind_sigs, strict=True):
        check_same("token", setup.pending.finalize(setup.token_key, TokenResponse(blind_sig)), setup.token)
        setup.spend()
    _check_client(setups, response)


def check_old_batch(case: Case) -> None:
    """Check that messages in an older framing are refused, and not taken for something else."""
    items = _items(case)
    enc_request, enc_response = unhex(case, "token_request"), unhex(case, "token_response")
    check_refused(lambda: BatchTokenRequest.decode(enc_request))
    check_refused(lambda: BatchTokenResponse.decode(enc_response))
    check_same("number of tokens", len(items) > 0, True)


def check_token_challenge(case: Case) -> None:
    """Check what the issuer signs for a challenge (RFC 9577, appendix A.1)."""
    token_type = _parse_type(case.get("token_type"))
    issuer_name, origin_info = (unhex(case, name).decode("ascii") for name in ("issuer_name", "origin_info"))
    challenge = TokenChallenge(token_type, issuer_name, unhex(case, "redemption_context"), origin_info)
    check_same("token challenge, decoded again", TokenChallenge.decode(challenge.encode()), challenge)
    nonce, token_key_id = unhex(case, "nonce"), unhex(case, "token_key_id")
    signed = token_type.to_bytes(2, "big") + nonce + challenge.digest() + token_key_id
    check_same("token_authenticator_input", signed, unhex(case, "token_authenticator_input"))
    if token_type in TOKEN_TYPES:
        token_input = TokenInput(token_type, nonce, challenge.digest(), token_key_id)
        check_same("token input", token_input.encode(), signed)
        check_same("token input, read again", TokenInput.read(Reader(signed)), token_input)


def check_www_authenticate(case: Case) -> None:
    """Check which challenges stand in a field, and that they can be written again (RFC 9577, appendix A.2)."""
    field = case.get("WWW-Authenticate")
    if not isinstance(field, str):
        raise MismatchError("the case has no WWW-Authenticate")
    challenges = decode_www_authenticate(field)
    count = sum(name.startswith("token-challenge-") for name in case)
    check_same("number of challenges", len(challenges), count)
    for number, challenge in enumerate(challenges):
        check_same(f"token-challenge-{number}", challenge.challenge, unhex(case, f"token-challenge-{number}"))
        _check_parameters(case, number, challenge)
    check_same("challenges, decoded again", decode_www_authenticate(encode_www_authenticate(challenges)), challenges)


def _check_parameters(case: Case, number: int, challenge: AuthChallenge) -> None:
    """Check the parameters that a challenge may have; what is not stated, or empty, is not there."""
    token_type = case.get(f"token-type-{number}")
    if token_type is not None:
        check_same(f"token-type-{number}", int.from_bytes(challenge.challenge[:2], "big"), _parse_type(token_type))
    token_key, max_age = case.get(f"token-key-{number}") or None, case.get(f"max-age-{number}")
    check_same(f"token-key-{number}", challenge.token_key and challenge.token_key.hex(), token_key)
    stated_age = None if max_age in {None, ""} else int(str(max_age))
    check_same(f"max-age-{number}", challenge.max_age, stated_age)


def _check_client(setups: Sequence[_Setup], enc_response: bytes) -> None:
    """Check our client with the whole batch, which it can be if one key signed it all."""
    token_key = setups[0].token_key
    if any(setup.token_key != token_key for setup in setups):
        return
    client = BatchTokenClient(token_key, [setup.pending for setup in setups])
    client.request()
    client.receive_data(enc_response)
    check_same("tokens", client.receive_eof(), [TokenIssued(setup.token) for setup in setups])


def _keyring(setups: Sequence[_Setup]) -> TokenKeyring:
    epochs = {setup.token_key.token_key_id: setup.epoch for setup in setups}
    return TokenKeyring(epochs.values(), grace=_DAY)


def _keep_ours(data: bytes, types: Sequence[int], others: dict[int, int], *, optional: bool) -> bytes:
    """Return a batch without the items of other types, after checking that the items are of the stated types."""
    reader = Reader(data, "batch")
    content = Reader(reader.take(reader.varint(minimal=True)), "batch")
    reader.finish()
    kept = b""
    for token_type in types:
        head = content.take(3 if optional else 2)
        check_same("token type in the batch", int.from_bytes(head[-2:], "big"), token_type)
        check_same("presence in the batch", head[:-2], b"\x01" if optional else b"")
        item = head + content.take(others.get(token_type, AUTHENTICATOR_SIZE + (not optional)))
        if token_type == PARTIALLY_BLIND_RSA and not optional:
            item += Extensions.read(content).encode()
        kept += item if token_type in TOKEN_TYPES else b""
    content.finish()
    return encode_varint_vector(kept)


def _items(case: Case) -> list[Case]:
    items = case.get("issuance")
    if not isinstance(items, list) or not items:
        raise MismatchError("the case has no issuance")
    return items


def _token_type(item: Case) -> int:
    token_type = _parse_type(item.get("type", item.get("token_type")))
    check_same("token type of the challenge", unhex(item, "token_challenge")[:2], token_type.to_bytes(2, "big"))
    if token_type not in TOKEN_TYPES and token_type not in _OTHER_REQUESTS:
        raise CaseSkippedError(f"token type 0x{token_type:04x} is not implemented")
    return token_type


def _parse_type(value: object) -> int:
    """Return a token type, which is a number or in hex, with or without 0x before it."""
    try:
        number = value if isinstance(value, int) else int(str(value), 16)
    except ValueError as exc:
        raise MismatchError(f"{value!r} is no token type") from exc
    if not 0 <= number <= 0xFFFF:
        raise MismatchError(f"{value!r} is no token type")
    return number


def _private_key(case: Case, public_key: RsaPublicKey) -> RSAPrivateKey:
    """Return the issuer's key, which stands in a case as hex of PEM."""
    private_key = load_pem_private_key(unhex(case, "skS"), password=None)
    if not isinstance(private_key, RSAPrivateKey):
        raise MismatchError("skS is no RSA key")
    numbers = private_key.public_key().public_numbers()
    check_same("the public key of skS", (numbers.n, numbers.e), (public_key.n, public_key.e))
    return private_key


def _is_www_authenticate(document: object) -> bool:
    return any(isinstance(case, dict) and "WWW-Authenticate" in case for _, case in list_cases(document))


def _is_batch(document: object, *, old: bool) -> bool:
    cases = [case for _, case in list_cases(document) if isinstance(case, dict)]
    batches = [case for case in cases if isinstance(case.get("issuance"), list) and "token_request" in case]
    return any(_has_old_framing(str(case["token_request"])) is old for case in batches)


def _has_old_framing(text: str) -> bool:
    """Say whether what stands where newer drafts have a token type is a length that fits the token type behind it."""
    try:
        reader = Reader(bytes.fromhex(text))
        reader.varint()
        length, token_type = reader.uint(2), reader.uint(2)
    except (ValueError, DecodeError):
        return False
    return _OLD_LENGTHS.get(token_type) == length


_schema = partial(Schema, list_cases=list_cases)

SCHEMAS: Final = (
    _schema(
        name="pp-token-challenge",
        recognises=has_members("token_authenticator_input issuer_name"),
        check=or_refused(check_token_challenge),
    ),
    _schema(name="pp-www-authenticate", recognises=_is_www_authenticate, check=or_refused(check_www_authenticate)),
    _schema(name="pp-issuance-generic-old", recognises=partial(_is_batch, old=True), check=check_old_batch),
    _schema(name="pp-issuance-generic", recognises=partial(_is_batch, old=False), check=or_refused(check_batch)),
    _schema(
        name="pp-issuance-pbrsa",
        recognises=has_members("token_request extensions skS"),
        check=or_refused(check_issuance),
    ),
    _schema(
        name="pp-issuance-type2", recognises=has_members("token_request salt skS"), check=or_refused(check_issuance)
    ),
    _schema(
        name="pp-issuance-amortized",
        recognises=has_members("token_request nonces skS", "token_request nonces sk_s"),
        check=None,
        missing=_VOPRF,
    ),
    _schema(
        name="pp-issuance-voprf",
        recognises=has_members("token_request nonce skS", "token_request nonce sk_s"),
        check=None,
        missing=_VOPRF,
    ),
    _schema(
        name="pp-type3-anon-origin-id",
        recognises=has_members("issuer_origin_alias"),
        check=None,
        missing="rate-limited tokens (type 3, an expired draft) are not implemented",
    ),
    _schema(
        name="pp-type3-origin-encryption",
        recognises=has_members("encrypted_token_request"),
        check=None,
        missing="rate-limited tokens (type 3, an expired draft) are not implemented",
    ),
)
"""Those with more members before those with fewer."""
