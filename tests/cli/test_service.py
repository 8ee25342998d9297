"""What commands with --service have in common: which file it is, where logs are remembered, and the first contact."""

from __future__ import annotations

import stat
from pathlib import Path

import anyio
import pytest

from confsec import SyncClient
from confsec.cli import run
from confsec.cli.service import default_memory, name_service
from confsec.client import Client
from confsec.errors import ConfigError
from confsec.protocol.log_root import LogRoot
from confsec.protocol.policy import UNSAFE_UNATTESTED
from tests.client.logged_wire import LoggedWire
from tests.protocol.log_world import directory

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def wire() -> LoggedWire:
    return LoggedWire()


@pytest.fixture
def root_file(wire: LoggedWire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    path = tmp_path / "root.toml"
    path.write_text(wire.service.world.root.to_toml())
    return str(path)


def test_a_root_is_read_once_and_its_logs_are_remembered_in_a_folder_of_ones_own(root_file: str) -> None:
    named = name_service(root_file)
    assert isinstance(named.service, LogRoot)
    assert named.memory == default_memory()
    assert stat.S_IMODE(named.memory.parent.stat().st_mode) == 0o700


def test_the_memory_can_be_another_file(root_file: str, tmp_path: Path) -> None:
    assert name_service(root_file, str(tmp_path / "logs.db")).memory == tmp_path / "logs.db"
    assert not default_memory().parent.exists()


def test_without_xdg_the_memory_is_in_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    for state in ("", "relative"):
        monkeypatch.setenv("XDG_STATE_HOME", state)
        assert default_memory() == Path.home() / ".local/state/confsec/logs.db"


def test_a_directory_file_and_a_url_have_no_logs_to_remember(root_file: str, tmp_path: Path) -> None:
    file = tmp_path / "directory.toml"
    file.write_text(directory().to_toml())
    for service in (str(file), "https://service.example/directory.toml"):
        named = name_service(service)
        assert (named.service, named.memory) == (service, None)
        with pytest.raises(ConfigError, match="has a root file"):
            name_service(service, "logs.db")


def test_a_folder_that_cannot_be_made_is_said(root_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="--memory FILE"):
        name_service(root_file)


def test_a_first_contact_is_one_line_with_the_digest_and_the_second_is_silent(
    root_file: str, wire: LoggedWire, capsys: Capture
) -> None:
    async def contact() -> bool:
        named = name_service(root_file)
        async with Client(
            named.service, policy=UNSAFE_UNATTESTED, memory=named.memory, transport=wire,
            clock=lambda: wire.service.now,
        ) as client:  # fmt: skip
            await client.refresh()
            return client.first_contact

    assert anyio.run(contact) is True
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("confsec: first contact with service.example: ")
    assert wire.service.world.root.digest.hex() in said
    assert "Compare its digest with others" in said
    assert anyio.run(contact) is False
    assert capsys.readouterr().err == ""
    assert stat.S_IMODE(default_memory().stat().st_mode) == 0o600


def test_the_client_without_a_loop_hands_pin_and_memory_on(tmp_path: Path, root_file: str, wire: LoggedWire) -> None:
    with SyncClient(wire.service.world.root, pin=b"\1" * 32, memory=tmp_path / "logs.db", transport=wire) as client:
        with pytest.raises(ConfigError, match="pinned"):
            client.request("GET", "/v1/models")
        assert client.first_contact is False
    assert (tmp_path / "logs.db").exists()


@pytest.mark.parametrize("command", [["chat"], ["wallet", "fetch"], ["doctor"], ["policy", "fetch"], ["proxy"]])
def test_every_command_says_where_logs_are_remembered(command: list[str], capsys: Capture) -> None:
    assert run([*command, "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "--memory" in shown
    assert "$XDG_STATE_HOME/confsec/logs.db" in shown
    assert "root file" in shown
