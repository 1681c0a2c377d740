r"""Logarithm to base 2, elementwise.

    y = log(x) / log(2)
    dy/dx = 1 / (x log(2))

Any shape; the output has the shape and dtype of x. Below zero the result is NaN, and at zero minus infinity. What the
gradient is where the output is NaN is left open.
"""

from math import inf, nan

from refnn.ops._elementwise import table, unary


def forward(ar, x):
    return ar.log2(x)


def vjp(ar, g, y, x):
    return (g / ar.saved(x * ar.log(ar.real(2))),)


log2 = unary(
    "log2",
    forward,
    vjp,
    table(
        (inf, inf, 0, "the limits"),
        (-inf, nan, None, "there is no logarithm of what is below zero"),
        (-1.0, nan, None, "likewise"),
        (0.0, -inf, inf, "the pole"),
        (-0.0, -inf, (-inf, inf), "likewise; the quotient has the sign of the zero"),
        (1.0, 0, None, "exact"),
    ),
    within=(0.0, inf),
    poles=(0.0,),
)
