r"""Tangent, elementwise.

    y = tan(x)
    dy/dx = 1 + y^2 = 1 / cos(x)^2

Any shape; the output has the shape and dtype of x, which is an angle in radians.
"""

from math import inf, nan

from refnn.ops._elementwise import table, unary


def forward(ar, x):
    return ar.tan(x)


def vjp(ar, g, y, x):
    return (g * ar.saved(1 + ar.saved(y**2)),)


tan = unary(
    "tan",
    forward,
    vjp,
    table(
        (inf, nan, nan, "there is no limit"),
        (-inf, nan, nan, "likewise"),
        (0.0, "+0", 1, "a zero keeps its sign"),
        (-0.0, "-0", 1, "likewise"),
    ),
)
