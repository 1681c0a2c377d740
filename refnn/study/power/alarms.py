"""False alarms: `python -m refnn.study.power.alarms [PATH]` checks right implementations, and prints or writes what
came out.

One check is one call of `refnn.check` on one case: it has the false-alarm probability of a whole report to itself. The
implementations differ from the definition in the order of their sums, in their formulas, in their precision, in the
convention that they follow. They are checked on the default cases, whose inputs are drawn from other seeds than those
of a default check; there each class that an op declares is checked as that class, too. And they are checked on layers
of everyday size, where PyTorch's own functions and formulas of textbooks and kernels stand beside them and 16-bit
formats are checked as well: computed in float32 and rounded once, PyTorch under the model that a check of it takes.

An alarm is a verdict other than exact, ok, convention or out of scope. On the layers an implementation of a declared
class, or a formula, may be explained by a class; PyTorch may show what is committed as expected of it, with its reason,
and in 16 bits the sums that it stores on the way, which are declared classes. A case in which nothing is checked (an
empty array, all out of scope) is not counted.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from refnn.checking.check import check
from refnn.judging.case import Case
from refnn.judging.cases import cases
from refnn.progress import progress
from refnn.report import Report
from refnn.report.header import environment
from refnn.report.templates import markdown
from refnn.study.power import everyday
from refnn.study.power.catalogue import MUTANTS
from refnn.study.power.right import UNSOUND, Right, classes, formulas, of_numpy, of_torch
from refnn.study.power.score import DTYPES, ROUNDED_TWICE, controls

SEEDS = (1, 2)
EVERYDAY = (1, 2)  # seeds of the layers
CONFIDENCE = 0.95
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass
class Alarms:
    """What the checks of one op, or of one layer, came to: how many there were in each dtype, of how many elements,
    which alarmed, and which were explained by the name of another class that covers them, too."""

    of: str
    implementations: set[str] = field(default_factory=set)
    checks: Counter[str] = field(default_factory=Counter)
    elements: int = 0
    alarms: list[str] = field(default_factory=list)  # implementation, verdict, case
    misnamed: set[str] = field(default_factory=set)

    def check(self, right: Right, inputs: Any, where: str = "") -> None:
        """Check an implementation on one case, and count it."""
        forward, vjp = right.pair
        with np.errstate(all="ignore"):
            report = check(
                right.op,
                forward=forward,
                vjp=vjp,
                inputs=inputs,
                dtype=right.dtype,
                model=right.model,
                algorithm=right.algorithm,
                expected_failures=right.expected,
            )
        self.implementations.add(right.what)
        if report.elements or report.findings:
            self.checks[right.dtype] += 1
            self.elements += report.elements
            self.alarms += [f"{right.what}: {said}" for said in objections(report, where)]
            names = {f.name for f in report.findings if f.verdict == "explained"}
            if right.algorithms and (others := names - right.algorithms):
                self.misnamed.add(f"{right.what} as {', '.join(sorted(others))}")


def objections(report: Report, where: str = "") -> Iterator[str]:
    """What a report says against an implementation, a line for each verdict; `where` stands for the case's id."""
    found: dict[str, str] = {}
    for f in report.unexpected:
        found.setdefault(f"{f.verdict}{f' [{f.name}]' if f.name else ''} of {f.what} in {where or f.case}", str(f))
    yield from found
    yield from (f"no finding names what does not conform in {where or case}" for case in report.unlisted if not found)


def on_cases(op: str, implementations: Iterable[Right], seeds: Sequence[int] = SEEDS) -> Alarms:
    """Check these implementations of an op on each of its default cases alone."""
    found, drawn = Alarms(op), {}
    for right in implementations:
        if right.dtype not in drawn:
            drawn[right.dtype] = [c for seed in seeds for c in cases(op, right.dtype, seed=seed)]
        given: list[Case] = drawn[right.dtype]
        for case in given:
            found.check(right, [case])
    return found


def on_layer(layer: everyday.Layer, seeds: Sequence[int] = EVERYDAY) -> Alarms:
    """Check the implementations of a layer's op, in all four dtypes, on each kind of data."""
    found, op = Alarms(str(layer)), layer.op
    for dtype in everyday.KINDS:
        rights = [Right(op, what, dtype, pair) for what, pair in controls(op, dtype) if what != "other formulas"]
        rights += [*classes(op, dtype), *formulas(op, dtype)]
        if (op, dtype) not in UNSOUND:
            rights.append(of_torch(op, dtype))
        for seed in seeds:
            for data in everyday.KINDS[dtype]:
                inputs = layer.case(dtype, data, seed)
                for right in rights:
                    found.check(right, inputs, f"{layer}, {dtype}, {data}, seed {seed}")
    return found


