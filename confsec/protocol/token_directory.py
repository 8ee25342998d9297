"""The issuer directory: which keys an issuer signs with, as JSON (RFC 9578, section 4)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final, Self

from attrs import frozen

from confsec.errors import DecodeError, LimitError, TokenKeyError
from confsec.protocol.token_keys import MAX_TOKEN_KEYS, TokenKey, TokenKeyring
from confsec.protocol.wire import decode_base64url_padded, encode_base64url_padded, encode_uint

__all__ = [
    "ISSUER_DIRECTORY_PATH",
    "MAX_ISSUER_DIRECTORY",
    "MEDIA_TYPE_ISSUER_DIRECTORY",
    "IssuerDirectory",
    "IssuerDirectoryKey",
]

ISSUER_DIRECTORY_PATH: Final = "/.well-known/private-token-issuer-directory"
"""Where an issuer publishes its directory."""

MEDIA_TYPE_ISSUER_DIRECTORY: Final = "application/private-token-issuer-directory"
"""The media type of a directory."""

MAX_ISSUER_DIRECTORY: Final = 65_536
"""The longest directory that we read, in bytes."""

_MAX_TIME: Final = 253_402_300_799  # the end of the year 9999, as far as datetime goes
_SECTION: Final = "RFC 9578, section 4"


@frozen
class IssuerDirectoryKey:
    """One key of a directory. It may be of a type that we do not have."""

    token_type: int
    """Id in the IANA registry "Privacy Pass Token Types"."""

    token_key: bytes
    """The public key in the form of its token type."""

    not_before: int | None = None
    """From when on it may be used: seconds since 1970. None means always."""

    def __attrs_post_init__(self) -> None:
        encode_uint(self.token_type, 2)


@frozen
class IssuerDirectory:
    """What an issuer says of itself. Clients take it only if everybody sees the same (RFC 9576, section 3.4)."""

    issuer_request_uri: str
    """Where token requests go: a URI, or a path on the issuer's host."""

    token_keys: tuple[IssuerDirectoryKey, ...]
    """The keys, the one to use first before the others of its type."""

    def __attrs_post_init__(self) -> None:
        if len(self.token_keys) > MAX_TOKEN_KEYS:
            raise LimitError("issuer directory has too many keys", want=f"at most {MAX_TOKEN_KEYS}")

    @classmethod
    def of(cls, issuer_request_uri: str, keyring: TokenKeyring, *, now: datetime) -> Self:
        """Describe the keys of a keyring that sign now, the newest first, and then those that will sign.

        A new key is announced before its time, so that nobody meets it for the first time in a challenge.
        """
        epochs = [epoch for epoch in keyring.epochs if now < epoch.not_after]
        current = sorted((e for e in epochs if e.not_before <= now), key=lambda e: e.not_before, reverse=True)
        coming = sorted((e for e in epochs if now < e.not_before), key=lambda e: e.not_before)
        return cls(
            issuer_request_uri,
            tuple(
                IssuerDirectoryKey(epoch.key.token_type, epoch.key.to_spki(), int(epoch.not_before.timestamp()))
                for epoch in [*current, *coming]
            ),
        )

    def choose_key(self, token_type: int, *, now: datetime) -> TokenKey:
        """Return the first key of this type whose time has come. Raises `TokenKeyError` and `DecodeError`."""
        for key in self.token_keys:
            begun = key.not_before is None or datetime.fromtimestamp(key.not_before, UTC) <= now
            if key.token_type == token_type and begun:
                return TokenKey.from_spki(token_type, key.token_key)
        raise TokenKeyError("the issuer directory has no key of this type that may be used now", section=_SECTION)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Decode a directory. Members that we do not know are ignored. Raises `DecodeError`."""
        if len(data) > MAX_ISSUER_DIRECTORY:
            raise LimitError("issuer directory is too long", want=f"at most {MAX_ISSUER_DIRECTORY} bytes")
        try:
            document = json.loads(data.decode("utf-8"))
        except (ValueError, RecursionError) as exc:
            raise DecodeError("issuer directory is not JSON", section=_SECTION) from exc
        keys = _member(document, "token-keys", list)
        return cls(_member(document, "issuer-request-uri", str), tuple(_decode_key(key) for key in keys))

    def encode(self) -> bytes:
        keys = [
            {
                "token-type": key.token_type,
                "token-key": encode_base64url_padded(key.token_key),
                **({} if key.not_before is None else {"not-before": key.not_before}),
            }
            for key in self.token_keys
        ]
        return json.dumps({"issuer-request-uri": self.issuer_request_uri, "token-keys": keys}).encode()


def _decode_key(value: Any) -> IssuerDirectoryKey:
    token_type = _number(_member(value, "token-type", int), 0xFFFF)
    token_key = decode_base64url_padded(_member(value, "token-key", str))
    not_before = None
    if "not-before" in value:
        not_before = _number(_member(value, "not-before", int), _MAX_TIME)
    return IssuerDirectoryKey(token_type, token_key, not_before)


def _member(value: object, name: str, kind: type) -> Any:
    """Return a member of an object if it is of this type."""
    member = value.get(name) if isinstance(value, dict) else None
    # True is an integer in Python, and none in JSON.
    if not isinstance(member, kind) or isinstance(member, bool):
        raise DecodeError(f"issuer directory has no {name}, or not as it should be", section=_SECTION)
    return member


def _number(value: int, limit: int) -> int:
    if not 0 <= value <= limit:
        raise DecodeError("issuer directory has a number out of range", section=_SECTION)
    return value
