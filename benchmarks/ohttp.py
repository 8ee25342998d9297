"""One-shot Oblivious HTTP, both ends: what framing and checking cost over the raw primitives, and who is faster."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks import bhttp, gateway
from benchmarks.measure import Plan, measure, timed
from benchmarks.peers import Peers
from benchmarks.primitives import kem_hmacs, raw_kem, response_hmacs, run_hmacs, schedule_hmacs
from benchmarks.report import Goal, Report, Row, at_most, cost, speed_up
from confsec.backends.system import randbytes
from confsec.protocol.aead import aead_from_id
from confsec.protocol.encapsulation import ONE_SHOT, RequestHeader
from confsec.protocol.kem import kem_from_id
from confsec.protocol.key_config import KeyConfig, SymmetricSuite
from confsec.protocol.ohttp import OhttpClient, OhttpGateway, ReplayWindow
from confsec.testing import EPOCH
from tests.interop.peers import PeerSuite
from tests.interop.suites import P256, X25519_AES128, X_WING

__all__ = ["exchange", "raw_exchange", "run"]

SIZE: Final = 1024
"""Bytes of a request, and of its response."""

SUITES: Final = (X25519_AES128, P256, X_WING)

_RAW: Final = "raw primitives"
_IN_ROLES: Final = "ours in roles"
_IN_ROLES_NOTE: Final = "With a fresh decoding of the key configuration and the gateway's window against replays."

COST_GOAL: Final = at_most(1.3)
PEER_GOAL: Final = Goal(1, "more than")


def run(plan: Plan, peers: Peers) -> Report:
    """Compare whole exchanges with their raw primitives and with peers."""
    rows: list[Row] = []
    for suite in SUITES:
        others = peers.contenders("ohttp", size=SIZE, suite=suite)
        works = {
            "ours": timed(exchange(suite)),
            _RAW: timed(raw_exchange(suite)),
            _IN_ROLES: timed(exchange(suite, in_roles=True)),
            **others,
        }
        timings = measure(works, plan)
        rows.append(cost(str(suite), timings, _RAW, goal=COST_GOAL))
        rows.append(cost(str(suite), timings, _RAW, ours=_IN_ROLES, note=_IN_ROLES_NOTE))
        rows += [speed_up(str(suite), timings, name, goal=PEER_GOAL) for name in others]
    return Report(
        name="ohttp",
        title="an exchange of 1 KiB + 1 KiB, both ends",
        rows=(*rows, *bhttp.rows(plan, peers)),
        missing=peers.take_missing(),
    )


def exchange(suite: PeerSuite, *, in_roles: bool = False) -> Callable[[], None]:
    """Return one whole exchange of ours.

    With `in_roles` it has what a service has around it: the client decodes the key configuration first, and the gateway
    claims the request in its replay window.
    """
    keyring, key_config = gateway.make_keyring(suite)
    encoded, replay, data = key_config.encode(), ReplayWindow() if in_roles else None, b"a" * SIZE

    def work() -> None:
        config = KeyConfig.decode(encoded) if in_roles else key_config
        client = OhttpClient(config, randbytes=randbytes)
        machine = OhttpGateway(keyring, randbytes=randbytes, now=EPOCH, replay=replay)
        machine.receive_data(client.encapsulate(data))
        [request] = machine.receive_eof()
        client.receive_data(machine.encapsulate_response(request.content))
        [response] = client.receive_eof()
        assert len(response.content) == SIZE

    return work


def raw_exchange(suite: PeerSuite) -> Callable[[], None]:
    """Return the primitives of one exchange."""
    kem, kem_id = raw_kem(suite.kem_id), suite.kem_id
    key_size = nonce_size = aead_from_id(suite.aead_id).key_size
    header = RequestHeader(0, kem_id, SymmetricSuite(suite.kdf_id, suite.aead_id)).encode()
    one_end = (
        kem_hmacs(kem_id)
        + schedule_hmacs(len(ONE_SHOT.request) + 1 + len(header), len(ONE_SHOT.response))
        + response_hmacs(kem_from_id(kem_id).enc_size + nonce_size, nonce_size)
    )
    key, nonce, data = bytes(key_size), bytes(12), b"a" * SIZE

    def work() -> None:
        enc = kem.encapsulate()
        kem.decapsulate(enc)
        run_hmacs(one_end)
        run_hmacs(one_end)
        os.urandom(nonce_size)
        for _ in range(2):  # a message each way, each end with a key of its own
            AESGCM(key).decrypt(nonce, AESGCM(key).encrypt(nonce, data, b""), b"")

    return work
