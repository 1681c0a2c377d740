r"""Sine, elementwise.

    y = sin(x)
    dy/dx = cos(x)

Any shape; the output has the shape and dtype of x, which is an angle in radians.
"""

from math import inf, nan

from refnn.ops._elementwise import table, unary


def forward(ar, x):
    return ar.sin(x)


def vjp(ar, g, y, x):
    return (g * ar.saved(ar.cos(x)),)


sin = unary(
    "sin",
    forward,
    vjp,
    table(
        (inf, nan, nan, "there is no limit"),
        (-inf, nan, nan, "likewise"),
        (0.0, "+0", 1, "a zero keeps its sign"),
        (-0.0, "-0", 1, "likewise"),
    ),
)
