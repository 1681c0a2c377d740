r"""Reciprocal of the square root, elementwise.

    y = 1 / sqrt(x)
    dy/dx = -y / (2 x) = -y^3 / 2

Any shape; the output has the shape and dtype of x. Below zero the result is NaN, and what the gradient is there is left
open. At zero the result and its slope are infinite.
"""

from math import inf, nan

from refnn.ops._elementwise import table, unary


def forward(ar, x):
    return ar.either(lambda: ar.rsqrt(x), lambda: 1 / ar.saved(ar.sqrt(x)))


def vjp(ar, g, y, x):
    def by_cube():
        return ar.product(g, ar.saved(ar.product(y, y, y)), over=2)

    return (-ar.either(lambda: ar.saved(ar.product(g, y, over=2 * x)), by_cube),)


rsqrt = unary(
    "rsqrt",
    forward,
    vjp,
    table(
        (inf, 0, 0, "the limits"),
        (-inf, nan, None, "there is no root of what is below zero"),
        (-1.0, nan, None, "likewise"),
        (0.0, inf, -inf, "the pole"),
        (-0.0, (-inf, inf), (-inf, inf), "likewise; its sign may be that of the zero"),
        (1.0, 1, -0.5, "exact"),
    ),
    within=(0.0, inf),
    poles=(0.0,),
)
