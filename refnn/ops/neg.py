r"""Negative, elementwise.

    y = -x
    dy/dx = -1

Any shape; the output has the shape and dtype of x. Nothing is rounded.
"""

from math import inf

from refnn.ops._elementwise import table, unary


def forward(ar, x):
    return -x


def vjp(ar, g, y, x):
    return (-g,)


neg = unary(
    "neg",
    forward,
    vjp,
    table(
        (inf, -inf, -1, "the other sign"),
        (-inf, inf, -1, "likewise"),
        (0.0, "-0", -1, "zeros have a sign"),
        (-0.0, "+0", -1, "likewise"),
    ),
)
