"""Builds the programs that let us speak with peers, once each, under `.cache/interop`.

`build` returns the command that starts a peer. It raises `PeerMissingError` when a registry refuses a package, which is
nobody's fault here and fails no test, and `ToolMissingError` when this machine lacks what it needs to build.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import field, frozen

from tests.support import ROOT

__all__ = [
    "GO_CHRIS_WOOD",
    "GO_CIRCL",
    "GO_LOGS",
    "GO_OPENPCC",
    "GO_PAT",
    "GO_SEV_GUEST",
    "GO_TDX_GUEST",
    "GO_TESSERA",
    "JS_BHTTP",
    "JS_PRIVACYPASS",
    "LOG_PROGRAMS",
    "PROGRAMS",
    "RUST",
    "RUST_PRIVACYPASS",
    "TEE_PROGRAMS",
    "TOKEN_PROGRAMS",
    "PeerMissingError",
    "Program",
    "ToolMissingError",
    "build",
    "find_in_npm",
]

SOURCES = Path(__file__).parent
CACHE = Path(os.environ.get("CONFSEC_INTEROP_CACHE", ROOT / ".cache" / "interop"))
BUILD_TIMEOUT = 900

# What go, cargo and npm say when the registry answered and does not give out the package …
_NOT_SERVED = re.compile(
    r"40[34] (?:Forbidden|Not Found)|410 Gone|got 40[34]|is not available|no matching package",
)
# … and when it did not answer.
_UNREACHABLE = re.compile(
    r"could not resolve|no such host|timed? ?out|ENOTFOUND|EAI_AGAIN|ECONNRE|connection (?:refused|reset)|spurious",
    re.IGNORECASE,
)


class PeerMissingError(Exception):
    """A registry does not serve what the peer is made from."""


class ToolMissingError(Exception):
    """This machine has no compiler for the peer, or does not reach the registry."""


@frozen
class Program:
    """One program of ours that speaks for a peer."""

    name: str
    """What the peer is called in the matrix."""
    tool: tuple[str, ...]
    """The command that tells the version of what builds it."""
    folder: str
    """Where its sources are, beside this file."""
    builds: tuple[tuple[str, ...], ...] = field(repr=False)
    """Commands that build it, run in a copy of the sources."""
    run: tuple[str, ...] = field(repr=False)
    """The command that starts it, run in the same copy."""
    also: str = ""
    """Another folder of sources that it needs."""


RUST = Program(
    name="Rust ohttp and bhttp 0.7.2",
    tool=("cargo", "--version"),
    folder="rust",
    builds=(("cargo", "build", "--quiet", "--release", "--locked"),),
    run=("target/release/confsec-interop-rust",),
)
GO_OPENPCC = Program(
    name="Go openpcc/ohttp v0.0.80",
    tool=("go", "version"),
    folder="go",
    builds=(("go", "build", "-o", "openpcc-peer", "./openpcc"),),
    run=("./openpcc-peer",),
)
GO_CHRIS_WOOD = Program(
    name="Go chris-wood/ohttp-go",
    tool=("go", "version"),
    folder="go-chris-wood",
    also="go",
    builds=(
        # Pinned by commit: the module has no tags, and its checksum is known to Go's database and not to us.
        ("go", "get", "github.com/chris-wood/ohttp-go@07895fd0de0dd155d44ff50d1de9afb775170cd8"),
        ("go", "build", "-mod=mod", "-o", "chris-wood-peer", "."),
    ),
    run=("./chris-wood-peer",),
)
JS_BHTTP = Program(
    name="JS bhttp-js 0.2.1",
    tool=("npm", "--version"),
    folder="js",
    builds=(("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"),),
    run=("node", "peer.js"),
)
PROGRAMS = (RUST, GO_OPENPCC, GO_CHRIS_WOOD, JS_BHTTP)
"""Those that speak Oblivious HTTP and binary HTTP."""

GO_CIRCL = Program(
    name="Go circl v1.6.5",
    tool=("go", "version"),
    folder="go-circl",
    also="go",
    builds=(("go", "build", "-o", "circl-peer", "."),),
    run=("./circl-peer",),
)
GO_PAT = Program(
    name="Go pat-go",
    tool=("go", "version"),
    folder="go-pat",
    also="go",
    builds=(
        # Pinned by commit, as above.
        ("go", "get", "github.com/cloudflare/pat-go@3d584627c34da05ca9cc298149bb19c5d6bfe553"),
        ("go", "build", "-mod=mod", "-o", "pat-peer", "."),
    ),
    run=("./pat-peer",),
)
JS_PRIVACYPASS = Program(
    name="JS privacypass-ts 0.8.1",
    tool=("npm", "--version"),
    folder="js-privacypass",
    builds=(("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"),),
    run=("node", "peer.js"),
)
RUST_PRIVACYPASS = Program(
    name="Rust privacypass 0.2.0-pre.4",
    tool=("cargo", "--version"),
    folder="rust-privacypass",
    builds=(("cargo", "build", "--quiet", "--release", "--locked"),),
    run=("target/release/confsec-interop-privacypass",),
)
TOKEN_PROGRAMS = (GO_CIRCL, GO_PAT, JS_PRIVACYPASS, RUST_PRIVACYPASS)
"""Those that have blind signatures or tokens."""

GO_SEV_GUEST = Program(
    name="Go go-sev-guest v0.15.0",
    tool=("go", "version"),
    folder="go-sev-guest",
    also="go",
    builds=(("go", "build", "-o", "sev-guest-peer", "."),),
    run=("./sev-guest-peer",),
)
GO_TDX_GUEST = Program(
    name="Go go-tdx-guest v0.3.1",
    tool=("go", "version"),
    folder="go-tdx-guest",
    also="go",
    builds=(("go", "build", "-o", "tdx-guest-peer", "."),),
    run=("./tdx-guest-peer",),
)
TEE_PROGRAMS = (GO_SEV_GUEST, GO_TDX_GUEST)
"""Those that verify evidence of a TEE."""

GO_LOGS = Program(
    name="Go x/mod, formats, merkle",
    tool=("go", "version"),
    folder="go-logs",
    also="go",
    builds=(("go", "build", "-o", "logs-peer", "."),),
    run=("./logs-peer",),
)
GO_TESSERA = Program(
    name="Go tessera v1.0.4",
    tool=("go", "version"),
    folder="go-tessera",
    also="go",
    builds=(("go", "build", "-o", "tessera-peer", "."),),
    run=("./tessera-peer",),
)
LOG_PROGRAMS = (GO_LOGS, GO_TESSERA)
"""Those that have transparency logs, or parts of them."""


def build(program: Program, report: Callable[[str], None] = print) -> tuple[str, ...]:
    """Build `program` unless it is built already, and return the command that starts it.

    Raises `PeerMissingError`, `ToolMissingError`, and `RuntimeError` with the compiler's words for any other failure.
    """
    version = _tool_version(program)
    place = CACHE / program.folder
    stamp, digest = place / "built", _digest(program, version)
    with _locked(program):
        if not stamp.exists() or stamp.read_text() != digest:
            report(f"interop: building {program.name} with {version} …")
            begin = time.monotonic()
            _copy_sources(program)
            for command in program.builds:
                _run(program.name, ("nice", "-n", "10", *command), place)
            stamp.write_text(digest)
            report(f"interop: built {program.name} in {time.monotonic() - begin:.0f} s")
    first, *rest = program.run
    return (str(place / first) if "/" in first else first, *(str(place / part) for part in rest))


def find_in_npm(package: str) -> None:
    """Raise `PeerMissingError` if npm does not serve the package, and `ToolMissingError` if it cannot be asked."""
    if shutil.which("npm") is None:
        raise ToolMissingError(f"npm is not installed, which finds {package}")
    _run(package, ("npm", "view", package, "version", "--loglevel=error"), SOURCES)


def _tool_version(program: Program) -> str:
    if shutil.which(program.tool[0]) is None:
        raise ToolMissingError(f"{program.tool[0]} is not installed, which {program.name} needs")
    return subprocess.run(program.tool, check=True, capture_output=True, text=True).stdout.strip()


def _sources(program: Program) -> Iterator[Path]:
    for folder in filter(None, (program.folder, program.also)):
        files = (path for path in (SOURCES / folder).rglob("*") if path.is_file())
        yield from sorted(path for path in files if not {"target", "node_modules"} & set(path.parts))


def _digest(program: Program, version: str) -> str:
    state = hashlib.sha256(repr((version, program.builds)).encode())
    for path in _sources(program):
        state.update(f"{path.relative_to(SOURCES)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return state.hexdigest()


def _copy_sources(program: Program) -> None:
    for path in _sources(program):
        copy = CACHE / path.relative_to(SOURCES)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())


@contextmanager
def _locked(program: Program) -> Iterator[None]:
    """Let one process build at a time: tests and benchmarks may start together."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{program.folder}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(name: str, command: tuple[str, ...], place: Path) -> None:
    for pause in (3, 10, None):
        result = subprocess.run(
            command,
            check=False,
            cwd=place,
            capture_output=True,
            text=True,
            timeout=BUILD_TIMEOUT,
            stdin=subprocess.DEVNULL,
        )
        output = result.stderr + result.stdout
        if result.returncode == 0:
            return
        if line := _line_with(_NOT_SERVED, output):
            raise PeerMissingError(f"the registry refuses {name}: {line}")
        if not (line := _line_with(_UNREACHABLE, output)):
            raise RuntimeError(f"{' '.join(command)} failed:\n{output}")
        if pause is None:
            raise ToolMissingError(f"the registry for {name} is not reached: {line}")
        time.sleep(pause)


def _line_with(pattern: re.Pattern[str], output: str) -> str:
    return next((line.strip() for line in output.splitlines() if pattern.search(line)), "")


if __name__ == "__main__":
    for each in (*PROGRAMS, *TOKEN_PROGRAMS, *TEE_PROGRAMS, *LOG_PROGRAMS):
        try:
            build(each)
        except PeerMissingError as exc:
            print(exc, file=sys.stderr)
