"""`confsec monitor`: following logs, and telling what happens there."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import anyio
import anyio.abc
import click

from confsec.backends import system
from confsec.backends.http import HttpLimits, HttpTransport
from confsec.backends.webhook import Webhook
from confsec.cli.output import console, run_async
from confsec.cli.printable import printable
from confsec.protocol.json_general import JsonItem
from confsec.protocol.monitoring import Alert, AlertKind
from confsec.roles.monitor import Monitor
from confsec.roles.monitor_alerts import AlertDesk
from confsec.roles.monitor_config import MonitorConfig

__all__ = ["STATUSES", "command"]

STATUSES: Final = {
    AlertKind.FIRST_CONTACT: 0,
    AlertKind.RECOVERED: 0,
    AlertKind.NEW: 10,
    AlertKind.NODES: 11,
    AlertKind.WATCHED: 12,
    AlertKind.REFUSED: 13,
    AlertKind.UNDELIVERED: 14,
    AlertKind.STALLED: 15,
    AlertKind.UNCOSIGNED: 16,
    AlertKind.DEFECTIVE: 17,
    AlertKind.UNTIMELY: 18,
    AlertKind.RECORD_MISSING: 19,
    AlertKind.RECORD_WRONG: 20,
    AlertKind.ROLLED_BACK: 21,
    AlertKind.SPLIT: 22,
    AlertKind.FORKED: 23,
}
"""The exit status of `--once` by the gravest alert: the larger, the graver."""

_LIMITS: Final = HttpLimits(connect_timeout=10.0, read_timeout=20.0, max_connections=64)
_GRAVE: Final = AlertKind.UNDELIVERED.gravity
_STYLES: Final = {
    AlertKind.NEW: "cyan",
    AlertKind.NODES: "bold cyan",
    AlertKind.WATCHED: "bold yellow",
    AlertKind.REFUSED: "yellow",
}
_WIDTH: Final = max(len(kind) for kind in AlertKind)


@click.command(name="monitor")
@click.argument("config_file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--once", is_flag=True, help="Look once, and end with a status that says what was found.")
@click.option("--json", "as_json", is_flag=True, help="Print each alert as one line of JSON.")
def command(config_file: Path, *, once: bool, as_json: bool) -> None:
    """Follow the logs in FILE: verify everything that they show, and tell what happens there.

    \b
    confsec monitor monitor.toml
    confsec monitor monitor.toml --once --json

    Told is what is new, what speaks of watched keys and names, what no rule admits, and whatever a log must not do: to
    stand still, to go back, to be forked, to show one tree here and another one there, to name fleets that nobody can
    read. The status of --once is 0 for nothing, else that of the gravest alert: 10 new, 11 nodes, 12 watched,
    13 refused, 14 undelivered, 15 stalled, 16 uncosigned, 17 defective, 18 untimely, 19 record-missing,
    20 record-wrong, 21 rolled-back, 22 split, 23 forked.
    """  # noqa: D301 - click keeps lines as they are after a backspace
    config = MonitorConfig.load(config_file)
    gravest = run_async(lambda: _run(config, once=once, show=_show_json if as_json else _printer()))
    if once and gravest is not None:
        click.get_current_context().exit(STATUSES[gravest])


async def _run(config: MonitorConfig, *, once: bool, show: Callable[[Alert], None]) -> AlertKind | None:
    """Follow the logs, and return the kind of the gravest alert."""
    transport = HttpTransport(_LIMITS)
    hook = config.webhook
    webhook = hook and Webhook(hook.url, transport, timeout=hook.timeout, attempts=hook.attempts)
    desk = AlertDesk(show, webhook, clock=system.now)
    monitor = Monitor(config, desk, transport)
    try:
        if once:
            await monitor.check()
        else:
            await _run_until_signal(monitor)
    finally:
        with anyio.CancelScope(shield=True):
            await transport.aclose()
    return desk.gravest


async def _run_until_signal(monitor: Monitor) -> None:
    async with anyio.create_task_group() as tasks:
        await tasks.start(_cancel_at_signal, tasks.cancel_scope)
        await monitor.run()


async def _cancel_at_signal(scope: anyio.CancelScope, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()


def _show_json(alert: Alert) -> None:
    # ASCII only: nothing that a log says can steer a terminal.
    click.echo(json.dumps(alert.to_json(), separators=(",", ":")))


def _printer() -> Callable[[Alert], None]:
    """Return what prints alerts for people."""
    from rich.text import Text

    out = console()

    def show(alert: Alert) -> None:
        style = _STYLES.get(alert.kind, "bold red" if alert.kind.gravity >= _GRAVE else "green")
        line = Text.assemble(
            (f"{alert.at:%Y-%m-%d %H:%M:%S}Z ", "dim"),
            (f"{alert.kind.value:<{_WIDTH}} ", style),
            (f"{alert.log}: " if alert.log else "", "bold"),
            printable(alert.what),
        )
        out.print(line, soft_wrap=True)
        for name, text in _detail_lines(alert.details):
            out.print(Text(f"    {name}: {printable(text)}", "dim"), soft_wrap=True)

    return show


def _detail_lines(details: Mapping[str, JsonItem]) -> list[tuple[str, str]]:
    return [
        (name, each if isinstance(each, str) else json.dumps(each))
        for name, value in details.items()
        for each in (value if isinstance(value, list) else [value])
    ]
