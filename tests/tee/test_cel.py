"""Canonical event logs."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from confsec.errors import ConfsecError, DecodeError, EvidenceError, LimitError, TruncatedError
from confsec.protocol.wire import encode_uint, encode_vector
from confsec.tee.cel import CelLog
from confsec.tee.event_log import MAX_EVENT_LOG, MAX_EVENTS, HashAlgorithm

SHA256 = HashAlgorithm.SHA256
CONTENT = b"\x50" + encode_vector(b"content", 4)


def tlv(kind: int, value: bytes) -> bytes:
    return bytes((kind,)) + encode_vector(value, 4)


def record(
    number: int, *, register: bytes = tlv(1, b"\x07"), digests: bytes | None = None, content: bytes = CONTENT
) -> bytes:
    """Write one record."""
    found = tlv(SHA256, SHA256.digest(content)) if digests is None else digests
    return tlv(0, encode_uint(number, 8)) + register + tlv(3, found) + content


DIGESTS = tlv(3, tlv(SHA256, SHA256.digest(CONTENT)))


def test_records_are_read_in_order() -> None:
    log = CelLog.decode(record(0) + record(1, register=tlv(0x6C, b"\x04")))
    assert [(each.number, each.register, each.of_td, each.content_type) for each in log.events] == [
        (0, 7, False, 0x50),
        (1, 4, True, 0x50),
    ]


def test_content_is_trusted_if_the_digest_is_over_it() -> None:
    good, bad = CelLog.decode(record(0) + record(1, digests=tlv(SHA256, bytes(32)))).events
    assert good.trusted(SHA256) == CONTENT
    assert bad.trusted(SHA256) is None
    assert good.trusted(HashAlgorithm.SHA384) is None


def test_a_log_replays() -> None:
    log = CelLog.decode(record(0) + record(1))
    digest = SHA256.digest(CONTENT)
    assert log.replay(SHA256) == {7: SHA256.digest(SHA256.digest(bytes(32) + digest) + digest)}
    with pytest.raises(EvidenceError, match="no digest of the bank"):
        log.replay(HashAlgorithm.SHA384)


@pytest.mark.parametrize(
    "data",
    [
        record(1),
        record(0) + record(0),
        tlv(0, b"\x00") + record(0)[13:],
        record(0, register=tlv(1, b"\x18")),
        record(0, register=tlv(0x6C, b"\x05")),
        record(0, register=tlv(2, b"\x01")),
        record(0, digests=tlv(0x12, bytes(32))),
        record(0, digests=tlv(SHA256, bytes(32)) * 2),
        record(0, digests=tlv(SHA256, bytes(31))),
        record(0)[13:],
        b"\x05" + record(0)[1:],
        record(0).replace(DIGESTS, b"\x04" + DIGESTS[1:]),
    ],
)
def test_what_breaks_the_form_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        CelLog.decode(data)


@pytest.mark.parametrize("cut", range(1, len(record(0))))
def test_a_record_that_is_cut_is_refused(cut: int) -> None:
    with pytest.raises(TruncatedError):
        CelLog.decode(record(0)[:-cut])


def test_logs_are_bounded() -> None:
    with pytest.raises(LimitError, match="too long"):
        CelLog.decode(bytes(MAX_EVENT_LOG + 1))
    with pytest.raises(LimitError, match="too many"):
        CelLog.decode(b"".join(record(number) for number in range(MAX_EVENTS + 1)))


@given(st.binary(max_size=200))
def test_any_bytes_give_a_log_or_an_error(data: bytes) -> None:
    try:
        CelLog.decode(record(0) + data)
    except ConfsecError:
        return


@pytest.mark.vectors
def test_the_published_log_is_read(shared_vectors: Path) -> None:
    log = CelLog.decode(base64.b64decode((shared_vectors / "tpm/cel.b64").read_text()))
    assert len(log.events) == 18
    assert all(event.trusted(HashAlgorithm.SHA384) for event in log.events)
