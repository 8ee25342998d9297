"""What a benchmark found: rows with a goal, as a table on the terminal, as JSON, and as Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, final

from attrs import asdict, field, frozen
from rich.console import Console
from rich.table import Table

from benchmarks.measure import Spread, Timings, ratio_of, spread_of

__all__ = [
    "Goal",
    "Report",
    "Row",
    "at_least",
    "at_most",
    "cost",
    "markdown_table",
    "print_report",
    "share",
    "speed_up",
]

_COLUMNS: Final = ("what", "ours", "against", "theirs", "result", "middle half", "goal", "met")
_SECONDS: Final = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9))


@final
@frozen
class Goal:
    """What the result has to be."""

    bound: float
    kind: Literal["at least", "at most", "more than"]

    def is_met(self, result: float) -> bool:
        if self.kind == "more than":
            return result > self.bound
        return result >= self.bound if self.kind == "at least" else result <= self.bound

    def show(self, unit: str) -> str:
        """Write the goal down, with the unit of the result."""
        sign = {"at least": "≥", "at most": "≤", "more than": ">"}[self.kind]
        return f"{sign} {_show(self.bound, unit)}"


def at_least(bound: float) -> Goal:
    """Return the goal to reach `bound`."""
    return Goal(bound, "at least")


def at_most(bound: float) -> Goal:
    """Return the goal not to exceed `bound`."""
    return Goal(bound, "at most")


@final
@frozen(kw_only=True)
class Row:
    """One comparison, or one number alone."""

    what: str
    """The work."""

    ours: float
    """What our side took or reached, as a median, in `unit`."""

    unit: str
    """Seconds, bytes per second, tokens per second or MiB: see `show`."""

    against: str = ""
    """Whom our side is compared with, if with anybody."""

    theirs: float | None = None
    """The same of the other side."""

    result: float | None = None
    """What the goal is about: a ratio made within each round, or what was added."""

    result_unit: str = "×"
    """The unit of the result: × for ratios."""

    low: float | None = None
    """The first quartile of the rounds' results."""

    high: float | None = None
    """The third quartile."""

    goal: Goal | None = None
    note: str = ""
    """What one has to know to read the row."""

    @property
    def shown_goal(self) -> str:
        """The goal, or nothing."""
        if self.goal is None:
            return ""
        return self.goal.show(self.unit if self.result is None else self.result_unit)

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; nothing where there is none."""
        if self.goal is None:
            return None
        return self.goal.is_met(self.ours if self.result is None else self.result)


@final
@frozen(kw_only=True)
class Report:
    """All rows of one benchmark."""

    name: str
    title: str
    rows: tuple[Row, ...]
    missing: Mapping[str, str] = field(factory=dict)
    """What could not be measured, and why."""

    def to_json(self) -> dict[str, Any]:
        """Return what `--json` prints for this benchmark."""
        rows = [{**asdict(row), "goal": row.shown_goal or None, "met": row.met} for row in self.rows]
        return {"title": self.title, "rows": rows, "missing": dict(self.missing)}


def cost(
    what: str, timings: Timings, against: str, *, ours: str = "ours", goal: Goal | None = None, note: str = ""
) -> Row:
    """Compare times: how many times as long ours takes as the other's does. Less is better."""
    ratio = ratio_of(timings[ours], timings[against])
    return _compared(what, timings, ours, against, ratio, goal=goal, note=note)


def speed_up(
    what: str, timings: Timings, against: str, *, ours: str = "ours", goal: Goal | None = None, note: str = ""
) -> Row:
    """Compare times: how many times as fast as the other we are. More is better."""
    ratio = ratio_of(timings[against], timings[ours])
    return _compared(what, timings, ours, against, ratio, goal=goal, note=note)


def share(
    what: str,
    timings: Timings,
    against: str,
    *,
    size: int,
    ours: str = "ours",
    goal: Goal | None = None,
    note: str = "",
) -> Row:
    """Compare throughput for `size` bytes: how many times the other's throughput ours is. More is better."""
    ratio = ratio_of(timings[against], timings[ours])
    return Row(
        what=what,
        ours=size / spread_of(timings[ours]).median,
        unit="B/s",
        against=against,
        theirs=size / spread_of(timings[against]).median,
        result=ratio.median,
        low=ratio.low,
        high=ratio.high,
        goal=goal,
        note=note,
    )


def _compared(
    what: str, timings: Timings, ours: str, against: str, ratio: Spread, *, goal: Goal | None, note: str
) -> Row:
    return Row(
        what=what,
        ours=spread_of(timings[ours]).median,
        unit="s",
        against=against,
        theirs=spread_of(timings[against]).median,
        result=ratio.median,
        low=ratio.low,
        high=ratio.high,
        goal=goal,
        note=note,
    )


def print_report(report: Report, console: Console) -> None:
    """Print the rows as a table, and below it their notes and what is missing."""
    notes = _notes(report)
    table = Table(*_COLUMNS, title=f"{report.name}: {report.title}", title_justify="left", title_style="bold")
    for row in report.rows:
        table.add_row(*_cells(row, notes), style="red" if row.met is False else "")
    console.print(table)
    for note, number in notes.items():
        console.print(f"  {number}) {note}", highlight=False)
    for what, why in report.missing.items():
        console.print(f"  missing: {what}: {why}", highlight=False)


def markdown_table(report: Report) -> str:
    """Return the same as Markdown."""
    notes = _notes(report)
    lines = [f"**`{report.name}`**: {report.title}", "", _line(_COLUMNS), _line(["---"] * len(_COLUMNS))]
    lines += [_line(_cells(row, notes)) for row in report.rows]
    lines += [""] + [f"{number}) {note}  " for note, number in notes.items()]
    lines += [f"Missing: {what}: {why}  " for what, why in report.missing.items()]
    return "\n".join(lines).strip()


def _notes(report: Report) -> dict[str, int]:
    """Give each note a number. Rows may share one."""
    return {note: number for number, note in enumerate(dict.fromkeys(row.note for row in report.rows if row.note), 1)}


def _cells(row: Row, notes: Mapping[str, int]) -> list[str]:
    mark = f" {notes[row.note]})" if row.note else ""
    return [
        row.what + mark,
        _show(row.ours, row.unit),
        row.against,
        "" if row.theirs is None else _show(row.theirs, row.unit),
        "" if row.result is None else _show(row.result, row.result_unit),
        ""
        if row.low is None or row.high is None
        else f"{_show(row.low, row.result_unit)} to {_show(row.high, row.result_unit)}",
        row.shown_goal,
        {None: "", True: "yes", False: "no"}[row.met],
    ]


def _show(number: float, unit: str) -> str:
    """Write a number with three digits that count, seconds in the unit that suits them."""
    if unit == "B/s":
        return _show(number / 1e6, "MB/s")
    if unit == "s":
        unit, factor = next((each for each in _SECONDS if abs(number) >= each[1]), _SECONDS[-1])
        number /= factor
    digits = f"{number:.0f}" if abs(number) >= 100 else f"{number:.3g}"
    return f"{digits} {unit}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(re.sub(r"\|", r"\\|", cell) for cell in cells) + " |"
