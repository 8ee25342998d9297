"""The life of a gateway's keys (RFC 9458, section 6.4)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from attrs import evolve

from confsec.errors import LocalProtocolError, UnknownKeyError
from confsec.protocol.gateway_keys import GatewayKeyring
from confsec.protocol.key_config import decode_key_configs
from confsec.testing import EPOCH
from tests.protocol.ohttp_cases import DAY, key_around, make_key

OLD = make_key(1)
NEW = make_key(2, start=EPOCH + DAY - timedelta(hours=1))
MOMENT = timedelta(microseconds=1)


def test_keys_are_published_the_newest_first_and_accepted_longer() -> None:
    keyring = GatewayKeyring([OLD, NEW])
    times = {
        EPOCH - MOMENT: [],
        EPOCH: [1],
        NEW.published_from - MOMENT: [1],
        NEW.published_from: [2, 1],
        OLD.published_until - MOMENT: [2, 1],
        OLD.published_until: [2],
        NEW.published_until: [],
    }
    for now, key_ids in times.items():
        assert [key.config.key_id for key in keyring.published(now)] == key_ids


def test_list_of_configurations_is_what_is_published() -> None:
    keyring = GatewayKeyring([OLD, NEW])
    assert decode_key_configs(keyring.encode_key_configs(EPOCH + DAY - MOMENT)) == (NEW.config, OLD.config)


def test_key_opens_until_it_is_no_longer_accepted() -> None:
    keyring = GatewayKeyring([OLD, NEW])
    for now in (EPOCH - DAY, EPOCH, OLD.published_until, OLD.accepted_until - MOMENT):
        assert keyring.lookup(1, 0x0020, now=now) is OLD
    with pytest.raises(UnknownKeyError, match="got key 1 of KEM 0x0020"):
        keyring.lookup(1, 0x0020, now=OLD.accepted_until)


def test_key_is_found_by_id_and_kem() -> None:
    hybrid = make_key(1, 0x647A)
    keyring = GatewayKeyring([OLD, hybrid])
    assert keyring.lookup(1, 0x647A, now=EPOCH) is hybrid
    for key_id, kem_id in ((2, 0x0020), (1, 0x0010), (1, 0xFFFF)):
        with pytest.raises(UnknownKeyError):
            keyring.lookup(key_id, kem_id, now=EPOCH)


def test_expired_keys_are_forgotten() -> None:
    keyring = GatewayKeyring([OLD, NEW])
    keyring.discard_expired(OLD.accepted_until - MOMENT)
    assert keyring.lookup(1, 0x0020, now=EPOCH) is OLD
    keyring.discard_expired(OLD.accepted_until)
    with pytest.raises(UnknownKeyError):
        keyring.lookup(1, 0x0020, now=EPOCH)
    assert keyring.lookup(2, 0x0020, now=EPOCH) is NEW


def test_key_id_is_given_once() -> None:
    keyring = GatewayKeyring([OLD])
    with pytest.raises(LocalProtocolError, match="this key id is taken"):
        keyring.add(make_key(1))


def test_free_key_id_is_the_next_one() -> None:
    assert GatewayKeyring().free_key_id() == 0
    assert GatewayKeyring([OLD, NEW]).free_key_id() == 3
    assert GatewayKeyring([make_key(0), make_key(255)]).free_key_id() == 1


def test_free_key_id_is_refused_when_all_are_taken() -> None:
    keyring = GatewayKeyring(key_around(OLD.decapsulator, evolve(OLD.config, key_id=number)) for number in range(256))
    with pytest.raises(LocalProtocolError, match="no key id is free"):
        keyring.free_key_id()


def test_halves_that_do_not_belong_together_are_refused() -> None:
    for config in (NEW.config, make_key(1, 0x0010).config):
        with pytest.raises(LocalProtocolError, match="not that of the key configuration"):
            evolve(OLD, config=config)


def test_times_out_of_order_are_refused() -> None:
    with pytest.raises(LocalProtocolError, match="then neither"):
        evolve(OLD, published_until=OLD.published_from)
    with pytest.raises(LocalProtocolError, match="then neither"):
        evolve(OLD, accepted_until=OLD.published_until - MOMENT)


def test_private_key_does_not_show() -> None:
    assert "decapsulator" not in repr(OLD)
