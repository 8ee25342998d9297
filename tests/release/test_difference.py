"""The first difference between a file and what the commit gives, whatever somebody did to it."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from confsec.errors import ConfigError, LimitError
from confsec.release import archives
from confsec.release.archives import Member, read_members
from confsec.release.build import Artifact
from confsec.release.difference import Difference, first_difference
from tests.release.projects import build_head, change, rezip

WORDS = "small_thing/sub/words.py"
Step = Callable[[zipfile.ZipInfo, bytes], tuple[zipfile.ZipInfo, bytes] | None]
Built = tuple[Artifact, Artifact]


def with_info(name: str, step: Callable[[zipfile.ZipInfo], None]) -> Step:
    def change_info(info: zipfile.ZipInfo, data: bytes) -> tuple[zipfile.ZipInfo, bytes]:
        if info.filename == name:
            step(info)
        return info, data

    return change_info


def with_data(name: str, step: Callable[[bytes], bytes]) -> Step:
    return lambda info, data: (info, step(data) if info.filename == name else data)


def setter(name: str, value: object) -> Callable[[zipfile.ZipInfo], None]:
    return lambda info: setattr(info, name, value)


TAMPERED: list[tuple[str, Step, Difference]] = [
    (
        "one byte of a module",
        with_data(WORDS, lambda data: data.replace(b"TWO = 2", b"TWO = 3")),
        Difference(WORDS, "line 2, byte 14", "TWO = 3", "TWO = 2"),
    ),
    (
        "a module that ends early",
        with_data(WORDS, lambda data: data[:8]),
        Difference(WORDS, "line 2, byte 8", "the end", "TWO = 2"),
    ),
    (
        "a module that goes on",
        with_data(WORDS, lambda data: data + b"FOUR = 4\n"),
        Difference(WORDS, "line 4, byte 26", "FOUR = 4", "the end"),
    ),
    (
        "one byte that is not text",
        with_data("small_thing/data.bin", lambda data: data[:2] + b"\x07"),
        Difference("small_thing/data.bin", "byte 2", "07", "02"),
    ),
    (
        "bytes that are no text",
        with_data(WORDS, lambda data: b"\xff" + data[1:]),
        Difference(WORDS, "byte 0", "ff4e45203d20310a", "4f4e45203d20310a"),
    ),
    (
        "the time of a member",
        with_info(WORDS, setter("date_time", (2026, 11, 28, 1, 2, 4))),
        Difference(WORDS, "time", "2026-11-28 01:02:04", "1980-01-01 00:00:00"),
    ),
    (
        "the mode of a member",
        with_info(WORDS, setter("external_attr", 0o100777 << 16)),
        Difference(WORDS, "mode", "100777", "100644"),
    ),
    ("a comment", with_info(WORDS, setter("comment", b"hi")), Difference(WORDS, "comment", "6869", "")),
    (
        "how a member is compressed",
        with_info(WORDS, setter("compress_type", zipfile.ZIP_BZIP2)),
        Difference(WORDS, "compression", "12", "8"),
    ),
    (
        "a member less",
        lambda info, data: None if info.filename == WORDS else (info, data),
        Difference(WORDS, "member", "nothing", "there"),
    ),
]


@pytest.mark.parametrize(("what", "step", "difference"), TAMPERED, ids=[what for what, *_ in TAMPERED])
def test_what_somebody_did_to_a_wheel_is_found(what: str, step: Step, difference: Difference, built: Built) -> None:
    packed_anew = rezip(built[0], lambda info, data: (info, data))
    assert first_difference(rezip(built[0], step), packed_anew) == difference


def test_wheel_that_was_only_packed_anew_differs_beside_its_contents(built: Built) -> None:
    found = first_difference(rezip(built[0], lambda info, data: (info, data)), built[0])
    assert found == Difference("small_thing/", "flags", "0x0000", "0x0800")


def test_what_was_put_into_a_module_is_told_before_what_packing_anew_changed(built: Built) -> None:
    _, step, difference = TAMPERED[0]
    assert first_difference(rezip(built[0], step), built[0]) == difference


def test_file_that_somebody_added_is_found_wherever_it_stands(built: Built) -> None:
    out = io.BytesIO(built[0].data)
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("small_thing/more.py", "import os")
    found = first_difference(evolve(built[0], data=out.getvalue()), built[0])
    assert found == Difference("small_thing/more.py", "member", "there", "nothing")

    def rename(info: zipfile.ZipInfo) -> None:
        info.filename = "small_thing/more.py"

    found = first_difference(rezip(built[0], with_info(WORDS, rename)), built[0])
    assert found == Difference("small_thing/more.py", "member", "there", "nothing")


def test_members_at_the_end_that_are_missing_are_found(built: Built) -> None:
    record = "small_thing-1.2.0.dist-info/RECORD"
    shorter = rezip(built[0], lambda info, data: None if info.filename == record else (info, data))
    assert first_difference(shorter, built[0]) == Difference(record, "member", "nothing", "there")


def test_another_order_of_members_is_found(built: Built) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(built[0].data)) as old, zipfile.ZipFile(out, "w") as new:
        for info in reversed(old.infolist()):
            new.writestr(info, old.read(info))
    found = first_difference(evolve(built[0], data=out.getvalue()), built[0])
    assert found is not None
    assert (found.member, found.where) == ("", "order")


def test_bytes_that_no_member_shows_are_found(built: Built) -> None:
    wheel = built[0]
    assert first_difference(evolve(wheel, data=wheel.data + b"\0"), wheel) is not None
    before = evolve(wheel, data=b"#!/bin/sh\n" + wheel.data)
    assert first_difference(before, wheel) == Difference("", "byte 0", b"#!/bin/s".hex(), wheel.data[:8].hex())
    # The local header has a time of its own, which zipfile does not read.
    local = wheel.data[:10] + b"\x01" + wheel.data[11:]
    assert first_difference(evolve(wheel, data=local), wheel) == Difference(
        "", "byte 10", local[10:18].hex(), wheel.data[10:18].hex()
    )


def test_member_that_cannot_be_unpacked_is_named(built: Built) -> None:
    wheel = built[0]
    with zipfile.ZipFile(io.BytesIO(wheel.data)) as archive:
        info = archive.getinfo(WORDS)
    data = bytearray(wheel.data)
    data[info.header_offset + 30 + len(WORDS) + 3] ^= 0xFF
    found = first_difference(evolve(wheel, data=bytes(data)), wheel)
    assert found is not None
    assert (found.member, found.where, found.built) == (WORDS, "content", "26 bytes")
    assert found.given == "bytes that cannot be unpacked"


def test_every_byte_of_a_wheel_matters(built: Built) -> None:
    wheel = built[0]
    for position in range(0, len(wheel.data), 7):
        data = bytearray(wheel.data)
        data[position] ^= 0x55
        with suppress(ConfigError):  # which says that it is no longer a wheel
            assert first_difference(evolve(wheel, data=bytes(data)), wheel) is not None


def test_same_file_has_no_difference_and_another_name_is_one(built: Built) -> None:
    assert [first_difference(each, each) for each in built] == [None, None]
    other = evolve(built[0], name="small_thing-1.2.1-py3-none-any.whl")
    assert first_difference(other, built[0]) == Difference("", "name", other.name, built[0].name)


def test_another_commit_differs_in_the_line_that_it_changed(project: Path, built: Built) -> None:
    change(project, "small_thing/__init__.py", "42", "43")
    wheel, sdist = build_head(project)
    assert first_difference(wheel, built[0]) == Difference(
        "small_thing/__init__.py", "line 3, byte 32", "ANSWER = 43", "ANSWER = 42"
    )
    assert first_difference(sdist, built[1]) == Difference(
        "small_thing-1.2.0/small_thing/__init__.py", "line 3, byte 32", "ANSWER = 43", "ANSWER = 42"
    )


def retar(sdist: Artifact, step: Callable[[tarfile.TarInfo], None]) -> Artifact:
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(sdist.data)) as old, tarfile.open(fileobj=out, mode="w") as new:
        for info in old:
            data = old.extractfile(info)
            step(info)
            new.addfile(info, data)
    return evolve(sdist, data=gzip.compress(out.getvalue(), mtime=0))


@pytest.mark.parametrize(
    ("name", "value", "where", "shown"),
    [
        ("mtime", 1_700_000_000, "time", ("1700000000", "0")),
        ("mode", 0o777, "mode", ("0777", "0644")),
        ("uname", "builder", "owner", ("0:0 builder:", "0:0 :")),
    ],
)
def test_time_mode_and_owner_in_an_sdist_are_found(
    name: str, value: object, where: str, shown: tuple[str, str], built: Built
) -> None:
    found = first_difference(retar(built[1], lambda info: setattr(info, name, value)), built[1])
    assert found is not None
    assert (found.where, found.given, found.built) == (where, *shown)


def test_time_in_the_head_of_gzip_is_found(built: Built) -> None:
    data = built[1].data[:4] + struct.pack("<I", 1_700_000_000) + built[1].data[8:]
    found = first_difference(evolve(built[1], data=data), built[1])
    assert found is not None
    assert (found.member, found.where) == ("", "byte 5")


def test_line_is_shown_around_the_difference_and_no_longer_than_a_terminal(built: Built) -> None:
    lines = [f"x = {'a' * 500}{each}{'b' * 500}\n".encode() for each in "12"]
    given_, other = (rezip(built[0], with_data(WORDS, lambda _, line=line: line)) for line in lines)  # type: ignore[misc]
    found = first_difference(given_, other)
    assert found is not None
    assert found.given == f"{'a' * 30}1{'b' * 49}"
    assert found.built == f"{'a' * 30}2{'b' * 49}"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.zip", b""),
        ("a.whl", b""),
        ("a-1-py3-none-any.whl", b"PK\x03\x04 and nothing else"),
        ("a-1-py3-none-any.whl", b"no zip file at all"),
        ("a-1.tar.gz", b"no gzip at all"),
        ("a-1.tar.gz", gzip.compress(b"no tar file, but long enough to be taken for one" * 40, mtime=0)),
        ("a-1.tar.gz", gzip.compress(bytes(10240), mtime=0)[:-9]),
    ],
)
def test_what_is_no_file_of_a_release_is_refused(name: str, data: bytes) -> None:
    with pytest.raises(ConfigError, match=r"is no wheel|is not what its name says"):
        read_members(Artifact(name, data))


def test_zip_file_without_a_wheel_in_it_is_refused() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.txt", "text")
    with pytest.raises(ConfigError, match="no wheel"):
        read_members(Artifact("a-1-py3-none-any.whl", out.getvalue()))


@pytest.mark.parametrize("kind", [0, 1], ids=["wheel", "sdist"])
@pytest.mark.parametrize("limit", ["MAX_FILE", "MAX_MEMBERS", "MAX_UNPACKED"])
def test_no_more_is_unpacked_than_the_limits_say(
    limit: str, kind: int, built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, limit, 5)
    with pytest.raises(LimitError):
        read_members(built[kind])


def test_limit_counts_what_comes_out_and_not_what_goes_in(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_UNPACKED", 1 << 20)
    bomb = rezip(built[0], with_data("small_thing/data.bin", lambda _: bytes(1 << 20)))
    assert len(bomb.data) < 1 << 14
    with pytest.raises(LimitError):
        read_members(bomb)


@given(data=st.binary(max_size=300), ending=st.sampled_from(archives.ENDINGS))
def test_any_bytes_are_members_or_refused(data: bytes, ending: str) -> None:
    try:
        members = read_members(Artifact(f"a-1{ending}", data))
    except (ConfigError, LimitError):
        return
    assert all(isinstance(member, Member) for member in members)
