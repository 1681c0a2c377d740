"""Functions of arithmetics with their Jacobians by central differences, for how errors propagate through them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from refnn.arithmetic.floats import Floats
from refnn.arithmetic.windows import Windows

WINDOWS = Windows.over((5, 6), (2, 3), stride=(1, 2), padding=1)
ROUTED = Windows.over((6,), (2,), stride=2)
DISTINCT = np.random.default_rng(8).permutation(12).reshape(3, 4) + 0.5
TIED = np.array([[1, 2, 2, 0], [3, 3, 3, 1], [5, 4, 4, 4.0]])
AMONG = np.arange(12).reshape(3, 4) % 3 != 0

# Functions of arithmetics and positive arrays of these shapes, in which no two terms of a sum have unlike signs.
PROPAGATED: dict[str, tuple[list[tuple[int, ...]], Callable[..., Any]]] = {
    "minus": ([(3, 4)], lambda ar, x: ar.sum(-x, 0)),
    "times a power of two": ([(3, 4)], lambda ar, x: ar.sum(4 * x, 0)),
    "moved": ([(3, 4)], lambda ar, x: ar.sum(x.T.reshape(2, 6)[:, ::-1], 0)),
    "sum": ([(3, 4)], lambda ar, x: ar.sum(x)),
    "sum of one axis": ([(3, 4)], lambda ar, x: ar.sum(x, 1)),
    "sum kept": ([(3, 4)], lambda ar, x: ar.sum(x, 0, keepdims=True)),
    "sum of two axes": ([(3, 4, 2)], lambda ar, x: ar.sum(x, (0, -1))),
    "sum of a sum": ([(3, 4, 2)], lambda ar, x: ar.sum(ar.sum(x, 1), 1)),
    "spread sum": ([(3, 4)], lambda ar, x: ar.sum(x * ar.sum(ar.array(np.ones(4)) * x, 1, keepdims=True), 1)),
    "plus": ([(3, 4), (4,)], lambda ar, x, y: ar.sum(x + y, 0)),
    "plus a column": ([(3, 4), (3, 1)], lambda ar, x, y: ar.sum(x + y, 1)),
    "product": ([(3, 4), (4,), ()], lambda ar, x, y, z: ar.sum(ar.product(x, y, z), 0)),
    "square": ([(3, 4)], lambda ar, x: ar.sum(x**2, 0)),
    "quotient": ([(3, 4), (3, 1)], lambda ar, x, y: ar.product(x, over=y)),
    "quotient by a power of two": ([(3, 4)], lambda ar, x: ar.sum(ar.product(x, over=4), 0)),
    "quotient of products": ([(3, 4), (4,), (3, 1)], lambda ar, x, y, z: ar.product(x, y, over=z)),
    "dot": ([(3, 4), (4, 2)], lambda ar, a, b: ar.dot(a, b)),
    "dot, then a sum of rows": ([(3, 4), (4, 2)], lambda ar, a, b: ar.sum(ar.dot(a, b), 1)),
    "dot, then a sum of columns": ([(3, 4), (4, 2)], lambda ar, a, b: ar.sum(ar.dot(a, b), 0)),
    "dot and a bias": ([(3, 4), (4, 2), (2,)], lambda ar, a, b, c: ar.sum(ar.dot(a, b, c), 0)),
    "convolution": (
        [(2, 3, 5, 6), (4, 3, 2, 3), (4, 1, 1)],
        lambda ar, x, w, b: ar.contract(WINDOWS.correlate((4, 3, 2, 3), 1), x, w, b),
    ),
    "grouped convolution": (
        [(2, 4, 5, 6), (4, 2, 2, 3)],
        lambda ar, x, w: ar.contract(WINDOWS.correlate((4, 2, 2, 3), 2), x, w),
    ),
    "abs": ([(3, 4)], lambda ar, x: ar.sum(ar.abs(-x), 0)),
    "relu": ([(3, 4)], lambda ar, x: ar.sum(ar.relu(x - 8), 0)),
    "branch above": ([(3, 4), (4,)], lambda ar, x, y: ar.sum(ar.branch(x, x * y, y, at=0), 0)),
    "branch below": ([(3, 4), (4,)], lambda ar, x, y: ar.sum(ar.branch(x, x * y, y, at=64), 0)),
    "branch at a mix": ([(3, 4), (3, 1)], lambda ar, x, y: ar.branch(x, x, y, at=8)),
    "where": ([(3, 4), (3, 1)], lambda ar, x, y: ar.sum(ar.where(AMONG, x, y), 1)),
    "where or nothing": ([(3, 4)], lambda ar, x: ar.sum(ar.where(AMONG, x, 0), 1)),
    "taken": ([(3, 4)], lambda ar, x: ar.sum(ar.take(x, np.array([1, 0, 3]), 1), 0)),
    "windows": ([(2, 5, 6)], lambda ar, x: ar.sum(ar.windows(x, WINDOWS), 0)),
    "folded": ([(6, 2, 6, 3)], lambda ar, x: ar.fold(x, WINDOWS)),
    "folded apart": ([(2, 2, 3)], lambda ar, x: ar.sum(ar.fold(x, ROUTED), 0)),
    "maximum": ([(3, 4)], lambda ar, x: ar.max(x, 1)),
    "maximum among some": ([(3, 4)], lambda ar, x: ar.max(x, 1, AMONG)),
    "sum of maxima": ([(3, 4)], lambda ar, x: ar.sum(ar.max(x, -1), 0)),
    "routed": ([(3,)], lambda ar, g: ar.sum(ar.route(g, ar.array(DISTINCT), 1), 1)),
    "routed by what is inexact": ([(3,), (3, 4)], lambda ar, g, x: ar.sum(2 * ar.route(g, x, 1), 1)),
    "routed among some": ([(4,)], lambda ar, g: ar.sum(ar.route(g, ar.array(DISTINCT), -2, AMONG), 1)),
    "routed to several": ([(3,)], lambda ar, g: ar.sum(ar.route(g, ar.array(TIED), 1), 1)),
    "exp": ([(3, 4)], lambda ar, x: ar.sum(ar.exp(x / 16), 0)),
    "log": ([(3, 4)], lambda ar, x: ar.sum(ar.log(x), 0)),
    "log1p": ([(3, 4)], lambda ar, x: ar.sum(ar.log1p(x), 0)),
    "erf": ([(3, 4)], lambda ar, x: ar.sum(ar.erf(x / 16), 0)),
}
MAXIMA = {name for name in PROPAGATED if "maxim" in name}  # one of several errors, and for bounds the largest of all


def differentiated(name: str) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray, list[np.ndarray]]:
    """Inputs, sizes of the errors of their entries (near 2^-20), the value, and of each input |dy/dx| by entry of y and
    of x."""
    shapes, f = PROPAGATED[name]
    rng, floats, h = np.random.default_rng(8), Floats(), 2.0**-14
    mids = [DISTINCT + 0.25 if s == (3, 4) else rng.permutation(math.prod(s)).reshape(s) + 0.75 for s in shapes]
    sizes = [rng.uniform(1, 2, s) * 2.0**-20 for s in shapes]
    y = np.asarray(f(floats, *mids))
    columns = []
    for k, mid in enumerate(mids):
        column = np.empty((y.size, mid.size))
        for j in range(mid.size):
            step = np.zeros(mid.size)
            step[j] = h
            up, down = ([*mids[:k], mid + sign * step.reshape(mid.shape), *mids[k + 1 :]] for sign in (1, -1))
            column[:, j] = np.abs(np.ravel(f(floats, *up)) - np.ravel(f(floats, *down))) / (2 * h)
        columns.append(column)
    return mids, sizes, y, columns
