"""The page about the roles names every setting."""

from __future__ import annotations

import pytest

from confsec.roles.config import config_fields
from confsec.roles.gateway import GatewayConfig
from confsec.roles.node import NodeConfig
from confsec.roles.relay import RelayConfig
from confsec.roles.router import RouterConfig
from tests.support import ROOT


@pytest.mark.parametrize("cls", [RelayConfig, GatewayConfig, RouterConfig, NodeConfig])
def test_every_setting_is_documented(cls: type) -> None:
    page = (ROOT / "docs" / "roles.md").read_text()
    assert [item.name for item in config_fields(cls) if f"`{item.name}`" not in page] == []
