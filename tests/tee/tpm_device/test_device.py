"""A TPM on an event loop, tried on swtpm: what its keys do and refuse, and that nothing stays loaded."""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint
from attrs import evolve
from pyhpke import AEADId, CipherSuite, KDFId, KEMId

from confsec.errors import (
    BackendError,
    ConfigError,
    DecodeError,
    DecryptionError,
    LocalProtocolError,
    MissingExtraError,
)
from confsec.protocol.aead import Aead
from confsec.protocol.groups import P256
from confsec.protocol.hpke import HpkeSuite, setup_receiver, setup_sender
from confsec.protocol.kdf import Kdf
from confsec.protocol.kem import DHKEM_P256, ML_KEM_768, MLKEM768_P256, DhDecapsulator, HybridDecapsulator
from confsec.protocol.node_keys import NodeKeys
from confsec.tee.event_log import HashAlgorithm
from confsec.tee.tpm.connection import Connection
from confsec.tee.tpm.credential import make_credential
from confsec.tee.tpm.device import TpmDevice, TpmRequestKey
from confsec.tee.tpm.keys import AK_TEMPLATE, AZURE_AK, DEFAULT_PCRS, GCE_AK, AkSource
from confsec.tee.tpm.structures import (
    Attest,
    Attributes,
    CreationData,
    CreationInfo,
    EccCurve,
    EccKey,
    PcrSelection,
    PublicArea,
    QuoteInfo,
    RsaKey,
    Scheme,
    SchemeId,
    pcr_policy_digest,
    verify_tpm_signature,
)
from confsec.tee.tpm.swtpm import Swtpm
from confsec.testing import EPOCH
from tests.tee.tpm_device.swtpm import running_tpm

pytestmark = pytest.mark.anyio

SHA256 = HashAlgorithm.SHA256
QUALIFYING = bytes(range(32))


async def open_with(key: TpmRequestKey, peer: bytes) -> bytes:
    return await anyio.to_thread.run_sync(key.diffie_hellman, peer)


def peer_of(key: TpmRequestKey) -> tuple[bytes, bytes]:
    """Return a fresh public key, and what the TPM has to make of it."""
    peer = P256.generate(os.urandom)
    return peer.public_key, peer.diffie_hellman(key.public_key)


async def assert_works(key: TpmRequestKey) -> None:
    public, shared = peer_of(key)
    assert await open_with(key, public) == shared


async def esapi_of(device: TpmDevice, work: Callable[[Any, Any], Any]) -> Any:
    """Have a test speak to the TPM itself."""
    tss = importlib.import_module("tpm2_pytss")
    return await anyio.to_thread.run_sync(device.work_now, lambda tpm: work(tss, tpm._esapi))


# --- Request keys -----------------------------------------------------------------------------------------------------


async def test_request_key_has_the_attributes_and_the_policy_that_evidence_promises(device: TpmDevice) -> None:
    key = await device.create_request_key()
    public = key.made.public
    assert public.attributes == 0x000204B2
    assert public.scheme.algorithm == SchemeId.NULL
    pcrs = await device.read_pcrs()
    selection = PcrSelection.of(SHA256, DEFAULT_PCRS)
    assert public.auth_policy == pcr_policy_digest((selection,), pcrs.values(), hash_algorithm=SHA256)
    assert tuple(pcrs) == selection.indices
    assert repr(key).startswith("<TpmRequestKey ")


async def test_tpm_does_what_software_does(device: TpmDevice) -> None:
    key = await device.create_request_key()
    for _ in range(20):
        await assert_works(key)


async def test_tpm_opens_three_hundred_messages_of_another_implementation(device: TpmDevice) -> None:
    key = await device.create_request_key()
    suite = HpkeSuite(DHKEM_P256, Kdf.HKDF_SHA256, Aead.AES_128_GCM)
    theirs = CipherSuite.new(KEMId.DHKEM_P256_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.AES128_GCM)
    public = theirs.kem.deserialize_public_key(key.public_key)

    def open_all() -> None:
        decapsulator = DhDecapsulator(DHKEM_P256, key)
        for number in range(300):
            enc, sender = theirs.create_sender_context(public, info=b"info")
            sealed = sender.seal(b"message %d" % number, aad=b"aad")
            receiver = setup_receiver(suite, decapsulator, enc, b"info")
            assert receiver.open(b"aad", sealed) == b"message %d" % number

    await anyio.to_thread.run_sync(open_all)


