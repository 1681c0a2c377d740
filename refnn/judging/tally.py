"""The result and the findings of one output or gradient, gathered piece by piece."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from refnn.formats import Format
from refnn.judging.case import Case
from refnn.judging.verdict import CONVENTION, ERROR, EXACT, NAMES, OK, SCOPE, SUSPECT, Judgement
from refnn.oracle.evaluate import Rows
from refnn.report import Finding, Result

KEPT = 3  # findings kept of each kind in each result


# --- reporting -------------------------------------------------------------------------------------------------------


class Tally:
    """The result and the findings of one output or gradient, gathered piece by piece."""

    def __init__(self, case: Case, what: str, fmt: Format, replay: str) -> None:
        self.case, self.what, self.fmt, self.replay = case, what, fmt, replay
        self.counts = np.zeros(len(NAMES), np.int64)
        self.bins: dict[int, int] = {}
        self.worst, self.seconds = 0.0, 0.0
        self.alike: dict[tuple[int, str], list[Finding]] = {}
        self.scope: Counter[str] = Counter()

    def add(self, j: Judgement, piece: Case, first_row: int, rows: Rows, seconds: float) -> None:
        """Add the verdicts of some `rows` of a piece of the case, which begins at its `first_row`."""
        self.seconds += seconds
        if not j.code.size:
            return
        exact, ok = (int(np.count_nonzero(j.code == c)) for c in (EXACT, OK))
        plain = exact + ok == j.code.size
        self.counts += (
            [exact, ok, *[0] * (len(NAMES) - 2)] if plain else np.bincount(j.code.ravel(), minlength=len(NAMES))
        )
        with np.errstate(all="ignore"):
            ratio = np.asarray(j.error / j.allowed)  # NaN where both are zero
        inside = np.ascontiguousarray(ratio if plain else ratio[(j.code <= SUSPECT) & np.isfinite(ratio)]).ravel()
        self.worst = max(self.worst, float(np.fmax.reduce(inside, initial=0.0)))
        # The exponent field of a float64 is floor(log2) + 1023: 0 for zero, 2047 for NaN.
        exponents = np.bincount((inside.view(np.int64) >> 52) & 2047, minlength=2048)
        for biased in np.flatnonzero(exponents[1:2047]) + 1:
            b = int(biased) - 1023
            self.bins[b] = self.bins.get(b, 0) + int(exponents[biased])
        for why in np.unique(j.name[j.code == SCOPE]).tolist():
            self.scope[j.names[why]] += int(np.count_nonzero((j.code == SCOPE) & (j.name == why)))
        if not plain:
            self._find(j, np.where(j.error == 0, 0.0, ratio), piece, first_row, 0 if rows is ... else rows.start)

    def _find(self, j: Judgement, ratio: np.ndarray, piece: Case, first_row: int, offset: int) -> None:
        codes, names = j.code.ravel(), j.name.ravel()
        pairs = codes.astype(np.int64) * len(j.names) + names
        for pair in np.unique(pairs[(codes > OK) & (codes < SCOPE)]):
            code, name = divmod(int(pair), len(j.names))
            alike = np.flatnonzero(pairs == pair)
            order = np.argsort(-np.nan_to_num(ratio.ravel()[alike], nan=np.inf, posinf=np.inf), kind="stable")
            most = 1 if code == CONVENTION else KEPT
            kept = alike[order[:most]]
            found = [self._finding(j, ratio, piece, int(flat), code, j.names[name], first_row, offset) for flat in kept]
            before = self.alike.get((code, j.names[name]), [])
            count = sum(f.count for f in before) + len(alike)
            ranked = sorted([*before, *found], key=lambda f: -np.nan_to_num(f.ratio, nan=np.inf))
            self.alike[code, j.names[name]] = [
                replace(f, count=count if i == 0 else 0) for i, f in enumerate(ranked[:most])
            ]

    def _finding(
        self, j: Judgement, ratio: np.ndarray, piece: Case, flat: int, code: int, name: str, first_row: int, offset: int
    ) -> Finding:
        index = tuple(int(i) for i in np.unravel_index(flat, j.got.shape))
        in_piece = (index[0] + offset, *index[1:]) if index else index
        in_case = (in_piece[0] + first_row, *in_piece[1:]) if index else index
        expected = float(j.expected[index])
        with np.errstate(all="ignore"):
            ulps = float(j.error[index] / self.fmt.ulp(expected))
        return Finding(
            *place(self.case, self.what),
            verdict=NAMES[code],
            index=in_case,
            got=float(j.got[index]),
            expected=expected,
            allowed=float(j.allowed[index]),
            error=float(j.error[index]),
            ratio=float(ratio[index]),
            ulps=ulps,
            name=name,
            message="undecided at the highest precision" if code == ERROR else "",
            equation=next(iter(self.case.op.equations), ""),
            inputs=_values_at(piece, in_piece, self.what),
            replay=self.replay,
            count=0,
        )

    def result(self) -> Result:
        verdicts = {NAMES[c]: int(n) for c, n in enumerate(self.counts) if n and NAMES[c]}
        return Result(
            *place(self.case, self.what),
            verdicts=verdicts,
            worst_ratio=self.worst,
            histogram=dict(sorted(self.bins.items())),
            seconds=self.seconds,
            scope=dict(self.scope.most_common()),
        )

    def findings(self) -> list[Finding]:
        """The worst of each kind, each with how many elements it stands for (the first for all that are not shown)."""
        shown = []
        for kind in sorted(self.alike):
            first, *rest = self.alike[kind]
            shown.append(replace(first, count=first.count - len(rest)))
            shown.extend(replace(f, count=1) for f in rest)
        return shown


def place(case: Case, what: str) -> tuple[str, str, str, str, str]:
    """The first fields of results and findings."""
    return case.id, case.op.name, case.cotangent.dtype.name, case.family, what


def _values_at(case: Case, index: tuple[int, ...], what: str) -> dict[str, float]:
    """The inputs, and the cotangent, that stand at the same place as a result."""
    named = {**dict(zip(case.op.inputs, case.inputs, strict=True)), "cotangent": case.cotangent}
    result = named["cotangent" if what == "output" else what[5:-1]]
    shape = None if result is None else result.shape
    return {n: float(x[index]) for n, x in named.items() if x is not None and x.shape == shape}
