"""Whether the roundings of a sum may be taken as independent: what the values of its terms say of it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from refnn.arithmetic.floats import Floats
from refnn.models import ULPS
from refnn.op import Op, Params, lift

TERMS_PER_VALUE = 2.0  # so many terms for each distinct one add 0.42 of the expected variance of a sum
FEW = 1024  # distinct values that are looked at one by one; more of them may be few in each row
RESIDUE = 3.5  # standard deviations: a mean of roundings so far from zero is no chance


ROWS = 16  # that are looked at, of those that do not touch each other


def varied(*arrays: np.ndarray | None, functions: bool = True, rows: int = 1) -> bool:
    """Whether the roundings of sums over the `arrays`, the last of them the cotangent, may be taken as independent.

    Within a binade of the running sum the rounding of s + t is a function of t alone: the same number rounds the same
    way each time. So terms that take D values, all equally often, have D roundings to average out, not n. A sum of n
    positive terms, half of which meet the last binade, has about 0.43 + 0.21 n/D of the expected variance: the rounding
    of a number spread over a binade has 3/7 of what is expected, and the mean of D of them is shared by n/2 terms.

    Where products of the inputs take too few values, or differences of two inputs of one size, or the cotangent, the
    values themselves are asked whether their roundings average out: those of uint8/255 do, those of squared tenths do
    not, nor those of differences of pixels. `functions` says that an op may add
    elementary functions of its inputs, `rows` that nothing is added from one of so many rows to another. Sums of zeros
    are exact, and runs of one value are seen apart, because they may be few values of one sum and many of the whole.
    """
    *inputs, g = (
        np.zeros(0) if x is None or x.dtype.kind in "biu" else np.ravel(x if x.itemsize > 2 else x.astype(np.float32))
        for x in arrays
    )
    coarse = any(x is not None and x.dtype.itemsize == 2 for x in arrays)
    if any(map(_has_runs, (*inputs, g))):
        return False
    if any(flat.size % rows for flat in (*inputs, g)):
        rows = 1
    with np.errstate(all="ignore"):
        apart = [np.abs(a - b) for a, b in itertools.combinations(inputs, 2) if a.size == b.size and a.size]
    chosen = range(rows) if rows <= ROWS else np.random.default_rng(0).integers(rows, size=ROWS).tolist()
    return all(
        _many_values(part) or _average_out(part, coarse, functions)
        for row in chosen
        for group in (*([flat] for flat in (g, *apart)), [flat for flat in inputs if flat.size])
        if (part := [flat.reshape(rows, -1)[row] for flat in group])
    )


def independent(op: Op, inputs: Sequence[np.ndarray | None], params: Params, g: np.ndarray) -> bool:
    """Whether the roundings of an op on these inputs may be taken as independent (see `varied`)."""
    x = inputs[0]
    rows = len(x) if x is not None and x.size and op.rowwise(x.ndim, params) else 1
    return varied(*inputs, g, rows=rows) or (
        varied(*inputs, g, functions=False, rows=rows) and not _takes_functions(op, inputs, params)
    )


def _has_runs(flat: np.ndarray, run: int = 8, share: float = 0.01) -> bool:
    """Whether runs of one non-zero value make up more than a `share`."""
    same = np.flatnonzero((flat[1:] == flat[:-1]) & (flat[1:] != 0))
    if len(same) <= share * flat.size * (run - 1) / run:
        return False
    starts = np.flatnonzero(np.diff(same, prepend=-2) != 1)
    lengths = np.diff(np.append(starts, len(same))) + 1
    return bool(lengths[lengths >= run].sum() > share * flat.size)


def _many_values(group: list[np.ndarray], sample: int = 4096) -> bool:
    """Whether products of elements, one of each array, take enough values for as many terms as the longest array has:
    two elements that are drawn from D values, all equally often, are equal once in D pairs."""
    values, terms = 1.0, 0
    for flat in group:
        drawn = flat if flat.size <= sample else flat[np.random.default_rng(0).integers(flat.size, size=sample)]
        often = np.unique(drawn[(drawn != 0) & np.isfinite(drawn)], return_counts=True)[1]
        if often.size:
            equal = float(np.sum(often * (often - 1.0)))
            values *= max(often.sum() * (often.sum() - 1.0) / max(equal, 1.0), 1.0)
            terms = max(terms, int(np.count_nonzero(flat)))
    return terms <= TERMS_PER_VALUE * values


def _average_out(group: list[np.ndarray], coarse: bool, functions: bool) -> bool:
    """Whether the roundings of few distinct values have a mean of zero in every binade that a running sum may pass: of
    the numbers, their squares, exponentials if there are `functions`, and products of two arrays. Sums of `coarse`
    numbers of 16 bits are looked at in float32, where those of few digits are exact."""
    counted = [np.unique(flat[(flat != 0) & np.isfinite(flat)], return_counts=True) for flat in group]
    counted = [(v, c / c.sum()) for v, c in counted if len(v)]
    if not coarse and any(len(v) > FEW for v, _ in counted):
        return False
    terms = max(int(np.count_nonzero(flat)) for flat in group)
    with np.errstate(all="ignore"):
        sums = [(t, c) for v, c in counted for t in (v, v * v, *((np.exp(v - v.max()),) if functions else ()))]
        for (v, c), (w, d) in itertools.combinations(counted, 2):
            if len(v) * len(w) > FEW * FEW:
                return False
            sums.append((np.multiply.outer(v, w).ravel(), np.multiply.outer(c, d).ravel()))
    return all(_no_drift(t.astype(np.float64), share, terms, float(np.finfo(t.dtype).eps)) for t, share in sums)


def _no_drift(t: np.ndarray, share: np.ndarray, terms: int, eps: float) -> bool:
    """Whether so many `terms`, of which each value of t makes a `share`, round without a drift while they are added, in
    the sum of all and in those of fewer."""
    some = np.isfinite(t) & (t != 0)
    t, share = t[some], share[some]
    total = terms * float(share @ np.abs(t))
    if not 0 < total < math.inf:
        return True  # nothing is added, or nothing is left of it
    for halvings in range(max(1, int(math.log2(terms)) - 3)):
        ulp = math.ldexp(eps, math.frexp(total / 2**halvings)[1] - 1)  # of the sum
        if ulp == 0:
            return True  # below the normal range sums are exact
        steps = t / ulp
        drift = float(share @ (steps - np.rint(steps)))
        if abs(drift) > RESIDUE / math.sqrt(12 * terms / 2**halvings):
            return False
    return True


def _takes_functions(op: Op, inputs: Sequence[np.ndarray | None], params: Params) -> bool:
    """Whether the definition takes an elementary function of anything, on the way to its output."""
    taken: list[str] = []

    class Watched(Floats):
        def __getattribute__(self, name: str) -> Any:
            if name in ULPS["generic"]:
                taken.append(name)
            return super().__getattribute__(name)

    ar = Watched(op.dtype_of(inputs))
    with np.errstate(all="ignore"):
        op.forward_definition(ar, *lift(ar, inputs), **params)
    return bool(taken)
