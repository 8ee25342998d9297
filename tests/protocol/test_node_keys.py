"""A node's keys: an epoch and the next, then erased; each enc once."""

from __future__ import annotations

import gc
import hashlib
import weakref
from datetime import timedelta

import pytest
from attrs import evolve

from confsec.errors import (
    BusyError,
    ConfsecError,
    DecodeError,
    DecryptionError,
    LocalProtocolError,
    RemoteProtocolError,
    ReplayError,
    UnknownKeyError,
    UnsupportedError,
)
from confsec.protocol.kem import DHKEM_X25519, MLKEM768_P256, MLKEM1024_P384, HybridDecapsulator, Kem
from confsec.protocol.key_config import KeyConfig, SymmetricSuite
from confsec.protocol.node_keys import (
    MAX_KEY_AGE,
    NODE_SUITE,
    NodeKey,
    NodeKeys,
    check_node_key_config,
    node_hpke_suite,
    node_id,
    node_key_config,
)
from confsec.protocol.sealed_header import Recipient, SealedRequestHeader
from tests.protocol.sealed_cases import EPOCH, NOW, new_client, new_node, node_keys, open_request, seeded_key
from tests.vectors.make_sealed_vectors import seeded

ENC = seeded("enc", 1120)


def header_for(*ids: bytes) -> SealedRequestHeader:
    return SealedRequestHeader(tuple(Recipient(each, ENC, bytes(48)) for each in sorted(ids)))


def test_node_id_is_sha256_of_the_key_config() -> None:
    key_config = node_key_config(seeded_key("a"))
    assert node_id(key_config) == hashlib.sha256(key_config.encode()).digest()
    assert key_config.encode()[:3] == b"\x00\x64\x7a"
    assert key_config.encode()[-6:] == b"\x00\x04\x00\x01\x00\x02"


@pytest.mark.parametrize("kem_id", [0x0050, 0x647A])
def test_both_kems_of_nodes_are_taken(kem_id: int) -> None:
    check_node_key_config(node_key_config(seeded_key("a", kem_id)))
    assert node_hpke_suite(kem_id).kem.kem_id == kem_id


@pytest.mark.parametrize("kem", [DHKEM_X25519, MLKEM1024_P384], ids=lambda kem: kem.name)
def test_other_kems_are_refused(kem: Kem) -> None:
    key = kem.derive_key_pair(bytes(64))
    with pytest.raises(UnsupportedError, match="KEM"):
        check_node_key_config(KeyConfig(0, key.kem_id, key.public_key, (NODE_SUITE,)))
    with pytest.raises(UnsupportedError, match="KEM"):
        NodeKeys().rotate(key, NOW)


@pytest.mark.parametrize(
    "suites", [(SymmetricSuite(1, 1),), (NODE_SUITE, SymmetricSuite(1, 1)), (NODE_SUITE, NODE_SUITE)]
)
def test_other_suites_are_refused(suites: tuple[SymmetricSuite, ...]) -> None:
    with pytest.raises(UnsupportedError, match="suites"):
        check_node_key_config(evolve(node_key_config(seeded_key("a")), suites=suites))


def test_other_key_id_is_refused() -> None:
    with pytest.raises(DecodeError, match="another id"):
        check_node_key_config(evolve(node_key_config(seeded_key("a")), key_id=1))


def test_public_key_that_is_none_is_refused() -> None:
    key_config = node_key_config(seeded_key("a", 0x0050))
    off_curve = key_config.public_key[:1184] + b"\x04" + bytes(63) + b"\x01"
    with pytest.raises(DecodeError):
        check_node_key_config(evolve(key_config, public_key=off_curve))


def test_key_opens_in_its_own_epoch_and_the_next_and_not_later() -> None:
    keys = node_keys("first")
    requests = [new_client(keys, label=str(number)).seal(b"question") for number in range(3)]
    open_request(new_node(keys), requests[0])
    keys.rotate(seeded_key("second"), NOW + EPOCH)
    open_request(new_node(keys), requests[1])
    keys.rotate(seeded_key("third"), NOW + 2 * EPOCH)
    with pytest.raises(UnknownKeyError):
        open_request(new_node(keys), requests[2])


def test_current_key_is_the_newest() -> None:
    keys = node_keys("first", "second", "third")
    assert keys.current.node_id == keys.node_ids[-1] == node_id(node_key_config(seeded_key("third")))
    assert keys.current.since == NOW + 2 * EPOCH
    assert len(keys.node_ids) == 2


def test_node_without_a_key_is_busy() -> None:
    keys = NodeKeys()
    with pytest.raises(BusyError):
        _ = keys.current
    assert keys.node_ids == ()
    with pytest.raises(UnknownKeyError):
        keys.find(header_for(bytes(32)))


def test_key_is_used_for_one_epoch_only() -> None:
    keys = node_keys("first")
    with pytest.raises(LocalProtocolError, match="new key"):
        keys.rotate(seeded_key("first"), NOW + EPOCH)


