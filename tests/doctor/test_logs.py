"""The logs of a service, as a client and as a node see them: well, late, silent, and of another clock."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import pytest

from confsec.backends.api import HttpRequest, HttpResponse
from confsec.doctor.findings import Finding, Level
from confsec.doctor.logs import look_at_logs
from confsec.doctor.service import look_at_service
from confsec.protocol.policy import UNSAFE_UNATTESTED
from confsec.protocol.transparency import TrustedLog
from tests.client.logged_wire import LoggedWire
from tests.protocol.log_world import DAY, EPOCH, World
from tests.protocol.logged_service import LoggedService

pytestmark = pytest.mark.anyio

MINUTE = timedelta(minutes=1)
STEPS = ["service.directory", "service.relay", "service.gateway", "service.evidence", "service.node"]


async def visit(
    wire: LoggedWire, *, remembered: TrustedLog | None = None, now: datetime | None = None
) -> dict[str, Finding]:
    async def read() -> bytes:
        return wire.service.world.root.to_toml().encode()

    async def remember(origin: str) -> TrustedLog:
        return remembered if remembered and remembered.origin == origin else TrustedLog(origin)

    at = now or wire.service.now
    found = await look_at_service(read, UNSAFE_UNATTESTED, wire, remembered=remember, clock=lambda: at)
    return {each.id: each for each in found}


class NodeWire:
    """Both logs, as a node reaches them."""

    def __init__(self, world: World, now: datetime) -> None:
        self.now = now
        self.files: dict[str, bytes | None] = {}
        for name, log in (("directory", world.directories), ("fleet", world.fleets)):
            self.files |= {f"/{name}/{path}": data for path, data in log.files(now).items()}
        self.files["/fleet/beacon"] = world.fleets.note(now)

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]:
        return self._stream(request)

    @asynccontextmanager
    async def _stream(self, request: HttpRequest) -> AsyncGenerator[HttpResponse]:
        body = self.files.get(urlsplit(request.url).path)

        async def content() -> AsyncGenerator[bytes]:
            yield body or b""

        yield HttpResponse(status=200 if body else 404, headers=(), content=content())

    async def aclose(self) -> None:
        """Nothing is open."""


async def look(wire: NodeWire, world: World, *, now: datetime | None = None) -> dict[str, Finding]:
    return {each.id: each for each in await look_at_logs(world.root, wire, lambda: now or wire.now)}


# --- A client ---------------------------------------------------------------------------------------------------------


async def test_a_service_with_logs_passes_every_step_and_its_first_contact_is_said() -> None:
    wire = LoggedWire()
    findings = await visit(wire)
    assert [each for each in findings if each in STEPS] == STEPS
    assert {findings[step].level for step in STEPS} == {Level.OK}
    assert wire.service.world.root.digest.hex() in findings["logs.root"].what
    assert "Compare" in findings["logs.root"].todo
    assert findings["logs.first-contact"].level is Level.INFO
    assert "3 of 3 witnesses cosigned 1 entries; a quorum's word is 0 seconds old" in findings["logs.directory"].what
    assert findings["clock.directory-witnesses"].level is Level.OK
    assert "dated by w1, w2, w3" in findings["logs.epoch"].what
    assert "fleet of 3 nodes" in findings["service.gateway"].what
    assert "logs.hasty" not in findings


async def test_what_is_remembered_is_gone_on_from_and_a_log_that_went_back_is_a_problem() -> None:
    wire = LoggedWire()
    log = wire.service.world.directories
    known = TrustedLog(log.origin, 1, log.tree().root)
    assert "1 entries" in (await visit(wire, remembered=known))["logs.memory"].what
    findings = await visit(wire, remembered=TrustedLog(log.origin, 2, bytes(32)))
    assert findings["service.directory"].level is Level.PROBLEM
    assert "send nothing" in findings["service.directory"].todo
    assert "service.relay" not in findings


async def test_a_clock_that_is_late_is_found_before_it_is_blamed_on_the_log() -> None:
    wire = LoggedWire()
    findings = await visit(wire, now=wire.service.now - timedelta(hours=1))
    assert findings["clock.directory-witnesses"].level is Level.PROBLEM
    assert "60 minutes after what this clock shows" in findings["clock.directory-witnesses"].what
    assert findings["logs.directory"].level is Level.PROBLEM
    assert findings["service.directory"].level is Level.PROBLEM


async def test_a_log_that_is_not_there_is_a_problem() -> None:
    wire = LoggedWire()
    wire.overlay = {"checkpoint": None}
    findings = await visit(wire)
    assert findings["service.directory"].level is Level.PROBLEM
    assert "logs.directory" not in findings


async def test_a_hasty_root_is_warned_of() -> None:
    wire = LoggedWire(LoggedService(World(delay=timedelta(0))))
    assert (await visit(wire))["logs.hasty"].level is Level.WARNING


# --- A node or a router -----------------------------------------------------------------------------------------------


@pytest.fixture
def world() -> World:
    return LoggedService().world


NOW = LoggedService().now


async def test_logs_that_are_well_have_no_problem(world: World) -> None:
    findings = await look(NodeWire(world, NOW), world)
    assert {each.level for each in findings.values()} == {Level.OK, Level.INFO}
    assert "as w1, w2, w3 say" in findings["logs.epoch"].what


async def test_a_silent_witness_is_a_warning_and_a_missing_quorum_a_problem(world: World) -> None:
    wire = NodeWire(world, NOW)
    wire.files["/directory/checkpoint"] = world.directories.note(NOW, witnesses=2)
    wire.files["/fleet/checkpoint"] = world.fleets.note(NOW, witnesses=1)
    findings = await look(wire, world)
    assert findings["logs.directory"].level is Level.OK
    assert "w3" in findings["logs.directory-silent"].what
    assert findings["logs.fleet"].level is Level.PROBLEM
    assert "too few witnesses" in findings["logs.fleet"].todo


async def test_one_witness_from_the_future_is_a_warning(world: World) -> None:
    wire = NodeWire(world, NOW)
    wire.files["/directory/checkpoint"] = world.directories.note([NOW, NOW, NOW + 5 * MINUTE])
    findings = await look(wire, world)
    assert findings["clock.directory-witnesses"].level is Level.WARNING
    assert "1 of 3 witnesses" in findings["clock.directory-witnesses"].what
    assert findings["logs.directory"].level is Level.OK


async def test_word_that_is_too_old_is_a_problem(world: World) -> None:
    wire = NodeWire(world, NOW)
    findings = await look(wire, world, now=NOW + 3 * DAY)
    assert findings["logs.directory"].level is Level.PROBLEM
    assert "stands still" in findings["logs.directory"].todo
    assert findings["logs.epoch"].level is Level.PROBLEM


async def test_an_epoch_that_is_over_is_a_problem(world: World) -> None:
    wire = NodeWire(world, NOW)
    wire.files["/fleet/beacon"] = world.fleets.note(NOW - 2 * EPOCH)
    assert (await look(wire, world))["logs.epoch"].level is Level.PROBLEM


async def test_a_log_without_epochs_and_one_that_is_away_are_problems(world: World) -> None:
    wire = NodeWire(world, NOW)
    wire.files["/fleet/beacon"] = wire.files["/directory/checkpoint"] = None
    findings = await look(wire, world)
    assert "--epoch-seconds" in findings["logs.epoch"].todo
    assert findings["logs.directory"].level is Level.PROBLEM


async def test_a_checkpoint_of_something_else_is_a_problem(world: World) -> None:
    wire = NodeWire(world, NOW)
    wire.files["/directory/checkpoint"] = b"something else"
    assert "send nothing" in (await look(wire, world))["logs.directory"].todo
