r"""Hyperbolic cosine, elementwise.

    y = cosh(x) = (exp(x) + exp(-x)) / 2
    dy/dx = sinh(x)

Any shape; the output has the shape and dtype of x. The result is finite up to log(2 max), where exp(x) has overflowed.
"""

from math import inf

from refnn.ops._elementwise import table, unary


def forward(ar, x):
    return ar.cosh(x)


def vjp(ar, g, y, x):
    return (g * ar.saved(ar.sinh(x)),)


cosh = unary(
    "cosh",
    forward,
    vjp,
    table(
        (inf, inf, inf, "the limits"),
        (-inf, inf, -inf, "likewise"),
        (0.0, 1, 0, "exact"),
        (-0.0, 1, 0, "likewise"),
    ),
)
