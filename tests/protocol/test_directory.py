"""The service directory as a file."""

from __future__ import annotations

import pytest
from attrs import evolve

from confsec.errors import ConfigError
from confsec.protocol.directory import MAX_DIRECTORY, ServiceDirectory
from confsec.protocol.kem import kem_from_id
from confsec.protocol.key_config import KeyConfig, SymmetricSuite
from confsec.testing import seeded_randbytes
from tests.client.wallet_issuer import issuer_entry
from tests.protocol.token_cases import CHALLENGE, HOUR, OTHER_TOKEN_KEY, TOKEN_KEY


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


def with_issuer() -> ServiceDirectory:
    return evolve(directory(), issuer=issuer_entry())


def test_a_directory_with_an_issuer_round_trips() -> None:
    assert ServiceDirectory.from_toml(with_issuer().to_toml()) == with_issuer()
    assert with_issuer().digest != directory().digest
    issuer = with_issuer().issuer
    assert issuer is not None
    assert (issuer.scheme, issuer.authority) == ("https", "issuer.example")


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ('origin = "https://issuer.example"', "", r"\[issuer\]"),
        ('origin = "https://issuer.example"', "origin = 1", r"issuer\.origin"),
        ("https://issuer.example", "http://issuer.example", r"issuer\.origin"),
        ("http://127.0.0.1:1/issuer", "http://relay.example/issuer", r"issuer\.relay_url"),
        ('token_challenge = "', 'token_challenge = "AAAA', "token_challenge"),
        ('\nkey = "', '\nkey = "AAAA', "token key"),
        ('\nkey = "', '\nkex = "', "token key"),
        ("not_before = 2029-12-31T00:00:00+00:00", "not_before = 2029-12-31T00:00:00", "times"),
        ("not_before = 2029-12-31T00:00:00+00:00", "not_before = 2030-01-01T23:30:00+00:00", "too often"),
        ("not_before = 2029-12-31T00:00:00+00:00", "not_before = 2031-01-01T23:30:00+00:00", "ends before"),
        ("[[issuer.token_keys]]", "[[issuer.other]]", "issuer"),
    ],
)
def test_says_what_is_wrong_with_an_issuer(old: str, new: str, names: str) -> None:
    text = with_issuer().to_toml()
    assert old in text
    with pytest.raises(ConfigError, match=names):
        ServiceDirectory.from_toml(text.replace(old, new, 1))


def test_an_issuer_without_keys_is_refused() -> None:
    text = with_issuer().to_toml()
    with pytest.raises(ConfigError, match="token_keys"):
        ServiceDirectory.from_toml(text[: text.index("[[issuer.token_keys]]")] + "token_keys = []\n")


def test_keys_that_could_name_users_are_refused() -> None:
    epoch = issuer_entry().token_keys[0]
    three = tuple(
        evolve(epoch, key=key, not_before=epoch.not_before + HOUR * number)
        for number, key in enumerate((TOKEN_KEY, OTHER_TOKEN_KEY, TOKEN_KEY))
    )
    with pytest.raises(ConfigError, match="at one time"):
        evolve(issuer_entry(), token_keys=three)
    bound = evolve(CHALLENGE, redemption_context=bytes(32))
    with pytest.raises(ConfigError, match="redemption context"):
        evolve(issuer_entry(), token_challenge=bound)
