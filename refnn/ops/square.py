r"""Square, elementwise.

    y = x^2
    dy/dx = 2 x

Any shape; the output has the shape and dtype of x.
"""

from math import inf

from refnn.ops._elementwise import table, unary


def forward(ar, x):
    return x**2


def vjp(ar, g, y, x):
    return (ar.either(lambda: g * ar.saved(2 * x), lambda: ar.product(2, g, x)),)


square = unary(
    "square",
    forward,
    vjp,
    table(
        (inf, inf, inf, "an infinite factor"),
        (-inf, inf, -inf, "likewise"),
        (0.0, "+0", 0, "a square has no sign"),
        (-0.0, "+0", 0, "likewise"),
        (-1.5, 2.25, -3, "exact"),
    ),
)
