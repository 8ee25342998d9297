"""`confsec verify --ear`: the result as other software reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from confsec.backends import system
from confsec.cli import run
from confsec.protocol.ar4si import TrustTier
from confsec.protocol.ear import Ear
from confsec.protocol.fleet import FleetNode, FleetRecord
from confsec.protocol.node_keys import node_id
from confsec.protocol.proof import make_proof
from confsec.tee.demo_policy import UNSAFE_DEMO_POLICY
from tests.tee.composites import EPOCH, make_node

Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def write_key(key: Key | x25519.X25519PrivateKey, folder: Path) -> Path:
    file = folder / "key.pem"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return file


@pytest.fixture
def proof_file(tmp_path: Path) -> Path:
    node = make_node("sev-snp")
    record = FleetRecord(EPOCH.beacon, (FleetNode(node_id(node.key_config), node.evidence.digest, 0),))
    proof = make_proof(UNSAFE_DEMO_POLICY, record.encode(), record, [node.appraise(UNSAFE_DEMO_POLICY)])
    file = tmp_path / "proof.cbor"
    file.write_bytes(proof.encode())
    return file


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()])
@pytest.mark.parametrize("name", ["result.jwt", "result.cwt"])
def test_the_result_is_signed_and_says_that_the_hardware_is_simulated(
    proof_file: Path, tmp_path: Path, key: Key, name: str
) -> None:
    out = tmp_path / name
    assert run(["verify", str(proof_file), "--ear", str(out), str(write_key(key, tmp_path))]) == 0
    data = out.read_bytes()
    public = key.public_key()
    read = Ear.from_cwt(data, public) if name.endswith("cwt") else Ear.from_jwt(data.decode().strip(), public)
    (appraisal,) = read.appraisals.values()
    assert appraisal.status is TrustTier.CONTRAINDICATED
    assert read.verifier.build.startswith("confsec-protocol ")
    assert abs((system.now() - read.issued_at).total_seconds()) < 60


def test_wrong_words_and_keys_are_one_line_and_exit_2(
    proof_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "result.jwt")
    garbage = tmp_path / "garbage.pem"
    garbage.write_bytes(b"no key")
    other = write_key(x25519.X25519PrivateKey.generate(), tmp_path)
    for words in (["--ear", out], ["--ear", out, str(garbage)], ["--ear", out, str(other)]):
        assert run(["verify", str(proof_file), *words]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert not Path(out).exists()
