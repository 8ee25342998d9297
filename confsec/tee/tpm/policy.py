"""What a relying party demands of a TPM and of the boot that it measured, as data.

The table of a policy file and the item of a Proof have one form (docs/policies.md): every key of `TpmPolicy` has to be
there, none has a default, and bytes may be written in hex. Where a list of values stands, the text `UNSAFE_ANY` says
that nobody compares them; a rule that is switched off has a name that begins with `unsafe_`.

What was booted is pinned by the value of a PCR, or by what the event log shows to have been measured into it. A list
that is empty leaves it to the PCR, and then that PCR has to be pinned.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from functools import partial
from typing import Final, Self, TypeVar

from attrs import evolve, field, fields, frozen

from confsec.errors import ConfigError, DecodeError
from confsec.protocol import cbor
from confsec.protocol.policy import UNSAFE_ANY, UnsafeAny, join_values
from confsec.protocol.wire import decode_hex
from confsec.tee.event_log import HashAlgorithm
from confsec.tee.measured_boot import UKI_SECTIONS
from confsec.tee.simulated.roots import SIMULATED_ROOTS, SIMULATED_TPM_REGISTRARS
from confsec.tee.tpm.structures import PcrSelection

__all__ = ["GOOGLE_EK_AK_ROOT", "GOOGLE_EK_ROOT", "ROOT_NAMES", "VALUE_LISTS", "TpmPolicy"]

GOOGLE_EK_AK_ROOT: Final = bytes.fromhex("594759594b9b61524f6c8ef668f7177f7b9066bc0674f2f49fe9e052be78beb2")
"""SHA-256 of Google Cloud's "EK/AK CA Root" in DER, valid until 2122: AKs of Compute Engine (google/go-tpm-tools)."""

GOOGLE_EK_ROOT: Final = bytes.fromhex("9bd5285f8fb18502a7947e621ffd470266f49fcd3b73e19a190f690ad32a7caf")
"""SHA-256 of Google Cloud's older "tpm_ek_v1_cloud_host_root" in DER, valid until 2118 (google/go-tpm-tools)."""

ROOT_NAMES: Final[Mapping[str, bytes]] = {"google-ek-ak": GOOGLE_EK_AK_ROOT, "google-ek": GOOGLE_EK_ROOT}
"""Names that a policy may write instead of a digest."""

_BANKS: Final[Mapping[str, HashAlgorithm]] = {"sha256": HashAlgorithm.SHA256, "sha384": HashAlgorithm.SHA384}
_UNSAFE_ANY: Final = "UNSAFE_ANY"
_PCRS: Final = 24
_PCR: Final = "pcr"
_COMMAND_LINES: Final = "kernel_command_lines"
VALUE_LISTS: Final = frozenset({_COMMAND_LINES, *(f"{_PCR}{number}" for number in range(_PCRS))})
"""The lists of values that an image can name: `pcr0` to `pcr23` are those of `pcr_values`."""

_MAX_ENTRIES: Final = 1024
_MAX_DAYS: Final = 3650
_MAX_COMMAND_LINE: Final = 4096
_REGISTRAR_KEY: Final = 32
_APPLICATION_PCR: Final = 4
_SECURE_BOOT_PCR: Final = 7
_KERNEL_PCR: Final = 9
_UKI_PCR: Final = 11
_COMMAND_LINE_PCRS: Final = (8, 9, 12)

_Entry = TypeVar("_Entry")


