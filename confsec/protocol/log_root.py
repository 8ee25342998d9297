"""The root of a service: its logs, who witnesses them, and who may say what in them. A client pins it at first contact.

Everything else is shown by the service and checked under this file: docs/spec/log-root.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from hashlib import sha256
from typing import Final, Self, final

from attrs import frozen

from confsec.errors import ConfigError, ConfsecError
from confsec.protocol import cbor, statement_rules, toml_general
from confsec.protocol.directory import check_web_url
from confsec.protocol.predicates import DirectoryStatement, FleetStatement, Predicate
from confsec.protocol.statement import check_name
from confsec.protocol.statement_policy import StatementPolicy
from confsec.protocol.witness_policy import WitnessPolicy

__all__ = ["ACTIVATION_DELAY", "MAX_ROOT", "MINIMUM_VALIDITY", "DirectoryLog", "FleetLog", "LogRoot"]

ACTIVATION_DELAY: Final = timedelta(hours=1)
"""So long after a quorum first saw it a directory takes effect: time in which others can find it and object."""

MINIMUM_VALIDITY: Final = timedelta(days=1)
"""A directory is the newest for at least this long: one that came and went would be for somebody in particular."""

MAX_ROOT: Final = 131_072
"""A root has at most so many characters."""

_VERSION: Final = 1
_MEMBERS: Final = ("version", "name", "witnesses", "directory", "fleet", "artifacts", "statements")
_DIRECTORY: Final = ("origin", "url", "maximum_age", "activation_delay", "minimum_validity")
_FLEET: Final = ("origin", "url", "epoch")
_ARTIFACTS: Final = ("origin",)
_MAX_EPOCH: Final = timedelta(hours=1)
_MAX_DELAY: Final = timedelta(days=30)
_HINT: Final = "docs/spec/log-root.md has all keys"


@final
@frozen(kw_only=True)
class DirectoryLog:
    """The state log of directories."""

    origin: str
    """The name of the log, as its checkpoints have it."""

    url: str
    """Where its files are: any mirror will do."""

    maximum_age: timedelta
    """The witnesses' word for its newest checkpoint is at most so old."""

    activation_delay: timedelta
    """How long after a quorum first saw it a directory takes effect. The first of all does at once."""

    minimum_validity: timedelta
    """How long each directory is the newest."""


@final
@frozen(kw_only=True)
class FleetLog:
    """The state log of fleet records, whose checkpoints are the beacons of epochs."""

    origin: str
    """The name of the log, as its checkpoints have it."""

    url: str
    """Where its files are. They are fetched through the gateway, so its authority is one of the gateway's targets."""

    epoch: timedelta
    """How long an epoch lasts. The beacons of two neighbours lie at least half of it apart."""


