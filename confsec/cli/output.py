"""What commands read and print: policies and other files, JSON as one object, and a console for people.

How a Proof looks is in `proof_tree.py` and `proof_html.py`.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio
import click

from confsec.cli.printable import json_text
from confsec.cli.proof_tree import proof_tree
from confsec.errors import ConfigError
from confsec.protocol.log_root import LogRoot
from confsec.protocol.policy import Policy

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "MAX_POLICY",
    "console",
    "constant_policy",
    "find_policy",
    "print_json",
    "proof_tree",
    "read_bytes",
    "read_policy",
    "read_root",
    "replace_bytes",
    "run_async",
    "write_bytes",
]

_T = TypeVar("_T")

MAX_POLICY: Final = 1 << 20
"""A policy file has at most 1 MiB."""

_PIPE_WIDTH: Final = 120


def console(*, stderr: bool = False) -> Console:
    """Return a console on standard output, or on standard error for what is not the result."""
    from rich.console import Console

    is_terminal = (sys.stderr if stderr else sys.stdout).isatty()
    asked = is_terminal or "COLUMNS" in os.environ
    return Console(stderr=stderr, highlight=False, emoji=False, width=None if asked else _PIPE_WIDTH)


def print_json(value: object) -> None:
    """Print one JSON object and nothing else."""
    click.echo(json_text(value))


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
    """Read a policy file that the user named. Raises `ConfigError`, which names the file and the key."""
    from confsec.tee.registry import POLICIES

    data = read_bytes(path, "the policy")
    if len(data) > MAX_POLICY:
        raise ConfigError(f"the policy {path} is too long", got=len(data), want=f"at most {MAX_POLICY} bytes")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise ConfigError(f"the policy {path} is not text in UTF-8") from exc
    return POLICIES.from_toml(text)


def read_root(path: Path) -> LogRoot:
    """Read a root file that the user named. Raises `ConfigError`, which names the file or the key."""
    data = read_bytes(path, "the root file")
    try:
        return LogRoot.from_toml(data.decode("utf-8"))
    except UnicodeDecodeError as exc:
        raise ConfigError(f"the root file {path} is not text in UTF-8") from exc


def constant_policy(name: str) -> Policy:
    """Return a policy that this version publishes. Raises `ConfigError` if there is none of this name."""
    from confsec.tee.registry import POLICIES

    for policy in POLICIES.constants:
        if policy.name == name:
            return policy
    published = ", ".join(policy.name for policy in POLICIES.constants)
    raise ConfigError("this version publishes no such policy", got=name, want=published)


def find_policy(file_or_name: str) -> Policy:
    """Return the constant of this name, or else read the file. Raises `ConfigError`."""
    from confsec.tee.registry import POLICIES

    if file_or_name in {policy.name for policy in POLICIES.constants}:
        return constant_policy(file_or_name)
    return read_policy(Path(file_or_name))


def run_async(
    function: Callable[[], Awaitable[_T]], *, backend: str = "asyncio", backend_options: dict[str, Any] | None = None
) -> _T:
    """Run an asynchronous command."""
    return anyio.run(function, backend=backend, backend_options=backend_options)
