"""What commands print: a Proof as a tree, JSON as one object, and progress only where a person looks on."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio
import click

from confsec.errors import ConfigError
from confsec.protocol.policy import UNSAFE_UNATTESTED, Policy, Status
from confsec.protocol.proof import Proof

if TYPE_CHECKING:
    from rich.console import Console
    from rich.tree import Tree

__all__ = [
    "console",
    "print_json",
    "proof_tree",
    "read_bytes",
    "read_policy",
    "replace_bytes",
    "run_async",
    "write_bytes",
]

_T = TypeVar("_T")

_MARKS: Final = {
    Status.PASS: "[green]✔ pass[/]",
    Status.FAIL: "[bold red]✘ fail[/]",
    Status.SKIP: "[yellow]∅ skip[/]",
    Status.INFO: "[cyan]ℹ info[/]",
}


def console(*, stderr: bool = False) -> Console:
    """Return a console on standard output, or on standard error for what is not the result."""
    from rich.console import Console

    is_terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(stderr=stderr, highlight=False, width=None if is_terminal else 120)


def print_json(value: object) -> None:
    """Print one JSON object and nothing else."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def proof_tree(proof: Proof) -> Tree:
    """Draw a Proof: what was checked, what was not, and what has to be assumed."""
    from rich.markup import escape
    from rich.tree import Tree

    policy = proof.contents.policy
    tree = Tree(f"[bold]Proof[/] under the policy [bold]{escape(policy.name)}[/]")
    if policy == UNSAFE_UNATTESTED:
        tree.add("[bold yellow]It proves nothing about the machines: nobody has looked at them.[/]")
    epoch = proof.to_json()["epoch"]
    tree.add(
        f"epoch that began {datetime.fromtimestamp(float(str(epoch)), UTC):%Y-%m-%d %H:%M:%S} UTC, as the operator says"
    )
    candidates = tree.add(f"{len(proof.candidates)} nodes could read the request")
    for candidate in proof.candidates:
        candidates.add(f"node {candidate.hex()[:16]}…")
    checks = tree.add("what was checked before the prompt was sealed")
    for check in proof.checks:
        checks.add(
            f"{_MARKS[check.status]}  [bold]{check.id}[/] [dim]({escape(check.section)})[/]\n{escape(check.why)}"
        )
    assumptions = tree.add("what has to be true besides")
    for assumption in proof.assumptions:
        assumptions.add(escape(assumption))
    return tree


def read_bytes(path: Path, what: str) -> bytes:
    """Read a file that the user named. Raises `ConfigError`."""
    try:
        return path.read_bytes()
    except OSError as exc:
        raise ConfigError(f"{what} {path} cannot be read: {exc.strerror}") from exc


def write_bytes(path: Path, data: bytes, what: str) -> None:
    """Write a file that the user named. Raises `ConfigError`."""
    try:
        path.write_bytes(data)
    except OSError as exc:
        raise ConfigError(f"{what} {path} cannot be written: {exc.strerror}") from exc


def replace_bytes(path: Path, data: bytes) -> None:
    """Write a public file as a whole: a web server that reads it meanwhile finds the old one or the new one.

    Raises `ConfigError`.
    """
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            file.write(data)
        Path(file.name).chmod(0o644)
        os.replace(file.name, path)  # noqa: PTH105 - Path.replace says the same in the other order
    except OSError as exc:
        raise ConfigError(f"{path} cannot be written", got=exc.strerror) from exc


def read_policy(path: Path) -> Policy:
    """Read a policy file that the user named. Raises `ConfigError`."""
    try:
        text = read_bytes(path, "the policy").decode("utf-8")
    except UnicodeDecodeError as exc:
        raise ConfigError(f"the policy {path} is not text in UTF-8") from exc
    return Policy.from_toml(text)


def run_async(
    function: Callable[[], Awaitable[_T]], *, backend: str = "asyncio", backend_options: dict[str, Any] | None = None
) -> _T:
    """Run an asynchronous command."""
    return anyio.run(function, backend=backend, backend_options=backend_options)