@frozen(kw_only=True)
class TpmPolicy:
    """What has to be so with a TPM. Nothing has a default."""

    trust_anchors: tuple[bytes, ...]
    """SHA-256 of the DER of each root that certifies AKs or endorsement keys, sorted. In a file also a name."""

    registrars: tuple[bytes, ...]
    """Ed25519 public keys of the registrars that are believed, sorted, 32 bytes each."""

    maximum_statement_age: timedelta
    """How old a registrar's statement may be: whole days. Each tells about one TPM for as long as it is not cleared."""

    bank: HashAlgorithm
    """The bank of PCRs: SHA-256 or SHA-384."""

    pcr_selection: tuple[int, ...]
    """Which PCRs have to be quoted, ascending: exactly these. The request key works while they hold their values."""

    pcr_values: Mapping[int, tuple[bytes, ...]] = field(hash=False)
    """The values that are accepted, sorted, by the number of the PCR. A PCR that is not named is not compared."""

    boot_applications: tuple[bytes, ...] | UnsafeAny
    """Digests (Authenticode) of all that firmware may start, sorted. Empty where PCR 4 is pinned."""

    kernel_command_lines: tuple[str, ...] | UnsafeAny
    """Command lines that the kernel may have, sorted. Empty where PCR 8, 9 or 12 is pinned, as GRUB asks for."""

    uki_sections: Mapping[str, tuple[bytes, ...]] | UnsafeAny = field(hash=False)
    """Digests of each section of the unified kernel image, by its name. Empty where the image is pinned as a whole.

    Beyond the sections that are named, none may have been measured.
    """

    unsafe_allow_no_secure_boot: bool
    """Firmware may start what nobody has signed."""

    unsafe_allow_no_production: bool
    """A cloud may say that the machine is one of its own tests."""

    def __attrs_post_init__(self) -> None:
        if self.bank not in _BANKS.values():
            raise ConfigError("a TPM policy has another bank", want=" or ".join(_BANKS))
        days = self.maximum_statement_age
        if not timedelta(days=1) <= days <= timedelta(days=_MAX_DAYS) or days % timedelta(days=1):
            raise ConfigError("maximum_statement_age is out of range", want=f"1 to {_MAX_DAYS} days")
        self._require_order()
        self._require_sizes()
        self._require_selection()
        self._require_pins()

    @property
    def selection(self) -> PcrSelection:
        """The PCRs that have to be quoted, as a TPM writes them."""
        return PcrSelection.of(self.bank, self.pcr_selection)

    @property
    def accepts_simulated(self) -> bool:
        """Whether a root or a registrar whose private key is published is believed."""
        return not SIMULATED_ROOTS.isdisjoint(self.trust_anchors) or not SIMULATED_TPM_REGISTRARS.isdisjoint(
            self.registrars
        )

    @property
    def identifies_system(self) -> bool:
        """Whether a boot that passes is one of those that were meant: what was started, how, and with which initrd.

        A kernel alone does not say which system it is: with `init=/bin/sh` on its command line, or with another initial
        RAM disk, it is another one. A unified image has that inside, and PCR 11; else it is in PCR 9.
        """
        started = not isinstance(self.boot_applications, UnsafeAny)
        told = not isinstance(self.kernel_command_lines, UnsafeAny)
        loaded = _lists(self.uki_sections) or not self.pcr_values.keys().isdisjoint((_KERNEL_PCR, _UKI_PCR))
        return started and told and loaded

    @classmethod
    def from_item(cls, value: cbor.CborValue) -> Self:
        """Read the table of a file or of a Proof. Raises `DecodeError`, also for a simulator's root or registrar."""
        keys = tuple(each.name for each in fields(cls))
        of = cbor.as_map(value, what="the policy for TPMs", keys=keys)
        bank = _bank("bank", of["bank"])
        try:
            policy = cls(
                trust_anchors=_list("trust_anchors", of["trust_anchors"], _root),
                registrars=_list("registrars", of["registrars"], _registrar),
                maximum_statement_age=_days("maximum_statement_age", of["maximum_statement_age"]),
                bank=bank,
                pcr_selection=_list("pcr_selection", of["pcr_selection"], _pcr),
                pcr_values=_pcr_values("pcr_values", of["pcr_values"], bank),
                boot_applications=_or_any(of["boot_applications"], partial(_digests, "boot_applications", bank=bank)),
                kernel_command_lines=_or_any(of["kernel_command_lines"], _command_lines),
                uki_sections=_or_any(of["uki_sections"], partial(_uki_sections, "uki_sections", bank=bank)),
                unsafe_allow_no_secure_boot=_bool("unsafe_allow_no_secure_boot", of["unsafe_allow_no_secure_boot"]),
                unsafe_allow_no_production=_bool("unsafe_allow_no_production", of["unsafe_allow_no_production"]),
            )
        except ConfigError as exc:
            raise DecodeError(str(exc)) from exc
        if policy.accepts_simulated:
            raise DecodeError("the policy for TPMs trusts a simulator", want="a vendor's root and a real registrar")
        return policy

    def to_item(self) -> dict[str, cbor.CborValue]:
        """Return the table as it stands in a Proof. `from_item` reads it back."""
        return {
            "trust_anchors": list(self.trust_anchors),
            "registrars": list(self.registrars),
            "maximum_statement_age": self.maximum_statement_age.days,
            "bank": self.bank.name.lower(),
            "pcr_selection": list(self.pcr_selection),
            "pcr_values": {str(pcr): list(values) for pcr, values in self.pcr_values.items()},
            "boot_applications": _item(self.boot_applications),
            "kernel_command_lines": _item(self.kernel_command_lines),
            "uki_sections": _item(self.uki_sections),
            "unsafe_allow_no_secure_boot": self.unsafe_allow_no_secure_boot,
            "unsafe_allow_no_production": self.unsafe_allow_no_production,
        }

    def replace(self, **changes: object) -> Self:
        """Return the policy with some members changed."""
        return evolve(self, **changes)  # type: ignore[arg-type]  # attrs checks the names

    def with_values(self, values: Mapping[str, tuple[bytes, ...]]) -> Self:
        """Return the policy with values added to `VALUE_LISTS`. Raises `ConfigError` for those that it cannot have."""
        pins = dict(self.pcr_values)
        lines = self.kernel_command_lines
        for name, added in values.items():
            if name == _COMMAND_LINES:
                known = () if isinstance(lines, UnsafeAny) else lines
                lines = tuple(sorted({*known, *(line.decode("utf-8", "replace") for line in added)}))
            else:
                pcr = int(name.removeprefix(_PCR))
                pins[pcr] = join_values(pins.get(pcr, ()), added)
        return evolve(self, pcr_values=pins, kernel_command_lines=lines)

    def _require_order(self) -> None:
        """Have one spelling of each policy: its digest is its name in a Proof. Raises `ConfigError`."""
        lists: dict[str, tuple[object, ...] | UnsafeAny] = {
            "trust_anchors": self.trust_anchors,
            "registrars": self.registrars,
            "pcr_selection": self.pcr_selection,
            "boot_applications": self.boot_applications,
            "kernel_command_lines": self.kernel_command_lines,
            **{f"pcr_values.{pcr}": values for pcr, values in self.pcr_values.items()},
        }
        if not isinstance(self.uki_sections, UnsafeAny):
            lists |= {f"uki_sections{name}": values for name, values in self.uki_sections.items()}
        for name, values in lists.items():
            if not isinstance(values, UnsafeAny) and list(values) != sorted(set(values)):  # type: ignore[type-var]
                raise ConfigError(f"the policy for TPMs does not list {name} sorted and once each")

    def _require_sizes(self) -> None:
        """Refuse digests of another hash, empty lists, and sections that no stub measures. Raises `ConfigError`."""
        tables: list[Mapping[int, tuple[bytes, ...]] | Mapping[str, tuple[bytes, ...]]] = [self.pcr_values]
        if not isinstance(self.boot_applications, UnsafeAny) and self.boot_applications:
            tables.append({"boot_applications": self.boot_applications})
        if not isinstance(self.uki_sections, UnsafeAny):
            tables.append(self.uki_sections)
            unknown = set(self.uki_sections) - set(UKI_SECTIONS)
            if unknown:
                raise ConfigError("a TPM policy names a section that nobody measures", got=min(unknown)[:64])
        for table in tables:
            for name, values in table.items():
                if not values or any(len(value) != self.bank.digest_size for value in values):
                    raise ConfigError(
                        f"the values of {name} in a TPM policy are not digests of its bank",
                        want=f"one or more of {self.bank.digest_size} bytes",
                    )

    def _require_selection(self) -> None:
        """Refuse rules about PCRs that are not quoted. Raises `ConfigError`."""
        needed = set(self.pcr_values)
        needed |= {_SECURE_BOOT_PCR} if not self.unsafe_allow_no_secure_boot else set()
        needed |= {_APPLICATION_PCR} if _lists(self.boot_applications) else set()
        needed |= {_KERNEL_PCR} if _lists(self.kernel_command_lines) else set()
        needed |= {_UKI_PCR} if _lists(self.uki_sections) else set()
        chosen = set(self.pcr_selection)
        if not chosen or not chosen <= set(range(_PCRS)):
            raise ConfigError("a TPM policy selects no PCRs, or some that there are not", want=f"0 to {_PCRS - 1}")
        if not needed <= chosen:
            missing = ", ".join(map(str, sorted(needed - chosen)))
            raise ConfigError("a TPM policy has rules about PCRs that it does not select", got=missing)

    def _require_pins(self) -> None:
        """Refuse a list that is empty while nothing else says what is accepted. Raises `ConfigError`."""
        pinned = set(self.pcr_values)
        pins = {
            "boot_applications": _APPLICATION_PCR in pinned,
            "kernel_command_lines": not pinned.isdisjoint(_COMMAND_LINE_PCRS),
            "uki_sections": _lists(self.boot_applications) or not pinned.isdisjoint((_APPLICATION_PCR, _UKI_PCR)),
        }
        for name, elsewhere in pins.items():
            if not elsewhere and not isinstance(getattr(self, name), UnsafeAny) and not _lists(getattr(self, name)):
                raise ConfigError(
                    f"nothing says which {name} a TPM policy accepts",
                    want=f"a list, a value of the PCR, or {_UNSAFE_ANY}",
                )


