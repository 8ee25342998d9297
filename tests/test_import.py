"""`import confsec` is quick because of what it leaves out; the names that it promises come when they are used."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import confsec
from confsec import errors

HEAVY = {
    "anyio",
    "asyncio",
    "cbor2",
    "click",
    "cryptography",
    "h11",
    "httptools",
    "httpx",
    "httpx2",
    "openai",
    "rich",
    "sigstore",
    "ssl",
    "trio",
    "uvicorn",
    "uvloop",
    "xllamacpp",
}
"""What costs time to import, opens sockets or belongs to an extra."""

IMPORT_ALL = """
import importlib, pkgutil, confsec

for module in pkgutil.walk_packages(confsec.__path__, "confsec."):
    # The two servers are imported by `roles.server` alone, which says what is missing.
    if module.name in {"confsec.__main__", "confsec.roles.server_asyncio", "confsec.roles.server_trio"}:
        continue
    try:
        importlib.import_module(module.name)
    except confsec.MissingExtraError:
        pass
"""


def modules_after(statement: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has after `statement`."""
    program = f"import json, sys; {statement}; print(json.dumps(sorted(sys.modules)))"
    finished = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return {name.partition(".")[0] for name in json.loads(finished.stdout)}


def test_import_confsec_imports_no_cli_http_server_or_engine_library() -> None:
    assert modules_after("import confsec") & HEAVY == set()


def test_import_confsec_imports_nothing_of_ours_but_the_errors() -> None:
    program = "import sys, confsec; print(*sorted(name for name in sys.modules if name.startswith('confsec')))"
    finished = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert finished.stdout.split() == ["confsec", "confsec.errors"]


def test_pure_core_imports_no_event_loop_and_no_server() -> None:
    program = (
        "import importlib, pkgutil, confsec.protocol as p;"
        "[importlib.import_module(m.name) for m in pkgutil.walk_packages(p.__path__, 'confsec.protocol.')]"
    )
    assert modules_after(program) & {"anyio", "asyncio", "h11", "trio", "uvicorn"} == set()


def test_every_module_imports_or_says_which_extra_is_missing() -> None:
    # CI runs this where nothing but the core is installed, too.
    finished = subprocess.run([sys.executable, "-c", IMPORT_ALL], check=False, capture_output=True, text=True)
    assert finished.stderr == ""


def test_every_public_name_is_there() -> None:
    missing = [name for name in confsec.__all__ if not hasattr(confsec, name)]
    assert missing == []


def test_every_error_can_be_caught_by_a_name_that_says_more_than_the_root() -> None:
    names = set(confsec.__all__) - {"ConfsecError"}
    caught = tuple(getattr(errors, name) for name in names & set(errors.__all__))
    raised = [name for name in errors.__all__ if issubclass(getattr(errors, name), Exception)]
    assert [name for name in raised if not issubclass(getattr(errors, name), caught)] == ["ConfsecError"]


def test_dir_shows_names_that_are_not_imported_yet() -> None:
    assert set(confsec.__all__) <= set(dir(confsec))


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Cleint'"):
        getattr(confsec, "Cleint")  # noqa: B009 - a checker would see the slip, which is the point
