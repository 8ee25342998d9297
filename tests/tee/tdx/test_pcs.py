"""Collateral is fetched from a service, here one on the loopback interface, kept, and sent along with evidence."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from urllib.parse import quote as quote_url

import anyio
import anyio.abc
import pytest
from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from confsec.backends.http import HttpTransport
from confsec.errors import BackendError, ConnectError, DecodeError, EvidenceError, RemoteProtocolError
from confsec.protocol.binding import Binding
from confsec.protocol.cmw import CmwRecord, Endorsements, Evidence
from confsec.protocol.platforms import CCEL, MEDIA_TYPES, TDX
from confsec.protocol.rats import VerificationRequest
from confsec.tee.api import Attestation, Attester
from confsec.tee.simulated.intel import SimulatedIntel, simulated_log
from confsec.tee.tdx.collateral import TDX_COLLATERAL
from confsec.tee.tdx.pcs import CollateralAttester, CollateralSource, PcsClient, PlatformId
from confsec.tee.x509 import decode_chain
from tests.tee.tdx.cases import AT, BINDING, TDX_ONLY, failed_ids, look

pytestmark = pytest.mark.anyio

INTEL = SimulatedIntel(issued_at=AT)
FMSPC = "c0ff5ec00000"


def pem(chain: bytes) -> str:
    return "".join(
        x509.load_der_x509_certificate(each.encoded).public_bytes(Encoding.PEM).decode() for each in decode_chain(chain)
    )


class FakePcs:
    """Answers as Intel's service does, with what a simulated Intel issues."""

    def __init__(self) -> None:
        self.intel = INTEL
        self.status = 200
        self.asked: list[str] = []
        self.change: Callable[[str, bytes], bytes] = lambda path, body: body
        self.without_issuer = False

    def answer(self, path: str) -> tuple[dict[str, str], bytes]:
        collateral = self.intel.collateral()
        match path:
            case "/tdx/certification/v4/tcb?fmspc=c0ff5ec00000":
                signature = collateral.tcb_info_signature.hex().encode()
                body = b'{"tcbInfo":' + collateral.tcb_info + b',"signature":"' + signature + b'"}'
                return {"TCB-Info-Issuer-Chain": quote_url(pem(collateral.tcb_info_chain))}, body
            case "/tdx/certification/v4/qe/identity":
                signature = collateral.qe_identity_signature.hex().upper().encode()
                body = b'{"enclaveIdentity":' + collateral.qe_identity + b',"signature":"' + signature + b'"}'
                return {"SGX-Enclave-Identity-Issuer-Chain": quote_url(pem(collateral.qe_identity_chain))}, body
            case "/sgx/certification/v4/pckcrl?ca=platform&encoding=der":
                return {}, collateral.pck_crl
            case "/root.der":
                return {}, collateral.root_crl
        raise AssertionError(path)

    async def serve(self, stream: anyio.abc.ByteStream) -> None:
        async with stream:
            head = b""
            while b"\r\n\r\n" not in head:
                head += await stream.receive()
            path = head.split()[1].decode()
            self.asked.append(path)
            headers, body = self.answer(path)
            body = self.change(path, body)
            fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if not self.without_issuer)
            start = f"HTTP/1.1 {self.status} x\r\ncontent-length: {len(body)}\r\nconnection: close\r\n{fields}\r\n"
            await stream.send(start.encode() + body)


