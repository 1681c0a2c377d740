"""`refnn power`."""

from __future__ import annotations

import fnmatch
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    pass
from refnn.cli.app import CONFORMS, DIFFERS, NOTHING, Failure, app, sentence

# --- power -----------------------------------------------------------------------------------------------------------


@app.command()
def power(
    ops: Annotated[str, typer.Option(metavar="GLOB", help="Only mutants of ops whose name matches.")] = "*",
    checker: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="refnn, a baseline, or MODULE:FUNCTION; may be repeated. The function takes "
            "(op, forward, vjp, dtype), and raises or returns False to object. By default refnn and all baselines run.",
        ),
    ] = None,
) -> int:
    """Count how many wrong implementations a checker catches, and how many right ones it objects to.

    Prints a page of Markdown. The exit status is 0 if the first checker catches every wrong implementation and objects
    to no right one.
    """
    from refnn.progress import progress
    from refnn.study.power.catalogue import MUTANTS
    from refnn.study.power.page import page
    from refnn.study.power.score import run, steps

    checkers = _checkers(checker)
    mutants = [m for m in MUTANTS if fnmatch.fnmatchcase(m.op, ops)]
    if not mutants:
        raise Failure(f"--ops {ops!r} matches no mutant: nothing was checked", NOTHING)
    with progress(steps(mutants)) as step:
        score = run(mutants, checkers, step)
    print(page(score), end="")
    first = next(iter(score.tallies.values()))
    return CONFORMS if not first.false_alarms and set(score.wrong()) <= first.killed else DIFFERS


def _checkers(names: list[str] | None) -> dict[str, Callable[..., Any]]:
    """The checkers of these names; functions are imported, the current folder first."""
    from refnn.implementations.spec import load_function
    from refnn.study.power import score

    with sentence(ImportError):
        baselines = importlib.import_module("refnn.study.power.baselines").BASELINES
    known = {"refnn": score.refnn, **baselines}
    for name in names or ():
        if name not in known and ":" not in name:
            raise Failure(f"--checker is {name!r}, expected module:function or one of {', '.join(known)}")
    with sentence(LookupError, ValueError):
        return {n: known[n] if n in known else load_function(n, "--checker") for n in names or known}
