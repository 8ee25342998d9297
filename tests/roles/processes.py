"""A service of real processes on loopback: an engine that streams, a node, a router, a gateway and a relay."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.request import urlopen

import psutil

from confsec.protocol.directory import ServiceDirectory
from confsec.protocol.key_config import decode_key_configs
from tests.support import ROOT

START_SECONDS = 30.0
ENGINE = "tests.roles.engine"


class RoleProcess:
    """One process, started again on the same port if need be."""

    def __init__(self, *arguments: str, port: int = 0) -> None:
        self.arguments = arguments
        self.start(port)

    def start(self, port: int) -> None:
        command = [sys.executable, "-m", *self.arguments, "--port", str(port)]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], START_SECONDS)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            self.stop()
            raise AssertionError(f"{command} did not start: {self.errors}")
        self.url: str = json.loads(line)["url"]

    def restart(self) -> None:
        self.start(int(self.url.rpartition(":")[2]))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End the process; return its exit status. What it wrote to stderr is in `errors`."""
        self.process.terminate()
        try:
            _, self.errors = self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            _, self.errors = self.process.communicate()
        return self.process.returncode

    @property
    def peak(self) -> int:
        """Peak of the resident memory in bytes. Linux has it in /proc."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024

    @property
    def resident(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def reset_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")


class Service:
    """The processes, and what a client has to know."""

    def __init__(self, stack: ExitStack, backend: str, options: dict[str, tuple[str, ...]]) -> None:
        self._stack = stack
        self._options = options
        self._backend = backend
        self.roles: dict[str, RoleProcess] = {}
        engine = self._start("engine", ENGINE)
        node = self._start("node", "confsec", "node", "--engine", engine.url)
        router = self._start("router", "confsec", "router", "--unsafe-no-tokens", "--nodes", node.url)
        gateway = self._start("gateway", "confsec", "gateway", "--targets", f"router.example={router.url}")
        relay = self._start("relay", "confsec", "relay", "--gateways", f"{gateway.url}/gateway")
        with urlopen(f"{gateway.url}/ohttp-keys") as answer:
            configs = decode_key_configs(answer.read())
        self.directory = ServiceDirectory(
            relay_url=relay.url + "/", gateway_key_configs=configs, router_origin="https://router.example"
        )

    def _start(self, name: str, *arguments: str) -> RoleProcess:
        backend = ("--backend", self._backend) if name != "engine" else ()
        process = RoleProcess(*arguments, *backend, *self._options.get(name, ()))
        self._stack.callback(lambda: process.stop())
        self.roles[name] = process
        return process


@contextmanager
def running_service(backend: str = "asyncio", **options: tuple[str, ...]) -> Generator[Service]:
    """Run a service; `options` are further options by role."""
    with ExitStack() as stack:
        yield Service(stack, backend, options)
