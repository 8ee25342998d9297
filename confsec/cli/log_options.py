"""What `confsec log check` and `confsec log prove` share: which log is read, whose word counts, and its checkpoint."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar, final

import click
from attrs import frozen

from confsec.backends import system
from confsec.backends.http import HttpLimits, HttpTransport
from confsec.backends.log_source import CachingSource, Fetch, fetch_from, read_log
from confsec.backends.trusted_logs import SqliteTrustedLogs
from confsec.cli.duration import DURATION
from confsec.cli.output import console, read_bytes
from confsec.errors import ConfigError
from confsec.protocol.checkpoint import Checkpoint
from confsec.protocol.log_reader import LogNews, LogUpdate
from confsec.protocol.transparency import TrustedLog
from confsec.protocol.witness_policy import WitnessPolicy

__all__ = ["NamedLog", "ReadLog", "named_log", "progress", "reading", "with_log_options"]

_Command = TypeVar("_Command", bound=Callable[..., Any])

_FILE: Final = click.Path(path_type=Path, dir_okay=False)
_LIMITS: Final = HttpLimits(connect_timeout=10.0, read_timeout=30.0, max_connections=32)


@final
@frozen
class NamedLog:
    """A log as the user names it."""

    source: str
    policy: WitnessPolicy
    origin: str
    maximum_age: timedelta
    memory: Path | None


@final
@frozen
class ReadLog:
    """A log whose newest checkpoint was read and verified."""

    log: NamedLog
    news: LogNews
    before: TrustedLog
    """What was remembered of it."""

    fetch: Fetch

    @property
    def checkpoint(self) -> Checkpoint:
        """The newest checkpoint."""
        return self.news.cosigned.checkpoint


def with_log_options(command: _Command) -> _Command:
    """Add the options that say whose word counts."""
    for option in (
        click.option(
            "--memory", type=_FILE, metavar="FILE", help="Remember the log in this file, and refuse one that goes back."
        ),
        click.option(
            "--maximum-age", type=DURATION, default="1d", show_default=True, help="How old the witnesses' word may be."
        ),
        click.option("--origin", default="", help="Which log.  [default: the only one in --witnesses]"),
        click.option(
            "--witnesses", type=_FILE, required=True, metavar="FILE",
            help="The log's key, and whose cosignatures count (C2SP tlog-policy).",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def named_log(source: str, witnesses: Path, origin: str, maximum_age: timedelta, memory: Path | None) -> NamedLog:
    """Return the log that the options name. Raises `ConfigError`."""
    policy = WitnessPolicy.decode(read_bytes(witnesses, "the witness policy"))
    if not origin and len(policy.logs) != 1:
        raise ConfigError(f"{witnesses} has {len(policy.logs)} logs", hint="Say which one with --origin")
    origin = origin or policy.logs[0].key.name
    policy.require_quorum()
    policy.find_log(origin)
    return NamedLog(source, policy, origin, maximum_age, memory)


@asynccontextmanager
async def reading(log: NamedLog) -> AsyncGenerator[ReadLog]:
    """Read the newest checkpoint of a log, from what is remembered on, and remember it."""
    transport, memory = HttpTransport(_LIMITS), SqliteTrustedLogs(log.memory)
    try:
        await memory.open()
        fetch = CachingSource(fetch_from(log.source, transport)).fetch
        before = await memory.read(log.origin)
        news = await memory.advance(log.origin, partial(_read_newest, log, fetch))
        yield ReadLog(log, news, before, fetch)
    finally:
        await memory.aclose()
        await transport.aclose()


async def _read_newest(log: NamedLog, fetch: Fetch, trusted: TrustedLog) -> LogNews:
    update = LogUpdate(trusted, log.policy, at=system.now(), maximum_age=log.maximum_age, entries=False)
    return await read_log(update, fetch)


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how far a long work is, on a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    out = console(stderr=True)
    columns = TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=out, disable=not out.is_terminal, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield partial(bar.advance, task)
