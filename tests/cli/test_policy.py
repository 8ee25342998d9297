"""`confsec policy`: what it shows, what it fetches, and what another policy would change."""

from __future__ import annotations

import json
import tomllib
from functools import partial
from pathlib import Path

import pytest
from attrs import evolve
from cryptography.hazmat.primitives.asymmetric import ec, x25519 as x25519_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from confsec.backends.trusted_logs import SqliteTrustedLogs
from confsec.cli import run
from confsec.cli.policy_corim import toml_lines
from confsec.cli.policy_fetch import fetch_evidence, fetch_service
from confsec.errors import ConfsecError
from confsec.protocol import cbor
from confsec.protocol.bhttp import Request, Response
from confsec.protocol.cbor_general import Tag
from confsec.protocol.corim_reference import CONFSEC_PROFILE
from confsec.protocol.policy import PRODUCTION, UNSAFE_UNATTESTED, Policy, PolicyReader
from confsec.protocol.problem import PROBLEM_TYPE
from confsec.tee.sev_snp.certificates import AMD_ROOTS
from confsec.tee.simulated.roots import SIMULATED_AMD_ROOTS
from tests.cli.fake_tee import POLICY, POLICY_FILE, FakeVerifier, demo_policy, make_evidence, make_file, read_fake
from tests.client.logged_wire import LoggedWire
from tests.client.wire import ServiceTransport, fleet_of_today
from tests.protocol.corim_cases import NOW, corim
from tests.protocol.fleets import EPOCH, NO_ENDORSEMENTS
from tests.protocol.logged_service import LoggedService
from tests.protocol.service import Service
from tests.protocol.test_corim_reference import A, B, comid, sha384, triple
from tests.protocol.test_corim_signed import signed

Capture = pytest.CaptureFixture[str]
AT = f"{NOW:%Y-%m-%dT%H:%M:%SZ}"


