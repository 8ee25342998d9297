"""The logs of a service, seen by somebody who has its root file: who cosigned, when, and by which clock."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime, timedelta
from typing import Final

from confsec.backends.api import Clock, Transport
from confsec.backends.log_source import Fetch, HttpLogSource
from confsec.doctor.findings import Finding, info, ok, problem, problem_of, warning
from confsec.errors import BackendError, ConfsecError, StaleLogError, TransportError, UncosignedError
from confsec.protocol.epoch import CLOCK_DIFFERENCE
from confsec.protocol.log_root import DirectoryLog, FleetLog, LogRoot
from confsec.protocol.log_view import WitnessView, view_witnesses
from confsec.protocol.service_state import read_epoch
from confsec.protocol.transparency import TrustedLog, verify_checkpoint
from confsec.protocol.tree_reader import BEACON_PATH, CHECKPOINT_PATH

__all__ = ["Remembered", "log_todo", "look_at_checkpoint", "look_at_logs", "look_at_memory", "look_at_root"]

Remembered = Callable[[str], Awaitable[TrustedLog]]
"""Returns what is remembered of the log with this origin. Raises `BackendError`."""

_ADVICE: Final[tuple[tuple[type[ConfsecError], str], ...]] = (
    (UncosignedError, "Try again in a minute. If it stays so, tell the operator: too few witnesses answer the log"),
    (StaleLogError, "Compare this clock with another one. If it is right, the log stands still, or is kept from you"),
    (TransportError, "Does the log run, and may this machine reach the address in the root file?"),
    (ConfsecError, "Tell others and the operator, and send nothing: this is not the log that the root names"),
)


def look_at_root(root: LogRoot) -> Iterator[Finding]:
    """Say which root it is, and what it lets happen too quickly."""
    todo = "Compare it with others': it names the logs, the witnesses, and who may speak of the service"
    yield info("logs.root", f"the root of {root.name} has the digest {root.digest.hex()}", todo)
    if root.hasty:
        what = f"the root leaves nobody time to notice: {' and '.join(root.hasty)}"
        yield warning("logs.hasty", what, "Ask the operator for a root with the delays of docs/spec/log-root.md")


def look_at_memory(trusted: TrustedLog) -> Finding:
    """Say whether the log was seen before."""
    if not trusted.size:
        todo = "Compare the digest of the root with others before you go on; afterwards, --memory remembers"
        return info("logs.first-contact", "this is a first contact: nothing is remembered of the logs", todo)
    return ok(
        "logs.memory", f"{trusted.size} entries of the log of directories are remembered: it must go on from there"
    )


def look_at_checkpoint(
    name: str, note: bytes, root: LogRoot, origin: str, *, maximum_age: timedelta, at: datetime
) -> Iterator[Finding]:
    """Say who cosigned a checkpoint of the log called `name`, and compare the clock with theirs."""
    try:
        witnesses = view_witnesses(note, root.witnesses)
        yield _look_at_times(name, witnesses, at)
        cosigned = verify_checkpoint(note, root.witnesses, origin=origin, at=at)
        age = at - cosigned.fresh_since
        if age > maximum_age:
            raise StaleLogError("the witnesses' word is too old", got=f"{age}", want=f"at most {maximum_age}")
    except ConfsecError as exc:
        yield problem_of(f"logs.{name}", exc, log_todo(exc))
        return
    silent = ", ".join(each.name for each in witnesses if each.name not in cosigned.cosigners)
    size, said = cosigned.checkpoint.size, len(cosigned.cosigners)
    yield ok(
        f"logs.{name}",
        f"{said} of {len(witnesses)} witnesses cosigned {size} entries; a quorum's word is {_age(age)} old",
    )
    if silent:
        todo = "Nothing, as long as a quorum answers. If it stays away, tell the operator"
        yield warning(f"logs.{name}-silent", f"no word that counts of {silent}", todo)


async def look_at_logs(root: LogRoot, transport: Transport, clock: Clock) -> list[Finding]:
    """Look at both logs and the epoch, as a node or a router sees them. `transport` stays the caller's."""
    findings = list(look_at_root(root))
    for name, log, age in (
        ("directory", root.directory, root.directory.maximum_age),
        ("fleet", root.fleet, root.fleet.epoch),
    ):
        findings += await _look_at_log(name, log, root, HttpLogSource(log.url, transport).fetch, age, clock)
    return [*findings, await _look_at_beacon(root, HttpLogSource(root.fleet.url, transport).fetch, clock)]


async def _look_at_log(
    name: str, log: DirectoryLog | FleetLog, root: LogRoot, fetch: Fetch, age: timedelta, clock: Clock
) -> list[Finding]:
    try:
        note = await fetch(CHECKPOINT_PATH)
        if note is None:
            raise BackendError(f"there is no log at {log.url}")
    except ConfsecError as exc:
        todo = "Is the address in the root file right, and does the log run? Try: confsec log serve --help"
        return [problem_of(f"logs.{name}", exc, todo)]
    return list(look_at_checkpoint(name, note, root, log.origin, maximum_age=age, at=clock()))


async def _look_at_beacon(root: LogRoot, fetch: Fetch, clock: Clock) -> Finding:
    """See whether the epoch that nodes and routers are told is one that goes on."""
    try:
        beacon = await fetch(BEACON_PATH)
        if beacon is None:
            raise BackendError("the log of fleets names no epoch")
        epoch = read_epoch(beacon, root)
    except ConfsecError as exc:
        return problem_of("logs.epoch", exc, "Run the log of fleets with --epoch-seconds, and look at its witnesses")
    age = clock() - epoch.began
    what = f"the newest epoch began at {epoch.began:%Y-%m-%d %H:%M:%S} UTC, as {', '.join(epoch.witnesses)} say"
    if age < -CLOCK_DIFFERENCE or age >= 2 * root.fleet.epoch:
        todo = "Compare this clock with another one. If it is right, look whether a quorum of witnesses answers the log"
        return problem("logs.epoch", f"{what}: by this clock it is long over, or has not begun", todo)
    return ok("logs.epoch", what)


def _look_at_times(name: str, witnesses: tuple[WitnessView, ...], at: datetime) -> Finding:
    """Compare the clock with the witnesses': what is from the future does not count."""
    times = [each.cosigned for each in witnesses if each.cosigned is not None]
    ahead = [time for time in times if time - at > CLOCK_DIFFERENCE]
    if not ahead:
        return ok(
            f"clock.{name}-witnesses", f"the times of {len(times)} witnesses of the log of the {name} fit this clock"
        )
    what = f"{len(ahead)} of {len(times)} witnesses cosigned {_age(max(ahead) - at)} after what this clock shows"
    todo = "Compare this clock with another one: timedatectl. The word of a witness from the future does not count"
    return (problem if len(ahead) == len(times) else warning)(f"clock.{name}-witnesses", what, todo)


def log_todo(error: ConfsecError) -> str:
    """Say what to do about a log that does not show what it should."""
    return next(todo for kind, todo in _ADVICE if isinstance(error, kind))


def _age(age: timedelta) -> str:
    seconds = max(0, int(age.total_seconds()))
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} seconds"
