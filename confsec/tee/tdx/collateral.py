"""Intel's collateral for a quote: what travels beside the evidence, how long it holds, and that it may not go back.

Under the endorsement label `tdx-collateral` stands one map in deterministic CBOR::

    {"pck-crl": bytes,                  DER, of the CA that issued the PCK certificate
     "qe-identity": bytes,              the exact text of the member enclaveIdentity
     "qe-identity-chain": bytes,        signer and root, DER one after the other
     "qe-identity-signature": bytes,    r and s, 64 bytes
     "root-crl": bytes,                 DER, of the root
     "tcb-info": bytes,                 the exact text of the member tcbInfo
     "tcb-info-chain": bytes,           signer and root, DER one after the other
     "tcb-info-signature": bytes}       r and s, 64 bytes

Whoever carries it cannot change it, but can choose an older one: `CollateralFloor` remembers what was seen. Fetching is
the work of `pcs.py`.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from enum import Enum
from typing import Final, Self, final

from attrs import field, fields, frozen

from confsec.errors import DecodeError, LimitError, PolicyError
from confsec.protocol import cbor
from confsec.protocol.cmw import CmwRecord
from confsec.protocol.wire import decode_hex
from confsec.tee.tdx.tcb import QeIdentity, TcbInfo
from confsec.tee.x509 import RevocationList, decode_chain

__all__ = [
    "MAX_COLLATERAL",
    "TDX_COLLATERAL",
    "TDX_COLLATERAL_TYPE",
    "CachedCollateral",
    "Collateral",
    "CollateralFloor",
    "Freshness",
    "split_signed",
]

TDX_COLLATERAL: Final = "tdx-collateral"
"""The label among the endorsements."""

TDX_COLLATERAL_TYPE: Final = "application/vnd.confsec.tdx-collateral+cbor"
"""The media type of that record."""

MAX_COLLATERAL: Final = 768 << 10
"""Collateral has at most 768 KiB. Real one has about 25."""

_MAX_FLOORS: Final = 4096
_SIGNATURE: Final = 64
_SIGNED: Final = re.compile(rb'\{"(\w+)":(\{.*\}),"signature":"([0-9a-fA-F]{128})"\}\s*', re.DOTALL)
_SECTION: Final = "docs/spec/attestation.md, TDX collateral"


@frozen(kw_only=True)
class Collateral:
    """What Intel publishes for the quotes of one FMSPC, unverified."""

    tcb_info: bytes = field(repr=False)
    """The exact text that is signed."""

    tcb_info_signature: bytes = field(repr=False)
    tcb_info_chain: bytes = field(repr=False)
    """Signer and root in DER."""

    qe_identity: bytes = field(repr=False)
    """The exact text that is signed."""

    qe_identity_signature: bytes = field(repr=False)
    qe_identity_chain: bytes = field(repr=False)
    """Signer and root in DER; the same signer as above, so far."""

    root_crl: bytes = field(repr=False)
    """The revocation list of the root, in DER."""

    pck_crl: bytes = field(repr=False)
    """The revocation list of the CA that issued the PCK certificate, in DER."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read the map above. Raises `DecodeError`."""
        names = tuple(_key(each.name) for each in fields(cls))
        members = cbor.as_map(
            cbor.decode(data, what="TDX collateral", limit=MAX_COLLATERAL), what="TDX collateral", keys=names
        )
        return cls(
            **{
                name.replace("-", "_"): cbor.as_bytes(
                    members[name], what=name, size=_SIGNATURE if name.endswith("signature") else None
                )
                for name in names
            }
        )

    def encode(self) -> bytes:
        return cbor.encode({_key(each.name): getattr(self, each.name) for each in fields(type(self))})

    @property
    def record(self) -> CmwRecord:
        """The record that goes under `TDX_COLLATERAL` among the endorsements."""
        return CmwRecord(TDX_COLLATERAL_TYPE, self.encode())

    def expires(self) -> datetime:
        """Return when the first part ends. Says nothing about signatures. Raises `DecodeError`."""
        info, identity = TcbInfo.decode(self.tcb_info), QeIdentity.decode(self.qe_identity)
        lists = [RevocationList.decode(each).next_update for each in (self.root_crl, self.pck_crl)]
        chains = [decode_chain(each) for each in (self.tcb_info_chain, self.qe_identity_chain)]
        ends = [certificate.not_after for chain in chains for certificate in chain]
        return min(info.next_update, identity.next_update, *lists, *ends)


