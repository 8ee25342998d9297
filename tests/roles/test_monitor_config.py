"""The file of a monitor: every key, and what is refused."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from attrs import evolve

from confsec.backends.trusted_root import open_trusted_root
from confsec.errors import ConfigError
from confsec.protocol.monitoring import Watch
from confsec.protocol.sigstore import SigstoreIdentity
from confsec.protocol.statement_policy import StatementPolicy
from confsec.protocol.statement_rules import to_toml
from confsec.protocol.witness_policy import WitnessPolicy
from confsec.roles.monitor_config import MonitorConfig
from confsec.testing import LocalSigstore
from tests.protocol.log_world import World
from tests.protocol.test_monitoring import POLICY as STATEMENTS
from tests.protocol.test_transparency import KNOWN, ORIGIN, POLICY
from tests.support import needs_packages

WHOLE = f"""
version = 1
state = "state"
interval = 30
webhook.url = "https://hooks.example/secret"
webhook.timeout = 5
webhook.attempts = 2

[[log]]
name = "one"
origin = "{ORIGIN}"
witnesses = "witnesses.txt"
sources = ["https://log.example/one/", "http://127.0.0.1:1/", "folder"]
maximum_age = 3600
statements = "statements.toml"
report_new = false
any_entries = true

[log.watch]
keys = ["{"a" * 64}"]
digests = ["{"b" * 64}"]
subjects = ["service.example"]
"""
LEAST = f"""
version = 1
state = "state"
[[log]]
name = "one"
origin = "{ORIGIN}"
witnesses = "witnesses.txt"
sources = ["folder"]
"""


def load(folder: Path, text: str, *, policy: WitnessPolicy = POLICY) -> MonitorConfig:
    (folder / "witnesses.txt").write_bytes(policy.encode())
    (folder / "statements.toml").write_text(to_toml(STATEMENTS))
    (folder / "monitor.toml").write_text(text)
    return MonitorConfig.load(folder / "monitor.toml")


def test_every_key_is_read_and_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    config = load(tmp_path, WHOLE)
    (log,) = config.logs
    assert (config.state, config.interval) == (tmp_path / "state", 30)
    assert config.webhook is not None
    assert (config.webhook.url, config.webhook.timeout, config.webhook.attempts) == (
        "https://hooks.example/secret", 5, 2
    )  # fmt: skip
    assert "secret" not in repr(config)
    assert (log.name, log.origin, log.policy, log.statements) == ("one", ORIGIN, POLICY, STATEMENTS)
    assert log.sources == ("https://log.example/one", "http://127.0.0.1:1", str(tmp_path / "folder"))
    assert (log.maximum_age, log.report_new, log.any_entries) == (timedelta(hours=1), False, True)
    assert log.watch == Watch(
        frozenset({bytes.fromhex("a" * 64), bytes.fromhex("b" * 64)}), frozenset({"service.example"})
    )


def test_identities_of_sigstore_need_a_trusted_root(tmp_path: Path) -> None:
    needs_packages("sigstore")
    carol = SigstoreIdentity("carol", "https://token.example", "carol@example.com")
    rules = {name: evolve(rule, signers=(carol,), threshold=1) for name, rule in STATEMENTS.rules.items()}
    (tmp_path / "root.json").write_bytes(LocalSigstore().trusted_root)
    policy = StatementPolicy(rules, bundles=open_trusted_root(tmp_path / "root.json"))
    (tmp_path / "identities.toml").write_text(to_toml(policy))
    named = LEAST + 'statements = "identities.toml"\n'
    (log,) = load(tmp_path, named + 'trusted_root = "root.json"\n').logs
    assert log.statements == policy
    with pytest.raises(ConfigError, match="nothing verifies"):
        load(tmp_path, named)
    with pytest.raises(ConfigError, match="Name those too"):
        load(tmp_path, LEAST + 'trusted_root = "root.json"\n')


def test_what_is_not_said_is_strict(tmp_path: Path) -> None:
    config = load(tmp_path, LEAST)
    (log,) = config.logs
    assert (config.interval, config.webhook) == (60, None)
    assert (log.maximum_age, log.report_new, log.any_entries) == (timedelta(days=1), True, False)
    assert (log.statements, log.watch) == (None, Watch())
    assert (log.records, log.root) == ("", None)


@pytest.mark.parametrize("fleets", ["https://router.example/v1/fleet/", "https://router.example/v1/fleet"])
def test_records_and_the_root_of_a_service_are_read(tmp_path: Path, fleets: str) -> None:
    world = World()
    (tmp_path / "root.toml").write_text(world.root.to_toml())
    text = LEAST.replace(ORIGIN, world.fleets.origin) + f'root = "root.toml"\nrecords = "{fleets}"\n'
    (log,) = load(tmp_path, text, policy=world.root.witnesses).logs
    assert (log.records, log.root) == ("https://router.example/v1/fleet/", world.root)
    assert log.statements == world.root.statements  # those of the root, where no others are named
    (log,) = load(tmp_path, f'{text}statements = "statements.toml"\n', policy=world.root.witnesses).logs
    assert log.statements == STATEMENTS
    with pytest.raises(ConfigError, match="the address of the fleet records"):
        load(tmp_path, text.replace("https:", "ftp:"), policy=world.root.witnesses)


def test_a_root_is_for_its_own_logs(tmp_path: Path) -> None:
    world = World()
    (tmp_path / "root.toml").write_text(world.root.to_toml())
    text = LEAST.replace(ORIGIN, world.artifacts.origin) + 'root = "root.toml"\n'
    with pytest.raises(ConfigError, match="no log of directories or fleets"):
        load(tmp_path, text, policy=world.root.witnesses)
    with pytest.raises(ConfigError, match=r"the root .* cannot be read"):
        load(tmp_path, text.replace("root.toml", "missing.toml"), policy=world.root.witnesses)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("version = 1", "version = 2", "another version"),
        ("version = 1", "", "version"),
        ('state = "state"', "", "state"),
        ('state = "state"', "state = 1", "state"),
        ("interval = 30", "interval = true", "interval"),
        ("interval = 30", "interval = 0", "interval"),
        ("interval = 30", "intervall = 30", "intervall"),
        ("report_new = false", "report_new = 0", "report_new"),
        ("report_new = false", "report = false", "report"),
        ('name = "one"', 'name = "One/.."', "no name"),
        (f'origin = "{ORIGIN}"', 'origin = "log.example/two"', "does not know"),
        ("witnesses.txt", "nowhere.txt", "cannot be read"),
        ("statements.toml", "nowhere.toml", "cannot be read"),
        ("https://log.example/one/", "http://log.example/one/", "https"),
        ("https://log.example/one/", "ftp://log.example/one/", "no URL"),
        ('"folder"]', '"http://127.0.0.1:1"]', "twice"),
        ('sources = ["https://log.example/one/", "http://127.0.0.1:1/", "folder"]', "sources = []", "none"),
        ('sources = ["https://log.example/one/", "http://127.0.0.1:1/", "folder"]', "sources = [1]", "no list"),
        ("a" * 64, "a" * 63, "SHA-256"),
        ("a" * 64, "a" * 62, "SHA-256"),
        ('subjects = ["service.example"]', 'subjects = [""]', "no list"),
        ('subjects = ["service.example"]', 'names = ["service.example"]', "unknown"),
        ("https://hooks.example/secret", "http://hooks.example/secret", "https"),
        ("webhook.timeout = 5", "webhook.token = 5", "unknown"),
        ("webhook.attempts = 2", "webhook.attempts = 11", "attempts"),
        ("[[log]]", "[log]", "log"),
        ("version = 1", "version = ", "not TOML"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, old: str, new: str, reason: str) -> None:
    assert old in WHOLE
    with pytest.raises(ConfigError, match=reason) as caught:
        load(tmp_path, WHOLE.replace(old, new))
    assert "secret" not in str(caught.value)


def test_no_log_two_of_one_name_and_no_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs tables"):
        load(tmp_path, 'version = 1\nstate = "state"\n')
    with pytest.raises(ConfigError, match="one name"):
        load(tmp_path, LEAST + LEAST[LEAST.index("[[log]]") :])
    with pytest.raises(ConfigError, match="too long"):
        load(tmp_path, "#" * (1 << 20) + LEAST)
    with pytest.raises(ConfigError, match="cannot be read"):
        MonitorConfig.load(tmp_path / "nowhere.toml")


def test_a_policy_that_asks_nobody_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="asks no witness"):
        load(tmp_path, LEAST, policy=WitnessPolicy.decode(f"{KNOWN}quorum none\n".encode()))


def test_a_webhook_over_http_has_to_be_allowed_plainly(tmp_path: Path) -> None:
    config = load(tmp_path, f'{LEAST}[webhook]\nurl = "http://hooks.example/"\nunsafe_http = true\n')
    assert config.webhook is not None
    assert config.webhook.url == "http://hooks.example/"
    with pytest.raises(ConfigError, match="no URL"):
        load(tmp_path, f'{LEAST}[webhook]\nurl = "file:///etc/passwd"\nunsafe_http = true\n')
