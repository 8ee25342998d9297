"""TPM structures: they read back, they are bounded, and another implementation reads the same."""

from __future__ import annotations

import base64
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from confsec.errors import ConfsecError, DecodeError, EvidenceError, LimitError, LocalProtocolError
from confsec.protocol.wire import Reader
from confsec.tee.event_log import HashAlgorithm
from confsec.tee.simulated.tpm import SoftwareTpm, public_area, published_key
from confsec.tee.tpm.evidence import MAX_KEY_ITEM, MAX_PCR_VALUES, MAX_QUOTE_ITEM, TpmKey, TpmQuote
from confsec.tee.tpm.structures import (
    MAX_ATTEST,
    MAX_CREATION_DATA,
    MAX_PUBLIC,
    NULL_SCHEME,
    Attest,
    Attributes,
    CreationData,
    EccCurve,
    EccKey,
    PcrSelection,
    PublicArea,
    RsaKey,
    Scheme,
    SchemeId,
    Symmetric,
    TpmSignature,
    decode_selections,
    encode_selections,
    pcr_policy_digest,
    verify_tpm_signature,
)
from tests.support import require_or_skip
from tests.tee.tpm.scenes import Scene, rsa_key
from tests.tee.tpm.strategies import attests, creation_data, public_areas, selections, signatures

SHA256 = HashAlgorithm.SHA256
TPM = SoftwareTpm()
SELECTION = PcrSelection.of(SHA256, (0, 7, 23))


def _read_signature(data: bytes) -> TpmSignature:
    reader = Reader(data)
    signature = TpmSignature.read(reader)
    reader.finish()
    return signature


def _read_selections(data: bytes) -> tuple[PcrSelection, ...]:
    reader = Reader(data)
    found = decode_selections(reader)
    reader.finish()
    return found


# --- Reading and writing ----------------------------------------------------------------------------------------------


@given(public_areas())
def test_a_public_area_reads_back(public: PublicArea) -> None:
    assert PublicArea.decode(public.encode()) == public


@given(attests())
def test_an_attestation_reads_back(attest: Attest) -> None:
    assert Attest.decode(attest.encode()) == attest


@given(creation_data())
def test_creation_data_reads_back(creation: CreationData) -> None:
    assert CreationData.decode(creation.encode()) == creation


@given(signatures())
def test_a_signature_reads_back(signature: TpmSignature) -> None:
    assert _read_signature(signature.encode()) == signature


@given(selections())
def test_a_selection_reads_back(selected: tuple[PcrSelection, ...]) -> None:
    assert _read_selections(encode_selections(selected)) == selected


def test_items_read_back() -> None:
    quote = TPM.quote(bytes(32), SELECTION)
    key = TPM.certify_creation(TPM.request_public(SELECTION), bytes(32))
    assert TpmQuote.decode(quote.encode()) == quote
    assert TpmKey.decode(key.encode()) == key
    assert CreationData.decode(key.creation_data).parent_name == bytes.fromhex("4000000b")


READERS: list[Callable[[bytes], Any]] = [
    PublicArea.decode,
    Attest.decode,
    CreationData.decode,
    TpmQuote.decode,
    TpmKey.decode,
    _read_signature,
    _read_selections,
]


@given(st.binary(max_size=200))
def test_any_bytes_give_a_structure_or_an_error(data: bytes) -> None:
    for read in READERS:
        try:
            found = read(data)
        except ConfsecError:
            continue
        assert (encode_selections(found) if isinstance(found, tuple) else found.encode()) == data


@given(st.data())
def test_mutated_structures_give_a_structure_or_an_error(data: st.DataObject) -> None:
    strategies: list[Any] = [public_areas(), attests(), creation_data()]
    for read, strategy in zip(READERS, strategies, strict=False):
        encoded = bytearray(data.draw(strategy).encode())
        encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        try:
            found = read(bytes(encoded))
        except ConfsecError:
            continue
        assert found.encode() == bytes(encoded)


# --- Limits and forms -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "read, limit",
    [
        (PublicArea.decode, MAX_PUBLIC),
        (Attest.decode, MAX_ATTEST),
        (CreationData.decode, MAX_CREATION_DATA),
        (TpmQuote.decode, MAX_QUOTE_ITEM),
        (TpmKey.decode, MAX_KEY_ITEM),
    ],
)
def test_structures_are_bounded(read: Callable[[bytes], object], limit: int) -> None:
    with pytest.raises(LimitError, match="too long"):
        read(bytes(limit + 1))


def test_selections_are_bounded() -> None:
    with pytest.raises(LimitError, match="banks"):
        _read_selections((17).to_bytes(4, "big") + SELECTION.encode() * 17)


def test_pcr_values_are_bounded() -> None:
    quote = TPM.quote(bytes(32), SELECTION)
    encoded = evolve(quote, values=quote.values[:1] * (MAX_PCR_VALUES + 1)).encode()
    with pytest.raises(LimitError, match="PCR values"):
        TpmQuote.decode(encoded)


