"""What `confsec statement sign` makes statements of: files of predicates, and the real things that they are about."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from datetime import date, datetime, time
from hashlib import file_digest
from pathlib import Path
from typing import Final

from attrs import frozen

from confsec.backends.dsse_keys import read_public_dsse_key
from confsec.cli.output import read_bytes
from confsec.errors import ConfigError
from confsec.protocol import json_general, toml_general
from confsec.protocol.directory import ServiceDirectory
from confsec.protocol.json_general import JsonItem
from confsec.protocol.json_members import encode_time
from confsec.protocol.model_signing import open_model_signing, read_model_signing
from confsec.protocol.predicates import (
    PREDICATES,
    ArtifactDigest,
    DirectoryStatement,
    IssuerKeys,
    KeyConfigurations,
    ModelDigests,
    Predicate,
    Release,
    Revocation,
    RevokedItem,
    RevokedKind,
)
from confsec.protocol.statement import MAX_STATEMENT, Subject
from confsec.protocol.wire import decode_hex

__all__ = [
    "TYPE_NAMES",
    "Times",
    "hash_file",
    "hash_folder",
    "read_directory",
    "read_issuer_keys",
    "read_key_configs",
    "read_model_folder",
    "read_predicate_file",
    "read_revoked",
    "read_signed_model",
    "subjects_of",
    "type_name",
]

TYPE_NAMES: Final = {uri.split("/")[-2]: uri for uri in PREDICATES}
"""The predicate types by their short names."""


@frozen
class Times:
    """When a statement is issued, and until when it holds."""

    issued: datetime
    valid_until: datetime | None


def type_name(uri: str) -> str:
    """Return the short name of one of our predicate types, or the URI of another."""
    return uri.split("/")[-2] if uri in PREDICATES else uri


def read_predicate_file(name: str, path: Path, times: Times) -> Predicate:
    """Read a predicate from JSON, or from TOML where the file's name says so. Raises `ConfsecError`.

    `issued` and `validUntil` may stand in the file; where they do not, they are those of `times`.
    """
    data = read_bytes(path, "the predicate")
    if path.suffix == ".toml":
        members = _json_of(toml_general.decode(_text(data, path), what=f"the predicate {path}"))
    else:
        members = json_general.decode(data, what=f"the predicate {path}", limit=MAX_STATEMENT)
    members = dict(json_general.as_object(members, what=f"the predicate {path}"))
    members.setdefault("issued", encode_time(times.issued))
    members.setdefault("validUntil", None if times.valid_until is None else encode_time(times.valid_until))
    return PREDICATES[TYPE_NAMES[name]].from_json(members)


def read_directory(path: Path, times: Times) -> DirectoryStatement:
    """Read a service directory: its text as it stands is what is said. Raises `ConfigError` for what is none."""
    text = _text(read_bytes(path, "the directory"), path)
    ServiceDirectory.from_toml(text)
    return DirectoryStatement(issued=times.issued, valid_until=times.valid_until, directory=text)


def read_issuer_keys(path: Path, times: Times) -> IssuerKeys:
    """Read the token keys of a service directory, with their times. Raises `ConfigError`."""
    issuer = ServiceDirectory.from_toml(_text(read_bytes(path, "the directory"), path)).issuer
    if issuer is None:
        raise ConfigError(f"{path} has no issuer", hint="confsec issuer directory writes one into it")
    return IssuerKeys(issued=times.issued, valid_until=times.valid_until, keys=issuer.token_keys)


def read_key_configs(path: Path, times: Times, valid_from: datetime | None) -> KeyConfigurations:
    """Read a list of key configurations, as a gateway publishes it. Raises `DecodeError`."""
    predicate = KeyConfigurations(
        issued=times.issued,
        valid_until=times.valid_until,
        valid_from=valid_from or times.issued,
        key_configs=read_bytes(path, "the key configurations"),
    )
    predicate.configs()
    return predicate


def read_model_folder(folder: Path, ignored: Sequence[str], times: Times) -> ModelDigests:
    """Hash the files of a model. Raises `ConfigError`."""
    files = hash_folder(folder, ignored)
    skipped = tuple(sorted(set(ignored)))
    return ModelDigests(issued=times.issued, valid_until=times.valid_until, files=files, ignored=skipped)


def read_signed_model(path: Path, key: Path | None, folder: Path | None, times: Times) -> ModelDigests:
    """Read what OpenSSF model signing wrote; check it under the signer's key, and against the files, if there are any.

    Raises `ConfsecError`.
    """
    data = read_bytes(path, "the signature of the model")
    signed = read_model_signing(data) if key is None else open_model_signing(data, read_public_dsse_key(key))
    said = ModelDigests.from_model_signing(signed, issued=times.issued, valid_until=times.valid_until)
    if folder is not None and hash_folder(folder, said.ignored) != said.files:
        raise ConfigError(f"the files of {folder} are not those that {path} names")
    return said


def hash_file(path: Path) -> bytes:
    """Return SHA-256 of a file. Raises `ConfigError`."""
    try:
        with path.open("rb") as file:
            return file_digest(file, "sha256").digest()
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read", got=exc.strerror) from exc


def hash_folder(folder: Path, ignored: Collection[str]) -> tuple[ArtifactDigest, ...]:
    """Hash all files of a folder but those under `ignored`. Raises `ConfigError` for links, whose target may change."""
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder")
    names = sorted(_files(folder, frozenset(ignored)), key=lambda name: name.split("/"))
    if not names:
        raise ConfigError(f"there are no files in {folder}")
    return tuple(ArtifactDigest(name, hash_file(folder / name)) for name in names)


def read_revoked(revoked: Sequence[tuple[str, str, str]], times: Times) -> Revocation:
    """Make a revocation of kinds, digests in hex, and reasons. Raises `DecodeError`."""
    items = tuple(
        RevokedItem(kind=RevokedKind(kind), digest=decode_hex(digest), reason=reason, since=times.issued)
        for kind, digest, reason in revoked
    )
    return Revocation(issued=times.issued, valid_until=times.valid_until, revoked=items)


def subjects_of(predicate: Predicate, name: str, file: Path | None) -> tuple[Subject, ...]:
    """Return what a predicate is about: what it holds, or else `file`. Raises `ConfigError`."""
    digest = predicate.subject_digest()
    is_inside = isinstance(predicate, Release) or digest is not None
    if is_inside and file is not None:
        raise ConfigError(
            "--file is for statements that do not hold what they are about", got=type_name(predicate.TYPE)
        )
    if isinstance(predicate, Release):
        if name:
            raise ConfigError("a release is about its artifacts, which have names", hint="Leave --name out")
        return predicate.subjects()
    if digest is None and file is None:
        raise ConfigError("a statement of this type is about a file", hint="Name it with --file")
    if not name and file is None:
        raise ConfigError("a statement needs the name of what it is about", hint="Give --name")
    return (Subject(name or (file.name if file else ""), digest or hash_file(file or Path())),)


def _files(folder: Path, ignored: frozenset[str]) -> Iterator[str]:
    def fail(exc: OSError) -> None:
        raise ConfigError(f"{exc.filename} cannot be read", got=exc.strerror) from exc

    for root, folders, files in os.walk(folder, onerror=fail):
        inner = Path(root).relative_to(folder)
        folders[:] = [each for each in folders if str(inner / each) not in ignored]
        names = [name for name in (str(inner / each) for each in files) if name not in ignored]
        for name in (*names, *(str(inner / each) for each in folders)):
            if (folder / name).is_symlink():
                raise ConfigError(f"{folder / name} is a link, and what it leads to may change", hint="Copy the file")
        yield from names


def _text(data: bytes, path: Path) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path} is not text in UTF-8") from exc


def _json_of(value: object) -> JsonItem:
    """Return a value of TOML as a predicate has it: times as text."""
    match value:
        case dict():
            return {name: _json_of(each) for name, each in value.items()}
        case list():
            return [_json_of(each) for each in value]
        case datetime() if value.tzinfo is not None and not value.microsecond:
            return encode_time(value)
        case datetime() | date() | time():
            raise ConfigError("a time of the predicate has no time zone, or parts of seconds")
        case _:
            return value  # type: ignore[return-value] # text, numbers and truths are alike in both
