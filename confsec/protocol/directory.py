"""The service directory: where a service is, the key configurations of its gateways, and its issuer.

Until the directory stands in a transparency log, it is a small TOML file that the user got from somebody he trusts, and
the Proof says that nobody else vouches for it. Whoever writes this file can choose the keys that a user talks to.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final, Self
from urllib.parse import urlsplit

from attrs import frozen

from confsec.errors import ConfigError, DecodeError, TokenError
from confsec.protocol.key_config import KeyConfig, decode_key_configs, encode_key_configs
from confsec.protocol.token_challenge import TokenChallenge
from confsec.protocol.token_keys import BLIND_RSA, TokenKey, TokenKeyEpoch
from confsec.protocol.wire import decode_base64, encode_base64

__all__ = [
    "DIRECTORY_PATH",
    "MAX_DIRECTORY",
    "MAX_TOKEN_KEYS_AT_ONCE",
    "MIN_TOKEN_EPOCH",
    "IssuerEntry",
    "ServiceDirectory",
    "check_web_url",
]

DIRECTORY_PATH: Final = "/.well-known/confsec-directory"
"""Where a web server offers a directory file."""

MAX_DIRECTORY: Final = 262_144
"""A directory file has at most 256 KiB."""

MIN_TOKEN_EPOCH: Final = timedelta(hours=1)
"""A token key signs for at least this long: keys that change more often would tell clients apart by when they came."""

MAX_TOKEN_KEYS_AT_ONCE: Final = 2
"""So many keys may sign at one time: the current one, and for a while the next. More would be names for users."""

_VERSION: Final = 1
_TABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "relay": ("url",),
    "gateway": ("key_configs",),
    "router": ("origin",),
}
_ISSUER: Final = ("relay_url", "key_configs", "origin", "token_challenge")
_LOOPBACK = re.compile(r"localhost|127(\.[0-9]{1,3}){3}|::1")


@frozen(kw_only=True)
class IssuerEntry:
    """Where tokens come from: an issuer behind a gateway of its own, so that the router's sees no account."""

    relay_url: str
    """Where requests to the issuer go: a path of the relay that leads to the issuer's gateway."""

    gateway_key_configs: tuple[KeyConfig, ...]
    """The key configurations of the issuer's gateway."""

    origin: str
    """The scheme and authority that requests to the issuer name."""

    token_challenge: TokenChallenge
    """The one challenge that clients answer: for this issuer and this router, without a redemption context."""

    token_keys: tuple[TokenKeyEpoch, ...]
    """The issuer's keys, which are the same for everyone."""

    def __attrs_post_init__(self) -> None:
        for epoch in self.token_keys:
            if epoch.not_after - epoch.not_before < MIN_TOKEN_EPOCH:
                raise ConfigError("a token key of the directory changes too often", want=f"at least {MIN_TOKEN_EPOCH}")
            signing = [each for each in self.token_keys if each.not_before <= epoch.not_before < each.not_after]
            if len(signing) > MAX_TOKEN_KEYS_AT_ONCE:
                raise ConfigError(
                    "too many token keys of the directory sign at one time",
                    got=len(signing),
                    want=f"at most {MAX_TOKEN_KEYS_AT_ONCE}",
                )
        if self.token_challenge.redemption_context:
            raise ConfigError("the token challenge of the directory has a redemption context", want="none")

    @classmethod
    def from_members(cls, members: object) -> Self:
        """Read the table [issuer]. Raises `ConfigError`."""
        if not isinstance(members, dict) or set(members) != {*_ISSUER, "token_keys"}:
            raise ConfigError(
                "the table [issuer] of the directory is not of this form", want=f"{', '.join(_ISSUER)}, token_keys"
            )
        texts = {name: _text(members[name], f"issuer.{name}") for name in _ISSUER}
        keys = members["token_keys"]
        if not isinstance(keys, list) or not keys:
            raise ConfigError("issuer.token_keys of the directory is not a list of keys")
        return cls(
            relay_url=check_web_url(texts["relay_url"], "issuer.relay_url of the directory"),
            gateway_key_configs=_key_configs(texts["key_configs"], "issuer.key_configs"),
            origin=_require_origin(texts["origin"], "issuer.origin"),
            token_challenge=_challenge(texts["token_challenge"]),
            token_keys=tuple(_token_key(item) for item in keys),
        )

    def to_toml(self) -> str:
        """Write the table [issuer] and the keys below it."""
        text = (
            f'\n[issuer]\nrelay_url = "{self.relay_url}"\n'
            f'key_configs = "{encode_base64(encode_key_configs(self.gateway_key_configs))}"\n'
            f'origin = "{self.origin}"\n'
            f'token_challenge = "{encode_base64(self.token_challenge.encode())}"\n'
        )
        for epoch in self.token_keys:
            text += (
                f'\n[[issuer.token_keys]]\nkey = "{encode_base64(epoch.key.to_spki())}"\n'
                f"not_before = {epoch.not_before.isoformat()}\nnot_after = {epoch.not_after.isoformat()}\n"
            )
        return text

    @property
    def scheme(self) -> str:
        """The scheme of the issuer's origin."""
        return urlsplit(self.origin).scheme

    @property
    def authority(self) -> str:
        """The authority of the issuer's origin."""
        return urlsplit(self.origin).netloc