@pytest.fixture(autouse=True)
def policies(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = PolicyReader({"sev-snp": read_fake}, (PRODUCTION, UNSAFE_UNATTESTED, demo_policy()))
    monkeypatch.setattr("confsec.tee.registry.POLICIES", reader)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "evidence"
    path.mkdir()
    return path


def policy_file(path: Path, *changes: tuple[str, str]) -> str:
    text = POLICY_FILE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return str(path)


def save_proof(folder: Path, nodes: str = "ab", policy: Policy = POLICY, **knobs: cbor.CborValue) -> None:
    (folder / "proof.cbor").write_bytes(make_file([make_evidence(seed, **knobs) for seed in nodes], policy))


def save_evidence(folder: Path, name: str = "node", **knobs: cbor.CborValue) -> None:
    files = {"evidence": make_evidence("c", **knobs).encoded, "endorsements": NO_ENDORSEMENTS, "beacon": EPOCH.beacon}
    for suffix, data in files.items():
        (folder / f"{name}.{suffix}").write_bytes(data)


# --- try --------------------------------------------------------------------------------------------------------------


def test_a_policy_that_changes_nothing_passes(tmp_path: Path, folder: Path, capsys: Capture) -> None:
    save_proof(folder)
    new = policy_file(tmp_path / "new.toml", ("level = 7", "level = 5"))
    assert run(["policy", "try", new, "--against", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert shown.count("trusted  the same checks pass and fail") == 3
    assert "nothing that was trusted is refused" in shown
    assert run(["policy", "try", new, "--against", str(folder), "--all"]) == 0
    assert "want at least 5" in capsys.readouterr().out


def test_what_would_be_refused_is_shown_with_the_checks_that_differ(
    tmp_path: Path, folder: Path, capsys: Capture
) -> None:
    save_proof(folder)
    new = policy_file(tmp_path / "new.toml", ("level = 7", "level = 9"))
    assert run(["policy", "try", new, "--against", str(folder)]) == 1
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.count("trusted → refused") == 3
    rows = [line.split() for line in shown.splitlines() if "sev-snp.tcb-floor" in line]
    assert len(rows) == 2
    assert rows[0][1:] == ["sev-snp.tcb-floor", "pass", "fail", "want", "at", "least", "9"]
    assert "got  7" in shown
    assert "sev-snp.debug" not in shown
    assert "3 would be refused" in shown
    assert run(["policy", "try", new, "--against", str(folder), "--json"]) == 1
    value = json.loads(capsys.readouterr().out)
    assert value["ok"] is False
    assert [(each["before"], each["after"]) for each in value["evidence"]] == [("trusted", "refused")] * 3
    changes = value["evidence"][1]["changes"]
    assert [(each["before"]["status"], each["after"]["status"]) for each in changes if each["after"]["want"]] == [
        ("pass", "fail")
    ]


def test_the_current_policy_can_be_another_than_the_proof_names(tmp_path: Path, folder: Path, capsys: Capture) -> None:
    save_proof(folder, policy=evolve(POLICY, verifiers=(FakeVerifier(unsafe_debug=True),)), debug=True)
    strict = policy_file(tmp_path / "strict.toml")
    assert run(["policy", "try", strict, "--against", str(folder)]) == 1
    capsys.readouterr()
    assert run(["policy", "try", strict, "--against", str(folder), "--current", strict]) == 0
    capsys.readouterr()
    loose = policy_file(tmp_path / "loose.toml", ("debug = false", "debug = true"))
    assert run(["policy", "try", loose, "--against", str(folder), "--current", strict]) == 0
    assert "3 would be trusted that was not" in " ".join(capsys.readouterr().out.split())


def test_evidence_that_was_saved_needs_the_current_policy(tmp_path: Path, folder: Path, capsys: Capture) -> None:
    save_evidence(folder, level=8)
    new = policy_file(tmp_path / "new.toml", ("level = 7", "level = 9"))
    old = policy_file(tmp_path / "old.toml")
    assert run(["policy", "try", new, "--against", str(folder)]) == 2
    assert "--current" in capsys.readouterr().err
    assert run(["policy", "try", new, "--against", str(folder), "--current", old]) == 1
    assert "node.evidence  node " in capsys.readouterr().out
    assert run(["policy", "try", old, "--against", str(folder), "--current", "PRODUCTION"]) == 0
    assert "refused → trusted" in capsys.readouterr().out


def test_a_check_that_only_one_policy_makes_is_shown(tmp_path: Path, folder: Path, capsys: Capture) -> None:
    save_evidence(folder)
    new = policy_file(tmp_path / "new.toml")
    assert run(["policy", "try", new, "--against", str(folder), "--current", "UNSAFE_UNATTESTED"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "sev-snp.signature" in line]
    assert rows[0][2:4] == ["–", "pass"]


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("readme.txt", b"hello", "there is no evidence"),
        ("proof.cbor", b"hello", "not a Proof"),
        ("proof.cbor", make_file([make_evidence("a")])[:-1] + b"x", "changed or cut"),
        ("node.evidence", b"hello", "cannot be appraised"),
        ("node.evidence", make_evidence("a").encoded, "the endorsements"),
    ],
)
def test_what_cannot_be_appraised_is_wrong_input(
    tmp_path: Path, folder: Path, capsys: Capture, name: str, data: bytes, says: str
) -> None:
    (folder / name).write_bytes(data)
    new = policy_file(tmp_path / "new.toml")
    assert run(["policy", "try", new, "--against", str(folder), "--current", new]) == 2
    assert says in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_wrong_input(tmp_path: Path, capsys: Capture) -> None:
    assert run(["policy", "try", policy_file(tmp_path / "new.toml"), "--against", str(tmp_path / "none")]) == 2
    assert "cannot be read" in capsys.readouterr().err


# --- show, anchors ----------------------------------------------------------------------------------------------------


def test_shows_a_policy_with_its_digest_and_its_waivers(tmp_path: Path, capsys: Capture) -> None:
    file = policy_file(tmp_path / "policy.toml", ("debug = false", "debug = true"))
    assert run(["policy", "show", file]) == 0
    shown = capsys.readouterr().out
    for part in (
        "Policy ours", "platforms: sev-snp", "takes any manifest: UNSAFE_ANY", "waives freshness.epoch", "[sev-snp]",
        "level 7", "unsafe_debug yes", "0" * 62 + "0a", "60 minutes",
    ):  # fmt: skip
        assert part in shown
    assert run(["policy", "show", file, "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["sha256"] in shown
    assert value["policy"]["sev-snp"]["level"] == 7


def test_waivers_are_yellow(tmp_path: Path) -> None:
    from rich.console import Console

    from confsec.cli.policy_tree import policy_tree

    out = Console(force_terminal=True, color_system="standard", width=80, record=True)
    policy = evolve(demo_policy(), verifiers=(FakeVerifier(unsafe_debug=True, accepts_simulated=True),))
    with out.capture() as captured:
        out.print(policy_tree(policy))
    yellow = [line for line in captured.get().splitlines() if "\x1b[33m" in line]
    assert len(yellow) == 4
    for line, part in zip(yellow, ("simulated", "UNSAFE_ANY", "waives", "unsafe_debug"), strict=True):
        assert part in line


@pytest.mark.parametrize("name", ["PRODUCTION", "UNSAFE_UNATTESTED", "UNSAFE_DEMO_POLICY"])
def test_shows_constants_by_name(name: str, capsys: Capture) -> None:
    assert run(["policy", "show", name]) == 0
    assert f"Policy {name}  a constant of this version" in capsys.readouterr().out


def test_a_policy_that_cannot_be_read_is_wrong_input(tmp_path: Path, capsys: Capture) -> None:
    assert run(["policy", "show", policy_file(tmp_path / "policy.toml", ("level = 7", "levels = 7"))]) == 2
    assert "docs/policies.md" in capsys.readouterr().err
    assert run(["policy", "show", str(tmp_path / "none.toml")]) == 2


def test_lists_the_roots_that_a_policy_can_name_and_those_that_it_cannot(capsys: Capture) -> None:
    assert run(["policy", "anchors"]) == 0
    shown = capsys.readouterr().out
    for name, digest in AMD_ROOTS.items():
        assert f"{name}  in [sev-snp]\n  {digest.hex()}" in shown
    assert run(["policy", "anchors", "--json"]) == 0
    anchors = json.loads(capsys.readouterr().out)["anchors"]
    simulated = {anchor["sha256"] for anchor in anchors if anchor["name"] == "simulated"}
    assert {digest.hex() for digest in SIMULATED_AMD_ROOTS} <= simulated
    assert {"intel-sgx-root", "google-ek-ak"} <= {anchor["name"] for anchor in anchors}


# --- from-proof, from-corim -------------------------------------------------------------------------------------------


def test_what_a_proof_shows_is_only_comments(folder: Path, capsys: Capture) -> None:
    save_proof(folder)
    assert run(["policy", "from-proof", str(folder / "proof.cbor")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("#") for line in lines)
    assert '# platforms = ["sev-snp"]' in lines
    assert '# accepted_assumptions = ["amd"]' in lines
    assert '# product = "Milan"' in lines
    (folder / "proof.cbor").write_bytes(b"hello")
    assert run(["policy", "from-proof", str(folder / "proof.cbor")]) == 2


SIGNER = ec.derive_private_key(7, ec.SECP256R1())
REFERENCE = corim(
    comid(triple("sev-snp", measurements=sha384(A), min_guest_svn={1: Tag(553, 4)}), triple("tdx", mr_td=sha384(B))),
    m3=Tag(32, CONFSEC_PROFILE),
).encode()


def corim_file(path: Path, *, is_signed: bool = True) -> str:
    path.write_bytes(signed(REFERENCE) if is_signed else REFERENCE)
    return str(path)


def key_file(path: Path, key: ec.EllipticCurvePrivateKey = SIGNER) -> str:
    path.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return str(path)


def test_reference_values_that_somebody_signed_become_tables(tmp_path: Path, capsys: Capture) -> None:
    file, key = corim_file(tmp_path / "a.corim"), key_file(tmp_path / "key.pem")
    assert run(["policy", "from-corim", file, "--key", key, "--at", AT]) == 0
    text = capsys.readouterr().out
    assert text.startswith("# a.corim, SHA-256 ")
    assert tomllib.loads(text) == {
        "sev-snp": {"measurements": [A.hex()], "min_guest_svn": 4},
        "tdx": {"mr_td": [B.hex()]},
    }
    assert run(["policy", "from-corim", file, "--unsafe-unsigned", "--unsafe-ignore", "min_guest_svn", "--at", AT]) == 0
    text = capsys.readouterr().out
    assert "# UNSIGNED" in text
    assert tomllib.loads(text)["sev-snp"] == {"measurements": [A.hex()]}


def test_reference_values_that_nobody_signed_have_to_be_asked_for(tmp_path: Path, capsys: Capture) -> None:
    file, key = corim_file(tmp_path / "a.corim", is_signed=False), key_file(tmp_path / "key.pem")
    assert run(["policy", "from-corim", file]) == 2
    assert run(["policy", "from-corim", file, "--key", key]) == 2
    assert "not signed" in capsys.readouterr().err
    assert run(["policy", "from-corim", file, "--unsafe-unsigned", "--key", key]) == 2
    assert run(["policy", "from-corim", file, "--unsafe-unsigned"]) == 0


def test_a_signature_of_somebody_else_is_refused(tmp_path: Path, capsys: Capture) -> None:
    file = corim_file(tmp_path / "a.corim")
    other = key_file(tmp_path / "other.pem", ec.derive_private_key(8, ec.SECP256R1()))
    assert run(["policy", "from-corim", file, "--key", other, "--at", AT]) == 1
    assert capsys.readouterr().out == ""
    x25519 = tmp_path / "x25519.pem"
    key = x25519_key.X25519PrivateKey.from_private_bytes(bytes(32)).public_key()
    x25519.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert run(["policy", "from-corim", file, "--key", str(x25519)]) == 2
    assert run(["policy", "from-corim", file, "--key", file]) == 2


@pytest.mark.parametrize(
    "tables",
    [
        {"a": 1, "b": {"c": ["x", "y"], "d": {"e-f": True, "with space": 'quo"te\\ \x7f é'}}},
        {"": "", "ä": []},
        {},
    ],
)
def test_what_is_written_as_toml_reads_back(tables: dict[str, object]) -> None:
    assert tomllib.loads("\n".join(toml_lines(tables))) == tables


# --- fetch ------------------------------------------------------------------------------------------------------------


def service_of(size: int) -> Service:
    return Service(fleet_of_today(size))


def test_fetches_evidence_that_the_next_command_reads(
    tmp_path: Path, folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = service_of(2)
    monkeypatch.setattr("confsec.backends.http.HttpTransport", lambda: ServiceTransport(service))
    directory = tmp_path / "service.toml"
    directory.write_text(service.directory.to_toml())
    for source in (str(directory), "https://example.org/service.toml"):
        assert run(["policy", "fetch", source, str(folder / "new")]) == 0
    assert "evidence of 2 nodes" in capsys.readouterr().out
    assert len(list((folder / "new").iterdir())) == 6
    new = policy_file(tmp_path / "new.toml")
    assert run(["policy", "try", new, "--against", str(folder / "new"), "--current", "UNSAFE_UNATTESTED"]) == 1
    assert capsys.readouterr().out.count("trusted → refused") == 2


def test_fetching_says_what_is_wrong(
    tmp_path: Path, folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = service_of(1)
    monkeypatch.setattr("confsec.backends.http.HttpTransport", lambda: ServiceTransport(service))
    directory = tmp_path / "service.toml"
    assert run(["policy", "fetch", str(directory), str(folder)]) == 2
    directory.write_bytes(b"\xff")
    assert run(["policy", "fetch", str(directory), str(folder)]) == 2
    directory.write_text(service.directory.to_toml())
    (tmp_path / "file").write_text("")
    assert run(["policy", "fetch", str(directory), str(tmp_path / "file" / "inner")]) == 2
    assert capsys.readouterr().err.count("\n") == 3


@pytest.mark.anyio
async def test_evidence_that_the_fleet_record_does_not_name_is_left_out() -> None:
    service = service_of(3)
    first = service.fleet.record.nodes[0]
    service.fleet.evidence[first.node_id] += b"x"
    found = await fetch_evidence(service.directory, ServiceTransport(service))
    assert {each.node for each in found} == set(service.fleet.record.nodes[1:])


@pytest.mark.anyio
async def test_a_fleet_record_that_cannot_be_had_is_an_error() -> None:
    service = service_of(1)

    def refuse(request: Request) -> Response:
        return Response(503, (("content-type", PROBLEM_TYPE),), content=b"{}")

    service.route = refuse  # type: ignore[method-assign]
    with pytest.raises(ConfsecError):
        await fetch_evidence(service.directory, ServiceTransport(service))


# --- Of a service with logs -------------------------------------------------------------------------------------------


@pytest.fixture
def logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoggedWire:
    """Fetch evidence of two nodes of a service with a root into `new`, at the service's own time."""
    wire = LoggedWire(LoggedService(nodes=2))
    (tmp_path / "root.toml").write_text(wire.service.world.root.to_toml())
    monkeypatch.setattr("confsec.backends.http.HttpTransport", lambda: wire)
    monkeypatch.setattr(
        "confsec.cli.policy_fetch.fetch_service", partial(fetch_service, clock=lambda: wire.service.now)
    )
    words = [str(tmp_path / "root.toml"), str(tmp_path / "new"), "--memory", str(tmp_path / "logs.db")]
    assert run(["policy", "fetch", *words]) == 0
    return wire


def try_logged(folder: Path, *words: str) -> int:
    new = policy_file(folder / "new.toml")
    against = ["--against", str(folder / "new"), "--current", "UNSAFE_UNATTESTED"]
    return run(["policy", "try", new, *against, *words])


def test_evidence_of_a_logged_epoch_is_appraised_under_its_root(
    tmp_path: Path, logged: LoggedWire, capsys: Capture
) -> None:
    assert len(list((tmp_path / "new").iterdir())) == 6
    assert try_logged(tmp_path, "--root", str(tmp_path / "root.toml")) == 1
    assert capsys.readouterr().out.count("trusted → refused") == 2


def test_a_logged_beacon_asks_for_its_root(tmp_path: Path, logged: LoggedWire, capsys: Capture) -> None:
    assert try_logged(tmp_path) == 2
    assert "--root" in capsys.readouterr().err


def test_a_logged_beacon_of_another_root_is_refused(tmp_path: Path, logged: LoggedWire, capsys: Capture) -> None:
    beacon = logged.service.world.fleets.note(logged.service.now, witnesses=1)
    for file in (tmp_path / "new").glob("*.beacon"):
        file.write_bytes(beacon)
    assert try_logged(tmp_path, "--root", str(tmp_path / "root.toml")) == 2
    assert "no quorum of witnesses" in capsys.readouterr().err


@pytest.mark.anyio
async def test_what_was_fetched_of_logs_is_remembered(tmp_path: Path, logged: LoggedWire) -> None:
    memory = SqliteTrustedLogs(tmp_path / "logs.db")
    await memory.open()
    root = logged.service.world.root
    assert [(await memory.read(origin)).size for origin in (root.directory.origin, root.fleet.origin)] == [1, 1]
    await memory.aclose()
