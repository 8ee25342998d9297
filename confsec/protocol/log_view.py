"""What the logs of a Proof show, taken apart for people and programs: entries, what proves them, and who cosigned when.

Nothing here decides: what does not verify is a `LogView` with an error; the checks of the Proof say what that means.
"""

from __future__ import annotations

from datetime import datetime
from typing import final

from attrs import field, frozen

from confsec.errors import ConfsecError
from confsec.protocol.json_members import encode_time
from confsec.protocol.log_state import LogState, StateEntry
from confsec.protocol.merkle import leaf_hash
from confsec.protocol.note import SignedNote
from confsec.protocol.service_logs import ServiceLogs
from confsec.protocol.witness_policy import WitnessPolicy

__all__ = ["EntryView", "LogView", "WitnessView", "logs_to_json", "view_logs", "view_witnesses"]


@final
@frozen
class EntryView:
    """One entry near the end of a log."""

    index: int
    leaf_hash: bytes
    hashes: tuple[bytes, ...]
    """What leads from the entry to the root hash."""

    known_since: datetime | None
    """When a quorum had first seen it; None where the checkpoint is all that says so."""


@final
@frozen
class WitnessView:
    """One witness of the root."""

    name: str
    """Its name in the root."""

    kind: str
    """What it signs with."""

    cosigned: datetime | None
    """When it cosigned the checkpoint; None if it did not."""


@final
@frozen(kw_only=True)
class LogView:
    """The end of one log."""

    name: str
    """What is in it: `directory` or `fleet`."""

    origin: str
    error: str = ""
    """Why it does not verify; then nothing else is said of it."""

    size: int = 0
    root_hash: bytes = b""
    entries: tuple[EntryView, ...] = field(default=())
    """The newest first."""

    witnesses: tuple[WitnessView, ...] = field(default=())
    """All that the root knows, in its order."""

    def to_json(self) -> dict[str, object]:
        """Return it as JSON values."""
        if self.error:
            return {"origin": self.origin, "error": self.error}
        return {
            "origin": self.origin,
            "size": self.size,
            "root_hash": self.root_hash.hex(),
            "entries": [
                {
                    "index": entry.index,
                    "leaf_hash": entry.leaf_hash.hex(),
                    "inclusion_proof": [each.hex() for each in entry.hashes],
                    "known_since": _time(entry.known_since),
                }
                for entry in self.entries
            ],
            "witnesses": [
                {"name": each.name, "key": each.kind, "cosigned": _time(each.cosigned)} for each in self.witnesses
            ],
        }


def view_logs(logs: ServiceLogs) -> tuple[LogView, LogView]:
    """Return what the log of directories shows, and that of fleets."""
    root = logs.root
    return (
        _view("directory", logs.directory.state, root.witnesses, root.directory.origin),
        _view("fleet", logs.fleet, root.witnesses, root.fleet.origin),
    )


def logs_to_json(logs: ServiceLogs) -> dict[str, object]:
    """Return the root and both logs as JSON values: the member `logs` of `Proof.to_json`."""
    root = logs.root
    named = {"name": root.name, "digest": root.digest.hex(), "hasty": list(root.hasty)}
    return {"root": named} | {view.name: view.to_json() for view in view_logs(logs)}


def _view(name: str, state: LogState, policy: WitnessPolicy, origin: str) -> LogView:
    try:
        checkpoint = state.verify(policy, origin=origin).checkpoint
        entries = tuple(_entry(state, entry, policy, origin) for entry in reversed(state.entries))
    except ConfsecError as exc:
        return LogView(name=name, origin=origin, error=str(exc))
    return LogView(
        name=name,
        origin=origin,
        size=checkpoint.size,
        root_hash=checkpoint.root,
        entries=entries,
        witnesses=view_witnesses(state.checkpoint, policy),
    )


def _entry(state: LogState, entry: StateEntry, policy: WitnessPolicy, origin: str) -> EntryView:
    known = state.known_since(entry, policy, origin=origin) if entry.first else None
    return EntryView(entry.index, leaf_hash(entry.data), entry.hashes, known)


def view_witnesses(note: bytes, policy: WitnessPolicy) -> tuple[WitnessView, ...]:
    """Return who signed a checkpoint. Raises `DecodeError`, and `VerificationError` for a wrong signature."""
    signatures = SignedNote.decode(note).verify([each.key for each in policy.witnesses])
    times = {each.key: each.time for each in signatures}
    return tuple(
        WitnessView(each.name, each.key.type.name.removesuffix("_COSIGNATURE").replace("_", "-"), times.get(each.key))
        for each in policy.witnesses
    )


def _time(time: datetime | None) -> str | None:
    return None if time is None else encode_time(time)
