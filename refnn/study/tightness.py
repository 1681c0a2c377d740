"""How tight the allowances are: the largest error/allowance that a correct implementation reaches.

`python -m refnn.study.tightness` measures it for every op and dtype, by input family and by size of the result, and
writes `conformance/tightness.md`. A bound that no implementation comes near would be vacuous: the floor is 0.1.

Three implementations, each against the model row of its own library: PyTorch (`torch-cpu`), our `Floats` in NumPy
(`generic`), and `Sequential`, which sums strictly from left to right, on inputs that are built against that order.

The same file holds the coverage of `Noise`: how often the error of a correct implementation exceeds k standard
deviations, next to the tail of the normal distribution.
"""

from __future__ import annotations

import argparse
import fnmatch
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from refnn.arithmetic.floats import Floats
from refnn.arithmetic.noise import Noise
from refnn.arithmetic.sequential import Rounded, Sequential, last_sum
from refnn.formats import FORMATS
from refnn.judging.call import call
from refnn.judging.case import Case
from refnn.judging.cases import cases
from refnn.judging.families import RANDOM
from refnn.judging.judge import Judge
from refnn.judging.verdict import EXACT, OK
from refnn.models import Model, model
from refnn.op import Op, lift
from refnn.ops import OPS
from refnn.oracle.allowance import expected_error, worst_case
from refnn.report.header import environment, listed, read_listed
from refnn.report.markdown import read_tables
from refnn.report.templates import markdown
from refnn.study.hostile import swamped
from refnn.variants import alone, large

FLOOR = 0.1
DTYPES = ("float32", "float64", "float16", "bfloat16")
LONG = (1021, 65_537)  # terms of the sums that are built against an order
DEVIATIONS = (1, 2, 3, 4, 5)
COVERED = 1_000_000  # correct elements on which the coverage is measured
SMALLEST, LARGEST = -12, 12  # decades that are shown one by one


def selects(op: Op) -> bool:
    """Whether an op rounds nothing: on no random number is there an allowance."""
    rules = model("float32")
    return all(
        not np.any(result[1])
        for c in cases(op, "float32", families=["normal"])
        for result in worst_case(c.call(), rules).results
        if result is not None
    )


EXCEPTIONS: Mapping[str, str] = {
    name: "a selection: nothing is rounded, and the allowance is zero" for name, op in OPS.items() if selects(op)
}


Results = list[Any]
Implementation = Callable[[Case], Results]


def evaluated(kind: type[Floats]) -> Implementation:
    """The definition itself in a floating-point arithmetic."""

    def implementation(case: Case) -> Results:
        ar, algorithm = kind(case.cotangent.dtype, convention=case.op.convention), case.op.algorithm("accurate")
        with np.errstate(all="ignore"):
            lifted = lift(ar, case.inputs)
            y = ar.store(algorithm[0](ar, *lifted, **case.params))
            grads = algorithm[1](ar, ar.array(case.cotangent), ar.array(y), *lifted, **case.params)
            return [y, *(None if v is None else ar.store(v) for v in grads)]

    return implementation


def of_torch(op: Op) -> Implementation:
    """PyTorch's function, with gradients by autograd."""
    from refnn.implementations.torch import functions
    from refnn.witnesses.torch import FUNCTIONS

    forward, vjp = functions(op, FUNCTIONS[op.name])
    return lambda case: call(forward, vjp, replace(case, repeat=False))[0]


# --- inputs ----------------------------------------------------------------------------------------------------------


def against_sequential(op: Op, dtype: str, n: int) -> Iterator[Case]:
    """Long sums that lose their terms one by one: 1 followed by values just below u."""
    fmt = FORMATS[dtype]
    unit = FORMATS["float32"].unit_roundoff if fmt.precision < 24 else fmt.unit_roundoff
    for recipe in swamped(op):
        yield recipe.case(f"{op.name}/{dtype}/built/{recipe}-{n}", n, fmt, unit)


# The families that are measured: their numbers are of all sizes, while others repeat a number or an order.
SPREAD = ("grid", "large", "limits", "negative", "nonfinite", "normal", "offset", "subnormal", "tiny", "wide", "zeros")


# --- measuring -------------------------------------------------------------------------------------------------------


@dataclass
class Row:
    """The worst ratio of one op in one dtype by one implementation, by family and by decade of the truth's size."""

    op: str
    dtype: str
    library: str
    model: str
    elements: int = 0
    families: dict[str, float] = field(default_factory=dict)
    decades: dict[int, float] = field(default_factory=dict)

    @property
    def worst(self) -> float:
        return max(self.families.values(), default=0.0)

    def add(self, case: Case, rules: Model, results: Results) -> None:
        """Take in the results of one case that are inside the accurate class."""
        judge = Judge(replace(case, random=False), rules, "accurate", math.inf)
        for which, got in enumerate(results):
            if got is None:
                continue
            j = judge.judge(which, np.asarray(got, dtype=np.float64))
            with np.errstate(all="ignore"):
                ratio = j.error / j.allowed
            correct = ((j.code == OK) | (j.code == EXACT)) & (j.allowed > 0) & np.isfinite(ratio)
            ratio, size = ratio[correct], np.abs(j.expected[correct])
            self.elements += ratio.size
            self.families[case.family] = max(self.families.get(case.family, 0.0), float(ratio.max(initial=0.0)))
            with np.errstate(divide="ignore"):
                decades = np.clip(np.floor(np.log10(size[size > 0])), SMALLEST - 1, LARGEST + 1).astype(int)
            for decade in np.unique(decades).tolist():
                here = float(ratio[size > 0][decades == decade].max())
                self.decades[decade] = max(self.decades.get(decade, 0.0), here)