def test_pcr_values_have_the_size_of_their_bank() -> None:
    quote = TPM.quote(bytes(32), SELECTION)
    for values in (quote.values[:-1], (*quote.values, bytes(32)), (*quote.values[:-1], bytes(31))):
        with pytest.raises(DecodeError, match="not those of the selection"):
            TpmQuote.decode(evolve(quote, values=values).encode())


def test_values_are_found_by_bank_and_number() -> None:
    both = (PcrSelection.of(HashAlgorithm.SHA1, (1,)), PcrSelection.of(SHA256, (2, 1)))
    quote = evolve(TPM.quote(bytes(32), SELECTION), selections=both, values=(bytes(20), b"1" * 32, b"2" * 32))
    assert quote.pcrs(SHA256) == {1: b"1" * 32, 2: b"2" * 32}
    assert quote.pcrs(HashAlgorithm.SHA384) == {}


PUBLIC = TPM.request_public(SELECTION)


@pytest.mark.parametrize(
    "place, value",
    [
        (0, b"\x00\x08"),  # a keyed hash
        (2, b"\x00\x12"),  # SM3
        (8, b"\x00\x1f"),  # a policy of 31 bytes
        (42, b"\x00\x01"),  # a cipher that is none
        (44, b"\x00\x1a"),  # ECDAA
        (46, b"\x00\x10"),  # BN P256
        (48, b"\x00\x20"),  # a KDF without a hash that we know
    ],
)
def test_forms_of_keys_that_we_do_not_know_are_refused(place: int, value: bytes) -> None:
    encoded = PUBLIC.encode()
    assert PublicArea.decode(encoded) == PUBLIC
    with pytest.raises(DecodeError):
        PublicArea.decode(encoded[:place] + value + encoded[place + 2 :])


def test_a_modulus_has_the_size_of_its_key() -> None:
    public = public_area(rsa_key(2048), attributes=Attributes.SIGN)
    assert isinstance(public.key, RsaKey)
    with pytest.raises(DecodeError, match="another size"):
        PublicArea.decode(evolve(public, key=evolve(public.key, key_bits=3072)).encode())


def test_a_clock_is_safe_or_not() -> None:
    encoded = TPM.quote(bytes(32), SELECTION).attest
    place = 4 + 2 + 2 + 34 + 2 + 32 + 16
    assert encoded[place] == 1
    with pytest.raises(DecodeError, match="neither safe nor unsafe"):
        Attest.decode(encoded[:place] + b"\x02" + encoded[place + 1 :])


def test_an_attestation_of_another_type_keeps_its_bytes() -> None:
    encoded = TPM.quote(bytes(32), SELECTION, type=0x8019, attested=b"whatever").attest
    assert Attest.decode(encoded).attested == b"whatever"
    assert Attest.decode(encoded).encode() == encoded


@pytest.mark.parametrize("kdf", [0x0000, 0x0005, 0x0021])
def test_an_unknown_kdf_is_refused(kdf: int) -> None:
    area = evolve(TPM.ak, scheme=NULL_SCHEME, symmetric=Symmetric())
    encoded = area.encode()
    at = len(encoded) - 2 * (2 + 32) - 2
    with pytest.raises(DecodeError, match="unknown KDF"):
        PublicArea.decode(encoded[:at] + kdf.to_bytes(2, "big") + encoded[at + 2 :])


def test_there_are_24_pcrs() -> None:
    assert PcrSelection.of(SHA256, (23, 0)).select == b"\x01\x00\x80"
    assert PcrSelection.of(SHA256, (23, 0)).indices == (0, 23)
    for index in (-1, 24):
        with pytest.raises(LocalProtocolError):
            PcrSelection.of(SHA256, (index,))


def test_short_coordinates_are_padded() -> None:
    key = EccKey(EccCurve.P256, b"\x01", b"\x02" * 31)
    assert key.point == b"\x04" + bytes(31) + b"\x01" + b"\x00" + b"\x02" * 31


# --- Names, policies and signatures -----------------------------------------------------------------------------------


def test_the_name_hashes_the_public_area() -> None:
    assert PUBLIC.name == b"\x00\x0b" + SHA256.digest(PUBLIC.encode())


def test_the_policy_digest_is_the_standards() -> None:
    values = [bytes(32), b"\x01" * 32]
    selected = (PcrSelection.of(SHA256, (0, 1)),)
    expected = SHA256.digest(
        bytes(32) + bytes.fromhex("0000017f") + bytes.fromhex("00000001000b03030000") + SHA256.digest(b"".join(values))
    )
    assert pcr_policy_digest(selected, values, hash_algorithm=SHA256) == expected


def test_a_point_off_the_curve_is_no_key() -> None:
    key = PUBLIC.key
    assert isinstance(key, EccKey)
    with pytest.raises(EvidenceError, match="is none"):
        evolve(PUBLIC, key=evolve(key, x=bytes(32))).public_key()


