"""`python -m tests.fuzz NAME`: fuzz one decoder, guided by which of its branches were reached, with atheris."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

from confsec.errors import ConfsecError
from tests.fuzz.targets import TARGETS, Target
from tests.support import ROOT

_CORPUS = ROOT / ".cache" / "fuzz"
_HOW = """atheris is not installed, and is no dependency of ours. It has wheels for CPython 3.11 and later on Linux:
  python -m venv --system-site-packages .venv-fuzz && .venv-fuzz/bin/pip install atheris
or, in the environment of the tests:
  pip install atheris"""


def main() -> None:
    """Read the command line, and fuzz until the time is over or something is found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("name", nargs="?", help="the target; --list prints all")
    parser.add_argument("--list", action="store_true", help="print the names of all targets")
    parser.add_argument("--seconds", type=int, default=60, help="how long to fuzz (default: %(default)s)")
    parser.add_argument("--replay", type=Path, help="run one input that was found, and nothing else")
    options = parser.parse_args()
    if options.list:
        print("\n".join(target.name for target in TARGETS))
        return
    target = next((each for each in TARGETS if each.name == options.name), None)
    if target is None:
        parser.error("name one of the targets that --list prints")
    if options.replay:
        run(target, options.replay.read_bytes())
        return
    try:
        atheris = importlib.import_module("atheris")
    except ImportError:
        print(_HOW, file=sys.stderr)
        raise SystemExit(2) from None
    fuzz(atheris, target, options.seconds)


def run(target: Target, data: bytes) -> None:
    """Give one input to a target. Raises whatever is no error of ours."""
    try:
        target.run(data)
    except ConfsecError:
        return


def fuzz(atheris: Any, target: Target, seconds: int) -> None:
    """Fuzz one target, beginning with its seeds and with what earlier runs found to reach more branches."""
    corpus = _CORPUS / target.name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    _instrument(atheris)
    arguments = [
        sys.argv[0],
        f"-max_total_time={seconds}",
        f"-max_len={4 * max(map(len, target.seeds))}",
        f"-artifact_prefix={_CORPUS}/{target.name}-found-",
        "-timeout=5",
        "-print_final_stats=1",
        str(corpus),
    ]
    atheris.Setup(arguments, lambda data: run(target, data))
    atheris.Fuzz()


def _instrument(atheris: Any) -> None:
    """Have atheris see which branches of the library are taken, in functions that were imported long ago, too."""
    for name, module in list(sys.modules.items()):
        if name.startswith("confsec."):
            for value in list(vars(module).values()):
                _instrument_value(atheris, value, name)


def _instrument_value(atheris: Any, value: Any, module: str) -> None:
    if getattr(value, "__module__", None) != module:
        return
    if isinstance(value, type):
        for member in list(vars(value).values()):
            function = getattr(member, "__func__", None) or getattr(member, "fget", None) or member
            if hasattr(function, "__code__"):
                atheris.instrument_func(function)
    elif hasattr(value, "__code__"):
        atheris.instrument_func(value)


if __name__ == "__main__":
    main()
