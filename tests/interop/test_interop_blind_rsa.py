"""Blind RSA: their client with our signer, our client with theirs, and each verifier on the other's signatures."""

from __future__ import annotations

import pytest

from confsec.errors import TokenSignatureError
from confsec.protocol import blind_rsa, partially_blind_rsa
from confsec.protocol.blind_rsa import BlindRsaVariant
from tests.interop import ours_tokens as ours
from tests.interop.conftest import FillCell, StartPeer
from tests.interop.peers import GO_CIRCL, PeerError
from tests.interop.token_peers import SIGNERS, TokenPeer
from tests.protocol.token_cases import KEYS

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

BLIND = "blind RSA"
PARTIALLY_BLIND = "with metadata"

THEIR_CLIENT = "their client, our signer"
OUR_CLIENT = "our client, their signer"

MSG = b"a message"
INFO = b"metadata"

every_library = pytest.mark.parametrize("library", SIGNERS)
every_variant = pytest.mark.parametrize("variant", blind_rsa.VARIANTS, ids=lambda variant: variant.name)
every_metadata_variant = pytest.mark.parametrize(
    "variant", partially_blind_rsa.VARIANTS, ids=lambda variant: variant.name
)
every_key = pytest.mark.parametrize("key", ["rsa2048", "rsa3072", "safe4096"])


def expect_support(library: str, variant: BlindRsaVariant) -> None:
    """Stop, and say why in the matrix, where the peer does not have the variant."""
    if SIGNERS[library] == GO_CIRCL and variant != partially_blind_rsa.RSAPBSSA_SHA384_PSS_DETERMINISTIC:
        pytest.xfail("this peer has RSAPBSSA-SHA384-PSS-Deterministic alone of the variants with metadata")


@every_library
@every_variant
def test_their_client_gets_a_signature_from_our_signer(
    start_peer: StartPeer, fill_cell: FillCell, library: str, variant: BlindRsaVariant
) -> None:
    fill_cell(library, BLIND, variant.name, THEIR_CLIENT)
    peer, pair = TokenPeer(start_peer(SIGNERS[library])), KEYS["rsa2048"]
    blinded = peer.brsa_blind(variant.name, ours.public_key(pair), MSG)
    sig = peer.brsa_finalize(blinded.exchange, pair.sign(blinded.blinded_msg))
    assert len(blinded.input_msg) == len(MSG) + (32 if variant.randomized else 0)
    blind_rsa.verify(pair.public_key, blinded.input_msg, sig, variant=variant)


@every_library
@every_variant
def test_our_client_gets_a_signature_from_their_signer(
    start_peer: StartPeer, fill_cell: FillCell, library: str, variant: BlindRsaVariant
) -> None:
    fill_cell(library, BLIND, variant.name, OUR_CLIENT)
    check_our_client(TokenPeer(start_peer(SIGNERS[library])), "rsa2048", variant)


@every_library
@every_key
def test_keys_of_every_size_are_used_alike(start_peer: StartPeer, library: str, key: str) -> None:
    check_our_client(TokenPeer(start_peer(SIGNERS[library])), key, blind_rsa.RSABSSA_SHA384_PSS_DETERMINISTIC)


def check_our_client(peer: TokenPeer, key: str, variant: BlindRsaVariant) -> None:
    """Let our client get a signature from the peer, and the peer verify it and nothing else."""
    pair = KEYS[key]
    input_msg = blind_rsa.prepare(MSG, variant=variant, randbytes=ours.RANDBYTES)
    blinded = blind_rsa.blind(pair.public_key, input_msg, variant=variant, randbytes=ours.RANDBYTES)
    blind_sig = peer.brsa_sign(variant.name, ours.private_key(pair), blinded.blinded_msg)
    sig = blind_rsa.finalize(pair.public_key, input_msg, blind_sig=blind_sig, inverse=blinded.inverse, variant=variant)
    peer.brsa_verify(variant.name, ours.public_key(pair), input_msg, sig)
    with pytest.raises(PeerError):
        peer.brsa_verify(variant.name, ours.public_key(pair), input_msg + b"x", sig)


@every_library
@every_metadata_variant
def test_their_client_gets_a_signature_under_metadata_from_our_signer(
    start_peer: StartPeer, fill_cell: FillCell, library: str, variant: BlindRsaVariant
) -> None:
    fill_cell(library, PARTIALLY_BLIND, variant.name, THEIR_CLIENT)
    expect_support(library, variant)
    peer, pair = TokenPeer(start_peer(SIGNERS[library])), KEYS["safe2048"]
    blinded = peer.brsa_blind(variant.name, ours.public_key(pair), MSG, info=INFO)
    derived = partially_blind_rsa.derive_public_key(pair.public_key, INFO)
    sig = peer.brsa_finalize(blinded.exchange, pair.sign(blinded.blinded_msg, derived))
    partially_blind_rsa.verify(pair.public_key, blinded.input_msg, INFO, sig, variant=variant)
    with pytest.raises(TokenSignatureError):
        partially_blind_rsa.verify(pair.public_key, blinded.input_msg, INFO + b"x", sig, variant=variant)


@every_library
@every_metadata_variant
def test_our_client_gets_a_signature_under_metadata_from_their_signer(
    start_peer: StartPeer, fill_cell: FillCell, library: str, variant: BlindRsaVariant
) -> None:
    fill_cell(library, PARTIALLY_BLIND, variant.name, OUR_CLIENT)
    expect_support(library, variant)
    peer, pair = TokenPeer(start_peer(SIGNERS[library])), KEYS["safe2048"]
    input_msg = partially_blind_rsa.prepare(MSG, variant=variant, randbytes=ours.RANDBYTES)
    blinded = partially_blind_rsa.blind(pair.public_key, input_msg, INFO, variant=variant, randbytes=ours.RANDBYTES)
    blind_sig = peer.brsa_sign(variant.name, ours.private_key(pair), blinded.blinded_msg, info=INFO)
    sig = partially_blind_rsa.finalize(
        pair.public_key, input_msg, INFO, blind_sig=blind_sig, inverse=blinded.inverse, variant=variant
    )
    peer.brsa_verify(variant.name, ours.public_key(pair), input_msg, sig, info=INFO)
    with pytest.raises(PeerError):
        peer.brsa_verify(variant.name, ours.public_key(pair), input_msg, sig, info=INFO + b"x")
