"""`confsec receipt`: what is shown, what is verified, the exit status, and wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from attrs import evolve
from cryptography.hazmat.primitives.asymmetric import x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from confsec.cli import run
from confsec.protocol import cbor_general
from confsec.protocol.cose import CoseSign1
from confsec.protocol.merkle import leaf_hash
from confsec.protocol.signatures import SigningKey
from tests.protocol.receipt_cases import (
    ISSUER,
    ISSUER_KEY,
    LOG,
    LOG_KEY,
    OTHER_KEY,
    make_receipt,
    make_statement,
    receipt_for,
    transparent,
)
from tests.protocol.test_merkle import root_of

Capture = pytest.CaptureFixture[str]

ENTRIES = [b"one", b"two", b"three", b"four", b"five"]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]


def pem(key: SigningKey | x25519.X25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a receipt, a statement and keys; commands run in it."""
    numbers = LOG_KEY.public_key().public_numbers()
    x, y = numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big")
    files = {
        "receipt.cose": make_receipt(LEAVES, included=(2,), grown_from=(3,)),
        "statement.cose": transparent(make_statement(), receipt_for(make_statement())).encode(),
        "entry": b"three",
        "log.pem": pem(LOG_KEY),
        "log.cbor": cbor_general.encode({1: 2, -1: 1, -2: x, -3: y}),
        "issuer.pem": pem(ISSUER_KEY),
        "other.pem": pem(OTHER_KEY),
        "x25519.pem": pem(x25519.X25519PrivateKey.from_private_bytes(b"x" * 32)),
        "noise": b"\xff\x00",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def verify(file: str, *options: str, key: str = "log.pem") -> int:
    return run(["receipt", "verify", file, "--log", str(LOG.issuer), key, *options])


AN_ENTRY = ("receipt.cose", "--entry", "entry")
A_STATEMENT = ("statement.cose", "--issuer", str(ISSUER.issuer), "issuer.pem")


# --- show


def test_a_receipt_is_shown(folder: Path, capsys: Capture) -> None:
    assert run(["receipt", "show", "receipt.cose"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "issuer: https://log.example",
        "algorithm: ES256",
        "inclusion 1:",
        "  size: 5",
        "  index: 2",
        "consistency 1:",
        "  old size: 3",
        "  new size: 5",
        "nothing of this has been checked",
    ]


def test_a_statement_is_shown_as_json(folder: Path, capsys: Capture) -> None:
    assert run(["receipt", "show", "statement.cose", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["issuer"], shown["subject"], shown["algorithm"]) == (ISSUER.issuer, "artifact", "EdDSA")
    assert shown["payload_size"] == 10
    assert [each["inclusion"] for each in shown["receipts"]] == [[{"size": 3, "index": 2}]]


def test_what_is_not_known_is_shown_as_it_is(folder: Path, capsys: Capture) -> None:
    message = make_statement(detached=True, claims={1: "\x1b[31mred"})
    odd = evolve(message, protected=cbor_general.encode({1: -99, 4: b"\x01", 15: {1: "\x1b[31mred"}}))
    (folder / "odd.cose").write_bytes(transparent(odd, b"\xff").encode())
    assert run(["receipt", "show", "odd.cose"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["issuer: \\x1b[31mred", "key id: 01", "algorithm: -99"]
    assert lines[3] == "receipts 1:"
    assert lines[4] == "  unreadable: a COSE_Sign1 has a simple value that nobody uses: got 0xff (RFC 8949, section 3)"
    bare = CoseSign1(protected=b"", payload=b"", signature=b"")
    (folder / "bare.cose").write_bytes(bare.encode())
    assert run(["receipt", "show", "bare.cose", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["algorithm"] is None


@pytest.mark.parametrize("file", ["noise", "missing", "log.cbor"])
def test_what_is_no_receipt_is_wrong_input(folder: Path, capsys: Capture, file: str) -> None:
    assert run(["receipt", "show", file]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_receipt_of_another_tree_is_wrong_input(folder: Path, capsys: Capture) -> None:
    (folder / "ccf.cose").write_bytes(make_receipt(LEAVES, included=(2,), protected={395: 2}))
    assert run(["receipt", "show", "ccf.cose"]) == 2
    assert "a receipt of another tree: got 2" in capsys.readouterr().err


# --- verify


@pytest.mark.parametrize("key", ["log.pem", "log.cbor"])
def test_an_entry_is_verified(folder: Path, capsys: Capture, key: str) -> None:
    assert verify(*AN_ENTRY, key=key) == 0
    out = capsys.readouterr().out
    assert f"root: {root_of(LEAVES).hex()}\nsize: 5\nindex: 2\nverified" in out


def test_growth_is_verified(folder: Path, capsys: Capture) -> None:
    assert verify("receipt.cose", "--since", "3", root_of(LEAVES[:3]).hex(), "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "verified": True, "log": LOG.issuer, "root": root_of(LEAVES).hex(), "size": 5, "index": None,
    }  # fmt: skip


def test_a_log_that_names_nobody_is_verified(folder: Path) -> None:
    (folder / "receipt.cose").write_bytes(make_receipt(LEAVES, included=(2,), claims={}))
    assert run(["receipt", "verify", "receipt.cose", "--log", "", "log.pem", "--entry", "entry"]) == 0
    assert verify(*AN_ENTRY) == 1


def test_a_statement_is_verified_and_its_payload_written(folder: Path, capsys: Capture) -> None:
    assert verify(*A_STATEMENT, "--out", "payload") == 0
    out = capsys.readouterr().out
    assert "subject: artifact\npayload size: 10\nlogs 1:\n  log: https://log.example" in out
    assert (folder / "payload").read_bytes() == b"it is good"


def test_a_payload_may_stand_beside(folder: Path) -> None:
    message = make_statement(detached=True)
    (folder / "statement.cose").write_bytes(transparent(message, receipt_for(message)).encode())
    (folder / "payload").write_bytes(b"it is good")
    assert verify(*A_STATEMENT, "--payload", "payload") == 0
    assert verify(*A_STATEMENT) == 2
    (folder / "payload").write_bytes(b"it is bad")
    assert verify(*A_STATEMENT, "--payload", "payload") == 1


def test_what_has_run_out_is_refused_but_not_as_of_before(folder: Path) -> None:
    expiring = make_receipt(LEAVES, included=(2,), claims={1: LOG.issuer, 4: 1_700_000_000})
    (folder / "receipt.cose").write_bytes(expiring)
    assert verify(*AN_ENTRY) == 1
    assert verify(*AN_ENTRY, "--at", "2023-01-01T00:00:00Z") == 0


def test_another_entry_or_key_is_refused(folder: Path, capsys: Capture) -> None:
    assert verify(*AN_ENTRY, key="other.pem") == 1
    (folder / "entry").write_bytes(b"four")
    assert verify(*AN_ENTRY) == 1
    assert "leads from here to a root that the log signed" in capsys.readouterr().err


def test_a_statement_that_is_refused_is_not_written(folder: Path) -> None:
    assert verify(*A_STATEMENT, "--out", "payload", key="other.pem") == 1
    assert not (folder / "payload").exists()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("receipt.cose",), "Say either --entry or --since"),
        ((*AN_ENTRY, "--since", "3", "00"), "Say either --entry or --since"),
        ((*AN_ENTRY, "--out", "payload"), "are for statements"),
        ((*AN_ENTRY, "--issuer", "me", "issuer.pem"), "are for statements"),
        ((*AN_ENTRY, "--log", "other", "other.pem"), "2 times --log"),
        (("receipt.cose", "--since", "3", "zz"), "not hex"),
        (("receipt.cose", "--since", "0", "00"), "--since"),
        (("statement.cose",), "Say --issuer"),
        ((*A_STATEMENT, "--entry", "entry"), "are for receipts"),
        (("receipt.cose", "--entry", "missing"), "cannot be read"),
        ((*AN_ENTRY, "--log", "x", "noise"), "no public key in PEM, and no COSE_Key"),
        ((*AN_ENTRY, "--log", "x", "x25519.pem"), "do not verify with"),
        ((*A_STATEMENT, "--payload", "entry"), "in it or beside it"),
    ],
)
def test_wrong_input_is_told(folder: Path, capsys: Capture, arguments: tuple[str, ...], why: str) -> None:
    assert verify(*arguments) == 2
    assert why in capsys.readouterr().err


def test_a_statement_needs_a_log(folder: Path, capsys: Capture) -> None:
    assert run(["receipt", "verify", *A_STATEMENT]) == 2
    assert "Say which ones you ask for" in capsys.readouterr().err