# --- the page --------------------------------------------------------------------------------------------------------


def _rows(found: Sequence[Alarms], dtypes: Sequence[str]) -> list[list[str]]:
    return [
        [
            a.of,
            str(len(a.implementations)),
            *(f"{a.checks[d]:,}" for d in dtypes),
            f"{a.elements:,}",
            str(len(a.alarms)),
        ]
        for a in found
    ]


def page(of_ops: Sequence[Alarms], of_layers: Sequence[Alarms] = ()) -> str:
    """The page."""
    found = [*of_ops, *of_layers]
    checks = sum((a.checks for a in found), Counter())
    whys = {why: [f"{op} in {d}" for (op, d), w in UNSOUND.items() if w == why] for why in UNSOUND.values()}
    return markdown(
        Path(__file__).with_name("alarms.md.jinja"),
        about=environment(),
        alarms=[f"{a.of}: {alarm}" for a in found for alarm in a.alarms],
        total=f"{checks.total():,}",
        implementations=sum(len(a.implementations) for a in found),
        ops=len(of_ops),
        layers=len(of_layers),
        checks={dtype: f"{n:,}" for dtype, n in checks.items()},
        elements=f"{sum(a.elements for a in found):,}",
        confidence=f"{CONFIDENCE:.0%}",
        one_in=f"{int(checks.total() / -math.log(1 - CONFIDENCE)):,}",
        method=[" ".join(paragraph.split()) for paragraph in (__doc__ or "").strip().split("\n\n")[1:]],
        seeds=SEEDS,
        everyday=EVERYDAY,
        unsound="; ".join(f"{', '.join(of)} ({why})" for why, of in whys.items()),
        rounded_twice=ROUNDED_TWICE,
        of_ops=_rows(of_ops, DTYPES),
        op_checks=[f"checks, {d}" for d in DTYPES],
        kinds="; ".join(f"{dtype}: {', '.join(kinds)}" for dtype, kinds in everyday.KINDS.items()),
        of_layers=_rows(of_layers, tuple(everyday.KINDS)),
        layer_checks=[f"checks, {d}" for d in everyday.KINDS],
        misnamed=sorted({f"{a.of}: {name}" for a in found for name in a.misnamed}),
    )


# --- the run ---------------------------------------------------------------------------------------------------------


def _of_op(op: str, dtype: str, seed: int) -> Alarms:
    return on_cases(op, of_numpy(op, dtype), (seed,))


def _merged(parts: Iterable[Alarms]) -> list[Alarms]:
    """One for each op or layer, in their order."""
    whole: dict[str, Alarms] = {}
    for part in parts:
        a = whole.setdefault(part.of, Alarms(part.of))
        a.implementations |= part.implementations
        a.checks += part.checks
        a.elements += part.elements
        a.alarms += part.alarms
        a.misnamed |= part.misnamed
    return list(whole.values())


def main(path: str | None = None) -> None:
    """Check all right implementations of the ops that the catalogue mutates and of the layers, and print or write the
    page. As many processes as there are processors, each on one thread."""
    ops = sorted({m.op for m in MUTANTS})
    for name in THREADS:
        os.environ[name] = "1"  # read when the processes load NumPy and PyTorch
    done: dict[Any, Alarms] = {}
    jobs: list[Any] = [(on_layer, (layer, (seed,))) for layer in everyday.LAYERS for seed in EVERYDAY]
    jobs += [(_of_op, (op, dtype, seed)) for op in ops for dtype in DTYPES for seed in SEEDS]
    with (
        progress(len(jobs)) as step,
        ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        waiting = {pool.submit(function, *given): i for i, (function, given) in enumerate(jobs)}
        for future in as_completed(waiting):
            done[waiting[future]] = future.result()
            step(done[waiting[future]].of)
    parts = [done[i] for i in range(len(jobs))]
    layers = len(everyday.LAYERS) * len(EVERYDAY)
    text = page(_merged(parts[layers:]), _merged(parts[:layers]))
    if path is None:
        print(text, end="")
    else:
        Path(path).write_text(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
