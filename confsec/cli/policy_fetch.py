"""`confsec policy fetch`: evidence of a service into a folder, as a client gets it, and not appraised."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Final

import anyio
import click
from attrs import frozen

from confsec.backends import system
from confsec.backends.api import Clock, HttpRequest, Transport, header
from confsec.backends.trusted_logs import SqliteTrustedLogs
from confsec.cli.output import console, replace_bytes, run_async
from confsec.cli.service import MEMORY_HELP, NamedService, name_service
from confsec.errors import ConfigError, DeadlineError
from confsec.protocol.directory import ServiceDirectory
from confsec.protocol.oblivious import OUTER_HEADERS
from confsec.protocol.policy import UNSAFE_UNATTESTED
from confsec.protocol.service_logs import LoggedDirectory
from confsec.protocol.session import AppraisalDue, ClientSession, Send, SessionEvent
from confsec.protocol.transparency import TrustedLog
from confsec.service_reader import ServiceReader

__all__ = ["fetch_command", "fetch_evidence", "fetch_service"]

_TIMEOUT: Final = 300.0
_NAME: Final = 16


@click.command(name="fetch")
@click.argument("service", metavar="SERVICE")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
@click.option("--memory", default="", metavar="FILE", help=MEMORY_HELP)
def fetch_command(service: str, folder: Path, memory: str) -> None:
    """Fetch the evidence of a service's nodes into DIR, for `confsec policy try`.

    SERVICE is its root file, or the path or the URL of a directory file that is in no log. Fleet record, evidence and
    endorsements travel through relay and gateway as a client's do. They are compared with the digests in the fleet
    record, and appraised by nobody: for each node, DIR gets NAME.evidence, NAME.endorsements and NAME.beacon.

    \b
    confsec policy fetch service.toml evidence/
    """  # noqa: D301 - click keeps lines as they are after a backspace
    from confsec.backends.http import HttpTransport

    named = name_service(service, memory)

    async def run() -> list[AppraisalDue]:
        transport = HttpTransport()
        try:
            with anyio.fail_after(_TIMEOUT):
                return await fetch_service(named, transport)
        except TimeoutError as exc:
            raise DeadlineError("this took too long", want=f"at most {_TIMEOUT:g} s") from exc
        finally:
            await transport.aclose()

    found = run_async(run)
    _make_folder(folder)
    for node in found:
        _save(folder, node)
    console().print(f"evidence of {len(found)} nodes is in {folder}; nobody has appraised it", markup=False)


@frozen
class _Fetched:
    """What was fetched, and what to remember of the log of fleets."""

    found: list[AppraisalDue]
    trusted: TrustedLog


async def fetch_service(named: NamedService, transport: Transport, *, clock: Clock = system.now) -> list[AppraisalDue]:
    """Return what `fetch_evidence` returns of a service, and remember its logs if it has a root.

    Raises what `ServiceReader.read` and `fetch_evidence` raise.
    """
    memory = SqliteTrustedLogs(named.memory)
    try:
        await memory.open()
        reader = ServiceReader(named.service, pin=b"", transport=lambda: transport, memory=memory, clock=clock)
        source = await reader.read()
        if isinstance(source, ServiceDirectory):
            return await fetch_evidence(source, transport, clock=clock)

        async def step(trusted: TrustedLog) -> _Fetched:
            session = _session(source)
            events = session.fetch_fleet(now=clock(), fleet_log=trusted)
            found = await _fetch_all(session, events, source.in_effect.directory, transport, clock)
            return _Fetched(found, session.fleet_log or trusted)

        return (await memory.advance(source.root.fleet.origin, step)).found
    finally:
        await memory.aclose()


async def fetch_evidence(
    directory: ServiceDirectory, transport: Transport, *, clock: Clock = system.now
) -> list[AppraisalDue]:
    """Return evidence and endorsements of the nodes of a service, each as its appraisal would get it.

    Raises `ConfsecError` when the fleet record, or the files of all nodes, cannot be had. A node whose evidence is not
    what the fleet record names is left out.
    """
    session = _session(directory)
    return await _fetch_all(session, session.fetch_fleet(now=clock()), directory, transport, clock)


def _session(source: ServiceDirectory | LoggedDirectory) -> ClientSession:
    # A session fetches and hands out before it judges. The policy is the one that judges least, and is not asked.
    return ClientSession(source, policy=UNSAFE_UNATTESTED, randbytes=system.randbytes)


async def _fetch_all(
    session: ClientSession,
    events: list[SessionEvent],
    directory: ServiceDirectory,
    transport: Transport,
    clock: Clock,
) -> list[AppraisalDue]:
    waiting, found = list(events), list[AppraisalDue]()
    while waiting:
        event = waiting.pop(0)
        if isinstance(event, Send):
            waiting += await _exchange(session, directory, transport, event, clock)
        elif isinstance(event, AppraisalDue) and sha256(event.evidence).digest() == event.node.evidence_digest:
            found.append(event)
    return found


async def _exchange(
    session: ClientSession, directory: ServiceDirectory, transport: Transport, send: Send, clock: Clock
) -> list[SessionEvent]:
    request = HttpRequest(method="POST", url=directory.relay_url, headers=OUTER_HEADERS, content=send.data)
    events: list[SessionEvent] = []
    async with transport.stream(request) as response:
        session.receive_head(send.exchange, response.status, header(response.headers, "content-type") or "")
        async for part in response.content:
            events += session.receive_data(send.exchange, part)
    return events + session.receive_eof(send.exchange, now=clock())


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ConfigError(f"the folder {folder} cannot be made: {exc.strerror}") from exc


def _save(folder: Path, node: AppraisalDue) -> None:
    name = node.node.node_id.hex()[:_NAME]
    parts = {"evidence": node.evidence, "endorsements": node.endorsements, "beacon": node.epoch.beacon}
    for suffix, data in parts.items():
        replace_bytes(folder / f"{name}.{suffix}", data)
