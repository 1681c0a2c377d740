r"""Power of two, elementwise.

    y = 2^x
    dy/dx = log(2) y

Any shape; the output has the shape and dtype of x.
"""

from math import inf

from refnn.ops._elementwise import table, unary


def forward(ar, x):
    return ar.exp2(x)


def vjp(ar, g, y, x):
    factor = ar.saved(ar.log(ar.real(2)))
    return (ar.either(lambda: ar.saved(g * y) * factor, lambda: ar.saved(ar.product(g, y, factor))),)


exp2 = unary(
    "exp2",
    forward,
    vjp,
    table(
        (inf, inf, inf, "the limits"),
        (-inf, "+0", 0, "likewise"),
        (0.0, 1, None, "exact; the slope, log 2, is rounded"),
        (-0.0, 1, None, "likewise"),
    ),
)
