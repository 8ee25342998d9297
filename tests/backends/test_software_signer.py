"""Signers whose key is in memory."""

from __future__ import annotations

import threading
from functools import partial

import anyio
import pytest

from confsec.backends import software_signer
from confsec.backends.libcrypto_rsa import LibcryptoKey
from confsec.backends.raw_rsa import RawRsaKey
from confsec.backends.software_signer import PartiallyBlindSoftwareSigner, SoftwareSigner
from confsec.errors import BackendError, ConfigError, LocalProtocolError, UnsupportedError
from confsec.protocol import partially_blind_rsa
from confsec.protocol.partially_blind_rsa import RSAPBSSA_SHA384_PSS_DETERMINISTIC, derive_public_key
from confsec.protocol.rsa_keys import RsaPublicKey
from confsec.testing import check_blind_signer, seeded_randbytes
from tests.backends.rsa_cases import OpenKey, each_library, pem_of, private_key, raw_key
from tests.protocol.token_cases import KEYS

pytestmark = pytest.mark.anyio

MESSAGE = bytes(255) + b"\x02"


class Faulty:
    """A key that gets the n-th result wrong, as a processor does that was shot at."""

    def __init__(self, *, wrong: int = 0) -> None:
        self._key = raw_key("rsa2048")
        self._left = wrong
        self._lock = threading.Lock()

    @property
    def public_key(self) -> RsaPublicKey:
        return self._key.public_key

    def rsasp1(self, message: bytes) -> bytes:
        signature = bytearray(self._key.rsasp1(message))
        with self._lock:
            signature[-1] ^= self._left == 0
            self._left -= 1
        return bytes(signature)

    def rsavp1(self, signature: bytes) -> bytes:
        return self._key.rsavp1(signature)

    def check_safe_primes(self) -> None:
        self._key.check_safe_primes()

    def derive(self, public_key: RsaPublicKey) -> RawRsaKey:
        return self._key.derive(public_key)


class Meeting(Faulty):
    """A key whose operations wait until `threads` of them run at once."""

    def __init__(self, threads: int) -> None:
        super().__init__(wrong=-1)
        self._barrier = threading.Barrier(threads, timeout=20)

    def rsasp1(self, message: bytes) -> bytes:
        self._barrier.wait()
        return super().rsasp1(message)


@each_library
async def test_signer_does_what_signers_promise(open_key: OpenKey) -> None:
    async def make_signer() -> SoftwareSigner:
        return SoftwareSigner(open_key(pem_of("rsa2048")))

    await check_blind_signer(make_signer)


async def test_longer_key_does_the_same() -> None:
    async def make_signer() -> SoftwareSigner:
        return SoftwareSigner.from_pem(pem_of("rsa3072"))

    await check_blind_signer(make_signer)


async def test_wrong_result_is_not_released() -> None:
    signer = SoftwareSigner(Faulty())
    with pytest.raises(BackendError, match="not released"):
        await signer.blind_sign(MESSAGE)
    assert await signer.blind_sign(MESSAGE)


@pytest.mark.parametrize("wrong", [0, 17, 39])
async def test_batch_with_a_wrong_result_is_not_released(wrong: int) -> None:
    signer = SoftwareSigner(Faulty(wrong=wrong))
    with pytest.raises(BackendError, match="not released"):
        await signer.blind_sign_many([MESSAGE] * 40)
    assert len(await signer.blind_sign_many([MESSAGE] * 40)) == 40


async def test_batch_is_signed_by_several_threads_at_once() -> None:
    # If they took turns, the barrier would break.
    signer = SoftwareSigner(Meeting(3), limiter=anyio.CapacityLimiter(3))
    assert len(await signer.blind_sign_many([MESSAGE] * 6)) == 6


async def test_single_messages_are_signed_at_once() -> None:
    signer = SoftwareSigner(Meeting(3), limiter=anyio.CapacityLimiter(3))
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(signer.blind_sign, MESSAGE)


