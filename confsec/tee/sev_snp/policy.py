"""What a relying party demands of a guest under SEV-SNP, as data.

The table of a policy file and the item of a Proof have one form (docs/policies.md): every key of `SnpPolicy` has to be
there, none has a default, and bytes may be written in hex. Where a list of values stands, the text `UNSAFE_ANY` says
that nobody compares them; a rule that is switched off has a name that begins with `unsafe_`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Self, TypeVar

from attrs import evolve, fields, frozen

from confsec.errors import ConfigError, DecodeError
from confsec.protocol import cbor
from confsec.protocol.policy import UNSAFE_ANY, UnsafeAny, join_values
from confsec.protocol.wire import decode_hex
from confsec.tee.sev_snp.certificates import AMD_ROOTS
from confsec.tee.sev_snp.evidence import PLATFORM_BITS, POLICY_BITS, VERSIONS, Product, SigningKey, Tcb
from confsec.tee.simulated.roots import SIMULATED_ROOTS

__all__ = ["VALUE_SIZES", "Demand", "SnpPolicy", "TcbFloor", "Values"]

Values = tuple[bytes, ...] | UnsafeAny
"""The values that are accepted, sorted and once each, or any."""

Demand = bool | UnsafeAny
"""A bit that has to be set (`required`), or clear (`forbidden`), or is not looked at."""

VALUE_SIZES: Final[Mapping[str, int]] = {
    "author_keys": 48,
    "family_ids": 16,
    "firmware_measurements": 48,
    "host_data": 32,
    "id_keys": 48,
    "image_ids": 16,
    "measurements": 48,
}
"""The lists of values that an image can name, and how many bytes each value has."""

_UNSAFE_ANY: Final = "UNSAFE_ANY"
_ANY_CPU: Final = "any"
_DEMANDS: Final[Mapping[str, Demand]] = {"required": True, "forbidden": False, _UNSAFE_ANY: UNSAFE_ANY}
_LEVELS: Final = ("fmc", "bootloader", "tee", "snp", "microcode")
_MAX_ENTRIES: Final = 1024
_MAX_TEXT: Final = 128
_MITIGATIONS: Final = 64

_Entry = TypeVar("_Entry")


@frozen(kw_only=True)
class TcbFloor:
    """The levels that some processors must have, and why."""

    product: Product

    cpu: bytes
    """Family, model and stepping: 3 bytes. Empty for all of the product.

    Levels of microcode are those of one stepping, and say nothing about another.
    """

    advisories: tuple[str, ...]
    """What the floor protects from: `AMD-SB-3019`, for instance. Sorted."""

    tcb: Tcb
    """The lowest level of each part that is good enough."""

    def __attrs_post_init__(self) -> None:
        if not self.advisories:
            raise ConfigError("a TCB floor needs a name", want="an advisory, or a word of your own")
        _require_sorted("advisories", self.advisories)

    @property
    def order(self) -> tuple[str, bytes, tuple[str, ...]]:
        """What floors are sorted by."""
        return self.product.value, self.cpu, self.advisories

    def to_item(self) -> dict[str, cbor.CborValue]:
        """Return the floor as it stands in a policy."""
        return {
            "product": self.product.value,
            "cpu": self.cpu.hex() or _ANY_CPU,
            "advisories": list(self.advisories),
            **self.tcb.parts,
        }


@frozen(kw_only=True)
class SnpPolicy:
    """What has to be so with a guest. Nothing has a default."""

    trust_anchors: tuple[bytes, ...]
    """SHA-256 of the DER of each ARK that is trusted, sorted. In a file also `amd-milan`, `amd-genoa`, `amd-turin`."""

    products: tuple[str, ...]
    """The generations of processors that are accepted, sorted: `Genoa`, `Milan`, `Turin`."""

    signing_keys: tuple[str, ...]
    """What may have signed, sorted: `vcek`, a key of the chip; `vlek`, a key of the cloud, who hides the chip."""

    csp_ids: tuple[str, ...] | UnsafeAny
    """The clouds whose VLEKs are accepted, sorted, as AMD names them in the certificate."""

    unsafe_allow_missing_crl: bool
    """Without AMD's revocation list nobody knows whether a key was revoked. One that is there is looked at anyway."""

    min_report_version: int
    """The version that a report must have at least. Before 3 it does not say which processor it is from."""

    guest_policy: Mapping[str, Demand]
    """Each bit of the guest's policy, by name: `debug`, `migrate_ma`, `smt`, …"""

    platform_info: Mapping[str, Demand]
    """Each bit of PLATFORM_INFO, by name: `alias_check_complete`, `ciphertext_hiding`, …"""

    min_abi: tuple[int, int]
    """Major and minor of the ABI that the guest's policy must ask for at least."""

    min_firmware: tuple[int, int, int]
    """Major, minor and build that current and committed firmware must have at least."""

    unsafe_allow_provisional_firmware: bool
    """The firmware that runs may be newer than that which is committed, so the host can go back."""

    min_guest_svn: int
    """The version that the guest's ID block must name at least."""

    vmpl: int
    """The privilege level that must have asked for the report: 0 to 3. Under an SVSM and on Azure always 0."""

    measurements: Values
    """Launch measurements that cover the whole system: kernel, command line and initial RAM disk. 48 bytes each."""

    firmware_measurements: Values
    """Launch measurements of firmware with SVSM or paravisor, where PCRs of a TPM tell the system. 48 bytes each."""

    host_data: Values
    """What the host may have given at launch; 32 zero bytes for nothing."""

    family_ids: Values
    """16 bytes each, from the ID block; zeros for none."""

    image_ids: Values
    """16 bytes each, from the ID block; zeros for none."""

    id_keys: Values
    """SHA-384 of keys that may have signed the ID block; 48 zero bytes for none."""

    author_keys: Values
    """SHA-384 of keys that may have signed the ID key; 48 zero bytes for none."""

    tcb_floors: tuple[TcbFloor, ...]
    """The levels that processors must have. A processor to which no floor applies is refused."""

    required_mitigations: tuple[int, ...]
    """The bits that must be set in both mitigation vectors, sorted. A report before version 5 has none."""

    accepted_chips: Values
    """The ids of the chips that are known to stand where they should, 64 bytes each, filled up with zeros."""

    denied_chips: tuple[bytes, ...]
    """The ids of chips whose keys are known to have leaked, sorted, 64 bytes each."""

    def __attrs_post_init__(self) -> None:
        if set(self.guest_policy) != set(POLICY_BITS) or set(self.platform_info) != set(PLATFORM_BITS):
            raise ConfigError("the policy for SEV-SNP does not name each bit", want=", ".join(sorted(POLICY_BITS)))
        for each in fields(type(self)):
            value = getattr(self, each.name)
            if isinstance(value, tuple) and each.name not in _VERSION_SIZES:
                _require_sorted(each.name, value)

    @property
    def accepts_simulated(self) -> bool:
        """Whether a root whose private key is published is among the trust anchors."""
        return not SIMULATED_ROOTS.isdisjoint(self.trust_anchors)

    @classmethod
    def from_item(cls, value: cbor.CborValue) -> Self:
        """Read the table of a file or of a Proof. Raises `DecodeError`, also for the root of a simulator."""
        members = cbor.as_map(value, what="the policy for SEV-SNP", keys=tuple(each.name for each in fields(cls)))
        try:
            policy = cls(**{name: _READERS[name](name, members[name]) for name in members})
        except ConfigError as exc:
            raise DecodeError(str(exc)) from exc
        if policy.accepts_simulated:
            raise DecodeError("the policy for SEV-SNP trusts the root of a simulator", want="a vendor's root")
        return policy

    def to_item(self) -> dict[str, cbor.CborValue]:
        """Return the table as it stands in a Proof. `from_item` reads it back."""
        return {each.name: _item(getattr(self, each.name)) for each in fields(type(self))}

    def with_values(self, values: Mapping[str, tuple[bytes, ...]]) -> Self:
        """Return the policy with values added to lists in `VALUE_SIZES`. Raises `ConfigError` for another size."""
        for name, added in values.items():
            if any(len(value) != VALUE_SIZES[name] for value in added):
                raise ConfigError(f"a value of {name} has another size", want=f"{VALUE_SIZES[name]} bytes")
        joined = {name: join_values(getattr(self, name), added) for name, added in values.items()}
        return evolve(self, **joined)  # type: ignore[arg-type]  # the names are those of lists


