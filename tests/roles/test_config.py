"""Settings from a file, from options and from both."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import fields, frozen

from confsec.errors import ConfigError
from confsec.roles.config import RoleConfig, config_fields, load_config, setting
from confsec.roles.gateway import GatewayConfig
from confsec.roles.node import NodeConfig
from confsec.roles.relay import RelayConfig
from confsec.roles.router import RouterConfig

CLASSES = [RoleConfig, RelayConfig, GatewayConfig, RouterConfig, NodeConfig]


def write(folder: Path, text: str) -> Path:
    path = folder / "role.toml"
    path.write_text(text)
    return path


def test_file_gives_values_and_options_win(tmp_path: Path) -> None:
    path = write(tmp_path, 'gateways = ["http://g/gateway"]\nport = 1\nidle_timeout = 5\n')
    config = load_config(RelayConfig, path, {"port": 2, "host": None, "gateways": ()})
    assert (config.gateways, config.port, config.idle_timeout) == (("http://g/gateway",), 2, 5.0)
    assert isinstance(config.idle_timeout, float)


def test_options_alone_are_enough() -> None:
    assert load_config(RelayConfig, None, {"gateways": ("http://g/",)}).gateways == ("http://g/",)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_key_has_a_sentence_and_an_option(cls: type) -> None:
    items = config_fields(cls)
    assert [item.name for item in items] == [attribute.name for attribute in fields(cls)]
    for item in items:
        assert item.help.endswith(".")
        assert item.option == "--" + item.name.replace("_", "-")


@pytest.mark.parametrize(
    "text, words",
    [
        ("nonsense = 1", ("role.toml", "nonsense")),
        ("port = 'x'", ("role.toml", "port")),
        ("port = true", ("role.toml", "port")),
        ("port = -1", ("role.toml", "port", "at least 0")),
        ("idle_timeout = 0", ("role.toml", "idle_timeout")),
        ("idle_timeout = nan", ("role.toml", "idle_timeout")),
        ("backend = 'curio'", ("role.toml", "backend", "asyncio, trio")),
        ("gateways = 'http://g/'", ("role.toml", "gateways", "list")),
        ("gateways = [1]", ("role.toml", "gateways", "str")),
        ("gateways = ['gopher://g/']", ("role.toml", "gateways")),
        ("gateways = ['x=http://g/']", ("role.toml", "gateways", "/PATH=URL")),
        ("gateways = ['http://user@g/']", ("role.toml", "gateways")),
        ("port = ", ("role.toml", "TOML")),
    ],
)
def test_bad_file_is_refused_with_key_and_file(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    if "gateways" not in text:
        text = 'gateways = ["http://g/"]\n' + text
    with pytest.raises(ConfigError) as raised:
        load_config(RelayConfig, write(tmp_path, text))
    for word in words:
        assert word in str(raised.value)


def test_missing_key_is_named_with_its_option(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(RelayConfig, write(tmp_path, ""))
    assert "gateways" in str(raised.value)
    assert "--gateways" in str(raised.value)


def test_bad_option_is_refused() -> None:
    with pytest.raises(ConfigError, match="the command line"):
        load_config(RelayConfig, None, {"gateways": ("http://g/",), "unknown": 1})


def test_file_that_is_missing_large_or_binary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(RelayConfig, tmp_path / "none.toml")
    path = tmp_path / "large.toml"
    path.write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(ConfigError, match="too large"):
        load_config(RelayConfig, path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not TOML"):
        load_config(RelayConfig, path)


def test_field_of_another_kind_is_a_bug() -> None:
    @frozen(kw_only=True)
    class Odd:
        thing: dict[str, str] = setting({}, help="Cannot be an option.")  # noqa: RUF009  # declares an attrs field

    with pytest.raises(TypeError, match="thing"):
        config_fields(Odd)
