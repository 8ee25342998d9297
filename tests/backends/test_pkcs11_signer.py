"""Signers in a device, against SoftHSM."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from confsec.errors import BackendError, ConfigError, DecodeError, LocalProtocolError
from confsec.testing import check_blind_signer
from tests.backends.softhsm import LABEL, PIN, make_device
from tests.support import needs_packages

if TYPE_CHECKING:
    from pkcs11 import Session

    from confsec.backends.pkcs11_signer import Pkcs11Device, Pkcs11Signer

needs_packages("pkcs11")
pytestmark = pytest.mark.anyio

DECRYPTS = b"\x02"
"""The id of a key that may decrypt and not sign, as some devices make them."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """Return the library of a device with keys: "one" and "other", and "twins" of which there are two."""
    before = os.environ.get("SOFTHSM2_CONF")
    library = make_device(tmp_path_factory.mktemp("softhsm"))
    _make_keys(library)
    yield library
    os.environ.pop("SOFTHSM2_CONF")
    if before is not None:
        os.environ["SOFTHSM2_CONF"] = before


def _make_keys(library: str) -> None:
    import pkcs11

    with pkcs11.lib(library).get_token(token_label=LABEL).open(rw=True, user_pin=PIN) as session:
        make = partial(session.generate_keypair, pkcs11.KeyType.RSA, store=True)
        make(2048, label="one", id=b"\x01")
        make(2048, label="other", id=DECRYPTS, capabilities=pkcs11.MechanismFlag.DECRYPT)
        make(2048, label="neither", capabilities=pkcs11.MechanismFlag.UNWRAP)
        make(1024, label="short")
        for _ in range(2):
            make(1024, label="twins")


@pytest.fixture
def open_device(library: str) -> Callable[..., Pkcs11Device]:
    from confsec.backends.pkcs11_signer import Pkcs11Device

    def open_device(label: str = LABEL, pin: Callable[[], str] = lambda: PIN) -> Pkcs11Device:
        return Pkcs11Device(library, label=label, pin=pin)

    return open_device


async def test_signer_does_what_signers_promise(open_device: Callable[..., Pkcs11Device]) -> None:
    async with open_device() as device:
        await check_blind_signer(partial(device.signer, "one"))


async def test_key_that_only_decrypts_signs_too(open_device: Callable[..., Pkcs11Device]) -> None:
    async with open_device() as device:
        await check_blind_signer(partial(device.signer, key_id=DECRYPTS))


async def test_key_that_may_do_neither_is_refused(open_device: Callable[..., Pkcs11Device]) -> None:
    async with open_device() as device:
        signer = await device.signer("neither")
        with pytest.raises(ConfigError, match="neither sign nor decrypt"):
            await signer.blind_sign(bytes(255) + b"\x02")


async def test_keys_of_one_device_sign_side_by_side(open_device: Callable[..., Pkcs11Device]) -> None:
    async with open_device() as device:
        signers = [await device.signer(label) for label in ("one", "other")]
        assert signers[0].public_key != signers[1].public_key
        async with anyio.create_task_group() as group:
            for signer in signers * 4:
                group.start_soon(signer.blind_sign_many, [bytes(255) + b"\x02"] * 20)


@pytest.mark.parametrize(("label", "key_id"), [("nobody", None), ("one", DECRYPTS), ("twins", None), (None, b"\x07")])
async def test_key_that_is_not_there_once_is_refused(
    open_device: Callable[..., Pkcs11Device], label: str | None, key_id: bytes | None
) -> None:
    async with open_device() as device:
        with pytest.raises(ConfigError, match="not there, or not the only one"):
            await device.signer(label, key_id=key_id)


async def test_key_without_a_name_is_refused(open_device: Callable[..., Pkcs11Device]) -> None:
    async with open_device() as device:
        with pytest.raises(ConfigError, match="by its label"):
            await device.signer()


async def test_short_key_is_refused(open_device: Callable[..., Pkcs11Device]) -> None:
    async with open_device() as device:
        with pytest.raises(ConfigError, match=r"modulus.*1024 bits"):
            await device.signer("short")


async def test_missing_device_is_refused(open_device: Callable[..., Pkcs11Device]) -> None:
    async with open_device("another") as device:
        with pytest.raises(ConfigError, match="NoSuchToken"):
            await device.signer("one")


async def test_missing_library_is_refused(tmp_path: Path) -> None:
    from confsec.backends.pkcs11_signer import Pkcs11Device

    async with Pkcs11Device(str(tmp_path / "none.so"), label=LABEL, pin=lambda: PIN) as device:
        with pytest.raises(BackendError):
            await device.signer("one")


async def test_wrong_pin_is_tried_once_only(open_device: Callable[..., Pkcs11Device]) -> None:
    asked = []

    def pin() -> str:
        asked.append("once")
        return "not the pin"

    async with open_device(pin=pin) as device:
        for why in ("PinIncorrect", "not asked again"):
            with pytest.raises(ConfigError, match=why):
                await device.signer("one")
    assert asked == ["once"]


async def test_session_that_broke_is_opened_again(open_device: Callable[..., Pkcs11Device]) -> None:
    async with open_device() as device:
        signer = await device.signer("one")
        before = await signer.blind_sign(bytes(255) + b"\x02")
        with pytest.raises(BackendError, match="the device failed"):
            await device.run(_break)
        assert await signer.blind_sign(bytes(255) + b"\x02") == before


def _break(session: Session) -> None:
    """Fail as a device does that was reset under our feet."""
    import pkcs11

    session.close()
    raise pkcs11.DeviceRemoved


async def test_wrong_result_is_not_released(
    open_device: Callable[..., Pkcs11Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    from confsec.backends import pkcs11_signer

    right = pkcs11_signer._private_operation

    def wrong(*args: object) -> bytes:
        result = bytearray(right(*args))  # type: ignore[arg-type]
        result[-1] ^= 1
        return bytes(result)

    async with open_device() as device:
        signer = await device.signer("one")
        monkeypatch.setattr(pkcs11_signer, "_private_operation", wrong)
        with pytest.raises(BackendError, match="not released"):
            await signer.blind_sign(bytes(255) + b"\x02")


async def test_result_without_its_leading_zeros_is_completed(
    open_device: Callable[..., Pkcs11Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    from confsec.backends import pkcs11_signer

    right = pkcs11_signer._private_operation
    monkeypatch.setattr(pkcs11_signer, "_private_operation", lambda *args: right(*args).lstrip(b"\x00"))
    async with open_device() as device:
        signer = await device.signer("one")
        assert await signer.blind_sign(bytes(255) + b"\x01") == bytes(255) + b"\x01"


async def test_closed_device_signs_no_more(open_device: Callable[..., Pkcs11Device]) -> None:
    device = open_device()
    signer: Pkcs11Signer = await device.signer("one")
    await device.aclose()
    await device.aclose()
    with pytest.raises(LocalProtocolError):
        await signer.blind_sign(bytes(255) + b"\x02")
    with pytest.raises(LocalProtocolError):
        await device.signer("one")


async def test_refused_message_does_not_reach_the_device(open_device: Callable[..., Pkcs11Device]) -> None:
    async with open_device() as device:
        signer = await device.signer("one")
        with pytest.raises(DecodeError):
            await signer.blind_sign(b"\xff" * 256)


async def test_nothing_shows_the_pin(open_device: Callable[..., Pkcs11Device]) -> None:
    async with open_device() as device:
        signer = await device.signer("one")
        assert PIN not in f"{device!r} {signer!r} {vars(device)!r}"
    async with open_device(pin=lambda: PIN + "?") as device:
        with pytest.raises(ConfigError) as caught:
            await device.signer("one")
    assert PIN not in f"{caught.value!r} {caught.value} {caught.value.__cause__!r}"
