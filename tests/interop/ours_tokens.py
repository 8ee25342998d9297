"""Our side of tokens as peers meet them: keys in the forms that libraries read, clients, issuers, an HTTP issuer."""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from confsec.protocol.privacy_pass import (
    BatchTokenClient,
    BatchTokenIssuer,
    TokenClient,
    TokenIssued,
    TokenIssuer,
    verify_token,
)
from confsec.protocol.token_messages import Token
from confsec.testing import EPOCH, seeded_randbytes
from tests.protocol.token_cases import (
    CHALLENGE,
    EXTENSIONS,
    KEYRING,
    METADATA_CHALLENGE,
    METADATA_TOKEN_KEY,
    ORIGIN,
    RSA_2048,
    SAFE_2048,
    TOKEN_KEY,
    KeyPair,
)

RANDBYTES: Final = seeded_randbytes("interop tokens")

_PAIRS: Final = {TOKEN_KEY.token_key_id: RSA_2048, METADATA_TOKEN_KEY.token_key_id: SAFE_2048}


def private_key(pair: KeyPair) -> bytes:
    """Return the private key as PKCS #8."""
    return _private_key(pair).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def public_key(pair: KeyPair) -> bytes:
    """Return the public key as SubjectPublicKeyInfo of rsaEncryption."""
    return _private_key(pair).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def finish(client: TokenClient | BatchTokenClient, response: bytes) -> list[Token]:
    """Give the response to the client and return its tokens; each of them has to be there."""
    events = [*client.receive_data(response), *client.receive_eof()]
    assert all(isinstance(event, TokenIssued) for event in events)
    return [event.token for event in events if isinstance(event, TokenIssued)]


def issue(token_request: bytes) -> bytes:
    """Answer a token request as our issuer does."""
    issuer = TokenIssuer(KEYRING, now=EPOCH)
    [needed] = [*issuer.receive_data(token_request), *issuer.receive_eof()]
    pair = _PAIRS[needed.token_key.token_key_id]
    return issuer.respond(pair.sign(needed.blinded_msg, needed.public_key))


def issue_batch(token_request: bytes, *, refuse: int | None = None) -> bytes:
    """Answer a batch as our issuer does, but for the one that is refused."""
    issuer = BatchTokenIssuer(KEYRING, now=EPOCH)
    needed = [*issuer.receive_data(token_request), *issuer.receive_eof()]
    sigs = [None if number == refuse else RSA_2048.sign(one.blinded_msg) for number, one in enumerate(needed)]
    return issuer.respond(sigs)


def verify(token: bytes) -> None:
    """Verify a token as our origin does."""
    decoded = Token.decode(token)
    extended = decoded.token_input.token_type == METADATA_TOKEN_KEY.token_type
    verify_token(
        decoded,
        challenges=[CHALLENGE, METADATA_CHALLENGE],
        origin=ORIGIN,
        keyring=KEYRING,
        now=EPOCH,
        extensions=EXTENSIONS if extended else None,
    )


def _private_key(pair: KeyPair) -> rsa.RSAPrivateKey:
    p, q, e = pair.p, pair.q, pair.public_key.e
    d = pow(e, -1, (p - 1) * (q - 1))
    dmp1, dmq1, iqmp = rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q)
    return rsa.RSAPrivateNumbers(p, q, d, dmp1, dmq1, iqmp, rsa.RSAPublicNumbers(e, p * q)).private_key()
