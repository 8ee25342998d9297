"""`confsec release`: built, said and signed, built again and compared; and everything that can be wrong with it."""

from __future__ import annotations

import io
import json
import sys
import tarfile
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, frozen
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from confsec.backends.key_files import write_private_file
from confsec.cli import run
from confsec.protocol.dsse import DsseKey, Envelope
from confsec.protocol.predicates import Release
from confsec.protocol.statement import PAYLOAD_TYPE, Statement
from confsec.protocol.wire import encode_base64
from tests.release.projects import change, commit, git, make_project

Capture = pytest.CaptureFixture[str]
WHEEL = "small_thing-1.2.0-py3-none-any.whl"
SDIST = "small_thing-1.2.0.tar.gz"
BILL = "small_thing-1.2.0.cdx.json"
REPOSITORY = "https://git.example/small-thing"
KEY = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def write_key(path: Path, key: ed25519.Ed25519PrivateKey) -> None:
    write_private_file(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.with_suffix(".pub").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


@frozen
class Released:
    """A project of which a release was made."""

    project: Path
    dist: Path
    statement: Path
    public_key: Path

    @property
    def wheel(self) -> Path:
        return self.dist / WHEEL

    @property
    def signed(self) -> tuple[str, ...]:
        return ("--statement", str(self.statement), "--key", str(self.public_key))

    def verify(self, *words: str, file: Path | None = None) -> int:
        return run(["release", "verify", str(file or self.wheel), "--source", str(self.project), *words])

    def release(self) -> Release:
        envelope = Envelope.decode(self.statement.read_bytes())
        return Release.from_json(dict(Statement.decode(envelope.payload).predicate))

    def say(self, release: Release) -> None:
        """Sign another statement in the place of the one that is there."""
        payload = release.to_statement(*release.subjects()).encode()
        self.statement.write_bytes(Envelope(PAYLOAD_TYPE, payload).sign(KEY).encode())


@pytest.fixture
def released(tmp_path: Path, capsys: Capture) -> Released:
    made = Released(
        make_project(tmp_path / "project"), tmp_path / "dist", tmp_path / "release.json", tmp_path / "release.pub"
    )
    write_key(tmp_path / "release.key", KEY)
    source = ["--source", str(made.project)]
    assert run(["release", "build", *source, "--out", str(made.dist)]) == 0
    assert run(["release", "statement", *source, *state(tmp_path), "--dist", str(made.dist)]) == 0
    capsys.readouterr()
    return made


def state(folder: Path, *, repository: str = REPOSITORY) -> list[str]:
    return ["--repository", repository, "--key", str(folder / "release.key"), "--out", str(folder / "release.json")]


def tamper(released: Released, old: bytes, new: bytes) -> None:
    """Change the content of one member, and pack the wheel anew."""
    data, out = released.wheel.read_bytes(), io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(out, "w") as after:
        for info in before.infolist():
            after.writestr(info, before.read(info).replace(old, new))
    released.wheel.write_bytes(out.getvalue())


# --- Building ---------------------------------------------------------------------------------------------------------


def test_build_writes_three_files_and_prints_their_digests(tmp_path: Path, capsys: Capture) -> None:
    project, dist = make_project(tmp_path / "project"), tmp_path / "deep" / "dist"
    assert run(["release", "build", "--source", str(project), "--out", str(dist)]) == 0
    printed = capsys.readouterr().out
    assert printed == "".join(
        f"{sha256((dist / name).read_bytes()).hexdigest()}  {name}\n" for name in (WHEEL, SDIST, BILL)
    )
    assert sorted(path.name for path in dist.iterdir()) == sorted([WHEEL, SDIST, BILL])
    assert run(["release", "build", "--source", str(project), "--out", str(dist), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["commit"] == git(project, "rev-parse", "HEAD")
    assert "".join(f"{digest}  {name}\n" for name, digest in told["artifacts"].items()) == printed


def test_build_takes_what_is_committed_or_refuses(tmp_path: Path, capsys: Capture) -> None:
    project = make_project(tmp_path / "project")
    words = ["release", "build", "--source", str(project), "--out", str(tmp_path / "dist")]
    assert run(words) == 0
    (project / "small_thing/new.py").write_text("NEW = 1\n")
    clean = capsys.readouterr().out
    assert run(words) == 2
    assert "--commit HEAD" in capsys.readouterr().err
    assert run([*words, "--commit", "HEAD"]) == 0
    assert capsys.readouterr().out == clean


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--commit", "v9"], "no such commit"),
        (["--source", "/nowhere"], "no git repository"),
        (["--out", "/dev/null/dist"], "cannot be made"),
    ],
)
def test_wrong_input_of_a_build_is_a_line_and_status_2(
    words: list[str], says: str, tmp_path: Path, capsys: Capture
) -> None:
    project = make_project(tmp_path / "project")
    assert run(["release", "build", "--source", str(project), "--out", str(tmp_path / "dist"), *words]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_what_the_extra_brings_is_named_when_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    project = make_project(tmp_path / "project")
    monkeypatch.delitem(sys.modules, "confsec.release.sbom", raising=False)
    monkeypatch.setitem(sys.modules, "cyclonedx.model", None)
    assert run(["release", "build", "--source", str(project), "--out", str(tmp_path / "dist")]) == 2
    assert "pip install 'confsec-protocol[release]'" in capsys.readouterr().err
    assert not (tmp_path / "dist").exists()


def test_wheel_without_a_statement_is_verified_without_what_makes_bills(
    released: Released, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "confsec.release.sbom", raising=False)
    monkeypatch.setitem(sys.modules, "cyclonedx.model", None)
    assert released.verify() == 0


# --- Saying it --------------------------------------------------------------------------------------------------------


def test_statement_names_commit_files_and_tools(released: Released) -> None:
    release = released.release()
    assert (release.source, release.commit) == (REPOSITORY, git(released.project, "rev-parse", "HEAD"))
    assert {each.name: each.digest for each in release.artifacts} == {
        path.name: sha256(path.read_bytes()).digest() for path in released.dist.iterdir()
    }
    assert release.toolchain["uv_build"] == "0.13.6"
    assert {"confsec-protocol", "cyclonedx-python-lib", "python", "machine"} <= set(release.toolchain)


def test_statement_is_not_signed_for_files_that_the_commit_does_not_give(released: Released, capsys: Capture) -> None:
    tamper(released, b"ANSWER = 42", b"ANSWER = 43")
    before, folder = released.statement.read_bytes(), released.statement.parent
    words = ["release", "statement", "--source", str(released.project), *state(folder), "--dist", str(released.dist)]
    assert run(words) == 1
    assert "line 3, byte 32 in 'small_thing/__init__.py'" in capsys.readouterr().err
    released.wheel.unlink()
    assert run(words) == 2
    assert "cannot be read" in capsys.readouterr().err
    assert released.statement.read_bytes() == before


@pytest.mark.parametrize("repository", ["http://git.example/", "git@git.example:x", "", "https://git.example/ x"])
def test_repository_that_is_no_https_address_is_refused(repository: str, released: Released, capsys: Capture) -> None:
    words = state(released.statement.parent, repository=repository)
    assert run(["release", "statement", "--source", str(released.project), *words]) == 2
    assert "https" in capsys.readouterr().err


def test_key_that_others_may_read_signs_nothing(released: Released, capsys: Capture) -> None:
    folder = released.statement.parent
    (folder / "release.key").chmod(0o644)
    assert run(["release", "statement", "--source", str(released.project), *state(folder)]) == 2
    assert "open to others" in capsys.readouterr().err


def test_encrypted_key_signs_with_a_passphrase_from_a_file(released: Released, capsys: Capture) -> None:
    folder = released.statement.parent
    (folder / "release.key").unlink()
    pem = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open sesame"))
    write_private_file(folder / "release.key", pem)
    write_private_file(folder / "passphrase", b"open sesame\n")
    words = ["release", "statement", "--source", str(released.project), *state(folder)]
    assert run(words) == 2
    assert run([*words, "--passphrase-file", str(folder / "passphrase")]) == 0
    assert released.verify(*released.signed) == 0
    assert "open sesame" not in "".join(capsys.readouterr())


# --- Building it again ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [WHEEL, SDIST, BILL])
def test_every_file_of_a_release_is_reproduced(name: str, released: Released, capsys: Capture) -> None:
    assert released.verify(file=released.dist / name) == 0
    assert f"REPRODUCED: {name}" in capsys.readouterr().out
    assert released.verify(*released.signed, file=released.dist / name) == 0
    printed = capsys.readouterr().out
    assert all(digest in printed for digest in (each.digest.hex() for each in released.release().artifacts))


def test_result_as_json_has_the_commit_and_all_digests(released: Released, capsys: Capture) -> None:
    assert released.verify(*released.signed, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["verdict"] == "reproduced"
    assert told["difference"] is None
    assert told["commit"] == git(released.project, "rev-parse", "HEAD")
    assert told["built"] == {each.name: each.digest.hex() for each in released.release().artifacts}


def test_commit_is_that_of_the_statement_the_option_or_the_tag(released: Released, capsys: Capture) -> None:
    first = git(released.project, "rev-parse", "HEAD")
    change(released.project, "small_thing/__init__.py", "42", "43")
    assert released.verify() == 0
    assert released.verify("--commit", first[:12]) == 0
    assert released.verify(*released.signed) == 0
    assert released.verify(*released.signed, "--commit", "HEAD~1") == 0
    capsys.readouterr()
    assert released.verify("--commit", "HEAD") == 1
    assert "ANSWER = 43" in capsys.readouterr().out
    assert released.verify(*released.signed, "--commit", "HEAD") == 1
    assert "the statement names another commit" in capsys.readouterr().err
    git(released.project, "tag", "--delete", "v1.2.0")
    assert released.verify() == 2
    assert "refs/tags/v1.2.0" in capsys.readouterr().err


def test_uncommitted_changes_of_the_clone_do_not_matter(released: Released) -> None:
    (released.project / "small_thing/__init__.py").write_text("changed")
    assert released.verify() == 0


def test_tampered_wheel_is_shown_with_its_first_difference(released: Released, capsys: Capture) -> None:
    tamper(released, b"ANSWER = 42", b"ANSWER = 43")
    assert released.verify() == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"DIFFERENT: {WHEEL} is not what the commit gives. The first difference:"
    assert lines[1:4] == [
        "  where    small_thing/__init__.py, line 3, byte 32",
        "  given    ANSWER = 43",
        "  built    ANSWER = 42",
    ]
    assert released.verify(*released.signed, "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["difference"] == {
        "member": "small_thing/__init__.py", "where": "line 3, byte 32", "given": "ANSWER = 43", "built": "ANSWER = 42",
    }  # fmt: skip


def test_what_a_tampered_wheel_says_does_not_steer_the_terminal(released: Released, capsys: Capture) -> None:
    tamper(released, b"ANSWER = 42", b"\x1b[2J\xe2\x80\xaeANSWER")
    assert released.verify() == 1
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert r"\x1b[2J\u202eANSWER" in printed


def test_renamed_wheel_differs_in_its_name(released: Released, capsys: Capture) -> None:
    other = released.dist / "small_thing-1.2.0-py2-none-any.whl"
    released.wheel.rename(other)
    assert released.verify(file=other) == 1
    assert "where    name" in capsys.readouterr().out


def test_release_of_another_commit_is_shown_where_it_differs(released: Released, capsys: Capture) -> None:
    change(released.project, "small_thing/sub/words.py", "TWO = 2", "TWO = 22")
    git(released.project, "tag", "--force", "v1.2.0")
    assert released.verify() == 1
    assert "where    small_thing/sub/words.py, line 2, byte 15" in capsys.readouterr().out


# --- Believing what is said -------------------------------------------------------------------------------------------


def test_statement_of_somebody_else_is_not_believed(released: Released, capsys: Capture) -> None:
    folder = released.statement.parent
    write_key(folder / "other.key", ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)))
    other = str(folder / "other.pub")
    assert released.verify("--statement", str(released.statement), "--key", other) == 1
    assert "[verification]" in capsys.readouterr().err
    assert released.verify("--statement", str(released.statement), "--key", other, "--json") == 1
    assert json.loads(capsys.readouterr().out)["verdict"] == "refused"
    assert released.verify(*released.signed, "--key", other) == 1, "every key that is named has to have signed"


def test_statement_counts_only_with_a_key_or_a_policy(released: Released, capsys: Capture) -> None:
    policy = ("--policy", str(write_policy(released)))
    for words in (released.signed[:2], released.signed[2:], policy, (*released.signed, *policy)):
        assert released.verify(*words) == 2
        assert "--statement with --key or --policy" in capsys.readouterr().err


def write_policy(released: Released, revoked: str = "") -> Path:
    """Write the policy that believes our key, but for what is revoked."""
    path = released.statement.with_suffix(".toml")
    path.write_text(
        f"""version = 1\n[keys]\nreleases = "{encode_base64(DsseKey.of("releases", KEY).spki)}"\n
[[rule]]\npredicate_type = "{Release.TYPE}"\nsigners = ["releases"]\nthreshold = 1\nsubjects = "ANY"
maximum_age = "UNLIMITED"\nnewest_only = false\n{revoked}"""
    )
    return path


def test_key_as_policies_have_it_is_taken_too(released: Released) -> None:
    key = encode_base64(DsseKey.of("releases", KEY).spki)
    assert released.verify("--statement", str(released.statement), "--key", key) == 0


def test_policy_says_who_is_believed_and_what_is_revoked(released: Released, capsys: Capture) -> None:
    words = ("--statement", str(released.statement), "--policy")
    assert released.verify(*words, str(write_policy(released))) == 0
    digest = sha256(released.wheel.read_bytes()).hexdigest()
    revoked = f'[[revoked]]\nkind = "subject"\ndigest = "{digest}"\n'
    assert released.verify(*words, str(write_policy(released, revoked))) == 1
    assert "revoked" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("say", "where"),
    [
        (lambda each: evolve(each, digest=bytes(32)) if each.name == SDIST else each, f"statement about {SDIST}"),
        (lambda each: evolve(each, digest=bytes(32)) if each.name == WHEEL else each, f"statement about {WHEEL}"),
        (lambda each: evolve(each, name="more.whl") if each.name == BILL else each, "statement about more.whl"),
        (lambda each: None if each.name == BILL else each, f"statement about {BILL}"),
    ],
    ids=["another sdist", "another wheel", "a file more", "a file less"],
)
def test_statement_that_names_other_files_is_a_difference(
    say: Callable[[Any], Any], where: str, released: Released, capsys: Capture
) -> None:
    release = released.release()
    named = sorted(filter(None, map(say, release.artifacts)))
    released.say(evolve(release, artifacts=tuple(named), toolchain={**release.toolchain, "python": "2.7"}))
    assert released.verify(*released.signed, "--json") == 1
    told = json.loads(capsys.readouterr().out)
    expected = min(where, f"statement about {BILL}") if where.endswith("more.whl") else where
    assert told["difference"]["where"] == expected
    assert any("2.7 there" in tool for tool in told["tools"])
    assert released.verify(*released.signed) == 1
    assert "python: 2.7 there" in capsys.readouterr().out


