"""A service whose directory and fleets are in logs: what clients see, and what they refuse."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import anyio
import pytest

from confsec.protocol.checks import Status
from tests.roles.chain import CHAT
from tests.roles.logged_chain import logged_chain

pytestmark = pytest.mark.anyio

ASK = {"messages": [{"role": "user", "content": "hello"}]}


async def test_a_prompt_is_answered_by_a_fleet_that_everybody_is_shown(tmp_path: Path) -> None:
    async with logged_chain(tmp_path, nodes=2) as chain, chain.client() as client:
        answer = await client.request("POST", CHAT, json=ASK)
        assert answer.status == 200
        found = {check.id: check.status for check in answer.proof.checks}
        assert found["log.directory"] is found["log.fleet"] is found["freshness.epoch"] is Status.PASS
        assert client.first_contact


async def test_a_second_client_of_one_memory_is_no_first_contact(tmp_path: Path) -> None:
    async with logged_chain(tmp_path) as chain:
        memory = tmp_path / "memory.db"
        for first in (True, False):
            async with chain.client(memory=memory) as client:
                await client.request("POST", CHAT, json=ASK)
                assert client.first_contact is first


async def test_epochs_follow_each_other(tmp_path: Path) -> None:
    async with logged_chain(tmp_path, epoch=3) as chain, chain.client() as client:
        began: set[datetime] = set()
        with anyio.fail_after(30):
            while len(began) < 3:
                answer = await client.request("POST", CHAT, json=ASK)
                began.add(answer.proof.contents.epoch.began)
                await anyio.sleep(0.5)