def _lists(values: Collection[object] | UnsafeAny) -> bool:
    """Tell whether values are listed: none are, where the PCR says it all, and where any will do."""
    return not isinstance(values, UnsafeAny) and bool(values)


def _item(value: tuple[bytes, ...] | tuple[str, ...] | Mapping[str, tuple[bytes, ...]] | UnsafeAny) -> cbor.CborValue:
    match value:
        case UnsafeAny():
            return _UNSAFE_ANY
        case tuple():
            return list(value)
        case _:
            return {name: list(digests) for name, digests in value.items()}


# --- Reading ----------------------------------------------------------------------------------------------------------


def _bytes(name: str, value: cbor.CborValue, size: int) -> bytes:
    return cbor.as_bytes(decode_hex(value) if isinstance(value, str) else value, what=name, size=size)


def _list(name: str, value: cbor.CborValue, read: Callable[[str, cbor.CborValue], _Entry]) -> tuple[_Entry, ...]:
    """Read a list and put it in order. What stands twice stays, and is refused."""
    entries = [read(name, each) for each in cbor.as_array(value, what=name, limit=_MAX_ENTRIES)]
    return tuple(sorted(entries))  # type: ignore[type-var]  # bytes, texts or numbers


def _bank(name: str, value: cbor.CborValue) -> HashAlgorithm:
    bank = _BANKS.get(value) if isinstance(value, str) else None
    if bank is None:
        raise DecodeError(f"{name} names no bank of PCRs", want=" or ".join(_BANKS))
    return bank


