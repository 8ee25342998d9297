"""Problem details and the errors that they carry."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from confsec.errors import BusyError, ConfsecError, DeadlineError, EngineError, PeerError, ReplayError, UnknownKeyError
from confsec.protocol.problem import MAX_PROBLEM, Problem


def test_a_problem_round_trips() -> None:
    problem = Problem.of(BusyError("full"), token_state="not_spent")
    assert Problem.decode(problem.encode(), status=503) == problem
    assert json.loads(problem.encode())["code"] == "busy"


@pytest.mark.parametrize("error", [UnknownKeyError, ReplayError, BusyError, DeadlineError])
def test_the_client_raises_the_class_that_the_role_raised(error: type[ConfsecError]) -> None:
    raised = Problem.of(error("it is so")).to_error("the node")
    assert type(raised) is error
    assert "the node refused: it is so" in str(raised)


def test_other_problems_are_the_peers_own() -> None:
    raised = Problem.of(EngineError("it broke")).to_error("the node")
    assert isinstance(raised, PeerError)
    assert (raised.status, raised.peer_code) == (502, "engine")


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"code": 1, "title": []}', b"\xff", b"[" * 50_000, b" " * (MAX_PROBLEM + 1)]
)
def test_a_body_that_is_no_problem_has_neither_code_nor_title(body: bytes) -> None:
    assert Problem.decode(body, status=502) == Problem(status=502, code="", title="")
    assert "the gateway refused" in str(Problem.decode(body, status=502).to_error("the gateway"))


@given(st.binary(max_size=100))
def test_any_bytes_give_a_problem(data: bytes) -> None:
    assert Problem.decode(data, status=500).status == 500