async def test_tpm_holds_the_traditional_half_of_a_node_key(device: TpmDevice) -> None:
    key = await device.create_request_key()
    hybrid = HybridDecapsulator(MLKEM768_P256, pq=ML_KEM_768.generate(os.urandom), traditional=key)
    node = NodeKeys().rotate(hybrid, EPOCH)
    suite = HpkeSuite(MLKEM768_P256, Kdf.HKDF_SHA256, Aead.AES_256_GCM)
    sender = setup_sender(suite, node.key_config.public_key, b"info", randbytes=os.urandom)
    receiver = await anyio.to_thread.run_sync(setup_receiver, suite, hybrid, sender.enc, b"info")
    assert receiver.open(b"", sender.seal(b"", b"text")) == b"text"


async def test_key_is_dead_once_a_pcr_was_extended(device: TpmDevice) -> None:
    key = await device.create_request_key()
    hybrid = HybridDecapsulator(MLKEM768_P256, pq=ML_KEM_768.generate(os.urandom), traditional=key)
    _, enc = MLKEM768_P256.encapsulate(hybrid.public_key, os.urandom)
    await anyio.to_thread.run_sync(hybrid.decapsulate, enc)
    await device.extend_pcr(12, bytes(32))
    for _ in range(2):
        with pytest.raises(BackendError, match="a PCR was extended since it was attested: got TPM_RC_POLICY_FAIL"):
            await anyio.to_thread.run_sync(hybrid.decapsulate, enc)
    with pytest.raises(BackendError, match="a PCR was extended since the request key was made"):
        await device.attest(key, QUALIFYING)
    assert (await device.count_loaded())[0] <= 1
    await assert_works(await device.create_request_key())


async def test_key_lives_on_when_another_pcr_is_extended(device: TpmDevice) -> None:
    key = await device.create_request_key((0, 7))
    await device.extend_pcr(15, bytes(32))
    await assert_works(key)


async def test_no_password_replaces_the_policy(device: TpmDevice) -> None:
    key = await device.create_request_key()

    def with_password(tss: Any, esapi: Any) -> None:
        handle = esapi.context_load(key.made.context)
        try:
            for password in ("", "guess"):
                esapi.tr_set_auth(handle, password)
                point = tss.TPMS_ECC_POINT(x=P256_POINT[1:33], y=P256_POINT[33:])
                with pytest.raises(tss.TSS2_Exception, match="authValue or authPolicy is not available"):
                    esapi.ecdh_zgen(handle, tss.TPM2B_ECC_POINT(point=point))
        finally:
            esapi.flush_context(handle)

    await esapi_of(device, with_password)
    await assert_works(key)


P256_POINT = P256.from_private_bytes(bytes(range(1, 33))).public_key


async def test_key_does_not_sign(device: TpmDevice) -> None:
    key = await device.create_request_key()

    def sign(tss: Any, esapi: Any) -> None:
        handle = esapi.context_load(key.made.context)
        ticket = tss.TPMT_TK_HASHCHECK(tag=tss.TPM2_ST.HASHCHECK, hierarchy=tss.TPM2_RH.NULL)
        scheme = tss.TPMT_SIG_SCHEME(scheme=tss.TPM2_ALG.ECDSA)
        scheme.details.any.hashAlg = tss.TPM2_ALG.SHA256
        try:
            with pytest.raises(tss.TSS2_Exception):
                esapi.sign(handle, tss.TPM2B_DIGEST(bytes(32)), scheme, ticket)
        finally:
            esapi.flush_context(handle)

    await esapi_of(device, sign)


async def test_point_off_the_curve_is_refused_by_the_tpm_and_before_it(device: TpmDevice) -> None:
    key = await device.create_request_key()
    off = P256_POINT[:-1] + bytes((P256_POINT[-1] ^ 1,))
    with pytest.raises(DecodeError, match="not on the curve"):
        await open_with(key, off)
    with pytest.raises(DecryptionError):
        await anyio.to_thread.run_sync(DhDecapsulator(DHKEM_P256, key).decapsulate, off)
    await assert_works(key)


