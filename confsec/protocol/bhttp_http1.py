"""Read a whole HTTP/1.1 message (`message/http`, RFC 9112) into the value that binary HTTP encodes.

What belongs to the connection stays behind: its fields, chunk borders and chunk extensions, the reason phrase (RFC
9292, section 6). As in that RFC's examples a request keeps its Host field; only a target in absolute form gives an
authority. The control data is checked when the value is encoded. Of the transfer codings `chunked` is undone, and
content in another one below it comes out as it went in.
"""

from __future__ import annotations

import re
from typing import Final

from confsec.errors import DecodeError, TruncatedError, UnsupportedError
from confsec.protocol.bhttp import InformationalResponse, Request, Response
from confsec.protocol.bhttp_fields import Fields, decode_field, strip_connection_fields

__all__ = ["request_from_http1", "response_from_http1"]

_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e]+) HTTP/1\.1")
_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) [\t\x20-\x7e\x80-\xff]*")
_ABSOLUTE_FORM = re.compile(r"([A-Za-z][A-Za-z0-9+\-.]*)://([^/?#]*)(.*)")
# Sixteen digits hold any size that there is; more of them would only cost time.
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})[\t ]*(?:;[\t\x20-\x7e\x80-\xff]*)?")
_CONTENT_LENGTH = re.compile(r"[0-9]{1,16}")

_NO_CONTENT: Final = frozenset({204, 304})
"""Final responses that end with their headers (RFC 9112, section 6.3)."""


def request_from_http1(data: bytes, *, scheme: str = "https") -> Request:
    """Read a request. An origin-form target gets the `scheme` of the connection that it came by.

    Raises `DecodeError` for what is no HTTP/1.1 request, and `UnsupportedError` for CONNECT, which acts on a
    connection.
    """
    reader = _Http1Reader(data)
    method, target = (part.decode("ascii") for part in reader.start(_REQUEST_LINE))
    if method == "CONNECT":
        raise UnsupportedError("CONNECT has no meaning outside a connection", section="RFC 9292, section 6")
    authority = ""
    if absolute := _ABSOLUTE_FORM.fullmatch(target):
        scheme, authority, target = absolute.groups()
        target = target if target.startswith("/") else "/" + target
    headers = reader.fields()
    content, trailers = reader.content(headers, until_end=False)
    reader.finish()
    return Request(method, scheme, authority, target, strip_connection_fields(headers), content, trailers)


def response_from_http1(data: bytes) -> Response:
    """Read a response to a method other than HEAD, with the informational ones before it.

    Raises `DecodeError` for what is no HTTP/1.1 response.
    """
    reader = _Http1Reader(data)
    informational: list[InformationalResponse] = []
    status, headers = reader.response_head()
    while status < 200:
        informational.append(InformationalResponse(status, strip_connection_fields(headers)))
        status, headers = reader.response_head()
    content, trailers = b"", Fields()
    if status not in _NO_CONTENT:
        content, trailers = reader.content(headers, until_end=True)
    reader.finish()
    return Response(status, strip_connection_fields(headers), content, trailers, tuple(informational))


class _Http1Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def start(self, pattern: re.Pattern[bytes]) -> tuple[bytes, ...]:
        match = pattern.fullmatch(self._line())
        if not match:
            raise DecodeError("this is no start line of HTTP/1.1", section="RFC 9112, section 2.1")
        return match.groups()

    def response_head(self) -> tuple[int, Fields]:
        [status] = self.start(_STATUS_LINE)
        return int(status), self.fields()

    def fields(self) -> Fields:
        fields = []
        while line := self._line():
            # A line that continues the one before it, as HTTP/1.0 had them, begins with a space: no name does.
            name, colon, value = line.partition(b":")
            if not colon:
                raise DecodeError("a field line has no colon", section="RFC 9112, section 5")
            fields.append(decode_field(name, value.strip(b" \t")))
        return tuple(fields)

    def content(self, headers: Fields, *, until_end: bool) -> tuple[bytes, Fields]:
        """Read content and trailers, framed as RFC 9112, section 6.3, says."""
        codings = [coding for name, value in headers if name == "transfer-encoding" for coding in value.split(",")]
        lengths = {value for name, value in headers if name == "content-length"}
        if codings:
            # Two ways to tell the length are how requests are smuggled.
            if lengths or codings[-1].strip(" \t").lower() != "chunked":
                raise DecodeError("content is not framed by chunks alone", section="RFC 9112, section 6.3")
            return self._chunks(), self.fields()
        if lengths:
            return self._take(self._content_length(lengths)), ()
        return self._take(len(self._data) - self._position if until_end else 0), ()

    def finish(self) -> None:
        """Refuse anything that is left over."""
        if self._position != len(self._data):
            raise DecodeError("bytes follow the message", got=len(self._data) - self._position)

    def _content_length(self, lengths: set[str]) -> int:
        [length, *others] = lengths
        if others or not _CONTENT_LENGTH.fullmatch(length):
            raise DecodeError("Content-Length is not one number", section="RFC 9110, section 8.6")
        return int(length)

    def _chunks(self) -> bytes:
        chunks = []
        while size := self._chunk_size():
            chunks.append(self._take(size))
            if self._line():
                raise DecodeError("a chunk is longer than its size", section="RFC 9112, section 7.1")
        return b"".join(chunks)

    def _chunk_size(self) -> int:
        match = _CHUNK_LINE.fullmatch(self._line())
        if not match:
            raise DecodeError("a chunk does not begin with its size", section="RFC 9112, section 7.1")
        return int(match[1], 16)

    def _line(self) -> bytes:
        end = self._data.find(b"\n", self._position)
        if end < 0:
            raise TruncatedError("an HTTP/1.1 message ends early")
        line = self._data[self._position : end]
        self._position = end + 1
        # "A recipient MAY recognize a single LF as a line terminator" (RFC 9112, section 2.2).
        return line.removesuffix(b"\r")

    def _take(self, size: int) -> bytes:
        part = self._data[self._position : self._position + size]
        if len(part) < size:
            raise TruncatedError("an HTTP/1.1 message ends early", got=f"{len(part)} bytes", want=f"{size} bytes")
        self._position += size
        return part
