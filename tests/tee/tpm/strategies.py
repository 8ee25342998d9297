"""Any TPM structure that our readers accept."""

from __future__ import annotations

from hypothesis import strategies as st

from confsec.tee.event_log import HashAlgorithm
from confsec.tee.tpm.structures import (
    ALG_NULL,
    NULL_SCHEME,
    Attest,
    AttestType,
    Attributes,
    ClockInfo,
    CreationData,
    CreationInfo,
    EccCurve,
    EccKey,
    PcrSelection,
    PublicArea,
    QuoteInfo,
    RsaKey,
    Scheme,
    SchemeId,
    Symmetric,
    TpmSignature,
)

__all__ = ["attests", "creation_data", "public_areas", "selections", "signatures"]

HASHES = st.sampled_from(HashAlgorithm)
NAMES = st.binary(max_size=66)


def _uints(size: int) -> st.SearchStrategy[int]:
    return st.integers(0, (1 << 8 * size) - 1)


_kdfs = st.just(NULL_SCHEME) | st.builds(Scheme, st.just(0x0022), HASHES)
_symmetric = st.just(Symmetric()) | st.builds(
    Symmetric, st.just(0x0006), st.sampled_from([128, 192, 256]), st.just(0x0043)
)


def _ecc_keys() -> st.SearchStrategy[EccKey]:
    return st.sampled_from(EccCurve).flatmap(
        lambda curve: st.builds(
            EccKey, st.just(curve), st.binary(max_size=curve.size), st.binary(max_size=curve.size), _kdfs
        )
    )


def _rsa_keys() -> st.SearchStrategy[RsaKey]:
    return st.sampled_from([128, 256, 512]).flatmap(
        lambda size: st.builds(RsaKey, st.just(8 * size), st.binary(min_size=size, max_size=size), _uints(4))
    )


@st.composite
def public_areas(draw: st.DrawFn) -> PublicArea:
    """Any TPMT_PUBLIC."""
    key = draw(_ecc_keys() | _rsa_keys())
    algorithms = [SchemeId.ECDSA, SchemeId.ECDH] if isinstance(key, EccKey) else [SchemeId.RSASSA, SchemeId.RSAPSS]
    schemes = st.just(NULL_SCHEME) | st.builds(Scheme, st.sampled_from(algorithms), HASHES)
    name_algorithm = draw(HASHES)
    size = name_algorithm.digest_size
    return PublicArea(
        name_algorithm=name_algorithm,
        attributes=Attributes(draw(_uints(4))),
        auth_policy=draw(st.just(b"") | st.binary(min_size=size, max_size=size)),
        symmetric=draw(_symmetric),
        scheme=draw(schemes),
        key=key,
    )


def selections() -> st.SearchStrategy[tuple[PcrSelection, ...]]:
    """Any TPML_PCR_SELECTION."""
    one = st.builds(PcrSelection, HASHES, st.binary(min_size=3, max_size=4))
    return st.lists(one, max_size=4).map(tuple)


_attested = {
    AttestType.QUOTE: st.builds(QuoteInfo, selections(), st.binary(max_size=64)),
    AttestType.CREATION: st.builds(CreationInfo, NAMES, st.binary(max_size=64)),
}


def attests() -> st.SearchStrategy[Attest]:
    """Any TPMS_ATTEST of a quote or of a creation."""
    return st.sampled_from([AttestType.QUOTE, AttestType.CREATION]).flatmap(
        lambda kind: st.builds(
            Attest,
            type=st.just(kind),
            qualified_signer=NAMES,
            extra_data=NAMES,
            clock=st.builds(ClockInfo, _uints(8), _uints(4), _uints(4), st.booleans()),
            firmware_version=_uints(8),
            attested=_attested[kind],
        )
    )


def creation_data() -> st.SearchStrategy[CreationData]:
    """Any TPMS_CREATION_DATA."""
    return st.builds(
        CreationData,
        selections=selections(),
        pcr_digest=st.binary(max_size=64),
        locality=_uints(1),
        parent_name_algorithm=st.sampled_from([ALG_NULL, 0x000B]),
        parent_name=NAMES,
        parent_qualified_name=NAMES,
        outside_info=NAMES,
    )


def signatures() -> st.SearchStrategy[TpmSignature]:
    """Any TPMT_SIGNATURE."""
    ecdsa = st.builds(
        TpmSignature, st.just(SchemeId.ECDSA), HASHES, st.tuples(st.binary(max_size=66), st.binary(max_size=66))
    )
    of_rsa = st.builds(
        TpmSignature,
        st.sampled_from([SchemeId.RSASSA, SchemeId.RSAPSS]),
        HASHES,
        st.tuples(st.binary(min_size=128, max_size=512)),
    )
    return ecdsa | of_rsa
