"""What every machine has in common: a table of legal steps, and a state that fails for good.

A machine lives for one exchange. Its module draws the legal steps as a table; `Machine._step` looks the step up before
anything else happens, and leaves the machine `FAILED` when the step raises. The verbs, the data and the events belong
to the subclasses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, ClassVar, NoReturn, final

from confsec.errors import LocalProtocolError

__all__ = [
    "Machine",
    "RandBytes",
    "State",
    "Step",
    "StepTable",
]

RandBytes = Callable[[int], bytes]
"""A source of randomness: `randbytes(n)` returns n fresh, unpredictable bytes."""


class State(Enum):
    """Where a machine stands. Each machine uses those that its table names."""

    READY = "ready"
    SENDING = "sending"
    AWAITING_REQUEST = "awaiting request"
    AWAITING_KEY = "awaiting key"
    AWAITING_RESPONSE = "awaiting response"
    RECEIVING = "receiving"
    RESPONDING = "responding"
    OPEN = "open both ways"
    HALF_CLOSED_LOCAL = "ended on our side"
    HALF_CLOSED_REMOTE = "ended on the peer's side"
    DONE = "done"
    FAILED = "failed"

    if not TYPE_CHECKING:  # a checker would miss the type; members are unique, and a table is looked up for every part
        __hash__ = object.__hash__


class Step(Enum):
    """What a caller may ask of a machine."""

    ENCAPSULATE = "encapsulate"
    SEAL = "seal"
    OPEN_KEY = "open_key"
    BEGIN = "begin"
    SEND = "send"
    SEND_EOF = "send_eof"
    REQUEST = "request"
    RESPOND = "respond"
    RECEIVE_HEAD = "receive_head"
    RECEIVE = "receive_data"
    RECEIVE_EOF = "receive_eof"

    if not TYPE_CHECKING:
        __hash__ = object.__hash__


StepTable = Mapping[tuple[State, Step], State]
"""What may happen next: the state after each legal step. What is not in it is refused."""


class Machine:
    """One exchange, seen from one side. Not to be copied or pickled: a retry is a new machine with new keys."""

    STEPS: ClassVar[StepTable] = {}

    def __init__(self, state: State) -> None:
        self.__state = state

    @property
    def state(self) -> State:
        """Where the exchange stands."""
        return self.__state

    def _step(self, step: Step) -> _Step:
        """Take one step: refuse it if the table does not have it, move on if the body returns, fail for good if not."""
        return _Step(self, self._allow(step))

    def _allow(self, step: Step) -> State:
        """Return the state after `step`, or raise. The quick half of `_step`, for hot paths."""
        after = self.STEPS.get((self.__state, step))
        if after is None:
            raise LocalProtocolError(
                f"{type(self).__name__} cannot {step.value} now",
                got=f"state {self.__state.value!r}",
                want=self._legal_steps(),
            )
        return after

    def _move(self, state: State) -> None:
        self.__state = state

    def _fail(self) -> None:
        self.__state = State.FAILED

    def _legal_steps(self) -> str:
        legal = [step.value for state, step in self.STEPS if state is self.__state]
        return " or ".join(legal) if legal else "a new object: this exchange is over"

    def __copy__(self) -> NoReturn:
        raise LocalProtocolError(f"{type(self).__name__} cannot be copied: two copies would share keys and nonces")

    def __deepcopy__(self, memo: object) -> NoReturn:
        self.__copy__()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        self.__copy__()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.__state.value}>"


@final
class _Step:
    """The body of a step, as a context. A class because every part of a stream takes steps: a generator costs more."""

    __slots__ = ("_after", "_machine")

    def __init__(self, machine: Machine, after: State) -> None:
        self._machine = machine
        self._after = after

    def __enter__(self) -> None:
        pass

    def __exit__(self, exc_type: object, exc: object, traceback: object) -> None:
        self._machine._move(State.FAILED if exc_type else self._after)  # noqa: SLF001 - one mechanism, two classes
