"""Several routers of one service, which share a folder: each epoch has one record, and all of them serve it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path

import anyio
import pytest

from confsec.backends.api import EpochSource
from confsec.errors import BusyError, PeerError
from confsec.protocol.epoch import Epoch
from confsec.protocol.fleet import FleetRecord
from confsec.protocol.policy import UNSAFE_UNATTESTED
from confsec.roles.fleet import Fleet
from confsec.roles.fleet_publisher import FleetPublisher
from tests.protocol.log_world import AT
from tests.protocol.token_keys import ED25519
from tests.roles.chain import Wire
from tests.roles.test_fleet_publisher import NODE, OTHER, Router

pytestmark = pytest.mark.anyio


class Service(Router):
    """A router beside which another one can be started."""

    def another(self, folder: Path, append: Callable[[bytes], Awaitable[object]] | None = None) -> FleetPublisher:
        return FleetPublisher(
            self.world.root, ED25519, append=append or self._append, fetch=self._fetch, folder=folder, clock=self.clock
        )


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path / "records")


async def test_the_second_router_serves_what_the_first_has_logged(service: Service, tmp_path: Path) -> None:
    second = service.another(tmp_path / "records")
    await service.publisher.begin()
    await second.begin()
    for _ in range(2):
        await service.publisher.publish(first := service.record(NODE))
        await second.publish(service.record(NODE, OTHER))
        assert second.current == service.publisher.current == first.encode()
        assert second.is_done(service.beacon)
        service.turn()
    assert service.world.fleets.size == len(service.sent) == 2


async def test_a_router_without_the_folder_of_the_others_signs_nothing(
    service: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    second = service.another(tmp_path / "own")
    await service.publisher.publish(service.record(NODE))
    with caplog.at_level(logging.WARNING):
        await second.publish(service.record(OTHER))
    assert "share the folder fleet_records" in caplog.text
    assert second.current is None
    assert second.is_done(service.beacon)
    assert len(service.sent) == 1
    service.turn()
    await second.publish(record := service.record(OTHER))
    assert second.current == record.encode()


async def test_of_two_routers_that_send_at_once_the_late_one_takes_over(service: Service, tmp_path: Path) -> None:
    """Both had seen that the log has none; the log refuses the second."""

    async def late(entry: bytes) -> None:
        await service.publisher.publish(service.record(NODE))
        assert entry not in service.sent
        raise PeerError("the log did not take the entry", status=409, peer_code="already_logged", section="")

    second = service.another(tmp_path / "records", late)
    with pytest.raises(PeerError):
        await second.publish(service.record(OTHER))
    await second.publish(service.record(OTHER))
    assert second.current == service.record(NODE).encode()
    assert service.in_effect() == sha256(service.record(NODE).encode()).digest()
    assert service.world.fleets.size == 1


async def test_no_router_removes_what_another_is_about_to_send(service: Service, tmp_path: Path) -> None:
    folder = tmp_path / "records"

    async def meanwhile(entry: bytes) -> None:
        await service.publisher.publish(service.record(NODE))
        raise BusyError("too many wait")

    for _ in range(20):
        await service.publisher.publish(service.record(NODE))
        service.turn()
    waiting = sha256(service.record(OTHER).encode()).digest()
    second = service.another(folder, meanwhile)
    with pytest.raises(BusyError):
        await second.publish(service.record(OTHER))
    assert (folder / f"{waiting.hex()}.fleet").exists()
    assert {path.name for path in folder.glob(".*")} == set()


# --- The fleet around it ----------------------------------------------------------------------------------------------


class _Epochs(EpochSource):
    def __init__(self, epoch: Epoch) -> None:
        self._epoch = epoch

    async def current(self) -> Epoch:
        return self._epoch

    async def wait_after(self, epoch: Epoch) -> Epoch:
        await anyio.sleep_forever()
        return epoch


async def test_a_busy_log_is_said_and_is_not_taken_for_a_fleet_without_nodes(
    service: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def busy(entry: bytes) -> None:
        raise BusyError("too many wait for witnesses")

    publisher = service.another(tmp_path / "records", busy)
    fleet = Fleet(
        (), Wire(), _Epochs(Epoch(service.beacon, AT)), policy=UNSAFE_UNATTESTED, drained=(),
        interval=1, timeout=1, grace=0, clock=service.clock, publisher=publisher,
    )  # fmt: skip
    with caplog.at_level(logging.WARNING):
        await fleet.begin()
        assert caplog.text == ""  # no node is ready
        monkeypatch.setattr(Fleet, "_make_record", lambda _: FleetRecord(service.beacon, (NODE,)))
        await fleet.ask_all()
    assert "not in its log yet: too many wait for witnesses" in caplog.text
