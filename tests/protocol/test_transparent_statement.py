"""Statements with receipts: who says what, which logs have it, and every way in which that does not hold."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from confsec.errors import ConfigError, DecodeError, LimitError, TransparencyError, UnsupportedError, VerificationError
from confsec.protocol import cbor_general
from confsec.protocol.known_issuer import KnownIssuer
from confsec.protocol.merkle import leaf_hash
from confsec.protocol.receipt import HEADER_RECEIPTS, HEADER_VDS, Receipt
from confsec.protocol.transparent_statement import (
    MAX_RECEIPTS,
    SignedStatement,
    VerifiedTransparentStatement,
    verify_transparent_statement,
)
from tests.protocol.receipt_cases import (
    AT,
    ISSUER,
    ISSUER_KEY,
    LOG,
    OTHER_KEY,
    log,
    make_receipt,
    make_statement,
    receipt_for,
    transparent,
)

STATEMENT = make_statement()
GOOD = transparent(STATEMENT, receipt_for(make_statement()))
SECOND = log("https://second.example", OTHER_KEY)
SECOND_RECEIPT = receipt_for(STATEMENT, key=OTHER_KEY, claims={1: SECOND.issuer})
OTHER_TREE = evolve(Receipt.decode(receipt_for(STATEMENT)).message, protected=b"\xa2\x01\x26\x19\x01\x8b\x02").encode()


def verify(statement: SignedStatement = GOOD, *logs: KnownIssuer, **more: Any) -> VerifiedTransparentStatement:
    issuer = more.pop("issuer", ISSUER)
    return verify_transparent_statement(statement, issuer, logs or (LOG,), **({"at": AT} | more))


# --- What holds


def test_a_statement_in_a_log_is_believed() -> None:
    verified = verify()
    assert (verified.payload, verified.subject, verified.headers[3]) == (b"it is good", "artifact", "text/plain")
    (logged,) = verified.logged
    assert (logged.issuer, logged.size, logged.index) == (LOG.issuer, 3, 2)


def test_every_log_that_is_asked_for_has_it() -> None:
    both = transparent(STATEMENT, SECOND_RECEIPT, receipt_for(STATEMENT, before=6))
    assert [each.index for each in verify(both, LOG, SECOND).logged] == [6, 2]


def test_receipts_of_others_are_passed_over() -> None:
    among = transparent(STATEMENT, b"", OTHER_TREE, SECOND_RECEIPT, receipt_for(STATEMENT))
    assert verify(among).logged[0].issuer == LOG.issuer


def test_one_good_receipt_of_a_log_is_enough() -> None:
    stale = receipt_for(STATEMENT, claims={1: LOG.issuer, 4: int(AT.timestamp()) - 86_400})
    elsewhere = make_receipt([leaf_hash(b"else")], included=(0,))
    assert verify(transparent(STATEMENT, stale, elsewhere, receipt_for(STATEMENT))).logged[0].index == 2


def test_a_payload_may_travel_beside() -> None:
    detached = make_statement(detached=True)
    statement = transparent(detached, receipt_for(detached))
    assert verify(statement, detached_payload=b"it is good").payload == b"it is good"
    with pytest.raises(VerificationError, match="does not verify"):
        verify(statement, detached_payload=b"it is bad")


def test_the_entry_has_no_unprotected_headers() -> None:
    assert GOOD.entry == STATEMENT.encode()
    assert SignedStatement.decode(GOOD.entry).receipts == ()


def test_claims_may_be_critical() -> None:
    critical = make_statement(protected={2: [15]})
    assert verify(transparent(critical, receipt_for(critical))).subject == "artifact"


@given(st.lists(st.binary(max_size=40), max_size=MAX_RECEIPTS), st.binary(max_size=40))
def test_what_is_read_is_written_again(receipts: list[bytes], payload: bytes) -> None:
    statement = transparent(make_statement(payload), *receipts)
    assert statement.receipts == tuple(receipts)
    assert SignedStatement.decode(statement.encode()) == statement


# --- What does not


def test_a_statement_that_no_log_is_asked_for_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="counts by its logs"):
        verify_transparent_statement(GOOD, ISSUER, (), at=AT)


def test_a_payload_is_there_once() -> None:
    with pytest.raises(ConfigError, match="in it or beside it"):
        verify(detached_payload=b"it is good")
    detached = make_statement(detached=True)
    with pytest.raises(ConfigError, match="in it or beside it"):
        verify(transparent(detached, receipt_for(detached)))


@pytest.mark.parametrize("claims", [{2: "artifact"}, {1: "https://other.example", 2: "artifact"}])
def test_another_issuer_is_refused(claims: dict[Any, Any]) -> None:
    message = make_statement(claims=claims)
    with pytest.raises(TransparencyError, match=r"another issuer.*want https://issuer\.example"):
        verify(transparent(message, receipt_for(message)))


@pytest.mark.parametrize("claims", [{}, {1: "https://issuer.example"}, {2: "artifact"}])
def test_a_statement_says_who_says_it_and_about_what(claims: dict[Any, Any]) -> None:
    message = make_statement(claims=claims)
    with pytest.raises(TransparencyError, match="who says it, and about what"):
        verify(transparent(message, receipt_for(message)), issuer=evolve(ISSUER, issuer=claims.get(1)))


def test_another_key_of_the_issuer_is_refused() -> None:
    with pytest.raises(VerificationError, match="not one of the algorithm"):
        verify(issuer=evolve(ISSUER, key=OTHER_KEY.public_key()))


def test_an_issuer_is_not_a_log() -> None:
    with pytest.raises(TransparencyError, match="no receipt shows"):
        verify(GOOD, evolve(LOG, key=ISSUER_KEY.public_key()))


@pytest.mark.parametrize("label", [4, 5])
def test_a_statement_counts_in_its_time(label: int) -> None:
    step = timedelta(days=1 if label == 4 else -1)
    message = make_statement(claims={1: ISSUER.issuer, 2: "artifact", label: int(AT.timestamp())})
    statement = transparent(message, receipt_for(message))
    verify(statement, at=AT - step)
    with pytest.raises(VerificationError, match=r"expired|not valid yet"):
        verify(statement, at=AT + step)


def test_a_payload_that_changes_is_seen() -> None:
    bad = evolve(STATEMENT, payload=b"it is bad!")
    with pytest.raises(VerificationError, match="does not verify"):
        verify(transparent(bad, receipt_for(bad)))


def test_a_critical_header_that_nobody_understands_is_refused() -> None:
    critical = make_statement(protected={2: ["x"], "x": 1})
    with pytest.raises(UnsupportedError, match="critical"):
        verify(transparent(critical, receipt_for(critical)))


def test_an_algorithm_that_is_not_allowed_is_refused() -> None:
    with pytest.raises(VerificationError, match="not allowed"):
        verify(algorithms={"ES256"})


@pytest.mark.parametrize(
    ("receipts", "why"),
    [
        ([], "shows that the log has the statement: want"),
        ([SECOND_RECEIPT], "shows that the log has the statement: want"),
        ([make_receipt([leaf_hash(b"else")], included=(0,))], "got no proof of the receipt"),
        ([receipt_for(STATEMENT, key=OTHER_KEY)], "got no proof of the receipt"),
        ([OTHER_TREE], "got a receipt of another tree"),
        ([b"\xff"], "got a COSE_Sign1"),
    ],
)
def test_a_log_that_does_not_have_it_is_named(receipts: list[bytes], why: str) -> None:
    with pytest.raises(TransparencyError, match=why) as caught:
        verify(transparent(STATEMENT, *receipts))
    assert caught.value.want == LOG.issuer


def test_one_log_is_not_enough_where_two_are_asked_for() -> None:
    with pytest.raises(TransparencyError, match=r"want https://second\.example"):
        verify(GOOD, LOG, SECOND)


def test_a_receipt_is_for_the_signature_too() -> None:
    other = evolve(STATEMENT, signature=bytes(64))
    with pytest.raises(VerificationError):
        verify(transparent(other, receipt_for(STATEMENT)))
    assert transparent(other).entry != GOOD.entry


# --- What is no statement


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (evolve(STATEMENT, tagged=False).encode(), "not tagged"),
        (evolve(STATEMENT, unprotected={HEADER_RECEIPTS: {}}).encode(), "not an array"),
        (evolve(STATEMENT, unprotected={HEADER_RECEIPTS: [b"", 1]}).encode(), "no byte string"),
        (evolve(STATEMENT, protected=cbor_general.encode({15: [1]})).encode(), "not a map"),
        (
            receipt_for(STATEMENT, claims={1: LOG.issuer, 2: "a tree"}, detached=False),
            "a receipt is no signed statement",
        ),
        (b"", "ends early"),
    ],
)
def test_what_is_no_statement_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(DecodeError, match=why):
        SignedStatement.decode(data)


def test_a_statement_has_limits() -> None:
    with pytest.raises(LimitError, match="too many receipts"):
        SignedStatement.decode(evolve(STATEMENT, unprotected={HEADER_RECEIPTS: [b""] * (MAX_RECEIPTS + 1)}).encode())
    with pytest.raises(LimitError, match="too long"):
        SignedStatement.decode(STATEMENT.encode(), limit=20)


def test_no_payload_stands_in_what_is_printed() -> None:
    assert "it is good" not in repr(GOOD) + repr(verify())
    assert HEADER_VDS not in GOOD.message.headers
