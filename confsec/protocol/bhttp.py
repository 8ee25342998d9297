"""Binary HTTP messages (RFC 9292): requests and responses as values, and their encodings.

`Request` and `Response` are whole messages. For content that is sent while it is made there are functions that encode
one part after the other, of indeterminate length; for content that is read while it arrives there is `BhttpDecoder`.

Whatever is encoded here is checked by the same rules as what is decoded, so that nothing goes out that a strict peer
refuses; `LocalProtocolError` says that the caller made such a message. Peers may build requests in the manner of
HTTP/1.1, with a Host field and without authority; `Request.host` reads both.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Final, ParamSpec, Self, TypeVar, final

from attrs import field, frozen

from confsec.errors import DecodeError, LocalProtocolError
from confsec.protocol.bhttp_control import check_host, check_request_control, check_status
from confsec.protocol.bhttp_decoder import (
    DEFAULT_LIMITS,
    STREAM_LIMITS,
    BhttpDecoder,
    BhttpEvent,
    BhttpKind,
    BhttpLimits,
    ContentReceived,
    InformationalReceived,
    MessageFinished,
    RequestHead,
    ResponseHead,
)
from confsec.protocol.bhttp_fields import Fields, encode_lines, strip_connection_fields
from confsec.protocol.wire import encode_varint

__all__ = [
    "BHTTP_MEDIA_TYPE",
    "DEFAULT_LIMITS",
    "STREAM_LIMITS",
    "BhttpDecoder",
    "BhttpEvent",
    "BhttpKind",
    "BhttpLimits",
    "ContentReceived",
    "Fields",
    "InformationalReceived",
    "InformationalResponse",
    "MessageFinished",
    "Request",
    "RequestHead",
    "Response",
    "ResponseHead",
    "encode_content",
    "encode_end",
    "encode_informational",
    "encode_request_head",
    "encode_response_head",
    "strip_connection_fields",
]

BHTTP_MEDIA_TYPE: Final = "message/bhttp"
"""The media type of one message (RFC 9292, section 7)."""

_P = ParamSpec("_P")
_E = TypeVar("_E")


def _encoder(encode: Callable[_P, bytes]) -> Callable[_P, bytes]:
    """Let `encode` raise `LocalProtocolError` where the checks raise `DecodeError`: here the message is our own."""

    @wraps(encode)
    def checked(*args: _P.args, **kwargs: _P.kwargs) -> bytes:
        try:
            return encode(*args, **kwargs)
        except DecodeError as exc:
            raise LocalProtocolError(exc.what, got=exc.got, want=exc.want, section=exc.section) from exc

    return checked


@final
@frozen
class InformationalResponse:
    """A response that comes before the final one, such as 103 Early Hints (RFC 9292, section 3.5.1)."""

    status: int
    """100 to 199."""
    headers: Fields = field(default=(), repr=False)


@final
@frozen
class Request:
    """A whole request. Names in `headers` and `trailers` are lower-case, values latin-1 text."""

    method: str
    scheme: str
    """Empty for CONNECT."""
    authority: str
    """Where the request goes, as HTTP/2 has it: put it here rather than into a Host field."""
    path: str = field(repr=False)
    """Path and query. Empty for CONNECT."""
    headers: Fields = field(default=(), repr=False)
    content: bytes = field(default=b"", repr=False)
    trailers: Fields = field(default=(), repr=False)

    @property
    def host(self) -> str:
        """The authority that the request names, in control data or in its Host field; empty if in neither."""
        return self.authority or next((value for name, value in self.headers if name == "host"), "")

    @classmethod
    def decode(cls, data: bytes, *, limits: BhttpLimits = DEFAULT_LIMITS) -> Self:
        """Decode a request of known or indeterminate length.

        Raises `DecodeError` for an invalid message, among them `TruncatedError` and `LimitError`.
        """
        events = _decode_events("request", data, limits)
        [head] = _events_of(RequestHead, events)
        content, trailers = _content_and_trailers(events)
        return cls(head.method, head.scheme, head.authority, head.path, head.headers, content, trailers)

    @_encoder
    def encode(self, *, padding: int = 0, indeterminate: bool = False, truncate: bool = False) -> bytes:
        """Encode the request, followed by `padding` zero bytes.

        With `truncate`, empty parts at the end are left out (section 3.8). Raises `LocalProtocolError` for what no
        message may contain.
        """
        return b"".join(
            (
                b"\2" if indeterminate else b"\0",
                _encode_request_control(self),
                _encode_body(self, indeterminate=indeterminate, truncate=truncate),
                bytes(padding),
            )
        )


@final
@frozen
class Response:
    """A whole response. Names in `headers` and `trailers` are lower-case, values latin-1 text."""

    status: int
    """200 to 599."""
    headers: Fields = field(default=(), repr=False)
    content: bytes = field(default=b"", repr=False)
    trailers: Fields = field(default=(), repr=False)
    informational: tuple[InformationalResponse, ...] = ()
    """What came before the final response, in order."""

    @classmethod
    def decode(cls, data: bytes, *, limits: BhttpLimits = DEFAULT_LIMITS) -> Self:
        """Decode a response of known or indeterminate length.

        Raises `DecodeError` for an invalid message, among them `TruncatedError` and `LimitError`.
        """
        events = _decode_events("response", data, limits)
        [head] = _events_of(ResponseHead, events)
        content, trailers = _content_and_trailers(events)
        informational = tuple(
            InformationalResponse(event.status, event.headers) for event in _events_of(InformationalReceived, events)
        )
        return cls(head.status, head.headers, content, trailers, informational)

    @_encoder
    def encode(self, *, padding: int = 0, indeterminate: bool = False, truncate: bool = False) -> bytes:
        """Encode the response, followed by `padding` zero bytes.

        With `truncate`, empty parts at the end are left out (section 3.8). Raises `LocalProtocolError` for what no
        message may contain.
        """
        return b"".join(
            (
                b"\3" if indeterminate else b"\1",
                *(_encode_informational(response, indeterminate=indeterminate) for response in self.informational),
                _encode_status(self.status, informational=False),
                _encode_body(self, indeterminate=indeterminate, truncate=truncate),
                bytes(padding),
            )
        )


@_encoder
def encode_request_head(head: RequestHead | Request) -> bytes:
    """Begin a request of indeterminate length: everything before its content. Raises `LocalProtocolError`."""
    return b"\2" + _encode_request_control(head) + _encode_section(head.headers, indeterminate=True)


@_encoder
def encode_informational(status: int, headers: Fields = (), *, first: bool = True) -> bytes:
    """Encode an informational response for a response of indeterminate length. Raises `LocalProtocolError`.

    The `first` of them begins the message.
    """
    response = InformationalResponse(status, headers)
    return (b"\3" if first else b"") + _encode_informational(response, indeterminate=True)


@_encoder
def encode_response_head(status: int, headers: Fields = (), *, first: bool = True) -> bytes:
    """Encode what comes before the content of a response of indeterminate length. Raises `LocalProtocolError`.

    It begins the message, unless an informational response did: then it is not the `first`.
    """
    begin = b"\3" if first else b""
    return begin + _encode_status(status, informational=False) + _encode_section(headers, indeterminate=True)


def encode_content(data: bytes) -> bytes:
    """Encode a piece of the content of a message of indeterminate length. No data is nothing to send."""
    # An empty chunk would be the terminator.
    return encode_varint(len(data)) + data if data else b""


@_encoder
def encode_end(trailers: Fields = (), *, padding: int = 0) -> bytes:
    """End a message of indeterminate length, and add `padding` zero bytes. Raises `LocalProtocolError`."""
    return b"\0" + _encode_section(trailers, indeterminate=True, trailers=True) + bytes(padding)


def _decode_events(kind: BhttpKind, data: bytes, limits: BhttpLimits) -> list[BhttpEvent]:
    decoder = BhttpDecoder(kind, limits=limits)
    return decoder.receive_data(data) + decoder.receive_eof()


def _events_of(kind: type[_E], events: list[BhttpEvent]) -> list[_E]:
    return [event for event in events if isinstance(event, kind)]


def _content_and_trailers(events: list[BhttpEvent]) -> tuple[bytes, Fields]:
    [finished] = _events_of(MessageFinished, events)
    return b"".join(event.data for event in _events_of(ContentReceived, events)), finished.trailers


def _encode_request_control(head: RequestHead | Request) -> bytes:
    check_request_control(head.method, head.scheme, head.authority, head.path)
    check_host(head.scheme, head.authority, head.headers)
    parts = (head.method, head.scheme, head.authority, head.path)
    return b"".join(encode_varint(len(part)) + part.encode("ascii") for part in parts)


def _encode_status(status: int, *, informational: bool) -> bytes:
    check_status(status, informational=informational)
    return encode_varint(status)


def _encode_informational(response: InformationalResponse, *, indeterminate: bool) -> bytes:
    section = _encode_section(response.headers, indeterminate=indeterminate)
    return _encode_status(response.status, informational=True) + section


def _encode_section(fields: Fields, *, indeterminate: bool, trailers: bool = False) -> bytes:
    lines = encode_lines(fields, trailers=trailers)
    return lines + b"\0" if indeterminate else encode_varint(len(lines)) + lines


def _encode_body(message: Request | Response, *, indeterminate: bool, truncate: bool) -> bytes:
    content = message.content
    parts = (
        _encode_section(message.headers, indeterminate=indeterminate),
        encode_varint(len(content)),
        content,
        b"\0" if indeterminate and content else b"",
        _encode_section(message.trailers, indeterminate=indeterminate, trailers=True),
    )
    if not truncate or message.trailers:
        return b"".join(parts)
    return b"".join(parts[:4] if content else parts[:1] if message.headers else ())
