"""The whole command line: help that teaches, one line for what is wrong, and the exit statuses."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import click
import pytest

from confsec import cli
from confsec.cli import COMMANDS, TRACEBACK, main, run
from confsec.errors import BusyError, ConfigError, MissingExtraError
from tests.support import needs_packages

Capture = pytest.CaptureFixture[str]

RELAY = ["relay", "--gateways", "http://127.0.0.1:1/gateway"]
GATEWAY = ["gateway", "--targets", "router.example=http://127.0.0.1:1"]
ROUTER = ["router", "--nodes", "http://127.0.0.1:1", "--unsafe-no-tokens", "--unsafe-unattested"]
NODE = ["node", "--tee", "none"]
ROLES = {"relay": RELAY, "gateway": GATEWAY, "router": ROUTER, "node": NODE}
SERVED = {**ROLES, "proxy": ["proxy", "--service", "http://127.0.0.1:9/service.toml"]}
"""By command: a call that would serve."""


def every_command() -> list[list[str]]:
    """Return the words of all commands, of those inside groups too."""
    found: list[list[str]] = []

    def collect(words: list[str], command: click.Command) -> None:
        found.append(words)
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None
                collect([*words, name], inner)

    collect([], cli._confsec)
    return found


each_command = pytest.mark.parametrize("words", every_command(), ids=" ".join)


def one_line(capsys: Capture) -> str:
    """Return the one line on standard error. There is nothing else, and no traceback."""
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("confsec: ")
    return captured.err


def confsec(*arguments: str, before: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, after the statements `before`."""
    program = f"import sys\n{before}\nfrom confsec.cli import main\nmain(sys.argv[1:])"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )


# --- Help -------------------------------------------------------------------------------------------------------------


@each_command
def test_help_teaches_by_an_example(words: list[str], capsys: Capture) -> None:
    assert run([*words, "--help"]) == 0
    shown = capsys.readouterr().out
    _, _, text = shown.partition("\n")  # without the line of usage
    assert " ".join(["confsec", *words]) in text
    assert "\\b" not in shown
    assert "\b" not in shown


@each_command
def test_help_explains_every_option(words: list[str], capsys: Capture) -> None:
    command: click.Command | None = cli._confsec
    context = click.Context(cli._confsec)
    for word in words:
        assert isinstance(command, click.Group)
        command = command.get_command(context, word)
    assert command is not None
    unexplained = [
        option.name for option in command.params if isinstance(option, click.Option) and not (option.help or "").strip()
    ]
    assert unexplained == []


def test_overview_lists_every_command_and_imports_none(capsys: Capture) -> None:
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in COMMANDS)
    finished = confsec("--help", before="import atexit; atexit.register(lambda: print(*sys.modules))")
    modules = set(finished.stdout.split("\n")[-2].split())
    assert {f"confsec.cli.{name}" for name in COMMANDS} & modules == set()
    assert {"anyio", "cryptography", "h11", "rich", "uvicorn"} & modules == set()


@pytest.mark.parametrize("words", [[], ["keys"], ["conformance"]])
def test_group_without_a_command_shows_its_help(words: list[str], capsys: Capture) -> None:
    assert run(words) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("Usage: ")
    assert captured.err == ""


def test_version(capsys: Capture) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"confsec {metadata.version('confsec-protocol')}\n"


def test_python_m_confsec_is_the_same() -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "confsec", "--version"], check=True, capture_output=True, text=True, timeout=60
    )
    assert finished.stdout.startswith("confsec ")


# --- Wrong input ------------------------------------------------------------------------------------------------------


@each_command
def test_unknown_option_is_one_line_that_leads_to_the_help(words: list[str], capsys: Capture) -> None:
    assert run([*words, "--no-such-option"]) == 2
    assert f"(see {' '.join(['confsec', *words])} --help)" in one_line(capsys)


