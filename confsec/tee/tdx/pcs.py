"""Fetch Intel's collateral: from Intel's service, or from a cache of one's own that answers like it.

::

    GET /tdx/certification/v4/tcb?fmspc=…                     TCB info; its issuers in TCB-Info-Issuer-Chain
    GET /tdx/certification/v4/qe/identity                     QE identity; SGX-Enclave-Identity-Issuer-Chain
    GET /sgx/certification/v4/pckcrl?ca=…&encoding=der        the list of the CA that issued the PCK certificate
    GET https://certificates.trustedservices.intel.com/IntelSGXRootCA.der    the list of the root

Nothing that comes is believed here: verifiers check signatures and times. What was fetched is kept by FMSPC and CA
until its first part ends, and fetched anew when half of that time is over; so an outage harms nobody for weeks.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final, final
from urllib.parse import unquote_to_bytes

import anyio
from attrs import frozen

from confsec.backends.api import Headers, HttpRequest, Transport, header
from confsec.backends.system import now as system_now
from confsec.errors import BackendError, ConfsecError, DecodeError, EvidenceError, PolicyError, RemoteProtocolError
from confsec.protocol.binding import Binding
from confsec.protocol.kem_base import DiffieHellman
from confsec.protocol.platforms import TDX
from confsec.tee.api import Attestation, Attester, EpochAttester
from confsec.tee.tdx.collateral import (
    TDX_COLLATERAL,
    CachedCollateral,
    Collateral,
    CollateralFloor,
    Freshness,
    split_signed,
)
from confsec.tee.tdx.evidence import Quote
from confsec.tee.tdx.pck import PckExtension
from confsec.tee.x509 import decode_chain, encode_chain

__all__ = [
    "INTEL_PCS",
    "INTEL_ROOT_CRL",
    "CollateralAttester",
    "CollateralEpoch",
    "CollateralSource",
    "PcsClient",
    "PlatformId",
]

INTEL_PCS: Final = "https://api.trustedservices.intel.com"
"""Intel's own service. There is no other default: a cache of somebody else's learns which platforms you have."""

INTEL_ROOT_CRL: Final = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
"""Where the root's certificates say that its list is."""

_MAX_BODY: Final = 512 << 10
_MAX_PLATFORMS: Final = 256
_AUTHORITIES: Final = {"Intel SGX PCK Platform CA": "platform", "Intel SGX PCK Processor CA": "processor"}
_SECTION: Final = "Intel PCS API v4"


@frozen
class PlatformId:
    """What collateral is asked for by."""

    fmspc: bytes
    """6 bytes."""

    authority: str
    """`platform` or `processor`: which CA issued the PCK certificate."""

    @classmethod
    def of(cls, quote: bytes) -> PlatformId:
        """Read it in the certificates of a quote. Raises `DecodeError`, and `EvidenceError` for other certificates."""
        chain = decode_chain(Quote.decode(quote).signature.certification_data.removesuffix(b"\x00"))
        leaf = chain[0] if chain else None
        authority = _AUTHORITIES.get(leaf.issuer.common_name) if leaf else None
        if leaf is None or authority is None:
            raise EvidenceError("the quote has no certificate of a PCK", want=", ".join(_AUTHORITIES))
        return cls(PckExtension.of(leaf).fmspc, authority)


@final
class PcsClient:
    """Asks a service for collateral."""

    def __init__(self, transport: Transport, *, base_url: str = INTEL_PCS, root_crl_url: str = INTEL_ROOT_CRL) -> None:
        """Take who carries requests, which the client then owns, and where they go."""
        self._transport = transport
        self._base = base_url.rstrip("/")
        self._root_crl_url = root_crl_url

    async def fetch(self, platform: PlatformId) -> Collateral:
        """Fetch all parts, one after the other.

        Raises what `Transport` raises, `BackendError` if the service does not have a part, and `DecodeError` for one
        that cannot be read.
        """
        tcb_headers, tcb_body = await self._get(f"/tdx/certification/v4/tcb?fmspc={platform.fmspc.hex()}")
        qe_headers, qe_body = await self._get("/tdx/certification/v4/qe/identity")
        _, pck_crl = await self._get(f"/sgx/certification/v4/pckcrl?ca={platform.authority}&encoding=der")
        _, root_crl = await self._get_url(self._root_crl_url)
        tcb_info, tcb_info_signature = split_signed(tcb_body, "tcbInfo")
        qe_identity, qe_identity_signature = split_signed(qe_body, "enclaveIdentity")
        return Collateral(
            tcb_info=tcb_info,
            tcb_info_signature=tcb_info_signature,
            tcb_info_chain=_chain(tcb_headers, "tcb-info-issuer-chain"),
            qe_identity=qe_identity,
            qe_identity_signature=qe_identity_signature,
            qe_identity_chain=_chain(qe_headers, "sgx-enclave-identity-issuer-chain"),
            root_crl=root_crl,
            pck_crl=pck_crl,
        )

    async def aclose(self) -> None:
        """Close the transport."""
        await self._transport.aclose()

    async def _get(self, path: str) -> tuple[Headers, bytes]:
        return await self._get_url(self._base + path)

    async def _get_url(self, url: str) -> tuple[Headers, bytes]:
        body = bytearray()
        async with self._transport.stream(HttpRequest(method="GET", url=url)) as response:
            if response.status != 200:
                raise BackendError("the service has no such collateral", got=f"status {response.status}", want=url)
            async for part in response.content:
                body += part
                if len(body) > _MAX_BODY:
                    raise RemoteProtocolError("the service's answer is too long", want=f"at most {_MAX_BODY} bytes")
        return response.headers, bytes(body)


