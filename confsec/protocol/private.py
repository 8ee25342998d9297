"""One private request: an HTTP request, sealed to candidate nodes, inside Oblivious HTTP.

Layers, from the inside: binary HTTP of what the user asks; the sealed request (docs/spec/sealed-request.md); binary
HTTP to the router; chunked OHTTP to the gateway. The answer comes back through the same layers, and an event leaves
this machine only after every layer has accepted the bytes below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final, assert_never, final

from attrs import field, frozen

from confsec.protocol.appraisal import TrustedKeyConfig
from confsec.protocol.bhttp import Request
from confsec.protocol.bhttp_decoder import (
    STREAM_LIMITS,
    BhttpDecoder,
    BhttpEvent,
    ContentReceived,
    InformationalReceived,
    MessageFinished,
    RequestHead,
    ResponseHead,
)
from confsec.protocol.bhttp_fields import Fields
from confsec.protocol.directory import ServiceDirectory
from confsec.protocol.key_config import choose_key_config
from confsec.protocol.machine import Machine, RandBytes, State, Step, StepTable
from confsec.protocol.oblivious import ObliviousExchange
from confsec.protocol.problem import MAX_PROBLEM, Problem
from confsec.protocol.sealed import (
    MEDIA_TYPE_SEALED_REQUEST,
    MEDIA_TYPE_SEALED_RESPONSE,
    SealedClient,
    SealedContentReceived,
    SealedEvent,
    SealedResponseStarted,
)

__all__ = [
    "INNER_AUTHORITY",
    "INNER_HEADERS",
    "PRIVATE_PATH",
    "PrivateContentReceived",
    "PrivateEvent",
    "PrivateExchange",
    "PrivateResponseFinished",
    "PrivateResponseStarted",
]

PRIVATE_PATH: Final = "/v1/private"
"""Where the router takes sealed requests."""

INNER_AUTHORITY: Final = "engine.confsec.invalid"
"""The authority inside every sealed request: the engine has no name of its own, and nobody resolves this one."""

INNER_HEADERS: Final = frozenset({"accept", "anthropic-beta", "anthropic-version", "content-type", "openai-beta"})
"""The request fields that reach the engine. Account keys, cookies and user agents tell who asks: they stay behind."""


@final
@frozen
class PrivateResponseStarted:
    """A candidate node answered: it opened the request and knows these very bytes."""

    node_id: bytes
    """Which of the candidates."""

    status: int
    """The engine's status, 200 to 599."""

    headers: Fields = field(repr=False)
    """The engine's header fields."""


@final
@frozen
class PrivateContentReceived:
    """A part of the answer."""

    data: bytes = field(repr=False)
    """At least one byte."""


@final
@frozen
class PrivateResponseFinished:
    """The answer is whole."""

    trailers: Fields = field(repr=False)
    """The trailer fields."""


PrivateEvent = PrivateResponseStarted | PrivateContentReceived | PrivateResponseFinished
"""What a client learns of an answer, in this order; content in any number of parts."""


