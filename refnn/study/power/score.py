"""Running checkers against the catalogue.

A checker is a function of (op, forward, vjp, dtype): the name of an op of refnn, an implementation of it in NumPy,
`forward(*inputs, **params)` and `vjp(g, *inputs, **params)`, and the name of the dtype to run it in. It objects by
raising an exception or by returning False; it raises NotImplementedError for an op that it does not cover. A mutant is
killed where the checker objects to it and not to what was mutated: one that objects to everything kills nothing. (The
baselines tell their cases apart, and an objection to one case of the original voids that case only.)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from refnn.arithmetic import Unsupported
from refnn.arithmetic.floats import Floats
from refnn.arithmetic.sequential import Rounded, Sequential
from refnn.checking.check import check
from refnn.formats import FORMATS
from refnn.ids import CaseId
from refnn.judging.case import Case
from refnn.judging.cases import cases
from refnn.judging.families import COTANGENTS, FAMILIES
from refnn.op import lift
from refnn.ops import OPS
from refnn.report import CONFORMING, Report
from refnn.study.power.catalogue import RIGHT
from refnn.study.power.mutant import Forward, Mutant, Pair, Vjp

Checker = Callable[[str, Forward, Vjp, str], Any]
DTYPES = ("float32", "float64")
SEEDS = 4  # of the search for what would reveal a survivor
# Ops that add a small term of one function to x, so that the bound is half an ulp and what that function may be off.
# Where the term is about half an ulp of x, a long double of 64 bits is off by more than that, up to 2^-12 of an ulp,
# and is then rounded to the wrong side. That is no float64 arithmetic, and not among the right ones.
# So is any single operation.
ROUNDED_TWICE = ("add", "logsigmoid", "mul", "softplus", "sub")


def refnn(op: str, forward: Forward, vjp: Vjp, dtype: str) -> bool:
    """refnn's own check, with its defaults."""
    return check(op, forward=forward, vjp=vjp, dtype=dtype).ok


# --- right implementations -------------------------------------------------------------------------------------------


def original(op: str) -> Pair:
    """What the mutants of an op change."""
    return RIGHT.get(op, (OPS[op], OPS[op].vjp))


def evaluated(op: str, kind: type[Floats], *, wide: bool = False, algorithm: str = "accurate") -> Pair:
    """The definition of an op, or of a class that it declares, in a kind of floats; `wide` computes in the next longer
    format and rounds once. 16-bit formats are computed in float32, as kernels do."""
    record = OPS[op]
    define, differentiate = record.algorithm(algorithm)

    def floats(arrays: Sequence[Any]) -> tuple[Floats, np.dtype[Any]]:
        dtype = record.dtype_of(arrays)
        short = np.dtype(np.float32) if dtype.itemsize == 2 else dtype
        longer = np.dtype(np.longdouble if dtype == np.float64 else np.float64) if wide else short
        return kind(longer, convention=record.convention), dtype

    def forward(*arrays: Any, **params: Any) -> Any:
        ar, dtype = floats(arrays)
        return ar.store(define(ar, *lift(ar, arrays), **params)).astype(dtype)

    def vjp(g: Any, *arrays: Any, **params: Any) -> Any:
        ar, dtype = floats(arrays)
        lifted = lift(ar, arrays)
        y = ar.store(define(ar, *lifted, **params))
        grads = differentiate(ar, ar.array(g), y, *lifted, **params)
        return tuple(None if v is None else ar.store(v).astype(dtype) for v in grads)

    return forward, vjp


def controls(op: str, dtype: str) -> Iterator[tuple[str, Pair]]:
    """Right implementations of an op that differ: in the order of their sums, in their formulas, in their precision."""
    yield "definition", (OPS[op], OPS[op].vjp)
    yield "sums from first to last", evaluated(op, Sequential)
    yield "functions in float64", evaluated(op, Rounded)
    if dtype == "float32" or not (op in ROUNDED_TWICE or _needs_erf(op)):
        yield "longer floats", evaluated(op, Floats, wide=True)
    if op in RIGHT:
        yield "other formulas", RIGHT[op]


def _needs_erf(op: str) -> bool:
    """Whether an op has no evaluation in longdouble."""
    case = next(cases(op, "float64", families=["normal"]))
    try:
        evaluated(op, Floats, wide=True)[0](*case.inputs, **case.params)
    except Unsupported:
        return True
    return False


# --- running ---------------------------------------------------------------------------------------------------------


def objections(checker: Checker, op: str, pair: Pair, dtype: str) -> Iterator[str]:
    """What a checker objects to: cases, where it tells them apart, or else "all". NotImplementedError where it does not
    cover the op."""
    told = getattr(checker, "objections", None)
    try:
        if told is not None:
            yield from told(op, *pair, dtype)
        elif checker(op, *pair, dtype) is False:
            yield "all"
    except NotImplementedError:
        raise
    except Exception:
        yield "all"


