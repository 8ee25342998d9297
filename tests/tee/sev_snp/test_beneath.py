"""What an SVSM and Azure's paravisor say is read strictly."""

from __future__ import annotations

import hashlib
import json
import struct
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, strategies as st

from confsec.errors import ConfsecError, DecodeError, EvidenceError, LimitError
from confsec.tee.azure import (
    HARDWARE_REPORT_SIZE,
    MAX_RUNTIME_DATA,
    HclReport,
    HclReportType,
    JwkRsa,
    RuntimeData,
    azure_report_data,
)
from confsec.tee.event_log import HashAlgorithm
from confsec.tee.svsm import MAX_MANIFEST, VTPM_GUID, ServicesManifest, svsm_report_data
from confsec.tee.tpm.structures import Attributes, EccCurve, EccKey, PublicArea, RsaKey
from tests.tee.sev_snp.cases import MODULUS, public_area, runtime_data

OTHER = UUID(int=5)
TWO = ServicesManifest({VTPM_GUID: b"key", OTHER: b""})
ENTRY = 24


def test_manifest_is_read_and_written() -> None:
    assert ServicesManifest.decode(TWO.encode()) == TWO
    assert TWO.vtpm_key == b"key"
    assert ServicesManifest.decode(ServicesManifest({}).encode()).services == {}
    assert svsm_report_data(b"n" * 64, b"m") == hashlib.sha512(b"n" * 64 + b"m").digest()


def test_guids_are_in_the_mixed_order() -> None:
    assert TWO.encode()[:4] == bytes.fromhex("bb9e8463")
    assert TWO.encode()[ENTRY : ENTRY + 4] == bytes.fromhex("ebf176c4")


def with_entry(index: int, *, offset: int | None = None, size: int | None = None, guid: UUID | None = None) -> bytes:
    data = bytearray(TWO.encode())
    at = ENTRY * index
    old_guid, old_offset, old_size = struct.unpack_from("<16sII", data, at)
    struct.pack_into(
        "<16sII",
        data,
        at,
        guid.bytes_le if guid else old_guid,
        old_offset if offset is None else offset,
        old_size if size is None else size,
    )
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        TWO.encode()[:30],
        TWO.encode()[:-1],
        TWO.encode() + b"x",
        with_entry(0, guid=OTHER),
        with_entry(0, offset=len(TWO.encode()) + 1),
        with_entry(0, size=1),
        with_entry(0, size=3),
        with_entry(1, offset=71),
        with_entry(1, size=4),
        with_entry(1, size=2),
        with_entry(2, guid=VTPM_GUID),
        with_entry(2, offset=72),
    ],
)
def test_manifest_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        ServicesManifest.decode(data)


def test_manifest_with_bytes_of_no_service_is_refused() -> None:
    data = bytearray(TWO.encode() + b"x")
    struct.pack_into("<I", data, 16, len(data))
    with pytest.raises(DecodeError, match="no service"):
        ServicesManifest.decode(bytes(data))


def test_manifest_whose_last_service_ends_behind_it_is_refused() -> None:
    with pytest.raises(DecodeError, match="entry"):
        ServicesManifest.decode(with_entry(2, size=1))


def test_manifest_that_is_too_long_is_refused() -> None:
    with pytest.raises(LimitError):
        ServicesManifest.decode(ServicesManifest({OTHER: bytes(MAX_MANIFEST)}).encode())


def test_svsm_without_vtpm_is_refused() -> None:
    with pytest.raises(EvidenceError):
        _ = ServicesManifest({OTHER: b""}).vtpm_key


@given(st.binary(max_size=120))
def test_any_bytes_are_a_manifest_or_an_error(data: bytes) -> None:
    for read in (ServicesManifest.decode, HclReport.decode, RuntimeData.decode):
        try:
            found = read(data)
        except ConfsecError:
            continue
        assert isinstance(found, ServicesManifest)
        assert found.encode() == data


# --- Azure ------------------------------------------------------------------------------------------------------------


def hcl(
    data: bytes = b"{}", *, magic: bytes = b"HCLA", kind: int = 2, hash_kind: int = 1, size: int | None = None
) -> bytes:
    head = magic + bytes(28) + bytes(HARDWARE_REPORT_SIZE)
    length = len(data) if size is None else size
    return head + struct.pack("<IIIII", 20 + len(data), 1, kind, hash_kind, length) + data


def test_hcl_report_is_read() -> None:
    found = HclReport.decode(hcl(b"{}") + bytes(30))
    assert found.kind is HclReportType.SNP
    assert found.hardware_report == bytes(HARDWARE_REPORT_SIZE)
    assert found.runtime_data == b"{}"
    assert HclReport.decode(hcl(kind=4)).kind is HclReportType.TDX


@pytest.mark.parametrize(
    "data",
    [
        hcl()[:1235],
        hcl(magic=b"HCLB"),
        hcl(kind=3),
        hcl(hash_kind=2),
        hcl(size=3),
        hcl(bytes(MAX_RUNTIME_DATA + 1)),
    ],
    ids=["short", "magic", "type", "hash", "longer than it is", "too long"],
)
def test_hcl_report_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        HclReport.decode(data)


def test_runtime_data_is_read() -> None:
    found = RuntimeData.decode(runtime_data(b"u" * 64))
    assert found.ak == JwkRsa(n=MODULUS, e=65537)
    assert found.user_data == b"u" * 64
    assert found.configuration == {"secure-boot": True}
    assert azure_report_data(b"x") == hashlib.sha256(b"x").digest() + bytes(32)


def changed(**members: Any) -> bytes:
    return json.dumps({**json.loads(runtime_data()), **members}).encode()


KEY = json.loads(runtime_data())["keys"][0]


@pytest.mark.parametrize(
    "data",
    [
        b"[]",
        b"{",
        b" " * (MAX_RUNTIME_DATA + 1),
        changed(keys=None),
        changed(keys={"HCLAkPub": KEY}),
        changed(keys=[]),
        changed(keys=[KEY, KEY]),
        changed(keys=["HCLAkPub"]),
        changed(keys=[{**KEY, "kty": "EC"}]),
        changed(keys=[{**KEY, "n": 5}]),
        changed(keys=[{**KEY, "e": "*"}]),
        changed(**{"user-data": None}),
        changed(**{"user-data": "00" * 63}),
        changed(**{"user-data": "0x" + "0" * 126}),
        changed(**{"vm-configuration": 1}),
        runtime_data().replace(b'"user-data"', b'"user-data": "", "user-data"'),
    ],
)
def test_runtime_data_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises((DecodeError, EvidenceError)):
        RuntimeData.decode(data)


def test_user_data_is_read_in_either_case() -> None:
    assert RuntimeData.decode(changed(**{"user-data": "ab" * 64})).user_data == b"\xab" * 64
    assert RuntimeData.decode(changed(**{"user-data": "AB" * 64})).user_data == b"\xab" * 64


def test_key_is_compared_by_its_numbers() -> None:
    key = JwkRsa(n=MODULUS, e=65537)
    assert key.is_key_of(PublicArea.decode(public_area()))
    assert not key.is_key_of(PublicArea.decode(public_area(MODULUS + 2)))
    odd = RsaKey(2048, exponent=3, modulus=MODULUS.to_bytes(256, "big"))
    area = PublicArea(name_algorithm=HashAlgorithm.SHA256, attributes=Attributes(0), key=odd)
    assert not key.is_key_of(area)
    point = EccKey(EccCurve.P256, b"\1" * 32, b"\2" * 32)
    assert not key.is_key_of(PublicArea(name_algorithm=HashAlgorithm.SHA256, attributes=Attributes(0), key=point))