def split_signed(body: bytes, member: str) -> tuple[bytes, bytes]:
    """Take the exact signed text and the signature out of a body of Intel's service.

    The body is `{"<member>":{…},"signature":"<hex>"}` with nothing between, as Intel writes it: the text may not be
    written anew, because the signature is over its bytes. Raises `DecodeError`.
    """
    if len(body) > MAX_COLLATERAL:
        raise LimitError("a body of the PCS is too long", got=f"{len(body)} bytes", want=f"at most {MAX_COLLATERAL}")
    match = _SIGNED.fullmatch(body)
    if match is None or match[1] != member.encode():
        raise DecodeError(f"a body of the PCS is not {member} and its signature", section="Intel PCS API v4")
    return match[2], decode_hex(match[3].decode().lower())


# --- It may not go back in time ---------------------------------------------------------------------------------------


@final
class CollateralFloor:
    """Remembers the newest collateral seen, and refuses older one: whoever carries it may not choose.

    A cache in memory for one client. Admit only what a verifier has passed: a forged date would shut out what is true.
    It holds one entry for each FMSPC and each issuer of revocation lists, 4096 at most.
    """

    def __init__(self) -> None:
        self._newest: dict[str, tuple[int, datetime]] = {}

    def admit(self, collateral: Collateral) -> None:
        """Remember `collateral`. Raises `PolicyError` if anything in it is older than what was admitted before.

        When it raises, nothing of it is remembered.
        """
        ages = _ages(collateral)
        for name, age in ages.items():
            known = self._newest.get(name, age)
            if age < known:
                raise PolicyError(
                    f"the collateral goes back in time: {name}", got=_age_text(age), want=f"at least {_age_text(known)}"
                )
        if len(self._newest.keys() | ages.keys()) > _MAX_FLOORS:
            raise LimitError("too many kinds of collateral", want=f"at most {_MAX_FLOORS}")
        self._newest |= ages


def _ages(collateral: Collateral) -> dict[str, tuple[int, datetime]]:
    """Return the evaluation number and the date of issue of each part, by its name."""
    info, identity = TcbInfo.decode(collateral.tcb_info), QeIdentity.decode(collateral.qe_identity)
    ages = {
        f"TCB info {info.id} {info.fmspc.hex()}": (info.evaluation_number, info.issue_date),
        f"QE identity {identity.id}": (identity.evaluation_number, identity.issue_date),
    }
    for encoded in (collateral.root_crl, collateral.pck_crl):
        crl = RevocationList.decode(encoded)
        ages[f"revocation list of {crl.issuer.text}"] = (0, crl.this_update)
    return ages


def _age_text(age: tuple[int, datetime]) -> str:
    return f"evaluation {age[0]} of {age[1]:%Y-%m-%d %H:%M}"


# --- How long to keep it ----------------------------------------------------------------------------------------------


class Freshness(Enum):
    """What to do with collateral that was fetched before."""

    FRESH = "fresh"
    """Use it."""

    DUE = "due"
    """Use it, and fetch anew."""

    EXPIRED = "expired"
    """Fetch anew before anything else: no verifier takes it."""


@frozen
class CachedCollateral:
    """Collateral and when it was fetched."""

    collateral: Collateral
    fetched_at: datetime
    expires: datetime
    """When its first part ends."""

    @classmethod
    def of(cls, collateral: Collateral, fetched_at: datetime) -> Self:
        """Make the entry of what has just been fetched. Raises `DecodeError`."""
        return cls(collateral, fetched_at, collateral.expires())

    @property
    def refresh_at(self) -> datetime:
        """Half of its life after it was fetched: so an outage of half that long does no harm."""
        return self.fetched_at + max(self.expires - self.fetched_at, timedelta(0)) / 2

    def freshness(self, now: datetime) -> Freshness:
        """Return what to do with it at `now`."""
        if now > self.expires:
            return Freshness.EXPIRED
        return Freshness.DUE if now >= self.refresh_at else Freshness.FRESH


def _key(name: str) -> str:
    return name.replace("_", "-")
