"""`confsec policy fetch`: evidence of a service into a folder, as a client gets it, and not appraised."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Final

import anyio
import click

from confsec.backends import system
from confsec.backends.api import HttpRequest, Transport, header
from confsec.cli.fetch import fetch
from confsec.cli.output import console, read_bytes, replace_bytes, run_async
from confsec.errors import ConfigError, DeadlineError
from confsec.protocol.directory import MAX_DIRECTORY, ServiceDirectory
from confsec.protocol.oblivious import OUTER_HEADERS
from confsec.protocol.policy import UNSAFE_UNATTESTED
from confsec.protocol.session import AppraisalDue, ClientSession, Send, SessionEvent

__all__ = ["fetch_command", "fetch_evidence"]

_TIMEOUT: Final = 300.0
_NAME: Final = 16


@click.command(name="fetch")
@click.argument("service", metavar="SERVICE")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
def fetch_command(service: str, folder: Path) -> None:
    """Fetch the evidence of a service's nodes into DIR, for `confsec policy try`.

    SERVICE is the path or the URL of its directory file. Fleet record, evidence and endorsements travel through relay
    and gateway as a client's do. They are compared with the digests in the fleet record, and appraised by nobody: for
    each node, DIR gets NAME.evidence, NAME.endorsements and NAME.beacon.

    \b
    confsec policy fetch service.toml evidence/
    """  # noqa: D301 - click keeps lines as they are after a backspace
    from confsec.backends.http import HttpTransport

    async def run() -> list[AppraisalDue]:
        transport = HttpTransport()
        try:
            with anyio.fail_after(_TIMEOUT):
                return await fetch_evidence(await _read_directory(service, transport), transport)
        except TimeoutError as exc:
            raise DeadlineError("this took too long", want=f"at most {_TIMEOUT:g} s") from exc
        finally:
            await transport.aclose()

    found = run_async(run)
    _make_folder(folder)
    for node in found:
        _save(folder, node)
    console().print(f"evidence of {len(found)} nodes is in {folder}; nobody has appraised it", markup=False)


async def fetch_evidence(directory: ServiceDirectory, transport: Transport) -> list[AppraisalDue]:
    """Return evidence and endorsements of the nodes of a service, each as its appraisal would get it.

    Raises `ConfsecError` when the fleet record, or the files of all nodes, cannot be had. A node whose evidence is not
    what the fleet record names is left out.
    """
    # A session fetches and hands out before it judges. The policy is the one that judges least, and is not asked.
    session = ClientSession(directory, policy=UNSAFE_UNATTESTED, randbytes=system.randbytes)
    waiting: list[SessionEvent] = session.fetch_fleet(now=system.now())
    found: list[AppraisalDue] = []
    while waiting:
        event = waiting.pop(0)
        if isinstance(event, Send):
            waiting += await _exchange(session, directory, transport, event)
        elif isinstance(event, AppraisalDue) and sha256(event.evidence).digest() == event.node.evidence_digest:
            found.append(event)
    return found


async def _exchange(
    session: ClientSession, directory: ServiceDirectory, transport: Transport, send: Send
) -> list[SessionEvent]:
    request = HttpRequest(method="POST", url=directory.relay_url, headers=OUTER_HEADERS, content=send.data)
    async with transport.stream(request) as response:
        session.receive_head(send.exchange, response.status, header(response.headers, "content-type") or "")
        async for part in response.content:
            session.receive_data(send.exchange, part)
    return session.receive_eof(send.exchange, now=system.now())


async def _read_directory(service: str, transport: Transport) -> ServiceDirectory:
    if service.startswith(("http://", "https://")):
        data = await fetch(transport, service, what="the directory", limit=MAX_DIRECTORY)
    else:
        data = await anyio.to_thread.run_sync(read_bytes, Path(service), "the directory")
    try:
        return ServiceDirectory.from_toml(data.decode("utf-8"))
    except UnicodeDecodeError as exc:
        raise ConfigError(f"the directory {service} is not text in UTF-8") from exc


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
