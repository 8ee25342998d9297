"""`confsec verify`: the verdict, the exit status, and what a person sees."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from attrs import evolve

from confsec.cli import run
from confsec.cli.proof_view import group_checks
from confsec.protocol import cbor
from confsec.protocol.checks import Check, Status
from confsec.protocol.policy import PRODUCTION, UNSAFE_UNATTESTED, Policy, PolicyReader
from confsec.protocol.proof import make_proof
from tests.cli.fake_tee import (
    POLICY,
    POLICY_FILE,
    ROWS,
    FakeVerifier,
    demo_policy,
    make_evidence,
    make_file,
    read_fake,
)
from tests.protocol.fleets import make_fleet

Capture = pytest.CaptureFixture[str]

UNATTESTED_FILE = """
name = "ours"
minimum_nodes = {minimum}
maximum_age = 3600
platforms = []
accepted_assumptions = []
manifests = []
unsafe_waived = []
"""


@pytest.fixture(autouse=True)
def policies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let policies and Proofs name the TEE of these tests, and the constant that takes simulated ones."""
    reader = PolicyReader({"sev-snp": read_fake}, (PRODUCTION, UNSAFE_UNATTESTED, demo_policy()))
    monkeypatch.setattr("confsec.tee.registry.POLICIES", reader)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def unattested(tmp_path: Path) -> Path:
    fleet = make_fleet(3)
    proof = make_proof(UNSAFE_UNATTESTED, fleet.encoded, fleet.record, fleet.trusted())
    return write(tmp_path / "unattested.cbor", proof.encode())


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def proof_of(folder: Path, *, policy: Policy = POLICY, nodes: str = "ab", **knobs: cbor.CborValue) -> Path:
    return write(folder / "proof.cbor", make_file([make_evidence(seed, **knobs) for seed in nodes], policy))


def policy_file(folder: Path, *changes: tuple[str, str]) -> Path:
    text = POLICY_FILE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "policy.toml"
    path.write_text(text)
    return path


def flat(text: str) -> str:
    """Return text without the lines of the tree, as one line."""
    return " ".join(text.translate(str.maketrans("│├└─", "    ")).split())


# --- Trusted ----------------------------------------------------------------------------------------------------------


def test_a_good_proof_is_trusted_and_shown_as_a_tree(tmp_path: Path, capsys: Capture) -> None:
    assert run(["verify", str(proof_of(tmp_path))]) == 0
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    assert lines[0] == "Proof under the policy ours"
    assert "the policy that the Proof names" in lines[1]
    assert max(map(len, lines)) <= 80
    for part in (
        "vendor a root of trust that the policy names",
        "→ sev-snp AMD's attestation report AMD's chain signs the report",
        "→ binding the hash of key, manifest and nonce REPORT_DATA is the binding",
        "→ key-config the key that requests are sealed to the binding is a hash of it",
        "→ operating-system what booted",
        "waives freshness.epoch, log.directory, log.fleet, log.root, token.spend",
        f"{ROWS + 4} of sev-snp",
        "sev-snp: Milan 1.55.31 with snp 7",
        "firmware reaches every floor",
        "leaves to assume: amd",
        "AMD's processors and keys do what AMD says",
        "Each key was held by a machine (sev-snp)",
        "How old it is: only the operator's own clock dates the epoch.",
        "as with node",
        "TRUSTED: every recorded check replays, and the policy ours accepts it.",
    ):
        assert part in flat(shown)
    assert "sev-snp.field-00" not in shown


def test_every_check_can_be_seen(tmp_path: Path, capsys: Capture) -> None:
    assert run(["verify", "--all", str(proof_of(tmp_path))]) == 0
    shown = capsys.readouterr().out
    assert shown.count("sev-snp.field-") == 2 * ROWS
    assert "want  39" in shown


def test_json_is_one_object(tmp_path: Path, capsys: Capture) -> None:
    assert run(["verify", "--json", str(proof_of(tmp_path))]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["verdict"], value["simulated"]) == ("trusted", False)
    assert [node["platform"] for node in value["nodes"]] == ["sev-snp"] * 2
    assert {"named_policy", "at", "refused"} & set(value) == set()


# --- What proves little -----------------------------------------------------------------------------------------------


