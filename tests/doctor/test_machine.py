"""What may be unusual about a machine."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from confsec.doctor import machine
from confsec.doctor.findings import Finding, Level
from confsec.testing import seeded_randbytes

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        yield listener.getsockname()[1]


def by_id(findings: Iterator[Finding]) -> dict[str, Finding]:
    return {finding.id: finding for finding in findings}


def test_ports_can_be_listened_on_here() -> None:
    assert {finding.level for finding in machine.look_at_ports()} == {Level.OK}


def test_taken_port_is_a_problem(taken_port: int) -> None:
    finding = by_id(machine.look_at_ports([taken_port]))[f"ports.{taken_port}"]
    assert finding.level is Level.PROBLEM
    assert "in use" in finding.what
    assert f"sport = :{taken_port}" in finding.todo


def test_free_port_is_fine(taken_port: int) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    assert by_id(machine.look_at_ports([free]))[f"ports.{free}"].level is Level.OK


def test_address_that_is_not_of_this_machine_is_a_problem() -> None:
    assert by_id(machine.look_at_ports(host="192.0.2.1"))["ports.loopback"].level is Level.PROBLEM


def test_folder_whose_path_is_too_long_for_a_socket_is_a_problem(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("x" * 120)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    finding = by_id(machine.look_at_ports())["ports.unix"]
    assert finding.level is Level.PROBLEM
    assert "TMPDIR" in finding.todo


@pytest.mark.parametrize(
    ("now", "level"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), Level.PROBLEM),
        (datetime(2026, 10, 31, tzinfo=UTC), Level.PROBLEM),
        (NOW, Level.OK),
        (datetime(2099, 1, 1, tzinfo=UTC), Level.WARNING),
    ],
)
def test_clock_before_this_version_was_written_is_wrong(now: datetime, level: Level) -> None:
    assert machine.look_at_clock(now).level is level


@pytest.mark.parametrize(
    ("began", "level"),
    [
        (timedelta(minutes=2), Level.WARNING),
        (timedelta(seconds=30), Level.OK),
        (timedelta(minutes=-9), Level.OK),
        (timedelta(hours=-2), Level.WARNING),
    ],
)
def test_clock_is_compared_with_the_epoch_of_the_service(began: timedelta, level: Level) -> None:
    assert machine.look_at_epoch(NOW + began, NOW).level is level


def test_generator_that_moves_is_fine() -> None:
    assert machine.look_at_randomness(seeded_randbytes("doctor")).level is Level.OK


def test_generator_that_repeats_itself_is_a_problem() -> None:
    assert machine.look_at_randomness(bytes).level is Level.PROBLEM


def test_generator_that_is_not_seeded_yet_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_yet(size: int, flags: int) -> bytes:
        raise BlockingIOError

    monkeypatch.setattr("os.getrandom", not_yet)
    assert machine.look_at_randomness(seeded_randbytes("doctor")).level is Level.PROBLEM


@pytest.mark.parametrize(
    ("core", "files", "levels"),
    [
        (0, 65536, [Level.OK, Level.OK]),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, [Level.WARNING, Level.OK]),
        (1024, 1024, [Level.WARNING, Level.INFO]),
    ],
)
def test_limits_on_core_dumps_and_files(
    core: int, files: int, levels: list[Level], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = {resource.RLIMIT_CORE: (core, core), resource.RLIMIT_NOFILE: (files, files)}
    monkeypatch.setattr("resource.getrlimit", limits.__getitem__)
    assert [finding.level for finding in machine.look_at_limits()] == levels


def test_variables_are_named_and_their_values_never_shown() -> None:
    environment = {"HTTPS_PROXY": "http://me:hunter2@proxy", "SSLKEYLOGFILE": "/tmp/hunter2", "PYTHONTRACEMALLOC": "1"}
    findings = by_id(machine.look_at_environment(environment))
    assert set(findings) == {f"environment.{name}" for name in environment}
    assert {finding.level for finding in findings.values()} == {Level.WARNING}
    assert "hunter2" not in "".join(finding.what + finding.todo for finding in findings.values())


def test_empty_variables_mean_nothing() -> None:
    (finding,) = machine.look_at_environment({"HTTPS_PROXY": "", "HOME": "/root"})
    assert finding.level is Level.OK
