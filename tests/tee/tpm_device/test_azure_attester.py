"""The attester for Azure's machines, with a paravisor that answers as Azure's does: on swtpm, without hardware."""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from confsec.backends.api import HttpRequest, HttpResponse
from confsec.errors import BackendError, DeadlineError, LocalProtocolError
from confsec.protocol.binding import Binding, Mode
from confsec.protocol.platforms import AZURE_RUNTIME_DATA, KEY_CONFIG, MANIFEST, SEV_SNP, TDX, platform_of
from confsec.protocol.wire import decode_base64url, encode_base64url
from confsec.tee import azure_attester
from confsec.tee.api import Attester
from confsec.tee.azure import RuntimeData
from confsec.tee.azure_attester import (
    HCL_REPORT_INDEX,
    TD_QUOTE_URL,
    USER_DATA_INDEX,
    AzureAttester,
    AzureEpoch,
    Tee,
    fetch_td_quote,
)
from confsec.tee.tpm.attester import TpmAttester
from confsec.tee.tpm.connection import Connection
from confsec.tee.tpm.device import TpmDevice
from confsec.tee.tpm.keys import AZURE_AK
from confsec.tee.tpm.structures import PublicArea, RsaKey
from tests.tee.tpm_device.test_device import esapi_of, persist_azure_ak

pytestmark = pytest.mark.anyio

HARDWARE_REPORT = bytes(range(256)) * 4 + bytes(160)


class Parts:
    """A body in parts. A generator would have to be closed."""

    def __init__(self, parts: list[bytes]) -> None:
        self.parts = parts

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self.parts:
            raise StopAsyncIteration
        return self.parts.pop()


class Host:
    """The host's service that makes quotes."""

    def __init__(self, answer: bytes, status: int = 200) -> None:
        self.answer = answer
        self.status = status
        self.asked: list[HttpRequest] = []

    @asynccontextmanager
    async def stream(self, request: HttpRequest) -> AsyncGenerator[HttpResponse]:
        self.asked.append(request)
        yield HttpResponse(status=self.status, headers=(), content=Parts([self.answer]))

    async def aclose(self) -> None:
        return None


class Paravisor:
    """Answers each write of user data with a report."""

    def __init__(self, device: TpmDevice, kind: int = 2) -> None:
        self.device = device
        self.kind = kind
        self.late = 0
        self.deaf = False
        self.ak: PublicArea | None = None

    def report(self, user_data: bytes) -> bytes:
        assert self.ak is not None
        assert isinstance(self.ak.key, RsaKey)
        key = {"kid": "HCLAkPub", "kty": "RSA", "n": encode_base64url(self.ak.key.modulus), "e": "AQAB"}
        runtime = json.dumps({"keys": [key], "vm-configuration": {}, "user-data": user_data.hex().upper()}).encode()
        header = struct.pack("<4sIIII12s", b"HCLA", 2, 1184, 2, 0, bytes(12))
        request = struct.pack("<IIIII", 20 + len(runtime), 1, self.kind, 1, len(runtime))
        return (header + HARDWARE_REPORT + request + runtime).ljust(
            2048, b"\x00"
        )  # Azure has 2600 bytes, swtpm no more than these

    def write_nv(self, write: Any, tpm: Connection, index: int, content: bytes) -> None:
        write(tpm, index, content)
        if index == USER_DATA_INDEX and not self.deaf:
            write(tpm, HCL_REPORT_INDEX, self.report(bytes(64) if self.late else content))
            self.late = max(0, self.late - 1)


@pytest.fixture
async def paravisor(device: TpmDevice, monkeypatch: pytest.MonkeyPatch) -> Paravisor:
    paravisor = Paravisor(device)
    await esapi_of(device, persist_azure_ak)
    paravisor.ak = await device.attestation_key(AZURE_AK)
    monkeypatch.setattr(
        Connection,
        "write_nv",
        lambda tpm, index, content, write=Connection.write_nv: paravisor.write_nv(write, tpm, index, content),
    )
    monkeypatch.setattr(azure_attester, "_PAUSE", 0.01)
    monkeypatch.setattr(azure_attester, "_TIMEOUT", 0.3)
    return paravisor


def attester_of(paravisor: Paravisor, folder: Path, tee: Tee = "sev-snp", host: Host | None = None) -> AzureAttester:
    (folder / "log").write_bytes(b"")
    tpm = TpmAttester(paravisor.device, source=AZURE_AK, logs=[folder / "log"])
    return AzureAttester(paravisor.device, tpm, tee=tee, transport=host)


def binding_of(epoch: AzureEpoch, nonce: bytes = bytes(32)) -> Binding:
    return Binding(mode=Mode.EPOCH, nonce=nonce, key_config=b"key config", manifest=b"manifest", ak=epoch.ak)


