"""The pages about statements show what we read, one for each type."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from confsec.protocol.predicates import PREDICATES, Predicate, read_predicate
from confsec.protocol.statement import Statement, encode_canonical

SPEC = Path(__file__).parents[1] / "docs" / "spec"
TYPES = {uri.split("/")[-2]: predicate for uri, predicate in PREDICATES.items()}


def test_every_type_has_a_page_that_the_page_about_statements_names() -> None:
    assert {page.stem for page in (SPEC / "predicates").iterdir()} == set(TYPES)
    linked = re.findall(r"\(predicates/(.+?)\.md\)", (SPEC / "statements.md").read_text(encoding="utf-8"))
    assert linked == list(TYPES)


@pytest.mark.parametrize(("name", "predicate"), TYPES.items(), ids=TYPES)
def test_the_page_of_a_type_shows_a_good_statement_of_it(name: str, predicate: type[Predicate]) -> None:
    text = (SPEC / "predicates" / f"{name}.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    value = json.loads(block)
    assert type(read_predicate(Statement.decode(encode_canonical(value)))) is predicate
    assert f"`{predicate.TYPE}`" in text
    for member in value["predicate"]:
        assert f"`{member}`" in text
