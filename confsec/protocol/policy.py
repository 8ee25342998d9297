"""What a relying party demands before it trusts.

A policy is data: a TOML file, an item of a Proof, or a constant of this package. It names the platforms that are good
enough, what is left to assume there, how old an epoch may be, and holds one verifier with its demands for each kind of
TEE. A check that is skipped is accepted only if the policy waives it by its id, so a waiver is visible in the code that
chose the policy and in every Proof made under it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from hashlib import sha256
from typing import Final, Self, final

from attrs import evolve, field, frozen

from confsec.errors import ConfigError, DecodeError
from confsec.protocol import cbor, toml_general
from confsec.protocol.checks import Check, find_refused, require_passed
from confsec.protocol.platforms import PLATFORMS, SEV_SNP, TDX, TPM_AK, Assumption, Platform
from confsec.protocol.rats import EvidenceVerifier, VerifierReader
from confsec.protocol.wire import decode_hex

__all__ = [
    "ATTESTATION_CHECK",
    "MANIFESTS",
    "MAX_AGE",
    "MAX_POLICY",
    "MODELS",
    "PRODUCTION",
    "UNSAFE_ANY",
    "UNSAFE_UNATTESTED",
    "Policy",
    "PolicyReader",
    "UnsafeAny",
    "join_values",
    "verifier_names",
]

MANIFESTS: Final = "manifests"
"""The list of digests of manifests, where `logged` names it."""

MODELS: Final = "models"
"""In `logged`: the model that a manifest names has to be a file of a logged model."""

ATTESTATION_CHECK: Final = "attestation.evidence"
"""The check that hardware vouches for a node. Only a constant in this file can waive it, never a file or a Proof."""

MAX_AGE: Final = timedelta(hours=1)
"""No policy lets an epoch be older: nodes stop then as well."""

_UNSAFE_ANY: Final = "UNSAFE_ANY"
_CONSTANT: Final = ("constant", "digest")
_MEMBERS: Final = (
    "name",
    "minimum_nodes",
    "maximum_age",
    "platforms",
    "accepted_assumptions",
    "manifests",
    "unsafe_waived",
)
MAX_POLICY: Final = toml_general.MAX_TOML
"""A file of a policy has at most so many characters."""

_LOGGED: Final = "logged"
_MAX_ENTRIES: Final = 1024
_MAX_NODES: Final = 10_000  # as many as a fleet record has
_VERIFIER_OF_ITEM: Final = {SEV_SNP: "sev-snp", TDX: "tdx", TPM_AK: "tpm"}


@final
@frozen
class UnsafeAny:
    """Stands where a policy would list values, and says that nobody compares them."""

    def __repr__(self) -> str:
        return _UNSAFE_ANY


UNSAFE_ANY: Final = UnsafeAny()
"""Any value will do. In a file: the text `UNSAFE_ANY` instead of the list."""


@frozen(kw_only=True)
class Policy:
    """What has to be so. Nothing here has a permissive default."""

    name: str
    """What people call it."""

    minimum_nodes: int
    """A fleet with fewer nodes is refused: being one of few makes a request easy to place."""

    maximum_age: timedelta
    """To a key whose epoch began longer ago nothing is sealed: at most an hour."""

    platforms: tuple[str, ...]
    """The rows of the table of platforms that are good enough, sorted."""

    accepted_assumptions: tuple[Assumption, ...]
    """What may be left to assume, sorted by name. A platform that assumes anything else is refused."""

    manifests: tuple[bytes, ...] | UnsafeAny
    """SHA-256 of each manifest of what a node may have loaded, sorted."""

    unsafe_waived: tuple[str, ...]
    """Ids of the checks that may be skipped, sorted. Each is something that nobody has looked at."""

    logged: tuple[str, ...] = ()
    """Lists to which logged statements add values, sorted: `manifests`, or those of a table: `sev-snp.measurements`.

    `models` is none of them: it asks that a logged statement has the model that the manifest names.
    """

    verifiers: tuple[EvidenceVerifier, ...] = field(default=(), repr=lambda all_: repr([each.name for each in all_]))
    """One for each kind of TEE that a platform needs, sorted by name. A kind without a verifier is refused."""

    constant: bool = field(default=False, repr=False)
    """It is published in this package, and a Proof names it by its digest. No file can say that of itself."""

    def __attrs_post_init__(self) -> None:
        self._require_order()
        for name in self.platforms:
            missing = sorted(verifier_names(_platform(name)) - {verifier.name for verifier in self.verifiers})
            if missing:
                raise ConfigError(
                    f"the policy {self.name} accepts the platform {name}, and has no table for it",
                    hint=f"Add a table [{missing[0]}] (docs/policies.md)",
                )
        self._require_lists()

    @property
    def accepts_simulated(self) -> bool:
        """Whether it accepts roots whose private keys are published."""
        return any(verifier.accepts_simulated for verifier in self.verifiers)

    @property
    def digest(self) -> bytes:
        """SHA-256 of all that the policy says: a Proof names a constant by it."""
        return sha256(cbor.encode(self.to_members())).digest()

    def waives(self, check_id: str) -> bool:
        """Tell whether the policy lets this check be skipped."""
        return check_id in self.unsafe_waived

    def with_values(self, values: Callable[[str], tuple[bytes, ...]]) -> Self:
        """Return the policy that has what `values` gives for each list in `logged`, and no such lists any more.

        Values are added to a list, and replace UNSAFE_ANY. Raises what `values` raises, and `ConfigError` for values
        that a list cannot hold.
        """
        found = {name: values(name) for name in self.logged if name != MODELS}
        manifests = join_values(self.manifests, found.pop(MANIFESTS)) if MANIFESTS in found else self.manifests
        tables: dict[str, dict[str, tuple[bytes, ...]]] = {}
        for name, added in found.items():
            table, _, key = name.partition(".")
            tables.setdefault(table, {})[key] = added
        verifiers = tuple(
            each.with_values(tables[each.name]) if each.name in tables else each for each in self.verifiers
        )
        return evolve(self, manifests=manifests, verifiers=verifiers, logged=())

    def require(self, checks: Collection[Check], *, hint: str = "") -> None:
        """Return if every check passed, informs, or was skipped with a waiver; else raise `AppraisalError`."""
        require_passed(checks, what=f"the policy {self.name} refuses this", waived=self.unsafe_waived, hint=hint)

    def find_refused(self, checks: Collection[Check]) -> tuple[Check, ...]:
        """Return the checks that the policy does not accept."""
        return find_refused(checks, waived=self.unsafe_waived)

    def to_item(self) -> dict[str, cbor.CborValue]:
        """Return the policy as it stands in a Proof: a constant by its digest, any other in full."""
        if self.constant:
            return {"constant": self.name, "digest": self.digest}
        return self.to_members()

    def to_members(self) -> dict[str, cbor.CborValue]:
        """Return all that the policy says."""
        return {
            "name": self.name,
            "minimum_nodes": self.minimum_nodes,
            "maximum_age": int(self.maximum_age.total_seconds()),
            "platforms": list(self.platforms),
            "accepted_assumptions": [assumption.value for assumption in self.accepted_assumptions],
            "manifests": _UNSAFE_ANY if isinstance(self.manifests, UnsafeAny) else list(self.manifests),
            "unsafe_waived": list(self.unsafe_waived),
            **({"logged": list(self.logged)} if self.logged else {}),
            **{verifier.name: verifier.to_item() for verifier in self.verifiers},
        }

    def _require_lists(self) -> None:
        """Refuse logged values for lists that there are not. Raises `ConfigError`."""
        tables = {each.name: each.lists for each in self.verifiers} if self.logged else {}
        known = {MANIFESTS, MODELS, *(f"{table}.{name}" for table, lists in tables.items() for name in lists)}
        if unknown := sorted(set(self.logged) - known):
            raise ConfigError(
                "the policy takes logged values for a list that there is not", got=ascii(unknown[0][:64]),
                want=", ".join(sorted(known)), hint="docs/policies.md, Logged values",
            )  # fmt: skip

    def _require_order(self) -> None:
        """Have one spelling of each policy: its digest is its name in a Proof. Raises `ConfigError`."""
        lists: dict[str, list[str] | list[bytes]] = {
            "platforms": list(self.platforms),
            "accepted_assumptions": [assumption.value for assumption in self.accepted_assumptions],
            "unsafe_waived": list(self.unsafe_waived),
            "logged": list(self.logged),
            "verifiers": [verifier.name for verifier in self.verifiers],
        }
        if not isinstance(self.manifests, UnsafeAny):
            lists["manifests"] = list(self.manifests)
        for name, values in lists.items():
            if values != sorted(set(values)):  # type: ignore[type-var]  # each list is of one type
                raise ConfigError(f"the policy does not list its {name} sorted and once each")
        if not self.name or not 1 <= self.minimum_nodes <= _MAX_NODES:
            raise ConfigError(f"a policy needs a name, and 1 to {_MAX_NODES} nodes")
        if not timedelta(0) < self.maximum_age <= MAX_AGE or self.maximum_age % timedelta(seconds=1):
            raise ConfigError("maximum_age is out of range", got=self.maximum_age, want="1 to 3600 seconds")


def join_values(values: tuple[bytes, ...] | UnsafeAny, added: Collection[bytes]) -> tuple[bytes, ...]:
    """Return the values of a list with some added. Of a list that takes any value, the added ones are what is left."""
    return tuple(sorted({*added, *(() if isinstance(values, UnsafeAny) else values)}))


def verifier_names(platform: Platform) -> set[str]:
    """Return which verifiers the evidence of a platform needs."""
    return {name for item, name in _VERIFIER_OF_ITEM.items() if item in platform.items}


PRODUCTION: Final = Policy(
    name="PRODUCTION",
    minimum_nodes=2,
    maximum_age=MAX_AGE,
    platforms=(),
    accepted_assumptions=(),
    manifests=(),
    unsafe_waived=(),
    constant=True,
)
"""Every check must pass, and no software is named yet: it refuses everything until a policy names measurements."""

UNSAFE_UNATTESTED: Final = Policy(
    name="UNSAFE_UNATTESTED",
    minimum_nodes=1,
    maximum_age=MAX_AGE,
    platforms=(),
    accepted_assumptions=(),
    manifests=UNSAFE_ANY,
    unsafe_waived=(
        ATTESTATION_CHECK,
        "freshness.epoch",
        "log.directory",
        "log.fleet",
        "log.root",
        "token.spend",
    ),
    constant=True,
)
"""For trying things out. Prompts go to whatever the operator calls a node: nobody has looked at its machine."""


@frozen
class PolicyReader:
    """Reads policies: which kinds of TEE they may name, and which constants a Proof may name."""

    verifiers: Mapping[str, VerifierReader]
    """What reads the table of each kind of TEE, by its name."""

    constants: tuple[Policy, ...] = (PRODUCTION, UNSAFE_UNATTESTED)
    """The policies that a Proof can name by their digest."""

    def from_toml(self, text: str) -> Policy:
        """Read a policy file (docs/policies.md). Raises `ConfigError`, which names the key."""
        value = toml_general.decode(text, what="the policy")
        try:
            return self._from_members(value, what="the policy")
        except DecodeError as exc:
            raise ConfigError(str(exc), hint="docs/policies.md has all keys") from exc

    def from_item(self, value: cbor.CborValue) -> Policy:
        """Read a policy out of a Proof: a constant by its digest, or what a file could say. Raises `DecodeError`."""
        if isinstance(value, dict) and set(value) == set(_CONSTANT):
            return self._constant(value)
        try:
            return self._from_members(value, what="the policy of a Proof")
        except ConfigError as exc:
            raise DecodeError(str(exc)) from exc

    def _constant(self, value: dict[str, cbor.CborValue]) -> Policy:
        for policy in self.constants:
            if policy.to_item() == value:
                return policy
        name = cbor.as_text(value["constant"], what="the name of a policy")[:64]
        raise DecodeError("a Proof names a policy that this version does not publish", got=name)

    def _from_members(self, value: object, *, what: str) -> Policy:
        if not isinstance(value, dict):
            raise DecodeError(f"{what} is not a table")
        tables = {name: table for name, table in value.items() if name not in _MEMBERS and name != _LOGGED}
        members = cbor.as_map({name: value[name] for name in value if name in _MEMBERS}, what=what, keys=_MEMBERS)
        policy = Policy(
            name=cbor.as_text(members["name"], what="name"),
            minimum_nodes=cbor.as_uint(members["minimum_nodes"], what="minimum_nodes"),
            maximum_age=timedelta(seconds=min(cbor.as_uint(members["maximum_age"], what="maximum_age"), 1 << 31)),
            platforms=_sorted(_texts(members, "platforms")),
            accepted_assumptions=_assumptions(members),
            manifests=_manifests(members["manifests"]),
            unsafe_waived=_sorted(_texts(members, "unsafe_waived")),
            logged=_sorted(_texts(value, _LOGGED)) if _LOGGED in value else (),
            verifiers=tuple(self._verifier(name, table, what) for name, table in sorted(tables.items())),
        )
        self._require_harmless(policy, what)
        return policy

    def _verifier(self, name: str, table: cbor.CborValue, what: str) -> EvidenceVerifier:
        reader = self.verifiers.get(name)
        if reader is None:
            want = ", ".join((*_MEMBERS, *(f"[{each}]" for each in sorted(self.verifiers))))
            raise DecodeError(f"{what} has a key that no policy has", got=name[:64], want=want)
        return reader(table)

    def _require_harmless(self, policy: Policy, what: str) -> None:
        """Refuse what only a constant may say.

        Whoever may write a file could else switch everything off for somebody who only sees its name.
        """
        seen = "".join(filter(str.isprintable, policy.name))  # what cannot be seen makes no other name
        if policy.waives(ATTESTATION_CHECK) or seen in {constant.name for constant in self.constants}:
            raise DecodeError(f"{what} waives {ATTESTATION_CHECK} or has the name of a constant")
        if policy.accepts_simulated:
            raise DecodeError(f"{what} accepts simulated roots", want="the constant UNSAFE_DEMO_POLICY")


def _platform(name: str) -> Platform:
    for platform in PLATFORMS:
        if platform.name == name:
            return platform
    want = ", ".join(each.name for each in PLATFORMS)
    raise ConfigError("there is no such platform", got=name[:64], want=want)


def _texts(members: Mapping[str, cbor.CborValue], name: str) -> list[str]:
    values = cbor.as_array(members[name], what=name, limit=_MAX_ENTRIES)
    return [cbor.as_text(value, what=f"an entry of {name}") for value in values]


def _sorted(values: list[str]) -> tuple[str, ...]:
    """Put a list of a file in order. What stands twice stays, and is refused."""
    return tuple(sorted(values))


def _assumptions(members: Mapping[str, cbor.CborValue]) -> tuple[Assumption, ...]:
    try:
        return tuple(Assumption(value) for value in _sorted(_texts(members, "accepted_assumptions")))
    except ValueError as exc:
        want = ", ".join(sorted(each.value for each in Assumption))
        raise DecodeError("accepted_assumptions names something unknown", want=want) from exc


def _manifests(value: cbor.CborValue) -> tuple[bytes, ...] | UnsafeAny:
    if value == _UNSAFE_ANY:
        return UNSAFE_ANY
    entries = cbor.as_array(value, what="manifests", limit=_MAX_ENTRIES)
    digests = [decode_hex(entry) if isinstance(entry, str) else entry for entry in entries]
    return tuple(sorted(cbor.as_bytes(digest, what="a digest of a manifest", size=32) for digest in digests))