WRONG = [
    ["frobnicate"],
    ["keys", "frobnicate"],
    ["conformance", "frobnicate"],
    # options without a value, or with one that is none
    ["relay", "--port"],
    ["relay", "--port", "many"],
    [*RELAY, "--port", "-1"],
    [*RELAY, "--port", "65536"],
    [*RELAY, "--max-body", "-5"],
    [*RELAY, "--idle-timeout", "0"],
    [*RELAY, "--idle-timeout", "nan"],
    [*RELAY, "--backend", "twisted"],
    [*RELAY, "--host", "no such host"],
    [*RELAY, "--uds", "/nowhere/relay.sock"],
    # what a role cannot do without
    ["relay"],
    ["gateway"],
    ["router"],
    ["router", "--nodes", "http://127.0.0.1:1"],
    ["router", "--nodes", "http://127.0.0.1:1", "--unsafe-no-tokens"],
    ["router", "--nodes", "http://127.0.0.1:1", "--unsafe-unattested"],
    [*ROUTER, "--policy", "missing.toml"],
    ["router", "--nodes", "http://127.0.0.1:1", "--unsafe-no-tokens", "--policy", "missing.toml"],
    ["proxy"],
    ["chat"],
    # URLs and names
    ["relay", "--gateways", "gateway.example"],
    ["relay", "--gateways", "ftp://gateway.example/"],
    ["relay", "--gateways", "http://a/x", "--gateways", "http://b/x"],
    ["gateway", "--targets", "router.example"],
    ["gateway", "--targets", "router.example=router"],
    [*GATEWAY, "--allow", "everything"],
    [*GATEWAY, "--kems", "RSA"],
    [*GATEWAY, "--keys", "missing.key"],
    ["router", "--nodes", "127.0.0.1:1", "--unsafe-no-tokens", "--unsafe-unattested"],
    [*NODE, "--kem", "RSA"],
    [*NODE, "--epoch", "-1"],
    [*NODE, "--isolation", "magic"],
    [*NODE, "--engine", "127.0.0.1"],
    [*NODE, "--model", "missing.gguf"],
    [*NODE, "--model", "a.gguf", "--engine", "http://127.0.0.1:1"],
    ["node", "--tee", "sgx"],
    ["node", "--tpm-tcti", "device:/nowhere/tpm"],
    ["node", "--tee", "tpm", "--tpm-tcti", "device:/dev/null/tpm"],
    [*NODE, "--tpm-ak", "somewhere"],
    # files
    ["relay", "--config", "missing.toml"],
    ["verify"],
    ["verify", "missing.cbor"],
    ["verify", "missing.cbor", "--policy", "missing.toml"],
    ["chat", "--service", "missing.toml", "--prompt", "x"],
    ["chat", "--service", "http://service.example/\n", "--prompt", "x"],
    ["chat", "--service", "missing.toml", "--prompt", " "],
    ["chat", "--service", "missing.toml", "--prompt", "x", "--policy", "missing.toml"],
    ["doctor", "--request", "missing.json"],
    ["doctor", "--policy", "missing.toml"],
    ["doctor", "--port", "-1"],
    ["doctor", "--port", "0"],
    ["doctor", "extra"],
    ["keys", "show"],
    ["keys", "show", "missing.key"],
    ["keys", "gateway"],
    ["keys", "gateway", "--out", "/nowhere/gateway.key"],
    ["keys", "directory", "--out", "service.toml"],
    ["conformance", "vectors"],
    ["conformance", "vectors", "missing"],
    ["demo", "--tamper", "nothing-of-ours"],
    ["demo", "--prompt", ""],
    ["demo", "--model", "missing.gguf"],
    ["demo", "--engine", "127.0.0.1"],
    ["demo", "--proof", "/nowhere/proof.cbor"],
]


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_wrong_input_is_one_line_and_exit_2(
    words: list[str], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(words) == 2
    one_line(capsys)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("port = \n", "not TOML"),
        ("port = '80'\n", "port"),
        ("port = true\n", "port"),
        ("port = -1\n", "port"),
        ("prot = 80\n", "prot"),
        ("[relay]\nport = 80\n", "relay"),
        ("keep_alive = 'long'\n", "keep_alive"),
        ("\xff", "not TOML"),
    ],
)
def test_wrong_configuration_file_is_one_line_that_names_file_and_key(
    role: str, text: str, named: str, tmp_path: Path, capsys: Capture
) -> None:
    config = tmp_path / "role.toml"
    config.write_bytes(text.encode("latin-1"))
    assert run([*ROLES[role], "--config", str(config)]) == 2
    line = one_line(capsys)
    assert named in line
    assert str(config) in line


@pytest.fixture
def taken_port() -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        yield str(listener.getsockname()[1])


@pytest.mark.parametrize("role", SERVED)
def test_port_in_use_is_one_line(
    role: str, taken_port: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_packages("uvicorn", "httptools", "xllamacpp")
    monkeypatch.chdir(tmp_path)
    assert run([*SERVED[role], "--port", taken_port]) == 2
    assert f"127.0.0.1:{taken_port}" in one_line(capsys)


# --- What is not installed --------------------------------------------------------------------------------------------


def without(*packages: str) -> str:
    """Return statements after which these packages cannot be imported."""
    return f"sys.modules.update(dict.fromkeys({packages!r}))"


@pytest.mark.parametrize("command", SERVED)
@pytest.mark.parametrize("package", ["uvicorn", "httptools"])
def test_server_without_its_extra_says_what_to_type(command: str, package: str) -> None:
    if command == "node":
        needs_packages("xllamacpp")
    finished = confsec(*SERVED[command], before=without(package))
    assert finished.returncode == 2, finished.stderr
    assert "pip install 'confsec-protocol[server]'" in finished.stderr
    assert finished.stderr.count("\n") == 1


@pytest.mark.parametrize("package", ["trio", "anycorn"])
def test_role_on_trio_without_its_extra_says_what_to_type(package: str) -> None:
    finished = confsec(*RELAY, "--backend", "trio", before=without(package))
    assert finished.returncode == 2, finished.stderr
    assert "pip install 'confsec-protocol[trio]'" in finished.stderr
    assert finished.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["node", "demo"])
def test_embedded_engine_without_its_extra_says_what_to_type(command: str) -> None:
    needs_packages("uvicorn", "httptools")
    finished = confsec(*SERVED.get(command, [command]), before=without("xllamacpp"))
    assert finished.returncode == 2, finished.stderr
    assert "pip install 'confsec-protocol[engine]'" in finished.stderr
    assert finished.stderr.count("\n") == 1


