"""`confsec statement` with bundles of Sigstore."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from confsec import cli
from confsec.backends.trusted_root import open_trusted_root
from confsec.protocol.json_members import encode_time
from confsec.protocol.predicates import Release
from confsec.protocol.sigstore import SigstoreIdentity
from confsec.protocol.statement_policy import StatementPolicy, StatementRule
from confsec.protocol.statement_rules import to_toml
from confsec.testing import LocalSigstore
from tests.protocol.statement_cases import AT, RELEASE
from tests.support import needs_packages

needs_packages("sigstore")

CAROL = SigstoreIdentity("carol", "https://token.example", "carol@example.com")
RULE = StatementRule(signers=(CAROL,), threshold=1, subject_names=None, max_age=None, newest_only=False)
NOW = encode_time(AT)


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a bundle, the roots that stand by it, and a policy."""
    monkeypatch.chdir(tmp_path)
    instance = LocalSigstore()
    statement = RELEASE.to_statement(*RELEASE.subjects())
    bundle = instance.sign_statement(statement, issuer=CAROL.issuer, subject=CAROL.subject, at=AT)
    Path("release.bundle").write_bytes(bundle)
    Path("roots.json").write_bytes(instance.trusted_root)
    policy = StatementPolicy({Release.TYPE: RULE}, bundles=open_trusted_root(Path("roots.json")))
    Path("policy.toml").write_text(to_toml(policy))


def verify(capsys: pytest.CaptureFixture[str], *options: str, status: int) -> str:
    arguments = ["statement", "verify", "release.bundle", "--policy", "policy.toml", "--at", NOW, "--json", *options]
    assert cli.run(arguments) == status
    printed = capsys.readouterr()
    return printed.out + printed.err


def test_a_bundle_is_verified_under_the_roots_of_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    out = json.loads(verify(capsys, "--trusted-root", "roots.json", status=0))
    assert (out["verdict"], out["signers"]) == ("verified", ["carol"])


def test_the_roots_of_another_instance_do_not_stand_by_it(capsys: pytest.CaptureFixture[str]) -> None:
    Path("roots.json").write_bytes(LocalSigstore().trusted_root)
    assert json.loads(verify(capsys, "--trusted-root", "roots.json", status=1))["verdict"] == "refused"


def test_identities_need_roots(capsys: pytest.CaptureFixture[str]) -> None:
    assert "trusted root" in verify(capsys, status=2)
    assert "trusted root" in verify(capsys, "--trusted-root", "nowhere", status=2)


def test_a_bundle_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["statement", "show", "release.bundle", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["predicate_type"] == Release.TYPE
