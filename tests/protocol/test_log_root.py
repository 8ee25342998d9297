"""The file that a client pins."""

from __future__ import annotations

from datetime import timedelta

import pytest
from attrs import evolve

from confsec.errors import ConfigError
from confsec.protocol.log_root import ACTIVATION_DELAY, MAX_ROOT, MINIMUM_VALIDITY, LogRoot
from confsec.protocol.predicates import FleetStatement
from confsec.protocol.statement_policy import StatementPolicy
from tests.protocol.log_world import World

ROOT = World().root
TEXT = ROOT.to_toml()


def test_a_root_is_read_as_it_was_written() -> None:
    for root in (ROOT, evolve(ROOT, artifacts=""), World(delay=timedelta(0)).root):
        again = LogRoot.from_toml(root.to_toml())
        assert again == root
        assert again.to_toml() == root.to_toml()
        assert again.digest == root.digest


def test_another_spelling_of_a_root_has_the_same_digest() -> None:
    assert LogRoot.from_toml("# ours\n" + TEXT.replace("version = 1\n", "version=1\n", 1)).digest == ROOT.digest


def test_a_hasty_root_says_so() -> None:
    assert ROOT.hasty == ()
    assert (timedelta(hours=1), timedelta(days=1)) == (ACTIVATION_DELAY, MINIMUM_VALIDITY)
    hasty = World(delay=timedelta(0), validity=timedelta(seconds=5)).root.hasty
    assert hasty == (
        "a directory takes effect 0:00:00 after it is seen",
        "a directory may be replaced after 0:00:05",
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("version = 1", "version = 2", "another version"),
        ("[directory]", "[directories]", "the root is not of this form"),
        ("epoch = 600", "", r"\[fleet\] is not of this form"),
        ("epoch = 600", "epoch = 3601", "fleet.epoch is out of range"),
        ("epoch = 600", "epoch = 0", "fleet.epoch is out of range"),
        ("epoch = 600", "epoch = true", "fleet.epoch"),
        ("activation_delay = 3600", "activation_delay = -1", "directory.activation_delay"),
        ("https://logs.service.example/fleet/", "https://logs.service.example/fleet", "ends with /"),
        ("https://logs.service.example/fleet/", "http://logs.service.example/fleet/", "is http"),
        ('service.example/artifacts"', 'service.example/fleet"', "one origin"),
        ('service.example/artifacts"', 'service.example/other"', "does not know this log"),
        ("quorum all", "quorum none", "asks no witness"),
        ("group all 2", "group all 4", "witness policy"),
        ("group all 2", "group all 1", "no witness in common"),
        ('name = "service.example"', 'name = ""', "name"),
        ('name = "service.example"', 'name = "other.example"', "who may speak"),
        ("version = 1", "version = 1\nversion = 1", "not TOML"),
        ('subjects = ["service.example"]', 'subjects = "ANY"', "who may speak"),
    ],
)  # fmt: skip
def test_a_root_that_is_wrong_is_refused_with_what_is_wrong(old: str, new: str, said: str) -> None:
    assert old in TEXT
    with pytest.raises(ConfigError, match=said):
        LogRoot.from_toml(TEXT.replace(old, new, 1))


def test_a_root_that_is_too_long_is_refused() -> None:
    with pytest.raises(ConfigError, match="too long"):
        LogRoot.from_toml("#" * MAX_ROOT + TEXT)


def test_somebody_has_to_say_which_fleet_there_is() -> None:
    rules = {name: rule for name, rule in ROOT.statements.rules.items() if name != FleetStatement.TYPE}
    with pytest.raises(ConfigError, match="who may speak"):
        evolve(ROOT, statements=StatementPolicy(rules))
