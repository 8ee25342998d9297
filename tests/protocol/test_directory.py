"""The service directory as a file."""

from __future__ import annotations

import pytest

from confsec.errors import ConfigError
from confsec.protocol.directory import MAX_DIRECTORY, ServiceDirectory
from confsec.protocol.kem import kem_from_id
from confsec.protocol.key_config import KeyConfig, SymmetricSuite
from confsec.testing import seeded_randbytes


def directory() -> ServiceDirectory:
    public_key = kem_from_id(0x0020).generate(seeded_randbytes("gateway")).public_key
    suites = (SymmetricSuite(0x0001, 0x0001),)
    return ServiceDirectory(
        relay_url="https://relay.example/",
        gateway_key_configs=(KeyConfig(key_id=1, kem_id=0x0020, public_key=public_key, suites=suites),),
        router_origin="https://router.example:8443",
    )


def test_a_directory_round_trips_as_a_file() -> None:
    assert ServiceDirectory.from_toml(directory().to_toml()) == directory()


def test_a_directory_names_the_routers_scheme_and_authority() -> None:
    assert (directory().router_scheme, directory().router_authority) == ("https", "router.example:8443")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080/", "http://localhost/x", "http://[::1]:1/", "https://relay.example"]
)
def test_takes_https_everywhere_and_http_on_loopback(url: str) -> None:
    text = directory().to_toml().replace("https://relay.example/", url)
    assert ServiceDirectory.from_toml(text).relay_url == url


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("version = 1", "version = 2", "version = 1"),
        ("version = 1", "version = ", "not TOML"),
        ("version = 1", "version = 1\nextra = 2", "tables"),
        ("[relay]", "[relay]\nname = 'x'", r"\[relay\]"),
        ('url = "https://relay.example/"', "url = 7", r"\[relay\]"),
        ("https://relay.example/", "http://relay.example/", "https, except on loopback"),
        ("https://relay.example/", "http://127.0.0.1.example/", "https, except on loopback"),
        ("https://relay.example/", "ftp://relay.example/", "relay.url"),
        ("https://relay.example/", "https://user@relay.example/", "relay.url"),
        ("https://relay.example/", "https://relay.example/#x", "relay.url"),
        ("https://relay.example/", "https:///path", "relay.url"),
        ("https://relay.example/", "https://relay.example:port/", "relay.url"),
        ("https://relay.example/", "https://relay.example/ü", "relay.url"),
        ("https://router.example:8443", "https://router.example/path", "router.origin"),
        ('key_configs = "', 'key_configs = "!', "gateway.key_configs"),
        ('key_configs = "', 'key_configs = "AAAA', "gateway.key_configs"),
    ],
)
def test_says_what_is_wrong_with_a_file(old: str, new: str, names: str) -> None:
    text = directory().to_toml()
    assert old in text
    with pytest.raises(ConfigError, match=names):
        ServiceDirectory.from_toml(text.replace(old, new, 1))


def test_refuses_a_file_that_is_too_long() -> None:
    with pytest.raises(ConfigError, match="too long"):
        ServiceDirectory.from_toml("#" * (MAX_DIRECTORY + 1))
