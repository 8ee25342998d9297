"""One HTTP request inside Oblivious HTTP, as the client sees it: binary HTTP in chunked OHTTP, sent to a relay.

The relay's own answer comes first and is checked for what it says about the encapsulation (RFC 9458, section 5). What
the gateway encapsulated follows as the events of `bhttp_decoder`.
"""

from __future__ import annotations

import json
from typing import ClassVar, Final, final

from confsec.errors import BusyError, ConfsecError, PeerError, RemoteProtocolError, UnknownKeyError
from confsec.protocol.bhttp import Request
from confsec.protocol.bhttp_decoder import STREAM_LIMITS, BhttpDecoder, BhttpEvent
from confsec.protocol.chunked_ohttp import ChunkedOhttpClient, ChunkedOhttpEvent, ChunkReceived
from confsec.protocol.key_config import KeyConfig, SymmetricSuite
from confsec.protocol.machine import Machine, RandBytes, State, Step, StepTable
from confsec.protocol.ohttp import (
    MEDIA_TYPE_CHUNKED_REQUEST,
    MEDIA_TYPE_CHUNKED_RESPONSE,
    PROBLEM_OHTTP_KEY,
)
from confsec.protocol.problem import MAX_PROBLEM, PROBLEM_TYPE

__all__ = ["OUTER_HEADERS", "ObliviousExchange"]

OUTER_HEADERS: Final = (("content-type", MEDIA_TYPE_CHUNKED_REQUEST), ("incremental", "?1"))
"""The fields that go to the relay: the same for every request of every client."""

_BUSY_STATUSES: Final = frozenset({429, 503})
_MAX_STATUS: Final = 599


@final
class ObliviousExchange(Machine):
    """One request to a gateway and its answer."""

    STEPS: ClassVar[StepTable] = {
        (State.READY, Step.ENCAPSULATE): State.AWAITING_RESPONSE,
        (State.AWAITING_RESPONSE, Step.RECEIVE_HEAD): State.RECEIVING,
        (State.RECEIVING, Step.RECEIVE): State.RECEIVING,
        (State.RECEIVING, Step.RECEIVE_EOF): State.DONE,
    }

    def __init__(self, key_config: KeyConfig, suite: SymmetricSuite, *, randbytes: RandBytes) -> None:
        super().__init__(State.READY)
        self._ohttp = ChunkedOhttpClient(key_config, suite=suite, randbytes=randbytes)
        self._bhttp = BhttpDecoder("response", limits=STREAM_LIMITS)
        self._refusal: _Refusal | None = None

    def encapsulate(self, request: Request) -> bytes:
        """Return the whole body of the POST to the relay."""
        with self._step(Step.ENCAPSULATE):
            return self._ohttp.begin() + self._ohttp.send_eof(request.encode())

    def receive_head(self, status: int, content_type: str) -> None:
        """Take status and content type of the relay's answer. Raises `RemoteProtocolError` for what is no OHTTP."""
        with self._step(Step.RECEIVE_HEAD):
            media_type = content_type.partition(";")[0].strip().lower()
            if status != 200:
                self._refusal = _Refusal(status, media_type)
            elif media_type != MEDIA_TYPE_CHUNKED_RESPONSE:
                raise RemoteProtocolError(
                    "the relay's answer is not an encapsulated response",
                    got="another media type",
                    want=MEDIA_TYPE_CHUNKED_RESPONSE,
                    section="chunked OHTTP, section 3",
                )

    def receive_data(self, part: bytes) -> list[BhttpEvent]:
        """Take the next bytes of the relay's answer. Raises `RemoteProtocolError` and its subclasses."""
        with self._step(Step.RECEIVE):
            if self._refusal is not None:
                self._refusal.receive_data(part)
                return []
            return self._decode(self._ohttp.receive_data(part))

    def receive_eof(self) -> list[BhttpEvent]:
        """End the relay's answer. Raises `TruncatedError` if the final chunk is missing, and the relay's refusal."""
        with self._step(Step.RECEIVE_EOF):
            if self._refusal is not None:
                raise self._refusal.to_error()
            return self._decode(self._ohttp.receive_eof()) + self._bhttp.receive_eof()

    def _decode(self, events: list[ChunkedOhttpEvent]) -> list[BhttpEvent]:
        decoded: list[BhttpEvent] = []
        for event in events:
            if isinstance(event, ChunkReceived):
                decoded += self._bhttp.receive_data(event.data)
        return decoded


@final
class _Refusal:
    """An answer outside the encapsulation. Relay or gateway may have written it, so it is a hint and no more."""

    def __init__(self, status: int, media_type: str) -> None:
        self._status = status
        self._media_type = media_type
        self._body = bytearray()

    def receive_data(self, part: bytes) -> None:
        self._body += part[: MAX_PROBLEM - len(self._body)]

    def to_error(self) -> ConfsecError:
        if self._problem_type() == PROBLEM_OHTTP_KEY:
            return UnknownKeyError(
                "the gateway does not have the key that this was sealed to",
                section="RFC 9458, section 5.3",
                hint="Fetch the newest directory",
            )
        if self._status in _BUSY_STATUSES:
            return BusyError("the relay or the gateway is busy", got=f"status {self._status}", hint="Try again later")
        return PeerError(
            "the relay or the gateway refused the encapsulated request",
            status=self._status,
            section="RFC 9458, section 5",
        )

    def _problem_type(self) -> str:
        if self._media_type != PROBLEM_TYPE:
            return ""
        try:
            value = json.loads(self._body)
        except (ValueError, RecursionError):
            return ""
        return str(value.get("type", "")) if isinstance(value, dict) else ""
