"""The files of a commit: those that its id promises, whatever stands around it."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from confsec.errors import ConfigError, ConfsecError, DecodeError
from confsec.release import source
from confsec.release.source import SourceFile, SourceTree, find_commit, read_commit, require_clean
from tests.release.projects import COMMITTED, FILES, change, commit, git, make_project


def head(project: Path) -> SourceTree:
    return read_commit(project, find_commit(project, "HEAD"))


def commit_of(project: Path, *entries: tuple[str, bytes, str]) -> str:
    """Make a commit of one folder, with entries that git itself would not make."""
    tree = b"".join(b"%b %b\0" % (mode.encode(), name) + bytes.fromhex(id_) for mode, name, id_ in entries)
    return commit_of_tree(project, tree)


def commit_of_tree(project: Path, tree: bytes) -> str:
    id_ = git(project, "hash-object", "-t", "tree", "-w", "--stdin", "--literally", stdin=tree)
    return git(project, "commit-tree", id_, "-m", "odd")


def blob(project: Path, data: bytes = b"data") -> str:
    return git(project, "hash-object", "-w", "--stdin", stdin=data)


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_commit_has_its_files_its_time_and_which_of_them_can_be_run(object_format: str, tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", object_format=object_format)
    tree = head(project)
    assert tree.time == datetime.fromtimestamp(COMMITTED, UTC)
    assert tree.commit == git(project, "rev-parse", "HEAD")
    assert {file.path: file.data.decode() for file in tree.files} == FILES
    assert [file.path for file in tree.files if file.executable] == ["small_thing/run.sh"]
    assert tree.read("pyproject.toml").decode() == FILES["pyproject.toml"]


def test_file_that_the_commit_does_not_have_is_named(project: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no setup\.py"):
        head(project).read("setup.py")


def test_any_name_of_a_commit_finds_it_and_a_tag_is_followed(project: Path) -> None:
    first = git(project, "rev-parse", "HEAD")
    change(project, "small_thing/__init__.py", "42", "43")
    git(project, "tag", "--annotate", "--message=Two", "two", first)
    assert {find_commit(project, name) for name in (first, first[:10], "v1.2.0", "two", "HEAD~1")} == {first}


@pytest.mark.parametrize("revision", ["nothing", "", "f" * 40, "--all", "HEAD:pyproject.toml", "HEAD^{tree}", "-h"])
def test_what_names_no_commit_is_refused(revision: str, project: Path) -> None:
    with pytest.raises(ConfigError, match="no such commit"):
        find_commit(project, revision)


def test_commit_that_a_shallow_clone_lacks_is_refused_with_what_to_type(project: Path, tmp_path: Path) -> None:
    first = git(project, "rev-parse", "HEAD")
    change(project, "small_thing/__init__.py", "42", "43")
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{project}", "shallow")
    with pytest.raises(ConfigError, match="--unshallow"):
        find_commit(tmp_path / "shallow", first)


def test_folder_that_is_no_repository_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ConfigError, match="no git repository"):
            find_commit(path, "HEAD")


def test_machine_without_git_says_what_to_type(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError, match="apt-get install git"):
        find_commit(project, "HEAD")


def test_work_tree_attributes_filters_and_replacements_change_nothing(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = head(project)
    other = blob(project, b"other")
    git(project, "replace", git(project, "rev-parse", "HEAD:small_thing/sub/words.py"), other)
    (project / "small_thing/sub/words.py").write_text("FOUR = 4\n")
    (project / ".git/info").mkdir(exist_ok=True)
    (project / ".git/info/attributes").write_text("*.py text eol=crlf export-ignore\n")
    git(project, "config", "core.autocrlf", "true")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert head(project) == before


@pytest.mark.parametrize(
    "spoil",
    [
        lambda project: (project / "small_thing/__init__.py").write_text("changed"),
        lambda project: (project / "small_thing/new.py").write_text("new"),
        lambda project: (project / "pyproject.toml").unlink(),
    ],
    ids=["changed", "new", "removed"],
)
def test_work_tree_that_is_not_what_is_committed_is_refused(spoil: Callable[[Path], None], project: Path) -> None:
    require_clean(project)
    spoil(project)
    with pytest.raises(ConfigError, match="got 1 changed or new"):
        require_clean(project)


def test_files_that_git_ignores_do_not_make_a_work_tree_dirty(project: Path) -> None:
    (project / "small_thing/notes.log").write_text("a note")
    require_clean(project)


def test_symbolic_links_and_submodules_are_refused(project: Path) -> None:
    (project / "small_thing/link.py").symlink_to("/etc/passwd")
    with pytest.raises(ConfigError, match=r"symbolic links.*small_thing/link\.py"):
        read_commit(project, commit(project))
    with pytest.raises(ConfigError, match="submodules"):
        read_commit(project, commit_of(project, ("160000", b"module", "1" * 40)))


@pytest.mark.parametrize("name", [b"..", b".", b"/etc", b"a\\b", b"", b"a/b", b"\xff"])
def test_names_that_lead_elsewhere_are_refused(name: bytes, project: Path) -> None:
    with pytest.raises(DecodeError, match="name"):
        read_commit(project, commit_of(project, ("100644", name, blob(project))))


def test_file_in_the_place_of_a_folder_is_refused(project: Path) -> None:
    with pytest.raises(DecodeError, match="is not what its name says"):
        read_commit(project, commit_of(project, ("40000", b"folder", blob(project))))


@pytest.mark.parametrize("tree", [b"100644 cut", b"100644 cut\0\x01\x02"])
def test_folder_that_ends_early_is_refused(tree: bytes, project: Path) -> None:
    with pytest.raises(DecodeError):
        read_commit(project, commit_of_tree(project, tree))


def test_object_that_is_no_commit_is_refused(project: Path) -> None:
    with pytest.raises(DecodeError, match="not what its name says"):
        read_commit(project, git(project, "rev-parse", "HEAD^{tree}"))
    odd = git(project, "hash-object", "-t", "commit", "-w", "--stdin", "--literally", stdin=b"tree of nothing\n")
    with pytest.raises(DecodeError, match="no commit that can be read"):
        read_commit(project, odd)


def test_object_that_is_gone_is_named(project: Path) -> None:
    id_ = git(project, "rev-parse", "HEAD:small_thing/sub/words.py")
    (project / ".git/objects" / id_[:2] / id_[2:]).unlink()
    with pytest.raises(ConfigError, match=f"lacks an object of the commit: got {id_}"):
        head(project)


def test_object_that_is_not_what_its_id_says_is_refused(project: Path) -> None:
    id_ = blob(project, b"the right one")
    with pytest.raises(DecodeError, match="not what its name says"):
        source._read_object(io.BytesIO(f"{id_} blob 5\nother\n".encode()), "blob", id_)
    assert source._read_object(io.BytesIO(f"{id_} blob 13\nthe right one\n".encode()), "blob", id_) == b"the right one"


def test_pack_in_which_a_byte_was_changed_is_refused(project: Path) -> None:
    (project / "noise.bin").write_bytes(bytes(range(256)) * 4)
    commit(project)
    git(project, "repack", "-adq")
    git(project, "prune-packed")
    [pack] = (project / ".git/objects/pack").glob("*.pack")
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.chmod(0o644)
    pack.write_bytes(data)
    with pytest.raises(ConfsecError):
        head(project)


def test_files_are_written_with_modes_that_the_umask_does_not_change(project: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from confsec.release.source import *; "
        "p = Path(sys.argv[1]); read_commit(p, find_commit(p, 'HEAD')).write(Path(sys.argv[2]))"
    )
    modes = []
    for umask in (0o000, 0o077):
        out = tmp_path / f"{umask:o}"
        out.mkdir()
        subprocess.run([sys.executable, "-c", program, str(project), str(out)], check=True, umask=umask)
        modes.append({str(path.relative_to(out)): path.stat().st_mode for path in out.rglob("*") if path.is_file()})
    assert modes[0] == modes[1]
    assert set(modes[0]) == set(FILES)


def test_file_and_folder_of_one_name_cannot_be_written(project: Path, tmp_path: Path) -> None:
    tree = SourceTree("0" * 40, head(project).time, (SourceFile("a", b"", False), SourceFile("a/b", b"", False)))
    with pytest.raises(ConfigError, match="cannot be written"):
        tree.write(tmp_path)
