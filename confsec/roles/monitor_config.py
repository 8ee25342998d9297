"""The file of a monitor: which logs it follows, from where, under which policies, and whom it tells (docs/monitor.md).

Reading is strict: an unknown key, or a value of the wrong kind, is a `ConfigError` that names the key. Paths are
relative to the file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final, TypeVar, final

from attrs import field, frozen

from confsec.backends.trusted_root import open_trusted_root
from confsec.errors import ConfigError, ConfsecError
from confsec.protocol import toml_general
from confsec.protocol.directory import check_web_url
from confsec.protocol.json_members import DIGEST_SIZE
from confsec.protocol.log_root import LogRoot
from confsec.protocol.monitoring import Watch
from confsec.protocol.sigstore import BundleVerifier
from confsec.protocol.statement import check_name
from confsec.protocol.statement_policy import StatementPolicy
from confsec.protocol.statement_rules import from_toml
from confsec.protocol.wire import decode_hex
from confsec.protocol.witness_policy import WitnessPolicy

__all__ = ["MonitorConfig", "MonitoredLog", "WebhookConfig"]

_T = TypeVar("_T")

_MAX_FILE: Final = 1 << 20
_MAX_LOGS: Final = 64
_MAX_SOURCES: Final = 16
_MAX_WATCHED: Final = 4096
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SECONDS: Final = 86_400 * 365
_VERSION: Final = 1


@final
@frozen(kw_only=True)
class MonitoredLog:
    """A log that is followed."""

    name: str
    """What the monitor calls it: small letters, digits, points and dashes."""

    origin: str
    """The log's own name, which its checkpoints bear."""

    policy: WitnessPolicy
    """The key of the log, and who has to cosign."""

    sources: tuple[str, ...]
    """Where it is read from, URLs or folders: the log itself, and mirrors of it."""

    maximum_age: timedelta
    """How old the witnesses' word may be."""

    statements: StatementPolicy | None = None
    """Which statements are admitted; None where signatures are not looked at."""

    watch: Watch = field(factory=Watch)
    """What is reported wherever it stands in an entry."""

    report_new: bool = True
    """Whether each new entry is reported."""

    any_entries: bool = False
    """Whether entries may be something else than statements."""

    records: str = ""
    """Where the fleet records are that the log speaks of, an address that ends with a slash; nothing for nowhere."""

    root: LogRoot | None = None
    """The root of the service whose directories or fleets these are: how fast they may follow each other."""


@final
@frozen(kw_only=True)
class WebhookConfig:
    """Where alerts are posted."""

    url: str = field(repr=False)
    """Its address, which may hold a secret and is shown nowhere."""

    timeout: float = 10.0
    """Seconds for one attempt."""

    attempts: int = 3


@final
@frozen(kw_only=True)
class MonitorConfig:
    """The settings of a monitor."""

    state: Path
    """The folder of what it remembers, and of evidence."""

    logs: tuple[MonitoredLog, ...]
    interval: float = 60.0
    """Seconds between two looks at a log."""

    webhook: WebhookConfig | None = None

    @classmethod
    def load(cls, path: Path) -> MonitorConfig:
        """Read the file and those that it names. Raises `ConfigError`."""
        table = _Table(toml_general.decode(_read(path, "the monitor's file"), what=str(path)), str(path))
        if table.take("version", int) != _VERSION:
            raise ConfigError(f"{path} is of another version", want=f"version = {_VERSION}")
        folder = path.parent
        config = cls(
            state=folder / table.take("state", str),
            interval=table.number("interval", 60.0),
            webhook=_webhook(table.table("webhook")),
            logs=tuple(_log(each, folder) for each in table.tables("log", _MAX_LOGS)),
        )
        table.finish()
        if len({log.name for log in config.logs}) != len(config.logs):
            raise ConfigError(f"{path} has two logs of one name")
        return config


def _log(table: _Table, folder: Path) -> MonitoredLog:
    name = table.take("name", str)
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{table.what}: this is no name for a log", want="small letters, digits, points and dashes")
    origin = table.take("origin", str)
    watch = table.table("watch")
    statements, root = table.take("statements", str, ""), table.take("trusted_root", str, "")
    if root and not statements:
        raise ConfigError(f"{table.what}: trusted_root is for the identities of statements", hint="Name those too")
    bundles = open_trusted_root(folder / root if root else None)
    service = _root(folder, table.take("root", str, ""), origin)
    log = MonitoredLog(
        name=name,
        origin=origin,
        policy=_policy(folder / table.take("witnesses", str), origin),
        sources=tuple(_source(each, folder) for each in table.texts("sources", _MAX_SOURCES)),
        maximum_age=timedelta(seconds=table.number("maximum_age", 86_400.0)),
        statements=_statements(folder / statements, bundles) if statements else service and service.statements,
        watch=Watch() if watch is None else _watch(watch),
        report_new=table.take("report_new", bool, True),
        any_entries=table.take("any_entries", bool, False),
        records=_records(table.take("records", str, "")),
        root=service,
    )
    table.finish()
    if not log.sources or len(set(log.sources)) != len(log.sources):
        raise ConfigError(f"{table.what}: sources are none, or one stands twice", want='sources = ["https://…"]')
    return log


