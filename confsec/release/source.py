"""The files of a commit, as its name promises them.

A commit's id is the hash of everything in it, so every object that git hands out is hashed again: a repository that was
got as a folder can then not lie about its commits. Nothing else decides what the files are, neither the work tree nor
attributes, filters, replacements or the settings of whoever builds. SHA-1 repositories are as strong as SHA-1 is.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from hashlib import new
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final, final

from attrs import field, frozen

from confsec.errors import ConfigError, DecodeError
from confsec.protocol.wire import Reader

__all__ = ["SourceFile", "SourceTree", "find_commit", "read_commit", "require_clean"]

_FILE: Final = b"100644"
_EXECUTABLE: Final = b"100755"
_FOLDER: Final = b"40000"
_COMMIT: Final = re.compile(rb"tree ([0-9a-f]{40,64})\n(?:.+\n)*?committer .* ([0-9]{1,11}) [+-][0-9]{4}\n")
_HASHES: Final = {40: "sha1", 64: "sha256"}


@final
@frozen
class SourceFile:
    """A file of a commit."""

    path: str
    """Relative, with `/` between its steps, none of which is `.` or `..`."""

    data: bytes = field(repr=False)

    executable: bool


@final
@frozen
class SourceTree:
    """Everything in a commit."""

    commit: str
    """The commit as git names it: 40 or 64 characters of lower-case hex."""

    time: datetime
    """When it was committed, in UTC."""

    files: tuple[SourceFile, ...] = field(repr=False)

    def read(self, path: str) -> bytes:
        """Return what is in a file. Raises `ConfigError` if there is none."""
        for file in self.files:
            if file.path == path:
                return file.data
        raise ConfigError(f"the commit {self.commit} has no {path}")

    def write(self, folder: Path) -> None:
        """Write the files below an empty folder, with modes that the umask does not change. Raises `ConfigError`."""
        try:
            for file in self.files:
                path = folder / file.path
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(file.data)
                path.chmod(0o755 if file.executable else 0o644)
        except OSError as exc:
            raise ConfigError(f"the files of {self.commit} cannot be written", got=exc.strerror) from exc


def find_commit(repository: Path, revision: str) -> str:
    """Return the id of the commit that a revision names. Raises `ConfigError` if there is none."""
    _require_repository(repository)
    found = _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if found.returncode != 0:
        raise ConfigError(
            "there is no such commit in the repository", got=revision,
            hint=f"Type: git -C {repository} fetch --tags, with --unshallow in a shallow clone",
        )  # fmt: skip
    return found.stdout.decode("ascii").strip()


def require_clean(repository: Path) -> None:
    """Refuse a work tree that is not what is committed. Raises `ConfigError`."""
    _require_repository(repository)
    changed = _git(repository, "status", "--porcelain", "-z").stdout.split(b"\0")[:-1]
    if changed:
        raise ConfigError(
            "the work tree is not what is committed", got=f"{len(changed)} changed or new files",
            hint="Commit them, or name what to build: --commit HEAD",
        )  # fmt: skip


def read_commit(repository: Path, commit: str) -> SourceTree:
    """Read the files of a commit by its id. Raises `ConfigError` for one that is missing, and `DecodeError`.

    Symbolic links and submodules are refused: what is behind them is not in the commit.
    """
    _require_repository(repository)
    [content] = _read_objects(repository, "commit", [commit])
    found = _COMMIT.match(content)
    if not found:
        raise DecodeError("this is no commit that can be read", got=commit)
    time = datetime.fromtimestamp(int(found[2]), UTC)
    return SourceTree(commit, time, tuple(sorted(_files(repository, found[1].decode()), key=lambda file: file.path)))


def _files(repository: Path, tree: str) -> Iterator[SourceFile]:
    """Yield the files of a tree: folders of one depth are read in one go, and then all files."""
    folders, files = [("", tree)], list[tuple[str, str, bool]]()
    while folders:
        below: list[tuple[str, str]] = []
        trees = _read_objects(repository, "tree", [id_ for _, id_ in folders])
        for (prefix, _), content in zip(folders, trees, strict=True):
            for mode, name, id_ in _entries(content, id_size=len(tree) // 2):
                path = prefix + _checked_name(name)
                if mode == _FOLDER:
                    below.append((f"{path}/", id_))
                elif mode in {_FILE, _EXECUTABLE}:
                    files.append((path, id_, mode == _EXECUTABLE))
                else:
                    raise ConfigError("a commit with symbolic links or submodules is not built", got=path)
        folders = below
    contents = _read_objects(repository, "blob", [id_ for _, id_, _ in files])
    for (path, _, executable), content in zip(files, contents, strict=True):
        yield SourceFile(path, content, executable)


def _entries(tree: bytes, *, id_size: int) -> Iterator[tuple[bytes, bytes, str]]:
    """Yield mode, name and id of what stands in a tree object."""
    reader = Reader(tree, "a folder of the commit")
    while reader.remaining:
        end = tree.find(b"\0", reader.position)
        if end < 0:
            raise DecodeError("a folder of the commit cannot be read")
        mode, _, name = reader.take(end + 1 - reader.position)[:-1].partition(b" ")
        yield mode, name, reader.take(id_size).hex()


def _checked_name(name: bytes) -> str:
    """Return the name of a file as text. It must not lead out of the folder."""
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise DecodeError("the name of a file in the commit is not UTF-8") from exc
    if PurePosixPath(text).parts != (text,) or text == ".." or "\\" in text:
        raise DecodeError("a file in the commit has a name that is none", got=ascii(text))
    return text


def _read_objects(repository: Path, kind: str, ids: Sequence[str]) -> list[bytes]:
    """Return what is in objects of one kind, each checked against its id. Raises `ConfigError` and `DecodeError`."""
    asked = "".join(f"{id_}\n" for id_ in ids).encode()
    answer = io.BytesIO(_git(repository, "cat-file", "--batch", stdin=asked).stdout)
    return [_read_object(answer, kind, id_) for id_ in ids]


def _read_object(answer: BinaryIO, kind: str, id_: str) -> bytes:
    head = answer.readline().decode("ascii", "replace").split()
    if len(head) != 3:
        raise ConfigError("the repository lacks an object of the commit", got=id_, hint="Clone it again, in full")
    content = answer.read(int(head[2]))
    answer.readline()
    header = f"{kind} {len(content)}\0".encode()
    if new(_HASHES[len(id_)], header + content, usedforsecurity=False).hexdigest() != id_:
        raise DecodeError("an object of the repository is not what its name says", got=id_)
    return content


def _require_repository(repository: Path) -> None:
    if not repository.is_dir() or _git(repository, "rev-parse", "--git-dir").returncode != 0:
        raise ConfigError(
            f"{repository} is no git repository, or one of somebody else",
            hint="Name a clone of your own with --source",
        )


def _git(repository: Path, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run git without what the environment tells it, and without fetching anything. Raises `ConfigError`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_NO_LAZY_FETCH": "1", "GIT_NO_REPLACE_OBJECTS": "1", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(repository), *words]
    try:
        return subprocess.run(command, check=False, input=stdin, capture_output=True, env=environment)  # noqa: S603 - no shell
    except FileNotFoundError as exc:
        raise ConfigError("git is not installed", hint="Type: apt-get install git") from exc
