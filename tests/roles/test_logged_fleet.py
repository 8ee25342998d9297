"""The fleet of a router whose records are in a log: one for each epoch, the same for everybody."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from confsec.errors import BackendError, BusyError
from confsec.protocol.epoch import Epoch
from confsec.protocol.fleet import FleetRecord
from confsec.protocol.policy import UNSAFE_UNATTESTED
from confsec.protocol.service_state import read_epoch
from confsec.roles.fleet import Fleet
from confsec.roles.node import Node, NodeConfig
from tests.roles.chain import FakeEngine, Wire
from tests.roles.test_fleet_publisher import Router

pytestmark = pytest.mark.anyio


class Source:
    """The epochs of a router's log, which come when a test says so."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._turned = anyio.Event()

    async def current(self) -> Epoch:
        await anyio.lowlevel.checkpoint()
        return read_epoch(self._router.beacon, self._router.world.root)

    async def wait_after(self, epoch: Epoch) -> Epoch:
        while (newest := await self.current()).began <= epoch.began:
            await self._turned.wait()
        return newest

    def turn(self) -> None:
        """Begin the next epoch."""
        self._router.turn()
        turned, self._turned = self._turned, anyio.Event()
        turned.set()


class Nodes:
    """A fleet of three nodes, of which those run that a test has started."""

    def __init__(self, stack: AsyncExitStack, folder: Path) -> None:
        self.router = Router(folder)
        self.source = Source(self.router)
        self.wire = Wire()
        self._stack = stack
        self.fleet = self.new_fleet()

    def new_fleet(self, *, grace: float = 0.0) -> Fleet:
        """Return the fleet of a router that starts now."""
        self.fleet = Fleet(
            [f"http://node-{number}" for number in range(3)],
            self.wire,
            self.source,
            policy=UNSAFE_UNATTESTED, drained=(), interval=0.02, timeout=5.0, grace=grace, clock=self.router.clock,
            publisher=self.router.start(),
        )  # fmt: skip
        return self.fleet

    async def start(self, number: int) -> None:
        node = Node(NodeConfig(), FakeEngine(), attester=None, epochs=self.source, clock=self.router.clock)
        await self._stack.enter_async_context(node.lifespan())
        self.wire.roles[f"node-{number}"] = node

    def stop(self, number: int) -> None:
        del self.wire.roles[f"node-{number}"]

    def listed(self) -> int:
        """Return how many nodes the record in effect has, and check that it is the one in the log."""
        record = self.fleet.record()
        assert sha256(record).digest() == self.router.in_effect()
        assert self.fleet.logged_record(self.router.in_effect()) == record
        return len(FleetRecord.decode(record).nodes)


@asynccontextmanager
async def nodes_running(folder: Path, count: int) -> AsyncGenerator[Nodes]:
    async with AsyncExitStack() as stack:
        nodes = Nodes(stack, folder)
        for number in range(count):
            await nodes.start(number)
        yield nodes


async def test_a_node_that_joins_in_an_epoch_waits_for_the_next(tmp_path: Path) -> None:
    async with nodes_running(tmp_path, 2) as nodes:
        await nodes.fleet.begin()
        assert nodes.listed() == 2
        record = nodes.fleet.record()
        await nodes.start(2)
        for _ in range(3):
            await nodes.fleet.ask_all()
        assert nodes.fleet.record() == record
        assert len(nodes.router.sent) == 1
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(nodes.fleet.watch)
            nodes.source.turn()
            with anyio.fail_after(20):
                while nodes.fleet.record() == record:
                    await anyio.sleep(0.02)
            tasks.cancel_scope.cancel()
        assert nodes.listed() == 3
        assert nodes.fleet.logged_record(sha256(record).digest()) == record  # who read the log before has it still


async def test_a_node_that_dies_in_an_epoch_stays_in_its_record(tmp_path: Path) -> None:
    """It is not asked any more; another record would look like one for somebody."""
    async with nodes_running(tmp_path, 2) as nodes:
        await nodes.fleet.begin()
        record = nodes.fleet.record()
        nodes.stop(0)
        for _ in range(3):
            await nodes.fleet.ask_all()
        assert nodes.fleet.record() == record
        assert len(nodes.router.sent) == 1


async def test_a_record_is_the_same_when_the_log_answers_late(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with nodes_running(tmp_path, 1) as nodes:
        nodes.router.loses_answers = True
        with caplog.at_level(logging.WARNING):
            await nodes.fleet.begin()
        assert "not in its log yet" in caplog.text
        with pytest.raises(BusyError):
            nodes.fleet.record()
        await nodes.start(1)
        nodes.router.loses_answers = False
        await nodes.fleet.ask_all()
        assert nodes.listed() == 1
        assert len(set(nodes.router.sent)) == 1


async def test_a_router_that_starts_waits_a_while_for_all_nodes(tmp_path: Path) -> None:
    async with nodes_running(tmp_path, 2) as nodes:
        fleet = nodes.new_fleet(grace=600.0)
        await fleet.begin()
        assert nodes.router.sent == []
        await nodes.start(2)
        await fleet.ask_all()
        assert nodes.listed() == 3


async def test_without_a_node_nothing_is_logged(tmp_path: Path) -> None:
    async with nodes_running(tmp_path, 0) as nodes:
        await nodes.fleet.begin()
        assert nodes.router.sent == []
        with pytest.raises(BusyError, match="in no log yet"):
            nodes.fleet.record()
        assert nodes.fleet.logged_record(bytes(32)) is None


async def test_a_router_that_starts_anew_serves_the_record_of_its_epoch(tmp_path: Path) -> None:
    async with nodes_running(tmp_path, 1) as nodes:
        await nodes.fleet.begin()
        record = nodes.fleet.record()
        await nodes.start(1)
        fleet = nodes.new_fleet()
        await fleet.begin()
        await fleet.ask_all()
        assert fleet.record() == record
        assert len(nodes.router.sent) == 1


async def test_a_router_without_its_log_does_not_start(tmp_path: Path) -> None:
    async with nodes_running(tmp_path, 1) as nodes:

        async def gone(path: str) -> bytes | None:
            raise BackendError(f"{path} is not there")

        nodes.router.publisher._fetch = gone
        with pytest.raises(BackendError):
            await nodes.fleet.begin()
