"""Versions that are there, missing or too old, each with the line to type."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata

import pytest
from attrs import evolve

from confsec.cli import EXTRAS
from confsec.doctor.findings import Finding, Level
from confsec.doctor.versions import (
    DISTRIBUTION,
    EXTRAS_FOR,
    Requirement,
    installed_version,
    look_at_kems,
    look_at_packages,
)
from confsec.errors import UnsupportedError
from confsec.protocol.kem import Kem, kem_from_id

REQUIREMENTS = [
    "anyio>=4.12",
    "h11>=0.16",
    f"{DISTRIBUTION}[server]; extra == 'all'",
    "uvicorn>=0.40 ; extra == 'server'",
    "uvloop>=0.22 ; sys_platform != 'win32' and extra == 'server'",
    "pytest>=8.4 ; extra == 'test'",
]
GOOD = {DISTRIBUTION: "0.1.0", "anyio": "4.12.0", "h11": "0.16", "uvicorn": "1.0", "uvloop": "0.22.1"}


def look(installed: dict[str, str], requirements: Sequence[str] = REQUIREMENTS) -> dict[str, Finding]:
    return {finding.id: finding for finding in look_at_packages(requirements, installed.get)}


def test_all_that_is_needed_is_there() -> None:
    findings = look(GOOD)
    assert {finding.level for finding in findings.values()} == {Level.OK}
    assert set(findings) == {"versions.python", "versions.confsec", "versions.core", "versions.extra-server"}


def test_missing_package_is_a_problem() -> None:
    finding = look({name: version for name, version in GOOD.items() if name != "anyio"})["versions.anyio"]
    assert finding.level is Level.PROBLEM
    assert finding.todo == "Type: pip install --upgrade confsec-protocol"


def test_old_package_is_a_problem_that_names_both_versions() -> None:
    finding = look(GOOD | {"anyio": "4.9.1"})["versions.anyio"]
    assert finding.level is Level.PROBLEM
    assert finding.what == "anyio 4.9.1 is too old: 4.12 or newer is needed"


def test_missing_extra_is_good_to_know_and_says_what_to_type() -> None:
    finding = look({name: version for name, version in GOOD.items() if name != "uvloop"})["versions.extra-server"]
    assert finding.level is Level.INFO
    assert "uvloop" in finding.what
    assert "uvicorn" not in finding.what
    assert "pip install 'confsec-protocol[server]'" in finding.todo


def test_old_package_of_an_extra_is_a_warning() -> None:
    finding = look(GOOD | {"uvicorn": "0.39.9"})["versions.extra-server"]
    assert finding.level is Level.WARNING
    assert "uvicorn 0.39.9 is too old" in finding.what


def test_files_that_pip_has_not_installed_are_a_warning() -> None:
    findings = {finding.id: finding for finding in look_at_packages(None, lambda package: None)}
    assert findings["versions.confsec"].level is Level.WARNING
    assert "versions.core" not in findings


@pytest.mark.parametrize(
    ("version", "minimum", "met"),
    [
        ("1.10", "1.9", True),
        ("1.9", "1.10", False),
        ("3", "3.0", True),
        ("3.0.0", "3", True),
        ("2.99", "3.0", False),
        ("4.0rc1", "4.0", True),
        ("0.1", "", True),
        ("unknown", "1", False),
    ],
)
def test_versions_are_compared_as_numbers(version: str, minimum: str, *, met: bool) -> None:
    assert Requirement("p", minimum, "").is_met_by(version) == met


def test_requirement_of_a_form_that_we_do_not_use_needs_no_version() -> None:
    assert Requirement.parse("odd @ https://example.org/odd.whl") == Requirement(
        "odd @ https://example.org/odd.whl", "", ""
    )


def own_requirements() -> list[Requirement]:
    return [Requirement.parse(text) for text in metadata.requires(DISTRIBUTION) or ()]


def test_our_own_requirements_are_all_understood() -> None:
    assert [each for each in own_requirements() if not each.minimum and each.package != DISTRIBUTION] == []


def test_every_extra_for_users_says_what_it_is_for() -> None:
    assert set(EXTRAS_FOR) == {each.extra for each in own_requirements()} - {"", "all", "test"}


def test_command_line_knows_the_extra_of_every_package() -> None:
    extras: dict[str, set[str]] = {}
    for each in own_requirements():
        if each.extra in EXTRAS_FOR:
            extras.setdefault(each.package, set()).add(each.extra)
    assert set(EXTRAS) == set(extras)
    assert all(extra in extras[package] for package, extra in EXTRAS.items())


def test_version_of_what_is_not_installed_is_none() -> None:
    assert installed_version("confsec-of-another-name") is None
    assert installed_version("anyio") == metadata.version("anyio")


def test_every_kem_works_here() -> None:
    assert [(finding.id, finding.level) for finding in look_at_kems()] == [
        ("versions.openssl", Level.OK),
        ("versions.kems", Level.OK),
    ]


class BrokenKem:
    name = "BROKEN"

    def generate(self, randbytes: object) -> object:
        raise UnsupportedError("this OpenSSL has no ML-KEM")


def test_kem_that_does_not_work_is_a_problem() -> None:
    kem: Kem = BrokenKem()  # type: ignore[assignment]  # no more of it is used
    findings = [finding for finding in look_at_kems([kem_from_id(0x0020), kem]) if finding.id == "versions.kems"]
    assert [finding.level for finding in findings] == [Level.PROBLEM]
    assert findings[0].what == "this OpenSSL has no ML-KEM [unsupported]"


class ForgetfulKey:
    public_key = b"public"

    def decapsulate(self, enc: bytes) -> bytes:
        return b"another"


class ForgetfulKem:
    name = "FORGETFUL"

    def generate(self, randbytes: object) -> ForgetfulKey:
        return ForgetfulKey()

    def encapsulate(self, public_key: bytes, randbytes: object) -> tuple[bytes, bytes]:
        return b"one", b"enc"


def test_kem_whose_sides_disagree_is_a_problem() -> None:
    kem: Kem = ForgetfulKem()  # type: ignore[assignment]  # no more of it is used
    (_, finding) = look_at_kems([kem])
    assert finding.level is Level.PROBLEM
    assert "different secrets" in finding.what


def test_finding_as_json_rounds_times_and_keeps_the_rest() -> None:
    finding = Finding(id="a.b", level=Level.OK, what="fine", milliseconds=1.2345)
    assert finding.to_json() == {"id": "a.b", "level": "ok", "what": "fine", "todo": "", "milliseconds": 1.2}
    assert evolve(finding, milliseconds=None).to_json()["milliseconds"] is None
