"""`confsec conformance`: run published test vectors against this implementation."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from confsec.cli.output import console, print_json
from confsec.conformance.cases import Outcome
from confsec.conformance.reports import FileReport
from confsec.conformance.runner import run_vectors

if TYPE_CHECKING:
    from rich.status import Status

__all__ = ["command"]

_ALIKE: Final = 4
"""How many files with the same outcome have a row each."""


@click.group(name="conformance")
def command() -> None:
    """Run published test vectors against this implementation.

    For instance:  confsec conformance vectors tests/vectors
    """


@command.command(name="vectors")
@click.argument("paths", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="PATH...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--verbose", is_flag=True, help="List every file and every skipped case too.")
def _vectors(paths: tuple[Path, ...], *, as_json: bool, verbose: bool) -> int:
    """Run vector files.

    PATH is a file, or a folder with all that is below it. A folder with a cases.json is run by it; other files are
    recognised by their form. Numbers are cases.

    Example: confsec conformance vectors tests/vectors

    Exit status: 0 none failed, 1 some failed, 2 wrong input.
    """
    reports = _collect(run_vectors(paths))
    if as_json:
        print_json(_to_json(reports, verbose=verbose))
    else:
        _print(reports, _root(paths), verbose=verbose)
    return 1 if any(report.failed for report in reports) else 0


def _collect(running: Iterable[FileReport]) -> list[FileReport]:
    """Run to the end, and show where it is if a person looks on."""
    reports = []
    with console(stderr=True).status("Looking for vectors") if sys.stderr.isatty() else nullcontext() as status:
        for report in running:
            reports.append(report)
            if status is not None:
                _show_progress(status, report, len(reports))
    return reports


def _show_progress(status: Status, report: FileReport, files: int) -> None:
    from rich.markup import escape

    status.update(f"{files} files, {escape(report.file)}")


def _to_json(reports: Sequence[FileReport], *, verbose: bool) -> dict[str, object]:
    files = [report.to_json() for report in reports]
    if verbose:
        for file, report in zip(files, reports, strict=True):
            file["cases"] = [
                {"name": result.name, "outcome": result.outcome.value, "reason": result.reason, "cases": result.cases}
                for result in report.results
                if result.outcome is not Outcome.PASSED
            ]
    passed, failed, skipped = _totals(reports)
    return {"files": files, "passed": passed, "failed": failed, "skipped": skipped}


def _totals(reports: Sequence[FileReport]) -> tuple[int, int, int]:
    return (
        sum(report.passed for report in reports),
        sum(report.failed for report in reports),
        sum(report.skipped for report in reports),
    )


def _root(paths: Sequence[Path]) -> Path | None:
    """Return the folder below which all files are, if one was asked for."""
    return paths[0] if len(paths) == 1 and paths[0].is_dir() else None


def _print(reports: Sequence[FileReport], root: Path | None, *, verbose: bool) -> None:
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, title=f"below {escape(str(root))}" if root else None, title_justify="left")
    table.add_column("file", overflow="fold")
    for name in ("passed", "failed", "skipped"):
        table.add_column(name, justify="right")
    table.add_column("why", overflow="fold")
    for name, group in _rows(reports, root, verbose=verbose):
        passed, failed, skipped = _totals(group)
        style = "red" if failed else "" if passed else "dim"
        table.add_row(Text(name), str(passed), str(failed), str(skipped), Text(_why(group[0])), style=style)
    out = console()
    out.print(table)
    for report in reports:
        for result in report.results:
            if result.outcome is Outcome.FAILED or (verbose and result.outcome is Outcome.SKIPPED):
                out.print(Text(f"{result.outcome.value}: {report.file}: {result.name}: {result.reason}"))
    passed, failed, skipped = _totals(reports)
    out.print(f"[bold]{passed} passed, {failed} failed, {skipped} skipped[/]")
    if not passed and not failed:
        click.echo("confsec: nothing was run", err=True)


def _why(report: FileReport) -> str:
    """Say why in a row. Failures have lines of their own, underneath."""
    return "; ".join(part for part in (report.skip_reason, report.note) if part)


def _rows(reports: Sequence[FileReport], root: Path | None, *, verbose: bool) -> list[tuple[str, list[FileReport]]]:
    """Name the rows of the table: files of one folder with the same outcome share a row, unless all are asked for."""
    groups: dict[object, list[FileReport]] = {}
    for report in reports if verbose else [report for report in reports if any(_totals([report]))]:
        alike = (report.folder, bool(report.passed), _why(report))
        groups.setdefault(report.file if verbose or report.failed else alike, []).append(report)
    rows: list[tuple[str, list[FileReport]]] = []
    for group in groups.values():
        if len(group) > _ALIKE:
            rows.append((f"{_below(root, group[0].folder)}/ ({len(group)} files)", group))
        else:
            rows += [(_below(root, Path(report.file)), [report]) for report in group]
    return rows


def _below(root: Path | None, path: Path) -> str:
    return str(path.relative_to(root)) if root and path.is_relative_to(root) else str(path)
