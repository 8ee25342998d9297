"""Take each verification step away, one after the other, and see that some test misses it.

    python -m tests.tee.check_deletion            all parts
    python -m tests.tee.check_deletion x509 tpm   some of them
    python -m tests.tee.check_deletion --list     every check, with the evidence that only it refuses

A step is a row of a table of checks, a guard (`if …: raise …`), or a call of a `verify_…`, `check_…` or `require_…`
function whose result nobody uses. Tests are collected once; then each step is taken away in a process of its own, which
runs the tests of that part until one fails. A step that no test misses is a survivor, and there may be none.
"""

from __future__ import annotations

import argparse
import ast
import gc
import importlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final, cast

import pytest
from attrs import evolve, frozen

from confsec.protocol.checks import CheckDefinition, Finding, passed

__all__ = ["PARTS", "Part", "Step", "find_steps", "main", "run_part"]

_WORKERS: Final = 2
_CHECKING: Final = ("verify_", "check_", "require_", "_verify_", "_check_", "_require_")


@frozen
class Part:
    """Modules that verify something, and the tests that have to miss each of their steps."""

    name: str
    modules: tuple[str, ...]
    tests: tuple[str, ...]


_X509: Final = ("der", "x509", "x509_base", "x509_crl", "x509_names", "x509_signatures")
_CORE: Final = ("platforms", "appraisal", "binding", "logged_values", "manifest", "proof", "session")
_SNP: Final = ("certificates", "chain", "demands", "report", "subject", "verifier")
_TDX: Final = ("chain_checks", "collateral", "subject", "tcb", "tcb_checks", "td_checks", "verifier")
_TPM: Final = (
    "ak_checks",
    "certificates",
    "credential",
    "key_checks",
    "quote_checks",
    "registrar",
    "statement",
    "subject",
    "verifier",
)

PARTS: Final = (
    Part(
        "x509", ("confsec.tee.x509", "confsec.tee.x509_crl", "confsec.tee.x509_signatures"), ("tests/tee/test_x509.py",)
    ),
    Part(
        "appraisal",
        tuple(f"confsec.protocol.{name}" for name in _CORE),
        tuple(f"tests/protocol/test_{name}.py" for name in _CORE),
    ),
    Part(
        "sev-snp",
        (*(f"confsec.tee.sev_snp.{name}" for name in _SNP), "confsec.tee.azure", "confsec.tee.svsm"),
        ("tests/tee/sev_snp",),
    ),
    Part("tdx", tuple(f"confsec.tee.tdx.{name}" for name in _TDX), ("tests/tee/tdx",)),
    Part(
        "measured-boot",
        ("confsec.tee.event_log", "confsec.tee.measured_boot", "confsec.tee.cel"),
        ("tests/tee/test_measured_boot.py", "tests/tee/test_cel.py", "tests/tee/test_event_log.py"),
    ),
    Part("tpm", tuple(f"confsec.tee.tpm.{name}" for name in _TPM), ("tests/tee/tpm",)),
)
"""What is looked at."""


@frozen
class Step:
    """One verification step, and how to take it away."""

    module: str
    line: int
    what: str
    """The id of a row, or the source of the condition or call."""

    function: str = ""
    """The qualified name of the function that has the step; empty for a row of a table."""

    @property
    def where(self) -> str:
        """Where the step stands."""
        return f"{self.module.replace('.', '/')}.py:{self.line}"


# --- Finding the steps ------------------------------------------------------------------------------------------------


def find_steps(module: ModuleType) -> list[Step]:
    """Return every verification step of a module."""
    rows = [Step(module.__name__, 0, row.id) for _, table in _tables(module) for row in table]
    return [*rows, *(Step(module.__name__, node.lineno, what, name) for name, node, what in _guards(_parse(module)))]


def _tables(module: ModuleType) -> Iterator[tuple[str, tuple[CheckDefinition[Any], ...]]]:
    """Find the tables of checks that a module defines."""
    for name, value in vars(module).items():
        if isinstance(value, tuple) and value and all(isinstance(row, CheckDefinition) for row in value):
            yield name, cast("tuple[CheckDefinition[Any], ...]", value)


def _parse(module: ModuleType) -> ast.Module:
    assert module.__file__ is not None
    return ast.parse(Path(module.__file__).read_text(encoding="utf-8"), module.__file__)


