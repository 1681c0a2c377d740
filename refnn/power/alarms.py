"""False alarms: `python -m refnn.power.alarms [PATH]` checks right implementations, and prints or writes what came out.

One check is one call of `refnn.check` on one case: it has the false-alarm probability of a whole report to itself. The
implementations differ from the definition in the order of their sums, in their formulas, in their precision, in the
convention that they follow. The inputs are drawn from another seed than those of a default check. An alarm is a verdict
other than exact, ok, convention or out of scope; a case in which nothing is checked (an empty array, all out of scope)
is not counted.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from refnn.check import check
from refnn.inputs import cases
from refnn.power.catalogue import MUTANTS
from refnn.power.mutant import Pair
from refnn.power.page import table
from refnn.power.score import DTYPES, controls, mutated
from refnn.progress import progress
from refnn.report import CONFORMING, OUT_OF_SCOPE
from refnn.report.header import environment, listed

SEEDS = (1,)
CONFIDENCE = 0.95


@dataclass
class Alarms:
    """What the checks of one op came to: how many there were in each dtype, of how many elements, and which alarmed."""

    op: str
    implementations: int = 0
    checks: Counter[str] = field(default_factory=Counter)
    elements: int = 0
    alarms: list[str] = field(default_factory=list)  # implementation, case, verdict


def right(op: str, dtype: str) -> Iterator[tuple[str, Pair]]:
    """The controls of an op, and the entries of the catalogue that are right there: conventions and equivalent ones."""
    yield from controls(op, dtype)
    for m in MUTANTS:
        if m.op == op and m.dtype == dtype and m.kind in ("convention", "equivalent"):
            yield m.what, mutated(m)


def alarms(op: str, implementations: Iterable[tuple[str, str, Pair]], seeds: Sequence[int] = SEEDS) -> Alarms:
    """Check these implementations of an op, (label, dtype, pair), on each of its cases alone."""
    found = Alarms(op)
    for label, dtype, (forward, vjp) in implementations:
        found.implementations += 1
        for seed in seeds:
            for case in cases(op, dtype, seed=seed):
                report = check(op, forward=forward, vjp=vjp, inputs=[case])
                if not report.elements:
                    continue
                found.checks[dtype] += 1
                found.elements += report.elements
                verdicts = {v for r in report.results for v, n in r.verdicts.items() if n}
                if objected := verdicts - CONFORMING - {OUT_OF_SCOPE}:
                    found.alarms.append(f"{label}: {', '.join(sorted(objected))} in {case.id}, seed {seed}")
    return found


def lines(of_ops: Sequence[Alarms], seeds: Sequence[int] = SEEDS) -> Iterator[str]:
    """The page, line by line."""
    checks = sum((a.checks for a in of_ops), Counter())
    total, alarmed = checks.total(), sum(len(a.alarms) for a in of_ops)
    yield "# False alarms"
    yield ""
    yield from listed(environment())
    yield ""
    yield (
        f"**{alarmed} false alarms in {total:,} checks** of {sum(a.implementations for a in of_ops)} right "
        f"implementations of {len(of_ops)} ops ({', '.join(f'{n:,} in {dtype}' for dtype, n in checks.items())}; "
        f"{sum(a.elements for a in of_ops):,} elements)."
    )
    if not alarmed:
        yield (
            f"With {CONFIDENCE:.0%} confidence fewer than one check in {int(total / -math.log(1 - CONFIDENCE)):,} is a "
            "false alarm, as far as these checks are independent; by design it is one report in 10,000,000."
        )
    yield ""
    yield "Written by `python -m refnn.power.alarms conformance/power/alarms.md`:"
    yield " ".join((__doc__ or "").split("\n\n", 1)[1].split())
    yield f"Seed {' and '.join(map(str, seeds))}."
    rows = [
        [
            a.op,
            str(a.implementations),
            *(f"{a.checks[dtype]:,}" for dtype in checks),
            f"{a.elements:,}",
            str(len(a.alarms)),
        ]
        for a in of_ops
    ]
    yield from table(["op", "implementations", *(f"checks, {d}" for d in checks), "elements", "false alarms"], rows)
    for a in of_ops:
        yield from (f"- {a.op}: {alarm}" for alarm in a.alarms)


def main(path: str | None = None) -> None:
    """Check all right implementations of the ops that the catalogue mutates, and print or write the page."""
    ops = sorted({m.op for m in MUTANTS})
    found = []
    with progress(len(ops)) as step, np.errstate(all="ignore"):
        for op in ops:
            step(op)
            found.append(alarms(op, ((label, dtype, pair) for dtype in DTYPES for label, pair in right(op, dtype))))
    text = "\n".join(lines(found)) + "\n"
    if path is None:
        print(text, end="")
    else:
        Path(path).write_text(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
