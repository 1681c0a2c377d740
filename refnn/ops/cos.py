r"""Cosine, elementwise.

    y = cos(x)
    dy/dx = -sin(x)

Any shape; the output has the shape and dtype of x, which is an angle in radians.
"""

from math import inf, nan

from refnn.ops._elementwise import table, unary


def forward(ar, x):
    return ar.cos(x)


def vjp(ar, g, y, x):
    return (-(g * ar.saved(ar.sin(x))),)


cos = unary(
    "cos",
    forward,
    vjp,
    table(
        (inf, nan, nan, "there is no limit"),
        (-inf, nan, nan, "likewise"),
        (0.0, 1, 0, "exact"),
        (-0.0, 1, 0, "likewise"),
    ),
)
