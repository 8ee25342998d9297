"""Witnesses over HTTP on loopback: a log of tessera asks ours, and our clients read it under their quorum."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from shutil import copytree

import pytest
from anyio import to_thread

from confsec.backends.log_source import FolderLogSource, read_log
from confsec.backends.system import now
from confsec.protocol.log_reader import LogNews, LogUpdate
from confsec.protocol.note_keys import KeyType, Signer
from confsec.protocol.transparency import TrustedLog
from confsec.protocol.witness_policy import WitnessPolicy
from confsec.roles.witness import Witness, WitnessConfig
from tests.interop.build import GO_TESSERA
from tests.interop.conftest import FillCell, StartPeer
from tests.interop.log_peers import TESSERA, LogPeer
from tests.interop.ours_logs import KEYS, LOG, ORIGIN, entries
from tests.interop.peers import PeerError
from tests.roles.support import served

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900), pytest.mark.anyio]

ENTRIES = entries(300)
WITNESSES = [Signer(f"w{number}.example", KeyType.ED25519_COSIGNATURE, b"%d" % number * 32) for number in (1, 2, 3)]


@pytest.fixture
def tessera(start_peer: StartPeer) -> LogPeer:
    return LogPeer(start_peer(GO_TESSERA))


@pytest.fixture
async def policy(tmp_path: Path) -> AsyncGenerator[WitnessPolicy]:
    """Run three witnesses of ours, of which two have to agree."""
    (tmp_path / "logs").write_text(f"log {KEYS[0]}\nquorum none\n")
    lines = [f"log {KEYS[0]}\n"]
    async with AsyncExitStack() as stack:
        for number, signer in enumerate(WITNESSES, 1):
            config = witness_config(tmp_path, f"w{number}", signer)
            url = await stack.enter_async_context(served(Witness(config), config))
            lines.append(f"witness w{number} {signer.key.encode()} {url}\n")
        yield WitnessPolicy.decode("".join([*lines, "group g 2 w1 w2 w3\nquorum g\n"]).encode())


def witness_config(folder: Path, name: str, signer: Signer) -> WitnessConfig:
    keys = folder / name
    keys.touch(0o600)
    keys.write_text(f"{signer.encode()}\n")
    return WitnessConfig(
        keys=str(keys), logs=str(folder / "logs"), store=str(folder / f"{name}.db"), shutdown_timeout=0.5
    )


async def append(tessera: LogPeer, folder: Path, given: list[bytes], policy: WitnessPolicy) -> None:
    await to_thread.run_sync(partial(tessera.log_append, folder, LOG.encode(), given, policy=policy.encode()))


async def read(folder: Path, policy: WitnessPolicy, trusted: TrustedLog) -> LogNews:
    update = LogUpdate(trusted, policy, at=now(), maximum_age=timedelta(hours=1))
    return await read_log(update, FolderLogSource(folder).fetch)


async def test_our_witnesses_cosign_their_log_as_it_grows(
    tessera: LogPeer, fill_cell: FillCell, tmp_path: Path, policy: WitnessPolicy
) -> None:
    fill_cell(TESSERA, "witnesses", "two of three", "their log, our witnesses and client")
    trusted, seen = TrustedLog(ORIGIN), list[bytes]()
    for given in (ENTRIES[:3], ENTRIES[3:257], ENTRIES[257:]):
        await append(tessera, tmp_path / "log", given, policy)
        news = await read(tmp_path / "log", policy, trusted)
        assert len(news.cosigned.cosigners) >= 2
        trusted, seen = news.trusted, [*seen, *(entry.data for entry in news.entries)]
    assert sorted(seen) == sorted(ENTRIES)


async def test_our_witnesses_refuse_another_log_with_the_name_of_theirs(
    tessera: LogPeer, tmp_path: Path, policy: WitnessPolicy
) -> None:
    await append(tessera, tmp_path / "log", ENTRIES[:5], policy)
    with pytest.raises(PeerError, match="size 5, larger than log size 0"):
        await append(tessera, tmp_path / "other", ENTRIES[5:12], policy)
    assert not (tmp_path / "other" / "checkpoint").exists()


async def test_our_witnesses_refuse_a_fork_of_their_log(
    tessera: LogPeer, tmp_path: Path, policy: WitnessPolicy
) -> None:
    log, fork = tmp_path / "log", tmp_path / "fork"
    await append(tessera, log, ENTRIES[:5], policy)
    copytree(log, fork)
    await append(tessera, log, ENTRIES[5:7], policy)
    before = (fork / "checkpoint").read_bytes()
    with pytest.raises(PeerError, match="deadline exceeded"):  # it goes on asking, as long as it has patience
        await append(tessera, fork, ENTRIES[7:12], policy)
    assert (fork / "checkpoint").read_bytes() == before
