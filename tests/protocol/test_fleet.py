"""Fleet records and the evidence that they name."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from confsec.errors import DecodeError, EvidenceError, LimitError
from confsec.protocol import cbor
from confsec.protocol.cmw import CmwRecord, Endorsements, Evidence
from confsec.protocol.fleet import FleetNode, FleetRecord
from confsec.testing import check_any_bytes, check_round_trip
from tests.protocol.fleets import make_fleet


def node(byte: int) -> FleetNode:
    return FleetNode(bytes([byte]) * 32, bytes([byte + 1]) * 32, 0)


def record_item(**changes: cbor.CborValue) -> bytes:
    nodes: list[cbor.CborValue] = [[bytes(32), bytes(32), 0]]
    members: dict[str, cbor.CborValue] = {"version": 1, "beacon": b"b", "nodes": nodes}
    members.update(changes)
    return cbor.encode(members)


def test_a_fleet_record_round_trips() -> None:
    check_round_trip(FleetRecord, make_fleet(3, shards=2).encoded)


def test_nodes_are_written_in_order() -> None:
    record = FleetRecord(b"beacon", (node(9), node(1)))
    assert [each.node_id[0] for each in FleetRecord.decode(record.encode()).nodes] == [1, 9]


def test_finds_a_node_by_its_id() -> None:
    record = FleetRecord(b"beacon", (node(1), node(9)))
    assert record.find(bytes([9]) * 32) == node(9)
    assert record.find(bytes(32)) is None


def test_refuses_a_node_that_stands_twice() -> None:
    with pytest.raises(DecodeError, match="ascending"):
        FleetRecord.decode(FleetRecord(b"beacon", (node(1), node(1))).encode())


@pytest.mark.parametrize(
    ("defect", "data"),
    [
        ("another version", record_item(version=2)),
        ("true for a version", record_item(version=True)),
        ("another member", record_item(extra=1)),
        ("a beacon that is too long", record_item(beacon=bytes(20_000))),
        ("a node with two members", record_item(nodes=[[bytes(32), bytes(32)]])),
        ("a short Node ID", record_item(nodes=[[bytes(31), bytes(32), 0]])),
        ("a negative shard", record_item(nodes=[[bytes(32), bytes(32), -1]])),
        ("nodes out of order", record_item(nodes=[[b"b" * 32, bytes(32), 0], [b"a" * 32, bytes(32), 0]])),
    ],
)
def test_refuses(defect: str, data: bytes) -> None:
    with pytest.raises(DecodeError):
        FleetRecord.decode(data)


def test_refuses_more_nodes_than_a_record_holds() -> None:
    with pytest.raises(LimitError):
        FleetRecord.decode(record_item(nodes=[0] * 10_001))


def test_evidence_keeps_the_bytes_that_were_emitted() -> None:
    evidence = Evidence.of({"a": CmwRecord("text/plain", b"x")})
    assert Evidence.decode(evidence.encoded) == evidence
    assert evidence.item("a", "text/plain") == b"x"


def test_evidence_without_an_item_is_refused() -> None:
    evidence = Evidence.of({"a": CmwRecord("text/plain", b"x")})
    with pytest.raises(EvidenceError, match="nothing"):
        evidence.item("b", "text/plain")
    with pytest.raises(EvidenceError, match="another media type"):
        evidence.item("a", "text/html")


@pytest.mark.parametrize("value", [[], {"a": [b"x", b"x"]}, {"a": ["t"]}, {"a": ["t", "x"]}, {"a": 1}])
def test_refuses_what_is_no_collection(value: cbor.CborValue) -> None:
    with pytest.raises(DecodeError):
        Evidence.decode(cbor.encode(value))


def test_refuses_a_collection_with_too_many_items() -> None:
    with pytest.raises(LimitError):
        Evidence.decode(cbor.encode({str(number): ["t", b"x"] for number in range(17)}))


@given(st.binary(max_size=300))
def test_any_bytes_give_a_value_or_our_error(data: bytes) -> None:
    check_any_bytes(FleetRecord.decode, data)
    check_any_bytes(Evidence.decode, data)


def test_endorsements_may_lack_an_item() -> None:
    beside = Endorsements.of({"a": CmwRecord("text/plain", b"x")})
    assert Endorsements.decode(beside.encoded) == beside
    assert beside.find("a") == b"x"
    assert beside.find("b") is None