@frozen(kw_only=True)
class ServiceDirectory:
    """One service as its users see it."""

    relay_url: str
    """Where encapsulated requests go: the relay's URL, https except on loopback."""

    gateway_key_configs: tuple[KeyConfig, ...]
    """The gateway's key configurations, in its order of preference (RFC 9458, section 3.2)."""

    router_origin: str
    """The scheme and authority that requests inside the encapsulation name, e.g. `https://router.example`."""

    issuer: IssuerEntry | None = None
    """Where tokens come from; None for a service that takes none."""

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """Read a directory file. Raises `ConfigError`, which names the member that is wrong."""
        if len(text) > MAX_DIRECTORY:
            raise ConfigError(
                "the directory is too long", got=f"{len(text)} characters", want=f"at most {MAX_DIRECTORY}"
            )
        try:
            value = tomllib.loads(text)
        except tomllib.TOMLDecodeError as exc:
            raise ConfigError(f"the directory is not TOML: {exc}") from exc
        if value.get("version") != _VERSION or set(value) - {"issuer"} != {"version", *_TABLES}:
            raise ConfigError(
                "the directory is not of this form",
                want=f"version = 1 and the tables {', '.join(_TABLES)}, and issuer if it has one",
            )
        return cls(
            relay_url=check_web_url(_member(value, "relay"), "relay.url of the directory"),
            gateway_key_configs=_key_configs(_member(value, "gateway"), "gateway.key_configs"),
            router_origin=_require_origin(_member(value, "router"), "router.origin"),
            issuer=IssuerEntry.from_members(value["issuer"]) if "issuer" in value else None,
        )

    def to_toml(self) -> str:
        """Write the directory as a file."""
        key_configs = encode_base64(encode_key_configs(self.gateway_key_configs))
        return (
            f"version = {_VERSION}\n\n"
            f'[relay]\nurl = "{self.relay_url}"\n\n'
            f'[gateway]\nkey_configs = "{key_configs}"\n\n'
            f'[router]\norigin = "{self.router_origin}"\n'
        ) + (self.issuer.to_toml() if self.issuer else "")

    @property
    def digest(self) -> bytes:
        """SHA-256 of the directory as `to_toml` writes it: what somebody else can compare, and a client can pin."""
        return sha256(self.to_toml().encode()).digest()

    @property
    def router_scheme(self) -> str:
        """The scheme of the router's origin."""
        return urlsplit(self.router_origin).scheme

    @property
    def router_authority(self) -> str:
        """The authority of the router's origin."""
        return urlsplit(self.router_origin).netloc


def _member(value: Mapping[str, object], table: str) -> str:
    """Return the one member of a table, which is text."""
    (name,) = _TABLES[table]
    members = value[table]
    if not isinstance(members, dict) or set(members) != {name} or not isinstance(members[name], str):
        raise ConfigError(
            f"the table [{table}] of the directory is not of this form", want=f'{name} = "…" and nothing else'
        )
    return str(members[name])


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{name} of the directory is not text")
    return value


def _key_configs(text: str, name: str) -> tuple[KeyConfig, ...]:
    try:
        return decode_key_configs(decode_base64(text))
    except DecodeError as exc:
        raise ConfigError(f"{name} of the directory cannot be read: {exc}") from exc


def _challenge(text: str) -> TokenChallenge:
    try:
        return TokenChallenge.decode(decode_base64(text))
    except DecodeError as exc:
        raise ConfigError(f"issuer.token_challenge of the directory cannot be read: {exc}") from exc


def _token_key(item: object) -> TokenKeyEpoch:
    if not isinstance(item, dict) or set(item) != {"key", "not_before", "not_after"}:
        raise ConfigError("a token key of the directory is not of this form", want="key, not_before, not_after")
    times = [item["not_before"], item["not_after"]]
    if not all(isinstance(time, datetime) and time.tzinfo is not None for time in times):
        raise ConfigError("a token key of the directory has no times", want="date and time with an offset")
    try:
        key = TokenKey.from_spki(BLIND_RSA, decode_base64(_text(item["key"], "issuer.token_keys.key")))
    except (DecodeError, TokenError) as exc:
        raise ConfigError(f"a token key of the directory cannot be used: {exc}") from exc
    return TokenKeyEpoch(key, *times)


def check_web_url(url: str, what: str) -> str:
    """Return `url` if it is a plain web address, and http only on this machine. Raises `ConfigError` about `what`.

    Over http to another machine, anybody on the way could exchange what is read and see what is sent.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as exc:
        raise ConfigError(f"{what} is no URL") from exc
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None or parts.fragment:
        raise ConfigError(f"{what} is no URL of a web server", want="https://host/path")
    if re.search(r"[\x00-\x20\x7f\"\\]", url) or not url.isascii():
        raise ConfigError(f"{what} has characters that a URL cannot have")
    if parts.scheme == "http" and not _LOOPBACK.fullmatch(parts.hostname):
        raise ConfigError(f"{what} is http", want="https, except on loopback")
    return url


def _require_origin(origin: str, name: str) -> str:
    parts = urlsplit(check_web_url(origin, f"{name} of the directory"))
    if parts.path or parts.query:
        raise ConfigError(f"{name} of the directory is more than an origin", want="scheme://authority")
    return origin
