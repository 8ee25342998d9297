"""`python -m benchmarks`: measure, and print what was found as a table, as JSON, or into docs/performance.md."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from benchmarks import (
    appraise,
    bhttp,
    blind_rsa,
    first_token,
    hpke_tpm,
    imports,
    issue,
    log,
    ohttp,
    sealed,
    spend,
    stream,
    worst_case,
)
from benchmarks.machine import describe_machine
from benchmarks.measure import FULL, SMOKE, Plan
from benchmarks.page import update_page
from benchmarks.peers import Peers
from benchmarks.report import Report, print_report

Benchmark = Callable[[Plan, Peers], Report]

BENCHMARKS: Final[dict[str, Benchmark]] = {
    "ohttp": ohttp.run,
    "stream": stream.run,
    "bhttp": bhttp.run,
    "sealed": sealed.run,
    "appraise": appraise.run,
    "worst_case": worst_case.run,
    "hpke_tpm": hpke_tpm.run,
    "first_token": first_token.run,
    "import": imports.run,
    "spend": spend.run,
    "blind_rsa": blind_rsa.run,
    "issue": issue.run,
    "log": log.run,
}

PAGE: Final = Path(__file__).parent.parent / "docs" / "performance.md"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, type=click.Choice(list(BENCHMARKS)), metavar="[NAME]...")
@click.option("--peers", "with_peers", is_flag=True, help="Measure implementations in Rust, Go and JavaScript, too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.option("--markdown", is_flag=True, help="Write the tables into docs/performance.md, between their marks.")
@click.option("--smoke", is_flag=True, help="See that everything runs, in seconds. The numbers mean nothing.")
def main(names: tuple[str, ...], *, with_peers: bool, as_json: bool, markdown: bool, smoke: bool) -> None:
    r"""Measure confsec: by default everything.

    NAMEs: ohttp, stream, bhttp, sealed, appraise, worst_case, hpke_tpm, first_token, import, spend, blind_rsa, issue,
    log.

    \b
    For instance:  python -m benchmarks ohttp stream --peers
                   python -m benchmarks --peers --markdown

    Ratios are made in one run, from contenders that take turns, so they hold on a machine that others use too. Times do
    not.
    """
    machine = describe_machine()
    console = Console(quiet=as_json, width=None if sys.stdout.isatty() else 160)
    for name, value in machine.items():
        console.print(f"{name:>9}  {value}", highlight=False)
    reports = []
    for report in _run(names, SMOKE if smoke else FULL, with_peers=with_peers):
        reports.append(report)
        print_report(report, console)
    if as_json:
        found = {report.name: report.to_json() for report in reports}
        click.echo(json.dumps({"machine": machine, "smoke": smoke, "benchmarks": found}))
    if markdown:
        update_page(PAGE, machine, reports)


def _run(names: tuple[str, ...], plan: Plan, *, with_peers: bool) -> Iterator[Report]:
    with Peers(wanted=with_peers) as peers:
        for name in dict.fromkeys(names or BENCHMARKS):
            yield BENCHMARKS[name](plan, peers)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
