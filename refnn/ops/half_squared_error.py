r"""Squared error as the sources write it: half the sum over each sample's outputs.

    l_k = 1/2 sum_j (y_kj - t_kj)^2                        you2022 (squared error), cnnmath (cost)
    dl_k/dy_kj = y_kj - t_kj

input and target are (N, ...) of one shape and dtype. Reduction "none" gives (N,), "sum" their sum, "mean" their sum
over N. A single sample may come without the batch axis only as a vector of N scalars.
"""

from refnn.op import Input, Op
from refnn.ops._shared import REDUCTIONS, by_samples, each_sample, pairs, reduce, squared_error_rows, usual_pairs
from refnn.refusals import check_choice, check_same_shape


def forward(ar, input, target, *, reduction="mean"):
    d = ar.saved(input - target)
    squares = ar.saved(d**2)
    if d.ndim > 1:
        squares = ar.saved(ar.sum(squares, tuple(range(1, d.ndim))))
    return reduce(ar, squares / 2, reduction, d.shape[0])


def vjp(ar, g, y, input, target, *, reduction="mean"):
    d = ar.saved(input - target)
    if reduction == "none":
        g = g.reshape(-1, *[1] * (d.ndim - 1))
    # 1/2 and 2 cancel, but an implementation may apply them in any grouping.
    gx = ar.saved(ar.product(2, d, g, over=2 * d.shape[0] if reduction == "mean" else 2), 2)
    return gx, -gx


def validate(inputs, params):
    check_same_shape("half_squared_error", inputs)
    check_choice("half_squared_error", "reduction", params["reduction"], REDUCTIONS)
    shape = inputs["input"].shape
    if not shape or 0 in shape:
        raise ValueError(f"half_squared_error: input has shape {shape}, expected (N, ...) with no empty axis")


half_squared_error = Op(
    name="half_squared_error",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"input": Input(), "target": Input()},
    validate=validate,
    variants=pairs(((5, 3), (7,), (3, 2, 5), (2, 521))),
    special=squared_error_rows(lambda v: [v]),
    rowwise=each_sample,
    summed=by_samples(lambda ar, input, target, **params: input.shape[0]),
    equations=("you2022 (squared error)", "cnnmath (cost)"),
    usual=usual_pairs(),
)
