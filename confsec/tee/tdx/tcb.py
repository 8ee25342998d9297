"""TCB info and QE identity: what Intel says of platforms and quoting enclaves, and which level one has.

Both are JSON. Intel signs the exact text, so it is read only after that signature was checked. Members that we do not
know are passed over, because Intel adds some; those that we know have one form. A level is the first in the list whose
numbers are all reached (Intel PCS API v4, "Get TDX TCB Info").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum, Flag
from typing import Any, Final, NoReturn, Self, TypeVar

from attrs import frozen

from confsec.errors import DecodeError, UnsupportedError
from confsec.protocol import json_general

__all__ = [
    "MAX_JSON",
    "EnclaveLevel",
    "ModuleIdentity",
    "QeIdentity",
    "TcbInfo",
    "TcbLevel",
    "TcbStatus",
    "enclave_level",
    "merge_statuses",
    "module_identity",
    "platform_level",
]

MAX_JSON: Final = 256 << 10
"""TCB info and QE identity have at most 256 KiB each. Intel's have about 20."""

_MAX_LEVELS: Final = 128
_MAX_IDENTITIES: Final = 64
_MAX_ADVISORIES: Final = 256
_COMPONENTS: Final = 16
_SECTION: Final = "Intel PCS API v4, Get TDX TCB Info"
_QE_SECTION: Final = "Intel PCS API v4, Get Quoting Enclave Identity"
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)

_Entry = TypeVar("_Entry")


class _Trouble(Flag):
    """What statuses are made of."""

    NONE = 0
    SOFTWARE = 1
    CONFIGURATION = 2
    OUT_OF_DATE = 4
    REVOKED = 8


class TcbStatus(Enum):
    """What Intel says of a TCB level, from the best to the worst."""

    UP_TO_DATE = "UpToDate"
    SW_HARDENING_NEEDED = "SWHardeningNeeded"
    CONFIGURATION_NEEDED = "ConfigurationNeeded"
    CONFIGURATION_AND_SW_HARDENING_NEEDED = "ConfigurationAndSWHardeningNeeded"
    OUT_OF_DATE = "OutOfDate"
    OUT_OF_DATE_CONFIGURATION_NEEDED = "OutOfDateConfigurationNeeded"
    REVOKED = "Revoked"

    @property
    def out_of_date(self) -> bool:
        """Whether an update is missing."""
        return self in {TcbStatus.OUT_OF_DATE, TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED}


_TROUBLES: Final = {
    TcbStatus.UP_TO_DATE: _Trouble.NONE,
    TcbStatus.SW_HARDENING_NEEDED: _Trouble.SOFTWARE,
    TcbStatus.CONFIGURATION_NEEDED: _Trouble.CONFIGURATION,
    TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED: _Trouble.CONFIGURATION | _Trouble.SOFTWARE,
    TcbStatus.OUT_OF_DATE: _Trouble.OUT_OF_DATE,
    TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED: _Trouble.OUT_OF_DATE | _Trouble.CONFIGURATION,
    TcbStatus.REVOKED: _Trouble.REVOKED,
}


def merge_statuses(statuses: Iterable[TcbStatus]) -> TcbStatus:
    """Return the status of a whole whose parts have these: every trouble of every part is a trouble of the whole.

    That is the worst status of all, and where one part is out of date and another has to be configured,
    `OutOfDateConfigurationNeeded`. Beside being out of date a need for hardening is not named.
    """
    troubles = _Trouble.NONE
    for status in statuses:
        troubles |= _TROUBLES[status]
    if _Trouble.REVOKED in troubles:
        return TcbStatus.REVOKED
    if _Trouble.OUT_OF_DATE in troubles:
        troubles &= ~_Trouble.SOFTWARE
    return next(status for status, those in _TROUBLES.items() if those == troubles)


@frozen
class EnclaveLevel:
    """A level of the quoting enclave or of the TDX module."""

    isv_svn: int
    status: TcbStatus
    tcb_date: datetime
    """What Intel had published by then, the level has."""

    advisories: tuple[str, ...]
    """Intel's advisories that apply to it."""


@frozen
class TcbLevel:
    """A level of the platform."""

    sgx_components: tuple[int, ...]
    """16 SVNs that the PCK certificate must reach."""

    pce_svn: int
    tdx_components: tuple[int, ...] | None
    """16 SVNs that TEE_TCB_SVN must reach; None in a TCB info for SGX."""

    status: TcbStatus
    tcb_date: datetime
    advisories: tuple[str, ...]


@frozen
class ModuleIdentity:
    """A TDX module that Intel knows."""

    id: str
    """`TDX_` and the version of the module in two hexadecimal digits; empty for the one of version 0."""

    mr_signer: bytes
    """48 bytes, zero for Intel."""

    attributes: bytes
    attributes_mask: bytes
    levels: tuple[EnclaveLevel, ...]


