"""Writes what was found into a page, between marks that name the benchmark. What was not measured stays as it is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.report import Report, markdown_table

__all__ = ["update_page"]


def update_page(page: Path, machine: Mapping[str, str], reports: Sequence[Report]) -> None:
    """Replace the machine's description and the tables of `reports`. Raises `ValueError` where a mark is missing."""
    text = page.read_text(encoding="utf-8")
    text = _replace(text, "machine", "\n".join(f"* {name}: {value}" for name, value in machine.items()))
    for report in reports:
        text = _replace(text, report.name, markdown_table(report))
    page.write_text(text, encoding="utf-8")


def _replace(text: str, name: str, content: str) -> str:
    begin, end = f"<!-- measured: {name} -->", f"<!-- end of {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"the page has no place for {name}: {begin} … {end}")
    return pattern.sub(lambda _: f"{begin}\n\n{content}\n\n{end}", text)
