"""The page beside the files that the log's role writes, with witnesses that really cosigned them."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from confsec.roles.log_page import write_page
from tests.roles.browser import browse, serve
from tests.roles.log_cases import ORIGIN, append, log_running, witnesses_running

pytestmark = pytest.mark.anyio


async def test_a_browser_verifies_what_the_role_publishes_and_sees_it_grow(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    async with witnesses_running(tmp_path) as network, log_running(tmp_path, network) as (_, log):
        await append(log, b"the first entry", "?wait=cosigned")
        write_page(folder)
        with serve(folder) as site:
            steps = [("open", "/#"), ("look", "")]
            (first,) = await anyio.to_thread.run_sync(lambda: browse(site, tmp_path / "profile", *steps))
            await append(log, b"another entry", "?wait=cosigned")
            steps += [("hash", "#entry=1"), ("look", "")]
            grown, entry = await anyio.to_thread.run_sync(lambda: browse(site, tmp_path / "profile", *steps))
    assert (first.verdict, first.title, first.spied) == ("good", f"Verified: {ORIGIN}", [])
    assert "The quorum is 2 of w1, w2, w3." in first.text
    assert (grown.verdict, grown.spied) == ("good", [])
    assert "2 entries" in grown.text
    assert "another entry" in entry.text
    assert "Entry 1 is in the tree" in entry.text
