"""Which logs and witnesses are known, and how many of them have to agree (C2SP tlog-policy).

A quorum is a witness or a group, which wants k of its members: witnesses or other groups. Whoever reads a checkpoint
asks two things of the witnesses' clocks: since when at the latest a quorum has known it, and how fresh a quorum's word
is. Both are one rule, k of n, applied to times.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Self, final

from attrs import evolve, field, frozen

from confsec.errors import ConfigError, ConfsecError
from confsec.protocol.note_keys import KeyType, NoteKey

__all__ = ["MAX_POLICY", "Group", "KnownLog", "Witness", "WitnessPolicy"]

MAX_POLICY: Final = 262_144
"""A policy has at most 256 KiB."""

_MAX_LINES: Final = 1024
_SECTION: Final = "C2SP tlog-policy"
_SPACE: Final = re.compile(r"[ \t]+")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,3}")
_NONE: Final = "none"
_LOG_TYPES: Final = frozenset({KeyType.ED25519, KeyType.ECDSA, KeyType.RFC6962, KeyType.ML_DSA_44_COSIGNATURE})


@final
@frozen
class KnownLog:
    """A log: the name of its key is its origin."""

    key: NoteKey
    url: str = ""


@final
@frozen
class Witness:
    """A witness, and what this policy calls it."""

    name: str
    key: NoteKey
    url: str = ""


@final
@frozen
class Group:
    """So many of these have to agree."""

    name: str
    threshold: int
    members: tuple[str, ...]


@final
@frozen
class WitnessPolicy:
    """What makes a checkpoint valid."""

    logs: tuple[KnownLog, ...] = ()
    witnesses: tuple[Witness, ...] = ()
    groups: tuple[Group, ...] = ()

    quorum: str = field(default="", kw_only=True)
    """The witness or group whose word is needed. Nothing means that nobody's is: `require_quorum` refuses that."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a policy file. Raises `ConfigError`, which names the line."""
        if len(data) > MAX_POLICY:
            raise ConfigError("a witness policy is too long", got=f"{len(data)} bytes", want=f"at most {MAX_POLICY}")
        text = data.decode("utf-8", "surrogateescape")  # names are opaque bytes
        lines = text.split("\n")
        if _CONTROL.search(text) or len(lines) > _MAX_LINES:
            raise ConfigError("a witness policy has control characters or too many lines", section=_SECTION)
        reader = _Reader()
        for number, line in enumerate(lines, 1):
            try:
                reader.read(line.strip(" \t"))
            except ConfsecError as exc:
                raise ConfigError(f"line {number} of a witness policy: {exc}", section=_SECTION) from exc
        if reader.quorum is None:
            raise ConfigError("a witness policy says of no quorum", section=f"{_SECTION}, Defining the quorum")
        return cls(tuple(reader.logs), tuple(reader.witnesses), tuple(reader.groups), quorum=reader.quorum)

    def encode(self) -> bytes:
        """Write the policy as a file."""
        lines = [f"log {log.key.encode()} {log.url}".rstrip() for log in self.logs]
        lines += [f"witness {each.name} {each.key.encode()} {each.url}".rstrip() for each in self.witnesses]
        lines += [f"group {each.name} {each.threshold} {' '.join(each.members)}" for each in self.groups]
        lines.append(f"quorum {self.quorum or _NONE}")
        return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")

    def require_quorum(self) -> None:
        """Raise `ConfigError` if nobody has to agree: then the log alone says what is in it."""
        if not self.quorum:
            raise ConfigError(
                "this witness policy asks no witness", want="a quorum", section=f"{_SECTION}, Defining the quorum",
                hint="A log without witnesses can show every reader another tree",
            )  # fmt: skip

    @property
    def may_split(self) -> bool:
        """Whether two quorums can have no witness in common: then a log can fork though no witness does wrong."""
        split = {witness.name: False for witness in self.witnesses}
        for group in self.groups:  # members stand before their group, and in one group each
            both = sum(split[member] for member in group.members)
            split[group.name] = 2 * group.threshold <= len(group.members) + both
        return split.get(self.quorum, True)

    def find_log(self, origin: str) -> KnownLog:
        """Return the log with this origin. Raises `ConfigError`."""
        for log in self.logs:
            if log.key.name == origin:
                return log
        raise ConfigError("the witness policy does not know this log", got=origin)

    def known_since(self, times: Mapping[str, datetime]) -> datetime | None:
        """Return when a quorum had spoken for the first time, given when each witness did; None if none has."""
        return self._time(times, newest=False)

    def fresh_since(self, times: Mapping[str, datetime]) -> datetime | None:
        """Return the time that all of some quorum spoke at or after, the latest such time; None without a quorum."""
        return self._time(times, newest=True)

    def _time(self, times: Mapping[str, datetime], *, newest: bool) -> datetime | None:
        """Compute the time of each group from those of its members, which all stand before it."""
        known: dict[str, datetime] = dict(times)
        for group in self.groups:
            spoke = sorted((known[name] for name in group.members if name in known), reverse=newest)
            if len(spoke) >= group.threshold:
                known[group.name] = spoke[group.threshold - 1]
        return known.get(self.quorum)


