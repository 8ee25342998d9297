"""`confsec log check` and `confsec log prove`: what is proved, what is refused, and what is said of the rest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from confsec import cli
from confsec.backends.system import now
from confsec.protocol.note_keys import KeyType, Signer
from confsec.protocol.statement_rules import to_toml
from confsec.protocol.tlog_proof import TlogProof
from confsec.protocol.transparency import verify_logged
from tests.http_files import Site, serving
from tests.protocol.logs import StaticLog, entries_of
from tests.protocol.statement_cases import DIRECTORY
from tests.protocol.test_monitoring import POLICY as STATEMENTS, envelope
from tests.protocol.test_transparency import LOG, ORIGIN, POLICY

Capture = pytest.CaptureFixture[str]


class Log:
    """A log on a web server, and the file that says whose word counts."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site = site
        self.folder = folder
        self.witnesses = folder / "witnesses.txt"
        self.witnesses.write_bytes(POLICY.encode())

    def serve(self, log: StaticLog) -> None:
        self.site.files = log.files

    def run(self, command: str, *words: str) -> int:
        log = [self.site.url] if command == "check" else ["--log", self.site.url]
        return cli.run(["log", command, *words, *log, "--witnesses", str(self.witnesses)])

    def check(self, capsys: Capture, *words: str) -> dict[str, object]:
        assert self.run("check", *words, "--json") == 0
        report: dict[str, object] = json.loads(capsys.readouterr().out)
        return report


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with serving(Site()) as site:
        yield Log(site, tmp_path)


def fresh(*entries: bytes) -> StaticLog:
    return StaticLog(entries, times=(now(), now()))


# --- check


def test_a_whole_log_is_checked_and_what_was_not_is_said(log: Log, capsys: Capture) -> None:
    made = fresh(*entries_of(0, 2500))
    log.serve(made)
    report = log.check(capsys)
    assert (report["verdict"], report["origin"], report["size"]) == ("verified", ORIGIN, 2500)
    assert report["root"] == made.checkpoint.root.hex()
    assert report["cosigners"] == ["w1", "w2"]
    assert "2500 entries from 0 on: in the tree, byte for byte" in str(report["checked"])
    assert "without --memory" in str(report["not_checked"])
    assert "without --statements" in str(report["not_checked"])
    bundles = [path for path in log.site.asked if path.startswith("tile/entries/")]
    assert len(bundles) == len(set(bundles)) == 10


