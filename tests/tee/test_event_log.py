"""Event logs: what they hold, what is refused, and what of them may be trusted."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from struct import pack

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from confsec.errors import ConfsecError, DecodeError, EvidenceError, LimitError, TruncatedError
from confsec.tee.event_log import (
    MAX_EVENT_LOG,
    MAX_EVENTS,
    Event,
    EventLog,
    EventType,
    HashAlgorithm,
    TrustedData,
    variable_parts,
)

SHA1, SHA256, SHA384 = HashAlgorithm.SHA1, HashAlgorithm.SHA256, HashAlgorithm.SHA384
VARIABLE = bytes(16) + pack("<QQ", 2, 3) + "ab".encode("utf-16-le") + b"xyz"


def spec_id(algorithms: dict[int, int] | None = None, *, register: int = 0, tail: bytes = b"\x00") -> Event:
    """Make the event with the table of algorithms."""
    table = {SHA256: 32} if algorithms is None else algorithms
    head = b"Spec ID Event03\x00" + bytes(8) + len(table).to_bytes(4, "little")
    data = head + b"".join(pack("<HH", each, size) for each, size in table.items()) + tail
    return Event(register, EventType.NO_ACTION, {SHA1: bytes(20)}, data)


def event(register: int, data: bytes, *, kind: int = EventType.IPL, digest: bytes | None = None) -> Event:
    """Make an event with a digest of SHA-256: over its data, or another one."""
    return Event(register, kind, {SHA256: SHA256.digest(data) if digest is None else digest}, data)


def log(*events: Event, of_td: bool = False) -> EventLog:
    """Make a crypto agile log."""
    head = spec_id(register=int(of_td))
    return EventLog(events=(head, *events), algorithms={SHA256: 32}, crypto_agile=True, of_td=of_td)


def locality(number: int, *, register: int = 0) -> Event:
    """Make the event that tells where TPM2_Startup came from."""
    data = b"StartupLocality\x00" + bytes((number,))
    return Event(register, EventType.NO_ACTION, {SHA256: bytes(32)}, data)


# --- Form -------------------------------------------------------------------------------------------------------------


def test_a_log_reads_back() -> None:
    made = log(event(0, b"one"), event(7, b""), event(23, b"three"))
    assert EventLog.decode(made.encode()) == made


def test_a_log_of_sha1_reads_back() -> None:
    head = pack("<II20sI", 4, EventType.ACTION, b"d" * 20, 3) + b"abc"
    made = EventLog.decode(head * 2)
    assert (made.crypto_agile, made.algorithms, len(made.events)) == (False, {SHA1: 20}, 2)
    assert made.encode() == head * 2


def test_the_log_of_a_td_may_be_padded() -> None:
    made = log(event(1, b"ends with \xff"), of_td=True)
    assert EventLog.decode_ccel(made.encode() + b"\xff" * 100) == made
    assert EventLog.decode_ccel(made.encode()) == made


def test_the_log_of_a_tpm_may_not_be_padded() -> None:
    with pytest.raises(DecodeError):
        EventLog.decode(log(event(1, b"x")).encode() + b"\xff" * 100)


def test_the_log_of_a_td_is_crypto_agile() -> None:
    with pytest.raises(DecodeError, match="not crypto agile"):
        EventLog.decode_ccel(pack("<II20sI", 1, EventType.ACTION, bytes(20), 0))


@pytest.mark.parametrize("register", [0, 5, 6])
def test_events_of_a_td_extend_rtmrs_only(register: int) -> None:
    with pytest.raises(DecodeError, match="1 to 4"):
        EventLog.decode_ccel(log(event(register, b"x"), of_td=True).encode())


def test_events_of_a_tpm_extend_pcrs_only() -> None:
    with pytest.raises(DecodeError, match="0 to 23"):
        EventLog.decode(log(event(24, b"x")).encode())


def test_an_event_that_extends_nothing_may_name_any_register() -> None:
    made = log(Event(0xFFFFFFFF, EventType.NO_ACTION, {SHA256: bytes(32)}, b"hint"))
    assert EventLog.decode(made.encode()).replay(SHA256) == {}


def test_digests_in_another_order_than_the_table_are_read() -> None:
    data = b"x"
    algorithms: dict[int, int] = {SHA1: 20, SHA256: 32}
    digests: dict[int, bytes] = {SHA256: SHA256.digest(data), SHA1: SHA1.digest(data)}
    made = EventLog(
        events=(spec_id(algorithms), Event(1, EventType.IPL, digests, data)), algorithms=algorithms, crypto_agile=True
    )
    assert EventLog.decode(made.encode()) == made


@pytest.mark.parametrize("cut", range(1, 120))
def test_a_log_that_is_cut_is_refused(cut: int) -> None:
    whole = log(event(0, b"one"), event(7, VARIABLE)).encode()
    last = len(log(event(0, b"one")).encode())
    for end in {len(whole) - cut} - {last, len(log().encode())}:
        with pytest.raises(DecodeError):
            EventLog.decode(whole[: max(end, 0)])


def test_an_empty_log_is_refused() -> None:
    with pytest.raises(TruncatedError):
        EventLog.decode(b"")


def test_a_log_of_more_than_a_mebibyte_is_refused() -> None:
    with pytest.raises(LimitError, match="too long"):
        EventLog.decode(bytes(MAX_EVENT_LOG + 1))


def test_a_log_of_more_than_4096_events_is_refused() -> None:
    most = log(*[event(1, b"")] * (MAX_EVENTS - 1)).encode()
    assert len(EventLog.decode(most).events) == MAX_EVENTS
    with pytest.raises(LimitError, match="too many events"):
        EventLog.decode(most + log(event(1, b"")).encode()[len(log().encode()) :])


@pytest.mark.parametrize(
    "algorithms, tail",
    [
        ({}, b"\x00"),
        (dict.fromkeys(range(100, 109), 32), b"\x00"),
        ({SHA256: 20}, b"\x00"),
        ({0x12: 0}, b"\x00"),
        ({0x12: 65}, b"\x00"),
        ({SHA256: 32}, b""),
        ({SHA256: 32}, b"\x01"),
        ({SHA256: 32}, b"\x00\x00"),
    ],
)
def test_a_table_of_algorithms_has_to_be_right(algorithms: dict[int, int], tail: bytes) -> None:
    made = EventLog(events=(spec_id(algorithms, tail=tail),), algorithms={}, crypto_agile=True)
    with pytest.raises(DecodeError):
        EventLog.decode(made.encode())


def test_an_algorithm_may_not_be_listed_twice() -> None:
    head = spec_id()
    data = head.data[:24] + (2).to_bytes(4, "little") + head.data[28:32] * 2 + b"\x00"
    with pytest.raises(DecodeError, match="twice"):
        EventLog.decode(EventLog(events=(evolve(head, data=data),), algorithms={}, crypto_agile=True).encode())


@pytest.mark.parametrize(
    "digests",
    [
        {SHA256: bytes(32)},
        {SHA1: bytes(20), SHA256: bytes(32), SHA384: bytes(48)},
        {SHA1: bytes(20), SHA384: bytes(32)},
    ],
)
def test_an_event_has_one_digest_for_each_algorithm(digests: dict[int, bytes]) -> None:
    made = EventLog(
        events=(spec_id({SHA1: 20, SHA256: 32}), Event(0, EventType.IPL, digests, bytes(64))),
        algorithms={},
        crypto_agile=True,
    )
    with pytest.raises(DecodeError):
        EventLog.decode(made.encode())


def test_an_event_has_no_digest_twice() -> None:
    good = EventLog(
        events=(spec_id({SHA1: 20, 0x12: 20}), Event(0, EventType.IPL, {SHA1: bytes(20), 0x12: bytes(20)}, b"")),
        algorithms={},
        crypto_agile=True,
    ).encode()
    EventLog.decode(good)
    place = good.rindex(b"\x12\x00")
    with pytest.raises(DecodeError, match="two of one"):
        EventLog.decode(good[:place] + b"\x04\x00" + good[place + 2 :])


@pytest.mark.parametrize("count", [0, 2, 1 << 31])
def test_an_event_says_how_many_digests_it_has(count: int) -> None:
    whole = log(event(0, b"x")).encode()
    place = len(log().encode()) + 8
    assert whole[place : place + 4] == (1).to_bytes(4, "little")
    with pytest.raises(DecodeError, match="another number of digests"):
        EventLog.decode(whole[:place] + count.to_bytes(4, "little") + whole[place + 4 :])


# --- Replay -----------------------------------------------------------------------------------------------------------


def test_replay_extends_in_order() -> None:
    made = log(event(4, b"one"), event(5, b"other"), event(4, b"two"))
    first = SHA256.digest(bytes(32) + SHA256.digest(b"one"))
    assert made.replay(SHA256)[4] == SHA256.digest(first + SHA256.digest(b"two"))
    assert set(made.replay(SHA256)) == {4, 5}
    assert made.extended(SHA256, 4) == (SHA256.digest(b"one"), SHA256.digest(b"two"))


def test_what_a_drtm_resets_begins_with_ones() -> None:
    made = log(event(17, b"x"), event(22, b"x"), event(16, b"x"))
    ones = SHA256.digest(b"\xff" * 32 + SHA256.digest(b"x"))
    assert made.replay(SHA256) == {17: ones, 22: ones, 16: SHA256.digest(bytes(32) + SHA256.digest(b"x"))}


@pytest.mark.parametrize("number", [0, 3, 4])
def test_the_startup_locality_is_in_pcr_0(number: int) -> None:
    made = EventLog.decode(log(locality(number), event(0, b"x"), event(1, b"x")).encode())
    assert made.startup_locality == number
    replayed = made.replay(SHA256)
    assert replayed[0] == SHA256.digest(bytes(31) + bytes((number,)) + SHA256.digest(b"x"))
    assert replayed[1] == SHA256.digest(bytes(32) + SHA256.digest(b"x"))


def test_a_td_has_no_startup_locality() -> None:
    made = EventLog.decode_ccel(log(locality(3, register=1), event(1, b"x"), of_td=True).encode())
    assert made.startup_locality == 0


@pytest.mark.parametrize(
    "events",
    [
        (locality(1),),
        (locality(3), locality(3)),
        (event(0, b"x"), locality(3)),
        (Event(0, EventType.NO_ACTION, {SHA256: bytes(32)}, b"StartupLocality\x00"),),
        (Event(0, EventType.NO_ACTION, {SHA256: bytes(32)}, b"StartupLocality\x00\x03\x00"),),
    ],
)
def test_a_startup_locality_that_cannot_be_is_refused(events: tuple[Event, ...]) -> None:
    with pytest.raises(DecodeError, match="startup locality"):
        EventLog.decode(log(*events).encode())


def test_a_bank_that_the_log_lacks_cannot_be_replayed() -> None:
    made = log(event(0, b"x"))
    for look in (made.replay, made.trusted, lambda bank: made.extended(bank, 0)):
        with pytest.raises(EvidenceError, match="no digests of the bank"):
            look(SHA384)


# --- Trust ------------------------------------------------------------------------------------------------------------


def test_data_is_trusted_if_the_digest_is_over_it() -> None:
    (found,) = log(event(7, VARIABLE)).trusted(SHA256)
    assert found == TrustedData(1, 7, SHA256.digest(VARIABLE), VARIABLE)


def test_labels_are_not_trusted() -> None:
    (found,) = log(event(4, b"\\EFI\\BOOT", digest=bytes(32))).trusted(SHA256)
    assert found.data is None


def test_the_value_of_a_variable_is_trusted_without_its_name() -> None:
    (found,) = log(event(1, VARIABLE, digest=SHA256.digest(b"xyz"))).trusted(SHA256)
    assert found.data == b"xyz"


@pytest.mark.parametrize("label", [b"kernel_cmdline: ", b"grub_cmd: "])
@pytest.mark.parametrize("tail", [b"", b"\x00"])
def test_a_string_of_grub_is_trusted_without_its_label(label: bytes, tail: bytes) -> None:
    text = b"/vmlinuz a: b"
    (found,) = log(event(8, label + text + tail, digest=SHA256.digest(text))).trusted(SHA256)
    assert found.data == text


def test_one_register_can_be_asked_for() -> None:
    made = log(event(7, b"x"), event(8, b"y"), locality(0))
    assert [each.register for each in made.trusted(SHA256)] == [7, 8]
    assert [each.register for each in made.trusted(SHA256, 8)] == [8]


@given(st.binary(max_size=80), st.binary(min_size=32, max_size=32) | st.none())
def test_trusted_data_always_has_the_digest(data: bytes, digest: bytes | None) -> None:
    for found in log(event(3, data, digest=digest)).trusted(SHA256):
        assert found.data is None or SHA256.digest(found.data) == found.digest


def test_a_variable_has_its_parts() -> None:
    assert variable_parts(VARIABLE) == (bytes(16), "ab", b"xyz")
    for bad in (VARIABLE[:-1], VARIABLE + b"x", bytes(16) + pack("<QQ", 1, 0) + b"\x00\xd8", b""):
        with pytest.raises(DecodeError):
            variable_parts(bad)


# --- Any bytes --------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_give_a_log_or_an_error(data: bytes, headed: bool) -> None:  # noqa: FBT001
    whole = log().encode() + data if headed else data
    for decode in (EventLog.decode, EventLog.decode_ccel):
        try:
            found = decode(whole)
        except ConfsecError:
            continue
        assert found.encode() == whole[: len(found.encode())]


@given(st.lists(st.tuples(st.integers(0, 23), st.binary(max_size=40)), max_size=8))
def test_any_log_reads_back(events: list[tuple[int, bytes]]) -> None:
    made = log(*(event(register, data) for register, data in events))
    assert EventLog.decode(made.encode()) == made


@given(st.data())
def test_a_changed_digest_does_not_replay(data: st.DataObject) -> None:
    made = log(event(0, b"one"), event(0, b"two"))
    place = data.draw(st.integers(1, 2))
    bit = data.draw(st.integers(0, 255))
    digest = made.events[place].digests[SHA256]
    changed = (int.from_bytes(digest, "big") ^ 1 << bit).to_bytes(32, "big")
    events = [*made.events]
    events[place] = evolve(events[place], digests={SHA256: changed})
    assert evolve(made, events=tuple(events)).replay(SHA256) != made.replay(SHA256)


# --- Published logs ---------------------------------------------------------------------------------------------------


@pytest.mark.vectors
def test_published_logs_replay(shared_vectors: Path) -> None:
    folder = shared_vectors / "tpm"
    cases = [
        case
        for case in json.loads((folder / "cases.json").read_text())["cases"]
        if case["kind"] in {"tcg-event-log", "ccel"} and "#" not in case["files"]["log"]
    ]
    for case in cases:
        data = (folder / case["files"]["log"]).read_bytes()
        found = (EventLog.decode_ccel if case["kind"] == "ccel" else EventLog.decode)(data)
        assert data.startswith(found.encode())
        assert len(found.events) == case["params"]["events"]
        assert found.startup_locality == case["params"]["startup_locality"]
        computed = case["params"].get("computed_pcrs") or case["params"].get("computed_rtmr_index") or {}
        for bank, registers in computed.items():
            replayed = found.replay(HashAlgorithm[bank.upper()])
            assert {str(register): value.hex() for register, value in replayed.items()} == registers
    assert len(cases) >= 15


@pytest.mark.vectors
def test_a_published_log_in_pem_reads(shared_vectors: Path) -> None:
    text = (shared_vectors / "tpm/openpcc/tcg_eventlog.txt").read_text()
    body = text.split("-- test_tcg_event_log.pem --\n")[1].split("\n-- ")[0]
    lines = [line for line in body.splitlines() if not line.startswith("-----")]
    assert len(EventLog.decode(base64.b64decode("".join(lines))).events) == 101
