"""What a relying party demands of a trust domain, as data.

The table of a policy file and the item of a Proof have one form (docs/policies.md): every key of `TdxPolicy` has to be
there, none has a default, and bytes may be written in hex. Where a list of values stands, the text `UNSAFE_ANY` says
that nobody compares them; a rule that is switched off has a name that begins with `unsafe_`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from typing import Any, Final, Self, TypeVar

from attrs import evolve, fields, frozen

from confsec.errors import ConfigError, DecodeError
from confsec.protocol import cbor
from confsec.protocol.policy import UNSAFE_ANY, UnsafeAny, join_values
from confsec.protocol.wire import decode_hex
from confsec.tee.simulated.roots import SIMULATED_ROOTS
from confsec.tee.tdx.tcb import TcbStatus

__all__ = ["INTEL_SGX_ROOT", "ROOT_NAMES", "UP_TO_DATE", "VALUE_LISTS", "RegisterRule", "TdxPolicy", "Values"]

INTEL_SGX_ROOT: Final = bytes.fromhex("44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3")
"""SHA-256 of the Intel SGX Root CA in DER, valid until 2049 (certificates.trustedservices.intel.com)."""

ROOT_NAMES: Final[Mapping[str, bytes]] = {"intel-sgx-root": INTEL_SGX_ROOT}
"""Names that a policy may write instead of a digest."""

UP_TO_DATE: Final = (TcbStatus.UP_TO_DATE,)
"""The statuses that a careful policy accepts."""

Values = tuple[bytes, ...] | UnsafeAny
"""The values that are accepted, sorted and once each, or any."""

_REGISTERS: Final = frozenset({"rtmr0", "rtmr1", "rtmr2"})
VALUE_LISTS: Final = frozenset({*_REGISTERS, "mr_config_id", "mr_owner", "mr_owner_config", "mr_td", "rtmr3"})
"""The lists of values that an image can name."""

_UNSAFE_ANY: Final = "UNSAFE_ANY"
_MEASUREMENT: Final = 48
_SVNS: Final = 16
_MAX_ENTRIES: Final = 1024
_MAX_TEXT: Final = 64
_ORDER: Final = tuple(TcbStatus)

_Entry = TypeVar("_Entry", bytes, str, TcbStatus)


@frozen(kw_only=True)
class RegisterRule:
    """What an RTMR may hold: one of some values, or any log whose events are all known.

    Firmware and boot loader measure many things in an order of their own, so a value names one machine's shape. A rule
    by events names what may be measured instead: each event in the register must be `required` or `allowed`, and each
    required one must be there. It needs the event log, replayed.
    """

    values: tuple[bytes, ...] = ()
    """The values that are accepted, 48 bytes each, sorted. Where there are some, events do not matter."""

    required: tuple[bytes, ...] = ()
    """SHA-384 digests that must be among the events: of the kernel and its command line, for instance. Sorted."""

    allowed: tuple[bytes, ...] = ()
    """SHA-384 digests that may be among the events. Sorted."""

    def __attrs_post_init__(self) -> None:
        if bool(self.values) == bool(self.required or self.allowed):
            raise ConfigError("a register needs either values or events", want="values, or required and allowed")
        for name in ("values", "required", "allowed"):
            _require_sorted(name, getattr(self, name))

    def to_item(self) -> cbor.CborValue:
        """Return the rule as it stands in a policy: a list of values, or a table of events."""
        if self.values:
            return list(self.values)
        return {"required": list(self.required), "allowed": list(self.allowed)}


@frozen(kw_only=True)
class TdxPolicy:
    """What has to be so with a trust domain. Nothing has a default."""

    trust_anchors: tuple[bytes, ...]
    """SHA-256 of the DER of each root that is trusted, sorted. In a file also `intel-sgx-root`."""

    accepted_tcb_statuses: tuple[TcbStatus, ...]
    """Statuses of the whole TCB that are good enough, the best first: `UP_TO_DATE`. `Revoked` never is."""

    denied_advisories: tuple[str, ...]
    """Intel's advisories that may not apply, sorted: `INTEL-SA-00837`, for instance."""

    grace_days: int
    """How many days after its date a level that is out of date is still good enough, if its status is accepted."""

    min_tcb_evaluation: int
    """The tcbEvaluationDataNumber that TCB info and QE identity must have at least."""

    min_tee_tcb_svn: bytes
    """16 SVNs that TEE_TCB_SVN must reach, each."""

    min_qe_svn: int
    """What ISVSVN of the quoting enclave must reach."""

    min_pce_svn: int
    """What the PCESVN in the PCK certificate must reach."""

    allow_dynamic_platform: bool
    """Processors may be added to the platform (as on most servers)."""

    allow_cached_keys: bool
    """Intel may keep the platform's root keys (as on most servers)."""

    allow_smt: bool
    """Two threads may share a core: a TD can be watched through what they share."""

    mr_td: Values
    """MRTD: the firmware that the TD began with. 48 bytes each, as all that follow."""

    rtmr0: RegisterRule | UnsafeAny
    """Configuration of the firmware, boot variables, tables of ACPI."""

    rtmr1: RegisterRule | UnsafeAny
    """Boot loader and kernel."""

    rtmr2: RegisterRule | UnsafeAny
    """What the boot loader measures: the command line of the kernel and the initial RAM disk."""

    rtmr3: Values
    """What the system itself measured; 48 zero bytes where it measures nothing."""

    mr_config_id: Values
    mr_owner: Values
    mr_owner_config: Values

    mr_seam: Values
    """Measurements of TDX modules. Intel signs all of them: `UNSAFE_ANY` leaves the choice to the TCB levels."""

    mr_service_td: Values
    """Service TDs that may act on this one; 48 zero bytes for none."""

    unsafe_allow_debug: bool
    """The host may look into the TD."""

    unsafe_allow_migration: bool
    """The TD may be moved to another machine, with all that it holds."""

    unsafe_allow_sept_ve: bool
    """The host may take pages away, and the TD be told by an exception that can hit it anywhere."""

    def __attrs_post_init__(self) -> None:
        if TcbStatus.REVOKED in self.accepted_tcb_statuses:
            raise ConfigError("no policy can accept the TCB status Revoked")
        for each in fields(type(self)):
            value = getattr(self, each.name)
            if isinstance(value, tuple):
                _require_sorted(each.name, value)

    @property
    def grace(self) -> timedelta:
        """How long a level that is out of date is still good enough."""
        return timedelta(days=self.grace_days)

    @property
    def accepts_simulated(self) -> bool:
        """Whether a root whose private key is published is among the trust anchors."""
        return not SIMULATED_ROOTS.isdisjoint(self.trust_anchors)

    @classmethod
    def from_item(cls, value: cbor.CborValue) -> Self:
        """Read the table of a file or of a Proof. Raises `DecodeError`, also for the root of a simulator."""
        members = cbor.as_map(value, what="the policy for TDX", keys=tuple(each.name for each in fields(cls)))
        try:
            policy = cls(**{name: _READERS[name](name, members[name]) for name in members})
        except ConfigError as exc:
            raise DecodeError(str(exc)) from exc
        if policy.accepts_simulated:
            raise DecodeError("the policy for TDX trusts the root of a simulator", want="a vendor's root")
        return policy

    def to_item(self) -> dict[str, cbor.CborValue]:
        """Return the table as it stands in a Proof. `from_item` reads it back."""
        return {each.name: _item(getattr(self, each.name)) for each in fields(type(self))}

    def with_values(self, values: Mapping[str, tuple[bytes, ...]]) -> Self:
        """Return the policy with values of 48 bytes added to `VALUE_LISTS`.

        Raises `ConfigError` for others, and for a register that is judged by its events.
        """
        changed: dict[str, object] = {}
        for name, added in values.items():
            if any(len(value) != _MEASUREMENT for value in added):
                raise ConfigError(f"a value of {name} has another size", want=f"{_MEASUREMENT} bytes")
            known = getattr(self, name)
            if name in _REGISTERS:
                changed[name] = _joined(name, known, added)
            else:
                changed[name] = join_values(known, added)
        return evolve(self, **changed)  # type: ignore[arg-type]  # the names are those of lists


