"""What is unusual about this machine: its ports, clock, generator, limits and environment."""

from __future__ import annotations

import os
import resource
import socket
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from confsec.doctor.findings import Finding, info, ok, problem, warning
from confsec.protocol.machine import RandBytes

__all__ = [
    "look_at_clock",
    "look_at_environment",
    "look_at_epoch",
    "look_at_limits",
    "look_at_ports",
    "look_at_randomness",
]

_WRITTEN: Final = datetime(2026, 11, 1, tzinfo=UTC)
"""When this version was written. No right clock shows an earlier time."""

_FAR_FUTURE: Final = timedelta(days=10 * 365)
_CLOCK_TOLERANCE: Final = timedelta(minutes=1)
_LONG_EPOCH: Final = timedelta(hours=1)
_FILES_OF_A_ROLE: Final = 4096

_ENVIRONMENT: Final = {
    **dict.fromkeys(
        ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"),
        (
            "confsec does not use the proxy that it names and connects to the relay directly",
            "Where only the proxy leads out, have the relay made reachable; else nothing",
        ),
    ),
    "SSLKEYLOGFILE": (
        "Python writes the keys of every TLS connection into the file that it names",
        "Unset it, and delete that file",
    ),
    "PYTHONTRACEMALLOC": ("Python keeps a record of every allocation, and everything is slow", "Unset it"),
    "PYTHONASYNCIODEBUG": ("asyncio logs what it runs, with the arguments", "Unset it"),
    "PYTHONDEVMODE": ("Python runs in development mode: slower, and it logs more", "Unset it"),
    "PYTHONINSPECT": ("Python stays open at the end, with everything that is in memory", "Unset it"),
    "PYTHONMALLOC": ("Python's memory is managed for debugging", "Unset it"),
    "OPENAI_LOG": ("the openai package may log requests, prompts included", "Unset it"),
    "ANTHROPIC_LOG": ("the anthropic package may log requests, prompts included", "Unset it"),
    "LITELLM_LOG": ("litellm may log requests, prompts included", "Unset it"),
    "LD_PRELOAD": ("code that is not ours runs inside this process", "Unset it unless you know what it does"),
    "CONFSEC_TRACEBACK": ("bugs print tracebacks, which may quote prompts and keys", "Unset it when you are done"),
}
"""By variable: what it does, and what to do about it. Values are never shown: a proxy's may hold a password."""


def look_at_ports(ports: Iterable[int] = (), host: str = "127.0.0.1") -> Iterator[Finding]:
    """See whether roles can listen: on loopback, on a Unix socket, and on each of `ports`."""
    reason = _cannot_bind(host, 0)
    if reason:
        yield problem("ports.loopback", f"no port of {host} can be listened on: {reason}", "Ask who set up the sandbox")
    else:
        yield ok("ports.loopback", f"ports of {host} can be listened on")
    reason = _cannot_bind_unix()
    if reason:
        yield problem(
            "ports.unix", f"no Unix socket can be made: {reason}", "Let TMPDIR name a short path that is writable"
        )
    else:
        yield ok("ports.unix", "Unix sockets can be made, as the embedded engine needs")
    for port in ports:
        reason = _cannot_bind(host, port)
        if reason:
            todo = f"Stop what listens there (it shows in: ss -ltnp 'sport = :{port}'), or choose another --port"
            yield problem(f"ports.{port}", f"port {port} of {host} cannot be listened on: {reason}", todo)
        else:
            yield ok(f"ports.{port}", f"port {port} of {host} is free")


def look_at_clock(now: datetime) -> Finding:
    """See whether the clock can be right at all."""
    if now < _WRITTEN:
        what = f"the clock shows {now:%Y-%m-%d}, which is before this version was written"
        return problem("clock.date", what, "Set the clock, and keep it right: timedatectl set-ntp true")
    if now > _WRITTEN + _FAR_FUTURE:
        what = f"the clock shows {now:%Y-%m-%d}. Either it is wrong or this version is very old"
        return warning("clock.date", what, "Set the clock, or get a newer version")
    return ok("clock.date", f"{now:%Y-%m-%d %H:%M:%S} UTC")


def look_at_epoch(epoch: datetime, now: datetime) -> Finding:
    """Compare the clock with the epoch that a service says it is in."""
    began = f"the service's epoch began at {epoch:%Y-%m-%d %H:%M:%S} UTC"
    todo = "Compare this clock with another one: timedatectl. If it is right, tell the operator"
    if epoch > now + _CLOCK_TOLERANCE:
        return warning("clock.epoch", f"{began}, which is still to come by this clock", todo)
    if epoch < now - _LONG_EPOCH:
        return warning("clock.epoch", f"{began}, longer ago than an epoch lasts", todo)
    return ok("clock.epoch", f"{began}, which fits this clock")


def look_at_randomness(randbytes: RandBytes) -> Finding:
    """See whether the system's generator has been seeded, and whether it moves."""
    todo = "Wait until the machine has started up. In a virtual machine, give it a virtio-rng device"
    try:
        os.getrandom(1, os.GRND_NONBLOCK)  # noqa: TID251 - asks whether there would be any, and drops it
    except BlockingIOError:
        return problem("entropy.generator", "the system's generator has not been seeded yet", todo)
    if len({randbytes(32) for _ in range(4)}) < 4:
        return problem("entropy.generator", "the system's generator repeats itself", "Do not use this machine")
    return ok("entropy.generator", "the system's generator is seeded")


def look_at_limits() -> Iterator[Finding]:
    """See what happens at a crash, and how many connections a role could hold."""
    core, _ = resource.getrlimit(resource.RLIMIT_CORE)
    if core != 0:
        what = "a crash would write this process's memory to disk, prompts and keys included"
        yield warning("limits.core", what, "Type: ulimit -c 0, or LimitCORE=0 in the unit of systemd")
    else:
        yield ok("limits.core", "a crash leaves no memory on disk")
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files != resource.RLIM_INFINITY and files < _FILES_OF_A_ROLE:
        what = f"a process may open {files} files. A busy relay, gateway or router needs {_FILES_OF_A_ROLE}"
        yield info("limits.files", what, "Where you run one: ulimit -n 65536, or LimitNOFILE=65536")
    else:
        yield ok("limits.files", "a process may open as many files as a busy role needs")


def look_at_environment(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Name the variables that make something less private or less quick than it should be."""
    unusual = [name for name in _ENVIRONMENT if environment.get(name)]
    for name in unusual:
        what, todo = _ENVIRONMENT[name]
        yield warning(f"environment.{name}", f"{name} is set: {what}", todo)
    if not unusual:
        yield ok("environment.variables", "no variable is set that would leak or slow down anything")


def _cannot_bind(host: str, port: int) -> str:
    """Say why a role could not listen there, or nothing."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the roles do
        try:
            listener.bind((host, port))
            listener.listen(1)
        except OSError as exc:
            return exc.strerror or "it is not allowed"
    return ""


def _cannot_bind_unix() -> str:
    try:
        with tempfile.TemporaryDirectory(prefix="confsec-") as folder, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(Path(folder) / "engine.sock"))
    except OSError as exc:
        return exc.strerror or str(exc)  # a path that is too long has no strerror
    return ""
