"""A monitor follows logs in folders and on web servers, remembers them, and tells what should not happen there."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import pytest
from attrs import evolve

from confsec.backends.http import HttpTransport
from confsec.backends.monitor_store import MonitorStore
from confsec.backends.webhook import Webhook
from confsec.errors import BackendError, BusyError, ConfigError, LocalProtocolError
from confsec.protocol.json_general import JsonItem
from confsec.protocol.merkle import verify_consistency
from confsec.protocol.monitoring import Alert, AlertKind, Watch
from confsec.protocol.predicates import RevokedKind
from confsec.protocol.transparency import verify_checkpoint
from confsec.protocol.wire import decode_base64
from confsec.roles.monitor import Monitor
from confsec.roles.monitor_alerts import AlertDesk
from confsec.roles.monitor_config import MonitorConfig, MonitoredLog
from confsec.roles.monitor_views import kind_of
from tests.http_files import Site, serving
from tests.protocol.logs import StaticLog, entries_of
from tests.protocol.statement_cases import DIRECTORY
from tests.protocol.test_monitoring import NAME, POLICY as STATEMENTS, envelope, revocation
from tests.protocol.test_transparency import AT, HOUR, MINUTE, ORIGIN, POLICY, WITNESSES
from tests.protocol.token_keys import P256

pytestmark = pytest.mark.anyio

ONE = MonitoredLog(
    name="one", origin=ORIGIN, policy=POLICY, sources=(), maximum_age=HOUR, report_new=False, any_entries=True
)


class Watcher:
    """A monitor with a clock that is set, and what it told."""

    def __init__(self, folder: Path, transport: HttpTransport) -> None:
        self.folder = folder
        self.at = AT
        self.told: list[Alert] = []
        self._transport = transport
        self._monitor: Monitor | None = None

    def follow(self, *sources: str, webhook: Webhook | None = None, **changes: Any) -> None:
        """Begin anew, as after a crash: with what is on the disk."""
        log = evolve(ONE, sources=sources, **changes)
        config = MonitorConfig(state=self.folder / "state", logs=(log,), interval=0.01)
        self.desk = AlertDesk(self.told.append, webhook, clock=lambda: self.at)
        self.monitor = Monitor(config, self.desk, self._transport, clock=lambda: self.at)

    async def check(self) -> list[AlertKind]:
        """Look once, and return the kinds of what was told."""
        self.told.clear()
        await self.monitor.check()
        return [alert.kind for alert in self.told]


@pytest.fixture
async def transport() -> AsyncGenerator[HttpTransport]:
    made = HttpTransport()
    yield made
    await made.aclose()


@pytest.fixture
def watcher(tmp_path: Path, transport: HttpTransport) -> Watcher:
    return Watcher(tmp_path, transport)


def write(log: StaticLog, folder: Path) -> str:
    for path, body in log.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(body)
    return str(folder)


def word(at: datetime) -> Sequence[datetime]:
    return (at, at)


# --- A log that does what a log should


async def test_a_log_in_a_folder_is_read_to_its_end_and_then_on(tmp_path: Path, watcher: Watcher) -> None:
    log = StaticLog(entries_of(0, 5000))
    source = write(log, tmp_path / "log")
    watcher.follow(source, report_new=True)
    assert await watcher.check() == [AlertKind.FIRST_CONTACT, *[AlertKind.NEW] * 5000]
    assert [alert.details["index"] for alert in watcher.told[1:]] == list(range(5000))
    assert await watcher.check() == []
    log.grow(entries_of(5000, 5003))
    write(log, tmp_path / "log")
    watcher.follow(source, report_new=True)  # another process
    assert await watcher.check() == [AlertKind.NEW] * 3


async def test_a_log_on_a_web_server_and_its_mirror_are_followed(watcher: Watcher) -> None:
    log = StaticLog(entries_of(0, 300))
    mirrored = dict(log.files)
    with serving(Site(log.files)) as site, serving(Site(mirrored)) as mirror:
        watcher.follow(site.url, mirror.url, report_new=True)
        assert await watcher.check() == [AlertKind.FIRST_CONTACT, *[AlertKind.NEW] * 300]
        log.grow(entries_of(300, 600))
        assert await watcher.check() == [AlertKind.NEW] * 300  # a mirror may lag
        mirrored |= log.files
        assert await watcher.check() == []


async def test_an_empty_log_and_a_quiet_one_are_no_news(tmp_path: Path, watcher: Watcher) -> None:
    log = StaticLog()
    watcher.follow(write(log, tmp_path / "log"), report_new=True)
    assert await watcher.check() == [AlertKind.FIRST_CONTACT]
    log.grow(entries_of(0, 1))
    write(log, tmp_path / "log")
    assert await watcher.check() == [AlertKind.NEW]
    watcher.at = AT + 3 * HOUR
    log.sign(word(watcher.at))
    write(log, tmp_path / "log")
    assert await watcher.check() == []


# --- Statements


async def test_statements_are_watched_and_judged_also_after_a_restart(tmp_path: Path, watcher: Watcher) -> None:
    log = StaticLog([envelope(DIRECTORY), b"no statement"])
    source = write(log, tmp_path / "log")
    settings: dict[str, Any] = {
        "statements": STATEMENTS, "watch": Watch(subjects=frozenset({NAME})), "any_entries": False
    }  # fmt: skip
    watcher.follow(source, **settings)
    assert await watcher.check() == [AlertKind.FIRST_CONTACT, AlertKind.WATCHED, AlertKind.REFUSED]
    log.grow([revocation(RevokedKind.SUBJECT, DIRECTORY.subject_digest())])
    write(log, tmp_path / "log")
    assert await watcher.check() == [AlertKind.WATCHED]
    log.grow([envelope(evolve(DIRECTORY, issued=AT + MINUTE), key=P256)])
    write(log, tmp_path / "log")
    watcher.follow(source, **settings)
    assert await watcher.check() == [AlertKind.WATCHED, AlertKind.REFUSED]
    assert "revoked" in str(watcher.told[1].details["reason"])


async def test_an_older_statement_is_refused_also_after_a_restart(tmp_path: Path, watcher: Watcher) -> None:
    log = StaticLog([envelope(evolve(DIRECTORY, issued=AT + MINUTE))])
    source = write(log, tmp_path / "log")
    watcher.at = AT + MINUTE
    watcher.follow(source, statements=STATEMENTS)
    assert await watcher.check() == [AlertKind.FIRST_CONTACT]
    log.grow([envelope(DIRECTORY)])
    write(log, tmp_path / "log")
    watcher.follow(source, statements=STATEMENTS)
    assert await watcher.check() == [AlertKind.REFUSED]


# --- A log that does what it should not


async def test_a_fork_is_told_with_evidence_that_shows_it(tmp_path: Path, watcher: Watcher) -> None:
    log = StaticLog(entries_of(0, 300))
    forked = StaticLog([*entries_of(0, 299), b"another", *entries_of(300, 700)])
    source = write(log, tmp_path / "log")
    watcher.follow(source)
    await watcher.check()
    write(forked, tmp_path / "log")
    assert await watcher.check() == [AlertKind.FORKED]
    names = watcher.told[0].details["evidence"]
    assert isinstance(names, list)
    old, new, proof = (Path(str(name)).read_bytes() for name in names)
    before, after = (verify_checkpoint(note, POLICY, origin=ORIGIN).checkpoint for note in (old, new))
    assert (before, after) == (log.checkpoint, forked.checkpoint)
    hashes = [decode_base64(line) for line in proof.decode().split()]
    with pytest.raises(Exception, match="another root of the smaller tree"):
        verify_consistency(before.size, after.size, hashes, before.root, after.root)
    # It is told once, until somebody begins anew; the forked tree is never taken for the log's.
    assert await watcher.check() == []
    watcher.follow(source)
    assert await watcher.check() == [AlertKind.FORKED]
    watcher.at = AT + HOUR
    forked.sign(word(watcher.at))
    write(forked, tmp_path / "log")
    assert await watcher.check() == [AlertKind.FORKED]
    log.sign(word(watcher.at))
    write(log, tmp_path / "log")
    assert await watcher.check() == [AlertKind.RECOVERED]


async def test_a_second_tree_of_one_size_is_a_fork(tmp_path: Path, watcher: Watcher) -> None:
    watcher.follow(write(StaticLog(entries_of(0, 9)), tmp_path / "log"))
    await watcher.check()
    write(StaticLog(entries_of(0, 9, "another")), tmp_path / "log")
    assert await watcher.check() == [AlertKind.FORKED]
    names = watcher.told[0].details["evidence"]
    assert isinstance(names, list)
    assert len({Path(str(name)).read_bytes() for name in names}) == 2


@pytest.mark.parametrize("size", [5, 9, 20])
async def test_a_fork_that_no_witness_cosigned_is_told_too(tmp_path: Path, watcher: Watcher, size: int) -> None:
    watcher.follow(
        write(StaticLog(entries_of(0, 9)), tmp_path / "log"), write(StaticLog(entries_of(0, 9)), tmp_path / "m")
    )
    await watcher.check()
    other = StaticLog(entries_of(0, size, "another"), times=())
    write(other, tmp_path / "m")
    kind = AlertKind.SPLIT if size < 9 else AlertKind.FORKED
    assert await watcher.check() == [AlertKind.UNCOSIGNED, kind]


async def test_sources_that_show_different_trees_are_a_split_view(watcher: Watcher) -> None:
    common = entries_of(0, 280)
    left, right = StaticLog([*common, *entries_of(280, 300)]), StaticLog([*common, *entries_of(280, 310, "another")])
    with serving(Site(left.files)) as site, serving(Site(right.files)) as mirror:
        watcher.follow(site.url, mirror.url, report_new=True)
        kinds = await watcher.check()
        assert kinds[:2] == [AlertKind.FIRST_CONTACT, AlertKind.SPLIT]
        split = watcher.told[1]
        assert split.details["source"] == site.url
        evidence = split.details["evidence"]
        assert isinstance(evidence, list)
        assert Path(str(evidence[0])).read_bytes() == left.files["checkpoint"]
        assert Path(str(evidence[1])).read_bytes() == right.files["checkpoint"]
        assert kinds[2:] == [AlertKind.NEW] * 310


async def test_a_log_that_goes_back_is_told(tmp_path: Path, watcher: Watcher) -> None:
    watcher.follow(write(StaticLog(entries_of(0, 9)), tmp_path / "log"))
    await watcher.check()
    write(StaticLog(entries_of(0, 8)), tmp_path / "log")
    assert await watcher.check() == [AlertKind.ROLLED_BACK]
    write(StaticLog(entries_of(0, 9), times=word(AT - MINUTE)), tmp_path / "log")
    assert await watcher.check() == []  # it is still told of
    write(StaticLog(entries_of(0, 9)), tmp_path / "log")
    assert await watcher.check() == [AlertKind.RECOVERED]


async def test_a_new_source_that_shows_an_old_tree_alone_is_told(tmp_path: Path, watcher: Watcher) -> None:
    watcher.follow(write(StaticLog(entries_of(0, 9)), tmp_path / "log"))
    await watcher.check()
    watcher.follow(write(StaticLog(entries_of(0, 5)), tmp_path / "another"))
    assert await watcher.check() == [AlertKind.ROLLED_BACK]


async def test_a_stall_is_told_and_its_end(tmp_path: Path, watcher: Watcher) -> None:
    log = StaticLog(entries_of(0, 9))
    source = write(log, tmp_path / "log")
    watcher.follow(source)
    await watcher.check()
    watcher.at = AT + HOUR + MINUTE
    assert await watcher.check() == [AlertKind.STALLED]
    assert watcher.told[0].details["seconds"] == 3660
    log.sign(word(watcher.at))
    write(log, tmp_path / "log")
    assert await watcher.check() == [AlertKind.RECOVERED]
    (tmp_path / "log" / "checkpoint").unlink()
    assert await watcher.check() == [AlertKind.STALLED]


async def test_a_source_that_does_not_answer_is_told_and_the_other_one_read(watcher: Watcher) -> None:
    log = StaticLog(entries_of(0, 3))
    with serving(Site(log.files)) as site, serving(Site(log.files)) as mirror:
        mirror.statuses["checkpoint"] = 302
        watcher.follow(mirror.url, site.url, report_new=True)
        assert await watcher.check() == [AlertKind.FIRST_CONTACT, AlertKind.STALLED, *[AlertKind.NEW] * 3]
    watcher.follow(mirror.url, site.url)
    assert await watcher.check() == [AlertKind.STALLED] * 2


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("checkpoint", b"no checkpoint"),
        ("tile/0/001.p/44", bytes(44 * 32)),
        ("tile/entries/001.p/44", bytes(88)),
        ("tile/entries/001.p/44", None),
    ],
)
async def test_what_a_source_serves_wrongly_is_told_and_read_elsewhere(
    watcher: Watcher, path: str, body: bytes | None
) -> None:
    log = StaticLog(entries_of(0, 300))
    wrong = dict(log.files)
    del wrong[path]
    if body is not None:
        wrong[path] = body
    with serving(Site(wrong)) as site, serving(Site(log.files)) as mirror:
        watcher.follow(site.url, report_new=True)
        kinds = await watcher.check()
        assert AlertKind.DEFECTIVE in kinds
        known = kinds.count(AlertKind.NEW)
        watcher.follow(site.url, mirror.url, report_new=True)
        kinds = await watcher.check()
        assert AlertKind.DEFECTIVE in kinds
        assert kinds.count(AlertKind.NEW) == 300 - known


async def test_a_source_that_cannot_prove_what_it_shows_is_told(watcher: Watcher) -> None:
    log = StaticLog(entries_of(0, 250))
    old = dict(log.files)
    log.grow(entries_of(250, 300))
    log.files["tile/0/000"] = bytes(256 * 32)
    with serving(Site(log.files)) as site, serving(Site(old)) as mirror:
        watcher.follow(site.url, mirror.url, report_new=True)
        assert await watcher.check() == [AlertKind.FIRST_CONTACT, AlertKind.DEFECTIVE]
        assert watcher.told[1].details["source"] == site.url


async def test_a_source_that_takes_too_long_is_told(watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("confsec.roles.monitor_views._SECONDS", 0.05)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")  # nobody accepts, so nobody answers
    async with listener:
        watcher.follow(f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}")
        assert await watcher.check() == [AlertKind.FIRST_CONTACT, AlertKind.STALLED]
        assert "too long" in watcher.told[1].what


async def test_a_log_that_proves_no_growth_is_not_followed(tmp_path: Path, watcher: Watcher) -> None:
    log = StaticLog(entries_of(0, 9))
    watcher.follow(write(log, tmp_path / "log"), report_new=True)
    await watcher.check()
    log.grow(entries_of(9, 20))
    log.files["tile/0/000.p/20"] = bytes(640)
    write(log, tmp_path / "log")
    assert await watcher.check() == [AlertKind.DEFECTIVE]
    assert await watcher.check() == []
    log = StaticLog(entries_of(0, 20))
    write(log, tmp_path / "log")
    assert await watcher.check() == [*[AlertKind.NEW] * 11, AlertKind.RECOVERED]


async def test_a_checkpoint_without_a_quorum_is_not_taken(tmp_path: Path, watcher: Watcher) -> None:
    log = StaticLog(entries_of(0, 9))
    watcher.follow(write(log, tmp_path / "log"), report_new=True)
    await watcher.check()
    log.grow(entries_of(9, 20), times=(AT,))
    write(log, tmp_path / "log")
    assert await watcher.check() == [AlertKind.UNCOSIGNED]
    log.sign(word(AT), by=WITNESSES[1:])
    write(log, tmp_path / "log")
    assert await watcher.check() == [*[AlertKind.NEW] * 11, AlertKind.RECOVERED]


# --- What is remembered


async def test_a_monitor_that_is_killed_while_it_tells_tells_again(tmp_path: Path, watcher: Watcher) -> None:
    source = write(StaticLog(entries_of(0, 3000)), tmp_path / "log")
    watcher.follow(source, report_new=True)
    told: list[Alert] = []

    def show(alert: Alert) -> None:
        told.append(alert)
        if alert.details.get("index") == 2500:
            raise KeyboardInterrupt

    watcher.desk._show = show  # type: ignore[misc]
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - trio puts a group around it
        await watcher.monitor.check()
    assert "KeyboardInterrupt" in repr(caught.value)
    watcher.follow(source, report_new=True)
    await watcher.check()
    again = [alert.details["index"] for alert in watcher.told]
    assert again == list(range(2304, 3000))


async def test_a_damaged_memory_is_not_forgotten_in_silence(tmp_path: Path, watcher: Watcher) -> None:
    watcher.follow(write(StaticLog(entries_of(0, 3)), tmp_path / "log"))
    await watcher.check()
    file = tmp_path / "state" / "logs" / "one.cbor"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BackendError, match="Restore"):
        await watcher.monitor.check()


async def test_one_folder_has_one_monitor_and_one_name_one_log(tmp_path: Path, watcher: Watcher) -> None:
    watcher.follow(write(StaticLog(entries_of(0, 3)), tmp_path / "log"))
    await watcher.check()
    watcher.follow(str(tmp_path / "log"), origin="log.example/two")
    with pytest.raises(ConfigError, match="another one before"):
        await watcher.monitor.check()
    other = MonitorStore(tmp_path / "state")
    await other.open()
    with pytest.raises(BusyError, match="another monitor"):
        await watcher.monitor.check()
    await other.aclose()


async def test_it_looks_again_and_again(tmp_path: Path, watcher: Watcher) -> None:
    log = StaticLog(entries_of(0, 1))
    watcher.follow(write(log, tmp_path / "log"), report_new=True)
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watcher.monitor.run)
            while len(watcher.told) < 2:
                await anyio.sleep(0.005)
            log.grow(entries_of(1, 2))
            write(log, tmp_path / "log")
            while len(watcher.told) < 3:
                await anyio.sleep(0.005)
            tasks.cancel_scope.cancel()
    assert [alert.kind for alert in watcher.told] == [AlertKind.FIRST_CONTACT, AlertKind.NEW, AlertKind.NEW]


def test_a_bug_of_ours_is_no_alert() -> None:
    with pytest.raises(LocalProtocolError):
        kind_of(LocalProtocolError("a bug"))


# --- The webhook


async def test_alerts_are_posted_in_parts(tmp_path: Path, watcher: Watcher, transport: HttpTransport) -> None:
    with serving(Site()) as site:
        webhook = Webhook(f"{site.url}/hook", transport, pause=0.001)
        watcher.follow(write(StaticLog(entries_of(0, 250)), tmp_path / "log"), webhook=webhook, report_new=True)
        assert AlertKind.UNDELIVERED not in await watcher.check()
        posted = [json.loads(body)["alerts"] for body in site.posted]
        assert [len(alerts) for alerts in posted] == [1, 100, 100, 50]
        assert [alert for part in posted for alert in part] == [alert.to_json() for alert in watcher.told]


async def test_a_webhook_that_fails_is_told_and_gets_the_rest_later(
    tmp_path: Path, watcher: Watcher, transport: HttpTransport
) -> None:
    log = StaticLog(entries_of(0, 2))
    with serving(Site()) as site:
        site.post_statuses = [307, 500, 500, 500]
        webhook = Webhook(f"{site.url}/hook", transport, pause=0.001)
        watcher.follow(write(log, tmp_path / "log"), webhook=webhook, report_new=True)
        assert await watcher.check() == [AlertKind.FIRST_CONTACT, AlertKind.UNDELIVERED, *[AlertKind.NEW] * 2]
        assert watcher.desk.gravest is AlertKind.UNDELIVERED
        assert "/hook" not in json.dumps([alert.to_json() for alert in watcher.told])
        await watcher.desk.post_waiting()
        assert len(watcher.told) == 4  # it fails still, which is known
        await watcher.desk.post_waiting()
        assert watcher.told[4].kind is AlertKind.RECOVERED
        assert [alert["kind"] for alert in json.loads(site.posted[-1])["alerts"]] == ["first-contact", "new", "new"]


async def test_a_post_is_bounded_by_its_size_too(
    tmp_path: Path, watcher: Watcher, transport: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("confsec.roles.monitor_alerts._MAX_POST", 500)
    with serving(Site()) as site:
        webhook = Webhook(f"{site.url}/hook", transport, pause=0.001)
        watcher.follow(write(StaticLog(entries_of(0, 5)), tmp_path / "log"), webhook=webhook, report_new=True)
        await watcher.check()
        posted = [json.loads(body)["alerts"] for body in site.posted]
        assert [alert.get("index") for part in posted for alert in part] == [None, 0, 1, 2, 3, 4]
        assert len(posted) > 3
        assert all(len(body) <= 500 for body in site.posted)


async def test_alerts_of_several_logs_at_once_are_posted_once(transport: HttpTransport) -> None:
    with serving(Site()) as site:
        desk = AlertDesk(list[Alert]().append, Webhook(site.url, transport), clock=lambda: AT)
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                details: dict[str, JsonItem] = {"index": number}
                alert = Alert(kind=AlertKind.NEW, log="one", at=AT, what="new", details=details)
                tasks.start_soon(desk.tell, [alert])
        posted = [alert["index"] for body in site.posted for alert in json.loads(body)["alerts"]]
    assert sorted(posted) == list(range(20))


async def test_long_entries_hide_nothing(tmp_path: Path, watcher: Watcher) -> None:
    source = write(StaticLog([bytes(65_535)] * 1030), tmp_path / "log")
    watcher.follow(source, report_new=True)
    assert await watcher.check() == [AlertKind.FIRST_CONTACT, *[AlertKind.NEW] * 1030]


async def test_a_log_that_keeps_one_waiting_does_not_keep_the_others(tmp_path: Path, transport: HttpTransport) -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")  # nobody accepts, so nobody answers
    async with listener:
        held = f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        source = write(StaticLog(entries_of(0, 1)), tmp_path / "log")
        logs = evolve(ONE, name="held", sources=(held,)), evolve(ONE, sources=(source,), report_new=True)
        told = list[Alert]()
        desk = AlertDesk(told.append, None, clock=lambda: AT)
        config = MonitorConfig(state=tmp_path / "state", logs=logs)
        monitor = Monitor(config, desk, transport, clock=lambda: AT)
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(monitor.run)
                while AlertKind.NEW not in {alert.kind for alert in told}:
                    await anyio.sleep(0.005)
                tasks.cancel_scope.cancel()
    assert {alert.log for alert in told if alert.kind is AlertKind.NEW} == {"one"}


async def test_what_waits_for_a_webhook_is_bounded_and_what_is_dropped_is_said(
    tmp_path: Path, watcher: Watcher, transport: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("confsec.roles.monitor_alerts._MAX_WAITING", 3)
    with serving(Site()) as site:
        site.post_statuses = [400]
        webhook = Webhook(f"{site.url}/hook", transport, pause=0.001)
        watcher.follow(write(StaticLog(entries_of(0, 5)), tmp_path / "log"), webhook=webhook, report_new=True)
        await watcher.check()
        await watcher.desk.post_waiting()
        assert watcher.told[-1].kind is AlertKind.RECOVERED
        assert watcher.told[-1].details["dropped"] == 3
        assert [alert["index"] for alert in json.loads(site.posted[-1])["alerts"]] == [2, 3, 4]