@dataclass
class Tally:
    """What one checker did: mutants killed, missed or not covered, objections to right implementations, seconds of
    processor time."""

    killed: set[Mutant] = field(default_factory=set)
    missed: set[Mutant] = field(default_factory=set)
    uncovered: set[Mutant] = field(default_factory=set)
    false_alarms: list[tuple[str, str, str]] = field(default_factory=list)  # op, dtype, implementation
    controls: int = 0
    seconds: float = 0.0


@dataclass
class Score:
    """The outcome: a tally for each checker, and what would reveal each mutant that somebody missed."""

    mutants: Sequence[Mutant]
    tallies: Mapping[str, Tally]
    reports: dict[Mutant, Report] = field(default_factory=dict)

    def wrong(self, ops: Iterable[str] | None = None) -> list[Mutant]:
        """The mutants that are to be killed: of these ops, or all."""
        among = None if ops is None else set(ops)
        return [m for m in self.mutants if m.kind == "wrong" and (among is None or m.op in among)]


def run(
    mutants: Sequence[Mutant],
    checkers: Mapping[str, Checker],
    step: Callable[[str], None] = lambda label: None,
    dtypes: Sequence[str] = DTYPES,
) -> Score:
    """Every checker on every mutant, and on every right implementation of the same ops in these dtypes."""
    score = Score(mutants, {name: Tally() for name in checkers})
    voided: dict[tuple[str, str, str], frozenset[str]] = {}
    for m in mutants:
        step(m.name)
        started = time.process_time()
        score.reports[m] = report(m)
        reported = time.process_time() - started
        for name, checker in checkers.items():
            tally, started = score.tallies[name], time.process_time()
            try:
                key = (name, m.op, m.dtype)
                if key not in voided:
                    voided[key] = frozenset(objections(checker, m.op, original(m.op), m.dtype))
                if checker is refnn:  # whose report there is already
                    found = not score.reports[m].ok and not voided[key]
                    tally.seconds += reported
                else:
                    found = any(o not in voided[key] for o in objections(checker, m.op, mutated(m), m.dtype))
                (tally.killed if found else tally.missed).add(m)
            except NotImplementedError:
                tally.uncovered.add(m)
            tally.seconds += time.process_time() - started
    for op in dict.fromkeys(m.op for m in mutants):
        step(f"{op}, right")
        for dtype in dtypes:
            for label, pair in controls(op, dtype):
                for name, checker in checkers.items():
                    tally, started = score.tallies[name], time.process_time()
                    try:
                        alarmed = any(objections(checker, op, pair, dtype))
                        tally.controls += 1
                        if alarmed:
                            tally.false_alarms.append((op, dtype, label))
                    except NotImplementedError:
                        pass
                    tally.seconds += time.process_time() - started
    return score


def steps(mutants: Sequence[Mutant]) -> int:
    """How many steps a run has."""
    return len(mutants) + len({m.op for m in mutants})


def mutated(m: Mutant) -> Pair:
    forward, vjp = original(m.op)
    return m.forward or forward, m.vjp or vjp


def report(m: Mutant, seed: int = 0) -> Report:
    """refnn's report on a mutant."""
    forward, vjp = mutated(m)
    return check(m.op, forward=forward, vjp=vjp, dtype=m.dtype, seed=seed)


# --- what reveals a mutant -------------------------------------------------------------------------------------------


def revealing(found: Report) -> list[tuple[str, str]]:
    """The input families and cotangents on which refnn objects, in the order of the cases."""
    objected = (CaseId.parse(f.case) for f in found.findings if f.verdict not in CONFORMING)
    return list(dict.fromkeys((case.family, case.cotangent) for case in objected))


def search(m: Mutant) -> list[tuple[str, str]]:
    """Of a mutant that refnn's default check passes: the families and cotangents that reveal it, among all seeds and
    all pairings of inputs and cotangents. Empty where the variants of the op are to blame."""
    forward, vjp = mutated(m)
    return revealing(check(m.op, forward=forward, vjp=vjp, inputs=list(_every_pairing(m))))


def _every_pairing(m: Mutant) -> Iterator[Case]:
    for seed in range(SEEDS):
        for case in cases(m.op, m.dtype, seed=seed, families=FAMILIES):
            named = CaseId.parse(case.id)
            for kind, draw in COTANGENTS.items():
                rng = np.random.default_rng(seed)
                g = draw(rng, case.cotangent.shape, FORMATS[m.dtype]).astype(case.cotangent.dtype)
                yield replace(case, id=str(replace(named, cotangent=kind)), cotangent=g)