def libraries(op: Op, dtype: str) -> Iterator[tuple[str, str, Implementation, Iterator[Case]]]:
    """(library, model, implementation, cases) for one op and dtype."""
    yield "NumPy", dtype, evaluated(Floats), cases(alone(op), dtype, families=SPREAD)
    if FORMATS[dtype].precision >= 24:  # PyTorch's 16-bit kernels round between steps: another model
        yield "PyTorch", f"{dtype}@torch-cpu", of_torch(op), cases(alone(op), dtype, families=SPREAD)
    yield "sequential", dtype, evaluated(Sequential), (c for n in LONG for c in against_sequential(op, dtype, n))


def measure(op: Op, dtype: str, only: str | None = None) -> list[Row]:
    """The rows of one op and dtype (of one library); without those that had no case."""
    rows = []
    for library, rules, implementation, chosen in libraries(op, dtype):
        if only in (None, library):
            row = Row(op.name, dtype, library, rules)
            for case in chosen:
                row.add(case, model(rules), implementation(case))
            if row.families:
                rows.append(row)
    return rows


@dataclass
class Coverage:
    """How many of `elements` have an error beyond each of DEVIATIONS standard deviations and the library's bound."""

    what: str
    elements: int
    beyond: tuple[float, ...]  # whole numbers, where they were not read from a page

    @staticmethod
    def normal(k: int) -> float:
        return 2 * (1 - NormalDist().cdf(k))


def coverage(op: Op, dtype: str, elements: int, seed: int = 0) -> Coverage:
    """Coverage of `Noise` on random families, with elementary functions as good as NumPy's in float64."""
    row = "numpy-float64" if dtype == "float64" else "correctly-rounded"
    rules, count, beyond = model(f"{dtype}@{row}"), 0, np.zeros(len(DEVIATIONS), np.int64)
    implementation = evaluated(Rounded)
    while count < elements:
        for case in cases(large(op), dtype, seed=seed, families=sorted(RANDOM)):
            with np.errstate(all="ignore"):
                noise = expected_error(case.call(), rules)
            judge = Judge(replace(case, random=False), rules, "accurate", math.inf)
            for which, got in enumerate(implementation(case)):
                expected = noise[which]
                if got is None or expected is None:
                    continue
                j, (std, library) = judge.judge(which, np.asarray(got, dtype=np.float64)), expected
                known = (j.code == OK) | (j.code == EXACT)
                known &= (std > 0) & np.isfinite(std) & np.isfinite(j.error)
                count += int(known.sum())
                lines = (k * std[known] + library[known] for k in DEVIATIONS)
                beyond += np.array([int(np.count_nonzero(~(j.error[known] <= line))) for line in lines])
        seed += 1
    return Coverage(f"{op.name} {dtype}", count, tuple(beyond.tolist()))


def coverage_of_sums(terms: int, elements: int, *, backwards: bool = False) -> Coverage:
    """Coverage of `Noise` on float32 sums of normal numbers, one term after the other.

    A sum's error is normal only given its partial sums, whose mean square varies from one input to the next; `Noise`
    looks at them, in both directions.
    """
    rng, noise, count, beyond = np.random.default_rng(0), Noise("float32"), 0, np.zeros(len(DEVIATIONS), np.int64)
    while count < elements:
        x = rng.standard_normal((terms, 20_000), dtype=np.float32)
        exact = x.astype(np.float64).sum(0)  # pairwise in float64: 2**-29 of what is measured
        std = noise.sum(noise.array(x), 0).std()
        error = np.abs(last_sum(x[::-1] if backwards else x).astype(np.float64) - exact)
        count += error.size
        beyond += np.array([int(np.count_nonzero(~(error <= k * std))) for k in DEVIATIONS])
    order = "right to left" if backwards else "left to right"
    return Coverage(f"sums of {terms} from {order}, float32", count, tuple(beyond.tolist()))


# --- the page --------------------------------------------------------------------------------------------------------


def _number(x: float | None) -> str:
    return "" if x is None else f"{x:.2f}" if x >= 0.095 else f"{x:.1g}"


