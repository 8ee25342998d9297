"""Wheel and sdist of a commit, the same bit for bit wherever and whenever they are built.

The files of the commit are laid into an empty folder, and uv_build, which the commit pins to one version, makes both
files of them. It is taken from this environment, so nothing is downloaded. It sees no variable, setting or umask of
whoever builds, and `SOURCE_DATE_EPOCH` is the time of the commit.
"""

from __future__ import annotations

import platform
import subprocess
import tempfile
import tomllib
from hashlib import sha256
from importlib.metadata import Distribution, PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any, Final, final

from attrs import field, frozen

from confsec.errors import BackendError, ConfigError, MissingExtraError
from confsec.release.source import SourceTree

__all__ = ["Artifact", "Project", "build", "toolchain"]

_BACKEND: Final = "uv_build"
_PIN: Final = f"{_BACKEND}=="
_SECONDS: Final = 300
"""How long the backend may take. It needs one."""


@final
@frozen
class Artifact:
    """A file of a release."""

    name: str

    data: bytes = field(repr=False)

    @property
    def digest(self) -> bytes:
        """SHA-256, 32 bytes."""
        return sha256(self.data).digest()


@final
@frozen
class Project:
    """What `pyproject.toml` of a commit says."""

    members: dict[str, Any] = field(repr=False)
    """The table `project`."""

    uv_build: str
    """The one version of uv_build that builds it."""

    @classmethod
    def of(cls, source: SourceTree) -> Project:
        """Read it. Raises `ConfigError`, also if the backend is not pinned exactly."""
        try:
            file = tomllib.loads(source.read("pyproject.toml").decode("utf-8"))
            system, members = file["build-system"], file["project"]
            backend, [requirement] = system["build-backend"], system["requires"]
        except (ValueError, KeyError, TypeError) as exc:
            raise ConfigError(f"pyproject.toml of {source.commit} does not say what builds it") from exc
        if backend != _BACKEND or "backend-path" in system or not requirement.startswith(_PIN):
            raise ConfigError("the build backend is another, or not pinned exactly", got=requirement, want=f"{_PIN}…")
        return cls(members, requirement.removeprefix(_PIN))


def build(source: SourceTree) -> tuple[Artifact, Artifact]:
    """Build wheel and sdist. Raises `ConfigError` for a backend of another version, and `BackendError`."""
    backend = _backend(Project.of(source).uv_build)
    with tempfile.TemporaryDirectory(prefix="confsec-release-") as made:
        folder = Path(made)
        tree, home = folder / "tree", folder / "home"
        for each in (tree, home):
            each.mkdir()
        source.write(tree)
        environment = _environment(source, home)
        names = [_run([backend, hook, "../home"], tree, environment) for hook in ("build-wheel", "build-sdist")]
        wheel, sdist = (Artifact(name, (home / name).read_bytes()) for name in names)
        return wheel, sdist


def toolchain(*packages: str) -> dict[str, str]:
    """Return the versions of what a build depends on here: uv_build, these packages, Python and the machine."""
    tools = {package: version(package) for package in (_BACKEND, *packages)}
    return tools | {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}".lower()}


def _backend(pinned: str) -> Path:
    """Return the backend's program, if it has the version that is pinned."""
    try:
        installed = distribution(_BACKEND)
    except PackageNotFoundError as exc:
        raise MissingExtraError(_BACKEND, extra="release") from exc
    if installed.version != pinned:
        raise ConfigError(
            "another version of uv_build is installed than the commit pins", got=installed.version, want=pinned,
            hint=f"Type: pip install '{_PIN}{pinned}'",
        )  # fmt: skip
    return _program(installed)


def _program(installed: Distribution) -> Path:
    for file in installed.files or ():
        if file.stem == "uv-build":
            return Path(str(file.locate())).resolve()
    raise BackendError("uv_build is installed without its program", hint="Install it anew")


def _environment(source: SourceTree, home: Path) -> dict[str, str]:
    """Return all that the backend sees of the environment."""
    folders = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS"), str(home))
    epoch = f"{source.time.timestamp():.0f}"
    return folders | {"LC_ALL": "C", "PATH": "/usr/bin:/bin", "SOURCE_DATE_EPOCH": epoch, "TZ": "UTC"}


def _run(command: list[str | Path], tree: Path, environment: dict[str, str]) -> str:
    """Run a hook of the backend, and return the name of the file that it wrote."""
    try:
        done = subprocess.run(  # noqa: S603 - no shell
            command, check=False, capture_output=True, cwd=tree, env=environment, stdin=subprocess.DEVNULL, umask=0o022,
            text=True, timeout=_SECONDS,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise BackendError("uv_build cannot be run, or does not end") from exc
    if done.returncode != 0:
        raise BackendError("uv_build could not build the commit", got=done.stderr.strip().partition("\n")[0])
    return done.stdout.split()[-1]
