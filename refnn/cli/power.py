"""`refnn power`."""

from __future__ import annotations

import fnmatch
import importlib
from collections.abc import Callable
from typing import Annotated, Any

import typer

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
    evasions: Annotated[
        bool, typer.Option("--evasions", help="Instead, kernels that are wrong only under a condition, against refnn.")
    ] = False,
) -> int:
    """Count how many wrong implementations a checker catches, and how many right ones it objects to.

    Prints a page of Markdown. The exit status is 0 if the first checker catches every wrong implementation and objects
    to no right one. With --evasions it is 0 if a check sees 95 % of them by default, and 99 % with four seeds.
    """
    if evasions:
        if checker:
            raise Failure("--evasions are checked by refnn alone, and --checker is given")
        return _evasions(ops)
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


def _evasions(ops: str) -> int:
    """Print the page of the evasions of some ops."""
    from refnn.progress import progress
    from refnn.study.power.escapes import THOROUGH, WANTED, every, page, run, share
    from refnn.study.power.probes import KINDS

    if not (names := fnmatch.filter(KINDS, ops)):
        raise Failure(f"--ops {ops!r} matches no op with evasions: nothing was checked", NOTHING)
    with progress(len(names)) as step:
        seen = run(every(names), THOROUGH, step)
    print(page(seen), end="")
    return CONFORMS if all(share(seen, seeds) >= wanted for seeds, wanted in WANTED.items()) else DIFFERS


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
