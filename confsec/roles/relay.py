"""The Oblivious Relay (RFC 9458, section 4; chunked OHTTP, section 3): it sees addresses, and no content.

It passes encapsulated requests on to the gateways on its list, part by part as they come, over connections that all
clients share. What tells clients apart stays behind: of a request only the media type and `Incremental` go on, and
nothing is added (RFC 9458, section 6.2: no `Forwarded`, no `Via`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import ClassVar, Final

from attrs import frozen

from confsec.backends.api import Headers, HttpRequest, Transport, header
from confsec.errors import ConfigError
from confsec.protocol.ohttp import MEDIA_TYPE_CHUNKED_REQUEST, MEDIA_TYPE_REQUEST
from confsec.roles.asgi import Exchange, Role, UnsupportedMediaTypeError, media_type
from confsec.roles.config import setting, url
from confsec.roles.hop import HopConfig, content_length, keep_fields, make_transport, open_hop

__all__ = ["Relay", "RelayConfig"]

_RESPONSE_FIELDS: Final = frozenset({"cache-control", "content-type", "incremental", "retry-after"})
_MEDIA_TYPES: Final = frozenset({MEDIA_TYPE_REQUEST, MEDIA_TYPE_CHUNKED_REQUEST})


def _check_gateway(value: str) -> None:
    path, gateway = _split(value)
    if not path.startswith("/"):
        raise ValueError(f"must be URL or /PATH=URL, is {value!r}")
    url(gateway)


def _split(value: str) -> tuple[str, str]:
    """Split `/path=URL`. A URL alone is for the path `/`."""
    path, separator, gateway = value.partition("=")
    return (path, gateway) if separator else ("/", value)


@frozen(kw_only=True)
class RelayConfig(HopConfig):
    """The settings of a relay."""

    gateways: tuple[str, ...] = setting(
        help="Where encapsulated requests go: a gateway's URL, or /PATH=URL for one of several.", check=_check_gateway
    )


class Relay(Role):
    """Forwards to an allow-list of gateways."""

    name: ClassVar[str] = "relay"
    explains_errors: ClassVar[bool] = False

    def __init__(self, config: RelayConfig, transport: Transport | None = None) -> None:
        """Relay to `config.gateways` over `transport`. Raises `ConfigError` for two gateways at one path."""
        gateways = dict(map(_split, config.gateways))
        if not gateways or len(gateways) != len(config.gateways):
            raise ConfigError("the key gateways needs gateways, each at a path of its own")
        self._transport = transport or make_transport(config)
        super().__init__(config, {("POST", path): partial(self._relay, url) for path, url in gateways.items()})

    @asynccontextmanager
    async def _lifespan(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            await self._transport.aclose()

    async def _relay(self, gateway: str, exchange: Exchange) -> None:
        request = HttpRequest(method="POST", url=gateway, headers=_request_fields(exchange.headers), content=exchange)
        async with open_hop(self._transport, request) as response:
            await exchange.forward(response, keep_fields(response.headers, _RESPONSE_FIELDS))


def _request_fields(headers: Headers) -> Headers:
    """Write anew what goes on: parameters or spelling of the client's own fields could tell it from others."""
    kind = media_type(headers)
    if kind not in _MEDIA_TYPES:
        raise UnsupportedMediaTypeError
    incremental: Headers = (("incremental", "?1"),) if header(headers, "incremental") == "?1" else ()
    return (("content-type", kind), *incremental, *content_length(headers))
