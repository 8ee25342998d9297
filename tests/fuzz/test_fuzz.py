"""Every decoder takes any bytes: it returns a value or raises one of our errors, and writes what it read."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest
from hypothesis import given, settings, strategies as st

from confsec.errors import ConfsecError
from confsec.protocol.predicates import PREDICATES
from confsec.protocol.statement import Statement
from tests.fuzz import log_seeds
from tests.fuzz.mutations import mutated
from tests.fuzz.targets import TARGETS, Target
from tests.support import ROOT

each_target = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)


@each_target
def test_seeds_are_good(target: Target) -> None:
    assert target.seeds
    for seed in target.seeds:
        target.run(seed)


@each_target
@settings(max_examples=50)
@given(data=st.binary(max_size=256))
def test_any_bytes_give_a_value_or_an_error_of_ours(target: Target, data: bytes) -> None:
    run(target, data)


@each_target
@given(choice=st.data())
def test_changed_seeds_give_a_value_or_an_error_of_ours(target: Target, choice: st.DataObject) -> None:
    run(target, choice.draw(mutated(target.seeds)))


def run(target: Target, data: bytes) -> None:
    try:
        target.run(data)
    except ConfsecError:
        return


def test_statements_of_every_type_are_seeds() -> None:
    assert {Statement.decode(seed).predicate_type for seed in log_seeds.statements()} == set(PREDICATES)


def test_targets_have_names_of_their_own() -> None:
    assert len({target.name for target in TARGETS}) == len(TARGETS)


@pytest.mark.skipif(find_spec("atheris") is not None, reason="atheris is here")  # pragma: no cover
def test_fuzzing_says_how_to_get_the_fuzzer() -> None:
    command = [sys.executable, "-m", "tests.fuzz", "certificate", "--seconds", "1"]
    finished = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 2
    assert "pip install atheris" in finished.stderr


def test_targets_are_listed() -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--list"]
    printed = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True).stdout
    assert printed.split() == [target.name for target in TARGETS]
