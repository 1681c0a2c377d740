r"""Absolute error.

    l_i = |x_i - t_i|                                      you2022 (L1 loss)
    dl_i/dx_i = sign(x_i - t_i)

input and target have one shape and dtype. Reduction "none" keeps the shape, "sum" adds, "mean" divides the sum by the
number of elements. Where input and target are equal the derivative is a convention: refnn takes 0 of [-1, 1].
"""

from dataclasses import replace
from math import inf, nan

from refnn.op import Input, Op, Special
from refnn.ops._shared import by_samples, each_sample, every_element, pairs, reduce, usual_pairs, validate_pair


def forward(ar, input, target, *, reduction="mean"):
    return reduce(ar, ar.saved(ar.abs(input - target)), reduction, input.size)


def vjp(ar, g, y, input, target, *, reduction="mean"):
    each = g / input.size if reduction == "mean" else g
    gx = ar.branch(input, each, -each, at=target)
    return gx, -gx


l1_loss = Op(
    name="l1_loss",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"input": Input(), "target": Input()},
    validate=validate_pair("l1_loss"),
    variants=tuple(replace(v, points=(0.0, 1.0)) for v in pairs(((), (5, 3), (3, 2, 5), (1031,)))),
    kinks={"abs'(0)=0": 0.5, "abs'(0)=-1": 0.0, "abs'(0)=1": 1.0},
    special=(
        Special((nan, 1.0), nan, (None, nan), "NaN in gives NaN out"),
        Special((1.0, nan), nan, (nan, None), "NaN in gives NaN out"),
        Special((inf, 1.0), inf, (1, -1), "the slope is 1 above the target"),
        Special((-inf, 1.0), inf, (-1, 1), "the slope is -1 below the target"),
        Special((1.0, inf), inf, (-1, 1), "likewise"),
        Special((1.0, -inf), inf, (1, -1), "likewise"),
        Special((inf, inf), nan, (nan, nan), "the difference of two infinities is undefined, and so is its sign"),
        Special((-inf, -inf), nan, (nan, nan), "likewise"),
        Special((0.0, -0.0), 0, ((0, 1, -1), (0, 1, -1)), "equal: at the kink any declared convention"),
        Special((-0.0, 0.0), 0, ((0, 1, -1), (0, 1, -1)), "likewise"),
        Special((2.0, 1.0), 1, (nan, nan), "NaN in the cotangent is handed on", cotangent=nan),
        Special((2.0, 1.0), 1, (inf, -inf), "an infinite cotangent times 1 and -1", cotangent=inf),
    ),
    rowwise=each_sample,
    summed=by_samples(every_element),
    equations=("you2022 (L1 loss)",),
    usual=usual_pairs(),
)
