"""Reference values out of a CoRIM, as the tables of a confsec policy.

A CoRIM may say more than a policy can compare. What is left out of a policy would be accepted by it, so nothing is:
a value that no rule of a policy stands for is refused, unless the caller names its measurement key as ignored. Two
profiles are known.

`CONFSEC_PROFILE` is our own. The environment of a triple is a class with the vendor "confsec" and as model the table
("sev-snp", "tdx", "tpm"); a measurement key is the key in that table, and its value is what `_ROWS` says: a digest, a
raw value, or the lowest version that is accepted (`min-svn`). The PCRs of a TPM are integrity registers under the key
`pcr_values`, all of one bank.

`AMD_SNP_PROFILE` is that of draft-deeglaze-amd-sev-snp-corim-profile-02 as Veraison's tools write it: measurement keys
are numbers, 0x280 and on for the fields of a report from REPORT_DATA in their order. REPORT_DATA (640) and REPORT_ID
(645) are those of one report and never compared. Exact versions cannot be said in a policy, which knows floors.

Each reference triple is one possible state, and a table accepts every combination of what it lists. So states of one
table may differ in one key only: otherwise the table would accept mixtures of them that nobody has vouched for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, final

from attrs import frozen

from confsec.errors import DecodeError, UnsupportedError
from confsec.protocol.cbor_general import Tag
from confsec.protocol.comid import ConciseMidTag, ValueTriple
from confsec.protocol.comid_measurement import ClassMap, Environment, Measurement, MeasurementKey, MeasurementValues
from confsec.protocol.corim import ConciseTagList, Corim, SwidTag
from confsec.protocol.corim_codec import BYTES_TAG, OID_TAG, URI_TAG
from confsec.protocol.corim_common import TagIdentity

__all__ = ["AMD_SNP_PROFILE", "CONFSEC_PROFILE", "ReferenceValues", "reference_tables", "reference_values"]

CONFSEC_PROFILE: Final = "urn:uuid:365768de-dd77-4d4c-b949-6adc8193133e"
"""The profile of confsec's own reference values."""

AMD_SNP_PROFILE: Final = "tag:amd.com,2024:snp-corim-profile"
"""The profile of AMD's attestation reports."""

_VENDOR: Final = "confsec"
_SNP, _TDX, _TPM = "sev-snp", "tdx", "tpm"
_PCR_VALUES: Final = "pcr_values"
_BANK: Final = "bank"
_PCRS: Final = 24
_REPLACES: Final = 1
_AMD_CLASS: Final = Tag(OID_TAG, bytes.fromhex("2b060104019c780301"))  # 1.3.6.1.4.1.3704.3.1
_AMD_NEVER_COMPARED: Final = frozenset({640, 645})

_Value = int | str | tuple[bytes, ...]
_State = Mapping[str, _Value]
_Extract = Callable[[MeasurementValues], _Value | None]


@final
@frozen
class ReferenceValues:
    """What a policy can use of a CoRIM."""

    states: Mapping[str, tuple[_State, ...]]
    """By table of the policy: the states that are possible, each with all its keys.

    A PCR stands under `pcr_values.` and its number, and `bank` as the one value beside them.
    """

    def tables(self) -> dict[str, dict[str, object]]:
        """Return tables as they stand in a policy file: bytes in hex, lists sorted.

        Raises `UnsupportedError` for states that one table cannot tell apart from their mixtures.
        """
        return {table: _as_written(_merge(table, states)) for table, states in sorted(self.states.items())}


def reference_tables(corim: Corim, *, unsafe_ignored: Collection[MeasurementKey] = ()) -> dict[str, dict[str, object]]:
    """Turn a CoRIM into tables of a policy: those keys of `sev-snp`, `tdx` and `tpm` that it has values for.

    Whoever calls has verified the CoRIM, and its times. `unsafe_ignored` are measurement keys that are left out though
    the CoRIM states them, so that any value of theirs is accepted. Raises `UnsupportedError` for a profile that is not
    known and for everything that a policy cannot say, `DecodeError` for what breaks the profile.
    """
    return reference_values(corim, unsafe_ignored=unsafe_ignored).tables()


def reference_values(corim: Corim, *, unsafe_ignored: Collection[MeasurementKey] = ()) -> ReferenceValues:
    """Read the reference values of a CoRIM whose profile is known. Raises as `reference_tables`."""
    uri = corim.profile.value if corim.profile is not None and corim.profile.number == URI_TAG else None
    read = _PROFILES.get(uri) if isinstance(uri, str) else None
    if read is None:
        # "Failure to recognize the profile identifier MUST result in the rejection of the entire CoRIM."
        raise UnsupportedError("a CoRIM without a profile that we know", want=", ".join(sorted(_PROFILES)))
    states: dict[str, list[_State]] = {}
    for comid in _active(corim):
        for triple in comid.triples.reference_triples or ():
            table, state = read(triple, frozenset(unsafe_ignored))
            states.setdefault(table, []).append(state)
    if not states:
        raise DecodeError("a CoRIM without reference values")
    return ReferenceValues({table: tuple(listed) for table, listed in states.items()})


