"""Run the examples of one Markdown file, in order, in the current folder: `python tests/examples.py FILE.md`.

All Python blocks of a file share one namespace, as in a session at the prompt. Each line of a console block that begins
with `$ ` is given to bash; the lines under it are what it prints, where `…` stands for anything. A block says what else
is to be done with it in an HTML comment on the line before:

    <!-- not run: REASON -->        leave it alone
    <!-- file: NAME -->             write it to the file NAME, for the blocks that follow
    <!-- keeps running: TEXT -->    go on when its one command has printed TEXT, and end it after the last block

A command that is not installed ends the run with the status `MISSING` and its name on standard output; so does a
package that a page asks for in a line `<!-- needs the package NAME -->`.
A page that says `<!-- with the demo service -->` finds a service running, and its directory in `service.toml`.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

from anyio.from_thread import start_blocking_portal
from attrs import frozen

from confsec.demo.service import DemoSettings, start_demo

_FENCE = re.compile(r"^```(\w*)\s*$")
_COMMENT = re.compile(r"^<!-- (not run|file|keeps running): (.+) -->$")
_MARKS = ("not run", "file", "keeps running")
_WITH_SERVICE = "<!-- with the demo service -->"
_NEEDS = re.compile(r"^<!-- needs the package (\w+) -->$", re.MULTILINE)
_START_TIMEOUT = 60
MISSING = 77


@frozen
class Block:
    """A fenced block of a Markdown file."""

    language: str
    line: int
    """The number of its first line, from 1."""
    text: str
    not_run: str = ""
    """Why it cannot run; empty if it can."""
    file: str = ""
    """The name of the file that it is; empty if none."""
    keeps_running: str = ""
    """What its command prints when it is ready and goes on; empty if it is to end by itself."""


def blocks(text: str) -> Iterator[Block]:
    """Yield the fenced blocks of a Markdown text."""
    lines = text.splitlines()
    start = language = None
    for number, line in enumerate(lines):
        fence = _FENCE.match(line)
        if start is None and fence:
            start, language = number, fence[1]
        elif start is not None and line.startswith("```"):
            marks = _marks(lines[:start])
            body = "".join(part + "\n" for part in lines[start + 1 : number])
            yield Block(language or "", start + 2, body, *(marks.get(kind, "") for kind in _MARKS))
            start = None
    if start is not None:
        raise ValueError(f"the block that begins in line {start + 1} has no end")


def _marks(before: list[str]) -> dict[str, str]:
    """Return what the comments directly above a block say."""
    marks = {}
    for line in reversed(before):
        comment = _COMMENT.match(line)
        if not comment:
            break
        marks[comment[1]] = comment[2]
    return marks


def run(path: Path) -> None:
    """Run all blocks of a file. Raises what they raise; `AssertionError` if a command prints something else."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    text = path.read_text()
    for package in _NEEDS.findall(text):
        if find_spec(package) is None:
            print(f"the package {package} is not installed")
            sys.exit(MISSING)
    with ExitStack() as background:
        if _WITH_SERVICE in text.splitlines():
            background.enter_context(_demo_service())
        for block in blocks(text):
            if block.file:
                Path(block.file).write_text(block.text)
            if block.keeps_running:
                background.enter_context(_running(block, path))
            elif not block.not_run:
                _run_block(block, path, namespace)


def _run_block(block: Block, path: Path, namespace: dict[str, object]) -> None:
    match block.language:
        case "python":
            # Padded with empty lines, so that a traceback names the line of the Markdown file.
            exec(compile("\n" * (block.line - 1) + block.text, str(path), "exec"), namespace)
        case "console":
            for command, expected in _commands(block):
                _run_command(command, expected, f"{path}, block in line {block.line}")
        case "toml":
            tomllib.loads(block.text)
        case "json":
            json.loads(block.text)


def _commands(block: Block) -> Iterator[tuple[str, str]]:
    """Yield each command of a console block, and what it is to print."""
    command, expected = "", ""
    for line in [*block.text.splitlines(), "$ "]:
        if not line.startswith("$ "):
            expected += line + "\n"
            continue
        if command:
            yield command, expected
        command, expected = line[2:], ""


@contextmanager
def _demo_service() -> Iterator[None]:
    with start_blocking_portal() as portal:
        service = start_demo(Path.cwd(), DemoSettings(taps=False))
        with portal.wrap_async_context_manager(service):
            yield


@contextmanager
def _running(block: Block, path: Path) -> Iterator[None]:
    """Start the command of a block and wait until it says that it is ready; stop it at the end."""
    [(command, _)] = _commands(block)
    output = Path(f"output-of-line-{block.line}")
    with output.open("wb") as log:
        process = subprocess.Popen(["bash", "-c", f"exec {command}"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + _START_TIMEOUT
        while block.keeps_running not in output.read_text():
            late = process.poll() is not None or time.monotonic() > deadline
            assert not late, f"{path}, block in line {block.line}: {command!r} prints:\n{output.read_text()}"
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


def _run_command(command: str, expected: str, where: str) -> None:
    if shutil.which(tool := command.split(maxsplit=1)[0]) is None:
        print(f"{tool} is not installed")
        sys.exit(MISSING)
    finished = subprocess.run(
        ["bash", "-c", command], check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    printed = finished.stdout + finished.stderr
    assert finished.returncode == 0, f"{where}: {command!r} exits with {finished.returncode} and prints:\n{printed}"
    if expected:
        pattern = re.escape(expected.strip()).replace("…", ".*")
        assert re.fullmatch(pattern, printed.strip(), re.DOTALL), f"{where}: {command!r} prints:\n{printed}"


if __name__ == "__main__":
    run(Path(sys.argv[1]))
