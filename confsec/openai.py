"""`OpenAI` and `AsyncOpenAI` that speak privately: the classes of the openai package, over confsec.

They take every argument of their namesakes except those that say where requests go. Neither an API key nor anything
else that names the caller leaves this machine: the sealed request carries an allow-list of header fields. What the body
says about the caller is the caller's own affair; `confsec.privacy_hints` lists such members.
"""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from confsec.backends.httpx import async_transport, transport
from confsec.client import EXTENSION, Client, PrivateInfo, Service
from confsec.errors import ConfigError, LocalProtocolError, MissingExtraError
from confsec.protocol.policy import PRODUCTION, Policy
from confsec.protocol.private import INNER_AUTHORITY
from confsec.protocol.proof import Proof

try:
    import httpx2
    import openai
except ImportError as _exc:
    raise MissingExtraError("openai", extra="openai") from _exc

__all__ = ["API_KEY", "BASE_URL", "AsyncOpenAI", "OpenAI", "proof_of"]

BASE_URL: Final = f"https://{INNER_AUTHORITY}/v1"
"""The base URL of both classes. Nobody resolves this name: whatever slipped past the transport would reach nobody."""

API_KEY: Final = "dropped-before-sealing"
"""The API key where none is given. The package insists on one, and it stays on this machine."""

_FIXED: Final = ("base_url", "data_residency", "provider", "websocket_base_url", "workload_identity")
"""Arguments of the package's classes that would send requests elsewhere, or to more than one place."""

_infos: dict[int, PrivateInfo] = {}
"""What is known of answers that the package turned into objects of its own, by their identity, while they live."""


class OpenAI(openai.OpenAI):
    """`openai.OpenAI` over a private service."""

    def __init__(
        self,
        *,
        service: Service | Client,
        policy: Policy = PRODUCTION,
        pin: bytes = b"",
        memory: Path | None = None,
        api_key: str | None = None,
        **options: Any,
    ) -> None:
        """Prepare a client; the first request reads the directory.

        `service`, `policy`, `pin` and `memory` are those of `confsec.Client`; a `Client` made before brings its own and
        is handed over. `options` are the other arguments of `openai.OpenAI`. Raises `ConfigError` for those that would
        send requests elsewhere, and for `pin` or `memory` beside a `Client`.
        """
        self._service = service
        self._policy = policy
        http_client = _private_client(options, _PrivateClient)
        if http_client is None:
            http_client = _PrivateClient(transport=transport(_client(service, policy, pin, memory)), trust_env=False)
        super().__init__(api_key=api_key or API_KEY, base_url=BASE_URL, http_client=http_client, **options)

    if not TYPE_CHECKING:  # a checker sees the arguments of the class above

        def copy(self, **changes: Any) -> Any:
            """Return a client with other options over the same connection, as `openai.OpenAI.copy` does."""
            return super().copy(**changes, _extra_kwargs={"service": self._service, "policy": self._policy})

        with_options = copy

    def _process_response(self, *, response: httpx2.Response, **options: Any) -> Any:
        return _remember(super()._process_response(response=response, **options), response)


class AsyncOpenAI(openai.AsyncOpenAI):
    """`openai.AsyncOpenAI` over a private service, on asyncio and on trio."""

    def __init__(
        self,
        *,
        service: Service | Client,
        policy: Policy = PRODUCTION,
        pin: bytes = b"",
        memory: Path | None = None,
        api_key: str | None = None,
        **options: Any,
    ) -> None:
        """Prepare a client, as `OpenAI` does."""
        self._service = service
        self._policy = policy
        http_client = _private_client(options, _AsyncPrivateClient)
        if http_client is None:
            http_client = _AsyncPrivateClient(
                transport=async_transport(_client(service, policy, pin, memory)), trust_env=False
            )
        super().__init__(api_key=api_key or API_KEY, base_url=BASE_URL, http_client=http_client, **options)

    if not TYPE_CHECKING:

        def copy(self, **changes: Any) -> Any:
            """Return a client with other options over the same connection, as `openai.AsyncOpenAI.copy` does."""
            return super().copy(**changes, _extra_kwargs={"service": self._service, "policy": self._policy})

        with_options = copy

    async def _process_response(self, *, response: httpx2.Response, **options: Any) -> Any:
        return _remember(await super()._process_response(response=response, **options), response)


def proof_of(result: object) -> Proof:
    """Return what was checked before the prompt was sealed to which `result` is the answer.

    `result` is what a method of these classes returned (an object, a stream, a raw response), or a response of httpx2
    or httpx. Raises `LocalProtocolError` for anything else.
    """
    info = _infos.get(id(result))
    for response in (result, getattr(result, "http_response", None), getattr(result, "response", None)):
        info = info or getattr(response, "extensions", {}).get(EXTENSION)
    if not isinstance(info, PrivateInfo):
        raise LocalProtocolError("this is no answer of a private service", got=type(result).__name__)
    return info.proof


class _PrivateClient(httpx2.Client):
    """A client over our transport. Its class tells it from others that a caller might hand in."""


class _AsyncPrivateClient(httpx2.AsyncClient):
    """As `_PrivateClient`."""


def _private_client(options: dict[str, Any], ours: type[Any]) -> Any:
    """Take out of `options` what decides where requests go: a client that `copy` hands on, and nothing else."""
    http_client = options.pop("http_client", None)
    if http_client is not None and not isinstance(http_client, ours):
        raise ConfigError("http_client cannot be chosen: a client of its own would speak past confsec")
    if str(options.get("base_url")) in {BASE_URL, f"{BASE_URL}/"}:
        del options["base_url"]
    for name in _FIXED:
        if options.pop(name, None) is not None:
            raise ConfigError(f"{name} cannot be chosen: it would send requests past confsec")
    return http_client


def _client(service: Service | Client, policy: Policy, pin: bytes, memory: Path | None) -> Client:
    if not isinstance(service, Client):
        return Client(service, policy=policy, pin=pin, memory=memory)
    if pin or memory:
        raise ConfigError(
            "a client that was made before has its own pin and memory", hint="Give them to confsec.Client"
        )
    return service


def _remember(result: Any, response: httpx2.Response) -> Any:
    """Keep what is known of `response` for as long as `result` lives."""
    info = response.extensions.get(EXTENSION)
    if isinstance(info, PrivateInfo) and type(result).__weakrefoffset__:
        _infos[id(result)] = info
        weakref.finalize(result, _infos.pop, id(result), None).atexit = False
    return result
