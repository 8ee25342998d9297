"""Reading logs: what is new is found, only what is needed is asked for, and nothing unproved is given out."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from attrs import evolve
from hypothesis import given, settings, strategies as st

from confsec.errors import (
    ConfsecError,
    DecodeError,
    ForkedLogError,
    LimitError,
    LocalProtocolError,
    RolledBackLogError,
    StaleLogError,
    TransparencyError,
    UncosignedError,
    VerificationError,
)
from confsec.protocol.log_reader import LogUpdate
from confsec.protocol.merkle import verify_inclusion
from confsec.protocol.note import MAX_NOTE
from confsec.protocol.tile_paths import TILE_WIDTH, encode_entries
from confsec.protocol.tiles import tiles_for_inclusion
from confsec.protocol.transparency import TrustedLog
from confsec.protocol.tree_reader import MAX_ENTRIES, TreeReader, body_limit
from tests.protocol.logs import StaticLog, entries_of, read, read_tree
from tests.protocol.test_transparency import AT, HOUR, MINUTE, ORIGIN, POLICY, cosigned

NEVER = TrustedLog(ORIGIN)


def update(
    trusted: TrustedLog = NEVER, *, newest: int | None = None, at: datetime = AT, entries: bool = True
) -> LogUpdate:
    return LogUpdate(trusted, POLICY, at=at, maximum_age=HOUR, newest=newest, entries=entries)


def seen(size: int) -> TrustedLog:
    return read(update(entries=False), StaticLog(entries_of(0, size))).trusted


# --- What is new


def test_a_first_contact_reads_the_whole_log() -> None:
    log = StaticLog(entries_of(0, 300))
    news = read(update(), log)
    assert [(entry.index, entry.data) for entry in news.entries] == list(enumerate(log.entries))
    assert news.note == log.files["checkpoint"]
    assert news.cosigned.checkpoint == log.checkpoint
    assert (news.trusted.size, news.trusted.root) == (300, log.checkpoint.root)


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(0, 700), min_size=1, max_size=4), data=st.data())
def test_a_log_that_grows_is_followed_entry_by_entry(sizes: list[int], data: st.DataObject) -> None:
    log, trusted = StaticLog(), NEVER
    for size in sorted(sizes):
        log.grow(entries_of(len(log.entries), size))
        if data.draw(st.booleans()):
            log.drop_partial()
        newest = data.draw(st.none() | st.integers(0, 300))
        before = trusted
        news = read(update(before, newest=newest), log)
        trusted = news.trusted
        first = before.size if newest is None else max(0, size - newest)
        if newest is not None and before.size:
            first = min(first, before.size)
        assert [(each.index, each.data) for each in news.entries] == list(enumerate(log.entries))[first:]
        assert (trusted.size, trusted.root, trusted.fresh_since) == (size, log.checkpoint.root, AT)


def test_the_newest_entries_are_read_without_walking_the_log() -> None:
    log, asked = StaticLog(entries_of(0, 70_000)), list[str]()
    news = read(update(newest=1), log, asked)
    assert [entry.index for entry in news.entries] == [69_999]
    assert asked == [
        "checkpoint", "tile/2/000.p/1", "tile/1/001.p/17", "tile/0/273.p/112", "tile/entries/273.p/112",
    ]  # fmt: skip


def test_the_newest_entries_are_given_also_when_they_were_seen() -> None:
    log = StaticLog(entries_of(0, 10))
    news = read(update(seen(10), newest=2), log)
    assert [entry.data for entry in news.entries] == [b"entry 8", b"entry 9"]
    assert news.trusted == seen(10)


def test_an_unchanged_log_with_newer_cosignatures_is_fresher() -> None:
    log, asked = StaticLog(entries_of(0, 10)), list[str]()
    log.sign((AT + MINUTE, AT + MINUTE))
    news = read(update(seen(10), at=AT + MINUTE), log, asked)
    assert asked == ["checkpoint"]
    assert news.entries == ()
    assert news.trusted == evolve(seen(10), fresh_since=AT + MINUTE)


def test_without_entries_only_the_growth_is_read() -> None:
    log, asked = StaticLog(entries_of(0, 600)), list[str]()
    news = read(update(seen(300), entries=False), log, asked)
    assert news.entries == ()
    assert news.trusted.size == 600
    assert asked == ["checkpoint", "tile/1/000.p/2", "tile/0/001", "tile/0/002.p/88"]


def test_an_empty_log_has_no_news() -> None:
    news = read(update(), StaticLog())
    assert (news.trusted.size, news.entries) == (0, ())


def test_a_full_tile_takes_the_place_of_a_partial_one() -> None:
    old = StaticLog(entries_of(0, 250))
    log = StaticLog(entries_of(0, 250))
    log.grow(entries_of(250, 300))
    log.drop_partial()
    log.files["checkpoint"] = old.files["checkpoint"]
    asked = list[str]()
    assert [entry.data for entry in read(update(), log, asked).entries] == old.entries
    assert asked == [
        "checkpoint", "tile/0/000.p/250", "tile/0/000", "tile/entries/000.p/250", "tile/entries/000",
    ]  # fmt: skip


# --- What is refused


def test_a_forked_log_is_refused_and_both_notes_can_be_kept() -> None:
    other = StaticLog([*entries_of(0, 5), b"another", *entries_of(6, 20)])
    reading = update(seen(10))
    with pytest.raises(ForkedLogError, match="does not begin with the one that was seen"):
        read(reading, other)
    assert reading.note == other.files["checkpoint"]
    assert reading.wanted == ()
    with pytest.raises(LocalProtocolError, match="this update failed"):
        reading.finish()


def test_a_second_tree_of_the_same_size_is_refused() -> None:
    with pytest.raises(ForkedLogError, match="two trees of one size"):
        read(update(seen(10)), StaticLog(entries_of(0, 10, "another")))


@settings(max_examples=40, deadline=None)
@given(old=st.integers(1, 400), new=st.integers(1, 400), data=st.data())
def test_any_other_past_is_refused(old: int, new: int, data: st.DataObject) -> None:
    entries = entries_of(0, new)
    entries[data.draw(st.integers(0, min(old, new) - 1))] = b"another"
    with pytest.raises((ForkedLogError, RolledBackLogError)):
        read(update(seen(old)), StaticLog(entries))


def test_a_log_that_goes_back_is_refused_before_anything_else_is_asked_for() -> None:
    log, asked = StaticLog(entries_of(0, 9)), list[str]()
    with pytest.raises(RolledBackLogError, match="goes back"):
        read(update(seen(10)), log, asked)
    assert asked == ["checkpoint"]


def test_an_older_word_for_the_same_tree_is_refused() -> None:
    with pytest.raises(RolledBackLogError, match="older than what was seen"):
        read(update(evolve(seen(10), fresh_since=AT + MINUTE)), StaticLog(entries_of(0, 10)))


def test_a_word_that_is_too_old_is_refused() -> None:
    with pytest.raises(StaleLogError, match="too old"):
        read(update(at=AT + HOUR + MINUTE), StaticLog(entries_of(0, 10)))


def test_a_checkpoint_without_a_quorum_is_refused() -> None:
    with pytest.raises(UncosignedError):
        read(update(), StaticLog(entries_of(0, 10), times=(AT,)))


def flipped(body: bytes) -> bytes:
    return bytes([body[0] ^ 1]) + body[1:]


@pytest.mark.parametrize("path", ["tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1"])
@pytest.mark.parametrize(
    ("change", "reason"), [(flipped, "another root|does not hash"), (lambda body: body[:-1], "another size")]
)
def test_a_wrong_tile_is_refused(path: str, change: object, reason: str) -> None:
    log = StaticLog(entries_of(0, 300))
    log.files[path] = change(log.files[path])  # type: ignore[operator]
    with pytest.raises(TransparencyError, match=reason):
        read(update(), log)


def test_a_wrong_full_tile_in_the_place_of_a_partial_one_is_refused() -> None:
    old, log = StaticLog(entries_of(0, 250)), StaticLog(entries_of(0, 300, "another"))
    log.drop_partial()
    log.files["checkpoint"] = old.files["checkpoint"]
    with pytest.raises(TransparencyError, match="another root"):
        read(update(), log)


@pytest.mark.parametrize(
    "bundle",
    [
        encode_entries([*entries_of(0, 9), b"another"]),
        encode_entries(entries_of(0, 10)[::-1]),
        encode_entries(entries_of(0, 9)),
        encode_entries(entries_of(0, 11)),
        b"",
    ],
    ids=["changed", "reordered", "too few", "too many", "empty"],
)
def test_a_wrong_bundle_is_refused(bundle: bytes) -> None:
    log = StaticLog(entries_of(0, 10))
    log.files["tile/entries/000.p/10"] = bundle
    with pytest.raises((TransparencyError, DecodeError)):
        read(update(), log)


@pytest.mark.parametrize("path", ["checkpoint", "tile/0/000", "tile/1/000.p/1", "tile/entries/000"])
def test_a_file_that_is_missing_is_refused(path: str) -> None:
    log = StaticLog(entries_of(0, 300))
    del log.files[path]
    with pytest.raises(TransparencyError, match=r"no checkpoint|does not serve"):
        read(update(), log)


@pytest.mark.parametrize("note", [b"", b"x" * (MAX_NOTE + 1), cosigned(StaticLog(entries_of(0, 3)).checkpoint)[:-1]])
def test_what_is_no_note_is_refused(note: bytes) -> None:
    log = StaticLog(entries_of(0, 10))
    log.files["checkpoint"] = note
    with pytest.raises((DecodeError, VerificationError)):
        read(update(), log)


def test_too_many_entries_are_refused_before_they_are_read() -> None:
    log, asked = StaticLog(entries_of(0, MAX_ENTRIES + 1)), list[str]()
    with pytest.raises(LimitError, match="only the newest"):
        read(update(), log, asked)
    assert asked == ["checkpoint"]
    assert len(read(update(newest=MAX_ENTRIES), log).entries) == MAX_ENTRIES


@settings(max_examples=60, deadline=None)
@given(path=st.sampled_from(["checkpoint", "tile/0/000", "tile/0/001.p/44", "tile/entries/001.p/44"]), data=st.data())
def test_any_bytes_are_the_logs_or_refused(path: str, data: st.DataObject) -> None:
    log = StaticLog(entries_of(0, 300))
    good = log.files[path]
    log.files[path] = data.draw(st.binary(max_size=100) | st.permutations(list(good[:40])).map(bytes))
    with pytest.raises(ConfsecError):
        read(update(), log)


# --- The order of steps


def test_only_what_is_wanted_is_taken() -> None:
    for path in ("tile/0/000", "elsewhere"):
        reading = update()
        with pytest.raises(LocalProtocolError, match="not wanted"):
            reading.receive(path, b"")
        assert reading.wanted == ()
    reading = update()
    reading.receive("checkpoint", StaticLog(entries_of(0, 10)).files["checkpoint"])
    with pytest.raises(LocalProtocolError, match="not wanted"):
        reading.receive("checkpoint", b"")
    with pytest.raises(LocalProtocolError, match="this update failed"):
        reading.missing("tile/0/000.p/10")


def test_nothing_is_given_out_before_the_end() -> None:
    with pytest.raises(LocalProtocolError, match="not read to its end"):
        update().finish()
    reading = update()
    reading.receive("checkpoint", StaticLog(entries_of(0, 10)).files["checkpoint"])
    with pytest.raises(LocalProtocolError, match="not read to its end"):
        reading.finish()


def test_nobody_reads_fewer_than_no_entries() -> None:
    with pytest.raises(LocalProtocolError, match="fewer"):
        update(newest=-1)


# --- Parts of a tree


@settings(max_examples=40, deadline=None)
@given(size=st.integers(1, 700), data=st.data())
def test_any_part_of_a_tree_is_read(size: int, data: st.DataObject) -> None:
    log = StaticLog(entries_of(0, size))
    stop = data.draw(st.integers(0, size))
    start = data.draw(st.integers(0, stop))
    assert read_tree(TreeReader(log.checkpoint, start=start, stop=stop), log) == log.entries[start:stop]


def test_a_tree_that_was_read_proves_its_entries() -> None:
    log = StaticLog(entries_of(0, 700))
    reader = TreeReader(log.checkpoint, start=300, stop=301, tiles=tiles_for_inclusion(300, 700))
    with pytest.raises(LocalProtocolError, match="no tree is read"):
        _ = reader.tree
    read_tree(reader, log)
    proof = reader.tree.inclusion_proof(300)
    verify_inclusion(reader.tree.leaf_hash(300), 300, 700, proof, log.checkpoint.root)


def test_where_no_tile_is_read_there_is_no_tree() -> None:
    reader = TreeReader(StaticLog(entries_of(0, 7)).checkpoint)
    assert (reader.wanted, reader.finish()) == ((), ())
    with pytest.raises(LocalProtocolError, match="no tree is read"):
        _ = reader.tree


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (4, 3), (0, 8)])
def test_entries_that_are_not_there_are_not_read(start: int, stop: int) -> None:
    with pytest.raises(TransparencyError, match="no such entries"):
        TreeReader(StaticLog(entries_of(0, 7)).checkpoint, start=start, stop=stop)


def test_entries_that_are_too_long_together_are_refused() -> None:
    log = StaticLog([bytes(1000)] * 600)
    with pytest.raises(LimitError, match="too long together"):
        read_tree(TreeReader(log.checkpoint, stop=600, max_bytes=600_000), log)
    assert len(read_tree(TreeReader(log.checkpoint, stop=600, max_bytes=601_200), log)) == 600


def test_each_file_has_a_limit() -> None:
    assert body_limit("checkpoint") == MAX_NOTE
    assert body_limit("tile/0/000") == TILE_WIDTH * 32
    assert body_limit("tile/entries/000") == TILE_WIDTH * 65_537
    for path in ("checkpoint/more", "tile", "elsewhere"):
        with pytest.raises(LocalProtocolError, match="no such file"):
            body_limit(path)


def test_a_word_that_is_old_enough_changes_nothing() -> None:
    news = read(update(seen(10), at=AT + timedelta(minutes=30)), StaticLog(entries_of(0, 10)))
    assert news.trusted == seen(10)
