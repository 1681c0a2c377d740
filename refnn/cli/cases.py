"""`refnn cases`."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import typer

from refnn.cli.app import CONFORMS, NOTHING, Failure, Seed, app, known_dtypes, sentence
from refnn.cli.selection import Wheres, selection

# --- cases -----------------------------------------------------------------------------------------------------------


@app.command()
def cases(
    op: Annotated[str, typer.Argument(metavar="OP", help="An op that `refnn ops` lists.")],
    dtype: Annotated[str, typer.Option(help="float16, bfloat16, float32 or float64.")] = "float32",
    where: Wheres = None,
    seed: Seed = 0,
) -> int:
    """List the cases of an op with the groups that they belong to, and how many cases each group has."""
    import refnn
    from refnn.judging.groups import groups

    known_dtypes([dtype])
    with sentence(LookupError, TypeError, ValueError):
        found = list(refnn.cases(op, dtype, seed=seed, where=selection(where)))
    if not found:
        raise Failure(f"no case of {op} in {dtype} is of this selection", NOTHING)
    counts = Counter(g for c in found for g in groups(c))
    for c in found:
        print(f"{c.id}    {', '.join(groups(c)) or 'nothing special'}")
    print(f"\n{len(found):,} cases; of each group:")
    for group, n in counts.most_common():
        print(f"{n:6,}  {group}")
    return CONFORMS
