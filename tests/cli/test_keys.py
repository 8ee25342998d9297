"""`confsec keys`: private keys in files of their own, and the directory that is made from them."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from confsec.backends import system
from confsec.backends.asgi import AsgiTransport
from confsec.cli import run
from confsec.protocol.directory import ServiceDirectory
from confsec.protocol.kem import KEMS
from confsec.protocol.key_config import KeyConfig
from confsec.protocol.wire import decode_base64, encode_base64
from confsec.roles.gateway import Gateway, GatewayConfig
from confsec.roles.keys import GatewayKeyFile

RELAY = "http://127.0.0.1:8001/"
ROUTER = "https://router.example"
Capture = pytest.CaptureFixture[str]


def make(path: Path, *options: str) -> GatewayKeyFile:
    assert run(["keys", "gateway", "--out", str(path), *options]) == 0
    return GatewayKeyFile.read(path)


def directory(out: Path, *options: str) -> int:
    return run(["keys", "directory", "--relay", RELAY, "--router", ROUTER, "--out", str(out), *options])


def test_new_key_is_in_a_file_that_nobody_else_can_read(tmp_path: Path, capsys: Capture) -> None:
    file = make(tmp_path / "new.key")
    assert stat.S_IMODE((tmp_path / "new.key").stat().st_mode) == 0o600
    assert file.kem_name == "MLKEM768-X25519"
    assert file.published_until - file.published_from == timedelta(days=30)
    assert file.accepted_until - file.published_until == timedelta(days=7)
    assert "published" in capsys.readouterr().out


def test_file_that_is_there_is_left_alone(tmp_path: Path, capsys: Capture) -> None:
    make(tmp_path / "old.key")
    before = (tmp_path / "old.key").read_bytes()
    assert run(["keys", "gateway", "--out", str(tmp_path / "old.key")]) == 2
    assert (tmp_path / "old.key").read_bytes() == before
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("kem", [kem.name for kem in KEMS])
def test_key_of_every_kem_opens_what_is_sealed_to_it(kem: str, tmp_path: Path) -> None:
    key = make(tmp_path / "one.key", "--kem", kem.lower()).to_key()
    shared_secret, enc = key.config.kem.encapsulate(key.config.public_key, system.randbytes)
    assert key.decapsulator.decapsulate(enc) == shared_secret


def test_options_say_id_and_times(tmp_path: Path) -> None:
    file = make(tmp_path / "one.key", "--key-id", "200", "--lifetime", "90m", "--overlap", "0s")
    assert file.key_id == 200
    assert file.published_until - file.published_from == timedelta(minutes=90)
    assert file.accepted_until == file.published_until


def test_ids_are_drawn_so_that_a_new_key_is_not_taken_for_a_lost_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "randbytes", lambda size: bytes([201]) * size)
    assert make(tmp_path / "one.key").key_id == 201


def test_key_beside_others_gets_an_id_that_none_of_them_has(tmp_path: Path) -> None:
    make(tmp_path / "a.key", "--key-id", "255")
    make(tmp_path / "b.key", "--beside", str(tmp_path / "a.key"))
    third = make(tmp_path / "c.key", "--beside", str(tmp_path / "a.key"), "--beside", str(tmp_path / "b.key"))
    assert third.key_id == 1


@pytest.mark.parametrize(
    "options",
    [
        ["--lifetime", "30"],
        ["--lifetime", "0s"],
        ["--lifetime", "-1d"],
        ["--lifetime", "99999d"],
        ["--overlap", "1.5d"],
        ["--key-id", "256"],
        ["--key-id", "-1"],
        ["--kem", "RSA"],
        ["--beside", "missing.key"],
        ["--key-id", "1", "--beside", "missing.key"],
    ],
)
def test_wrong_option_makes_no_file(options: list[str], tmp_path: Path, capsys: Capture) -> None:
    assert run(["keys", "gateway", "--out", str(tmp_path / "new.key"), *options]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "new.key").exists()


def test_gateway_with_all_256_ids_taken_gets_no_new_one(tmp_path: Path, capsys: Capture) -> None:
    files = [tmp_path / f"{number}.key" for number in range(256)]
    now = datetime(2030, 1, 1, tzinfo=UTC)
    day = timedelta(days=1)
    for number, path in enumerate(files):
        kem = "DHKEM(X25519, HKDF-SHA256)"
        GatewayKeyFile.generate(kem, number, now=now, lifetime=day, overlap=day, randbytes=system.randbytes).write(path)
    beside = [word for path in files for word in ("--beside", str(path))]
    assert run(["keys", "gateway", "--out", str(tmp_path / "new.key"), *beside]) == 2
    assert "no key id is free" in capsys.readouterr().err


def test_show_tells_what_is_public_and_never_the_private_key(tmp_path: Path, capsys: Capture) -> None:
    file = make(tmp_path / "one.key", "--key-id", "7")
    for options in ([], ["--json"]):
        assert run(["keys", "show", str(tmp_path / "one.key"), *options]) == 0
    shown = capsys.readouterr().out
    assert encode_base64(file.to_key().config.encode()) in shown
    for secret in (encode_base64(file.private_key), file.private_key.hex()):
        assert secret not in shown


def test_show_as_json_has_one_object_for_each_file(tmp_path: Path, capsys: Capture) -> None:
    make(tmp_path / "a.key", "--key-id", "0")
    make(tmp_path / "b.key", "--key-id", "1")
    capsys.readouterr()
    assert run(["keys", "show", "--json", str(tmp_path / "a.key"), str(tmp_path / "b.key")]) == 0
    keys = json.loads(capsys.readouterr().out)["keys"]
    assert [key["key_id"] for key in keys] == [0, 1]
    encoded = decode_base64(keys[1]["key_config"])
    assert KeyConfig.decode(encoded).key_id == 1
    assert keys[1]["sha256"] == sha256(encoded).hexdigest()


@pytest.mark.parametrize(
    ("days", "state"),
    [
        (-1, "not published yet"),
        (0, "published"),
        (31, "opens messages, and is no longer published"),
        (38, "over: delete it"),
    ],
)
def test_show_tells_where_a_key_is_in_its_life(
    days: int, state: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = make(tmp_path / "one.key")
    monkeypatch.setattr(system, "now", lambda: file.published_from + timedelta(days=days))
    capsys.readouterr()
    assert run(["keys", "show", str(tmp_path / "one.key")]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"{tmp_path / 'one.key'}: {state}"


def spoil_mode(path: Path) -> None:
    path.chmod(0o644)


def spoil_text(path: Path) -> None:
    path.write_text("private_key = 'c2VjcmV0'\n")


def spoil_private_key(path: Path) -> None:
    path.write_text(re.sub(r'private_key = ".*"', 'private_key = "c2VjcmV0"', path.read_text()))


def spoil_encoding(path: Path) -> None:
    path.write_bytes(b"private_key = '\xff'")


@pytest.mark.parametrize("spoil", [spoil_mode, spoil_text, spoil_private_key, spoil_encoding, Path.unlink])
def test_key_file_that_cannot_be_used_is_refused_and_not_quoted(
    spoil: Callable[[Path], None], tmp_path: Path, capsys: Capture
) -> None:
    make(tmp_path / "one.key")
    capsys.readouterr()
    spoil(tmp_path / "one.key")
    assert run(["keys", "show", str(tmp_path / "one.key")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "c2VjcmV0" not in said


def test_directory_is_read_back_and_its_digest_is_that_of_the_file(tmp_path: Path, capsys: Capture) -> None:
    key = make(tmp_path / "one.key").to_key()
    out = tmp_path / "service.toml"
    capsys.readouterr()
    assert directory(out, "--keys", str(tmp_path / "one.key")) == 0
    assert sha256(out.read_bytes()).hexdigest() in capsys.readouterr().out
    assert ServiceDirectory.from_toml(out.read_text()) == ServiceDirectory(
        relay_url=RELAY, gateway_key_configs=(key.config,), router_origin=ROUTER
    )


def test_directory_is_public_and_an_old_one_is_replaced(tmp_path: Path, capsys: Capture) -> None:
    make(tmp_path / "one.key", "--key-id", "0")
    out = tmp_path / "service.toml"
    out.write_text("old")
    capsys.readouterr()
    assert directory(out, "--keys", str(tmp_path / "one.key"), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["sha256"] == sha256(out.read_bytes()).hexdigest()
    assert told["keys"] == [{"key_id": 0, "kem": "MLKEM768-X25519"}]
    assert stat.S_IMODE(out.stat().st_mode) == 0o644
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.key", "service.toml"]


def test_directory_has_the_keys_that_are_published_now_the_newest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = system.now()
    day = timedelta(days=1)
    for number, (age, lifetime) in enumerate([(40, "30d"), (20, "30d"), (10, "30d"), (-1, "30d")]):
        monkeypatch.setattr(system, "now", lambda age=age: begin - age * day)
        make(tmp_path / f"{number}.key", "--key-id", str(number), "--lifetime", lifetime)
    monkeypatch.setattr(system, "now", lambda: begin)
    keys = [word for number in range(4) for word in ("--keys", str(tmp_path / f"{number}.key"))]
    assert directory(tmp_path / "service.toml", *keys) == 0
    read = ServiceDirectory.from_toml((tmp_path / "service.toml").read_text())
    assert [config.key_id for config in read.gateway_key_configs] == [2, 1]


def test_directory_needs_a_key_that_is_published(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = make(tmp_path / "one.key")
    monkeypatch.setattr(system, "now", lambda: file.published_until)
    capsys.readouterr()
    assert directory(tmp_path / "service.toml", "--keys", str(tmp_path / "one.key")) == 2
    assert "none of these keys is published now" in capsys.readouterr().err
    assert not (tmp_path / "service.toml").exists()


def test_two_files_with_one_id_are_refused(tmp_path: Path, capsys: Capture) -> None:
    for name in ("a.key", "b.key"):
        make(tmp_path / name, "--key-id", "0")
    keys = ["--keys", str(tmp_path / "a.key"), "--keys", str(tmp_path / "b.key")]
    assert directory(tmp_path / "service.toml", *keys) == 2
    assert "this key id is taken" in capsys.readouterr().err


def test_directory_takes_the_keys_that_a_gateway_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "one.key", "--key-id", "9")
    gateway = Gateway(GatewayConfig(targets=(f"router.example={ROUTER}",), keys=(str(tmp_path / "one.key"),)))
    monkeypatch.setattr("confsec.backends.http.HttpTransport", lambda: AsgiTransport(gateway))
    assert directory(tmp_path / "service.toml", "--gateway", "http://127.0.0.1:8002/ohttp-keys") == 0
    read = ServiceDirectory.from_toml((tmp_path / "service.toml").read_text())
    assert [config.key_id for config in read.gateway_key_configs] == [9]


def test_gateway_without_such_a_page_gives_no_directory(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = Gateway(GatewayConfig(targets=(f"router.example={ROUTER}",)))
    monkeypatch.setattr("confsec.backends.http.HttpTransport", lambda: AsgiTransport(gateway))
    assert directory(tmp_path / "service.toml", "--gateway", "http://127.0.0.1:8002/keys") == 1
    assert "status 404" in capsys.readouterr().err


@pytest.mark.parametrize(
    "url",
    [
        "gateway.example",
        "ftp://gateway.example/",
        "http://gateway.example/ohttp-keys",
        "http://[::1/",
        "https:///x",
        "https://a b/",
    ],
)
def test_keys_are_not_fetched_from_where_they_could_be_exchanged(url: str, tmp_path: Path, capsys: Capture) -> None:
    assert directory(tmp_path / "service.toml", "--gateway", url) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--keys", "{key}", "--gateway", "http://127.0.0.1:1/ohttp-keys"],
        ["--keys", "{key}", "--relay", "http://relay.example/"],
        ["--keys", "{key}", "--relay", 'http://127.0.0.1/"\n[more]\n'],
        ["--keys", "{key}", "--router", "router.example"],
        ["--keys", "{key}", "--router", "https://router.example/path"],
        ["--keys", "{key}", "--out", "/nowhere/service.toml"],
    ],
)
def test_wrong_directory_is_one_line_and_no_file(options: list[str], tmp_path: Path, capsys: Capture) -> None:
    make(tmp_path / "one.key")
    capsys.readouterr()
    told = [option.format(key=tmp_path / "one.key") for option in options]
    assert directory(tmp_path / "service.toml", *told) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "service.toml").exists()


def test_limit_on_what_is_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Capture) -> None:
    monkeypatch.setattr("confsec.cli.keys.MAX_DIRECTORY", 100)
    make(tmp_path / "one.key")
    gateway = Gateway(GatewayConfig(targets=(f"router.example={ROUTER}",), keys=(str(tmp_path / "one.key"),)))
    monkeypatch.setattr("confsec.backends.http.HttpTransport", lambda: AsgiTransport(gateway))
    assert directory(tmp_path / "service.toml", "--gateway", "http://127.0.0.1:8002/ohttp-keys") == 1
    assert "[limit]" in capsys.readouterr().err
