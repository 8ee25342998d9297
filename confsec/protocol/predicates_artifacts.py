"""What is said of artifacts: images with their measurements, model weights, and releases.

The digests of model weights are those of OpenSSF model signing, so that a model that was signed with its tools has the
same name here (sigstore/model-transparency, predicate `https://model_signing/signature/v1.0`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from itertools import pairwise
from typing import ClassVar, Final, Self, final

from attrs import field, frozen

from confsec.errors import DecodeError, UnsupportedError
from confsec.protocol.json_general import JsonItem, as_object
from confsec.protocol.json_members import digest_of, hex_of, list_of, members_of, text_of
from confsec.protocol.predicate import Predicate, header_of, predicate_members, type_uri
from confsec.protocol.statement import MAX_SUBJECTS, Statement, Subject, check_name

__all__ = ["MODEL_SIGNING_TYPE", "ArtifactDigest", "ImageManifest", "ModelDigests", "Release"]

MODEL_SIGNING_TYPE: Final = "https://model_signing/signature/v1.0"
"""The predicate type of OpenSSF model signing that we read."""

_MAX_FILES: Final = 4096
_MAX_MEASUREMENT: Final = 64
_MAX_PLATFORMS: Final = 16
_MAX_REGISTERS: Final = 64
_MAX_COMMAND_LINE: Final = 16_384
_MAX_TOOLS: Final = 64
_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SOURCE: Final = re.compile(r"(?:git\+)?https://[!-~]+")


@final
@frozen(order=True)
class ArtifactDigest:
    """A file by its name and digest."""

    name: str
    digest: bytes
    """SHA-256, 32 bytes."""

    @classmethod
    def from_json(cls, value: JsonItem) -> Self:
        """Read it. Raises `DecodeError`."""
        members = members_of(value, "a file", ("digest", "name"))
        return cls(check_name(members["name"], "the name of a file"), digest_of(members["digest"], "a file"))

    def to_json(self) -> dict[str, JsonItem]:
        """Write it."""
        return {"digest": self.digest.hex(), "name": self.name}


@final
@frozen(kw_only=True)
class ImageManifest(Predicate):
    """What an image measures to. Its subject is the image's file, by name and digest."""

    TYPE: ClassVar[str] = type_uri("image")
    EXPIRES: ClassVar[bool] = False

    name: str
    version: str

    measurements: Mapping[str, Mapping[str, bytes]]
    """For each TEE, by the name of its verifier, the value of each register, by its name."""

    command_line: str
    """The kernel's command line."""

    verity_roots: tuple[bytes, ...]
    """Root hashes of the file systems that dm-verity checks."""

    firmware: tuple[ArtifactDigest, ...]
    """The firmware that the image runs under, in strict order of names."""

    @classmethod
    def from_json(cls, value: JsonItem) -> Self:
        """Read it. Raises `DecodeError` and `LimitError`."""
        members = predicate_members(
            value, "an image manifest", "commandLine", "firmware", "measurements", "name", "verityRoots", "version"
        )
        roots = list_of(members["verityRoots"], "verityRoots", limit=_MAX_REGISTERS)
        return cls(
            **header_of(members),
            name=check_name(members["name"]),
            version=check_name(members["version"], "a version"),
            measurements=_measurements(members["measurements"]),
            command_line=text_of(members["commandLine"], "a command line", limit=_MAX_COMMAND_LINE),
            verity_roots=tuple(hex_of(root, "a verity root", limit=_MAX_MEASUREMENT) for root in roots),
            firmware=_artifacts(members["firmware"], "firmware"),
        )

    def body(self) -> dict[str, JsonItem]:
        """Return its members but those of the header."""
        return {
            "commandLine": self.command_line,
            "firmware": [each.to_json() for each in self.firmware],
            "measurements": {
                platform: {name: value.hex() for name, value in registers.items()}
                for platform, registers in self.measurements.items()
            },
            "name": self.name,
            "verityRoots": [root.hex() for root in self.verity_roots],
            "version": self.version,
        }


@final
@frozen(kw_only=True)
class ModelDigests(Predicate):
    """The files of a model. Its subject is the model's name with the digest that OpenSSF model signing gives it."""

    TYPE: ClassVar[str] = type_uri("model")
    EXPIRES: ClassVar[bool] = False

    files: tuple[ArtifactDigest, ...] = field(repr=False)
    """At least one file, in strict order of paths, compared step by step: `a/b` comes before `a-b`.

    Paths are relative, and no step of them is `.` or `..`.
    """

    ignored: tuple[str, ...] = ()
    """Paths that may be there too: nobody says what is in them."""

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        for file in self.files:
            _check_path(file.name)
        if any(left.name.split("/") >= right.name.split("/") for left, right in pairwise(self.files)):
            raise DecodeError("the files of a model are not in strict order of their paths")

    @classmethod
    def from_json(cls, value: JsonItem) -> Self:
        """Read it. Raises `DecodeError` and `LimitError`."""
        members = predicate_members(value, "a model", "files", "ignored")
        files = list_of(members["files"], "files", limit=_MAX_FILES, least=1)
        return cls(
            **header_of(members),
            files=tuple(map(ArtifactDigest.from_json, files)),
            ignored=_names(members["ignored"], "ignored"),
        )

    @classmethod
    def from_model_signing(cls, statement: Statement, *, issued: datetime, valid_until: datetime | None = None) -> Self:
        """Take over what a statement of OpenSSF model signing says, which has no time of its own.

        Whoever signed that statement has to be checked before. Raises `DecodeError` for a statement that contradicts
        itself, and `UnsupportedError` for shards and for digests other than SHA-256.
        """
        if statement.predicate_type != MODEL_SIGNING_TYPE:
            raise UnsupportedError("a statement is of another type", want=MODEL_SIGNING_TYPE)
        ignored = _check_serialization(statement.predicate.get("serialization"))
        resources = list_of(statement.predicate.get("resources"), "resources", limit=_MAX_FILES, least=1)
        model = cls(issued=issued, valid_until=valid_until, files=tuple(map(_resource, resources)), ignored=ignored)
        model.check_subjects(statement.subjects)
        return model

    def body(self) -> dict[str, JsonItem]:
        """Return its members but those of the header."""
        return {"files": [file.to_json() for file in self.files], "ignored": list(self.ignored)}

    def subject_digest(self) -> bytes:
        """Return SHA-256 of the digests of all files, one after the other, as OpenSSF model signing has it."""
        return sha256(b"".join(file.digest for file in self.files)).digest()


