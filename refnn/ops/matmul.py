r"""Product of matrices, of vectors, or of batches of matrices that broadcast.

    y_ij = sum_p x_ip other_pj
    dL/dx_ip = sum_j g_ij other_pj,  dL/dother_pj = sum_i x_ip g_ij

x is (..., m, n) and other (..., n, k), or one or both are a vector (n,), which is a row on the left and a column on the
right, and whose axis the output lacks. The axes before the last two broadcast. A gradient is also summed over the axes
along which its array was stretched: all of its products are terms of one sum, in any order, or the products of
matrices are stored and then added. Sums of n products, fused or not: ((1+u)^n - 1) sum |x||other|.
"""

import math
from math import inf, nan

from refnn.arithmetic.broadcast import alike, common, places
from refnn.op import Input, Op, Special, Variant
from refnn.ops._shared import product_rows
from refnn.variants import ordinary


def _matrices(x, other):
    """Both with two axes or more."""
    return (x.reshape(1, *x.shape) if x.ndim == 1 else x), (
        other.reshape(*other.shape, 1) if other.ndim == 1 else other
    )


def _batch(a, b):
    return common(a.shape[:-2], b.shape[:-2])


def _stacked(a, found):
    """The matrices of a in those places, one after the other."""
    rows = a.reshape(math.prod(a.shape[:-2]), *a.shape[-2:])
    return rows if len(found) == rows.shape[0] else rows[found]


def _product(ar, a, b, found):
    """For each matrix of an array, which is found at these places, the sum of a @ b over the pairs of the batch that it
    is in: one sum of products, of the matrices of a side by side and those of b below each other, or the sum of what
    another kernel stored for each pair."""
    pairs = alike(found)
    count, many = pairs.shape
    if pairs.shape[1] <= 1:
        return ar.dot(a, b)

    def at_once():
        rows = a[pairs].swapaxes(1, 2).reshape((count, a.shape[1], many * a.shape[2]))
        return ar.dot(rows, b[pairs].reshape((count, many * b.shape[1], b.shape[2])))

    return ar.either(at_once, lambda: ar.sum(ar.saved(ar.dot(a, b))[pairs], 1))


def forward(ar, x, other):
    a, b = _matrices(x, other)
    batch = _batch(a, b)
    y = ar.dot(_stacked(a, places(a.shape[:-2], batch)), _stacked(b, places(b.shape[:-2], batch)))
    rows, columns = x.shape[-2:-1] if x.ndim > 1 else (), other.shape[-1:] if other.ndim > 1 else ()
    return y.reshape((*batch, *rows, *columns))


def vjp(ar, g, y, x, other):
    a, b = _matrices(x, other)
    batch = _batch(a, b)
    of_a, of_b = places(a.shape[:-2], batch), places(b.shape[:-2], batch)
    d = g.reshape(math.prod(batch), a.shape[-2], b.shape[-1])
    return (
        _product(ar, d, _stacked(b, of_b).swapaxes(1, 2), of_a).reshape(*x.shape),
        _product(ar, _stacked(a, of_a).swapaxes(1, 2), d, of_b).reshape(*other.shape),
    )


def validate(inputs, params):
    x, other = inputs["x"], inputs["other"]
    if not x.ndim or not other.ndim:
        raise ValueError(f"matmul: x has shape {x.shape} and other {other.shape}, expected at least one axis of each")
    a, b = _matrices(x, other)
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(
            f"matmul: x has shape {x.shape} and other {other.shape}, expected {b.shape[-2]} for the last axis of x"
        )
    if 0 in a.shape[-2:] or 0 in b.shape[-2:]:
        raise ValueError(f"matmul: x has shape {x.shape} and other {other.shape}, expected no empty matrix")
    try:
        _batch(a, b)
    except ValueError:
        raise ValueError(
            f"matmul: x has shape {x.shape} and other {other.shape}, expected axes before the matrices that broadcast"
        ) from None


def _variant(x, other):
    return Variant({"x": x, "other": other})


def _without_bias(row):
    """A row of the table of a product and a bias, where the bias is zero."""
    return Special(row.inputs[:2], row.output, row.grads[:2], row.why)


matmul = Op(
    name="matmul",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input(), "other": Input()},
    validate=validate,
    variants=(
        _variant((5, 7), (7, 3)),
        _variant((2, 1031), (1031, 3)),
        _variant((3, 5, 4), (3, 4, 2)),
        _variant((3, 5, 4), (4, 2)),
        _variant((2, 1, 3, 4), (5, 4, 2)),
        _variant((7,), (7,)),
        _variant((3, 5), (5,)),
        _variant((6,), (2, 6, 3)),
        _variant((0, 3, 4), (0, 4, 2)),
    ),
    special=(
        *(_without_bias(row) for row in product_rows(2, 2, 2) if row.inputs[2] in ([[0.0]], [[1.0]], [[-0.0]])),
        Special(([[inf, -inf]], [[1], [1]]), [[nan]], ([[1, 1]], [[inf], [-inf]]), "infinity less infinity"),
        Special(([[0.0, -0.0]], [[1], [1]]), [[0]], ([[1, 1]], [[0], [0]]), "either sign of zero"),
        Special(([nan, 1], [1, 2]), nan, ([1, 2], [nan, 1]), "a NaN among the terms"),
    ),
    usual=lambda op: (
        *ordinary(op),
        _variant((2, 4, 16, 8), (2, 4, 8, 16)),
        _variant((2, 4, 16, 16), (2, 4, 16, 16)),
        _variant((8, 10, 64), (64, 48)),
        _variant((1, 23), (23, 20)),
        _variant((4, 8, 8), (8,)),
    ),
)