@frozen(kw_only=True)
class TcbInfo:
    """What Intel says of the platforms of one FMSPC (version 3)."""

    id: str
    """`TDX` or `SGX`."""

    issue_date: datetime
    next_update: datetime
    fmspc: bytes
    pce_id: bytes
    evaluation_number: int
    """Grows with each recovery of the TCB."""

    module: ModuleIdentity | None
    """The TDX module of version 0; None in a TCB info for SGX."""

    module_identities: tuple[ModuleIdentity, ...]
    levels: tuple[TcbLevel, ...]

    @classmethod
    def decode(cls, text: bytes) -> Self:
        """Read the text that Intel signed. Raises `DecodeError`, and `UnsupportedError` for another version."""
        value = _Object.decode(text, "TCB info", _SECTION)
        if (found := value.uint("version", 0xFFFF)) != 3 or value.uint("tcbType", 0xFFFF) != 0:
            raise UnsupportedError(
                "TCB info of another version or type", got=found, want="version 3, type 0", section=_SECTION
            )
        return cls(
            id=value.text("id"),
            issue_date=value.date("issueDate"),
            next_update=value.date("nextUpdate"),
            fmspc=value.hex("fmspc", 6),
            pce_id=value.hex("pceId", 2),
            evaluation_number=value.uint("tcbEvaluationDataNumber", 0xFFFF_FFFF),
            module=_module(value.inner("tdxModule")) if value.has("tdxModule") else None,
            module_identities=value.list("tdxModuleIdentities", _module, _MAX_IDENTITIES, optional=True),
            levels=value.list("tcbLevels", _tcb_level, _MAX_LEVELS),
        )


@frozen(kw_only=True)
class QeIdentity:
    """What Intel says of its quoting enclave (version 2)."""

    id: str
    """`TD_QE` for TDX, `QE` for SGX."""

    issue_date: datetime
    next_update: datetime
    evaluation_number: int
    misc_select: bytes
    misc_select_mask: bytes
    attributes: bytes
    attributes_mask: bytes
    mr_signer: bytes
    isv_prod_id: int
    levels: tuple[EnclaveLevel, ...]

    @classmethod
    def decode(cls, text: bytes) -> Self:
        """Read the text that Intel signed. Raises `DecodeError`, and `UnsupportedError` for another version."""
        value = _Object.decode(text, "QE identity", _QE_SECTION)
        if (found := value.uint("version", 0xFFFF)) != 2:
            raise UnsupportedError("QE identity of another version", got=found, want=2, section=_QE_SECTION)
        return cls(
            id=value.text("id"),
            issue_date=value.date("issueDate"),
            next_update=value.date("nextUpdate"),
            evaluation_number=value.uint("tcbEvaluationDataNumber", 0xFFFF_FFFF),
            misc_select=value.hex("miscselect", 4),
            misc_select_mask=value.hex("miscselectMask", 4),
            attributes=value.hex("attributes", 16),
            attributes_mask=value.hex("attributesMask", 16),
            mr_signer=value.hex("mrsigner", 32),
            isv_prod_id=value.uint("isvprodid", 0xFFFF),
            levels=value.list("tcbLevels", _enclave_level, _MAX_LEVELS),
        )


# --- Which level ------------------------------------------------------------------------------------------------------


def platform_level(
    levels: Sequence[TcbLevel], *, sgx: Sequence[int], pce_svn: int, tdx: bytes | None
) -> TcbLevel | None:
    """Return the first level that a platform reaches, or None.

    `sgx` and `pce_svn` are what the PCK certificate says, `tdx` is TEE_TCB_SVN, or None for an SGX enclave. The first
    two components of TDX are the module. Where its version, the second, is not 0, the module's own levels judge them
    (Intel PCS API v4; dcap-qvl compares them all the same).
    """
    for level in levels:
        if pce_svn >= level.pce_svn and _reaches(sgx, level.sgx_components) and _reaches_tdx(tdx, level):
            return level
    return None


def module_identity(info: TcbInfo, tee_tcb_svn: bytes) -> ModuleIdentity | None:
    """Return what Intel says of the TDX module that has this version, or None if it does not know it."""
    if tee_tcb_svn[1] == 0:
        return info.module
    wanted = f"TDX_{tee_tcb_svn[1]:02X}"
    return next((each for each in info.module_identities if each.id.upper() == wanted), None)


def enclave_level(levels: Sequence[EnclaveLevel], isv_svn: int) -> EnclaveLevel | None:
    """Return the first level whose SVN is reached, or None."""
    return next((level for level in levels if isv_svn >= level.isv_svn), None)


def _reaches(got: Sequence[int], want: Sequence[int]) -> bool:
    return all(have >= need for have, need in zip(got, want, strict=True))


def _reaches_tdx(tdx: bytes | None, level: TcbLevel) -> bool:
    if tdx is None or level.tdx_components is None:
        return tdx is None
    start = 2 if tdx[1] else 0
    return _reaches(tdx[start:], level.tdx_components[start:])


