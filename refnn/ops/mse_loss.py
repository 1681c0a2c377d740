r"""Mean squared error, as PyTorch defines it: no half, averaged over every element.

    l = 1/N sum_i (x_i - t_i)^2,   dl/dx_i = 2 (x_i - t_i) / N

input and target have one shape and dtype; N counts all elements. Reduction "none" keeps the shape, "sum" omits 1/N.
The bound of 2 (x - t) g / N holds for every grouping of its factors.
"""

from refnn.op import Input, Op
from refnn.ops._shared import (
    by_samples,
    each_sample,
    every_element,
    pairs,
    reduce,
    squared_error_rows,
    usual_pairs,
    validate_pair,
)


def forward(ar, input, target, *, reduction="mean"):
    return reduce(ar, ar.saved(ar.saved(input - target) ** 2), reduction, input.size)


def vjp(ar, g, y, input, target, *, reduction="mean"):
    gx = ar.product(2, ar.saved(input - target), g, over=input.size if reduction == "mean" else None)
    gx = ar.saved(gx, 2)
    return gx, -gx


mse_loss = Op(
    name="mse_loss",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"input": Input(), "target": Input()},
    validate=validate_pair("mse_loss"),
    variants=pairs(((5, 3), (7,), (3, 2, 5), (1031,))),
    special=squared_error_rows(lambda v: v),
    rowwise=each_sample,
    summed=by_samples(every_element),
    usual=usual_pairs(),
)
