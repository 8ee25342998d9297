"""`confsec monitor`: what it prints, and the status that it ends with."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from confsec import cli
from confsec.backends.system import now
from confsec.cli.monitor import STATUSES
from confsec.protocol.monitoring import AlertKind
from tests.http_files import Site, serving
from tests.protocol.logs import StaticLog, entries_of
from tests.protocol.statement_cases import DIRECTORY
from tests.protocol.test_monitoring import envelope
from tests.protocol.test_transparency import ORIGIN, POLICY


def configure(folder: Path, source: str, more: str = "", top: str = "") -> str:
    (folder / "witnesses.txt").write_bytes(POLICY.encode())
    file = folder / "monitor.toml"
    file.write_text(
        f'version = 1\nstate = "state"\n{top}[[log]]\nname = "one"\norigin = "{ORIGIN}"\n'
        f'witnesses = "witnesses.txt"\nsources = ["{source}"]\n{more}'
    )
    return str(file)


def fresh(*entries: bytes) -> StaticLog:
    return StaticLog(entries, times=(now(), now()))


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_each_kind_has_a_status_and_graver_ones_have_larger_ones() -> None:
    assert list(STATUSES) == list(AlertKind)
    assert sorted(STATUSES.values()) == list(STATUSES.values())
    told = [status for status in STATUSES.values() if status]
    assert len(set(told)) == len(told)


def test_once_ends_with_the_status_of_the_gravest_alert(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = fresh(envelope(DIRECTORY))
    with serving(Site(log.files)) as site:
        file = configure(tmp_path, site.url, 'watch.subjects = ["service.example"]\n')
        assert cli.run(["monitor", file, "--once", "--json"]) == 12
        assert [line["kind"] for line in lines(capsys.readouterr().out)] == ["first-contact", "new", "watched"]
        assert cli.run(["monitor", file, "--once", "--json"]) == 0
        assert capsys.readouterr().out == ""
        log.grow([b"no statement"], times=(now(), now()))
        assert cli.run(["monitor", file, "--once", "--json"]) == 13
        log.sign((now() - timedelta(days=2),) * 2)
        assert cli.run(["monitor", file, "--once", "--json"]) == 21
        site.files = fresh(*entries_of(0, 3)).files
        capsys.readouterr()
        assert cli.run(["monitor", file, "--once", "--json"]) == 23
        (forked,) = lines(capsys.readouterr().out)
        assert (forked["kind"], forked["log"], forked["source"]) == ("forked", "one", site.url)
    assert cli.run(["monitor", file, "--once"]) == 15


def test_what_a_log_says_does_not_steer_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(Site(fresh(b"\x1b[2J[bold red]no statement").files)) as site:
        assert cli.run(["monitor", configure(tmp_path, site.url), "--once"]) == 13
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "refused" in shown
    assert "index: 0" in shown


def test_a_webhook_that_fails_has_a_status_and_shows_no_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(Site(fresh().files)) as site:
        site.post_statuses = [401]
        file = configure(tmp_path, site.url, top=f'webhook.url = "{site.url}/secret"\n')
        assert cli.run(["monitor", file, "--once"]) == 14
        assert len(site.posted) == 1
    shown = capsys.readouterr()
    assert "webhook" in shown.out
    assert "secret" not in shown.out + shown.err


def test_a_wrong_file_has_the_status_of_wrong_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["monitor", configure(tmp_path, "http://log.example/"), "--once"]) == 2
    assert "https" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_follows_until_it_is_told_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    with serving(Site(fresh(b"no statement").files)) as site:
        file = configure(tmp_path, site.url)
        command = [sys.executable, "-m", "confsec", "monitor", file, "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            told = [json.loads(process.stdout.readline())["kind"] for _ in range(3)]
            process.send_signal(number)
            assert process.wait(60) == 0
    assert told == ["first-contact", "new", "refused"]


def test_a_monitor_that_is_killed_at_any_time_misses_nothing(tmp_path: Path) -> None:
    count = 10_000
    with serving(Site(fresh(*entries_of(0, count)).files)) as site:
        file = configure(tmp_path, site.url, "any_entries = true\n")
        told = list[str]()
        for lines_before in (1, 3000, 500, 7000, count):
            command = [sys.executable, "-m", "confsec", "monitor", file, "--json", "--once"]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                told += [line for _, line in zip(range(lines_before), process.stdout, strict=False)]
                process.kill()
                told += process.stdout  # what it had told before
    alerts = [json.loads(line) for line in told if line.endswith("\n")]
    assert {alert["index"] for alert in alerts if alert["kind"] == "new"} == set(range(count))
