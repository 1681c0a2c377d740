r"""Complement of the error function, elementwise, without cancellation.

    y = 1 - erf(x)
    dy/dx = -2 / sqrt(pi) exp(-x^2)

Any shape; the output has the shape and dtype of x. The square is rounded, which costs u x^2 of the slope. The class
`1 - erf(x)` subtracts, so that no digit is left where x is above 4 in float32, or 6 in float64.
"""

from math import inf

from refnn.ops import erf as _erf
from refnn.ops._elementwise import table, unary


def forward(ar, x):
    return ar.erfc(x)


def vjp(ar, g, y, x):
    return (-_erf.vjp(ar, g, y, x)[0],)


def by_erf(ar, x):
    return 1 - ar.saved(ar.erf(x))


erfc = unary(
    "erfc",
    forward,
    vjp,
    table(
        (inf, "+0", 0, "the limits"),
        (-inf, 2, 0, "likewise"),
        (0.0, 1, None, "exact; the slope is rounded"),
        (-0.0, 1, None, "likewise"),
    ),
    algorithms={"1 - erf(x)": (by_erf, vjp)},
)