async def test_evidence_is_that_of_the_platform(paravisor: Paravisor, tmp_path: Path) -> None:
    attester: Attester = attester_of(paravisor, tmp_path)
    epoch = await attester.begin()
    assert isinstance(epoch, AzureEpoch)
    binding = binding_of(epoch)
    attestation = await epoch.attest(binding)
    assert platform_of([*attestation.items, KEY_CONFIG, MANIFEST]).name == attester.platform == "azure-sev-snp"
    assert attestation.items[SEV_SNP].value == HARDWARE_REPORT
    runtime = RuntimeData.decode(attestation.items[AZURE_RUNTIME_DATA].value)
    assert runtime.user_data == binding.value
    assert epoch.ak is not None
    assert runtime.ak.is_key_of(PublicArea.decode(epoch.ak))
    assert epoch.request_key is not None
    await epoch.aclose()
    await attester.aclose()


async def test_host_makes_the_quote_of_a_td_report(paravisor: Paravisor, tmp_path: Path) -> None:
    paravisor.kind = 4
    host = Host(json.dumps({"quote": encode_base64url(b"a quote")}).encode())
    attester = attester_of(paravisor, tmp_path, "tdx", host)
    epoch = await attester.begin()
    attestation = await epoch.attest(binding_of(epoch))
    assert platform_of([*attestation.items, KEY_CONFIG, MANIFEST]).name == attester.platform == "azure-tdx"
    assert attestation.items[TDX].value == b"a quote"
    [asked] = host.asked
    assert (asked.method, asked.url) == ("POST", TD_QUOTE_URL)
    assert isinstance(asked.content, bytes)
    assert decode_base64url(json.loads(asked.content)["report"]) == HARDWARE_REPORT[:1024]


async def test_report_that_comes_late_is_waited_for(paravisor: Paravisor, tmp_path: Path) -> None:
    epoch = await attester_of(paravisor, tmp_path).begin()
    binding = binding_of(epoch)
    paravisor.late = 1
    with pytest.raises(DeadlineError, match="no report about this binding"):
        await epoch.attest(binding)
    await epoch.attest(binding)


async def test_report_of_before_is_never_taken(paravisor: Paravisor, tmp_path: Path) -> None:
    epoch = await attester_of(paravisor, tmp_path).begin()
    await epoch.attest(binding_of(epoch))
    paravisor.deaf = True
    with pytest.raises(DeadlineError, match="no report about this binding"):
        await epoch.attest(binding_of(epoch, nonce=b"\x01" * 32))


async def test_what_would_be_refused_is_not_sent(paravisor: Paravisor, tmp_path: Path) -> None:
    attester = attester_of(paravisor, tmp_path)
    epoch = await attester.begin()
    for ak in (None, b"another"):
        with pytest.raises(LocalProtocolError, match="another attestation key"):
            await epoch.attest(evolve(binding_of(epoch), ak=ak))
    paravisor.kind = 4
    with pytest.raises(BackendError, match="another TEE: got TDX, want SNP"):
        await epoch.attest(binding_of(epoch))
    paravisor.kind = 3
    with pytest.raises(BackendError, match="the HCL report cannot be read"):
        await epoch.attest(binding_of(epoch))
    paravisor.kind = 2
    assert paravisor.ak is not None
    assert isinstance(paravisor.ak.key, RsaKey)
    paravisor.ak = evolve(paravisor.ak, key=evolve(paravisor.ak.key, modulus=b"\x01" * 256))
    with pytest.raises(BackendError, match="vouches for another attestation key"):
        await epoch.attest(binding_of(epoch))


@pytest.mark.vectors
async def test_report_of_a_real_machine_is_read_and_is_not_about_us(
    paravisor: Paravisor, tmp_path: Path, shared_vectors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = (shared_vectors / "sev-snp" / "azure-vtpm-trustee" / "hcl-report.bin").read_bytes()
    read = Connection.read_nv  # the report does not fit into an index of swtpm's

    def read_nv(tpm: Connection, index: int, *, by_owner: bool = False) -> bytes | None:
        return real if index == HCL_REPORT_INDEX else read(tpm, index, by_owner=by_owner)

    monkeypatch.setattr(Connection, "read_nv", read_nv)
    epoch = await attester_of(paravisor, tmp_path).begin()
    with pytest.raises(DeadlineError, match="no report about this binding"):
        await epoch.attest(binding_of(epoch))


async def test_machine_that_is_not_azures_says_so(paravisor: Paravisor, tmp_path: Path) -> None:
    paravisor.deaf = True
    epoch = await attester_of(paravisor, tmp_path).begin()
    with pytest.raises(BackendError, match="no confidential machine of Azure's"):
        await epoch.attest(binding_of(epoch))
    with pytest.raises(LocalProtocolError, match="needs a transport"):
        attester_of(paravisor, tmp_path, "tdx")


@pytest.mark.parametrize(
    ("host", "error"),
    [
        (Host(b"", status=503), "made no quote: got status 503"),
        (Host(b"x" * 65537), "too long"),
        (Host(b"no JSON"), "cannot be read"),
        (Host(b"{}"), "cannot be read"),
        (Host(b'{"quote": "!"}'), "cannot be read"),
    ],
    ids=["refused", "too long", "no JSON", "no quote", "no base64url"],
)
async def test_answer_that_is_no_quote_is_an_error(host: Host, error: str) -> None:
    with pytest.raises(BackendError, match=error):
        await fetch_td_quote(host, bytes(1024))
