r"""Exponential, elementwise.

    y = exp(x)
    dy/dx = y

Any shape; the output has the shape and dtype of x.
"""

from math import inf

from refnn.ops._elementwise import table, unary


def forward(ar, x):
    return ar.exp(x)


def vjp(ar, g, y, x):
    return (g * y,)


exp = unary(
    "exp",
    forward,
    vjp,
    table(
        (inf, inf, inf, "the limits"),
        (-inf, "+0", 0, "likewise"),
        (0.0, 1, 1, "exact"),
        (-0.0, 1, 1, "likewise"),
    ),
)
