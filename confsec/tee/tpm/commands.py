"""The few commands of a TPM that every request takes, as bytes, and what its answers say (TPM 2.0 Library, part 3).

A request key acts under a policy session that has no session key: its commands carry no HMAC, and neither do the
answers (part 1, section 19). So they are short enough to be written here, where a library prepares for HMACs all the
same and takes several times as long as the TPM. Rarer commands are left to that library (`device.py`).
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from confsec.errors import BackendError, DecodeError
from confsec.protocol.wire import Reader

__all__ = [
    "RC_ECC_POINT",
    "RC_NAMES",
    "RC_PCR_CHANGED",
    "RC_POLICY_FAIL",
    "RETRY_CODES",
    "ecdh_zgen",
    "flush_context",
    "get_handles",
    "policy_pcr",
    "read_ecdh_zgen",
    "read_handles",
    "read_response",
    "response_code",
]

RC_ECC_POINT: Final = 0x0A7
"""The point is not on the curve (part 2, section 6.6.3)."""

RC_POLICY_FAIL: Final = 0x09D
"""The policy session does not satisfy the key's policy."""

RC_PCR_CHANGED: Final = 0x128
"""A PCR was extended between TPM2_PolicyPCR and the use of its session."""

RETRY_CODES: Final = frozenset({0x908, 0x90A, 0x922})
"""TPM_RC_YIELDED, TPM_RC_TESTING and TPM_RC_RETRY: the same command may be sent again (part 2, section 6.6.3)."""

RC_NAMES: Final = {
    RC_ECC_POINT: "TPM_RC_ECC_POINT",
    RC_PCR_CHANGED: "TPM_RC_PCR_CHANGED",
    RC_POLICY_FAIL: "TPM_RC_POLICY_FAIL",
}
"""The names of those that we expect."""

_NO_SESSIONS: Final = 0x8001
_SESSIONS: Final = 0x8002
_CC_ECDH_ZGEN: Final = 0x154
_CC_FLUSH_CONTEXT: Final = 0x165
_CC_GET_CAPABILITY: Final = 0x17A
_CC_POLICY_PCR: Final = 0x17F
_CONTINUE_SESSION: Final = 0x01
_CAP_HANDLES: Final = 1
_MAX_HANDLES: Final = 254

_HEAD: Final = Struct(">HII")
_HANDLE: Final = Struct(">I")
_AUTH: Final = Struct(">IHBH")
_COORDINATE: Final = 32
_POINT: Final = 1 + 2 * _COORDINATE
_FMT1: Final = 0x080
_FMT1_ERROR: Final = 0x0BF


def policy_pcr(session: int, selection: bytes) -> bytes:
    """Bind a policy session to what the PCRs are now: TPM2_PolicyPCR (part 3, section 23.7).

    `selection` is a TPML_PCR_SELECTION. The expected digest stays empty: where the PCRs are others, the key refuses
    instead, and that cannot be left out.
    """
    return _command(_NO_SESSIONS, _CC_POLICY_PCR, _HANDLE.pack(session) + b"\x00\x00" + selection)


def ecdh_zgen(key: int, session: int, point: bytes) -> bytes:
    """Have the TPM multiply an uncompressed point of P-256 by a key: TPM2_ECDH_ZGen (part 3, section 14.5).

    Raises `DecodeError` for what is no uncompressed point. Whether it is on the curve, the TPM says.
    """
    if len(point) != _POINT or point[0] != 0x04:
        raise DecodeError(
            "a public key is not an uncompressed point of P-256",
            got=f"{len(point)} bytes",
            want=f"{_POINT} bytes, the first of them 0x04",
            section="SEC 1, section 2.3.4",
        )
    authorization = _AUTH.pack(session, 0, _CONTINUE_SESSION, 0)
    x, y = point[1 : 1 + _COORDINATE], point[1 + _COORDINATE :]
    in_point = b"\x00\x44" + b"\x00\x20" + x + b"\x00\x20" + y
    body = _HANDLE.pack(key) + _HANDLE.pack(len(authorization)) + authorization + in_point
    return _command(_SESSIONS, _CC_ECDH_ZGEN, body)


def read_ecdh_zgen(body: bytes) -> bytes:
    """Return the X coordinate in an answer to `ecdh_zgen`: 32 bytes, left-padded. Raises `BackendError`."""
    try:
        parameters = Reader(Reader(body, "the TPM's answer").vector(4), "the TPM's answer")
        point = Reader(parameters.vector(2), "a point of the TPM's")
        parameters.finish()
        # A TPM may leave out leading zeros, so a coordinate may be short (part 2, section 11.2.5.1).
        x = point.vector(2, limit=_COORDINATE)
        point.vector(2, limit=_COORDINATE)
        point.finish()
    except DecodeError as exc:
        raise BackendError("the TPM's answer cannot be read") from exc
    return x.rjust(_COORDINATE, b"\x00")


def get_handles(first: int) -> bytes:
    """Ask which handles there are of the kind that `first` begins: TPM2_GetCapability (part 3, section 30.2)."""
    body = _HANDLE.pack(_CAP_HANDLES) + _HANDLE.pack(first) + _HANDLE.pack(_MAX_HANDLES)
    return _command(_NO_SESSIONS, _CC_GET_CAPABILITY, body)


def read_handles(body: bytes) -> tuple[int, ...]:
    """Return the handles in an answer to `get_handles`. Raises `BackendError`."""
    try:
        reader = Reader(body, "the TPM's answer")
        reader.take(5)  # whether there are more, and which capability this is
        return tuple(reader.uint(4) for _ in range(min(reader.uint(4), _MAX_HANDLES)))
    except DecodeError as exc:
        raise BackendError("the TPM's answer cannot be read") from exc


def flush_context(handle: int) -> bytes:
    """Have the TPM forget a loaded object or a session: TPM2_FlushContext (part 3, section 28.4)."""
    return _command(_NO_SESSIONS, _CC_FLUSH_CONTEXT, _HANDLE.pack(handle))


def read_response(data: bytes) -> tuple[int, bytes]:
    """Return the response code of an answer, and what follows it. Raises `BackendError` for what is no answer."""
    if len(data) < _HEAD.size:
        raise BackendError("the TPM's answer cannot be read", got=f"{len(data)} bytes")
    _, size, code = _HEAD.unpack_from(data)
    if size != len(data):
        raise BackendError("the TPM's answer cannot be read", got=f"{len(data)} bytes", want=f"{size} bytes")
    return code, data[_HEAD.size :]


def response_code(code: int) -> int:
    """Return which error a response code names, without the number of the handle, session or parameter it is about."""
    return code & _FMT1_ERROR if code & _FMT1 else code


def _command(tag: int, code: int, body: bytes) -> bytes:
    return _HEAD.pack(tag, _HEAD.size + len(body), code) + body
