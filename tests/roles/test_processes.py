"""Real processes on loopback: memory under load, roles that die, roles that are stopped."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from confsec.backends.api import HttpRequest, HttpResponse
from confsec.client import Client
from confsec.errors import ConfsecError, PeerError
from confsec.protocol.policy import UNSAFE_UNATTESTED
from tests.roles.chain import CHAT
from tests.roles.processes import RoleProcess, Service, running_service

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

MIB = 1 << 20
CLIENT_ADDRESS = "127.0.0.77"
MARKER = "marker-2718"


@pytest.fixture(params=["asyncio", "trio"], scope="module")
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator[Service]:
    """The roles on either event loop; the client runs on both."""
    with running_service(
        tmp_path_factory.mktemp("service"), request.param, router=("--poll-interval", "0.2")
    ) as service:
        yield service


def asking(parts: int, size: int, pause: float = 0.0) -> HttpRequest:
    content = json.dumps({"parts": parts, "size": size, "pause": pause, "prompt": MARKER}).encode()
    return HttpRequest(method="POST", url=CHAT, headers=(("content-type", "application/json"),), content=content)


def new_client(service: Service) -> Client:
    return Client(service.directory, policy=UNSAFE_UNATTESTED, source_address=CLIENT_ADDRESS)


async def count(response: HttpResponse) -> int:
    total = 0
    async for part in response.content:
        total += len(part)
    return total


async def ask_until_answered(client: Client) -> None:
    """Ask until there is an answer: a role that has just started is not known to the others at once."""
    with anyio.fail_after(30):
        while True:
            try:
                async with client.stream(asking(1, 10)) as response:
                    assert await count(response) == 10
                    return
            except ConfsecError:
                await anyio.sleep(0.2)


async def test_much_goes_through_and_every_process_stays_flat(service: Service) -> None:
    async with new_client(service) as client:
        async with client.stream(asking(16, 65536)) as response:  # what is loaded late is loaded now
            await count(response)
        idle = {}
        for name, role in service.roles.items():
            role.reset_peak()
            idle[name] = role.resident
        with anyio.fail_after(60):
            async with client.stream(asking(4096, 65536)) as response:
                total = 0
                async for part in response.content:
                    if total // (32 * MIB) != (total + len(part)) // (32 * MIB):
                        await anyio.sleep(0.3)  # the reader is slow, and all hops wait
                    total += len(part)
        assert total == 256 * MIB
    for name, role in service.roles.items():
        assert role.peak - idle[name] <= 16 * MIB, name


async def test_reader_that_stops_holds_the_engine_back(service: Service) -> None:
    async with new_client(service) as client, client.stream(asking(4096, 65536)) as response:
        await anext(response.content)
        for role in service.roles.values():
            role.reset_peak()
        idle = {name: role.resident for name, role in service.roles.items()}
        await anyio.sleep(2)
        for name, role in service.roles.items():
            assert role.peak - idle[name] <= 16 * MIB, name


async def test_client_that_goes_away_cancels_the_engine_within_a_second(service: Service) -> None:
    async with new_client(service) as client:
        async with client.stream(asking(1000, 100, 0.05)) as response:
            await anext(response.content)
            assert await anyio.to_thread.run_sync(service.open_exchanges) == 1
        with anyio.fail_after(1):
            while await anyio.to_thread.run_sync(service.open_exchanges):
                await anyio.sleep(0.02)


async def ask_and_kill(client: Client, role: RoleProcess) -> None:
    async with client.stream(asking(1000, 100, 0.05)) as response:
        await anext(response.content)
        await anyio.to_thread.run_sync(role.kill)
        await count(response)


async def ask_in_vain(client: Client) -> None:
    async with client.stream(asking(1, 10)) as response:
        assert response.status >= 500
        raise PeerError("an answer that tells of the failure", status=response.status)


@pytest.mark.parametrize("name", ["relay", "gateway", "router", "node", "engine"])
async def test_role_that_dies_is_a_typed_error_and_serves_again_after_a_start(service: Service, name: str) -> None:
    role = service.roles[name]
    async with new_client(service) as client:
        await ask_until_answered(client)
        with anyio.fail_after(10):
            with pytest.raises(ConfsecError) as raised:
                await ask_and_kill(client, role)
            assert raised.value.code != ConfsecError.code
            # While it is away there is an error too, or an answer that tells of one.
            with pytest.raises(ConfsecError):
                await ask_in_vain(client)
        await anyio.to_thread.run_sync(role.restart)
        await ask_until_answered(client)


async def test_stopped_roles_finish_what_runs_and_name_nobody(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        async with new_client(service) as client:
            await ask_until_answered(client)
            async with client.stream(asking(10, 100, 0.1)) as response:
                await anext(response.content)
                roles = [service.roles[name] for name in ("relay", "gateway", "router", "node")]
                for role in roles:
                    role.process.terminate()
                assert await count(response) == 900
            for role in roles:
                assert await anyio.to_thread.run_sync(role.wait) == 0
                for secret in (CLIENT_ADDRESS, MARKER, "Traceback"):
                    assert secret not in role.errors