def _rank(value: Any) -> Any:
    """Return what a list is sorted by."""
    return value.order if isinstance(value, TcbFloor) else value


def _require_sorted(name: str, values: Collection[Any]) -> None:
    """Have one spelling of each policy: its digest is its name in a Proof. Raises `ConfigError`."""
    ranks = [_rank(value) for value in values]
    if ranks != sorted(set(ranks)):
        raise ConfigError(f"the policy for SEV-SNP does not list {name} sorted and once each")


def _item(value: Any) -> cbor.CborValue:
    match value:
        case UnsafeAny():
            return _UNSAFE_ANY
        case TcbFloor():
            return value.to_item()
        case tuple():
            return [_item(each) for each in value]
        case Mapping():
            return {name: _demand_text(value[name]) for name in value}
        case _:
            return value  # type: ignore[no-any-return]  # the fields have no other types than those of an item


def _demand_text(demand: Demand) -> str:
    return next(text for text, each in _DEMANDS.items() if each is demand)


# --- Reading ----------------------------------------------------------------------------------------------------------


def _list(name: str, value: cbor.CborValue, read: Callable[[str, cbor.CborValue], _Entry]) -> tuple[_Entry, ...]:
    """Read a list and put it in order. What stands twice stays, and is refused."""
    entries = [read(name, each) for each in cbor.as_array(value, what=name, limit=_MAX_ENTRIES)]
    return tuple(sorted(entries, key=_rank))


def _bytes(size: int) -> Callable[[str, cbor.CborValue], bytes]:
    def read(name: str, value: cbor.CborValue) -> bytes:
        return cbor.as_bytes(decode_hex(value) if isinstance(value, str) else value, what=name, size=size)

    return read


