"""Linear layers, dropout, flattening."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import refnn
from refnn.study.power.mutant import Array, Mutant, Pair, in_float64, narrow, regraded


def rows(g: Array) -> Array:
    return g.reshape(-1, g.shape[-1])


def power_of_two(n: int) -> int:
    """The largest power of two up to n."""
    return 1 << (n.bit_length() - 1) if n else 0


def with_bias_gradient(change: Any) -> Any:
    """The vjp of a linear layer whose gradient of the bias is `change` of the rows of g."""

    def changed(grads: Any, g: Array, x: Array, weight: Array, bias: Array | None) -> Any:
        if bias is None or not g.size:
            return grads
        return *grads[:2], np.broadcast_to(change(rows(g)), bias.shape)

    return regraded("linear", changed)


def last_matrix(grads: Any, g: Array, x: Array, weight: Array, bias: Array | None) -> Any:
    """The gradient of the weight from the last of a batch of matrices."""
    if x.ndim < 3:
        return grads
    return grads[0], refnn.linear.vjp(g[-1], x[-1], weight, bias)[1], grads[2]


def dropout(x: Array, mask: Array, *, p: float) -> Array:
    return np.zeros_like(x) if p == 1 else mask * x / (1 - p)


def dropout_vjp(g: Array, x: Array, mask: Array, *, p: float) -> Any:
    return dropout(g, mask, p=p), None


RIGHT: Mapping[str, Pair] = {"dropout": (in_float64(dropout), in_float64(dropout_vjp))}

MUTANTS = (
    Mutant(
        "linear",
        "mlpack/mlpack PR3679",
        "the bias's gradient of the first sample",
        vjp=with_bias_gradient(lambda g: g[0]),
    ),
    Mutant(
        "linear",
        "kvfrans/notes#5",
        "the mean over the batch as the bias's gradient",
        vjp=with_bias_gradient(lambda g: g.mean(0)),
    ),
    Mutant(
        "linear",
        "rasbt/stat453-deep-learning-ss21#5",
        "one sum over everything as the bias's gradient",
        vjp=with_bias_gradient(lambda g: g.sum()),
    ),
    Mutant(
        "linear",
        "karpathy/llm.c PR439",
        "the bias's gradient from a power of two of rows",
        vjp=with_bias_gradient(lambda g: g[: power_of_two(len(g))].sum(0)),
    ),
    Mutant(
        "linear",
        "pytorch/pytorch#53635",
        "x and weight rounded to a narrower format",
        forward=lambda x, w, b: refnn.linear(narrow(x).astype(x.dtype), narrow(w).astype(w.dtype), b),
    ),
    Mutant("linear", "", "the weight's gradient from the last matrix of a batch", vjp=regraded("linear", last_matrix)),
    Mutant(
        "linear",
        "",
        "the bias is added twice",
        forward=in_float64(lambda x, w, b: refnn.linear(x, w, None if b is None else 2 * b)),
        vjp=regraded("linear", lambda grads, g, x, w, b: (*grads[:2], None if b is None else 2 * grads[2])),
    ),
    Mutant(
        "dropout",
        "ddbourgin/numpy-ml#94",
        "scaled and not masked",
        vjp=in_float64(lambda g, x, mask, *, p: (g / np.float64(1 - p), None)),
    ),
    Mutant(
        "dropout",
        "kakaobrain/trident PR89",
        "0/0 where p is 1",
        forward=in_float64(lambda x, mask, *, p: mask * x / np.float64(1 - p)),
        vjp=in_float64(lambda g, x, mask, *, p: (mask * g / np.float64(1 - p), None)),
    ),
    Mutant(
        "dropout",
        "",
        "not scaled",
        forward=in_float64(lambda x, mask, *, p: x * (mask if p < 1 else 0)),
        vjp=in_float64(lambda g, x, mask, *, p: (g * (mask if p < 1 else 0), None)),
    ),
    Mutant(
        "dropout",
        "",
        "scaled by 1/p",
        forward=in_float64(lambda x, mask, *, p: dropout(x, mask, p=1 - p)),
        vjp=in_float64(lambda g, x, mask, *, p: dropout_vjp(g, x, mask, p=1 - p)),
    ),
    Mutant(
        "flatten",
        "",
        "the gradient in the other order of its elements",
        vjp=lambda g, x, *, start: (g.reshape(x.shape, order="F"),),
    ),
)
