"""Oblivious HTTP (RFC 9458): one encapsulated request, one encapsulated response, each of them whole.

::

    OhttpClient   encapsulate(request) ──► receive_data, receive_eof ──► ResponseReceived
    OhttpGateway  receive_data, receive_eof ──► RequestReceived ──► encapsulate_response(response)

What is encapsulated is binary HTTP (`bhttp`), which nothing here reads. Messages that come in chunks are in
`chunked_ohttp`. Key configurations are in `key_config`, the gateway's keys in `gateway_keys`, replays in `replay`.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import ClassVar, Final, final

from attrs import field, frozen

from confsec.errors import LimitError
from confsec.protocol.aead import TAG_SIZE, Buffer
from confsec.protocol.encapsulation import ONE_SHOT, GatewayExchange, setup_client
from confsec.protocol.gateway_keys import GatewayKey, GatewayKeyring
from confsec.protocol.key_config import (
    MEDIA_TYPE_OHTTP_KEYS,
    KeyConfig,
    SymmetricSuite,
    choose_key_config,
    decode_key_configs,
    encode_key_configs,
)
from confsec.protocol.machine import Machine, RandBytes, State, Step, StepTable
from confsec.protocol.replay import ReplayWindow, verify_date

__all__ = [
    "CLIENT_STEPS",
    "GATEWAY_STEPS",
    "MAX_MESSAGE_SIZE",
    "MEDIA_TYPE_CHUNKED_REQUEST",
    "MEDIA_TYPE_CHUNKED_RESPONSE",
    "MEDIA_TYPE_OHTTP_KEYS",
    "MEDIA_TYPE_REQUEST",
    "MEDIA_TYPE_RESPONSE",
    "PROBLEM_DATE",
    "PROBLEM_OHTTP_KEY",
    "GatewayKey",
    "GatewayKeyring",
    "KeyConfig",
    "OhttpClient",
    "OhttpEvent",
    "OhttpGateway",
    "ReplayWindow",
    "RequestReceived",
    "ResponseReceived",
    "SymmetricSuite",
    "choose_key_config",
    "decode_key_configs",
    "encode_key_configs",
    "encode_problem",
    "verify_date",
]

CLIENT_STEPS: Final[StepTable] = {
    (State.READY, Step.ENCAPSULATE): State.AWAITING_RESPONSE,
    (State.AWAITING_RESPONSE, Step.RECEIVE): State.AWAITING_RESPONSE,
    (State.AWAITING_RESPONSE, Step.RECEIVE_EOF): State.DONE,
}
"""What may happen next at a client."""

GATEWAY_STEPS: Final[StepTable] = {
    (State.AWAITING_REQUEST, Step.RECEIVE): State.AWAITING_REQUEST,
    (State.AWAITING_REQUEST, Step.RECEIVE_EOF): State.RESPONDING,
    (State.RESPONDING, Step.ENCAPSULATE): State.DONE,
}
"""What may happen next at a gateway."""

MEDIA_TYPE_REQUEST: Final = "message/ohttp-req"
"""An encapsulated request (RFC 9458, section 9.2)."""

MEDIA_TYPE_RESPONSE: Final = "message/ohttp-res"
"""An encapsulated response (RFC 9458, section 9.3)."""

MEDIA_TYPE_CHUNKED_REQUEST: Final = "message/ohttp-chunked-req"
"""A chunked encapsulated request (draft-ietf-ohai-chunked-ohttp-08, section 3)."""

MEDIA_TYPE_CHUNKED_RESPONSE: Final = "message/ohttp-chunked-res"
"""A chunked encapsulated response (draft-ietf-ohai-chunked-ohttp-08, section 3)."""

PROBLEM_OHTTP_KEY: Final = "https://iana.org/assignments/http-problem-types#ohttp-key"
"""The problem type of a key configuration that is not acceptable (RFC 9458, section 5.3)."""

PROBLEM_DATE: Final = "https://iana.org/assignments/http-problem-types#date"
"""The problem type of a Date that is not acceptable (RFC 9458, section 6.5.2)."""

MAX_MESSAGE_SIZE: Final = 1 << 24
"""How large a message is that we take whole, unless told otherwise. What is larger belongs into chunks."""

_PROBLEM_TITLES: Final = {
    PROBLEM_OHTTP_KEY: "Oblivious HTTP key configuration not acceptable",
    PROBLEM_DATE: "Date Not Acceptable",
}


@frozen
class RequestReceived:
    """A request arrived whole and opened. With a replay window, it was not seen before."""

    content: bytes = field(repr=False)
    """The request in binary HTTP."""


@frozen
class ResponseReceived:
    """The response to our request arrived whole and opened."""

    content: bytes = field(repr=False)
    """The response in binary HTTP."""


OhttpEvent = RequestReceived | ResponseReceived
"""What a gateway or a client learns."""


def encode_problem(problem_type: str) -> bytes:
    """Return the body, of type application/problem+json, for one of the problem types of RFC 9458 (section 9).

    It says nothing but the registered title: outside an encapsulation everybody on the way can read it.
    """
    return json.dumps({"type": problem_type, "title": _PROBLEM_TITLES[problem_type]}).encode()


@final
class OhttpClient(Machine):
    """Send one request to a gateway and receive its response."""

    STEPS: ClassVar[StepTable] = CLIENT_STEPS

    def __init__(
        self,
        key_config: KeyConfig,
        *,
        suite: SymmetricSuite | None = None,
        randbytes: RandBytes,
        max_response: int = MAX_MESSAGE_SIZE,
    ) -> None:
        """Seal to `key_config`, with its first suite that we have unless `suite` is another of its suites.

        Responses are at most `max_response` bytes long. Raises `UnsupportedError` if no suite can be used,
        `LocalProtocolError` for a suite that is not offered, and `DecodeError` for a bad public key.
        """
        super().__init__(State.READY)
        self._header, self._keys = setup_client(key_config, suite, ONE_SHOT, randbytes)
        self._body = _Body(self._keys.response_nonce_size + max_response + TAG_SIZE)

    def encapsulate(self, request: Buffer) -> bytes:
        """Return the encapsulated request (section 4.3)."""
        with self._step(Step.ENCAPSULATE):
            return self._header + self._keys.request_sequence.seal(b"", request)

    def receive_data(self, part: Buffer) -> list[OhttpEvent]:
        """Take the next bytes of the encapsulated response. Returns no events. Raises `LimitError` for too many."""
        with self._step(Step.RECEIVE):
            self._body.receive_data(part)
            return []

    def receive_eof(self) -> list[OhttpEvent]:
        """End the encapsulated response and return `ResponseReceived` (section 4.4).

        Raises `DecryptionError`, also for a response that was cut.
        """
        with self._step(Step.RECEIVE_EOF):
            enc_response = self._body.receive_eof()
            size = self._keys.response_nonce_size
            sequence = self._keys.response_sequence(bytes(enc_response[:size]))
            return [ResponseReceived(sequence.open(b"", enc_response[size:]))]


@final
class OhttpGateway(Machine):
    """Receive one request from a client and send the response."""

    STEPS: ClassVar[StepTable] = GATEWAY_STEPS

    def __init__(
        self,
        keyring: GatewayKeyring,
        *,
        randbytes: RandBytes,
        now: datetime,
        replay: ReplayWindow | None = None,
        max_request: int = MAX_MESSAGE_SIZE,
    ) -> None:
        """Open with the keys that `keyring` has at `now`. Requests are at most `max_request` bytes long.

        Without `replay`, "the responsibility of the application" for replays is with the caller (section 6.5).
        """
        super().__init__(State.AWAITING_REQUEST)
        self._randbytes = randbytes
        self._exchange = GatewayExchange(keyring, ONE_SHOT, now=now, replay=replay)
        self._body = _Body(max_request + TAG_SIZE)

    def receive_data(self, part: Buffer) -> list[OhttpEvent]:
        """Take the next bytes of the encapsulated request. Returns no events.

        Raises `UnknownKeyError` as soon as the key is known not to be here; `ReplayError`, and `BusyError` for a full
        replay window; `DecryptionError` for a bad `enc`; and `LimitError` if the request is too long.
        """
        with self._step(Step.RECEIVE):
            self._body.receive_data(part if self._exchange.has_keys else self._exchange.receive_header(part))
            return []

    def receive_eof(self) -> list[OhttpEvent]:
        """End the encapsulated request and return `RequestReceived` (section 4.3).

        Raises `TruncatedError` if it was cut in its header, and `DecryptionError`.
        """
        with self._step(Step.RECEIVE_EOF):
            sequence = self._exchange.keys.request_sequence
            return [RequestReceived(sequence.open(b"", self._body.receive_eof()))]

    def encapsulate_response(self, response: Buffer) -> bytes:
        """Return the encapsulated response (section 4.4)."""
        with self._step(Step.ENCAPSULATE):
            keys = self._exchange.keys
            nonce = self._randbytes(keys.response_nonce_size)
            return nonce + keys.response_sequence(nonce).seal(b"", response)


@final
class _Body:
    """Collects a message that opens only when all of it is there."""

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._buffer = bytearray()

    def receive_data(self, part: Buffer) -> None:
        if len(self._buffer) + len(part) > self._max_size:
            raise LimitError("encapsulated message too long", want=f"at most {self._max_size} bytes")
        self._buffer += part

    def receive_eof(self) -> memoryview:
        return memoryview(self._buffer)