def test_demo_without_a_server_says_what_to_type() -> None:
    needs_packages("httptools")
    finished = confsec("demo", "--json", before=without("uvicorn"))
    assert finished.returncode == 2, finished.stderr
    assert "pip install 'confsec-protocol[server]'" in finished.stderr
    assert finished.stderr.count("\n") == 1


def test_uvloop_is_not_missed() -> None:
    needs_packages("uvicorn", "httptools")
    finished = confsec(*RELAY, "--port", "65536", before=without("uvloop"))
    assert "cannot listen" in finished.stderr


HELP_OF_ALL = """
from confsec.cli import COMMANDS, run
for name in COMMANDS:
    assert run([name, "--help"]) == 0, name
"""


def test_core_is_enough_for_help_and_for_the_doctor() -> None:
    finished = confsec("doctor", before=without(*cli.EXTRAS) + HELP_OF_ALL)
    assert finished.returncode == 0, finished.stderr
    assert "All is well" in finished.stdout


# --- How it ends ------------------------------------------------------------------------------------------------------


def end_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a command that raises `error`."""

    def fail(ctx: click.Context) -> None:
        raise error

    command = click.Command("verify", callback=click.pass_context(fail))
    monkeypatch.setattr("confsec.cli.verify.command", command)
    return run(["verify"])


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigError("a setting", got=1, want=2), 2),
        (MissingExtraError("uvicorn", extra="server"), 2),
        (ModuleNotFoundError("No module named 'xllamacpp'", name="xllamacpp"), 2),
        (BusyError("full"), 1),
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
        (ValueError("a secret prompt"), 70),
        (ModuleNotFoundError("No module named 'left_pad'", name="left_pad"), 70),
        (ImportError("a secret prompt"), 70),
        (ExceptionGroup("tasks", [ConfigError("a setting")]), 2),
        (ExceptionGroup("tasks", [BusyError("full"), ExceptionGroup("more", [ConfigError("a setting")])]), 1),
        (ExceptionGroup("tasks", [BusyError("full"), ValueError("a secret prompt")]), 70),
        (BaseExceptionGroup("tasks", [ValueError("a secret prompt"), KeyboardInterrupt()]), 130),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_exit_status_says_how_it_ended(
    error: BaseException, status: int, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TRACEBACK, raising=False)
    assert end_with(error, monkeypatch) == status
    said = capsys.readouterr().err
    assert len(said.split("\n")) == 2 or (status == 130 and said.strip() == "confsec: stopped")
    assert "a secret prompt" not in said
    assert "Traceback" not in said


def test_error_with_several_lines_is_told_in_one(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    end_with(BusyError("full\nof   lines"), monkeypatch)
    assert one_line(capsys) == "confsec: full of lines [busy]\n"


def test_bug_names_its_type_and_how_to_see_more(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TRACEBACK, raising=False)
    assert end_with(ZeroDivisionError("a secret prompt"), monkeypatch) == 70
    line = one_line(capsys)
    assert "ZeroDivisionError" in line
    assert "CONFSEC_TRACEBACK=1" in line


def test_traceback_is_shown_to_whoever_asks_for_it(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRACEBACK, "1")
    assert end_with(ZeroDivisionError("a secret prompt"), monkeypatch) == 70
    said = capsys.readouterr().err
    assert "Traceback (most recent call last)" in said
    assert "a secret prompt" in said


def test_main_exits_with_the_status(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["frobnicate"])
    assert ended.value.code == 2
    monkeypatch.setattr("sys.argv", ["confsec", "--version"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0


@pytest.mark.parametrize("words", [["--help"], ["doctor", "--json"], ["relay", "--help"]], ids=" ".join)
def test_reader_who_leaves_early_sees_no_traceback(words: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    finished = subprocess.run(
        [sys.executable, "-m", "confsec", *words],
        check=False,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    os.close(write)
    assert (finished.returncode, finished.stderr) == (1, "")


CLIENT_THAT_WAITS = """
import confsec.doctor.service as service
from confsec.backends.http import HttpTransport
import confsec.cli.doctor as doctor
import anyio, os, signal
async def wait(*arguments, **options):
    os.kill(os.getpid(), signal.SIGINT)
    await anyio.sleep_forever()
doctor.look_at_service = wait
"""


def test_ctrl_c_while_a_command_waits_ends_it_with_130() -> None:
    finished = confsec("doctor", "--service", "service.toml", before=CLIENT_THAT_WAITS)
    assert finished.returncode == 130
    assert finished.stderr.strip() == "confsec: stopped"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_role_that_is_told_to_stop_stops_in_order(backend: str, number: signal.Signals) -> None:
    needs_packages("uvicorn", "httptools", "anycorn", "trio")
    command = [sys.executable, "-m", "confsec", *RELAY, "--backend", backend]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith('{"role": "relay"')
        process.send_signal(number)
        rest, said = process.communicate(timeout=30)
    assert (process.returncode, rest, said) == (0, "", "")