async def test_closed_key_and_closed_device_say_so(device: TpmDevice) -> None:
    key, other = await device.create_request_key(), await device.create_request_key()
    await assert_works(key)
    await key.aclose()
    await key.aclose()
    assert await device.count_loaded() == (0, 1)
    with pytest.raises(LocalProtocolError, match="was closed"):
        await open_with(key, P256_POINT)
    with pytest.raises(LocalProtocolError, match="was closed"):
        await device.attest(key, QUALIFYING)
    await device.aclose()
    await device.aclose()
    with pytest.raises(LocalProtocolError, match="the TPM was closed"):
        await open_with(other, P256_POINT)
    await other.aclose()


async def test_two_epochs_overlap_while_new_evidence_is_made(device: TpmDevice) -> None:
    old = await device.create_request_key()
    await device.attest(old, QUALIFYING)
    await assert_works(old)
    new = await device.create_request_key()
    await assert_works(old)
    await device.attest(new, QUALIFYING)
    for _ in range(3):
        await assert_works(new)
        await assert_works(old)
    assert await device.count_loaded() == (2, 1)
    await old.aclose()
    newest = await device.create_request_key()
    await assert_works(newest)
    await assert_works(new)
    assert old.public_key != new.public_key != newest.public_key


async def test_requests_are_opened_beside_new_evidence(device: TpmDevice) -> None:
    keys = [await device.create_request_key() for _ in range(3)]

    async def open_some(key: TpmRequestKey) -> None:
        for _ in range(10):
            await assert_works(key)

    async with anyio.create_task_group() as group:
        for key in keys:
            group.start_soon(open_some, key)
        for _ in range(3):
            await device.attest(keys[0], QUALIFYING)


