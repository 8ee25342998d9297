"""A local OpenAI-compatible server for programs that know no more than a base URL: other languages, editors, curl.

It listens on this machine only, gives every request to a `Client`, and streams the answer back unchanged. Whoever can
reach it can use the service in the name of its user, so it refuses what a web page in a browser could send: requests
for another host (DNS rebinding) and requests of another origin. It keeps no request and no answer. It remembers the
last Proofs, which hold neither: each answer names its own in `confsec-proof`, and `GET /confsec/proofs/{name}` has it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import ClassVar, Final, final

import anyio
from attrs import frozen

from confsec.backends.api import Headers, HttpRequest, header
from confsec.backends.engine_requests import engine_request, engine_response_headers
from confsec.client import MAX_REQUEST, Client, private_info
from confsec.errors import (
    BusyError,
    ConfsecError,
    LimitError,
    NotAllowedError,
    PeerError,
    RemoteProtocolError,
)
from confsec.privacy_hints import IDENTIFYING_FIELDS, identifying_fields
from confsec.protocol.proof import Proof
from confsec.roles.asgi import Exchange, Handler, NotFoundError, Role, in_background
from confsec.roles.config import RoleConfig, at_least, setting

__all__ = ["PROOF_HEADER", "PROOF_PATH", "ForeignCallerError", "Proxy", "ProxyConfig", "Warn"]

Warn = Callable[[str], None]
"""Told once about each member of a body that may name its author."""

PROOF_HEADER: Final = "confsec-proof"
"""The field of an answer that names its Proof: SHA-256 of the file, in hexadecimal digits."""

PROOF_PATH: Final = "/confsec/proofs/"
"""Below this path are the Proofs of the last answers."""

_MODELS: Final = "/v1/models"
_POST_PATHS: Final = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/responses",
)

_LOCAL_HOST = re.compile(r"(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)
_LISTEN_HOST = re.compile(r"localhost|127(\.[0-9]{1,3}){3}|::1")

_ANSWER_SECONDS: Final = 10.0
_BAD_GATEWAY: Final = 502
_STATUS_LINE: Final = range(400, 500)

_log = logging.getLogger("confsec.proxy")


def _listen_host(value: str) -> None:
    if not _LISTEN_HOST.fullmatch(value):
        raise ValueError("must be of this machine (127.0.0.1, ::1 or localhost): others would read prompts on the way")


@frozen(kw_only=True)
class ProxyConfig(RoleConfig):
    """How the proxy listens, and which service it speaks to."""

    service: str = setting(help="The service: its root file; or the path or the URL of a directory file.")
    policy: str = setting("", help="Judge the service by this policy file (TOML) instead of the production policy.")
    wallet: str = setting("", help="The file with the wallet's tokens, for a service that takes tokens.")
    memory: str = setting(
        "",
        help="Where to remember how far the service's logs had grown; by default $XDG_STATE_HOME/confsec/logs.db.",
    )
    unsafe_unattested: bool = setting(False, help="Accept a service that shows no evidence of what it runs.")
    unsafe_simulated: bool = setting(False, help="Accept a service whose TEEs are simulated: it proves nothing.")
    host: str = setting("127.0.0.1", help="The loopback address to listen on.", check=_listen_host)
    port: int = setting(8472, help="The TCP port to listen on; 0 takes a free one.", check=at_least(0))
    max_body: int = setting(
        MAX_REQUEST, help="The largest request body in bytes; larger ones get 413.", check=at_least(1)
    )
    idle_timeout: float = setting(
        600.0, help="Seconds without a byte in either direction before an exchange is cut.", check=at_least(0.001)
    )
    keep_proofs: int = setting(64, help="How many Proofs are remembered.", check=at_least(1))


@final
class ForeignCallerError(ConfsecError):
    """A request that a program of this machine would not send: for another host, or of a web page."""

    code = "foreign_caller"
    status_hint = 403


@final
class Proxy(Role):
    """The proxy as an ASGI application."""

    name: ClassVar[str] = "proxy"

    def __init__(self, config: ProxyConfig, client: Client, *, warn: Warn = _log.warning) -> None:
        """Serve `client`, which is handed over."""
        routes: dict[tuple[str, str], Handler] = {("POST", path): self._forward for path in _POST_PATHS}
        routes["GET", _MODELS] = self._forward
        routes["GET", f"{PROOF_PATH}*"] = self._give_proof
        super().__init__(config, routes)
        self._client = client
        self._warn = warn
        self._warned: set[str] = set()
        self._proofs = _Proofs(config.keep_proofs)

    @asynccontextmanager
    async def _lifespan(self) -> AsyncGenerator[None]:
        """Look at the service before the first prompt comes: one that is not trusted is refused at the start.

        A wallet is kept filled as long as the proxy runs, so that fetching tokens says little about spending them.
        """
        background = [self._client.keep_wallet_filled] if self._client.pays else []
        try:
            await self._client.refresh()
            async with in_background(*background):
                yield
        finally:
            with anyio.CancelScope(shield=True):
                await self._client.aclose()

    def _route(self, exchange: Exchange) -> Handler:
        _require_local(exchange.headers)
        # A model's name may have slashes. `engine_request` decides which names are none.
        if exchange.method == "GET" and exchange.path.startswith(f"{_MODELS}/"):
            return self._forward
        return super()._route(exchange)

    async def _forward(self, exchange: Exchange) -> None:
        """Ask privately, and pass the answer on as it comes."""
        url = exchange.path + (f"?{exchange.query}" if exchange.query else "")
        body = await exchange.read()
        request = engine_request(HttpRequest(method=exchange.method, url=url, headers=exchange.headers, content=body))
        self._warn_of(body)
        async with self._client.stream(request) as response:
            name = self._proofs.add(private_info(response).proof)
            headers = engine_response_headers(response.headers)
            await exchange.forward(response, (*headers, ("cache-control", "no-store"), (PROOF_HEADER, name)))

    async def _give_proof(self, exchange: Exchange) -> None:
        proof = self._proofs.get(exchange.path.removeprefix(PROOF_PATH))
        await exchange.answer(200, (("content-type", "application/cbor"),), proof)

    def _warn_of(self, body: bytes) -> None:
        for name in identifying_fields(body):
            if name not in self._warned:
                self._warned.add(name)
                self._warn(f"the member {name!r} of a request {IDENTIFYING_FIELDS[name]}: the engine can read it")

    async def _answer_error(self, exchange: Exchange, error: ConfsecError) -> None:
        """Answer in the form that OpenAI's and Anthropic's SDKs read, if nothing was answered yet."""
        if exchange.started or exchange.finished:
            return  # the server cuts the connection: a cut answer must not look like a whole one
        headers: Headers = (("content-type", "application/json"), ("cache-control", "no-store"))
        if isinstance(error, BusyError):
            headers = (*headers, ("retry-after", "1"))
        with anyio.move_on_after(_ANSWER_SECONDS):
            await exchange.answer(_status(error), headers, _error_body(error))


@final
class _Proofs:
    """The Proofs of the last answers, by name."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._files: OrderedDict[str, bytes] = OrderedDict()

    def add(self, proof: Proof) -> str:
        """Remember a Proof and return its name."""
        data = proof.encode()
        name = hashlib.sha256(data).hexdigest()
        self._files[name] = data
        self._files.move_to_end(name)
        if len(self._files) > self._size:
            self._files.popitem(last=False)
        return name

    def get(self, name: str) -> bytes:
        """Return the file. Raises `NotFoundError`."""
        data = self._files.get(name)
        if data is None:
            raise NotFoundError
        return data


def _require_local(headers: Headers) -> None:
    """Refuse what only a web page would send. A page that had a name point here would still say its own name."""
    host = header(headers, "host") or ""
    if not _LOCAL_HOST.fullmatch(host):
        raise ForeignCallerError("the Host of a request is not this machine", hint="Use http://127.0.0.1 and the port")
    origin = header(headers, "origin")
    if origin is not None and not _LOCAL_HOST.fullmatch(re.sub(r"^https?://", "", origin)):
        raise ForeignCallerError("a request comes from a web page of another origin")


def _status(error: ConfsecError) -> int:
    """Return the status for the caller. What another peer did wrong is not the caller's fault."""
    match error:
        case LimitError() | NotAllowedError():
            return error.status_hint
        case PeerError() if error.peer_code and error.status in _STATUS_LINE:
            return error.status
        case RemoteProtocolError():
            return _BAD_GATEWAY
        case _:
            return error.status_hint


def _error_body(error: ConfsecError) -> bytes:
    details = {"message": str(error), "type": "confsec_error", "code": error.code, "param": None}
    return json.dumps({"type": "error", "error": details}).encode()
