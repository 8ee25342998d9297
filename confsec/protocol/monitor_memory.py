"""What a monitor remembers of a log: the tree that it saw, and how far it has read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Self, final

from attrs import field, frozen

from confsec.errors import DecodeError
from confsec.protocol import cbor
from confsec.protocol.json_members import DIGEST_SIZE
from confsec.protocol.latest_statements import LatestStatements
from confsec.protocol.monitoring import MAX_REVOKED
from confsec.protocol.note import MAX_NOTE
from confsec.protocol.predicates import RevokedKind
from confsec.protocol.service_history import ServiceHistory
from confsec.protocol.transparency import TrustedLog

__all__ = ["LogMemory"]

_MAX_SOURCES: Final = 64
_MAX_MEMORY: Final = 2 << 20
_VERSION: Final = 1
_MEMORY: Final = ("version", "trusted", "note", "next", "sources", "revoked", "latest", "history")


@final
@frozen
class LogMemory:
    """What a monitor remembers of one log."""

    trusted: TrustedLog
    """The largest tree that it saw."""

    note: bytes = field(default=b"", repr=False)
    """Its checkpoint as it was signed: one half of the evidence, should the log be forked; empty before the first."""

    next: int = 0
    """The first entry that was not reported."""

    sources: Mapping[str, TrustedLog] = field(factory=dict)
    """What each source showed last."""

    revoked: frozenset[tuple[RevokedKind, bytes]] = frozenset()
    """What verified statements in the log revoked."""

    latest: bytes = field(factory=lambda: LatestStatements().encode(), repr=False)
    """The newest statements, as `LatestStatements` writes them."""

    history: ServiceHistory = field(factory=ServiceHistory, repr=False)
    """What of the service's directories and fleets matters for the next ones."""

    def encode(self) -> bytes:
        """Write what is remembered, for a file."""
        sources: list[cbor.CborValue] = [[name, shown.encode()] for name, shown in sorted(self.sources.items())]
        revoked: list[cbor.CborValue] = [[kind.value, digest] for kind, digest in sorted(self.revoked)]
        return cbor.encode(
            {
                "version": _VERSION, "trusted": self.trusted.encode(), "note": self.note, "next": self.next,
                "sources": sources, "revoked": revoked, "latest": self.latest,
                "history": self.history.to_item(),
            }
        )  # fmt: skip

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` wrote. Raises `DecodeError`: what was remembered is not to be forgotten in silence."""
        what = "the memory of a monitor"
        value = cbor.as_map(cbor.decode(data, what=what, limit=_MAX_MEMORY), what=what, keys=_MEMORY)
        if value["version"] != _VERSION:
            raise DecodeError(f"{what} is of another version", want=_VERSION)
        latest, note = (cbor.as_bytes(value[name], what=what) for name in ("latest", "note"))
        LatestStatements.decode(latest)
        if len(note) > MAX_NOTE:
            raise DecodeError(f"{what} has a checkpoint that is too long")
        memory = cls(
            TrustedLog.decode(cbor.as_bytes(value["trusted"], what=what)),
            note,
            cbor.as_uint(value["next"], what=what),
            dict(_source(each, what) for each in cbor.as_array(value["sources"], what=what, limit=_MAX_SOURCES)),
            frozenset(_revoked(each, what) for each in cbor.as_array(value["revoked"], what=what, limit=MAX_REVOKED)),
            latest,
            ServiceHistory.from_item(value["history"]),
        )
        if memory.next > memory.trusted.size or memory.encode() != data:
            raise DecodeError(f"{what} is not in its one spelling, or beyond the log")
        return memory


def _source(value: cbor.CborValue, what: str) -> tuple[str, TrustedLog]:
    name, shown = _pair(value, what)
    return cbor.as_text(name, what=what), TrustedLog.decode(cbor.as_bytes(shown, what=what))


def _revoked(value: cbor.CborValue, what: str) -> tuple[RevokedKind, bytes]:
    kind, digest = _pair(value, what)
    if kind not in list(RevokedKind):
        raise DecodeError(f"{what} has something revoked of an unknown kind")
    return RevokedKind(cbor.as_text(kind, what=what)), cbor.as_bytes(digest, what=what, size=DIGEST_SIZE)


def _pair(value: cbor.CborValue, what: str) -> tuple[cbor.CborValue, cbor.CborValue]:
    pair = cbor.as_array(value, what=what, limit=2)
    if len(pair) != 2:
        raise DecodeError(f"{what} has a pair that is none")
    return pair[0], pair[1]