async def test_pcr_that_is_extended_between_policy_and_use_only_costs_another_try(
    device: TpmDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await device.create_request_key()
    exchange = Connection._exchange
    interruptions = [15, 15]

    def interrupted(self: Connection, command: bytes) -> tuple[int, bytes]:
        if command[6:10] == b"\x00\x00\x01\x54" and interruptions:
            self.extend_pcr(interruptions.pop(), bytes(32))
        return exchange(self, command)

    monkeypatch.setattr(Connection, "_exchange", interrupted)
    await assert_works(key)
    interruptions[:] = [15] * 5
    with pytest.raises(BackendError, match="change all the time"):
        await open_with(key, P256_POINT)


# --- Evidence ---------------------------------------------------------------------------------------------------------


async def test_statements_are_about_the_key_and_the_pcrs(device: TpmDevice) -> None:
    await device.extend_pcr(4, b"\x04" * 32)
    key = await device.create_request_key()
    made = await device.attest(key, QUALIFYING)
    quote, certified = Attest.decode(made.quote.attest), Attest.decode(made.key.attest)
    assert quote.extra_data == certified.extra_data == QUALIFYING
    assert isinstance(quote.attested, QuoteInfo)
    assert quote.attested.selections == made.quote.selections == (PcrSelection.of(SHA256, DEFAULT_PCRS),)
    assert quote.attested.pcr_digest == SHA256.digest(b"".join(made.quote.values))
    assert made.quote.pcrs(SHA256) == await device.read_pcrs()
    assert certified.attested == CreationInfo(made.key.public.name, SHA256.digest(made.key.creation_data))
    assert CreationData.decode(made.key.creation_data).encode() == made.key.creation_data
    assert made.key.public == key.made.public
    assert made.ak.name == (await device.attestation_key()).name
    assert made.ak_certificate is None
    verify_tpm_signature(made.ak, made.quote.signature, made.quote.attest)
    verify_tpm_signature(made.ak, made.key.signature, made.key.attest)


async def test_attestation_key_is_the_same_after_a_restart_and_request_keys_are_gone(
    tpm_template: Path, tmp_path: Path
) -> None:
    async with running_tpm(tpm_template, tmp_path / "tpm") as (_, first):
        ak, key = await first.attestation_key(), await first.create_request_key()
        assert isinstance(ak.key, EccKey)
        made = key.made
    async with running_tpm(tpm_template, tmp_path / "tpm") as (_, second):
        assert await second.attestation_key() == ak
        with pytest.raises(BackendError, match="refused a command"):
            await open_with(TpmRequestKey(second, made), P256_POINT)
        assert await second.count_loaded() == (0, 0)


def persist_azure_ak(tss: Any, esapi: Any) -> None:
    template = PublicArea(
        name_algorithm=SHA256,
        attributes=AK_TEMPLATE.attributes,
        scheme=Scheme(SchemeId.RSASSA, SHA256),
        key=RsaKey(2048, bytes(256)),
    )
    public = tss.TPM2B_PUBLIC(publicArea=tss.TPMT_PUBLIC.unmarshal(template.encode())[0])
    handle = esapi.create_primary(tss.TPM2B_SENSITIVE_CREATE(), public, tss.ESYS_TR.ENDORSEMENT)[0]
    esapi.tr_close(esapi.evict_control(tss.ESYS_TR.OWNER, handle, AZURE_AK.handle))
    esapi.flush_context(handle)


def write_nv(index: int, content: bytes, tss: Any, esapi: Any) -> None:
    attributes = tss.TPMA_NV.OWNERWRITE | tss.TPMA_NV.AUTHREAD | tss.TPMA_NV.AUTHWRITE | tss.TPMA_NV.NO_DA
    public = tss.TPMS_NV_PUBLIC(
        nvIndex=index, nameAlg=tss.TPM2_ALG.SHA256, attributes=attributes, dataSize=len(content)
    )
    handle = esapi.nv_define_space(None, tss.TPM2B_NV_PUBLIC(nvPublic=public))
    for start in range(0, len(content), 512):
        esapi.nv_write(handle, content[start : start + 512], start)
    esapi.tr_close(handle)


async def test_rsa_key_of_a_cloud_attests_from_its_persistent_handle(device: TpmDevice) -> None:
    certificate = b"\x30\x82\x03\x00" + bytes(768)
    with pytest.raises(ConfigError, match="no attestation key there: got 0x81000003"):
        await device.attestation_key(AZURE_AK)
    await esapi_of(device, persist_azure_ak)
    await esapi_of(device, partial(write_nv, 0x01C101D0, certificate + b"\xff" * 200))
    key = await device.create_request_key()
    made = await device.attest(key, QUALIFYING, source=AZURE_AK)
    assert isinstance(made.ak.key, RsaKey)
    assert made.ak_certificate == certificate
    verify_tpm_signature(made.ak, made.quote.signature, made.quote.attest)
    verify_tpm_signature(made.ak, made.key.signature, made.key.attest)
    await device.flush()
    assert await device.count_loaded() == (0, 0)


async def test_template_of_a_cloud_makes_its_key(device: TpmDevice) -> None:
    template = evolve(AK_TEMPLATE, key=EccKey(EccCurve.P256, b"cloud", b""))
    with pytest.raises(ConfigError, match="no template of an attestation key there: got 0x01c10003"):
        await device.attestation_key(GCE_AK)
    await esapi_of(device, partial(write_nv, 0x01C10003, template.encode()))
    ak = await device.attestation_key(GCE_AK)
    assert ak != await device.attestation_key()
    made = await device.attest(await device.create_request_key(), QUALIFYING, source=GCE_AK)
    verify_tpm_signature(ak, made.quote.signature, made.quote.attest)
    assert made.ak_certificate is None


async def test_index_of_nv_that_is_not_there_is_none(device: TpmDevice) -> None:
    assert await device.read_nv(0x01C00099) is None
    content = bytes(range(256)) * 5
    await esapi_of(device, partial(write_nv, 0x01C00099, content))
    assert await device.read_nv(0x01C00099) == content


@pytest.mark.parametrize("kind", ["EK-RSA2048", "EK-ECC256", "EK-HIGH-ECC384"])
async def test_tpm_opens_the_credential_for_its_own_keys_only(device: TpmDevice, kind: str) -> None:
    indices = {"EK-RSA2048": 0x01C00002, "EK-ECC256": 0x01C0000A, "EK-HIGH-ECC384": 0x01C00016}
    certificate = b"\x30\x03\x02\x01\x01"
    await esapi_of(device, partial(write_nv, indices[kind], certificate + bytes(7)))
    assert await device.ek_certificate() == certificate
    endorsement, ak = await device.endorsement_key(), await device.attestation_key()
    assert endorsement.certificate == certificate
    assert isinstance(endorsement.public.key, RsaKey) == (kind == "EK-RSA2048")
    assert Attributes.RESTRICTED | Attributes.DECRYPT in endorsement.public.attributes
    credential = make_credential(endorsement.public, ak.name, b"a secret", os.urandom)
    assert await device.activate_credential(credential.id_object, credential.encrypted_secret) == b"a secret"
    other = make_credential(endorsement.public, evolve(ak, auth_policy=bytes(32)).name, b"a secret", os.urandom)
    with pytest.raises(BackendError, match="refused a command"):
        await device.activate_credential(other.id_object, other.encrypted_secret)
    assert await device.count_loaded() == (0, 0)


async def test_tpm_without_a_certificate_still_has_an_endorsement_key(device: TpmDevice) -> None:
    endorsement = await device.endorsement_key()
    assert endorsement.certificate is None
    assert isinstance(endorsement.public.key, RsaKey)
    assert await device.ek_certificate() is None


# --- What is loaded ---------------------------------------------------------------------------------------------------


class Watched:
    """ESAPI, and how much is loaded after each call."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._esapi = connection._esapi
        self.most = (0, 0)

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._esapi, name)

        def counted(*arguments: Any, **named: Any) -> Any:
            result = call(*arguments, **named)
            objects, sessions = self._connection.count_loaded()
            self.most = max(self.most[0], objects), max(self.most[1], sessions)
            return result

        return counted if callable(call) and name != "close" else call


async def test_never_more_than_two_objects_and_one_session_are_loaded(device: TpmDevice) -> None:
    await device.count_loaded()
    assert device._connection is not None
    watched = Watched(device._connection)
    device._connection._esapi = watched
    await device.endorsement_key()
    keys = [await device.create_request_key() for _ in range(4)]
    for key in keys * 2:
        await assert_works(key)
        await device.attest(key, QUALIFYING)
        await assert_works(key)
    for key in keys:
        await assert_works(key)
    endorsement, ak = await device.endorsement_key(), await device.attestation_key()
    credential = make_credential(endorsement.public, ak.name, b"a secret", os.urandom)
    for key in keys:
        await assert_works(key)
    await device.activate_credential(credential.id_object, credential.encrypted_secret)
    assert watched.most == (2, 1)
    await device.flush()
    assert await device.count_loaded() == (0, 0)


async def test_nothing_stays_loaded_wherever_it_is_cancelled(device: TpmDevice) -> None:
    async def whole_epoch(reached: list[str]) -> None:
        key = await device.create_request_key()
        reached.append("key")
        try:
            await device.attest(key, QUALIFYING)
            reached.append("evidence")
            await assert_works(key)
            reached.append("opened")
        finally:
            await key.aclose()

    for steps in range(60):
        reached: list[str] = []
        async with anyio.create_task_group() as group:
            group.start_soon(whole_epoch, reached)
            for _ in range(steps):
                await checkpoint()
                await anyio.sleep(0.0005)
            group.cancel_scope.cancel()
        objects, sessions = await device.count_loaded()
        assert objects == 0
        assert sessions <= 1
        if "opened" in reached:
            break
    else:
        pytest.fail("the epoch never came to its end")
    await device.flush()
    assert await device.count_loaded() == (0, 0)


async def test_what_a_predecessor_left_is_flushed(tpm: tuple[Swtpm, TpmDevice]) -> None:
    swtpm, device = tpm
    keys = [await device.create_request_key() for _ in range(2)]
    for key in keys:
        await assert_works(key)
    broken = device._connection
    assert broken is not None
    device._connection = None
    broken._esapi.close()  # as when the process dies
    broken._tcti.close()
    successor = TpmDevice(swtpm.tcti)
    async with successor:
        assert await successor.count_loaded() == (0, 0)
        await assert_works(await successor.create_request_key())


# --- What can go wrong ------------------------------------------------------------------------------------------------


async def test_tpm_that_is_gone_is_an_error_of_ours_and_can_be_let_go_of(tpm: tuple[Swtpm, TpmDevice]) -> None:
    swtpm, device = tpm
    key = await device.create_request_key()
    await assert_works(key)
    os.kill(swtpm.pid, signal.SIGKILL)
    for _ in range(2):
        with pytest.raises(BackendError, match="cannot be reached"):
            await open_with(key, P256_POINT)
    with pytest.raises(BackendError, match="cannot be reached"):
        await device.read_pcrs()
    await key.aclose()
    await device.aclose()


async def test_tcti_that_there_is_not_cannot_be_reached() -> None:
    for tcti in ("swtpm:host=127.0.0.1,port=1", "device:/dev/null/none", "nonsense"):
        async with TpmDevice(tcti) as device:
            assert repr(device) == f"TpmDevice({tcti!r})"
            with pytest.raises(BackendError, match="cannot be reached"):
                await device.read_pcrs()


async def test_missing_package_names_the_lines_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    async with TpmDevice("device:/dev/tpmrm0") as device:
        with pytest.raises(
            MissingExtraError, match=r"apt-get install libtss2-dev pkg-config gcc python3-dev && pip install .*tpm"
        ):
            await device.read_pcrs()


async def test_digest_and_pcr_have_to_be_there(device: TpmDevice) -> None:
    with pytest.raises(LocalProtocolError, match="digest of another size"):
        await device.extend_pcr(12, bytes(20))
    with pytest.raises(LocalProtocolError, match="no such PCR"):
        await device.extend_pcr(24, bytes(32))
    with pytest.raises(LocalProtocolError, match="no such PCR"):
        await device.create_request_key((0, 24))


async def test_pcrs_without_a_bank_are_named(device: TpmDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "_read_some_pcrs", lambda self, indices: (1, {}))
    with pytest.raises(ConfigError, match="no SHA-256 bank"):
        await device.read_pcrs((0, 1))


async def test_pcrs_that_change_while_they_are_read_are_read_anew(
    device: TpmDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Connection._read_some_pcrs
    extend = [3]

    def changing(self: Connection, indices: list[int]) -> tuple[int, dict[int, bytes]]:
        result = read(self, indices)
        if extend:
            self.extend_pcr(extend.pop(), b"\x01" * 32)
        return result

    monkeypatch.setattr(Connection, "_read_some_pcrs", changing)
    assert (await device.read_pcrs())[3] == SHA256.digest(bytes(32) + b"\x01" * 32)
    extend[:] = [3] * 100
    with pytest.raises(BackendError, match="change all the time"):
        await device.read_pcrs()


async def test_library_that_fails_is_an_error_of_ours(device: TpmDevice) -> None:
    def fail(tpm: Connection) -> None:
        raise ValueError("secret content")

    with pytest.raises(BackendError, match="library failed: got ValueError"):
        await anyio.to_thread.run_sync(device.work_now, fail)
    assert await device.count_loaded() == (0, 0)


async def test_tpm_that_is_always_busy_is_given_up(device: TpmDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    await device.count_loaded()
    busy = b"\x80\x01\x00\x00\x00\x0a\x00\x00\x09\x22"

    class BusyTcti:
        def transmit(self, command: bytes) -> None:
            return None

        def receive(self) -> bytes:
            return busy

    assert device._connection is not None
    with monkeypatch.context() as patch:
        patch.setattr(device._connection, "_tcti", BusyTcti())
        with pytest.raises(BackendError, match="busy"):
            await device.count_loaded()
    assert await device.count_loaded() == (0, 0)


def test_constructor_does_nothing() -> None:
    device = TpmDevice("device:/dev/there-is-none")
    assert device.tcti == "device:/dev/there-is-none"
    assert AkSource() == AkSource(handle=None, template=None, certificate=None)
