"""Token keys: how they are named, and when they sign and pay (RFC 9578, sections 4 and 6.5).

An issuer changes its key from epoch to epoch, and tokens of an epoch are worth something until it is over. Clocks
differ, and a token may be under way when its epoch ends, so a key pays a little longer than it signs: the keyring's
`grace`, before its epoch as well as after it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, Self, final

from attrs import field, frozen

from confsec.errors import ConfigError, DecodeError, TokenEpochError, TokenKeyError, TokenTypeError
from confsec.protocol.rsa_keys import TOKEN_EXPONENT, RsaPublicKey

__all__ = [
    "AUTHENTICATOR_SIZE",
    "BLIND_RSA",
    "MAX_TOKEN_KEYS",
    "PARTIALLY_BLIND_RSA",
    "TOKEN_TYPES",
    "TokenKey",
    "TokenKeyEpoch",
    "TokenKeyring",
]

BLIND_RSA: Final = 0x0002
"""Token type "Blind RSA (2048-bit)" (RFC 9578, section 8.2.2)."""

PARTIALLY_BLIND_RSA: Final = 0xDA7A
"""Token type "Partially Blind RSA (2048-bit)" (draft-ietf-privacypass-public-metadata-issuance)."""

TOKEN_TYPES: Final = frozenset({BLIND_RSA, PARTIALLY_BLIND_RSA})
"""The types that we have."""

AUTHENTICATOR_SIZE: Final = 256
"""Nk of both types: the length of the modulus, of blinded messages and of signatures."""

MAX_TOKEN_KEYS: Final = 64
"""How many keys a directory or a keyring may hold: the epochs of two months, at one a day."""


@frozen
class TokenKey:
    """An issuer's public key for one type of token. Raises `DecodeError` for a key that the type does not allow."""

    token_type: int
    """Id in the IANA registry "Privacy Pass Token Types": one of `TOKEN_TYPES`."""

    public_key: RsaPublicKey
    """2048 bits with the exponent 65537."""

    token_key_id: bytes = field(init=False, eq=False)
    """SHA-256 of the key's SubjectPublicKeyInfo."""

    def __attrs_post_init__(self) -> None:
        if self.token_type not in TOKEN_TYPES:
            raise TokenTypeError("token type is not supported", got=f"0x{self.token_type:04x}")
        if self.public_key.modulus_size != AUTHENTICATOR_SIZE or self.public_key.e != TOKEN_EXPONENT:
            raise DecodeError(
                "token key cannot be used",
                got=f"{8 * self.public_key.modulus_size} bits",
                want="2048 bits, exponent 65537",
                section="RFC 9578, section 6.5",
            )
        object.__setattr__(self, "token_key_id", self.public_key.spki_digest())

    @property
    def truncated_token_key_id(self) -> int:
        """The last byte of the token key id, by which token requests name the key."""
        return self.token_key_id[-1]

    @classmethod
    def from_spki(cls, token_type: int, data: bytes) -> Self:
        """Decode the SubjectPublicKeyInfo of a key of this type. Raises `DecodeError` and `TokenTypeError`."""
        return cls(token_type, RsaPublicKey.from_spki(data))

    def to_spki(self) -> bytes:
        """Encode the key as SubjectPublicKeyInfo."""
        return self.public_key.to_spki()


@frozen
class TokenKeyEpoch:
    """A token key and its time."""

    key: TokenKey
    """The key."""

    not_before: datetime
    """From when on it signs: aware."""

    not_after: datetime
    """Until when it signs: aware, after `not_before`."""

    def __attrs_post_init__(self) -> None:
        if not self.not_before < self.not_after:
            raise ConfigError("a token key's epoch ends before it begins")


@final
class TokenKeyring:
    """An issuer's keys, with their times. Immutable: keys change by a new keyring."""

    def __init__(self, epochs: Iterable[TokenKeyEpoch], *, grace: timedelta) -> None:
        """Keep `epochs`. Raises `ConfigError` for a key that occurs twice, and for too many."""
        self._epochs = tuple(epochs)
        self._by_id = {epoch.key.token_key_id: epoch for epoch in self._epochs}
        self._grace = grace
        if len(self._by_id) != len(self._epochs):
            raise ConfigError("a token key occurs twice")
        if len(self._epochs) > MAX_TOKEN_KEYS:
            raise ConfigError("too many token keys", got=len(self._epochs), want=f"at most {MAX_TOKEN_KEYS}")
        self._check_truncated_ids()

    @property
    def epochs(self) -> tuple[TokenKeyEpoch, ...]:
        """All keys, in the order given."""
        return self._epochs

    def expires_at(self, epoch: TokenKeyEpoch) -> datetime:
        """Say until when tokens of `epoch` pay: then a store may forget that they were spent."""
        return epoch.not_after + self._grace

    def find_signing_key(self, token_type: int, truncated_token_key_id: int, now: datetime) -> TokenKeyEpoch:
        """Return the key that a token request names. Raises `TokenEpochError`, and `TokenKeyError` if there is none."""
        named = [
            epoch
            for epoch in self._epochs
            if (epoch.key.token_type, epoch.key.truncated_token_key_id) == (token_type, truncated_token_key_id)
        ]
        current = [epoch for epoch in named if epoch.not_before <= now < epoch.not_after]
        if current:
            return current[0]
        if named:
            raise TokenEpochError("this token key does not sign now", section="RFC 9578, section 6.2")
        raise TokenKeyError("no such token key", got=f"truncated id {truncated_token_key_id}")

    def find_paying_key(self, token_key_id: bytes, now: datetime) -> TokenKeyEpoch:
        """Return the key that signed a token. Raises `TokenEpochError`, and `TokenKeyError` if there is none."""
        epoch = self._by_id.get(token_key_id)
        if epoch is None:
            raise TokenKeyError("the token is signed by a key that is not known here")
        if not epoch.not_before - self._grace <= now < self.expires_at(epoch):
            raise TokenEpochError("the token is of another epoch")
        return epoch

    def _check_truncated_ids(self) -> None:
        """Check that keys which sign at the same time differ in what requests name them by (RFC 9578, section 6.5)."""
        for number, one in enumerate(self._epochs):
            for other in self._epochs[number + 1 :]:
                if (
                    one.key.token_type == other.key.token_type
                    and one.key.truncated_token_key_id == other.key.truncated_token_key_id
                    and one.not_before < other.not_after
                    and other.not_before < one.not_after
                ):
                    raise ConfigError(
                        "two token keys of one time have one truncated id: make another key",
                        section="RFC 9578, section 6.5",
                    )
