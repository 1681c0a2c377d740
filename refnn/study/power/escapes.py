"""Which evasions a check sees: `refnn power --evasions`.

A check sees an evasion if one of its cases is answered wrongly: with a number that the judge does not let pass, or with
a complaint about the call. Every case is called in the order of a check, with one kernel that remembers. Where its bits
are those of the right kernel there is nothing to judge, so a thousand evasions take some minutes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from refnn.checking.check import FALSE_ALARM, false_alarm_line
from refnn.judging.call import call
from refnn.judging.case import Case, same_bits
from refnn.judging.cases import cases
from refnn.judging.judge import Judge, Part, explain
from refnn.judging.verdict import ERROR, SUSPECT, unexplained
from refnn.models import default_model
from refnn.models import model as model_of
from refnn.op import Op
from refnn.ops import OPS
from refnn.report.header import environment
from refnn.report.templates import markdown
from refnn.study.power.evasions import GROUPS, Evasion, Results
from refnn.study.power.probes import KINDS, Right, generate

DEFAULT, THOROUGH = (0,), (0, 1, 2, 3)  # seeds
WANTED = {DEFAULT: 0.95, THOROUGH: 0.99}
Seen = Mapping[Evasion, int | None]  # the first seed of which a case shows it


class Bench:
    """The cases of one check of an op, with what a right kernel answers and a judge of each."""

    def __init__(self, op: Op, seed: int) -> None:
        self.right = Right(op)
        self.cases = list(cases(op, "float32", seed=seed))
        self._line = false_alarm_line(FALSE_ALARM, sum(c.elements for c in self.cases))
        self.answer = functools.cache(self.right.of)
        self._judge = functools.cache(self._new_judge)

    def _new_judge(self, case: Case) -> Judge:
        return Judge(case, model_of(default_model("float32", None)), "accurate", self._line)

    def sees(self, e: Evasion) -> bool:
        """Whether a case is answered wrongly."""
        kernel = e.kernel(self.right)
        for case in self.cases:
            got, complaints, _ = call(*kernel, case)
            if complaints or self._objects(case, got):
                return True
        return False

    def _objects(self, case: Case, got: Results) -> bool:
        for which, (mine, right) in enumerate(zip(got, self.answer(case), strict=True)):
            if mine is None or right is None or same_bits(mine, right):
                continue
            judge = self._judge(case)
            j = judge.judge(which, np.asarray(mine, np.float64))
            if case.row is None and unexplained(j).any():
                explain(which, [Part(judge, j, case, 0, ...)], case.op.algorithms)
            if ((j.code >= SUSPECT) & (j.code <= ERROR)).any():
                return True
        return False


def run(
    evasions: Iterable[Evasion],
    seeds: Sequence[int] = DEFAULT,
    step: Callable[[str], None] = lambda label: None,
    ops: Mapping[str, Op] = OPS,
) -> Seen:
    """The first seed of which a check sees each evasion, or None. `ops` are the records whose cases are checked."""
    seen: dict[Evasion, int | None] = dict.fromkeys(evasions)
    for name in dict.fromkeys(e.op for e in seen):
        step(name)
        for seed in seeds:
            if open_ := [e for e, found in seen.items() if e.op == name and found is None]:
                bench = Bench(ops[name], seed)
                seen |= {e: seed for e in open_ if bench.sees(e)}
    return seen


def share(seen: Seen, seeds: Sequence[int] = DEFAULT) -> float:
    """The part of the evasions that the checks of these seeds see."""
    return sum(found in seeds for found in seen.values()) / len(seen)


def every(ops: Iterable[str] = KINDS) -> list[Evasion]:
    """The evasions of these ops."""
    return [e for name in ops for e in generate(name)]


# --- the page --------------------------------------------------------------------------------------------------------


def page(seen: Seen) -> str:
    """The page of a run of all seeds of THOROUGH."""
    return markdown(
        Path(__file__).with_name("evasions.md.jinja"),
        about=environment(),
        count=len(seen),
        ops=len({e.op for e in seen}),
        by_group=[*_rows(seen, GROUPS, lambda e: e.group), _row("**all**", seen)],
        by_op=list(_rows(seen, KINDS, lambda e: e.op)),
        escapes=[
            [e.op, e.group, e.condition, e.effect, "never" if found is None else f"seed {found}"]
            for e, found in seen.items()
            if found not in DEFAULT
        ],
    )


def _rows(seen: Seen, values: Iterable[str], of: Callable[[Evasion], str]) -> Iterator[list[str]]:
    for value in values:
        if some := {e: found for e, found in seen.items() if of(e) == value}:
            yield _row(value, some)


def _row(name: str, seen: Seen) -> list[str]:
    cells = (f"{sum(f in seeds for f in seen.values())} ({share(seen, seeds):.1%})" for seeds in (DEFAULT, THOROUGH))
    return [name, str(len(seen)), *cells]
