r"""Reciprocal, elementwise.

    y = 1 / x
    dy/dx = -y^2 = -1 / x^2

Any shape; the output has the shape and dtype of x. At zero the result is an infinity of the sign of the zero.
"""

from math import inf

from refnn.ops._elementwise import table, unary


def forward(ar, x):
    return 1 / x


def vjp(ar, g, y, x):
    return (
        -ar.either(
            lambda: g * ar.saved(y**2), lambda: ar.either(lambda: ar.saved(g * y) * y, lambda: g / ar.saved(x**2))
        ),
    )


reciprocal = unary(
    "reciprocal",
    forward,
    vjp,
    table(
        (inf, "+0", 0, "the limits"),
        (-inf, "-0", 0, "likewise"),
        (0.0, inf, -inf, "the pole"),
        (-0.0, -inf, -inf, "likewise"),
        (-2.0, -0.5, -0.25, "exact"),
    ),
    poles=(0.0,),
)
