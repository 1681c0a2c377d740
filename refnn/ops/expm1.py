r"""exp(x) - 1, elementwise, without cancellation near zero.

    y = exp(x) - 1
    dy/dx = exp(x)

Any shape; the output has the shape and dtype of x. The class `y + 1` computes the derivative from the rounded output,
as PyTorch does: its error is u where exp(x) is small, and so no digit is left where x is below log(u). The class
`exp(x) - 1` subtracts from the rounded exponential, whose error is u where the result is small.
"""

from math import inf

from refnn.ops._elementwise import table, unary


def forward(ar, x):
    return ar.expm1(x)


def vjp(ar, g, y, x):
    return (g * ar.saved(ar.exp(x)),)


def of_output(ar, g, y, x):
    return (g * ar.saved(y + 1),)


def difference(ar, x):
    return ar.saved(ar.exp(x)) - 1


expm1 = unary(
    "expm1",
    forward,
    vjp,
    table(
        (inf, inf, inf, "the limits"),
        (-inf, -1, 0, "likewise"),
        (0.0, "+0", 1, "a zero keeps its sign"),
        (-0.0, "-0", 1, "likewise"),
    ),
    algorithms={"y + 1": (forward, of_output), "exp(x) - 1": (difference, vjp)},
)
