"""The newest statements, and what is remembered of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from confsec.errors import ConfsecError, DecodeError, LimitError, TransparencyError
from confsec.protocol import cbor
from confsec.protocol.latest_statements import LatestStatements
from confsec.protocol.predicates import DirectoryStatement, Revocation
from confsec.protocol.statement_policy import StatementPolicy
from tests.protocol.statement_cases import AT, DIRECTORY, MODEL, REVOCATION
from tests.protocol.test_statement_policy import CHANGED, RULE, verify
from tests.protocol.token_keys import P256


def test_an_older_statement_does_not_come_back() -> None:
    latest = LatestStatements()
    newer = evolve(CHANGED, issued=AT + timedelta(seconds=1))
    latest.admit(verify(DIRECTORY))
    latest.admit(verify(newer))
    latest.admit(verify(newer, P256))
    with pytest.raises(TransparencyError, match="older"):
        latest.admit(verify(DIRECTORY))
    latest.admit(verify(newer))


def test_two_statements_of_one_second_are_for_two_people() -> None:
    latest = LatestStatements()
    latest.admit(verify(DIRECTORY))
    with pytest.raises(TransparencyError, match="beside"):
        latest.admit(verify(CHANGED))
    latest.admit(verify(DIRECTORY))


def test_types_and_names_do_not_disturb_each_other() -> None:
    rule = evolve(RULE, subject_names=None)
    policy = StatementPolicy({DirectoryStatement.TYPE: rule, Revocation.TYPE: rule})
    latest = LatestStatements()
    latest.admit(verify(evolve(DIRECTORY, issued=AT + timedelta(minutes=1)), policy=policy))
    latest.admit(verify(DIRECTORY, policy=policy, name="other.example"))
    latest.admit(verify(REVOCATION, policy=policy))


def test_where_all_versions_count_an_older_one_may_come() -> None:
    latest = LatestStatements()
    latest.admit(verify(evolve(MODEL, issued=AT + timedelta(seconds=1))))
    latest.admit(verify(MODEL))


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("confsec.protocol.latest_statements._MAX_REMEMBERED", 1)
    latest = LatestStatements()
    latest.admit(verify(DIRECTORY))
    with pytest.raises(LimitError):
        latest.admit(verify(REVOCATION))
    latest.admit(verify(DIRECTORY))


# --- What is remembered


def remembered(*times: datetime) -> LatestStatements:
    rule = evolve(RULE, subject_names=None, max_age=None)
    policy = StatementPolicy({DirectoryStatement.TYPE: rule})
    latest = LatestStatements()
    for number, time in enumerate(times):
        latest.admit(verify(evolve(DIRECTORY, issued=time), policy=policy, name=f"{number}.example"))
    return latest


@given(st.lists(st.datetimes(max_value=AT.replace(tzinfo=None), timezones=st.just(UTC)), max_size=4))
def test_what_is_written_is_read_as_the_same(times: list[datetime]) -> None:
    data = remembered(*(time.replace(microsecond=0) for time in times)).encode()
    assert LatestStatements.decode(data).encode() == data


def test_what_was_read_remembers() -> None:
    latest = LatestStatements()
    latest.admit(verify(evolve(CHANGED, issued=AT + timedelta(seconds=1))))
    again = LatestStatements.decode(latest.encode())
    with pytest.raises(TransparencyError, match="older"):
        again.admit(verify(DIRECTORY))


FIRST, SECOND = bytes(72), bytes(31) + b"\1" + bytes(40)
ENDLESS = bytes(32) + b"\x7f" + bytes(39)


@pytest.mark.parametrize(
    "value",
    [
        {"version": 2, "latest": []},
        {"version": 1},
        {"version": 1, "latest": [bytes(71)]},
        {"version": 1, "latest": [SECOND, FIRST]},
        {"version": 1, "latest": [FIRST, FIRST]},
        {"version": 1, "latest": [ENDLESS]},
        {"version": 1, "latest": [bytes(72)] * 4097},
    ],
)
def test_a_damaged_memory_is_refused(value: cbor.CborValue) -> None:
    with pytest.raises(DecodeError):
        LatestStatements.decode(cbor.encode(value))


def test_two_records_in_order_are_read() -> None:
    data = cbor.encode({"version": 1, "latest": [FIRST, SECOND]})
    assert LatestStatements.decode(data).encode() == data


@given(st.binary(max_size=200))
def test_any_bytes_are_a_memory_or_an_error(data: bytes) -> None:
    try:
        LatestStatements.decode(data)
    except ConfsecError:
        return
    assert LatestStatements.decode(data).encode() == data
