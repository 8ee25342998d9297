from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, strategies as st

from confsec.errors import ConfsecError, DecodeError, DecryptionError, LocalProtocolError, UnsupportedError
from confsec.protocol.groups import P256, P384, P521, X448, X25519, Group, GroupKey
from confsec.protocol.kdf import Kdf
from confsec.protocol.kem import (
    DHKEM_P256,
    DHKEM_P384,
    DHKEM_P521,
    DHKEM_X448,
    DHKEM_X25519,
    KEMS,
    ML_KEM_768,
    ML_KEM_1024,
    MLKEM768_P256,
    MLKEM768_X25519,
    MLKEM1024_P384,
    DhKem,
    HybridKem,
    Kem,
    MlKem,
    kem_from_id,
)
from tests.protocol.hpke_cases import unhex
from tests.support import load_vectors

DH_KEMS = [kem for kem in KEMS if isinstance(kem, DhKem)]
HYBRIDS = [kem for kem in KEMS if isinstance(kem, HybridKem)]
ML_KEMS = [ML_KEM_768, ML_KEM_1024]
GROUPS = [X25519, X448, P256, P384, P521]
NIST: dict[Group, ec.EllipticCurve] = {P256: ec.SECP256R1(), P384: ec.SECP384R1(), P521: ec.SECP521R1()}


def name_of(thing: Kem | Group) -> str:
    return thing.name


# Nsecret, Nenc, Npk, Nsk: RFC 9180, table 2, and draft-ietf-hpke-pq-04.
SIZES = {
    0x0010: (DHKEM_P256, 32, 65, 65, 32),
    0x0011: (DHKEM_P384, 48, 97, 97, 48),
    0x0012: (DHKEM_P521, 64, 133, 133, 66),
    0x0020: (DHKEM_X25519, 32, 32, 32, 32),
    0x0021: (DHKEM_X448, 64, 56, 56, 56),
    0x0041: (ML_KEM_768, 32, 1088, 1184, 64),
    0x0042: (ML_KEM_1024, 32, 1568, 1568, 64),
    0x0050: (MLKEM768_P256, 32, 1153, 1249, 32),
    0x0051: (MLKEM1024_P384, 32, 1665, 1665, 32),
    0x647A: (MLKEM768_X25519, 32, 1120, 1216, 32),
}

# The points of small order on Curve25519 and its twist, in all their spellings below 2^255 (RFC 7748, section 6.1, and
# https://cr.yp.to/ecdh.html#validate).
SMALL_ORDER_X25519 = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


def test_registry_has_the_sizes_of_the_standards() -> None:
    assert {kem.kem_id for kem in KEMS} == set(SIZES)
    for kem_id, (kem, *sizes) in SIZES.items():
        assert kem_from_id(kem_id) is kem
        assert [kem.secret_size, kem.enc_size, kem.public_key_size, kem.private_key_size] == sizes


@pytest.mark.parametrize("kem_id", [0, 0x0040, 0x0022, 0xFFFF])
def test_unknown_kem_is_unsupported(kem_id: int) -> None:
    with pytest.raises(UnsupportedError, match=f"0x{kem_id:04x}"):
        kem_from_id(kem_id)


@pytest.mark.parametrize("kem", KEMS, ids=name_of)
def test_what_is_encapsulated_is_decapsulated(kem: Kem) -> None:
    key = kem.generate(os.urandom)
    kem.check_public_key(key.public_key)
    secret, enc = kem.encapsulate(key.public_key, os.urandom)
    assert (len(secret), len(enc)) == (kem.secret_size, kem.enc_size)
    assert key.decapsulate(enc) == secret
    assert kem.encapsulate(key.public_key, os.urandom)[0] != secret


@pytest.mark.parametrize("kem", KEMS, ids=name_of)
def test_private_key_round_trips(kem: Kem) -> None:
    key = kem.generate(os.urandom)
    loaded = kem.from_private_bytes(key.private_bytes())
    assert loaded.private_bytes() == key.private_bytes()
    assert loaded.public_key == key.public_key
    assert loaded.kem_id == kem.kem_id


@pytest.mark.parametrize("kem", KEMS, ids=name_of)
def test_keys_are_made_from_randbytes_alone(kem: Kem) -> None:
    stream = bytes(range(1, 67))
    assert kem.generate(lambda size: stream[:size]).public_key == kem.generate(lambda size: stream[:size]).public_key


@pytest.mark.parametrize("kem", KEMS, ids=name_of)
def test_too_little_keying_material_is_refused(kem: Kem) -> None:
    kem.derive_key_pair(bytes(kem.private_key_size))
    with pytest.raises(LocalProtocolError, match="too little keying material"):
        kem.derive_key_pair(bytes(kem.private_key_size - 1))


