"""The page about statements shows what we read."""

from __future__ import annotations

import json
import re
from pathlib import Path

from confsec.protocol.predicates import PREDICATES, read_predicate
from confsec.protocol.statement import Statement, encode_canonical

PAGE = Path(__file__).parents[1] / "docs" / "spec" / "statements.md"


def test_the_page_shows_a_good_statement_of_every_type() -> None:
    blocks = re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    statements = [value for value in map(json.loads, blocks) if "_type" in value]
    read = [read_predicate(Statement.decode(encode_canonical(value))) for value in statements]
    assert [type(predicate) for predicate in read] == list(PREDICATES.values())
