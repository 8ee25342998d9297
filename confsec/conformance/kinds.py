"""Cases that are files: what a manifest says of one, and how a check reads the bytes of each role.

A `Kind` is a name that stands in manifests and a check for it. What is wrong with the files themselves (missing, no
hex, no such member) is a `MismatchError` and fails the case, also where refusal is wanted: a broken vector proves
nothing. So a check reads its files with the functions here, and hands the bytes to the code under test.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from attrs import field, frozen

from confsec.conformance.cases import CaseResult, CaseSkippedError, MismatchError, check_refused, run_case

__all__ = ["MAX_FILE_SIZE", "CaseFile", "FileCase", "Kind", "read_file", "run_file_case"]

MAX_FILE_SIZE: Final = 16 * 1024 * 1024
"""Bytes of the largest file that is read: the largest published one has less than a megabyte."""

_EXPECTATIONS: Final = frozenset({"accept", "parse", "refuse"})
_PEM: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----([A-Za-z0-9+/=\s]*)-----END \1-----")
_TXTAR_MARK: Final = re.compile(rb"^-- (.+) --\n?$")


@frozen
class CaseFile:
    """A file, or a part of one, that a case names."""

    path: Path
    """The file itself."""

    part: str = ""
    """What follows "#" in the manifest: a JSON pointer if it begins with "/", else a member of a txtar file."""

    def read(self) -> bytes:
        """Return the bytes. Text at a JSON pointer is UTF-8, other values are JSON again. Raises `MismatchError`."""
        if self.part.startswith("/"):
            value = self.read_json()
            return (value if isinstance(value, str) else json.dumps(value)).encode()
        data = read_file(self.path)
        return _txtar_member(data, self.part) if self.part else data

    def read_json(self) -> Any:
        """Return the JSON document, or what the pointer leads to. Raises `MismatchError`."""
        pointer = self.part if self.part.startswith("/") else ""
        return _follow(_parse_json(read_file(self.path) if pointer else self.read(), self.path.name), pointer)


@frozen(kw_only=True)
class FileCase:
    """One case of a manifest that is no list."""

    id: str
    """Unique in its manifest."""

    kind: str
    """What to run."""

    files: Mapping[str, CaseFile]
    """The files by role."""

    expect: str
    """accept, refuse or parse."""

    stated_at: object = None
    """When it is to be verified, as the manifest states it."""

    params: Mapping[str, Any] = field(factory=dict)
    """What the verifier has to be given, and what comes out."""

    @property
    def at(self) -> datetime | None:
        """The time of verification, or None if nothing depends on it. Raises `MismatchError`."""
        if self.stated_at is None:
            return None
        try:
            at = datetime.fromisoformat(str(self.stated_at))
        except ValueError as exc:
            raise MismatchError("the time of verification is not a date and time") from exc
        return at if at.tzinfo else at.replace(tzinfo=UTC)

    @property
    def parse_only(self) -> bool:
        """Whether the case only has to be decoded: what would be needed to verify it was not published."""
        return self.expect == "parse"

    def file(self, role: str) -> CaseFile:
        """Return the file of a role. Raises `MismatchError` if the case has none."""
        if role not in self.files:
            raise MismatchError(f"the case has no file for {role}")
        return self.files[role]

    def json(self, role: str) -> Any:
        """Return the JSON document of a role. Raises `MismatchError`."""
        return self.file(role).read_json()

    def read(self, role: str) -> bytes:
        """Return the bytes of a role: decoded as `params.encoding` says, then cut as `params.slice` says.

        Encodings are `hex`, `base64`, `base64url`, `pem` (base64 between any BEGIN and END, the first if several)
        and `json-bytes`. Where the manifest says anything else, in words, the bytes come as they stand in the file.
        Raises `MismatchError`.
        """
        data = self.file(role).read()
        encoding = _member(self.params, "encoding", role)
        decode = _DECODERS.get(encoding) if isinstance(encoding, str) else None
        if decode is not None:
            try:
                data = decode(data)
            except (ValueError, TypeError) as exc:  # binascii.Error and UnicodeError are ValueErrors
                raise MismatchError(f"{role} is not {encoding}") from exc
        return _cut(data, role, _member(self.params, "slice", role))


@frozen(kw_only=True)
class Kind:
    """A kind of case that consists of files."""

    name: str
    """As in the manifests."""

    check: Callable[[FileCase], None] | None
    """Runs a case. None where we know the kind and have nothing to run.

    Returns if the case is accepted, and raises an error of confsec if it is refused; `MismatchError` if a result is not
    the stated one; `CaseSkippedError` if there is nothing to run. The runner turns that around for `expect: refuse`.
    """

    missing: str = ""
    """What there is not, where there is no check."""


def run_file_case(kind: Kind, case: FileCase) -> CaseResult:
    """Run a case by its kind, and say what became of it."""
    check = kind.check

    def run(_: Mapping[str, Any]) -> None:
        if check is None:
            raise CaseSkippedError(kind.missing)
        if case.expect not in _EXPECTATIONS:
            raise CaseSkippedError(f"to {case.expect} such a case is not known")
        if case.expect == "refuse":
            check_refused(lambda: check(case))
        else:
            check(case)

    return run_case(case.id, {}, run)


def read_file(path: Path) -> bytes:
    """Read a file that a case names. Raises `MismatchError` if it is missing, unreadable or too large."""
    if not path.is_file():
        raise MismatchError(f"there is no file {path.name}")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_SIZE + 1)
    except OSError as exc:
        raise MismatchError(f"{path.name} cannot be read: {exc.strerror}") from exc
    if len(data) > MAX_FILE_SIZE:
        raise MismatchError(f"{path.name} is larger than {MAX_FILE_SIZE // 1024 // 1024} MiB")
    return data


def _parse_json(data: bytes, name: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise MismatchError(f"{name} is not JSON") from exc


def _follow(document: Any, pointer: str) -> Any:
    """Follow a JSON pointer (RFC 6901)."""
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        try:
            document = document[int(name) if isinstance(document, list) else name]
        except (LookupError, TypeError, ValueError) as exc:
            raise MismatchError(f"there is nothing at {pointer}") from exc
    return document


def _txtar_member(archive: bytes, name: str) -> bytes:
    """Return a member of a txtar file: what follows its line, up to the next one."""
    found: list[bytes] | None = None
    for line in archive.splitlines(keepends=True):
        mark = _TXTAR_MARK.match(line)
        if mark and found is not None:
            break
        if mark and mark[1].decode(errors="replace") == name:
            found = []
        elif found is not None:
            found.append(line)
    if found is None:
        raise MismatchError(f"there is no member {name}")
    return b"".join(found)


def _member(params: Mapping[str, Any], name: str, role: str) -> object:
    value = params.get(name)
    return value.get(role) if isinstance(value, Mapping) else None


def _cut(data: bytes, role: str, part: object) -> bytes:
    match part:
        case None:
            return data
        case [int(begin), int(end)] if 0 <= begin <= end <= len(data):
            return data[begin:end]
        case _:
            raise MismatchError(f"{role} cannot be cut as the case says")


def _from_pem(text: bytes) -> bytes:
    block = _PEM.search(text)
    if block is None:
        raise ValueError
    return base64.b64decode(b"".join(block[2].split()), validate=True)


def _from_base64url(text: bytes) -> bytes:
    data = text.strip().rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
    return binascii.a2b_base64(data + b"=" * (-len(data) % 4), strict_mode=True)


_DECODERS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "hex": lambda text: bytes.fromhex(text.decode("ascii")),
    "base64": lambda text: base64.b64decode(b"".join(text.split()), validate=True),
    "base64url": _from_base64url,
    "json-bytes": lambda text: bytes(json.loads(text)),
    "pem": _from_pem,
}
