"""The settings of a role: frozen classes, one TOML file, and every key an option on the command line as well.

A key says what it means beside its default (`setting`), so files, options and help come from one place. Reading is
strict: an unknown key, a value of the wrong kind or out of range is a `ConfigError` that names the key and the file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, cast, get_args, get_origin, get_type_hints

import attrs
from attrs import field, fields, frozen

from confsec.errors import ConfigError

__all__ = ["ConfigField", "RoleConfig", "at_least", "config_fields", "load_config", "one_of", "setting", "url"]

_T = TypeVar("_T")

_HELP: Final = "help"
_SCALARS: Final = (str, int, float, bool)
_MAX_FILE: Final = 1 << 20


def _validator(check: Callable[[Any], None]) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    def validate(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        for item in value if isinstance(value, tuple) else (value,):
            try:
                check(item)
            except ValueError as exc:
                raise ConfigError(f"the key {attribute.name} {exc}") from exc

    return validate


def setting(default: object = attrs.NOTHING, *, help: str, check: Callable[[Any], None] | None = None) -> Any:  # noqa: A002
    """Declare one key: its default, the sentence for `--help`, and a check that raises ValueError with a reason."""
    return field(default=default, metadata={_HELP: help}, validator=None if check is None else _validator(check))


def at_least(minimum: float) -> Callable[[float], None]:
    """Return a check for numbers of at least `minimum`."""

    def check(value: float) -> None:
        if not value >= minimum:
            raise ValueError(f"must be at least {minimum:g}, is {value:g}")

    return check


def one_of(*choices: str) -> Callable[[str], None]:
    """Return a check for one of `choices`."""

    def check(value: str) -> None:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}, is {value!r}")

    return check


def url(value: str) -> None:
    """Check a base URL: http or https, a host, no query, no fragment."""
    scheme, separator, rest = value.partition("://")
    if scheme not in {"http", "https"} or not separator or not rest or rest.startswith("/"):
        raise ValueError(f"must be a URL that begins with http:// or https://, is {value!r}")
    if any(mark in rest for mark in "?# @\\"):
        raise ValueError("must be a URL without user, query, fragment and spaces")


@frozen(kw_only=True)
class RoleConfig:
    """What every role has. Times are in seconds, sizes in bytes."""

    host: str = setting("127.0.0.1", help="The address to listen on.")
    port: int = setting(0, help="The TCP port to listen on; 0 takes a free one.", check=at_least(0))
    uds: str = setting("", help="A Unix socket to listen on instead of a TCP port; it gets mode 0600.")
    backend: str = setting(
        "asyncio", help="The event loop: asyncio (uvicorn) or trio (anycorn).", check=one_of("asyncio", "trio")
    )
    max_concurrent: int = setting(
        256, help="Exchanges at once; more are answered 503 with Retry-After.", check=at_least(1)
    )
    max_connections: int = setting(2048, help="Connections at once; more are closed at once.", check=at_least(1))
    max_body: int = setting(9 << 20, help="The largest request body in bytes; larger ones get 413.", check=at_least(1))
    header_timeout: float = setting(
        10.0, help="Seconds that a connection has to send a request's header.", check=at_least(0.001)
    )
    idle_timeout: float = setting(
        120.0, help="Seconds without a byte in either direction before an exchange is cut.", check=at_least(0.001)
    )
    exchange_timeout: float = setting(1800.0, help="Seconds that an exchange may last.", check=at_least(0.001))
    keep_alive: float = setting(75.0, help="Seconds that an idle connection is kept.", check=at_least(0.001))
    drain_time: float = setting(
        0.0, help="Seconds between saying `draining` on /healthz and closing the port.", check=at_least(0)
    )
    shutdown_timeout: float = setting(
        30.0, help="Seconds that running exchanges have to finish when the role is stopped.", check=at_least(0)
    )


@frozen(kw_only=True)
class ConfigField:
    """One key of a configuration, as a command line needs it."""

    name: str
    """The key in the file."""

    kind: type
    """str, int, float or bool."""

    multiple: bool
    """The key holds a list; the option may be given several times."""

    default: object
    """The value when neither file nor command line says anything; None if it must be said."""

    required: bool
    """There is no default."""

    help: str
    """One sentence."""

    @property
    def option(self) -> str:
        """The option on the command line, such as `--max-body`."""
        return "--" + self.name.replace("_", "-")


def config_fields(cls: type) -> tuple[ConfigField, ...]:
    """Return the keys of the configuration class `cls`, in order."""
    hints = get_type_hints(cls)
    return tuple(_config_field(attribute, hints[attribute.name]) for attribute in fields(cls))


def load_config(cls: type[_T], path: Path | None = None, overrides: Mapping[str, object] | None = None) -> _T:
    """Make a `cls` from the TOML file `path` and from `overrides`, which win; None and () count as not given.

    Raises `ConfigError`, naming the key and where it stands.
    """
    known = {item.name: item for item in config_fields(cls)}
    values: dict[str, object] = {}
    for name, value in (_read_toml(path) if path else {}).items():
        values[name] = _convert(known.get(name), name, value, where=str(path))
    for name, value in (overrides or {}).items():
        if value is not None and value != ():
            values[name] = _convert(known.get(name), name, value, where="the command line")
    for name, item in known.items():
        if item.required and name not in values:
            raise ConfigError(f"the key {name} is missing", hint=f"Write it in the file or give {item.option}")
    try:
        return cls(**values)
    except ConfigError as exc:
        raise ConfigError(f"{path}: {exc.what}" if path else exc.what, hint=exc.hint) from exc


def _config_field(attribute: attrs.Attribute[Any], hint: object) -> ConfigField:
    multiple = get_origin(hint) is tuple
    kind = get_args(hint)[0] if multiple else hint
    if kind not in _SCALARS:
        raise TypeError(f"{attribute.name} is of a kind that neither a file nor an option can hold")
    required = attribute.default is attrs.NOTHING
    return ConfigField(
        name=attribute.name,
        kind=cast("type", kind),
        multiple=multiple,
        default=None if required else attribute.default,
        required=required,
        help=attribute.metadata.get(_HELP, ""),
    )


def _read_toml(path: Path) -> dict[str, object]:
    try:
        data = path.read_bytes()
        if len(data) > _MAX_FILE:
            raise ConfigError(f"{path} is too large for a configuration file", want=f"at most {_MAX_FILE} bytes")
        return tomllib.loads(data.decode("utf-8"))
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read", got=exc.strerror) from exc
    except ValueError as exc:
        raise ConfigError(f"{path} is not TOML", got=exc) from exc


def _convert(item: ConfigField | None, name: str, value: object, *, where: str) -> object:
    if item is None:
        raise ConfigError(f"{where}: there is no key {name}", hint="`--help` lists the keys, each as an option")
    if item.multiple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where}: the key {name} is not a list", want=f"a list of {item.kind.__name__}")
        return tuple(_convert_one(item, part, where=where) for part in value)
    return _convert_one(item, value, where=where)


def _convert_one(item: ConfigField, value: object, *, where: str) -> object:
    if item.kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not item.kind:
        raise ConfigError(
            f"{where}: the key {item.name} is of another kind", got=type(value).__name__, want=item.kind.__name__
        )
    return value
