"""What is in a release, for other software: a bill of materials in CycloneDX JSON, the same bit for bit for a commit.

It names the wheel and the sdist by their digests, the commit that they are built from, and what that commit says it
needs: the core's packages as `required`, those of extras as `optional`, and what only builds and tests as `excluded`.
The commit names oldest versions, not exact ones, and so does the bill: which versions are installed is for whoever
installs to say. Its time is that of the commit, and its serial number is made from the commit and the two digests.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from confsec.errors import ConfigError, MissingExtraError
from confsec.release.build import Artifact, Project, build
from confsec.release.source import SourceTree

try:
    from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Commit, Component, ComponentScope, ComponentType, Pedigree
    from cyclonedx.model.license import LicenseExpression
    from cyclonedx.output.json import JsonV1Dot6
    from packageurl import PackageURL
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name
except ImportError as _missing:
    raise MissingExtraError("cyclonedx-python-lib", extra="release") from _missing

__all__ = ["SBOM_TOOLS", "build_release", "make_sbom"]

SBOM_TOOLS: Final = ("confsec-protocol", "cyclonedx-python-lib", "py-serializable")
"""The packages on which the bytes of a bill of materials depend."""

_NOT_SHIPPED: Final = frozenset({"test"})
"""Extras that nobody but a developer installs."""

_RANK: Final = (ComponentScope.REQUIRED, ComponentScope.OPTIONAL, ComponentScope.EXCLUDED)


def build_release(source: SourceTree) -> tuple[Artifact, Artifact, Artifact]:
    """Build wheel, sdist and bill of materials. Raises `ConfigError` and `BackendError`."""
    wheel, sdist = build(source)
    return wheel, sdist, make_sbom(source, wheel, sdist)


def make_sbom(source: SourceTree, wheel: Artifact, sdist: Artifact) -> Artifact:
    """Make the bill of materials. Raises `ConfigError` for requirements that cannot be read."""
    project = Project.of(source)
    release = _release(source, project.members, wheel, sdist)
    needed = list(_components(_requirements(project), own=str(release.name)))
    # A serial number names these bytes and no others: it changes with the commit and with what was built.
    digests = f"{wheel.digest.hex()}:{sdist.digest.hex()}"
    bom = Bom(
        serial_number=uuid5(NAMESPACE_URL, f"urn:confsec:release:{source.commit}:{digests}"),
        metadata=BomMetaData(component=release, timestamp=source.time),
        components=needed,
    )
    bom.register_dependency(release, [each for each in needed if each.scope != ComponentScope.EXCLUDED])
    # Sorted and indented here, so that it does not depend on how the library orders members.
    text = json.dumps(json.loads(JsonV1Dot6(bom).output_as_string()), indent=2, sort_keys=True, ensure_ascii=True)
    return Artifact(sdist.name.removesuffix(".tar.gz") + ".cdx.json", f"{text}\n".encode())


def _release(source: SourceTree, members: Mapping[str, Any], wheel: Artifact, sdist: Artifact) -> Component:
    """Return what the bill is of."""
    name, version = canonicalize_name(members["name"]), members["version"]
    kinds = ((wheel, ExternalReferenceType.DISTRIBUTION), (sdist, ExternalReferenceType.SOURCE_DISTRIBUTION))
    return Component(
        name=name,
        version=version,
        type=ComponentType.LIBRARY,
        bom_ref=f"{name}=={version}",
        description=members.get("description"),
        purl=PackageURL("pypi", name=name, version=version),
        licenses=[LicenseExpression(members["license"])] if isinstance(members.get("license"), str) else [],
        hashes=[_hash(wheel)],
        external_references=[
            ExternalReference(type=kind, url=XsUri(file.name), hashes=[_hash(file)]) for file, kind in kinds
        ],
        pedigree=Pedigree(commits=[Commit(uid=source.commit)]),
    )


def _hash(file: Artifact) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=file.digest.hex())


def _requirements(project: Project) -> Iterator[tuple[str, str, ComponentScope]]:
    """Yield each requirement, for what it is needed, and whether it is shipped with."""
    for text in project.members.get("dependencies", []):
        yield text, "core", ComponentScope.REQUIRED
    for extra, texts in project.members.get("optional-dependencies", {}).items():
        scope = ComponentScope.EXCLUDED if extra in _NOT_SHIPPED else ComponentScope.OPTIONAL
        for text in texts:
            yield text, extra, scope
    yield f"uv_build=={project.uv_build}", "build", ComponentScope.EXCLUDED


def _components(requirements: Iterator[tuple[str, str, ComponentScope]], *, own: str) -> Iterator[Component]:
    """Yield each package once, in order of names, with all that asks for it."""
    packages: dict[str, list[tuple[str, str, ComponentScope]]] = {}
    for text, why, scope in requirements:
        packages.setdefault(_package(text), []).append((text, why, scope))
    for name in sorted(packages.keys() - {own}):
        asked = packages[name]
        yield Component(
            name=name,
            type=ComponentType.LIBRARY,
            bom_ref=name,
            purl=PackageURL("pypi", name=name),
            scope=min((scope for _, _, scope in asked), key=_RANK.index),
            properties=[Property(name=f"confsec:requirement:{why}", value=text) for text, why, _ in asked],
        )


def _package(requirement: str) -> str:
    try:
        return canonicalize_name(Requirement(requirement).name)
    except InvalidRequirement as exc:
        raise ConfigError("a requirement of the commit cannot be read", got=ascii(requirement)) from exc
