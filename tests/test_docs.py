"""Every example of README and docs runs, and every link inside them leads somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples import MISSING, blocks
from tests.support import require_or_skip

ROOT = Path(__file__).parents[1]
RUNNER = ROOT / "tests" / "examples.py"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LANGUAGES = {"", "console", "json", "python", "text", "toml"}
"""What a fenced block may be. Commands are `console`, so that they run."""

each_page = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])


def prose(page: Path) -> str:
    """Return the text without its fenced blocks and code spans, which hold no links."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]+`", "", text)


def anchors(page: Path) -> set[str]:
    """Return what a link to a heading of `page` may name, as GitHub makes it."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+?)\s*$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def run_examples(page: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the examples of `page` in `folder`, with the commands of this Python's environment first on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, str(RUNNER), str(page)]
    env = {**os.environ, "PATH": path, "XDG_STATE_HOME": str(folder / "state")}  # nobody's memory of logs
    return subprocess.run(command, check=False, cwd=folder, env=env, capture_output=True, text=True)


@pytest.mark.timeout(300)
@each_page
def test_examples_run(page: Path, tmp_path: Path) -> None:
    if not any(block.language in {"console", "python", "toml", "json"} for block in blocks(page.read_text())):
        return
    finished = run_examples(page, tmp_path)
    if finished.returncode == MISSING:
        require_or_skip(finished.stdout.splitlines()[-1])
    assert finished.returncode == 0, finished.stdout + finished.stderr


@each_page
def test_blocks_are_of_a_language_that_is_checked(page: Path) -> None:
    unknown = {(block.language, block.line) for block in blocks(page.read_text()) if block.language not in LANGUAGES}
    assert unknown == set()


@each_page
def test_links_inside_the_project_lead_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        if not linked.exists() or (anchor and anchor not in anchors(linked)):
            broken.append(target)
    assert broken == []


@each_page
def test_links_to_the_outside_are_https(page: Path) -> None:
    assert re.findall(r"\]\((http:[^)\s]+)\)", prose(page)) == []


def test_every_page_can_be_reached_from_the_index() -> None:
    seen, todo = set(), [ROOT / "docs" / "index.md"]
    while todo:
        page = todo.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        targets = re.findall(r"\]\(([^)#\s:]+)[^)\s]*\)", prose(page))
        todo += [linked for target in targets if (linked := (page.parent / target).resolve()).exists()]
    assert {page for page in PAGES if page.is_relative_to(ROOT / "docs")} <= seen


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("```python\nassert 1 == 2\n```\n", "AssertionError"),
        ("```console\n$ echo one\ntwo\n```\n", "prints"),
        ("```console\n$ false\n```\n", "exits with 1"),
        ("<!-- keeps running: ready -->\n```console\n$ echo no\n```\n", "prints"),
        ("```toml\na = \n```\n", "TOMLDecodeError"),
        ("```python\n", "has no end"),
    ],
)
def test_wrong_example_fails(tmp_path: Path, text: str, error: str) -> None:
    (tmp_path / "page.md").write_text(text)
    finished = run_examples(tmp_path / "page.md", tmp_path)
    assert finished.returncode == 1
    assert error in finished.stderr


def test_example_sees_what_earlier_blocks_made(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(
        "```python\nx = 1\n```\n<!-- file: note.txt -->\n```text\nhello\n```\n"
        "```console\n$ cat note.txt\nhe…o\n```\n<!-- not run: it would fail -->\n```python\nx = 2\n```\n"
        "```python\nassert x == 1\n```\n"
    )
    finished = run_examples(tmp_path / "page.md", tmp_path)
    assert finished.returncode == 0, finished.stderr


def test_example_that_needs_a_command_of_somebody_else_says_which(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("```console\n$ no-such-command --help\n```\n")
    finished = run_examples(tmp_path / "page.md", tmp_path)
    assert finished.returncode == MISSING
    assert finished.stdout == "no-such-command is not installed\n"


def test_page_that_needs_a_package_of_somebody_else_says_which(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("<!-- needs the package no_such_package -->\n\n```python\n1 / 0\n```\n")
    finished = run_examples(tmp_path / "page.md", tmp_path)
    assert finished.returncode == MISSING
    assert finished.stdout == "the package no_such_package is not installed\n"


def test_command_that_keeps_running_is_waited_for_and_ended(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(
        "<!-- keeps running: ready -->\n```console\n$ sh -c 'echo $$ > pid; echo ready; exec sleep 1000'\n```\n"
        "```console\n$ kill -0 $(cat pid)\n```\n"
    )
    finished = run_examples(tmp_path / "page.md", tmp_path)
    assert finished.returncode == 0, finished.stderr
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
