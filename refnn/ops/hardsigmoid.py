r"""Piecewise linear stand-in for the logistic function, elementwise.

    y = min(6, max(0, x + 3)) / 6,   dy/dx = 1/6 where -3 < x < 3, 0 elsewhere

Howard et al., Searching for MobileNetV3 (2019), section 5.2. Any shape; the output has the shape and dtype of x. x + 3
is exact near -3, so that small results keep all digits; a product with the rounded 1/6 is within the bound of the
quotient. The class `affine` computes x/6 + 1/2, whose error is u/2 however small the result. At -3 and 3 the derivative
is a convention: refnn takes 0, as PyTorch does, so that it is 1/6 on the open interval.
"""

from math import inf, nan

from refnn.op import Input, Op, Special
from refnn.ops._shared import any_array, between, each_element, elementwise


def forward(ar, x):
    return between(ar, x, -3, 3, (x + 3) / 6, 0, 1)


def vjp(ar, g, y, x):
    return (between(ar, x, -3, 3, g / 6, 0, 0),)


def affine(ar, x):
    return between(ar, x, -3, 3, x / 6 + ar.real(1) / 2, 0, 1)


hardsigmoid = Op(
    name="hardsigmoid",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=any_array,
    variants=elementwise(points=(-3.0, 3.0)),
    algorithms={"affine": (affine, vjp)},
    kinks={"hardsigmoid'(3)=open": 0.0, "hardsigmoid'(3)=closed": 1.0},
    special=(
        Special((nan,), nan, (None,), "NaN in gives NaN out"),
        Special((inf,), 1, (0,), "1 from 3 on, with slope 0"),
        Special((-inf,), 0, (0,), "0 up to -3, with slope 0"),
        Special((-inf,), 0, ((0, nan),), "0, or 0 times NaN", cotangent=nan),
        Special((0.0,), 0.5, (None,), "the middle; 1/6 is no number of the formats"),
        Special((-0.0,), 0.5, (None,), "likewise"),
        Special((0.0,), 0.5, (nan,), "NaN in the cotangent is handed on where the slope is 1/6", cotangent=nan),
        Special((3.0,), 1, ((0, 1),), "at the kink either declared convention; 6 times 1/6 is exact", cotangent=6.0),
    ),
    rowwise=each_element,
)
