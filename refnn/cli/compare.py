"""`refnn compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    pass
from refnn.cli.app import CONFORMS, DIFFERS, app, read_report

# --- compare ---------------------------------------------------------------------------------------------------------


@app.command()
def compare(
    before: Annotated[Path, typer.Argument(help="A report as JSON Lines.")],
    after: Annotated[Path, typer.Argument(help="A later report as JSON Lines.")],
) -> int:
    """Show what changed between two reports. The exit status is 2 if something got worse."""
    from refnn.report.compare import compare as changes

    found = changes(read_report(before), read_report(after))
    print(found)
    return DIFFERS if found.worse else CONFORMS
