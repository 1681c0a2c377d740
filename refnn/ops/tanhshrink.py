r"""Hyperbolic tangent shrinkage, elementwise.

    y = x - tanh(x)
    dy/dx = tanh(x)^2

Any shape; the output has the shape and dtype of x. Near zero y is x^3/3 and the difference cancels: the subtraction
itself is exact there (Sterbenz), so the error is that of tanh, K ulps of a number of the size of x. That bound is
absolute, and no digit is promised below |x| = sqrt(u): refnn knows no algorithm that does better without cutting off a
series, and no library that has one. The derivative is a square and keeps all digits. The class `difference`
differentiates term by term, as g - g (1 - tanh(x)^2), whose error is u whatever the size of the result.
"""

from math import inf, nan

from refnn.op import Input, Op, Special
from refnn.ops._shared import ELEMENTWISE, any_array, each_element


def forward(ar, x):
    return x - ar.saved(ar.tanh(x))


def vjp(ar, g, y, x):
    t = ar.saved(ar.tanh(x))
    return (ar.product(g, t, t),)


def difference(ar, g, y, x):
    return (g - ar.saved(g * (1 - ar.saved(ar.tanh(x)) ** 2)),)


tanhshrink = Op(
    name="tanhshrink",
    forward_definition=forward,
    vjp_definition=vjp,
    inputs={"x": Input()},
    validate=any_array,
    variants=ELEMENTWISE,
    algorithms={"difference": (forward, difference)},
    special=(
        Special((nan,), nan, (None,), "NaN in gives NaN out"),
        Special((inf,), inf, (1,), "infinity less 1"),
        Special((-inf,), -inf, (1,), "likewise"),
        Special((0.0,), 0, (0,), "either sign of zero"),
        Special((-0.0,), 0, (0,), "likewise"),
        Special((1.0,), None, (nan,), "NaN in the cotangent is handed on", cotangent=nan),
    ),
    rowwise=each_element,
)