def test_other_tools_that_give_the_same_are_not_complained_about(released: Released, capsys: Capture) -> None:
    release = released.release()
    released.say(evolve(release, toolchain={**release.toolchain, "python": "2.7"}))
    assert released.verify(*released.signed) == 0
    assert "2.7" not in capsys.readouterr().out


def test_commit_of_the_statement_that_the_clone_lacks_is_wrong_input(released: Released, capsys: Capture) -> None:
    released.say(evolve(released.release(), commit="1" * 40))
    assert released.verify(*released.signed) == 2
    assert "git -C" in capsys.readouterr().err


# --- Wrong input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("notes.txt", b"text", "no wheel"),
        (WHEEL, b"text", "cannot be unpacked"),
        (WHEEL, None, "cannot be read"),
        (SDIST, b"text", "cannot be unpacked"),
    ],
)
def test_what_is_no_wheel_is_wrong_input(
    name: str, data: bytes | None, says: str, released: Released, tmp_path: Path, capsys: Capture
) -> None:
    file = tmp_path / "given" / name
    file.parent.mkdir()
    if data is not None:
        file.write_bytes(data)
    assert released.verify(file=file) == 2
    assert says in capsys.readouterr().err


def test_wheel_whose_name_has_no_version_needs_a_commit(released: Released, capsys: Capture) -> None:
    other = released.dist / "renamed.whl"
    released.wheel.rename(other)
    assert released.verify(file=other) == 2
    assert "--commit" in capsys.readouterr().err


def test_backend_of_another_version_than_the_commit_pins_is_wrong_input(released: Released, capsys: Capture) -> None:
    change(released.project, "pyproject.toml", "uv_build==0.13.6", "uv_build==0.13.5")
    commit_id = git(released.project, "rev-parse", "HEAD")
    assert released.verify("--commit", commit_id) == 2
    assert "pip install 'uv_build==0.13.5'" in capsys.readouterr().err


def test_release_is_made_again_from_its_own_sdist(released: Released, tmp_path: Path, capsys: Capture) -> None:
    with tarfile.open(released.dist / SDIST) as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = tmp_path / "small_thing-1.2.0"
    git(unpacked, "init", "--quiet")
    commit(unpacked)
    assert run(["release", "verify", str(released.wheel), "--source", str(unpacked), "--commit", "HEAD"]) == 0
    assert "REPRODUCED" in capsys.readouterr().out
