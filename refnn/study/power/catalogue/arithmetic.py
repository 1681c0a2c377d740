"""Arithmetic of two arrays, and products of matrices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import refnn
from refnn.study.power.mutant import Array, Mutant, Pair, in_float64, narrow, own, regraded


def one_of_many(grads: Any, g: Array, x: Array, other: Array) -> Any:
    """The gradient of a stretched array from one place of each axis along which it was stretched."""
    return tuple(_first(g, mine) if mine.size != g.size else mine for mine in grads)


def _first(g: Array, mine: Array) -> Array:
    """Of g the first along each axis that the gradient lacks, or of which it has one."""
    added = g.ndim - mine.ndim
    places = (*[0] * added, *(slice(0, 1) if n == 1 else slice(None) for n in mine.shape))
    return g[places] if g.size else mine


def mean_of_many(grads: Any, g: Array, x: Array, other: Array) -> Any:
    """The gradients over the number of their terms."""
    return tuple(mine * (mine.size / g.size) if g.size else mine for mine in grads)


def _transposed(other: Array) -> Array:
    """Square matrices transposed, others as they are."""
    return other.swapaxes(-1, -2) if other.ndim > 1 and other.shape[-1] == other.shape[-2] else other


def last_pair(grads: Any, g: Array, x: Array, other: Array) -> Any:
    """The gradient of a matrix that is in several products, from the last of them."""
    if x.ndim < 3 or other.ndim != 2 or not len(x):
        return grads
    return grads[0], refnn.matmul.vjp(g[-1], x[-1], other)[1]


RIGHT: Mapping[str, Pair] = {}

MUTANTS = (
    Mutant("add", "", "a stretched array's gradient from one of its places", vjp=regraded("add", one_of_many)),
    Mutant("add", "", "a stretched array's gradient is a mean", vjp=regraded("add", mean_of_many)),
    Mutant(
        "sub",
        "",
        "the subtrahend's gradient with the other sign",
        vjp=regraded("sub", lambda v, g, x, o: (v[0], -v[1])),
    ),
    Mutant("sub", "", "other less x", forward=in_float64(lambda x, o: o - x), vjp=own("sub")[1]),
    Mutant(
        "mul",
        "",
        "the gradients are exchanged",
        vjp=regraded("mul", lambda v, g, x, o: refnn.mul.vjp(g, o, x) if x.shape == o.shape else v),
    ),
    Mutant("mul", "", "a stretched array's gradient is a mean", vjp=regraded("mul", mean_of_many)),
    Mutant(
        "mul",
        "",
        "factors rounded to a narrower format",
        forward=lambda x, o: refnn.mul(narrow(x).astype(x.dtype), narrow(o).astype(o.dtype)),
    ),
    Mutant(
        "div",
        "",
        "the divisor's gradient with the other sign",
        vjp=regraded("div", lambda v, g, x, o: (v[0], -v[1])),
    ),
    Mutant("div", "", "a stretched array's gradient is a mean", vjp=regraded("div", mean_of_many)),
    Mutant("div", "", "1e-7 added to the divisor", forward=in_float64(lambda x, o: x / (o + 1e-7))),
    Mutant("matmul", "", "the gradient of a shared matrix from the last product", vjp=regraded("matmul", last_pair)),
    Mutant(
        "matmul",
        "",
        "a square matrix is transposed in the gradient",
        vjp=regraded("matmul", lambda v, g, x, o: (refnn.matmul.vjp(g, x, _transposed(o))[0], v[1])),
    ),
    Mutant(
        "matmul",
        "pytorch/pytorch#53635",
        "factors rounded to a narrower format",
        forward=lambda x, o: refnn.matmul(narrow(x).astype(x.dtype), narrow(o).astype(o.dtype)),
    ),
    Mutant(
        "matmul",
        "",
        "the last product is left out of long sums",
        forward=in_float64(
            lambda x, o: (
                refnn.matmul(x, o)
                if x.shape[-1] < 64
                else refnn.matmul(x[..., :-1], o[..., :-1, :] if o.ndim > 1 else o[:-1])
            )
        ),
    ),
)
