r"""Error function, elementwise.

    y = erf(x) = 2 / sqrt(pi) integral_0^x exp(-t^2) dt
    dy/dx = 2 / sqrt(pi) exp(-x^2)

Any shape; the output has the shape and dtype of x. The square is rounded, which costs u x^2 of the slope.
"""

from math import inf

from refnn.ops._elementwise import table, unary


def forward(ar, x):
    return ar.erf(x)


def vjp(ar, g, y, x):
    bell = ar.saved(ar.exp(-ar.saved(x**2)))
    return (ar.saved(ar.product(g, ar.saved(ar.constant("sqrt(4/pi)")), bell)),)


erf = unary(
    "erf",
    forward,
    vjp,
    table(
        (inf, 1, 0, "the limits"),
        (-inf, -1, 0, "likewise"),
        (0.0, "+0", None, "a zero keeps its sign; the slope is rounded"),
        (-0.0, "-0", None, "likewise"),
    ),
)