async def test_closing_lets_what_is_under_way_end() -> None:
    signer = SoftwareSigner(Meeting(2), limiter=anyio.CapacityLimiter(2))
    async with anyio.create_task_group() as group:
        group.start_soon(signer.blind_sign_many, [MESSAGE] * 2)
        await anyio.wait_all_tasks_blocked()
        await signer.aclose()
    with pytest.raises(LocalProtocolError, match="closed"):
        await signer.blind_sign(MESSAGE)


async def test_no_secret_number_is_shown() -> None:
    pair = KEYS["safe2048"]
    d = private_key(pair.p, pair.q).private_numbers().d
    for signer in (
        SoftwareSigner.from_pem(pem_of("safe2048")),
        PartiallyBlindSoftwareSigner.from_pem(pem_of("safe2048")),
    ):
        assert signer.public_key.spki_digest().hex() in repr(signer)
        assert not any(f"{number:{base}}" in repr(signer) for base in "dx" for number in (pair.p, pair.q, d))


# --- under public metadata


async def test_derived_signer_does_what_signers_promise() -> None:
    async def make_signer() -> SoftwareSigner:
        return await PartiallyBlindSoftwareSigner(raw_key("safe2048")).derive(b"metadata")

    await check_blind_signer(make_signer)


async def test_signature_holds_for_its_metadata() -> None:
    signer = PartiallyBlindSoftwareSigner(raw_key("safe2048"))
    randbytes, variant = seeded_randbytes("metadata"), RSAPBSSA_SHA384_PSS_DETERMINISTIC
    for info in (b"", b"a", b"b"):
        one = partially_blind_rsa.blind(signer.public_key, b"msg", info, variant=variant, randbytes=randbytes)
        derived = await signer.derive(info)
        assert derived.public_key == derive_public_key(signer.public_key, info)
        blind_sig = await derived.blind_sign(one.blinded_msg)
        partially_blind_rsa.finalize(
            signer.public_key, b"msg", info, blind_sig=blind_sig, inverse=one.inverse, variant=variant
        )


async def test_metadata_has_one_signer_as_long_as_it_is_in_use() -> None:
    signer = PartiallyBlindSoftwareSigner(raw_key("safe2048"))
    assert await signer.derive(b"a") is await signer.derive(b"a")
    assert await signer.derive(b"a") is not await signer.derive(b"b")


async def test_metadata_of_long_ago_is_forgotten_and_closed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software_signer, "_MAX_DERIVED", 2)
    signer = PartiallyBlindSoftwareSigner(raw_key("safe2048"))
    oldest, kept = await signer.derive(b"oldest"), await signer.derive(b"kept")
    assert await signer.derive(b"oldest") is oldest
    await signer.derive(b"newest")
    assert await signer.derive(b"kept") is not kept
    await signer.aclose()
    for derived in (oldest, kept):
        with pytest.raises(LocalProtocolError, match="closed"):
            await derived.blind_sign(MESSAGE)


async def test_closed_signer_derives_nothing() -> None:
    signer = PartiallyBlindSoftwareSigner(raw_key("safe2048"))
    await signer.aclose()
    await signer.aclose()
    with pytest.raises(LocalProtocolError, match="closed"):
        await signer.derive(b"")


async def test_primes_have_to_be_safe() -> None:
    with pytest.raises(ConfigError, match="safe primes"):
        PartiallyBlindSoftwareSigner.from_pem(pem_of("rsa2048"))


async def test_modulus_has_to_be_a_power_of_two_long(monkeypatch: pytest.MonkeyPatch) -> None:
    key = raw_key("rsa3072")
    monkeypatch.setattr(LibcryptoKey, "check_safe_primes", partial(bool, 1))
    with pytest.raises(UnsupportedError, match="3072 bits"):
        await PartiallyBlindSoftwareSigner(key).derive(b"")
