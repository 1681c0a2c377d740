"""`refnn cases`."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import typer

from refnn.cli.app import (
    CONFORMS,
    NOTHING,
    AsJson,
    Failure,
    OpName,
    Seed,
    app,
    complete,
    example,
    known_dtypes,
    print_json,
    sentence,
)
from refnn.cli.selection import Wheres, selection

# --- cases -----------------------------------------------------------------------------------------------------------


@app.command(epilog=example("refnn cases conv2d --where groups=1 --where family=normal"))
def cases(
    op: OpName,
    dtype: Annotated[
        str,
        typer.Option(metavar="DTYPE", help="float16, bfloat16, float32 or float64.", autocompletion=complete("dtype")),
    ] = "float32",
    where: Wheres = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> int:
    """List the cases of an op and their groups.

    The groups are those that `--without` and `--where group=` name. At the end each has the number of its cases.
    """
    import refnn
    from refnn.judging.groups import groups

    known_dtypes([dtype])
    with sentence(LookupError, TypeError, ValueError):
        found = list(refnn.cases(op, dtype, seed=seed, where=selection(where)))
    if not found:
        raise Failure(f"no case of {op} in {dtype} is of this selection", NOTHING)
    counts = dict(Counter(g for c in found for g in groups(c)).most_common())
    if as_json:
        listed = [{"id": c.id, "groups": list(groups(c))} for c in found]
        print_json("cases", {"op": op, "dtype": dtype, "cases": listed, "groups": counts})
        return CONFORMS
    for c in found:
        print(f"{c.id}    {', '.join(groups(c)) or 'nothing special'}")
    print(f"\n{len(found):,} cases; of each group:")
    for group, n in counts.items():
        print(f"{n:6,}  {group}")
    return CONFORMS
