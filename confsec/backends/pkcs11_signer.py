"""Signers whose key is in an HSM, reached by PKCS #11 (extra `pkcs11`): the device's bare RSA, CKM_RSA_X_509.

PKCS #11 calls a device a token. Here it is a device, since tokens are what it signs.

python-pkcs11 initialises a library for one thread at a time (`C_Initialize(NULL)`), so all calls of this process take
turns. Where one device can do more than that, let several processes share it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from threading import Lock
from types import TracebackType
from typing import Final, Self, TypeVar, final

import anyio
import anyio.to_thread

from confsec.backends.raw_rsa import check_message
from confsec.errors import BackendError, ConfigError, DecodeError, LocalProtocolError, MissingExtraError
from confsec.protocol.blind_rsa import check_blind_sig
from confsec.protocol.rsa_keys import RsaPublicKey

try:
    import pkcs11
    from pkcs11 import Attribute, DecryptMixin, Mechanism, ObjectClass, PKCS11Error, PrivateKey, Session, SignMixin
except ImportError as _exc:
    raise MissingExtraError("python-pkcs11", extra="pkcs11") from _exc

__all__ = ["Pkcs11Device", "Pkcs11Signer"]

_T = TypeVar("_T")

_MAX_SHARE: Final = 16
"""Messages that are signed in a row before others have their turn."""

_TURN: Final = Lock()
"""Held by whoever calls into a PKCS #11 library."""

_WRONG_PIN: Final = (
    pkcs11.PinExpired,
    pkcs11.PinIncorrect,
    pkcs11.PinInvalid,
    pkcs11.PinLenRange,
    pkcs11.PinLocked,
    pkcs11.UserPinNotInitialized,
)
_NO_DEVICE: Final = (pkcs11.MultipleTokensReturned, pkcs11.NoSuchToken)


@final
class Pkcs11Device:
    """A device of which one session is kept, and opened anew after an error.

    One object for each device and process: PKCS #11 logs in the whole process, and out again.
    """

    def __init__(self, library: str, *, label: str, pin: Callable[[], str]) -> None:
        """Name the device by the path of its PKCS #11 library and its label; `pin` is asked when it is opened."""
        self._library = library
        self._label = label
        self._pin = pin
        self._session: Session | None = None
        self._closed = False
        self._pin_refused = False
        self._limiter = anyio.CapacityLimiter(1)

    def __repr__(self) -> str:
        return f"Pkcs11Device({self._library!r}, label={self._label!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def signer(self, label: str | None = None, *, key_id: bytes | None = None) -> Pkcs11Signer:
        """Return the signer with the private key of this label (CKA_LABEL), this id (CKA_ID), or both.

        Raises `ConfigError` if there is not exactly one, or if device or PIN is wrong, and `BackendError`.
        """
        if label is None and key_id is None:
            raise ConfigError("a key in a device is named by its label, its id, or both")
        find = partial(_find_key, label, key_id)
        public_key = await self.run(lambda session: _read_public_key(session, find(session)))
        return Pkcs11Signer(self, find, public_key)

    async def run(self, work: Callable[[Session], _T]) -> _T:
        """Do `work` with the session, in a thread. Raises `BackendError`, `ConfigError` and `LocalProtocolError`."""
        return await anyio.to_thread.run_sync(partial(self._run, work), limiter=self._limiter)

    async def aclose(self) -> None:
        """Log out and close the session."""
        self._closed = True
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._close, limiter=self._limiter)

    def _run(self, work: Callable[[Session], _T]) -> _T:
        with _TURN:
            if self._closed:
                raise LocalProtocolError("the device is closed")
            # A device locks itself after a few wrong PINs, so the same one is not tried twice.
            if self._pin_refused:
                raise ConfigError("the device refused the PIN, and is not asked again")
            try:
                if self._session is None:
                    self._session = self._open()
                return work(self._session)
            except PKCS11Error as exc:
                self._drop()
                raise self._translated(exc) from exc

    def _open(self) -> Session:
        return pkcs11.lib(self._library).get_token(token_label=self._label).open(user_pin=self._pin())

    def _close(self) -> None:
        with _TURN:
            self._drop()

    def _drop(self) -> None:
        session, self._session = self._session, None
        try:
            if session is not None:
                session.close()
        except PKCS11Error:
            # It is gone already: the device was pulled, or its library has forgotten it.
            return

    def _translated(self, error: PKCS11Error) -> BackendError | ConfigError:
        name = type(error).__name__
        if isinstance(error, _WRONG_PIN):
            self._pin_refused = True
            return ConfigError("the device refused the PIN", got=name)
        if isinstance(error, _NO_DEVICE):
            return ConfigError("a device is not there, or not the only one of its label", got=name)
        return BackendError("the device failed", got=name)


