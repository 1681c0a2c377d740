r"""Inverse of the tangent, elementwise.

    y = atan(x)
    dy/dx = 1 / (1 + x^2) = (1/x)^2 / (1 + (1/x)^2)

Any shape; the output has the shape and dtype of x. The class `1 + x^2` has the slope by the first formula, which is
zero where the square overflows.
"""

from math import inf

from refnn.ops._elementwise import table, unary


def forward(ar, x):
    return ar.atan(x)


def vjp(ar, g, y, x):
    size = ar.abs(x)
    inverse = 1 / ar.branch(size, size, 1, at=1)
    far = ar.product(g, inverse, inverse, over=1 + inverse**2)
    return (ar.branch(size, far, of_square(ar, g, y, ar.branch(size, 1, x, at=1))[0], at=1),)


def of_square(ar, g, y, x):
    return (g / ar.saved(1 + ar.saved(x**2)),)


atan = unary(
    "atan",
    forward,
    vjp,
    table(
        (inf, None, 0, "a quarter turn, rounded"),
        (-inf, None, 0, "likewise"),
        (0.0, "+0", 1, "a zero keeps its sign"),
        (-0.0, "-0", 1, "likewise"),
    ),
    algorithms={"1 + x^2": (forward, of_square)},
)
