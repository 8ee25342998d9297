"""The checks of this project, one session each: `nox -l` lists them, `nox -s lint` runs one.

Each session makes an environment of its own. `make lint` and CI run the same sessions in the one `.venv` that is there
already (`nox --no-venv`), so that the command behind a check is written once: here.
"""

from __future__ import annotations

import nox

nox.needs_version = ">=2025.5"
nox.options.default_venv_backend = "uv|venv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "imports", "docs", "tests"]

SHARED_VECTORS = "../shared/vectors"


def install(session: nox.Session) -> None:
    """Install this project as a developer has it, unless the session runs in an environment that is there already."""
    if session.virtualenv.is_sandboxed:
        session.install("--editable", ".[all,test]")


@nox.session
def tests(session: nox.Session) -> None:
    """Run every test that this machine can run."""
    install(session)
    session.run("python", "-m", "pytest", "-rs", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    install(session)
    session.run("ruff", "check", "--quiet", ".")
    session.run("ruff", "format", "--check", "--quiet", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types as we see them (mypy) and as embedders do (pyright: is every public name typed?)."""
    install(session)
    session.run("mypy")
    session.run("pyright", "--verifytypes", "confsec", "--ignoreexternal", env={"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"})


@nox.session
def imports(session: nox.Session) -> None:
    """Check who imports whom."""
    install(session)
    session.run("lint-imports", "--no-cache")


@nox.session
def docs(session: nox.Session) -> None:
    """Run the examples of README and docs, and follow every link inside them."""
    install(session)
    session.run("python", "-m", "pytest", "-rs", "tests/test_docs.py", *session.posargs)


@nox.session
def vectors(session: nox.Session) -> None:
    """Run published test vectors: those of ../shared/vectors, or of the paths given."""
    install(session)
    session.run("confsec", "conformance", "vectors", *(session.posargs or [SHARED_VECTORS]))


@nox.session
def interop(session: nox.Session) -> None:
    """Speak with implementations of others in Rust, Go and JavaScript."""
    install(session)
    session.run("python", "-m", "pytest", "-rs", "-m", "interop", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure, and print the table. Names of benchmarks and options may follow `--`."""
    install(session)
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Ask for every branch of the pure core: pure code has no excuse."""
    install(session)
    session.run("coverage", "run", "-m", "pytest", "-q", "tests/protocol", *session.posargs)
    session.run("coverage", "report", "--include=*/confsec/protocol/*", "--fail-under=100")
