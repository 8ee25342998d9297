"""A gateway's keys for benchmarks."""

from __future__ import annotations

from datetime import timedelta

from confsec.backends.system import randbytes
from confsec.protocol.gateway_keys import GatewayKey, GatewayKeyring
from confsec.protocol.kem import kem_from_id
from confsec.protocol.key_config import KeyConfig, SymmetricSuite
from confsec.testing import EPOCH
from tests.interop.peers import PeerSuite

__all__ = ["make_keyring"]


def make_keyring(suite: PeerSuite) -> tuple[GatewayKeyring, KeyConfig]:
    """Return a keyring with one key of this suite, and its key configuration."""
    decapsulator = kem_from_id(suite.kem_id).generate(randbytes)
    config = KeyConfig(7, suite.kem_id, decapsulator.public_key, (SymmetricSuite(suite.kdf_id, suite.aead_id),))
    end = EPOCH + timedelta(days=1)
    key = GatewayKey(
        config=config, decapsulator=decapsulator, published_from=EPOCH, published_until=end, accepted_until=end
    )
    return GatewayKeyring([key]), config