def _root(name: str, value: cbor.CborValue) -> bytes:
    known = ROOT_NAMES.get(value) if isinstance(value, str) else None
    return known or _bytes(name, value, 32)


def _registrar(name: str, value: cbor.CborValue) -> bytes:
    return _bytes(name, value, _REGISTRAR_KEY)


def _command_lines(value: cbor.CborValue) -> tuple[str, ...]:
    return _list("kernel_command_lines", value, _command_line)


def _pcr(name: str, value: cbor.CborValue) -> int:
    number = cbor.as_uint(value, what=name)
    if number >= _PCRS:
        raise DecodeError(f"{name} names a PCR that there is not", want=f"0 to {_PCRS - 1}")
    return number


def _command_line(name: str, value: cbor.CborValue) -> str:
    text = cbor.as_text(value, what=name)
    if len(text) > _MAX_COMMAND_LINE:
        raise DecodeError(f"{name} has a line that is too long", got=len(text), want=f"at most {_MAX_COMMAND_LINE}")
    return text


def _days(name: str, value: cbor.CborValue) -> timedelta:
    days = cbor.as_uint(value, what=name)
    if days > _MAX_DAYS:
        raise DecodeError(f"{name} is too large", got=days, want=f"at most {_MAX_DAYS} days")
    return timedelta(days=days)


def _bool(name: str, value: cbor.CborValue) -> bool:
    if not isinstance(value, bool):
        raise DecodeError(f"{name} is neither true nor false")
    return value


def _table(name: str, value: cbor.CborValue) -> dict[str, cbor.CborValue]:
    if not isinstance(value, dict) or len(value) > _PCRS:
        raise DecodeError(f"{name} is not a table", want=f"at most {_PCRS} keys")
    return value


def _pcr_values(name: str, value: cbor.CborValue, bank: HashAlgorithm) -> dict[int, tuple[bytes, ...]]:
    numbers = {str(pcr): pcr for pcr in range(_PCRS)}
    table = _table(name, value)
    if not set(table) <= set(numbers):
        raise DecodeError(f"{name} names a PCR that there is not", want=f"0 to {_PCRS - 1}")
    return {numbers[pcr]: _digests(f"{name}.{pcr}", table[pcr], bank) for pcr in sorted(table, key=numbers.__getitem__)}


def _digests(name: str, value: cbor.CborValue, bank: HashAlgorithm) -> tuple[bytes, ...]:
    return _list(name, value, lambda name, each: _bytes(name, each, bank.digest_size))


def _uki_sections(name: str, value: cbor.CborValue, bank: HashAlgorithm) -> dict[str, tuple[bytes, ...]]:
    return {section: _digests(name + section, each, bank) for section, each in _table(name, value).items()}


def _or_any(value: cbor.CborValue, read: Callable[[cbor.CborValue], _Entry]) -> _Entry | UnsafeAny:
    return UNSAFE_ANY if value == _UNSAFE_ANY else read(value)
