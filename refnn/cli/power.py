"""`refnn power`."""

from __future__ import annotations

import fnmatch
import importlib
from collections.abc import Callable
from typing import Annotated, Any

import typer

from refnn.cli.app import CONFORMS, DIFFERS, NOTHING, AsJson, Failure, app, example, print_json, sentence

# --- power -----------------------------------------------------------------------------------------------------------


@app.command(epilog=example("refnn power --ops softmax", "refnn power --ops tanh --checker mine:check"))
def power(
    ops: Annotated[str, typer.Option(metavar="GLOB", help="Only mutants of ops whose name matches.")] = "*",
    checker: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="refnn, a baseline, or MODULE:FUNCTION; may be repeated; by default refnn and all baselines. The "
            "function takes (op, forward, vjp, dtype), and raises or returns False to object.",
        ),
    ] = None,
    evasions: Annotated[
        bool, typer.Option("--evasions", help="Instead, kernels that are wrong only under a condition, against refnn.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Count the wrong implementations that a checker catches.

    Counts the right ones that it objects to, too, and prints a page of Markdown. The exit status is 0 if the first
    checker catches every wrong implementation and objects to no right one. With --evasions it is 0 if a check sees 95 %
    of them by default, and 99 % with four seeds.
    """
    if evasions:
        if checker:
            raise Failure("--evasions are checked by refnn alone, and --checker is given")
        return _evasions(ops, as_json=as_json)
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
    if as_json:
        print_json("power", {"wrong": len(score.wrong()), "checkers": _counted(score)})
    else:
        print(page(score), end="")
    first = next(iter(score.tallies.values()))
    return CONFORMS if not first.false_alarms and set(score.wrong()) <= first.killed else DIFFERS


def _counted(score: Any) -> dict[str, Any]:
    """What each checker did, as numbers."""
    wrong = set(score.wrong())
    return {
        name: {
            "killed": len(wrong & t.killed),
            "missed": sorted(m.name for m in wrong & t.missed),
            "uncovered": len(wrong & t.uncovered),
            "right": t.controls,
            "objections": len(t.false_alarms),
            "seconds": round(t.seconds, 3),
        }
        for name, t in score.tallies.items()
    }


def _evasions(ops: str, *, as_json: bool) -> int:
    """Print the page of the evasions of some ops."""
    from refnn.progress import progress
    from refnn.study.power.escapes import THOROUGH, WANTED, every, page, run, share
    from refnn.study.power.probes import KINDS

    if not (names := fnmatch.filter(KINDS, ops)):
        raise Failure(f"--ops {ops!r} matches no op with evasions: nothing was checked", NOTHING)
    with progress(len(names)) as step:
        seen = run(every(names), THOROUGH, step)
    if as_json:
        print_json("power", {"evasions": len(seen), "seen": {str(len(s)): share(seen, s) for s in WANTED}})
    else:
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