class _Reader:
    """What the lines so far have said."""

    def __init__(self) -> None:
        self.logs: list[KnownLog] = []
        self.witnesses: list[Witness] = []
        self.groups: list[Group] = []
        self.quorum: str | None = None
        self._names = {_NONE}
        self._members: set[str] = set()

    def read(self, line: str) -> None:
        """Take one line, without the whitespace around it."""
        if not line or line.startswith("#"):
            return
        match _SPACE.split(line):
            case ["log", vkey, *url] if len(url) < 2:
                self._add_log(NoteKey.decode(vkey), *url)
            case ["witness", name, vkey, *url] if len(url) < 2:
                self._add_witness(self._new(name), NoteKey.decode(vkey), *url)
            case ["group", name, threshold, *members] if members:
                self._add_group(self._new(name), threshold, members)
            case ["quorum", name]:
                self._set_quorum(name)
            case _:
                raise ConfigError("this is none of its forms", want="log, witness, group or quorum")

    def _new(self, name: str) -> str:
        if name in self._names:
            raise ConfigError("this name is taken", got=name)
        return name

    def _add_log(self, key: NoteKey, url: str = "") -> None:
        if key.type not in _LOG_TYPES:
            raise ConfigError("a log does not sign with such a key", got=key.type.name)
        if any(log.key.public == key.public or log.key.name == key.name for log in self.logs):
            raise ConfigError("two logs have one key or one name")
        self.logs.append(KnownLog(key, url))

    def _add_witness(self, name: str, key: NoteKey, url: str = "") -> None:
        if key.type is KeyType.ED25519:  # how keys of witnesses were written before they had a type of their own
            key = evolve(key, type=KeyType.ED25519_COSIGNATURE)
        if not key.cosigns:
            raise ConfigError("a witness does not sign with such a key", got=key.type.name)
        if any(witness.key.public == key.public for witness in self.witnesses):
            raise ConfigError("two witnesses have one key: one could stand for both")
        self.witnesses.append(Witness(name, key, url))
        self._names.add(name)

    def _add_group(self, name: str, threshold: str, members: Sequence[str]) -> None:
        for member in members:
            if member not in self._names or member == _NONE:
                raise ConfigError("a member of a group is defined on no line before", got=member)
            if member in self._members:
                raise ConfigError("a member counts twice", got=member)
            self._members.add(member)
        self.groups.append(Group(name, _threshold(threshold, len(members)), tuple(members)))
        self._names.add(name)

    def _set_quorum(self, name: str) -> None:
        if self.quorum is not None or name not in self._names:
            raise ConfigError("the quorum is defined on no line before, or is a second one", got=name)
        self.quorum = "" if name == _NONE else name


def _threshold(text: str, members: int) -> int:
    number = {"all": members, "any": 1}.get(text) or (int(text) if _NUMBER.fullmatch(text) else 0)
    if not 1 <= number <= members:
        raise ConfigError("a group cannot want so many of its members", got=text, want=f"1 to {members}, all or any")
    return number