@final
@frozen(kw_only=True)
class Release(Predicate):
    """Where a release comes from. Its subjects are its artifacts."""

    TYPE: ClassVar[str] = type_uri("release")
    EXPIRES: ClassVar[bool] = False

    source: str
    """The repository: an https URL."""

    commit: str
    """The commit as git names it, in lower-case hex: 40 characters, or 64 in a SHA-256 repository."""

    artifacts: tuple[ArtifactDigest, ...]
    """What was built, at least one file, in strict order of names."""

    toolchain: Mapping[str, str]
    """The version of each tool that the build depends on."""

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if not _SOURCE.fullmatch(self.source):
            raise DecodeError("the source of a release is no https URL")
        if not _COMMIT.fullmatch(self.commit):
            raise DecodeError("the commit of a release is none", want="40 or 64 characters of lower-case hex")

    @classmethod
    def from_json(cls, value: JsonItem) -> Self:
        """Read it. Raises `DecodeError` and `LimitError`."""
        members = predicate_members(value, "a release", "artifacts", "commit", "source", "toolchain")
        tools = _bounded(members["toolchain"], "a toolchain", _MAX_TOOLS)
        return cls(
            **header_of(members),
            source=check_name(members["source"], "a source"),
            commit=text_of(members["commit"], "a commit", limit=64),
            artifacts=_artifacts(members["artifacts"], "artifacts", least=1),
            toolchain={check_name(tool): check_name(version, "a version") for tool, version in tools.items()},
        )

    def body(self) -> dict[str, JsonItem]:
        """Return its members but those of the header."""
        return {
            "artifacts": [artifact.to_json() for artifact in self.artifacts],
            "commit": self.commit,
            "source": self.source,
            "toolchain": dict(self.toolchain),
        }

    def subjects(self) -> tuple[Subject, ...]:
        """Return its artifacts as subjects."""
        return tuple(Subject(artifact.name, artifact.digest) for artifact in self.artifacts)

    def check_subjects(self, subjects: tuple[Subject, ...]) -> None:
        """Check that the subjects are the artifacts, in the same order. Raises `DecodeError`."""
        if subjects != self.subjects():
            raise DecodeError("the subjects of a release are not its artifacts", got=len(subjects))


def _artifacts(value: JsonItem, what: str, *, least: int = 0) -> tuple[ArtifactDigest, ...]:
    items = tuple(map(ArtifactDigest.from_json, list_of(value, what, limit=MAX_SUBJECTS, least=least)))
    if any(left.name >= right.name for left, right in pairwise(items)):
        raise DecodeError(f"{what} are not in strict order of names")
    return items


def _names(value: JsonItem, what: str) -> tuple[str, ...]:
    names = [check_name(name) for name in list_of(value, what, limit=_MAX_FILES)]
    if any(left >= right for left, right in pairwise(names)):
        raise DecodeError(f"{what} are not in strict order of names")
    return tuple(names)


def _bounded(value: JsonItem, what: str, limit: int) -> dict[str, JsonItem]:
    members = as_object(value, what=what)
    list_of(list(members), what, limit=limit)
    return members


def _measurements(value: JsonItem) -> dict[str, dict[str, bytes]]:
    return {
        check_name(platform): {
            check_name(name): hex_of(register, "a measurement", limit=_MAX_MEASUREMENT)
            for name, register in _bounded(registers, "measurements of a TEE", _MAX_REGISTERS).items()
        }
        for platform, registers in _bounded(value, "measurements", _MAX_PLATFORMS).items()
    }


def _check_path(path: str) -> None:
    """Refuse paths that lead out of a folder, or that have a second spelling."""
    if any(step in {"", ".", ".."} for step in path.split("/")) or "\\" in path:
        raise DecodeError("the path of a file is not relative, or not in its one spelling")


def _resource(value: JsonItem) -> ArtifactDigest:
    members = as_object(value, what="a resource")
    if members.get("algorithm") != "sha256":
        raise UnsupportedError("a resource has a digest that is not SHA-256")
    return ArtifactDigest(check_name(members.get("name")), digest_of(members.get("digest"), "a resource"))


def _check_serialization(value: JsonItem) -> tuple[str, ...]:
    """Check that whole files were hashed, and return the paths that were passed over, in order."""
    members = as_object(value, what="a serialization")
    if (members.get("method"), members.get("hash_type")) != ("files", "sha256"):
        raise UnsupportedError("a model is not hashed by whole files with SHA-256")
    ignored = list_of(members.get("ignore_paths", []), "ignore_paths", limit=_MAX_FILES)
    return tuple(sorted({check_name(path) for path in ignored}))
