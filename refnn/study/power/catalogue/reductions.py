"""Reductions over one axis, several, or all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from refnn.study.power.mutant import Array, Forward, Mutant, Pair, in_float64, own, regraded, summed_narrowly

Axis = Any


def _axes(x: Array, axis: Axis) -> tuple[int, ...]:
    named = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return tuple(sorted(a % x.ndim for a in named))


def of_slices(value: Callable[..., Array]) -> Forward:
    """A reduction whose `value` gives of each row of an array (slices, elements) one number."""

    def forward(x: Array, *, axis: Axis, keepdims: bool, **params: Any) -> Array:
        axes = _axes(x, axis)
        left = [n for a, n in enumerate(x.shape) if a not in axes]
        y = np.zeros(left, x.dtype)
        if x.size:
            y = value(np.moveaxis(x, axes, range(len(left), x.ndim)).reshape(y.size, -1), **params).astype(x.dtype)
        return y.reshape([1 if a in axes else n for a, n in enumerate(x.shape)] if keepdims else left)

    return forward


def counted(x: Array, axis: Axis) -> int:
    return int(np.prod([x.shape[a] for a in _axes(x, axis)]))


def in_fours(rows: Array) -> Array:
    """The sums of the first multiple of four elements; of all where there are fewer."""
    return rows[:, : rows.shape[1] // 4 * 4 or None].sum(1)


def to_the_first(grads: Any, g: Array, x: Array, *, axis: Axis, keepdims: bool) -> Any:
    """The whole gradient to the first element of each slice."""
    place = tuple(slice(0, 1) if a in _axes(x, axis) else slice(None) for a in range(x.ndim))
    only = np.zeros_like(grads[0])
    only[place] = grads[0][place]
    return (only,)


def of_a_mean(grads: Any, g: Array, x: Array, *, axis: Axis, keepdims: bool) -> Any:
    return (grads[0] / max(counted(x, axis), 1),)


def of_one_axis(grads: Any, g: Array, x: Array, *, axis: Axis, keepdims: bool) -> Any:
    """The gradient of a mean over the last of the axes alone, as often as there are slices of it."""
    return (grads[0] * (counted(x, axis) / x.shape[_axes(x, axis)[-1]]) if x.ndim and x.size else grads[0],)


def two_passes(over: Callable[[int, int], int]) -> Forward:
    """The variance over another number of degrees of freedom."""
    return in_float64(of_slices(lambda rows, *, correction: _squared(rows) / over(rows.shape[1], correction)))


def _squared(rows: Array) -> Array:
    return np.square(rows - rows.mean(1, keepdims=True)).sum(1)


def in_one_pass(rows: Array, *, correction: int) -> Array:
    """The variance from the sums of x and of x^2, in the format of x."""
    n = rows.dtype.type(rows.shape[1])
    return (np.square(rows).sum(1) - np.square(rows.sum(1)) / n) / (n - rows.dtype.type(correction))


def not_centred(grads: Any, g: Array, x: Array, *, axis: Axis, keepdims: bool, correction: int) -> Any:
    """The gradient of the mean of squares."""
    return (_over(g, x, axis) * 2 * x / (counted(x, axis) - correction),)


def _over(g: Array, x: Array, axis: Axis) -> Array:
    return g.reshape([1 if a in _axes(x, axis) else n for a, n in enumerate(x.shape)])


RIGHT: Mapping[str, Pair] = {}

MUTANTS = (
    Mutant("sum", "", "a narrow sum", forward=of_slices(lambda rows: summed_narrowly(rows, 1))),
    Mutant("sum", "", "the last n mod 4 elements are left out", forward=in_float64(of_slices(in_fours))),
    Mutant(
        "sum", "", "the sum of one block of 1024", forward=in_float64(of_slices(lambda rows: rows[:, :1024].sum(1)))
    ),
    Mutant("sum", "", "the gradient of the first element alone", vjp=regraded("sum", to_the_first)),
    Mutant("sum", "", "the gradient of a mean", vjp=regraded("sum", of_a_mean)),
    Mutant("mean", "", "a narrow sum", forward=of_slices(lambda rows: summed_narrowly(rows, 1)[:, 0] / rows.shape[1])),
    Mutant(
        "mean",
        "",
        "over one less than the number of elements",
        forward=in_float64(of_slices(lambda rows: rows.sum(1) / max(rows.shape[1] - 1, 1))),
    ),
    Mutant("mean", "", "the gradient is not divided", vjp=own("sum")[1]),
    Mutant("mean", "", "the gradient is divided by the length of one axis", vjp=regraded("mean", of_one_axis)),
    Mutant("var", "", "the correction is always 1", forward=two_passes(lambda n, c: max(n - 1, 1))),
    Mutant("var", "", "the correction is forgotten", forward=two_passes(lambda n, c: n)),
    Mutant("var", "", "one pass", forward=of_slices(in_one_pass), kind="explained"),
    Mutant(
        "var",
        "",
        "a gradient over the number of elements",
        vjp=regraded(
            "var", lambda v, g, x, *, axis, correction, **p: (v[0] * (1 - correction / max(counted(x, axis), 1)),)
        ),
    ),
    Mutant("var", "", "a gradient without the mean", vjp=regraded("var", not_centred)),
    Mutant("var", "", "a gradient without the factor 2", vjp=regraded("var", lambda v, *_, **p: (v[0] / 2,))),
)
