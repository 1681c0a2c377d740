"""`refnn compare`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from refnn.cli.app import CONFORMS, DIFFERS, AsJson, app, example, print_json, read_report

# --- compare ---------------------------------------------------------------------------------------------------------


@app.command(epilog=example("refnn compare before.jsonl after.jsonl"))
def compare(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="A report as JSON Lines.")],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="A later report as JSON Lines.")],
    as_json: AsJson = False,
) -> int:
    """Show what changed between two reports.

    The exit status is 2 if something got worse: it conformed, or was checked, and now does not, or is not.
    """
    from refnn.report.compare import compare as changes

    found = changes(read_report(before), read_report(after))
    if as_json:
        print_json("compare", {"worse": found.worse, **dataclasses.asdict(found)})
    else:
        print(found)
    return DIFFERS if found.worse else CONFORMS
