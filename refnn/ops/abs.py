r"""Magnitude, elementwise.

    y = |x|
    dy/dx = sign(x)

Any shape; the output has the shape and dtype of x. At zero the slope is a convention: refnn takes 0 of the interval
[-1, 1], as PyTorch does. Nothing is rounded.
"""

from math import inf

from refnn.ops._elementwise import table, unary


def forward(ar, x):
    return ar.abs(x)


def vjp(ar, g, y, x):
    return (ar.branch(x, g, -g),)


abs = unary(
    "abs",
    forward,
    vjp,
    table(
        (inf, inf, 1, "the slope is 1 above 0"),
        (-inf, inf, -1, "the slope is -1 below 0"),
        (0.0, "+0", (0, 1, -1), "at the kink any declared convention"),
        (-0.0, "+0", (0, 1, -1), "likewise; a magnitude has no sign"),
    ),
    kinks={"abs'(0)=0": 0.5, "abs'(0)=-1": 0.0, "abs'(0)=1": 1.0},
)