def _chain(headers: Headers, name: str) -> bytes:
    """Return the certificates in a header field: PEM, with what a field cannot hold written as in a URL."""
    value = header(headers, name)
    if value is None:
        raise DecodeError("the service names no issuer", want=name, section=_SECTION)
    return encode_chain(decode_chain(unquote_to_bytes(value)))


@final
class CollateralSource:
    """Keeps collateral for the platforms of some nodes. Belongs to the event loop in which it is first used."""

    def __init__(self, client: PcsClient, *, now: Callable[[], datetime] = system_now) -> None:
        """Take who fetches, which the source then owns, and a clock."""
        self._client = client
        self._now = now
        self._kept: dict[PlatformId, CachedCollateral] = {}
        self._turn = anyio.Lock()

    async def collateral(self, platform: PlatformId) -> Collateral:
        """Return collateral that holds now.

        What is kept is used until it ends. When half of its time is over it is fetched anew, and used all the same if
        that fails. Raises as `PcsClient.fetch` if there is nothing left to use.
        """
        async with self._turn:
            kept = self._kept.get(platform)
            freshness = Freshness.EXPIRED if kept is None else kept.freshness(self._now())
            if kept is not None and freshness is Freshness.FRESH:
                return kept.collateral
            try:
                kept = await self._fetch(platform, kept)
            except ConfsecError:
                if kept is None or freshness is Freshness.EXPIRED:
                    raise
            return kept.collateral

    async def aclose(self) -> None:
        """Close the client. What is kept may still be used."""
        await self._client.aclose()

    async def _fetch(self, platform: PlatformId, kept: CachedCollateral | None) -> CachedCollateral:
        """Fetch anew, and keep it unless it is older than what is kept: a mirror may lag behind."""
        fetched = CachedCollateral.of(await self._client.fetch(platform), self._now())
        if kept is not None and _goes_back(kept.collateral, fetched.collateral):
            raise BackendError("the service went back in time: its collateral is older than what it gave before")
        if len(self._kept) >= _MAX_PLATFORMS:
            self._kept.clear()
        self._kept[platform] = fetched
        return fetched


def _goes_back(kept: Collateral, fetched: Collateral) -> bool:
    floor = CollateralFloor()
    floor.admit(kept)
    try:
        floor.admit(fetched)
    except PolicyError:
        return True
    return False


# --- Beside the evidence of a node ------------------------------------------------------------------------------------


@final
class CollateralAttester:
    """An `Attester` that sends along Intel's collateral for the quotes of another one. It owns that and the source."""

    def __init__(self, attester: Attester, source: CollateralSource) -> None:
        self._attester = attester
        self._source = source

    @property
    def platform(self) -> str:
        """The platform of the other attester."""
        return self._attester.platform

    async def begin(self) -> CollateralEpoch:
        """Begin an epoch of the other attester. Raises as it does."""
        return CollateralEpoch(await self._attester.begin(), self._source)

    async def aclose(self) -> None:
        """Close the other attester, and the source."""
        await self._attester.aclose()
        await self._source.aclose()


@final
class CollateralEpoch:
    """An `EpochAttester`, made by `CollateralAttester.begin`."""

    def __init__(self, epoch: EpochAttester, source: CollateralSource) -> None:
        self._epoch = epoch
        self._source = source

    @property
    def ak(self) -> bytes | None:
        """The attestation key of the other attester."""
        return self._epoch.ak

    @property
    def request_key(self) -> DiffieHellman | None:
        """The request key of the other attester."""
        return self._epoch.request_key

    async def attest(self, binding: Binding) -> Attestation:
        """Make the other's evidence, and put the collateral beside it.

        Where none can be had, the evidence goes without: it may be brought by somebody else, and whoever verifies says
        that it is missing. Raises as the other attester does.
        """
        made = await self._epoch.attest(binding)
        try:
            platform = PlatformId.of(made.items[TDX].value)
            record = (await self._source.collateral(platform)).record
        except ConfsecError:
            return made
        return Attestation(items=made.items, endorsements={TDX_COLLATERAL: record, **made.endorsements})

    async def aclose(self) -> None:
        """Close the other attester's epoch."""
        await self._epoch.aclose()
