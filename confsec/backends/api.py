"""The interfaces through which confsec reaches the world, each with one to three methods.

Whoever implements one of them can run the matching `check_…` of `confsec.testing`. Nothing here does IO.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol, final

from attrs import field, frozen

from confsec.errors import LocalProtocolError
from confsec.protocol.epoch import Epoch
from confsec.protocol.rsa_keys import RsaPublicKey

__all__ = [
    "BlindSigner",
    "Clock",
    "Engine",
    "EpochSource",
    "Headers",
    "HttpRequest",
    "HttpResponse",
    "PartiallyBlindSigner",
    "Spend",
    "TokenStore",
    "Transport",
    "header",
]

Headers = tuple[tuple[str, str], ...]
"""Header fields in order: lower-case names, latin-1 values."""


def header(headers: Headers, name: str) -> str | None:
    """Return the value of the field `name` (lower-case), several joined by a comma, or None if it is not there."""
    values = [value for field_name, value in headers if field_name == name]
    return ", ".join(values) if values else None


@frozen(kw_only=True)
class HttpRequest:
    """One HTTP request as a hop or an engine sends it."""

    method: str
    """The method, upper-case."""

    url: str
    """An absolute URL for a `Transport`; a path that begins with a slash for an `Engine`."""

    headers: Headers = ()
    """Fields beyond those that framing needs (Host, Content-Length and Transfer-Encoding are the transport's)."""

    content: bytes | AsyncIterable[bytes] = field(default=b"", repr=False)
    """The body, whole or in parts. Parts are pulled only as fast as the peer takes them."""


@frozen(kw_only=True)
class HttpResponse:
    """One HTTP response whose head has arrived and whose body is pulled by the caller."""

    status: int
    """The status code, 200 to 599."""

    headers: Headers
    """Fields in order: lower-case names."""

    content: AsyncIterator[bytes] = field(repr=False)
    """The body in parts, each at least one byte. Pull it inside the context that yielded this response."""

    extensions: Mapping[str, object] = field(factory=dict, repr=False)
    """What a transport knows beyond HTTP: confsec's own puts the Proof under "confsec"."""


class Transport(Protocol):
    """A way to send an HTTP request and stream the answer."""

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]:
        """Send `request`; leaving the context ends the exchange and cancels what is still under way.

        Raises `ConnectError` when the peer saw nothing, `DisconnectedError` when it went away in the middle,
        `DeadlineError` when a time limit has passed, and `RemoteProtocolError` when its bytes are no HTTP. The same
        errors may come out of `content`.
        """
        ...

    async def aclose(self) -> None:
        """Close pooled connections. Idempotent."""
        ...


class Engine(Protocol):
    """An inference engine: anything that answers OpenAI-shaped HTTP requests."""

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpResponse]:
        """Ask the engine; leaving the context cancels the work at the engine.

        Raises `EngineError` when the engine does not answer, `BusyError` when it is full.
        """
        ...

    async def check(self) -> None:
        """Return if the engine can serve now, else raise `EngineError`."""
        ...

    async def aclose(self) -> None:
        """Stop what this object started. Idempotent."""
        ...


@final
@frozen(kw_only=True)
class Spend:
    """A token that pays for one sealed request, as a store remembers it: by digests only."""

    token_key_id: bytes
    """Which key signed the token: 32 bytes (RFC 9578, section 6.5)."""

    token_id: bytes
    """SHA-256 of the whole token: 32 bytes."""

    request_digest: bytes
    """SHA-256 of the sealed request's header: 32 bytes."""

    expires_at: datetime
    """When the token's key is no longer accepted, clock differences included: what is older may be forgotten. The same
    for all tokens of a key."""

    def __attrs_post_init__(self) -> None:
        for digest in (self.token_key_id, self.token_id, self.request_digest):
            if len(digest) != 32:
                raise LocalProtocolError("a digest of the wrong size", got=len(digest), want=32)
        if self.expires_at.tzinfo is None:
            raise LocalProtocolError("expires_at has no time zone")


class TokenStore(Protocol):
    """What was spent. Several routers may hold a handle to the same store.

    All methods raise `BackendError` when the store does not answer, and its subclass `BusyError` when nothing was done:
    both may be tried again. After `aclose` they raise `LocalProtocolError`.
    """

    async def spend(self, spend: Spend) -> None:
        """Spend a token for one request: atomically, and durably before this returns.

        Raises `TokenSpentError` if it was spent before, unless it was released for the same `request_digest`; and if it
        expires no later than the last sweep, because what was spent may be forgotten. When this is cancelled or raises
        `BackendError`, nobody knows whether the token was spent: no byte may go to a node.
        """
        ...

    async def release(self, spend: Spend) -> None:
        """Let a spent token be spent again for the same `request_digest`. It is never forgotten.

        Call it once, after `spend` returned and if no node received a byte. Does nothing to a token that is not spent
        for these bytes. After a `BackendError` the token counts as spent.
        """
        ...

    async def sweep(self, now: datetime) -> int:
        """Forget what expires no later than `now`, and refuse it from then on. Returns how many it found to forget."""
        ...

    async def aclose(self) -> None:
        """Finish what is under way and close. Idempotent."""
        ...


class Clock(Protocol):
    """A source of the current time."""

    def __call__(self) -> datetime:
        """Return the current time, aware, in UTC."""
        ...


class EpochSource(Protocol):
    """What names epochs: for the nodes of a service and its routers the same ones at about the same time."""

    async def current(self) -> Epoch:
        """Return the epoch that it is now. Raises `BackendError` if nobody can say that."""
        ...

    async def wait_after(self, epoch: Epoch) -> Epoch:
        """Wait until another epoch has begun than `epoch`, and return the newest, which began later than `epoch`.

        Returns at once if that is so already. Raises `BackendError`; then ask again after a pause.
        """
        ...


class BlindSigner(Protocol):
    """A private RSA key that signs what it cannot read (RFC 9474, section 4.3): in software or in a device.

    Messages are as long as the modulus and below it. Signing takes constant time, and every result is checked with the
    public key before it is returned: one wrong result can show a factor of the modulus.
    """

    @property
    def public_key(self) -> RsaPublicKey:
        """The public half."""
        ...

    async def blind_sign(self, blinded_msg: bytes) -> bytes:
        """Return the blind signature over one blinded message.

        Raises `DecodeError` for a message of another size or not below the modulus, `BackendError` when the library or
        device fails or its result is wrong, and `LocalProtocolError` when the signer is closed.
        """
        ...

    async def blind_sign_many(self, blinded_msgs: Sequence[bytes]) -> list[bytes]:
        """Sign a batch, in its order, on all processors. Raises as `blind_sign`: a batch is signed whole or not."""
        ...

    async def aclose(self) -> None:
        """Let go of the key, once what is under way has ended. Idempotent."""
        ...


class PartiallyBlindSigner(Protocol):
    """A private RSA key of safe primes that signs under public metadata (draft-irtf-cfrg-partially-blind-rsa)."""

    @property
    def public_key(self) -> RsaPublicKey:
        """The public half from which the keys for the metadata derive."""
        ...

    async def derive(self, info: bytes) -> BlindSigner:
        """Return the signer for this metadata, which is closed with this object.

        Raises `UnsupportedError` for a modulus that cannot be used, `BackendError`, and `LocalProtocolError` when this
        is closed. Which metadata may be signed is for the caller to say.
        """
        ...

    async def aclose(self) -> None:
        """Let go of the key and of all that was derived from it. Idempotent."""
        ...
