"""Rules of profiles that vectors of CoRIM are about and confsec has no use for: they run here and nowhere else.

Each is the structure that a profile asks for, beyond CoRIM itself: which identifiers name an environment, which keys
its measurements have, and what stands under these. What a service concludes from them is not a rule of a profile.

- PSA: draft-fdb-rats-psa-endorsements, sections 3.2 to 3.4.
- CCA: draft-ydb-rats-cca-endorsements, sections 3.1 and 3.2.
- SEV-SNP: `corim_reference.py`, with the root keys that Veraison's services take beside it.
- Parsec's and EnactTrust's TPM: Veraison's services, `scheme/*/corim.go`; there is no other text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from attrs import frozen

from confsec.errors import DecodeError
from confsec.protocol.cbor_general import Tag
from confsec.protocol.comid import KeyTriple, ValueTriple
from confsec.protocol.comid_measurement import Environment, Measurement
from confsec.protocol.corim import Corim
from confsec.protocol.corim_codec import BYTES_TAG, UEID_TAG, URI_TAG, UUID_TAG
from confsec.protocol.corim_common import PKIX_CERT_PATH_TAG, PKIX_CERT_TAG, PKIX_KEY_TAG
from confsec.protocol.corim_reference import AMD_SNP_PROFILE

__all__ = ["PROFILES", "check_profile"]

_HASH_SIZES: Final = frozenset({32, 48, 64})
_RANDOM_UEID: Final = 1


@frozen
class _Profile:
    """What a profile asks of its triples. Each raises `DecodeError`."""

    name: str
    reference: Callable[[ValueTriple], None]
    attest_key: Callable[[KeyTriple], None]


def check_profile(corim: Corim, names: Sequence[str]) -> None:
    """Check that a CoRIM has one of these profiles, and keeps to its rules. Raises `DecodeError`."""
    uri = corim.profile.value if corim.profile is not None and corim.profile.number == URI_TAG else None
    profile = PROFILES.get(uri) if isinstance(uri, str) else None
    if profile is None or profile.name not in names:
        raise DecodeError("a CoRIM without the profile that it should have", want=" or ".join(names))
    for comid in corim.comids:
        for reference in comid.triples.reference_triples or ():
            profile.reference(reference)
        for key in comid.triples.attest_key_triples or ():
            profile.attest_key(key)


def _require(holds: bool, rule: str) -> None:  # noqa: FBT001 - it is what is required
    if not holds:
        raise DecodeError(f"a profile asks for {rule}")


def _is(identifier: Tag | None, number: int, sizes: Sequence[int] | frozenset[int] | None = None) -> bool:
    """Tell whether an identifier has a tag, and one of the sizes if any are given."""
    if identifier is None or identifier.number != number:
        return False
    return sizes is None or (isinstance(identifier.value, bytes) and len(identifier.value) in sizes)


def _class_id(environment: Environment) -> Tag | None:
    return environment.class_.class_id if environment.class_ is not None else None


def _require_one_key(triple: KeyTriple) -> None:
    _require(len(triple.key_list) == 1, "one key")
    _require(_is(triple.key_list[0], PKIX_KEY_TAG), "a public key in PEM")


# --- Arm: PSA and CCA -------------------------------------------------------------------------------------------------


def _require_implementation(environment: Environment) -> None:
    _require(_is(_class_id(environment), BYTES_TAG, (32,)), "an implementation id of 32 bytes as the class")


def _require_no_instance(environment: Environment) -> None:
    _require(environment.instance is None, "reference values of a class, not of an instance")


def _require_hashes(measurement: Measurement) -> None:
    digests = measurement.mval.digests or ()
    _require(bool(digests), "digests")
    _require(all(len(digest.val) in _HASH_SIZES for digest in digests), "digests of 32, 48 or 64 bytes")


def _require_signer(measurement: Measurement) -> None:
    keys = measurement.mval.cryptokeys or ()
    _require(len(keys) == 1 and _is(keys[0], BYTES_TAG, _HASH_SIZES), "one signer id of 32, 48 or 64 bytes")


def _psa_reference(triple: ValueTriple) -> None:
    _require_implementation(triple.environment)
    _require_no_instance(triple.environment)
    for measurement in triple.measurements:
        _require(measurement.mkey == "psa.software-component", "the key psa.software-component")
        _require_hashes(measurement)
        _require_signer(measurement)


def _psa_key(triple: KeyTriple) -> None:
    _require_implementation(triple.environment)
    instance = triple.environment.instance
    _require(_is(instance, UEID_TAG, (33,)), "a UEID of 33 bytes as the instance")
    _require(instance is not None and instance.value[:1] == bytes([_RANDOM_UEID]), "a UEID of the type RAND")  # type: ignore[index]  # it is bytes
    _require_one_key(triple)


def _cca_platform_reference(triple: ValueTriple) -> None:
    _require_implementation(triple.environment)
    _require_no_instance(triple.environment)
    for measurement in triple.measurements:
        match measurement.mkey:
            case "cca.software-component":
                _require_hashes(measurement)
                _require_signer(measurement)
                version = measurement.mval.version
                _require(version is None or version.version_scheme is None, "a version without scheme")
            case "cca.platform-config":
                _require(measurement.mval.masked_value is not None, "a raw value")
            case _:
                _require(False, "the key cca.software-component or cca.platform-config")


def _cca_realm_reference(triple: ValueTriple) -> None:
    _require(_is(_class_id(triple.environment), BYTES_TAG, _HASH_SIZES), "the RIM, a hash, as the class")
    for measurement in triple.measurements:
        if measurement.mkey == "cca.rpv":
            _require(measurement.mval.masked_value is not None, "a raw value")
            continue
        _require(measurement.mkey in _REALM_KEYS, "the keys of a realm")
        _require_hashes(measurement)
        _require(len(measurement.mval.digests or ()) == 1, "one digest")
    _require(any(measurement.mkey == "cca.rim" for measurement in triple.measurements), "a RIM")


def _no_keys(_: KeyTriple) -> None:
    _require(False, "no keys")


_REALM_KEYS: Final = frozenset({"cca.rim", "cca.rem0", "cca.rem1", "cca.rem2", "cca.rem3"})

# --- AMD --------------------------------------------------------------------------------------------------------------


def _snp_reference(triple: ValueTriple) -> None:
    _require(_is(triple.environment.instance, BYTES_TAG), "bytes as the instance")
    _require(all(isinstance(measurement.mkey, int) for measurement in triple.measurements), "numbers as keys")


def _snp_key(triple: KeyTriple) -> None:
    class_ = triple.environment.class_
    _require(class_ is not None and class_.vendor is not None and class_.model is not None, "vendor and model")
    certificates = (PKIX_CERT_TAG, PKIX_CERT_PATH_TAG)
    _require(all(key.number in certificates for key in triple.key_list), "certificates as keys")


# --- TPM --------------------------------------------------------------------------------------------------------------


def _parsec_reference(triple: ValueTriple) -> None:
    _require(_is(_class_id(triple.environment), UUID_TAG), "a UUID as the class")
    _require_no_instance(triple.environment)
    _require(triple.environment.group is None, "no group")
    for measurement in triple.measurements:
        _require(isinstance(measurement.mkey, int), "the index of a PCR as the key")
        _require(measurement.mval.digests is not None, "digests")


def _parsec_key(triple: KeyTriple) -> None:
    _require(_is(_class_id(triple.environment), UUID_TAG), "a UUID as the class")
    _require(_is(triple.environment.instance, BYTES_TAG), "bytes as the instance")
    _require(triple.environment.group is None, "no group")
    _require_one_key(triple)


def _require_node(environment: Environment) -> None:
    _require(_is(environment.instance, UUID_TAG), "a UUID as the instance")
    _require(environment.class_ is None and environment.group is None, "an instance alone")


def _enacttrust_reference(triple: ValueTriple) -> None:
    _require_node(triple.environment)
    _require(len(triple.measurements) == 1, "one measurement")
    _require(len(triple.measurements[0].mval.digests or ()) == 1, "one digest")


def _enacttrust_key(triple: KeyTriple) -> None:
    _require_node(triple.environment)
    _require_one_key(triple)


PROFILES: Final[Mapping[str, _Profile]] = {
    "tag:arm.com,2025:psa#1.0.0": _Profile("psa", _psa_reference, _psa_key),
    "tag:arm.com,2025:cca_platform#1.0.0": _Profile("cca", _cca_platform_reference, _psa_key),
    "tag:arm.com,2025:cca_realm#1.0.0": _Profile("cca", _cca_realm_reference, _no_keys),
    AMD_SNP_PROFILE: _Profile("sevsnp", _snp_reference, _snp_key),
    "tag:github.com/parallaxsecond,2023-03-03:tpm": _Profile("parsec-tpm", _parsec_reference, _parsec_key),
    "https://enacttrust.com/veraison/1.0.0": _Profile("tpm-enacttrust", _enacttrust_reference, _enacttrust_key),
}
"""By the URI that a CoRIM names."""
