"""What is said of a service: its directory, its fleet, its keys, and what is no longer good."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import ClassVar, Final, Self, final

from attrs import field, frozen

from confsec.errors import ConfigError, DecodeError, TokenError
from confsec.protocol.directory import MAX_DIRECTORY
from confsec.protocol.epoch import MAX_BEACON
from confsec.protocol.json_general import JsonItem
from confsec.protocol.json_members import (
    DIGEST_SIZE,
    digest_of,
    encode_time,
    list_of,
    members_of,
    text_of,
    time_of,
    uint_of,
)
from confsec.protocol.key_config import KeyConfig, decode_key_configs
from confsec.protocol.predicate import Predicate, header_of, predicate_members, type_uri
from confsec.protocol.statement import check_name, encode_canonical
from confsec.protocol.token_keys import MAX_TOKEN_KEYS, TokenKey, TokenKeyEpoch
from confsec.protocol.wire import decode_base64, encode_base64

__all__ = [
    "DirectoryStatement",
    "FleetStatement",
    "IssuerKeys",
    "KeyConfigurations",
    "Revocation",
    "RevokedItem",
    "RevokedKind",
]

_MAX_KEY_CONFIGS: Final = 131_072
_MAX_SPKI: Final = 4096
_MAX_NODES: Final = 10_000
_MAX_REVOKED: Final = 4096


@final
@frozen(kw_only=True)
class DirectoryStatement(Predicate):
    """The service directory. Its subject is the service's name with SHA-256 of the text."""

    TYPE: ClassVar[str] = type_uri("directory")
    EXPIRES: ClassVar[bool] = True

    directory: str
    """The directory as `ServiceDirectory` reads and writes it."""

    @classmethod
    def from_json(cls, value: JsonItem) -> Self:
        """Read it. Raises `DecodeError` and `LimitError`; the text of the directory is read elsewhere."""
        members = predicate_members(value, "a directory statement", "directory")
        return cls(**header_of(members), directory=text_of(members["directory"], "a directory", limit=MAX_DIRECTORY))

    def body(self) -> dict[str, JsonItem]:
        """Return its members but those of the header."""
        return {"directory": self.directory}

    def subject_digest(self) -> bytes:
        """Return SHA-256 of the directory's text."""
        return sha256(self.directory.encode()).digest()


@final
@frozen(kw_only=True)
class FleetStatement(Predicate):
    """The fleet of an epoch. Its subject is the service's name with SHA-256 of the fleet record."""

    TYPE: ClassVar[str] = type_uri("fleet")
    EXPIRES: ClassVar[bool] = True

    beacon: bytes
    """What names the epoch: the beacon of the record."""

    nodes: int
    """How many nodes the record has."""

    @classmethod
    def from_json(cls, value: JsonItem) -> Self:
        """Read it. Raises `DecodeError` and `LimitError`."""
        members = predicate_members(value, "a fleet statement", "beacon", "nodes")
        beacon = decode_base64(text_of(members["beacon"], "a beacon", limit=2 * MAX_BEACON, least=4))
        if len(beacon) > MAX_BEACON:
            raise DecodeError("a beacon is too long", got=f"{len(beacon)} bytes", want=f"at most {MAX_BEACON}")
        return cls(**header_of(members), beacon=beacon, nodes=uint_of(members["nodes"], "nodes", limit=_MAX_NODES))

    def body(self) -> dict[str, JsonItem]:
        """Return its members but those of the header."""
        return {"beacon": encode_base64(self.beacon), "nodes": self.nodes}


@final
@frozen(kw_only=True)
class KeyConfigurations(Predicate):
    """The key configurations of a gateway. Their subject is the gateway's name with SHA-256 of the list."""

    TYPE: ClassVar[str] = type_uri("key-configurations")
    EXPIRES: ClassVar[bool] = True

    valid_from: datetime
    """From when on they may be used."""

    key_configs: bytes
    """The list as application/ohttp-keys (RFC 9458, section 3.2)."""

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.valid_until is None or not self.issued <= self.valid_from < self.valid_until:
            raise DecodeError("key configurations begin before they are issued, or after they end")

    @classmethod
    def from_json(cls, value: JsonItem) -> Self:
        """Read it, with a list that can be decoded. Raises `DecodeError` and `LimitError`."""
        members = predicate_members(value, "a statement of key configurations", "keyConfigs", "validFrom")
        key_configs = decode_base64(text_of(members["keyConfigs"], "keyConfigs", limit=_MAX_KEY_CONFIGS))
        decode_key_configs(key_configs)
        valid_from = time_of(members["validFrom"], "validFrom")
        return cls(**header_of(members), valid_from=valid_from, key_configs=key_configs)

    def body(self) -> dict[str, JsonItem]:
        """Return its members but those of the header."""
        return {"keyConfigs": encode_base64(self.key_configs), "validFrom": encode_time(self.valid_from)}

    def subject_digest(self) -> bytes:
        """Return SHA-256 of the list."""
        return sha256(self.key_configs).digest()

    def configs(self) -> tuple[KeyConfig, ...]:
        """Return the configurations, without those whose KEM we do not have. Raises `DecodeError`."""
        return decode_key_configs(self.key_configs)