@final
class PrivateExchange(Machine):
    """One private request and its answer."""

    STEPS: ClassVar[StepTable] = {
        (State.READY, Step.ENCAPSULATE): State.AWAITING_RESPONSE,
        (State.AWAITING_RESPONSE, Step.RECEIVE_HEAD): State.RECEIVING,
        (State.RECEIVING, Step.RECEIVE): State.RECEIVING,
        (State.RECEIVING, Step.RECEIVE_EOF): State.DONE,
    }

    def __init__(
        self,
        directory: ServiceDirectory,
        candidates: Sequence[TrustedKeyConfig],
        *,
        randbytes: RandBytes,
        authorization: str = "",
    ) -> None:
        """Prepare one request to `candidates`, 1 to 16 nodes that were appraised.

        `authorization` is the Authorization field with the token that pays for it, or nothing where none is taken. A
        token is sent with this request and no other.
        """
        super().__init__(State.READY)
        self._directory = directory
        self._sealed = SealedClient([candidate.key_config for candidate in candidates], randbytes=randbytes)
        self._oblivious = ObliviousExchange(*choose_key_config(directory.gateway_key_configs), randbytes=randbytes)
        self._authorization = authorization
        self._answer: _SealedAnswer | _ProblemAnswer | None = None

    def encapsulate(self, request: Request) -> bytes:
        """Return the body of the POST to the relay. Only `INNER_HEADERS` of the request's fields go along."""
        with self._step(Step.ENCAPSULATE):
            # 1. What the engine gets, and nothing that names the user.
            headers = tuple((name, value) for name, value in request.headers if name in INNER_HEADERS)
            inner = Request(
                request.method, "https", INNER_AUTHORITY, request.path, headers=headers, content=request.content
            )
            # 2. Sealed to the candidates: only they can read it.
            sealed_request = self._sealed.seal(inner.encode())
            # 3. Paid for: the router spends the token for this request's header.
            payment = (("authorization", self._authorization),) if self._authorization else ()
            # 4. To the router, through the gateway, which does not see where it comes from.
            return self._oblivious.encapsulate(
                Request(
                    "POST",
                    self._directory.router_scheme,
                    self._directory.router_authority,
                    PRIVATE_PATH,
                    headers=(("content-type", MEDIA_TYPE_SEALED_REQUEST), *payment),
                    content=sealed_request,
                )
            )

    def receive_head(self, status: int, content_type: str) -> None:
        """Take status and content type of the relay's answer. Raises `RemoteProtocolError`."""
        with self._step(Step.RECEIVE_HEAD):
            self._oblivious.receive_head(status, content_type)

    def receive_data(self, part: bytes) -> list[PrivateEvent]:
        """Take the next bytes of the relay's answer. Raises `RemoteProtocolError` and its subclasses."""
        with self._step(Step.RECEIVE):
            return self._open(self._oblivious.receive_data(part))

    def receive_eof(self) -> list[PrivateEvent]:
        """End the relay's answer. Raises `TruncatedError` for an answer that is cut, and the error of a refusal."""
        with self._step(Step.RECEIVE_EOF):
            return self._open(self._oblivious.receive_eof())

    def _open(self, events: list[BhttpEvent]) -> list[PrivateEvent]:
        opened: list[PrivateEvent] = []
        for event in events:
            match event:
                case ResponseHead():
                    self._answer = self._choose_answer(event)
                case ContentReceived():
                    opened += self._begun().receive_data(event.data)
                case MessageFinished():
                    opened += self._begun().receive_eof()
                case InformationalReceived() | RequestHead():
                    pass  # "103 Early Hints" and the like say nothing about the answer
                case _:  # pragma: no cover
                    assert_never(event)
        return opened

    def _choose_answer(self, head: ResponseHead) -> _SealedAnswer | _ProblemAnswer:
        media_type = next((value for name, value in head.headers if name == "content-type"), "")
        if head.status == 200 and media_type == MEDIA_TYPE_SEALED_RESPONSE:
            return _SealedAnswer(self._sealed)
        return _ProblemAnswer(head.status)

    def _begun(self) -> _SealedAnswer | _ProblemAnswer:
        assert self._answer is not None  # noqa: S101 - the decoder gives the head before all else
        return self._answer


@final
class _SealedAnswer:
    """An answer that a node sealed."""

    def __init__(self, sealed: SealedClient) -> None:
        self._sealed = sealed
        self._bhttp = BhttpDecoder("response", limits=STREAM_LIMITS)
        self._node_id = b""

    def receive_data(self, part: bytes) -> list[PrivateEvent]:
        return self._decode(self._sealed.receive_data(part))

    def receive_eof(self) -> list[PrivateEvent]:
        return self._decode(self._sealed.receive_eof()) + self._translate(self._bhttp.receive_eof())

    def _decode(self, events: list[SealedEvent]) -> list[PrivateEvent]:
        decoded: list[PrivateEvent] = []
        for event in events:
            if isinstance(event, SealedResponseStarted):
                self._node_id = event.node_id
            elif isinstance(event, SealedContentReceived):
                decoded += self._translate(self._bhttp.receive_data(event.data))
        return decoded

    def _translate(self, events: list[BhttpEvent]) -> list[PrivateEvent]:
        translated: list[PrivateEvent] = []
        for event in events:
            match event:
                case ResponseHead():
                    translated.append(PrivateResponseStarted(self._node_id, event.status, event.headers))
                case ContentReceived():
                    translated.append(PrivateContentReceived(event.data))
                case MessageFinished():
                    translated.append(PrivateResponseFinished(event.trailers))
                case InformationalReceived() | RequestHead():
                    pass
                case _:  # pragma: no cover
                    assert_never(event)
        return translated


@final
class _ProblemAnswer:
    """A refusal inside the encapsulation: by the gateway, the router, or a node before it opened the request."""

    def __init__(self, status: int) -> None:
        self._status = status
        self._body = bytearray()

    def receive_data(self, part: bytes) -> list[PrivateEvent]:
        self._body += part[: MAX_PROBLEM - len(self._body)]
        return []

    def receive_eof(self) -> list[PrivateEvent]:
        raise Problem.decode(bytes(self._body), status=self._status).to_error("the service")