@asynccontextmanager
async def running(pcs: FakePcs) -> AsyncGenerator[PcsClient]:
    """Run a service on the loopback interface, and yield a client of it."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    transport = HttpTransport()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, pcs.serve)
        base = f"http://127.0.0.1:{port}"
        yield PcsClient(transport, base_url=base + "/", root_crl_url=base + "/root.der")
        tasks.cancel_scope.cancel()
    await transport.aclose()
    await listener.aclose()


class Clock:
    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def platform_id() -> PlatformId:
    return PlatformId.of(INTEL.quote())


async def test_all_parts_are_fetched_as_they_were_signed() -> None:
    pcs = FakePcs()
    async with running(pcs) as client:
        assert await client.fetch(platform_id()) == INTEL.collateral()
    assert pcs.asked == [
        f"/tdx/certification/v4/tcb?fmspc={FMSPC}",
        "/tdx/certification/v4/qe/identity",
        "/sgx/certification/v4/pckcrl?ca=platform&encoding=der",
        "/root.der",
    ]


async def test_missing_part_is_an_error_of_the_service() -> None:
    pcs = FakePcs()
    pcs.status = 404
    async with running(pcs) as client:
        with pytest.raises(BackendError, match="status 404"):
            await client.fetch(platform_id())


async def test_answer_without_issuer_is_refused() -> None:
    pcs = FakePcs()
    pcs.without_issuer = True
    async with running(pcs) as client:
        with pytest.raises(DecodeError, match="names no issuer"):
            await client.fetch(platform_id())


async def test_answer_of_another_form_is_refused() -> None:
    pcs = FakePcs()
    pcs.change = lambda path, body: body.replace(b"{", b"{ ", 1)
    async with running(pcs) as client:
        with pytest.raises(DecodeError, match="not tcbInfo and its signature"):
            await client.fetch(platform_id())


async def test_endless_answer_is_refused() -> None:
    pcs = FakePcs()
    pcs.change = lambda path, body: bytes((512 << 10) + 1)
    async with running(pcs) as client:
        with pytest.raises(RemoteProtocolError, match="too long"):
            await client.fetch(platform_id())


async def test_collateral_is_kept_for_half_of_its_life() -> None:
    pcs, clock = FakePcs(), Clock(AT)
    async with running(pcs) as client:
        source = CollateralSource(client, now=clock)
        first = await source.collateral(platform_id())
        clock.now = AT + timedelta(days=14)
        assert await source.collateral(platform_id()) is first
        assert len(pcs.asked) == 4
        clock.now = AT + timedelta(days=15)
        pcs.intel = SimulatedIntel(issued_at=clock.now)
        assert await source.collateral(platform_id()) == pcs.intel.collateral()
        assert len(pcs.asked) == 8


async def test_outage_is_bridged_until_collateral_ends() -> None:
    pcs, clock = FakePcs(), Clock(AT)
    async with running(pcs) as client:
        source = CollateralSource(client, now=clock)
        first = await source.collateral(platform_id())
        pcs.status = 503
        clock.now = AT + timedelta(days=29)
        assert await source.collateral(platform_id()) is first
        clock.now = AT + timedelta(days=31)
        with pytest.raises(BackendError, match="status 503"):
            await source.collateral(platform_id())


async def test_older_collateral_never_takes_the_place_of_newer() -> None:
    pcs, clock = FakePcs(), Clock(AT)
    async with running(pcs) as client:
        source = CollateralSource(client, now=clock)
        first = await source.collateral(platform_id())
        kept = source._kept[platform_id()]
        clock.now = AT + timedelta(days=20)
        pcs.intel = SimulatedIntel(issued_at=AT - timedelta(days=1), lifetime=timedelta(days=90))
        assert await source.collateral(platform_id()) is first
        with pytest.raises(BackendError, match="went back in time"):
            await source._fetch(platform_id(), kept)


async def test_service_that_is_not_there_is_an_error() -> None:
    transport = HttpTransport()
    source = CollateralSource(PcsClient(transport, base_url="http://127.0.0.1:9"))
    with pytest.raises(ConnectError):
        await source.collateral(platform_id())
    await transport.aclose()


async def test_source_forgets_rather_than_grows() -> None:
    pcs, clock = FakePcs(), Clock(AT)
    async with running(pcs) as client:
        source = CollateralSource(client, now=clock)
        await source.collateral(platform_id())
        (kept,) = source._kept.values()
        source._kept.update({PlatformId(bytes([1, index, 0, 0, 0, 0]), "platform"): kept for index in range(255)})
        clock.now = AT + timedelta(days=16)
        pcs.intel = SimulatedIntel(issued_at=clock.now)
        await source.collateral(platform_id())
        assert list(source._kept) == [platform_id()]


def test_platform_is_read_from_the_certificates() -> None:
    assert platform_id() == PlatformId(bytes.fromhex(FMSPC), "platform")


def test_quote_without_certificates_has_no_platform() -> None:
    with pytest.raises(EvidenceError, match="no certificate of a PCK"):
        PlatformId.of(evolve(INTEL, signature={"certification_data": b""}).quote())


# --- Beside evidence --------------------------------------------------------------------------------------------------


class FakeAttester:
    """Plays the attester of a trust domain."""

    platform = "tdx"
    ak = None
    request_key = None
    closed = 0

    def __init__(self, quote: bytes | None = None) -> None:
        self.quote = quote

    async def begin(self) -> FakeAttester:
        return self

    async def attest(self, binding: Binding) -> Attestation:
        quote = INTEL.quote(binding.value) if self.quote is None else self.quote
        items = {TDX: quote, CCEL: simulated_log()}
        records = {label: CmwRecord(MEDIA_TYPES[label], value) for label, value in items.items()}
        return Attestation(items=records, endorsements={"else": CmwRecord("text/plain", b"something")})

    async def aclose(self) -> None:
        self.closed += 1


async def test_collateral_goes_along_with_the_evidence() -> None:
    fake = FakeAttester()
    async with running(FakePcs()) as client:
        attester: Attester = CollateralAttester(fake, CollateralSource(client, now=Clock(AT)))
        epoch = await attester.begin()
        made = await epoch.attest(BINDING)
        await epoch.aclose()
        await attester.aclose()
    assert (attester.platform, epoch.ak, epoch.request_key, fake.closed) == ("tdx", None, None, 2)
    assert made.endorsements.keys() == {TDX_COLLATERAL, "else"}
    asked = VerificationRequest(
        evidence=Evidence.of(made.items),
        endorsements=Endorsements.of(made.endorsements),
        binding=BINDING,
        platform=TDX_ONLY,
        at=AT,
    )
    assert failed_ids(look(asked)) == []


@pytest.mark.parametrize("quote", [None, b"no quote"], ids=["outage", "no quote"])
async def test_evidence_goes_without_collateral_where_there_is_none(quote: bytes | None) -> None:
    pcs = FakePcs()
    pcs.status = 500
    async with running(pcs) as client:
        epoch = await CollateralAttester(FakeAttester(quote), CollateralSource(client, now=Clock(AT))).begin()
        made = await epoch.attest(BINDING)
    assert made.endorsements.keys() == {"else"}