@final
@frozen(kw_only=True)
class IssuerKeys(Predicate):
    """The keys of an issuer and their times. Their subject is the issuer's name with SHA-256 of `keys` in JSON."""

    TYPE: ClassVar[str] = type_uri("issuer-keys")
    EXPIRES: ClassVar[bool] = True

    keys: tuple[TokenKeyEpoch, ...]
    """1 to 64 keys."""

    @classmethod
    def from_json(cls, value: JsonItem) -> Self:
        """Read it. Raises `DecodeError` and `LimitError`."""
        members = predicate_members(value, "a statement of issuer keys", "keys")
        items = list_of(members["keys"], "keys", limit=MAX_TOKEN_KEYS, least=1)
        return cls(**header_of(members), keys=tuple(map(_token_key, items)))

    def body(self) -> dict[str, JsonItem]:
        """Return its members but those of the header."""
        return {"keys": self._keys()}

    def subject_digest(self) -> bytes:
        """Return SHA-256 of the keys as they stand in the statement."""
        return sha256(encode_canonical(self._keys())).digest()

    def _keys(self) -> list[JsonItem]:
        return [
            {
                "key": encode_base64(epoch.key.to_spki()),
                "notAfter": encode_time(epoch.not_after),
                "notBefore": encode_time(epoch.not_before),
                "tokenType": epoch.key.token_type,
            }
            for epoch in self.keys
        ]


class RevokedKind(StrEnum):
    """What a revoked digest is of."""

    STATEMENT = "statement"
    """SHA-256 of a statement in its one spelling."""

    KEY = "key"
    """SHA-256 of the SubjectPublicKeyInfo of a key that signed statements."""

    SUBJECT = "subject"
    """SHA-256 of an artifact: no statement about it counts."""


@final
@frozen(kw_only=True)
class RevokedItem:
    """One thing that is no longer good."""

    kind: RevokedKind

    digest: bytes
    """SHA-256, 32 bytes."""

    reason: str
    """Why, for people to read."""

    since: datetime
    """Since when, for people to read: who holds a stolen key can write any date, so nothing older is spared."""

    def __attrs_post_init__(self) -> None:
        if len(self.digest) != DIGEST_SIZE:
            raise DecodeError("what is revoked has no SHA-256 digest", got=f"{len(self.digest)} bytes")
        check_name(self.reason, "a reason")

    @classmethod
    def from_json(cls, value: JsonItem) -> Self:
        """Read it. Raises `DecodeError`."""
        members = members_of(value, "a revoked item", ("digest", "kind", "reason", "since"))
        try:
            kind = RevokedKind(text_of(members["kind"], "a kind", limit=16))
        except ValueError as exc:
            raise DecodeError("a revoked item is of an unknown kind", want=", ".join(RevokedKind)) from exc
        return cls(
            kind=kind,
            digest=digest_of(members["digest"], "a revoked item"),
            reason=check_name(members["reason"], "a reason"),
            since=time_of(members["since"], "since"),
        )

    def to_json(self) -> dict[str, JsonItem]:
        """Write it."""
        return {
            "digest": self.digest.hex(),
            "kind": self.kind.value,
            "reason": self.reason,
            "since": encode_time(self.since),
        }


@final
@frozen(kw_only=True)
class Revocation(Predicate):
    """All that is no longer good. Its subject is the service's name with SHA-256 of `revoked` in JSON."""

    TYPE: ClassVar[str] = type_uri("revocation")
    EXPIRES: ClassVar[bool] = False

    revoked: tuple[RevokedItem, ...] = field(repr=False)
    """At most 4096 items. An empty list says that nothing is revoked."""

    @classmethod
    def from_json(cls, value: JsonItem) -> Self:
        """Read it. Raises `DecodeError` and `LimitError`."""
        members = predicate_members(value, "a revocation", "revoked")
        items = list_of(members["revoked"], "revoked", limit=_MAX_REVOKED)
        return cls(**header_of(members), revoked=tuple(map(RevokedItem.from_json, items)))

    def body(self) -> dict[str, JsonItem]:
        """Return its members but those of the header."""
        return {"revoked": self._revoked()}

    def subject_digest(self) -> bytes:
        """Return SHA-256 of the items as they stand in the statement."""
        return sha256(encode_canonical(self._revoked())).digest()

    def _revoked(self) -> list[JsonItem]:
        return [item.to_json() for item in self.revoked]


def _token_key(value: JsonItem) -> TokenKeyEpoch:
    members = members_of(value, "an issuer key", ("key", "notAfter", "notBefore", "tokenType"))
    spki = decode_base64(text_of(members["key"], "an issuer key", limit=_MAX_SPKI))
    times = time_of(members["notBefore"], "notBefore"), time_of(members["notAfter"], "notAfter")
    try:
        key = TokenKey.from_spki(uint_of(members["tokenType"], "tokenType", limit=0xFFFF), spki)
        return TokenKeyEpoch(key, *times)
    except (ConfigError, TokenError) as exc:
        raise DecodeError(f"an issuer key cannot be used: {exc}") from exc
