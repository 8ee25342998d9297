"""Software TPMs as processes: started, restarted, ended, and what they say when they cannot be."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from pathlib import Path

import anyio
import pytest

from confsec.errors import BackendError, ConfigError
from confsec.tee.tpm import swtpm as swtpm_module
from confsec.tee.tpm.device import TpmDevice
from confsec.tee.tpm.swtpm import find_swtpm, free_port_pair, manufacture, start_swtpm
from tests.tee.tpm_device.swtpm import needs_swtpm

pytestmark = pytest.mark.anyio


def runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_new_folder_becomes_a_tpm_that_keeps_its_identity(tmp_path: Path) -> None:
    needs_swtpm()
    names = []
    for _ in range(2):
        async with start_swtpm(tmp_path / "a tpm") as swtpm:
            assert runs(swtpm.pid)
            async with TpmDevice(swtpm.tcti) as device:
                assert set((await device.read_pcrs()).values()) == {bytes(32)}
                names.append((await device.attestation_key()).name)
                await device.extend_pcr(0, bytes(32))
        assert not runs(swtpm.pid)
    assert names[0] == names[1]


async def test_two_run_at_once(tpm_template: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(tpm_template, tmp_path / name)
    async with start_swtpm(tmp_path / "one") as one, start_swtpm(tmp_path / "two") as two:
        assert one.tcti != two.tcti
        async with TpmDevice(one.tcti) as first, TpmDevice(two.tcti) as second:
            assert await first.attestation_key() == await second.attestation_key()


async def test_it_ends_when_whoever_started_it_is_cancelled(tpm_template: Path, tmp_path: Path) -> None:
    shutil.copytree(tpm_template, tmp_path / "tpm")
    with anyio.CancelScope() as scope:
        async with start_swtpm(tmp_path / "tpm") as swtpm:
            scope.cancel()
            await anyio.sleep_forever()
    assert not runs(swtpm.pid)


async def test_one_that_ended_by_itself_is_no_trouble(tpm_template: Path, tmp_path: Path) -> None:
    shutil.copytree(tpm_template, tmp_path / "tpm")
    async with start_swtpm(tmp_path / "tpm") as swtpm:
        os.kill(swtpm.pid, signal.SIGKILL)


async def test_port_that_another_takes_in_between_costs_another_try(
    tpm_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tpm_template, tmp_path / "tpm")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = [taken.getsockname()[1]]
        monkeypatch.setattr(swtpm_module, "free_port_pair", lambda: ports.pop() if ports else free_port_pair())
        async with start_swtpm(tmp_path / "tpm") as swtpm, TpmDevice(swtpm.tcti) as device:
            await device.read_pcrs((0,))
        assert not ports
        monkeypatch.setattr(swtpm_module, "free_port_pair", lambda: taken.getsockname()[1])
        with pytest.raises(BackendError, match=r"swtpm did not start: got .*in use"):
            async with start_swtpm(tmp_path / "tpm"):
                pass


async def test_folder_that_cannot_hold_a_tpm_says_why(tmp_path: Path) -> None:
    needs_swtpm()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot be made: got .*: Not a directory"):
        await manufacture(tmp_path / "file" / "tpm")
    (tmp_path / "tpm" / "tpm2-00.permall").mkdir(parents=True)
    with pytest.raises(BackendError, match="swtpm_setup could not make a TPM"):
        await manufacture(tmp_path / "tpm")


def test_missing_program_names_the_line_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match="Type: apt-get install swtpm swtpm-tools"):
        find_swtpm()


def test_ports_of_a_pair_are_neighbours_and_free() -> None:
    port = free_port_pair()
    for each in (port, port + 1):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", each))
