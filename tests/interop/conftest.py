"""Peers as fixtures, and the matrix at the end of the run.

A test records the cell of the matrix that it fills with `fill_cell`. What a registry refuses is an expected failure and
fails no run; a tool that is not installed is a skip, and so a failure where everything is required.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from attrs import frozen

from tests.interop.peers import Peer, PeerMissingError, Program, ToolMissingError, start
from tests.support import require_or_skip

_CELL = "interop"
# Where tests share a cell, the last of these stands there.
_OUTCOMES = {"passed": "ok", "xfailed": "missing", "skipped": "skipped", "failed": "FAILED", "error": "FAILED"}

FillCell = Callable[[Program | str, str, object, str], None]
StartPeer = Callable[[Program], Peer]


@frozen
class _Line:
    peer: str
    form: str
    suite: str


@pytest.fixture
def fill_cell(record_property: Callable[[str, object], None]) -> FillCell:
    """Say which cell the test fills: the peer, the form, the suite, and who speaks to whom."""

    def fill(program: Program | str, form: str, suite: object, direction: str) -> None:
        name = program if isinstance(program, str) else program.name
        record_property(_CELL, [name, form, str(suite), direction])  # plain, since it crosses processes

    return fill


@pytest.fixture(scope="session")
def start_peer(pytestconfig: pytest.Config) -> Iterator[StartPeer]:
    """Start each peer once. The first call may build it, which takes a minute or two."""
    running: dict[str, Peer] = {}
    missing: dict[str, Exception] = {}

    def report(line: str) -> None:
        capture = pytestconfig.pluginmanager.getplugin("capturemanager")
        assert capture is not None
        with capture.global_and_fixture_disabled():
            print(f"\n{line}", flush=True)

    with ExitStack() as stack:

        def peer(program: Program) -> Peer:
            if program.name not in running and program.name not in missing:
                try:
                    running[program.name] = stack.enter_context(start(program, report))
                except (PeerMissingError, ToolMissingError) as exc:
                    missing[program.name] = exc
            if reason := missing.get(program.name):
                _give_up(reason)
            return running[program.name]

        yield peer


def _give_up(reason: Exception) -> None:
    if isinstance(reason, ToolMissingError):
        require_or_skip(str(reason))
    pytest.xfail(str(reason))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print who spoke with whom, and why not."""
    cells: dict[_Line, dict[str, str]] = {}
    reasons: dict[str, None] = {}
    for outcome, word in _OUTCOMES.items():
        for report in terminalreporter.stats.get(outcome, []):
            for name, value in getattr(report, "user_properties", ()):
                if name == _CELL:
                    *where, direction = value
                    line = _Line(*where)
                    cells.setdefault(line, {})[direction] = word
                    if word == "missing":
                        reasons[f"{line.peer}: {report.wasxfail}"] = None
    if cells:
        _print_matrix(terminalreporter, cells)
    for reason in reasons:
        terminalreporter.write_line(f"  missing: {reason}")


def _print_matrix(terminalreporter: pytest.TerminalReporter, cells: dict[_Line, dict[str, str]]) -> None:
    terminalreporter.section("interop: whom we spoke with")
    for line, directions in sorted(cells.items(), key=lambda item: (item[0].peer, item[0].form, item[0].suite)):
        results = "   ".join(f"{direction}: {word}" for direction, word in sorted(directions.items()))
        terminalreporter.write_line(f"{line.peer:<32} {line.form:<14} {line.suite:<38} {results}")
