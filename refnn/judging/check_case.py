"""One case, from the call of the implementation to its results and findings."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from refnn.arithmetic import BLOCK
from refnn.arithmetic.floats import keep_freed_memory
from refnn.judging.call import Forward, Vjp, call
from refnn.judging.case import Case
from refnn.judging.judge import Judge, Part, explain
from refnn.judging.tally import Tally, place
from refnn.judging.verdict import unexplained
from refnn.models import Model
from refnn.oracle.evaluate import Rows, chunks
from refnn.report import Finding, Result


def _blocks(x: np.ndarray) -> Iterator[Rows]:
    """Slices of the first axis, small enough to be judged in a core's cache."""
    if x.size < 2 * BLOCK or not x.ndim:
        yield ...
        return
    rows = max(1, BLOCK * x.shape[0] // x.size)
    for first in range(0, x.shape[0], rows):
        yield slice(first, first + rows)


def check_case(
    case: Case,
    forward: Forward | None,
    vjp: Vjp | None,
    model_: Model,
    algorithm: str = "accurate",
    line: float = math.inf,
    replay: str = "",
) -> tuple[list[Result], list[Finding], Judge]:
    """The results and findings of one case, and the judge who reached them (of its last piece, where it was taken in
    pieces). `line` is the number of standard deviations that is beyond suspicion.
    """
    started = time.perf_counter()
    got, complaints = call(forward, vjp, case)
    if case.cotangent.size > BLOCK or max(x.size for x in case.inputs if x is not None) > BLOCK:
        keep_freed_memory()
    names = ["output", *(f"grad[{n}]" for n in case.op.inputs)]
    tallies = [None if g is None else Tally(case, n, model_.storage, replay) for g, n in zip(got, names, strict=True)]
    waiting: dict[int, list[Part]] = {}  # what no class was asked about yet
    classes = case.op.algorithms if algorithm == "accurate" and case.row is None else {}
    first_row = 0
    for part in chunks(case.call()):
        cotangent = part.cotangent
        assert cotangent is not None
        piece = case if cotangent is case.cotangent else replace(case, inputs=part.inputs, cotangent=cotangent)
        judge = Judge(piece, model_, algorithm, line)
        size = cotangent.shape[0] if piece is not case else 0
        for which, (tally, value) in enumerate(zip(tallies, got, strict=True)):
            if tally is None or value is None:
                continue
            own = value if piece is case else value[first_row : first_row + size]
            for rows in _blocks(own):
                judgement = judge.judge(which, np.asarray(own[rows], np.float64), rows)
                if classes and unexplained(judgement).any():
                    waiting.setdefault(which, []).append(Part(judge, judgement, piece, first_row, rows))
                    continue
                now = time.perf_counter()
                tally.add(judgement, piece, first_row, rows, now - started)
                started = now
        first_row += size
    for which, parts in waiting.items():
        explain(which, parts, classes)
        tally = tallies[which]
        assert tally is not None
        for p in parts:
            now = time.perf_counter()
            tally.add(p.judgement, p.piece, p.first_row, p.rows, now - started)
            started = now
    results = [t.result() for t in tallies if t is not None]
    findings = [f for t in tallies if t is not None for f in t.findings()]
    for what, message in complaints:
        results.append(Result(*place(case, what), verdicts={"error": 1}))
        findings.append(Finding(*place(case, what), verdict="error", message=message, replay=replay))
    return results, findings, judge