@final
class Pkcs11Signer:
    """A `BlindSigner` with a key in a device: made by `Pkcs11Device.signer`."""

    def __init__(self, device: Pkcs11Device, find: Callable[[Session], PrivateKey], public_key: RsaPublicKey) -> None:
        self._device = device
        self._find = find
        self._public_key = public_key
        self._key: tuple[Session, PrivateKey] | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"Pkcs11Signer(token_key_id={self._public_key.spki_digest().hex()})"

    @property
    def public_key(self) -> RsaPublicKey:
        """The public half."""
        return self._public_key

    async def blind_sign(self, blinded_msg: bytes) -> bytes:
        """Return the blind signature. Raises `DecodeError`, `BackendError` and `LocalProtocolError`."""
        [blind_sig] = await self.blind_sign_many([blinded_msg])
        return blind_sig

    async def blind_sign_many(self, blinded_msgs: Sequence[bytes]) -> list[bytes]:
        """Sign a batch, one after the other. Raises as `blind_sign`."""
        for blinded_msg in blinded_msgs:
            check_message(self._public_key, blinded_msg)
        signed: list[bytes] = []
        for start in range(0, len(blinded_msgs), _MAX_SHARE):
            self._check_open()
            signed += await self._device.run(partial(self._sign, blinded_msgs[start : start + _MAX_SHARE]))
        return signed

    async def aclose(self) -> None:
        """Sign no more. The device stays open for its other keys."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise LocalProtocolError("the signer is closed")

    def _sign(self, blinded_msgs: Sequence[bytes], session: Session) -> list[bytes]:
        # A key is known by a handle, which holds in one session only.
        if self._key is None or self._key[0] is not session:
            self._key = session, self._find(session)
        return [self._sign_one(self._key[1], blinded_msg) for blinded_msg in blinded_msgs]

    def _sign_one(self, key: PrivateKey, blinded_msg: bytes) -> bytes:
        result = _private_operation(key, blinded_msg)
        # Some devices give a number and leave out its leading zeros.
        blind_sig = result.rjust(self._public_key.modulus_size, b"\x00")
        check_blind_sig(self._public_key, blinded_msg, blind_sig)
        return blind_sig


def _private_operation(key: PrivateKey, message: bytes) -> bytes:
    """Do whichever of two names for the same operation the key was made for."""
    result: bytes | Iterator[bytes]
    if isinstance(key, SignMixin):
        result = key.sign(message, mechanism=Mechanism.RSA_X_509)
    elif isinstance(key, DecryptMixin):
        result = key.decrypt(message, mechanism=Mechanism.RSA_X_509)
    else:
        raise ConfigError("the device's key may neither sign nor decrypt")
    # Messages in parts give results in parts. This is one message.
    return result if isinstance(result, bytes) else b"".join(result)


def _find_key(label: str | None, key_id: bytes | None, session: Session) -> PrivateKey:
    wanted: dict[Attribute, object] = {Attribute.CLASS: ObjectClass.PRIVATE_KEY}
    if label is not None:
        wanted[Attribute.LABEL] = label
    if key_id is not None:
        wanted[Attribute.ID] = key_id
    # To the end: a search that is left open ends whenever its object is collected, in the middle of other calls.
    keys = [key for key in session.get_objects(wanted) if isinstance(key, PrivateKey)]
    if len(keys) != 1:
        raise ConfigError("a key in a device is not there, or not the only one of its name", got=f"{len(keys)} keys")
    return keys[0]


def _read_public_key(session: Session, key: PrivateKey) -> RsaPublicKey:
    try:
        n, e = (int.from_bytes(key[name], "big") for name in (Attribute.MODULUS, Attribute.PUBLIC_EXPONENT))
        return RsaPublicKey(n, e)
    except DecodeError as exc:
        raise ConfigError(f"the device's key cannot be used: {exc.what}", got=exc.got, want=exc.want) from exc
