"""`check_blind_signer` finds what is wrong with a signer."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest

from confsec.backends.software_signer import SoftwareSigner
from confsec.errors import BackendError, ConfsecError
from confsec.protocol.rsa_keys import RsaPublicKey
from confsec.testing import check_blind_signer
from tests.backends.rsa_cases import raw_key

pytestmark = pytest.mark.anyio


class Signer:
    """A good signer, for the others to spoil."""

    def __init__(self, name: str = "rsa2048") -> None:
        self.inner = SoftwareSigner(raw_key(name))

    @property
    def public_key(self) -> RsaPublicKey:
        return self.inner.public_key

    async def blind_sign(self, blinded_msg: bytes) -> bytes:
        return await self.inner.blind_sign(blinded_msg)

    async def blind_sign_many(self, blinded_msgs: Sequence[bytes]) -> list[bytes]:
        return await self.inner.blind_sign_many(blinded_msgs)

    async def aclose(self) -> None:
        await self.inner.aclose()


class NeverCloses(Signer):
    async def aclose(self) -> None:
        pass


class NamesAnotherKey(Signer):
    @property
    def public_key(self) -> RsaPublicKey:
        return SoftwareSigner(raw_key("other2048")).public_key


class WrongResult(Signer):
    async def blind_sign(self, blinded_msg: bytes) -> bytes:
        signed = await super().blind_sign(blinded_msg)
        return signed[:-1] + bytes([signed[-1] ^ 1])


class WithoutLeadingZeros(Signer):
    async def blind_sign(self, blinded_msg: bytes) -> bytes:
        return (await super().blind_sign(blinded_msg)).lstrip(b"\x00")


class AnotherOrder(Signer):
    async def blind_sign_many(self, blinded_msgs: Sequence[bytes]) -> list[bytes]:
        return (await super().blind_sign_many(blinded_msgs))[::-1]


class HalfABatch(Signer):
    async def blind_sign_many(self, blinded_msgs: Sequence[bytes]) -> list[bytes]:
        return (await super().blind_sign_many(blinded_msgs))[::2]


class TakesAnyLength(Signer):
    async def blind_sign(self, blinded_msg: bytes) -> bytes:
        return await super().blind_sign(blinded_msg[-256:].rjust(256, b"\x00"))


class TakesAnyNumber(Signer):
    async def blind_sign(self, blinded_msg: bytes) -> bytes:
        if len(blinded_msg) == 256:
            number = int.from_bytes(blinded_msg, "big") % self.public_key.n
            blinded_msg = number.to_bytes(256, "big")
        return await super().blind_sign(blinded_msg)


class OneAtATime(Signer):
    busy = False

    async def blind_sign(self, blinded_msg: bytes) -> bytes:
        if self.busy:
            raise BackendError("one at a time")
        self.busy = True
        await anyio.sleep(0.001)
        self.busy = False
        return await super().blind_sign(blinded_msg)


class BrokenByCancellation(Signer):
    broken = False

    async def blind_sign_many(self, blinded_msgs: Sequence[bytes]) -> list[bytes]:
        try:
            await anyio.sleep(0.2)
            return await super().blind_sign_many(blinded_msgs)
        except anyio.get_cancelled_exc_class():
            self.broken = True
            raise

    async def blind_sign(self, blinded_msg: bytes) -> bytes:
        if self.broken:
            raise BackendError("broken")
        return await super().blind_sign(blinded_msg)


async def test_good_signer_passes() -> None:
    async def make_signer() -> Signer:
        return Signer()

    await check_blind_signer(make_signer)


@pytest.mark.parametrize(
    "kind",
    [
        NeverCloses,
        NamesAnotherKey,
        WrongResult,
        WithoutLeadingZeros,
        AnotherOrder,
        HalfABatch,
        TakesAnyLength,
        TakesAnyNumber,
        OneAtATime,
        BrokenByCancellation,
    ],
)
async def test_spoiled_signer_does_not_pass(kind: type[Signer]) -> None:
    async def make_signer() -> Signer:
        return kind()

    with pytest.raises((AssertionError, ConfsecError, ExceptionGroup)):
        await check_blind_signer(make_signer)


async def test_signer_that_has_another_key_each_time_does_not_pass() -> None:
    names = iter(["rsa2048", "other2048"])

    async def make_signer() -> Signer:
        return Signer(next(names))

    with pytest.raises(AssertionError, match="another key"):
        await check_blind_signer(make_signer)
