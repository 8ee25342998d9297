"""How a verifier says what it thinks of an attester: trustworthiness claims and tiers (draft-ietf-rats-ar4si).

A claim is a number of eight bits about one aspect of an attester, and belongs to a tier: affirming, warning,
contraindicated, or none, which says nothing. The eight aspects together are the trustworthiness vector.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Final, Self, final

from attrs import fields, frozen

from confsec.errors import DecodeError

__all__ = ["TRUST_CLAIMS", "TrustTier", "TrustVector", "describe_claim", "worst_tier"]

_SECTION: Final = "draft-ietf-rats-ar4si, section 2.3"


class TrustTier(IntEnum):
    """What a claim comes down to. Its number is the first one of the standard claims in it."""

    NONE = 0
    AFFIRMING = 2
    WARNING = 32
    CONTRAINDICATED = 96

    @property
    def word(self) -> str:
        """The tier in JSON."""
        return self.name.lower()

    @property
    def trust(self) -> int:
        """How much one may trust: the higher, the more. Saying nothing is between affirming and a warning."""
        return _TRUST[self]

    @classmethod
    def from_word(cls, word: object) -> TrustTier:
        """Return the tier with this name in JSON. Raises `DecodeError`."""
        if not isinstance(word, str) or word not in _BY_WORD:
            raise DecodeError("no trustworthiness tier", want=", ".join(_BY_WORD), section=_SECTION)
        return _BY_WORD[word]

    @classmethod
    def from_number(cls, number: object) -> TrustTier:
        """Return the tier with this number in CBOR. Raises `DecodeError`."""
        if isinstance(number, bool) or not isinstance(number, int) or number not in _BY_NUMBER:
            raise DecodeError("no trustworthiness tier", want=", ".join(map(str, _BY_NUMBER)), section=_SECTION)
        return _BY_NUMBER[number]

    @classmethod
    def of_claim(cls, claim: int) -> TrustTier:
        """Return the tier that a claim belongs to: the negative numbers are for claims that are no standard."""
        size = claim if claim >= 0 else -claim - 1
        if size <= 1 and claim >= -1:
            return cls.NONE
        if size < cls.WARNING:
            return cls.AFFIRMING
        return cls.WARNING if size < cls.CONTRAINDICATED else cls.CONTRAINDICATED


_BY_WORD: Final = {tier.word: tier for tier in TrustTier}
_BY_NUMBER: Final = {int(tier): tier for tier in TrustTier}
_TRUST: Final = {
    TrustTier.CONTRAINDICATED: 0,
    TrustTier.WARNING: 1,
    TrustTier.NONE: 2,
    TrustTier.AFFIRMING: 3,
}


@final
@frozen(kw_only=True)
class TrustVector:
    """The eight claims, each -128 to 127, or None where none is made. 0 says no more than None."""

    instance_identity: int | None = None
    """Whether this very attester is known, and good."""

    configuration: int | None = None
    """Whether it is configured without known weaknesses."""

    executables: int | None = None
    """Whether what was loaded is what should be."""

    file_system: int | None = None
    """Whether its files are what they should be."""

    hardware: int | None = None
    """Whether hardware and firmware are genuine, and free of known weaknesses."""

    runtime_opaque: int | None = None
    """Whether its memory is hidden from whoever runs it."""

    storage_opaque: int | None = None
    """Whether what it stores is encrypted."""

    sourced_data: int | None = None
    """Whether the data that it uses come from attesters that are trusted."""

    def __attrs_post_init__(self) -> None:
        for name, claim in self.claims.items():
            if isinstance(claim, bool) or not -128 <= claim <= 127:
                raise DecodeError(f"no trustworthiness claim about {name}", want="-128 to 127", section=_SECTION)

    @property
    def claims(self) -> Mapping[str, int]:
        """The claims that are made, by their names in JSON."""
        values = ((name, getattr(self, attribute)) for name, attribute in zip(_NAMES, _ATTRIBUTES, strict=True))
        return {name: value for name, value in values if value is not None}

    @property
    def tier(self) -> TrustTier:
        """The worst tier among the claims; those that say nothing do not count, unless all do."""
        return worst_tier(map(TrustTier.of_claim, self.claims.values()))

    @classmethod
    def from_names(cls, claims: Mapping[str, object]) -> Self:
        """Make the vector of claims by their names in JSON. Raises `DecodeError`."""
        return cls._from(claims, _BY_NAME)

    @classmethod
    def from_numbers(cls, claims: Mapping[int, object]) -> Self:
        """Make the vector of claims by their numbers in CBOR. Raises `DecodeError`."""
        return cls._from(claims, dict(enumerate(_ATTRIBUTES)))

    @classmethod
    def _from(cls, claims: Mapping[int, object] | Mapping[str, object], attributes: Mapping[int | str, str]) -> Self:
        values: dict[str, int] = {}
        for key, claim in claims.items():
            if key not in attributes or isinstance(claim, bool) or not isinstance(claim, int):
                raise DecodeError("no claim of a trustworthiness vector", section=_SECTION)
            values[attributes[key]] = claim
        if not values:
            raise DecodeError("a trustworthiness vector without claims", section=_SECTION)
        return cls(**values)

    def to_numbers(self) -> dict[int, int]:
        """Return the claims by their numbers in CBOR."""
        return {_NAMES.index(name): claim for name, claim in self.claims.items()}


def worst_tier(tiers: Iterable[TrustTier]) -> TrustTier:
    """Return the tier of least trust. One that says nothing does not count, unless all do."""
    said = [tier for tier in tiers if tier is not TrustTier.NONE]
    return min(said, key=lambda tier: tier.trust, default=TrustTier.NONE)


_ATTRIBUTES: Final = tuple(each.name for each in fields(TrustVector))
_NAMES: Final = tuple(name.replace("_", "-") for name in _ATTRIBUTES)
_BY_NAME: Final[Mapping[int | str, str]] = dict(zip(_NAMES, _ATTRIBUTES, strict=True))


# --- What the numbers mean --------------------------------------------------------------------------------------------

_EVERYWHERE: Final = {
    "verifier_malfunction": (-1, "the verifier failed"),
    "no_claim": (0, "nothing is said"),
    "unexpected_evidence": (1, "the verifier could not evaluate part of the evidence"),
}
_CRYPTO_FAILED: Final = {"crypto_failed": (99, "the evidence does not verify")}

TRUST_CLAIMS: Final[Mapping[str, Mapping[str, tuple[int, str]]]] = {
    aspect: {**_EVERYWHERE, **claims, **_CRYPTO_FAILED}
    for aspect, claims in {
        "instance-identity": {
            "recognized_instance": (2, "known, and not known to be compromised"),
            "untrustworthy_instance": (96, "known, and not trustworthy"),
            "unrecognized_instance": (97, "not known, and it should be"),
        },
        "configuration": {
            "approved_config": (2, "known and approved"),
            "safe_config": (3, "no known weaknesses"),
            "unsafe_config": (32, "known weaknesses"),
            "unavailable_config_elements": (36, "some of it cannot be seen"),
            "unsupportable_config": (96, "weaknesses that cannot be accepted"),
        },
        "executables": {
            "approved_rt": (2, "only approved ones, during and after boot"),
            "approved_boot": (3, "only approved ones, during boot"),
            "unsafe_rt": (32, "only known ones, some with known weaknesses"),
            "unrecognized_rt": (33, "some are not known"),
            "contraindicated_rt": (96, "some speak against it"),
        },
        "file-system": {
            "approved_fs": (2, "only approved files"),
            "unrecognized_fs": (32, "some files are not known"),
            "contraindicated_fs": (96, "some files speak against it"),
        },
        "hardware": {
            "genuine_hw": (2, "genuine and supported"),
            "unsafe_hw": (32, "genuine, with known weaknesses"),
            "contraindicated_hw": (96, "genuine, and not trustworthy"),
            "unrecognized_hw": (97, "not known, and it should be"),
        },
        "runtime-opaque": {
            "encrypted_rt": (2, "memory is encrypted, inside a TEE"),
            "isolated_rt": (32, "memory is isolated, and its operator may see it"),
            "visible_rt": (96, "memory is visible from outside"),
        },
        "storage-opaque": {
            "hw_encrypted_secrets": (2, "encrypted under keys that never leave hardware"),
            "sw_encrypted_secrets": (32, "encrypted under keys in software"),
            "unencrypted_secrets": (96, "not encrypted"),
        },
        "sourced-data": {
            "trusted_sources": (2, "from attesters that are affirmed"),
            "untrusted_sources": (32, "from sources that are not attested, or warned of"),
            "contraindicated_sources": (96, "from sources that are contraindicated"),
        },
    }.items()
}
"""The standard claims about each aspect: a name (of Veraison, the draft has numbers only), number and meaning."""


def describe_claim(aspect: str, claim: int) -> str:
    """Say in a few words what a claim means; of one that is no standard, its tier."""
    known = dict(TRUST_CLAIMS.get(aspect, _EVERYWHERE).values())
    return known.get(claim, f"{TrustTier.of_claim(claim).word}, for a reason that is no standard")
