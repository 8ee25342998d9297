"""HPKE with the key in a TPM: what opening costs beside the commands that the TPM itself has to do (swtpm)."""

# ruff: noqa: SLF001 - the floors are what lies under our own layer

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Final, NamedTuple

from anyio.from_thread import start_blocking_portal

from benchmarks.measure import Contender, Plan, measure, timed
from benchmarks.peers import Peers
from benchmarks.report import Report, Row, at_most, cost
from confsec.backends.system import randbytes
from confsec.errors import ConfigError
from confsec.protocol.aead import Aead
from confsec.protocol.groups import P256
from confsec.protocol.hpke import HpkeSuite, setup_receiver, setup_sender
from confsec.protocol.kdf import Kdf
from confsec.protocol.kem import (
    DHKEM_P256,
    ML_KEM_768,
    MLKEM768_P256,
    Decapsulator,
    DhDecapsulator,
    HybridDecapsulator,
    Kem,
)
from confsec.tee.tpm import commands
from confsec.tee.tpm.connection import BUILD_HINT, Connection
from confsec.tee.tpm.device import TpmDevice, TpmRequestKey
from confsec.tee.tpm.keys import BANK
from confsec.tee.tpm.structures import Attributes, EccCurve, EccKey, PublicArea
from confsec.tee.tpm.swtpm import find_swtpm, start_swtpm

__all__ = ["run"]

_ZGEN: Final = "TPM2_ECDH_ZGen by tpm2-pytss"
_TWO: Final = "TPM2_PolicyPCR and TPM2_ECDH_ZGen"
_PASSWORD: Final = "TPM2_ECDH_ZGen with a password"
_ZGEN_NOTE: Final = (
    "The same key; its session was bound by TPM2_PolicyPCR before the clock ran. The library prepares for HMACs that "
    "such a session does not have, and that takes longer than the TPM; we write these two commands ourselves."
)
_TWO_NOTE: Final = "The least that has to be said to the TPM to use this key: bytes made before, answers thrown away."
_PASSWORD_NOTE: Final = (
    "Another key, that anybody with its empty password may use. The difference is about one round trip to swtpm: that "
    "of TPM2_PolicyPCR, by which the TPM checks the PCRs at each request."
)
_GOAL: Final = at_most(1.3)
_PLAIN_KEY: Final = PublicArea(
    name_algorithm=BANK,
    attributes=Attributes.FIXED_TPM
    | Attributes.FIXED_PARENT
    | Attributes.SENSITIVE_DATA_ORIGIN
    | Attributes.USER_WITH_AUTH
    | Attributes.NO_DA
    | Attributes.DECRYPT,
    key=EccKey(EccCurve.P256, b"", b""),
)


def run(plan: Plan, peers: Peers) -> Report:
    """Compare opening a message with the TPM's part of it."""
    title = "one message opened with the key in swtpm"
    missing = _missing()
    if missing:
        return Report(name="hpke_tpm", title=title, rows=(), missing={"swtpm": missing})
    with _running_tpm() as (device, key, floors):
        rows = [row for name, kem in _KEMS.items() for row in _rows(name, kem, device, key, floors, plan)]
    return Report(name="hpke_tpm", title=title, rows=tuple(rows))


_KEMS: Final[dict[str, Kem]] = {"DHKEM(P-256)": DHKEM_P256, "MLKEM768-P256": MLKEM768_P256}


class _Floors(NamedTuple):
    """What the TPM does in any case, without us."""

    zgen: Contender
    two: Contender
    password: Contender


def _missing() -> str:
    if find_spec("tpm2_pytss") is None:
        return f"tpm2-pytss is not installed: {BUILD_HINT}, and pip install 'confsec-protocol[tpm]'"
    try:
        find_swtpm()
    except ConfigError as exc:
        return str(exc)
    return ""


@contextmanager
def _running_tpm() -> Generator[tuple[TpmDevice, TpmRequestKey, _Floors]]:
    with (
        TemporaryDirectory(prefix="confsec-") as folder,
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(start_swtpm(Path(folder))) as swtpm,
    ):
        device = TpmDevice(swtpm.tcti)
        with portal.wrap_async_context_manager(device):
            key = portal.call(device.create_request_key)
            peer = P256.generate(randbytes).public_key
            key.diffie_hellman(peer)
            yield device, key, device.work_now(partial(_floors, key, peer))


def _rows(
    name: str, kem: Kem, device: TpmDevice, key: TpmRequestKey, floors: _Floors, plan: Plan
) -> tuple[Row, Row, Row]:
    timings = measure(
        {"ours": timed(_opening(kem, key)), _ZGEN: floors.zgen, _TWO: floors.two, _PASSWORD: floors.password}, plan
    )
    return (
        cost(name, timings, _ZGEN, goal=_GOAL, note=_ZGEN_NOTE),
        cost(name, timings, _TWO, goal=_GOAL, note=_TWO_NOTE),
        cost(name, timings, _PASSWORD, note=_PASSWORD_NOTE),
    )


def _opening(kem: Kem, key: TpmRequestKey) -> Callable[[], None]:
    """Return the work of a receiver: decapsulation, key schedule, and one message of 32 bytes."""
    suite = HpkeSuite(kem, Kdf.HKDF_SHA256, Aead.AES_256_GCM)
    decapsulator: Decapsulator = (
        DhDecapsulator(DHKEM_P256, key)
        if kem is DHKEM_P256
        else HybridDecapsulator(MLKEM768_P256, pq=ML_KEM_768.generate(randbytes), traditional=key)
    )
    sender = setup_sender(suite, decapsulator.public_key, b"info", randbytes=randbytes)
    sealed, text = sender.seal(b"", bytes(32)), bytes(32)

    def work() -> None:
        assert setup_receiver(suite, decapsulator, sender.enc, b"info").open(b"", sealed) == text

    return work


def _floors(key: TpmRequestKey, peer: bytes, tpm: Connection) -> _Floors:
    """Prepare what is compared with. It reaches around the device, so nothing else may use the TPM meanwhile."""
    esapi, tss = tpm._esapi, tpm._tss
    handle, number = tpm._keys[key.made]
    point = tss.TPM2B_ECC_POINT(point=tss.TPMS_ECC_POINT(x=peer[1:33], y=peer[33:]))
    selections = tpm._selections(key.made.selection)
    session = tpm._start_session()

    def zgen(iterations: int) -> float:
        taken = 0.0
        for _ in range(iterations):
            esapi.policy_pcr(session, None, selections)
            begin = perf_counter()
            esapi.ecdh_zgen(handle, point, session1=session)
            taken += perf_counter() - begin
        return taken

    ours = tpm._policy_session()
    policy, use = commands.policy_pcr(ours, key.made.selections), commands.ecdh_zgen(number, ours, peer)

    def two() -> None:
        tpm._exchange(policy)
        tpm._exchange(use)

    plain: Any = esapi.create_primary(
        tss.TPM2B_SENSITIVE_CREATE(),
        tpm._public(_PLAIN_KEY),
        tss.ESYS_TR.RH_NULL,
    )[0]
    return _Floors(zgen, timed(two), timed(lambda: esapi.ecdh_zgen(plain, point)))
