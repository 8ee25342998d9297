"""`confsec statement`: keys, signing real things, looking at statements, and checking them."""

from __future__ import annotations

import json
import os
import re
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from confsec import cli
from confsec.backends.dsse_keys import read_dsse_key
from confsec.backends.key_files import passphrase_from_file, write_private_file
from confsec.protocol import json_general
from confsec.protocol.directory import ServiceDirectory
from confsec.protocol.dsse import DsseKey, DsseSignature, Envelope
from confsec.protocol.json_members import encode_time
from confsec.protocol.key_config import encode_key_configs
from confsec.protocol.merkle import CompactRange, leaf_hash
from confsec.protocol.model_signing import read_model_signing
from confsec.protocol.note_keys import KeyType, Signer
from confsec.protocol.predicates import (
    DirectoryStatement,
    FleetStatement,
    IssuerKeys,
    KeyConfigurations,
    ModelDigests,
    Predicate,
    Release,
    Revocation,
    RevokedKind,
    read_predicate,
)
from confsec.protocol.signatures import SigningKey
from confsec.protocol.statement import Statement
from confsec.protocol.statement_policy import StatementPolicy, StatementRule
from confsec.protocol.statement_rules import from_toml, to_toml
from confsec.protocol.tlog_proof import TlogProof
from tests.client.wallet_issuer import issuer_entry
from tests.protocol.statement_cases import (
    ALICE,
    AT,
    BOB,
    CONFIG,
    CONFIGS,
    DAY,
    DIRECTORY,
    IMAGE,
    MODEL,
    RELEASE,
    REVOCATION,
)
from tests.protocol.test_directory import directory
from tests.protocol.test_predicates import model_signing
from tests.protocol.test_transparency import ORIGIN, POLICY as WITNESSES, checkpoint as checkpoint_of, cosigned
from tests.protocol.token_keys import ED25519, OTHER, P256

NOW = encode_time(AT)
BUNDLE = Path(__file__).parents[1] / "recorded" / "model_signing.json"


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the files of each test in a folder of its own, with the keys of Alice and Bob."""
    monkeypatch.chdir(tmp_path)
    for name, key in (("alice.key", ED25519), ("bob.key", P256)):
        write_private_file(Path(name), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def run(capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 0) -> str:
    assert cli.run(["statement", *map(str, arguments)]) == status
    printed = capsys.readouterr()
    return printed.out + printed.err


def sign(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[Statement, Predicate]:
    """Sign with Alice's key at a fixed time, and return what the envelope holds."""
    run(capsys, "sign", *arguments, "--key", "alice.key", "--issued", NOW, "--out", "out.dsse")
    envelope = Envelope.decode(Path("out.dsse").read_bytes())
    assert envelope.verify([ALICE]) == (ALICE,)
    statement = Statement.decode(envelope.payload)
    return statement, read_predicate(statement)


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    out = run(capsys, "sign", "--key", "alice.key", "--out", "out.dsse", *arguments, status=2)
    assert not Path("out.dsse").exists()
    return out


# --- Keys


