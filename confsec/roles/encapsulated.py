"""One encapsulated exchange at a gateway: a request opened as it arrives, and an answer sealed as it is made.

Chunked Oblivious HTTP streams both; one-shot holds each as a whole, within limits.

`receive_head` first, then the object is an iterator over the request's content, then the answer. What goes wrong with
the encapsulation itself is raised to the outside; `can_answer` says whether an error can be told inside.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import ClassVar, Final, final

from confsec.backends.api import Headers
from confsec.errors import LimitError, TruncatedError
from confsec.protocol.bhttp import Request, Response, encode_content, encode_end, encode_response_head
from confsec.protocol.bhttp_decoder import (
    BhttpDecoder,
    BhttpEvent,
    ContentReceived,
    RequestHead,
)
from confsec.protocol.chunked_ohttp import ChunkedOhttpEvent, ChunkedOhttpGateway, ChunkReceived
from confsec.protocol.machine import State
from confsec.protocol.ohttp import (
    MEDIA_TYPE_CHUNKED_RESPONSE,
    MEDIA_TYPE_RESPONSE,
    OhttpGateway,
    RequestReceived,
)
from confsec.roles.asgi import Exchange

__all__ = ["ChunkedExchange", "EncapsulatedExchange", "OneShotExchange"]

_NO_STORE: Final = ("cache-control", "no-store")


class EncapsulatedExchange(ABC):
    """A request that arrives encapsulated, and its answer."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.started: bool = False
        """The head of the answer is out, so that an error can no longer be told."""

    @property
    @abstractmethod
    def can_answer(self) -> bool:
        """Whether there are keys for an answer, and nothing of one went out."""

    @abstractmethod
    async def receive_head(self) -> RequestHead:
        """Read until control data and headers of the request are there."""

    @abstractmethod
    def content(self) -> bytes | AsyncIterator[bytes]:
        """Return the request's content after its head: whole if all of it is here, so that it goes on in one piece."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    @abstractmethod
    async def __anext__(self) -> bytes:
        """Return the next part of the request's content."""

    @abstractmethod
    async def answer(self, status: int, headers: Headers, content: bytes) -> None:
        """Send a whole answer."""

    @abstractmethod
    async def forward(self, status: int, headers: Headers, content: AsyncIterator[bytes]) -> None:
        """Send an answer whose content comes in parts."""

    def _begin_answer(self) -> None:
        self.started = True


@final
class ChunkedExchange(EncapsulatedExchange):
    """Chunked Oblivious HTTP: both directions flow."""

    HEADERS: ClassVar[Headers] = (("content-type", MEDIA_TYPE_CHUNKED_RESPONSE), ("incremental", "?1"), _NO_STORE)

    def __init__(self, exchange: Exchange, machine: ChunkedOhttpGateway) -> None:
        super().__init__(exchange)
        self._machine = machine
        self._bhttp = BhttpDecoder("request")
        self._events: list[BhttpEvent] = []
        self._opened = False
        self._ended = False

    @property
    def can_answer(self) -> bool:
        return self._opened and self._machine.state is not State.FAILED and not self.started

    async def receive_head(self) -> RequestHead:
        event = await self._next_event()
        if not isinstance(event, RequestHead):
            raise TruncatedError("the encapsulated request has no head")
        return event

    def content(self) -> bytes | AsyncIterator[bytes]:
        if not self._ended:
            return self
        events, self._events = self._events, []
        return b"".join([event.data for event in events if isinstance(event, ContentReceived)])

    async def __anext__(self) -> bytes:
        event = await self._next_event()
        if isinstance(event, ContentReceived):
            return event.data
        # What comes after the end of the message is padding; only the end of the encapsulation makes it whole.
        while await self._next_event() is not None:
            pass
        raise StopAsyncIteration

    async def answer(self, status: int, headers: Headers, content: bytes) -> None:
        self._begin_answer()
        response = Response(status, headers, content).encode(indeterminate=True)
        await self._exchange.answer(200, self.HEADERS, self._machine.begin() + self._machine.send_eof(response))

    async def forward(self, status: int, headers: Headers, content: AsyncIterator[bytes]) -> None:
        # The head goes with the first part, in one packet: nobody waits for a head.
        held = encode_response_head(status, headers)
        async for part in content:
            await self._send(held + encode_content(part))
            held = b""
        await self._send(held + encode_end(), last=True)

    async def _send(self, data: bytes, *, last: bool = False) -> None:
        begin = b""
        if not self.started:
            self._begin_answer()
            begin = self._machine.begin()
            await self._exchange.start(200, self.HEADERS)
        if last:
            await self._exchange.finish(begin + self._machine.send_eof(data))
        else:
            await self._exchange.write(begin + self._machine.send(data))

    async def _next_event(self) -> BhttpEvent | None:
        """Return the next event of the request, or None after its end."""
        while not self._events and not self._ended:
            part = await anext(self._exchange, None)
            if part is not None:
                self._decode(self._machine.receive_data(part))
            if self._exchange.received:
                self._decode(self._machine.receive_eof())
                self._events += self._bhttp.receive_eof()
                self._ended = True
        return self._events.pop(0) if self._events else None

    def _decode(self, events: list[ChunkedOhttpEvent]) -> None:
        for event in events:
            if isinstance(event, ChunkReceived):
                self._opened = True
                self._events += self._bhttp.receive_data(event.data)


@final
class OneShotExchange(EncapsulatedExchange):
    """Oblivious HTTP of RFC 9458: request and response whole."""

    HEADERS: ClassVar[Headers] = (("content-type", MEDIA_TYPE_RESPONSE), _NO_STORE)

    def __init__(self, exchange: Exchange, machine: OhttpGateway, *, max_response: int) -> None:
        super().__init__(exchange)
        self._machine = machine
        self._max_response = max_response
        self._content = b""

    @property
    def can_answer(self) -> bool:
        return self._machine.state is State.RESPONDING and not self.started

    async def receive_head(self) -> RequestHead:
        async for part in self._exchange:
            self._machine.receive_data(part)
        [event] = self._machine.receive_eof()
        assert isinstance(event, RequestReceived)  # noqa: S101  # the one event of a gateway's machine
        request = Request.decode(event.content)
        self._content = request.content
        return RequestHead(request.method, request.scheme, request.authority, request.path, request.headers)

    def content(self) -> bytes:
        return self._content

    async def __anext__(self) -> bytes:
        content, self._content = self._content, b""
        if not content:
            raise StopAsyncIteration
        return content

    async def answer(self, status: int, headers: Headers, content: bytes) -> None:
        response = Response(status, headers, content).encode()
        self._begin_answer()
        await self._exchange.answer(200, self.HEADERS, self._machine.encapsulate_response(response))

    async def forward(self, status: int, headers: Headers, content: AsyncIterator[bytes]) -> None:
        whole = bytearray()
        async for part in content:
            whole += part
            if len(whole) > self._max_response:
                raise LimitError(
                    "the answer is too large for one encapsulated response",
                    want=f"at most {self._max_response} bytes",
                    hint="Ask in chunks",
                )
        await self.answer(status, headers, bytes(whole))
