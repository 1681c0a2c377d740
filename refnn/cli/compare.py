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
    before: Annotated[Path, typer.Argument(help="The JSON Lines of a report.")],
    after: Annotated[Path, typer.Argument(help="Those of a later one.")],
) -> int:
    """What changed between two runs; ends in 2 where something got worse."""
    from refnn.report.compare import compare as changes

    found = changes(read_report(before), read_report(after))
    print(found)
    return DIFFERS if found.worse else CONFORMS
