"""What tests of confsec share, and what embedders need to test their own parts.

Seeded randomness and a clock that stands still take the place of the real ones; `MemoryWire` joins two machines without
a socket. The `check_…` functions ask of a value or a machine what every one of ours promises:

* `check_round_trip`: what is decoded encodes back;
* `check_any_bytes`: any bytes at all give a value or a `ConfsecError`;
* `check_all_steps`: every step in every state does what the table of steps says;
* `check_any_split`: however the input is split, the events are the same;
* `check_any_cut`: an input that ends early raises;
* `check_any_damage`: an input with a part lost, repeated, moved or changed raises.

They raise `AssertionError` with the place at which a promise was broken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final, Generic, Protocol, Self, TypeVar, final

from confsec.errors import ConfsecError, LocalProtocolError, RemoteProtocolError
from confsec.protocol.machine import Machine, RandBytes, State, Step

__all__ = [
    "EPOCH",
    "FixedClock",
    "MemoryWire",
    "Receiver",
    "Value",
    "check_all_steps",
    "check_any_bytes",
    "check_any_cut",
    "check_any_damage",
    "check_any_split",
    "check_round_trip",
    "cut_at_random",
    "damaged",
    "seeded_randbytes",
]

_E = TypeVar("_E")
_E_co = TypeVar("_E_co", covariant=True)
_M = TypeVar("_M", bound=Machine)

EPOCH: Final = datetime(2030, 1, 1, tzinfo=UTC)
"""Where a `FixedClock` stands unless told otherwise."""

_FEW: Final = 64
"""How many places are tried in an input that is too long to try all of them."""


class Receiver(Protocol[_E_co]):
    """The receiving half that every machine has."""

    def receive_data(self, part: bytes, /) -> Sequence[_E_co]:
        """Take the next bytes and return the events. May raise `ConfsecError`."""
        ...

    def receive_eof(self) -> Sequence[_E_co]:
        """Take the end of input and return the events. May raise `ConfsecError`."""
        ...


class Value(Protocol):
    """What every value has."""

    @classmethod
    def decode(cls, data: bytes, /) -> Self:
        """Decode. May raise `DecodeError`."""
        ...

    def encode(self) -> bytes:
        """Encode."""
        ...


def seeded_randbytes(seed: str) -> RandBytes:
    """Return a source of bytes that look random and are the same for the same seed in every run."""
    count = 0

    def randbytes(size: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.shake_256(f"{count} {seed}".encode()).digest(size)

    return randbytes


@final
class FixedClock:
    """A clock that moves only when told to. Calling it gives the time."""

    def __init__(self, now: datetime = EPOCH) -> None:
        self._now = now

    def __call__(self) -> datetime:
        return self._now

    def advance(self, by: timedelta) -> None:
        """Let time pass."""
        self._now += by


@final
class MemoryWire(Generic[_E]):
    """Carries what is sent to a receiver, at once and in memory.

    `alter` says what becomes of each message on the way: it returns the parts that arrive, none if it is lost.
    """

    def __init__(
        self, receiver: Receiver[_E], *, alter: Callable[[bytes], Sequence[bytes]] = lambda data: [data]
    ) -> None:
        self._receiver = receiver
        self._alter = alter

    def send(self, *messages: bytes) -> list[_E]:
        """Deliver the messages and return what the receiver makes of them."""
        return [event for data in messages for part in self._alter(data) for event in self._receiver.receive_data(part)]

    def send_eof(self, *messages: bytes) -> list[_E]:
        """Deliver the last messages and the end of input."""
        return self.send(*messages) + list(self._receiver.receive_eof())


def cut_at_random(randbytes: RandBytes, *, longest: int = 64) -> Callable[[bytes], list[bytes]]:
    """Return an `alter` for a wire that cuts messages into parts of random size, 1 to `longest` bytes."""

    def alter(data: bytes) -> list[bytes]:
        parts = []
        while data:
            size = 1 + int.from_bytes(randbytes(2), "big") % longest
            parts.append(data[:size])
            data = data[size:]
        return parts

    return alter


def check_round_trip(value_type: type[Value], encoded: bytes, *, canonical: bool = True) -> None:
    """Check that a value decodes and encodes to the same value; and, if `canonical`, to the same bytes."""
    value = value_type.decode(encoded)
    again = value.encode()
    assert value_type.decode(again) == value, f"{value_type.__name__} decodes to another value after encoding"
    if canonical:
        assert again == encoded, f"{value_type.__name__} encodes to other bytes than it was decoded from"


def check_any_bytes(decode: Callable[[bytes], object], data: bytes) -> None:
    """Check that decoding gives a value or a `ConfsecError`: whatever else it raises goes through."""
    with suppress(ConfsecError):
        decode(data)


def check_all_steps(machines: Mapping[State, Callable[[], _M]], verbs: Mapping[Step, Callable[[_M], object]]) -> None:
    """Check every step in every state against the machine's table.

    `machines` makes a machine in each state of the table, `verbs` takes each of its steps with good input. A step that
    the table has leads to the state that it says; any other raises and changes nothing. `State.FAILED` needs no maker.
    """
    table = next(iter(machines.values()))().STEPS
    states = {state for state, _ in table} | set(table.values())
    assert states <= set(machines), f"no machine for {states - set(machines)}"
    assert {step for _, step in table} <= set(verbs), f"no verb for {set(verbs)}"
    for step, verb in verbs.items():
        for state, make in machines.items():
            _check_step(make(), state, step, verb)
        failed = next(iter(machines.values()))()
        failed._fail()  # noqa: SLF001 - no input fails every machine, and how it failed does not matter
        _check_step(failed, State.FAILED, step, verb)


def _check_step(machine: _M, state: State, step: Step, verb: Callable[[_M], object]) -> None:
    assert machine.state is state, f"the maker of state {state} made {machine!r}"
    after = machine.STEPS.get((state, step))
    if after is not None:
        verb(machine)
        assert machine.state is after, f"{step} in {state} leads to {machine!r}"
        return
    try:
        verb(machine)
    except LocalProtocolError:
        assert machine.state is state, f"{step}, refused in {state}, leads to {machine!r}"
    else:
        raise AssertionError(f"{step} in {state} is not in the table and was not refused")


def check_any_split(
    make_receiver: Callable[[], Receiver[_E]],
    data: bytes,
    *,
    merge: Callable[[list[_E]], object] = lambda events: events,
    tail: bytes = b"",
) -> None:
    """Check that the events are the same for the input in one part, byte by byte, and cut in two at any place.

    `merge` makes event lists comparable where pieces of content may be cut differently. `tail` is sent at the end in
    all cases: for a long input whose beginning alone is worth splitting.
    """

    def events(*parts: bytes) -> object:
        return merge(MemoryWire(make_receiver()).send_eof(*parts, *([tail] if tail else [])))

    whole = events(data)
    assert events(*(data[index : index + 1] for index in range(len(data)))) == whole, "other events byte by byte"
    for cut in _places(len(data)):
        assert events(data[:cut], data[cut:]) == whole, f"other events when cut at {cut}"
        assert events(data[:cut], b"", data[cut:]) == whole, f"other events with an empty part at {cut}"


def check_any_cut(make_receiver: Callable[[], Receiver[object]], data: bytes, *, may_end: Collection[int] = ()) -> None:
    """Check that an input that ends early raises `RemoteProtocolError`, except at the places where it `may_end`."""
    for cut in {*_places(len(data)), *may_end}:
        try:
            MemoryWire(make_receiver()).send_eof(data[:cut])
        except RemoteProtocolError:
            assert cut not in may_end, f"an input that may end at {cut} was refused"
        else:
            assert cut in may_end, f"an input that ends at {cut} was not refused"


def check_any_damage(make_receiver: Callable[[], Receiver[object]], parts: Sequence[bytes]) -> None:
    """Check that the parts of a message, damaged in any way that `damaged` knows, raise `RemoteProtocolError`."""
    for what, altered in damaged(parts):
        try:
            MemoryWire(make_receiver()).send_eof(*altered)
        except RemoteProtocolError:
            continue
        raise AssertionError(f"a message with {what} was not refused")


def damaged(parts: Sequence[bytes]) -> Iterator[tuple[str, list[bytes]]]:
    """Yield the parts with one lost, repeated, swapped with the next, or changed in a bit, and what was done."""
    for index, part in enumerate(parts):
        before, after = list(parts[:index]), list(parts[index + 1 :])
        yield f"part {index} lost", before + after
        yield f"part {index} repeated", [*before, part, part, *after]
        if after and after[0] != part:
            yield f"parts {index} and {index + 1} swapped", [*before, after[0], part, *after[1:]]
        for place in _places(len(part)):
            changed = part[:place] + bytes([part[place] ^ (1 << place % 8)]) + part[place + 1 :]
            yield f"byte {place} of part {index} changed", [*before, changed, *after]


def _places(size: int) -> range | list[int]:
    """Return all indexes below `size`, or some of them, among them the first and the last, if they are too many."""
    if size <= 8 * _FEW:
        return range(size)
    return sorted({*range(_FEW), *range(0, size, size // _FEW), *range(size - _FEW, size)})