# --- Which tags count -------------------------------------------------------------------------------------------------


def _active(corim: Corim) -> Iterable[ConciseMidTag]:
    """Return the CoMIDs that count: none that another one replaces, and only listed ones if there is a list."""
    replaced = {
        link.linked_tag_id for comid in corim.comids for link in comid.linked_tags or () if link.tag_rel == _REPLACES
    }
    lists = [tag for tag in corim.tags if isinstance(tag, ConciseTagList)]
    listed = {_name(identity) for tag in lists for identity in tag.tags_list}
    present = {_name(comid.tag_identity) for comid in corim.comids}
    present |= {(tag.tag_id, 0) for tag in corim.tags if isinstance(tag, SwidTag)}
    if not listed <= present:
        # "If any tag activated by a CoTL is not available to the Verifier, the entire CoTL is rejected."
        raise DecodeError(
            "a list of tags in a CoRIM names one that is not there", section="draft-ietf-rats-corim, CoTL"
        )
    for comid in corim.comids:
        if comid.tag_identity.tag_id not in replaced and (not lists or _name(comid.tag_identity) in listed):
            yield comid


def _name(identity: TagIdentity) -> tuple[str | bytes, int]:
    return identity.tag_id, identity.tag_version or 0


# --- What a value is --------------------------------------------------------------------------------------------------


def _digest(size: int, *algorithms: int | str) -> _Extract:
    def extract(values: MeasurementValues) -> _Value | None:
        digests = values.digests or ()
        if values.stated != {"digests"} or len(digests) != 1 or digests[0].alg not in algorithms:
            return None
        return (digests[0].val,) if len(digests[0].val) == size else None

    return extract


def _raw(size: int) -> _Extract:
    def extract(values: MeasurementValues) -> _Value | None:
        raw = values.masked_value
        if values.stated != {"raw_value"} or raw is None or raw[1] is not None or len(raw[0]) != size:
            return None
        return (raw[0],)

    return extract


def _minimum(values: MeasurementValues) -> _Value | None:
    if values.stated != {"svn"} or values.svn is None or not values.svn.minimum:
        return None
    return values.svn.value


_SHA_384: Final = _digest(48, 7, "sha-384")
_BANKS: Final[Mapping[int | str, tuple[str, int]]] = {
    1: ("sha256", 32),
    "sha-256": ("sha256", 32),
    7: ("sha384", 48),
    "sha-384": ("sha384", 48),
}

_ROWS: Final[Mapping[str, Mapping[str, _Extract]]] = {
    _SNP: {
        "measurements": _SHA_384,
        "firmware_measurements": _SHA_384,
        "id_keys": _SHA_384,
        "author_keys": _SHA_384,
        "host_data": _raw(32),
        "family_ids": _raw(16),
        "image_ids": _raw(16),
        "accepted_chips": _raw(64),
        "min_guest_svn": _minimum,
    },
    _TDX: {
        "mr_td": _SHA_384,
        "rtmr0": _SHA_384,
        "rtmr1": _SHA_384,
        "rtmr2": _SHA_384,
        "rtmr3": _SHA_384,
        "mr_seam": _SHA_384,
        "mr_service_td": _SHA_384,
        "mr_config_id": _raw(48),
        "mr_owner": _raw(48),
        "mr_owner_config": _raw(48),
        "min_qe_svn": _minimum,
        "min_pce_svn": _minimum,
        "min_tcb_evaluation": _minimum,
    },
    _TPM: {},
}
"""What each key of a table is made from. The PCRs of a TPM are read in `_read_pcrs`."""

_AMD_ROWS: Final[Mapping[int, tuple[str, _Extract]]] = {
    1: ("min_guest_svn", _minimum),
    3: ("family_ids", _raw(16)),
    4: ("image_ids", _raw(16)),
    641: ("measurements", _SHA_384),
    642: ("host_data", _raw(32)),
    643: ("id_keys", _raw(48)),
    644: ("author_keys", _raw(48)),
    3328: ("accepted_chips", _raw(64)),
}


def _extracted(extract: _Extract | None, measurement: Measurement) -> _Value:
    """Return the value of a measurement, or refuse what a policy cannot say."""
    unknown = measurement.authorized_by is not None or measurement.mval.extensions
    value = None if extract is None or unknown else extract(measurement.mval)
    if value is None:
        key = measurement.mkey
        raise UnsupportedError(
            "a reference value that no key of a policy stands for, or in a form that it does not have",
            got="no measurement key" if key is None else str(key.value if isinstance(key, Tag) else key)[:64],
            hint="A policy without it would accept any value: name it as ignored if that is meant",
        )
    return value


def _add(state: dict[str, _Value], key: str, value: _Value) -> None:
    if key in state:
        raise DecodeError("a reference triple has two values for one key", got=key)
    state[key] = value


# --- Profiles ---------------------------------------------------------------------------------------------------------