@pytest.mark.parametrize("kem", KEMS, ids=name_of)
@pytest.mark.parametrize("change", [-1, 1])
def test_keys_and_encapsulations_of_another_size_are_refused(kem: Kem, change: int) -> None:
    key = kem.generate(os.urandom)
    public_key = (key.public_key + b"\x00")[: kem.public_key_size + change]
    for refuse in (kem.check_public_key, lambda pk: kem.encapsulate(pk, os.urandom)):
        with pytest.raises(DecodeError, match="size"):
            refuse(public_key)
    with pytest.raises(DecodeError, match="size"):
        kem.from_private_bytes((key.private_bytes() + b"\x00")[: kem.private_key_size + change])
    _, enc = kem.encapsulate(key.public_key, os.urandom)
    with pytest.raises(DecryptionError, match="does not open" if kem in DH_KEMS else f"size.*want {kem.enc_size}"):
        key.decapsulate((enc + b"\x00")[: kem.enc_size + change])


@given(st.sampled_from(KEMS), st.data())
def test_any_bytes_are_a_key_or_an_error_of_ours(kem: Kem, data: st.DataObject) -> None:
    def draw(size: int) -> bytes:
        return data.draw(st.one_of(st.binary(max_size=80), st.binary(min_size=size, max_size=size)))

    for step in (
        lambda: kem.from_private_bytes(draw(kem.private_key_size)),
        lambda: kem.check_public_key(draw(kem.public_key_size)),
        lambda: kem.encapsulate(draw(kem.public_key_size), os.urandom),
        lambda: kem.derive_key_pair(bytes(kem.private_key_size)).decapsulate(draw(kem.enc_size)),
    ):
        try:
            step()
        except ConfsecError:
            continue


@pytest.mark.parametrize("kem", KEMS, ids=name_of)
def test_an_erased_key_does_nothing(kem: Kem) -> None:
    key = kem.generate(os.urandom)
    _, enc = kem.encapsulate(key.public_key, os.urandom)
    for _ in range(2):
        key.erase()
    with pytest.raises(LocalProtocolError, match="erased"):
        key.decapsulate(enc)
    with pytest.raises(LocalProtocolError, match="erased"):
        key.private_bytes()


@pytest.mark.parametrize("kem", HYBRIDS, ids=name_of)
def test_erasing_a_hybrid_overwrites_its_seed(kem: HybridKem) -> None:
    key = kem.generate(os.urandom)
    seed = key._seed
    assert seed is not None
    # A view keeps the memory where it is, so what was there can be seen after `erase`.
    with memoryview(seed) as view:
        key.erase()
        assert bytes(view) == bytes(32)


@pytest.mark.parametrize("kem", KEMS, ids=name_of)
def test_repr_shows_the_kem_and_no_key(kem: Kem) -> None:
    key = kem.generate(os.urandom)
    assert f"{kem.kem_id:04x}" in repr(key)
    assert kem.name in repr(kem)
    for secret in (key.private_bytes().hex(), repr(key.private_bytes())):
        assert secret not in repr(key)


# --- Authenticated encapsulation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kem", DH_KEMS, ids=name_of)
def test_authenticated_secret_needs_the_right_sender(kem: DhKem) -> None:
    receiver, sender, other = (kem.generate(os.urandom) for _ in range(3))
    secret, enc = kem.auth_encapsulate(receiver.public_key, sender, os.urandom)
    assert receiver.auth_decapsulate(enc, sender.public_key) == secret
    assert receiver.auth_decapsulate(enc, other.public_key) != secret
    assert receiver.decapsulate(enc) != secret


@pytest.mark.parametrize("kem", DH_KEMS, ids=name_of)
def test_bad_sender_key_and_bad_enc_are_told_apart(kem: DhKem) -> None:
    receiver, sender = kem.generate(os.urandom), kem.generate(os.urandom)
    _, enc = kem.auth_encapsulate(receiver.public_key, sender, os.urandom)
    with pytest.raises(DecodeError):
        receiver.auth_decapsulate(enc, bytes(kem.public_key_size))
    with pytest.raises(DecryptionError):
        receiver.auth_decapsulate(bytes(kem.enc_size), sender.public_key)


def test_erased_sender_key_authenticates_nobody() -> None:
    receiver, sender = DHKEM_X25519.generate(os.urandom), DHKEM_X25519.generate(os.urandom)
    sender.erase()
    with pytest.raises(LocalProtocolError, match="erased"):
        DHKEM_X25519.auth_encapsulate(receiver.public_key, sender, os.urandom)


