"""Read a binary HTTP message as it arrives (RFC 9292).

However the input is split, the events are the same, except that content comes in the pieces in which it arrived: it
passes through and is never gathered. A field section is held until it is whole, and its size is bounded. Events come as
soon as what they tell is checked, so an error may still follow them (section 4); only `MessageFinished` says that the
message as a whole is good.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import ClassVar, Final, Literal, final

from attrs import field, frozen

from confsec.errors import DecodeError, LimitError, TruncatedError
from confsec.protocol.bhttp_control import check_host, check_request_control, check_status
from confsec.protocol.bhttp_fields import (
    Fields,
    StarvedError,
    check_pseudo_fields,
    decode_field,
    take_line,
    take_varint,
)
from confsec.protocol.machine import Machine, State, Step, StepTable
from confsec.protocol.wire import MAX_VARINT

__all__ = [
    "DECODER_STEPS",
    "DEFAULT_LIMITS",
    "STREAM_LIMITS",
    "BhttpDecoder",
    "BhttpEvent",
    "BhttpKind",
    "BhttpLimits",
    "ContentReceived",
    "InformationalReceived",
    "MessageFinished",
    "RequestHead",
    "ResponseHead",
]

BhttpKind = Literal["request", "response"]
"""Which of the two messages is expected: a request where a response should be is refused."""


@frozen(kw_only=True)
class BhttpLimits:
    """How much of a peer's message we are willing to read."""

    max_method: int = 64
    """Bytes of the method."""
    max_scheme: int = 64
    """Bytes of the scheme."""
    max_authority: int = 1024
    """Bytes of the authority: a DNS name has at most 253."""
    max_path: int = 16 * 1024
    """Bytes of path and query: twice what RFC 9110, section 4.1, asks everyone to support."""
    max_field_section: int = 64 * 1024
    """Bytes of one field section, lengths included: of the headers, of the trailers, of each informational response."""
    max_field_lines: int = 256
    """Field lines of one section."""
    max_informational: int = 16
    """Informational responses before the final one."""
    max_content: int = 64 * 1024 * 1024
    """Bytes of content."""
    max_padding: int = 1024 * 1024
    """Zero bytes after the message."""


DEFAULT_LIMITS: Final = BhttpLimits()
"""For messages that are held in memory as a whole."""

STREAM_LIMITS: Final = BhttpLimits(max_content=MAX_VARINT)
"""For content that passes through and is not kept: as long as it likes."""


@final
@frozen
class RequestHead:
    """Control data and headers of a request have arrived."""

    method: str
    scheme: str
    """Empty for CONNECT."""
    authority: str
    """Empty when the request names its target in a Host field, or not at all."""
    path: str = field(repr=False)
    """Path and query. Empty for CONNECT."""
    headers: Fields = field(default=(), repr=False)


@final
@frozen
class InformationalReceived:
    """An informational response has arrived; the final one follows."""

    status: int
    """100 to 199."""
    headers: Fields = field(default=(), repr=False)


@final
@frozen
class ResponseHead:
    """Control data and headers of the final response have arrived."""

    status: int
    """200 to 599."""
    headers: Fields = field(default=(), repr=False)


@final
@frozen
class ContentReceived:
    """A piece of the content has arrived. Pieces are not empty, and their borders mean nothing."""

    data: bytes = field(repr=False)


@final
@frozen
class MessageFinished:
    """The message is whole and good."""

    trailers: Fields = field(default=(), repr=False)


BhttpEvent = RequestHead | InformationalReceived | ResponseHead | ContentReceived | MessageFinished
"""What a message consists of, in this order; content in any number of parts."""

DECODER_STEPS: Final[StepTable] = {
    (State.RECEIVING, Step.RECEIVE): State.RECEIVING,
    (State.RECEIVING, Step.RECEIVE_EOF): State.DONE,
}
"""What may happen next at a decoder."""


class _Part(Enum):
    """Which field section is being read."""

    INFORMATIONAL = "informational response"
    HEADERS = "header section"
    TRAILERS = "trailer section"


