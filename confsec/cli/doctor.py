"""`confsec doctor`: what is wrong here, and what to do about it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import click

from confsec.backends import system
from confsec.backends.http import HttpLimits, HttpTransport
from confsec.backends.trusted_logs import SqliteTrustedLogs
from confsec.cli.fetch import fetch
from confsec.cli.output import console, print_json, read_bytes, read_root, run_async
from confsec.cli.service import (
    MEMORY_HELP,
    POLICY_HELP,
    SERVICE_HELP,
    SIMULATED_HELP,
    UNSAFE_HELP,
    choose_policy,
    default_memory,
    is_url,
)
from confsec.doctor import machine, versions
from confsec.doctor.findings import Finding, Level, info, ok, warning
from confsec.doctor.logs import look_at_logs
from confsec.doctor.service import look_at_service
from confsec.errors import ConfigError
from confsec.privacy_hints import IDENTIFYING_FIELDS, identifying_fields
from confsec.protocol.directory import MAX_DIRECTORY
from confsec.protocol.log_root import LogRoot
from confsec.protocol.policy import Policy
from confsec.protocol.transparency import TrustedLog

if TYPE_CHECKING:
    from rich.tree import Tree

__all__ = ["command", "look_at_body"]

_MARKS: Final = {
    Level.OK: "[green]✔[/]",
    Level.INFO: "[cyan]ℹ[/]",
    Level.WARNING: "[yellow]![/]",
    Level.PROBLEM: "[bold red]✘[/]",
}
_HEADINGS: Final = {
    "versions": "versions",
    "ports": "ports",
    "clock": "clock",
    "entropy": "randomness",
    "limits": "limits",
    "environment": "environment",
    "logs": "the logs of the service",
    "service": "the service, step by step",
    "request": "what requests say about you",
}
_LIMITS: Final = HttpLimits(read_timeout=20.0)


@click.command(name="doctor")
@click.option("--service", metavar="FILE|URL", help=f"Visit this one too. {SERVICE_HELP}")
@click.option("--memory", default="", metavar="FILE", help=MEMORY_HELP)
@click.option(
    "--root",
    "root_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="On the machine of a node or a router: look at the logs of this root file.",
)
@click.option("--policy", "policy_file", default="", metavar="FILE", help=POLICY_HELP)
@click.option("--unsafe-unattested", is_flag=True, help=UNSAFE_HELP)
@click.option("--unsafe-simulated", is_flag=True, help=SIMULATED_HELP)
@click.option("--port", "ports", multiple=True, type=click.IntRange(1, 65535), metavar="N", help="Is this port free?")
@click.option(
    "--request",
    "body_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A request body (JSON) as your program sends it: does it name you?",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(  # noqa: PLR0913 - one for each option
    service: str | None,
    memory: str,
    root_file: Path | None,
    policy_file: str,
    ports: tuple[int, ...],
    body_file: Path | None,
    *,
    unsafe_unattested: bool,
    unsafe_simulated: bool,
    as_json: bool,
) -> int:
    """Look for what is wrong here, and say what to do.

    \b
    confsec doctor
    confsec doctor --service service.toml --unsafe-unattested
    confsec doctor --root root.toml
    confsec doctor --port 8001 --port 8002
    confsec doctor --request body.json --json

    It sends no prompt, changes nothing, and shows no secret: of an environment variable the name, never the value.

    Exit status: 0 all is well (warnings do not count), 1 something is wrong.
    """  # noqa: D301 - click keeps lines as they are after a backspace
    policy = choose_policy(policy_file, unsafe_unattested=unsafe_unattested, unsafe_simulated=unsafe_simulated)
    body = read_bytes(body_file, "the request body") if body_file else None
    if service and root_file:
        raise ConfigError("--service and --root exclude each other", hint="--service takes a root file too")
    findings = [*_look_here(ports), *look_at_body(body)]
    if service:
        findings += _visit(service, policy, Path(memory) if memory else default_memory())
    if root_file:
        findings += _look_at_root(read_root(root_file))
    findings.sort(key=lambda finding: list(_HEADINGS).index(finding.area))
    all_is_well = all(finding.level is not Level.PROBLEM for finding in findings)
    if as_json:
        print_json({"ok": all_is_well, "findings": [finding.to_json() for finding in findings]})
    else:
        _print(findings, visited=bool(service or root_file))
    return 0 if all_is_well else 1


def look_at_body(body: bytes | None) -> Iterator[Finding]:
    """Say which members of a request body may name its author; without one, which to look out for."""
    names = sorted(IDENTIFYING_FIELDS)
    if body is None:
        what = f"body fields go to the engine as they are. These may name you: {', '.join(names)}"
        yield info("request.body", what, "confsec doctor --request FILE looks at one; docs/clients.md says more")
        return
    found = identifying_fields(body)
    for name in found:
        yield warning(f"request.{name}", f"{name} {IDENTIFYING_FIELDS[name]}", "Leave it out (docs/clients.md)")
    if not found:
        yield ok("request.body", "no field of the request body is known to name its author")


def _look_here(ports: Sequence[int]) -> Iterator[Finding]:
    yield from versions.look_at_packages()
    yield from versions.look_at_kems()
    yield from machine.look_at_ports(ports)
    yield machine.look_at_clock(system.now())
    yield machine.look_at_randomness(system.randbytes)
    yield from machine.look_at_limits()
    yield from machine.look_at_environment(os.environ)


def _look_at_root(root: LogRoot) -> list[Finding]:
    async def look() -> list[Finding]:
        transport = HttpTransport(_LIMITS)
        try:
            return await look_at_logs(root, transport, system.now)
        finally:
            await transport.aclose()

    return run_async(look)


async def _recall(memory: Path, origin: str) -> TrustedLog:
    """Return what is remembered of a log. A memory that does not exist is not made."""
    if not await anyio.Path(memory).exists():
        return TrustedLog(origin)
    logs = SqliteTrustedLogs(memory)
    await logs.open()
    try:
        return await logs.read(origin)
    finally:
        await logs.aclose()


def _visit(service: str, policy: Policy, memory: Path) -> list[Finding]:
    async def visit() -> list[Finding]:
        transport = HttpTransport(_LIMITS)

        async def read() -> bytes:
            if is_url(service):
                return await fetch(transport, service, what="the directory", limit=MAX_DIRECTORY)
            return await anyio.to_thread.run_sync(read_bytes, Path(service), "the directory")

        try:
            return await look_at_service(read, policy, transport, remembered=partial(_recall, memory))
        finally:
            await transport.aclose()

    return run_async(visit)


# --- For people -------------------------------------------------------------------------------------------------------


def _print(findings: Sequence[Finding], *, visited: bool) -> None:
    out = console()
    for area, group in groupby(findings, key=lambda finding: finding.area):
        out.print(_tree(_HEADINGS[area], group))
    count = {level: sum(finding.level is level for finding in findings) for level in Level}
    if count[Level.PROBLEM]:
        out.print(f"[bold red]{_number(count[Level.PROBLEM], 'problem')}[/], ", end="")
    else:
        out.print("[bold green]All is well[/], ", end="")
    out.print(
        _number(count[Level.WARNING], "warning") + ("." if visited else ". To visit a service too: --service FILE")
    )


def _tree(heading: str, findings: Iterable[Finding]) -> Tree:
    from rich.markup import escape
    from rich.tree import Tree

    tree = Tree(f"[bold]{heading}[/]")
    for finding in findings:
        took = f" [dim]{finding.milliseconds:.0f} ms[/]" if finding.milliseconds is not None else ""
        todo = f"\n  [bold]→[/] {escape(finding.todo)}" if finding.todo else ""
        tree.add(f"{_MARKS[finding.level]} {escape(finding.what)}{took}{todo}")
    return tree


def _number(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"
