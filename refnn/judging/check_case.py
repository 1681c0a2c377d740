"""One case, from the call of the implementation to its results and findings."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from refnn.arithmetic import BLOCK
from refnn.arithmetic.floats import keep_freed_memory
from refnn.judging.call import Forward, Skipped, Vjp, call
from refnn.judging.case import Case
from refnn.judging.judge import Judge, Part, explain
from refnn.judging.tally import Place, Spot, Tally
from refnn.judging.tangents import Jvp, along, call_double, call_jvp, other_side
from refnn.judging.verdict import unexplained
from refnn.models import Model
from refnn.oracle.evaluate import DUAL, Call, Rows, chunks
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
) -> tuple[list[Result], list[Finding], Judge | None, Skipped | None]:
    """The results and findings of one case, its judge (the last one, if the case was judged in pieces; none where the
    implementation supports nothing of it), and why the case, or the rest of it, is not supported. `line` is the number
    of standard deviations from which on an error is suspect.
    """
    got, complaints, skipped = call(forward, vjp, case)
    if skipped is not None and not complaints and all(g is None for g in got):
        return [], [], None, skipped
    names = ["output", *(f"grad[{n}]" for n in case.op.inputs)]
    results, findings, judge = judged(case, got, names, model_, algorithm, line, replay)
    for what, message in complaints:
        results.append(Result(*place(case, what), verdicts={"error": 1}))
        findings.append(Finding(*place(case, what), verdict="error", message=message, replay=replay))
    return results, findings, judge, skipped


def check_tangents(
    case: Case,
    jvp: Jvp | None,
    double: Jvp | None,
    model_: Model,
    algorithm: str = "accurate",
    line: float = math.inf,
    replay: str = "",
) -> tuple[list[Result], list[Finding], Skipped | None]:
    """The results and findings of the forward mode of one case, and of its double backward, and why one is not
    supported. There are none where a case says nothing of tangents."""
    results: list[Result] = []
    findings: list[Finding] = []
    why: Skipped | None = None
    for function, run in ((jvp, call_jvp), (double, call_double)):
        moved = along(case, second=run is call_double)
        if function is None or moved is None:
            continue
        got, complaints, skipped = run(function, moved)
        why = skipped or why
        parts = [(moved, got, [f"double[{n}]" for n in ("cotangent", *case.op.inputs)])]
        if run is call_jvp:
            parts = [(case, got[:1], ["output of the jvp"]), (moved, got[1:], ["jvp"])]
        for subject, values, names in parts if got else ():
            found = judged(subject, values, names, model_, algorithm, line, replay)
            results += found[0]
            findings += found[1]
        for what, message in complaints:
            results.append(Result(*place(case, what), verdicts={"error": 1}))
            findings.append(Finding(*place(case, what), verdict="error", message=message, replay=replay))
    return results, findings, why


def judged(
    case: Case,
    got: Sequence[np.ndarray | None],
    names: Sequence[str],
    model_: Model,
    algorithm: str,
    line: float,
    replay: str,
) -> tuple[list[Result], list[Finding], Judge]:
    """The results and findings of what was computed for a case, under these names, and its judge. A result that is None
    was not seen, and is not judged."""
    started = time.perf_counter()
    if case.cotangent.size > BLOCK or max(x.size for x in case.inputs if x is not None) > BLOCK:
        keep_freed_memory()
    equation = next(iter(case.op.equations), "")
    tallies = [
        None if g is None else Tally(place(case, n), model_.storage, replay, equation)
        for g, n in zip(got, names, strict=True)
    ]
    waiting: dict[int, list[Part]] = {}  # what no class was asked about yet
    classes = [*case.op.algorithms] if algorithm == "accurate" and case.row is None else []
    if case.tangents is not None and algorithm == "accurate":
        classes.append(DUAL)
    first_row = 0
    for part in chunks(replace(case.call(), cotangent=case.cotangent)):
        cotangent = part.cotangent
        assert cotangent is not None
        piece = case if cotangent is case.cotangent else _piece(case, part)
        judge = Judge(piece, model_, algorithm, line)
        size = cotangent.shape[0] if piece is not case else 0
        for which, (tally, value) in enumerate(zip(tallies, got, strict=True)):
            if tally is None or value is None:
                continue
            own = value if piece is case else value[first_row : first_row + size]
            for rows in _blocks(own):
                with np.errstate(invalid="ignore"):  # a NaN read from somewhere may be a signalling one
                    exact = np.asarray(own[rows], np.float64)
                judgement = judge.judge(which, exact, rows)
                if piece.second:
                    other_side(judge, which, judgement, rows)
                if classes and unexplained(judgement).any():
                    waiting.setdefault(which, []).append(Part(judge, judgement, piece, first_row, rows))
                    continue
                now = time.perf_counter()
                tally.add(judgement, now - started, _spot(piece, names[which], own[rows].shape, first_row, rows))
                started = now
        first_row += size
    for which, parts in waiting.items():
        explain(which, parts, classes)
        tally = tallies[which]
        assert tally is not None
        for p in parts:
            now = time.perf_counter()
            shape = p.judgement.got.shape
            tally.add(p.judgement, now - started, _spot(p.piece, names[which], shape, p.first_row, p.rows))
            started = now
    results = [t.result() for t in tallies if t is not None]
    return results, [f for t in tallies if t is not None for f in t.findings()], judge


def _piece(case: Case, part: Call) -> Case:
    assert part.cotangent is not None
    return replace(case, inputs=part.inputs, cotangent=part.cotangent, tangents=part.tangents)


def _spot(piece: Case, what: str, shape: tuple[int, ...], first_row: int, rows: Rows) -> Spot:
    """Where the elements of some `rows` of a piece stand in the case, whose row `first_row` the piece begins with."""
    offset = 0 if rows is ... else rows.start

    def spot(flat: int) -> tuple[tuple[int, ...], Mapping[str, float]]:
        index = tuple(int(i) for i in np.unravel_index(flat, shape))
        in_piece = (index[0] + offset, *index[1:]) if index else index
        in_case = (in_piece[0] + first_row, *in_piece[1:]) if index else index
        return in_case, _values_at(piece, in_piece, what)

    return spot


def place(case: Case, what: str) -> Place:
    """The first fields of results and findings."""
    return case.id, case.op.name, case.cotangent.dtype.name, case.family, what


def _values_at(case: Case, index: tuple[int, ...], what: str) -> dict[str, float]:
    """The inputs, and the cotangent, that stand at the same place as a result."""
    named = {**dict(zip(case.op.inputs, case.inputs, strict=True)), "cotangent": case.cotangent}
    result = named[what[what.index("[") + 1 : -1] if "[" in what else "cotangent"]
    shape = None if result is None else result.shape
    return {n: float(x[index]) for n, x in named.items() if x is not None and x.shape == shape}
