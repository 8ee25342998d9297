"""What one-shot and chunked Oblivious HTTP have in common: the header of a request, and the keys of both directions.

A request begins with a `RequestHeader` and `enc`; its content is sealed by the HPKE context. The response's keys come
from a secret that the context exports, `enc`, and a nonce that the gateway chooses (RFC 9458, sections 4.3 and 4.4).
"""

from __future__ import annotations

from datetime import datetime
from struct import Struct
from typing import Final, Self, final

from attrs import frozen

from confsec.errors import DecodeError, LocalProtocolError, TruncatedError, UnknownKeyError, UnsupportedError
from confsec.protocol.aead import AeadSequence, Buffer, Uncopyable
from confsec.protocol.gateway_keys import GatewayKey, GatewayKeyring
from confsec.protocol.hpke import HpkeSuite, ReceiverContext, SenderContext, setup_receiver, setup_sender
from confsec.protocol.key_config import KeyConfig, SymmetricSuite
from confsec.protocol.machine import RandBytes
from confsec.protocol.replay import ReplayWindow

__all__ = ["CHUNKED", "ONE_SHOT", "ExchangeKeys", "GatewayExchange", "Labels", "RequestHeader", "setup_client"]

_HEADER: Final = Struct(">BHHH")
_HEADER_SIZE: Final = _HEADER.size
_SECTION: Final = "RFC 9458, section 4.3"


@frozen
class Labels:
    """What keeps the keys of two formats apart (RFC 9458, section 4.6)."""

    request: bytes
    """The front of the HPKE info."""

    response: bytes
    """The exporter context of the response's secret."""


ONE_SHOT: Final = Labels(b"message/bhttp request", b"message/bhttp response")
"""RFC 9458, sections 4.3 and 4.4."""

CHUNKED: Final = Labels(b"message/bhttp chunked request", b"message/bhttp chunked response")
"""draft-ietf-ohai-chunked-ohttp-08, sections 6.1 and 6.2."""