def test_a_log_in_a_folder_is_checked_for_people(log: Log, tmp_path: Path, capsys: Capture) -> None:
    for path, body in fresh(*entries_of(0, 3)).files.items():
        (tmp_path / "log" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "log" / path).write_bytes(body)
    assert cli.run(["log", "check", str(tmp_path / "log"), "--witnesses", str(log.witnesses)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("VERIFIED: log.example/one")
    assert "not checked" in shown


def test_only_the_newest_entries_are_read_when_that_is_wanted(log: Log, capsys: Capture) -> None:
    log.serve(fresh(*entries_of(0, 2500)))
    report = log.check(capsys, "--newest", "3")
    assert report["first_entry_read"] == 2497
    assert "2497 entries before" in str(report["not_checked"])
    assert "tile/entries/000" not in log.site.asked
    assert "byte for byte" not in str(log.check(capsys, "--newest", "0")["checked"])


def test_a_log_that_was_seen_has_to_grow(log: Log, capsys: Capture) -> None:
    memory = ["--memory", str(log.folder / "logs.db")]
    made = fresh(*entries_of(0, 10))
    log.serve(made)
    assert "nothing was remembered" in str(log.check(capsys, *memory)["not_checked"])
    made.grow(entries_of(10, 20), times=(now(), now()))
    log.serve(made)
    assert "begins with the 10 entries of" in str(log.check(capsys, *memory)["checked"])
    for other, reason in (
        (entries_of(0, 20, "another"), "log_forked"),
        (entries_of(0, 30, "another"), "log_forked"),
        (entries_of(0, 9), "log_rolled_back"),
    ):
        log.serve(fresh(*other))
        assert log.run("check", *memory) == 1
        assert f"[{reason}]" in capsys.readouterr().err
    assert log.run("check") == 0


@pytest.mark.parametrize("path", ["tile/0/000.p/9", "tile/entries/000.p/9"])
@pytest.mark.parametrize("missing", [True, False])
def test_a_file_that_is_wrong_or_missing_is_refused(log: Log, capsys: Capture, path: str, *, missing: bool) -> None:
    made = fresh(*entries_of(0, 9))
    made.files[path] = bytes(len(made.files[path]))
    if missing:
        del made.files[path]
    log.serve(made)
    assert log.run("check") == 1
    assert capsys.readouterr().out == ""


def test_a_word_that_is_old_or_of_nobody_is_refused(log: Log, capsys: Capture) -> None:
    day = now() - timedelta(days=1, minutes=1)
    log.serve(StaticLog(entries_of(0, 9), times=(day, day)))
    assert log.run("check") == 1
    assert "[log_stale]" in capsys.readouterr().err
    assert log.run("check", "--maximum-age", "2d") == 0
    log.serve(StaticLog(entries_of(0, 9), times=(now(),)))
    assert log.run("check") == 1
    assert "[log_uncosigned]" in capsys.readouterr().err
    log.witnesses.write_text(f"log {LOG.key.encode()}\nquorum none\n")
    assert log.run("check") == 2


def test_statements_are_judged_by_rules(log: Log, capsys: Capture) -> None:
    rules = log.folder / "statements.toml"
    rules.write_text(to_toml(STATEMENTS))
    log.serve(fresh(envelope(DIRECTORY)))
    assert "1 of 1 entry: statements" in str(log.check(capsys, "--statements", str(rules))["checked"])
    log.serve(fresh(envelope(DIRECTORY), *entries_of(1, 30)))
    assert log.run("check", "--statements", str(rules), "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert report["verdict"] == "refused"
    assert [each["index"] for each in report["refused"]] == list(range(1, 30))
    assert log.run("check", "--statements", str(rules)) == 1
    shown = capsys.readouterr().out
    assert "entry 20:" in shown
    assert "and 9 more" in shown


def test_which_log_and_whose_word_have_to_be_clear(log: Log, capsys: Capture) -> None:
    log.serve(fresh(*entries_of(0, 9)))
    assert log.run("check", "--origin", "log.example/two") == 2
    assert "does not know" in capsys.readouterr().err
    second = Signer("log.example/two", KeyType.ED25519, b"2" * 32)
    log.witnesses.write_bytes(b"log %s\n%s" % (second.key.encode().encode(), POLICY.encode()))
    assert log.run("check") == 2
    assert "--origin" in capsys.readouterr().err
    assert log.run("check", "--origin", ORIGIN) == 0
    assert log.run("check", "--origin", ORIGIN, "--trusted-root", "root.json") == 2
    assert "--statements" in capsys.readouterr().err


# --- prove


def prove(log: Log, capsys: Capture, entry: str, *words: str) -> TlogProof:
    out = log.folder / "proof.tlog"
    assert log.run("prove", entry, "-o", str(out), *words) == 0
    proof = TlogProof.decode(out.read_bytes())
    assert capsys.readouterr().out == f"{proof.index}\n"
    return proof


@pytest.mark.parametrize("index", [0, 255, 256, 2499])
def test_an_entry_is_proved_by_its_number(log: Log, capsys: Capture, index: int) -> None:
    log.serve(fresh(*entries_of(0, 2500)))
    entry = log.folder / "entry"
    proof = prove(log, capsys, str(index), "--entry-out", str(entry))
    assert proof.index == index
    assert entry.read_bytes() == b"entry %d" % index
    assert verify_logged(entry.read_bytes(), proof, POLICY, origin=ORIGIN).checkpoint.size == 2500


@pytest.mark.parametrize("index", [0, 300, 2499])
def test_an_entry_is_found_by_what_it_is(log: Log, capsys: Capture, index: int) -> None:
    log.serve(fresh(*entries_of(0, 2500)))
    entry = log.folder / "entry"
    entry.write_bytes(b"entry %d" % index)
    proof = prove(log, capsys, str(entry))
    assert proof.index == index
    verify_logged(entry.read_bytes(), proof, POLICY, origin=ORIGIN)
    bundles = [path for path in log.site.asked if path.startswith("tile/entries/")]
    assert len(bundles) == 1


def test_what_is_not_in_the_log_is_not_proved(log: Log, capsys: Capture) -> None:
    log.serve(fresh(*entries_of(0, 300)))
    out, entry = log.folder / "proof.tlog", log.folder / "entry"
    entry.write_bytes(b"another")
    assert log.run("prove", str(entry), "-o", str(out)) == 1
    assert "does not have this entry" in capsys.readouterr().err
    assert log.run("prove", "300", "-o", str(out)) == 1
    entry.write_bytes(bytes(65_536))
    assert log.run("prove", str(entry), "-o", str(out)) == 2
    assert log.run("prove", "nowhere", "-o", str(out)) == 2
    log.serve(fresh())
    assert log.run("prove", "0", "-o", str(out)) == 1
    assert not out.exists()


def test_a_log_that_shows_another_tree_proves_nothing(log: Log, capsys: Capture) -> None:
    memory = ["--memory", str(log.folder / "logs.db")]
    log.serve(fresh(*entries_of(0, 9)))
    prove(log, capsys, "3", *memory)
    log.serve(fresh(*entries_of(0, 12, "another")))
    out = log.folder / "another.tlog"
    assert log.run("prove", "3", "-o", str(out), *memory) == 1
    assert "[log_forked]" in capsys.readouterr().err
    assert not out.exists()
