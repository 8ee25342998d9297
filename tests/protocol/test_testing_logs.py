"""The log in memory that tests and liars use is one that readers, witnesses' rules and proofs take for a real one."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings, strategies as st

from confsec.errors import UncosignedError
from confsec.protocol.log_reader import LogUpdate
from confsec.protocol.merkle import CompactRange, leaf_hash
from confsec.protocol.state_reader import Firsts, StateUpdate
from confsec.protocol.tlog_proof import TlogProof
from confsec.protocol.transparency import TrustedLog, verify_checkpoint, verify_logged
from tests.protocol.log_world import AT, DAY, World, read, world_log

POLICY = World().root.witnesses
ORIGIN = World().fleets.origin
MINUTE = timedelta(minutes=1)


def entries(size: int) -> list[bytes]:
    return [b"entry %d" % number for number in range(size)]


@settings(max_examples=20)
@given(st.integers(1, 600), st.integers(0, 300))
def test_readers_follow_it_as_it_grows(size: int, more: int) -> None:
    log = world_log(ORIGIN, 12, entries=entries(size))
    first = read(LogUpdate(TrustedLog(ORIGIN), POLICY, at=AT, maximum_age=DAY, newest=2), log.files(AT))
    assert [each.data for each in first.entries] == entries(size)[-2:]
    log.entries.extend(entries(size + more)[size:])
    news = read(LogUpdate(first.trusted, POLICY, at=AT + MINUTE, maximum_age=DAY, newest=None), log.files(AT + MINUTE))
    assert [each.data for each in news.entries] == entries(size + more)[size:]
    assert news.trusted.root == CompactRange().append(*map(leaf_hash, log.entries)).root


def test_what_is_appended_has_a_first_checkpoint_of_its_own() -> None:
    log = world_log(ORIGIN, 12)
    assert [log.append(each, AT + number * MINUTE) for number, each in enumerate(entries(3))] == [0, 1, 2]
    files = log.files(AT + DAY)
    for index, entry in enumerate(entries(3)):
        proof = TlogProof.decode(files[f"proof/{index}"])
        cosigned = verify_logged(entry, proof, POLICY, origin=ORIGIN)
        assert (cosigned.checkpoint.size, cosigned.known_since) == (index + 1, AT + index * MINUTE)
    update = StateUpdate(TrustedLog(ORIGIN), POLICY, at=AT + DAY, maximum_age=DAY, entries=16, firsts=Firsts.ALL)
    assert [each.data for each in read(update, files).state.entries] == entries(3)


def test_entries_from_before_have_none() -> None:
    log = world_log(ORIGIN, 12, entries=entries(2))
    log.append(b"new", AT)
    assert [path for path in log.files(AT) if path.startswith("proof/")] == ["proof/2"]


def test_as_many_witnesses_cosign_as_one_likes_each_at_its_own_time() -> None:
    log = world_log(ORIGIN, 12, entries=entries(5))
    times = [AT, AT + MINUTE, AT + 2 * MINUTE]
    cosigned = verify_checkpoint(log.note(times, size=3), POLICY, origin=ORIGIN)
    assert (cosigned.checkpoint.size, cosigned.fresh_since, cosigned.known_since) == (3, AT + MINUTE, AT + MINUTE)
    assert verify_checkpoint(log.note(AT, witnesses=2), POLICY, origin=ORIGIN).cosigners == ("w1", "w2")
    for few in (0, 1):
        with pytest.raises(UncosignedError):
            verify_checkpoint(log.note(AT, witnesses=few), POLICY, origin=ORIGIN)


def test_it_proves_entries_under_any_of_its_trees() -> None:
    log = world_log(ORIGIN, 12, entries=entries(300))
    for index, size in ((0, 1), (0, 300), (255, 256), (256, 257), (299, 300)):
        proof = TlogProof.decode(log.proof(index, log.note(AT, size=size), size))
        verify_logged(entries(300)[index], proof, POLICY, origin=ORIGIN)


def test_another_checkpoint_is_shown_where_one_is_given() -> None:
    log = world_log(ORIGIN, 12, entries=entries(2))
    note = log.note(AT, size=1)
    assert log.files(AT, note=note)["checkpoint"] == note
    assert log.files(AT)["checkpoint"] == log.note(AT)