def _joined(name: str, rule: RegisterRule | UnsafeAny, added: tuple[bytes, ...]) -> RegisterRule:
    if isinstance(rule, UnsafeAny):
        return RegisterRule(values=join_values(rule, added))
    if not rule.values:
        raise ConfigError(
            f"{name} is judged by its events, and cannot have logged values", want="a list, or UNSAFE_ANY"
        )
    return RegisterRule(values=join_values(rule.values, added))


def _rank(value: bytes | str | TcbStatus) -> Any:
    """Return what a list is sorted by: statuses from the best to the worst."""
    return _ORDER.index(value) if isinstance(value, TcbStatus) else value


def _require_sorted(name: str, values: Collection[bytes | str | TcbStatus]) -> None:
    """Have one spelling of each policy: its digest is its name in a Proof. Raises `ConfigError`."""
    if list(values) != sorted(set(values), key=_rank):
        raise ConfigError(f"the policy for TDX does not list {name} sorted and once each")


def _item(value: object) -> cbor.CborValue:
    match value:
        case UnsafeAny():
            return _UNSAFE_ANY
        case RegisterRule():
            return value.to_item()
        case tuple():
            return [each.value if isinstance(each, TcbStatus) else each for each in value]
        case bool() | int() | bytes():
            return value
        case _:  # pragma: no cover  # the types of the fields leave nothing else
            raise TypeError(type(value))