def test_a_simulated_proof_replays_and_says_first_that_it_proves_nothing(tmp_path: Path, capsys: Capture) -> None:
    file = proof_of(tmp_path, policy=demo_policy(), simulated=True)
    assert run(["verify", str(file)]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[0].startswith("SIMULATED: this proves nothing about hardware")
    assert shown.count("this proves nothing about hardware") == 1
    assert "TRUSTED only under UNSAFE_DEMO_POLICY" in shown
    assert "TRUSTED:" not in shown
    assert "Anything about the machines" in shown
    assert run(["verify", "--json", str(file)]) == 0
    assert json.loads(capsys.readouterr().out)["simulated"] is True


def test_a_simulated_proof_is_refused_under_any_policy_of_a_file(tmp_path: Path, capsys: Capture) -> None:
    file = proof_of(tmp_path, policy=demo_policy(), simulated=True)
    policy = str(policy_file(tmp_path))
    assert run(["verify", str(file), "--policy", policy]) == 1
    shown = capsys.readouterr().out
    assert shown.startswith("SIMULATED")
    assert "attestation.simulated" in shown
    assert "REFUSED" in shown
    assert run(["verify", str(file), "--policy", policy, "--json"]) == 1
    value = json.loads(capsys.readouterr().out)
    assert (value["verdict"], value["simulated"], value["named_policy"]) == ("refused", True, "UNSAFE_DEMO_POLICY")


def test_the_demo_policy_has_to_be_asked_for(tmp_path: Path, capsys: Capture) -> None:
    real = proof_of(tmp_path)
    assert run(["verify", str(real), "--unsafe-simulated"]) == 0
    shown = capsys.readouterr().out
    assert "TRUSTED: every recorded check replays, and the policy UNSAFE_DEMO_POLICY accepts it" in flat(shown)
    assert run(["verify", str(real), "--unsafe-simulated", "--policy", str(policy_file(tmp_path))]) == 2
    assert "exclude each other" in capsys.readouterr().err


def test_a_version_without_the_demo_policy_says_which_it_has(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("confsec.tee.registry.POLICIES", PolicyReader({"sev-snp": read_fake}))
    assert run(["verify", str(proof_of(tmp_path)), "--unsafe-simulated"]) == 2
    assert "PRODUCTION, UNSAFE_UNATTESTED" in capsys.readouterr().err


def test_an_unattested_proof_says_that_nobody_looked(unattested: Path, capsys: Capture) -> None:
    assert run(["verify", str(unattested)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("UNATTESTED: this proves nothing about the machines: nobody has looked at them.")
    assert "not attested" in shown
    assert "TRUSTED only under UNSAFE_UNATTESTED" in shown


# --- Refused ----------------------------------------------------------------------------------------------------------


def test_a_policy_of_ones_own_refuses_what_it_does_not_accept(tmp_path: Path, capsys: Capture) -> None:
    loose = evolve(POLICY, verifiers=(FakeVerifier(unsafe_debug=True),))
    file = proof_of(tmp_path, policy=loose, debug=True)
    policy = policy_file(tmp_path, ("level = 7", "level = 9"))
    assert run(["verify", str(file), "--policy", str(policy)]) == 1
    shown = flat(capsys.readouterr().out)
    for part in (
        "the Proof names the policy ours SHA-256",
        "it is judged by ours SHA-256",
        "✘ fail sev-snp.tcb-floor (AMD 56860, table 3) the firmware is too low want at least 9 got 7",
        "✘ fail sev-snp.debug (AMD 56860, table 9) debugging is on",
        "firmware is behind FAKE-SB-1: snp by 2 levels",
        "That the nodes deserve trust under the policy ours: attestation.evidence, sev-snp.tcb-floor, sev-snp.debug",
        "REFUSED: every recorded check replays, and 5 checks refused under ours:",
    ):
        assert part in shown
    assert "Each key was held" not in shown
    assert run(["verify", str(file), "--policy", str(policy), "--json"]) == 1
    value = json.loads(capsys.readouterr().out)
    assert (value["verdict"], value["code"], value["policy"]["name"]) == ("refused", "appraisal", "ours")
    assert set(value["refused"]) == {"attestation.evidence", "sev-snp.tcb-floor", "sev-snp.debug"}


def test_checks_that_follow_from_a_failure_are_only_counted() -> None:
    checks = [
        Check("tee.chain", "RFC 0", Status.FAIL, "broken"),
        Check("tee.a", "RFC 0", Status.SKIP, "not looked at, since tee.chain failed"),
        Check("tee.b", "RFC 0", Status.SKIP, "not looked at, since tee.chain failed"),
        Check("tee.c", "RFC 0", Status.SKIP, "there is no log"),
        Check("other.a", "RFC 0", Status.PASS, "good"),
    ]
    tee, other = group_checks(checks)
    assert tee.followers == {"not looked at, since tee.chain failed": 2}
    assert [check.id for check in tee.of(Status.SKIP)] == ["tee.c"]
    assert other.followers == {}


def test_a_policy_that_wants_more_nodes_refuses(unattested: Path, tmp_path: Path, capsys: Capture) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(UNATTESTED_FILE.format(minimum=5))
    assert run(["verify", str(unattested), "--policy", str(policy)]) == 1
    shown = flat(capsys.readouterr().out)
    assert "too few nodes serve in this epoch want at least 5 got 3" in shown
    assert "of no known platform" in shown


def test_the_evidence_can_be_appraised_at_another_time(tmp_path: Path, capsys: Capture) -> None:
    file = str(proof_of(tmp_path))
    assert run(["verify", file, "--at", "2030-01-20T00:00:00Z", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["at"] == "2030-01-20T00:00:00+00:00"
    assert run(["verify", file, "--at", "2030-03-01T01:00:00+01:00"]) == 1
    assert "sev-snp.validity: the certificate is over" in capsys.readouterr().out


@pytest.mark.parametrize(
    "time",
    ["", "now", "2030-01-20", "2030-01-20T00:00:00", "2030-13-20T00:00:00Z", "2030-01-20 00:00:00Z",
     "2030-01-20T00:00:60Z", "0001-01-01T00:00:00+01:00", "２030-01-20T00:00:00Z"],
)  # fmt: skip
def test_a_time_that_is_none_is_wrong_input(tmp_path: Path, capsys: Capture, time: str) -> None:
    assert run(["verify", str(proof_of(tmp_path)), "--at", time]) == 2
    assert "RFC 3339" in capsys.readouterr().err


def test_a_changed_byte_is_refused(unattested: Path, capsys: Capture) -> None:
    data = bytearray(unattested.read_bytes())
    data[len(data) // 2] ^= 1
    unattested.write_bytes(data)
    assert run(["verify", str(unattested)]) == 1
    assert "changed or cut" in capsys.readouterr().out
    assert run(["verify", "--json", str(unattested)]) == 1
    assert json.loads(capsys.readouterr().out)["code"] == "proof"


# --- No Proof, and wrong input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"hello", "not a Proof"),
        (b"\x86" + cbor.encode("confsec proof") + b"\x01", "version 1"),
    ],
)
def test_what_is_no_proof_is_told_apart(tmp_path: Path, capsys: Capture, data: bytes, says: str) -> None:
    path = write(tmp_path / "file", data)
    assert run(["verify", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("NOT A PROOF: ")
    assert says in said
    assert run(["verify", str(path), "--html", str(tmp_path / "page.html")]) == 2
    assert not (tmp_path / "page.html").exists()
    capsys.readouterr()
    assert run(["verify", "--json", str(path)]) == 2
    assert json.loads(capsys.readouterr().out)["verdict"] == "not a proof"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"name = 1", "policy"),
        (b"\xff", "UTF-8"),
        (POLICY_FILE.replace("level = 7", "lever = 7").encode(), "sev-snp"),
        (UNATTESTED_FILE.replace("waived = []", 'waived = ["attestation.evidence"]').format(minimum=1).encode(),
         "attestation.evidence"),
        (b"#" * (1 << 20) + b"\n", "too long"),
    ],
)  # fmt: skip
def test_a_policy_that_cannot_be_used_is_wrong_input(
    unattested: Path, tmp_path: Path, capsys: Capture, content: bytes, says: str
) -> None:
    policy = write(tmp_path / "policy.toml", content)
    assert run(["verify", str(unattested), "--policy", str(policy)]) == 2
    complaint = capsys.readouterr().err
    assert says in complaint
    assert complaint.count("\n") == 1


def test_json_and_html_exclude_each_other(unattested: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run(["verify", str(unattested), "--json", "--html", str(tmp_path / "page.html")]) == 2
    assert "exclude each other" in capsys.readouterr().err


# --- What somebody else wrote -----------------------------------------------------------------------------------------


def test_a_name_cannot_steer_the_terminal(tmp_path: Path, capsys: Capture) -> None:
    evil = evolve(POLICY, name="ok\x1b[2J\u202e[bold]TRUSTED[/]\n\x9b1m")
    file = str(proof_of(tmp_path, policy=evil))
    assert run(["verify", file]) == 0
    shown = capsys.readouterr().out
    assert "\\x1b[2J\\u202e[bold]TRUSTED[/]\\n\\x9b1m" in "".join(shown.split("\n")[0])
    assert not {"\x1b", "\x9b", "\u202e"} & set(shown)
    assert run(["verify", "--json", file]) == 0
    shown = capsys.readouterr().out
    assert not {"\x1b", "\x9b", "\u202e"} & set(shown)
    assert json.loads(shown)["policy"]["name"] == evil.name
