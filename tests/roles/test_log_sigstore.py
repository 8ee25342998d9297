"""A log that takes what was signed with Sigstore."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from confsec.backends.asgi import AsgiTransport
from confsec.backends.system import now
from confsec.errors import ConfigError
from confsec.protocol.predicates import DirectoryStatement
from confsec.roles.log import Log
from confsec.testing import LocalSigstore
from tests.protocol.statement_cases import DIRECTORY
from tests.roles.log_cases import append, log_config, witnesses_running
from tests.support import needs_packages

pytestmark = pytest.mark.anyio

needs_packages("sigstore")

RULES = """
version = 1

[identities.carol]
issuer = "https://token.example"
subject = "carol@example.com"

[[rule]]
predicate_type = "https://confsec.dev/statement/directory/v1"
signers = ["carol"]
threshold = 1
subjects = ["service.example"]
maximum_age = 86400
newest_only = true
"""


def signed(instance: LocalSigstore, subject: str = "carol@example.com") -> bytes:
    at = now().replace(microsecond=0)
    directory = DirectoryStatement(issued=at, valid_until=at + timedelta(hours=1), directory=DIRECTORY.directory)
    statement = directory.about("service.example")
    return instance.sign_statement(statement, issuer="https://token.example", subject=subject, at=at)


async def test_a_log_takes_bundles_of_those_whom_its_policy_names(tmp_path: Path) -> None:
    instance = LocalSigstore()
    (tmp_path / "root.json").write_bytes(instance.trusted_root)
    (tmp_path / "statements.toml").write_text(RULES)
    statements, root = str(tmp_path / "statements.toml"), str(tmp_path / "root.json")
    config = log_config(tmp_path, unsafe_any_entry=False, statements=statements, trusted_root=root)
    async with witnesses_running(tmp_path) as network:
        role = Log(config, transport=network)
        async with role.lifespan():
            log = AsgiTransport(role)
            assert (await append(log, signed(instance, "evil@example.com")))[0] == 403
            assert (await append(log, signed(LocalSigstore())))[0] == 403
            assert await append(log, signed(instance)) == (200, b"0\n")


async def test_a_log_whose_policy_names_identities_does_not_start_without_a_trusted_root(tmp_path: Path) -> None:
    (tmp_path / "statements.toml").write_text(RULES)
    config = log_config(tmp_path, unsafe_any_entry=False, statements=str(tmp_path / "statements.toml"))
    with pytest.raises(ConfigError, match="nothing verifies"):
        async with Log(config).lifespan():
            pass
