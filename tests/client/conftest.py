"""A service whose roles run as processes, with llama.cpp behind its nodes, and a proxy to it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from confsec.demo.processes import start_role
from confsec.demo.service import DemoSettings, start_demo
from tests.support import require_or_skip


@pytest.fixture(scope="session")
def portal() -> Iterator[BlockingPortal]:
    """Keep an event loop for what lives as long as the tests."""
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture(scope="session")
def running_service(portal: BlockingPortal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Run relay, gateway, router and nodes, and return the service's directory file."""
    for package in ("httptools", "uvicorn", "xllamacpp"):
        if find_spec(package) is None:
            require_or_skip(f"the package {package} is not installed")
    demo = start_demo(tmp_path_factory.mktemp("service"), DemoSettings(nodes=2, taps=False, logs=False))
    with portal.wrap_async_context_manager(demo) as service:
        yield service.service_file


@pytest.fixture(scope="session")
def running_proxy(
    portal: BlockingPortal, running_service: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Run `confsec proxy`, and return its URL."""
    log = tmp_path_factory.mktemp("proxy") / "proxy.log"
    options = ("--service", str(running_service), "--unsafe-unattested", "--port", "0")
    with portal.wrap_async_context_manager(start_role("proxy", *options, log=log)) as process:
        yield portal.call(process.ready)
