r"""Inverse of the hyperbolic sine, elementwise.

    y = asinh(x)
    dy/dx = 1 / sqrt(1 + x^2) = 1 / (|x| sqrt(1 + 1/x^2))

Any shape; the output has the shape and dtype of x. The class `1 + x^2` has the slope by the first formula, which is
zero where the square overflows.
"""

from math import inf

from refnn.ops import rsqrt as _rsqrt
from refnn.ops._elementwise import table, unary


def forward(ar, x):
    return ar.asinh(x)


def vjp(ar, g, y, x):
    size = ar.abs(x)
    inverse = 1 / ar.branch(size, size, 1, at=1)
    far = ar.product(g, inverse, ar.rsqrt(1 + inverse**2))
    return (ar.branch(size, far, of_square(ar, g, y, ar.branch(size, 1, x, at=1))[0], at=1),)


def of_square(ar, g, y, x):
    return (g * ar.saved(_rsqrt.forward(ar, ar.saved(1 + ar.saved(x**2)))),)


asinh = unary(
    "asinh",
    forward,
    vjp,
    table(
        (inf, inf, 0, "the limits"),
        (-inf, -inf, 0, "likewise"),
        (0.0, "+0", 1, "a zero keeps its sign"),
        (-0.0, "-0", 1, "likewise"),
    ),
    algorithms={"1 + x^2": (forward, of_square)},
)