# --- Reading JSON -----------------------------------------------------------------------------------------------------


@frozen
class _Object:
    """A JSON object that is read member by member. `what` names the document in errors."""

    members: Mapping[str, Any]
    what: str
    section: str

    @classmethod
    def decode(cls, text: bytes, what: str, section: str) -> _Object:
        value = json_general.decode(text, what=what, limit=MAX_JSON)
        return cls({}, what, section).of(value)

    def of(self, value: object) -> _Object:
        """Return another object of the same document."""
        if not isinstance(value, dict):
            raise DecodeError(f"{self.what} has something else where an object should be", section=self.section)
        return _Object(value, self.what, self.section)

    def has(self, name: str) -> bool:
        return name in self.members

    def text(self, name: str) -> str:
        value = self._member(name)
        if not isinstance(value, str):
            self._refuse(name, "text")
        return value

    def uint(self, name: str, maximum: int) -> int:
        value = self._member(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= maximum:
            self._refuse(name, f"a number up to {maximum}")
        return value

    def hex(self, name: str, size: int) -> bytes:
        """Return bytes that are written in hex, of either case."""
        value = self.text(name)
        if not re.fullmatch(r"[0-9A-Fa-f]*", value) or len(value) != 2 * size:
            self._refuse(name, f"{size} bytes in hex")
        return bytes.fromhex(value)

    def date(self, name: str) -> datetime:
        value = self.text(name)
        try:
            return datetime.fromisoformat(value if _DATE.fullmatch(value) else "")
        except ValueError:
            self._refuse(name, "a date and time in UTC, such as 2025-06-19T10:16:03Z")

    def inner(self, name: str) -> _Object:
        return self.of(self._member(name))

    def list(
        self, name: str, read: Callable[[_Object], _Entry], limit: int, *, optional: bool = False
    ) -> tuple[_Entry, ...]:
        """Return a list of objects, each read by `read`."""
        values = self.members.get(name, []) if optional else self._member(name)
        if not isinstance(values, list) or len(values) > limit:
            self._refuse(name, f"a list of at most {limit}")
        return tuple(read(self.of(value)) for value in values)

    def texts(self, name: str, limit: int) -> tuple[str, ...]:
        """Return a list of text, empty where it is missing."""
        values = self.members.get(name, [])
        if not isinstance(values, list) or len(values) > limit or not all(isinstance(each, str) for each in values):
            self._refuse(name, f"a list of at most {limit} texts")
        return tuple(values)

    def _member(self, name: str) -> Any:
        if name not in self.members:
            raise DecodeError(f"{self.what} lacks a member", want=name, section=self.section)
        return self.members[name]

    def _refuse(self, name: str, want: str) -> NoReturn:
        raise DecodeError(f"{self.what} has a member of another form: {name}", want=want, section=self.section)


def _module(value: _Object) -> ModuleIdentity:
    return ModuleIdentity(
        id=value.text("id") if value.has("id") else "",
        mr_signer=value.hex("mrsigner", 48),
        attributes=value.hex("attributes", 8),
        attributes_mask=value.hex("attributesMask", 8),
        levels=value.list("tcbLevels", _enclave_level, _MAX_LEVELS, optional=True),
    )


def _enclave_level(value: _Object) -> EnclaveLevel:
    return EnclaveLevel(
        isv_svn=value.inner("tcb").uint("isvsvn", 0xFFFF),
        status=_status(value),
        tcb_date=value.date("tcbDate"),
        advisories=value.texts("advisoryIDs", _MAX_ADVISORIES),
    )


def _tcb_level(value: _Object) -> TcbLevel:
    tcb = value.inner("tcb")
    return TcbLevel(
        sgx_components=_components(tcb, "sgxtcbcomponents"),
        pce_svn=tcb.uint("pcesvn", 0xFFFF),
        tdx_components=_components(tcb, "tdxtcbcomponents") if tcb.has("tdxtcbcomponents") else None,
        status=_status(value),
        tcb_date=value.date("tcbDate"),
        advisories=value.texts("advisoryIDs", _MAX_ADVISORIES),
    )


def _components(tcb: _Object, name: str) -> tuple[int, ...]:
    """Return 16 SVNs. Written for speed: they are most of the text."""
    values = tcb.members.get(name)
    values = values if type(values) is list else None
    svns: list[Any] = [each.get("svn") if type(each) is dict else None for each in values or ()]
    if len(svns) != _COMPONENTS or any(type(svn) is not int or not 0 <= svn <= 0xFF for svn in svns):
        raise DecodeError(
            f"a TCB level has components of another form: {name}", want="16 SVNs of one byte each", section=_SECTION
        )
    return tuple(svns)


def _status(value: _Object) -> TcbStatus:
    try:
        return TcbStatus(value.text("tcbStatus"))
    except ValueError as exc:
        raise DecodeError("a TCB level has a status that we do not know", section=_SECTION) from exc
