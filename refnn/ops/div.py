r"""Quotient of two arrays, elementwise with broadcasting.

    y = x / other
    dL/dx = g / other,  dL/dother = -g y / other, each summed over the axes along which its array was stretched

Any shapes that broadcast; the output has their common shape, and their dtype. What is divided by zero is infinite, with
the signs of both, and 0/0 is NaN.
"""

from math import inf, nan

from refnn.op import Special
from refnn.ops import _broadcast


def forward(ar, x, other):
    return x / other


def slopes(ar, g, y, x, other):
    def by_square():
        return ar.product(g, x, over=ar.saved(other**2))

    def by_quotient():
        return ar.either(lambda: g * ar.saved(y / other), lambda: ar.saved(ar.product(g, y, over=other)))

    return g / other, -ar.either(by_quotient, by_square)


div = _broadcast.binary(
    "div",
    forward,
    slopes,
    (
        Special((nan, 2.0), nan, (0.5, nan), "NaN in gives NaN out"),
        Special((2.0, nan), nan, (nan, nan), "likewise"),
        Special((inf, 2.0), inf, (0.5, -inf), "an infinite dividend"),
        Special((-inf, 2.0), -inf, (0.5, inf), "likewise"),
        Special((2.0, inf), "+0", (0, 0), "an infinite divisor"),
        Special((2.0, -inf), "-0", (0, 0), "likewise"),
        Special((inf, -inf), nan, (0, nan), "infinity over infinity"),
        Special((2.0, 0.0), inf, (inf, -inf), "the pole"),
        Special((2.0, -0.0), -inf, (-inf, -inf), "likewise"),
        Special((0.0, -0.0), nan, (-inf, nan), "0/0"),
        Special((0.0, 2.0), "+0", (0.5, 0), "the sign of a quotient"),
        Special((-0.0, 2.0), "-0", (0.5, 0), "likewise"),
        Special((1.0, 2.0), 0.5, (nan, nan), "NaN in the cotangent is handed on", cotangent=nan),
    ),
    poles=(0.0,),
)