# --- Groups ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", SMALL_ORDER_X25519)
def test_points_of_small_order_are_refused_on_x25519(point: str) -> None:
    refused_everywhere(DHKEM_X25519, bytes.fromhex(point))


@pytest.mark.parametrize("point", [bytes(56), b"\x01" + bytes(55), b"\xfe" + b"\xff" * 27 + b"\xfe" + b"\xff" * 27])
def test_points_of_small_order_are_refused_on_x448(point: bytes) -> None:
    refused_everywhere(DHKEM_X448, point)


def refused_everywhere(kem: DhKem, point: bytes) -> None:
    key = kem.generate(os.urandom)
    with pytest.raises(DecodeError, match="small order"):
        kem.encapsulate(point, os.urandom)
    with pytest.raises(DecryptionError):
        key.decapsulate(point)


def test_small_order_in_the_traditional_half_of_x_wing_is_refused() -> None:
    key = MLKEM768_X25519.generate(os.urandom)
    _, enc = MLKEM768_X25519.encapsulate(key.public_key, os.urandom)
    with pytest.raises(DecodeError, match="small order"):
        MLKEM768_X25519.encapsulate(key.public_key[:1184] + bytes(32), os.urandom)
    with pytest.raises(DecryptionError):
        key.decapsulate(enc[:1088] + bytes(32))


@pytest.mark.parametrize("group", NIST, ids=name_of)
def test_points_off_the_curve_are_refused(group: Group) -> None:
    point = group.generate(os.urandom).public_key
    off = point[:-1] + bytes((point[-1] ^ 1,))
    for bad in (off, b"\x04" + bytes(2 * group.shared_size), b"\x04" + b"\xff" * (2 * group.shared_size)):
        with pytest.raises(DecodeError, match="not on the curve"):
            group.check_public_key(bad)
        with pytest.raises(DecodeError, match="not on the curve"):
            group.generate(os.urandom).diffie_hellman(bad)


@pytest.mark.parametrize("group", NIST, ids=name_of)
def test_only_uncompressed_points_are_read(group: Group) -> None:
    key = ec.generate_private_key(NIST[group])
    compressed = key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    uncompressed = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    hybrid = bytes((0x06 | uncompressed[-1] & 1,)) + uncompressed[1:]
    group.check_public_key(uncompressed)
    with pytest.raises(DecodeError, match="another size"):
        group.check_public_key(compressed)
    with pytest.raises(DecodeError, match="not an uncompressed point"):
        group.check_public_key(hybrid)
    with pytest.raises(DecodeError, match="another size"):
        group.check_public_key(b"\x00")


@pytest.mark.parametrize("group", NIST, ids=name_of)
def test_scalars_out_of_range_are_refused(group: Group) -> None:
    size = group.private_key_size
    order = NIST[group].group_order
    for scalar in (0, order, order + 1, (1 << (8 * size)) - 1):
        with pytest.raises(DecodeError, match="out of range"):
            group.from_private_bytes(scalar.to_bytes(size, "big"))
    for scalar in (1, order - 1):
        key = group.from_private_bytes(scalar.to_bytes(size, "big"))
        assert key.private_bytes() == scalar.to_bytes(size, "big")


@pytest.mark.parametrize("group", NIST, ids=name_of)
def test_scalars_are_drawn_again_when_out_of_range(group: Group) -> None:
    size = group.private_key_size
    draws = [bytes(size), NIST[group].group_order.to_bytes(size, "big"), bytes(size - 1) + b"\x07"]
    assert group.generate(lambda size: draws.pop(0)).private_bytes() == bytes(size - 1) + b"\x07"
    assert not draws


@pytest.mark.parametrize("group", NIST, ids=name_of)
def test_a_source_without_randomness_ends_the_drawing(group: Group) -> None:
    with pytest.raises(LocalProtocolError, match="all out of range"):
        group.generate(bytes)


@pytest.mark.parametrize("group", GROUPS, ids=name_of)
def test_a_source_that_gives_too_little_is_refused(group: Group) -> None:
    with pytest.raises(LocalProtocolError, match="another size"):
        group.generate(lambda size: bytes(range(1, size)))


def test_p521_scalars_keep_one_bit_of_the_first_byte() -> None:
    key = P521.generate(lambda size: b"\xfe" + b"\x01" * (size - 1))
    assert key.private_bytes() == b"\x00" + b"\x01" * 65


@pytest.mark.parametrize("group", GROUPS, ids=name_of)
def test_remembered_keys_give_the_same_as_others(group: Group) -> None:
    ours, peer = group.generate(os.urandom), group.generate(os.urandom)
    shared = ours.diffie_hellman(peer.public_key)
    assert shared == peer.diffie_hellman(ours.public_key)
    for _ in range(2):
        assert ours.diffie_hellman_recurring(peer.public_key) == shared
    assert len(shared) == group.shared_size