@pytest.mark.parametrize("options", [[], ["--p256"]])
def test_a_key_is_made_once_and_its_line_stands_in_a_policy(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    line, keyid = run(capsys, "key", "--out", "new.key", "--name", 'the "op"', *options).splitlines()
    rule = to_toml(StatementPolicy({DirectoryStatement.TYPE: RULE})).replace("alice", r"the \"op\"").splitlines()
    policy = from_toml("\n".join(line if each.startswith(r'"the \"op\"" =') else each for each in rule))
    public = DsseKey.of('the "op"', read_dsse_key(Path("new.key")))
    assert policy.rules[DirectoryStatement.TYPE].signers == (public,)
    assert keyid == f"# keyid {public.key_id}"
    assert Path("new.key").stat().st_mode & 0o777 == 0o600
    assert "cannot be written" in run(capsys, "key", "--out", "new.key", status=2)
    assert DsseKey.of('the "op"', read_dsse_key(Path("new.key"))) == public


def test_a_key_can_be_encrypted(capsys: pytest.CaptureFixture[str]) -> None:
    write_private_file(Path("passphrase"), b"open sesame\n")
    out = run(capsys, "key", "--out", "new.key", "--passphrase-file", "passphrase", "--json")
    key = read_dsse_key(Path("new.key"), passphrase_from_file(Path("passphrase")))
    assert json.loads(out)["keyid"] == DsseKey.of("a", key).key_id
    Path("service.toml").write_text(directory().to_toml())
    arguments = [
        "--directory",
        "service.toml",
        "--name",
        "a",
        "--valid-for",
        "1d",
        "--out",
        "d.dsse",
        "--key",
        "new.key",
    ]
    assert "encrypted" in run(capsys, "sign", *arguments, status=2)
    run(capsys, "sign", *arguments, "--passphrase-file", "passphrase")
    assert Envelope.decode(Path("d.dsse").read_bytes()).verify([DsseKey.of("a", key)])


def test_an_empty_passphrase_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    write_private_file(Path("passphrase"), b"\n")
    assert "empty" in run(capsys, "key", "--out", "new.key", "--passphrase-file", "passphrase", status=2)
    assert not Path("new.key").exists()


# --- Signing


def test_a_directory_is_signed_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    text = "# ours\n" + directory().to_toml()
    Path("service.toml").write_text(text)
    statement, predicate = sign(capsys, "--directory", "service.toml", "--name", "service.example", "--valid-for", "1d")
    assert predicate == DirectoryStatement(issued=AT, valid_until=AT + DAY, directory=text)
    assert statement.subjects[0].name == "service.example"
    assert statement.subjects[0].digest == sha256(text.encode()).digest()


def test_key_configurations_are_signed_with_their_time(capsys: pytest.CaptureFixture[str]) -> None:
    Path("configs").write_bytes(encode_key_configs([CONFIG]))
    until, begin = encode_time(AT + DAY), encode_time(AT + timedelta(hours=1))
    options = ["--key-configs", "configs", "--name", "g", "--valid-until", until]
    _, predicate = sign(capsys, *options, "--valid-from", begin)
    assert predicate == KeyConfigurations(
        issued=AT,
        valid_from=AT + timedelta(hours=1),
        valid_until=AT + DAY,
        key_configs=encode_key_configs([CONFIG]),
    )
    _, predicate = sign(capsys, *options)
    assert isinstance(predicate, KeyConfigurations)
    assert predicate.valid_from == AT


def test_the_keys_of_an_issuer_are_signed_with_their_times(capsys: pytest.CaptureFixture[str]) -> None:
    issuer = issuer_entry()
    Path("service.toml").write_text(evolve(directory(), issuer=issuer).to_toml())
    _, predicate = sign(capsys, "--issuer-keys", "service.toml", "--name", "issuer.example", "--valid-for", "7d")
    assert isinstance(predicate, IssuerKeys)
    assert predicate.keys == ServiceDirectory.from_toml(Path("service.toml").read_text()).issuer.token_keys  # type: ignore[union-attr]
    Path("service.toml").write_text(directory().to_toml())
    Path("out.dsse").unlink()
    assert "no issuer" in refused(capsys, "--issuer-keys", "service.toml", "--name", "a", "--valid-for", "1d")


def test_the_predicate_of_an_image_is_signed_about_its_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("image.json").write_text(json.dumps(IMAGE.body()))
    Path("node.img").write_bytes(b"an image")
    statement, predicate = sign(capsys, "--predicate", "image", "image.json", "--file", "node.img")
    assert predicate == IMAGE
    assert (statement.subjects[0].name, statement.subjects[0].digest) == ("node.img", sha256(b"an image").digest())
    statement, _ = sign(capsys, "--predicate", "image", "image.json", "--file", "node.img", "--name", "ours")
    assert statement.subjects[0].name == "ours"


def test_a_predicate_can_be_toml_with_times(capsys: pytest.CaptureFixture[str]) -> None:
    Path("fleet.toml").write_text('beacon = "AAAA"\nnodes = 3\nissued = 2026-11-28T08:00:00+01:00\n')
    Path("record").write_bytes(b"a record")
    _, predicate = sign(
        capsys, "--predicate", "fleet", "fleet.toml", "--file", "record", "--name", "s", "--valid-for", "1h"
    )
    assert predicate == FleetStatement(issued=AT, valid_until=AT + timedelta(hours=1), beacon=bytes(3), nodes=3)


def test_nested_tables_and_lists_of_toml_are_those_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    lines = ['[[revoked]]\nkind = "key"\nreason = "A test."', f'digest = "{"0" * 64}"\nsince = 2026-11-28T07:00:00Z\n']
    Path("revoked.toml").write_text("\n".join(lines))
    _, predicate = sign(capsys, "--predicate", "revocation", "revoked.toml", "--name", "s")
    assert isinstance(predicate, Revocation)
    assert [(item.kind, item.since) for item in predicate.revoked] == [(RevokedKind.KEY, AT)]


def test_a_release_is_about_its_artifacts(capsys: pytest.CaptureFixture[str]) -> None:
    Path("release.json").write_text(json.dumps(RELEASE.to_json()))
    statement, predicate = sign(capsys, "--predicate", "release", "release.json")
    assert predicate == RELEASE
    assert statement.subjects == RELEASE.subjects()
    Path("out.dsse").unlink()
    assert "--name" in refused(capsys, "--predicate", "release", "release.json", "--name", "a")


def test_what_is_revoked_is_signed(capsys: pytest.CaptureFixture[str]) -> None:
    digest = "5" * 64
    _, predicate = sign(
        capsys, "--revoke", "key", digest, "Stolen.", "--revoke", "subject", "6" * 64, "Bad.", "--name", "s"
    )
    assert isinstance(predicate, Revocation)
    assert [(item.kind, item.digest.hex(), item.reason) for item in predicate.revoked] == [
        (RevokedKind.KEY, digest, "Stolen."),
        (RevokedKind.SUBJECT, "6" * 64, "Bad."),
    ]


def public_pem(key: SigningKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def a_model() -> Path:
    folder = Path("weights")
    for name in ("a-b", "a/b", "config.json", ".git/config"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_the_files_of_a_model_are_hashed(capsys: pytest.CaptureFixture[str]) -> None:
    folder = a_model()
    (folder / "link").symlink_to("config.json")
    assert "is a link" in refused(capsys, "--model", folder, "--name", "m")
    _, predicate = sign(capsys, "--model", folder, "--ignore", ".git", "--ignore", "link", "--name", "m")
    assert isinstance(predicate, ModelDigests)
    assert [file.name for file in predicate.files] == ["a/b", "a-b", "config.json"]
    assert predicate.files[0].digest == sha256(b"a/b").digest()
    assert predicate.ignored == (".git", "link")


def test_a_model_needs_files(capsys: pytest.CaptureFixture[str]) -> None:
    Path("weights").mkdir()
    assert "no files" in refused(capsys, "--model", "weights", "--name", "m")
    assert "no folder" in refused(capsys, "--model", "alice.key", "--name", "m")


@pytest.mark.parametrize("form", ["statement", "envelope", "bundle"])
def test_digests_of_model_signing_are_taken_over(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    statement = model_signing()
    data = statement.encode()
    if form != "statement":
        data = statement.to_envelope().sign(P256).encode()
    if form == "bundle":
        data = b'{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","dsseEnvelope":' + data + b"}"
    Path("model.sig").write_bytes(data)
    _, predicate = sign(capsys, "--model-signing", "model.sig", "--unsafe-unsigned", "--name", "m")
    assert predicate == ModelDigests.from_model_signing(statement, issued=AT)


def test_a_model_that_its_own_tool_signed_is_taken_over(capsys: pytest.CaptureFixture[str]) -> None:
    """The bundle is of model-signing 1.1.1, with the key that the tests call P256."""
    folder = a_model()
    Path("model.sig").write_text(json.dumps(json.loads(BUNDLE.read_text())["bundle"]))
    Path("signer.pub").write_bytes(public_pem(P256))
    options = ["--model-signing", "model.sig", "--model-key", "signer.pub", "--name", "m"]
    statement, predicate = sign(capsys, *options, "--model", folder)
    assert isinstance(predicate, ModelDigests)
    assert [file.name for file in predicate.files] == ["a/b", "a-b", "config.json"]
    assert predicate.ignored == (".git", ".gitattributes", ".github", ".gitignore")
    assert statement.subjects[0].digest == read_model_signing(Path("model.sig").read_bytes()).subjects[0].digest
    Path("out.dsse").unlink()
    (folder / "config.json").write_text("changed")
    assert "not those" in refused(capsys, *options, "--model", folder)
    Path("signer.pub").write_bytes(public_pem(OTHER))
    assert "too few" in run(capsys, "sign", "--key", "alice.key", "--out", "out.dsse", *options, status=1)
    assert not Path("out.dsse").exists()


def test_a_second_signature_is_added(capsys: pytest.CaptureFixture[str]) -> None:
    Path("service.toml").write_text(directory().to_toml())
    sign(capsys, "--directory", "service.toml", "--name", "s", "--valid-for", "1d")
    out = json.loads(run(capsys, "sign", "--add", "out.dsse", "--key", "bob.key", "--json"))
    assert out["signed_with"] == BOB.key_id
    envelope = Envelope.decode(Path("out.dsse").read_bytes())
    assert envelope.verify([ALICE, BOB], threshold=2) == (ALICE, BOB)
    assert "before" in run(capsys, "sign", "--add", "out.dsse", "--key", "bob.key", status=2)
    run(capsys, "sign", "--add", "out.dsse", "--key", "bob.key", "--name", "other", status=2)
    assert Path("out.dsse").read_bytes() == envelope.encode()


def test_what_is_no_statement_of_ours_gets_no_signature(capsys: pytest.CaptureFixture[str]) -> None:
    Path("other.dsse").write_bytes(model_signing().to_envelope().sign(P256).encode())
    assert "nobody would take" in run(capsys, "sign", "--add", "other.dsse", "--key", "alice.key", status=2)
    Path("other.dsse").write_bytes(Envelope("text/plain", b"hello").sign(P256).encode())
    assert "nobody could read" in run(capsys, "sign", "--add", "other.dsse", "--key", "alice.key", status=2)
    directory_ = DIRECTORY.about("s").to_envelope()
    Path("other.dsse").write_bytes(evolve(directory_, payload_type="text/plain").sign(P256).encode())
    assert "text/plain" in run(capsys, "sign", "--add", "other.dsse", "--key", "alice.key", status=2)
    crowd = evolve(directory_, signatures=(DsseSignature(bytes(64)),) * 16)
    Path("other.dsse").write_bytes(crowd.encode())
    assert "signatures" in run(capsys, "sign", "--add", "other.dsse", "--key", "alice.key", status=2)


MISTAKES = {
    "nothing": ([], "what is to be signed"),
    "two things": (["--directory", "a", "--model", "b"], "what is to be signed"),
    "a beginning of nothing": (["--directory", "a", "--valid-from", NOW], "--key-configs"),
    "a path of no model": (["--directory", "a", "--ignore", "b"], "--model"),
    "two ends": (["--directory", "a", "--valid-for", "1d", "--valid-until", NOW], "exclude"),
    "a directory that is none": (["--directory", "alice.key", "--name", "a", "--valid-for", "1d"], "not TOML"),
    "a directory that never ends": (["--directory", "service.toml", "--name", "a"], "has to end"),
    "a directory without a name": (["--directory", "service.toml", "--valid-for", "1d"], "--name"),
    "a file of a directory": (["--directory", "service.toml", "--valid-for", "1d", "--file", "a"], "--file"),
    "a file that is not text": (["--directory", "image", "--name", "a", "--valid-for", "1d"], "UTF-8"),
    "a file that is not there": (["--directory", "nowhere", "--name", "a", "--valid-for", "1d"], "cannot be read"),
    "an image of no file": (["--predicate", "image", "image.json"], "--file"),
    "an image of a file that is not there": (["--predicate", "image", "image.json", "--file", "no"], "cannot be read"),
    "a predicate with more members": (["--predicate", "model", "image.json", "--name", "m"], "other members"),
    "a predicate with a bad time": (["--predicate", "fleet", "bad.toml", "--file", "image.json"], "no time zone"),
    "a predicate that is none": (["--predicate", "model", "list.json", "--name", "m"], "no.* object|not a JSON object"),
    "key configurations that are none": (["--key-configs", "image.json", "--name", "g", "--valid-for", "1d"], "cannot"),
    "a revoked text": (["--revoke", "key", "zz", "A test.", "--name", "a"], "cannot be said"),
    "no signature of a model": (
        ["--model-signing", "image.json", "--unsafe-unsigned", "--name", "m"],
        "cannot be said",
    ),
    "a signature of a model by nobody": (["--model-signing", "image.json", "--name", "m"], "--unsafe-unsigned"),
    "a signature that is and is not checked": (
        ["--model-signing", "image.json", "--model-key", "a", "--unsafe-unsigned", "--name", "m"],
        "--unsafe-unsigned",
    ),
    "a key of no model": (["--directory", "a", "--model-key", "b"], "--model-signing"),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_what_cannot_be_said_is_not_signed(mistake: tuple[list[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("service.toml").write_text(directory().to_toml())
    Path("image.json").write_text(json.dumps(IMAGE.body()))
    Path("image").write_bytes(b"\xff")
    Path("list.json").write_text("[]")
    Path("bad.toml").write_text('beacon = "AAAA"\nnodes = 3\nissued = 2026-11-28T08:00:00\n')
    arguments, message = mistake
    assert re.search(message, refused(capsys, *arguments))


def test_an_envelope_needs_a_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--out" in run(capsys, "sign", "--directory", "a", "--key", "alice.key", status=2)


def test_a_key_of_another_kind_does_not_sign(capsys: pytest.CaptureFixture[str]) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    write_private_file(Path("new.key"), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert "does not sign envelopes" in run(
        capsys, "sign", "--directory", "a", "--key", "new.key", "--out", "o", status=2
    )


# --- Looking


def sealed(predicate: Predicate, *keys: SigningKey, name: str = "service.example") -> bytes:
    statement = (
        predicate.to_statement(*predicate.subjects()) if isinstance(predicate, Release) else predicate.about(name)
    )
    envelope = statement.to_envelope()
    for key in keys or (ED25519,):
        envelope = envelope.sign(key)
    return envelope.encode()


def test_a_statement_is_shown_and_nobody_says_that_it_is_true(capsys: pytest.CaptureFixture[str]) -> None:
    Path("d.dsse").write_bytes(sealed(evolve(DIRECTORY, directory="a\n\x1b[31m" + "b" * 200 + "\n" * 50)))
    out = run(capsys, "show", "d.dsse")
    assert out.startswith("NOTHING HERE IS VERIFIED")
    assert "service.example" in out
    assert DIRECTORY.about("a").digest.hex() not in out
    assert ALICE.key_id in out
    assert "\x1b[31m" not in out
    assert r"\x1b[31m" in out
    assert "more: --json shows all" in out
    shown = json.loads(run(capsys, "show", "d.dsse", "--json"))
    assert shown["verified"] is False
    assert shown["predicate_type"] == DirectoryStatement.TYPE
    assert shown["problem"] is None
    assert (
        shown["statement_digest"] == Statement.decode(Envelope.decode(Path("d.dsse").read_bytes()).payload).digest.hex()
    )


def test_every_kind_of_value_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    Path("i.dsse").write_bytes(IMAGE.to_statement(*MODEL.about("img").subjects).to_envelope().sign(ED25519).encode())
    out = run(capsys, "show", "i.dsse")
    assert "rtmr1" in out
    assert "OVMF.fd" in out
    assert "validUntil null" in out
    Path("r.dsse").write_bytes(sealed(evolve(REVOCATION, revoked=())))
    assert "revoked nothing" in run(capsys, "show", "r.dsse")


def test_statements_of_others_are_shown_with_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    Path("m.dsse").write_bytes(evolve(model_signing().to_envelope(), signatures=(DsseSignature(bytes(64)),)).encode())
    out = run(capsys, "show", "m.dsse")
    assert "no policy takes it" in out
    assert "allow_symlinks false" in out
    assert "without a name" in out
    assert json.loads(run(capsys, "show", "m.dsse", "--json"))["statement_digest"] is None


def test_what_is_no_statement_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "show", "alice.key", status=2).startswith("NOT A STATEMENT")
    assert json.loads(run(capsys, "show", "alice.key", "--json", status=2))["verdict"] == "not a statement"


# --- Checking

RULE = StatementRule(
    signers=(ALICE,), threshold=1, subject_names=frozenset({"service.example"}), max_age=DAY, newest_only=True
)
BOTH = evolve(RULE, signers=(ALICE, BOB), threshold=2, subject_names=None, max_age=None, newest_only=False)
POLICY = StatementPolicy(
    {DirectoryStatement.TYPE: RULE, Revocation.TYPE: RULE, ModelDigests.TYPE: BOTH, Release.TYPE: BOTH}
)


def verify(capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 0) -> dict[str, Any]:
    Path("policy.toml").write_text(to_toml(POLICY))
    out = run(capsys, "verify", "d.dsse", "--policy", "policy.toml", "--at", NOW, "--json", *arguments, status=status)
    result: dict[str, Any] = json.loads(out)
    return result


def in_a_log(envelope: bytes) -> None:
    """Write a proof that the envelope is the only entry of a log, and whose word counts there."""
    root = CompactRange().append(leaf_hash(envelope)).root
    note = cosigned(evolve(checkpoint_of(1), root=root))
    Path("d.dsse").write_bytes(envelope)
    Path("d.proof").write_bytes(TlogProof(0, (), note).encode())
    Path("witnesses").write_bytes(WITNESSES.encode())


PROVED = ["--proof", "d.proof", "--witnesses", "witnesses"]
REMEMBERED = [*PROVED, "--memory", "logs.db"]


def test_a_statement_is_verified_and_what_is_not_checked_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    Path("d.dsse").write_bytes(sealed(DIRECTORY))
    out = verify(capsys)
    assert out["verdict"] == "verified"
    assert out["signers"] == ["alice"]
    assert out["predicate"] == json.loads(json_general.encode(DIRECTORY.to_json()))
    assert any("signed by alice" in each for each in out["checked"])
    assert any("whether a log has it" in each for each in out["not_checked"])
    assert any("newer one" in each for each in out["not_checked"])
    assert any("--file" in each for each in out["not_checked"])
    printed = run(capsys, "verify", "d.dsse", "--policy", "policy.toml", "--at", NOW)
    assert printed.startswith("VERIFIED: directory, service.example")
    assert "not checked" in printed


@pytest.mark.parametrize(
    ("envelope", "options", "why"),
    [
        (sealed(DIRECTORY, P256), [], "too few"),
        (sealed(MODEL, ED25519), [], "too few"),
        (sealed(DIRECTORY, name="other.example"), [], "something else"),
        (sealed(evolve(DIRECTORY, issued=AT + DAY, valid_until=AT + 2 * DAY)), [], "in the future"),
        (sealed(evolve(DIRECTORY, issued=AT - 2 * DAY)), [], "too old"),
        (sealed(DIRECTORY), ["--type", "revocation"], "another type"),
        (sealed(DIRECTORY), ["--type", "image"], "nobody may make"),
    ],
)
def test_a_statement_is_refused(
    envelope: bytes, options: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("d.dsse").write_bytes(envelope)
    out = verify(capsys, *options, status=1)
    assert out["verdict"] == "refused"
    assert why in out["why"]
    printed = run(capsys, "verify", "d.dsse", "--policy", "policy.toml", "--at", NOW, *options, status=1)
    assert printed.startswith("REFUSED: ")


def test_what_is_no_statement_is_not_verified(capsys: pytest.CaptureFixture[str]) -> None:
    Path("d.dsse").write_text("hello")
    assert verify(capsys, status=2)["verdict"] == "not a statement"
    Path("d.dsse").write_bytes(model_signing().to_envelope().sign(ED25519).encode())
    assert verify(capsys, status=1)["verdict"] == "refused"


def test_the_log_that_has_it_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    in_a_log(sealed(DIRECTORY))
    out = verify(capsys, *PROVED)
    (line,) = (each for each in out["checked"] if each.startswith("entry 0"))
    assert ORIGIN in line
    assert "w1, w2" in line
    assert not any("whether a log has it" in each for each in out["not_checked"])
    assert any("confsec log check" in each for each in out["not_checked"])
    assert verify(capsys, *PROVED, "--origin", ORIGIN) == out


def test_another_entry_is_not_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    in_a_log(sealed(DIRECTORY))
    Path("d.dsse").write_bytes(sealed(DIRECTORY, ED25519, P256))
    assert verify(capsys, *PROVED, status=1)["code"] == "transparency"


def test_a_proof_without_a_quorum_counts_for_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    in_a_log(sealed(DIRECTORY))
    Path("d.proof").write_bytes(
        TlogProof(0, (), cosigned(evolve(checkpoint_of(1), root=leaf_hash(sealed(DIRECTORY))), (AT,))).encode()
    )
    assert verify(capsys, *PROVED, status=1)["verdict"] == "refused"
    Path("d.proof").write_text("hello")
    assert verify(capsys, *PROVED, status=2)["verdict"] == "not a statement"


def test_what_was_proved_is_remembered_and_an_older_one_refused(capsys: pytest.CaptureFixture[str]) -> None:
    older, newer = sealed(DIRECTORY), sealed(evolve(DIRECTORY, issued=AT + timedelta(seconds=1)))
    in_a_log(newer)
    out = verify(capsys, *REMEMBERED)
    assert any("logs.db remembers" in each for each in out["checked"])
    assert not any("--memory" in each for each in out["not_checked"])
    in_a_log(older)
    assert "older" in verify(capsys, *REMEMBERED, status=1)["why"]
    verify(capsys, *PROVED)


def test_what_a_log_revoked_is_remembered(capsys: pytest.CaptureFixture[str]) -> None:
    statement = DIRECTORY.about("service.example")
    item = evolve(REVOCATION.revoked[0], kind=RevokedKind.STATEMENT, digest=statement.digest)
    in_a_log(sealed(evolve(REVOCATION, revoked=(item,))))
    verify(capsys, *REMEMBERED)
    in_a_log(sealed(DIRECTORY))
    assert "revoked" in verify(capsys, *REMEMBERED, status=1)["why"]


def test_a_refused_statement_is_not_remembered(capsys: pytest.CaptureFixture[str]) -> None:
    in_a_log(sealed(evolve(DIRECTORY, issued=AT + timedelta(seconds=1))))
    Path("d.proof").write_bytes(TlogProof(0, (), cosigned(checkpoint_of(1))).encode())
    verify(capsys, *REMEMBERED, status=1)
    in_a_log(sealed(DIRECTORY))
    verify(capsys, *REMEMBERED)


def test_a_file_has_to_be_what_it_is_about(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.whl").write_bytes(b"a wheel")
    artifacts = (evolve(RELEASE.artifacts[0], name="a.whl", digest=sha256(b"a wheel").digest()),)
    Path("d.dsse").write_bytes(sealed(evolve(RELEASE, artifacts=artifacts), ED25519, P256))
    out = verify(capsys, "--file", "a.whl")
    assert "a.whl is its subject a.whl" in out["checked"]
    Path("a.whl").write_bytes(b"another wheel")
    assert "not about this file" in verify(capsys, "--file", "a.whl", status=1)["why"]
    for path, why in (("nowhere", "cannot be read"), (os.curdir, "not about a model")):
        assert why in run(capsys, "verify", "d.dsse", "--policy", "policy.toml", "--at", NOW, "--file", path, status=2)


def test_a_folder_has_to_be_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    folder = a_model()
    for key, options in (("alice.key", ["--model", folder, "--ignore", ".git", "--name", "m"]), ("bob.key", [])):
        source = options or ["--add", "d.dsse"]
        times = ["--issued", NOW] if options else []
        run(capsys, "sign", *source, *times, "--key", key, "--out", "d.dsse")
    out = verify(capsys, "--file", folder)
    assert any("has the 3 files of m, and what is in .git counts for nothing" in each for each in out["checked"])
    (folder / "more").write_text("more")
    assert "other files" in verify(capsys, "--file", folder, status=1)["why"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--memory", "logs.db"], "--proof"),
        (["--proof", "d.proof"], "--witnesses"),
        (["--proof", "d.proof", "--witnesses", "two"], "--origin"),
        (["--proof", "d.proof", "--witnesses", "two", "--origin", "log.example/none"], "does not know this log"),
        (["--policy", "d.proof"], "TOML"),
        (["--policy", "image"], "UTF-8"),
    ],
)
def test_wrong_input_is_said(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    in_a_log(sealed(DIRECTORY))
    Path("image").write_bytes(b"\xff")
    log = WITNESSES.logs[0]
    other = evolve(WITNESSES, logs=(log, evolve(log, key=Signer("log.example/two", KeyType.ED25519, b"2" * 32).key)))
    Path("two").write_bytes(other.encode())
    Path("policy.toml").write_text(to_toml(POLICY))
    assert message in run(capsys, "verify", "d.dsse", "--policy", "policy.toml", "--at", NOW, *options, status=2)


def test_keys_that_begin_later_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    Path("d.dsse").write_bytes(sealed(CONFIGS, name="gateway.example"))
    rule = evolve(BOTH, signers=(ALICE,), threshold=1)
    Path("keys.toml").write_text(to_toml(StatementPolicy({KeyConfigurations.TYPE: rule})))
    early = verify(capsys, "--policy", "keys.toml")["not_checked"]
    late = verify(capsys, "--policy", "keys.toml", "--at", encode_time(CONFIGS.valid_from))["not_checked"]
    assert [each for each in early if each not in late] == [
        "whether its keys are used too early: they begin 2026-11-28 08:00:00 UTC"
    ]
