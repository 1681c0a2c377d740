r"""Affine map of the last axis.

    a_j = sum_i w_ji x_i + b_j                             challa2023 (8)
    dL/dw_ji = d_j x_i,  dL/db_j = d_j                     challa2023 (19), (20), (26), (27), summed over samples
    dL/dx_i = sum_j d_j w_ji                               challa2023 (23)

x is (..., in), weight (out, in), bias (out,) or None; the output is (..., out), in the dtype of x. The sources write
w_ij for the weight from i to j; here, as in PyTorch, the target comes first. Sums of n products in any order, fused or
not, with the bias anywhere among them: ((1+u)^(n+1) - 1) (sum |w||x| + |b|).
"""

from math import inf, nan

from refnn.op import Input, Op, Special, Variant
from refnn.variants import ordinary


def forward(ar, x, weight, bias=None):
    rows = x.reshape(-1, x.shape[-1]) if x.ndim else x
    return ar.dot(rows, weight.T, bias).reshape(*x.shape[:-1], weight.shape[0])


def vjp(ar, g, y, x, weight, bias=None):
    d = g.reshape(-1, weight.shape[0])
    rows = x.reshape(-1, weight.shape[1])
    return (
        ar.dot(d, weight).reshape(*x.shape),
        ar.dot(d.T, rows),
        None if bias is None else ar.sum(d, 0),
    )


def validate(inputs, params):
    x, weight, bias = inputs["x"], inputs["weight"], inputs["bias"]
    if weight.ndim != 2:
        raise ValueError(f"linear: weight has shape {weight.shape}, expected (out, in)")
    if x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"linear: x has shape {x.shape} and weight {weight.shape}, "
            f"expected x to end in {weight.shape[1]}, as weight does"
        )
    if 0 in weight.shape:
        raise ValueError(f"linear: weight has shape {weight.shape}, expected no empty axis")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(
            f"linear: bias has shape {bias.shape}, expected ({weight.shape[0]},), the first axis of weight"
        )


def _variant(x, outputs, bias=True):
    return Variant({"x": x, "weight": (outputs, x[-1]), "bias": (outputs,) if bias else None})


linear = Op(
    name="linear",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input(), "weight": Input(), "bias": Input(optional=True)},
    validate=validate,
    variants=(
        _variant((5, 7), 3),
        _variant((3, 1031), 2, bias=False),
        _variant((131, 3), 5),
        _variant((2, 3, 11), 4),
        _variant((6,), 4),
        _variant((4, 1), 1),
        _variant((0, 3), 2),
    ),
    special=(
        Special(([[nan, 1]], [[1, 2]], [0]), [[nan]], ([[1, 2]], [[nan, 1]], [1]), "a NaN among the terms"),
        Special(([[inf, 1]], [[1, 2]], [0.0]), [[inf]], ([[1, 2]], [[inf, 1]], [1]), "an infinite term"),
        Special(([[-inf, 0.0]], [[2, -0.0]], [-0.0]), [[-inf]], ([[2, 0]], [[-inf, 0]], [1]), "likewise"),
        Special(([[inf, -inf]], [[1, 1]], [0]), [[nan]], ([[1, 1]], [[inf, -inf]], [1]), "infinity less infinity"),
        Special(([[inf, 1]], [[0.0, 1]], [0]), [[nan]], ([[0, 1]], [[inf, 1]], [1]), "infinity times 0"),
        Special(([[-0.0, 1]], [[nan, 1]], [0]), [[nan]], ([[nan, 1]], [[0, 1]], [1]), "0 times NaN"),
        Special(([[0.0, 1]], [[1, inf]], [0]), [[inf]], ([[1, inf]], [[0, 1]], [1]), "an infinite weight"),
        Special(([[0.0, 1]], [[1, -inf]], [0]), [[-inf]], ([[1, -inf]], [[0, 1]], [1]), "likewise"),
        Special(
            ([[1, 1]], [[1, 1]], [nan]), [[nan]], ([[1, 1]], [[1, 1]], [1]), "a NaN bias; no gradient depends on it"
        ),
        Special(([[1, 1]], [[1, 1]], [inf]), [[inf]], ([[1, 1]], [[1, 1]], [1]), "an infinite bias"),
        Special(([[1, 1]], [[1, 1]], [-inf]), [[-inf]], ([[1, 1]], [[1, 1]], [1]), "likewise"),
        Special(([[0.0, -0.0]], [[1, 1]], [0]), [[0]], ([[1, 1]], [[0, 0]], [1]), "either sign of zero"),
    ),
    equations=(
        "challa2023 (8)",
        "challa2023 (19)",
        "challa2023 (20)",
        "challa2023 (26)",
        "challa2023 (27)",
        "challa2023 (23)",
    ),
    usual=lambda op: (
        *ordinary(op),
        _variant((2, 17, 64), 48),
        _variant((8, 784), 10),
        _variant((4, 64), 64, bias=False),
        _variant((16, 32), 128),  # the gates of an LSTM or a GRU
        _variant((2, 16, 16), 24, bias=False),
        _variant((1, 23), 20),
        _variant((12,), 5, bias=False),
    ),
)
