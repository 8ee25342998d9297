"""From a CoRIM to tables of a policy: all that it says, or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from confsec.errors import ConfsecError, DecodeError, UnsupportedError
from confsec.protocol.cbor_general import CborItem, Tag, encode
from confsec.protocol.comid_measurement import MeasurementKey
from confsec.protocol.corim import Corim
from confsec.protocol.corim_reference import AMD_SNP_PROFILE, CONFSEC_PROFILE, reference_tables, reference_values
from tests.protocol.corim_cases import corim

A, B, C = bytes([1]) * 48, bytes([2]) * 48, bytes([3]) * 48
SNP_CLASS: dict[Any, Any] = {0: {0: Tag(111, bytes.fromhex("2b060104019c780301"))}}


def sha384(value: bytes) -> CborItem:
    return {2: [[7, value]]}


def triple(table: str, **values: CborItem) -> CborItem:
    return [{0: {1: "confsec", 2: table}}, [{0: key, 1: value} for key, value in values.items()]]


def comid(*triples: CborItem, tag_id: str = "a", **members: Any) -> CborItem:
    item: dict[Any, Any] = {1: {0: tag_id}, 4: {0: list(triples)}}
    return item | {int(name[1:]): value for name, value in members.items()}


def ours(*triples: CborItem) -> Corim:
    return corim(comid(*triples), m3=Tag(32, CONFSEC_PROFILE))


def amd(*measurements: CborItem, **others: CborItem) -> Corim:
    environment: dict[Any, Any] = {**SNP_CLASS, **{int(name[1:]): value for name, value in others.items()}}
    return corim(comid([environment, list(measurements)]), m3=Tag(32, AMD_SNP_PROFILE))


def test_each_value_becomes_a_key_of_its_table() -> None:
    value = ours(
        triple("sev-snp", measurements=sha384(A), host_data={4: Tag(560, bytes(32))}, min_guest_svn={1: Tag(553, 4)}),
        triple("tdx", mr_td={2: [["sha-384", A]]}, rtmr1=sha384(B), min_pce_svn={1: Tag(553, 11)}),
        triple("tpm", pcr_values={14: {11: [[1, bytes(32)]], 4: [["sha-256", b"\x01" * 32]]}}),
    )
    assert reference_tables(value) == {
        "sev-snp": {"measurements": [A.hex()], "host_data": ["00" * 32], "min_guest_svn": 4},
        "tdx": {"mr_td": [A.hex()], "rtmr1": [B.hex()], "min_pce_svn": 11},
        "tpm": {"bank": "sha256", "pcr_values": {"4": ["01" * 32], "11": ["00" * 32]}},
    }


def test_states_that_differ_in_one_list_are_listed_together() -> None:
    states = [triple("sev-snp", measurements=sha384(each), min_guest_svn={1: Tag(553, 4)}) for each in (C, A, B, A)]
    assert reference_tables(ours(*states)) == {
        "sev-snp": {"measurements": [A.hex(), B.hex(), C.hex()], "min_guest_svn": 4}
    }


@pytest.mark.parametrize(
    "states",
    [
        [triple("tdx", mr_td=sha384(A), rtmr1=sha384(B)), triple("tdx", mr_td=sha384(B), rtmr1=sha384(A))],
        [triple("tdx", mr_td=sha384(A)), triple("tdx", mr_td=sha384(A), rtmr1=sha384(A))],
        [triple("tdx", min_pce_svn={1: Tag(553, 1)}), triple("tdx", min_pce_svn={1: Tag(553, 2)})],
        [
            triple("tdx", mr_td=sha384(A), rtmr1=sha384(A)),
            triple("tdx", mr_td=sha384(B), rtmr1=sha384(A)),
            triple("tdx", mr_td=sha384(A), rtmr1=sha384(B)),
        ],
    ],
)
def test_states_whose_mixtures_would_be_accepted_are_refused(states: list[CborItem]) -> None:
    with pytest.raises(UnsupportedError, match="whose combinations"):
        reference_tables(ours(*states))


@given(
    st.lists(
        st.tuples(st.sampled_from([A, B]), st.sampled_from([A, B]), st.sampled_from([A, B])), min_size=1, max_size=4
    )
)
def test_a_table_accepts_the_states_and_nothing_else(states: list[tuple[bytes, ...]]) -> None:
    names = ("mr_td", "rtmr1", "rtmr2")
    triples = [triple("tdx", **dict(zip(names, map(sha384, state), strict=True))) for state in states]
    try:
        table = reference_tables(ours(*triples))["tdx"]
    except UnsupportedError:
        return
    accepted: list[tuple[bytes, ...]] = [()]
    for name in names:
        listed = table[name]
        assert isinstance(listed, list)
        accepted = [(*state, bytes.fromhex(value)) for state in accepted for value in listed]
    assert set(accepted) == set(states)


@pytest.mark.parametrize(
    "values",
    [
        {"measurement": sha384(A)},
        {"measurements": {4: Tag(560, A)}},
        {"measurements": {2: [[1, bytes(32)]]}},
        {"measurements": {2: [[7, bytes(32)]]}},
        {"measurements": {2: [[7, A], [8, bytes(64)]]}},
        {"measurements": {2: [[7, A]], 1: 1}},
        {"measurements": {2: [[7, A]], -1: 1}},
        {"host_data": {4: Tag(560, bytes(31))}},
        {"host_data": {4: Tag(563, [bytes(32), bytes(32)])}},
        {"host_data": {4: Tag(560, bytes(32)), 5: bytes(32)}},
        {"host_data": sha384(A)},
        {"min_guest_svn": {1: 4}},
        {"min_guest_svn": {1: Tag(552, 4)}},
        {"min_guest_svn": {11: "4"}},
    ],
)
def test_a_value_that_a_policy_cannot_say_is_refused(values: dict[str, CborItem]) -> None:
    with pytest.raises(UnsupportedError, match="no key of a policy stands for"):
        reference_tables(ours(triple("sev-snp", **values)))


def test_a_value_is_left_out_only_if_the_caller_says_so() -> None:
    value = ours(triple("sev-snp", measurements=sha384(A), colour={11: "red"}))
    with pytest.raises(UnsupportedError):
        reference_tables(value)
    assert reference_tables(value, unsafe_ignored={"colour"}) == {"sev-snp": {"measurements": [A.hex()]}}


@pytest.mark.parametrize("mkey", [None, 7, Tag(37, bytes(16))])
def test_a_measurement_key_of_another_kind_is_refused(mkey: MeasurementKey | None) -> None:
    measurement: CborItem = {1: sha384(A)} if mkey is None else {0: mkey, 1: sha384(A)}
    with pytest.raises(UnsupportedError):
        reference_tables(ours([{0: {1: "confsec", 2: "sev-snp"}}, [measurement]]))


def test_a_value_that_only_some_may_state_is_refused() -> None:
    measurement: CborItem = {0: "measurements", 1: sha384(A), 2: [Tag(554, "key")]}
    with pytest.raises(UnsupportedError):
        reference_tables(ours([{0: {1: "confsec", 2: "sev-snp"}}, [measurement]]))


def test_two_values_for_one_key_in_one_state_are_refused() -> None:
    measurement: CborItem = {0: "measurements", 1: sha384(A)}
    with pytest.raises(DecodeError, match="two values for one key"):
        reference_tables(ours([{0: {1: "confsec", 2: "sev-snp"}}, [measurement, measurement]]))


@pytest.mark.parametrize(
    "environment",
    [
        {0: {1: "confsec", 2: "sgx"}},
        {0: {1: "confsec"}},
        {0: {1: "other", 2: "tdx"}},
        {0: {1: "confsec", 2: "tdx", 3: 0}},
        {0: {1: "confsec", 2: "tdx"}, 1: Tag(560, b"x")},
        {0: {1: "confsec", 2: "tdx"}, 2: Tag(560, b"x")},
        {1: Tag(560, b"x")},
    ],
)
def test_an_environment_that_is_no_table_is_refused(environment: CborItem) -> None:
    with pytest.raises(DecodeError, match="not about a table of a policy"):
        reference_tables(ours([environment, [{0: "mr_td", 1: sha384(A)}]]))


@pytest.mark.parametrize(
    "registers",
    [
        {24: [[1, bytes(32)]]},
        {"4": [[1, bytes(32)]]},
        {4: [[1, bytes(31)]]},
        {4: [[8, bytes(64)]]},
        {4: [[1, bytes(32)], [7, bytes(48)]]},
        {4: [[1, bytes(32)]], 5: [[7, bytes(48)]]},
    ],
)
def test_pcrs_that_there_are_not_or_of_several_banks_are_refused(registers: CborItem) -> None:
    with pytest.raises(UnsupportedError, match="PCR"):
        reference_tables(ours(triple("tpm", pcr_values={14: registers})))


@pytest.mark.parametrize(
    "measurement",
    [
        {0: "pcr_values", 1: sha384(A)},
        {0: "pcr_values", 1: {14: {4: [[1, bytes(32)]]}, 11: "x"}},
        {0: "pcr_values", 1: {14: {4: [[1, bytes(32)]]}, -1: "x"}},
        {0: "pcr_values", 1: {14: {4: [[1, bytes(32)]]}}, 2: [Tag(554, "key")]},
    ],
)
def test_pcrs_with_anything_beside_them_are_refused(measurement: CborItem) -> None:
    with pytest.raises(UnsupportedError, match="integrity registers alone"):
        reference_tables(ours([{0: {1: "confsec", 2: "tpm"}}, [measurement]]))


def test_pcrs_of_two_boots_may_differ_in_one_register() -> None:
    boots = [triple("tpm", pcr_values={14: {4: [[1, bytes(32)]], 9: [[1, bytes([each]) * 32]]}}) for each in (2, 1)]
    assert reference_tables(ours(*boots)) == {
        "tpm": {"bank": "sha256", "pcr_values": {"4": ["00" * 32], "9": ["01" * 32, "02" * 32]}}
    }


# --- Which tags count -------------------------------------------------------------------------------------------------


def test_what_another_comid_replaces_does_not_count() -> None:
    old = comid(triple("tdx", mr_td=sha384(A)), tag_id="old")
    new = comid(triple("tdx", mr_td=sha384(B)), tag_id="new", m3=[{0: "old", 1: 1}])
    beside = comid(triple("tdx", mr_td=sha384(C)), tag_id="beside", m3=[{0: "new", 1: 0}])
    value = corim(old, new, beside, m3=Tag(32, CONFSEC_PROFILE))
    assert reference_tables(value) == {"tdx": {"mr_td": [B.hex(), C.hex()]}}


def tag_list(*names: CborItem) -> Tag:
    return Tag(508, encode({0: {0: "list"}, 1: [{0: name} for name in names], 2: {1: Tag(1, 1)}}))


def with_tags(*tags: Tag) -> Corim:
    values = {"a": A, "b": B}
    comids = [comid(triple("tdx", mr_td=sha384(value)), tag_id=name) for name, value in values.items()]
    return corim(m1=[*(Tag(506, encode(each)) for each in comids), *tags], m3=Tag(32, CONFSEC_PROFILE))


def test_where_tags_are_listed_only_these_count() -> None:
    assert reference_tables(with_tags()) == {"tdx": {"mr_td": [A.hex(), B.hex()]}}
    assert reference_tables(with_tags(tag_list("b"))) == {"tdx": {"mr_td": [B.hex()]}}
    swid = Tag(505, encode({0: "swid"}))
    assert reference_tables(with_tags(tag_list("a", "swid"), swid)) == {"tdx": {"mr_td": [A.hex()]}}


def test_a_list_with_a_tag_that_is_not_there_is_refused() -> None:
    with pytest.raises(DecodeError, match="one that is not there"):
        reference_tables(with_tags(tag_list("a", "c")))


def test_a_corim_without_reference_values_is_refused() -> None:
    endorsed: CborItem = {1: {0: "a"}, 4: {1: [triple("tdx", mr_td=sha384(A))]}}
    with pytest.raises(DecodeError, match="without reference values"):
        reference_tables(corim(endorsed, m3=Tag(32, CONFSEC_PROFILE)))


@pytest.mark.parametrize("members", [{}, {"m3": Tag(32, "tag:other")}, {"m3": Tag(111, b"\x2a")}])
def test_a_profile_that_is_not_known_is_refused(members: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match="without a profile that we know"):
        reference_values(corim(comid(triple("tdx", mr_td=sha384(A))), **members))


# --- AMD's profile ----------------------------------------------------------------------------------------------------


def test_fields_of_a_report_become_keys() -> None:
    value = amd(
        {0: 1, 1: {1: Tag(553, 3)}},
        {0: 640, 1: {4: Tag(560, bytes(64))}},
        {0: 641, 1: sha384(A)},
        {0: 642, 1: {4: Tag(560, bytes(32))}},
        {0: 645, 1: {4: Tag(560, bytes(32))}},
        m1=Tag(560, bytes(64)),
    )
    assert reference_tables(value) == {
        "sev-snp": {
            "min_guest_svn": 3,
            "measurements": [A.hex()],
            "host_data": ["00" * 32],
            "accepted_chips": ["00" * 64],
        }
    }


def test_an_instance_may_be_the_measurement_itself() -> None:
    assert reference_tables(amd({0: 641, 1: sha384(A)}, m1=Tag(560, A))) == {"sev-snp": {"measurements": [A.hex()]}}
    assert reference_tables(amd({0: 641, 1: sha384(A)})) == {"sev-snp": {"measurements": [A.hex()]}}


@pytest.mark.parametrize(
    "measurement, others, why",
    [
        ({0: "641", 1: sha384(A)}, {}, "numbered field"),
        ({1: sha384(A)}, {}, "numbered field"),
        ({0: 641, 1: sha384(A)}, {"m1": Tag(560, B)}, "another one"),
        ({0: 641, 1: sha384(A)}, {"m1": Tag(560, bytes(32))}, "neither a chip nor"),
        ({0: 641, 1: sha384(A)}, {"m1": Tag(554, "k" * 48)}, "neither a chip nor"),
        ({0: 641, 1: sha384(A)}, {"m1": Tag(562, bytes(48))}, "neither a chip nor"),
        ({0: 641, 1: sha384(A)}, {"m2": Tag(560, b"")}, "not about an attestation report"),
        ({0: 641, 1: sha384(A)}, {"m0": {1: "AMD"}}, "not about an attestation report"),
    ],
)
def test_what_breaks_the_profile_is_refused(measurement: CborItem, others: dict[str, CborItem], why: str) -> None:
    with pytest.raises(DecodeError, match=why):
        reference_tables(amd(measurement, **others))


def test_exact_versions_of_a_report_are_refused_or_named() -> None:
    value = amd({0: 641, 1: sha384(A)}, {0: 647, 1: {1: Tag(552, 1)}})
    with pytest.raises(UnsupportedError, match="got 647"):
        reference_tables(value)
    assert reference_tables(value, unsafe_ignored=[647]) == {"sev-snp": {"measurements": [A.hex()]}}


@given(st.data())
def test_any_values_give_tables_or_an_error(data: st.DataObject) -> None:
    mval = data.draw(
        st.dictionaries(
            st.sampled_from([1, 2, 4, 14, -1]),
            st.sampled_from([1, Tag(553, 2), [[7, A]], Tag(560, bytes(32)), {4: [[1, bytes(32)]]}]),
            min_size=1,
        )
    )
    key = data.draw(st.sampled_from(["measurements", "host_data", "min_guest_svn", "pcr_values", 641, 1]))
    try:
        reference_tables(ours([{0: {1: "confsec", 2: "sev-snp"}}, [{0: key, 1: mval}]]))  # type: ignore[dict-item]  # any
    except ConfsecError:
        return


@pytest.mark.vectors
def test_reference_values_of_a_published_report_are_found(shared_vectors: Path) -> None:
    path = shared_vectors / "corim" / "scheme-sevsnp" / "corim-sevsnp-valid.cbor"
    value = Corim.decode(path.read_bytes())
    with pytest.raises(UnsupportedError):
        reference_tables(value)
    ignored = (0, 2, 5, 6, 7, 646, 647, 3329, 3330, 3936, 3968)
    tables = reference_tables(value, unsafe_ignored=ignored)
    assert tables["sev-snp"]["measurements"] == [
        "7699e6ac12ccdfd1dfac70e649ce1f046cb2afbb003438f4cdddfe2ccbe182fa5ffbe8dcdb930454324e10c52c788980"
    ]
