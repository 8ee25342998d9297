"""Which forms of vector files there are, and what runs them. A later part of confsec adds its module here."""

from __future__ import annotations

from typing import Final

from confsec.conformance import (
    bhttp,
    binding,
    blind_rsa,
    cbor,
    cmw,
    corim,
    cose,
    cwt_eat,
    ear,
    hpke,
    merkle,
    ohttp,
    primitives,
    privacypass,
    scitt,
    sealed,
    sev_snp,
    sigstore,
    tdx,
    tiles,
    tlog,
    token_defects,
    tpm,
)
from confsec.conformance.cases import Schema
from confsec.conformance.kinds import Kind

__all__ = ["KINDS", "MISSING_PROTOCOLS", "SCHEMAS", "find_kind", "find_schema", "recognise"]

SCHEMAS: Final[tuple[Schema, ...]] = (
    *sealed.SCHEMAS,
    *ohttp.SCHEMAS,
    *hpke.SCHEMAS,
    *bhttp.SCHEMAS,
    *blind_rsa.SCHEMAS,
    *token_defects.SCHEMAS,
    *privacypass.SCHEMAS,
    *cbor.SCHEMAS,
    *primitives.SCHEMAS,
    *binding.SCHEMAS,
    *cmw.SCHEMAS,
    *corim.SCHEMAS,
    *cwt_eat.SCHEMAS,
    *ear.SCHEMAS,
    *scitt.SCHEMAS,
    *tlog.SCHEMAS,
)
"""In the order in which they are tried: a form with more members before one that has fewer."""

KINDS: Final[tuple[Kind, ...]] = (
    *cmw.KINDS,
    *corim.KINDS,
    *cose.KINDS,
    *cwt_eat.KINDS,
    *ear.KINDS,
    *merkle.KINDS,
    *scitt.KINDS,
    *sev_snp.KINDS,
    *sigstore.KINDS,
    *tdx.KINDS,
    *tiles.KINDS,
    *tlog.KINDS,
    *tpm.KINDS,
)
"""The kinds of cases that consist of files."""

_VOPRF: Final = "tokens that verify with the issuer's private key (VOPRF) are not part of this version"
_GPU: Final = "evidence of GPUs is not part of this version"

MISSING_PROTOCOLS: Final = {
    "nvidia": _GPU,
    "voprf": _VOPRF,
}
"""Why the vectors of a protocol are skipped as a whole, by the name in its manifest."""

_BY_NAME: Final = {(schema.protocol, schema.name): schema for schema in SCHEMAS}
_KIND_BY_NAME: Final = {kind.name: kind for kind in KINDS}


def find_kind(name: str) -> Kind | None:
    """Return the kind with this name, or None if we do not know it."""
    return _KIND_BY_NAME.get(name)


def find_schema(name: str, protocol: str = "") -> Schema | None:
    """Return the schema that a manifest of a protocol means by a name, or None if we do not know it."""
    return _BY_NAME.get((protocol, name)) or _BY_NAME.get(("", name))


def recognise(document: object) -> Schema | None:
    """Return the schema whose form a JSON document has, or None if we do not know it."""
    return next((schema for schema in SCHEMAS if schema.recognises(document)), None)
