"""Keys that sign envelopes, in files that `openssl` makes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from confsec.backends.dsse_keys import read_dsse_key, read_public_dsse_key
from confsec.errors import ConfigError
from confsec.protocol.dsse import DsseKey, Envelope

ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
P256 = ec.derive_private_key(7, ec.SECP256R1())


def write(folder: Path, key: PrivateKeyTypes, protection: KeySerializationEncryption | None = None) -> Path:
    """Write a private key and its public half beside it."""
    path = folder / "signing.key"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection or NoEncryption()))
    path.chmod(0o600)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    path.with_suffix(".pub").write_bytes(public)
    return path


@pytest.mark.parametrize("key", [ED25519, P256], ids=["Ed25519", "P-256"])
def test_key_signs_what_its_public_half_verifies(
    key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey, tmp_path: Path
) -> None:
    path = write(tmp_path, key)
    public = read_public_dsse_key(path.with_suffix(".pub"), "releases")
    assert public == DsseKey.of("releases", key)
    assert Envelope("text/plain", b"said").sign(read_dsse_key(path)).verify([public]) == (public,)


def test_public_key_without_a_name_is_called_after_its_digest(tmp_path: Path) -> None:
    public = read_public_dsse_key(write(tmp_path, ED25519).with_suffix(".pub"))
    assert public.name == public.key_id


def test_encrypted_key_opens_with_its_passphrase_only(tmp_path: Path) -> None:
    path = write(tmp_path, ED25519, BestAvailableEncryption(b"open sesame"))
    assert read_dsse_key(path, lambda: b"open sesame").public_key() == ED25519.public_key()
    with pytest.raises(ConfigError, match=r"is encrypted.*want a passphrase"):
        read_dsse_key(path)
    with pytest.raises(ConfigError) as caught:
        read_dsse_key(path, lambda: b"open something else")
    assert "open something else" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_passphrase_for_a_key_that_needs_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="want no passphrase"):
        read_dsse_key(write(tmp_path, ED25519), lambda: b"open sesame")


def test_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, ED25519)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="open to others"):
        read_dsse_key(path)


@pytest.mark.parametrize(
    "make", [lambda: ec.derive_private_key(7, ec.SECP384R1()), lambda: rsa.generate_private_key(65537, 2048)]
)
def test_key_that_signs_no_envelopes_is_refused(make: Callable[[], PrivateKeyTypes], tmp_path: Path) -> None:
    path = write(tmp_path, make())
    with pytest.raises(ConfigError, match=r"does not sign envelopes.*openssl"):
        read_dsse_key(path)
    with pytest.raises(ConfigError, match="does not sign envelopes"):
        read_public_dsse_key(path.with_suffix(".pub"))


def test_files_that_are_no_keys_are_refused_without_quoting_them(tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    path.write_text("a secret that is no key")
    path.chmod(0o600)
    for read in (read_dsse_key, read_public_dsse_key):
        with pytest.raises(ConfigError, match="openssl") as caught:
            read(path)
        assert "a secret" not in str(caught.value)
        with pytest.raises(ConfigError, match="cannot be read"):
            read(tmp_path / "nowhere")
