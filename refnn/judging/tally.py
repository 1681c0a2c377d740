"""The result and the findings of one output or gradient, gathered piece by piece."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from refnn.formats import Format
from refnn.judging.verdict import CONVENTION, ERROR, EXACT, NAMES, OK, SCOPE, SUSPECT, Judgement
from refnn.report import Finding, Result

KEPT = 3  # findings kept of each kind in each result


# --- reporting -------------------------------------------------------------------------------------------------------


Place = tuple[str, str, str, str, str]
Spot = Callable[[int], tuple[tuple[int, ...], Mapping[str, float]]]


class Tally:
    """The result and the findings of one output or gradient, gathered piece by piece.

    `place` is (case, op, dtype, family, what), the first fields of results and findings; `message` stands in every
    finding.
    """

    def __init__(self, place: Place, fmt: Format, replay: str, equation: str = "", message: str = "") -> None:
        self.place, self.fmt, self.replay, self.equation, self.message = place, fmt, replay, equation, message
        self.counts = np.zeros(len(NAMES), np.int64)
        self.bins: dict[int, int] = {}
        self.worst, self.seconds = 0.0, 0.0
        self.alike: dict[tuple[int, str], list[Finding]] = {}
        self.scope: Counter[str] = Counter()

    def add(self, j: Judgement, seconds: float, spot: Spot) -> None:
        """Add the verdicts of a part of the result; `spot` says where each of its elements, in C order, stands in the
        whole, and which inputs stand there."""
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
            self._find(j, np.where(j.error == 0, 0.0, ratio), spot)

    def _find(self, j: Judgement, ratio: np.ndarray, spot: Spot) -> None:
        codes, names = j.code.ravel(), j.name.ravel()
        pairs = codes.astype(np.int64) * len(j.names) + names
        for pair in np.unique(pairs[(codes > OK) & (codes < SCOPE)]):
            code, name = divmod(int(pair), len(j.names))
            alike = np.flatnonzero(pairs == pair)
            order = np.argsort(-np.nan_to_num(ratio.ravel()[alike], nan=np.inf, posinf=np.inf), kind="stable")
            most = 1 if code == CONVENTION else KEPT
            kept = alike[order[:most]]
            found = [self._finding(j, ratio, int(flat), code, j.names[name], spot) for flat in kept]
            before = self.alike.get((code, j.names[name]), [])
            count = sum(f.count for f in before) + len(alike)
            ranked = sorted([*before, *found], key=lambda f: -np.nan_to_num(f.ratio, nan=np.inf))
            self.alike[code, j.names[name]] = [
                replace(f, count=count if i == 0 else 0) for i, f in enumerate(ranked[:most])
            ]

    def _finding(self, j: Judgement, ratio: np.ndarray, flat: int, code: int, name: str, spot: Spot) -> Finding:
        index = tuple(int(i) for i in np.unravel_index(flat, j.got.shape))
        in_case, inputs = spot(flat)
        expected = float(j.expected[index])
        with np.errstate(all="ignore"):
            ulps = float(j.error[index] / self.fmt.ulp(expected))
        return Finding(
            *self.place,
            verdict=NAMES[code],
            index=in_case,
            got=float(j.got[index]),
            expected=expected,
            allowed=float(j.allowed[index]),
            error=float(j.error[index]),
            ratio=float(ratio[index]),
            ulps=ulps,
            name=name,
            message="undecided at the highest precision" if code == ERROR else self.message,
            equation=self.equation,
            inputs=inputs,
            replay=self.replay,
            count=0,
        )

    def result(self) -> Result:
        verdicts = {NAMES[c]: int(n) for c, n in enumerate(self.counts) if n and NAMES[c]}
        return Result(
            *self.place,
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
