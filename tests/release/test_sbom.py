"""The bill of materials: valid CycloneDX, the same every time, and with everything that the commit asks for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from confsec.errors import ConfigError
from confsec.release.build import Artifact
from confsec.release.sbom import build_release, make_sbom
from confsec.release.source import SourceTree, find_commit, read_commit
from tests.release.projects import build_head, change, commit


def head(project: Path) -> SourceTree:
    return read_commit(project, find_commit(project, "HEAD"))


def bill_of(project: Path) -> dict[str, Any]:
    bill: dict[str, Any] = json.loads(make_sbom(head(project), *build_head(project)).data)
    return bill


def test_bill_is_valid_by_the_schema(project: Path) -> None:
    *_, bill = build_release(head(project))
    assert bill.name == "small_thing-1.2.0.cdx.json"
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill.data.decode()) is None


def test_validator_refuses_what_the_schema_does(project: Path) -> None:
    *_, bill = build_release(head(project))
    broken = bill.data.replace(b'"required"', b'"demanded"').decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(broken) is not None


def test_bill_is_the_same_every_time_and_carries_the_time_of_the_commit(project: Path) -> None:
    assert build_release(head(project)) == build_release(head(project))
    assert bill_of(project)["metadata"]["timestamp"] == "2023-11-14T22:13:20+00:00"


def test_bill_is_another_for_another_commit(project: Path) -> None:
    before = bill_of(project)
    (project / "README").write_text("not in the package")
    commit(project)
    assert bill_of(project)["serialNumber"] != before["serialNumber"]


def test_bill_names_the_files_by_their_digests_and_the_commit(project: Path, built: tuple[Artifact, Artifact]) -> None:
    thing = bill_of(project)["metadata"]["component"]
    references = {each["url"]: (each["type"], each["hashes"][0]["content"]) for each in thing["externalReferences"]}
    wheel, sdist = built
    assert references == {
        wheel.name: ("distribution", wheel.digest.hex()),
        sdist.name: ("source-distribution", sdist.digest.hex()),
    }
    assert thing["pedigree"] == {"commits": [{"uid": head(project).commit}]}
    assert (thing["name"], thing["version"], thing["purl"]) == ("small-thing", "1.2.0", "pkg:pypi/small-thing@1.2.0")
    assert thing["licenses"] == [{"expression": "Apache-2.0"}]


def test_every_package_stands_there_once_with_all_that_asks_for_it(project: Path) -> None:
    bill = bill_of(project)
    assert {each["name"]: each["scope"] for each in bill["components"]} == {
        "attrs": "required", "click": "required", "pytest": "excluded", "uv-build": "excluded", "uvloop": "optional",
    }  # fmt: skip
    [click] = [each for each in bill["components"] if each["name"] == "click"]
    assert {(each["name"], each["value"]) for each in click["properties"]} == {
        ("confsec:requirement:core", "Click>=8.2"),
        ("confsec:requirement:fast", "click[extra]>=8"),
    }


def test_release_depends_on_what_it_runs_with_and_not_on_what_builds_and_tests_it(project: Path) -> None:
    dependencies = {each["ref"]: each.get("dependsOn", []) for each in bill_of(project)["dependencies"]}
    assert dependencies["small-thing==1.2.0"] == ["attrs", "click", "uvloop"]


def test_requirement_that_cannot_be_read_is_refused(project: Path) -> None:
    files = build_head(project)
    change(project, "pyproject.toml", "attrs>=25.3", "attrs >> 25")
    with pytest.raises(ConfigError, match="attrs >> 25"):
        make_sbom(head(project), *files)


def test_project_without_a_licence_or_requirements_has_a_bill_too(project: Path) -> None:
    change(project, "pyproject.toml", 'license = "Apache-2.0"\n', "")
    change(project, "pyproject.toml", 'dependencies = ["attrs>=25.3", "Click>=8.2"]\n', "")
    bill = bill_of(project)
    assert "licenses" not in bill["metadata"]["component"]
    assert {each["name"] for each in bill["components"]} == {"click", "pytest", "uv-build", "uvloop"}