@final
@frozen(kw_only=True)
class LogRoot:
    """What a client knows of a service before it has seen anything of it."""

    name: str
    """The service: what statements about its directory and its fleet have as their subject."""

    witnesses: WitnessPolicy
    """The keys of the logs, the witnesses, and how many of them have to agree."""

    directory: DirectoryLog
    fleet: FleetLog

    artifacts: str = ""
    """The origin of the log of images and models; nothing for a service that names none."""

    statements: StatementPolicy
    """Who may say what."""

    def __attrs_post_init__(self) -> None:
        check_name(self.name, "the name of a root")
        self.witnesses.require_quorum()
        if self.witnesses.may_split:
            raise ConfigError(
                "two quorums of the root may have no witness in common", want="more than half of them",
                hint="A log could show two readers two trees, though no witness does wrong",
            )  # fmt: skip
        origins = [self.directory.origin, self.fleet.origin, *([self.artifacts] if self.artifacts else [])]
        if len(set(origins)) != len(origins):
            raise ConfigError("two logs of a root have one origin", hint="Each has a log of its own")
        for origin in origins:
            self.witnesses.find_log(origin)
        self._require_state_rule(DirectoryStatement)
        self._require_state_rule(FleetStatement)

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """Read a root file. Raises `ConfigError`, which names the key."""
        if len(text) > MAX_ROOT:
            raise ConfigError("the root is too long", got=len(text), want=f"at most {MAX_ROOT} characters")
        try:
            return cls._from_members(toml_general.decode(text, what="the root"))
        except ConfigError as exc:
            raise ConfigError(
                exc.what, got=exc.got, want=exc.want, section=exc.section, hint=exc.hint or _HINT
            ) from exc
        except ConfsecError as exc:
            raise ConfigError(str(exc), hint=_HINT) from exc

    @classmethod
    def _from_members(cls, value: Mapping[str, object]) -> Self:
        members = _table(value, "the root", _MEMBERS, optional=("artifacts",))
        if members["version"] != _VERSION:
            raise ConfigError("the root is of another version", want=f"version = {_VERSION}")
        artifacts = _table(members["artifacts"], "[artifacts]", _ARTIFACTS) if "artifacts" in members else None
        return cls(
            name=cbor.as_text(members["name"], what="name"),
            witnesses=WitnessPolicy.decode(cbor.as_text(members["witnesses"], what="witnesses").encode()),
            directory=_directory(_table(members["directory"], "[directory]", _DIRECTORY)),
            fleet=_fleet(_table(members["fleet"], "[fleet]", _FLEET)),
            artifacts=cbor.as_text(artifacts["origin"], what="artifacts.origin") if artifacts else "",
            statements=statement_rules.from_table(members["statements"], what="[statements]"),
        )

    def to_toml(self) -> str:
        """Write the root in its one spelling."""
        quote = toml_general.quote
        artifacts = f"\n[artifacts]\norigin = {quote(self.artifacts)}\n" if self.artifacts else ""
        lines = "\n".join(quote(line)[1:-1] for line in self.witnesses.encode().decode().splitlines())
        return (
            f'version = {_VERSION}\nname = {quote(self.name)}\nwitnesses = """\n{lines}\n"""\n'
            f"\n[directory]\norigin = {quote(self.directory.origin)}\nurl = {quote(self.directory.url)}\n"
            f"maximum_age = {_seconds(self.directory.maximum_age)}\n"
            f"activation_delay = {_seconds(self.directory.activation_delay)}\n"
            f"minimum_validity = {_seconds(self.directory.minimum_validity)}\n"
            f"\n[fleet]\norigin = {quote(self.fleet.origin)}\nurl = {quote(self.fleet.url)}\n"
            f"epoch = {_seconds(self.fleet.epoch)}\n"
            f"{artifacts}\n{statement_rules.to_toml(self.statements, table='statements')}"
        )

    @property
    def digest(self) -> bytes:
        """SHA-256 of the root in its one spelling: what two people compare."""
        return sha256(self.to_toml().encode()).digest()

    @property
    def hasty(self) -> tuple[str, ...]:
        """What the root lets happen faster than others could notice, for people. A Proof says it."""
        found = []
        if self.directory.activation_delay < ACTIVATION_DELAY:
            found.append(f"a directory takes effect {self.directory.activation_delay} after it is seen")
        if self.directory.minimum_validity < MINIMUM_VALIDITY:
            found.append(f"a directory may be replaced after {self.directory.minimum_validity}")
        return tuple(found)

    def _require_state_rule(self, type_: type[Predicate]) -> None:
        """Have statements of state about this service and no other. Raises `ConfigError`."""
        rule = self.statements.rules.get(type_.TYPE)
        if rule is None or rule.subject_names != frozenset({self.name}):
            raise ConfigError(
                "the root does not say who may speak of this service", got=type_.TYPE,
                want=f'a rule with subjects = ["{self.name}"]', hint=_HINT,
            )  # fmt: skip


def _directory(members: Mapping[str, cbor.CborValue]) -> DirectoryLog:
    return DirectoryLog(
        origin=cbor.as_text(members["origin"], what="directory.origin"),
        url=_base_url(members["url"], "directory.url"),
        maximum_age=_time(members["maximum_age"], "directory.maximum_age", least=timedelta(seconds=1)),
        activation_delay=_time(members["activation_delay"], "directory.activation_delay"),
        minimum_validity=_time(members["minimum_validity"], "directory.minimum_validity"),
    )


def _fleet(members: Mapping[str, cbor.CborValue]) -> FleetLog:
    return FleetLog(
        origin=cbor.as_text(members["origin"], what="fleet.origin"),
        url=_base_url(members["url"], "fleet.url"),
        epoch=_time(members["epoch"], "fleet.epoch", least=timedelta(seconds=1), most=_MAX_EPOCH),
    )


def _table(
    value: object, what: str, names: Collection[str], *, optional: Collection[str] = ()
) -> dict[str, cbor.CborValue]:
    if not isinstance(value, dict) or {*value, *optional} != {*names}:
        raise ConfigError(f"{what} is not of this form", want=", ".join(names), hint=_HINT)
    return value


def _base_url(value: cbor.CborValue, what: str) -> str:
    url = check_web_url(cbor.as_text(value, what=what), what)
    if not url.endswith("/") or "?" in url:
        raise ConfigError(f"{what} is no folder", want="an address that ends with /")
    return url


def _time(
    value: cbor.CborValue, what: str, *, least: timedelta = timedelta(0), most: timedelta = _MAX_DELAY
) -> timedelta:
    seconds = cbor.as_uint(value, what=what)
    if not _seconds(least) <= seconds <= _seconds(most):
        raise ConfigError(f"{what} is out of range", got=seconds, want=f"{_seconds(least)} to {_seconds(most)} seconds")
    return timedelta(seconds=seconds)


def _seconds(time: timedelta) -> int:
    return int(time.total_seconds())