def _records(url: str) -> str:
    return check_web_url(url, "the address of the fleet records").rstrip("/") + "/" if url else ""


def _root(folder: Path, name: str, origin: str) -> LogRoot | None:
    if not name:
        return None
    root = LogRoot.from_toml(_read(folder / name, "the root"))
    if origin not in {root.directory.origin, root.fleet.origin}:
        raise ConfigError("this is no log of directories or fleets of the root", got=origin, hint="Leave root away")
    return root


def _statements(path: Path, bundles: BundleVerifier | None) -> StatementPolicy:
    return from_toml(_read(path, "the statement policy"), bundles=bundles)


def _policy(path: Path, origin: str) -> WitnessPolicy:
    policy = WitnessPolicy.decode(_read(path, "the witness policy").encode("utf-8", "surrogateescape"))
    policy.require_quorum()
    policy.find_log(origin)
    return policy


def _source(text: str, folder: Path) -> str:
    if "://" in text:
        return check_web_url(text, "a source of a log").rstrip("/")
    return str(folder / text)


def _watch(table: _Table) -> Watch:
    keys, digests = (table.texts(name, _MAX_WATCHED) for name in ("keys", "digests"))
    subjects = table.texts("subjects", _MAX_WATCHED)
    table.finish()
    return Watch(
        frozenset(_digest(each, table.what) for each in (*keys, *digests)),
        frozenset(check_name(each, "a watched name") for each in subjects),
    )


def _digest(text: str, what: str) -> bytes:
    try:
        digest = decode_hex(text)
    except ConfsecError:
        digest = b""
    if len(digest) != DIGEST_SIZE:
        raise ConfigError(f"{what}: this is no SHA-256 digest in hex", got=ascii(text[:80]))
    return digest


def _webhook(table: _Table | None) -> WebhookConfig | None:
    if table is None:
        return None
    url, unsafe = table.take("url", str), table.take("unsafe_http", bool, False)
    # What a webhook is told names what its owner watches, so it goes over https unless he says otherwise.
    check_web_url(url.replace("http://", "https://", 1) if unsafe else url, "the address of the webhook")
    config = WebhookConfig(
        url=url, timeout=table.number("timeout", 10.0), attempts=int(table.number("attempts", 3.0, most=10))
    )
    table.finish()
    return config


def _read(path: Path, what: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE + 1)
    except OSError as exc:
        raise ConfigError(f"{what} {path} cannot be read: {exc.strerror}") from exc
    if len(data) > _MAX_FILE:
        raise ConfigError(f"{what} {path} is too long", want=f"at most {_MAX_FILE} bytes")
    return data.decode("utf-8", "surrogateescape")


@final
class _Table:
    """A table of the file, from which each key is taken once."""

    def __init__(self, members: Mapping[str, object], what: str) -> None:
        self._members = dict(members)
        self.what = what

    def take(self, name: str, kind: type[_T], default: _T | None = None) -> _T:
        value = self._members.pop(name, default)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ConfigError(f"{self.what}: {name} is missing or of another kind", want=kind.__name__)
        return value

    def number(self, name: str, default: float, *, most: float = _SECONDS) -> float:
        value = self._members.pop(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= most:
            raise ConfigError(f"{self.what}: {name} is no number of that size", want=f"1 to {most:g}")
        return float(value)

    def texts(self, name: str, most: int) -> tuple[str, ...]:
        items = self.take(name, list, [])
        if len(items) > most or not all(isinstance(item, str) and item for item in items):
            raise ConfigError(f"{self.what}: {name} is no list of texts", want=f"at most {most}")
        return tuple(items)

    def table(self, name: str) -> _Table | None:
        if name not in self._members:
            return None
        return _Table(self.take(name, dict), f"{self.what}, [{name}]")

    def tables(self, name: str, most: int) -> list[_Table]:
        items = self.take(name, list, [])
        if not 0 < len(items) <= most or not all(isinstance(item, dict) for item in items):
            raise ConfigError(f"{self.what}: it needs tables [[{name}]]", want=f"1 to {most}")
        return [_Table(item, f"{self.what}, [[{name}]] {number}") for number, item in enumerate(items, 1)]

    def finish(self) -> None:
        if self._members:
            raise ConfigError(f"{self.what}: these keys are unknown", got=", ".join(sorted(self._members)))