def _values(size: int) -> Callable[[str, cbor.CborValue], Values]:
    def read(name: str, value: cbor.CborValue) -> Values:
        return UNSAFE_ANY if value == _UNSAFE_ANY else _list(name, value, _bytes(size))

    return read


def _text(name: str, value: cbor.CborValue) -> str:
    text = cbor.as_text(value, what=name)
    if not 0 < len(text) <= _MAX_TEXT:
        raise DecodeError(f"{name} has an entry of another length", got=len(text), want=f"1 to {_MAX_TEXT} characters")
    return text


def _choice(choices: Collection[str]) -> Callable[[str, cbor.CborValue], str]:
    def read(name: str, value: cbor.CborValue) -> str:
        text = cbor.as_text(value, what=name)
        if text not in choices:
            raise DecodeError(f"{name} has an entry that there is not", got=text[:32], want=", ".join(sorted(choices)))
        return text

    return read


def _texts(read: Callable[[str, cbor.CborValue], str]) -> Callable[[str, cbor.CborValue], tuple[str, ...]]:
    return lambda name, value: _list(name, value, read)


def _csp_ids(name: str, value: cbor.CborValue) -> tuple[str, ...] | UnsafeAny:
    return UNSAFE_ANY if value == _UNSAFE_ANY else _list(name, value, _text)


def _root(name: str, value: cbor.CborValue) -> bytes:
    known = AMD_ROOTS.get(value) if isinstance(value, str) else None
    return known or _bytes(32)(name, value)


def _roots(name: str, value: cbor.CborValue) -> tuple[bytes, ...]:
    return _list(name, value, _root)


def _demands(bits: Collection[str]) -> Callable[[str, cbor.CborValue], Mapping[str, Demand]]:
    def read(name: str, value: cbor.CborValue) -> Mapping[str, Demand]:
        members = cbor.as_map(value, what=name, keys=tuple(bits))
        return {bit: _DEMANDS[_choice(_DEMANDS)(f"{name}.{bit}", members[bit])] for bit in bits}

    return read


def _number(limit: int) -> Callable[[str, cbor.CborValue], int]:
    def read(name: str, value: cbor.CborValue) -> int:
        number = cbor.as_uint(value, what=name)
        if number > limit:
            raise DecodeError(f"{name} is too large", got=number, want=f"at most {limit}")
        return number

    return read


def _version(name: str, value: cbor.CborValue) -> tuple[int, ...]:
    parts = cbor.as_array(value, what=name, limit=_VERSION_SIZES[name])
    if len(parts) != _VERSION_SIZES[name]:
        raise DecodeError(f"{name} has another number of parts", got=len(parts), want=_VERSION_SIZES[name])
    return tuple(_number(0xFF)(name, part) for part in parts)


def _bool(name: str, value: cbor.CborValue) -> bool:
    if not isinstance(value, bool):
        raise DecodeError(f"{name} is neither true nor false")
    return value


def _floor(name: str, value: cbor.CborValue) -> TcbFloor:
    members = cbor.as_map(value, what=name, keys=("product", "cpu", "advisories", *_LEVELS))
    return TcbFloor(
        product=Product(_choice(_PRODUCTS)(name, members["product"])),
        cpu=b"" if members["cpu"] == _ANY_CPU else _bytes(3)(f"{name}.cpu", members["cpu"]),
        advisories=_list(f"{name}.advisories", members["advisories"], _text),
        tcb=Tcb(**{level: _number(0xFF)(f"{name}.{level}", members[level]) for level in _LEVELS}),
    )


_PRODUCTS: Final = tuple(product.value for product in Product)
_SIGNING_KEYS: Final = tuple(key.name.lower() for key in SigningKey)
_VERSION_SIZES: Final = {"min_abi": 2, "min_firmware": 3}

_READERS: Final[Mapping[str, Callable[[str, cbor.CborValue], Any]]] = {
    "trust_anchors": _roots,
    "products": _texts(_choice(_PRODUCTS)),
    "signing_keys": _texts(_choice(_SIGNING_KEYS)),
    "csp_ids": _csp_ids,
    "unsafe_allow_missing_crl": _bool,
    "min_report_version": _number(VERSIONS[-1]),
    "guest_policy": _demands(POLICY_BITS),
    "platform_info": _demands(PLATFORM_BITS),
    "min_abi": _version,
    "min_firmware": _version,
    "unsafe_allow_provisional_firmware": _bool,
    "min_guest_svn": _number(0xFFFF_FFFF),
    "vmpl": _number(3),
    "measurements": _values(48),
    "firmware_measurements": _values(48),
    "host_data": _values(32),
    "family_ids": _values(16),
    "image_ids": _values(16),
    "id_keys": _values(48),
    "author_keys": _values(48),
    "tcb_floors": lambda name, value: _list(name, value, _floor),
    "required_mitigations": lambda name, value: _list(name, value, _number(_MITIGATIONS - 1)),
    "accepted_chips": _values(64),
    "denied_chips": lambda name, value: _list(name, value, _bytes(64)),
}
"""How each key is read."""
