"""How a client reaches the issuer: through the relay, and a gateway of the issuer's own.

So the issuer sees an account and no address, and the router's gateway sees neither.
"""

from __future__ import annotations

from typing import Final, final

from confsec.backends.api import HttpRequest, Transport, header
from confsec.errors import ConfigError, LimitError
from confsec.protocol.bhttp import Request, Response
from confsec.protocol.bhttp_decoder import BhttpEvent, ContentReceived, ResponseHead
from confsec.protocol.directory import IssuerEntry
from confsec.protocol.key_config import choose_key_config
from confsec.protocol.machine import RandBytes
from confsec.protocol.oblivious import OUTER_HEADERS, ObliviousExchange
from confsec.protocol.problem import Problem
from confsec.protocol.token_batch import MEDIA_TYPE_BATCH_REQUEST

__all__ = ["MAX_ISSUER_ANSWER", "TOKEN_REQUEST_PATH", "IssuerClient"]

MAX_ISSUER_ANSWER: Final = 1 << 20
"""An answer of the issuer has at most 1 MiB: a full batch is a fifteenth of that."""

TOKEN_REQUEST_PATH: Final = "/v1/token-request"
"""Where the issuer takes requests."""


@final
class IssuerClient:
    """One account with one issuer. Calling it sends a request: it is what a wallet needs to ask."""

    def __init__(self, issuer: IssuerEntry, account: str, transport: Transport, *, randbytes: RandBytes) -> None:
        """Ask `issuer` over `transport`, at the cost of `account`, an API key."""
        self._issuer = issuer
        self._account = account
        self._transport = transport
        self._randbytes = randbytes

    async def __call__(self, request_id: str, request: bytes) -> bytes:
        """Bring a batch request to the issuer and return the batch response.

        Raises what `Transport.stream` and the layers of Oblivious HTTP raise, and the error of a refusal: `QuotaError`,
        `AccountError`, `BusyError` and others that the issuer names.
        """
        if not self._account:
            raise ConfigError("the wallet needs tokens, and has no account", hint="Give it an API key")
        key_config, suite = choose_key_config(self._issuer.gateway_key_configs)
        exchange = ObliviousExchange(key_config, suite, randbytes=self._randbytes)
        response = await self._send(exchange, exchange.encapsulate(self._inner(request_id, request)))
        if response.status != 200:
            raise Problem.decode(response.content, status=response.status).to_error("the issuer")
        return response.content

    def _inner(self, request_id: str, request: bytes) -> Request:
        headers = (
            ("authorization", f"Bearer {self._account}"),
            ("confsec-request-id", request_id),
            ("content-type", MEDIA_TYPE_BATCH_REQUEST),
        )
        issuer = self._issuer
        return Request("POST", issuer.scheme, issuer.authority, TOKEN_REQUEST_PATH, headers=headers, content=request)

    async def _send(self, exchange: ObliviousExchange, body: bytes) -> Response:
        """Send the encapsulated request and gather the response, which is small."""
        events: list[BhttpEvent] = []
        outer = HttpRequest(method="POST", url=self._issuer.relay_url, headers=OUTER_HEADERS, content=body)
        async with self._transport.stream(outer) as response:
            exchange.receive_head(response.status, header(response.headers, "content-type") or "")
            size = 0
            async for part in response.content:
                size += len(part)
                if size > MAX_ISSUER_ANSWER:
                    raise LimitError("the issuer's answer is too long", want=f"at most {MAX_ISSUER_ANSWER} bytes")
                events += exchange.receive_data(part)
            events += exchange.receive_eof()
        (head,) = [event for event in events if isinstance(event, ResponseHead)]
        content = b"".join(event.data for event in events if isinstance(event, ContentReceived))
        return Response(head.status, head.headers, content=content)