@frozen
class RequestHeader:
    """What an encapsulated request says of its key (RFC 9458, section 4.1)."""

    key_id: int
    """The gateway's name for the key."""

    kem_id: int
    """The KEM of the key."""

    suite: SymmetricSuite
    """The KDF and the AEAD that the client chose."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        if len(data) != _HEADER.size:
            raise DecodeError("request header has another size", got=len(data), want=f"{_HEADER.size} bytes")
        key_id, kem_id, kdf_id, aead_id = _HEADER.unpack(data)
        return cls(key_id, kem_id, SymmetricSuite(kdf_id, aead_id))

    def encode(self) -> bytes:
        return _HEADER.pack(self.key_id, self.kem_id, self.suite.kdf_id, self.suite.aead_id)


@final
class ExchangeKeys(Uncopyable):
    """The keys of one exchange, at either end."""

    __slots__ = ("_context", "_label", "_suite", "enc", "request_sequence", "response_nonce_size")

    def __init__(self, suite: HpkeSuite, context: SenderContext | ReceiverContext, enc: bytes, labels: Labels) -> None:
        self._suite = suite
        self._context = context
        self._label = labels.response
        self.enc: Final = enc
        self.request_sequence: Final = context.sequence
        # "a random value of length max(Nn, Nk) bytes"; the exported secret has the same length (section 4.4).
        self.response_nonce_size: Final = max(suite.aead.nonce_size, suite.aead.key_size)

    def response_sequence(self, response_nonce: bytes) -> AeadSequence:
        """Derive what the response under `response_nonce` is sealed and opened with (section 4.4)."""
        kdf, aead = self._suite.kdf, self._suite.aead
        secret = self._context.export(self._label, self.response_nonce_size)
        prk = kdf.extract(self.enc + response_nonce, secret)
        return AeadSequence(aead, kdf.expand(prk, b"key", aead.key_size), kdf.expand(prk, b"nonce", aead.nonce_size))


def setup_client(
    key_config: KeyConfig, suite: SymmetricSuite | None, labels: Labels, randbytes: RandBytes
) -> tuple[bytes, ExchangeKeys]:
    """Return what a request to this key begins with, and the keys of its exchange.

    Raises `UnsupportedError` if we have none of the suites, `LocalProtocolError` for a suite that the gateway does not
    offer, and `DecodeError` for a bad public key.
    """
    suite = _choose_suite(key_config, suite)
    header = RequestHeader(key_config.key_id, key_config.kem_id, suite).encode()
    hpke_suite = suite.with_kem(key_config.kem_id)
    context = setup_sender(hpke_suite, key_config.public_key, _info(labels, header), randbytes=randbytes)
    return header + context.enc, ExchangeKeys(hpke_suite, context, context.enc, labels)


def _choose_suite(key_config: KeyConfig, suite: SymmetricSuite | None) -> SymmetricSuite:
    if suite is not None:
        if suite not in key_config.suites:
            raise LocalProtocolError("the gateway does not offer this suite", got=suite, section=_SECTION)
        return suite
    for offered in key_config.suites:
        if offered.is_supported:
            return offered
    raise UnsupportedError("no suite of this key can be used", got=f"key {key_config.key_id}", section=_SECTION)


@final
class GatewayExchange:
    """The gateway's end of an exchange: reads the header, finds the key, and claims `enc` for this exchange."""

    def __init__(self, keyring: GatewayKeyring, labels: Labels, *, now: datetime, replay: ReplayWindow | None) -> None:
        self._keyring = keyring
        self._labels = labels
        self._now = now
        self._replay = replay
        self._received = b""  # until header and `enc` are whole
        self._found: tuple[GatewayKey, HpkeSuite] | None = None
        self._keys: ExchangeKeys | None = None

    @property
    def has_keys(self) -> bool:
        """Whether the header is whole."""
        return self._keys is not None

    @property
    def keys(self) -> ExchangeKeys:
        """The keys of the exchange. Raises `TruncatedError` as long as the header is not whole."""
        if self._keys is None:
            raise TruncatedError("the encapsulated request ends in its header", got=f"{len(self._received)} bytes")
        return self._keys

    def receive_header(self, part: Buffer) -> bytes:
        """Take the next bytes, and return what follows the header: nothing as long as it is not whole.

        Raises `UnknownKeyError` for a key or a suite that is not offered, as soon as the message names them;
        `ReplayError`, and `BusyError` for a full replay window; and `DecryptionError` for a bad `enc`.
        """
        # Mostly all of it comes at once, and then `received` is `part` itself, not a copy.
        received = self._received = self._received + part
        if self._found is None and len(received) >= _HEADER_SIZE:
            self._found = self._find_key(RequestHeader.decode(received[:_HEADER_SIZE]))
        if self._found is None or len(received) < _HEADER_SIZE + self._found[1].kem.enc_size:
            return b""
        return self._setup(received, *self._found)

    def _find_key(self, header: RequestHeader) -> tuple[GatewayKey, HpkeSuite]:
        """Find the key, and check that it is offered for the suite (steps 1a and 1b of section 4.3)."""
        key = self._keyring.lookup(header.key_id, header.kem_id, now=self._now)
        if header.suite not in key.config.suites:
            raise UnknownKeyError("this key is not offered for this suite", got=header.suite, section=_SECTION)
        return key, header.suite.with_kem(header.kem_id)

    def _setup(self, received: bytes, key: GatewayKey, suite: HpkeSuite) -> bytes:
        end = _HEADER_SIZE + suite.kem.enc_size
        header, enc = received[:_HEADER_SIZE], received[_HEADER_SIZE:end]
        # Claimed before it is opened: a replay costs no private key operation, and the time is that of the look-up.
        if self._replay is not None:
            self._replay.reserve(enc, now=self._now, key_expires=key.accepted_until)
        context = setup_receiver(suite, key.decapsulator, enc, _info(self._labels, header))
        self._keys = ExchangeKeys(suite, context, enc, self._labels)
        self._received = b""
        return received[end:]


def _info(labels: Labels, header: bytes) -> bytes:
    return labels.request + b"\x00" + header
