"""Building a release again, and comparing it with a file that somebody has."""

from __future__ import annotations

from pathlib import Path
from typing import final

from attrs import frozen

from confsec.errors import ConfigError, VerificationError
from confsec.protocol.predicates import Release
from confsec.release.archives import ENDINGS, read_members
from confsec.release.build import Artifact, build, toolchain
from confsec.release.difference import Difference, first_difference
from confsec.release.source import SourceTree, find_commit, read_commit

__all__ = ["Comparison", "compare", "compare_all"]


@final
@frozen
class Comparison:
    """What came of building a file again."""

    given: Artifact

    commit: str

    built: tuple[Artifact, ...]
    """What the commit gives."""

    difference: Difference | None
    """The first difference, or None if every bit is the same."""

    tools: tuple[str, ...] = ()
    """Where tools here have other versions than the statement says, which may explain a difference."""

    def to_json(self) -> dict[str, object]:
        """Write it."""
        return {
            "verdict": "different" if self.difference else "reproduced",
            "file": self.given.name,
            "sha256": self.given.digest.hex(),
            "commit": self.commit,
            "built": {artifact.name: artifact.digest.hex() for artifact in self.built},
            "difference": self.difference.to_json() if self.difference else None,
            "tools": list(self.tools),
        }


def compare(given: Artifact, repository: Path, *, revision: str = "", release: Release | None = None) -> Comparison:
    """Build a file again from the commit that the release names, or else the revision, or else the tag of its version.

    With a release, all of its files are built, and their digests have to be those that it names. Raises `ConfigError`
    for what is no file of a release, a commit that is not there and a backend of another version, and
    `VerificationError` for a revision that is not the release's commit.
    """
    # 1. It is a file of a release at all.
    read_members(given)
    # 2. The commit is there, and is the one that is meant.
    commit = find_commit(repository, revision or (release.commit if release else _tag(given.name)))
    if release and commit != release.commit:
        raise VerificationError("the statement names another commit", got=release.commit, want=commit)
    source = read_commit(repository, commit)
    # 3. The file is what the commit gives, bit for bit.
    built = _build(source, everything=bool(release) or given.name.endswith(ENDINGS[2]))
    difference = first_difference(given, _counterpart(given, built))
    # 4. So is every other file that the statement names, and it names them all.
    if release:
        return Comparison(
            given, commit, built, difference or _difference_from(release, built), tools=_other_tools(release)
        )
    return Comparison(given, commit, built, difference)


def compare_all(folder: Path, built: tuple[Artifact, ...]) -> None:
    """Check that a folder holds these files, bit for bit. Raises `ConfigError`, and `VerificationError` if not."""
    for artifact in built:
        try:
            given = Artifact(artifact.name, (folder / artifact.name).read_bytes())
        except OSError as exc:
            raise ConfigError(f"{folder / artifact.name} cannot be read", got=exc.strerror) from exc
        if difference := first_difference(given, artifact):
            raise VerificationError(
                f"{artifact.name} is not what the commit gives",
                got=f"another {difference.where} in {difference.member!a}",
            )


def _tag(name: str) -> str:
    """Return the tag of the version that a file's name names: `v0.1.0`."""
    words = _without_ending(name).split("-")
    if len(words) < 2:
        raise ConfigError("the name of the file names no version", got=ascii(name), hint="Name the commit: --commit")
    return f"refs/tags/v{words[1]}"


def _without_ending(name: str) -> str:
    return next(name.removesuffix(ending) for ending in ENDINGS if name.endswith(ending))


def _build(source: SourceTree, *, everything: bool) -> tuple[Artifact, ...]:
    if not everything:
        return build(source)
    from confsec.release.sbom import build_release

    return build_release(source)


def _counterpart(given: Artifact, built: tuple[Artifact, ...]) -> Artifact:
    ending = given.name.removeprefix(_without_ending(given.name))
    return next(artifact for artifact in built if artifact.name.endswith(ending))


def _difference_from(release: Release, built: tuple[Artifact, ...]) -> Difference | None:
    """Return where a statement names other files than were built."""
    named = {artifact.name: artifact.digest.hex() for artifact in release.artifacts}
    ours = {artifact.name: artifact.digest.hex() for artifact in built}
    for name in sorted(named.keys() | ours.keys()):
        if named.get(name) != ours.get(name):
            return Difference("", f"statement about {name}", named.get(name, "nothing"), ours.get(name, "nothing"))
    return None


def _other_tools(release: Release) -> tuple[str, ...]:
    from confsec.release.sbom import SBOM_TOOLS

    here = toolchain(*SBOM_TOOLS)
    return tuple(
        f"{tool}: {release.toolchain.get(tool, 'none')} there, {version} here"
        for tool, version in here.items()
        if release.toolchain.get(tool) != version
    )