def _read_confsec(triple: ValueTriple, ignored: Collection[MeasurementKey]) -> tuple[str, _State]:
    class_ = triple.environment.class_
    table = (class_.model if class_ is not None else None) or ""
    if table not in _ROWS or triple.environment != Environment(class_=ClassMap(vendor=_VENDOR, model=table)):
        raise DecodeError("a reference triple is not about a table of a policy", want=", ".join(_ROWS))
    state: dict[str, _Value] = {}
    for measurement in triple.measurements:
        key = measurement.mkey
        if key in ignored:
            continue
        if table == _TPM and key == _PCR_VALUES:
            for name, value in _read_pcrs(measurement):
                _add(state, name, value)
        else:
            _add(state, str(key), _extracted(_ROWS[table].get(key) if isinstance(key, str) else None, measurement))
    return table, state


def _read_pcrs(measurement: Measurement) -> Iterable[tuple[str, _Value]]:
    """Yield the bank of some PCRs, and the value of each."""
    values = measurement.mval
    registers = values.integrity_registers or {}
    if values.stated != {"integrity_registers"} or values.extensions or measurement.authorized_by is not None:
        raise UnsupportedError("PCRs that are not integrity registers alone")
    banks: set[str] = set()
    for pcr, digests in registers.items():
        bank, size = _BANKS.get(digests[0].alg, ("", 0))
        if not isinstance(pcr, int) or pcr >= _PCRS or len(digests) != 1 or len(digests[0].val) != size:
            raise UnsupportedError("a PCR that there is not, or not with one value of a bank", got=str(pcr)[:64])
        banks.add(bank)
        yield f"{_PCR_VALUES}.{pcr}", (digests[0].val,)
    if len(banks) != 1:
        raise UnsupportedError("PCRs of several banks", got=", ".join(sorted(banks)), want="one bank")
    yield _BANK, banks.pop()


def _read_amd(triple: ValueTriple, ignored: Collection[MeasurementKey]) -> tuple[str, _State]:
    class_, instance = triple.environment.class_, triple.environment.instance
    if class_ != ClassMap(class_id=_AMD_CLASS) or triple.environment.group is not None:
        raise DecodeError("a reference triple is not about an attestation report of AMD", section=AMD_SNP_PROFILE)
    state: dict[str, _Value] = {}
    for measurement in triple.measurements:
        key = measurement.mkey
        if type(key) is not int:
            raise DecodeError("a reference value is not of a numbered field", section=AMD_SNP_PROFILE)
        if key in _AMD_NEVER_COMPARED or key in ignored:
            continue
        name, extract = _AMD_ROWS.get(key, ("", None))
        _add(state, name, _extracted(extract, measurement))
    _require_instance(state, instance)
    return _SNP, state


def _require_instance(state: dict[str, _Value], instance: Tag | None) -> None:
    """Take the chip that a triple is about into its state. Some tools name the guest by its measurement instead."""
    if instance is None:
        return
    name = (
        {48: "measurements", 64: "accepted_chips"}.get(len(instance.value))
        if isinstance(instance.value, bytes)
        else None
    )
    if instance.number != BYTES_TAG or name is None or not isinstance(instance.value, bytes):
        raise DecodeError("an instance is neither a chip nor a measurement", section=AMD_SNP_PROFILE)
    if state.setdefault(name, (instance.value,)) != (instance.value,):
        raise DecodeError("an instance is another one than its reference values say", section=AMD_SNP_PROFILE)


_PROFILES: Final[Mapping[str, Callable[[ValueTriple, Collection[MeasurementKey]], tuple[str, _State]]]] = {
    CONFSEC_PROFILE: _read_confsec,
    AMD_SNP_PROFILE: _read_amd,
}


# --- From states to a table -------------------------------------------------------------------------------------------


def _merge(table: str, states: tuple[_State, ...]) -> dict[str, _Value]:
    """List the values of all states, if the combinations that this accepts are the states and nothing else."""
    first = states[0]
    differing = {key for state in states for key in first.keys() | state.keys() if state.get(key) != first.get(key)}
    lists = all(isinstance(state.get(key), tuple) for state in states for key in differing)
    if len(differing) > 1 or not lists:
        raise UnsupportedError(
            f"reference values for {table} whose combinations one table would accept, too",
            got=", ".join(sorted(differing)),
            want="states that differ in one list only",
            hint="Make a policy of each",
        )
    merged = dict(first)
    for key in differing:
        merged[key] = tuple(sorted({value for state in states for value in _listed(state[key])}))
    return merged


def _listed(value: _Value) -> tuple[bytes, ...]:
    return value if isinstance(value, tuple) else ()


def _as_written(merged: Mapping[str, _Value]) -> dict[str, object]:
    """Return a table as a file has it: hex, and PCRs as a table in the table."""
    written = {
        key: [each.hex() for each in value] if isinstance(value, tuple) else value for key, value in merged.items()
    }
    prefix = f"{_PCR_VALUES}."
    pcrs = sorted((int(key.removeprefix(prefix)), key) for key in written if key.startswith(prefix))
    table: dict[str, object] = {key: value for key, value in written.items() if not key.startswith(prefix)}
    if pcrs:
        table[_PCR_VALUES] = {str(pcr): written[key] for pcr, key in pcrs}
    return table
