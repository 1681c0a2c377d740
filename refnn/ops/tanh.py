r"""Hyperbolic tangent, elementwise.

    y = tanh(x)                                            katsaros (tanh)
    dy/dx = 1/cosh(x)^2 = 4 e / (1 + e)^2,  e = exp(-2|x|)

Any shape; the output has the shape and dtype of x. The second form of the derivative keeps all digits, because 2|x| is
exact and e at most 1. The class `textbook` computes 1 - y^2 from the rounded y: its error is u whatever the size of
the result, so no digit is left where |x| is large.
"""

from math import inf, nan

from refnn.op import Input, Op, Special
from refnn.ops._shared import ELEMENTWISE, any_array, each_element


def forward(ar, x):
    return ar.tanh(x)


def vjp(ar, g, y, x):
    e = ar.exp(-2 * ar.abs(x))
    return (ar.product(4, g, e, over=(1 + e) ** 2),)


def textbook(ar, g, y, x):
    return (g * (1 - y**2),)


tanh = Op(
    name="tanh",
    forward=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=any_array,
    variants=ELEMENTWISE,
    classes={"textbook": (forward, textbook)},
    special=(
        Special((nan,), nan, (None,), "NaN in gives NaN out"),
        Special((inf,), 1, (0,), "the limit, where the slope is 0"),
        Special((-inf,), -1, (0,), "likewise"),
        Special((0.0,), 0, (1,), "either sign of zero"),
        Special((-0.0,), 0, (1,), "likewise"),
    ),
    rowwise=each_element,
)
