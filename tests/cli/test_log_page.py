"""`confsec log page` writes the page beside a log, and says what is wrong with the folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from confsec.cli import run
from confsec.roles.log_page import page_file


def test_page_is_written_where_the_tiles_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["log", "page", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'index.html'}\n"
    assert page_file("log.js") == ("text/javascript; charset=utf-8", (tmp_path / "page" / "log.js").read_bytes())


def test_a_folder_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["log", "page", str(tmp_path / "nowhere")]) == 2
    (tmp_path / "page").write_text("a file where a folder belongs")
    assert run(["log", "page", str(tmp_path)]) == 2
    assert "the page cannot be written to" in capsys.readouterr().err
