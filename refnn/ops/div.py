r"""Quotient of two arrays, elementwise with broadcasting.

    y = x / other
    dL/dx = g / other,  dL/dother = -g x / other^2, each summed over the axes along which its array was stretched

Any shapes that broadcast; the output has their common shape, and their dtype. The accurate class divides x by other
twice, and reaches as far as the gradient itself. The class `square of other` forms the square, which leaves the range
of the format long before. The class `reciprocal` multiplies with 1 / other, which overflows where other is below the
normal range.
"""

from math import inf, nan

from refnn.op import Special
from refnn.ops import _broadcast


def forward(ar, x, other):
    return ar.product(x, over=other)


def slopes(ar, g, y, x, other):
    quotient = ar.saved(ar.product(x, over=other))
    return ar.product(g, over=other), ar.product(-g, ar.saved(ar.product(quotient, over=other)))


def slopes_by_square(ar, g, y, x, other):
    return ar.product(g, over=other), ar.product(-g, x, over=ar.saved(ar.product(other, other)))


def by_reciprocal(ar, x, other):
    return ar.product(x, 1 / other)


def slopes_by_reciprocal(ar, g, y, x, other):
    inverse = 1 / other
    return g * inverse, ar.product(-g, x, inverse, inverse)


div = _broadcast.binary(
    "div",
    forward,
    slopes,
    (
        Special((nan, 2.0), nan, (0.5, nan), "NaN in gives NaN out"),
        Special((2.0, nan), nan, (nan, nan), "likewise"),
        Special((inf, 2.0), inf, (0.5, -inf), "an infinite dividend"),
        Special((-inf, 2.0), -inf, (0.5, inf), "likewise"),
        Special((2.0, inf), 0, (0, 0), "an infinite divisor"),
        Special((2.0, -inf), 0, (0, 0), "likewise"),
        Special((inf, inf), nan, (0, nan), "infinity over infinity"),
        Special((0.0, 0.0), nan, (inf, nan), "0 over 0"),
        Special((1.0, 0.0), inf, (inf, -inf), "the sign of zero decides"),
        Special((1.0, -0.0), -inf, (-inf, -inf), "likewise"),
        Special((-0.0, 2.0), "-0", (0.5, 0), "the sign of a quotient"),
        Special((1.0, 2.0), None, (nan, nan), "NaN in the cotangent is handed on", cotangent=nan),
    ),
    {"reciprocal": (by_reciprocal, slopes_by_reciprocal), "square of other": (forward, slopes_by_square)},
)
