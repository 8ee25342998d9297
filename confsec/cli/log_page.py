"""`confsec log page`: writing the page that shows a log beside the log's tiles."""

from __future__ import annotations

from pathlib import Path

import click

from confsec.errors import ConfigError
from confsec.roles.log_page import write_page

__all__ = ["page_command"]


@click.command(name="page", short_help="Write the page that shows a log.")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
def page_command(folder: Path) -> None:
    """Write the page that shows a log into FOLDER, which holds the log's tiles, and print where it is.

    \b
    confsec log page public

    Any server of static files shows it. A log that `confsec log serve` runs has the page already.
    """  # noqa: D301 - click keeps lines as they are after a backspace
    try:
        write_page(folder)
    except OSError as exc:
        raise ConfigError(f"the page cannot be written to {folder}: {exc.strerror}") from exc
    click.echo(str(folder / "index.html"))
