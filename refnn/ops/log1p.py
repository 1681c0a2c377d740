r"""log(1 + x), elementwise, without cancellation near zero.

    y = log(1 + x)
    dy/dx = 1 / (1 + x)

Any shape; the output has the shape and dtype of x. Below -1 the result is NaN, and at -1 minus infinity. What the
gradient is where the output is NaN is left open. The class `log(1 + x)` takes the logarithm of the rounded sum, whose
error is u where x is small.
"""

from math import inf, nan

from refnn.ops._elementwise import table, unary


def forward(ar, x):
    return ar.log1p(x)


def vjp(ar, g, y, x):
    return (g / ar.saved(1 + x),)


def of_sum(ar, x):
    return ar.log(ar.saved(1 + x))


log1p = unary(
    "log1p",
    forward,
    vjp,
    table(
        (inf, inf, 0, "the limits"),
        (-inf, nan, None, "there is no logarithm of what is below zero"),
        (-2.0, nan, None, "likewise"),
        (-1.0, -inf, inf, "the pole"),
        (0.0, "+0", 1, "a zero keeps its sign"),
        (-0.0, "-0", 1, "likewise"),
    ),
    within=(-1.0, inf),
    poles=(-1.0,),
    algorithms={"log(1 + x)": (of_sum, vjp)},
)
