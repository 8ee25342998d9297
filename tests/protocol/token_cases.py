"""What tests of tokens share: fixed keys, a signer that computes in the open, and a whole issuance in a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

from attrs import frozen

from confsec.protocol.blind_rsa import check_blind_sig
from confsec.protocol.machine import RandBytes
from confsec.protocol.modular import powmod
from confsec.protocol.privacy_pass import PendingToken
from confsec.protocol.rsa_keys import TOKEN_EXPONENT, RsaPublicKey
from confsec.protocol.token_challenge import TokenChallenge
from confsec.protocol.token_extensions import Extension, Extensions
from confsec.protocol.token_keys import BLIND_RSA, PARTIALLY_BLIND_RSA, TokenKey, TokenKeyEpoch, TokenKeyring
from confsec.protocol.token_messages import Token, TokenResponse
from confsec.testing import EPOCH, seeded_randbytes

DAY: Final = timedelta(days=1)
HOUR: Final = timedelta(hours=1)


@frozen
class KeyPair:
    """An RSA key whose primes everybody knows. Takes a different time for each key, and tests only use it."""

    p: int
    q: int

    @property
    def public_key(self) -> RsaPublicKey:
        return RsaPublicKey(self.p * self.q, TOKEN_EXPONENT)

    def sign(self, blinded_msg: bytes, public_key: RsaPublicKey | None = None) -> bytes:
        """Sign for the key itself, or for the one that was derived from it, and check the result."""
        public_key = public_key or self.public_key
        exponent = pow(public_key.e, -1, (self.p - 1) * (self.q - 1))
        sig = powmod(int.from_bytes(blinded_msg, "big"), exponent, public_key.n)
        blind_sig = sig.to_bytes(public_key.modulus_size, "big")
        check_blind_sig(public_key, blinded_msg, blind_sig)
        return blind_sig


def _load_keys() -> Iterator[tuple[str, KeyPair]]:
    keys = json.loads(Path(__file__).with_name("blind_rsa_keys.json").read_text(encoding="utf-8"))["keys"]
    for name, primes in keys.items():
        yield name, KeyPair(int(primes["p"], 16), int(primes["q"], 16))


KEYS: Final = dict(_load_keys())
"""rsa2048, other2048, rsa3072, and those of safe primes: safe2048, safe4096."""

RSA_2048: Final = KEYS["rsa2048"]
OTHER_2048: Final = KEYS["other2048"]
SAFE_2048: Final = KEYS["safe2048"]

TOKEN_KEY: Final = TokenKey(BLIND_RSA, RSA_2048.public_key)
OTHER_TOKEN_KEY: Final = TokenKey(BLIND_RSA, OTHER_2048.public_key)
METADATA_TOKEN_KEY: Final = TokenKey(PARTIALLY_BLIND_RSA, SAFE_2048.public_key)

ORIGIN: Final = "router.example"
CHALLENGE: Final = TokenChallenge(BLIND_RSA, "issuer.example", origin_info=ORIGIN)
METADATA_CHALLENGE: Final = TokenChallenge(PARTIALLY_BLIND_RSA, "issuer.example", origin_info=ORIGIN)
EXTENSIONS: Final = Extensions((Extension(1, b"\x01\x02\x03"), Extension(1, b""), Extension(0xFFFF, b"x")))

KEYRING: Final = TokenKeyring(
    [TokenKeyEpoch(key, EPOCH - DAY, EPOCH + DAY) for key in (TOKEN_KEY, METADATA_TOKEN_KEY)], grace=HOUR
)
"""Two keys that sign and pay for a day before and after the tests' time."""


def draw(
    seed: str = "pending", *, token_key: TokenKey = TOKEN_KEY, challenge: TokenChallenge = CHALLENGE
) -> PendingToken:
    return PendingToken.draw(challenge, token_key, randbytes=seeded_randbytes(seed))


def draw_with_extensions(seed: str = "pending", extensions: Extensions = EXTENSIONS) -> PendingToken:
    return PendingToken.draw(
        METADATA_CHALLENGE, METADATA_TOKEN_KEY, randbytes=seeded_randbytes(seed), extensions=extensions
    )


def issue(pending: PendingToken, *, pair: KeyPair = RSA_2048, token_key: TokenKey = TOKEN_KEY) -> Token:
    """Sign a pending token that has no extensions."""
    return pending.finalize(token_key, TokenResponse(pair.sign(pending.blinded_msg)))


def scripted(*parts: bytes) -> RandBytes:
    """Return a source that gives these parts, each of which has to be as long as what is asked for."""
    left = list(parts)

    def randbytes(size: int) -> bytes:
        part = left.pop(0)
        assert len(part) == size
        return part

    return randbytes