def page(rows: list[Row], covered: list[Coverage], about: Mapping[str, Any]) -> str:
    """The measurements as Markdown."""
    families = [*SPREAD, "built"]
    by_family = [
        [r.op, r.dtype, r.library, r.model, str(r.elements), _number(r.worst)]
        + [_number(r.families.get(f)) for f in families]
        for r in rows
    ]
    by_deviation = [[c.what, str(c.elements), *(f"{n / c.elements:.2g}" for n in c.beyond)] for c in covered]
    normal = ["normal distribution", "", *(f"{Coverage.normal(k):.2g}" for k in DEVIATIONS)]
    return markdown(
        Path(__file__).with_name("tightness.md.jinja"),
        about=about,
        floor=FLOOR,
        long=LONG,
        families=families,
        by_family=by_family,
        exceptions=EXCEPTIONS,
        ops=[*OPS],
        by_decade={dtype: [*_by_decade([r for r in rows if r.dtype == dtype])] for dtype in DTYPES},
        random=sorted(RANDOM),
        beyond=[f"k = {k}" for k in DEVIATIONS],
        by_deviation=[*by_deviation, normal],
    )


def _by_decade(rows: list[Row]) -> Iterator[list[str]]:
    """The worst ratio of each op, for each decade of the result."""
    for d in sorted({d for r in rows for d in r.decades}):
        label = f"1e{d}" if SMALLEST <= d <= LARGEST else "smaller" if d < SMALLEST else "larger"
        found = [[r.decades[d] for r in rows if r.op == op and d in r.decades] for op in OPS]
        yield [label, *(_number(max(f)) if f else "" for f in found)]


def recorded(text: str) -> tuple[list[Row], list[Coverage], dict[str, str]]:
    """What a page says: `page` of it is the page again."""
    (head, *lines), *by_decade, (_, *covered, _) = read_tables(text)
    rows = [
        Row(op, dtype, library, rules, int(elements), {f: float(v) for f, v in zip(head[6:], shown, strict=True) if v})
        for op, dtype, library, rules, elements, _, *shown in lines
    ]
    for dtype, ((_, *ops), *decades) in zip(DTYPES, by_decade, strict=True):
        first = {r.op: r for r in reversed(rows) if r.dtype == dtype}  # the page does not say whose ratio it is
        for label, *shown in decades:
            decade = {"smaller": SMALLEST - 1, "larger": LARGEST + 1}.get(label) or int(label.removeprefix("1e"))
            for op, v in zip(ops, shown, strict=True):
                if v and op in first:
                    first[op].decades[decade] = float(v)
    shares = [Coverage(what, int(n), tuple(int(n) * float(v) for v in shown)) for what, n, *shown in covered]
    return rows, shares, read_listed(text)


def merged(
    text: str, ops: Sequence[str], rows: list[Row], covered: list[Coverage], about: Mapping[str, Any]
) -> tuple[list[Row], list[Coverage], dict[str, Any]]:
    """What a page says, with these measurements in the place of what it says of these ops; and where that was."""
    old, shares, before = recorded(text)
    rows = sorted([r for r in old if r.op not in ops and r.op in OPS] + rows, key=lambda r: [*OPS].index(r.op))
    whole = {c.what: c for c in (*shares, *covered)}
    names = [f"{op} {dtype}" for dtype in ("float32", "float64") for op in OPS]
    sums = [c.what for c in shares if c.what.startswith("sums of ")]
    now = read_listed("\n".join(listed(about)))
    if differs := [f"{k} {v}" for k, v in now.items() if k != "threads" and before.get(k) != v]:
        before[f"measured later, {', '.join(ops)}"] = ", ".join(differs)
    return rows, [whole[n] for n in (*names, *sums) if n in whole], before


def main(arguments: list[str] | None = None) -> None:
    """Measure everything, or some ops anew, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m refnn.study.tightness", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("conformance/tightness.md"))
    parser.add_argument("--ops", metavar="GLOB", help="only the ops whose name matches; the page keeps the others")
    given = parser.parse_args(arguments)
    ops = [op for op in OPS.values() if given.ops is None or fnmatch.fnmatchcase(op.name, given.ops)]
    if not ops:
        parser.error(f"--ops {given.ops!r} matches no op")
    rows = [row for op in ops for dtype in DTYPES for row in measure(op, dtype)]
    share = -(-COVERED // (len(OPS) - len(EXCEPTIONS)))
    noisy = [op for op in ops if op.name not in EXCEPTIONS]
    covered = [coverage(op, "float32", share) for op in noisy]
    covered += [coverage(op, "float64", share // 10) for op in noisy]
    about: Mapping[str, Any] = environment()
    elements = sum(r.elements for r in rows)
    if given.ops is None:
        covered += [coverage_of_sums(1000, COVERED, backwards=backwards) for backwards in (False, True)]
    else:
        text = given.out.read_text(encoding="utf-8")
        rows, covered, about = merged(text, [op.name for op in ops], rows, covered, about)
    given.out.write_text(page(rows, covered, about), encoding="utf-8")
    print(f"{given.out}: {elements} elements measured, {len(rows)} rows")


if __name__ == "__main__":
    main()