# --- Reading ----------------------------------------------------------------------------------------------------------


def _bytes(name: str, value: cbor.CborValue, size: int) -> bytes:
    return cbor.as_bytes(decode_hex(value) if isinstance(value, str) else value, what=name, size=size)


def _list(name: str, value: cbor.CborValue, read: Callable[[str, cbor.CborValue], _Entry]) -> tuple[_Entry, ...]:
    """Read a list and put it in order. What stands twice stays, and is refused."""
    entries = [read(name, each) for each in cbor.as_array(value, what=name, limit=_MAX_ENTRIES)]
    return tuple(sorted(entries, key=_rank))


def _measurement(name: str, value: cbor.CborValue) -> bytes:
    return _bytes(name, value, _MEASUREMENT)


def _values(name: str, value: cbor.CborValue) -> Values:
    return UNSAFE_ANY if value == _UNSAFE_ANY else _list(name, value, _measurement)


def _register(name: str, value: cbor.CborValue) -> RegisterRule | UnsafeAny:
    if value == _UNSAFE_ANY:
        return UNSAFE_ANY
    if isinstance(value, list):
        return RegisterRule(values=_list(name, value, _measurement))
    events = cbor.as_map(value, what=name, keys=("required", "allowed"))
    return RegisterRule(**{key: _list(f"{name}.{key}", events[key], _measurement) for key in events})


def _root(name: str, value: cbor.CborValue) -> bytes:
    known = ROOT_NAMES.get(value) if isinstance(value, str) else None
    return known or _bytes(name, value, 32)


def _roots(name: str, value: cbor.CborValue) -> tuple[bytes, ...]:
    return _list(name, value, _root)


def _status(name: str, value: cbor.CborValue) -> TcbStatus:
    try:
        return TcbStatus(cbor.as_text(value, what=name))
    except ValueError as exc:
        want = ", ".join(each.value for each in TcbStatus if each is not TcbStatus.REVOKED)
        raise DecodeError(f"{name} names a status that there is not", want=want) from exc


def _statuses(name: str, value: cbor.CborValue) -> tuple[TcbStatus, ...]:
    return _list(name, value, _status)


def _text(name: str, value: cbor.CborValue) -> str:
    text = cbor.as_text(value, what=name)
    if len(text) > _MAX_TEXT:
        raise DecodeError(f"{name} has an entry that is too long", got=len(text), want=f"at most {_MAX_TEXT}")
    return text


def _texts(name: str, value: cbor.CborValue) -> tuple[str, ...]:
    return _list(name, value, _text)


def _uint(name: str, value: cbor.CborValue) -> int:
    number = cbor.as_uint(value, what=name)
    if number > 0xFFFF_FFFF:
        raise DecodeError(f"{name} is too large", want="32 bits")
    return number


def _days(name: str, value: cbor.CborValue) -> int:
    days = _uint(name, value)
    if days > _MAX_DAYS:
        raise DecodeError(f"{name} is too large", got=days, want=f"at most {_MAX_DAYS} days")
    return days


def _svns(name: str, value: cbor.CborValue) -> bytes:
    return _bytes(name, value, _SVNS)


def _bool(name: str, value: cbor.CborValue) -> bool:
    if not isinstance(value, bool):
        raise DecodeError(f"{name} is neither true nor false")
    return value


_MAX_DAYS: Final = 3650

_READERS: Final[Mapping[str, Callable[[str, cbor.CborValue], Any]]] = {
    "trust_anchors": _roots,
    "accepted_tcb_statuses": _statuses,
    "denied_advisories": _texts,
    "grace_days": _days,
    "min_tcb_evaluation": _uint,
    "min_tee_tcb_svn": _svns,
    "min_qe_svn": _uint,
    "min_pce_svn": _uint,
    "allow_dynamic_platform": _bool,
    "allow_cached_keys": _bool,
    "allow_smt": _bool,
    "mr_td": _values,
    "rtmr0": _register,
    "rtmr1": _register,
    "rtmr2": _register,
    "rtmr3": _values,
    "mr_config_id": _values,
    "mr_owner": _values,
    "mr_owner_config": _values,
    "mr_seam": _values,
    "mr_service_td": _values,
    "unsafe_allow_debug": _bool,
    "unsafe_allow_migration": _bool,
    "unsafe_allow_sept_ve": _bool,
}
"""How each key is read."""
