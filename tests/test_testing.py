"""The checks of `confsec.testing` fail where a promise is broken: a check that cannot fail would promise nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import ClassVar, Self

import pytest
from attrs import frozen

from confsec.errors import DecodeError, DecryptionError, LocalProtocolError
from confsec.protocol.machine import Machine, State, Step, StepTable
from confsec.testing import (
    EPOCH,
    FixedClock,
    MemoryWire,
    check_all_steps,
    check_any_bytes,
    check_any_cut,
    check_any_damage,
    check_any_split,
    check_round_trip,
    cut_at_random,
    damaged,
    seeded_randbytes,
)


@frozen
class Word:
    """Four bytes; spaces around them are taken and not given back."""

    text: bytes

    @classmethod
    def decode(cls, data: bytes) -> Self:
        if len(data.strip()) != 4:
            raise DecodeError("no word")
        return cls(data.strip())

    def encode(self) -> bytes:
        return self.text


class Forgetful(Word):
    """A value that loses something on the way."""

    def encode(self) -> bytes:
        return b"lost"


class Summing(Machine):
    """Reads bytes whose sum, with the last one, is 0 modulo 256."""

    STEPS: ClassVar[StepTable] = {
        (State.RECEIVING, Step.RECEIVE): State.RECEIVING,
        (State.RECEIVING, Step.RECEIVE_EOF): State.DONE,
    }

    def __init__(self) -> None:
        super().__init__(State.RECEIVING)
        self.seen = b""

    def receive_data(self, part: bytes) -> list[bytes]:
        with self._step(Step.RECEIVE):
            self.seen += part
            return []

    def receive_eof(self) -> list[bytes]:
        with self._step(Step.RECEIVE_EOF):
            if sum(index * byte for index, byte in enumerate(self.seen, 1)) % 251:
                raise DecryptionError("the sum is wrong")
            return [self.seen]


class Lax(Summing):
    """Never asks the table."""

    def receive_data(self, part: bytes) -> list[bytes]:
        return [part]

    def receive_eof(self) -> list[bytes]:
        return []


class Jumping(Summing):
    """Goes where the table does not lead."""

    def receive_eof(self) -> list[bytes]:
        super().receive_eof()
        self._move(State.READY)
        return []


def good_message() -> bytes:
    data = bytes(range(1, 40))
    return next(
        data + bytes([last])
        for last in range(256)
        if not sum(index * byte for index, byte in enumerate(data + bytes([last]), 1)) % 251
    )


def test_seeded_randomness_repeats_itself_and_nothing_else() -> None:
    first, second, other = seeded_randbytes("a"), seeded_randbytes("a"), seeded_randbytes("b")
    drawn = [first(16), first(16), second(16), second(16), other(16)]
    assert drawn[:2] == drawn[2:4]
    assert len(set(drawn)) == 3


def test_fixed_clock_moves_when_told_to() -> None:
    clock = FixedClock()
    assert clock() == clock() == EPOCH
    clock.advance(timedelta(minutes=10))
    assert clock() == EPOCH + timedelta(minutes=10)


def test_wire_delivers_what_the_alteration_leaves() -> None:
    assert MemoryWire(Lax()).send(b"ab", b"c") == [b"ab", b"c"]
    assert MemoryWire(Lax(), alter=lambda data: []).send_eof(b"ab") == []
    parts = MemoryWire(Lax(), alter=cut_at_random(seeded_randbytes("cut"), longest=3)).send(bytes(50))
    assert b"".join(parts) == bytes(50)
    assert {len(part) for part in parts[:-1]} == {1, 2, 3}


def test_round_trip_finds_a_value_that_changes() -> None:
    check_round_trip(Word, b"word")
    check_round_trip(Word, b" word", canonical=False)
    with pytest.raises(AssertionError, match="other bytes"):
        check_round_trip(Word, b" word")
    with pytest.raises(AssertionError, match="another value"):
        check_round_trip(Forgetful, b"word", canonical=False)


def test_any_bytes_lets_no_foreign_exception_pass() -> None:
    check_any_bytes(Word.decode, b"")
    with pytest.raises(ValueError, match="invalid literal"):
        check_any_bytes(int, b"x")


def in_each_state(make: Callable[[], Summing]) -> dict[State, Callable[[], Summing]]:
    def done() -> Summing:
        machine = make()
        machine._move(State.DONE)
        return machine

    return {State.RECEIVING: make, State.DONE: done}


VERBS: dict[Step, Callable[[Summing], object]] = {
    Step.RECEIVE: lambda machine: machine.receive_data(b""),
    Step.RECEIVE_EOF: lambda machine: machine.receive_eof(),
}


def test_all_steps_finds_a_machine_that_does_not_keep_to_its_table() -> None:
    check_all_steps(in_each_state(Summing), VERBS)
    with pytest.raises(AssertionError, match="leads to"):
        check_all_steps(in_each_state(Lax), {**VERBS, Step.RECEIVE: lambda machine: machine._move(State.READY)})
    with pytest.raises(AssertionError, match="not refused"):
        check_all_steps(in_each_state(Lax), {**VERBS, Step.RECEIVE_EOF: lambda machine: machine._move(State.DONE)})
    with pytest.raises(AssertionError, match="leads to"):
        check_all_steps(in_each_state(Jumping), VERBS)


def test_all_steps_finds_a_refusal_that_changes_the_state() -> None:
    def refuse_and_move(machine: Summing) -> None:
        if machine.state is State.RECEIVING:
            machine.receive_eof()
            return
        machine._move(State.READY)
        raise LocalProtocolError("not now")

    with pytest.raises(AssertionError, match="refused in"):
        check_all_steps(in_each_state(Summing), {**VERBS, Step.RECEIVE_EOF: refuse_and_move})


def test_all_steps_asks_for_every_state_and_every_verb() -> None:
    with pytest.raises(AssertionError, match="no machine for"):
        check_all_steps({State.RECEIVING: Summing}, VERBS)
    with pytest.raises(AssertionError, match="no verb for"):
        check_all_steps(in_each_state(Summing), {Step.RECEIVE: VERBS[Step.RECEIVE]})
    with pytest.raises(AssertionError, match="made"):
        check_all_steps({State.RECEIVING: Summing, State.DONE: Summing}, VERBS)


def test_any_split_finds_a_machine_that_sees_where_parts_end() -> None:
    check_any_split(Summing, good_message())
    check_any_split(Summing, good_message()[:9], tail=good_message()[9:])
    with pytest.raises(AssertionError, match="byte by byte"):
        check_any_split(Lax, b"ab")
    with pytest.raises(AssertionError, match="cut at 0"):
        check_any_split(Lax, b"a")
    check_any_split(Lax, b"ab", merge=b"".join)


def test_any_cut_finds_an_end_that_is_not_missed() -> None:
    check_any_cut(Summing, good_message(), may_end=[0])
    with pytest.raises(AssertionError, match="ends at 0 was not refused"):
        check_any_cut(Summing, good_message())
    with pytest.raises(AssertionError, match="may end at 5 was refused"):
        check_any_cut(Summing, good_message(), may_end=[0, 5])


def test_any_damage_finds_what_is_not_refused() -> None:
    data = good_message()
    check_any_damage(Summing, [data[:7], data[7:21], data[21:]])
    with pytest.raises(AssertionError, match="part 0 lost"):
        check_any_damage(Lax, [data])


def test_damage_is_of_every_kind() -> None:
    assert dict(damaged([b"a", b"b"])) == {
        "part 0 lost": [b"b"],
        "part 0 repeated": [b"a", b"a", b"b"],
        "parts 0 and 1 swapped": [b"b", b"a"],
        "byte 0 of part 0 changed": [b"`", b"b"],
        "part 1 lost": [b"a"],
        "part 1 repeated": [b"a", b"b", b"b"],
        "byte 0 of part 1 changed": [b"a", b"c"],
    }
    assert "parts 0 and 1 swapped" not in dict(damaged([b"a", b"a"]))


def test_long_input_is_tried_at_some_places_with_both_ends() -> None:
    places = {what for what, _ in damaged([bytes(100_000)])}
    assert {"byte 0 of part 0 changed", "byte 99999 of part 0 changed"} <= places
    assert len(places) < 300
