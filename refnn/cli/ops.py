"""`refnn ops`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from refnn.cli.app import CONFORMS, AsJson, app, complete, example, print_json, sentence

# --- ops -------------------------------------------------------------------------------------------------------------


@app.command(epilog=example("refnn ops", "refnn ops softmax"))
def ops(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[OP]", help="Only this one, with its algorithms.", autocompletion=complete("op")),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """List the ops with their signatures."""
    from refnn.ops import OPS, find

    with sentence(LookupError):
        shown = list(OPS.values()) if name is None else [find(name)]
    found = []
    for op in shown:
        title = (sys.modules[op.forward_definition.__module__].__doc__ or "").strip().partition("\n")[0]
        found.append(
            {
                "name": op.name,
                "signature": repr(op),
                "title": title,
                "inputs": list(op.inputs),
                "params": list(op.defaults),
                "algorithms": ["accurate", *op.algorithms],
                "equations": list(op.equations),
            }
        )
        if not as_json:
            print(f"{op!r}\n    {title}")
            if name is not None:
                print(f"    algorithms: {', '.join(['accurate', *op.algorithms])}")
    if as_json:
        print_json("ops", {"ops": found})
    return CONFORMS