class BarrenGroup(Group):
    """P-256, if no candidate were ever in range: what section 7.1.3 calls a DeriveKeyPairError."""

    name = "P-256"
    public_key_size = P256.public_key_size
    private_key_size = P256.private_key_size
    shared_size = P256.shared_size
    samples = True

    def __init__(self) -> None:
        self.candidates: list[bytes] = []

    def sample(self, candidate: bytes) -> GroupKey | None:
        self.candidates.append(candidate)
        return None

    def from_private_bytes(self, private_key: bytes) -> GroupKey:
        raise NotImplementedError

    def check_public_key(self, public_key: bytes) -> None:
        raise NotImplementedError


def test_key_derivation_gives_up_after_256_candidates() -> None:
    group = BarrenGroup()
    with pytest.raises(LocalProtocolError, match="gives no"):
        DhKem(0x0010, group, Kdf.HKDF_SHA256).derive_key_pair(bytes(32))
    assert len(set(group.candidates)) == 256


# --- ML-KEM ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kem", ML_KEMS, ids=name_of)
@pytest.mark.parametrize("position", [0, 1, -33])
def test_encapsulation_keys_that_are_not_reduced_are_refused(kem: MlKem, position: int) -> None:
    # FIPS 203, section 7.2: coefficients of 12 bits are below 3329. All ones is 4095.
    key = bytearray(kem.generate(os.urandom).public_key)
    start = position if position >= 0 else len(key) + position
    start -= start % 3
    key[start : start + 3] = b"\xff\xff\xff"
    for refuse in (kem.check_public_key, lambda pk: kem.encapsulate(pk, os.urandom)):
        with pytest.raises(DecodeError, match="not reduced"):
            refuse(bytes(key))


def test_hybrid_checks_both_halves_of_a_public_key() -> None:
    public_key = MLKEM768_P256.generate(os.urandom).public_key
    for bad, why in (
        (b"\xff\xff\xff" + public_key[3:], "not reduced"),
        (public_key[:-1] + bytes((public_key[-1] ^ 1,)), "not on the curve"),
        (public_key[:1184] + b"\x02" + public_key[1185:], "not an uncompressed point"),
    ):
        for refuse in (MLKEM768_P256.check_public_key, lambda pk: MLKEM768_P256.encapsulate(pk, os.urandom)):
            with pytest.raises(DecodeError, match=why):
                refuse(bad)


def test_wrong_ml_kem_ciphertext_gives_another_secret() -> None:
    key = ML_KEM_768.generate(os.urandom)
    secret, enc = ML_KEM_768.encapsulate(key.public_key, os.urandom)
    changed = key.decapsulate(bytes((enc[0] ^ 1,)) + enc[1:])
    assert changed != secret
    assert len(changed) == 32


def test_randbytes_does_not_reach_ml_kem() -> None:
    key = ML_KEM_768.generate(os.urandom)

    def unused(size: int) -> bytes:
        raise AssertionError(size)

    assert ML_KEM_768.encapsulate(key.public_key, unused) != ML_KEM_768.encapsulate(key.public_key, unused)


# --- Wycheproof -----------------------------------------------------------------------------------------------------


def test_ml_kem_768_of_wycheproof(shared_vectors: Path) -> None:
    document = load_vectors(shared_vectors / "primitives" / "mlkem_768_test.json")
    for test in (test for group in document["testGroups"] for test in group["tests"]):
        if test["result"] == "valid":
            key = ML_KEM_768.from_private_bytes(unhex(test, "seed"))
            assert key.public_key == unhex(test, "ek")
            assert key.decapsulate(unhex(test, "c")) == unhex(test, "K")
        else:
            with pytest.raises((DecodeError, DecryptionError)):
                ML_KEM_768.from_private_bytes(unhex(test, "seed")).decapsulate(unhex(test, "c"))


def test_x25519_of_wycheproof(shared_vectors: Path) -> None:
    document = load_vectors(shared_vectors / "primitives" / "x25519_test.json")
    refused = 0
    for test in (test for group in document["testGroups"] for test in group["tests"]):
        key = X25519.from_private_bytes(unhex(test, "private"))
        if any(unhex(test, "shared")):
            assert key.diffie_hellman(unhex(test, "public")) == unhex(test, "shared")
            continue
        refused += 1
        with pytest.raises(DecodeError, match="small order"):
            key.diffie_hellman(unhex(test, "public"))
    assert refused > 10
