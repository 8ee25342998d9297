"""The service directory: where a service is, and the key configurations of its gateway.

Until the directory stands in a transparency log, it is a small TOML file that the user got from somebody he trusts, and
the Proof says that nobody else vouches for it. Whoever writes this file can choose the keys that a user talks to.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Final, Self
from urllib.parse import urlsplit

from attrs import frozen

from confsec.errors import ConfigError, DecodeError
from confsec.protocol.key_config import KeyConfig, decode_key_configs, encode_key_configs
from confsec.protocol.wire import decode_base64, encode_base64

__all__ = ["DIRECTORY_PATH", "MAX_DIRECTORY", "ServiceDirectory", "check_web_url"]

DIRECTORY_PATH: Final = "/.well-known/confsec-directory"
"""Where a web server offers a directory file."""

MAX_DIRECTORY: Final = 262_144
"""A directory file has at most 256 KiB."""

_VERSION: Final = 1
_TABLES: Final[Mapping[str, str]] = {"relay": "url", "gateway": "key_configs", "router": "origin"}
_LOOPBACK = re.compile(r"localhost|127(\.[0-9]{1,3}){3}|::1")


@frozen(kw_only=True)
class ServiceDirectory:
    """One service as its users see it."""

    relay_url: str
    """Where encapsulated requests go: the relay's URL, https except on loopback."""

    gateway_key_configs: tuple[KeyConfig, ...]
    """The gateway's key configurations, in its order of preference (RFC 9458, section 3.2)."""

    router_origin: str
    """The scheme and authority that requests inside the encapsulation name, e.g. `https://router.example`."""

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
        if value.get("version") != _VERSION or set(value) != {"version", *_TABLES}:
            raise ConfigError(
                "the directory is not of this form", want=f"version = 1 and the tables {', '.join(_TABLES)}"
            )
        return cls(
            relay_url=check_web_url(_member(value, "relay"), "relay.url of the directory"),
            gateway_key_configs=_key_configs(_member(value, "gateway")),
            router_origin=_require_origin(_member(value, "router")),
        )

    def to_toml(self) -> str:
        """Write the directory as a file."""
        key_configs = encode_base64(encode_key_configs(self.gateway_key_configs))
        return (
            f"version = {_VERSION}\n\n"
            f'[relay]\nurl = "{self.relay_url}"\n\n'
            f'[gateway]\nkey_configs = "{key_configs}"\n\n'
            f'[router]\norigin = "{self.router_origin}"\n'
        )

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
    name = _TABLES[table]
    members = value[table]
    if not isinstance(members, dict) or set(members) != {name} or not isinstance(members[name], str):
        raise ConfigError(
            f"the table [{table}] of the directory is not of this form", want=f'{name} = "…" and nothing else'
        )
    return str(members[name])


def _key_configs(text: str) -> tuple[KeyConfig, ...]:
    try:
        return decode_key_configs(decode_base64(text))
    except DecodeError as exc:
        raise ConfigError(f"gateway.key_configs of the directory cannot be read: {exc}") from exc


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


def _require_origin(origin: str) -> str:
    parts = urlsplit(check_web_url(origin, "router.origin of the directory"))
    if parts.path or parts.query:
        raise ConfigError("router.origin of the directory is more than an origin", want="scheme://authority")
    return origin
