r"""Hyperbolic sine, elementwise.

    y = sinh(x) = (exp(x) - exp(-x)) / 2
    dy/dx = cosh(x)

Any shape; the output has the shape and dtype of x. The result is finite up to log(2 max), where exp(x) has overflowed.
"""

from math import inf

from refnn.ops._elementwise import table, unary


def forward(ar, x):
    return ar.sinh(x)


def vjp(ar, g, y, x):
    return (g * ar.saved(ar.cosh(x)),)


sinh = unary(
    "sinh",
    forward,
    vjp,
    table(
        (inf, inf, inf, "the limits"),
        (-inf, -inf, inf, "likewise"),
        (0.0, "+0", 1, "a zero keeps its sign"),
        (-0.0, "-0", 1, "likewise"),
    ),
)
