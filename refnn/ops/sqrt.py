r"""Square root, elementwise.

    y = sqrt(x)
    dy/dx = 1 / (2 y)

Any shape; the output has the shape and dtype of x. Below zero the result is NaN, and what the gradient is there is left
open. At zero the slope is infinite.
"""

from math import inf, nan

from refnn.ops._elementwise import table, unary


def forward(ar, x):
    return ar.sqrt(x)


def vjp(ar, g, y, x):
    return (ar.product(g, over=2 * y),)


sqrt = unary(
    "sqrt",
    forward,
    vjp,
    table(
        (inf, inf, 0, "the limits"),
        (-inf, nan, None, "there is no root of what is below zero"),
        (-1.0, nan, None, "likewise"),
        (0.0, "+0", inf, "a zero keeps its sign; the slope is infinite"),
        (-0.0, "-0", (-inf, inf), "likewise; the quotient has the sign of the zero"),
        (2.25, 1.5, None, "exact"),
        (4.0, 2, 0.25, "exact"),
    ),
    within=(0.0, inf),
    poles=(0.0,),
)