@final
class BhttpDecoder(Machine):
    """Reads one message, of known or indeterminate length."""

    STEPS: ClassVar[StepTable] = DECODER_STEPS

    def __init__(self, kind: BhttpKind, *, limits: BhttpLimits = DEFAULT_LIMITS) -> None:
        super().__init__(State.RECEIVING)
        self._kind = kind
        self._limits = limits
        self._data = b""
        self._position = 0
        self._rest = bytearray()
        self._wanted = 1
        # A plain function: a bound method would make a cycle, and what was read would outlive the exchange.
        self._read: Callable[[BhttpDecoder], None] = BhttpDecoder._read_framing
        self._may_end = False
        self._known = True
        self._part = _Part.HEADERS
        self._control = ("", "", "", "")
        self._status = 0
        self._informational = 0
        self._lines: list[tuple[str, str]] = []
        self._section_size = 0
        self._content_size = 0
        self._chunk_left = 0
        self._padding_size = 0
        self._trailers: Fields = ()
        self._events: list[BhttpEvent] = []
        self._contents: list[bytes] = []

    def receive_data(self, part: bytes) -> list[BhttpEvent]:
        """Read the next bytes of the message.

        Raises `DecodeError` when the message is invalid and `LimitError` when it is too large.
        """
        self._allow(Step.RECEIVE)
        try:
            if self._gather(part):
                self._read_on()
        except BaseException:
            self._fail()
            raise
        return self._take_events()

    def receive_eof(self) -> list[BhttpEvent]:
        """Say that the message ends here. Raises `TruncatedError` where it must not end (section 3.8)."""
        with self._step(Step.RECEIVE_EOF):
            if self._rest or not self._may_end:
                raise TruncatedError("a binary HTTP message ends early", section="RFC 9292, section 3.8")
            # "Decoders MUST treat missing truncated fields as equivalent to having been sent with the length field
            # sent to zero."
            while self._read is not BhttpDecoder._read_padding:
                self._data, self._position = b"\0", 0
                self._read(self)
            self._events.append(MessageFinished(self._trailers))
            return self._take_events()

    def _gather(self, part: bytes) -> bool:
        """Put `part` behind what is left over, and say whether that is enough to go on."""
        if not self._rest and len(part) >= self._wanted:
            self._data = part
            return True
        self._rest += part
        if len(self._rest) < self._wanted:
            return False
        self._data = bytes(self._rest)
        self._rest = bytearray()
        return True

    def _read_on(self) -> None:
        self._position = 0
        try:
            while True:
                self._read(self)
        except StarvedError as starved:
            self._rest += self._data[self._position :]
            self._wanted = starved.wanted - self._position
        self._data = b""

    def _take_events(self) -> list[BhttpEvent]:
        events, self._events = self._events, []
        if self._contents:
            # One event for all chunks of this part: an object for each of many tiny chunks would cost far more memory
            # than the bytes that the peer had to send.
            events.append(ContentReceived(self._contents[0] if len(self._contents) == 1 else b"".join(self._contents)))
            self._contents = []
        return events

    def _go_on(self, read: Callable[[BhttpDecoder], None], *, at: int, may_end: bool = False) -> None:
        """Go on with `read` at index `at`. With `may_end`, all that would follow may be left out (section 3.8)."""
        self._read = read
        self._position = at
        self._may_end = may_end

    # Each of these reads one thing from `_data` at `_position` and chooses what comes next. What is not whole raises
    # `StarvedError` before anything has changed, and is read again from its beginning.

    def _read_framing(self) -> None:
        indicator, at = take_varint(self._data, self._position, len(self._data))
        want = (0, 2) if self._kind == "request" else (1, 3)
        if indicator not in want:
            raise DecodeError(
                f"the framing indicator is not a {self._kind}'s",
                got=indicator,
                want=f"{want[0]} or {want[1]}",
                section="RFC 9292, section 3.3",
            )
        self._known = indicator < 2
        self._go_on(BhttpDecoder._read_request_control if self._kind == "request" else BhttpDecoder._read_status, at=at)

    def _read_request_control(self) -> None:
        limits, at = self._limits, self._position
        method, at = self._take_text(at, limits.max_method, "method")
        scheme, at = self._take_text(at, limits.max_scheme, "scheme")
        authority, at = self._take_text(at, limits.max_authority, "authority")
        path, at = self._take_text(at, limits.max_path, "path")
        check_request_control(method, scheme, authority, path)
        self._control = (method, scheme, authority, path)
        self._begin_section(_Part.HEADERS, at)

    def _take_text(self, at: int, limit: int, what: str) -> tuple[str, int]:
        size, at = take_varint(self._data, at, len(self._data))
        if size > limit:
            raise _too_large(what, size, limit)
        stop = at + size
        if stop > len(self._data):
            raise StarvedError(stop)
        return self._data[at:stop].decode("latin-1"), stop

    def _read_status(self) -> None:
        status, at = take_varint(self._data, self._position, len(self._data))
        informational = status < 200
        check_status(status, informational=informational)
        self._status = status
        if informational:
            self._informational += 1
            if self._informational > self._limits.max_informational:
                raise _too_large(
                    "number of informational responses", self._informational, self._limits.max_informational
                )
        self._begin_section(_Part.INFORMATIONAL if informational else _Part.HEADERS, at)

    def _begin_section(self, part: _Part, at: int) -> None:
        self._part = part
        self._lines = []
        self._section_size = 0
        read = BhttpDecoder._read_known_section if self._known else BhttpDecoder._read_lines
        self._go_on(read, at=at, may_end=part is not _Part.INFORMATIONAL)

    def _read_known_section(self) -> None:
        size, at = take_varint(self._data, self._position, len(self._data))
        self._check_section_size(size)
        end = at + size
        if end > len(self._data):
            raise StarvedError(end)
        while at < end:
            at = self._take_known_line(at, end)
        self._finish_section(end)

    def _take_known_line(self, at: int, end: int) -> int:
        try:
            name, value, at = take_line(self._data, at, end)
        except StarvedError:
            raise DecodeError("a field line runs out of its section", section="RFC 9292, section 3.1") from None
        # There is no terminator here: a name of no bytes is refused as a name.
        self._add_line(name, value)
        return at

    def _read_lines(self) -> None:
        at, end = self._position, len(self._data)
        while True:
            try:
                name, value, stop = take_line(self._data, at, end)
            except StarvedError as starved:
                self._check_section_size(self._section_size + starved.wanted - at)
                raise
            if not name:
                self._finish_section(stop)
                return
            self._section_size += stop - at
            self._check_section_size(self._section_size)
            self._add_line(name, value)
            at = stop
            self._go_on(BhttpDecoder._read_lines, at=at)

    def _check_section_size(self, size: int) -> None:
        if size > self._limits.max_field_section:
            raise _too_large(self._part.value, size, self._limits.max_field_section)

    def _add_line(self, name: bytes, value: bytes) -> None:
        self._lines.append(decode_field(name, value))
        if len(self._lines) > self._limits.max_field_lines:
            raise _too_large(
                f"number of lines of the {self._part.value}", len(self._lines), self._limits.max_field_lines
            )

    def _finish_section(self, at: int) -> None:
        fields = tuple(self._lines)
        check_pseudo_fields(fields, trailers=self._part is _Part.TRAILERS)
        if self._part is _Part.INFORMATIONAL:
            self._events.append(InformationalReceived(self._status, fields))
            self._go_on(BhttpDecoder._read_status, at=at)
        elif self._part is _Part.HEADERS:
            self._events.append(self._make_head(fields))
            self._go_on(BhttpDecoder._read_chunk_length, at=at, may_end=True)
        else:
            self._trailers = fields
            self._go_on(BhttpDecoder._read_padding, at=at, may_end=True)

    def _make_head(self, headers: Fields) -> RequestHead | ResponseHead:
        if self._kind == "response":
            return ResponseHead(self._status, headers)
        method, scheme, authority, path = self._control
        check_host(scheme, authority, headers)
        return RequestHead(method, scheme, authority, path, headers)

    def _read_chunk_length(self) -> None:
        # The length of known-length content is read here too: it is one chunk without a terminator.
        size, at = take_varint(self._data, self._position, len(self._data))
        if not size:
            self._begin_section(_Part.TRAILERS, at)
            return
        self._content_size += size
        if self._content_size > self._limits.max_content:
            raise _too_large("content", self._content_size, self._limits.max_content)
        self._chunk_left = size
        self._go_on(BhttpDecoder._read_content, at=at)

    def _read_content(self) -> None:
        at = self._position
        if at == len(self._data):
            raise StarvedError(at + 1)
        piece = self._data[at : at + self._chunk_left]
        self._contents.append(piece)
        self._chunk_left -= len(piece)
        at += len(piece)
        if self._chunk_left:
            self._position = at
        elif self._known:
            self._begin_section(_Part.TRAILERS, at)
        else:
            self._go_on(BhttpDecoder._read_chunk_length, at=at)

    def _read_padding(self) -> None:
        at, end = self._position, len(self._data)
        if self._data.count(0, at) != end - at:
            raise DecodeError("the padding is not zero", section="RFC 9292, section 3.8")
        self._padding_size += end - at
        if self._padding_size > self._limits.max_padding:
            raise _too_large("padding", self._padding_size, self._limits.max_padding)
        self._position = end
        raise StarvedError(end + 1)


def _too_large(what: str, size: int, limit: int) -> LimitError:
    return LimitError(f"the {what} is too large", got=size, want=f"at most {limit}")