def _guards(tree: ast.Module) -> Iterator[tuple[str, ast.stmt, str]]:
    """Find guards and calls of checking functions: the qualified name of the function, the statement, its source."""

    def walk(node: ast.AST, path: tuple[str, ...], function: str) -> Iterator[tuple[str, ast.stmt, str]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                yield from walk(child, (*path, child.name), "")
            elif isinstance(child, ast.FunctionDef):
                name = ".".join((*path, child.name))
                yield from walk(child, (*path, child.name), function or name)
            else:
                if function and isinstance(child, ast.stmt) and (what := _step_source(child)):
                    yield function, child, what
                yield from walk(child, path, function)

    yield from walk(tree, (), "")


def _step_source(statement: ast.stmt) -> str:
    if isinstance(statement, ast.If) and isinstance(statement.body[-1], ast.Raise) and len(statement.body) == 1:
        return f"if {ast.unparse(statement.test)}"
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        called = ast.unparse(statement.value.func)
        if called.rpartition(".")[2].startswith(_CHECKING):
            return ast.unparse(statement.value)
    return ""


# --- Taking one away --------------------------------------------------------------------------------------------------


def take_away(step: Step) -> None:
    """Change this process so that the step is gone."""
    module = importlib.import_module(step.module)
    if not step.function:
        _take_row_away(module, step.what)
        return
    tree = _parse(module)
    statement = next(node for _, node, what in _guards(tree) if node.lineno == step.line and what == step.what)
    _remove(tree, statement)
    code = _find_code(compile(ast.fix_missing_locations(tree), step.module, "exec"), step.function.split("."))
    for function in _functions(module, step.function):
        function.__code__ = code


def _take_row_away(module: ModuleType, check_id: str) -> None:
    """Let one row of a table pass whatever it is given."""

    def look(_: object) -> Finding:
        return passed("taken away")

    for name, table in list(_tables(module)):
        setattr(module, name, tuple(evolve(row, look=look) if row.id == check_id else row for row in table))


def _remove(tree: ast.Module, statement: ast.stmt) -> None:
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            statements = getattr(node, field, None)
            if isinstance(statements, list) and statement in statements:
                place = statements.index(statement)
                kept = statement.orelse if isinstance(statement, ast.If) else []
                statements[place : place + 1] = kept or [ast.Pass()]
                return


def _find_code(code: CodeType, path: Sequence[str]) -> CodeType:
    for name in path:
        code = next(each for each in code.co_consts if isinstance(each, CodeType) and each.co_name == name)
    return code


def _functions(module: ModuleType, name: str) -> list[FunctionType]:
    """Return the function itself, whatever has been wrapped around it: a property, a cache, a decorator."""
    found = [
        each
        for each in gc.get_objects()
        if isinstance(each, FunctionType)
        and each.__code__.co_qualname == name
        and each.__code__.co_filename == module.__file__
    ]
    assert found, f"{module.__name__} has no function {name}"
    return found


# --- Running the tests without it -------------------------------------------------------------------------------------


class _Runner:
    """A pytest plugin: instead of running the tests once, run them once for each step that is taken away."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = steps
        self.survivors: list[Step] = []

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Fork for each step; a child exits with 0 as soon as a test fails."""
        running: dict[int, Step] = {}
        for step in self.steps:
            if len(running) == _WORKERS:
                self._wait(running)
            child = os.fork()
            if not child:
                os._exit(_missed(session, step))
            running[child] = step
        while running:
            self._wait(running)
        return True

    def _wait(self, running: dict[int, Step]) -> None:
        child, status = os.wait()
        step = running.pop(child)
        if os.waitstatus_to_exitcode(status) != 0:
            self.survivors.append(step)


def _missed(session: pytest.Session, step: Step) -> int:
    """Run the collected tests without the step, and return 0 if one of them misses it."""
    for name in ("terminalreporter", "capturemanager"):
        session.config.pluginmanager.unregister(name=name)  # nobody reads what a child would print
    try:
        take_away(step)
        items = sorted(session.items, key=lambda item: _distance(item, step))
        for at, item in enumerate(items):
            following = items[at + 1] if at + 1 < len(items) else None
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.testsfailed:
                return 0
    except BaseException:  # noqa: BLE001 - a crash is no test that fails
        return 2
    return 1


def _distance(item: pytest.Item, step: Step) -> int:
    """Say how likely a test is to miss a step: those that are likely go first."""
    if f"[{step.what}:" in item.nodeid:
        return 0
    if step.function and f"test_{step.module.rpartition('.')[2]}.py" in item.nodeid:
        return 1
    return 2 if "refus" in item.nodeid else 3


def run_part(part: Part) -> tuple[int, list[Step]]:
    """Return how many steps a part has, and those that no test misses."""
    steps = [step for name in part.modules for step in find_steps(importlib.import_module(name))]
    runner = _Runner(steps)
    quiet = ["-q", "-p", "no:cacheprovider", "--no-header", "-m", "not slow", "-k", "not asyncio and not trio"]
    status = pytest.main([*quiet, *part.tests], plugins=[runner])
    if status not in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
        raise SystemExit(f"the tests of {part.name} cannot be collected")
    return len(steps), runner.survivors


def main(arguments: Sequence[str]) -> int:
    """Look at all parts, or at those that are named, and say what survives."""
    parser = argparse.ArgumentParser(description="Take each verification step away, and see that some test misses it.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(part.name for part in PARTS))
    parser.add_argument("--list", action="store_true", help="list every check with what only it refuses")
    options = parser.parse_args(arguments)
    chosen = [part for part in PARTS if not options.parts or part.name in options.parts]
    if options.list:
        return _list_refusals()
    survivors: list[Step] = []
    for part in chosen:
        began = time.perf_counter()
        count, left = run_part(part)
        survivors += left
        took = f"{time.perf_counter() - began:.0f} s"
        print(f"{part.name}: {count - len(left)} of {count} steps are missed by a test ({took})")
        for step in left:
            print(f"  NOBODY MISSES  {step.where}  {step.what}")
    return 1 if survivors else 0


def _list_refusals() -> int:
    for name in ("sev_snp", "tdx", "tpm"):
        refusals = importlib.import_module(f"tests.tee.{name}.refusals").REFUSALS
        for refusal in refusals:
            print(f"{refusal.check_id:<36} {refusal.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