@pytest.mark.parametrize(
    "tpm",
    [
        SoftwareTpm(),
        SoftwareTpm(ak_key=published_key("AK", EccCurve.P384)),
        SoftwareTpm(ak_key=rsa_key(2048)),
        SoftwareTpm(ak_key=rsa_key(2048), ak_scheme=Scheme(SchemeId.RSAPSS, HashAlgorithm.SHA384)),
    ],
)
def test_signatures_verify_and_nothing_else_does(tpm: SoftwareTpm) -> None:
    signature = tpm.sign(b"signed")
    verify_tpm_signature(tpm.ak, signature, b"signed")
    verify_tpm_signature(evolve(tpm.ak, scheme=Scheme(SchemeId.NULL)), signature, b"signed")
    with pytest.raises(EvidenceError, match="wrong"):
        verify_tpm_signature(tpm.ak, signature, b"other")
    other = HashAlgorithm.SHA512
    with pytest.raises(EvidenceError, match="another scheme"):
        verify_tpm_signature(tpm.ak, evolve(signature, hash_algorithm=other), b"signed")


def test_a_signature_of_another_kind_is_refused() -> None:
    open_ = evolve(TPM.ak, scheme=Scheme(SchemeId.NULL))
    signature = TpmSignature(SchemeId.RSASSA, SHA256, (bytes(256),))
    with pytest.raises(EvidenceError, match="another kind"):
        verify_tpm_signature(open_, signature, b"signed")
    with pytest.raises(DecodeError, match="another kind"):
        _read_signature(b"\x00\x1a" + bytes(8))


# --- Against another implementation -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tss() -> Any:
    try:
        return importlib.import_module("tpm2_pytss")
    except ImportError:
        require_or_skip("tpm2-pytss is not installed")


def _same_in(tss: Any, name: str, encoded: bytes) -> None:
    """Check that the other implementation reads the same bytes whole, and writes them again."""
    structure, used = getattr(tss, name).unmarshal(encoded)
    assert used == len(encoded)
    assert structure.marshal() == encoded


@given(data=st.data())
def test_what_we_write_another_reads(tss: Any, data: st.DataObject) -> None:
    _same_in(tss, "TPMT_PUBLIC", data.draw(public_areas()).encode())
    _same_in(tss, "TPMS_ATTEST", data.draw(attests()).encode())
    _same_in(tss, "TPMS_CREATION_DATA", data.draw(creation_data()).encode())
    _same_in(tss, "TPMT_SIGNATURE", data.draw(signatures()).encode())
    _same_in(tss, "TPML_PCR_SELECTION", encode_selections(data.draw(selections())))


@given(data=st.data())
def test_what_we_read_of_mutations_another_reads(tss: Any, data: st.DataObject) -> None:
    kinds: list[tuple[str, Any, Callable[[bytes], Any]]] = [
        ("TPMT_PUBLIC", public_areas(), PublicArea.decode),
        ("TPMS_ATTEST", attests(), Attest.decode),
        ("TPMS_CREATION_DATA", creation_data(), CreationData.decode),
        ("TPMT_SIGNATURE", signatures(), _read_signature),
    ]
    for name, strategy, read in kinds:
        encoded = bytearray(data.draw(strategy).encode())
        for _ in range(data.draw(st.integers(1, 3))):
            encoded[data.draw(st.integers(0, min(len(encoded), 80) - 1))] = data.draw(st.integers(0, 255))
        try:
            found = read(bytes(encoded))
        except ConfsecError:
            continue
        if isinstance(found, Attest) and (isinstance(found.attested, bytes) or found.magic != 0xFF544347):
            continue  # we keep the bytes of other types, and leave the magic to a check
        _same_in(tss, name, bytes(encoded))


def test_fields_have_the_values_that_another_reads(tss: Any) -> None:
    request = Scene().request()
    quote = TpmQuote.decode(request.evidence.items["tpm-quote"].value)
    theirs, _ = tss.TPMS_ATTEST.unmarshal(quote.attest)
    ours = Attest.decode(quote.attest)
    assert bytes(theirs.extraData) == ours.extra_data
    assert theirs.clockInfo.resetCount == ours.clock.reset_count
    assert theirs.firmwareVersion == ours.firmware_version
    assert bytes(theirs.attested.quote.pcrDigest) == ours.attested.pcr_digest  # type: ignore[union-attr]
    public, _ = tss.TPMT_PUBLIC.unmarshal(TPM.ak.encode())
    assert bytes(public.get_name()) == TPM.ak.name


# --- Published structures ---------------------------------------------------------------------------------------------


@pytest.mark.vectors
def test_a_published_quote_verifies(shared_vectors: Path) -> None:
    dump = json.loads((shared_vectors / "tpm/go-attestation/windows_gcp_shielded_vm.json").read_text())
    public = PublicArea.decode(base64.b64decode(dump["AK"]["Public"]))
    quote = base64.b64decode(dump["Quote"]["Quote"])
    verify_tpm_signature(public, _read_signature(base64.b64decode(dump["Quote"]["Signature"])), quote)
    assert Attest.decode(quote).encode() == quote
    creation = base64.b64decode(dump["AK"]["CreateData"])
    assert CreationData.decode(creation).encode() == creation
