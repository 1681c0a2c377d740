"""Floats that add and that compute elementary functions as NumPy does not: in sequence, and in float64."""

from __future__ import annotations

import math

import numpy as np

from refnn.arithmetic.floats import Floats
from refnn.arithmetic.functions import FUNCTIONS
from refnn.arithmetic.protocol import Axis

# --- implementations -------------------------------------------------------------------------------------------------


class Sequential(Floats):
    """Sums from the first term to the last, one rounding each; NumPy's own are pairwise, and its products BLAS's."""

    name = "Sequential"

    def sum(self, x: np.ndarray, axis: Axis = None, keepdims: bool = False) -> np.ndarray:
        axes = tuple(range(x.ndim)) if axis is None else tuple(a % x.ndim for a in np.atleast_1d(axis))
        rest = [n for a, n in enumerate(x.shape) if a not in axes]
        terms = np.moveaxis(x, axes, range(len(axes))).reshape(math.prod(x.shape[a] for a in axes), *rest)
        kept = [1 if a in axes else n for a, n in enumerate(x.shape)]
        return last_sum(terms).reshape(kept if keepdims else rest)

    def dot(self, a: np.ndarray, b: np.ndarray, plus: np.ndarray | None = None) -> np.ndarray:
        terms = np.moveaxis(a, -1, 0)[..., None] * np.moveaxis(b, -2, 0)[..., None, :]
        if plus is not None:
            terms = np.concatenate([terms, np.broadcast_to(plus, terms.shape[1:])[None]])
        return last_sum(terms)


def last_sum(terms: np.ndarray) -> np.ndarray:
    """The end of a running sum, which keeps its dtype (np.add.accumulate stores every partial sum)."""
    return np.add.accumulate(terms, axis=0)[-1] if len(terms) else np.zeros(terms.shape[1:], terms.dtype)


class Rounded(Floats):
    """Floats whose elementary functions are those of float64, rounded: what their own errors hide shows here."""

    name = "Rounded"

    def function(self, name: str, x: np.ndarray, least: np.ndarray | None = None) -> np.ndarray:
        return np.asarray(FUNCTIONS[name](x.astype(np.float64)), x.dtype)
