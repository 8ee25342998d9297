"""Binary HTTP: encoding and decoding a request, known length, and content that is decoded while it arrives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from benchmarks.measure import Plan, measure, spread_of, timed
from benchmarks.peers import Peers
from benchmarks.report import Report, Row, speed_up
from confsec.protocol.bhttp import (
    STREAM_LIMITS,
    BhttpDecoder,
    ContentReceived,
    Request,
    encode_content,
    encode_end,
    encode_request_head,
)

__all__ = ["coding", "rows", "run", "streaming"]

SIZES: Final = (1 << 10, 1 << 16)

_HEADERS: Final = (("content-type", "application/json"), ("accept", "text/event-stream"))
_PIECE: Final = 1 << 14
_STREAM_PIECES: Final = 64


def run(plan: Plan, peers: Peers) -> Report:
    """Compare with peers, which code the same message."""
    return Report(
        name="bhttp",
        title="encode and decode a POST request",
        rows=(*(row for size in SIZES for row in rows(plan, peers, size=size)), _streaming_row(plan)),
        missing=peers.take_missing(),
    )


def rows(plan: Plan, peers: Peers, *, size: int = 1 << 10) -> list[Row]:
    """Measure a request with `size` bytes of content."""
    others = peers.contenders("bhttp", size=size)
    timings = measure({"ours": timed(coding(size)), **others}, plan)
    what = f"binary HTTP, {size >> 10} KiB of content"
    if not others:
        return [_alone(what, timings["ours"])]
    return [speed_up(what, timings, name) for name in others]


def coding(size: int) -> Callable[[], None]:
    """Return a request of ours, encoded and decoded."""
    request = Request("POST", "https", "example.com", "/v1/chat/completions", _HEADERS, b"a" * size)

    def work() -> None:
        assert len(Request.decode(request.encode()).content) == size

    return work


def streaming() -> None:
    """Encode a request of indeterminate length in 64 pieces of 16 KiB, and decode each as it comes."""
    decoder = BhttpDecoder("request", limits=STREAM_LIMITS)
    piece, received = b"a" * _PIECE, 0
    decoder.receive_data(encode_request_head(Request("POST", "https", "example.com", "/", _HEADERS)))
    for _ in range(_STREAM_PIECES):
        for event in decoder.receive_data(encode_content(piece)):
            assert isinstance(event, ContentReceived)
            received += len(event.data)
    decoder.receive_data(encode_end())
    decoder.receive_eof()
    assert received == _PIECE * _STREAM_PIECES


def _streaming_row(plan: Plan) -> Row:
    timings = measure({"ours": timed(streaming)}, plan)
    return _alone("1 MiB of indeterminate length, in pieces of 16 KiB", timings["ours"])


def _alone(what: str, seconds: Sequence[float]) -> Row:
    return Row(what=what, ours=spread_of(seconds).median, unit="s")