def test_epoch_before_last_is_erased() -> None:
    keys = node_keys()
    private_key = seeded_key("first")
    first = keys.rotate(private_key, NOW)
    first.reserve(ENC)
    keys.rotate(seeded_key("second"), NOW + EPOCH)
    first.setup_receiver(ENC)
    keys.rotate(seeded_key("third"), NOW + 2 * EPOCH)
    with pytest.raises(UnknownKeyError, match="erased"):
        first.setup_receiver(ENC)
    # The private key itself was erased, not only forgotten.
    with pytest.raises(LocalProtocolError, match="erased"):
        private_key.decapsulate(ENC)


def test_keys_that_are_too_old_are_erased_without_a_new_epoch() -> None:
    keys = node_keys("first", "second")
    keys.erase_expired(NOW + MAX_KEY_AGE - timedelta(seconds=1))
    assert len(keys.node_ids) == 2
    keys.erase_expired(NOW + MAX_KEY_AGE)
    assert len(keys.node_ids) == 1
    keys.erase_expired(NOW + MAX_KEY_AGE + EPOCH)
    assert keys.node_ids == ()


def test_new_epoch_after_a_long_pause_erases_the_last_one() -> None:
    keys = node_keys("first")
    keys.rotate(seeded_key("second"), NOW + MAX_KEY_AGE)
    assert len(keys.node_ids) == 1


def test_node_that_stops_erases_all_keys() -> None:
    keys = node_keys("first", "second")
    live = keys.current
    keys.erase()
    assert keys.node_ids == ()
    with pytest.raises(UnknownKeyError):
        live.setup_receiver(ENC)


def test_erasing_drops_a_key_of_which_a_device_holds_one_half() -> None:
    pq, group_key = MLKEM768_P256.expand_seed(seeded("tpm", 32))
    decapsulator = HybridDecapsulator(MLKEM768_P256, pq=pq, traditional=group_key)
    gone = weakref.ref(decapsulator)
    keys = NodeKeys()
    keys.rotate(decapsulator, NOW)
    del decapsulator
    keys.erase()
    gc.collect()
    assert gone() is None


def test_own_key_is_found_among_the_recipients() -> None:
    keys = node_keys("first", "second")
    for own in keys.node_ids:
        key, recipient = keys.find(header_for(bytes(32), own, b"\xff" * 32))
        assert key.node_id == recipient.node_id == own


def test_request_to_two_keys_of_one_node_is_refused() -> None:
    keys = node_keys("first", "second")
    with pytest.raises(RemoteProtocolError, match="two recipients"):
        keys.find(header_for(*keys.node_ids))


def test_enc_is_taken_once() -> None:
    key = node_keys("first").current
    key.reserve(ENC)
    with pytest.raises(ReplayError):
        key.reserve(ENC)
    key.reserve(b"\x01" * 1120)


def test_enc_of_the_other_kem_is_refused_and_not_remembered() -> None:
    key = node_keys("first", replay_limit=1).current
    with pytest.raises(DecodeError, match="another KEM"):
        key.reserve(bytes(1153))
    key.reserve(ENC)


def test_full_replay_set_means_busy_and_forgets_nothing() -> None:
    key = NodeKey(seeded_key("first"), NOW, replay_limit=2)
    key.reserve(ENC)
    key.reserve(b"\x01" * 1120)
    with pytest.raises(BusyError):
        key.reserve(b"\x02" * 1120)
    with pytest.raises(ReplayError):
        key.reserve(ENC)


def test_enc_stays_reserved_when_it_does_not_open() -> None:
    keys = node_keys("first")
    sealed_request = bytearray(new_client(keys).seal(b"question"))
    sealed_request[1203] ^= 1
    with pytest.raises(DecryptionError):
        open_request(new_node(keys), bytes(sealed_request))
    sealed_request[1203] ^= 1
    with pytest.raises(ReplayError):
        open_request(new_node(keys), bytes(sealed_request))


def test_replay_sets_of_two_epochs_are_apart() -> None:
    keys = node_keys("first", "second", replay_limit=1)
    for own in keys.node_ids:
        keys.find(header_for(own))[0].reserve(ENC)


def test_device_that_fails_says_so() -> None:
    class Device:
        kem_id = 0x647A
        public_key = node_key_config(seeded_key("device")).public_key

        def decapsulate(self, enc: bytes) -> bytes:
            raise BusyError("the device is busy")

    keys = NodeKeys()
    keys.rotate(Device(), NOW)
    with pytest.raises(BusyError, match="device"):
        open_request(new_node(keys), new_client(keys).seal(b"question"))


def test_names_in_logs_are_short_and_hold_no_key() -> None:
    keys = node_keys("first")
    short = keys.current.node_id.hex()[:16]
    assert repr(keys.current) == f"<NodeKey {short}>"
    assert repr(keys) == f"<NodeKeys ['{short}']>"


def test_refusals_are_hints_that_name_no_secret() -> None:
    with pytest.raises(ConfsecError) as caught:
        node_keys("first").find(header_for(bytes(32)))
    assert caught.value.code == "unknown_key"
    assert caught.value.status_hint == 422
